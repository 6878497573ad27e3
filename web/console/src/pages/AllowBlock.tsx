// The allow and block list: what is on it, and adding or taking out an entry. Either is a change: it is tested first, then activated.
import { Badge, Button, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input, Radio, RadioGroup, Select, Textarea } from "@fluentui/react-components";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { When } from "../components/Age";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame } from "../components/Page";
import { ReturnFocus } from "../components/ReturnFocus";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, ErrorLine } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { endOfDay } from "../lib/format";
import { useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Entry = Schemas["ListEntryNow"];
type Action = Schemas["ListAction"];
type Kind = Schemas["ListKind"];
const T = S.listEntries;
const DAY_MS = 86_400_000;
/** An allow entry ends after a month unless somebody says otherwise. */
const ALLOW_DAYS = 30;

const load = (page: PageOf) => call(api.GET("/api/v1/list-entries", { params: { query: page } }));

const COLUMNS: Column<Entry>[] = [
  { id: "value", header: T.column.value, width: "minmax(12rem, 3fr)", on: "main", cell: (e) => <span title={e.value}>{e.value}</span> },
  { id: "action", header: T.action, width: "8rem", cell: (e) => <ActionBadge action={e.action} /> },
  { id: "kind", header: T.column.kind, width: "8rem", on: "wide", cell: (e) => S.changes.listKind[e.kind] },
  { id: "ends", header: T.column.ends, width: "8rem", cell: (e) => (e.expires_at ? <When at={e.expires_at} /> : <span className="quiet">{T.never}</span>) },
  { id: "state", header: T.column.state, width: "9rem", on: "wide", cell: (e) => (e.in_force ? T.inForce : <span className="quiet">{T.over}</span>) },
  { id: "note", header: T.note, width: "minmax(8rem, 2fr)", on: "wide", cell: (e) => <span title={e.note}>{e.note}</span> },
];

function ActionBadge({ action }: { action: Action }) {
  return (
    <Badge appearance="tint" color={action === "allow" ? "success" : "danger"}>
      {T.badge[action]}
    </Badge>
  );
}

/** Proposes a change of the list, lets it be tested, and goes where its effect is shown. */
function usePropose() {
  const navigate = useNavigate();
  return async (proposal: Extract<Schemas["Proposal"], { kind: "list" }>, reason: string) => {
    const change = await call(api.POST("/api/v1/changes", { body: { proposal, reason } }));
    await call(api.POST("/api/v1/changes/{id}/backtest", { params: { path: { id: change.id } } }));
    void navigate(`/changes/${change.id}`);
    return T.done;
  };
}

export function Page() {
  const [url, setUrl] = useUrlState();
  const may = useMay();
  const [adding, setAdding] = useState(false);
  const pages = usePages<Entry>(["protection", "list-entries"], load);
  const open = pages.rows.find((entry) => entry.id === url("entry"));
  const add = may("change.propose") ? (
    <Button appearance="primary" onClick={() => setAdding(true)}>
      {T.add}
    </Button>
  ) : undefined;
  return (
    <Frame title={T.title} lead={T.lead} actions={add}>
      <div className={open ? "split split-panel" : "split"}>
        <DataTable
          label={T.title}
          pages={pages}
          columns={open ? COLUMNS.filter((c) => ["value", "action", "ends"].includes(c.id)) : COLUMNS}
          rowId={(e) => e.id}
          rowName={(e) => `${T.badge[e.action]}: ${e.value}`}
          onOpen={(e) => setUrl({ entry: e.id })}
          openId={open?.id}
          empty={<EmptyState title={T.emptyTitle} detail={T.emptyDetail} action={add} />}
        />
        {open && <Panel entry={open} onClose={() => setUrl({ entry: undefined })} />}
      </div>
      {adding && <AddDialog onClose={() => setAdding(false)} />}
    </Frame>
  );
}

function Panel({ entry: e, onClose }: { entry: Entry; onClose: () => void }) {
  const may = useMay();
  const propose = usePropose();
  return (
    <SidePanel title={e.value} onClose={onClose}>
      <div className="row">
        <ActionBadge action={e.action} />
        {may("change.propose") && (
          <ConfirmDialog
            title={T.removeTitle(e.value)}
            text={<p>{T.removeText}</p>}
            go={T.removeGo}
            reason={{ label: T.why }}
            run={(reason) => propose({ kind: "list", add: [], remove: [e.id] }, reason)}
            trigger={(show) => (
              <Button size="small" onClick={show}>
                {T.remove}
              </Button>
            )}
          />
        )}
      </div>
      <Facts
        of={[
          [T.column.kind, S.changes.listKind[e.kind]],
          [T.column.ends, e.expires_at ? <When key="ends" at={e.expires_at} /> : T.never],
          [T.column.state, e.in_force ? T.inForce : T.over],
          [T.note, e.note],
        ]}
      />
      {e.change_id && <Link to={`/changes/${e.change_id}`}>{T.change}</Link>}
    </SidePanel>
  );
}

const inDays = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);

