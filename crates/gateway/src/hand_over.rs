//! Handing copies over to the mailbox systems that keep our people's mailboxes.
//!
//! A copy for such a mailbox was answered `250` with a durable row in the delivery queue. [`HandOvers`] claims these rows
//! by lease, hands each copy over through its connector, and records what the system said: landed, refused for good (its
//! sender is told, RFC 5321 6.1), or not now. A try whose end is unclear is followed by one that looks first, so that the
//! copy is there once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use directory::Directory;
use mailbox::{Connectors, FolderRole, HandOver, HandedOver, LmtpImap, MailboxError};
use message::ReportAction;
use model::{
    Address, CampaignId, CopyId, DeliveryId, EventKind, JobId, MailOptions, MailboxId, MessageId, OrganisationId,
    Place, RcptOptions, Reply, ReplyClass, ReversePath, SqlText, Timestamp,
};
use outbound::{FailureClass, Notice, Notification, Outcome, RetrySchedule};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Row, Store, StoreError, Topic, values};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a process may be silent before another takes its rows over. Longer than any try.
const LEASE_MS: i64 = 5 * 60 * 1000;
/// The most that one try may take; after it the end is unclear.
const TRY_MAX: Duration = Duration::from_secs(120);
/// How often rows are looked at without being called.
const LOOK_MS: i64 = 1_000;
/// The rest after a system did not answer, doubled with each further time.
const REST_MS: u64 = 500;
const REST_MS_MAX: u64 = 15_000;
/// How long a stopping process waits for tries that have begun.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// What the events say who saw it; the detail names the connector.
const SOURCE: &str = "connector";

/// A hand-over to enqueue with the rows of its copy.
pub(crate) struct NewHandOver<'a> {
    pub(crate) connector: &'a str,
    pub(crate) copy_id: CopyId,
    pub(crate) message_id: MessageId,
    pub(crate) role: FolderRole,
    pub(crate) reverse_path: &'a ReversePath,
    pub(crate) to: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) options: &'a MailOptions,
    pub(crate) rcpt_options: RcptOptions,
    /// Whether the sender may be told of a failure: not when it was not authentic, since the news would hit another.
    pub(crate) may_tell: bool,
}

impl NewHandOver<'_> {
    pub(crate) fn op(&self, store: &Store, organisation_id: OrganisationId) -> Op {
        let give_up_at = self.at.plus_ms(RetrySchedule::default().give_up_ms);
        let notify = if self.may_tell { self.rcpt_options.notify.as_str() } else { "NEVER" };
        let row = values![
            store.next_id::<DeliveryId>(),
            organisation_id,
            self.copy_id,
            self.message_id,
            None::<i64>,
            self.reverse_path.to_string(),
            self.to,
            format!("connector:{}", self.connector),
            outbound::DeliveryState::Due.as_str(),
            0_i64,
            self.at,
            give_up_at,
            self.at,
            self.connector,
            self.role.as_str(),
            notify,
            self.rcpt_options.orcpt.as_str(),
            self.options.ret.as_str(),
            self.options.envid.as_str()
        ];
        Op::Insert("connector.insert_hand_over", row.to_vec())
    }
}

/// How hand-overs are made.
#[derive(Debug, Clone)]
pub struct HandOverConfig {
    /// Our name, for notifications.
    pub hostname: String,
    /// When to try again.
    pub schedule: RetrySchedule,
    /// No other process works on this store: leases that a dead one left are taken back at once.
    pub sole_owner: bool,
}

/// The running hand-overs, one loop for each connector.
pub struct HandOvers {
    tasks: Vec<JoinHandle<()>>,
}

impl HandOvers {
    /// Starts.
    pub fn start(
        directory: &Directory,
        connectors: &Connectors,
        config: &HandOverConfig,
        stop: CancellationToken,
    ) -> HandOvers {
        let start = |connector: &LmtpImap| {
            let store = directory.store().clone();
            let owner = format!("hand-over-{}", store.next_id::<i64>());
            let desk = Desk {
                store,
                connector: connector.clone(),
                config: config.clone(),
                owner,
                stop: stop.clone(),
                rng: Mutex::new(fastrand::Rng::new()),
                health: Mutex::new(0),
                outdated: Mutex::new(None),
            };
            tokio::spawn(Arc::new(desk).run())
        };
        HandOvers { tasks: connectors.iter().map(start).collect() }
    }

    /// Waits until all have stopped: what had begun is finished and recorded.
    pub async fn stopped(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!("a hand-over loop ended badly: {error}");
            }
        }
    }
}

