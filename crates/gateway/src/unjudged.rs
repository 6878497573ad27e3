//! Mail without a verdict: when it is let in, and how it gets one later.
//!
//! Judging fails (a rule panics), or an administrator has switched it off: such mail is stored as any other, stamped
//! *unjudged*, with a row that says that a verdict is owed. [`LateJudge`] pays: it judges by the facts that were stored on
//! arrival, writes the verdict, tells each copy's story so, and leaves what should not have come in to a purge job.
//!
//! Schema 17 stored mail whose body had not been read, with the facts of its header alone. What is left of it is read here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use directory::{Bypass, Directory, DirectoryError, Protection, ProtectionCache};
use message::{Limits, headers};
use model::{CopyId, EventKind, Facts, JobId, MessageId, Unjudged, Verdict, VerdictClass};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Row, Store, StoreError, Topic, Tx, values};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use verdict::TermKind;

use crate::Judge;
use crate::commit::term_rows;

/// How often rows are looked at.
const LOOK_MS: u64 = 1_000;
/// Messages judged in one transaction.
const BATCH_MAX: i64 = 64;
/// Copies of a message whose story is told; a message has fewer recipients.
const COPIES_MAX: i64 = 10_000;
/// The rest of a message that cannot be judged, or entered, yet: doubled with each further try.
const REST_MS: i64 = 5_000;
const REST_MS_MAX: i64 = 10 * 60 * 1000;
/// How far back a purge of late verdicts reaches, in milliseconds: 30 days.
const WINDOW_MS: i64 = 30 * 24 * 60 * 60 * 1000;
const SOURCE: &str = "gateway";
/// Who starts the purges.
const ACTOR: &str = "Landfall";

/// How long what was tried so often rests.
pub(crate) fn rest_ms(try_count: i64) -> i64 {
    REST_MS.saturating_mul(1_i64 << try_count.clamp(0, 16)).min(REST_MS_MAX)
}

/// Judges one mail. `None`: the judge panicked.
pub(crate) fn judge(judge: Judge, facts: &Facts, protection: &Protection) -> Option<Verdict> {
    catch_unwind(AssertUnwindSafe(|| judge(facts, &protection.rule_set, facts.received_at))).ok()
}

/// Knows whether judging is off, without asking the rows for every mail.
pub(crate) struct BypassWatch {
    directory: Directory,
    look: Duration,
    seen: Mutex<Option<(Instant, Option<Bypass>)>>,
}

impl BypassWatch {
    pub(crate) fn new(directory: Directory, look_ms: u64) -> Self {
        BypassWatch { directory, look: Duration::from_millis(look_ms), seen: Mutex::default() }
    }

    /// Whether judging is off now. What cannot be read is not off.
    pub(crate) async fn is_on(&self) -> bool {
        let now = self.directory.store().now();
        let in_force = |bypass: &Option<Bypass>| bypass.as_ref().is_some_and(|bypass| bypass.until_at > now);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, bypass)) = seen
            && at.elapsed() < self.look
        {
            return in_force(&bypass);
        }
        let found = self.directory.bypass().await;
        let found =
            found.inspect_err(|error| tracing::warn!(%error, "whether judging is off cannot be read")).ok().flatten();
        let is_on = in_force(&found);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found));
        is_on
    }
}

/// Gives verdicts to mail that came in without one. Several may run, in one process or in many.
#[derive(Clone)]
pub struct LateJudge {
    store: Store,
    directory: Directory,
    protection: ProtectionCache,
    judge: Judge,
    limits: Limits,
}

/// A message whose facts are whole.
struct Seen {
    message_id: MessageId,
    reason: Unjudged,
    try_count: i64,
    facts: Facts,
    /// The facts were made just now: the message has none yet.
    is_new: bool,
}

impl Seen {
    /// Gives the message its facts and the terms under which it is found, if it had none.
    fn ops(&self) -> Vec<Op> {
        if !self.is_new {
            return Vec::new();
        }
        let id = self.message_id;
        let terms = term_rows(&self.facts, id).into_iter().map(|row| Op::Each("message.insert_terms", row));
        let facts = Op::Each("unjudged.set_facts", values![json!(self.facts), id].to_vec());
        std::iter::once(facts).chain(terms).collect()
    }
}

/// A message that has its verdict.
struct Judged {
    seen: Seen,
    verdict: Verdict,
}

impl LateJudge {
    /// A worker that is driven by [`LateJudge::work_off`] and reads bodies within `limits`.
    pub fn new(directory: &Directory, protection: ProtectionCache, judge: Judge, limits: Limits) -> Self {
        LateJudge { store: directory.store().clone(), directory: directory.clone(), protection, judge, limits }
    }

