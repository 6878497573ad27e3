//! Jobs: rows that say what long work there is, who does it now and how far it is.
//!
//! A worker holds a job by its lease and renews it with every batch, in the batch's transaction. One that was overtaken
//! finds its lease gone, and its batch is rolled back: no batch counts twice.

use model::{JobId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Row, StoreError, Topic, Tx, values};

use crate::outcome::counted;
use crate::view::word;
use crate::{Actor, PAGE_MAX, Quarantine, QuarantineError, Selection};

/// How long a worker may be silent before another takes its job over.
pub(crate) const LEASE_MS: i64 = 15_000;
/// How long a job rests after a passing failure.
const REST_MS: i64 = 2_000;
/// The longest rest while a mailbox system does not answer.
const REST_MS_MAX: i64 = 30_000;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Nobody works on it yet.
    Waiting,
    /// Somebody does.
    Running,
    /// Done.
    Done,
    /// Given up; the result says why.
    Failed,
}

impl JobState {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
        }
    }

    /// The state for a word.
    pub fn parse(text: &str) -> Option<Self> {
        use JobState::{Done, Failed, Running, Waiting};
        [Waiting, Running, Done, Failed].into_iter().find(|state| state.as_str() == text)
    }
}

/// A job as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// `purge`, `restore`, `release`, or another's.
    pub kind: String,
    /// What it is about.
    pub title: String,
    /// Its state.
    pub state: JobState,
    /// The change or campaign it works for.
    pub cause_id: Option<i64>,
    /// Copies looked at (purge) or decided.
    pub done_count: i64,
    /// Copies that could not be.
    pub failed_count: i64,
    /// Copies there are.
    pub total_count: i64,
    /// What came of it, in a sentence; empty before its end.
    pub result: String,
    /// Who started it.
    pub actor: String,
    /// When it was put down.
    pub created_at: Timestamp,
    /// When work began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Job {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Job {
            id: row.id("id")?,
            kind: row.text("kind")?.to_owned(),
            title: row.text("title")?.to_owned(),
            state: word(row, "state", JobState::parse)?,
            cause_id: row.opt_int("cause_id")?,
            done_count: row.int("done_count")?,
            failed_count: row.int("failed_count")?,
            total_count: row.int("total_count")?,
            result: row.text("result")?.to_owned(),
            actor: row.text("actor")?.to_owned(),
            created_at: row.at("created_at")?,
            started_at: row.opt_at("started_at")?,
            finished_at: row.opt_at("finished_at")?,
        })
    }
}

/// How far a job is: kept in its params, so that whoever takes over goes on where it stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// The start of the purge's window; `None`: not begun.
    pub since_at: Option<Timestamp>,
    /// The last message or item that is done with.
    pub cursor: i64,
    /// Copies moved to quarantine, or out of it.
    pub moved_count: i64,
    /// Copies moved to Junk, or back from it.
    pub junk_count: i64,
    /// Copies left where they were.
    pub left_count: i64,
    /// Mailboxes could not be reached in this pass: another one begins where the first of them was.
    pub late: Option<Late>,
    /// How many passes were made for that.
    pub pass_count: u32,
    /// When the first of them ended.
    pub began_at: Option<Timestamp>,
}

/// Where a pass met the first mailbox that could not be reached, with the counts of then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Late {
    pub cursor: i64,
    pub moved_count: i64,
    pub left_count: i64,
    pub done_count: i64,
    pub failed_count: i64,
    /// Copies that wait.
    pub copy_count: i64,
    /// Why the first of them does.
    pub why: String,
}

/// What a job is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Purge,
    Restore,
    Release,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "purge" => Some(Kind::Purge),
            "restore" => Some(Kind::Restore),
            "release" => Some(Kind::Release),
            _ => None,
        }
    }
}

/// Parameters of a release job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReleaseParams {
    pub selection: Selection,
    pub role: model::Role,
}

