//! Changes of the protection side: propose, backtest, activate, stop, undo.

use axum::extract::State;
use axum::http::StatusCode;
use changes::{Activation as Activated, Actor, Allowed, BacktestOptions, Stop, Undo};
use model::{ChangeId, CopyId, ListEntryId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::Problem;
use crate::resources::jobs::Job;
use crate::wire::{At, Id, Page, Place, VerdictClass, after_id, id, limit_of};

/// The longest life of an allow entry, in milliseconds.
const ALLOW_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;
/// Jobs of a change that its page shows.
const JOBS_SHOWN: usize = 20;

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
    /// Only changes in this state.
    state: Option<ChangeState>,
}

/// Which copies of a backtest.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PredictedQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only those that activating pulls back.
    purges_only: Option<bool>,
}

/// What is proposed, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewChange {
    proposal: Proposal,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// What is proposed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Proposal {
    /// Add lines to a feed, or take entries out.
    Feed {
        /// The feed's name; it comes into being when missing.
        feed: String,
        feed_kind: FeedKind,
        /// What entries speak for that name no class themselves.
        class: VerdictClass,
        /// A feed file: one entry a line, or CSV.
        #[serde(default)]
        add: String,
        /// Values to take out.
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Add entries to the allow/block list, or take some out.
    List {
        #[serde(default)]
        add: Vec<NewListEntry>,
        /// Ids of entries to take out.
        #[serde(default)]
        remove: Vec<Id>,
    },
    /// Give a rule another weight.
    Weight {
        /// The rule's id.
        rule: String,
        /// Points, 0 (off) to 100.
        weight: f32,
    },
}

/// What a change changes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Diff {
    /// Entries of a feed.
    Feed { feed: String, feed_kind: FeedKind, add: Vec<FeedEntry>, remove: Vec<FeedEntry> },
    /// Entries of the allow/block list.
    List { add: Vec<ListEntry>, remove: Vec<ListEntry> },
    /// The weight of a rule, now and before.
    Weight { rule: String, weight: f32, before: f32 },
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
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FeedEntry {
    value: String,
    class: VerdictClass,
    note: String,
    /// The change that added it.
    change_id: Option<Id>,
}

/// An entry of the allow/block list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ListEntry {
    pub id: Id,
    action: ListAction,
    kind: ListKind,
    value: String,
    expires_at: Option<At>,
    note: String,
    /// The change that added it.
    change_id: Option<Id>,
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
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
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
    jobs: Vec<Job>,
}

/// What a change would do to the organisation's own recent mail.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct BacktestReport {
    /// Mail received from then on was in question.
    since_at: At,
    /// Whether only the newest messages were judged, since there are more than the bound.
    sampled: bool,
    /// Messages left out because their stored facts could not be read.
    unreadable_count: i64,
    /// Copies of the judged messages.
    copies_count: i64,
    /// Copies that would be treated otherwise.
    moved_count: i64,
    /// Of them, those that have less of it afterwards.
    taken_count: i64,
    /// Landed copies that activating pulls back at once.
    purge_count: i64,
    /// Copies taken away that their owner has read.
    read_count: i64,
    /// Copies of own campaigns taken away.
    own_count: i64,
    /// Copies in quarantine that would get through.
    redelivery_count: i64,
    /// Own campaigns that are hit, most copies first.
    by_campaign: Vec<CampaignHit>,
    /// By class before and after.
    by_class: Vec<ClassMove>,
    /// By where copies are and what would be done with them.
    by_move: Vec<PlaceMove>,
    /// Some of them, one per message.
    examples: Vec<Example>,
}

/// How a campaign is hit.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct CampaignHit {
    campaign_id: Id,
    name: String,
    moved_count: i64,
    taken_count: i64,
    purge_count: i64,
    read_count: i64,
}

/// Copies whose class would change.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct ClassMove {
    from: VerdictClass,
    to: VerdictClass,
    count: i64,
}

