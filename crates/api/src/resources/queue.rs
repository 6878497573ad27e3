//! The outbound queue: numbers, by MX group, the hand-overs that wait, and what can be done with a selection of them.

use axum::extract::State;
use model::{CampaignId, DeliveryId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, after_id, id, limit_of};

/// The longest reason.
const REASON_CHARS_MAX: usize = 500;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(queue_summary), P::QueueRead))
        .routes(operation(routes!(list_groups), P::QueueRead))
        .routes(operation(routes!(list_queue), P::QueueRead))
        .routes(operation(routes!(list_limits), P::QueueRead))
        .routes(operation(routes!(preview_act), P::QueueRead))
        .routes(operation(routes!(act_on_queue), P::QueueWrite))
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QueueQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only in this state.
    state: Option<DeliveryState>,
    /// Only to this domain.
    domain: Option<String>,
    /// Only to hosts of this MX group.
    mx_group: Option<String>,
    /// Only of this sender: MAIL FROM or From.
    sender: Option<String>,
    /// Only of this campaign.
    #[param(value_type = Option<String>)]
    campaign_id: Option<Id>,
}

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its time.
    Due,
    /// Is being handed over.
    Leased,
    /// Paused.
    Held,
    Done,
    Failed,
}

/// The queue in numbers; what is done or failed has left it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueSummary {
    /// Waiting for their time.
    due_count: i64,
    /// Being handed over now.
    leased_count: i64,
    /// Paused.
    held_count: i64,
    /// When the oldest waiting one was queued.
    oldest_at: Option<At>,
    /// By domain and state, at most a thousand.
    lines: Vec<QueueLine>,
}

/// One domain and state.
#[derive(Debug, Serialize, ToSchema)]
struct QueueLine {
    domain: String,
    state: DeliveryState,
    count: i64,
    oldest_at: At,
    next_try_at: At,
    /// What the host said last, or empty.
    last_reply: String,
}

/// One delivery.
#[derive(Debug, Serialize, ToSchema)]
struct Delivery {
    id: Id,
    copy_id: Id,
    campaign_id: Option<Id>,
    /// The From address.
    sender: String,
    subject: String,
    recipient: String,
    domain: String,
    /// The organisation of the hosts that the last try went to; the domain before the first.
    mx_group: String,
    state: DeliveryState,
    attempt_count: i64,
    next_try_at: At,
    give_up_at: At,
    /// The last reply of the other side.
    last_reply: String,
    created_at: At,
}

/// The queue at one MX group.
#[derive(Debug, Serialize, ToSchema)]
struct QueueGroup {
    mx_group: String,
    count: i64,
    due_count: i64,
    leased_count: i64,
    held_count: i64,
    /// Domains that lead there.
    domain_count: i64,
    oldest_at: At,
    /// The earliest next try; none when nothing waits for its time.
    next_try_at: Option<At>,
    /// What a host of it said last, or empty.
    last_reply: String,
}

/// What a level of the limits does to mail now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LimitState {
    /// Nothing goes there before a moment.
    Paused,
    /// Fewer connections than configured: its hosts said "too much".
    Slowed,
    /// Mail waits for its turn under a configured rate.
    Rated,
    /// All configured connections are in use and more are wanted.
    Full,
    /// It limits nothing.
    Free,
}

/// The kinds of levels, from the outermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LimitLevel {
    /// All mail of a process.
    Global,
    /// A local address.
    Source,
    /// Mail hosts that count as one.
    Group,
    /// A recipient domain.
    Domain,
    /// A sender domain.
    Sender,
}

/// A limit that does something to outgoing mail now.
#[derive(Debug, Serialize, ToSchema)]
struct QueueLimit {
    /// The process whose limit it is: each has its own.
    process: String,
    level: LimitLevel,
    /// Its name at its level; empty for the whole.
    name: String,
    /// The MX group of the queue that it is about; empty at other levels.
    mx_group: String,
    state: LimitState,
    connections_open: u64,
    /// Connections allowed now; none: any number.
    connections_max: Option<u64>,
    messages_per_second_max: Option<u32>,
    messages_per_minute_max: Option<u32>,
    /// When it gets better by itself.
    eases_at: Option<At>,
    /// Why fewer connections are allowed, or none; empty for a limit that the configuration sets.
    reason: String,
    /// What a host of the group said last, or empty.
    last_reply: String,
    last_reply_at: Option<At>,
}

/// Which hand-overs; what is left out lets everything through.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = QueueSelection)]
struct QueueSelection {
    /// One hand-over.
    id: Option<Id>,
    domain: Option<String>,
    mx_group: Option<String>,
    /// MAIL FROM or From.
    sender: Option<String>,
    campaign_id: Option<Id>,
    state: Option<DeliveryState>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum QueueAct {
    /// Pause.
    Hold,
    /// Try now, also what is paused.
    Retry,
    /// Take out: the copies are not received, and say so.
    Delete,
    /// Try now whatever waits for its time.
    Flush,
}

/// What to do with which.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ActOnQueue {
    act: QueueAct,
    selection: QueueSelection,
    /// Why, for the audit log; a deletion needs one.
    #[serde(default)]
    reason: String,
}

