//! Where a campaign's copies are, how they got there, who did not get it and why, and one copy's evidence.

use model::{CampaignId, CopyId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::resources::incidents::IncidentSummary;
use crate::wire::{
    ActionOutcome, At, EventCount, Evidence, Id, LastEvent, Page, Permission, Place, PlaceCount, Verdict,
};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(campaign_whereabouts), P::CampaignRead))
        .routes(operation(routes!(campaign_over_time), P::CampaignRead))
        .routes(operation(routes!(campaign_copies), P::CampaignRead))
        .routes(operation(routes!(campaign_not_received), P::CampaignRead))
        .routes(operation(routes!(request_campaign_release), P::ReleaseRequest))
        .routes(operation(routes!(get_copy), P::CampaignRead))
}

/// Where a campaign's copies are now.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignWhereabouts {
    /// The state in plain words: how many are where, since when, why.
    headline: String,
    tone: Tone,
    /// All copies of the campaign.
    total_count: i64,
    places: Vec<PlaceCount>,
    events: Vec<EventCount>,
    /// When the newest evidence was seen.
    as_of: Option<At>,
    /// The incidents that it is in the scope of, open ones first.
    incidents: Vec<IncidentSummary>,
    /// What can be done about it now.
    actions: Vec<CampaignAction>,
}

/// Whether the state is good.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Tone {
    Good,
    /// Not finished, or partly lost.
    Watch,
    /// Many copies are where nobody can read them.
    Bad,
}

/// Something that can be done.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignAction {
    kind: CampaignActionKind,
    /// How many copies it would touch.
    count: i64,
    /// The permission that it needs.
    permission: Permission,
    /// Whether the caller has it.
    allowed: bool,
    /// What it acts on: a change for `undo_change`, otherwise the campaign.
    target_id: Id,
    /// What would happen, in one sentence.
    sentence: String,
}

/// What kind of action.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CampaignActionKind {
    /// Ask an administrator to release what is held.
    RequestRelease,
    /// Release what was held on arrival.
    Release,
    /// Undo the change that pulled copies back.
    UndoChange,
}

/// The places of a campaign's copies over time.
#[derive(Debug, Serialize, ToSchema)]
struct OverTime {
    /// The width of a step in milliseconds.
    step_ms: i64,
    points: Vec<OverTimePoint>,
}

/// The state at the end of one step.
#[derive(Debug, Serialize, ToSchema)]
struct OverTimePoint {
    at: At,
    places: Vec<PlaceCount>,
}

/// Which copies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CopiesQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only copies in this place.
    place: Option<Place>,
    /// Only copies that this last happened to.
    last_event: Option<LastEvent>,
}

/// A copy in a list.
#[derive(Debug, Serialize, ToSchema)]
struct Copy {
    id: Id,
    recipient: String,
    person_id: Option<Id>,
    person_name: String,
    place: Place,
    /// The folder's name, or empty.
    place_detail: String,
    place_at: At,
    last_event: LastEvent,
    last_event_at: At,
}

/// Copies that did not land, by why.
#[derive(Debug, Serialize, ToSchema)]
struct NotReceived {
    /// Copies that are not in a mailbox (and not on their way).
    total_count: i64,
    groups: Vec<NotReceivedGroup>,
}

/// Copies that share a reason.
#[derive(Debug, Serialize, ToSchema)]
struct NotReceivedGroup {
    place: Place,
    last_event: LastEvent,
    count: i64,
    /// The reason, for people.
    sentence: String,
    /// The rule that decided, if a rule did.
    rule: Option<String>,
    /// The feed or list entry it comes from.
    origin: Option<String>,
    /// What was seen: the URL or host.
    evidence: Option<String>,
    /// The change that put it in force.
    change_id: Option<Id>,
    /// The policy that decided.
    policy: Option<String>,
    /// A copy to look at.
    example_copy_id: Id,
    /// When the first of them came to this.
    since: At,
}

/// Why the release is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseRequest {
    /// For the administrator who decides.
    #[serde(default)]
    reason: String,
}

/// One copy with everything known about it.
#[derive(Debug, Serialize, ToSchema)]
struct CopyDetail {
    #[serde(flatten)]
    copy: Copy,
    /// The answer first: where it is, since when, what anybody did about it.
    answer: String,
    campaign_id: Option<Id>,
    campaign_name: Option<String>,
    subject: String,
    from_address: String,
    message_id_header: String,
    disposition: Option<String>,
    policy: Option<String>,
    verdict: Option<Verdict>,
    /// The held copy, when it is in quarantine.
    quarantine_item_id: Option<Id>,
    /// Evidence, oldest first.
    timeline: Vec<Evidence>,
}

/// Where a campaign's copies are now, in a sentence and in numbers.
#[utoipa::path(get, path = "/campaigns/{id}/whereabouts", tag = "campaigns",
    responses((status = 200, body = CampaignWhereabouts)))]
async fn campaign_whereabouts(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<CampaignWhereabouts> {
    Err(Problem::not_wired())
}

/// Where they were over time.
#[utoipa::path(get, path = "/campaigns/{id}/whereabouts/over-time", tag = "campaigns",
    responses((status = 200, body = OverTime)))]
async fn campaign_over_time(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<OverTime> {
    Err(Problem::not_wired())
}

/// Its copies, by place or last event.
#[utoipa::path(get, path = "/campaigns/{id}/copies", tag = "campaigns", params(CopiesQuery), responses((status = 200, body = Page<Copy>)))]
async fn campaign_copies(
    _caller: Caller,
    PathId(_id): PathId<CampaignId>,
    Query(_q): Query<CopiesQuery>,
) -> Answer<Page<Copy>> {
    Err(Problem::not_wired())
}

/// Who did not get it, grouped by why.
#[utoipa::path(get, path = "/campaigns/{id}/not-received", tag = "campaigns", responses((status = 200, body = NotReceived)))]
async fn campaign_not_received(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<NotReceived> {
    Err(Problem::not_wired())
}

/// Asks administrators to release the campaign's held copies.
#[utoipa::path(post, path = "/campaigns/{id}/release-request", tag = "campaigns",
    responses((status = 200, body = ActionOutcome)))]
async fn request_campaign_release(
    _caller: Caller,
    PathId(_id): PathId<CampaignId>,
    Json(_b): Json<ReleaseRequest>,
) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}

/// One copy as a timeline of evidence.
#[utoipa::path(get, path = "/copies/{id}", tag = "copies", responses((status = 200, body = CopyDetail)))]
async fn get_copy(_caller: Caller, PathId(_id): PathId<CopyId>) -> Answer<CopyDetail> {
    Err(Problem::not_wired())
}
