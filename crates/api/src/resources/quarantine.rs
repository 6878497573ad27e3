//! The organisation's quarantine: look, request, release, deny.

use model::{Permission as P, QuarantineItemId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{
    ActionOutcome, At, Evidence, Id, Page, QuarantineReason, ReleaseStatus, Signal, ValueCount, Verdict,
};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_quarantine), P::QuarantineRead))
        .routes(operation(routes!(quarantine_facets), P::QuarantineRead))
        .routes(operation(routes!(get_quarantine_item), P::QuarantineRead))
        .routes(operation(routes!(preview_quarantine_item), P::QuarantineRead))
        .routes(operation(routes!(quarantine_item_headers), P::QuarantineRead))
        .routes(operation(routes!(preview_release), P::QuarantineRead))
        .routes(operation(routes!(release_quarantine), P::QuarantineRelease))
        .routes(operation(routes!(request_quarantine_release), P::QuarantineRead))
        .routes(operation(routes!(deny_quarantine_release), P::QuarantineRelease))
}

/// Filters of the quarantine; all given ones must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QuarantineQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// The release status.
    status: Option<ReleaseStatus>,
    /// Why it is held.
    reason: Option<QuarantineReason>,
    /// `arrival` or `purge`.
    held_by: Option<String>,
    /// Copies of this campaign.
    #[param(value_type = Option<String>)]
    campaign_id: Option<Id>,
    /// Copies that this change pulled back.
    #[param(value_type = Option<String>)]
    cause_id: Option<Id>,
    /// The recipient's address.
    recipient: Option<String>,
    /// The sender's address.
    sender: Option<String>,
}

/// A held copy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuarantineItem {
    pub id: Id,
    pub copy_id: Id,
    pub message_id: Id,
    pub campaign_id: Option<Id>,
    pub recipient: String,
    pub sender: String,
    pub subject: String,
    pub size_bytes: i64,
    pub held_by: HeldBy,
    pub reason: QuarantineReason,
    /// The policy that held it.
    pub policy_name: String,
    /// Why, for people: rule, feed entry, URL.
    pub explanation: String,
    pub status: ReleaseStatus,
    /// The change that pulled it back.
    pub cause_id: Option<Id>,
    pub held_at: At,
    pub expires_at: At,
    pub requested_by: String,
    pub decided_by: String,
    pub decided_at: Option<At>,
    /// Only an analyst may release it.
    pub needs_analyst: bool,
    /// Whether the recipient may release it.
    pub recipient_may_release: bool,
    /// Whether the recipient may ask for its release.
    pub recipient_may_request: bool,
}

/// How a copy came into quarantine.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// On arrival.
    Arrival,
    /// Pulled back after arrival.
    Purge,
}

/// How many items there are by each value, under the other filters.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantineFacets {
    total_count: i64,
    status: Vec<ValueCount>,
    reason: Vec<ValueCount>,
    held_by: Vec<ValueCount>,
    campaign: Vec<ValueCount>,
}

/// A held copy with why and what happened.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantineDetail {
    item: QuarantineItem,
    verdict: Option<Verdict>,
    /// The findings that decided.
    signals: Vec<Signal>,
    /// The folder it was pulled from and would go back to.
    returns_to: String,
    timeline: Vec<Evidence>,
}

/// The message, made safe to look at: no scripts, no pictures from outside, no clickable links.
#[derive(Debug, Serialize, ToSchema)]
pub struct SafePreview {
    pub subject: String,
    pub from: String,
    pub to: String,
    pub date: Option<String>,
    /// Show it in a sandboxed frame.
    pub html: String,
    pub text: String,
    /// Where its links lead.
    pub links: Vec<String>,
    /// Names of attachments.
    pub attachments: Vec<String>,
}

/// The header section as received.
#[derive(Debug, Serialize, ToSchema)]
struct HeaderSection {
    raw: String,
}

/// Which held copies: name items, or a campaign, or a cause.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    /// These items, at most 1,000.
    #[serde(default)]
    item_ids: Vec<Id>,
    /// Everything held of this campaign.
    #[serde(default)]
    campaign_id: Option<Id>,
    /// For the record and for whoever asked.
    #[serde(default)]
    reason: String,
}

/// What a release would do.
#[derive(Debug, Serialize, ToSchema)]
struct ReleasePreview {
    /// Copies that would be freed.
    count: i64,
    /// Of them, held on arrival: they arrive now.
    arrival_count: i64,
    /// Of them, pulled back: they return to the folders they came from.
    purge_count: i64,
    /// Decided already; nothing would change for them.
    unchanged_count: i64,
    /// Need an analyst.
    dangerous_count: i64,
    /// What would happen, in one sentence.
    sentence: String,
}

/// Held copies, newest first.
#[utoipa::path(get, path = "/quarantine", tag = "quarantine", params(QuarantineQuery), responses((status = 200, body = Page<QuarantineItem>)))]
async fn list_quarantine(_caller: Caller, Query(_q): Query<QuarantineQuery>) -> Answer<Page<QuarantineItem>> {
    Err(Problem::not_wired())
}

/// Numbers beside the filters.
#[utoipa::path(get, path = "/quarantine/facets", tag = "quarantine", params(QuarantineQuery), responses((status = 200, body = QuarantineFacets)))]
async fn quarantine_facets(_caller: Caller, Query(_q): Query<QuarantineQuery>) -> Answer<QuarantineFacets> {
    Err(Problem::not_wired())
}

/// One held copy.
#[utoipa::path(get, path = "/quarantine/items/{id}", tag = "quarantine", responses((status = 200, body = QuarantineDetail)))]
async fn get_quarantine_item(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<QuarantineDetail> {
    Err(Problem::not_wired())
}

/// The message, safe to look at. Reading it is recorded.
#[utoipa::path(get, path = "/quarantine/items/{id}/preview", tag = "quarantine", responses((status = 200, body = SafePreview)))]
async fn preview_quarantine_item(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<SafePreview> {
    Err(Problem::not_wired())
}

/// Its header section.
#[utoipa::path(get, path = "/quarantine/items/{id}/headers", tag = "quarantine", responses((status = 200, body = HeaderSection)))]
async fn quarantine_item_headers(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<HeaderSection> {
    Err(Problem::not_wired())
}

/// What a release would do, before doing it.
#[utoipa::path(post, path = "/quarantine/release/preview", tag = "quarantine", responses((status = 200, body = ReleasePreview)))]
async fn preview_release(_caller: Caller, Json(_b): Json<Selection>) -> Answer<ReleasePreview> {
    Err(Problem::not_wired())
}

/// Releases held copies. Repeating it changes nothing and says so.
#[utoipa::path(post, path = "/quarantine/release", tag = "quarantine", responses((status = 200, body = ActionOutcome)))]
async fn release_quarantine(_caller: Caller, Json(_b): Json<Selection>) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}

/// Asks for the release of held copies.
#[utoipa::path(post, path = "/quarantine/request", tag = "quarantine", responses((status = 200, body = ActionOutcome)))]
async fn request_quarantine_release(_caller: Caller, Json(_b): Json<Selection>) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}

/// Denies requested releases.
#[utoipa::path(post, path = "/quarantine/deny", tag = "quarantine", responses((status = 200, body = ActionOutcome)))]
async fn deny_quarantine_release(_caller: Caller, Json(_b): Json<Selection>) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}
