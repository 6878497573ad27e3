// The way to the server: the typed client, its failures as one kind of error, and lists that are loaded page by page.
import { createApi, type Schemas } from "@landfall/api-client";
import { type QueryKey, useInfiniteQuery } from "@tanstack/react-query";
import { S } from "../strings";

export type { Schemas };
export type Problem = Schemas["Problem"];

/** Items of one page of a list; the server allows 200. */
const PAGE_ITEMS = 200;
/** A list with more loaded pages than this is not loaded again behind the reader's back: a hundred pages are a hundred calls. */
const PAGES_RELOADED_MAX = 3;

export const mayReload = ({ state }: { state: { data?: unknown } }) => ((state.data as { pages?: unknown[] } | undefined)?.pages?.length ?? 0) <= PAGES_RELOADED_MAX;

let csrfToken: string | null | undefined;
/** Keeps the token that unsafe requests must bring (`csrf` of GET /api/v1/me). */
export function rememberCsrf(token: string | null | undefined) {
  csrfToken = token;
}

export const api = createApi("", () => csrfToken);

/** A call that did not succeed: the problem document of the server (RFC 9457), or one of ours when no answer came. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
  get signInNeeded() {
    return this.problem.status === 401;
  }
}

/** The data of an answer, or a `ProblemError`. */
export async function call<D>(answer: Promise<{ data?: D; error?: unknown; response: Response }>): Promise<D> {
  let settled;
  try {
    settled = await answer;
  } catch {
    throw new ProblemError(ownProblem(0, S.problem.unreachable, S.problem.unreachableDetail));
  }
  if (settled.response.ok) return settled.data as D;
  throw new ProblemError(asProblem(settled.error, settled.response.status));
}

function asProblem(body: unknown, status: number): Problem {
  if (body && typeof body === "object" && "detail" in body && "title" in body) return body as Problem;
  return ownProblem(status, S.problem.unexpected, S.problem.unexpectedDetail(status));
}

function ownProblem(status: number, title: string, detail: string): Problem {
  return { type: "about:blank", title, status, detail, reference: "" };
}

/** Any thrown thing as a problem to show. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return ownProblem(0, S.problem.unexpected, error instanceof Error ? error.message : String(error));
}

export interface Page<T> {
  items: T[];
  next?: string | null;
}
export interface PageOf {
  after?: string;
  limit: number;
}
export type Pages<T> = ReturnType<typeof usePages<T>>;

/** A list with seek pagination: `rows` are those loaded so far, `more` loads the next page. */
export function usePages<T>(key: QueryKey, load: (page: PageOf) => Promise<Page<T>>, enabled = true) {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam }) => load({ after: pageParam, limit: PAGE_ITEMS }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next ?? undefined,
    enabled,
    refetchOnMount: mayReload,
    refetchOnWindowFocus: mayReload,
    refetchOnReconnect: mayReload,
  });
  const rows = query.data?.pages.flatMap((page) => page.items) ?? [];
  const more = () => {
    if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
  };
  return { query, rows, more };
}
