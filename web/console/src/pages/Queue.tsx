// The outbound queue: numbers, what is being limited and why, by MX group with the last reply and the next try, the copies that
// wait, and what can be done with a selection of them. Every action shows its number first.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useNavigate } from "react-router";
import { Age, NextTry } from "../components/Age";
import { ConfirmDialog } from "../components/actions";
import { Choice } from "../components/Choice";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame, Section } from "../components/Page";
import { EmptyState, ErrorLine, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count, sentence } from "../lib/format";
import { bringIntoView, useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Delivery = Schemas["Delivery"];
type State = Schemas["DeliveryState"];
type Group = Schemas["QueueGroup"];
type Limit = Schemas["QueueLimit"];
type Selection = Schemas["QueueSelection"];
type Act = Schemas["QueueAct"];
const T = S.queue;
const STATES = ["due", "leased", "held"] as const satisfies State[];
const ACTS: Act[] = ["retry", "hold", "delete"];
const POLL_MS = 5_000;
/** The part of the page with the copies. */
const COPIES = "copies";
/** Rows of a table at first, and how many more with each click. */
const ROWS_SHOWN = 10;
const ROWS_MORE = 50;

const loadLimits = () => call(api.GET("/api/v1/queue/limits"));
const loadSummary = () => call(api.GET("/api/v1/queue"));
const loadGroups = () => call(api.GET("/api/v1/queue/groups"));
const load = (selection: Selection) => (page: PageOf) =>
  call(
    api.GET("/api/v1/queue/items", {
      params: { query: { ...page, state: selection.state ?? undefined, mx_group: selection.mx_group ?? undefined, sender: selection.sender ?? undefined } },
    }),
  );
const loadPreview = (selection: Selection) => call(api.POST("/api/v1/queue/preview", { body: selection }));

const COLUMNS: Column<Delivery>[] = [
  { id: "recipient", header: S.recipient, width: "minmax(11rem, 2fr)", on: "main", cell: (d) => <span title={d.recipient}>{d.recipient}</span> },
  { id: "sender", header: T.sender, width: "minmax(8rem, 1.5fr)", on: "wide", cell: (d) => <span title={d.sender}>{d.sender || T.nobody}</span> },
  { id: "state", header: S.state, width: "8rem", cell: (d) => T.state[d.state] },
  { id: "tries", header: T.attempts, width: "4rem", end: true, on: "wide", cell: (d) => count(d.attempt_count) },
  { id: "next", header: T.nextTry, width: "8rem", cell: (d) => (d.state === "due" ? <NextTry at={d.next_try_at} /> : "") },
  { id: "reply", header: T.lastReply, width: "minmax(10rem, 3fr)", cell: (d) => <span title={d.last_reply}>{d.last_reply}</span> },
];

export function Page() {
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const may = useMay();
  const selection: Selection = {
    id: null,
    domain: null,
    campaign_id: null,
    state: (url("state") || null) as State | null,
    mx_group: url("group") || null,
    sender: url("sender") || null,
  };
  const isPart = Boolean(selection.state || selection.mx_group || selection.sender);
  const summary = useQuery({ queryKey: ["queue", "summary"], queryFn: loadSummary, refetchInterval: POLL_MS });
  const limits = useQuery({ queryKey: ["queue", "limits"], queryFn: loadLimits, refetchInterval: POLL_MS });
  const groups = useQuery({ queryKey: ["queue", "groups"], queryFn: loadGroups, refetchInterval: POLL_MS });
  const pages = usePages<Delivery>(["queue", "items", selection.state, selection.mx_group, selection.sender], load(selection));
  const showAll = () => setUrl({ group: undefined, sender: undefined, state: undefined });
  return (
    <Frame title={T.title} lead={T.lead}>
      <Loaded query={summary} loading={<Loading lines={2} tall />}>
        {(now) => <Tiles now={now} />}
      </Loaded>
      <Loaded query={limits} part>
        {(rows) => <Limits limits={rows} />}
      </Loaded>
      <Loaded query={groups} part>
        {(rows) => <Groups groups={rows} />}
      </Loaded>
      <Section
        id={COPIES}
        title={T.items}
        aside={
          <Choice label={S.state} value={selection.state} all={T.anyState} values={STATES} word={(one) => T.state[one]} choose={(one) => setUrl({ state: one })} />
        }
      >
        {isPart && (
          <p className="row">
            <span>{T.shown(selection.mx_group && T.groupName(selection.mx_group), selection.sender)}</span>
            <Button size="small" appearance="subtle" onClick={showAll}>
              {T.showAll}
            </Button>
          </p>
        )}
        {may("queue.write") && pages.rows.length > 0 && <Acts selection={selection} />}
        <DataTable
          label={T.items}
          pages={pages}
          columns={COLUMNS}
          rowId={(d) => d.id}
          rowName={(d) => d.recipient}
          onOpen={may("trace.read") ? (d) => void navigate(`/trace/${d.copy_id}`) : undefined}
          height="520px"
          empty={<Empty isPart={isPart} showAll={showAll} />}
        />
      </Section>
    </Frame>
  );
}

function Empty({ isPart, showAll }: { isPart: boolean; showAll: () => void }) {
  if (!isPart) return <EmptyState title={T.emptyTitle} detail={T.emptyDetail} />;
  return <EmptyState title={T.emptyFilter} detail={T.emptyFilterDetail} action={<Button onClick={showAll}>{T.showAll}</Button>} />;
}

/** What can be done with everything that the filters show; the dialog asks the server for the number when it opens. */
function Acts({ selection }: { selection: Selection }) {
  return (
    <div className="row" role="group" aria-label={T.acts}>
      {ACTS.map((act) => (
        <ConfirmDialog
          key={act}
          title={T.act[act].title}
          text={<Preview selection={selection} act={act} />}
          go={T.act[act].go}
          danger={act === "delete"}
          reason={act === "delete" ? { label: T.why, required: true } : undefined}
          run={async (reason) => {
            const done = await call(api.POST("/api/v1/queue/actions", { body: { act, selection, reason } }));
            return T.done(done.changed_count, done.left_count, done.lifted);
          }}
          trigger={(open) => (
            <Button size="small" onClick={open}>
              {T.act[act].button}
            </Button>
          )}
        />
      ))}
    </div>
  );
}

function Preview({ selection, act }: { selection: Selection; act: Act }) {
  const preview = useQuery({ queryKey: ["queue", "preview", selection], queryFn: () => loadPreview(selection), gcTime: 0 });
  if (preview.error) return <ErrorLine error={preview.error} />;
  if (!preview.data) return <Loading lines={1} />;
  const now = preview.data;
  return (
    <>
      <p>
        <b>{T.means(now.count, now.domain_count)}</b>
        {now.leased_count > 0 && <> {T.trying(now.leased_count)}</>}
      </p>
      <p>{T.act[act].text}</p>
    </>
  );
}

function Tiles({ now }: { now: Schemas["QueueSummary"] }) {
  const [url, choose] = useChoice();
  const numbers: Record<(typeof STATES)[number], number> = { due: now.due_count, leased: now.leased_count, held: now.held_count };
  return (
    <div className="tiles">
      {STATES.map((state) => (
        <button
          key={state}
          type="button"
          className={numbers[state] === 0 ? "tile tile-none" : "tile"}
          aria-pressed={url("state") === state}
          onClick={() => choose({ state: url("state") === state ? undefined : state })}
        >
          <b>{count(numbers[state])}</b>
          <span>{T.state[state]}</span>
        </button>
      ))}
      {now.oldest_at && (
        <div className="tile">
          <b>
            <Age at={now.oldest_at} />
          </b>
          <span>{T.oldestQueued}</span>
        </div>
      )}
    </div>
  );
}

/** The first rows of a long list, and a button for more of them. */
function useSome<Row>(rows: Row[]): [Row[], ReactNode] {
  const [shown, setShown] = useState(ROWS_SHOWN);
  const left = rows.length - shown;
  const button = left > 0 && (
    <Button size="small" appearance="subtle" onClick={() => setShown(shown + ROWS_MORE)}>
      {T.more(left)}
    </Button>
  );
  return [rows.slice(0, shown), button];
}

/** Choosing a part of the queue brings its copies into view: they stand below what one chooses by. */
function useChoice(): ReturnType<typeof useUrlState> {
  const [url, setUrl] = useUrlState();
  const choose = (part: Record<string, string | undefined>) => {
    setUrl(part);
    bringIntoView(COPIES);
  };
  return [url, choose];
}

/** The button that shows what waits for an MX group, or what of it is in one state. */
function ToGroup({ group, state, text, label }: { group: string; state?: State; text: string; label?: string }) {
  const [url, choose] = useChoice();
  return (
    <button type="button" className="text-button" aria-label={label} aria-pressed={url("group") === group && url("state") === (state ?? "")} onClick={() => choose({ group, state })}>
      {text}
    </button>
  );
}

/** How many copies of a group are in a state, leading to them. */
function GroupNumber({ group, state, n }: { group: Group; state?: State; n: number }) {
  if (n === 0) return <>{count(n)}</>;
  const word = state ? T.state[state] : T.items;
  return <ToGroup group={group.mx_group} state={state} text={count(n)} label={`${count(n)} ${word}, ${T.groupName(group.mx_group)}`} />;
}

function Limits({ limits }: { limits: Limit[] }) {
  const [rows, more] = useSome(limits);
  if (limits.length === 0) return null;
  const isOneProcess = new Set(limits.map((limit) => limit.process)).size === 1;
  return (
    <Section title={T.limits}>
      <div className="scroll-x queue-groups" tabIndex={0} role="group" aria-label={T.limits}>
        <table className="number-table">
          <thead>
            <tr>
              <th scope="col">{T.limited}</th>
              <th scope="col">{S.state}</th>
              <th scope="col">{T.limitWhy}</th>
              <th scope="col" className="end">{T.limitConnections}</th>
              <th scope="col">{T.limitEases}</th>
              <th scope="col">{T.lastReply}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((limit) => (
              <tr key={`${limit.process} ${limit.level} ${limit.name}`}>
                <th scope="row">
                  {T.limitLevel[limit.level]} {limit.mx_group ? <ToGroup group={limit.mx_group} text={T.groupName(limit.name)} /> : limit.name}
                  {!isOneProcess && <span className="quiet"> {T.limitProcess(limit.process)}</span>}
                </th>
                <td className="nowrap">{T.limitState[limit.state]}</td>
                <td>{sentence(limit.reason) || T.limitRate(limit.messages_per_second_max, limit.messages_per_minute_max) || T.limitConfigured}</td>
                <td className="end">{T.limitOpen(limit.connections_open, limit.connections_max)}</td>
                <td className="nowrap">{limit.eases_at ? <NextTry at={limit.eases_at} /> : ""}</td>
                <td className="reply" title={limit.last_reply}>
                  {limit.last_reply}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {more}
    </Section>
  );
}

function Groups({ groups }: { groups: Group[] }) {
  const [rows, more] = useSome(groups);
  if (groups.length === 0) return null;
  return (
    <Section title={T.byGroup}>
      <div className="scroll-x queue-groups" tabIndex={0} role="group" aria-label={T.byGroup}>
        <table className="number-table">
          <thead>
            <tr>
              <th scope="col">{T.group}</th>
              <th scope="col" className="end">{T.items}</th>
              <th scope="col" className="end">{T.state.leased}</th>
              <th scope="col" className="end">{T.state.held}</th>
              <th scope="col">{T.oldest}</th>
              <th scope="col">{T.nextTry}</th>
              <th scope="col">{T.lastReply}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((group) => (
              <tr key={group.mx_group}>
                <th scope="row">
                  <ToGroup group={group.mx_group} text={T.groupName(group.mx_group)} />
                  {group.domain_count > 1 && <span className="quiet"> {T.domains(group.domain_count)}</span>}
                </th>
                <td className="end">
                  <GroupNumber group={group} n={group.count} />
                </td>
                <td className="end">
                  <GroupNumber group={group} state="leased" n={group.leased_count} />
                </td>
                <td className="end">
                  <GroupNumber group={group} state="held" n={group.held_count} />
                </td>
                <td className="nowrap">
                  <Age at={group.oldest_at} />
                </td>
                <td className="nowrap">{group.next_try_at ? <NextTry at={group.next_try_at} /> : ""}</td>
                <td className="reply" title={group.last_reply}>
                  {group.last_reply}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {more}
    </Section>
  );
}
