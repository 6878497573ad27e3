//! The agent: claims what is due, hands it to lanes, sleeps until there is more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Address, DeliveryId, MailOptions, MessageId, RcptOptions, ReversePath};
use store::{BodyRef, Notice, Row, Store, StoreError, Topic, values};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::{Claimed, Desk, Job};
use crate::lane::{self, Shared};
use crate::record::Recorder;
use crate::{AgentConfig, RouteKey, Routes};

/// Rows of one claim.
const CLAIM_MAX: usize = 256;
/// The shortest sleep when rows look due and cannot be claimed (another process has them locked).
const SLEEP_MIN_MS: i64 = 50;
/// After the store failed.
const STORE_RETRY_MS: i64 = 1_000;
/// How long a stopping agent waits for transactions that have begun.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// A running agent. Cancel its token to stop it.
pub struct Agent {
    task: JoinHandle<()>,
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
        let dead_until = if config.sole_owner { i64::MAX } else { store.now().as_micros() };
        let freed = store.execute("delivery.expire_leases", &values![dead_until]).await?;
        if freed > 0 {
            tracing::info!(count = freed, "took back {freed} deliveries that a dead process had leased");
        }
        let owner = format!("agent-{}", store.next_id::<i64>());
        let shared = Arc::new(Shared {
            desk: Desk::new(&config),
            recorder: Recorder::new(owner, config.seed),
            tasks: TaskTracker::new(),
            store,
            config,
            routes,
            stop,
        });
        let notices = shared.store.bus().subscribe();
        let scheduler =
            Scheduler { shared, notices, look: true, limited: false, low_mark: 0, renew_at: Instant::now() };
        Ok(Agent { task: tokio::spawn(scheduler.run()) })
    }

    /// Waits until the agent has stopped: transactions that had begun are finished and recorded, the rest is given back.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!("the agent ended badly: {error}");
        }
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
}

impl Scheduler {
    async fn run(mut self) {
        let shared = self.shared.clone();
        while !shared.stop.is_cancelled() {
            let sleep_ms = match self.turn().await {
                Ok(sleep_ms) => sleep_ms,
                Err(error) => {
                    tracing::warn!("the outbound queue cannot be read: {error}");
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
        self.renew().await?;
        if !self.look {
            return Ok(i64::try_from(config.look_ms).unwrap_or(i64::MAX));
        }
        let store = &shared.store;
        if !config.sole_owner {
            store.execute("delivery.expire_leases", &values![store.now()]).await?;
        }
        let room = config.claimed_max.saturating_sub(shared.desk.claimed_count()).min(CLAIM_MAX);
        let full = shared.desk.full_domains(config.domain_claimed_max);
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

    async fn renew(&mut self) -> Result<(), StoreError> {
        let shared = &self.shared;
        if Instant::now() < self.renew_at || shared.desk.claimed_count() == 0 {
            return Ok(());
        }
        let third = u64::try_from(shared.config.lease_ms / 3).unwrap_or(1).max(1);
        let until = shared.store.now().plus_ms(shared.config.lease_ms);
        shared.store.execute("delivery.renew_leases", &values![until, shared.recorder.owner.as_str()]).await?;
        // Only now: what a store in trouble refused is tried again with the next turn.
        self.renew_at = Instant::now() + Duration::from_millis(third);
        Ok(())
    }

    /// Claims up to `room` due rows and puts them on the desk; gives how many.
    async fn claim(&self, room: usize, full: &[String]) -> Result<usize, StoreError> {
        let shared = &self.shared;
        let store = &shared.store;
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
        let jobs = group(&shared.routes, shared.config.recipients_max, &rows)?;
        tx.commit().await?;
        for (key, job) in jobs {
            shared.desk.add(key, job);
        }
        Ok(count)
    }

    fn start_lanes(&self) {
        for key in self.shared.desk.lanes_wanted() {
            self.shared.tasks.spawn(lane::run(self.shared.clone(), key));
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
                        self.put_back_held().await;
                        return;
                    }
                    Err(RecvError::Closed) => return,
                },
                () = shared.desk.room.notified() => {
                    let count = shared.desk.claimed_count();
                    if count == 0 || (self.limited && count < self.low_mark) {
                        self.look = true;
                        return;
                    }
                    // A lane may have ended: others may want its place.
                    self.start_lanes();
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
                release(shared, shared.desk.withdraw(Some(&ids))).await;
            }
            Err(error) => tracing::warn!("paused deliveries cannot be read: {error}"),
        }
    }

    async fn stop(self) {
        let shared = self.shared;
        release(&shared, shared.desk.withdraw(None)).await;
        shared.tasks.close();
        if tokio::time::timeout(STOP_GRACE, shared.tasks.wait()).await.is_err() {
            tracing::warn!("stopped with transactions under way; they will be tried again");
        }
    }
}

/// Gives back what nobody has begun. If that fails, the leases end by themselves.
async fn release(shared: &Shared, deliveries: Vec<Claimed>) {
    if deliveries.is_empty() {
        return;
    }
    let owner = shared.recorder.owner.as_str();
    let done = async {
        let mut tx = shared.store.begin().await?;
        for delivery in &deliveries {
            tx.execute("delivery.release", &values![delivery.id, owner]).await?;
        }
        tx.commit().await
    };
    if let Err(error) = done.await {
        tracing::warn!(count = deliveries.len(), "deliveries could not be given back: {error}");
    }
    shared.desk.leave(&deliveries);
}

/// Rows as jobs: one transaction per (route, message, reverse-path), at most `recipients_max` recipients each.
fn group(routes: &Routes, recipients_max: usize, rows: &[Row]) -> Result<Vec<(RouteKey, Job)>, StoreError> {
    let mut jobs: Vec<(RouteKey, Job)> = Vec::with_capacity(rows.len());
    let mut open: HashMap<(RouteKey, MessageId, String), usize> = HashMap::new();
    for row in rows {
        let delivery = claimed(row)?;
        let key = routes.key(&delivery.recipient_domain);
        let message_id: MessageId = row.id("message_id")?;
        let reverse_path = row.text("reverse_path")?;
        let slot = (key.clone(), message_id, reverse_path.to_owned());
        match open.get(&slot) {
            Some(&at) if jobs[at].1.deliveries.len() < recipients_max => jobs[at].1.deliveries.push(delivery),
            _ => {
                let job = Job {
                    message_id,
                    // A path that does not parse was checked by nobody: the null path gets no answer.
                    reverse_path: reverse_path.parse().unwrap_or(ReversePath::Null),
                    body: BodyRef::from_row(row)?,
                    deliveries: vec![delivery],
                };
                open.insert(slot, jobs.len());
                jobs.push((key, job));
            }
        }
    }
    Ok(jobs)
}

fn claimed(row: &Row) -> Result<Claimed, StoreError> {
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
        options: MailOptions {
            smtp_utf8: false, // the client sees what the addresses and the header section need
            require_tls: row.flag("require_tls")?,
            ret: row.text("ret")?.to_owned(),
            envid: row.text("envid")?.to_owned(),
        },
        rcpt_options: RcptOptions { notify: row.text("notify")?.to_owned(), orcpt: row.text("orcpt")?.to_owned() },
        may_tell: row.flag("may_tell")?,
        is_delay_told: row.int("delay_told_at")? > 0,
    })
}
