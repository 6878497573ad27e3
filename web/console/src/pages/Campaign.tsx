// A campaign: the state in plain words, where every copy is, what can be done, who did not get it and why.
import { useQuery } from "@tanstack/react-query";
import { Fragment, useEffect } from "react";
import { Link, useLocation, useNavigate, useNavigationType, useParams } from "react-router";
import { Seen, When } from "../components/Age";
import { ConfirmDialog, GuardedButton } from "../components/actions";
import { Choice } from "../components/Choice";
import { type Column, DataTable } from "../components/DataTable";
import { OverTime } from "../components/OverTime";
import { Facts, Page as Frame, Section } from "../components/Page";
import { PlaceBadge } from "../components/PlaceBadge";
import { PlaceBar } from "../components/PlaceBar";
import { type Place, PLACES, placeWord } from "../components/places";
import { Progress } from "../components/Progress";
import { EmptyState, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count, sentence } from "../lib/format";
import { bringIntoView, useUrlState } from "../lib/hooks";
import { useMay, useMe } from "../lib/session";
import { copies, people, S } from "../strings";
import { CampaignButtons } from "./CampaignButtons";
import { StateBadge } from "./Campaigns";
import { IncidentBanner } from "./Home";

type Campaign = Schemas["Campaign"];
type Copy = Schemas["Copy"];
type LastEvent = Schemas["LastEvent"];
type Whereabouts = Schemas["CampaignWhereabouts"];

const at = (id: string) => ({ params: { path: { id } } });
const loadCampaign = (id: string) => call(api.GET("/api/v1/campaigns/{id}", at(id)));
const loadWhereabouts = (id: string) => call(api.GET("/api/v1/campaigns/{id}/whereabouts", at(id)));
const loadOverTime = (id: string) => call(api.GET("/api/v1/campaigns/{id}/whereabouts/over-time", at(id)));
const loadNotReceived = (id: string) => call(api.GET("/api/v1/campaigns/{id}/not-received", at(id)));
const loadStats = (id: string) => call(api.GET("/api/v1/campaigns/{id}/stats", at(id)));
const loadCopies = (id: string, place: string, lastEvent: string) => (page: PageOf) =>
  call(
    api.GET("/api/v1/campaigns/{id}/copies", {
      params: { path: { id }, query: { ...page, place: (place || undefined) as Place | undefined, last_event: (lastEvent || undefined) as LastEvent | undefined } },
    }),
  );

/** The part of the page with the recipients. */
const RECIPIENTS = "recipients";
/** While it is being sent, the numbers are asked again this often, should no news come. */
const SENDING_POLL_MS = 2_000;

const COLUMNS: Column<Copy>[] = [
  { id: "name", header: S.name, width: "minmax(9rem, 1.4fr)", on: "main", cell: (c) => c.person_name || c.recipient },
  { id: "recipient", header: S.recipient, width: "minmax(12rem, 2fr)", on: "wide", cell: (c) => c.recipient },
  { id: "place", header: S.campaign.place, width: "minmax(11rem, 1.4fr)", cell: (c) => <PlaceBadge place={c.place} folder={c.place_detail} /> },
  { id: "event", header: S.campaign.lastEvent, width: "minmax(11rem, 1.6fr)", cell: (c) => <span className="quiet">{S.event[c.last_event]}</span> },
  { id: "at", header: S.campaign.since, width: "7.5rem", on: "wide", cell: (c) => <When at={c.last_event_at} /> },
];

export function Page() {
  const { id = "" } = useParams();
  const campaign = useQuery({
    queryKey: ["campaigns", id],
    queryFn: () => loadCampaign(id),
    refetchInterval: (query) => (query.state.data?.state === "sending" ? SENDING_POLL_MS : false),
  });
  if (!campaign.data) {
    return (
      <Frame title={S.campaigns.title} back={{ to: "/campaigns", word: S.campaigns.title }}>
        <Loaded query={campaign}>{() => null}</Loaded>
      </Frame>
    );
  }
  return <View campaign={campaign.data} />;
}

function View({ campaign }: { campaign: Campaign }) {
  const draft = campaign.state === "draft";
  return (
    <Frame
      title={campaign.name}
      aside={<StateBadge state={campaign.state} />}
      lead={
        <>
          {campaign.subject} · {campaign.from_name} &lt;{campaign.from_address}&gt;
          {campaign.suppressed_count > 0 && <> · {S.campaign.suppressed(campaign.suppressed_count)}</>}
        </>
      }
      back={{ to: "/campaigns", word: S.campaigns.title }}
      actions={<CampaignButtons campaign={campaign} />}
    >
      {draft ? <EmptyState title={S.campaign.draftHeadline} detail={S.campaign.draftDetail} /> : <Sent campaign={campaign} />}
    </Frame>
  );
}

