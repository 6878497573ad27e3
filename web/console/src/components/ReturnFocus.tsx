// Inside of a dialog or a panel: when it goes away the keyboard is back where it was before, or, if that is gone, at the nearest
// thing that `instead` finds.
import { useEffect } from "react";

/** The content of the page. */
const CONTENT = "#content";

export function ReturnFocus({ instead = CONTENT }: { instead?: string }) {
  useEffect(() => {
    const before = document.activeElement;
    return () => {
      requestAnimationFrame(() => {
        const lost = !document.activeElement || document.activeElement === document.body;
        if (!lost) return;
        const isThere = before instanceof HTMLElement && before !== document.body && before.isConnected;
        const back = isThere ? before : (document.querySelector<HTMLElement>(instead) ?? document.querySelector<HTMLElement>(CONTENT));
        back?.focus({ preventScroll: true });
      });
    };
  }, [instead]);
  return null;
}
