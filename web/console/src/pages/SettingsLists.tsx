// The lists of the settings: logins and API tokens.
import { Button, Field, Input, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { When } from "../components/Age";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { Section } from "../components/Page";
import { ErrorLine, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Account = Schemas["Account"];
type Role = Schemas["Role"];
const T = S.settings;
const at = (id: string) => ({ params: { path: { id } } });
const loadAccounts = () => call(api.GET("/api/v1/accounts"));
const loadTokens = () => call(api.GET("/api/v1/tokens"));

export function Accounts() {
  const accounts = useQuery({ queryKey: ["settings", "accounts"], queryFn: loadAccounts });
  const may = useMay();
  return (
    <Section title={T.tabs.accounts}>
      <p className="quiet">{T.accountsLead}</p>
      <Loaded query={accounts} part>
        {(all) => (
          <ul className="list">
            {all.map((account) => (
              <li key={account.id}>
                <div className="row between">
                  <span>
                    <strong>{account.name}</strong> <span className="quiet">{account.login}</span>
                    <br />
                    {S.role[account.role]}
                    {account.disabled && <span className="quiet"> · {T.disabled}</span>}
                  </span>
                  {may("settings.write") && <LinkButton id={account.id} name={account.name} />}
                </div>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
      {may("settings.write") && <NewAccount />}
    </Section>
  );
}

function LinkButton({ id, name }: { id: string; name: string }) {
  const [link, setLink] = useState("");
  const make = useAction(async () => {
    const made = await call(api.POST("/api/v1/accounts/{id}/sign-in-link", at(id)));
    setLink(window.location.origin + made.path);
  });
  if (link) {
    return (
      <span className="stack tight">
        <span className="quiet">{T.linkText}</span>
        <code className="secret">{link}</code>
      </span>
    );
  }
  return (
    <span>
      {make.error ? <ErrorLine error={make.error} /> : null}
      <Button size="small" aria-label={T.linkTitle(name)} onClick={() => make.mutate()}>
        {T.linkGo}
      </Button>
    </span>
  );
}

/** The person with this address: the login is theirs, and so is the mailbox. */
async function personOf(address: string) {
  const { items } = await call(api.GET("/api/v1/people", { params: { query: { query: address } } }));
  return items.find((person) => person.address.toLowerCase() === address.toLowerCase());
}

function NewAccount() {
  const [login, setLogin] = useState("");
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("recipient");
  const [made, setMade] = useState<Account>();
  const make = useAction(
    async () => {
      const person = await personOf(login.trim());
      const body = { login: login.trim(), name: name.trim() || (person?.name ?? ""), role, person_id: person?.id };
      const account = await call(api.POST("/api/v1/accounts", { body }));
      setMade(account);
      setLogin("");
      setName("");
      return T.accountMade(account.login);
    },
    { typed: { login: login.trim(), name: name.trim(), role } },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (login.trim()) make.mutate();
  };
  return (
    <>
      {made && (
        <div className="row" role="status">
          <span>{T.accountMade(made.login)}</span>
          <LinkButton key={made.id} id={made.id} name={made.name || made.login} />
        </div>
      )}
      <h3>{T.newAccount}</h3>
      <p className="quiet">{T.loginHint}</p>
      <form className="filters" onSubmit={submit} aria-label={T.newAccount}>
        <Field label={T.login}>
          <Input value={login} onChange={(_, d) => setLogin(d.value)} />
        </Field>
        <Field label={S.name}>
          <Input value={name} onChange={(_, d) => setName(d.value)} />
        </Field>
        <Field label={T.role}>
          <Select value={role} onChange={(_, d) => setRole(d.value as Role)}>
            {Object.entries(S.role).map(([value, word]) => (
              <option key={value} value={value}>
                {word}
              </option>
            ))}
          </Select>
        </Field>
        <GuardedButton submit busy={make.isPending} blocked={login.trim() ? undefined : T.noLogin}>
          {T.newAccount}
        </GuardedButton>
        {make.error ? <ErrorLine error={make.error} /> : null}
      </form>
    </>
  );
}

export function Tokens() {
  const tokens = useQuery({ queryKey: ["settings", "tokens"], queryFn: loadTokens });
  const may = useMay();
  return (
    <Section title={T.tabs.tokens}>
      <Loaded query={tokens} part>
        {(all) =>
          all.length === 0 ? (
            <p className="quiet">{T.tokensEmpty}</p>
          ) : (
            <ul className="list">
              {all.map((token) => (
                <li key={token.id}>
                  <div className="row between">
                    <span>
                      <strong>{token.name}</strong>
                      <br />
                      <span className="quiet">
                        {T.created} <When at={token.created_at} /> · {T.lastUsed} {token.last_used_at ? <When at={token.last_used_at} /> : T.never}
                        {token.revoked_at && ` · ${T.revoked}`}
                      </span>
                    </span>
                    {!token.revoked_at && may("settings.write") && <Revoke token={token} />}
                  </div>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      {may("settings.write") && <NewToken />}
    </Section>
  );
}

function Revoke({ token }: { token: Schemas["Token"] }) {
  return (
    <ConfirmDialog
      title={T.revokeTitle(token.name)}
      text={<p>{T.revokeText}</p>}
      go={T.revoke}
      danger
      run={async () => {
        await call(api.DELETE("/api/v1/tokens/{id}", at(token.id)));
      }}
      trigger={(open) => (
        <Button size="small" onClick={open}>
          {T.revoke}
        </Button>
      )}
    />
  );
}

function NewToken() {
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const body = { name: name.trim() };
  const make = useAction(
    async () => {
      const made = await call(api.POST("/api/v1/tokens", { body }));
      setSecret(made.secret);
      setName("");
    },
    { typed: body },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) make.mutate();
  };
  return (
    <>
      {secret && (
        <div className="stack tight" role="status">
          <span>{T.tokenSecret}</span>
          <code className="secret">{secret}</code>
        </div>
      )}
      <form className="filters" onSubmit={submit} aria-label={T.tokenMake}>
        <Field label={T.tokenName}>
          <Input value={name} onChange={(_, d) => setName(d.value)} />
        </Field>
        <GuardedButton submit busy={make.isPending} blocked={name.trim() ? undefined : T.noTokenName}>
          {T.tokenMake}
        </GuardedButton>
        {make.error ? <ErrorLine error={make.error} /> : null}
      </form>
    </>
  );
}
