// Long work that runs now, on every page: it can be left and found again.
import { Button, CounterBadge, Popover, PopoverSurface, PopoverTrigger } from "@fluentui/react-components";
import { ArrowSyncRegular } from "@fluentui/react-icons";
import { queryOptions, useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { Link } from "react-router";
import { useSay } from "../components/actions";
import { Progress } from "../components/Progress";
import { api, call, type Schemas } from "../lib/api";
import { S } from "../strings";

type Job = Schemas["Job"];
const LAST_JOBS = 10;
const RUNNING_POLL_MS = 1_500;

const isRunning = (job: Job) => job.state === "running" || job.state === "waiting";

async function loadLast() {
  const { items } = await call(api.GET("/api/v1/jobs", { params: { query: { limit: LAST_JOBS } } }));
  return { items, running: items.filter(isRunning) };
}

/** The newest jobs and those of them that run, asked again while one does. */
export const lastJobs = queryOptions({
  queryKey: ["jobs", "tray"],
  queryFn: loadLast,
  refetchInterval: (query) => (query.state.data?.running.length ? RUNNING_POLL_MS : false),
});

const NO_JOBS: Job[] = [];

export function JobsTray() {
  const jobs = useQuery(lastJobs);
  const items = jobs.data?.items ?? NO_JOBS;
  const running = jobs.data?.running ?? NO_JOBS;
  useSayWhenDone(items);
  return (
    <Popover withArrow trapFocus>
      <PopoverTrigger disableButtonEnhancement>
        <Button appearance="subtle" icon={<ArrowSyncRegular />} aria-label={S.jobs.tray(running.length)}>
          {running.length > 0 && <CounterBadge count={running.length} size="small" />}
        </Button>
      </PopoverTrigger>
      <PopoverSurface className="stack" aria-label={S.jobs.title} style={{ width: "min(380px, 90vw)" }}>
        {running.length === 0 && <p className="quiet">{S.jobs.none}</p>}
        {running.map((job) => (
          <Progress key={job.id} label={job.title} done={job.done_count} total={job.total_count} startedAt={job.started_at} />
        ))}
        <Link to="/jobs">{S.jobs.all}</Link>
      </PopoverSurface>
    </Popover>
  );
}

/** A job that ran when we looked last and is over now is announced once. */
function useSayWhenDone(jobs: Job[]) {
  const say = useSay();
  const running = useRef(new Set<string>());
  useEffect(() => {
    for (const job of jobs) {
      if (isRunning(job)) running.current.add(job.id);
      else if (running.current.delete(job.id)) say(job.result || `${job.title}: ${S.jobs.state[job.state]}`, job.state === "done" ? "success" : "error");
    }
  }, [jobs, say]);
}
