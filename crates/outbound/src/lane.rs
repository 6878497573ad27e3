//! A lane: one connection's worth of work on one route, for as long as there is work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use model::{ReplyClass, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{self, Connection, Fate, NoConnection, Tried};
use crate::connect::{Connector, Seen};
use crate::desk::{Desk, Job};
use crate::limits::{Heard, Limits, Permit};
use crate::plan::{Plan, Planner};
use crate::record::{self, Context, Recorder};
use crate::shaping::Source;
use crate::tls::results::Results;
use crate::{AgentConfig, FailureClass, RouteKey, give_back};

/// A lane waits so long for its turn under a rate; a mail that must wait longer goes back to the queue.
const NAP_MS_MAX: i64 = 1_500;
/// Replies that say "too much" or "not now" (the codes that limits listen to).
const SLOWER_CODE: u16 = 421;
const LATER_CODES: [u16; 3] = [450, 451, 454];

/// What all lanes share.
pub(crate) struct Shared {
    pub(crate) store: store::Store,
    pub(crate) config: AgentConfig,
    pub(crate) planner: Planner,
    pub(crate) connector: Connector,
    pub(crate) limits: Limits,
    pub(crate) results: Results,
    pub(crate) desk: Desk,
    pub(crate) recorder: Recorder,
    /// Lanes and records under way.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// A lane's place: its route, its plan, who it is, and the connection that it may open.
pub(crate) struct Seat {
    pub(crate) key: RouteKey,
    pub(crate) plan: Arc<Plan>,
    pub(crate) source: Source,
    pub(crate) permit: Permit,
}

/// Serves a route until nothing waits there any more, or its group is left alone for a while.
pub(crate) async fn run(shared: Arc<Shared>, seat: Seat) {
    let mut connection = None;
    loop {
        if let Some(until) = shared.limits.paused_until(&seat.plan.group) {
            close(&shared, &seat.key, &mut connection).await;
            give_back::later(&shared, shared.desk.drain(&seat.key), until);
        } else if let Some(job) = next_job(&shared, &seat.key).await {
            if let Err(at) = admit(&shared, &job, &seat.plan).await {
                give_back::later(&shared, vec![job], at);
                continue;
            }
            serve_safely(&shared, &seat, &mut connection, job).await;
            continue;
        }
        close(&shared, &seat.key, &mut connection).await;
        if shared.desk.end_lane(&seat.key, shared.stop.is_cancelled()) {
            drop(seat.permit);
            shared.desk.room.notify_one();
            return;
        }
    }
}

async fn serve_safely(shared: &Arc<Shared>, seat: &Seat, connection: &mut Option<Connection>, job: Job) {
    let (context, deliveries) = (Context::of(&job, seat.plan.is_own), job.deliveries.clone());
    let served = AssertUnwindSafe(serve(shared, seat, connection, job)).catch_unwind().await;
    if served.is_err() {
        // One job is lost to a defect, not the lane: its deliveries are tried again later.
        tracing::error!(message.id = %context.message_id, "sending {} panicked", context.message_id);
        let fate = Fate::Failed { class: FailureClass::Local, cause: "an internal error".into() };
        write_down(shared, context, attempt::all(deliveries, &fate, ""));
    }
}

/// Waits for the mail's turn under all rates; gives when it may go if that is too far away to wait here.
async fn admit(shared: &Shared, job: &Job, plan: &Plan) -> Result<(), Timestamp> {
    let mut path = plan.path.clone();
    path.extend(shared.planner.sender(job.sender_domain()));
    for has_napped in [false, true] {
        let Err(free_at) = shared.limits.mail(&path) else { return Ok(()) };
        let wait_ms = free_at.ms_since(shared.store.now()) + 1;
        if has_napped || wait_ms > NAP_MS_MAX {
            return Err(shared.limits.slot(&path, free_at));
        }
        let nap = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            () = shared.stop.cancelled() => return Err(free_at),
        }
    }
    Ok(())
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

async fn serve(shared: &Arc<Shared>, seat: &Seat, connection: &mut Option<Connection>, mut job: Job) {
    // A mail that goes out and cannot be written down goes out twice: wait until the store writes again.
    tokio::select! {
        () = shared.store.health().well() => {}
        () = shared.stop.cancelled() => return shared.desk.leave(&job.deliveries), // the leases end by themselves
    }
    let context = Context::of(&job, seat.plan.is_own);
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
            None => match connect(shared, seat).await {
                Ok(open) => open,
                Err(none) => return fail(shared, seat, job, &none),
            },
        };
        match open.send(job, &body).await {
            Ok((tried, is_usable)) => {
                let most = shared.config.connection_mails_max.min(seat.plan.shaped.messages_per_connection);
                let is_spent = open.mail_count >= most;
                *connection = Some(open);
                if !is_usable || is_spent {
                    close(shared, &seat.key, connection).await;
                }
                listen(shared, &seat.plan, &tried);
                return write_down(shared, context, tried);
            }
            // Only a reused connection can be stale, so the next round, on a fresh one, ends here.
            Err((back, error)) => {
                tracing::debug!("a kept connection to {} was closed: {error}", open.target.host);
                shared.desk.connected(&seat.key, false);
                job = back;
            }
        }
    }
}