/// A job in the hands of this worker.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub id: JobId,
    pub kind: Kind,
    pub cause_id: Option<i64>,
    pub params: serde_json::Value,
    pub actor: String,
    pub done_count: i64,
    pub failed_count: i64,
    pub total_count: i64,
    pub progress: Progress,
    lease_until: Timestamp,
}

impl Claimed {
    fn from_row(row: &Row, lease_until: Timestamp) -> Result<Self, QuarantineError> {
        let params: serde_json::Value = row.json("params")?;
        let progress = match params.get("progress") {
            Some(progress) => serde_json::from_value(progress.clone()).map_err(params_error)?,
            None => Progress::default(),
        };
        Ok(Claimed {
            id: row.id("id")?,
            kind: word(row, "kind", Kind::parse)?,
            cause_id: row.opt_int("cause_id")?,
            params,
            actor: row.text("actor")?.to_owned(),
            done_count: row.int("done_count")?,
            failed_count: row.int("failed_count")?,
            total_count: row.int("total_count")?,
            progress,
            lease_until,
        })
    }

    /// Writes down how far the job is, in the transaction of the batch, and renews the lease.
    ///
    /// # Errors
    /// [`QuarantineError::Overtaken`]: roll the batch back.
    pub(crate) async fn save(&mut self, tx: &mut Tx) -> Result<(), QuarantineError> {
        let until = tx.store().now().plus_ms(LEASE_MS);
        self.params["progress"] = serde_json::to_value(&self.progress).map_err(params_error)?;
        let total = self.total_count.max(self.done_count + self.failed_count);
        let row = values![self.done_count, self.failed_count, total, &self.params, until, self.lease_until, self.id];
        if tx.execute("job.progress", &row).await? == 0 {
            return Err(QuarantineError::Overtaken);
        }
        self.lease_until = until;
        Ok(())
    }
}

impl Claimed {
    /// Renews the lease while a batch does slow work.
    ///
    /// # Errors
    /// [`QuarantineError::Overtaken`].
    pub(crate) async fn renew(&mut self, store: &store::Store) -> Result<(), QuarantineError> {
        let until = store.now().plus_ms(LEASE_MS);
        if store.execute("job.renew", &values![until, self.id, self.lease_until]).await? == 0 {
            return Err(QuarantineError::Overtaken);
        }
        self.lease_until = until;
        Ok(())
    }

    /// Notes that copies of the page after `cursor` wait for mailboxes that cannot be reached.
    pub(crate) fn note_late(&mut self, cursor: i64, copy_count: i64, why: &str) {
        if copy_count == 0 {
            return;
        }
        let progress = &self.progress;
        let first = Late {
            cursor,
            moved_count: progress.moved_count + progress.junk_count,
            left_count: progress.left_count,
            done_count: self.done_count,
            failed_count: self.failed_count,
            copy_count: 0,
            why: why.to_owned(),
        };
        self.progress.late.get_or_insert(first).copy_count += copy_count;
    }

    /// Begins another pass where the first late copy was; gives what people read meanwhile. What was moved since then is
    /// done with, the rest is looked at again.
    pub(crate) fn begin_again(&mut self) -> Option<String> {
        let late = self.progress.late.take()?;
        self.done_count = late.done_count + self.progress.moved_count + self.progress.junk_count - late.moved_count;
        self.failed_count = late.failed_count;
        self.progress.left_count = late.left_count;
        self.progress.cursor = late.cursor;
        self.progress.pass_count = self.progress.pass_count.saturating_add(1);
        Some(format!("{} for mailboxes that do not answer: {}", waits(late.copy_count), late.why))
    }
}

fn waits(count: i64) -> String {
    if count == 1 { "1 copy waits".to_owned() } else { format!("{count} copies wait") }
}

pub(crate) fn params_error(error: serde_json::Error) -> QuarantineError {
    QuarantineError::Params(error.to_string())
}

impl Quarantine {
    /// A page of jobs, newest first.
    pub async fn jobs(&self, after: Option<JobId>, limit: usize) -> Result<Vec<Job>, QuarantineError> {
        self.jobs_of(0, after, limit).await
    }

