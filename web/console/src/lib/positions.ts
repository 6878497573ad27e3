// Where a reader stood in a list or a page, for the way back: by entry of the browser's history, kept as long as the document lives.
import { type RefObject, useEffect, useRef } from "react";
import { useLocation, useNavigationType } from "react-router";

export interface Position {
  /** Pixels scrolled. */
  top: number;
  /** The row that the keyboard was at. */
  active: number;
}

const positions = new Map<string, Position>();
/** Older ones are forgotten. */
const POSITIONS_MAX = 200;

function remember(name: string, position: Position) {
  positions.delete(name);
  positions.set(name, position);
  if (positions.size > POSITIONS_MAX) positions.delete(positions.keys().next().value as string);
}

/** What was remembered of this part of the page, when one comes back to it; and how to remember it. */
export function usePosition(part: string): [Position | undefined, (position: Position) => void] {
  const { key } = useLocation();
  const name = `${key} ${part}`;
  const found = useRef(positions.get(name));
  return [found.current, (position) => remember(name, position)];
}

const depth = () => (window.history.state as { idx?: number } | null)?.idx ?? 0;
let here = { key: "", pathname: "", depth: 0 };
let before = here;
/** How far back in the browser's history the page is from which one came, when it is `pathname`; 0 when it is another. */
export const stepsBackTo = (pathname: string) => (before.pathname === pathname ? Math.max(0, depth() - before.depth) : 0);

/** How long the content of a page one comes back to may take to be as high as it was. */
const GROWN_MS = 1_000;

/** After a move to another page the keyboard starts at its content, as it does after loading a document; on the way back
 * the page stands where it was left. */
export function useFocusOnNewPage(main: RefObject<HTMLElement | null>) {
  const { pathname, key } = useLocation();
  const back = useNavigationType() === "POP";
  const first = useRef(true);
  useEffect(() => {
    if (here.key === key) return;
    if (here.pathname === pathname) remember(`${key} page`, { top: window.scrollY, active: 0 });
    else before = here;
    here = { key, pathname, depth: depth() };
  }, [key, pathname]);
  useEffect(() => {
    const onScroll = () => remember(`${here.key} page`, { top: window.scrollY, active: 0 });
    window.addEventListener("scroll", onScroll, { passive: true });
    return () => window.removeEventListener("scroll", onScroll);
  }, []);
  // A move is a change of the path, whatever else changes in the address.
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    main.current?.focus({ preventScroll: true });
    const top = (back && positions.get(`${key} page`)?.top) || 0;
    return scrollWhenThere(top);
  }, [pathname, main]);
}

/** Scrolls as soon as the page is high enough, within a bound; gives how to let it be. */
function scrollWhenThere(top: number) {
  const until = performance.now() + GROWN_MS;
  let frame = 0;
  const look = () => {
    if (document.documentElement.scrollHeight >= top + window.innerHeight || performance.now() > until) window.scrollTo(0, top);
    else frame = requestAnimationFrame(look);
  };
  look();
  return () => cancelAnimationFrame(frame);
}
