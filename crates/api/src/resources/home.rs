//! The first page, the search box on top, the totals of the organisation, and live news.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use campaign::Campaigns;
use futures::{Stream, StreamExt};
use model::{CampaignId, Permission as P, ReleaseStatus};
use quarantine::Filter;
use serde::{Deserialize, Serialize};
use store::{Notice, Topic};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use whereabouts::Found;

use crate::AppState;
use crate::access::{Access, Caller, operation, who_may};
use crate::extract::{Answer, Json, Query};
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::{Kind, Problem};
use crate::resources::campaigns::{self, CampaignSummary};
use crate::resources::incidents::IncidentSummary;
use crate::resources::queue::{self, QueueSummary};
use crate::wire::{EventCount, Id, PlaceCount, id};

/// Campaigns and incidents that the first page shows.
const SHOWN: u32 = 5;
/// Own held copies, and changes that wait, counted at most.
const COUNTED: usize = 200;
/// Campaigns read at a time for the totals.
const CAMPAIGNS_PER_READ: i64 = 200;
/// A comment keeps the line of events open.
const HEARTBEAT_S: u64 = 15;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(home), P::Own))
        .routes(operation(routes!(search), P::Own))
        .routes(operation(routes!(totals), P::CampaignRead))
        .routes(operation(routes!(events), P::Own))
        .routes(operation(routes!(openapi_document), Access::Public))
}

/// What waits for whoever is signed in. Parts that the role may not see are `null`.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Home {
    /// The last campaigns, as one bar each.
    campaigns: Option<Vec<CampaignSummary>>,
    /// Incidents that are not resolved.
    incidents: Option<Vec<IncidentSummary>>,
    waiting: Option<Waiting>,
    queue: Option<QueueSummary>,
    /// One's own mailbox; `null` when another system keeps it.
    unseen_count: Option<i64>,
    /// The connector to the system that keeps one's own mailbox; `null`: it is embedded, or there is none.
    mail_kept_by: Option<String>,
    /// One's own held copies.
    own_held_count: Option<i64>,
}

/// What waits for an administrator.
#[derive(Debug, Serialize, ToSchema)]
struct Waiting {
    /// Releases that somebody asked for.
    release_requests_count: i64,
    /// Held copies that nobody looked at.
    needs_review_count: i64,
    /// Changes that are backtested and wait for a decision.
    changes_count: i64,
}

/// What to search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// A name, an address, a Message-ID, a host, a campaign's name.
    q: String,
}

/// Where something was found.
#[derive(Debug, Serialize, ToSchema)]
struct SearchHit {
    kind: SearchKind,
    /// What was found; `null` for a host.
    id: Option<Id>,
    title: String,
    /// A second line.
    detail: String,
    /// The page of the console.
    path: String,
}

/// What was found.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SearchKind {
    Person,
    Campaign,
    Copy,
    UrlHost,
    Incident,
}

/// The organisation's copies of all campaigns in numbers.
#[derive(Debug, Serialize, ToSchema)]
struct Totals {
    copies_count: i64,
    places: Vec<PlaceCount>,
    events: Vec<EventCount>,
    people: TotalHits,
    machines: TotalHits,
    proof: Proof,
}

/// Distinct copies opened and clicked.
#[derive(Debug, Default, Serialize, ToSchema)]
struct TotalHits {
    opened_count: i64,
    clicked_count: i64,
}

/// Proof from the ledger that nothing was sent twice.
#[derive(Debug, Serialize, ToSchema)]
struct Proof {
    /// Copies that landed more than once by a send.
    sent_twice_count: i64,
    /// Copies that were pulled back and put back.
    restored_count: i64,
    /// Copies that were held on arrival and freed.
    released_count: i64,
    /// Copies that were put back because their verdict changed.
    redelivered_count: i64,
    /// Copies that were held on arrival.
    held_count: i64,
    /// Copies that were pulled back after arrival.
    purged_count: i64,
    /// Releases and restores beyond one per copy.
    repeated_count: i64,
    /// Second offers of a copy that the gateway answered without storing anything.
    resends_suppressed_count: i64,
    /// Copies whose hand-over to a foreign host ended unclearly.
    may_be_double_count: i64,
}

/// Which news.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Topics divided by commas: `campaigns`, `jobs`, `changes`, `incidents`, `mailbox`; left out: all that the role may see.
    topics: Option<String>,
}

/// One piece of news: something with this id changed, look again. Sent as `event: <topic>`.
#[derive(Debug, Serialize, ToSchema)]
struct News {
    topic: String,
    id: Id,
}

