//! A lane: one connection's worth of work on one route, for as long as there is work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{self, Connection, Fate, NoConnection, Tried};
use crate::desk::{Desk, Job};
use crate::record::{self, Context, Recorder};
use crate::{AgentConfig, FailureClass, RouteKey, Routes};

/// What all lanes share.
pub(crate) struct Shared {
    pub(crate) store: store::Store,
    pub(crate) config: AgentConfig,
    pub(crate) routes: Routes,
    pub(crate) desk: Desk,
    pub(crate) recorder: Recorder,
    /// Lanes and records under way.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Serves a route until nothing waits there any more.
pub(crate) async fn run(shared: Arc<Shared>, key: RouteKey) {
    let mut connection = None;
    loop {
        if let Some(job) = next_job(&shared, &key).await {
            let (context, deliveries) = (Context::of(&job, shared.routes.is_own(&key)), job.deliveries.clone());
            let served = AssertUnwindSafe(serve(&shared, &key, &mut connection, job)).catch_unwind().await;
            if served.is_err() {
                // One job is lost to a defect, not the lane: its deliveries are tried again later.
                tracing::error!(message.id = %context.message_id, "sending {} panicked", context.message_id);
                let fate = Fate::Failed { class: FailureClass::Local, cause: "an internal error".into() };
                write_down(&shared, context, attempt::all(deliveries, &fate, ""));
            }
            continue;
        }
        close(&shared, &key, &mut connection).await;
        if shared.desk.end_lane(&key, shared.stop.is_cancelled()) {
            return;
        }
    }
}

/// The next job; `None` after waiting idle for long enough, or when the agent stops.
async fn next_job(shared: &Shared, key: &RouteKey) -> Option<Job> {
    let idle = Duration::from_millis(shared.config.idle_ms);
    let deadline = tokio::time::Instant::now() + idle;
    loop {
        if shared.stop.is_cancelled() {
            return None;
        }
        let wake = match shared.desk.take(key) {
            Ok(job) => return Some(job),
            Err(wake) => wake,
        };
        if shared.desk.is_contended() {
            return None;
        }
        tokio::select! {
            () = wake.notified() => {}
            () = shared.stop.cancelled() => return None,
            () = tokio::time::sleep_until(deadline) => return None,
        }
    }
}

async fn serve(shared: &Arc<Shared>, key: &RouteKey, connection: &mut Option<Connection>, mut job: Job) {
    let context = Context::of(&job, shared.routes.is_own(key));
    let body = match shared.store.body(&job.body).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(message.id = %job.message_id, "the body of {} cannot be read: {error}", job.message_id);
            let fate = Fate::Failed { class: FailureClass::Local, cause: "the body could not be read".into() };
            return write_down(shared, context, attempt::all(job.deliveries, &fate, ""));
        }
    };
    loop {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match connect(shared, key).await {
                Ok(open) => open,
                Err(none) => return fail(shared, key, job, &none),
            },
        };
        match open.send(job, &body).await {
            Ok((tried, is_usable)) => {
                let is_spent = open.mail_count >= shared.config.connection_mails_max;
                *connection = Some(open);
                if !is_usable || is_spent {
                    close(shared, key, connection).await;
                }
                return write_down(shared, context, tried);
            }
            // Only a reused connection can be stale, so the next round, on a fresh one, ends here.
            Err((back, error)) => {
                tracing::debug!("a kept connection to {} was closed: {error}", open.target.host);
                shared.desk.connected(key, false);
                job = back;
            }
        }
    }
}

async fn connect(shared: &Shared, key: &RouteKey) -> Result<Connection, NoConnection> {
    let targets = shared.routes.targets(key).await.map_err(|failure| attempt::no_route(&failure))?;
    let open = attempt::connect(&shared.config, &targets).await?;
    shared.desk.connected(key, true);
    Ok(open)
}

async fn close(shared: &Shared, key: &RouteKey, connection: &mut Option<Connection>) {
    if let Some(open) = connection.take() {
        shared.desk.connected(key, false);
        open.quit().await;
    }
}

/// Nobody was reached: so it is for everything that waits on the same route, unless another lane is connected.
fn fail(shared: &Arc<Shared>, key: &RouteKey, job: Job, none: &NoConnection) {
    let is_own = shared.routes.is_own(key);
    let mut jobs = shared.desk.drain_unreachable(key);
    tracing::info!(count = jobs.len() + 1, "no connection for {key:?}");
    tracing::debug!("no connection for {key:?}: {:?}", none.fate);
    jobs.push(job);
    for job in jobs {
        let context = Context::of(&job, is_own);
        write_down(shared, context, attempt::all(job.deliveries, &none.fate, &none.host));
    }
}

/// Recorded beside the next transaction, so that a lane waits for the network alone. What is not recorded yet counts
/// against `claimed_max`.
fn write_down(shared: &Arc<Shared>, context: Context, tried: Vec<Tried>) {
    let recording = shared.clone();
    shared.tasks.spawn(async move { record::record(&recording, &context, tried).await });
}