/// Copies from one place to one disposition.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct PlaceMove {
    from_place: Place,
    /// `quarantine`, `junk`, `deliver`.
    to_disposition: String,
    count: i64,
    /// How many of them activating pulls back.
    purge_count: i64,
}

/// One moved copy, to look at.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Example {
    copy_id: Id,
    message_id: Id,
    subject: String,
    /// The campaign's name, or empty.
    campaign: String,
    from_place: Place,
    to_disposition: String,
    /// Why, for people.
    sentence: String,
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
    to_disposition: String,
    /// Where activating pulls it (`quarantine`, `junk`), or empty.
    purge: String,
    class_before: String,
    class_after: String,
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
    /// The change; `null` when the entry asked for was in force already.
    change: Option<Change>,
    /// What happened; says so when nothing had to change.
    sentence: String,
    /// Whether anything changed.
    changed: bool,
    /// Held copies that would get through now; nobody has released them.
    redelivery_count: i64,
    /// The job that moves copies, when one was started.
    job_id: Option<Id>,
}

/// Words of the verdict crate on the wire and back.
macro_rules! same_words {
    ($($ours:ident = $theirs:path { $($variant:ident),+ }),+ $(,)?) => {$(
        impl From<$theirs> for $ours {
            fn from(word: $theirs) -> Self { match word { $(<$theirs>::$variant => $ours::$variant),+ } }
        }
        impl From<$ours> for $theirs {
            fn from(word: $ours) -> Self { match word { $($ours::$variant => <$theirs>::$variant),+ } }
        }
    )+};
}
same_words! {
    FeedKind = verdict::FeedKind { UrlHost, Url, Domain, FileHash },
    ListAction = verdict::ListAction { Allow, Block },
    ListKind = verdict::ListKind { Sender, Domain, Url, File },
    ChangeState = changes::ChangeState { Proposed, Backtesting, Backtested, Stopped, Active, Undone },
}

impl From<&verdict::FeedEntry> for FeedEntry {
    fn from(e: &verdict::FeedEntry) -> Self {
        FeedEntry {
            value: e.value.clone(),
            class: e.class.into(),
            note: e.note.clone(),
            change_id: e.change_id.map(id),
        }
    }
}

impl From<&verdict::ListEntry> for ListEntry {
    fn from(e: &verdict::ListEntry) -> Self {
        ListEntry {
            id: id(e.id),
            action: e.action.into(),
            kind: e.kind.into(),
            value: e.value.clone(),
            expires_at: e.expires_at.map(At),
            note: e.note.clone(),
            change_id: e.change_id.map(id),
        }
    }
}

impl From<&changes::Diff> for Diff {
    fn from(diff: &changes::Diff) -> Self {
        match diff {
            changes::Diff::Feed { feed, kind, add, remove } => Diff::Feed {
                feed: feed.clone(),
                feed_kind: (*kind).into(),
                add: add.iter().map(FeedEntry::from).collect(),
                remove: remove.iter().map(FeedEntry::from).collect(),
            },
            changes::Diff::List { add, remove } => Diff::List {
                add: add.iter().map(ListEntry::from).collect(),
                remove: remove.iter().map(ListEntry::from).collect(),
            },
            changes::Diff::Weight { rule, weight, before, .. } => {
                Diff::Weight { rule: rule.clone(), weight: *weight, before: *before }
            }
        }
    }
}

impl From<NewListEntry> for changes::NewListEntry {
    fn from(e: NewListEntry) -> Self {
        changes::NewListEntry {
            action: e.action.into(),
            kind: e.kind.into(),
            value: e.value,
            expires_at: e.expires_at.map(|at| at.0),
            note: e.note,
        }
    }
}

impl From<Proposal> for changes::Proposal {
    fn from(p: Proposal) -> Self {
        match p {
            Proposal::Feed { feed, feed_kind, class, add, remove } => {
                changes::Proposal::Feed { feed, kind: feed_kind.into(), class: class.0, add, remove }
            }
            Proposal::List { add, remove } => changes::Proposal::List {
                add: add.into_iter().map(changes::NewListEntry::from).collect(),
                remove: remove.into_iter().map(|raw| ListEntryId(raw.0)).collect(),
            },
            Proposal::Weight { rule, weight } => changes::Proposal::Weight { rule, weight },
        }
    }
}

