// The organisation's settings, its logins, API tokens, and the audit log. One tab each; the tab is in the address.
import { Button, Field, Input, Select, Switch, Tab, TabList, Textarea } from "@fluentui/react-components";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useAction } from "../components/actions";
import { Page as Frame, Section } from "../components/Page";
import { ErrorLine, Loaded } from "../components/states";
import { Newer, Unsaved } from "../components/Unsaved";
import { api, call, problemOf, type Schemas } from "../lib/api";
import { bringIntoView, useUrlState } from "../lib/hooks";
import { useKeptForm } from "../lib/kept";
import { useMay, useMe } from "../lib/session";
import { S } from "../strings";
import { Audit } from "./SettingsAudit";
import { BypassSwitch, DkimKeys } from "./SettingsAuthentication";
import { ConnectorsTab } from "./SettingsConnectors";
import { Accounts, Tokens } from "./SettingsLists";

type Settings = Schemas["Settings"];
type TabName = keyof typeof S.settings.tabs;
const T = S.settings;
const NEWER = "newer-settings";
const load = () => call(api.GET("/api/v1/settings"));

export function Page() {
  const [url, setUrl] = useUrlState();
  const may = useMay();
  const tabs = (Object.keys(T.tabs) as TabName[]).filter((tab) => tab !== "audit" || may("audit.read"));
  const tab = tabs.find((name) => name === url("tab")) ?? "organisation";
  return (
    <Frame title={T.title}>
      <div className="scroll-x">
        <TabList selectedValue={tab} onTabSelect={(_, data) => setUrl({ tab: String(data.value) })}>
          {tabs.map((name) => (
            <Tab key={name} value={name}>
              {T.tabs[name]}
            </Tab>
          ))}
        </TabList>
      </div>
      {tab === "organisation" && <Organisation />}
      {tab === "connectors" && <ConnectorsTab />}
      {tab === "accounts" && <Accounts />}
      {tab === "tokens" && <Tokens />}
      {tab === "audit" && <Audit />}
    </Frame>
  );
}

function Organisation() {
  const settings = useQuery({ queryKey: ["settings"], queryFn: load });
  return (
    <>
      <Loaded query={settings}>{(now) => <Form start={now} />}</Loaded>
      <div className="stack form">
        <BypassSwitch />
        <DkimKeys />
      </div>
    </>
  );
}

/** The settings, with the sealers as they are typed: one a line. */
const typed = (s: Settings) => ({ s, sealers: (s.authentication?.trusted_sealers ?? []).join("\n") });

