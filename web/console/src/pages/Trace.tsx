// Message trace: the search is in the address, the answer for one copy in the panel. `/trace/:id` is one copy alone.
import { Button, Field, Input, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { When } from "../components/Age";
import { useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame, Section } from "../components/Page";
import { PlaceBadge } from "../components/PlaceBadge";
import { type Place, PLACES, placeWord } from "../components/places";
import { SavedViews } from "../components/SavedViews";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, ErrorLine, Loaded } from "../components/states";
import { Timeline } from "../components/Timeline";
import { VerdictView } from "../components/VerdictView";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { sentence, size, zoneName } from "../lib/format";
import { useTyped, useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Item = Schemas["TraceItem"];
type Detail = Schemas["TraceDetail"];

const TEXTS = ["sender", "recipient", "message_id", "subject", "url_host"] as const;
const TIMES = ["from", "to"] as const;
const FILTERS = [...TEXTS, ...TIMES, "place"] as const;
type FilterName = (typeof FILTERS)[number];
type Filters = Partial<Record<FilterName, string>>;

function query(filters: Filters) {
  const { place, from, to, ...texts } = filters;
  return { ...texts, place: place as Place | undefined, from: asUtc(from), to: asUtc(to) };
}
/** A time as the viewer types it; what is no time (an address that somebody mistyped) does not filter. */
const asUtc = (local = "") => (Number.isNaN(Date.parse(local)) ? undefined : new Date(local).toISOString());

const load = (filters: Filters) => (page: PageOf) => call(api.GET("/api/v1/trace", { params: { query: { ...page, ...query(filters) } } }));
const loadOne = (copy_id: string) => call(api.GET("/api/v1/trace/{copy_id}", { params: { path: { copy_id } } }));

const COLUMNS: Column<Item>[] = [
  { id: "at", header: S.trace.received, width: "7.5rem", on: "wide", cell: (i) => <When at={i.received_at} /> },
  { id: "from", header: S.from, width: "minmax(7rem, 1.1fr)", cell: (i) => <span title={i.from_address}>{i.from_name || i.from_address}</span> },
  { id: "to", header: S.to, width: "minmax(9rem, 1.9fr)", cell: (i) => <span title={i.recipient}>{i.recipient}</span> },
  { id: "subject", header: S.subject, width: "minmax(9rem, 1.8fr)", on: "main", cell: (i) => i.subject || S.mail.noSubject },
  { id: "place", header: S.trace.place, width: "minmax(9rem, 1.3fr)", cell: (i) => <PlaceBadge place={i.place} folder={i.place_detail} /> },
  { id: "class", header: S.trace.class, width: "6.5rem", on: "wide", cell: (i) => (i.class ? S.verdictClass[i.class] : "") },
];

export function Page() {
  const { id } = useParams();
  return id ? <One id={id} /> : <Search />;
}

function Search() {
  const [url, setUrl] = useUrlState();
  const filters: Filters = Object.fromEntries(FILTERS.map((name) => [name, url(name)]).filter(([, value]) => value));
  const pages = usePages<Item>(["trace", "list", filters], load(filters));
  const openId = url("copy");
  const filtered = Object.keys(filters).length > 0;
  const clear = () => setUrl({ ...Object.fromEntries(FILTERS.map((name) => [name, undefined])), copy: undefined });
  return (
    <Frame title={S.trace.title} lead={S.trace.lead}>
      <SearchForm filters={filters} onFind={(next) => setUrl({ ...next, copy: undefined })} onClear={filtered ? clear : undefined} />
      <SavedViews of="trace" filters={filters as Record<string, string>} />
      <div className={openId ? "split split-panel" : "split"}>
        <DataTable
          label={S.trace.title}
          pages={pages}
          columns={openId ? COLUMNS.filter((c) => c.id !== "class" && c.id !== "from") : COLUMNS}
          rowId={(i) => i.copy_id}
          rowName={(i) => `${i.subject}, ${i.recipient}`}
          onOpen={(i) => setUrl({ copy: i.copy_id })}
          openId={openId}
          empty={
            filtered ? (
              <EmptyState title={S.trace.nothing} detail={S.trace.nothingDetail} action={<Button onClick={clear}>{S.trace.clear}</Button>} />
            ) : (
              <EmptyState title={S.trace.emptyTitle} detail={S.trace.emptyDetail} />
            )
          }
        />
        {openId && <Panel id={openId} onClose={() => setUrl({ copy: undefined })} />}
      </div>
    </Frame>
  );
}

interface FormProps {
  filters: Filters;
  onFind: (filters: Record<FilterName, string | undefined>) => void;
  onClear?: () => void;
}

function SearchForm({ filters, onFind, onClear }: FormProps) {
  const [text, setText] = useTyped(filters);
  const labels = { sender: S.trace.sender, recipient: S.trace.recipient, message_id: S.trace.messageId, subject: S.trace.subject, url_host: S.trace.urlHost, from: S.trace.fromTime(zoneName()), to: S.trace.toTime(zoneName()) };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onFind(Object.fromEntries(FILTERS.map((name) => [name, text[name]?.trim() || undefined])) as Record<FilterName, string | undefined>);
  };
  return (
    <form className="card" role="search" aria-label={S.trace.title} onSubmit={submit}>
      <div className="filters filters-grid">
        {TEXTS.map((name) => (
          <Field key={name} label={labels[name]}>
            <Input value={text[name] ?? ""} onChange={(_, data) => setText({ ...text, [name]: data.value })} />
          </Field>
        ))}
        {TIMES.map((name) => (
          <Field key={name} label={labels[name]}>
            <Input type="datetime-local" value={text[name] ?? ""} onChange={(_, data) => setText({ ...text, [name]: data.value })} />
          </Field>
        ))}
        <Field label={S.trace.place}>
          <Select value={text.place ?? ""} onChange={(_, data) => setText({ ...text, place: data.value })}>
            <option value="">{S.trace.anyPlace}</option>
            {PLACES.map((place) => (
              <option key={place} value={place}>
                {placeWord(place)}
              </option>
            ))}
          </Select>
        </Field>
        <div className="row filters-all">
          <Button type="submit" appearance="primary">
            {S.trace.find}
          </Button>
          {onClear && <Button onClick={onClear}>{S.trace.clear}</Button>}
        </div>
      </div>
    </form>
  );
}

