//! The agent: claims what is due, hands it to lanes, sleeps until there is more.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use model::{Address, DeliveryId, MailOptions, MessageId, RcptOptions, ReversePath, Timestamp};
use store::{BodyRef, Notice, Row, Store, StoreError, Topic, values};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::Connector;
use crate::desk::{Claimed, Desk, Job};
use crate::lane::{self, Shared};
use crate::limits::{Denied, Level, Limits};
use crate::plan::{Plan, Planner, Wish};
use crate::record::{Context, Recorder};
use crate::tls::report;
use crate::tls::results::Results;
use crate::{AgentConfig, LimitLine, Purpose, Routes, attempt, board, give_back};

/// Rows of one claim.
const CLAIM_MAX: usize = 256;
/// The shortest sleep when rows look due and cannot be claimed (another process has them locked).
const SLEEP_MIN_MS: i64 = 50;
/// After the store failed.
const STORE_RETRY_MS: i64 = 1_000;
/// How long a stopping agent waits for transactions that have begun.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// What an owner of leases is called, before its id.
const OWNER: &str = "agent-";
/// Where an id says which node made it.
const NODE_SHIFT: u32 = 11;
const NODE_MASK: i64 = 0x3FF;

/// Takes back leases that ended, and at once those of an earlier life of this process: of everybody on a database that is
/// ours alone, of the same node otherwise. `id` is one of this process's.
async fn take_back(store: &Store, sole_owner: bool, id: i64) -> Result<u64, StoreError> {
    let dead_until = if sole_owner { i64::MAX } else { store.now().as_micros() };
    let mut freed = store.execute("delivery.expire_leases", &values![dead_until]).await?;
    let node = |id: i64| (id >> NODE_SHIFT) & NODE_MASK;
    for row in store.query("delivery.leasing_owners", &[]).await? {
        let owner = row.text("lease_owner")?;
        let other = owner.strip_prefix(OWNER).and_then(|id| id.parse::<i64>().ok());
        if other.is_some_and(|other| node(other) == node(id)) {
            freed += store.execute("delivery.expire_leases_of", &values![owner]).await?;
        }
    }
    Ok(freed)
}

/// A running agent. Cancel its token to stop it.
pub struct Agent {
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Agent {
    /// Starts. With [`AgentConfig::sole_owner`] the leases that a dead process left are cleared first.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(
        store: Store,
        config: AgentConfig,
        routes: Routes,
        stop: CancellationToken,
    ) -> Result<Agent, StoreError> {
        let id: i64 = store.next_id();
        let freed = take_back(&store, config.sole_owner, id).await?;
        if freed > 0 {
            tracing::info!(count = freed, "took back {freed} deliveries that a dead process had leased");
        }
        let owner = format!("{OWNER}{id}");
        let shared = Arc::new(Shared {
            desk: Desk::new(),
            recorder: Recorder::new(owner, config.seed),
            tasks: TaskTracker::new(),
            planner: Planner::new(&store, &config, routes),
            connector: Connector::new(&config),
            limits: Limits::new(store.clock(), config.seed),
            results: Results::new(store.clone()),
            store,
            config,
            stop,
        });
        shared.tasks.spawn(report::run(shared.clone()));
        shared.tasks.spawn(board::run(shared.clone()));
        let notices = shared.store.bus().subscribe();
        let scheduler = Scheduler {
            shared: shared.clone(),
            notices,
            look: true,
            limited: false,
            low_mark: 0,
            renew_at: Instant::now(),
            unclear: Vec::new(),
        };
        Ok(Agent { task: tokio::spawn(scheduler.run()), shared })
    }

    /// Sees the limits of this agent as they are, for as long as it likes.
    pub fn limits(&self) -> LimitsView {
        LimitsView { shared: self.shared.clone() }
    }

    /// Waits until the agent has stopped: transactions that had begun are finished and recorded, the rest is given back.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!("the agent ended badly: {error}");
        }
    }
}

/// The limits of a running agent, to be looked at.
#[derive(Clone)]
pub struct LimitsView {
    shared: Arc<Shared>,
}

impl LimitsView {
    /// One line for each level that is in use: paused groups first, each with the last reply, the current limits and why
    /// they are less than they could be. The numbers are those of this process.
    pub fn lines(&self) -> Vec<LimitLine> {
        self.shared.limits.lines(&self.shared.desk.waiting_by_group())
    }
}

