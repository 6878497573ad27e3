// People and lists, and the import that brings them. `/people/:id` opens one person beside the list.
import { Badge, Button, Checkbox, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useNavigate, useParams } from "react-router";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame } from "../components/Page";
import { ReturnFocus } from "../components/ReturnFocus";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, ErrorLine, Loaded } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";
import { FACETS, FacetSelect, Lists, type Match, useFacets, useLists } from "./PeopleLists";
import { PersonMailbox } from "./PersonMailbox";

type Person = Schemas["Person"];
type Report = Schemas["ImportReport"];
const T = S.people;
/** The column of an import that says where a mailbox is kept; the panel says so in words. */
const CONNECTOR = "mailbox_connector";

const load = (filter: Partial<Match>) => (page: PageOf) => call(api.GET("/api/v1/people", { params: { query: { ...page, ...filter } } }));
const loadMembers = (id: string) => (page: PageOf) => call(api.GET("/api/v1/lists/{id}/members", { params: { path: { id }, query: page } }));
const loadOne = (id: string) => call(api.GET("/api/v1/people/{id}", { params: { path: { id } } }));
const importCsv = (csv: string, list: string, take_good: boolean) =>
  call(
    api.POST("/api/v1/people/import", {
      params: { query: { list: list || undefined, take_good } },
      body: csv,
      bodySerializer: (text: string) => text,
      headers: { "Content-Type": "text/csv" },
    }),
  );

const COLUMNS: Column<Person>[] = [
  { id: "name", header: S.name, width: "minmax(9rem, 1.4fr)", on: "main", cell: (p) => p.name },
  { id: "address", header: T.address, width: "minmax(12rem, 2fr)", cell: (p) => p.address },
  { id: "department", header: T.department, width: "minmax(7rem, 1fr)", cell: (p) => p.department },
  { id: "city", header: T.city, width: "minmax(6rem, 1fr)", on: "wide", cell: (p) => p.city },
  { id: "language", header: T.language, width: "6rem", on: "wide", cell: (p) => p.language },
];

const FILTERS = ["query", ...FACETS] as const;

export function Page() {
  const { id } = useParams();
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const may = useMay();
  const [importing, setImporting] = useState(false);
  const filter: Partial<Match> = Object.fromEntries(FILTERS.map((name) => [name, url(name)]).filter(([, value]) => value));
  const list = url("list");
  const pages = usePages<Person>(["people", "list", list, filter], list ? loadMembers(list) : load(filter));
  const { search } = useLocation();
  const start = may("people.write") ? (
    <Button appearance="primary" onClick={() => setImporting(true)}>
      {T.import}
    </Button>
  ) : undefined;
  const filtered = Object.keys(filter).length > 0;
  const everybody = () => setUrl(Object.fromEntries(["list", ...FILTERS].map((name) => [name, undefined])));
  const empty = list ? (
    <EmptyState title={T.nobodyOn} detail={T.nobodyOnDetail} action={<Button onClick={everybody}>{T.everybody}</Button>} />
  ) : filtered ? (
    <EmptyState title={T.nobodyTitle} detail={T.nobody} action={<Button onClick={everybody}>{T.everybody}</Button>} />
  ) : (
    <EmptyState title={T.emptyTitle} detail={start ? T.emptyDetail : T.emptyDetailRead} action={start} />
  );
  return (
    <Frame title={T.title} lead={T.lead} actions={start}>
      <Lists chosen={list} choose={(chosen) => setUrl({ list: chosen, query: undefined, department: undefined, city: undefined, language: undefined })} />
      {list ? <OnList id={list} onEverybody={everybody} /> : <Filters filter={filter} set={setUrl} />}
      <div className={id ? "split split-panel" : "split"}>
        <DataTable
          label={T.title}
          pages={pages}
          columns={COLUMNS}
          rowId={(p) => p.id}
          rowName={(p) => p.name}
          onOpen={(p) => void navigate(`/people/${p.id}${search}`)}
          openId={id}
          empty={empty}
        />
        {id && <Panel id={id} list={list} onClose={() => void navigate(`/people${search}`)} />}
      </div>
      {importing && <ImportDialog onClose={() => setImporting(false)} />}
    </Frame>
  );
}

function Filters({ filter, set }: { filter: Partial<Match>; set: (values: Record<string, string | undefined>) => void }) {
  const facets = useFacets();
  return (
    <div className="filters" role="search" aria-label={T.title}>
      <Field label={T.filter}>
        <Input type="search" value={filter.query ?? ""} onChange={(_, data) => set({ query: data.value })} />
      </Field>
      {FACETS.map((name) => (
        <FacetSelect key={name} name={name} value={filter[name] ?? ""} facets={facets.data} onChoose={(value) => set({ [name]: value })} />
      ))}
      {facets.error && !facets.data ? <ErrorLine error={facets.error} retry={() => void facets.refetch()} /> : null}
    </div>
  );
}

