// The organisation's quarantine: facets left, held copies, details in a panel, a bar that says what will happen to how many.
import { Badge, Button, Input } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { When } from "../components/Age";
import { GuardedButton } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { SavedViews } from "../components/SavedViews";
import { EmptyState, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count } from "../lib/format";
import { useNarrow, useTyped, useUrlState } from "../lib/hooks";
import { S } from "../strings";
import { DecisionButtons } from "./QuarantineDecision";
import { QuarantinePanel } from "./QuarantinePanel";

type Item = Schemas["QuarantineItem"];
type Facets = Schemas["QuarantineFacets"];

const FILTERS = ["status", "reason", "held_by", "campaign_id", "cause_id", "recipient", "sender", "subject"] as const;
type Filters = { [K in (typeof FILTERS)[number]]?: never };

/** The server decides for at most this many named items at once. */
const SELECTED_MAX = 1000;

const load = (filters: Filters) => (page: PageOf) => call(api.GET("/api/v1/quarantine", { params: { query: { ...page, ...filters } } }));
const loadFacets = (filters: Filters) => call(api.GET("/api/v1/quarantine/facets", { params: { query: filters } }));

const STATUS_COLOR = { needs_review: "warning", requested: "important", denied: "subtle", released: "success", expired: "subtle" } as const;

export function StatusBadge({ status }: { status: Schemas["ReleaseStatus"] }) {
  return (
    <Badge appearance="tint" color={STATUS_COLOR[status]}>
      {S.quarantine.status[status]}
    </Badge>
  );
}

const COLUMNS: Column<Item>[] = [
  { id: "subject", header: S.subject, width: "minmax(9rem, 2fr)", on: "main", cell: (i) => <span title={i.subject}>{i.subject || S.mail.noSubject}</span> },
  { id: "recipient", header: S.recipient, width: "minmax(9rem, 1.5fr)", cell: (i) => <span title={i.recipient}>{i.recipient}</span> },
  { id: "reason", header: S.reason, width: "minmax(6rem, 0.9fr)", on: "wide", cell: (i) => S.quarantine.reason[i.reason] },
  { id: "status", header: S.state, width: "9rem", cell: (i) => <StatusBadge status={i.status} /> },
  { id: "held", header: S.quarantine.heldAt, width: "7rem", on: "wide", cell: (i) => <When at={i.held_at} /> },
];

const decidable = (item: Item) => item.status === "needs_review" || item.status === "requested" || item.status === "denied";

export function Page() {
  const [url, setUrl] = useUrlState();
  const filters = Object.fromEntries(FILTERS.map((name) => [name, url(name)]).filter(([, value]) => value)) as Filters;
  const pages = usePages<Item>(["quarantine", "list", filters], load(filters));
  const facets = useQuery({ queryKey: ["quarantine", "facets", filters], queryFn: () => loadFacets(filters), placeholderData: (before) => before });
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  // What is not shown any more is not decided about by accident.
  const shown = JSON.stringify(filters);
  useEffect(() => setSelected(new Set()), [shown]);
  const openId = url("item");
  const filtered = Object.keys(filters).length > 0;
  const nothing = !filtered && facets.data?.total_count === 0;
  const toggle = (id: string) =>
    setSelected((before) => {
      const next = new Set(before);
      if (!next.delete(id) && next.size < SELECTED_MAX) next.add(id);
      return next;
    });
  const selectLoaded = () => setSelected(new Set(pages.rows.filter(decidable).slice(0, SELECTED_MAX).map((i) => i.id)));
  const clearFilters = () => setUrl(Object.fromEntries(FILTERS.map((name) => [name, undefined])));
  return (
    <Frame title={S.quarantine.title} lead={S.quarantine.lead}>
      <TextFilters onClear={filtered ? clearFilters : undefined} />
      <SavedViews of="quarantine" filters={filters as Record<string, string>} />
      <div className={nothing ? "split" : "split split-facets"}>
        {!nothing && (
          <Loaded query={facets} part loading={<Loading lines={6} />}>
            {(data) => <FacetColumn facets={data} />}
          </Loaded>
        )}
        <div className={openId ? "split split-panel" : "split"}>
          <div className="stack">
            {!nothing && (
              <BulkBar selected={selected} clear={() => setSelected(new Set())} selectLoaded={selectLoaded} any={pages.rows.some(decidable)} campaignId={url("campaign_id")} campaignCount={facets.data?.total_count ?? 0} />
            )}
            <DataTable
              label={S.quarantine.title}
              pages={pages}
              columns={openId ? COLUMNS.filter((c) => c.id !== "reason" && c.id !== "held") : COLUMNS}
              rowId={(i) => i.id}
              rowName={(i) => `${i.subject}, ${i.recipient}`}
              onOpen={(i) => setUrl({ item: i.id })}
              openId={openId}
              selection={{ ids: selected, toggle, selectable: decidable }}
              empty={
                filtered ? (
                  <EmptyState title={S.quarantine.emptyFilter} detail={S.quarantine.emptyFilterDetail} action={<Button onClick={clearFilters}>{S.quarantine.clearFilters}</Button>} />
                ) : (
                  <EmptyState title={S.quarantine.emptyTitle} detail={S.quarantine.emptyDetail} />
                )
              }
            />
          </div>
          {openId && <QuarantinePanel id={openId} onClose={() => setUrl({ item: undefined })} />}
        </div>
      </div>
    </Frame>
  );
}

