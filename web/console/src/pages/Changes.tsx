// Changes of rules, lists and feeds, newest first.
import { Badge, Button } from "@fluentui/react-components";
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { useMay } from "../lib/session";
import { copies, S } from "../strings";

type Change = Schemas["Change"];
const load = (page: PageOf) => call(api.GET("/api/v1/changes", { params: { query: page } }));

const STATE_COLOR = { proposed: "informative", backtesting: "brand", backtested: "warning", stopped: "subtle", active: "success", undone: "subtle" } as const;

export function ChangeStateBadge({ state }: { state: Schemas["ChangeState"] }) {
  return (
    <Badge appearance="tint" color={STATE_COLOR[state]}>
      {S.changes.state[state]}
    </Badge>
  );
}

const COLUMNS: Column<Change>[] = [
  { id: "title", header: S.changes.what, width: "minmax(12rem, 3fr)", on: "main", cell: (c) => c.title },
  { id: "kind", header: S.changes.propose.kind, width: "minmax(7rem, 1fr)", on: "wide", cell: (c) => S.changes.kind[c.kind] ?? c.kind },
  { id: "state", header: S.state, width: "13rem", cell: (c) => <ChangeStateBadge state={c.state} /> },
  { id: "effect", header: S.changes.effect, width: "8rem", end: true, cell: (c) => (c.backtest?.state === "done" ? copies(c.backtest.moved_count) : "") },
  { id: "by", header: S.changes.proposedBy, width: "minmax(8rem, 1.2fr)", on: "wide", cell: (c) => c.proposed_by },
  { id: "at", header: S.changes.proposedAt, width: "7.5rem", on: "wide", cell: (c) => <When at={c.created_at} /> },
];

export function Page() {
  const may = useMay();
  const navigate = useNavigate();
  const pages = usePages<Change>(["changes", "list"], load);
  const create = may("change.propose") ? (
    <Button appearance="primary" onClick={() => void navigate("/changes/new")}>
      {S.changes.create}
    </Button>
  ) : undefined;
  return (
    <Frame title={S.changes.title} lead={S.changes.lead} actions={create}>
      <DataTable
        label={S.changes.title}
        pages={pages}
        columns={COLUMNS}
        rowId={(c) => c.id}
        rowName={(c) => c.title}
        onOpen={(c) => void navigate(`/changes/${c.id}`)}
        empty={<EmptyState title={S.changes.emptyTitle} detail={S.changes.emptyDetail} action={create} />}
      />
    </Frame>
  );
}