impl From<&changes::Backtest> for BacktestSummary {
    fn from(b: &changes::Backtest) -> Self {
        BacktestSummary {
            id: id(b.id),
            state: b.state.as_str().to_owned(),
            started_at: b.started_at.into(),
            finished_at: b.finished_at.map(At),
            judged_count: b.judged_count,
            total_count: b.total_count,
            moved_count: b.moved_count,
            warning: b.warning.clone(),
        }
    }
}

impl From<changes::BacktestReport> for BacktestReport {
    fn from(r: changes::BacktestReport) -> Self {
        let campaign = |h: changes::CampaignHit| CampaignHit {
            campaign_id: id(h.campaign_id),
            name: h.name,
            moved_count: h.moved_count,
            taken_count: h.taken_count,
            purge_count: h.purge_count,
            read_count: h.read_count,
        };
        let class =
            |m: changes::ClassMove| ClassMove { from: m.class_before.into(), to: m.class_after.into(), count: m.count };
        let way = |m: changes::PlaceMove| PlaceMove {
            from_place: m.from_place.into(),
            to_disposition: m.to_disposition,
            count: m.count,
            purge_count: m.purge_count,
        };
        let example = |e: changes::Example| Example {
            copy_id: id(e.copy_id),
            message_id: id(e.message_id),
            subject: e.subject,
            campaign: e.campaign,
            from_place: e.from_place.into(),
            to_disposition: e.to_disposition,
            sentence: e.sentence,
        };
        BacktestReport {
            since_at: r.since_at.into(),
            sampled: r.sampled,
            unreadable_count: r.unreadable_count,
            copies_count: r.copy_count,
            moved_count: r.moved_count,
            taken_count: r.taken_count,
            purge_count: r.purge_count,
            read_count: r.read_count,
            own_count: r.own_count,
            redelivery_count: r.redelivery_count,
            by_campaign: r.by_campaign.into_iter().map(campaign).collect(),
            by_class: r.by_class.into_iter().map(class).collect(),
            by_move: r.by_move.into_iter().map(way).collect(),
            examples: r.examples.into_iter().map(example).collect(),
        }
    }
}

fn actor(caller: &Caller) -> Actor {
    Actor { account_id: Some(caller.account_id), login: caller.login.clone() }
}

/// The change with its last backtest in numbers.
async fn on_the_wire(app: &AppState, c: changes::Change) -> Result<Change, Problem> {
    let backtest = match c.backtest_id {
        Some(backtest) => Some(app.changes.backtest_status(backtest).await?),
        None => None,
    };
    Ok(Change {
        id: id(c.id),
        kind: c.diff.kind().to_owned(),
        title: c.title,
        state: c.state.into(),
        reason: c.reason,
        proposed_by: c.proposed_by,
        created_at: c.created_at.into(),
        activated_by: c.activated_by,
        activated_at: c.activated_at.map(At),
        override_reason: c.override_reason,
        undone_by: c.undone_by,
        undone_at: c.undone_at.map(At),
        undo_reason: c.undo_reason,
        rule_set_id: c.rule_set_id.map(id),
        backtest: backtest.as_ref().map(BacktestSummary::from),
    })
}

/// Changes, newest first.
#[utoipa::path(get, path = "/changes", tag = "changes", params(ChangesQuery),
    responses((status = 200, body = Page<Change>)))]
async fn list_changes(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<ChangesQuery>,
) -> Answer<Page<Change>> {
    let limit = limit_of(q.limit)?;
    let filter = changes::ChangeFilter {
        state: q.state.map(changes::ChangeState::from),
        before: after_id(q.after.as_deref())?.map(ChangeId),
        limit: limit.into(),
    };
    let mut items = Vec::new();
    for change in app.changes.list(filter).await? {
        items.push(on_the_wire(&app, change).await?);
    }
    Ok(Json(Page::by_id(items, limit, |c| c.id)))
}

