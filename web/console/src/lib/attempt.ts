// Something tried on the server, and what is left of its failure: what a problem says of a field goes away as soon as somebody edits
// that field, and with it the line, when nothing else is wrong.
import { useMutation, type UseMutationOptions } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ProblemError } from "./api";

/** A mutation beside fields. `typed` is what stands in them, by the names that the server's problems give them; left out where there
 * are none, and the failure stays until the next try. */
export function useAttempt<R, A>(options: UseMutationOptions<R, Error, A>, typed?: unknown) {
  const [sent, setSent] = useState<unknown>();
  const { error: failure, ...rest } = useMutation({ ...options, onMutate: () => setSent(typed) });
  const error = failure && leftOf(failure, sent, typed);
  const isOver = Boolean(failure) && !error;
  const { reset } = rest;
  useEffect(() => {
    if (isOver) reset(); // it does not come back when the same is typed again
  }, [isOver, reset]);
  return { ...rest, error };
}

const differ = (a: unknown, b: unknown) => JSON.stringify(a) !== JSON.stringify(b);

/** What a path such as `incident.delay_ms` or `add[0].value` names. */
function valueAt(typed: unknown, path: string): unknown {
  const within = (value: unknown, name: string) => (value && typeof value === "object" ? (value as Record<string, unknown>)[name] : undefined);
  return within(typed, path) ?? path.split(/[.[\]]+/).filter(Boolean).reduce(within, typed);
}

/** The failure without what was edited since: a problem of no field, or of one with a name of its own, is one of all fields. */
export function leftOf(error: Error, sent: unknown, typed: unknown): Error | null {
  if (!differ(sent, typed)) return error;
  if (!(error instanceof ProblemError)) return null;
  const { problem } = error;
  const isEdited = (field: string) => {
    const [was, is] = [valueAt(sent, field), valueAt(typed, field)];
    return (was === undefined && is === undefined) || differ(was, is);
  };
  const all = problem.errors?.length ? problem.errors : [{ field: problem.field ?? "", detail: problem.detail }];
  const left = all.filter((one) => !isEdited(one.field));
  const [first] = left;
  if (!first) return null;
  return left.length === all.length ? error : new ProblemError({ ...problem, field: first.field, detail: first.detail, errors: left });
}
