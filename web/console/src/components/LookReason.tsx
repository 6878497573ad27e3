// Before other people's held mail is shown: why. Asked once; what was said stands above it and can be changed.
import { Button, Field, Input } from "@fluentui/react-components";
import { type FormEvent, type ReactNode, useState } from "react";
import { rememberReason, useReason } from "../lib/reason";
import { S } from "../strings";
import { GuardedButton } from "./actions";

const T = S.quarantine;
/** As the server takes it. */
const CHARS_MAX = 300;

export function LookReason({ children }: { children: (reason: string) => ReactNode }) {
  const reason = useReason();
  const [text, setText] = useState("");
  if (reason) {
    return (
      <>
        <p className="quiet row">
          <span>{T.lookOnRecord(reason)}</span>
          <Button size="small" appearance="subtle" onClick={() => rememberReason("")}>
            {T.lookChange}
          </Button>
        </p>
        {children(reason)}
      </>
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) rememberReason(text.trim());
  };
  return (
    <form className="stack" onSubmit={submit}>
      <Field label={T.lookWhy} hint={T.lookHint} required>
        <Input value={text} maxLength={CHARS_MAX} onChange={(_, data) => setText(data.value)} />
      </Field>
      <div>
        <GuardedButton submit appearance="primary" blocked={text.trim() ? undefined : S.confirm.sayWhy}>
          {T.lookGo}
        </GuardedButton>
      </div>
    </form>
  );
}
