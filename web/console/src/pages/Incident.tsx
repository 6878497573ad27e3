// One delivery incident: status, impact, cause, what brings the copies back, dated updates newest first.
import { Field, Input, Select, Textarea } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useParams } from "react-router";
import { Age, When } from "../components/Age";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { Facts, Page as Frame, Section } from "../components/Page";
import { ErrorLine, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { count, endOfDay, sentence } from "../lib/format";
import { useMay, useMe } from "../lib/session";
import { copies, S } from "../strings";
import { IncidentBadge } from "./Incidents";

type Incident = Schemas["Incident"];
type Remedy = Schemas["Remedy"];
type Status = Schemas["IncidentStatus"];
const T = S.incidents;
const CLASSES: Record<string, string> = S.verdictClass;

const at = (id: string) => ({ params: { path: { id } } });
const load = (id: string) => call(api.GET("/api/v1/incidents/{id}", at(id)));

/** How long an allow entry lasts when nobody says otherwise. */
const ALLOW_DAYS = 30;
const DAY_MS = 86_400_000;

export function Page() {
  const { id = "" } = useParams();
  const query = useQuery({ queryKey: ["incidents", id], queryFn: () => load(id) });
  const incident = query.data;
  return (
    <Frame
      title={incident?.title ?? T.titleColumn}
      aside={incident && <IncidentBadge status={incident.status} />}
      back={{ to: "/incidents", word: T.title }}
    >
      <Loaded query={query}>{(data) => <View incident={data} />}</Loaded>
    </Frame>
  );
}

function View({ incident }: { incident: Incident }) {
  const may = useMay();
  const tone = incident.status === "resolved" ? "good" : incident.impact_count > 0 ? "bad" : "watch";
  return (
    <>
      <section className="card" aria-label={T.impact}>
        <div className={`answer tone-${tone}`}>
          <p className="headline">{incident.status === "resolved" || incident.impact_count === 0 ? T.headlineBack : T.headline(incident.impact_count)}</p>
          <p>{sentence(incident.cause)}</p>
        </div>
        <Facts
          of={[
            [T.impact, copies(incident.impact_count)],
            [T.peak, copies(incident.peak_count)],
            [T.opened, <When key="o" at={incident.opened_at} />],
            [T.updated, <Age key="u" at={incident.updated_at} />],
            [T.resolved, incident.resolved_at && <When key="r" at={incident.resolved_at} />],
          ]}
        />
      </section>
      <div className="columns">
        <div className="stack wide-gap">
          <Section title={T.remedies}>
            <Remedies incident={incident} />
          </Section>
          <Section title={T.updates}>
            {may("incident.write") && <AddUpdate id={incident.id} />}
            <Updates updates={incident.updates} />
          </Section>
        </div>
        <div className="stack wide-gap">
          <CauseSection cause={incident.cause_detail} />
          <Scope campaigns={incident.campaigns} />
          <ContrastSection contrast={incident.contrast} />
        </div>
      </div>
    </>
  );
}

function Remedies({ incident }: { incident: Incident }) {
  const me = useMe();
  if (incident.remedies.length === 0) return <p className="quiet">{T.noRemedies}</p>;
  return (
    <ul className="list">
      {incident.remedies.map((remedy, i) => (
        <li key={`${remedy.kind}-${remedy.target_id ?? i}`}>
          <p>{sentence(remedy.sentence)}</p>
          {!remedy.allowed && <p className="quiet">{S.notYou(remedy.who_may, me.role)}</p>}
          <div>
            <RemedyButton remedy={remedy} />
          </div>
        </li>
      ))}
    </ul>
  );
}

function RemedyButton({ remedy }: { remedy: Remedy }) {
  const me = useMe();
  const [expires, setExpires] = useState(() => new Date(Date.now() + ALLOW_DAYS * DAY_MS).toISOString().slice(0, 10));
  const word = T.remedy[remedy.kind];
  return (
    <ConfirmDialog
      title={T.remedyTitle(word, remedy.count)}
      text={
        <>
          <p>{sentence(remedy.sentence)}</p>
          {remedy.kind === "allow" && (
            <Field label={T.allowExpires} required>
              <Input type="date" value={expires} onChange={(_, data) => setExpires(data.value)} />
            </Field>
          )}
        </>
      }
      go={T.remedyGo(word, remedy.count)}
      reason={remedy.kind === "release" ? undefined : { label: S.changes.why }}
      blocked={remedy.kind === "allow" && !expires ? S.listEntries.noEnd : undefined}
      typed={{ expires_at: expires }}
      run={(reason) => runRemedy(remedy, reason, expires)}
      trigger={(open) => (
        <GuardedButton appearance={remedy.allowed ? "primary" : "secondary"} onClick={open} blocked={remedy.allowed ? undefined : S.notYou(remedy.who_may, me.role)}>
          {T.remedyGo(word, remedy.count)}
        </GuardedButton>
      )}
    />
  );
}

async function runRemedy(remedy: Remedy, reason: string, expires: string): Promise<string> {
  const target = remedy.target_id ?? "";
  switch (remedy.kind) {
    case "undo":
      return (await call(api.POST("/api/v1/changes/{id}/undo", { ...at(target), body: { reason } }))).sentence;
    case "release":
      return (await call(api.POST("/api/v1/quarantine/release", { body: { campaign_id: target } }))).sentence;
    case "allow": {
      const kind = (remedy.list_kind ?? "url") as Schemas["ListKind"];
      const body = { kind, value: remedy.value ?? "", expires_at: endOfDay(expires), reason };
      return (await call(api.POST("/api/v1/allow", { body }))).sentence;
    }
  }
}

function AddUpdate({ id }: { id: string }) {
  const [text, setText] = useState("");
  const [status, setStatus] = useState<Status | "">("");
  const body = { text, status: status || null };
  const after = () => {
    setText("");
    setStatus("");
  };
  const publish = useAction(
    async () => {
      await call(api.POST("/api/v1/incidents/{id}/updates", { ...at(id), body }));
      return T.published;
    },
    { after, typed: body },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) publish.mutate();
  };
  return (
    <form className="stack" onSubmit={submit}>
      <Field label={T.updateText}>
        <Textarea value={text} onChange={(_, data) => setText(data.value)} rows={2} />
      </Field>
      {publish.error ? <ErrorLine error={publish.error} /> : null}
      <div className="row">
        <Select value={status} aria-label={S.state} onChange={(_, data) => setStatus(data.value as Status | "")}>
          <option value="">{T.keepStatus}</option>
          {Object.entries(T.status).map(([value, word]) => (
            <option key={value} value={value}>
              {word}
            </option>
          ))}
        </Select>
        <GuardedButton submit busy={publish.isPending} blocked={text.trim() ? undefined : T.noText}>
          {T.publish}
        </GuardedButton>
      </div>
    </form>
  );
}

