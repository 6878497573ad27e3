//! The first page, the search box on top, the totals of the organisation, and live news.

use axum::response::Response;
use model::Permission as P;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Query};
use crate::problem::Problem;
use crate::resources::campaigns::CampaignSummary;
use crate::resources::incidents::IncidentSummary;
use crate::resources::jobs::QueueSummary;
use crate::wire::{EventCount, Id, PlaceCount};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(home), P::Own))
        .routes(operation(routes!(search), P::Own))
        .routes(operation(routes!(totals), P::CampaignRead))
        .routes(operation(routes!(events), P::Own))
}

/// What waits for whoever is signed in. Parts that the role may not see are `null`.
#[derive(Debug, Serialize, ToSchema)]
struct Home {
    /// The last campaigns, as one bar each.
    campaigns: Option<Vec<CampaignSummary>>,
    /// Incidents that are not resolved.
    incidents: Option<Vec<IncidentSummary>>,
    waiting: Option<Waiting>,
    queue: Option<QueueSummary>,
    /// One's own mailbox.
    unseen_count: Option<i64>,
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
    id: Id,
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
    Message,
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
#[derive(Debug, Serialize, ToSchema)]
struct TotalHits {
    opened_count: i64,
    clicked_count: i64,
}

/// Proof from the ledger that nothing was sent twice.
#[derive(Debug, Serialize, ToSchema)]
struct Proof {
    /// Copies that landed more than once by a send.
    sent_twice_count: i64,
    /// Copies with a restore.
    restored_count: i64,
    /// Copies with a release.
    released_count: i64,
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
async fn home(_caller: Caller) -> Answer<Home> {
    Err(Problem::not_wired())
}

/// Finds a person, a campaign, a Message-ID, a URL host, an incident; only what the role may see.
#[utoipa::path(get, path = "/search", tag = "home", params(SearchQuery), responses((status = 200, body = Vec<SearchHit>)))]
async fn search(_caller: Caller, Query(_q): Query<SearchQuery>) -> Answer<Vec<SearchHit>> {
    Err(Problem::not_wired())
}

/// Where the copies of all campaigns are, and the proof that none was sent twice.
#[utoipa::path(get, path = "/totals", tag = "home", responses((status = 200, body = Totals)))]
async fn totals(_caller: Caller) -> Answer<Totals> {
    Err(Problem::not_wired())
}

/// Server-sent events: what changed, as it changes. A comment every 15 s keeps the line open.
#[utoipa::path(get, path = "/events", tag = "home", params(EventsQuery),
    responses((status = 200, body = News, content_type = "text/event-stream")))]
async fn events(_caller: Caller, Query(_q): Query<EventsQuery>) -> Result<Response, Problem> {
    Err(Problem::not_wired())
}
