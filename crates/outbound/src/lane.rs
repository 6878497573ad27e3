//! A lane: one connection's worth of work on one route, for as long as there is work.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use model::{DeliveryId, ReplyClass, Timestamp};
use store::{StoreError, values};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{self, Connection, Fate, NoConnection, Tried, Untaken};
use crate::connect::{Connector, Seen, Who};
use crate::desk::{Claimed, Desk, Job};
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
/// Mails that the only lane of a route sends before it gives its place to a route that waits for one.
const TURN_MAILS: u32 = 20;

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

impl Shared {
    /// Whether what is claimed is ours for sure. Where others share the database they take over what was not renewed in time (this
    /// process was stopped, or its store was away), and would send it as well.
    pub(crate) fn has_leases(&self) -> bool {
        self.config.sole_owner || self.store.now() < self.desk.leased_until()
    }

    /// The job with those deliveries alone that are ours for sure; the others leave the desk, and whoever has them sends them.
    async fn ours(&self, job: Job) -> Result<Job, (Job, StoreError)> {
        let epoch = self.desk.epoch();
        if self.has_leases() && job.deliveries.iter().all(|delivery| delivery.epoch == epoch) {
            return Ok(job);
        }
        let held = match self.attempts(&job).await {
            Ok(held) => held,
            Err(error) => return Err((job, error)),
        };
        // A row that we lost and claimed once more is another job's: the count of its tries tells them apart.
        let is_ours = |delivery: &Claimed| held.contains(&(delivery.id, delivery.attempt_count));
        let (deliveries, lost): (Vec<Claimed>, Vec<Claimed>) = job.deliveries.into_iter().partition(is_ours);
        if !lost.is_empty() {
            tracing::warn!(count = lost.len(), "deliveries of {} are somebody else's by now", job.message_id);
            self.desk.leave(&lost);
        }
        Ok(Job { deliveries, ..job })
    }

    /// Renews all leases that are still this process's.
    pub(crate) async fn renew_leases(&self) -> Result<(), StoreError> {
        if !self.has_leases() {
            tracing::warn!("leases were not renewed in time: others may have taken over what was claimed");
            self.desk.begin_epoch();
        }
        let until = self.store.now().plus_ms(self.config.lease_ms);
        self.store.execute("delivery.renew_leases", &values![until, self.recorder.owner.as_str()]).await?;
        self.desk.renewed(until);
        Ok(())
    }

    /// Which rows of a job this process has, with their tries.
    async fn attempts(&self, job: &Job) -> Result<HashSet<(DeliveryId, i64)>, StoreError> {
        if !self.has_leases() {
            self.renew_leases().await?;
        }
        let ids: Vec<i64> = job.deliveries.iter().map(|delivery| i64::from(delivery.id)).collect();
        let of = values![self.recorder.owner.as_str(), serde_json::Value::from(ids)];
        let rows = self.store.query("delivery.attempts_of_owner", &of).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.int("attempt_count")?))).collect()
    }
}

/// Serves a route until nothing waits there any more, its group is left alone for a while, or its turn is over.
pub(crate) async fn run(shared: Arc<Shared>, seat: Seat) {
    let mut connection = None;
    let mut mail_count = 0;
    loop {
        let mut is_turn_over = false;
        if let Some(until) = shared.limits.paused_until(&seat.plan.group) {
            close(&shared, &seat.key, &mut connection).await;
            give_back::later(&shared, shared.desk.drain(&seat.key), until);
        } else if let Some(job) = next_job(&shared, &seat).await {
            if let Err(at) = admit(&shared, &job, &seat.plan).await {
                give_back::later(&shared, vec![job], at);
                continue;
            }
            serve_safely(&shared, &seat, &mut connection, job).await;
            mail_count += 1;
            if !shared.desk.must_yield(&seat.key, seat.permit.levels(), mail_count >= TURN_MAILS) {
                continue;
            }
            is_turn_over = true;
        }
        close(&shared, &seat.key, &mut connection).await;
        if shared.desk.end_lane(&seat.key, is_turn_over || shared.stop.is_cancelled()) {
            drop(seat.permit);
            shared.desk.room.notify_one();
            return;
        }
    }
}

