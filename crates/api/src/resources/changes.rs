//! Changes of the protection side: propose, backtest, activate, stop, undo.

use axum::http::StatusCode;
use model::{ChangeId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, Place, VerdictClass};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_changes), P::ProtectionRead))
        .routes(operation(routes!(propose_change), P::ChangePropose))
        .routes(operation(routes!(get_change), P::ProtectionRead))
        .routes(operation(routes!(change_copies), P::ProtectionRead))
        .routes(operation(routes!(backtest_change), P::ChangePropose))
        .routes(operation(routes!(activate_change), P::ChangeActivate))
        .routes(operation(routes!(stop_change), P::ChangePropose))
        .routes(operation(routes!(undo_change), P::ChangeActivate))
        .routes(operation(routes!(allow), P::ChangeActivate))
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// What is proposed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Proposal {
    /// One line for the list of changes.
    title: String,
    /// Why.
    #[serde(default)]
    reason: String,
    diff: Diff,
}

/// What would change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Diff {
    /// Entries of a feed.
    Feed {
        /// The feed's name; created when missing.
        feed: String,
        feed_kind: FeedKind,
        #[serde(default)]
        add: Vec<FeedEntry>,
        /// Values to take out.
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Entries of the allow/block list.
    List {
        #[serde(default)]
        add: Vec<NewListEntry>,
        /// Ids of entries to take out.
        #[serde(default)]
        remove: Vec<Id>,
    },
    /// What a rule weighs.
    Weight {
        /// The rule's id.
        rule: String,
        /// Points, 0 (off) to 100; `null` puts its own weight back.
        weight: Option<f32>,
    },
}

/// What a feed's entries are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedKind {
    UrlHost,
    Url,
    Domain,
    FileHash,
}

/// One entry of a feed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedEntry {
    pub value: String,
    pub class: VerdictClass,
    #[serde(default)]
    pub note: String,
}

/// Allow or block.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListAction {
    Allow,
    Block,
}

/// What the value of a list entry is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    Sender,
    Domain,
    Url,
    File,
}

/// A new entry of the allow/block list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewListEntry {
    pub action: ListAction,
    pub kind: ListKind,
    pub value: String,
    /// From then on it does not count; `null`: it stays.
    #[serde(default)]
    pub expires_at: Option<At>,
    #[serde(default)]
    pub note: String,
}

/// The life of a change.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    Proposed,
    Backtesting,
    Backtested,
    /// Will not be activated.
    Stopped,
    Active,
    Undone,
}

/// A change.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    pub id: Id,
    /// `feed`, `list` or `weight`.
    pub kind: String,
    pub title: String,
    pub state: ChangeState,
    pub reason: String,
    pub proposed_by: String,
    pub created_at: At,
    pub activated_by: String,
    pub activated_at: Option<At>,
    /// Why it was activated although the backtest warned.
    pub override_reason: String,
    pub undone_by: String,
    pub undone_at: Option<At>,
    pub undo_reason: String,
    /// The rule set version it made.
    pub rule_set_id: Option<Id>,
    /// The last backtest in numbers.
    pub backtest: Option<BacktestSummary>,
}

/// A backtest in numbers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BacktestSummary {
    pub id: Id,
    /// `running`, `done` or `failed`.
    pub state: String,
    pub started_at: At,
    pub finished_at: Option<At>,
    /// Messages judged so far.
    pub judged_count: i64,
    pub total_count: i64,
    /// Copies that would move.
    pub moved_count: i64,
    /// The loud line when well-read mail would be hit, or empty.
    pub warning: String,
}

/// A change with what it would do, or did.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeDetail {
    change: Change,
    diff: Diff,
    report: Option<BacktestReport>,
    /// The jobs that it started: pull back, put back.
    jobs: Vec<crate::resources::jobs::Job>,
    incident_id: Option<Id>,
}

/// What a change would do to the organisation's own recent mail.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct BacktestReport {
    summary: BacktestSummary,
    /// In one sentence.
    sentence: String,
    /// Copies that would move, by campaign.
    by_campaign: Vec<CampaignHit>,
    /// Copies that would move, by class before and after.
    by_class: Vec<ClassMove>,
    /// Some of them.
    examples: Vec<PredictedCopy>,
}

