// Changes of rules, lists and feeds, newest first.
import { Badge, Button } from "@fluentui/react-components";
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { Choice } from "../components/Choice";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { copies, S } from "../strings";

type Change = Schemas["Change"];
type State = Schemas["ChangeState"];
const T = S.changes;
const STATES = Object.keys(T.state) as State[];
const load = (state: State | undefined) => (page: PageOf) => call(api.GET("/api/v1/changes", { params: { query: { ...page, state } } }));

const STATE_COLOR = { proposed: "informative", backtesting: "brand", backtested: "warning", stopped: "subtle", active: "success", undone: "subtle" } as const;

export function ChangeStateBadge({ state }: { state: Schemas["ChangeState"] }) {
  return (
    <Badge appearance="tint" color={STATE_COLOR[state]}>
      {T.state[state]}
    </Badge>
  );
}

const COLUMNS: Column<Change>[] = [
  { id: "title", header: T.what, width: "minmax(14rem, 4fr)", on: "main", cell: (c) => <span title={c.title}>{c.title}</span> },
  { id: "kind", header: T.kindColumn, width: "minmax(6rem, 1fr)", on: "wide", cell: (c) => T.kind[c.kind] ?? c.kind },
  { id: "state", header: S.state, width: "13rem", cell: (c) => <ChangeStateBadge state={c.state} /> },
  { id: "effect", header: T.effect, width: "8rem", end: true, cell: (c) => (c.backtest?.state === "done" ? copies(c.backtest.moved_count) : "") },
  { id: "by", header: T.proposedBy, width: "minmax(8rem, 1.2fr)", on: "wide", cell: (c) => c.proposed_by },
  { id: "at", header: T.proposedAt, width: "7.5rem", on: "wide", cell: (c) => <When at={c.created_at} /> },
];

export function Page() {
  const may = useMay();
  const navigate = useNavigate();
  const [url, setUrl] = useUrlState();
  const state = STATES.find((word) => word === url("state"));
  const pages = usePages<Change>(["changes", "list", state], load(state));
  const create = may("change.propose") ? (
    <Button appearance="primary" onClick={() => void navigate("/changes/new")}>
      {T.create}
    </Button>
  ) : undefined;
  return (
    <Frame title={T.title} lead={T.lead} actions={create}>
      {(state || pages.rows.length > 0) && (
        <Choice label={S.state} value={state} all={T.anyState} values={STATES} word={(one) => T.state[one]} choose={(one) => setUrl({ state: one })} />
      )}
      <DataTable
        label={T.title}
        pages={pages}
        columns={COLUMNS}
        rowId={(c) => c.id}
        rowName={(c) => c.title}
        onOpen={(c) => void navigate(`/changes/${c.id}`)}
        empty={
          state ? (
            <EmptyState title={T.emptyFilter} detail={T.emptyFilterDetail} action={<Button onClick={() => setUrl({ state: undefined })}>{T.showAll}</Button>} />
          ) : (
            <EmptyState title={T.emptyTitle} detail={T.emptyDetail} action={create} />
          )
        }
      />
    </Frame>
  );
}