struct Desk {
    store: Store,
    connector: LmtpImap,
    config: HandOverConfig,
    owner: String,
    stop: CancellationToken,
    rng: Mutex<fastrand::Rng>,
    /// How often in a row the system did not answer.
    health: Mutex<u32>,
    /// The organisation whose mail landed after it had waited, judged by rules that are not those of now.
    outdated: Mutex<Option<OrganisationId>>,
}

/// A claimed row.
struct Claimed {
    id: DeliveryId,
    organisation_id: OrganisationId,
    copy_id: CopyId,
    message_id: MessageId,
    campaign_id: Option<CampaignId>,
    reverse_path: ReversePath,
    mailbox_id: MailboxId,
    address: String,
    role: FolderRole,
    attempt_count: i64,
    give_up_at: Timestamp,
    created_at: Timestamp,
    received_at: Timestamp,
    options: MailOptions,
    rcpt_options: RcptOptions,
    rule_set_id: Option<i64>,
    body: BodyRef,
}

/// What a try came to.
enum Next {
    Landed { reply: String, role: FolderRole, folder: String, was_there: bool },
    Later { words: String, at: Timestamp },
    GaveUp { reply: Reply, kind: EventKind },
}

impl Desk {
    async fn run(self: Arc<Self>) {
        let tasks = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(self.connector.config().connections_max.max(1)));
        let free = Arc::new(Notify::new());
        let mut notices = self.store.bus().subscribe();
        self.take_back(self.config.sole_owner).await;
        while !self.stop.is_cancelled() {
            let turned = self.turn(&slots, &tasks, &free).await;
            let wait_ms = turned.unwrap_or_else(|error| {
                tracing::warn!("hand-overs to {} cannot be read: {error}", self.connector.name());
                LOOK_MS
            });
            let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).max(self.rest());
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                () = free.notified(), if self.rest().is_zero() => {}
                () = called(&mut notices), if self.rest().is_zero() => {}
                () = self.connector.answers_again() => self.note_health(false),
            }
        }
        tasks.close();
        if tokio::time::timeout(STOP_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("stopped with hand-overs under way; they will be tried again");
        }
    }

    /// Claims what is due and begins as many tries as there is room for; gives how long to wait when nothing happens.
    async fn turn(
        self: &Arc<Self>,
        slots: &Arc<Semaphore>,
        tasks: &TaskTracker,
        free: &Arc<Notify>,
    ) -> Result<i64, StoreError> {
        if !self.config.sole_owner {
            self.take_back(false).await;
        }
        let room = slots.available_permits();
        if room == 0 {
            return Ok(LOOK_MS);
        }
        let claimed = self.claim(room).await?;
        let count = claimed.len();
        for one in claimed {
            let Ok(permit) = slots.clone().acquire_owned().await else { break };
            tasks.spawn(self.clone().one(one, permit, free.clone()));
        }
        if count > 0 {
            // There may be more: the end of a try wakes us.
            return Ok(LOOK_MS);
        }
        self.purge_what_waited().await?;
        let due = self.store.query_one("connector.next_hand_over", &values![self.connector.name()]).await?;
        let due_at = due.map(|row| row.at("next_try_at")).transpose()?;
        Ok(due_at.map_or(LOOK_MS, |at| (at.ms_since(self.store.now()) + 1).clamp(50, LOOK_MS)))
    }

    /// A purge looks at what has landed, and so it has passed over what waited here. Once nothing is due any more, another
    /// one follows.
    async fn purge_what_waited(&self) -> Result<(), StoreError> {
        let outdated = self.outdated.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(organisation_id) = outdated else { return Ok(()) };
        let queued = async {
            let active = self.store.query_one("connector.active_rules", &values![organisation_id]).await?;
            let change_id = active.map(|row| row.opt_int("change_id")).transpose()?.flatten();
            let id: JobId = self.store.next_id();
            let title = format!("Look at mail that waited for {}", self.connector.name());
            let params = json!({});
            let job = values![id, organisation_id, "purge", title, change_id, &params, "", self.store.now()];
            self.store.execute("job.insert", &job).await?;
            self.store.bus().announce(Topic::Job, id);
            Ok(())
        };
        let queued = queued.await;
        if queued.is_err() {
            *self.outdated.lock().unwrap_or_else(PoisonError::into_inner) = Some(organisation_id);
        }
        queued
    }

    async fn note_rules(&self, copy: &Claimed) {
        let active = self.store.query_one("connector.active_rules", &values![copy.organisation_id]).await;
        let is_current = match active.map(|row| row.map(|row| row.int("id")).transpose()) {
            Ok(Ok(active)) => active.is_none() || copy.rule_set_id.is_none() || active == copy.rule_set_id,
            Ok(Err(_)) | Err(_) => false,
        };
        if !is_current {
            *self.outdated.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy.organisation_id);
        }
    }

    async fn take_back(&self, all: bool) {
        let before = if all { i64::MAX } else { self.store.now().as_micros() };
        let row = values![self.connector.name(), before];
        if let Err(error) = self.store.execute("connector.expire_hand_over_leases", &row).await {
            tracing::warn!("leases of hand-overs cannot be taken back: {error}");
        }
    }

    async fn claim(&self, room: usize) -> Result<Vec<Claimed>, StoreError> {
        let (now, limit) = (self.store.now(), i64::try_from(room).unwrap_or(1));
        let mut tx = self.store.begin().await?;
        let lease = values![self.owner.as_str(), now.plus_ms(LEASE_MS), self.connector.name(), now, limit];
        let rows = tx.query("connector.claim_hand_overs", &lease).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.int("id")).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = tx.query("connector.claimed_hand_overs", &values![serde_json::Value::from(ids)]).await?;
        let claimed = rows.iter().map(claimed).collect::<Result<Vec<_>, _>>()?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn one(self: Arc<Self>, copy: Claimed, permit: OwnedSemaphorePermit, free: Arc<Notify>) {
        let next = self.attempt(&copy).await;
        self.record(&copy, next).await;
        drop(permit);
        free.notify_one();
    }

    async fn attempt(&self, copy: &Claimed) -> Next {
        let body = match self.store.body(&copy.body).await {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(message.id = %copy.message_id, "the body of {} cannot be read: {error}", copy.message_id);
                return self.later(copy, FailureClass::Local, "the body could not be read".into());
            }
        };
        let hand_over = HandOver {
            copy_id: copy.copy_id,
            mailbox_id: copy.mailbox_id,
            address: &copy.address,
            role: copy.role,
            reverse_path: &copy.reverse_path,
            received_at: copy.received_at,
            body: &body,
            is_repeated: copy.attempt_count > 1,
        };
        let tried = tokio::time::timeout(TRY_MAX, self.connector.hand_over(&hand_over)).await;
        let handed = tried.unwrap_or_else(|_| Ok(HandedOver::Unclear("no answer in time".into())));
        self.note_health(matches!(handed, Err(MailboxError::Unreachable(_))));
        match handed {
            Ok(HandedOver::Landed { reply, folder, was_there }) => {
                let (role, folder) = folder.unwrap_or((copy.role, String::new()));
                Next::Landed { reply, role, folder, was_there }
            }
            Ok(HandedOver::Refused(reply)) if reply.class() == ReplyClass::Permanent => {
                Next::GaveUp { reply, kind: EventKind::Rejected }
            }
            Ok(HandedOver::Refused(reply)) => self.later(copy, FailureClass::Transient, reply.to_string()),
            Ok(HandedOver::Unclear(cause)) => self.later(copy, FailureClass::Connect, cause),
            Err(error) => self.later(copy, FailureClass::Connect, error.to_string()),
        }
    }

    fn later(&self, copy: &Claimed, class: FailureClass, words: String) -> Next {
        let now = self.store.now();
        let at = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            self.config.schedule.next_try(class, copy.attempt_count, now, &mut rng)
        };
        if at > copy.give_up_at {
            // RFC 3463 3.5: X.4.7, delivery time expired.
            let reply = Reply::permanent(554, (4, 7), format!("not delivered in time, last answer: {words}"));
            return Next::GaveUp { reply, kind: EventKind::Expired };
        }
        Next::Later { words, at }
    }

    fn note_health(&self, is_silent: bool) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = if is_silent { health.saturating_add(1) } else { 0 };
    }

    /// While a system does not answer, its queue is not hurried through.
    fn rest(&self) -> Duration {
        match *self.health.lock().unwrap_or_else(PoisonError::into_inner) {
            0 => Duration::ZERO,
            times => Duration::from_millis((REST_MS << (times - 1).min(8)).min(REST_MS_MAX)),
        }
    }

    async fn record(&self, copy: &Claimed, next: Next) {
        let notice = match &next {
            Next::GaveUp { reply, .. } => self.notice(copy, reply).await,
            Next::Landed { .. } | Next::Later { .. } => None,
        };
        let (row, event) = self.rows(copy, &next);
        let outcome =
            Outcome { delivery_id: copy.id, row, events: vec![Op::Event(event)], consequences: Vec::new(), notice };
        if !outcome.write(&self.store, &self.stop).await {
            return;
        }
        if matches!(next, Next::Landed { .. }) {
            self.note_rules(copy).await;
        }
        let bus = self.store.bus();
        bus.announce(Topic::Ledger, copy.campaign_id.map_or(0, |id| id.0));
        bus.announce(Topic::Mailbox, copy.mailbox_id);
    }

    /// The guarded move of the row, and the event of the copy.
    fn rows(&self, copy: &Claimed, next: &Next) -> (Op, NewEvent) {
        let now = self.store.now();
        let name = self.connector.name();
        let attempt_count = copy.attempt_count;
        let finish = |state: &str, words: &str| {
            let row = values![state, words, copy.id, self.owner.as_str(), attempt_count];
            Op::EachGuarded("delivery.finish", row.to_vec())
        };
        let event = |kind, detail| {
            let mut event = NewEvent::now(copy.organisation_id, copy.copy_id, kind, SOURCE, now);
            event.detail = detail;
            event
        };
        match next {
            Next::Landed { reply, role, folder, was_there } => {
                let words = clean(reply);
                let mut landed = event(
                    EventKind::Accepted,
                    json!({ "reply": words, "connector": name, "attempt_count": attempt_count, "was_there": was_there }),
                );
                let (place, place_detail) = role.whereabouts(folder);
                landed.place = Some(place);
                landed.place_detail = place_detail;
                (finish("done", &words), landed)
            }
            Next::Later { words, at } => {
                let words = clean(words);
                let detail = json!({
                    "reply": words, "connector": name, "attempt_count": attempt_count, "next_try_at": at.to_rfc3339(),
                });
                let defer = values![*at, &words, copy.id, self.owner.as_str(), attempt_count];
                let mut deferred = event(EventKind::Deferred, detail);
                deferred.place = Some(Place::OnItsWay);
                (Op::EachGuarded("delivery.defer", defer.to_vec()), deferred)
            }
            Next::GaveUp { reply, kind } => {
                let words = clean(&reply.to_string());
                let detail = json!({ "reply": words, "connector": name, "attempt_count": attempt_count });
                (finish("failed", &words), event(*kind, detail))
            }
        }
    }

    /// We answered 250, so its sender hears of the failure; a campaign's failures are evidence of its copies.
    async fn notice(&self, copy: &Claimed, reply: &Reply) -> Option<Notice> {
        let recipient = Address::parse(&copy.address).ok().filter(|_| copy.campaign_id.is_none())?;
        let notification = Notification {
            organisation_id: copy.organisation_id,
            hostname: &self.config.hostname,
            action: ReportAction::Failed,
            reverse_path: &copy.reverse_path,
            recipient: &recipient,
            options: &copy.options,
            rcpt_options: &copy.rcpt_options,
            remote_mta: None,
            reply,
            arrived_at: copy.created_at,
            retry_until: None,
        };
        let original = self.store.body(&copy.body).await.unwrap_or_default();
        notification.write(&self.store, &original)
    }
}

