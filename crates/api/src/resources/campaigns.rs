//! Campaigns: write, look at, send, stop. Where their copies are is in `campaign_whereabouts`.

use axum::http::StatusCode;
use model::{CampaignId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, PlaceCount};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_campaigns), P::CampaignRead))
        .routes(operation(routes!(create_campaign), P::CampaignWrite))
        .routes(operation(routes!(get_campaign), P::CampaignRead))
        .routes(operation(routes!(update_campaign), P::CampaignWrite))
        .routes(operation(routes!(preview_campaign), P::CampaignRead))
        .routes(operation(routes!(lint_campaign), P::CampaignRead))
        .routes(operation(routes!(send_campaign), P::CampaignWrite))
        .routes(operation(routes!(pause_campaign), P::CampaignWrite))
        .routes(operation(routes!(resume_campaign), P::CampaignWrite))
        .routes(operation(routes!(cancel_campaign), P::CampaignWrite))
        .routes(operation(routes!(campaign_stats), P::CampaignRead))
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CampaignsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// The life of a campaign.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Being written.
    Draft,
    /// Being sent.
    Sending,
    /// Stopped for now; goes on exactly where it stopped.
    Paused,
    /// Every copy was handed over or given up.
    Sent,
    /// Ended before all was sent.
    Cancelled,
}

/// How opens and clicks are counted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TrackingMode {
    /// By a random number per copy that leads to nobody (the default).
    Anonymous,
    /// By person; only where the owner switched it on.
    Individual,
    /// Only totals.
    Overall,
    /// Not at all.
    Off,
}

/// What the content is written in.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ContentType {
    Mjml,
    Html,
}

/// A campaign in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignSummary {
    pub id: Id,
    name: String,
    subject: String,
    state: CampaignState,
    list_id: Option<Id>,
    /// People it goes to, once sending started.
    audience_count: i64,
    /// People left out, with a reason.
    suppressed_count: i64,
    created_at: At,
    send_started_at: Option<At>,
    sent_at: Option<At>,
    /// Where its copies are now.
    places: Vec<PlaceCount>,
}

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
struct Campaign {
    id: Id,
    name: String,
    subject: String,
    from_name: String,
    from_address: String,
    content_type: ContentType,
    content: String,
    list_id: Option<Id>,
    tracking: TrackingMode,
    click_tracking: bool,
    state: CampaignState,
    audience_count: i64,
    suppressed_count: i64,
    /// Copies put in the queue so far.
    enqueued_count: i64,
    created_by: Option<Id>,
    created_at: At,
    updated_at: At,
    send_started_at: Option<At>,
    sent_at: Option<At>,
}

/// What an author writes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CampaignDraft {
    /// For the list of campaigns, not for recipients.
    name: String,
    /// With merge fields: `News for {{ name | default("you") }}`.
    subject: String,
    from_name: String,
    from_address: String,
    content_type: ContentType,
    /// MJML or HTML with merge fields.
    content: String,
    /// Who gets it; needed before sending.
    #[serde(default)]
    list_id: Option<Id>,
    #[serde(default = "anonymous")]
    tracking: TrackingMode,
    /// Whether links are tracked.
    #[serde(default = "yes")]
    click_tracking: bool,
}

fn anonymous() -> TrackingMode {
    TrackingMode::Anonymous
}
fn yes() -> bool {
    true
}

/// For whom to render.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewRequest {
    /// A person of the organisation; without one, merge fields show their defaults.
    #[serde(default)]
    person_id: Option<Id>,
}

/// The mail as one recipient would see it; links are not tracked here.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignPreview {
    subject: String,
    /// Show it in a sandboxed frame.
    html: String,
    text: String,
    size_bytes: i64,
}

/// What would keep a campaign from being sent or read well.
#[derive(Debug, Serialize, ToSchema)]
struct LintReport {
    /// No finding is an error.
    sendable: bool,
    findings: Vec<LintFinding>,
}

