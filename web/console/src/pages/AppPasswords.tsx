// One's own app passwords: what a mail program logs in with. Each is shown once and revoked by itself.
import { Button, Checkbox, Field, Input, MessageBar, MessageBarBody } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { When } from "../components/Age";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { Page as Frame } from "../components/Page";
import { ErrorLine, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { useMe } from "../lib/session";
import { S } from "../strings";

type AppPassword = Schemas["AppPassword"];
type Made = Schemas["CreatedAppPassword"];
type Scope = Schemas["AppPasswordScope"];
const T = S.appPasswords;
const SCOPES = Object.keys(T.scope) as Scope[];
const load = () => call(api.GET("/api/v1/me/app-passwords"));

export function Page() {
  const passwords = useQuery({ queryKey: ["app-passwords"], queryFn: load });
  return (
    <Frame title={T.title} lead={T.lead}>
      <KeptElsewhere />
      <Loaded query={passwords}>
        {(all) => (
          <div className="stack">
            <NewPassword />
            {all.length === 0 ? <p className="quiet">{T.empty}</p> : <List all={all} />}
          </div>
        )}
      </Loaded>
    </Frame>
  );
}

/** An app password for IMAP opens a mailbox of here, and there may be none. */
function KeptElsewhere() {
  const me = useMe();
  const own = useQuery({ queryKey: ["mailbox", "own"], queryFn: () => call(api.GET("/api/v1/mailbox")), enabled: Boolean(me.person_id) });
  if (!own.data?.kept_by) return null;
  return (
    <MessageBar intent="info" layout="multiline">
      <MessageBarBody>{T.elsewhere(own.data.kept_by)}</MessageBarBody>
    </MessageBar>
  );
}

function List({ all }: { all: AppPassword[] }) {
  return (
    <ul className="list card" aria-label={T.title}>
      {all.map((one) => (
        <li key={one.id}>
          <div className="row between">
            <span>
              <strong>{one.name}</strong>
              <br />
              <span className="quiet">
                {one.scopes.map((scope) => T.scope[scope]).join(", ")} · {T.created} <When at={one.created_at} /> · {T.lastUsed}{" "}
                {one.last_used_at ? <When at={one.last_used_at} /> : T.never}
              </span>
            </span>
            <Revoke one={one} />
          </div>
        </li>
      ))}
    </ul>
  );
}

function Revoke({ one }: { one: AppPassword }) {
  return (
    <ConfirmDialog
      title={T.revokeTitle(one.name)}
      text={<p>{T.revokeText}</p>}
      go={T.revoke}
      danger
      run={async () => {
        await call(api.DELETE("/api/v1/me/app-passwords/{id}", { params: { path: { id: one.id } } }));
      }}
      trigger={(open) => (
        <Button size="small" aria-label={T.revokeTitle(one.name)} onClick={open}>
          {T.revoke}
        </Button>
      )}
    />
  );
}

function NewPassword() {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(SCOPES);
  const [made, setMade] = useState<Made>();
  const body = { name: name.trim(), scopes };
  const make = useAction(
    async () => {
      setMade(await call(api.POST("/api/v1/me/app-passwords", { body })));
      setName("");
    },
    { typed: body },
  );
  const missing = !name.trim() ? T.noName : scopes.length === 0 ? T.noScope : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!missing) make.mutate();
  };
  const choose = (scope: Scope, is: boolean) => setScopes(SCOPES.filter((s) => (s === scope ? is : scopes.includes(s))));
  return (
    <>
      {made && (
        <div className="card" role="status">
          <span>{T.shownOnce}</span>
          <dl className="secrets">
            <dt>{T.login}</dt>
            <dd>
              <code className="secret">{made.login}</code>
            </dd>
            <dt>{T.secret}</dt>
            <dd>
              <code className="secret">{made.secret}</code>
            </dd>
          </dl>
        </div>
      )}
      <form className="filters" onSubmit={submit} aria-label={T.make}>
        <Field label={T.name}>
          <Input value={name} onChange={(_, d) => setName(d.value)} />
        </Field>
        {SCOPES.map((scope) => (
          <Checkbox key={scope} label={T.scope[scope]} checked={scopes.includes(scope)} onChange={(_, d) => choose(scope, d.checked === true)} />
        ))}
        <GuardedButton submit appearance="primary" busy={make.isPending} blocked={missing}>
          {T.make}
        </GuardedButton>
        {make.error ? <ErrorLine error={make.error} /> : null}
      </form>
    </>
  );
}