function Form({ start }: { start: Settings }) {
  const may = useMay();
  const me = useMe();
  const queries = useQueryClient();
  const { draft, setDraft, saved, dirty, found, newer, discard, keep, takeNewer } = useKeptForm(`${me.account_id}.settings`, typed(start));
  const [taken, setTaken] = useState(false);
  const { s, sealers } = draft;
  const setS = (now: Settings) => setDraft({ ...draft, s: now });
  const save = useAction(
    async () => {
      const trusted_sealers = sealers.split(/\s+/).filter(Boolean).map((name) => name.toLowerCase());
      try {
        // With the version that this began from: what somebody else has saved since is not replaced unseen.
        const now = typed(await call(api.PUT("/api/v1/settings", { body: { ...s, authentication: { trusted_sealers } } })));
        setDraft(now);
        keep(now);
        setTaken(false);
        return T.saved;
      } catch (error) {
        if (problemOf(error).field === "version") {
          await queries.invalidateQueries({ queryKey: ["settings"] });
          bringIntoView(NEWER);
        }
        throw error;
      }
    },
    { typed: { ...s, authentication: { trusted_sealers: sealers } } },
  );
  const problem = save.error ? problemOf(save.error) : undefined;
  const wrong = (field: string) => (problem?.field === field ? problem.detail : undefined);
  const look = () => {
    takeNewer();
    setTaken(true);
  };
  const discardAll = () => {
    discard();
    setTaken(false);
  };
  /** What stands below a field: what others have saved, where that was asked for and is something else. */
  const beside = (of: (d: typeof draft) => string, hint?: string) => (taken && of(draft) !== of(saved) ? S.unsaved.savedNow(of(saved)) : hint);
  const tracking = (part: Partial<Settings["tracking"]>) => setS({ ...s, tracking: { ...s.tracking, ...part } });
  const incident = (part: Partial<Settings["incident"]>) => setS({ ...s, incident: { ...s.incident, ...part } });
  const locked = !may("settings.write");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <form className="stack form" onSubmit={submit}>
      {locked && <p className="quiet">{T.readOnly}</p>}
      {newer || (taken && dirty) ? <Newer id={NEWER} taken={!newer} take={look} discard={discardAll} /> : <Unsaved found={found} discard={discard} />}
      <Section title={T.tracking}>
        <Field label={T.baseUrl} hint={beside((d) => d.s.tracking.base_url || T.noBaseUrl, T.baseUrlHint)} validationMessage={wrong("tracking.base_url")}>
          <Input value={s.tracking.base_url} disabled={locked} onChange={(_, d) => tracking({ base_url: d.value })} />
        </Field>
        <Field label={T.floor} hint={beside((d) => String(d.s.tracking.group_floor_count))} validationMessage={wrong("tracking.group_floor_count")}>
          <Input type="number" min="10" value={String(s.tracking.group_floor_count)} disabled={locked} onChange={(_, d) => tracking({ group_floor_count: Number(d.value) })} />
        </Field>
        <Individual
          value={s.tracking.individual ?? null}
          set={(individual) => tracking({ individual })}
          locked={locked || me.role !== "owner"}
          hint={beside(({ s: { tracking: { individual: one } } }) => (one ? [T.individualOn, one.purpose, one.legal_basis].filter(Boolean).join(" · ") : T.individualOff), T.individualHint)}
        />
      </Section>
      <Section title={T.incidents}>
        <Field label={T.threshold} hint={beside((d) => String(d.s.incident.threshold_count))} validationMessage={wrong("incident.threshold_count")}>
          <Input type="number" min="1" value={String(s.incident.threshold_count)} disabled={locked} onChange={(_, d) => incident({ threshold_count: Number(d.value) })} />
        </Field>
        <Field label={T.delay} hint={beside((d) => String(d.s.incident.delay_ms / 1000))} validationMessage={wrong("incident.delay_ms")}>
          <Input type="number" min="0" value={String(s.incident.delay_ms / 1000)} disabled={locked} onChange={(_, d) => incident({ delay_ms: Math.round(Number(d.value) * 1000) })} />
        </Field>
      </Section>
      <Section title={T.limits}>
        <Field label={T.massAction} hint={beside((d) => String(d.s.limits.mass_action_max))} validationMessage={wrong("limits.mass_action_max")}>
          <Input type="number" min="1" value={String(s.limits.mass_action_max)} disabled={locked} onChange={(_, d) => setS({ ...s, limits: { mass_action_max: Number(d.value) } })} />
        </Field>
        <Field label={T.failure} hint={beside((d) => T.failureWords[d.s.failure_mode])}>
          <Select value={s.failure_mode} disabled={locked} onChange={(_, d) => setS({ ...s, failure_mode: d.value as Settings["failure_mode"] })}>
            {Object.entries(T.failureWords).map(([value, word]) => (
              <option key={value} value={value}>
                {word}
              </option>
            ))}
          </Select>
        </Field>
      </Section>
      <Section title={T.authentication}>
        <Field label={T.trustedSealers} hint={beside((d) => d.sealers.split("\n").join(", ") || T.noSealers, T.trustedSealersHint)} validationMessage={wrong("authentication.trusted_sealers")}>
          <Textarea value={sealers} rows={3} disabled={locked} onChange={(_, d) => setDraft({ ...draft, sealers: d.value })} />
        </Field>
      </Section>
      {save.error && !(newer && problem?.field === "version") ? <ErrorLine error={save.error} /> : null}
      {!locked && (
        <div className="row">
          <Button type="submit" appearance="primary" disabled={save.isPending}>
            {S.save}
          </Button>
          {dirty && <span className="quiet">{S.unsaved.now}</span>}
        </div>
      )}
    </form>
  );
}

interface IndividualProps {
  value: Schemas["IndividualTracking"] | null;
  set: (value: Schemas["IndividualTracking"] | null) => void;
  locked: boolean;
  hint?: string;
}

function Individual({ value, set, locked, hint }: IndividualProps) {
  return (
    <>
      <Field hint={hint}>
        <Switch label={T.individual} checked={Boolean(value)} disabled={locked} onChange={(_, d) => set(d.checked ? { purpose: "", legal_basis: "" } : null)} />
      </Field>
      {value && (
        <div className="form-pair">
          <Field label={T.purpose} required>
            <Input value={value.purpose} disabled={locked} onChange={(_, d) => set({ ...value, purpose: d.value })} />
          </Field>
          <Field label={T.legalBasis} required>
            <Input value={value.legal_basis} disabled={locked} onChange={(_, d) => set({ ...value, legal_basis: d.value })} />
          </Field>
        </div>
      )}
    </>
  );
}
