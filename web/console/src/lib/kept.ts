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

export function forget(form: string) {
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

/** What was left unsaved when the form was last open. */
export function useLeft<T>(form: string): T | undefined {
  const [left] = useState(() => read<T>(form));
  return left;
}

/** Keeps `value` for as long as it is not saved. */
export function useKept<T>(form: string, value: T, unsaved: boolean) {
  useEffect(() => {
    if (!unsaved) return forget(form);
    try {
      window.sessionStorage.setItem(name(form), JSON.stringify(value));
    } catch {
      // as above
    }
  }, [form, value, unsaved]);
}
