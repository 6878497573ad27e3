// Long work: a bar with count, rate and time left. It can be left and found again: everything comes from the server's numbers.
import { ProgressBar } from "@fluentui/react-components";
import { useNow } from "../lib/hooks";
import { S } from "../strings";

interface Props {
  label: string;
  done: number;
  total: number;
  startedAt?: string | null;
  finishedAt?: string | null;
  failed?: boolean;
}

/** Before this much time has passed a rate means nothing. */
const RATE_AFTER_MS = 1_500;

export function Progress({ label, done, total, startedAt, finishedAt, failed }: Props) {
  useNow();
  const end = finishedAt ? new Date(finishedAt).getTime() : Date.now();
  const spentMs = startedAt ? end - new Date(startedAt).getTime() : 0;
  const perS = spentMs > RATE_AFTER_MS ? (1000 * done) / spentMs : 0;
  const parts = [S.progress.of(done, total)];
  if (!startedAt) parts.push(S.progress.waiting);
  if (perS >= 1) parts.push(S.progress.rate(perS));
  if (perS > 0 && !finishedAt && done < total) parts.push(S.progress.left((1000 * (total - done)) / perS));
  return (
    <div className="progress">
      <div className="progress-words">
        <span>{label}</span>
        <span className="quiet" aria-live="polite">
          {parts.join(" · ")}
        </span>
      </div>
      <ProgressBar value={total ? done / total : 0} color={failed ? "error" : finishedAt ? "success" : "brand"} aria-label={label} thickness="large" />
    </div>
  );
}