struct Scheduler {
    shared: Arc<Shared>,
    notices: Receiver<Notice>,
    /// Rows may be due that are not in memory.
    look: bool,
    /// The last look left due rows behind for want of room.
    limited: bool,
    /// Below this many deliveries in memory a limited look is repeated.
    low_mark: usize,
    renew_at: Instant,
    /// Claimed by a commit whose answer was lost: perhaps ours, and nobody has them on the desk.
    unclear: Vec<Claimed>,
}

impl Scheduler {
    async fn run(mut self) {
        let shared = self.shared.clone();
        while !shared.stop.is_cancelled() {
            let sleep_ms = match AssertUnwindSafe(self.turn()).catch_unwind().await {
                Ok(Ok(sleep_ms)) => sleep_ms,
                Ok(Err(error)) => {
                    tracing::warn!("the outbound queue cannot be read: {error}");
                    self.look = true;
                    STORE_RETRY_MS
                }
                Err(_panic) => {
                    // A defect in one look must not end all delivery of this process without a word.
                    tracing::error!("looking at the outbound queue panicked; it is tried again");
                    self.look = true;
                    STORE_RETRY_MS
                }
            };
            self.start_lanes();
            if sleep_ms > 0 {
                self.wait(sleep_ms).await;
            }
        }
        self.stop().await;
    }

    /// Looks at the rows if there is reason to; gives how long to sleep when nothing else happens.
    async fn turn(&mut self) -> Result<i64, StoreError> {
        let shared = self.shared.clone();
        let config = &shared.config;
        self.put_back_unclear().await?;
        self.renew().await?;
        if !self.look {
            return Ok(i64::try_from(config.look_ms).unwrap_or(i64::MAX));
        }
        let store = &shared.store;
        if !config.sole_owner {
            store.execute("delivery.expire_leases", &values![store.now()]).await?;
        }
        // Half of what is free at a time, and nothing for domains that have as much as is free: however many hosts are slow,
        // there is room for the next one.
        let free = config.claimed_max.saturating_sub(shared.desk.claimed_count());
        let room = free.div_ceil(2).min(CLAIM_MAX);
        let full = shared.desk.full_domains(config.domain_claimed_max.min(free.max(1)));
        let claimed = if room == 0 { 0 } else { self.claim(room, &full).await? };
        let is_room_used_up = claimed == room;
        self.look = is_room_used_up && room > 0;
        self.limited = is_room_used_up || !full.is_empty();
        self.low_mark = shared.desk.claimed_count() * 3 / 4;
        if self.look {
            return Ok(0);
        }
        let due = store.query_one("delivery.next_due", &values![serde_json::Value::from(full)]).await?;
        let due_in_ms = due.map(|row| row.at("next_try_at")).transpose()?.map(|at| at.ms_since(store.now()) + 1);
        let look_ms = i64::try_from(config.look_ms).unwrap_or(i64::MAX);
        match due_in_ms {
            // No room: the end of a lane's work wakes us.
            Some(_) if room == 0 => Ok(look_ms),
            Some(due_in_ms) => Ok(due_in_ms.clamp(SLEEP_MIN_MS, look_ms)),
            None => Ok(look_ms),
        }
    }