function TextFilters({ onClear }: { onClear?: () => void }) {
  const [url, setUrl] = useUrlState();
  const [text, setText] = useTyped({ recipient: url("recipient"), sender: url("sender"), subject: url("subject") });
  const fields = [
    ["recipient", S.quarantine.filterRecipient],
    ["sender", S.quarantine.filterSender],
    ["subject", S.quarantine.filterSubject],
  ] as const;
  return (
    <form
      className="filters"
      role="search"
      aria-label={S.quarantine.facets}
      onSubmit={(event) => {
        event.preventDefault();
        setUrl(text);
      }}
    >
      {fields.map(([name, label]) => (
        <Input key={name} type="search" value={text[name]} placeholder={label} aria-label={label} onChange={(_, data) => setText({ ...text, [name]: data.value })} />
      ))}
      <Button type="submit">{S.trace.find}</Button>
      {onClear && (
        <Button appearance="subtle" onClick={onClear}>
          {S.quarantine.clearFilters}
        </Button>
      )}
    </form>
  );
}

function FacetColumn({ facets }: { facets: Facets }) {
  const groups = [
    ["status", S.quarantine.facet.status, facets.status, S.quarantine.status],
    ["reason", S.quarantine.facet.reason, facets.reason, S.quarantine.reason],
    ["held_by", S.quarantine.facet.held_by, facets.held_by, S.quarantine.heldBy],
    ["campaign_id", S.quarantine.facet.campaign, facets.campaign, {}],
  ] as const;
  const narrow = useNarrow();
  const all = groups.map(([name, title, values, words]) => <Facet key={name} name={name} title={title} values={values} words={words} />);
  if (narrow) {
    return (
      <details className="facets">
        <summary>{S.quarantine.facets}</summary>
        <div className="stack">{all}</div>
      </details>
    );
  }
  return (
    <div className="stack facets" role="group" aria-label={S.quarantine.facets}>
      {all}
    </div>
  );
}

function Facet({ name, title, values, words }: { name: string; title: string; values: Schemas["ValueCount"][]; words: Record<string, string> }) {
  const [url, setUrl] = useUrlState();
  const chosen = url(name);
  const shown = values.filter((v) => v.value && (v.count > 0 || v.value === chosen));
  if (shown.length === 0) return null;
  return (
    <div className="facet">
      <h2>{title}</h2>
      {shown.map((v) => (
        <button type="button" key={v.value} aria-pressed={v.value === chosen} onClick={() => setUrl({ [name]: v.value === chosen ? undefined : v.value, item: undefined })}>
          <span>{words[v.value] ?? v.label}</span>
          <span>{count(v.count)}</span>
        </button>
      ))}
    </div>
  );
}

interface BulkProps {
  selected: ReadonlySet<string>;
  clear: () => void;
  selectLoaded: () => void;
  any: boolean;
  /** When the list shows one campaign: everything held of it can be decided at once. */
  campaignId: string;
  campaignCount: number;
}

function BulkBar({ selected, clear, selectLoaded, any, campaignId, campaignCount }: BulkProps) {
  if (selected.size === 0) {
    return (
      <div className="bulk">
        <span>{S.table.selected(0)}</span>
        <GuardedButton size="small" blocked={any ? undefined : S.quarantine.noneToDecide} onClick={selectLoaded}>
          {S.table.selectAllLoaded}
        </GuardedButton>
        {campaignId && campaignCount > 0 && (
          <>
            <span className="quiet">{S.quarantine.wholeCampaign}:</span>
            <DecisionButtons selection={{ campaign_id: campaignId }} n={campaignCount} after={clear} />
          </>
        )}
      </div>
    );
  }
  return (
    <div className="bulk" role="status">
      <strong>{S.table.selected(selected.size)}</strong>
      <DecisionButtons selection={{ item_ids: [...selected] }} n={selected.size} after={clear} />
      <Button size="small" appearance="subtle" onClick={clear}>
        {S.table.clear}
      </Button>
      {selected.size === SELECTED_MAX && <span className="quiet">{S.quarantine.selectUpTo(SELECTED_MAX)}</span>}
    </div>
  );
}
