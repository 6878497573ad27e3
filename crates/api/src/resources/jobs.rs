//! Long work with a progress bar, and the outbound queue.

use axum::extract::State;
use model::{DeliveryId, JobId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, after_id, id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_jobs), P::ProtectionRead))
        .routes(operation(routes!(get_job), P::ProtectionRead))
        .routes(operation(routes!(queue_summary), P::QueueRead))
        .routes(operation(routes!(list_queue), P::QueueRead))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only those that work for this change or campaign.
    #[param(value_type = Option<String>)]
    cause_id: Option<Id>,
}

/// The life of a job.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Waiting,
    Running,
    Done,
    Failed,
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    pub id: Id,
    /// `purge`, `restore`, `release`.
    pub kind: String,
    pub title: String,
    pub state: JobState,
    /// The change, campaign or incident it works for.
    pub cause_id: Option<Id>,
    pub done_count: i64,
    pub failed_count: i64,
    pub total_count: i64,
    /// What came out of it, in one sentence.
    pub result: String,
    /// Who started it.
    pub actor: String,
    pub created_at: At,
    pub started_at: Option<At>,
    pub finished_at: Option<At>,
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
    recipient: String,
    domain: String,
    state: DeliveryState,
    attempt_count: i64,
    next_try_at: At,
    give_up_at: At,
    /// The last reply of the other side.
    last_reply: String,
    created_at: At,
}

impl From<quarantine::Job> for Job {
    fn from(j: quarantine::Job) -> Self {
        Job {
            id: id(j.id),
            kind: j.kind,
            title: j.title,
            state: match j.state {
                quarantine::JobState::Waiting => JobState::Waiting,
                quarantine::JobState::Running => JobState::Running,
                quarantine::JobState::Done => JobState::Done,
                quarantine::JobState::Failed => JobState::Failed,
            },
            cause_id: j.cause_id.map(Id),
            done_count: j.done_count,
            failed_count: j.failed_count,
            total_count: j.total_count,
            result: j.result,
            actor: j.actor,
            created_at: j.created_at.into(),
            started_at: j.started_at.map(At),
            finished_at: j.finished_at.map(At),
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

/// Jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobsQuery), responses((status = 200, body = Page<Job>)))]
async fn list_jobs(State(app): State<AppState>, _caller: Caller, Query(q): Query<JobsQuery>) -> Answer<Page<Job>> {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(JobId);
    let jobs = match q.cause_id {
        Some(cause) => app.quarantine.jobs_of(cause.0, after, limit as usize).await?,
        None => app.quarantine.jobs(after, limit as usize).await?,
    };
    Ok(Json(Page::by_id(jobs.into_iter().map(Job::from).collect(), limit, |j| j.id)))
}

/// One job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", responses((status = 200, body = Job)))]
async fn get_job(State(app): State<AppState>, _caller: Caller, PathId(job): PathId<JobId>) -> Answer<Job> {
    Ok(Json(app.quarantine.job(job).await?.ok_or_else(|| Problem::not_found("job"))?.into()))
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
    let count = |state| lines.iter().filter(|line| line.state == state).map(|line| line.count).sum();
    Ok(QueueSummary {
        due_count: count(DeliveryState::Due),
        leased_count: count(DeliveryState::Leased),
        held_count: count(DeliveryState::Held),
        oldest_at: lines.iter().map(|line| line.oldest_at).min(),
        lines,
    })
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
    let filter = outbound::QueueFilter {
        domain: q.domain,
        state: q.state.map(DeliveryState::into_outbound),
        after: after_id(q.after.as_deref())?.map(DeliveryId),
        limit: limit.into(),
    };
    let mut items = Vec::new();
    for item in outbound::queue_list(&app.store, caller.organisation_id, &filter).await? {
        items.push(Delivery {
            id: id(item.id),
            copy_id: id(item.copy_id),
            campaign_id: item.campaign_id.map(id),
            recipient: item.recipient,
            domain: item.domain,
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