/// What the hosts said, for the limits of their group.
fn listen(shared: &Shared, plan: &Plan, tried: &[Tried]) {
    if plan.is_own {
        return;
    }
    let replies = tried.iter().filter_map(|one| match &one.fate {
        Fate::Reply(reply) => Some(reply),
        Fate::Failed { .. } => None,
    });
    let mut said: [Option<String>; 4] = Default::default();
    for reply in replies {
        let at = match (reply.class(), reply.code()) {
            (_, SLOWER_CODE) => 0,
            (_, code) if LATER_CODES.contains(&code) => 1,
            (ReplyClass::Completion, _) => 2,
            (ReplyClass::Transient | ReplyClass::Permanent | ReplyClass::Intermediate, _) => 3,
        };
        said[at].get_or_insert_with(|| reply.to_string());
    }
    let hear = |heard: Heard<'_>| shared.limits.heard(&plan.group, &plan.shaped, &heard);
    let [slower, later, accepted, refused] = said;
    // Acceptance first: a refusal in the same transaction is the newer word.
    accepted.iter().for_each(|reply| hear(Heard::Accepted { reply }));
    refused.iter().for_each(|reply| hear(Heard::Refused { reply }));
    later.iter().for_each(|reply| hear(Heard::Later { reply }));
    slower.iter().for_each(|reply| hear(Heard::Slower { reply }));
}

async fn connect(shared: &Shared, seat: &Seat) -> Result<Connection, NoConnection> {
    let Seat { key, plan, source, .. } = seat;
    let now = shared.store.now();
    let note = |seen: Seen| {
        if let Some(policy) = &plan.note {
            shared.results.note(policy, &seen, now);
        }
    };
    let routes = &shared.planner.routes;
    let connected = shared.connector.connect(&shared.config, routes, plan, source, now, note).await;
    let is_foreign = !plan.is_own;
    let hear = |heard: Heard<'_>| {
        if is_foreign {
            shared.limits.heard(&plan.group, &plan.shaped, &heard);
        }
    };
    match connected {
        Ok(open) => {
            hear(Heard::Connected);
            shared.desk.connected(key, true);
            Ok(open)
        }
        Err(none) => {
            match (&none.slower, &none.fate) {
                (Some(reply), _) => hear(Heard::Slower { reply }),
                (None, Fate::Failed { cause, .. }) => hear(Heard::NoConnection { cause }),
                (None, Fate::Reply(_)) => {}
            }
            Err(none)
        }
    }
}

async fn close(shared: &Shared, key: &RouteKey, connection: &mut Option<Connection>) {
    if let Some(open) = connection.take() {
        shared.desk.connected(key, false);
        open.quit().await;
    }
}

/// Nobody was reached: so it is for everything that waits on the same route, unless another lane is connected.
fn fail(shared: &Arc<Shared>, seat: &Seat, job: Job, none: &NoConnection) {
    let mut jobs = shared.desk.drain_unreachable(&seat.key);
    let group = seat.plan.group.name();
    tracing::info!(count = jobs.len() + 1, "no connection for {group}");
    tracing::debug!("no connection for {group}: {:?}", none.fate);
    jobs.push(job);
    for job in jobs {
        let context = Context::of(&job, seat.plan.is_own);
        write_down(shared, context, attempt::all(job.deliveries, &none.fate, &none.host));
    }
}

/// Recorded beside the next transaction, so that a lane waits for the network alone. What is not recorded yet counts
/// against `claimed_max`.
pub(crate) fn write_down(shared: &Arc<Shared>, context: Context, tried: Vec<Tried>) {
    let recording = shared.clone();
    shared.tasks.spawn(async move { record::record(&recording, &context, tried).await });
}
