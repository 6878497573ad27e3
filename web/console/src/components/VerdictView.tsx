// What was concluded about a message, and the findings that made it, the deciding ones first.
import { Link } from "react-router";
import type { Schemas } from "../lib/api";
import { sentence } from "../lib/format";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Signal = Schemas["Signal"];

/** What a rule says of several links is said once, with all that it found. */
function together(signals: Signal[]): { signal: Signal; evidence: string[] }[] {
  const groups = new Map<string, { signal: Signal; evidence: string[] }>();
  for (const signal of signals) {
    const key = JSON.stringify([signal.rule, signal.sentence, signal.origin, signal.change_id]);
    const group = groups.get(key) ?? { signal, evidence: [] };
    if (signal.evidence && !group.evidence.includes(signal.evidence)) group.evidence.push(signal.evidence);
    groups.set(key, group);
  }
  return [...groups.values()];
}

export function VerdictView({ verdict }: { verdict: Schemas["Verdict"] }) {
  const may = useMay();
  return (
    <div className="stack">
      <p>
        <strong>{S.verdictClass[verdict.class]}</strong> · {verdict.sentence}
      </p>
      <h3>{S.copy.signals}</h3>
      {verdict.signals.length === 0 && <p className="quiet">{S.copy.noSignals}</p>}
      <ul className="list">
        {together(verdict.signals).map(({ signal, evidence }, i) => (
          <li key={i}>
            <span>{sentence(signal.sentence)}</span>
            <span className="quiet">
              <code>{signal.rule}</code> · {S.verdictClass[signal.class]} · {S.copy.points(signal.weight)}
              {signal.origin && ` · ${signal.origin}`}
            </span>
            {evidence.map((found) => (
              <code key={found}>{found}</code>
            ))}
            {signal.change_id && may("protection.read") && <Link to={`/changes/${signal.change_id}`}>{S.campaign.theChange}</Link>}
          </li>
        ))}
      </ul>
    </div>
  );
}
