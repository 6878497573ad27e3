// One's own password: set after a sign-in by link, changed later.
import { Button, Field, Input } from "@fluentui/react-components";
import { type FormEvent, useState } from "react";
import { useAction } from "../components/actions";
import { Page as Frame } from "../components/Page";
import { ErrorLine } from "../components/states";
import { api, call } from "../lib/api";
import { S } from "../strings";

const T = S.password;
const save = async (body: { current: string; password: string }) => {
  await call(api.PUT("/api/v1/me/password", { body }));
  return T.done;
};

export function Page() {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const action = useAction(save, () => {
    setCurrent("");
    setPassword("");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    action.mutate({ current, password });
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
          <Button type="submit" appearance="primary" disabled={action.isPending || password.length < 10}>
            {T.save}
          </Button>
        </div>
      </form>
    </Frame>
  );
}
