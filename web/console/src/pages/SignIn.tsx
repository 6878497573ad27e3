// The door: login and password, or a one-time link (first run, invitation).
import { Button, Field, Input, Spinner } from "@fluentui/react-components";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Link, useLocation, useNavigate, useParams, useSearchParams } from "react-router";
import { ErrorLine } from "../components/states";
import { api, call } from "../lib/api";
import { useAttempt } from "../lib/attempt";
import { useTitle } from "../lib/hooks";
import { type Me, useSignedIn } from "../lib/session";
import { S } from "../strings";

/** Only pages of this console: `//host` would lead elsewhere. */
const ownPath = (path: string | null) => (path && /^\/(?![/\\])/.test(path) ? path : "/");

function useEnter() {
  const signedIn = useSignedIn();
  const navigate = useNavigate();
  const [params] = useSearchParams();
  return (me: Me) => {
    signedIn(me);
    void navigate(ownPath(params.get("next")), { replace: true });
  };
}

export function Page() {
  useTitle(S.signIn.title);
  const { token } = useParams();
  const { hash } = useLocation();
  const link = token ?? new URLSearchParams(hash.slice(1)).get("token");
  return (
    <main className="door">
      <div className="door-card">
        <div className="row">
          <img src="/icon.svg" alt="" width="32" height="32" />
          <h1>{S.product}</h1>
        </div>
        {link ? <ByLink token={link} /> : <ByPassword />}
      </div>
    </main>
  );
}

function ByPassword() {
  const [login, setLogin] = useState("");
  const [password, setPassword] = useState("");
  const enter = useEnter();
  const body = { login: login.trim(), password };
  const signIn = useAttempt({ mutationFn: () => call(api.POST("/api/v1/session", { body })), onSuccess: enter }, body);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate();
  };
  return (
    <>
      <p className="quiet">{S.signIn.lead}</p>
      <form onSubmit={submit}>
        <Field label={S.signIn.login} required>
          <Input value={login} onChange={(_, data) => setLogin(data.value)} autoComplete="username" name="login" autoFocus />
        </Field>
        <Field label={S.signIn.password} required>
          <Input type="password" value={password} onChange={(_, data) => setPassword(data.value)} autoComplete="current-password" name="password" />
        </Field>
        {signIn.error ? <ErrorLine error={signIn.error} /> : null}
        <Button type="submit" appearance="primary" size="large" disabled={signIn.isPending}>
          {signIn.isPending ? S.signIn.busy : S.signIn.submit}
        </Button>
      </form>
    </>
  );
}

function ByLink({ token }: { token: string }) {
  const enter = useEnter();
  const signIn = useAttempt({ mutationFn: () => call(api.POST("/api/v1/session/link", { body: { token } })), onSuccess: enter });
  const used = useRef(false);
  useEffect(() => {
    if (used.current) return; // a link works once: never spend it twice
    used.current = true;
    signIn.mutate();
  });
  if (!signIn.error) return <Spinner label={S.signIn.byLink} />;
  return (
    <>
      <h2>{S.signIn.linkFailed}</h2>
      <ErrorLine error={signIn.error} />
      <p className="quiet">{S.signIn.linkHint}</p>
      <Link to="/sign-in">{S.signIn.toPassword}</Link>
    </>
  );
}