function Updates({ updates }: { updates: Schemas["IncidentUpdate"][] }) {
  if (updates.length === 0) return <p className="quiet">{T.noUpdates}</p>;
  return (
    <ol className="list">
      {updates.map((update) => (
        <li key={update.id}>
          <div className="row">
            <strong>
              <When at={update.at} />
            </strong>
            <IncidentBadge status={update.status} />
            <span className="quiet">{update.author}</span>
          </div>
          <p>{update.text}</p>
        </li>
      ))}
    </ol>
  );
}

function CauseSection({ cause }: { cause: Schemas["Cause"] }) {
  const may = useMay();
  const F = T.causeFacts;
  const change = cause.change_id && may("protection.read") ? <Link to={`/changes/${cause.change_id}`}>{cause.change_title}</Link> : cause.change_title;
  return (
    <Section title={T.cause}>
      <p>{sentence(cause.sentence)}</p>
      <Facts
        of={[
          [F.change, change],
          [F.feed, cause.feed],
          [F.origin, cause.origin],
          [F.evidence, cause.evidence && <code key="e">{cause.evidence}</code>],
          [F.rule, cause.rule && <code key="r">{cause.rule}</code>],
          [F.policy, cause.policy],
          [F.activated, cause.activated_at && <span key="a">{cause.activated_by} · <When at={cause.activated_at} /></span>],
          [F.override, cause.override_reason],
        ]}
      />
    </Section>
  );
}

function Scope({ campaigns }: { campaigns: Schemas["IncidentCampaign"][] }) {
  const may = useMay();
  const C = T.scopeColumns;
  if (campaigns.length === 0) return null;
  return (
    <Section title={T.scope}>
      <div className="scroll-x" tabIndex={0} role="group" aria-label={T.scope}>
        <table className="number-table">
          <thead>
            <tr>
              <th scope="col">{C.campaign}</th>
              {[C.scope, C.lost, C.back, C.released, C.restored].map((word) => (
                <th key={word} scope="col" className="end">
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {campaigns.map((c) => (
              <tr key={c.campaign_id}>
                <th scope="row">{may("campaign.read") ? <Link to={`/campaigns/${c.campaign_id}`}>{c.name}</Link> : c.name}</th>
                {[c.scope_count, c.lost_count, c.back_count, c.released_count, c.restored_count].map((n, i) => (
                  <td key={i} className="end">
                    {count(n)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

function ContrastSection({ contrast }: { contrast: Schemas["Contrast"] }) {
  const C = T.contrastColumns;
  if (contrast.rows.length === 0) return null;
  return (
    <Section title={T.contrast}>
      <p className="quiet">{T.contrastLead(contrast.lost_count, contrast.landed_count)}</p>
      <div className="scroll-x" tabIndex={0} role="group" aria-label={T.contrast}>
        <table className="number-table">
          <thead>
            <tr>
              <th scope="col">{C.attribute}</th>
              <th scope="col">{C.value}</th>
              <th scope="col" className="end">{C.lost}</th>
              <th scope="col" className="end">{C.landed}</th>
            </tr>
          </thead>
          <tbody>
            {contrast.rows.map((row) => (
              <tr key={`${row.attribute}-${row.value}`}>
                <th scope="row" className="nowrap">
                  {row.attribute}
                </th>
                <td>
                  <code>{row.attribute === "class" ? (CLASSES[row.value] ?? row.value) : row.value}</code>
                </td>
                <td className="end">{count(row.lost_count)}</td>
                <td className="end">{count(row.landed_count)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
