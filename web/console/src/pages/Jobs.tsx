// Long work: what runs and how far it is, then everything that ran and what came out of it.
import { Badge } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { When } from "../components/Age";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame, Section } from "../components/Page";
import { Progress } from "../components/Progress";
import { EmptyState } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { lastJobs } from "../shell/JobsTray";
import { S } from "../strings";

type Job = Schemas["Job"];
const T = S.jobs;
const load = (page: PageOf) => call(api.GET("/api/v1/jobs", { params: { query: page } }));

const STATE_COLOR = { waiting: "informative", running: "brand", done: "success", failed: "danger" } as const;

const COLUMNS: Column<Job>[] = [
  { id: "what", header: T.what, width: "minmax(12rem, 4fr)", on: "main", cell: (j) => <span title={j.title}>{j.title}</span> },
  { id: "state", header: S.state, width: "6.5rem", cell: (j) => <Badge appearance="tint" color={STATE_COLOR[j.state]}>{T.state[j.state]}</Badge> },
  { id: "result", header: T.result, width: "minmax(11rem, 3fr)", cell: (j) => <Result job={j} /> },
  { id: "by", header: T.by, width: "minmax(6rem, 1fr)", on: "wide", cell: (j) => j.actor },
  { id: "at", header: S.when, width: "7.5rem", on: "wide", cell: (j) => <When at={j.created_at} /> },
];

function Result({ job }: { job: Job }) {
  const text = [job.result || (job.state === "waiting" ? "" : S.progress.of(job.done_count + job.failed_count, job.total_count)), job.failed_count > 0 && T.failed(job.failed_count)];
  const words = text.filter(Boolean).join(" · ");
  return <span title={words}>{words}</span>;
}

/** The page of what a job works for. */
const causePage = (job: Job) => (job.cause_id && (job.kind === "purge" || job.kind === "restore") ? `/changes/${job.cause_id}` : undefined);

export function Page() {
  const navigate = useNavigate();
  const pages = usePages<Job>(["jobs", "list"], load);
  const running = useQuery(lastJobs).data?.running ?? [];
  return (
    <Frame title={T.title} lead={T.lead}>
      {running.length > 0 && (
        <Section title={T.running}>
          <ul className="list">
            {running.map((job) => (
              <li key={job.id}>
                <Progress label={job.title} done={job.done_count + job.failed_count} total={job.total_count} startedAt={job.started_at} finishedAt={job.finished_at} />
              </li>
            ))}
          </ul>
        </Section>
      )}
      <DataTable
        label={T.title}
        pages={pages}
        columns={COLUMNS}
        rowId={(j) => j.id}
        rowName={(j) => j.title}
        onOpen={(j) => void navigate(causePage(j) ?? "/jobs")}
        opens={(j) => causePage(j) !== undefined}
        empty={<EmptyState title={T.emptyTitle} detail={T.emptyDetail} />}
      />
    </Frame>
  );
}
