// The places of a campaign's copies over time: stacked steps, the same colours as the bar, and a table of the same numbers.
import type { Schemas } from "../lib/api";
import { count, shortTime, timeOfDay } from "../lib/format";
import { S } from "../strings";
import { PLACES, type Place, placeWord, totalOf } from "./places";
import { When } from "./Age";

type Point = Schemas["OverTimePoint"];
const WIDTH = 1000;
const HEIGHT = 200;
const TICKS = 5;
/** The table shows the last so many points. */
const TABLE_ROWS_MAX = 40;

const numberAt = (point: Point, place: Place) => point.places.find((p) => p.place === place)?.count ?? 0;

/** After the last change the picture shows this much more, so that a long quiet time does not squeeze the story to the edge. */
const QUIET_SHARE = 0.3;
const QUIET_POINTS_MIN = 4;

const same = (a?: Point, b?: Point) => PLACES.every((place) => (a ? numberAt(a, place) : 0) === (b ? numberAt(b, place) : 0));

/** The course without the quiet time at its end. */
function untilQuiet(points: Point[]): Point[] {
  const last = points.findLastIndex((point, i) => i > 0 && !same(point, points[i - 1]));
  return points.slice(0, Math.max(last, 0) + 1 + Math.max(QUIET_POINTS_MIN, Math.ceil(last * QUIET_SHARE)));
}

export function OverTime({ points: all, label }: { points: Point[]; label: string }) {
  const points = untilQuiet(all);
  const most = Math.max(0, ...points.map((p) => totalOf(p.places)));
  if (points.length < 2 || most === 0) return <p className="quiet">{S.campaign.overTimeNone}</p>;
  const seen = PLACES.filter((place) => points.some((p) => numberAt(p, place) > 0));
  const first = new Date(points[0]!.at).getTime();
  const span = new Date(points.at(-1)!.at).getTime() - first || 1;
  const x = (at: string | number) => ((new Date(at).getTime() - first) / span) * WIDTH;
  const time = span < 600_000 ? timeOfDay : shortTime;
  // No time twice: a course of three seconds has no five of them.
  const gaps = Math.min(TICKS - 1, Math.floor(span / 1000));
  const ticks = Array.from({ length: gaps + 1 }, (_, i) => first + (span * i) / Math.max(1, gaps));
  return (
    <div className="stack">
      <figure style={{ margin: 0, padding: "4px 0 0" }}>
        <svg className="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${label}. ${summary(points.at(-1)!)}`}>
          <defs>
            <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="6" height="6" fill="var(--place-unknown-gap)" />
              <rect width="3" height="6" fill="var(--place-unknown)" />
            </pattern>
          </defs>
          {bands(points, seen, x, most).map(({ place, path }) => (
            <path key={place} d={path} className={`chart-${place}`}>
              <title>{placeWord(place)}</title>
            </path>
          ))}
        </svg>
        <div className="row between quiet" aria-hidden style={{ fontSize: "var(--fontSizeBase200)", marginTop: 4 }}>
          {ticks.map((at) => (
            <span key={at}>{time(at)}</span>
          ))}
        </div>
      </figure>
      {points.length < all.length && (
        <p className="quiet">
          {S.campaign.unchangedSince} <When at={points.at(-1)!.at} />.
        </p>
      )}
      <details>
        <summary>{S.campaign.overTimeTable}</summary>
        <Table points={points.slice(-TABLE_ROWS_MAX)} places={seen} />
      </details>
    </div>
  );
}

const summary = (point: Point) => point.places.map((p) => `${placeWord(p.place)}: ${count(p.count)}`).join(", ");

/** One closed path per place, stacked from the bottom; numbers hold until the next point, so the edges are steps. */
function bands(points: Point[], places: Place[], x: (at: string) => number, most: number) {
  const floor = points.map(() => 0);
  return places.map((place) => {
    const low = [...floor];
    points.forEach((point, i) => (floor[i] = (floor[i] ?? 0) + numberAt(point, place)));
    const y = (n: number) => HEIGHT - (n / most) * HEIGHT;
    const edge = (values: number[]) =>
      points.flatMap((point, i) => {
        const next = points[i + 1];
        const here = `${x(point.at).toFixed(1)},${y(values[i] ?? 0).toFixed(1)}`;
        return next ? [here, `${x(next.at).toFixed(1)},${y(values[i] ?? 0).toFixed(1)}`] : [here];
      });
    return { place, path: `M${edge(floor).join("L")}L${edge(low).reverse().join("L")}Z` };
  });
}

function Table({ points, places }: { points: Point[]; places: Place[] }) {
  return (
    <div className="scroll-x" tabIndex={0} role="group" aria-label={S.campaign.overTime}>
      <table className="number-table">
        <thead>
          <tr>
            <th scope="col">{S.campaign.time}</th>
            {places.map((place) => (
              <th key={place} scope="col" className="end">
                {placeWord(place)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {points.map((point) => (
            <tr key={point.at}>
              <th scope="row">
                <When at={point.at} />
              </th>
              {places.map((place) => (
                <td key={place} className="end">
                  {count(numberAt(point, place))}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
