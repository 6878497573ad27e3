// Small hooks that several components share.
import { useEffect, useSyncExternalStore } from "react";
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
let now = Date.now();
/** The time, moved on every quarter of a minute: enough for ages. */
export function useNow(): number {
  return useSyncExternalStore(
    (changed) => {
      const timer = window.setInterval(() => {
        now = Date.now();
        changed();
      }, TICK_MS);
      return () => window.clearInterval(timer);
    },
    () => now,
  );
}

export function useTitle(title: string) {
  useEffect(() => {
    document.title = title ? `${title} · ${S.product}` : S.product;
  }, [title]);
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
