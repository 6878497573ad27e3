// Writing a campaign: fields left, preview and checks right. Saved drafts are looked at by the server; nothing is sent from here.
import { Button, Field, Input, MessageBar, MessageBarBody, Select, Switch, Textarea } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useEffect } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { GuardedButton, useAction } from "../components/actions";
import { Page as Frame, Section } from "../components/Page";
import { Sandbox } from "../components/Sandbox";
import { ErrorLine, Loaded, Loading } from "../components/states";
import { Unsaved } from "../components/Unsaved";
import { api, call, problemOf, type Schemas } from "../lib/api";
import { sentence } from "../lib/format";
import { useKeptForm } from "../lib/kept";
import { useMe } from "../lib/session";
import { people, S } from "../strings";
import { STARTER } from "./campaignStarter";

type Draft = Required<Schemas["CampaignDraft"]>;
const at = (id: string) => ({ params: { path: { id } } });
const loadCampaign = (id: string) => call(api.GET("/api/v1/campaigns/{id}", at(id)));
const loadLists = () => call(api.GET("/api/v1/lists"));
const loadPreview = (id: string) => call(api.POST("/api/v1/campaigns/{id}/preview", { ...at(id), body: {} }));
const loadLint = (id: string) => call(api.GET("/api/v1/campaigns/{id}/lint", at(id)));

const T_FIELDS: Record<string, string> = S.campaigns.edit.fields;

const blank = (me: Schemas["Me"]): Draft => ({
  name: "",
  subject: "",
  from_name: me.organisation.name,
  from_address: `news@${me.organisation.domains[0] ?? ""}`,
  content_type: "mjml",
  content: "",
  list_id: null,
  tracking: "anonymous",
  click_tracking: true,
});

const draftOf = (c: Schemas["Campaign"]): Draft => ({
  name: c.name,
  subject: c.subject,
  from_name: c.from_name,
  from_address: c.from_address,
  content_type: c.content_type,
  content: c.content,
  list_id: c.list_id ?? null,
  tracking: c.tracking,
  click_tracking: c.click_tracking,
});

export function Page() {
  const { id } = useParams();
  const me = useMe();
  const campaign = useQuery({ queryKey: ["campaigns", id], queryFn: () => loadCampaign(id ?? ""), enabled: Boolean(id) });
  if (!id) return <Editor key="new" start={blank(me)} />;
  if (campaign.data && campaign.data.state !== "draft") return <Sent campaign={campaign.data} />;
  if (!campaign.data) {
    return (
      <Frame title={S.campaigns.editButton} back={{ to: "/campaigns", word: S.campaigns.title }}>
        <Loaded query={campaign}>{() => null}</Loaded>
      </Frame>
    );
  }
  return <Editor key={id} id={id} start={draftOf(campaign.data)} />;
}

/** Whoever follows an old link to what was sent meanwhile. */
function Sent({ campaign }: { campaign: Schemas["Campaign"] }) {
  return (
    <Frame title={campaign.name} lead={S.campaigns.edit.sentAlready} back={{ to: `/campaigns/${campaign.id}`, word: campaign.name }}>
      <p>
        <Link to={`/campaigns/${campaign.id}`}>{S.campaigns.edit.seeIt}</Link>
      </p>
    </Frame>
  );
}

function Editor({ id, start }: { id?: string; start: Draft }) {
  const navigate = useNavigate();
  const me = useMe();
  const { draft, setDraft, saved, dirty, found, discard, keep } = useKeptForm(`${me.account_id}.campaign.${id ?? "new"}`, start);
  useWarnBeforeLeaving(dirty);
  const save = useAction(
    async () => {
      const written = id
        ? await call(api.PUT("/api/v1/campaigns/{id}", { ...at(id), body: draft }))
        : await call(api.POST("/api/v1/campaigns", { body: draft }));
      keep(draft);
      if (!id) void navigate(`/campaigns/${written.id}/edit`, { replace: true });
      return id ? S.campaigns.edit.saved : S.campaigns.edit.created;
    },
    { typed: draft },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (draft.name.trim()) save.mutate();
  };
  const back = id ? { to: `/campaigns/${id}`, word: start.name } : { to: "/campaigns", word: S.campaigns.title };
  return (
    <Frame title={id ? S.campaigns.edit.title(saved.name) : S.campaigns.edit.newTitle} back={back}>
      <Unsaved found={found} discard={discard} />
      <div className="columns">
        <form className="card form" onSubmit={submit}>
          <Fields draft={draft} set={(part) => setDraft({ ...draft, ...part })} problem={save.error ? problemOf(save.error) : undefined} />
          {save.error ? <ErrorLine error={save.error} /> : null}
          <div className="row">
            <GuardedButton submit appearance="primary" busy={save.isPending} blocked={draft.name.trim() ? undefined : S.campaigns.edit.noName}>
              {S.save}
            </GuardedButton>
            {dirty && <span className="quiet">{S.unsaved.now}</span>}
          </div>
        </form>
        <div className="stack">
          {id ? <Look id={id} /> : <Section title={S.campaigns.edit.preview}><p className="quiet">{S.campaigns.edit.previewHint}</p></Section>}
        </div>
      </div>
    </Frame>
  );
}

