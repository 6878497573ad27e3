//! The incoming queue: mail that is accepted before it is entered into mailboxes.
//!
//! While judging is switched off, nothing that is found out about a mail changes its reply. So it is answered as soon as the mail,
//! its envelope and a row for each recipient are committed: a few small rows instead of thirty. [`IncomingWorker`] enters it right
//! behind: authenticates, reads, plans and commits it as any other mail, and the same commit takes it out of the queue. When mail
//! comes in faster than it can be entered, what arrives goes first and the queue takes the burst, up to bounds; past them mail is
//! entered before it is answered, as at other times.
//!
//! What is in the queue is in the ledger and in searches only when it has been entered. A process that dies leaves its queue in
//! the database; whoever runs next enters it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use message::{ReportAction, headers};
use model::{Address, Envelope, Facts, MessageId, Reply};
use outbound::{Notice, Notification};
use serde_json::json;
use store::{Op, Row, Store, StoreError, Submission, Topic, values};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::beside::Beside;
use crate::decide::Plan;
use crate::enrich::Mail;
use crate::gateway::{Inner, Judged, Whose, accepted, in_circles, refusal};
use crate::told::may_tell;
use crate::unjudged::rest_ms;
use crate::writing::Writing;

/// A larger mail is entered before it is answered: rows are no place for it.
const MAIL_BYTES_MAX: usize = 256 * 1024;
/// Mail that may wait, and its size; past either it is entered before it is answered.
const WAITING_MAX: i64 = 50_000;
const WAITING_BYTES_MAX: i64 = 512 * 1024 * 1024;
/// Mails entered by one commit.
const BATCH_MAX: i64 = 64;
/// While mail comes in faster than it can be entered, one batch is entered in so long.
const PRESSED_PAUSE: Duration = Duration::from_millis(500);
/// So many sessions waiting for their commit, on average, mean that the store is what they wait for.
const PRESSED_MIN: u64 = 3;
/// Weight of the past in that average.
const MEMORY: u64 = 16;
/// Nobody came for so long: the average of before means nothing.
const CALM: Duration = Duration::from_millis(50);
/// How often rows are looked at when nothing is announced, and how long they may wait for the process that took them in.
const LOOK: Duration = Duration::from_secs(1);
const OTHERS_MS: i64 = 5_000;

/// What this process knows of the queue. The rows are the truth.
pub(crate) struct Incoming {
    /// Whose rows it writes.
    owner: i64,
    mail_count: AtomicI64,
    size_bytes: AtomicI64,
    pressure: Pressure,
    came: Notify,
}

impl Incoming {
    pub(crate) fn new(store: &Store) -> Incoming {
        Incoming {
            owner: store.next_id(),
            mail_count: AtomicI64::new(0),
            size_bytes: AtomicI64::new(0),
            pressure: Pressure::new(),
            came: Notify::new(),
        }
    }

    /// Whether this mail may wait.
    pub(crate) fn has_room(&self, mail: &Mail) -> bool {
        mail.body.len() <= MAIL_BYTES_MAX
            && self.mail_count.load(Ordering::Relaxed) < WAITING_MAX
            && self.size_bytes.load(Ordering::Relaxed) < WAITING_BYTES_MAX
    }

