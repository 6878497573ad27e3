// People and lists, and the import that brings them. `/people/:id` opens one person beside the list.
import { Badge, Button, Checkbox, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame, Section } from "../components/Page";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, ErrorLine, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { useUrlState } from "../lib/hooks";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Person = Schemas["Person"];
type Report = Schemas["ImportReport"];
const T = S.people;

const load = (query: string) => (page: PageOf) => call(api.GET("/api/v1/people", { params: { query: { ...page, query: query || undefined } } }));
const loadOne = (id: string) => call(api.GET("/api/v1/people/{id}", { params: { path: { id } } }));
const loadLists = () => call(api.GET("/api/v1/lists"));
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

export function Page() {
  const { id } = useParams();
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const may = useMay();
  const [importing, setImporting] = useState(false);
  const query = url("query");
  const pages = usePages<Person>(["people", "list", query], load(query));
  const lists = useQuery({ queryKey: ["lists"], queryFn: loadLists });
  const search = query ? `?query=${encodeURIComponent(query)}` : "";
  const start = may("people.write") ? (
    <Button appearance="primary" onClick={() => setImporting(true)}>
      {T.import}
    </Button>
  ) : undefined;
  return (
    <Frame title={T.title} lead={T.lead} actions={start}>
      <Section title={T.lists}>
        <Loaded query={lists} part loading={<Loading lines={1} />}>
          {(all) =>
            all.length === 0 ? (
              <p className="quiet">{T.noLists}</p>
            ) : (
              <ul className="row">
                {all.map((list) => (
                  <li key={list.id} className="tile">
                    <span className="strong">{list.name}</span>
                    <span className="quiet">{T.members(list.member_count)}</span>
                  </li>
                ))}
              </ul>
            )
          }
        </Loaded>
      </Section>
      <Input type="search" aria-label={T.filter} placeholder={T.filter} value={query} onChange={(_, data) => setUrl({ query: data.value })} style={{ maxWidth: 360 }} />
      <div className={id ? "split split-panel" : "split"}>
        <DataTable
          label={T.title}
          pages={pages}
          columns={COLUMNS}
          rowId={(p) => p.id}
          rowName={(p) => p.name}
          onOpen={(p) => void navigate(`/people/${p.id}${search}`)}
          openId={id}
          empty={query ? <EmptyState title={T.nobody} detail="" /> : <EmptyState title={T.emptyTitle} detail={start ? T.emptyDetail : T.emptyDetailRead} action={start} />}
        />
        {id && <Panel id={id} onClose={() => void navigate(`/people${search}`)} />}
      </div>
      {importing && <ImportDialog onClose={() => setImporting(false)} />}
    </Frame>
  );
}

function Panel({ id, onClose }: { id: string; onClose: () => void }) {
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
                ...Object.entries(p.attributes),
              ]}
            />
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
  const run = useAction(async () => {
    const result = await importCsv((await file?.text()) ?? "", list.trim(), takeGood);
    setReport(result);
    if (result.applied && result.rejected_count === 0) onClose();
    return result.applied ? T.importDone(result.created_count, result.updated_count) : undefined;
  });
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && onClose()}>
      <DialogSurface>
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
            <Button appearance="primary" disabled={!file || run.isPending} onClick={() => run.mutate()}>
              {run.isPending ? T.importBusy : T.importGo}
            </Button>
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
