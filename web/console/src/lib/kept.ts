// What somebody types into a long form and has not saved: kept in the tab, so that a click elsewhere, a session that ended or a page
// loaded again does not lose it.
import { useEffect, useState } from "react";

const PREFIX = "landfall.unsaved.";
const name = (form: string) => `${PREFIX}${form}`;

function read<T>(form: string): T | undefined {
  try {
    const text = window.sessionStorage.getItem(name(form));
    return text ? (JSON.parse(text) as T) : undefined;
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

/** What a form holds: `start` is what is saved; what was left unsaved when it was last open is there again, and `found` until
 * it is saved, discarded or as before. Call `keep` with what was saved. */
export function useKeptForm<T>(form: string, start: T) {
  const [left] = useState(() => read<T>(form));
  const [saved, setSaved] = useState(start);
  const [draft, setDraft] = useState(left ?? start);
  const [isFound, setFound] = useState(left !== undefined);
  const dirty = JSON.stringify(saved) !== JSON.stringify(draft);
  useEffect(() => {
    if (!dirty) return forget(form);
    try {
      window.sessionStorage.setItem(name(form), JSON.stringify(draft));
    } catch {
      // as above
    }
  }, [form, draft, dirty]);
  const discard = () => {
    setDraft(saved);
    setFound(false);
  };
  const keep = (written: T) => {
    setSaved(written);
    setFound(false);
    forget(form); // a page that is left at once renders no more
  };
  return { draft, setDraft, saved, dirty, found: isFound && dirty, discard, keep };
}