/// What waits for whoever is signed in.
#[utoipa::path(get, path = "/home", tag = "home", responses((status = 200, body = Home)))]
async fn home(State(app): State<AppState>, caller: Caller) -> MaskedAnswer {
    let mut home = Home::default();
    if caller.may(P::CampaignRead) {
        home.campaigns = Some(campaigns::summaries(&app, &caller, None, SHOWN).await?);
    }
    if caller.may(P::IncidentRead) {
        let open = whereabouts::incident::unresolved(&app.store, caller.organisation_id, SHOWN.into()).await?;
        home.incidents = Some(open.into_iter().map(IncidentSummary::from).collect());
    }
    if caller.may(P::QuarantineRead) && caller.may(P::ProtectionRead) {
        home.waiting = Some(waiting(&app).await?);
    }
    if caller.may(P::QueueRead) {
        home.queue = Some(queue::summary(&app, caller.organisation_id).await?);
    }
    if let Some(person) = caller.person_id {
        let undecided = |status| matches!(status, ReleaseStatus::NeedsReview | ReleaseStatus::Requested);
        let held = app.quarantine.own(person, None, COUNTED).await?;
        home.own_held_count = i64::try_from(held.iter().filter(|item| undecided(item.status)).count()).ok();
        let kept = app.directory.mailbox_of_person(person).await?;
        home.mail_kept_by = kept.as_ref().and_then(|mailbox| mailbox.connector.clone());
        // Of a mailbox that is kept elsewhere nobody here knows what is unread.
        if let Some(mailbox) = kept.filter(|mailbox| mailbox.connector.is_none()) {
            let folders = app.mailbox.folders(mailbox.id).await?;
            let inboxes = folders.iter().filter(|folder| folder.role == mailbox::FolderRole::Inbox);
            home.unseen_count = Some(inboxes.map(|folder| folder.unseen_count).sum());
        }
    }
    // An incident's title can quote the link of a copy.
    Masked::new(app.tracker.tokens(), &home)
}

async fn waiting(app: &AppState) -> Result<Waiting, Problem> {
    let facets = app.quarantine.facets(&Filter::default()).await?;
    let of = |status| facets.status.get(&status).copied().unwrap_or(0);
    let backtested = changes::ChangeFilter {
        state: Some(changes::ChangeState::Backtested),
        before: None,
        limit: i64::try_from(COUNTED).unwrap_or(1),
    };
    Ok(Waiting {
        release_requests_count: of(ReleaseStatus::Requested),
        needs_review_count: of(ReleaseStatus::NeedsReview),
        changes_count: i64::try_from(app.changes.list(backtested).await?.len()).unwrap_or(i64::MAX),
    })
}

/// Finds a person, a campaign, a Message-ID, a URL host, an incident; only what the role may see.
#[utoipa::path(get, path = "/search", tag = "home", params(SearchQuery),
    responses((status = 200, body = Vec<SearchHit>)))]
async fn search(State(app): State<AppState>, caller: Caller, Query(q): Query<SearchQuery>) -> MaskedAnswer {
    let found = whereabouts::search(&app.store, caller.organisation_id, &q.q).await?;
    let hits: Vec<SearchHit> = found.into_iter().filter_map(|found| search_hit(&caller, found)).collect();
    Masked::new(app.tracker.tokens(), &hits)
}

/// A hit with the page that shows it; `None` when the caller may not see that.
fn search_hit(caller: &Caller, found: Found) -> Option<SearchHit> {
    let hit = |needs: P, kind, raw: Option<Id>, title: String, detail: String, path: String| {
        caller.may(needs).then_some(SearchHit { kind, id: raw, title, detail, path })
    };
    match found {
        Found::Campaign { id: found, name, state } => {
            let path = format!("/campaigns/{found}");
            hit(P::CampaignRead, SearchKind::Campaign, Some(id(found)), name, state, path)
        }
        Found::Person { id: found, address, name } => {
            let path = format!("/people/{found}");
            hit(P::PeopleRead, SearchKind::Person, Some(id(found)), name, address, path)
        }
        Found::Copy { id: found, recipient, subject, place } => {
            let (path, detail) = (format!("/trace/{found}"), format!("{recipient}, {place}"));
            hit(P::TraceRead, SearchKind::Copy, Some(id(found)), subject, detail, path)
        }
        Found::Incident { id: found, title, status } => {
            let path = format!("/incidents/{found}");
            hit(P::IncidentRead, SearchKind::Incident, Some(id(found)), title, status, path)
        }
        Found::UrlHost { host, copy_count, more } => {
            let detail = format!("{}{copy_count} copies link to it", if more { "more than " } else { "" });
            let is_plain = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
            let path = if is_plain { format!("/trace?url_host={host}") } else { "/trace".to_owned() };
            hit(P::TraceRead, SearchKind::UrlHost, None, host, detail, path)
        }
    }
}

