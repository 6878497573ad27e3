// Evidence as a vertical timeline, newest first: time, who saw it, what it means; the raw evidence on demand.
import type { Schemas } from "../lib/api";
import { sourceWord } from "../lib/sources";
import { S } from "../strings";
import { Seen, When } from "./Age";

export function Timeline({ evidence }: { evidence: Schemas["Evidence"][] }) {
  return (
    <ol className="timeline">
      {[...evidence].reverse().map((e) => (
        <li key={e.id}>
          <When at={e.effective_at} />
          <span className={`timeline-dot ${e.place ? `place-${e.place}` : "timeline-dot-none"}`} aria-hidden />
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
