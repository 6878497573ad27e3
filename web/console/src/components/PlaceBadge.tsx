// A place as one colour and one word, the same everywhere. The last event may stand beside it.
import type { Schemas } from "../lib/api";
import { S } from "../strings";
import { type Place, placeWord } from "./places";

interface Props {
  place: Place;
  folder?: string;
  event?: Schemas["LastEvent"];
}

export function PlaceBadge({ place, folder, event }: Props) {
  return (
    <span className="place">
      <span className={`place-dot place-${place}`} aria-hidden />
      <span>
        <span className="place-word">{placeWord(place, folder)}</span>
        {event && <span className="quiet"> · {S.event[event]}</span>}
      </span>
    </span>
  );
}
