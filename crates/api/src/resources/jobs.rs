//! Long work with a progress bar.

use axum::extract::State;
use model::{JobId, Permission as P};
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