/// One finding.
#[derive(Debug, Serialize, ToSchema)]
struct LintFinding {
    severity: LintSeverity,
    /// The field of the draft: `content`, `subject`, `list_id`.
    field: String,
    /// The line in the content, where known.
    line: Option<u32>,
    /// What is wrong and what to do.
    message: String,
}

/// How bad.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LintSeverity {
    /// It cannot be sent like this.
    Error,
    /// It can be sent.
    Warning,
}

/// How it was read. People and machines are counted apart; a number below the floor is `null`.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignStats {
    tracking: TrackingMode,
    audience_count: i64,
    people: HitCounts,
    machines: HitCounts,
    /// Fetches that could be either.
    unclear: HitCounts,
    links: Vec<LinkCounts>,
    /// Numbers of fewer people than this are not shown.
    floor: i64,
    /// Why a number is missing, or empty.
    note: String,
}

/// Distinct copies opened and clicked.
#[derive(Debug, Serialize, ToSchema)]
struct HitCounts {
    opened_count: Option<i64>,
    clicked_count: Option<i64>,
}

/// One tracked link.
#[derive(Debug, Serialize, ToSchema)]
struct LinkCounts {
    id: Id,
    position: i64,
    url: String,
    people_count: Option<i64>,
    machine_count: Option<i64>,
}

/// Campaigns, newest first.
#[utoipa::path(get, path = "/campaigns", tag = "campaigns", params(CampaignsQuery), responses((status = 200, body = Page<CampaignSummary>)))]
async fn list_campaigns(_caller: Caller, Query(_q): Query<CampaignsQuery>) -> Answer<Page<CampaignSummary>> {
    Err(Problem::not_wired())
}

/// Creates a draft.
#[utoipa::path(post, path = "/campaigns", tag = "campaigns", responses((status = 201, body = Campaign)))]
async fn create_campaign(
    _caller: Caller,
    Json(_b): Json<CampaignDraft>,
) -> Result<(StatusCode, Json<Campaign>), Problem> {
    Err(Problem::not_wired())
}

/// One campaign.
#[utoipa::path(get, path = "/campaigns/{id}", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn get_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// Changes a draft.
#[utoipa::path(put, path = "/campaigns/{id}", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn update_campaign(
    _caller: Caller,
    PathId(_id): PathId<CampaignId>,
    Json(_b): Json<CampaignDraft>,
) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// Renders it for one person.
#[utoipa::path(post, path = "/campaigns/{id}/preview", tag = "campaigns", responses((status = 200, body = CampaignPreview)))]
async fn preview_campaign(
    _caller: Caller,
    PathId(_id): PathId<CampaignId>,
    Json(_b): Json<PreviewRequest>,
) -> Answer<CampaignPreview> {
    Err(Problem::not_wired())
}

/// Checks it before sending.
#[utoipa::path(get, path = "/campaigns/{id}/lint", tag = "campaigns", responses((status = 200, body = LintReport)))]
async fn lint_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<LintReport> {
    Err(Problem::not_wired())
}

/// Freezes the audience and starts sending.
#[utoipa::path(post, path = "/campaigns/{id}/send", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn send_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// Stops sending for now.
#[utoipa::path(post, path = "/campaigns/{id}/pause", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn pause_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// Goes on where it stopped.
#[utoipa::path(post, path = "/campaigns/{id}/resume", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn resume_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// Ends it; what is not handed over yet is never sent.
#[utoipa::path(post, path = "/campaigns/{id}/cancel", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn cancel_campaign(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<Campaign> {
    Err(Problem::not_wired())
}

/// How it was read.
#[utoipa::path(get, path = "/campaigns/{id}/stats", tag = "campaigns", responses((status = 200, body = CampaignStats)))]
async fn campaign_stats(_caller: Caller, PathId(_id): PathId<CampaignId>) -> Answer<CampaignStats> {
    Err(Problem::not_wired())
}
