// Actions: every one says what happened, destructive ones name the number and ask once, failures stay where they were caused.
import {
  Button,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Textarea,
  Toast,
  ToastTitle,
  Tooltip,
  useToastController,
} from "@fluentui/react-components";
import { useQueryClient } from "@tanstack/react-query";
import { type ReactElement, type ReactNode, useState } from "react";
import { useAttempt } from "../lib/attempt";
import { S } from "../strings";
import { ReturnFocus } from "./ReturnFocus";
import { ErrorLine } from "./states";

export const TOASTER = "news";

/** Long sentences stay longer: so much for each letter, and at least this. */
const READ_MS_PER_CHAR = 90;
const READ_MS_MIN = 6_000;

export function useSay() {
  const { dispatchToast } = useToastController(TOASTER);
  return (sentence: string, intent: "success" | "info" | "error" = "success") =>
    dispatchToast(
      <Toast>
        <ToastTitle>{sentence}</ToastTitle>
      </Toast>,
      { intent, timeout: Math.max(READ_MS_MIN, sentence.length * READ_MS_PER_CHAR) },
    );
}

interface ActionOptions {
  after?: () => void;
  /** What stands in the fields it is about, see `useAttempt`. */
  typed?: unknown;
}

/** Runs something on the server; afterwards everything shown is asked again, and the sentence it returns is said. */
export function useAction<A = void>(run: (argument: A) => Promise<string | void>, { after, typed }: ActionOptions = {}) {
  const queries = useQueryClient();
  const say = useSay();
  const onSuccess = async (sentence: string | void) => {
    if (sentence) say(sentence);
    await queries.invalidateQueries();
    after?.();
  };
  return useAttempt({ mutationFn: run, onSuccess }, typed);
}

interface ConfirmProps {
  /** Named as a question with the number. */
  title: string;
  text?: ReactNode;
  go: string;
  no?: string;
  danger?: boolean;
  /** Asks for a reason; `true` when it may not be left out. */
  reason?: { label: string; required?: boolean };
  run: (reason: string) => Promise<string | void>;
  trigger: (open: () => void) => ReactElement;
  /** Why what the dialog asks for cannot be done yet. */
  blocked?: string;
  /** What stands in fields of `text`. */
  typed?: Record<string, unknown>;
}

export function ConfirmDialog({ title, text, go, no = S.cancel, danger, reason, run, trigger, blocked, typed }: ConfirmProps) {
  const [open, setOpen] = useState(false);
  const [why, setWhy] = useState("");
  const after = () => {
    setOpen(false);
    setWhy("");
  };
  const action = useAction((r: string) => run(r), { after, typed: { ...typed, reason: why.trim() } });
  const show = () => {
    action.reset();
    setOpen(true);
  };
  const missing = Boolean(reason?.required && !why.trim());
  return (
    <>
      {trigger(show)}
      <Dialog open={open} onOpenChange={(_, data) => setOpen(data.open)} modalType="alert">
        <DialogSurface>
          <ReturnFocus />
          <DialogBody>
            <DialogTitle>{title}</DialogTitle>
            <DialogContent className="dialog-content">
              {text}
              {reason && (
                <Field label={reason.label} required={reason.required}>
                  <Textarea value={why} onChange={(_, data) => setWhy(data.value)} rows={3} />
                </Field>
              )}
              {action.error ? <ErrorLine error={action.error} /> : null}
            </DialogContent>
            <DialogActions>
              <Button onClick={() => setOpen(false)}>{no}</Button>
              <GuardedButton appearance="primary" className={danger ? "danger" : undefined} busy={action.isPending} blocked={missing ? S.confirm.sayWhy : blocked} onClick={() => action.mutate(why.trim())}>
                {action.isPending ? S.confirm.busy : go}
              </GuardedButton>
            </DialogActions>
          </DialogBody>
        </DialogSurface>
      </Dialog>
    </>
  );
}

interface GuardedProps {
  /** Why it cannot be used. */
  blocked?: string;
  /** What it started is under way. */
  busy?: boolean;
  /** It sends the form that it is in; the form looks at `blocked` itself, for whoever presses Enter in a field. */
  submit?: boolean;
  children: ReactNode;
  onClick?: () => void;
  appearance?: "primary" | "secondary";
  size?: "small" | "large";
  disabledFocusable?: boolean;
  className?: string;
}

/** A button that says why it cannot be used. */
export function GuardedButton({ blocked, busy, submit, children, ...props }: GuardedProps) {
  if (!blocked) {
    return (
      <Button {...props} type={submit ? "submit" : "button"} disabled={busy}>
        {children}
      </Button>
    );
  }
  return (
    <Tooltip content={blocked} relationship="description">
      <Button {...props} type="button" disabledFocusable onClick={undefined}>
        {children}
      </Button>
    </Tooltip>
  );
}
