// The frame of a page: title, one quiet line, what can be done, then the content.
import type { MouseEvent, ReactNode } from "react";
import { Link, useNavigate } from "react-router";
import { useTitle } from "../lib/hooks";
import { stepsBackTo } from "../lib/positions";

interface Props {
  title: string;
  /** Beside the title: a state. */
  aside?: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  back?: { to: string; word: string };
  children: ReactNode;
}

export function Page({ title, aside, lead, actions, back, children }: Props) {
  useTitle(title);
  const navigate = useNavigate();
  // Whoever came from there goes back to the row and the filter that they left.
  const goBack = (event: MouseEvent) => {
    const steps = back ? stepsBackTo(back.to) : 0;
    if (steps === 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    void navigate(-steps);
  };
  return (
    <div className="page">
      <header className="page-head">
        <div className="page-words">
          {back && (
            <Link to={back.to} className="back" onClick={goBack}>
              ← {back.word}
            </Link>
          )}
          <div className="page-title">
            <h1>{title}</h1>
            {aside}
          </div>
          {lead && <p className="quiet">{lead}</p>}
        </div>
        {actions && <div className="page-actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** A part of a page with its own heading. */
export function Section({ title, id, aside, children }: { title: string; id?: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="section" id={id} aria-label={title}>
      <div className="section-head">
        <h2>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** Names and values. Empty values are left out. */
export function Facts({ of }: { of: [string, ReactNode][] }) {
  const shown = of.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return (
    <dl className="facts">
      {shown.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
