// Delivery incidents, newest first.
import { Badge } from "@fluentui/react-components";
import { useNavigate } from "react-router";
import { Age, When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { copies, S } from "../strings";

type Incident = Schemas["IncidentSummary"];
const load = (page: PageOf) => call(api.GET("/api/v1/incidents", { params: { query: page } }));

const STATUS_COLOR = { open: "danger", identified: "severe", monitoring: "warning", resolved: "success" } as const;

export function IncidentBadge({ status }: { status: Schemas["IncidentStatus"] }) {
  return (
    <Badge appearance="tint" color={STATUS_COLOR[status]}>
      {S.incidents.status[status]}
    </Badge>
  );
}

const COLUMNS: Column<Incident>[] = [
  { id: "title", header: S.incidents.titleColumn, width: "minmax(12rem, 3fr)", on: "main", cell: (i) => <span title={i.title}>{i.title}</span> },
  { id: "status", header: S.state, width: "8rem", cell: (i) => <IncidentBadge status={i.status} /> },
  { id: "impact", header: S.incidents.impact, width: "7rem", end: true, cell: (i) => copies(i.impact_count) },
  { id: "peak", header: S.incidents.peak, width: "7rem", end: true, on: "wide", cell: (i) => copies(i.peak_count) },
  { id: "opened", header: S.incidents.opened, width: "8rem", on: "wide", cell: (i) => <When at={i.opened_at} /> },
  { id: "updated", header: S.incidents.updated, width: "8rem", cell: (i) => <Age at={i.updated_at} /> },
];

export function Page() {
  const navigate = useNavigate();
  const pages = usePages<Incident>(["incidents", "list"], load);
  return (
    <Frame title={S.incidents.title} lead={S.incidents.lead}>
      <DataTable
        label={S.incidents.title}
        pages={pages}
        columns={COLUMNS}
        rowId={(i) => i.id}
        rowName={(i) => i.title}
        onOpen={(i) => void navigate(`/incidents/${i.id}`)}
        empty={<EmptyState title={S.incidents.emptyTitle} detail={S.incidents.emptyDetail} />}
      />
    </Frame>
  );
}