/// Copies of one campaign that would move.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct CampaignHit {
    /// `null`: mail that is no campaign of ours.
    campaign_id: Option<Id>,
    name: String,
    copies_count: i64,
}

/// Copies whose class would change.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct ClassMove {
    from: VerdictClass,
    to: VerdictClass,
    copies_count: i64,
}

/// One copy that would move.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct PredictedCopy {
    copy_id: Id,
    message_id: Id,
    campaign_id: Option<Id>,
    recipient: String,
    subject: String,
    from_place: Place,
    /// `quarantine`, `junk`, `deliver`.
    to_disposition: String,
    class_before: VerdictClass,
    class_after: VerdictClass,
    /// Why, for people.
    sentence: String,
}

/// Activation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Activation {
    /// Required when the backtest warned: why it is activated all the same.
    #[serde(default)]
    override_reason: Option<String>,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: String,
}

/// An allow entry, proposed, backtested and activated in one step.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AllowRequest {
    kind: ListKind,
    value: String,
    /// Allow entries end: at most a year from now.
    expires_at: At,
    #[serde(default)]
    reason: String,
}

/// What an action on a change did.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeOutcome {
    change: Change,
    /// What happened; says so when nothing had to change.
    sentence: String,
    /// Whether anything changed.
    changed: bool,
    /// The job that moves copies, when one was started.
    job_id: Option<Id>,
}

/// Changes, newest first.
#[utoipa::path(get, path = "/changes", tag = "changes", params(ChangesQuery), responses((status = 200, body = Page<Change>)))]
async fn list_changes(_caller: Caller, Query(_q): Query<ChangesQuery>) -> Answer<Page<Change>> {
    Err(Problem::not_wired())
}

/// Proposes a change. Nothing is in force yet.
#[utoipa::path(post, path = "/changes", tag = "changes", responses((status = 201, body = Change)))]
async fn propose_change(_caller: Caller, Json(_b): Json<Proposal>) -> Result<(StatusCode, Json<Change>), Problem> {
    Err(Problem::not_wired())
}

/// One change with its backtest's report.
#[utoipa::path(get, path = "/changes/{id}", tag = "changes", responses((status = 200, body = ChangeDetail)))]
async fn get_change(_caller: Caller, PathId(_id): PathId<ChangeId>) -> Answer<ChangeDetail> {
    Err(Problem::not_wired())
}

/// Every copy that its last backtest says would move.
#[utoipa::path(get, path = "/changes/{id}/copies", tag = "changes", params(ChangesQuery), responses((status = 200, body = Page<PredictedCopy>)))]
async fn change_copies(
    _caller: Caller,
    PathId(_id): PathId<ChangeId>,
    Query(_q): Query<ChangesQuery>,
) -> Answer<Page<PredictedCopy>> {
    Err(Problem::not_wired())
}

/// Judges the organisation's recent mail as if it were in force.
#[utoipa::path(post, path = "/changes/{id}/backtest", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn backtest_change(_caller: Caller, PathId(_id): PathId<ChangeId>) -> Answer<ChangeOutcome> {
    Err(Problem::not_wired())
}

/// Puts it in force and pulls back what it concerns.
#[utoipa::path(post, path = "/changes/{id}/activate", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn activate_change(
    _caller: Caller,
    PathId(_id): PathId<ChangeId>,
    Json(_b): Json<Activation>,
) -> Answer<ChangeOutcome> {
    Err(Problem::not_wired())
}

/// Stops it before it is in force.
#[utoipa::path(post, path = "/changes/{id}/stop", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn stop_change(_caller: Caller, PathId(_id): PathId<ChangeId>, Json(_b): Json<Reason>) -> Answer<ChangeOutcome> {
    Err(Problem::not_wired())
}

/// Takes it back, with everything it moved. Repeating it changes nothing and says so.
#[utoipa::path(post, path = "/changes/{id}/undo", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn undo_change(_caller: Caller, PathId(_id): PathId<ChangeId>, Json(_b): Json<Reason>) -> Answer<ChangeOutcome> {
    Err(Problem::not_wired())
}

/// Adds an allow entry that ends by itself. Giving the same again changes nothing and says so.
#[utoipa::path(post, path = "/allow", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn allow(_caller: Caller, Json(_b): Json<AllowRequest>) -> Answer<ChangeOutcome> {
    Err(Problem::not_wired())
}
