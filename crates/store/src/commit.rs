//! The group commit: sessions that wait at the same time share one pack object, one fsync and one transaction.
//!
//! Order, always: put the pack → fsync file and folder → commit the rows → answer. Whoever arrives while a batch is
//! being written forms the next one, so a lone session never waits and a crowd shares. If a batch is refused, each
//! submission is committed alone, so that a poisoned one gets its own answer and the others theirs. If the database or
//! the disk failed, all hear it at once: asking once for each would only take longer.
//!
//! Waiting is bounded: for a place in the queue, and in it. Who is told [`StoreError::Busy`] was not begun.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::{BodyRef, Inner, NewEvent, Severity, Store, StoreError, Tx, Value, values};

const BATCH_BYTES_MAX: usize = 1024 * 1024;
const BATCH_MAX: usize = 128;
/// Submissions that may wait; past it, submitters wait for a place (back-pressure, never loss), for so long.
const WAITING_MAX: usize = 1_024;
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// Who has waited longer than this for its turn is not begun: its peer would soon hang up and send again.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// A batch that failed so soon met a connection that had died, or a moment's trouble: it is tried once more.
const BLIP: Duration = Duration::from_secs(1);

/// One row or event of a submission.
#[derive(Debug, Clone)]
pub enum Op {
    /// `INSERT … VALUES ($1, …)`, put together with those of other submissions.
    Insert(&'static str, Vec<Value>),
    /// A statement of its own, after all inserts, in order.
    Execute(&'static str, Vec<Value>),
    /// As `Execute`, and it must touch a row: otherwise the submission is a conflict.
    Guarded(&'static str, Vec<Value>),
    /// One row for a statement that takes many: the rows of a batch are given together, as one JSON array of arrays in
    /// `$1`. A round trip for each row is what a crowd cannot afford.
    Each(&'static str, Vec<Value>),
    /// As `Each`, and the statement must touch as many rows as it is given: otherwise the submission is a conflict.
    EachGuarded(&'static str, Vec<Value>),
    /// A copy with the state that its first event gives, and that event: nothing has to be looked up or moved.
    Birth {
        /// The values of `copy.insert`.
        copy: Vec<Value>,
        /// The first event.
        event: NewEvent,
    },
    /// An event, last: it moves its copy's place and last event.
    Event(NewEvent),
}

type OpsOf = Box<dyn Fn(&[BodyRef]) -> Vec<Op> + Send + Sync>;

/// What to store: perhaps bodies, and rows that may name where the bodies went. All of it or nothing.
pub struct Submission {
    bodies: Vec<Bytes>,
    ops: OpsOf,
}

impl Submission {
    /// A body and the rows that go with it. `ops` is called once the body's place is known (twice if a batch fails).
    pub fn with_body(body: Bytes, ops: impl Fn(&BodyRef) -> Vec<Op> + Send + Sync + 'static) -> Self {
        Submission::with_bodies(vec![body], move |places| ops(&places[0]))
    }

    /// As [`Submission::with_body`] for many bodies at once, stored together: the places come in the same order.
    pub fn with_bodies(bodies: Vec<Bytes>, ops: impl Fn(&[BodyRef]) -> Vec<Op> + Send + Sync + 'static) -> Self {
        Submission { bodies, ops: Box::new(ops) }
    }

    /// Rows alone.
    pub fn rows(ops: Vec<Op>) -> Self {
        Submission { bodies: Vec::new(), ops: Box::new(move |_| ops.clone()) }
    }
}

struct Waiting {
    submission: Submission,
    since: Instant,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

pub(crate) struct Queue {
    sender: mpsc::Sender<Waiting>,
}

pub(crate) struct Committer {
    receiver: mpsc::Receiver<Waiting>,
}

pub(crate) fn queue() -> (Queue, Committer) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Queue { sender }, Committer { receiver })
}

impl Queue {
    pub(crate) async fn submit(&self, submission: Submission) -> Result<(), StoreError> {
        let gone = || StoreError::Unavailable("the store is closing".into());
        let (answer, done) = oneshot::channel();
        let waiting = Waiting { submission, since: Instant::now(), answer };
        match self.sender.send_timeout(waiting, PLACE_WAIT).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(gone()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                return Err(StoreError::Busy(format!("{WAITING_MAX} submissions wait already")));
            }
        }
        done.await.map_err(|_| gone())?
    }
}

impl Committer {
    /// Runs until the last [`Store`] is gone (its queue's sender goes with it).
    pub(crate) fn start(mut self, inner: Weak<Inner>) {
        tokio::spawn(async move {
            while let Some(first) = self.receiver.recv().await {
                let Some(inner) = inner.upgrade() else { return };
                let store = Store { inner };
                let batch = self.gather(first);
                commit_batch(&store, batch).await;
            }
        });
    }

    /// Everybody who waits now, up to the bounds.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let size = |w: &Waiting| w.submission.bodies.iter().map(Bytes::len).sum::<usize>();
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.receiver.try_recv() else { break };
            bytes += size(&next);
            batch.push(next);
        }
        batch
    }
}

async fn commit_batch(store: &Store, mut batch: Vec<Waiting>) {
    for late in batch.extract_if(.., |waiting| waiting.since.elapsed() > TURN_WAIT) {
        let _ = late.answer.send(Err(StoreError::Busy("its turn did not come in time".into())));
    }
    if batch.is_empty() {
        return;
    }
    let (submissions, answers): (Vec<Submission>, Vec<_>) = batch.into_iter().map(|w| (w.submission, w.answer)).unzip();
    let together = settle(store, &submissions).await;
    let is_refused = together.as_ref().is_err_and(|error| error.severity() == Severity::Permanent);
    if submissions.len() == 1 || !is_refused {
        for answer in answers {
            let _ = answer.send(together.clone());
        }
        return;
    }
    for (submission, answer) in submissions.iter().zip(answers) {
        let _ = answer.send(settle(store, std::slice::from_ref(submission)).await);
    }
}

/// How a try ended that did not succeed.
enum Failed {
    /// Nothing is stored.
    Nothing(StoreError),
    /// The rows may be durable: only the answer to the commit is missing.
    Unclear(StoreError),
}

/// Writes, once more after a short disturbance; a commit whose answer was lost is looked up.
async fn settle(store: &Store, submissions: &[Submission]) -> Result<(), StoreError> {
    let began = Instant::now();
    let error = match try_once(store, submissions).await {
        Err(error @ StoreError::Unavailable(_)) if began.elapsed() < BLIP => error,
        done => return done,
    };
    tracing::warn!("a batch of {} met a disturbance and is tried again: {error}", submissions.len());
    try_once(store, submissions).await
}

async fn try_once(store: &Store, submissions: &[Submission]) -> Result<(), StoreError> {
    let pack_id: i64 = store.next_id();
    match write(store, submissions, pack_id).await {
        Ok(()) => Ok(()),
        Err(Failed::Nothing(error)) => {
            // A pack that no row names would only eat the space that is perhaps wanting.
            store.inner.bodies.forget(pack_id).await;
            Err(error)
        }
        // Every batch with bodies has a pack row of its own: where it is, all the rest is.
        Err(Failed::Unclear(error)) => match store.query_one("pack.by_id", &values![pack_id]).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(error),
        },
    }
}