    /// Works until `cancel`, and ends between two batches.
    pub fn start(self, cancel: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                if let Err(error) = self.work_off().await {
                    tracing::warn!(%error, "mail without a verdict could not be judged; it is tried again");
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => {}
                }
            }
        })
    }

    /// Judges whatever waits now, unless judging is off; gives how many have a verdict since.
    ///
    /// # Errors
    /// [`DirectoryError`] when rows could not be read or written.
    pub async fn work_off(&self) -> Result<usize, DirectoryError> {
        self.directory.note_ended_bypasses().await?;
        let mut judged_count = 0;
        while self.directory.bypass().await?.is_none() {
            let rows = self.rows().await?;
            if rows.is_empty() {
                return Ok(judged_count);
            }
            judged_count += self.judge_batch(&rows).await?;
        }
        Ok(judged_count)
    }

    async fn rows(&self) -> Result<Vec<Row>, StoreError> {
        self.store.query("unjudged.due", &values![self.directory.id(), self.store.now(), BATCH_MAX]).await
    }

    async fn judge_batch(&self, rows: &[Row]) -> Result<usize, DirectoryError> {
        let protection = self.protection.current();
        let mut judged = Vec::new();
        for seen in self.see(rows).await? {
            match judge(self.judge, &seen.facts, &protection) {
                Some(verdict) => judged.push(Judged { seen, verdict }),
                None => self.put_off(seen.message_id, seen.try_count).await?,
            }
        }
        let job_id = self.write(&judged).await?;
        if let Some(job_id) = job_id {
            self.store.bus().announce(Topic::Job, job_id);
        }
        Ok(judged.len())
    }

    /// The messages with whole facts. What cannot be read now is put off.
    async fn see(&self, rows: &[Row]) -> Result<Vec<Seen>, StoreError> {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let (message_id, try_count): (MessageId, _) = (row.id("message_id")?, row.int("try_count")?);
            let reason = Unjudged::parse(row.text("reason")?).unwrap_or(Unjudged::Failure);
            let stored = row.opt_json::<Facts>("facts").ok().flatten();
            let (facts, is_new) = match stored {
                Some(facts) => (Some(facts), false),
                None => (self.read_behind(row, message_id).await, true),
            };
            match facts {
                Some(facts) => all.push(Seen { message_id, reason, try_count, facts, is_new }),
                None => self.put_off(message_id, try_count).await?,
            }
        }
        Ok(all)
    }

    /// Adds what the stored body says to the facts of the header.
    async fn read_behind(&self, row: &Row, message_id: MessageId) -> Option<Facts> {
        let header = row.opt_json::<Facts>("header_facts").ok().flatten()?;
        let stored = match self.store.body(&BodyRef::from_row(row).ok()?).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(message.id = %message_id, %error, "the body of a mail without a verdict cannot be read");
                return None;
            }
        };
        let limits = self.limits;
        let read = tokio::task::spawn_blocking(move || {
            let received = headers::below_unjudged_mark(&stored)?;
            Some(message::parse_body(received, &limits, header))
        });
        read.await.ok().flatten()
    }

    async fn put_off(&self, message_id: MessageId, try_count: i64) -> Result<(), StoreError> {
        tracing::error!(message.id = %message_id, "a mail without a verdict cannot be judged yet");
        let at = self.store.now().plus_ms(rest_ms(try_count));
        self.store.execute("unjudged.put_off", &values![message_id, at]).await?;
        Ok(())
    }

    /// Verdicts, notes and the purge of what is not clean, in one transaction.
    async fn write(&self, judged: &[Judged]) -> Result<Option<JobId>, StoreError> {
        let mut tx = self.store.begin().await?;
        let job_id: JobId = self.store.next_id();
        let mut bad_count = 0;
        for one in judged {
            let message_id = one.seen.message_id;
            tx.apply(one.seen.ops()).await?;
            if tx.execute("unjudged.take", &values![message_id]).await? == 0 {
                continue; // another worker has it
            }
            let verdict = json!(one.verdict);
            let row = values![&verdict, one.verdict.class.as_str(), one.verdict.rule_set_id, message_id];
            tx.execute("unjudged.set_verdict", &row).await?;
            self.tell(&mut tx, one).await?;
            if one.verdict.class != VerdictClass::Clean {
                bad_count += 1;
                let term = values![TermKind::LateBatch.as_str(), job_id.to_string(), message_id].to_vec();
                tx.execute_each("message.insert_terms", vec![term]).await?;
            }
        }
        if bad_count > 0 {
            self.insert_purge(&mut tx, job_id, bad_count).await?;
        }
        tx.commit().await?;
        Ok((bad_count > 0).then_some(job_id))
    }

    async fn tell(&self, tx: &mut Tx, one: &Judged) -> Result<(), StoreError> {
        let copies = tx.query("unjudged.copies", &values![one.seen.message_id, COPIES_MAX]).await?;
        let mut events = Vec::with_capacity(copies.len());
        for copy in &copies {
            let copy_id: CopyId = copy.id("id")?;
            let mut event = NewEvent::now(self.directory.id(), copy_id, EventKind::Judged, SOURCE, self.store.now());
            event.detail = json!({
                "unjudged": one.seen.reason,
                "class": one.verdict.class,
                "sentence": verdict::sentence(&one.verdict),
                "rule_set_id": one.verdict.rule_set_id,
                "message_id": one.seen.message_id,
            });
            events.push(event);
        }
        tx.append_events(&events).await
    }

    async fn insert_purge(&self, tx: &mut Tx, job_id: JobId, count: usize) -> Result<(), StoreError> {
        let params = json!({
            "terms": [[TermKind::LateBatch.as_str(), job_id.to_string()]], "window_ms": WINDOW_MS, "late": true,
        });
        let title = format!("Take back what came in unjudged: {count} {}", if count == 1 { "mail" } else { "mails" });
        let row = values![job_id, self.directory.id(), "purge", &title, None::<i64>, &params, ACTOR, self.store.now()];
        tx.execute("job.insert", &row).await?;
        Ok(())
    }
}
