// One's own password: set after a sign-in by link, changed later.
import { Field, Input } from "@fluentui/react-components";
import { type FormEvent, useState } from "react";
import { GuardedButton, useAction } from "../components/actions";
import { Page as Frame } from "../components/Page";
import { ErrorLine } from "../components/states";
import { api, call } from "../lib/api";
import { S } from "../strings";

const T = S.password;
/** The server takes no shorter one. */
const CHARS_MIN = 10;
const save = async (body: { current: string; password: string }) => {
  await call(api.PUT("/api/v1/me/password", { body }));
  return T.done;
};

export function Page() {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const typed = { current, password };
  const after = () => {
    setCurrent("");
    setPassword("");
  };
  const action = useAction(save, { after, typed });
  const tooShort = password.length < CHARS_MIN;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!tooShort) action.mutate(typed);
  };
  return (
    <Frame title={T.title} lead={T.lead}>
      <form className="card narrow-form" onSubmit={submit}>
        <Field label={T.current} hint={T.currentHint}>
          <Input type="password" autoComplete="current-password" value={current} onChange={(_, data) => setCurrent(data.value)} />
        </Field>
        <Field label={T.next} hint={T.nextHint} required>
          <Input type="password" autoComplete="new-password" value={password} onChange={(_, data) => setPassword(data.value)} />
        </Field>
        {action.error ? <ErrorLine error={action.error} /> : null}
        <div>
          <GuardedButton submit appearance="primary" busy={action.isPending} blocked={tooShort ? T.tooShort : undefined}>
            {T.save}
          </GuardedButton>
        </div>
      </form>
    </Frame>
  );
}
