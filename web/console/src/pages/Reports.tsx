// What other hosts say about the mail that went out: bounces and complaints with what was made of each, and how TLS went.
import { Tab, TabList } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { Choice } from "../components/Choice";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame, Section } from "../components/Page";
import { EmptyState, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count, sentence } from "../lib/format";
import { useUrlState } from "../lib/hooks";
import { S } from "../strings";

type Report = Schemas["ReturnedReport"];
type Count = Schemas["ReportCount"];
type TlsDay = Schemas["TlsDay"];
type Outcome = Schemas["ReportOutcome"];
type TabName = keyof typeof S.reports.tabs;
const T = S.reports;
const OUTCOMES = Object.keys(T.outcome) as Outcome[];

const loadCounts = () => call(api.GET("/api/v1/reports/counts"));
const load = (outcome: Outcome | undefined) => (page: PageOf) => call(api.GET("/api/v1/reports", { params: { query: { ...page, outcome } } }));
const loadDays = (page: PageOf) => call(api.GET("/api/v1/tls-days", { params: { query: page } }));

const what = (r: { kind: string }) => T.kind[r.kind] ?? sentence(r.kind.replaceAll("_", " "));
const why = (r: { class: string }) => (r.class ? (T.class[r.class] ?? r.class) : "");

const COLUMNS: Column<Report>[] = [
  { id: "at", header: S.when, width: "7.5rem", cell: (r) => <When at={r.received_at} /> },
  { id: "what", header: T.what, width: "minmax(8rem, 1fr)", on: "main", cell: what },
  { id: "why", header: T.why, width: "minmax(7rem, 1fr)", cell: why },
  { id: "recipient", header: S.recipient, width: "minmax(9rem, 1.5fr)", cell: (r) => <span title={r.recipient}>{r.recipient}</span> },
  { id: "outcome", header: T.outcomeLabel, width: "minmax(8rem, 1fr)", cell: (r) => <span title={r.problem}>{T.outcome[r.outcome]}</span> },
  { id: "said", header: T.said, width: "minmax(9rem, 2fr)", on: "wide", cell: (r) => <span title={`${r.reporter}: ${r.status} ${r.diagnostic}`}>{`${r.status} ${r.diagnostic}`.trim()}</span> },
];

const TLS_COLUMNS: Column<TlsDay>[] = [
  { id: "domain", header: T.domain, width: "minmax(9rem, 2fr)", on: "main", cell: (d) => <span title={d.domain}>{d.domain}</span> },
  { id: "day", header: T.day, width: "7rem", cell: (d) => d.day.slice(0, 10) },
  { id: "policy", header: T.policy, width: "7rem", on: "wide", cell: (d) => T.policyWord[d.policy] ?? d.policy },
  { id: "good", header: T.good, width: "8rem", end: true, cell: (d) => count(d.success_count) },
  { id: "bad", header: T.bad, width: "5rem", end: true, cell: (d) => (d.failure_count > 0 ? <strong>{count(d.failure_count)}</strong> : count(0)) },
  { id: "failure", header: T.failure, width: "minmax(9rem, 2fr)", cell: (d) => <span title={[d.failure_host, d.failure_reason].filter(Boolean).join(": ")}>{d.failure}</span> },
  { id: "report", header: T.report, width: "8rem", on: "wide", cell: (d) => T.reportState[d.report] },
];

export function Page() {
  const [url, setUrl] = useUrlState();
  const tab: TabName = url("tab") === "tls" ? "tls" : "back";
  return (
    <Frame title={T.title} lead={T.lead}>
      <div className="scroll-x">
        <TabList selectedValue={tab} onTabSelect={(_, data) => setUrl({ tab: data.value === "back" ? undefined : String(data.value), outcome: undefined })}>
          {(Object.keys(T.tabs) as TabName[]).map((name) => (
            <Tab key={name} value={name}>
              {T.tabs[name]}
            </Tab>
          ))}
        </TabList>
      </div>
      {tab === "back" ? <Back /> : <Tls />}
    </Frame>
  );
}

function Back() {
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const outcome = OUTCOMES.find((word) => word === url("outcome"));
  const counts = useQuery({ queryKey: ["reports", "counts"], queryFn: loadCounts });
  const pages = usePages<Report>(["reports", "list", outcome], load(outcome));
  return (
    <>
      <Section title={T.counts}>
        <Loaded query={counts} part loading={<Loading lines={3} />}>
          {(all) => <Counts counts={all} />}
        </Loaded>
      </Section>
      <Section
        title={T.tabs.back}
        aside={
          <Choice label={T.outcomeLabel} value={outcome} all={T.anyOutcome} values={OUTCOMES} word={(one) => T.outcome[one]} choose={(one) => setUrl({ outcome: one })} />
        }
      >
        <DataTable
          label={T.tabs.back}
          pages={pages}
          columns={COLUMNS}
          rowId={(r) => r.id}
          rowName={(r) => `${what(r)}, ${r.recipient}`}
          onOpen={(r) => void navigate(`/trace/${r.copy_id}`)}
          opens={(r) => Boolean(r.copy_id)}
          height="520px"
          empty={<EmptyState title={outcome ? T.emptyFilter : T.emptyTitle} detail={outcome ? T.emptyFilterDetail : T.emptyDetail} />}
        />
      </Section>
    </>
  );
}

function Counts({ counts }: { counts: Count[] }) {
  if (counts.length === 0) return <p className="quiet">{T.countsNone}</p>;
  return (
    <div className="scroll-x" tabIndex={0} role="group" aria-label={T.counts}>
      <table className="number-table">
        <thead>
          <tr>
            <th scope="col">{T.what}</th>
            <th scope="col">{T.why}</th>
            <th scope="col">{T.outcomeLabel}</th>
            <th scope="col" className="end">
              {T.times}
            </th>
            <th scope="col">{T.last}</th>
          </tr>
        </thead>
        <tbody>
          {counts.map((c) => (
            <tr key={`${c.kind} ${c.class} ${c.outcome}`}>
              <th scope="row">{what(c)}</th>
              <td>{why(c)}</td>
              <td>{T.outcome[c.outcome]}</td>
              <td className="end">{count(c.count)}</td>
              <td>
                <When at={c.last_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Tls() {
  const pages = usePages<TlsDay>(["reports", "tls"], loadDays);
  return (
    <>
      <p className="quiet">{T.tlsLead}</p>
      <DataTable
        label={T.tabs.tls}
        pages={pages}
        columns={TLS_COLUMNS}
        rowId={(d) => `${d.day} ${d.domain}`}
        rowName={(d) => `${d.domain}, ${d.day.slice(0, 10)}`}
        empty={<EmptyState title={T.tlsEmptyTitle} detail={T.tlsEmptyDetail} />}
      />
    </>
  );
}