/// Proposes a change. Nothing is in force yet.
#[utoipa::path(post, path = "/changes", tag = "changes", request_body = NewChange,
    responses((status = 201, body = Change)))]
async fn propose_change(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewChange>,
) -> Result<(StatusCode, Json<Change>), Problem> {
    let change = app.changes.propose(body.proposal.into(), &body.reason, &actor(&caller)).await?;
    Ok((StatusCode::CREATED, Json(on_the_wire(&app, change).await?)))
}

/// One change with its backtest's report.
#[utoipa::path(get, path = "/changes/{id}", tag = "changes", responses((status = 200, body = ChangeDetail)))]
async fn get_change(State(app): State<AppState>, _caller: Caller, PathId(change): PathId<ChangeId>) -> MaskedAnswer {
    let change = app.changes.get(change).await?;
    let report = match change.backtest_id {
        Some(backtest) => Some(app.changes.backtest_status(backtest).await?)
            .filter(|b| b.state == changes::BacktestState::Done)
            .map(|b| b.report.into()),
        None => None,
    };
    let jobs = app.quarantine.jobs_of(change.id.0, None, JOBS_SHOWN).await?;
    Masked::new(
        app.tracker.tokens(),
        &ChangeDetail {
            diff: Diff::from(&change.diff),
            report,
            jobs: jobs.into_iter().map(Job::from).collect(),
            change: on_the_wire(&app, change).await?,
        },
    )
}

/// Every copy that its last backtest says would be treated otherwise.
#[utoipa::path(get, path = "/changes/{id}/copies", tag = "changes", params(PredictedQuery),
    responses((status = 200, body = Page<PredictedCopy>)))]
async fn change_copies(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(change): PathId<ChangeId>,
    Query(q): Query<PredictedQuery>,
) -> MaskedAnswer {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(CopyId);
    let Some(backtest) = app.changes.get(change).await?.backtest_id else {
        return Masked::new(app.tracker.tokens(), &Page::<PredictedCopy> { items: Vec::new(), next: None });
    };
    let found = app.changes.backtest_copies(backtest, after, q.purges_only.unwrap_or(false), limit.into()).await?;
    let copy = |c: changes::BacktestCopy| PredictedCopy {
        copy_id: id(c.copy_id),
        message_id: id(c.message_id),
        campaign_id: c.campaign_id.map(id),
        recipient: c.recipient,
        subject: c.subject,
        from_place: c.from_place.into(),
        to_disposition: c.to_disposition,
        purge: c.purge,
        class_before: c.class_before,
        class_after: c.class_after,
        sentence: c.sentence,
    };
    Masked::new(app.tracker.tokens(), &Page::by_id(found.into_iter().map(copy).collect(), limit, |c| c.copy_id))
}

/// Judges the organisation's recent mail as if it were in force. Its progress is in `change.backtest`.
#[utoipa::path(post, path = "/changes/{id}/backtest", tag = "changes", responses((status = 200, body = ChangeOutcome)))]
async fn backtest_change(
    State(app): State<AppState>,
    caller: Caller,
    PathId(change): PathId<ChangeId>,
) -> Answer<ChangeOutcome> {
    app.changes.start_backtest(change, BacktestOptions::default(), &actor(&caller)).await?;
    let change = app.changes.get(change).await?;
    told(&app, Some(change), "The backtest runs.", true, None, 0).await
}

/// The answer to an action.
async fn told(
    app: &AppState,
    change: Option<changes::Change>,
    sentence: &str,
    changed: bool,
    job: Option<model::JobId>,
    redelivery_count: i64,
) -> Answer<ChangeOutcome> {
    let change = match change {
        Some(change) => Some(on_the_wire(app, change).await?),
        None => None,
    };
    let job_id = job.map(id);
    Ok(Json(ChangeOutcome { change, sentence: sentence.to_owned(), changed, redelivery_count, job_id }))
}

