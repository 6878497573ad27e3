// One held copy: why it is held, a safe preview, its headers, what can be done.
import { Tab, TabList } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { When } from "../components/Age";
import { LookReason } from "../components/LookReason";
import { Facts } from "../components/Page";
import { Sandbox } from "../components/Sandbox";
import { SidePanel } from "../components/SidePanel";
import { Loaded } from "../components/states";
import { Timeline } from "../components/Timeline";
import { VerdictView } from "../components/VerdictView";
import { api, call, type Schemas } from "../lib/api";
import { sentence, size } from "../lib/format";
import { useMay } from "../lib/session";
import { S } from "../strings";
import { StatusBadge } from "./Quarantine";
import { DecisionButtons } from "./QuarantineDecision";

type Detail = Schemas["QuarantineDetail"];
const at = (id: string) => ({ params: { path: { id } } });
const load = (id: string) => call(api.GET("/api/v1/quarantine/items/{id}", at(id)));
const loadPreview = (id: string, reason: string) => call(api.POST("/api/v1/quarantine/items/{id}/preview", { ...at(id), body: { reason } }));
const loadHeaders = (id: string, reason: string) => call(api.POST("/api/v1/quarantine/items/{id}/headers", { ...at(id), body: { reason } }));

type TabName = keyof typeof S.quarantine.tabs;

export function QuarantinePanel({ id, onClose }: { id: string; onClose: () => void }) {
  const [tab, setTab] = useState<TabName>("details");
  const detail = useQuery({ queryKey: ["quarantine", "item", id], queryFn: () => load(id) });
  return (
    <SidePanel title={detail.data?.item.subject || S.table.details} onClose={onClose}>
      <Loaded query={detail} part>
        {(d) => (
          <>
            <div className="row">
              <StatusBadge status={d.item.status} />
              {["needs_review", "requested", "denied"].includes(d.item.status) && <DecisionButtons selection={{ item_ids: [id] }} n={1} />}
            </div>
            {d.item.needs_analyst && <p className="quiet">{S.quarantine.needsAnalyst}</p>}
            <TabList selectedValue={tab} onTabSelect={(_, data) => setTab(data.value as TabName)} size="small">
              {(Object.keys(S.quarantine.tabs) as TabName[]).map((name) => (
                <Tab key={name} value={name}>
                  {S.quarantine.tabs[name]}
                </Tab>
              ))}
            </TabList>
            {tab === "details" && <Details detail={d} />}
            {tab === "preview" && <LookReason>{(reason) => <Preview id={id} reason={reason} />}</LookReason>}
            {tab === "headers" && <LookReason>{(reason) => <Headers id={id} reason={reason} />}</LookReason>}
          </>
        )}
      </Loaded>
    </SidePanel>
  );
}

function Details({ detail: d }: { detail: Detail }) {
  const may = useMay();
  const { item } = d;
  return (
    <>
      <p>{sentence(item.explanation)}</p>
      <Facts
        of={[
          [S.recipient, item.recipient],
          [S.from, `${d.from_name} <${item.sender}>`.trim()],
          [S.reason, S.quarantine.reason[item.reason]],
          [S.quarantine.facet.held_by, S.quarantine.heldBy[item.held_by]],
          [S.quarantine.heldAt, <When key="held" at={item.held_at} />],
          [S.quarantine.expires, <When key="expires" at={item.expires_at} />],
          [S.quarantine.policy, item.policy_name],
          [S.quarantine.returnsTo, d.returns_to || S.quarantine.returnsToInbox],
          [S.quarantine.requestedBy, item.requested_by],
          [S.quarantine.decidedBy, item.decided_by],
          [S.quarantine.fromIp, d.client_ip],
          [S.size, size(item.size_bytes)],
        ]}
      />
      <div className="row">
        {item.campaign_id && may("campaign.read") && <Link to={`/campaigns/${item.campaign_id}`}>{S.copy.campaign}</Link>}
        {item.cause_id && may("protection.read") && <Link to={`/changes/${item.cause_id}`}>{S.campaign.theChange}</Link>}
        {may("trace.read") && <Link to={`/trace/${item.copy_id}`}>{S.copy.trace}</Link>}
      </div>
      {d.verdict && <VerdictView verdict={d.verdict} />}
      <h3>{S.copy.evidence}</h3>
      <Timeline evidence={d.timeline} />
    </>
  );
}

function Preview({ id, reason }: { id: string; reason: string }) {
  const preview = useQuery({ queryKey: ["quarantine", "preview", id], queryFn: () => loadPreview(id, reason), staleTime: Number.POSITIVE_INFINITY });
  return (
    <Loaded query={preview} part>
      {(mail) => <SafeMail mail={mail} />}
    </Loaded>
  );
}

export function SafeMail({ mail }: { mail: Schemas["SafePreview"] }) {
  return (
    <>
      <p className="quiet">{S.quarantine.previewNote}</p>
      <Sandbox html={mail.html} text={mail.text} title={S.quarantine.tabs.preview} />
      {mail.links.length > 0 && (
        <>
          <h3>{S.quarantine.previewLinks}</h3>
          <ul className="stack tight">
            {mail.links.map((link, i) => (
              <li key={i}>
                <code>{link}</code>
              </li>
            ))}
          </ul>
        </>
      )}
      {mail.attachments.length > 0 && (
        <>
          <h3>{S.quarantine.previewFiles}</h3>
          <ul className="stack tight">
            {mail.attachments.map((file, i) => (
              <li key={i}>
                {file.name} · {file.kind} · {size(file.size_bytes)}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function Headers({ id, reason }: { id: string; reason: string }) {
  const headers = useQuery({ queryKey: ["quarantine", "headers", id], queryFn: () => loadHeaders(id, reason), staleTime: Number.POSITIVE_INFINITY });
  return (
    <Loaded query={headers} part>
      {({ raw }) => (
        <pre className="raw" tabIndex={0} role="region" aria-label={S.quarantine.tabs.headers}>
          {raw}
        </pre>
      )}
    </Loaded>
  );
}
