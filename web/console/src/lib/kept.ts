// What somebody types into a long form and has not saved: kept in the tab, so that a click elsewhere, a session that ended or a page
// loaded again does not lose it.
import { useEffect, useState } from "react";

const PREFIX = "landfall.unsaved.";
const name = (form: string) => `${PREFIX}${form}`;

/** What was typed, and what was saved when that began. */
interface Left<T> {
  began: T;
  draft: T;
}

function read<T>(form: string): Left<T> | undefined {
  try {
    const left = JSON.parse(window.sessionStorage.getItem(name(form)) ?? "null") as Left<T> | null;
    return left?.draft && left.began ? left : undefined;
  } catch {
    return undefined; // a browser that keeps nothing, or something that is not ours
  }
}

function forget(form: string) {
  try {
    window.sessionStorage.removeItem(name(form));
  } catch {
    // as above
  }
}

/** Whoever signs out leaves nothing behind. */
export function forgetAll() {
  try {
    for (const key of Object.keys(window.sessionStorage)) if (key.startsWith(PREFIX)) window.sessionStorage.removeItem(key);
  } catch {
    // as above
  }
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
const isGroup = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** `draft` on top of `saved`: every field that was left as it was in `began` is as it is saved now. */
function onTop<T>(began: T, saved: T, draft: T): T {
  if (!isGroup(began) || !isGroup(saved) || !isGroup(draft)) return same(began, draft) ? saved : draft;
  const names = Object.keys({ ...saved, ...draft });
  return Object.fromEntries(names.map((field) => [field, onTop<unknown>(began[field], saved[field], draft[field])])) as T;
}

/** What a form holds: `start` is what is saved; what was left unsaved when it was last open is there again, and `found` until
 * it is saved, discarded or as before. Call `keep` with what was saved. Who has typed nothing sees what others save; who has typed
 * something keeps it, is told by `newer`, and gets the newer values of all other fields by `takeNewer`. */
export function useKeptForm<T>(form: string, start: T) {
  const [left] = useState(() => read<T>(form));
  const [saved, setSaved] = useState(start);
  const [began, setBegan] = useState(left?.began ?? start);
  const [draft, setDraft] = useState(left?.draft ?? start);
  const [isFound, setFound] = useState(left !== undefined);
  const [seen, setSeen] = useState(start);
  const dirty = !same(saved, draft);
  if (!same(seen, start)) {
    setSeen(start);
    setSaved(start);
    if (!dirty) {
      setBegan(start);
      setDraft(start);
    }
  }
  useEffect(() => {
    if (!dirty) return forget(form);
    try {
      window.sessionStorage.setItem(name(form), JSON.stringify({ began, draft } satisfies Left<T>));
    } catch {
      // as above
    }
  }, [form, began, draft, dirty]);
  const discard = () => {
    setBegan(saved);
    setDraft(saved);
    setFound(false);
  };
  const keep = (written: T) => {
    setSaved(written);
    setBegan(written);
    setFound(false);
    forget(form); // a page that is left at once renders no more
  };
  const takeNewer = () => {
    setDraft(onTop(began, saved, draft));
    setBegan(saved);
  };
  return { draft, setDraft, saved, dirty, found: isFound && dirty, newer: dirty && !same(began, saved), discard, keep, takeNewer };
}
