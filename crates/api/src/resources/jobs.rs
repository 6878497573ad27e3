//! Long work with a progress bar, and the outbound queue.

use model::{JobId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page};

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
    /// `due`, `leased`, `held`, `done` or `failed`.
    state: Option<String>,
    /// Of this campaign.
    #[param(value_type = Option<String>)]
    campaign_id: Option<Id>,
}

/// The queue in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueSummary {
    /// Waiting for their time.
    pub due_count: i64,
    /// Being handed over now.
    pub leased_count: i64,
    /// Paused with their campaign.
    pub held_count: i64,
    pub done_count: i64,
    pub failed_count: i64,
    /// When the oldest waiting one was queued.
    pub oldest_due_at: Option<At>,
}

/// One delivery.
#[derive(Debug, Serialize, ToSchema)]
struct Delivery {
    id: Id,
    copy_id: Id,
    campaign_id: Option<Id>,
    recipient: String,
    state: String,
    attempt_count: i64,
    next_try_at: At,
    give_up_at: At,
    /// The last reply of the other side.
    last_reply: String,
    created_at: At,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobsQuery), responses((status = 200, body = Page<Job>)))]
async fn list_jobs(_caller: Caller, Query(_q): Query<JobsQuery>) -> Answer<Page<Job>> {
    Err(Problem::not_wired())
}

/// One job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", responses((status = 200, body = Job)))]
async fn get_job(_caller: Caller, PathId(_id): PathId<JobId>) -> Answer<Job> {
    Err(Problem::not_wired())
}

/// The outbound queue in numbers.
#[utoipa::path(get, path = "/queue", tag = "queue", responses((status = 200, body = QueueSummary)))]
async fn queue_summary(_caller: Caller) -> Answer<QueueSummary> {
    Err(Problem::not_wired())
}

/// Deliveries.
#[utoipa::path(get, path = "/queue/items", tag = "queue", params(QueueQuery), responses((status = 200, body = Page<Delivery>)))]
async fn list_queue(_caller: Caller, Query(_q): Query<QueueQuery>) -> Answer<Page<Delivery>> {
    Err(Problem::not_wired())
}
