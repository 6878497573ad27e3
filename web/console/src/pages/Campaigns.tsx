// Campaigns, newest first, each with one bar of where its copies are.
import { Badge, Button } from "@fluentui/react-components";
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { inOrder, placeWord, totalOf } from "../components/places";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count } from "../lib/format";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Campaign = Schemas["CampaignSummary"];
const load = (page: PageOf) => call(api.GET("/api/v1/campaigns", { params: { query: page } }));

const STATE_COLOR = { draft: "informative", sending: "brand", paused: "warning", sent: "success", cancelled: "subtle" } as const;

export function StateBadge({ state }: { state: Schemas["CampaignState"] }) {
  return (
    <Badge appearance="tint" color={STATE_COLOR[state]}>
      {S.campaigns.state[state]}
    </Badge>
  );
}

const COLUMNS: Column<Campaign>[] = [
  { id: "name", header: S.name, width: "minmax(10rem, 2fr)", on: "main", cell: (c) => <span className="strong">{c.name}</span> },
  { id: "state", header: S.state, width: "6.5rem", cell: (c) => <StateBadge state={c.state} /> },
  { id: "places", header: S.campaigns.places, width: "minmax(14rem, 3fr)", cell: (c) => <Places campaign={c} /> },
  { id: "audience", header: S.campaigns.audience, width: "6rem", end: true, on: "wide", cell: (c) => (c.send_started_at ? count(c.audience_count) : "") },
  { id: "sent", header: S.campaigns.sentAt, width: "8rem", cell: (c) => (c.send_started_at ? <When at={c.send_started_at} /> : <span className="quiet">{S.campaigns.notSent}</span>) },
];

function Places({ campaign }: { campaign: Campaign }) {
  const shown = inOrder(campaign.places);
  const total = totalOf(shown);
  if (!total) return null;
  const text = shown.map((p) => `${count(p.count)} ${placeWord(p.place)}`).join(", ");
  return (
    <span className="cell-bar" title={text}>
      <span className="bar-track bar-in-cell" aria-hidden>
        {shown.map((p) => (
          <span key={p.place} className={`bar-segment place-${p.place}`} style={{ flexGrow: (100 * p.count) / total }} />
        ))}
      </span>
      <span className="cell">{text}</span>
    </span>
  );
}

export function Page() {
  const may = useMay();
  const navigate = useNavigate();
  const pages = usePages<Campaign>(["campaigns", "list"], load);
  const create = may("campaign.write") ? (
    <Button appearance="primary" onClick={() => void navigate("/campaigns/new")}>
      {S.campaigns.create}
    </Button>
  ) : undefined;
  return (
    <Frame title={S.campaigns.title} actions={create}>
      <DataTable
        label={S.campaigns.title}
        pages={pages}
        columns={COLUMNS}
        rowId={(c) => c.id}
        rowName={(c) => c.name}
        onOpen={(c) => void navigate(`/campaigns/${c.id}`)}
        empty={<EmptyState title={S.campaigns.emptyTitle} detail={create ? S.campaigns.emptyDetail : S.campaigns.emptyDetailRead} action={create} />}
      />
    </Frame>
  );
}
