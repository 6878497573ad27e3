// Proposing a change: entries of a feed, an entry of the allow/block list, or the weight of a rule. Nothing is in force after this.
import { Field, Input, Radio, RadioGroup, Select, Textarea } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useNavigate } from "react-router";
import { GuardedButton, useAction } from "../components/actions";
import { Page as Frame } from "../components/Page";
import { ErrorLine } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { endOfDay } from "../lib/format";
import { S } from "../strings";

type Proposal = Schemas["Proposal"];
type Kind = Proposal["kind"];
const T = S.changes.propose;

/** Classes that an entry of a feed can speak for. */
const CLASSES: Schemas["VerdictClass"][] = ["malware", "high_confidence_phish", "phish", "high_confidence_spam", "spam", "bulk"];

interface Fields {
  feed: string;
  feedKind: Schemas["FeedKind"];
  entryClass: Schemas["VerdictClass"];
  entries: string;
  remove: string;
  action: Schemas["ListAction"];
  listKind: Schemas["ListKind"];
  value: string;
  expires: string;
  note: string;
  rule: string;
  weight: string;
}

const START: Fields = { feed: "", feedKind: "url_host", entryClass: "phish", entries: "", remove: "", action: "block", listKind: "url", value: "", expires: "", note: "", rule: "", weight: "" };

const lines = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);

function proposalOf(kind: Kind, f: Fields): Proposal {
  switch (kind) {
    case "feed":
      return { kind, feed: f.feed.trim(), feed_kind: f.feedKind, class: f.entryClass, add: f.entries, remove: lines(f.remove) };
    case "list":
      return { kind, add: [{ action: f.action, kind: f.listKind, value: f.value.trim(), note: f.note, expires_at: f.expires ? endOfDay(f.expires) : null }] };
    case "weight":
      return { kind, rule: f.rule, weight: Number(f.weight) };
  }
}

/** The fields by the names that problems give them. */
function typedOf(proposal: Schemas["Proposal"]): Record<string, unknown> {
  switch (proposal.kind) {
    case "feed": {
      const byLine = (proposal.add ?? "").split("\n").map((text, i) => [`line ${i + 1}`, text]);
      return { ...Object.fromEntries(byLine), feed: proposal.feed, kind: [proposal.feed_kind, proposal.feed], class: proposal.class, add: proposal.add, remove: proposal.remove };
    }
    case "list":
      return { "entry 1": proposal.add?.[0] };
    case "weight":
      return { rule: proposal.rule, weight: [proposal.weight, proposal.rule] };
  }
}

/** What has to be said before it can be proposed. */
function missing(kind: Kind, f: Fields): string | undefined {
  switch (kind) {
    case "feed":
      return !f.feed.trim() ? T.noFeed : !(f.entries.trim() || f.remove.trim()) ? T.noEntries : undefined;
    case "list":
      return f.value.trim() ? undefined : S.listEntries.noValue;
    case "weight":
      return !f.rule ? T.noRule : f.weight === "" ? T.noWeight : undefined;
  }
}

export function Page() {
  const navigate = useNavigate();
  const [kind, setKind] = useState<Kind>("feed");
  const [fields, setFields] = useState(START);
  const [reason, setReason] = useState("");
  const set = (part: Partial<Fields>) => setFields({ ...fields, ...part });
  const proposal = proposalOf(kind, fields);
  const propose = useAction(
    async () => {
      const change = await call(api.POST("/api/v1/changes", { body: { proposal, reason } }));
      void navigate(`/changes/${change.id}`);
      return T.done;
    },
    { typed: { ...typedOf(proposal), reason } },
  );
  const why = missing(kind, fields);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!why) propose.mutate();
  };
  return (
    <Frame title={T.title} lead={T.lead} back={{ to: "/changes", word: S.changes.title }}>
      <form className="card form" onSubmit={submit}>
        <Field label={T.kind}>
          <RadioGroup layout="horizontal" value={kind} onChange={(_, data) => setKind(data.value as Kind)}>
            <Radio value="feed" label={T.feed} />
            <Radio value="list" label={T.list} />
            <Radio value="weight" label={T.weight} />
          </RadioGroup>
        </Field>
        {kind === "feed" && <FeedFields f={fields} set={set} />}
        {kind === "list" && <ListFields f={fields} set={set} />}
        {kind === "weight" && <WeightFields f={fields} set={set} />}
        <Field label={T.reason}>
          <Textarea value={reason} onChange={(_, data) => setReason(data.value)} rows={2} />
        </Field>
        {propose.error ? <ErrorLine error={propose.error} /> : null}
        <div>
          <GuardedButton submit appearance="primary" busy={propose.isPending} blocked={why}>
            {T.go}
          </GuardedButton>
        </div>
      </form>
    </Frame>
  );
}

