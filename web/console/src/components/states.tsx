// The states of every page: loading, empty, failed, old. Pages say what; these say how.
import { Button, MessageBar, MessageBarActions, MessageBarBody, MessageBarTitle, Skeleton, SkeletonItem } from "@fluentui/react-components";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { problemOf } from "../lib/api";
import { sentence } from "../lib/format";
import { S } from "../strings";

export function EmptyState({ title, detail, action }: { title: string; detail: string; action?: ReactNode }) {
  return (
    <div className="empty">
      <svg width="56" height="40" viewBox="0 0 56 40" aria-hidden className="empty-picture">
        <rect x="4" y="4" width="48" height="32" rx="4" />
        <path d="M4 24h14a4 4 0 0 1 4 4h12a4 4 0 0 1 4-4h14" />
      </svg>
      <h2>{title}</h2>
      <p>{detail}</p>
      {action}
    </div>
  );
}

/** Asking again does not bring what is not there or may not be seen, */
const isNotThere = (status: number) => [400, 403, 404].includes(status);
/** nor what was asked for in a way that cannot be answered: the filters are there to be changed. */
const UNANSWERABLE = 422;

/** What happened, what to do, and the reference under which the log has the cause. */
export function ErrorState({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = problemOf(error);
  return (
    <div className="error-state" role="alert">
      <h2>{problem.title}</h2>
      <p>{problem.detail}</p>
      {problem.status >= 500 && <p className="quiet">{S.problem.tryAgainHint}</p>}
      {retry && !isNotThere(problem.status) && problem.status !== UNANSWERABLE && (
        <Button appearance="primary" onClick={retry}>
          {S.retry}
        </Button>
      )}
      {isNotThere(problem.status) && <Link to="/">{S.problem.toHome}</Link>}
      {problem.reference && (
        <p className="quiet">
          {S.problem.reference}: <code>{problem.reference}</code>
          <br />
          {S.problem.referenceHint}
        </p>
      )}
    </div>
  );
}

/** A failure beside content that stays usable: in a dialog, a form, a panel. */
export function ErrorLine({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = problemOf(error);
  return (
    <MessageBar intent="error" layout="multiline" role="alert">
      <MessageBarBody>
        <MessageBarTitle>{problem.title}</MessageBarTitle>
        {sentence(problem.detail)}
        {problem.reference && (
          <>
            {" "}
            {S.problem.reference}: <code>{problem.reference}</code>
          </>
        )}
      </MessageBarBody>
      {retry && (
        <MessageBarActions>
          <Button onClick={retry}>{S.retry}</Button>
        </MessageBarActions>
      )}
    </MessageBar>
  );
}

/** What is shown was seen before; the newest look failed. */
export function OldDataLine({ retry }: { retry: () => void }) {
  return (
    <MessageBar intent="warning" layout="multiline">
      <MessageBarBody>
        <MessageBarTitle>{S.problem.late}</MessageBarTitle>
        {S.problem.lateDetail}
      </MessageBarBody>
      <MessageBarActions>
        <Button onClick={retry}>{S.retry}</Button>
      </MessageBarActions>
    </MessageBar>
  );
}

/** Grey lines in the shape of what comes. */
export function Loading({ lines = 6, tall = false }: { lines?: number; tall?: boolean }) {
  return (
    <Skeleton aria-label={S.loading} className="loading">
      {Array.from({ length: lines }, (_, i) => (
        <SkeletonItem key={i} size={tall ? 48 : 20} style={{ width: tall ? "100%" : `${92 - ((i * 17) % 40)}%` }} />
      ))}
    </Skeleton>
  );
}

interface LoadedProps<T> {
  query: Pick<UseQueryResult<T>, "data" | "error" | "isPending" | "refetch">;
  loading?: ReactNode;
  /** In a part of a page: a failure is one line, not the page. */
  part?: boolean;
  children: (data: T) => ReactNode;
}

/** A query as a page: its skeleton, its failure, or what it brought (with a warning when that is old). */
export function Loaded<T>({ query, loading = <Loading />, part, children }: LoadedProps<T>) {
  const retry = () => void query.refetch();
  if (query.data !== undefined) {
    return (
      <>
        {query.error ? <OldDataLine retry={retry} /> : null}
        {children(query.data)}
      </>
    );
  }
  if (query.error) return part ? <ErrorLine error={query.error} retry={retry} /> : <ErrorState error={query.error} retry={retry} />;
  return <>{loading}</>;
}