    fn count(&self, mails: i64, bytes: i64) {
        self.mail_count.fetch_add(mails, Ordering::Relaxed);
        self.size_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How many sessions wait for their commit at the same time, lately.
struct Pressure {
    since: Instant,
    waiting_count: AtomicU64,
    /// The average, times [`MEMORY`].
    average: AtomicU64,
    /// When the last one came, in milliseconds since `since`.
    last_ms: AtomicU64,
}

impl Pressure {
    fn new() -> Pressure {
        let zero = || AtomicU64::new(0);
        Pressure { since: Instant::now(), waiting_count: zero(), average: zero(), last_ms: zero() }
    }

    /// A session waits for as long as it holds what this gives: also one whose time runs out meanwhile.
    fn enter(&self) -> Waits<'_> {
        let seen = self.waiting_count.fetch_add(1, Ordering::Relaxed) + 1;
        let average = if self.is_calm() { 0 } else { self.average.load(Ordering::Relaxed) };
        // Two at once may lose one of their steps: an average stands that.
        self.average.store(average - average / MEMORY + seen, Ordering::Relaxed);
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
        Waits(&self.waiting_count)
    }

    fn is_high(&self) -> bool {
        !self.is_calm() && self.average.load(Ordering::Relaxed) >= PRESSED_MIN * MEMORY
    }

    /// Whether nobody has come lately.
    fn is_calm(&self) -> bool {
        let silent_ms = self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        u128::from(silent_ms) >= CALM.as_millis()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One that waits.
struct Waits<'a>(&'a AtomicU64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Accepts a mail into the queue: committed when this answers 250.
    pub(crate) async fn take_in(&self, mail: &Mail) -> Result<Reply, Reply> {
        if headers::count(&mail.body, "Received") >= self.config.received_count_max as usize {
            return Err(in_circles());
        }
        let id: MessageId = self.store.next_id();
        let (size, at) = (signed(mail.body.len()), mail.received_at);
        let (owner, envelope) = (self.incoming.owner, json!(*mail.envelope));
        let row = values![id, self.directory.id(), owner, at, at, 0_i64, size, envelope, mail.body.clone()];
        let mut ops = vec![Op::Insert("incoming.insert", row.to_vec())];
        ops.extend(mail.envelope.forward_paths.iter().enumerate().map(|(position, path)| {
            Op::Insert("incoming.insert_recipient", values![id, signed(position), path.key(), "deliver"].to_vec())
        }));
        let waits = self.incoming.pressure.enter();
        let done = self.store.commit(Submission::rows(ops)).await;
        drop(waits);
        if let Err(error) = done
            && !self.is_taken_in(id).await
        {
            return Err(refusal(&error));
        }
        self.incoming.count(1, size);
        self.incoming.came.notify_one();
        Ok(accepted(id))
    }

    /// Whether a commit came to pass whose answer was lost. The worker may have been at it meanwhile.
    async fn is_taken_in(&self, id: MessageId) -> bool {
        let found = self.store.query_one("incoming.arrived", &values![id]).await;
        found.is_ok_and(|row| row.is_some())
    }

    /// Finds out all about a mail of the queue.
    async fn ready(&self, waiting: Waiting) -> Result<Ready, Reply> {
        let Waiting { id, mail } = waiting;
        let Whose { addressees, gone } = self.whose(&mail.envelope).await?;
        let (facts, plans) = self.prepare(&mail, addressees).await?;
        let notices = self.notices(&mail, &facts, &gone);
        Ok(Ready { waited: Waited { id, notices }, mail, facts, plans, gone })
    }

    /// Enters it into mailboxes and takes it out of the queue.
    async fn enter(&self, ready: &Ready) -> Result<(), Reply> {
        let Ready { waited, mail, facts, plans, gone } = ready;
        self.note_report(mail, waited.id).await?;
        let judged = Judged { mail, facts, verdict: None, gone, beside: Beside::Waited(waited) };
        self.commit(&judged, plans.clone(), waited.id).await?;
        if !waited.notices.is_empty() {
            self.store.bus().announce(Topic::Delivery, 0_i64);
        }
        self.incoming.count(-1, -signed(mail.body.len()));
        Ok(())
    }

    /// To the sender, for those who are not here any more.
    fn notices(&self, mail: &Mail, facts: &Facts, gone: &[Address]) -> Vec<Notice> {
        if !may_tell(mail, facts) {
            return Vec::new();
        }
        let reply = Reply::permanent(550, (1, 1), "there is no such user here");
        let notice = |path: &Address| {
            let at = mail.envelope.forward_paths.iter().position(|named| named == path)?;
            let notification = Notification {
                organisation_id: self.directory.id(),
                hostname: &self.config.hostname,
                action: ReportAction::Failed,
                reverse_path: &mail.envelope.reverse_path,
                recipient: path,
                options: &mail.envelope.options,
                rcpt_options: &mail.envelope.options_of(at),
                remote_mta: None,
                reply: &reply,
                arrived_at: mail.received_at,
                retry_until: None,
            };
            notification.write(&self.store, &mail.body)
        };
        gone.iter().filter_map(notice).collect()
    }
}

/// A mail of the queue.
struct Waiting {
    id: MessageId,
    mail: Mail,
}

impl Waiting {
    fn from_row(row: &Row) -> Result<Waiting, StoreError> {
        let envelope: Envelope = row.json("envelope")?;
        let mail = Mail { envelope: Arc::new(envelope), body: row.bytes("raw")?, received_at: row.at("received_at")? };
        Ok(Waiting { id: row.id("id")?, mail })
    }
}

/// A mail of the queue, about to be entered.
struct Ready {
    waited: Waited,
    mail: Mail,
    facts: Facts,
    plans: Vec<Plan>,
    gone: Vec<Address>,
}

/// What is written beside a mail of the queue when it is entered.
pub(crate) struct Waited {
    id: MessageId,
    notices: Vec<Notice>,
}

impl Waited {
    pub(crate) async fn is_there(&self, store: &Store) -> Result<bool, StoreError> {
        Ok(store.query_one("incoming.tries", &values![self.id]).await?.is_some())
    }

    pub(crate) fn writing(&self) -> Writing {
        let (row, notices) = (values![self.id].to_vec(), self.notices.clone());
        let bodies: Vec<Bytes> = notices.iter().map(|notice| notice.body.clone()).collect();
        Writing::with_bodies(bodies, move |places| {
            let taken = Op::EachGuarded("incoming.take", row.clone());
            let mut ops = vec![taken, Op::Each("incoming.take_recipients", row.clone())];
            ops.extend(notices.iter().zip(places).flat_map(|(notice, place)| notice.ops(place)));
            ops
        })
    }
}

/// Enters what is in the incoming queue. Several may run, in one process or in many.
#[derive(Clone)]
pub struct IncomingWorker {
    gateway: Gateway,
    others_ms: i64,
}

impl IncomingWorker {
    /// A worker for the mail that `gateway` takes in, and for what a process before left behind.
    pub fn new(gateway: &Gateway) -> IncomingWorker {
        IncomingWorker { gateway: gateway.clone(), others_ms: OTHERS_MS }
    }

    /// Nobody else works on these rows: what was left behind is entered at once.
    #[must_use]
    pub fn alone(self) -> IncomingWorker {
        IncomingWorker { others_ms: 0, ..self }
    }

    /// Works until `cancel`, and ends between two batches.
    pub fn start(self, cancel: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(async move {
            let incoming = &self.gateway.inner.incoming;
            loop {
                let entered = self.work_off_batch().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "accepted mail could not be entered; it is tried again");
                    0
                });
                let pause = async {
                    match entered {
                        0 => drop(tokio::time::timeout(LOOK, incoming.came.notified()).await),
                        _ if incoming.pressure.is_high() => tokio::time::sleep(PRESSED_PAUSE).await,
                        _ => {}
                    }
                };
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    () = pause => {}
                }
            }
        })
    }

    /// Enters whatever waits now; gives how many mails.
    ///
    /// # Errors
    /// [`StoreError`] when the rows could not be read.
    pub async fn work_off(&self) -> Result<usize, StoreError> {
        let mut entered_count = 0;
        loop {
            match self.work_off_batch().await? {
                0 => return Ok(entered_count),
                entered => entered_count += entered,
            }
        }
    }

    async fn work_off_batch(&self) -> Result<usize, StoreError> {
        if self.gateway.inner.store.health().trouble().is_some() {
            return Ok(0);
        }
        let rows = self.rows().await?;
        if rows.is_empty() {
            self.count_again().await?;
            return Ok(0);
        }
        let ready = self.ready(&rows).await;
        // In the order in which they came: the commit keeps it.
        // A mail that makes us panic must not end the worker: the others would wait for ever.
        let entering = ready.iter().map(|ready| AssertUnwindSafe(self.gateway.inner.enter(ready)).catch_unwind());
        let done = join_all(entering).await;
        let mut entered_count = 0;
        for (ready, done) in ready.iter().zip(done) {
            match done {
                Ok(Ok(())) => entered_count += 1,
                Ok(Err(reply)) => self.put_off(ready.waited.id, &reply.to_string()).await,
                Err(_panic) => self.put_off(ready.waited.id, "it made us panic").await,
            }
        }
        Ok(entered_count)
    }

    async fn rows(&self) -> Result<Vec<Row>, StoreError> {
        let inner = &self.gateway.inner;
        let (of, now) = (inner.directory.id(), inner.store.now());
        let own = inner.store.query("incoming.due", &values![of, now, inner.incoming.owner, BATCH_MAX]).await?;
        if !own.is_empty() {
            return Ok(own);
        }
        inner.store.query("incoming.left_behind", &values![of, now, now.plus_ms(-self.others_ms), BATCH_MAX]).await
    }

    /// Those that can be entered now, side by side found out about; the others are put off.
    async fn ready(&self, rows: &[Row]) -> Vec<Ready> {
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows {
            let Ok(id) = row.id::<MessageId>("id") else { continue };
            let (inner, waiting) = (self.gateway.inner.clone(), Waiting::from_row(row));
            let task = tokio::spawn(async move {
                match waiting {
                    Ok(waiting) => inner.ready(waiting).await.map_err(|reply| reply.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            });
            tasks.push((id, task));
        }
        let mut ready = Vec::with_capacity(tasks.len());
        for (id, task) in tasks {
            match task.await {
                Ok(Ok(one)) => ready.push(one),
                Ok(Err(problem)) => self.put_off(id, &problem).await,
                Err(panic) => self.put_off(id, &panic.to_string()).await,
            }
        }
        ready
    }

    /// Another worker may have entered it meanwhile: then there is nothing to put off. While the store is in trouble it is not
    /// the mail that fails, and nothing rests longer for it.
    async fn put_off(&self, id: MessageId, problem: &str) {
        let store = &self.gateway.inner.store;
        if store.health().trouble().is_some() {
            tracing::debug!(message.id = %id, "accepted mail waits for the store: {problem}");
            return;
        }
        let done = async {
            let Some(row) = store.query_one("incoming.tries", &values![id]).await? else { return Ok(false) };
            let at = store.now().plus_ms(rest_ms(row.int("try_count")?));
            Ok::<bool, StoreError>(store.execute("incoming.put_off", &values![id, at]).await? > 0)
        };
        match done.await {
            Ok(true) => tracing::error!(message.id = %id, "an accepted mail cannot be entered yet: {problem}"),
            Ok(false) => {}
            Err(error) => tracing::warn!(message.id = %id, %error, "an accepted mail cannot be put off"),
        }
    }

    /// What is counted here drifts when others help, or when this process has just begun.
    async fn count_again(&self) -> Result<(), StoreError> {
        let inner = &self.gateway.inner;
        if let Some(row) = inner.store.query_one("incoming.waiting", &values![inner.directory.id()]).await? {
            inner.incoming.mail_count.store(row.int("mail_count")?, Ordering::Relaxed);
            inner.incoming.size_bytes.store(row.int("size_bytes")?, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn signed(unsigned: usize) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use model::{BodyType, ClientInfo, MailOptions, RcptOptions, ReversePath, SubmissionLogin, TlsInfo};

    use super::*;

    #[test]
    fn an_envelope_comes_out_of_the_queue_as_it_went_in() {
        let mut client = ClientInfo::at("2001:db8::9".parse().unwrap());
        (client.helo, client.esmtp, client.lmtp) = ("ü \u{0}\"x".into(), true, true);
        client.tls = Some(TlsInfo { version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into() });
        client.login = Some(SubmissionLogin {
            account_id: 1.into(),
            person_id: 2.into(),
            address: "ada@contoso.example".into(),
            may_send_as_others: true,
        });
        let odd = ["\"a b\"@x.example", "ü@bücher.example", "a@[IPv6:2001:db8::1]", "\"\\\"<>\"@x.example"];
        let envelope = Envelope {
            reverse_path: ReversePath::Null,
            forward_paths: odd.iter().map(|address| address.parse().unwrap()).collect(),
            body_type: BodyType::EightBitMime,
            declared_size_bytes: Some(7),
            options: MailOptions { envid: "QQ314159".into(), ret: "FULL".into(), ..MailOptions::default() },
            rcpt_options: vec![RcptOptions { notify: "SUCCESS,FAILURE".into(), orcpt: "rfc822;a+2B@x".into() }],
            client,
        };
        let back: Envelope = serde_json::from_str(&json!(envelope).to_string()).unwrap();
        assert_eq!(back, envelope);
    }

    #[tokio::test(start_paused = true)]
    async fn pressure_is_many_who_wait_and_ends_when_nobody_comes() {
        let pressure = Pressure::new();
        let one_after_the_other = || (0..100).for_each(|_| drop(pressure.enter()));
        one_after_the_other();
        assert!(!pressure.is_high());
        let waiting: Vec<Waits<'_>> = (0..8).map(|_| pressure.enter()).collect();
        one_after_the_other();
        assert!(pressure.is_high(), "eight others wait all the time");
        drop(waiting);
        tokio::time::advance(CALM).await;
        assert!(!pressure.is_high(), "nobody came");
        drop(pressure.enter());
        assert!(!pressure.is_high(), "one who comes after a while is none");
    }
}
