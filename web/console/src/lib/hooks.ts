// Small hooks that several components share.
import { useEffect, useState, useSyncExternalStore } from "react";
import { useSearchParams } from "react-router";
import { S } from "../strings";

export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (changed) => {
      const media = window.matchMedia(query);
      media.addEventListener("change", changed);
      return () => media.removeEventListener("change", changed);
    },
    () => window.matchMedia(query).matches,
  );
}
/** A screen on which panels lie above the page instead of beside it. */
export const useNarrow = () => useMedia("(max-width: 900px)");

const TICK_MS = 15_000;
let ticks = 0;
/** The time, looked at again every quarter of a minute, which is enough for ages, and whenever something else is shown: what the
 * server saw a moment ago lies in the past. */
export function useNow(): number {
  useSyncExternalStore(
    (changed) => {
      const timer = window.setInterval(() => {
        ticks += 1;
        changed();
      }, TICK_MS);
      return () => window.clearInterval(timer);
    },
    () => ticks,
  );
  return Date.now();
}

/** Scrolls to a part of the page, once what was just chosen is shown. */
export function bringIntoView(id: string): number {
  return requestAnimationFrame(() => document.getElementById(id)?.scrollIntoView({ block: "start" }));
}

export function useTitle(title: string) {
  useEffect(() => {
    document.title = title ? `${title} · ${S.product}` : S.product;
  }, [title]);
}

/** What stands in the fields of a search: as in the address, until somebody types; then theirs until the address changes. The fields
 * stay the same ones, and so does the keyboard's place. */
export function useTyped<T extends object>(address: T): [T, (typed: T) => void] {
  const [typed, setTyped] = useState(address);
  const [seen, setSeen] = useState(JSON.stringify(address));
  if (seen !== JSON.stringify(address)) {
    setSeen(JSON.stringify(address));
    setTyped(address);
  }
  return [typed, setTyped];
}

/** Values of the address's query: state that can be linked, shared and found again. An empty value leaves the address. */
export function useUrlState(): [(name: string) => string, (values: Record<string, string | undefined>) => void] {
  const [params, setParams] = useSearchParams();
  const get = (name: string) => params.get(name) ?? "";
  const set = (values: Record<string, string | undefined>) =>
    setParams(
      (before) => {
        const next = new URLSearchParams(before);
        for (const [name, value] of Object.entries(values)) value ? next.set(name, value) : next.delete(name);
        return next;
      },
      { replace: true },
    );
  return [get, set];
}
