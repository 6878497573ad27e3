// The lists of the settings: logins, API tokens, the audit log.
import { Button, Field, Input, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { When } from "../components/Age";
import { ConfirmDialog, useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Section } from "../components/Page";
import { EmptyState, ErrorLine, Loaded } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Role = Schemas["Role"];
type Entry = Schemas["AuditEntry"];
const T = S.settings;
const at = (id: string) => ({ params: { path: { id } } });
const loadAccounts = () => call(api.GET("/api/v1/accounts"));
const loadTokens = () => call(api.GET("/api/v1/tokens"));
const loadAudit = (page: PageOf) => call(api.GET("/api/v1/audit", { params: { query: page } }));

export function Accounts() {
  const accounts = useQuery({ queryKey: ["settings", "accounts"], queryFn: loadAccounts });
  const may = useMay();
  return (
    <Section title={T.tabs.accounts}>
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

function NewAccount() {
  const [login, setLogin] = useState("");
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("recipient");
  const make = useAction(async () => {
    const made = await call(api.POST("/api/v1/accounts", { body: { login: login.trim(), name: name.trim(), role } }));
    setLogin("");
    setName("");
    return T.accountMade(made.login);
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
  };
  return (
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
      <Button type="submit" disabled={!login.trim() || make.isPending}>
        {T.newAccount}
      </Button>
      {make.error ? <ErrorLine error={make.error} /> : null}
    </form>
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
  const make = useAction(async () => {
    const made = await call(api.POST("/api/v1/tokens", { body: { name: name.trim() } }));
    setSecret(made.secret);
    setName("");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
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
        <Button type="submit" disabled={!name.trim() || make.isPending}>
          {T.tokenMake}
        </Button>
        {make.error ? <ErrorLine error={make.error} /> : null}
      </form>
    </>
  );
}

const AUDIT_COLUMNS: Column<Entry>[] = [
  { id: "at", header: S.when, width: "8rem", cell: (e) => <When at={e.at} /> },
  { id: "actor", header: T.who, width: "minmax(8rem, 1.2fr)", cell: (e) => e.actor },
  { id: "action", header: T.action, width: "minmax(9rem, 1.2fr)", on: "main", cell: (e) => e.action },
  { id: "target", header: T.target, width: "minmax(9rem, 2fr)", cell: (e) => <span title={e.target}>{e.target}</span> },
  { id: "reason", header: S.reason, width: "minmax(8rem, 2fr)", on: "wide", cell: (e) => <span title={e.reason}>{e.reason}</span> },
];

export function Audit() {
  const pages = usePages<Entry>(["settings", "audit"], loadAudit);
  return (
    <DataTable label={T.tabs.audit} pages={pages} columns={AUDIT_COLUMNS} rowId={(e) => e.id} rowName={(e) => e.action} empty={<EmptyState title={T.tabs.audit} detail={T.auditEmpty} />} />
  );
}
