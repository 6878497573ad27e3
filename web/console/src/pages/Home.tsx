// The first page: for communicators their last campaigns, for administrators what waits for them, for everybody their own mail.
import { Button, MessageBar, MessageBarBody, MessageBarTitle } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";
import { Age } from "../components/Age";
import { Page as Frame, Section } from "../components/Page";
import { PlaceBar } from "../components/PlaceBar";
import { EmptyState, Loaded } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { count, sentence } from "../lib/format";
import { useMay, useMe } from "../lib/session";
import { S } from "../strings";
import { isSilent, useConnectors } from "./SettingsConnectors";

type Home = Schemas["Home"];
const load = () => call(api.GET("/api/v1/home"));

export function Page() {
  const me = useMe();
  const home = useQuery({ queryKey: ["home"], queryFn: load });
  return (
    <Frame title={S.home.title} lead={S.home.hello(me.name)}>
      <ConnectorBanner />
      <Loaded query={home}>{(data) => <View home={data} />}</Loaded>
    </Frame>
  );
}

/** Mail waits while a mailbox system does not answer: who answers for it sees that first. */
function ConnectorBanner() {
  const may = useMay();
  const connectors = useConnectors(may("settings.read"));
  const silent = connectors.data?.filter(isSilent) ?? [];
  if (silent.length === 0) return null;
  const waiting = silent.reduce((n, c) => n + c.waiting_count, 0);
  return (
    <MessageBar intent="warning" layout="multiline">
      <MessageBarBody>
        <MessageBarTitle>{S.home.connectorTitle(silent.length)}</MessageBarTitle>
        {S.home.connectorText(silent.map((c) => c.name).join(", "), waiting)} <Link to="/settings?tab=connectors">{S.home.connectorLink}</Link>
      </MessageBarBody>
    </MessageBar>
  );
}

function View({ home }: { home: Home }) {
  return (
    <>
      {home.incidents?.map((incident) => <IncidentBanner key={incident.id} incident={incident} />)}
      {home.campaigns && !home.waiting && <LastCampaigns campaigns={home.campaigns} />}
      <Tiles home={home} />
      {home.campaigns && home.waiting && <LastCampaigns campaigns={home.campaigns} />}
    </>
  );
}

export function IncidentBanner({ incident }: { incident: Schemas["IncidentSummary"] }) {
  return (
    <MessageBar intent={incident.status === "resolved" ? "success" : "error"} layout="multiline">
      <MessageBarBody>
        <MessageBarTitle>
          <Link to={`/incidents/${incident.id}`}>{incident.title}</Link>
        </MessageBarTitle>
        {incident.impact_count > 0 ? S.incidents.headline(incident.impact_count) : S.incidents.headlineBack} {sentence(incident.cause)}. {S.incidents.updated}: <Age at={incident.updated_at} />.
      </MessageBarBody>
    </MessageBar>
  );
}

interface Tile {
  n: number;
  word: (n: number) => string;
  to: string;
}

/** What waits for a decision, and one's own mail. */
function tilesOf({ waiting, queue, unseen_count, own_held_count }: Home): { work: Tile[]; own: Tile[] } {
  const work: Tile[] = [];
  const own: Tile[] = [];
  if (waiting) {
    work.push({ n: waiting.release_requests_count, word: S.home.releaseRequests, to: "/quarantine?status=requested" });
    work.push({ n: waiting.needs_review_count, word: S.home.needsReview, to: "/quarantine?status=needs_review" });
    work.push({ n: waiting.changes_count, word: S.home.changesWaiting, to: "/changes?state=backtested" });
  }
  if (queue) {
    work.push({ n: queue.due_count, word: S.home.queueDue, to: "/queue?state=due" });
    work.push({ n: queue.held_count, word: S.home.queueHeld, to: "/queue?state=held" });
  }
  if (typeof unseen_count === "number") own.push({ n: unseen_count, word: S.home.ownUnseen, to: "/mail" });
  if (typeof own_held_count === "number") own.push({ n: own_held_count, word: S.home.ownHeld, to: "/my-quarantine" });
  return { work, own };
}

function Tiles({ home }: { home: Home }) {
  const { work, own } = tilesOf(home);
  const nothing = home.waiting && Object.values(home.waiting).every((n) => n === 0);
  return (
    <>
      <TileSection title={S.home.waits} tiles={work} note={nothing ? S.home.nothingWaits : undefined} />
      <TileSection title={S.home.ownMail} tiles={own} />
    </>
  );
}

function TileSection({ title, tiles, note }: { title: string; tiles: Tile[]; note?: string }) {
  if (tiles.length === 0) return null;
  return (
    <Section title={title} aside={note && <span className="quiet">{note}</span>}>
      <div className="tiles">
        {tiles.map((tile) => (
          <Link key={tile.to} to={tile.to} className={tile.n === 0 ? "tile tile-none" : "tile"}>
            <b>{count(tile.n)}</b>
            <span>{tile.word(tile.n)}</span>
          </Link>
        ))}
      </div>
    </Section>
  );
}

function LastCampaigns({ campaigns }: { campaigns: Schemas["CampaignSummary"][] }) {
  const may = useMay();
  const navigate = useNavigate();
  const create = may("campaign.write") ? (
    <Button appearance="primary" onClick={() => void navigate("/campaigns/new")}>
      {S.campaigns.create}
    </Button>
  ) : undefined;
  return (
    <Section title={S.home.lastCampaigns} aside={<Link to="/campaigns">{S.home.allCampaigns}</Link>}>
      {campaigns.length === 0 && <EmptyState title={S.home.noCampaignsTitle} detail={S.home.noCampaigns} action={create} />}
      <ul className="list">
        {campaigns.map((c) => (
          <li key={c.id}>
            <div className="row between">
              <Link to={`/campaigns/${c.id}`} className="strong">
                {c.name}
              </Link>
              <span className="quiet">
                {S.campaigns.state[c.state]}
                {c.send_started_at && (
                  <>
                    {" · "}
                    <Age at={c.send_started_at} />
                  </>
                )}
              </span>
            </div>
            <PlaceBar places={c.places} small label={c.name} to={(place) => `/campaigns/${c.id}?place=${place}#recipients`} />
          </li>
        ))}
      </ul>
    </Section>
  );
}