function Sent({ campaign }: { campaign: Campaign }) {
  const { id } = campaign;
  const sending = campaign.state === "sending";
  const whereabouts = useQuery({ queryKey: ["campaigns", id, "whereabouts"], queryFn: () => loadWhereabouts(id), refetchInterval: sending ? SENDING_POLL_MS : false });
  useBehindTheNumber(!whereabouts.isPending);
  return (
    <>
      <Loaded query={whereabouts} loading={<Loading lines={4} tall />}>
        {(now) => <Now campaign={campaign} now={now} />}
      </Loaded>
      <div className="columns">
        <div className="stack wide-gap">
          <CourseOverTime id={id} />
          <NotReceived id={id} />
        </div>
        <div className="stack wide-gap">
          {whereabouts.data && (
            <Section title={S.campaign.actions}>
              <Actions campaign={campaign} actions={whereabouts.data.actions} />
            </Section>
          )}
          <Reading id={id} />
        </div>
      </div>
      <Recipients id={id} />
    </>
  );
}

/** A number was followed, here or from another page: the recipients behind it come into view, once what stands above them is there. */
function useBehindTheNumber(ready: boolean) {
  const { hash, key } = useLocation();
  // Whoever comes back stands where they were.
  const isBack = useNavigationType() === "POP" && key !== "default";
  useEffect(() => {
    if (hash !== `#${RECIPIENTS}` || isBack || !ready) return;
    const frame = bringIntoView(RECIPIENTS);
    return () => cancelAnimationFrame(frame);
  }, [hash, key, isBack, ready]);
}

function Now({ campaign, now }: { campaign: Campaign; now: Whereabouts }) {
  const open = now.incidents.filter((incident) => incident.status !== "resolved");
  return (
    <>
      {open.map((incident) => (
        <IncidentBanner key={incident.id} incident={incident} />
      ))}
      <section className="card" aria-label={S.campaign.whereNow}>
        <div className={`answer tone-${now.tone}`}>
          <p className="headline">{now.headline}</p>
          {now.newest_evidence_at && <Seen at={now.newest_evidence_at} />}
        </div>
        {campaign.state !== "sent" && campaign.state !== "cancelled" && (
          <Progress label={S.campaigns.sending} done={campaign.progress.accepted_count + campaign.progress.failed_count} total={campaign.progress.total_count} startedAt={campaign.send_started_at} />
        )}
        <PlaceBar places={now.places} label={S.campaign.whereNow} to={(place) => `?place=${place}#${RECIPIENTS}`} />
      </section>
    </>
  );
}

function CourseOverTime({ id }: { id: string }) {
  const overTime = useQuery({ queryKey: ["campaigns", id, "over-time"], queryFn: () => loadOverTime(id) });
  return (
    <Section title={S.campaign.overTime}>
      <Loaded query={overTime} part loading={<Loading lines={4} />}>
        {(course) => <OverTime points={course.points} label={S.campaign.overTime} />}
      </Loaded>
    </Section>
  );
}

function Actions({ campaign, actions }: { campaign: Campaign; actions: Schemas["CampaignAction"][] }) {
  const me = useMe();
  if (actions.length === 0) return <p className="quiet">{S.campaign.noActions}</p>;
  return (
    <ul className="list">
      {actions.map((action) => (
        <li key={`${action.kind}-${action.target_id}`}>
          <p>{sentence(action.sentence)}</p>
          {!action.allowed && <p className="quiet">{S.notYou(action.who_may, me.role)}</p>}
          <div>
            <ConfirmDialog
              title={S.campaign.actionTitle[action.kind](action.count)}
              text={<p>{sentence(action.sentence)}</p>}
              go={S.campaign.actionCount(S.campaign.actionWords[action.kind], action.count)}
              reason={action.kind === "release" ? undefined : { label: action.kind === "undo_change" ? S.campaign.reasonForUndo : S.campaign.reasonForRequest }}
              run={(reason) => runAction(campaign.id, action, reason)}
              trigger={(open) => (
                <GuardedButton appearance={action.allowed ? "primary" : "secondary"} onClick={open} blocked={action.allowed ? undefined : S.notYou(action.who_may, me.role)}>
                  {S.campaign.actionCount(S.campaign.actionWords[action.kind], action.count)}
                </GuardedButton>
              )}
            />
          </div>
        </li>
      ))}
    </ul>
  );
}

async function runAction(campaignId: string, action: Schemas["CampaignAction"], reason: string): Promise<string> {
  switch (action.kind) {
    case "request_release":
      return (await call(api.POST("/api/v1/campaigns/{id}/release-request", { ...at(campaignId), body: { reason } }))).sentence;
    case "release":
      return (await call(api.POST("/api/v1/quarantine/release", { body: { campaign_id: campaignId } }))).sentence;
    case "undo_change":
      return (await call(api.POST("/api/v1/changes/{id}/undo", { ...at(action.target_id), body: { reason } }))).sentence;
  }
}

