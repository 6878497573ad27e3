// The systems that keep mailboxes outside of Landfall: whether they answer, since when, what waits for them, and a look right now.
import { Badge } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { Age, When } from "../components/Age";
import { GuardedButton, useAction } from "../components/actions";
import { Facts, Section } from "../components/Page";
import { ErrorLine, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { copies, S } from "../strings";

type Connector = Schemas["Connector"];
type Service = Schemas["ConnectorService"];
const T = S.connectors;
const COLOR = { not_asked: "subtle", answers: "success", silent: "danger" } as const;
/** They answer or not without our doing anything: the server is asked again. */
const POLL_MS = 10_000;

const load = () => call(api.GET("/api/v1/connectors"));
export const useConnectors = (enabled = true) => useQuery({ queryKey: ["connectors"], queryFn: load, refetchInterval: POLL_MS, enabled });
export const isSilent = (connector: Connector) => !connector.configured || connector.lmtp?.state === "silent" || connector.imap?.state === "silent";

export function ConnectorsTab() {
  const connectors = useConnectors();
  return (
    <>
      <p className="quiet">{T.lead}</p>
      <Loaded query={connectors} part>
        {(all) => (
          <div className="stack wide-gap">
            {all.length === 0 && (
              <Section title={T.title}>
                <p className="quiet">{T.empty}</p>
              </Section>
            )}
            {all.map((connector) => (
              <One key={connector.name} connector={connector} />
            ))}
          </div>
        )}
      </Loaded>
    </>
  );
}

function One({ connector: c }: { connector: Connector }) {
  return (
    <Section title={c.name} aside={c.configured && <LookButton name={c.name} />}>
      {!c.configured && <p className="loud">{T.unknown}</p>}
      {(c.lmtp || c.imap) && (
        <div className="columns">
          {c.lmtp && <ServiceView title={T.lmtp} service={c.lmtp} />}
          {c.imap && <ServiceView title={T.imap} service={c.imap} />}
        </div>
      )}
      <Facts
        of={[
          [T.waiting, <Waits key="waits" connector={c} />],
          [T.lastReply, c.lmtp?.state !== "silent" && c.last_reply],
          [T.keeps, keeps(c)],
        ]}
      />
    </Section>
  );
}

function LookButton({ name }: { name: string }) {
  const may = useMay();
  const look = useAction(async () => (await call(api.POST("/api/v1/connectors/{name}/look", { params: { path: { name } } }))).sentence);
  return (
    <span className="row">
      {look.error ? <ErrorLine error={look.error} /> : null}
      <GuardedButton size="small" disabledFocusable={look.isPending} onClick={() => look.mutate()} blocked={may("queue.write") ? undefined : T.noLook}>
        {look.isPending ? T.looking : T.look}
      </GuardedButton>
    </span>
  );
}

function ServiceView({ title, service: s }: { title: string; service: Service }) {
  return (
    <div className="stack tight">
      <h3>{title}</h3>
      <p>
        <code>{s.address}</code> <span className="quiet">{T.security[s.security] ?? s.security}</span>
      </p>
      <p className="row">
        <Badge appearance="tint" color={COLOR[s.state]}>
          {T.state[s.state]}
        </Badge>
        {s.since_at && (
          <span className="quiet">
            {T.since} <When at={s.since_at} />
            {s.contact_at && (
              <>
                , {T.contact} <Age at={s.contact_at} />
              </>
            )}
          </span>
        )}
      </p>
      <Facts
        of={[
          [T.error, s.error],
          [
            T.refusal,
            s.refusal && s.refused_at && (
              <>
                {s.refusal} <span className="quiet">(<Age at={s.refused_at} />)</span>
              </>
            ),
          ],
        ]}
      />
    </div>
  );
}

function Waits({ connector: c }: { connector: Connector }) {
  const may = useMay();
  if (c.waiting_count === 0) return <>{T.waitingNone}</>;
  const words = copies(c.waiting_count);
  return (
    <>
      {may("queue.read") ? (
        <Link to={`/queue?group=${encodeURIComponent(`connector:${c.name}`)}`} title={T.showQueue}>
          {words}
        </Link>
      ) : (
        words
      )}
      {c.paused_count > 0 && `, ${T.paused(c.paused_count)}`}
      {c.oldest_at && (
        <>
          , {T.waitingSince} <When at={c.oldest_at} />
        </>
      )}
      {c.next_try_at && (
        <>
          , {T.nextTry} <Age at={c.next_try_at} />
        </>
      )}
    </>
  );
}

function keeps(c: Connector): string {
  const parts = [...c.domains.map(T.domain), c.everywhere && T.everywhere, c.chosen_count > 0 && T.chosen(c.chosen_count)].filter(Boolean);
  return parts.length > 0 ? parts.join("; ") : T.nothing;
}