async fn write(store: &Store, submissions: &[Submission], pack_id: i64) -> Result<(), Failed> {
    let tx = prepare(store, submissions, pack_id).await.map_err(Failed::Nothing)?;
    tx.commit().await.map_err(|error| match error.severity() {
        Severity::Transient => Failed::Unclear(error),
        Severity::Permanent => Failed::Nothing(error),
    })
}

/// Everything but the commit: the pack is durable, the rows are in the transaction.
async fn prepare(store: &Store, submissions: &[Submission], pack_id: i64) -> Result<Tx, StoreError> {
    let bodies: Vec<Bytes> = submissions.iter().flat_map(|s| s.bodies.iter().cloned()).collect();
    let mut refs = Vec::new();
    let mut pack = None;
    if !bodies.is_empty() {
        let (info, places) = store.put(pack_id, &bodies).await?;
        (pack, refs) = (Some(info), places);
    }
    let mut ops = Vec::new();
    let mut rest = refs.as_slice();
    for submission in submissions {
        let (own, others) = rest.split_at(submission.bodies.len());
        ops.extend((submission.ops)(own));
        rest = others;
    }
    let mut tx = store.begin().await?;
    if let Some(info) = pack {
        let size = i64::try_from(info.size_bytes).unwrap_or(i64::MAX);
        let count = i64::try_from(info.body_count).unwrap_or(i64::MAX);
        tx.execute("pack.insert", &values![info.id, size, count, store.now()]).await?;
    }
    tx.apply(ops).await?;
    Ok(tx)
}