/// What a selection holds now.
#[derive(Debug, Serialize, ToSchema)]
struct QueueSelectionCounts {
    count: i64,
    due_count: i64,
    /// Being handed over right now: these cannot be deleted.
    leased_count: i64,
    held_count: i64,
    domain_count: i64,
    campaign_count: i64,
    oldest_at: Option<At>,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
struct QueueActed {
    changed_count: i64,
    /// Left as they are: being handed over, paused with their campaign, or more than one deletion takes.
    left_count: i64,
    /// MX groups that were being left alone and are tried now all the same.
    lifted: Vec<String>,
}

impl LimitState {
    fn of(state: outbound::LimitState) -> Self {
        match state {
            outbound::LimitState::Paused => LimitState::Paused,
            outbound::LimitState::Slowed => LimitState::Slowed,
            outbound::LimitState::Rated => LimitState::Rated,
            outbound::LimitState::Full => LimitState::Full,
            outbound::LimitState::Free => LimitState::Free,
        }
    }
}

impl LimitLevel {
    fn of(level: outbound::LimitLevel) -> Self {
        match level {
            outbound::LimitLevel::Global => LimitLevel::Global,
            outbound::LimitLevel::Source => LimitLevel::Source,
            outbound::LimitLevel::Group => LimitLevel::Group,
            outbound::LimitLevel::Domain => LimitLevel::Domain,
            outbound::LimitLevel::Sender => LimitLevel::Sender,
        }
    }
}

impl DeliveryState {
    fn of(word: &str) -> Result<Self, Problem> {
        let state = outbound::DeliveryState::parse(word)
            .ok_or_else(|| Problem::from_severity(false, format!("unknown delivery state {word:?}")))?;
        Ok(match state {
            outbound::DeliveryState::Due => DeliveryState::Due,
            outbound::DeliveryState::Leased => DeliveryState::Leased,
            outbound::DeliveryState::Held => DeliveryState::Held,
            outbound::DeliveryState::Done => DeliveryState::Done,
            outbound::DeliveryState::Failed => DeliveryState::Failed,
        })
    }

    fn into_outbound(self) -> outbound::DeliveryState {
        match self {
            DeliveryState::Due => outbound::DeliveryState::Due,
            DeliveryState::Leased => outbound::DeliveryState::Leased,
            DeliveryState::Held => outbound::DeliveryState::Held,
            DeliveryState::Done => outbound::DeliveryState::Done,
            DeliveryState::Failed => outbound::DeliveryState::Failed,
        }
    }
}

impl QueueSelection {
    fn into_outbound(self) -> outbound::Selection {
        let text = |part: Option<String>| part.map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
        outbound::Selection {
            id: self.id.map(|id| DeliveryId(id.0)),
            domain: text(self.domain),
            mx_group: text(self.mx_group),
            sender: text(self.sender),
            campaign_id: self.campaign_id.map(|id| CampaignId(id.0)),
            state: self.state.map(DeliveryState::into_outbound),
        }
    }
}

impl QueueAct {
    fn into_outbound(self) -> outbound::QueueAct {
        match self {
            QueueAct::Hold => outbound::QueueAct::Hold,
            QueueAct::Retry => outbound::QueueAct::Retry,
            QueueAct::Delete => outbound::QueueAct::Delete,
            QueueAct::Flush => outbound::QueueAct::Flush,
        }
    }
}

/// The outbound queue in numbers.
#[utoipa::path(get, path = "/queue", tag = "queue", responses((status = 200, body = QueueSummary)))]
async fn queue_summary(State(app): State<AppState>, caller: Caller) -> Answer<QueueSummary> {
    Ok(Json(summary(&app, caller.organisation_id).await?))
}

/// The queue in numbers.
pub async fn summary(app: &AppState, organisation: model::OrganisationId) -> Result<QueueSummary, Problem> {
    let mut lines = Vec::new();
    for line in outbound::queue_summary(&app.store, organisation).await? {
        lines.push(QueueLine {
            state: DeliveryState::of(&line.state)?,
            domain: line.domain,
            count: line.count,
            oldest_at: line.oldest_at.into(),
            next_try_at: line.next_try_at.into(),
            last_reply: line.last_reply,
        });
    }
    // Not the sum of the lines: there may be more domains than lines.
    let totals = outbound::queue_totals(&app.store, organisation).await?;
    let count = |state| totals.iter().filter(|total| total.state == state).map(|total| total.count).sum();
    Ok(QueueSummary {
        due_count: count(outbound::DeliveryState::Due),
        leased_count: count(outbound::DeliveryState::Leased),
        held_count: count(outbound::DeliveryState::Held),
        oldest_at: totals.iter().map(|total| total.oldest_at).min().map(At),
        lines,
    })
}

/// The queue by MX group, the largest first.
#[utoipa::path(get, path = "/queue/groups", tag = "queue", responses((status = 200, body = Vec<QueueGroup>)))]
async fn list_groups(State(app): State<AppState>, caller: Caller) -> Answer<Vec<QueueGroup>> {
    let groups = outbound::queue_groups(&app.store, caller.organisation_id).await?;
    let group = |g: outbound::QueueGroup| QueueGroup {
        mx_group: g.mx_group,
        count: g.count,
        due_count: g.due_count,
        leased_count: g.leased_count,
        held_count: g.held_count,
        domain_count: g.domain_count,
        oldest_at: g.oldest_at.into(),
        next_try_at: g.next_try_at.map(At),
        last_reply: g.last_reply,
    };
    Ok(Json(groups.into_iter().map(group).collect()))
}

/// What limits outgoing mail now and why: what is paused first, then what is slowed, and so on; at most a thousand.
#[utoipa::path(get, path = "/queue/limits", tag = "queue", responses((status = 200, body = Vec<QueueLimit>)))]
async fn list_limits(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<QueueLimit>> {
    let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let limit = |now: outbound::LimitNow| QueueLimit {
        process: now.process,
        level: LimitLevel::of(now.line.level),
        name: now.line.name,
        mx_group: now.line.mx_group,
        state: LimitState::of(now.line.state),
        connections_open: size(now.line.connections_open),
        connections_max: now.line.connections_max.map(size),
        messages_per_second_max: now.line.messages_per_second_max,
        messages_per_minute_max: now.line.messages_per_minute_max,
        eases_at: now.line.eases_at.map(At),
        reason: now.line.reason,
        last_reply: now.line.last_reply,
        last_reply_at: now.line.last_reply_at.map(At),
    };
    Ok(Json(outbound::limits_now(&app.store).await?.into_iter().map(limit).collect()))
}

/// Deliveries, oldest first.
#[utoipa::path(get, path = "/queue/items", tag = "queue", params(QueueQuery),
    responses((status = 200, body = Page<Delivery>)))]
