// Why somebody reads other people's held mail: asked once, kept until they sign out or close the tab. The server records it with each look.
import { useSyncExternalStore } from "react";

const KEY = "landfall.look-reason";
const changed = new EventTarget();

function remembered(): string {
  try {
    return window.sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // a browser that keeps nothing: it is asked each time
  }
}

export function rememberReason(reason: string) {
  try {
    if (reason) window.sessionStorage.setItem(KEY, reason);
    else window.sessionStorage.removeItem(KEY);
  } catch {
    // as above
  }
  changed.dispatchEvent(new Event("reason"));
}

/** The reason that was given, or an empty text. */
export const useReason = () =>
  useSyncExternalStore((look) => {
    changed.addEventListener("reason", look);
    return () => changed.removeEventListener("reason", look);
  }, remembered);