/// Puts it in force and pulls back what it concerns.
#[utoipa::path(post, path = "/changes/{id}/activate", tag = "changes", request_body = Activation,
    responses((status = 200, body = ChangeOutcome)))]
async fn activate_change(
    State(app): State<AppState>,
    caller: Caller,
    PathId(change): PathId<ChangeId>,
    Json(body): Json<Activation>,
) -> Answer<ChangeOutcome> {
    let reason = body.override_reason.unwrap_or_default();
    match app.changes.activate(change, &actor(&caller), &reason).await? {
        Activated::Done { change, purge_job_id, redelivery_count } => {
            let sentence = match purge_job_id {
                Some(_) => "It is in force now; a job pulls back what it concerns.",
                None => "It is in force now; nothing had to be pulled back.",
            };
            told(&app, Some(*change), sentence, true, purge_job_id, redelivery_count).await
        }
        Activated::Already(change) => {
            told(&app, Some(*change), "It was in force already; nothing was changed.", false, None, 0).await
        }
    }
}

/// Stops it before it is in force.
#[utoipa::path(post, path = "/changes/{id}/stop", tag = "changes", request_body = Reason,
    responses((status = 200, body = ChangeOutcome)))]
async fn stop_change(
    State(app): State<AppState>,
    caller: Caller,
    PathId(change): PathId<ChangeId>,
    Json(body): Json<Reason>,
) -> Answer<ChangeOutcome> {
    match app.changes.stop(change, &actor(&caller), &body.reason).await? {
        Stop::Done(change) => {
            told(&app, Some(change), "It is stopped and will not be in force. Nothing moved.", true, None, 0).await
        }
        Stop::Already(change) => {
            told(&app, Some(change), "It was stopped already; nothing was changed.", false, None, 0).await
        }
    }
}

/// Takes it back, with everything it moved. Repeating it changes nothing and says so.
#[utoipa::path(post, path = "/changes/{id}/undo", tag = "changes", request_body = Reason,
    responses((status = 200, body = ChangeOutcome)))]
async fn undo_change(
    State(app): State<AppState>,
    caller: Caller,
    PathId(change): PathId<ChangeId>,
    Json(body): Json<Reason>,
) -> Answer<ChangeOutcome> {
    match app.changes.undo(change, &actor(&caller), &body.reason).await? {
        Undo::Done { change, restore_job_id } => {
            let sentence = match restore_job_id {
                Some(_) => "It is out of force; a job puts back what it had pulled back.",
                None => "It is out of force; it had pulled nothing back.",
            };
            told(&app, Some(*change), sentence, true, restore_job_id, 0).await
        }
        Undo::Already(change) => {
            told(&app, Some(*change), "It was undone already; nothing was changed.", false, None, 0).await
        }
    }
}

/// Adds an allow entry that ends by itself. Giving the same again changes nothing and says so.
#[utoipa::path(post, path = "/allow", tag = "changes", request_body = AllowRequest,
    responses((status = 200, body = ChangeOutcome)))]
async fn allow(State(app): State<AppState>, caller: Caller, Json(body): Json<AllowRequest>) -> Answer<ChangeOutcome> {
    if body.expires_at.0 > app.store.now().plus_ms(ALLOW_MS_MAX) {
        return Err(Problem::invalid(
            "expires_at",
            "an allow entry ends within a year: the narrowest time is the safest",
        ));
    }
    let entry = changes::NewListEntry {
        action: verdict::ListAction::Allow,
        kind: body.kind.into(),
        value: body.value,
        expires_at: Some(body.expires_at.0),
        note: body.reason.clone(),
    };
    match app.changes.allow(entry, &actor(&caller), &body.reason).await? {
        Allowed::Done { change, entry, redelivery_count } => {
            let sentence = format!("The {} is in force now.", entry.words());
            told(&app, Some(*change), &sentence, true, None, redelivery_count).await
        }
        Allowed::Already { entry } => {
            let sentence = format!("The {} was in force already; nothing was changed.", entry.words());
            told(&app, None, &sentence, false, None, 0).await
        }
    }
}
