// Evidence as a vertical timeline, newest first: time, who saw it, what it means; the raw evidence on demand.
import type { Schemas } from "../lib/api";
import { sourceWord } from "../lib/sources";
import { S } from "../strings";
import { Seen, When } from "./Age";
import type { Place } from "./places";

/** The place that an event brings a copy to, for the colour of its dot; an event without one leaves it where it is. */
const LEADS_TO: Partial<Record<Schemas["EventKind"], Place>> = {
  queued: "on_its_way",
  deferred: "on_its_way",
  rejected: "not_received",
  held: "quarantine",
  purged: "quarantine",
  denied: "quarantine",
  released: "inbox",
  restored: "inbox",
  redelivered: "inbox",
  expired: "not_received",
  dropped: "not_received",
  bounced: "not_received",
  deleted_by_owner: "deleted",
};

function placeAfter(e: Schemas["Evidence"]): Place | undefined {
  if (e.kind === "accepted") return e.source === "smtp" ? "accepted" : "inbox";
  return LEADS_TO[e.kind];
}

export function Timeline({ evidence }: { evidence: Schemas["Evidence"][] }) {
  return (
    <ol className="timeline">
      {[...evidence].reverse().map((e) => (
        <li key={e.id}>
          <When at={e.effective_at} />
          <span className={`timeline-dot ${placeAfter(e) ? `place-${placeAfter(e)}` : "timeline-dot-none"}`} aria-hidden />
          <div className="timeline-what">
            <span>{e.sentence}</span>
            <span>
              <Seen at={e.observed_at} source={sourceWord(e.source)} />
              {e.actor && (
                <span className="quiet">
                  {" "}
                  · {S.by} {e.actor}
                </span>
              )}
            </span>
            {Object.keys(e.detail).length > 0 && (
              <details>
                <summary>{S.copy.raw}</summary>
                <pre className="raw">{JSON.stringify(e.detail, null, 2)}</pre>
              </details>
            )}
          </div>
        </li>
      ))}
    </ol>
  );
}