function OnList({ id, onEverybody }: { id: string; onEverybody: () => void }) {
  const lists = useLists();
  const name = lists.data?.find((list) => list.id === id)?.name;
  return (
    <div className="row">
      {name && <strong>{T.membersOf(name)}</strong>}
      <Button size="small" appearance="subtle" onClick={onEverybody}>
        {T.everybody}
      </Button>
    </div>
  );
}

function TakeOff({ person, list }: { person: Person; list: string }) {
  const lists = useLists();
  const name = lists.data?.find((one) => one.id === list)?.name ?? "";
  return (
    <ConfirmDialog
      title={T.takeOffTitle(person.name, name)}
      text={<p>{T.takeOffText}</p>}
      go={T.takeOff}
      run={async () => {
        await call(api.DELETE("/api/v1/lists/{id}/members/{person_id}", { params: { path: { id: list, person_id: person.id } } }));
      }}
      trigger={(open) => (
        <Button size="small" onClick={open}>
          {T.takeOff}
        </Button>
      )}
    />
  );
}

function Panel({ id, list, onClose }: { id: string; list: string; onClose: () => void }) {
  const person = useQuery({ queryKey: ["people", id], queryFn: () => loadOne(id) });
  const may = useMay();
  return (
    <SidePanel title={person.data?.name ?? S.table.details} onClose={onClose}>
      <Loaded query={person} part>
        {(p) => (
          <>
            {p.protected && <Badge appearance="tint">{T.protected}</Badge>}
            <Facts
              of={[
                [T.address, p.address],
                [T.department, p.department],
                [T.city, p.city],
                [T.language, p.language],
                ...Object.entries(p.attributes).filter(([name]) => name !== CONNECTOR),
              ]}
            />
            <PersonMailbox person={p} />
            {list && may("people.write") && (
              <div>
                <TakeOff person={p} list={list} />
              </div>
            )}
            {may("trace.read") && <Link to={`/trace?recipient=${encodeURIComponent(p.address)}`}>{T.showCopies}</Link>}
          </>
        )}
      </Loaded>
    </SidePanel>
  );
}

function ImportDialog({ onClose }: { onClose: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const [list, setList] = useState("");
  const [takeGood, setTakeGood] = useState(false);
  const [report, setReport] = useState<Report | null>(null);
  const run = useAction(
    async () => {
      const result = await importCsv((await file?.text()) ?? "", list.trim(), takeGood);
      setReport(result);
      if (result.applied && result.rejected_count === 0) onClose();
      return result.applied ? T.importDone(result.created_count, result.updated_count) : undefined;
    },
    { typed: { csv: [file?.name, file?.size, file?.lastModified], list: list.trim(), takeGood } },
  );
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && onClose()}>
      <DialogSurface>
        <ReturnFocus />
        <DialogBody>
          <DialogTitle>{T.importTitle}</DialogTitle>
          <DialogContent className="dialog-content">
            <Field label={T.importFile} hint={T.importHint} required>
              {(field) => (
                <input
                  {...field}
                  type="file"
                  accept=".csv,text/csv"
                  onChange={(event) => {
                    setFile(event.target.files?.[0] ?? null);
                    setReport(null);
                  }}
                />
              )}
            </Field>
            <Field label={T.importList} hint={T.importListHint}>
              <Input value={list} onChange={(_, data) => setList(data.value)} />
            </Field>
            <Checkbox label={T.takeGood} checked={takeGood} onChange={(_, data) => setTakeGood(Boolean(data.checked))} />
            {run.error ? <ErrorLine error={run.error} /> : null}
            {report && report.rejected_count > 0 && <Rejected report={report} />}
          </DialogContent>
          <DialogActions>
            <Button onClick={onClose}>{S.close}</Button>
            <GuardedButton appearance="primary" busy={run.isPending} blocked={file ? undefined : T.importNoFile} onClick={() => run.mutate()}>
              {run.isPending ? T.importBusy : T.importGo}
            </GuardedButton>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}

function Rejected({ report }: { report: Report }) {
  return (
    <div className="stack" role="alert">
      <strong>{report.applied ? T.importPart(report.rejected_count) : T.importNothing(report.rejected_count)}</strong>
      <div className="scroll-x" tabIndex={0} role="group" aria-label={T.problem} style={{ maxHeight: 260 }}>
        <table className="number-table">
          <thead>
            <tr>
              <th scope="col">{T.line}</th>
              <th scope="col">{T.column}</th>
              <th scope="col">{T.problem}</th>
            </tr>
          </thead>
          <tbody>
            {report.rejected.map((row, i) => (
              <tr key={i}>
                <th scope="row">{row.line}</th>
                <td>{row.field}</td>
                <td>{row.problem}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