async fn serve_safely(shared: &Arc<Shared>, seat: &Seat, connection: &mut Option<Connection>, job: Job) {
    let (context, deliveries) = (Context::of(&job, &seat.plan), job.deliveries.clone());
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
async fn next_job(shared: &Shared, seat: &Seat) -> Option<Job> {
    let idle = Duration::from_millis(shared.config.idle_ms);
    let deadline = tokio::time::Instant::now() + idle;
    loop {
        if shared.stop.is_cancelled() {
            return None;
        }
        let wake = match shared.desk.take(&seat.key) {
            Ok(job) => return Some(job),
            Err(wake) => wake,
        };
        if shared.desk.must_yield(&seat.key, seat.permit.levels(), true) {
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
    let context = Context::of(&job, &seat.plan);
    let body = match shared.store.body(&job.body).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(message.id = %job.message_id, "the body of {} cannot be read: {error}", job.message_id);
            let fate = Fate::Failed { class: FailureClass::Local, cause: "the body could not be read".into() };
            return write_down(shared, context, attempt::all(job.deliveries, &fate, ""));
        }
    };
    let mut given_up: Option<GivenUp> = None;
    loop {
        let Some(ours) = still_ours(shared, job).await else { return };
        job = ours;
        let mut open = match connection.take() {
            Some(open) => open,
            None => {
                let avoided = given_up.as_ref().map_or(&[] as &[SocketAddr], |given_up| given_up.hosts.as_slice());
                let open = match (connect(shared, seat, avoided).await, &given_up) {
                    (Ok(open), _) => open,
                    // No other host answers: what the last one did decides, about this mail alone.
                    (Err(_), Some(given_up)) => return give_up(shared, seat, job, given_up),
                    (Err(none), None) => return fail(shared, seat, job, &none),
                };
                // Hosts may take longer to answer than a lease lasts.
                let Some(ours) = still_ours(shared, job).await else { return *connection = Some(open) };
                job = ours;
                open
            }
        };
        match open.send(job, &body).await {
            Ok(sent) => {
                let most = shared.config.connection_mails_max.min(seat.plan.shaped.messages_per_connection);
                let is_over = !sent.is_usable || open.mail_count >= most;
                *connection = Some(open);
                listen(shared, &seat.plan, &sent.tried);
                // Before anything else is waited for: what is not written down is sent again after a crash.
                write_down(shared, context.clone(), sent.tried);
                if is_over {
                    close(shared, &seat.key, connection).await;
                }
                let Some(rest) = sent.rest else { return };
                (job, given_up) = (rest, None);
            }
            Err(Untaken { job: back, error, is_stale }) => {
                tracing::debug!("{} took nothing of {}: {error}", open.target.host, back.message_id);
                shared.desk.connected(&seat.key, false);
                if !is_stale {
                    hear_farewell(shared, &seat.plan, &error);
                    let hosts = given_up.map_or_else(Vec::new, |given_up| given_up.hosts);
                    given_up = Some(GivenUp::after(hosts, &open, &error));
                }
                open.quit().await;
                job = back;
            }
        }
    }
}

/// The job, as far as it is ours; `None` when nothing of it is, or nobody can say now.
async fn still_ours(shared: &Arc<Shared>, job: Job) -> Option<Job> {
    let message_id = job.message_id;
    match shared.ours(job).await {
        Ok(job) => (!job.deliveries.is_empty()).then_some(job),
        Err((job, error)) => {
            tracing::warn!("whose {message_id} is cannot be read now: {error}");
            give_back::later(shared, vec![job], shared.store.now());
            None
        }
    }
}

/// Hosts that talked and took nothing of a mail, and what the last of them did.
struct GivenUp {
    hosts: Vec<SocketAddr>,
    fate: Fate,
    last: String,
}

impl GivenUp {
    fn after(mut hosts: Vec<SocketAddr>, open: &Connection, error: &smtp::ClientError) -> GivenUp {
        hosts.push(open.target.addr);
        GivenUp { hosts, fate: attempt::fate_of_error(error), last: open.target.to_string() }
    }
}

/// 421 is a word to the limits, also where the next host takes the mail.
fn hear_farewell(shared: &Shared, plan: &Plan, error: &smtp::ClientError) {
    if let (smtp::ClientError::Closed { reply, .. }, false) = (error, plan.is_own) {
        shared.limits.heard(&plan.group, &plan.shaped, &Heard::Slower { reply: &reply.to_string() });
    }
}

fn give_up(shared: &Arc<Shared>, seat: &Seat, job: Job, given_up: &GivenUp) {
    let context = Context::of(&job, &seat.plan);
    let tried = attempt::all(job.deliveries, &given_up.fate, &given_up.last);
    write_down(shared, context, tried);
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

/// Connects by the newest plan there is for the route: a lane may be older than that.
async fn connect(shared: &Shared, seat: &Seat, avoided: &[SocketAddr]) -> Result<Connection, NoConnection> {
    let Seat { key, source, .. } = seat;
    let plan = &shared.desk.plan(key).unwrap_or_else(|| seat.plan.clone());
    let now = shared.store.now();
    let note = |seen: Seen| {
        if let Some(policy) = &plan.note {
            shared.results.note(policy, &seen, now);
        }
    };
    let routes = &shared.planner.routes;
    let who = Who { config: &shared.config, routes, source, avoided };
    let connected = shared.connector.connect(&who, plan, now, note).await;
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
                // Not a host was asked.
                _ if none.host.is_empty() && !avoided.is_empty() => {}
                (Some(reply), _) => hear(Heard::Slower { reply }),
                (None, Fate::Failed { cause, .. }) if none.is_login_refused => {
                    tracing::error!("a smarthost refuses our login, so nothing goes out through it: {cause}");
                    hear(Heard::LoginRefused { cause });
                }
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
        let context = Context::of(&job, &seat.plan);
        write_down(shared, context, attempt::all(job.deliveries, &none.fate, &none.host));
    }
}

/// Recorded beside the next transaction, so that a lane waits for the network alone. What is not recorded yet counts
/// against `claimed_max`.
pub(crate) fn write_down(shared: &Arc<Shared>, context: Context, tried: Vec<Tried>) {
    let recording = shared.clone();
    shared.tasks.spawn(async move { record::record(&recording, &context, tried).await });
}