    /// Before the next claim, never beside it: what is claimed once more must not be given back.
    async fn put_back_unclear(&mut self) -> Result<(), StoreError> {
        if !self.unclear.is_empty() {
            give_back::write(&self.shared, &self.unclear, None).await?;
            self.unclear.clear();
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        if shared.desk.claimed_count() == 0 || (shared.has_leases() && Instant::now() < self.renew_at) {
            return Ok(());
        }
        let third = u64::try_from(shared.config.lease_ms / 3).unwrap_or(1).max(1);
        shared.renew_leases().await?;
        // Only now: what a store in trouble refused is tried again with the next turn.
        self.renew_at = Instant::now() + Duration::from_millis(third);
        Ok(())
    }

    /// Claims up to `room` due rows and puts them on the desk; gives how many.
    async fn claim(&mut self, room: usize, full: &[String]) -> Result<usize, StoreError> {
        let shared = &self.shared;
        let store = &shared.store;
        let _turn = shared.desk.claiming.lock().await;
        let (owner, now) = (shared.recorder.owner.as_str(), store.now());
        let until = now.plus_ms(shared.config.lease_ms);
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let full = serde_json::Value::from(full);
        let mut tx = store.begin().await?;
        let rows = tx.query("delivery.claim_due", &values![owner, until, now, limit, full]).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.int("id")).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(0);
        }
        // Inside the transaction, so that a row that cannot be read leaves nothing claimed.
        let count = ids.len();
        let rows = tx.query("delivery.claimed", &values![serde_json::Value::from(ids)]).await?;
        let epoch = shared.desk.epoch();
        let part = |row: &Row| Part::of(row, &shared.planner, epoch);
        let parts: Vec<Part> = rows.iter().map(part).collect::<Result<_, _>>()?;
        if let Err(error) = tx.commit().await {
            self.unclear = parts.into_iter().map(|part| part.delivery).collect();
            return Err(error);
        }
        if shared.desk.claimed_count() == 0 {
            shared.desk.renewed(until); // otherwise the oldest lease counts, until all are renewed
        }
        shared.desk.enter(parts.iter().map(|part| &part.delivery));
        self.seat(parts);
        Ok(count)
    }

    /// Puts what is claimed on the desk: at once where the plan is at hand, otherwise when it is made.
    fn seat(&self, parts: Vec<Part>) {
        let shared = &self.shared;
        let mut by_wish: HashMap<Wish, Vec<Part>> = HashMap::new();
        for part in parts {
            by_wish.entry(part.wish.clone()).or_default().push(part);
        }
        for (wish, parts) in by_wish {
            match shared.planner.cached(&wish) {
                Some(plan) => add(shared, &plan, parts),
                None => {
                    let shared = shared.clone();
                    self.shared.tasks.spawn(async move { plan_and_add(&shared, &wish, parts).await });
                }
            }
        }
    }

    fn start_lanes(&self) {
        let shared = &self.shared;
        let open = |plan: &Plan| {
            let turn = shared.planner.turn();
            let mut denied = Denied::Full(Level::Global);
            for at in 0..plan.sources.len() {
                let (source, path) = &plan.sources[(turn + at) % plan.sources.len()];
                match shared.limits.open(path) {
                    Ok(permit) => return Ok((permit, source.clone())),
                    Err(why) => denied = why,
                }
            }
            Err(denied)
        };
        let wanted = shared.desk.lanes_wanted(open);
        for seat in wanted.seats {
            shared.tasks.spawn(lane::run(shared.clone(), seat));
        }
        for (jobs, until) in wanted.paused {
            give_back::later(shared, jobs, until);
        }
    }

    async fn wait(&mut self, sleep_ms: i64) {
        let shared = self.shared.clone();
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(sleep_ms).unwrap_or(1));
        let deadline = if shared.desk.claimed_count() > 0 { deadline.min(self.renew_at) } else { deadline };
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep_until(deadline) => {
                    self.look = true;
                    return;
                }
                notice = self.notices.recv() => match notice {
                    Ok(notice) if notice.topic != Topic::Delivery => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        self.look = true;
                        // One look stands for all that was announced by now.
                        while self.notices.try_recv().is_ok() {}
                        self.put_back_held().await;
                        return;
                    }
                    Err(RecvError::Closed) => return,
                },
                () = shared.desk.room.notified() => {
                    // A lane may have ended, or a plan be made: others may want the place.
                    self.start_lanes();
                    let has_gone_back = shared.desk.look.swap(false, Ordering::Relaxed);
                    let count = shared.desk.claimed_count();
                    if has_gone_back || count == 0 || (self.limited && count < self.low_mark) {
                        self.look = true;
                        return;
                    }
                }
            }
        }
    }

    /// What was paused and is not begun goes back at once, so that a resume finds it.
    async fn put_back_held(&self) {
        let shared = &self.shared;
        if shared.desk.claimed_count() == 0 {
            return;
        }
        match shared.store.query("delivery.held_of_owner", &values![shared.recorder.owner.as_str()]).await {
            Ok(rows) => {
                let ids: HashSet<DeliveryId> = rows.iter().filter_map(|row| row.id("id").ok()).collect();
                give_back::give_back(shared, shared.desk.withdraw(Some(&ids)), None).await;
            }
            Err(error) => tracing::warn!("paused deliveries cannot be read: {error}"),
        }
    }

    async fn stop(mut self) {
        if let Err(error) = self.put_back_unclear().await {
            tracing::warn!("deliveries that were perhaps claimed wait for the end of their leases: {error}");
        }
        let shared = self.shared;
        give_back::give_back(&shared, shared.desk.withdraw(None), None).await;
        shared.tasks.close();
        if tokio::time::timeout(STOP_GRACE, shared.tasks.wait()).await.is_err() {
            tracing::warn!("stopped with transactions under way; they will be tried again");
        }
    }
}