/// Where the copies of all campaigns are, and the proof that none was sent twice.
#[utoipa::path(get, path = "/totals", tag = "home", responses((status = 200, body = Totals)))]
async fn totals(State(app): State<AppState>, caller: Caller) -> Answer<Totals> {
    let totals = whereabouts::totals(&app.store, caller.organisation_id).await?;
    let proof = whereabouts::proof(&app.store, caller.organisation_id).await?;
    let (mut people, mut machines) = (TotalHits::default(), TotalHits::default());
    let campaigns = Campaigns::new(app.directory.clone());
    let mut before: Option<CampaignId> = None;
    loop {
        let page = campaigns.list(before, CAMPAIGNS_PER_READ).await?;
        for campaign in page.iter().filter(|campaign| campaign.send_started_at.is_some()) {
            let stats = app.tracker.stats(campaign.id).await?;
            if !stats.is_hidden {
                people.add(stats.people); // otherwise the sum would tell what the campaign's own page does not
            }
            machines.add(stats.machines);
        }
        match page.last() {
            Some(last) => before = Some(last.id),
            None => break,
        }
    }
    Ok(Json(Totals {
        copies_count: totals.places.values().sum(),
        places: PlaceCount::all(|place| totals.places.get(&place).copied().unwrap_or(0)),
        events: EventCount::all(|event| totals.events.get(&event).copied().unwrap_or(0)),
        people,
        machines,
        proof: Proof {
            sent_twice_count: proof.sent_twice,
            restored_count: proof.restored,
            released_count: proof.released,
            redelivered_count: proof.redelivered,
            held_count: proof.held,
            purged_count: proof.purged,
            repeated_count: proof.repeated,
            resends_suppressed_count: proof.resends_suppressed,
            may_be_double_count: proof.may_be_double,
        },
    }))
}

impl TotalHits {
    fn add(&mut self, reach: campaign::Reach) {
        self.opened_count += reach.opened;
        self.clicked_count += reach.clicked;
    }
}

/// The topics of the line of events, each with what it takes to hear of it.
const TOPICS: [(&str, P); 5] = [
    ("campaigns", P::CampaignRead),
    ("jobs", P::ProtectionRead),
    ("changes", P::ProtectionRead),
    ("incidents", P::IncidentRead),
    ("mailbox", P::MailboxOwn),
];

/// The topic that a notice belongs to, if people hear of it.
fn topic_of(topic: Topic) -> Option<&'static str> {
    match topic {
        Topic::Campaign | Topic::Ledger => Some("campaigns"),
        Topic::Job => Some("jobs"),
        Topic::Change | Topic::RuleSet => Some("changes"),
        Topic::Incident => Some("incidents"),
        Topic::Mailbox => Some("mailbox"),
        Topic::Delivery => None,
    }
}

/// The topics asked for that the role may hear; all of those when none is named.
fn topics(caller: &Caller, asked: Option<&str>) -> Result<Vec<&'static str>, Problem> {
    let Some(asked) = asked else {
        return Ok(TOPICS.iter().filter(|(_, needs)| caller.may(*needs)).map(|(topic, _)| *topic).collect());
    };
    asked
        .split(',')
        .map(|word| match TOPICS.iter().find(|(topic, _)| *topic == word.trim()) {
            Some((topic, needs)) if caller.may(*needs) => Ok(*topic),
            Some((topic, needs)) => Err(Problem::new(Kind::Forbidden, format!("{topic} is for {}.", who_may(*needs)))),
            None => Err(Problem::new(Kind::BadRequest, format!("There is no topic {word:?}.")).at("topics")),
        })
        .collect()
}

/// Server-sent events: what changed, as it changes. A comment every 15 s keeps the line open; `event: reset` says that
/// some news was lost and everything shown should be read again.
#[utoipa::path(get, path = "/events", tag = "home", params(EventsQuery),
    responses((status = 200, body = News, content_type = "text/event-stream")))]
async fn events(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let topics = topics(&caller, q.topics.as_deref())?;
    let permit = app.event_lines.clone().try_acquire_owned().map_err(|full| {
        Problem::new(Kind::Unavailable, "Too many pages listen already. Try again later.")
            .because(full)
            .retry_after_s(30)
    })?;
    let mailbox = match caller.person_id {
        Some(person) => app.mailbox.mailbox_of(person).await?.map(|mailbox| mailbox.id.0),
        None => None,
    };
    let heard = BroadcastStream::new(app.store.bus().subscribe());
    let stream = news(heard, topics, mailbox).take_until(app.shutdown.clone().cancelled_owned());
    // The permit lives as long as the line.
    let stream = stream.map(move |event| {
        let _open = &permit;
        Ok::<_, Infallible>(event)
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(HEARTBEAT_S));
    Ok(Sse::new(stream).keep_alive(alive).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "home", responses((status = 200, body = Object)))]
async fn openapi_document(State(app): State<AppState>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}

fn news(
    heard: BroadcastStream<Notice>,
    topics: Vec<&'static str>,
    mailbox: Option<i64>,
) -> impl Stream<Item = Event> + Send {
    heard.filter_map(move |notice| {
        let event = match notice {
            Ok(notice) => topic_of(notice.topic)
                .filter(|topic| topics.contains(topic))
                .filter(|topic| *topic != "mailbox" || Some(notice.id) == mailbox)
                .map(|topic| event(topic, &News { topic: topic.to_owned(), id: Id(notice.id) })),
            Err(BroadcastStreamRecvError::Lagged(_)) => {
                Some(event("reset", &News { topic: "reset".to_owned(), id: Id(0) }))
            }
        };
        std::future::ready(event)
    })
}

fn event(topic: &str, news: &News) -> Event {
    Event::default().event(topic).data(serde_json::to_string(news).unwrap_or_default())
}
