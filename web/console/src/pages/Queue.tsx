// The outbound queue: numbers, by domain, and the copies that wait.
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { Age, When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame, Section } from "../components/Page";
import { EmptyState, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count } from "../lib/format";
import { useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Delivery = Schemas["Delivery"];
type State = Schemas["DeliveryState"];
const T = S.queue;
const STATES: State[] = ["due", "leased", "held", "failed", "done"];
const POLL_MS = 5_000;

const loadSummary = () => call(api.GET("/api/v1/queue"));
const load = (state: string, domain: string) => (page: PageOf) =>
  call(api.GET("/api/v1/queue/items", { params: { query: { ...page, state: (state || undefined) as State | undefined, domain: domain || undefined } } }));

const COLUMNS: Column<Delivery>[] = [
  { id: "recipient", header: S.recipient, width: "minmax(11rem, 2fr)", on: "main", cell: (d) => d.recipient },
  { id: "state", header: S.state, width: "8rem", cell: (d) => T.state[d.state] },
  { id: "tries", header: T.attempts, width: "4rem", end: true, on: "wide", cell: (d) => count(d.attempt_count) },
  { id: "next", header: T.nextTry, width: "8rem", cell: (d) => (d.state === "due" ? <Age at={d.next_try_at} /> : "") },
  { id: "reply", header: T.lastReply, width: "minmax(10rem, 3fr)", cell: (d) => <span title={d.last_reply}>{d.last_reply}</span> },
];

export function Page() {
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const may = useMay();
  const state = url("state");
  const domain = url("domain");
  const summary = useQuery({ queryKey: ["queue", "summary"], queryFn: loadSummary, refetchInterval: POLL_MS });
  const pages = usePages<Delivery>(["queue", "items", state, domain], load(state, domain));
  return (
    <Frame title={T.title} lead={T.lead}>
      <Loaded query={summary} loading={<Loading lines={2} tall />}>
        {(now) => <Summary now={now} />}
      </Loaded>
      <Section
        title={T.items}
        aside={
          <label className="row quiet">
            {S.state}
            <select className="select" value={state} onChange={(event) => setUrl({ state: event.target.value })}>
              <option value="">{T.anyState}</option>
              {STATES.map((value) => (
                <option key={value} value={value}>
                  {T.state[value]}
                </option>
              ))}
            </select>
          </label>
        }
      >
        <DataTable
          label={T.items}
          pages={pages}
          columns={COLUMNS}
          rowId={(d) => d.id}
          rowName={(d) => d.recipient}
          onOpen={may("trace.read") ? (d) => void navigate(`/trace/${d.copy_id}`) : undefined}
          height="520px"
          empty={<EmptyState title={T.emptyTitle} detail={state || domain ? T.emptyFilter : T.emptyDetail} />}
        />
      </Section>
    </Frame>
  );
}

function Summary({ now }: { now: Schemas["QueueSummary"] }) {
  const [, setUrl] = useUrlState();
  const tiles: [string, number][] = [
    [T.state.due, now.due_count],
    [T.state.leased, now.leased_count],
    [T.state.held, now.held_count],
  ];
  return (
    <>
      <div className="tiles">
        {tiles.map(([word, n]) => (
          <div key={word} className="tile">
            <b>{count(n)}</b>
            <span>{word}</span>
          </div>
        ))}
        {now.oldest_at && (
          <div className="tile">
            <b>
              <Age at={now.oldest_at} />
            </b>
            <span>{S.home.oldest}</span>
          </div>
        )}
      </div>
      {now.lines.length > 0 && (
        <Section title={T.byDomain}>
          <div className="scroll-x" tabIndex={0} role="group" aria-label={T.byDomain}>
            <table className="number-table">
              <thead>
                <tr>
                  <th scope="col">{T.domain}</th>
                  <th scope="col">{S.state}</th>
                  <th scope="col" className="end">{T.items}</th>
                  <th scope="col">{T.nextTry}</th>
                  <th scope="col">{T.lastReply}</th>
                </tr>
              </thead>
              <tbody>
                {now.lines.map((line) => (
                  <tr key={`${line.domain}-${line.state}`}>
                    <th scope="row">
                      <button type="button" className="text-button" onClick={() => setUrl({ domain: line.domain, state: line.state })}>
                        {line.domain}
                      </button>
                    </th>
                    <td>{T.state[line.state]}</td>
                    <td className="end">{count(line.count)}</td>
                    <td>
                      <When at={line.next_try_at} />
                    </td>
                    <td>{line.last_reply}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Section>
      )}
    </>
  );
}
