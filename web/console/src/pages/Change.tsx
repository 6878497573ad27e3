// One change: left what it changes, right what the backtest says it would do; then test, stop, activate, undo.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { Fragment, type ReactNode } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { When } from "../components/Age";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame, Section } from "../components/Page";
import { placeWord } from "../components/places";
import { Progress } from "../components/Progress";
import { ErrorLine, Loaded } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count, sentence } from "../lib/format";
import { bringIntoView, useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { copies, S } from "../strings";
import { ChangeStateBadge } from "./Changes";

type Detail = Schemas["ChangeDetail"];
type Diff = Schemas["Diff"];
type Report = Schemas["BacktestReport"];
type Predicted = Schemas["PredictedCopy"];
const T = S.changes;

const at = (id: string) => ({ params: { path: { id } } });
const load = (id: string) => call(api.GET("/api/v1/changes/{id}", at(id)));
const loadCopies = (id: string, purges_only: boolean) => (page: PageOf) =>
  call(api.GET("/api/v1/changes/{id}/copies", { params: { path: { id }, query: { ...page, purges_only } } }));

/** The part of the page with the copies, and the word in the address for those alone that are pulled back. */
const MOVED = "moved";
const PURGES = "pulled-back";
const RUNNING_POLL_MS = 1_000;
const runs = (d?: Detail) => d?.change.state === "backtesting" || d?.jobs.some((job) => job.state === "running" || job.state === "waiting");

const classWord = (word: string) => S.verdictClass[word as Schemas["VerdictClass"]] ?? word;
const dispositionWord = (word: string) => T.disposition[word] ?? word;

const COLUMNS: Column<Predicted>[] = [
  { id: "subject", header: S.subject, width: "minmax(9rem, 1.6fr)", on: "main", cell: (c) => <span title={c.subject}>{c.subject || S.mail.noSubject}</span> },
  { id: "recipient", header: S.recipient, width: "minmax(9rem, 1.4fr)", cell: (c) => <span title={c.recipient}>{c.recipient}</span> },
  { id: "move", header: T.effect, width: "minmax(11rem, 1.4fr)", cell: (c) => T.fromTo(placeWord(c.from_place), dispositionWord(c.to_disposition)) },
  { id: "class", header: T.byClass, width: "minmax(9rem, 1fr)", on: "wide", cell: (c) => T.fromTo(classWord(c.class_before), classWord(c.class_after)) },
];

export function Page() {
  const { id = "" } = useParams();
  const query = useQuery({ queryKey: ["changes", id], queryFn: () => load(id), refetchInterval: (q) => (runs(q.state.data) ? RUNNING_POLL_MS : false) });
  const change = query.data?.change;
  return (
    <Frame
      title={change?.title ?? T.title}
      aside={change && <ChangeStateBadge state={change.state} />}
      lead={change && `${T.kind[change.kind] ?? change.kind} · ${T.proposedBy} ${change.proposed_by}`}
      back={{ to: "/changes", word: T.title }}
      actions={query.data && <Buttons detail={query.data} />}
    >
      <Loaded query={query}>{(detail) => <View detail={detail} />}</Loaded>
    </Frame>
  );
}

function View({ detail }: { detail: Detail }) {
  const { change, diff, report, jobs } = detail;
  const open = change.state === "proposed" || change.state === "backtesting" || change.state === "backtested";
  const warning = change.backtest?.warning;
  return (
    <>
      {warning && (
        <p className="loud" role="alert">
          {T.warning}: {warning}
        </p>
      )}
      {jobs.length > 0 && (
        <Section title={T.jobs}>
          {jobs.map((job) => (
            <div key={job.id} className="stack tight">
              <Progress label={job.title} done={job.done_count + job.failed_count} total={job.total_count} startedAt={job.started_at} finishedAt={job.finished_at} failed={job.state === "failed"} />
              {job.result && <p className="quiet">{job.result}</p>}
            </div>
          ))}
        </Section>
      )}
      <div className="columns">
        <div className="stack wide-gap">
          <Section title={T.what}>
            <DiffView diff={diff} />
            <Facts of={[[T.why, change.reason]]} />
          </Section>
          <History detail={detail} />
        </div>
        <Section title={open ? T.would : T.did}>
          {change.state === "backtesting" && change.backtest && (
            <Progress label={T.backtestRunning} done={change.backtest.judged_count} total={change.backtest.total_count} startedAt={change.backtest.started_at} />
          )}
          {report && change.backtest && change.state !== "backtesting" && <p className="quiet">{T.judged(change.backtest.judged_count, change.backtest.total_count)}</p>}
          {report ? <ReportView report={report} /> : change.state !== "backtesting" && <p className="quiet">{T.notTested}</p>}
        </Section>
      </div>
      {report && report.moved_count > 0 && <Moved id={change.id} />}
    </>
  );
}

function Buttons({ detail: { change, report, jobs } }: { detail: Detail }) {
  const may = useMay();
  const navigate = useNavigate();
  const { id, state } = change;
  const backtest = useAction(async () => (await call(api.POST("/api/v1/changes/{id}/backtest", at(id)))).sentence);
  const warns = Boolean(change.backtest?.warning);
  const pulls = report?.purge_count ?? 0;
  const pulledBack = jobs.filter((job) => job.kind === "purge").reduce((sum, job) => sum + job.done_count, 0);
  const undecided = state === "proposed" || state === "backtested";
  return (
    <>
      {backtest.error ? <ErrorLine error={backtest.error} /> : null}
      {undecided && may("change.propose") && (
        <>
          <Button appearance={state === "proposed" ? "primary" : "secondary"} disabled={backtest.isPending} onClick={() => backtest.mutate()}>
            {state === "backtested" ? T.backtestAgain : T.backtest}
          </Button>
          <ConfirmDialog
            title={T.stopTitle}
            text={<p>{T.stopText}</p>}
            go={T.stop}
            reason={{ label: T.why }}
            run={async (reason) => (await call(api.POST("/api/v1/changes/{id}/stop", { ...at(id), body: { reason } }))).sentence}
            trigger={(open) => (
              <Button appearance={warns ? "primary" : "secondary"} onClick={open}>
                {T.stop}
              </Button>
            )}
          />
        </>
      )}
      {undecided && (
        <ConfirmDialog
          title={T.activateTitle(pulls)}
          text={
            <>
              {warns && <p className="loud">{change.backtest?.warning}</p>}
              <p>{T.activateText(pulls)}</p>
            </>
          }
          go={T.activateGo(pulls)}
          danger={warns}
          reason={warns ? { label: T.overrideReason, required: true } : undefined}
          run={async (reason) => (await call(api.POST("/api/v1/changes/{id}/activate", { ...at(id), body: { override_reason: reason || null } }))).sentence}
          trigger={(open) => (
            <GuardedButton onClick={open} blocked={!may("change.activate") ? T.noActivate : state === "proposed" ? T.neverTested : undefined}>
              {T.activate}
            </GuardedButton>
          )}
        />
      )}
      {state === "active" && (
        <ConfirmDialog
          title={T.undoTitle(pulledBack)}
          text={<p>{T.undoText}</p>}
          go={T.undoGo}
          reason={{ label: T.why }}
          run={async (reason) => {
            const undone = await call(api.POST("/api/v1/changes/{id}/undo", { ...at(id), body: { reason } }));
            void navigate(`/changes/${id}`);
            return undone.redelivery_count > 0 ? `${undone.sentence} ${T.redelivery(undone.redelivery_count)}` : undone.sentence;
          }}
          trigger={(open) => (
            <GuardedButton appearance="primary" onClick={open} blocked={may("change.activate") ? undefined : T.noActivate}>
              {T.undo}
            </GuardedButton>
          )}
        />
      )}
    </>
  );
}

function DiffView({ diff }: { diff: Diff }) {
  switch (diff.kind) {
    case "feed":
      return (
        <>
          <p className="strong">{T.addTo(diff.feed, T.feedKind[diff.feed_kind])}</p>
          <Lines add={diff.add.map((e) => [e.value, S.verdictClass[e.class], e.note].filter(Boolean).join(" · "))} remove={diff.remove.map((e) => e.value)} />
        </>
      );
    case "list": {
      const line = (e: Schemas["ListEntry"]) => (
        <Fragment key={e.id}>
          {T.listAction[e.action]} · {T.listKind[e.kind]} · {e.value}
          {e.expires_at && (
            <>
              {" "}
              · {T.until} <When at={e.expires_at} />
            </>
          )}
        </Fragment>
      );
      return <Lines add={diff.add.map(line)} remove={diff.remove.map(line)} />;
    }
    case "weight":
      return <Lines add={[T.weightOf(diff.rule, diff.before, diff.weight)]} remove={[]} />;
  }
}

/** A feed update can have thousands of lines; so many are shown. */
const LINES_MAX = 50;

function Lines({ add, remove }: { add: ReactNode[]; remove: ReactNode[] }) {
  const hidden = Math.max(0, add.length - LINES_MAX) + Math.max(0, remove.length - LINES_MAX);
  return (
    <>
      <ul className="diff">
        {add.slice(0, LINES_MAX).map((line, i) => (
          <li key={i} className="plus">
            <span className="visually-hidden">{T.adds} </span>
            <span aria-hidden>+ </span>
            {line}
          </li>
        ))}
        {remove.slice(0, LINES_MAX).map((line, i) => (
          <li key={i} className="minus">
            <span className="visually-hidden">{T.removes} </span>
            <span aria-hidden>− </span>
            {line}
          </li>
        ))}
      </ul>
      {hidden > 0 && <p className="quiet">+ {count(hidden)}</p>}
    </>
  );
}

function History({ detail: { change } }: { detail: Detail }) {
  if (!change.activated_at && !change.undone_at) return null;
  return (
    <Section title={T.history}>
      <Facts
        of={[
          [T.activatedBy, change.activated_at && <span key="a">{change.activated_by} · <When at={change.activated_at} /></span>],
          [T.overrode, change.override_reason],
          [T.undoneBy, change.undone_at && <span key="u">{change.undone_by} · <When at={change.undone_at} /></span>],
          [T.why, change.undo_reason],
        ]}
      />
    </Section>
  );
}

function ReportView({ report }: { report: Report }) {
  const [, setUrl] = useUrlState();
  const numbers: [string, number][] = [
    [T.numbers.taken, report.taken_count],
    [T.numbers.read, report.read_count],
    [T.numbers.own, report.own_count],
    [T.numbers.redelivery, report.redelivery_count],
  ];
  const lists: [string, number, string | undefined][] = [
    [T.numbers.moved, report.moved_count, undefined],
    [T.numbers.purge, report.purge_count, PURGES],
  ];
  const show = (only: string | undefined) => {
    setUrl({ only });
    bringIntoView(MOVED);
  };
  return (
    <>
      {report.sampled && <p className="quiet">{T.sampled}</p>}
      {report.moved_count === 0 && <p>{T.noneMoved}</p>}
      {report.moved_count > 0 && (
        <>
          <div className="tiles">
            {lists.map(([word, n, only]) => (
              <button key={word} type="button" className={n === 0 ? "tile tile-none" : "tile"} onClick={() => show(only)}>
                <b>{count(n)}</b>
                <span>{word}</span>
              </button>
            ))}
            {numbers.map(([word, n]) => (
              <div key={word} className={n === 0 ? "tile tile-none" : "tile"}>
                <b>{count(n)}</b>
                <span>{word}</span>
              </div>
            ))}
          </div>
          {report.by_campaign.length > 0 && <ByCampaign report={report} />}
          <h3>{T.byClass}</h3>
          <NumberList rows={report.by_class.map((m) => [T.fromTo(classWord(m.from), classWord(m.to)), m.count])} />
          <h3>{T.byMove}</h3>
          <NumberList rows={report.by_move.map((m) => [T.fromTo(placeWord(m.from_place), dispositionWord(m.to_disposition)), m.count])} />
          <h3>{T.examples}</h3>
          <ul className="list">
            {report.examples.map((e, i) => (
              <li key={e.copy_id}>
                <Link to={`/trace/${e.copy_id}`}>{e.subject || S.mail.noSubject}</Link>
                <span className="quiet">
                  {T.fromTo(placeWord(e.from_place), dispositionWord(e.to_disposition))}
                  {e.campaign && ` · ${e.campaign}`}
                </span>
                {e.sentence !== report.examples[i - 1]?.sentence && <span>{sentence(e.sentence)}</span>}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function ByCampaign({ report }: { report: Report }) {
  const may = useMay();
  return (
    <div className="scroll-x">
      <table className="number-table">
        <thead>
          <tr>
            <th scope="col">{T.campaignColumn}</th>
            <th scope="col" className="end">{T.takenColumn}</th>
            <th scope="col" className="end">{T.pulledColumn}</th>
            <th scope="col" className="end">{T.readColumn}</th>
          </tr>
        </thead>
        <tbody>
          {report.by_campaign.map((c) => (
            <tr key={c.campaign_id}>
              <th scope="row">{may("campaign.read") ? <Link to={`/campaigns/${c.campaign_id}`}>{c.name}</Link> : c.name}</th>
              <td className="end">{count(c.taken_count)}</td>
              <td className="end">{count(c.purge_count)}</td>
              <td className="end">{count(c.read_count)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function NumberList({ rows }: { rows: [string, number][] }) {
  return (
    <table className="number-table">
      <tbody>
        {rows.map(([word, n]) => (
          <tr key={word}>
            <th scope="row">{word}</th>
            <td className="end">{copies(n)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Moved({ id }: { id: string }) {
  const navigate = useNavigate();
  const [url, setUrl] = useUrlState();
  const purgesOnly = url("only") === PURGES;
  const pages = usePages<Predicted>(["changes", id, "copies", purgesOnly], loadCopies(id, purgesOnly));
  return (
    <Section id={MOVED} title={purgesOnly ? T.allPulled : T.allMoved}>
      {purgesOnly && (
        <p>
          <Button size="small" appearance="subtle" onClick={() => setUrl({ only: undefined })}>
            {T.showAll}
          </Button>
        </p>
      )}
      <DataTable
        label={purgesOnly ? T.allPulled : T.allMoved}
        pages={pages}
        columns={COLUMNS}
        rowId={(c) => c.copy_id}
        rowName={(c) => c.recipient}
        onOpen={(c) => void navigate(`/trace/${c.copy_id}`)}
        height="420px"
        empty={<p className="quiet">{purgesOnly ? T.nonePulled : T.noneMoved}</p>}
      />
    </Section>
  );
}