function Fields({ draft, set, problem }: { draft: Draft; set: (part: Partial<Draft>) => void; problem?: Schemas["Problem"] }) {
  const lists = useQuery({ queryKey: ["lists"], queryFn: loadLists });
  const wrong = (field: string) => (problem?.field === field ? problem.detail : undefined);
  return (
    <>
      <Field label={S.campaigns.edit.name} hint={S.campaigns.edit.nameHint} required validationMessage={wrong("name")}>
        <Input value={draft.name} onChange={(_, d) => set({ name: d.value })} />
      </Field>
      <Field label={S.subject} hint={S.campaigns.edit.subjectHint} required validationMessage={wrong("subject")}>
        <Input value={draft.subject} onChange={(_, d) => set({ subject: d.value })} />
      </Field>
      <div className="form-pair">
        <Field label={S.campaigns.edit.fromName} validationMessage={wrong("from_name")}>
          <Input value={draft.from_name} onChange={(_, d) => set({ from_name: d.value })} />
        </Field>
        <Field label={S.campaigns.edit.fromAddress} required validationMessage={wrong("from_address")}>
          <Input type="email" value={draft.from_address} onChange={(_, d) => set({ from_address: d.value })} />
        </Field>
      </div>
      <div className="form-pair">
        <Field label={S.campaigns.edit.list} validationMessage={wrong("list_id")} hint={lists.data?.length === 0 ? S.campaigns.edit.noLists : undefined}>
          <Select value={draft.list_id ?? ""} onChange={(_, d) => set({ list_id: d.value || null })}>
            <option value="">{S.campaigns.edit.noList}</option>
            {lists.data?.map((list) => (
              <option key={list.id} value={list.id}>
                {list.name} ({people(list.member_count)})
              </option>
            ))}
          </Select>
        </Field>
        <Field label={S.campaigns.edit.contentType}>
          <Select value={draft.content_type} onChange={(_, d) => set({ content_type: d.value as Draft["content_type"] })}>
            <option value="mjml">MJML</option>
            <option value="html">HTML</option>
          </Select>
        </Field>
      </div>
      <Field label={S.campaigns.edit.content} required validationMessage={wrong("content")}>
        <Textarea className="code-field" value={draft.content} onChange={(_, d) => set({ content: d.value })} resize="vertical" spellCheck={false} />
      </Field>
      {!draft.content && (
        <div>
          <Button onClick={() => set({ content: STARTER, content_type: "mjml" })}>{S.campaigns.edit.starter}</Button>
        </div>
      )}
      <Field label={S.campaigns.edit.tracking} validationMessage={wrong("tracking")}>
        <Select value={draft.tracking} onChange={(_, d) => set({ tracking: d.value as Draft["tracking"] })}>
          {Object.entries(S.campaigns.edit.trackingWords).map(([mode, word]) => (
            <option key={mode} value={mode}>
              {word}
            </option>
          ))}
        </Select>
      </Field>
      <Switch label={S.campaigns.edit.clickTracking} checked={draft.click_tracking} onChange={(_, d) => set({ click_tracking: d.checked })} />
    </>
  );
}

function Look({ id }: { id: string }) {
  const lint = useQuery({ queryKey: ["campaigns", id, "lint"], queryFn: () => loadLint(id) });
  const preview = useQuery({ queryKey: ["campaigns", id, "preview"], queryFn: () => loadPreview(id) });
  return (
    <>
      <Section title={S.campaigns.edit.checks}>
        <Loaded query={lint} part loading={<Loading lines={2} />}>
          {({ findings }) =>
            findings.length === 0 ? (
              <MessageBar intent="success">
                <MessageBarBody>{S.campaigns.edit.checksFine}</MessageBarBody>
              </MessageBar>
            ) : (
              <ul className="stack">
                {findings.map((f, i) => (
                  <li key={i}>
                    <MessageBar intent={f.severity === "error" ? "error" : "warning"} layout="multiline">
                      <MessageBarBody>
                        <strong>
                          {T_FIELDS[f.field] ?? f.field}
                          {f.line ? `, ${S.campaigns.edit.line(f.line)}` : ""} · {f.severity === "error" ? S.campaigns.edit.blocks : S.campaigns.edit.warns}
                        </strong>
                        <br />
                        {sentence(f.message)}
                      </MessageBarBody>
                    </MessageBar>
                  </li>
                ))}
              </ul>
            )
          }
        </Loaded>
      </Section>
      <Section title={S.campaigns.edit.preview}>
        <Loaded query={preview} part loading={<Loading lines={6} />}>
          {(mail) => (
            <>
              <strong>{mail.subject}</strong>
              <Sandbox html={mail.html} text={mail.text} title={S.campaigns.edit.preview} height={560} />
            </>
          )}
        </Loaded>
      </Section>
    </>
  );
}

function useWarnBeforeLeaving(dirty: boolean) {
  useEffect(() => {
    if (!dirty) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [dirty]);
}

