// What was concluded about a message, and the findings that made it, the deciding ones first.
import { Link } from "react-router";
import type { Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

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
        {verdict.signals.map((signal, i) => (
          <li key={i}>
            <span>{signal.sentence}</span>
            <span className="quiet">
              <code>{signal.rule}</code> · {S.verdictClass[signal.class]} · {S.copy.points(signal.weight)}
              {signal.origin && ` · ${signal.origin}`}
            </span>
            {signal.evidence && <code>{signal.evidence}</code>}
            {signal.change_id && may("protection.read") && <Link to={`/changes/${signal.change_id}`}>{S.campaign.theChange}</Link>}
          </li>
        ))}
      </ul>
    </div>
  );
}