function NotReceived({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["campaigns", id, "not-received"], queryFn: () => loadNotReceived(id) });
  const may = useMay();
  return (
    <Section title={S.campaign.notReceived} aside={query.data ? <span className="quiet">{copies(query.data.total_count)}</span> : null}>
      <Loaded query={query} part loading={<Loading lines={4} />}>
        {({ groups }) =>
          groups.length === 0 ? (
            <p className="quiet">{S.campaign.notReceivedNone}</p>
          ) : (
            <ul className="list">
              {groups.map((g) => (
                <li key={`${g.group}-${g.rule}-${g.origin}-${g.evidence}-${g.reply}`}>
                  <div className="row between">
                    <span className="place">
                      <span className={`place-dot place-${g.place ?? "unknown"}`} aria-hidden />
                      <span className="strong">{S.campaign.groupWords[g.group]}</span>
                    </span>
                    {g.place ? (
                      <Link to={`?place=${g.place}#${RECIPIENTS}`} preventScrollReset>
                        {S.campaign.showThem(g.count)}
                      </Link>
                    ) : (
                      <span>{people(g.count)}</span>
                    )}
                  </div>
                  <p>{g.sentence}</p>
                  <Facts
                    of={[
                      [S.campaign.group.evidence, g.evidence && <code>{g.evidence}</code>],
                      [S.campaign.group.rule, g.rule && <code>{g.rule}</code>],
                      [S.campaign.group.origin, g.origin],
                      [S.campaign.group.policy, g.policy],
                      [S.campaign.group.reply, g.reply],
                      [S.campaign.group.since, g.since && <When key="since" at={g.since} />],
                    ]}
                  />
                  {g.cause_id && may("protection.read") && (
                    <div>
                      <Link to={`/changes/${g.cause_id}`}>{S.campaign.theChange}</Link>
                    </div>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Section>
  );
}

function Reading({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["campaigns", id, "stats"], queryFn: () => loadStats(id) });
  return (
    <Section title={S.campaign.readBy}>
      <Loaded query={query} part loading={<Loading lines={5} />}>
        {(stats) => (
          <>
            <ReadTable stats={stats} />
            <p className="quiet">
              {stats.note || S.campaign.machinesNote} {stats.unsettled_count > 0 && S.campaign.unsettled(stats.unsettled_count)}
            </p>
            <h3>{S.campaign.links}</h3>
            {stats.links.length === 0 ? <p className="quiet">{S.campaign.noLinks}</p> : <LinkTable stats={stats} />}
          </>
        )}
      </Loaded>
    </Section>
  );
}

function Hits({ n, floor }: { n?: number | null; floor: number }) {
  if (typeof n === "number") return <>{count(n)}</>;
  return <span className="quiet">{S.campaign.hidden(floor)}</span>;
}

function ReadTable({ stats }: { stats: Schemas["CampaignStats"] }) {
  const rows = [
    [S.campaign.peopleCount, stats.people],
    [S.campaign.machinesCount, stats.machines],
  ] as const;
  return (
    <table className="number-table">
      <thead>
        <tr>
          <td />
          <th scope="col" className="end">
            {S.campaign.opened}
          </th>
          <th scope="col" className="end">
            {S.campaign.clicked}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([word, hits]) => (
          <tr key={word}>
            <th scope="row">{word}</th>
            <td className="end">
              <Hits n={hits.opened_count} floor={stats.floor} />
            </td>
            <td className="end">
              <Hits n={hits.clicked_count} floor={stats.floor} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function LinkTable({ stats }: { stats: Schemas["CampaignStats"] }) {
  return (
    <table className="number-table">
      <thead>
        <tr>
          <th scope="col">{S.campaign.link}</th>
          <th scope="col" className="end">
            {S.campaign.peopleCount}
          </th>
          <th scope="col" className="end">
            {S.campaign.machinesCount}
          </th>
        </tr>
      </thead>
      <tbody>
        {stats.links.map((link) => (
          <tr key={link.id}>
            <th scope="row">{link.url}</th>
            <td className="end">
              <Hits n={link.people_count} floor={stats.floor} />
            </td>
            <td className="end">
              <Hits n={link.machine_count} floor={stats.floor} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Recipients({ id }: { id: string }) {
  const [url, setUrl] = useUrlState();
  const navigate = useNavigate();
  const place = url("place");
  const lastEvent = url("last_event");
  const pages = usePages<Copy>(["copies", id, place, lastEvent], loadCopies(id, place, lastEvent));
  return (
    <Section
      id={RECIPIENTS}
      title={S.campaign.recipientsTitle}
      aside={
        <Choice label={S.campaign.place} value={place} all={S.campaign.filterAll} values={PLACES} word={placeWord} choose={(one) => setUrl({ place: one, last_event: undefined })} />
      }
    >
      {lastEvent && (
        <Fragment>
          <p className="quiet row">
            {S.campaign.lastEvent}: {S.event[lastEvent as LastEvent]}
            <button type="button" className="text-button" onClick={() => setUrl({ last_event: undefined })}>
              {S.campaign.clearFilter}
            </button>
          </p>
        </Fragment>
      )}
      <DataTable
        label={S.campaign.recipientsTitle}
        pages={pages}
        columns={COLUMNS}
        rowId={(c) => c.id}
        rowName={(c) => c.recipient}
        onOpen={(c) => void navigate(`/copies/${c.id}`)}
        height="520px"
        empty={<p className="quiet">{S.campaign.emptyCopies}</p>}
      />
    </Section>
  );
}