async fn list_queue(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<QueueQuery>,
) -> Answer<Page<Delivery>> {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(DeliveryId);
    let selection = QueueSelection {
        id: None,
        domain: q.domain,
        mx_group: q.mx_group,
        sender: q.sender,
        campaign_id: q.campaign_id,
        state: q.state,
    };
    let selection = selection.into_outbound();
    let mut items = Vec::new();
    for entry in outbound::queue_entries(&app.store, caller.organisation_id, &selection, after, limit.into()).await? {
        let item = entry.item;
        items.push(Delivery {
            id: id(item.id),
            copy_id: id(item.copy_id),
            campaign_id: item.campaign_id.map(id),
            sender: entry.from_address,
            subject: entry.subject,
            recipient: item.recipient,
            domain: item.domain,
            mx_group: entry.mx_group,
            state: DeliveryState::of(&item.state)?,
            attempt_count: item.attempt_count,
            next_try_at: item.next_try_at.into(),
            give_up_at: item.give_up_at.into(),
            last_reply: item.last_reply,
            created_at: item.created_at.into(),
        });
    }
    Ok(Json(Page::by_id(items, limit, |d| d.id)))
}

/// What an act on a selection would touch.
#[utoipa::path(post, path = "/queue/preview", tag = "queue", request_body = QueueSelection,
    responses((status = 200, body = QueueSelectionCounts)))]
async fn preview_act(
    State(app): State<AppState>,
    caller: Caller,
    Json(selection): Json<QueueSelection>,
) -> Answer<QueueSelectionCounts> {
    let counts = outbound::count(&app.store, caller.organisation_id, &selection.into_outbound()).await?;
    Ok(Json(QueueSelectionCounts {
        count: counts.count,
        due_count: counts.due_count,
        leased_count: counts.leased_count,
        held_count: counts.held_count,
        domain_count: counts.domain_count,
        campaign_count: counts.campaign_count,
        oldest_at: counts.oldest_at.map(At),
    }))
}

/// Pauses, tries or deletes a selection. It stands in the audit log.
#[utoipa::path(post, path = "/queue/actions", tag = "queue", request_body = ActOnQueue,
    responses((status = 200, body = QueueActed)))]
async fn act_on_queue(
    State(app): State<AppState>,
    caller: Caller,
    Json(wanted): Json<ActOnQueue>,
) -> Answer<QueueActed> {
    let reason = wanted.reason.trim();
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::invalid("reason", format!("Say it in at most {REASON_CHARS_MAX} characters.")));
    }
    if wanted.act == QueueAct::Delete && reason.is_empty() {
        return Err(Problem::invalid(
            "reason",
            "Say why these are deleted: it stands in the audit log and with each copy.",
        ));
    }
    let selection = wanted.selection.into_outbound();
    let actor = outbound::QueueActor { account_id: Some(caller.account_id), name: &caller.login, reason };
    let acted =
        outbound::act(&app.store, caller.organisation_id, &selection, wanted.act.into_outbound(), &actor).await?;
    let outbound::Acted { changed_count, left_count, lifted } = acted;
    Ok(Json(QueueActed { changed_count, left_count, lifted }))
}