impl Tx {
    /// Applies operations in the order: inserts (grouped by statement, statements in order of first use), then
    /// statements (those for many rows where they were first used), then events.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an insert exists already or a guarded statement touched nothing.
    pub async fn apply(&mut self, ops: Vec<Op>) -> Result<(), StoreError> {
        let sorted = Sorted::from(ops);
        for (name, rows) in sorted.inserts {
            self.insert_many(name, &rows).await?;
        }
        for statement in sorted.statements {
            self.run(statement).await?;
        }
        self.record_births(&sorted.births).await?;
        self.append_events(&sorted.events).await
    }

    async fn run(&mut self, statement: Sql) -> Result<(), StoreError> {
        match statement {
            Sql::One { name, row, is_guarded: false } => self.execute(name, &row).await.map(|_| ()),
            Sql::One { name, row, is_guarded: true } => self.execute_guarded(name, &row).await,
            Sql::Many { name, rows, is_guarded } => {
                let given = rows.len() as u64;
                let touched = self.execute(name, &values![&serde_json::Value::Array(rows)]).await?;
                if is_guarded && touched != given {
                    return Err(StoreError::Conflict(format!("{name} touched {touched} of {given}")));
                }
                Ok(())
            }
        }
    }
}

/// The operations of a batch by when they run.
#[derive(Default)]
struct Sorted {
    inserts: Vec<(&'static str, Vec<Vec<Value>>)>,
    statements: Vec<Sql>,
    births: Vec<NewEvent>,
    events: Vec<NewEvent>,
}

enum Sql {
    One { name: &'static str, row: Vec<Value>, is_guarded: bool },
    Many { name: &'static str, rows: Vec<serde_json::Value>, is_guarded: bool },
}

impl From<Vec<Op>> for Sorted {
    fn from(ops: Vec<Op>) -> Sorted {
        let mut sorted = Sorted::default();
        for op in ops {
            match op {
                Op::Insert(name, row) => sorted.insert(name, row),
                Op::Execute(name, row) => sorted.statements.push(Sql::One { name, row, is_guarded: false }),
                Op::Guarded(name, row) => sorted.statements.push(Sql::One { name, row, is_guarded: true }),
                Op::Each(name, row) => sorted.each(name, row, false),
                Op::EachGuarded(name, row) => sorted.each(name, row, true),
                Op::Birth { copy, event } => {
                    sorted.insert("copy.insert", copy);
                    sorted.births.push(event);
                }
                Op::Event(event) => sorted.events.push(event),
            }
        }
        sorted
    }
}

impl Sorted {
    fn insert(&mut self, name: &'static str, row: Vec<Value>) {
        match self.inserts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, rows)) => rows.push(row),
            None => self.inserts.push((name, vec![row])),
        }
    }

    fn each(&mut self, wanted: &'static str, row: Vec<Value>, is_guarded: bool) {
        let row = serde_json::Value::Array(row.into_iter().map(Value::into_json).collect());
        let same = self.statements.iter_mut().find_map(|statement| match statement {
            Sql::Many { name, rows, .. } if *name == wanted => Some(rows),
            Sql::Many { .. } | Sql::One { .. } => None,
        });
        match same {
            Some(rows) => rows.push(row),
            None => self.statements.push(Sql::Many { name: wanted, rows: vec![row], is_guarded }),
        }
    }
}
