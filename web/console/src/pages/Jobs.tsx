// Long work: what runs, how far it is, what came out of it.
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { When } from "../components/Age";
import { Page as Frame } from "../components/Page";
import { Progress } from "../components/Progress";
import { EmptyState, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { isRunning } from "../shell/JobsTray";
import { S } from "../strings";

type Job = Schemas["Job"];
const JOBS_SHOWN = 100;
const RUNNING_POLL_MS = 1_500;
const load = () => call(api.GET("/api/v1/jobs", { params: { query: { limit: JOBS_SHOWN } } }));

export function Page() {
  const jobs = useQuery({ queryKey: ["jobs", "list"], queryFn: load, refetchInterval: (q) => (q.state.data?.items.some(isRunning) ? RUNNING_POLL_MS : false) });
  return (
    <Frame title={S.jobs.title} lead={S.jobs.lead}>
      <Loaded query={jobs}>
        {({ items }) =>
          items.length === 0 ? (
            <EmptyState title={S.jobs.emptyTitle} detail={S.jobs.emptyDetail} />
          ) : (
            <section className="card" aria-label={S.jobs.title}>
              <ul className="list">
                {items.map((job) => (
                  <Row key={job.id} job={job} />
                ))}
              </ul>
            </section>
          )
        }
      </Loaded>
    </Frame>
  );
}

function Row({ job }: { job: Job }) {
  const done = job.done_count + job.failed_count;
  return (
    <li>
      <Progress label={job.title} done={done} total={job.total_count} startedAt={job.started_at} finishedAt={job.finished_at} failed={job.state === "failed"} />
      {job.result && <p>{job.result}</p>}
      <span className="quiet">
        {S.jobs.kind[job.kind] ?? job.kind} · {S.jobs.state[job.state]} · {S.jobs.startedBy(job.actor)} · <When at={job.created_at} />
        {job.failed_count > 0 && ` · ${S.jobs.failed(job.failed_count)}`}
        {job.cause_id && (job.kind === "purge" || job.kind === "restore") && (
          <>
            {" · "}
            <Link to={`/changes/${job.cause_id}`}>{S.campaign.theChange}</Link>
          </>
        )}
      </span>
    </li>
  );
}
