// The audit log: who did what to what, and why, in words; a row opens what it is about.
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { sentence } from "../lib/format";
import { S } from "../strings";

type Entry = Schemas["AuditEntry"];
const T = S.settings;
const load = (page: PageOf) => call(api.GET("/api/v1/audit", { params: { query: page } }));

/** What an entry is about: the record names it `campaign 4711`. */
const ABOUT: [RegExp, string, (id: string) => string][] = [
  [/^campaign (-?\d+)$/, T.about.campaign, (id) => `/campaigns/${id}`],
  [/^change (-?\d+)$/, T.about.change, (id) => `/changes/${id}`],
  [/^copy (-?\d+)$/, T.about.copy, (id) => `/trace/${id}`],
  [/^quarantine item (-?\d+)$/, T.about.held, (id) => `/quarantine?item=${id}`],
  [/^account (-?\d+)$/, T.about.account, () => "/settings?tab=accounts"],
];

function aboutOf({ target, detail }: Entry): { word: string; page?: string } {
  const { name, title } = detail as { name?: unknown; title?: unknown };
  const own = [title, name].find((text): text is string => typeof text === "string" && text !== "");
  for (const [form, word, page] of ABOUT) {
    const id = form.exec(target)?.[1];
    if (id) return { word: own ? T.named(word, own) : word, page: page(id) };
  }
  return { word: target || own || "" };
}

const actionWord = (action: string) => T.actions[action] ?? sentence(action.replaceAll(/[._]/g, " "));

const COLUMNS: Column<Entry>[] = [
  { id: "at", header: S.when, width: "8rem", cell: (e) => <When at={e.at} /> },
  { id: "actor", header: T.who, width: "minmax(8rem, 1.2fr)", cell: (e) => <span title={e.actor}>{e.actor}</span> },
  { id: "action", header: T.action, width: "minmax(10rem, 1.4fr)", on: "main", cell: (e) => <span title={e.action}>{actionWord(e.action)}</span> },
  { id: "target", header: T.target, width: "minmax(9rem, 2fr)", cell: (e) => <span title={`${aboutOf(e).word} (${e.target})`}>{aboutOf(e).word}</span> },
  { id: "reason", header: S.reason, width: "minmax(8rem, 2fr)", on: "wide", cell: (e) => <span title={e.reason}>{e.reason}</span> },
];

export function Audit() {
  const navigate = useNavigate();
  const pages = usePages<Entry>(["settings", "audit"], load);
  return (
    <DataTable
      label={T.tabs.audit}
      pages={pages}
      columns={COLUMNS}
      rowId={(e) => e.id}
      rowName={(e) => `${actionWord(e.action)}, ${aboutOf(e).word}`}
      onOpen={(e) => void navigate(aboutOf(e).page ?? "")}
      opens={(e) => aboutOf(e).page !== undefined}
      empty={<EmptyState title={T.tabs.audit} detail={T.auditEmpty} />}
    />
  );
}