/// Makes the plan, then adds; where there is no plan, that is the result of the try.
async fn plan_and_add(shared: &Arc<Shared>, wish: &Wish, parts: Vec<Part>) {
    let failure = match shared.planner.plan(wish).await {
        Ok(plan) => {
            add(shared, &plan, parts);
            // The scheduler starts lanes.
            return shared.desk.room.notify_one();
        }
        Err(failure) => failure,
    };
    let none = attempt::no_route(&failure);
    for job in jobs(parts, 1) {
        let context = Context::without_plan(&job);
        lane::write_down(shared, context, attempt::all(job.deliveries, &none.fate, ""));
    }
}

fn add(shared: &Shared, plan: &Arc<Plan>, parts: Vec<Part>) {
    if let Some(asked_at) = parts.iter().map(|part| part.asked_at).max() {
        shared.limits.lift(&plan.group, asked_at);
    }
    let recipients_max = shared.config.recipients_max.min(plan.shaped.recipients_per_message);
    for job in jobs(parts, recipients_max) {
        shared.desk.add(plan, job);
    }
}

/// A claimed row.
struct Part {
    wish: Wish,
    message_id: MessageId,
    reverse_path: String,
    body: BodyRef,
    /// When somebody last asked that it be tried now.
    asked_at: Timestamp,
    delivery: Claimed,
}

impl Part {
    fn of(row: &Row, planner: &Planner, epoch: u64) -> Result<Part, StoreError> {
        let delivery = claimed(row, epoch)?;
        let reverse_path = row.text("reverse_path")?.to_owned();
        let sender_domain = reverse_path.rsplit_once('@').map_or("", |(_, domain)| domain);
        let wish = Wish {
            domain: delivery.recipient_domain.clone(),
            pool: planner.pool_of(sender_domain),
            require_tls: delivery.options.require_tls,
            is_report: delivery.is_tls_report,
        };
        let (message_id, asked_at) = (row.id("message_id")?, row.at("asked_at")?);
        Ok(Part { wish, message_id, reverse_path, body: BodyRef::from_row(row)?, asked_at, delivery })
    }
}

/// Jobs: one transaction per message, reverse-path and DSN wishes, at most `recipients_max` recipients each; one for the
/// null reverse-path, since hosts take a notification for several people for a forgery (452 or 550).
fn jobs(parts: Vec<Part>, recipients_max: usize) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::with_capacity(parts.len());
    let mut open: HashMap<(MessageId, String, String), usize> = HashMap::new();
    for part in parts {
        let wishes = format!("{} {}", part.delivery.options.ret, part.delivery.options.envid);
        let slot = (part.message_id, part.reverse_path, wishes);
        let recipients_max = if slot.1.is_empty() { 1 } else { recipients_max };
        match open.get(&slot) {
            Some(&at) if jobs[at].deliveries.len() < recipients_max => jobs[at].deliveries.push(part.delivery),
            _ => {
                let job = Job {
                    message_id: part.message_id,
                    // A path that does not parse was checked by nobody: the null path gets no answer.
                    reverse_path: slot.1.parse().unwrap_or(ReversePath::Null),
                    body: part.body,
                    deliveries: vec![part.delivery],
                };
                open.insert(slot, jobs.len());
                jobs.push(job);
            }
        }
    }
    jobs
}

fn claimed(row: &Row, epoch: u64) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        id: row.id("id")?,
        organisation_id: row.id("organisation_id")?,
        copy_id: row.id("copy_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        recipient: Address::parse(row.text("recipient")?).ok(),
        recipient_domain: row.text("recipient_domain")?.to_owned(),
        attempt_count: row.int("attempt_count")?,
        give_up_at: row.at("give_up_at")?,
        created_at: row.at("created_at")?,
        is_tls_report: row.text("purpose")? == Purpose::TlsReport.as_str(),
        options: MailOptions {
            smtp_utf8: false, // the client sees what the addresses and the header section need
            require_tls: row.flag("require_tls")?,
            ret: row.text("ret")?.to_owned(),
            envid: row.text("envid")?.to_owned(),
        },
        rcpt_options: RcptOptions { notify: row.text("notify")?.to_owned(), orcpt: row.text("orcpt")?.to_owned() },
        may_tell: row.flag("may_tell")?,
        is_delay_told: row.int("delay_told_at")? > 0,
        epoch,
    })
}