function Panel({ id, onClose }: { id: string; onClose: () => void }) {
  const detail = useQuery({ queryKey: ["trace", "one", id], queryFn: () => loadOne(id) });
  return (
    <SidePanel title={detail.data?.item.subject || S.table.details} onClose={onClose}>
      <Loaded query={detail} part>
        {(d) => (
          <>
            <Answer detail={d} />
            <h3>{S.copy.evidence}</h3>
            <Timeline evidence={d.timeline} />
            <Judged detail={d} />
          </>
        )}
      </Loaded>
    </SidePanel>
  );
}

function One({ id }: { id: string }) {
  const navigate = useNavigate();
  const detail = useQuery({ queryKey: ["trace", "one", id], queryFn: () => loadOne(id) });
  const subject = detail.data?.item.subject;
  return (
    <Frame
      title={subject || S.trace.title}
      back={{ to: "/trace", word: S.trace.title }}
      actions={
        detail.data?.quarantine_item_id && (
          <Button onClick={() => void navigate(`/quarantine?item=${detail.data?.quarantine_item_id}`)}>{S.copy.held}</Button>
        )
      }
    >
      <Loaded query={detail}>
        {(d) => (
          <>
            <section className="card" aria-label={S.trace.answer}>
              <Answer detail={d} />
            </section>
            <div className="columns">
              <Section title={S.copy.evidence}>
                <Timeline evidence={d.timeline} />
              </Section>
              <Section title={S.copy.verdict}>
                <Judged detail={d} />
              </Section>
            </div>
          </>
        )}
      </Loaded>
    </Frame>
  );
}

function Answer({ detail: d }: { detail: Detail }) {
  const { item } = d;
  const may = useMay();
  return (
    <>
      <div className={`answer place-edge-${item.place}`}>
        <p className="headline">{d.answer}</p>
        <PlaceBadge place={item.place} folder={item.place_detail} event={item.last_event} />
      </div>
      <Facts
        of={[
          [S.from, `${item.from_name} <${item.from_address}>`.trim()],
          [S.to, item.recipient],
          [S.trace.reversePath, item.reverse_path],
          [S.trace.received, <When key="at" at={item.received_at} />],
          [S.copy.messageId, <code key="id">{item.message_id_header}</code>],
          [S.size, d.size_bytes > 0 && size(d.size_bytes)],
          [S.trace.client, d.client_ip],
          [S.trace.helo, d.helo],
          [S.copy.policy, item.policy],
          [S.connectors.keptBy, d.kept_by],
        ]}
      />
      <div className="row">
        {d.quarantine_item_id && may("quarantine.read") && <Link to={`/quarantine?item=${d.quarantine_item_id}`}>{S.copy.held}</Link>}
        {item.campaign_id && may("campaign.read") && <Link to={`/campaigns/${item.campaign_id}`}>{S.copy.campaign}</Link>}
        {d.kept_by && <LookButton copyId={item.copy_id} />}
      </div>
    </>
  );
}

/** Another system does not tell what the owner of a mailbox does: it can be asked. */
function LookButton({ copyId }: { copyId: string }) {
  const look = useAction(async () => sentence((await call(api.POST("/api/v1/copies/{id}/look", { params: { path: { id: copyId } } }))).sentence));
  return (
    <>
      <Button size="small" disabledFocusable={look.isPending} onClick={() => look.mutate()}>
        {look.isPending ? S.connectors.looking : S.connectors.lookCopy}
      </Button>
      {look.error ? <ErrorLine error={look.error} /> : null}
    </>
  );
}

function Judged({ detail: d }: { detail: Detail }) {
  const a = d.authentication;
  return (
    <div className="stack">
      {d.verdict && <VerdictView verdict={d.verdict} />}
      <h3>{S.trace.authentication}</h3>
      {a ? (
        <Facts
          of={[
            ["SPF", `${a.spf} ${a.spf_domain}`],
            ["DKIM", a.dkim.map((k) => `${k.result} ${k.domain} (${k.selector})`).join(", ") || "none"],
            ["DMARC", `${a.dmarc} ${a.dmarc_domain}`],
            ["ARC", a.arc],
          ]}
        />
      ) : (
        <p className="quiet">{S.trace.noAuthentication}</p>
      )}
      <CodeList title={S.trace.urls} items={d.urls.map((u) => u.url)} />
      <CodeList title={S.trace.attachments} items={d.attachments.map((f) => `${f.name} · ${f.kind} · ${size(f.size_bytes)}`)} />
      <CodeList title={S.trace.defects} items={d.defects} />
    </div>
  );
}

function CodeList({ title, items }: { title: string; items: string[] }) {
  if (items.length === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul className="stack tight">
        {[...new Set(items)].map((item) => (
          <li key={item}>
            <code>{item}</code>
          </li>
        ))}
      </ul>
    </>
  );
}
