// The frame of a page: title, one quiet line, what can be done, then the content.
import type { ReactNode } from "react";
import { Link } from "react-router";
import { useTitle } from "../lib/hooks";

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
  return (
    <div className="page">
      <header className="page-head">
        <div className="page-words">
          {back && (
            <Link to={back.to} className="back">
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
