// One copy: the answer first, then the evidence as a timeline, then what was judged.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { Facts, Page as Frame, Section } from "../components/Page";
import { PlaceBadge } from "../components/PlaceBadge";
import { Loaded } from "../components/states";
import { Timeline } from "../components/Timeline";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Copy = Schemas["CopyDetail"];
const load = (id: string) => call(api.GET("/api/v1/copies/{id}", { params: { path: { id } } }));

export function Page() {
  const { id = "" } = useParams();
  const copy = useQuery({ queryKey: ["copies", "one", id], queryFn: () => load(id) });
  const data = copy.data;
  const back = data?.campaign_id ? { to: `/campaigns/${data.campaign_id}`, word: data.campaign_name ?? S.copy.campaign } : undefined;
  return (
    <Frame title={data ? S.copy.title(data.recipient) : S.copy.one} lead={data?.subject} back={back}>
      <Loaded query={copy}>{(c) => <View copy={c} />}</Loaded>
    </Frame>
  );
}

function View({ copy }: { copy: Copy }) {
  const may = useMay();
  return (
    <>
      <section className="card" aria-label={S.campaign.place}>
        <div className={`answer place-edge-${copy.place}`}>
          <p className="headline">{copy.answer}</p>
          <PlaceBadge place={copy.place} folder={copy.place_detail} event={copy.last_event} />
        </div>
        <Facts
          of={[
            [S.recipient, copy.recipient],
            [S.from, copy.from_address],
            [S.copy.messageId, copy.message_id_header && <code>{copy.message_id_header}</code>],
            [S.copy.policy, copy.policy],
            [S.copy.disposition, copy.disposition && (S.changes.disposition[copy.disposition] ?? copy.disposition)],
          ]}
        />
        <div className="row">
          {copy.quarantine_item_id && may("quarantine.read") && <Link to={`/quarantine?item=${copy.quarantine_item_id}`}>{S.copy.held}</Link>}
          {may("trace.read") && <Link to={`/trace/${copy.id}`}>{S.copy.trace}</Link>}
        </div>
      </section>
      <Section title={S.copy.evidence}>
        <Timeline evidence={copy.timeline} />
      </Section>
    </>
  );
}
