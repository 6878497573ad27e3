// Where copies are, as one stacked bar with a legend of words and numbers. Every number can lead to the copies behind it.
import { Link } from "react-router";
import { count, percent } from "../lib/format";
import { inOrder, type Place, type PlaceCount, placeWord, totalOf } from "./places";

interface Props {
  places: PlaceCount[];
  /** Where a segment leads; without it the bar is a picture only. */
  to?: (place: Place) => string;
  /** In lists: a thin bar, and a legend of what is worth saying. */
  small?: boolean;
  label: string;
}

/** Segments thinner than this cannot be seen or hit. */
const SEGMENT_PERCENT_MIN = 0.6;

export function PlaceBar({ places, to, small, label }: Props) {
  const shown = inOrder(places);
  const total = totalOf(shown);
  if (total === 0) return null;
  const text = shown.map((p) => `${placeWord(p.place)}: ${count(p.count)}`).join(", ");
  return (
    <div className={small ? "bar bar-small" : "bar"}>
      <div className="bar-track" {...(to ? { "aria-hidden": true } : { role: "img", "aria-label": `${label}. ${text}` })}>
        {shown.map((p) => (
          <Segment key={p.place} {...p} total={total} to={to?.(p.place)} />
        ))}
      </div>
      <ul className="bar-legend" aria-label={label}>
        {shown.map((p) => (
          <li key={p.place}>
            <span className={`place-dot place-${p.place}`} aria-hidden />
            <LegendNumber {...p} total={total} to={to?.(p.place)} small={small} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Segment({ place, count: n, total, to }: PlaceCount & { total: number; to?: string }) {
  const style = { flexGrow: Math.max((100 * n) / total, SEGMENT_PERCENT_MIN) };
  const title = `${placeWord(place)}: ${count(n)} (${percent(n, total)})`;
  // The legend's links are the ones for keyboard and screen reader; the segment is the same link for the pointer.
  if (to) return <Link to={to} preventScrollReset tabIndex={-1} className={`bar-segment place-${place}`} style={style} title={title} />;
  return <span className={`bar-segment place-${place}`} style={style} title={title} />;
}

function LegendNumber({ place, count: n, total, to, small }: PlaceCount & { total: number; to?: string; small?: boolean }) {
  const number = to ? (
    <Link to={to} preventScrollReset aria-label={`${count(n)} ${placeWord(place)}`}>
      {count(n)}
    </Link>
  ) : (
    <strong>{count(n)}</strong>
  );
  return (
    <span>
      {number} {placeWord(place)}
      {!small && <span className="quiet"> {percent(n, total)}</span>}
    </span>
  );
}