    /// The jobs of a change or a campaign, newest first.
    pub async fn jobs_of(
        &self,
        cause_id: i64,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, QuarantineError> {
        let limit = i64::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1);
        let page = values![self.organisation_id(), after.map_or(i64::MAX, |id| id.0), cause_id, limit];
        let rows = self.store().query("job.page", &page).await?;
        Ok(rows.iter().map(Job::from_row).collect::<Result<_, _>>()?)
    }

    /// One job, if there is such a one.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, QuarantineError> {
        let row = self.store().query_one("job.by_id", &values![self.organisation_id(), id]).await?;
        Ok(row.as_ref().map(Job::from_row).transpose()?)
    }

    /// Takes the oldest job that nobody works on.
    pub(crate) async fn claim_job(&self) -> Result<Option<Claimed>, QuarantineError> {
        let now = self.store().now();
        let until = now.plus_ms(LEASE_MS);
        let mut tx = self.store().begin().await?;
        let row = tx.query_one("job.claim", &values![until, now, self.organisation_id()]).await?;
        tx.commit().await?;
        let Some(row) = row else { return Ok(None) };
        let claimed = Claimed::from_row(&row, until);
        if let Err(error) = &claimed {
            // A job that cannot be read fails for good, rather than being claimed again and again.
            let id: JobId = row.id("id")?;
            self.store().execute("job.finish", &values!["failed", error.to_string(), now, id, until]).await?;
            self.store().bus().announce(Topic::Job, id);
        }
        claimed.map(Some)
    }

    /// Ends a job.
    pub(crate) async fn finish_job(
        &self,
        claimed: &Claimed,
        state: JobState,
        result: &str,
    ) -> Result<(), QuarantineError> {
        let row = values![state.as_str(), result, self.store().now(), claimed.id, claimed.lease_until];
        self.store().execute("job.finish", &row).await?;
        self.store().bus().announce(Topic::Job, claimed.id);
        Ok(())
    }

    /// Saves how far a job is and says what it waits for.
    pub(crate) async fn note_job(&self, claimed: &mut Claimed, words: &str) -> Result<(), QuarantineError> {
        let mut tx = self.store().begin().await?;
        claimed.save(&mut tx).await?;
        tx.execute("job.note", &values![words, claimed.id, claimed.lease_until]).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Job, claimed.id);
        Ok(())
    }

    /// Gives a job back: to be taken at once when the worker stops, a little later after a passing failure.
    pub(crate) async fn put_job_off(&self, claimed: &Claimed, rest: Rest) -> Result<(), QuarantineError> {
        let at = match rest {
            Rest::None => self.store().now(),
            Rest::Short => self.store().now().plus_ms(REST_MS),
            Rest::Long => {
                let doublings = claimed.progress.pass_count.min(8);
                self.store().now().plus_ms((REST_MS << doublings).min(REST_MS_MAX))
            }
        };
        self.store().execute("job.put_off", &values![at, claimed.id, claimed.lease_until]).await?;
        Ok(())
    }
}

/// How long a job that is given back rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    None,
    Short,
    /// Until a mailbox system may answer again, longer each time.
    Long,
}

/// Puts a release of many copies down as a job.
pub(crate) async fn enqueue_release(
    quarantine: &Quarantine,
    actor: &Actor,
    selection: &Selection,
    count: i64,
) -> Result<JobId, QuarantineError> {
    let store = quarantine.store();
    let id: JobId = store.next_id();
    let cause_id = match selection {
        Selection::Items(_) => None,
        Selection::Campaign(id) => Some(id.0),
        Selection::Cause(id) => Some(*id),
    };
    let params = json!(ReleaseParams { selection: selection.clone(), role: actor.role });
    let title = format!("Release {}", counted(count));
    let row = values![id, quarantine.organisation_id(), "release", title, cause_id, &params, &actor.login, store.now()];
    store.execute("job.insert", &row).await?;
    store.bus().announce(Topic::Job, id);
    Ok(id)
}