/// Waits until mail has come for some mailbox, or a person has touched the queue.
async fn called(notices: &mut tokio::sync::broadcast::Receiver<store::Notice>) {
    loop {
        match notices.recv().await {
            Ok(notice) if matches!(notice.topic, Topic::Mailbox | Topic::Delivery) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending::<()>().await,
        }
    }
}

fn claimed(row: &Row) -> Result<Claimed, StoreError> {
    let reverse_path = row.text("reverse_path")?;
    Ok(Claimed {
        id: row.id("id")?,
        organisation_id: row.id("organisation_id")?,
        copy_id: row.id("copy_id")?,
        message_id: row.id("message_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        // A path that does not parse was checked by nobody: the null path gets no answer.
        reverse_path: reverse_path.parse().unwrap_or(ReversePath::Null),
        mailbox_id: row.id("mailbox_id")?,
        address: row.text("address")?.to_owned(),
        role: FolderRole::parse(row.text("folder_role")?).unwrap_or(FolderRole::Inbox),
        attempt_count: row.int("attempt_count")?,
        give_up_at: row.at("give_up_at")?,
        created_at: row.at("created_at")?,
        received_at: row.at("received_at")?,
        options: MailOptions {
            ret: row.text("ret")?.to_owned(),
            envid: row.text("envid")?.to_owned(),
            ..MailOptions::default()
        },
        rcpt_options: RcptOptions { notify: row.text("notify")?.to_owned(), orcpt: row.text("orcpt")?.to_owned() },
        rule_set_id: row.opt_int("rule_set_id")?,
        body: BodyRef::from_row(row)?,
    })
}

/// A system's words enter SQL without NUL and bounded.
fn clean(words: &str) -> String {
    SqlText::new(words).as_str().to_owned()
}
