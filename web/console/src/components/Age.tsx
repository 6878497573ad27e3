// Times: how old something is, or when it was in the viewer's zone; UTC on hover either way.
import { dayAndTime, isToday, timeOfDay, utc } from "../lib/format";
import { useNow } from "../lib/hooks";
import { S } from "../strings";

const FRESH_MS = 5_000;

function ageText(at: string, now: number): string {
  const ms = now - new Date(at).getTime();
  if (ms < -FRESH_MS) return S.in(-ms);
  return ms < FRESH_MS ? S.justNow : S.ago(ms);
}

/** "seen 2 min ago, gateway". */
export function Seen({ at, source }: { at: string; source?: string }) {
  const now = useNow();
  return (
    <time className="quiet" dateTime={at} title={utc(at)}>
      {S.seen(ageText(at, now), source)}
    </time>
  );
}

/** "2 min ago". */
export function Age({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={utc(at)}>
      {ageText(at, now)}
    </time>
  );
}

/** "in 5 min"; what is due already is tried as soon as it has its turn. */
export function NextTry({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={utc(at)}>
      {new Date(at).getTime() > now ? ageText(at, now) : S.queue.nextNow}
    </time>
  );
}

/** "10:14:03" today, "14 Mar, 10:14" before. */
export function When({ at }: { at: string }) {
  return (
    <time dateTime={at} title={utc(at)} className="nowrap">
      {isToday(at) ? timeOfDay(at) : dayAndTime(at)}
    </time>
  );
}