function AddDialog({ onClose }: { onClose: () => void }) {
  const propose = usePropose();
  const [action, setAction] = useState<Action>("block");
  const [kind, setKind] = useState<Kind>("sender");
  const [value, setValue] = useState("");
  const [expires, setExpires] = useState("");
  const [note, setNote] = useState("");
  const [reason, setReason] = useState("");
  const entry = { action, kind, value: value.trim(), note: note.trim(), expires_at: expires ? endOfDay(expires) : null };
  const add = useAction(() => propose({ kind: "list", add: [entry], remove: [] }, reason.trim()), { typed: { "entry 1": entry, reason } });
  const missing = !value.trim() ? T.noValue : action === "allow" && !expires ? T.noEnd : undefined;
  const choose = (next: Action) => {
    setAction(next);
    if (next === "allow" && !expires) setExpires(inDays(ALLOW_DAYS));
  };
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && onClose()}>
      <DialogSurface>
        <ReturnFocus />
        <DialogBody>
          <DialogTitle>{T.addTitle}</DialogTitle>
          <DialogContent className="dialog-content">
            <p className="quiet">{T.addLead}</p>
            <Field label={T.action}>
              <RadioGroup value={action} onChange={(_, data) => choose(data.value as Action)}>
                {(["block", "allow"] as const).map((word) => (
                  <Radio key={word} value={word} label={T.actionWords[word]} />
                ))}
              </RadioGroup>
            </Field>
            <Field label={T.kind}>
              <Select value={kind} onChange={(_, data) => setKind(data.value as Kind)}>
                {Object.entries(S.changes.listKind).map(([word, label]) => (
                  <option key={word} value={word}>
                    {label}
                  </option>
                ))}
              </Select>
            </Field>
            <Field label={T.value} hint={T.valueHint[kind]} required>
              <Input value={value} onChange={(_, data) => setValue(data.value)} />
            </Field>
            <div className="form-pair">
              <Field label={T.expires} hint={T.expiresHint[action]} required={action === "allow"}>
                <Input type="date" value={expires} min={inDays(1)} max={action === "allow" ? inDays(365) : undefined} onChange={(_, data) => setExpires(data.value)} />
              </Field>
              <Field label={T.note}>
                <Input value={note} onChange={(_, data) => setNote(data.value)} />
              </Field>
            </div>
            <Field label={T.why}>
              <Textarea value={reason} rows={2} onChange={(_, data) => setReason(data.value)} />
            </Field>
            {add.error ? <ErrorLine error={add.error} /> : null}
          </DialogContent>
          <DialogActions>
            <Button onClick={onClose}>{S.cancel}</Button>
            <GuardedButton appearance="primary" busy={add.isPending} blocked={missing} onClick={() => add.mutate()}>
              {add.isPending ? T.going : T.go}
            </GuardedButton>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}