interface PartProps {
  f: Fields;
  set: (part: Partial<Fields>) => void;
}

function FeedFields({ f, set }: PartProps) {
  const feeds = useQuery({ queryKey: ["protection", "feeds"], queryFn: () => call(api.GET("/api/v1/feeds")) });
  const name = (value: string) => {
    const known = feeds.data?.find((feed) => feed.name === value);
    set({ feed: value, ...(known ? { feedKind: known.kind } : {}) });
  };
  return (
    <>
      <div className="form-pair">
        <Field label={T.feedName} hint={T.feedHint} required>
          <Input value={f.feed} onChange={(_, data) => name(data.value)} list="feeds" />
        </Field>
        <Field label={T.feedKind}>
          <Select value={f.feedKind} onChange={(_, data) => set({ feedKind: data.value as Fields["feedKind"] })}>
            {Object.entries(S.changes.feedKind).map(([value, word]) => (
              <option key={value} value={value}>
                {word}
              </option>
            ))}
          </Select>
        </Field>
      </div>
      <datalist id="feeds">
        {feeds.data?.map((feed) => (
          <option key={feed.name} value={feed.name} />
        ))}
      </datalist>
      <Field label={T.class}>
        <Select value={f.entryClass} onChange={(_, data) => set({ entryClass: data.value as Fields["entryClass"] })}>
          {CLASSES.map((value) => (
            <option key={value} value={value}>
              {S.verdictClass[value]}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={T.entries} hint={T.entriesHint}>
        <Textarea value={f.entries} onChange={(_, data) => set({ entries: data.value })} rows={4} spellCheck={false} />
      </Field>
      <Field label={T.remove}>
        <Textarea value={f.remove} onChange={(_, data) => set({ remove: data.value })} rows={2} spellCheck={false} />
      </Field>
    </>
  );
}

function ListFields({ f, set }: PartProps) {
  return (
    <>
      <div className="form-pair">
        <Field label={T.action}>
          <Select value={f.action} onChange={(_, data) => set({ action: data.value as Fields["action"] })}>
            <option value="block">{S.changes.listAction.block}</option>
            <option value="allow">{S.changes.listAction.allow}</option>
          </Select>
        </Field>
        <Field label={T.valueKind}>
          <Select value={f.listKind} onChange={(_, data) => set({ listKind: data.value as Fields["listKind"] })}>
            {Object.entries(S.changes.listKind).map(([value, word]) => (
              <option key={value} value={value}>
                {word}
              </option>
            ))}
          </Select>
        </Field>
      </div>
      <Field label={T.value} hint={S.listEntries.valueHint[f.listKind]} required>
        <Input value={f.value} onChange={(_, data) => set({ value: data.value })} />
      </Field>
      <div className="form-pair">
        <Field label={T.expires} hint={f.action === "allow" ? T.expiresHint : S.listEntries.expiresHint.block}>
          <Input type="date" value={f.expires} onChange={(_, data) => set({ expires: data.value })} />
        </Field>
        <Field label={T.note}>
          <Input value={f.note} onChange={(_, data) => set({ note: data.value })} />
        </Field>
      </div>
    </>
  );
}

function WeightFields({ f, set }: PartProps) {
  const rules = useQuery({ queryKey: ["protection", "rules"], queryFn: () => call(api.GET("/api/v1/rules")) });
  const chosen = rules.data?.find((rule) => rule.id === f.rule);
  return (
    <>
      <Field label={T.rule} hint={chosen?.what} required>
        <Select value={f.rule} onChange={(_, data) => set({ rule: data.value })}>
          <option value="" />
          {rules.data?.map((rule) => (
            <option key={rule.id} value={rule.id}>
              {rule.id}
            </option>
          ))}
        </Select>
      </Field>
      <Field label={T.weightValue} hint={chosen ? T.weightNow(chosen.weight, chosen.own_weight) : undefined} required>
        <Input type="number" min="0" max="100" step="0.1" value={f.weight} onChange={(_, data) => set({ weight: data.value })} />
      </Field>
    </>
  );
}
