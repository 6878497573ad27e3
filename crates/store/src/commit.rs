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

use crate::db::Work;
use crate::{BodyRef, Inner, NewEvent, PackInfo, Severity, Store, StoreError, Tx, Value, values};

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
    /// One row for a statement that takes many: the rows of a batch are given together. PostgreSQL takes them as one JSON
    /// array of arrays in `$1`, since a round trip for each row is what a crowd cannot afford. On SQLite, where there is no
    /// trip, a text that reads no JSON is run for each row, with its values as `$1`, `$2`, …
    Each(&'static str, Vec<Value>),
    /// As `Each`, and the statement must touch as many rows as it is given: otherwise the submission is a conflict.
    EachGuarded(&'static str, Vec<Value>),
    /// Two statements for one row, of which the second rests on what the first has just done; the second is guarded.
    EachPair(&'static str, &'static str, Vec<Value>),
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
    let (pack, ops) = put(store, submissions).await?;
    match (write(store, pack.as_ref(), ops).await, pack) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(info)) => {
            store.inner.bodies.named(&info).await;
            Ok(())
        }
        (Err(Failed::Nothing(error)), pack) => {
            // What no row names would only eat the space that is perhaps wanting.
            if let Some(info) = pack {
                store.inner.bodies.forget(&info).await;
            }
            Err(error)
        }
        (Err(Failed::Unclear(error)), None) => Err(error),
        // A batch with bodies notes how far its pack reaches: where that is noted, all the rest is.
        (Err(Failed::Unclear(error)), Some(info)) => {
            match store.query_one("pack.reaches", &values![info.id, signed(info.size_bytes)]).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) | Err(_) => Err(error),
            }
        }
    }
}

fn signed(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

impl Failed {
    /// After a commit has begun only a refusal is clear.
    fn at(commit_has_begun: bool, error: StoreError) -> Failed {
        match error.severity() {
            Severity::Transient if commit_has_begun => Failed::Unclear(error),
            Severity::Transient | Severity::Permanent => Failed::Nothing(error),
        }
    }
}

async fn write(store: &Store, pack: Option<&PackInfo>, ops: Vec<Op>) -> Result<(), Failed> {
    let mut tx = store.begin().await.map_err(Failed::Nothing)?;
    let mut sorted = Sorted::from(ops);
    if let Some(info) = pack {
        let row = values![info.id, signed(info.size_bytes), signed(info.body_count as u64), store.now()];
        sorted.insert("pack.put", row.to_vec());
    }
    let (batch, events) = sorted.work(store);
    if !events.is_empty() {
        tx.run_all(batch).await.map_err(Failed::Nothing)?;
        tx.append_events(&events).await.map_err(Failed::Nothing)?;
        return tx.commit().await.map_err(|error| Failed::at(true, error));
    }
    tx.run_and_commit(batch).await.map_err(|(has_begun, error)| Failed::at(has_begun, error))
}

/// Writes the bodies, durably, and gives the rows that name their places.
async fn put(store: &Store, submissions: &[Submission]) -> Result<(Option<PackInfo>, Vec<Op>), StoreError> {
    let bodies: Vec<Bytes> = submissions.iter().flat_map(|s| s.bodies.iter().cloned()).collect();
    let (pack, refs) = match bodies.is_empty() {
        true => (None, Vec::new()),
        false => store.put(&bodies).await.map(|(info, places)| (Some(info), places))?,
    };
    let mut ops = Vec::new();
    let mut rest = refs.as_slice();
    for submission in submissions {
        let (own, others) = rest.split_at(submission.bodies.len());
        ops.extend((submission.ops)(own));
        rest = others;
    }
    Ok((pack, ops))
}

impl Tx {
    /// Applies operations in the order: inserts (grouped by statement, statements in order of first use), then
    /// statements (those for many rows where they were first used), then events.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an insert exists already or a guarded statement touched nothing.
    pub async fn apply(&mut self, ops: Vec<Op>) -> Result<(), StoreError> {
        let (batch, events) = Sorted::from(ops).work(self.store());
        self.run_all(batch).await?;
        self.append_events(&events).await
    }
}

/// The operations of a batch by when they run.
#[derive(Default)]
struct Sorted {
    inserts: Vec<(&'static str, Vec<Vec<Value>>)>,
    statements: Vec<Work>,
    births: Vec<NewEvent>,
    events: Vec<NewEvent>,
}

impl From<Vec<Op>> for Sorted {
    fn from(ops: Vec<Op>) -> Sorted {
        let mut sorted = Sorted::default();
        for op in ops {
            match op {
                Op::Insert(name, row) => sorted.insert(name, row),
                Op::Execute(name, row) => sorted.statements.push(Work::One { name, row, is_guarded: false }),
                Op::Guarded(name, row) => sorted.statements.push(Work::One { name, row, is_guarded: true }),
                Op::Each(name, row) => sorted.each(name, row, false),
                Op::EachGuarded(name, row) => sorted.each(name, row, true),
                Op::EachPair(first, second, row) => sorted.pair(first, second, row),
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
    /// The statements in their order, and the events that come after them.
    fn work(self, store: &Store) -> (Vec<Work>, Vec<NewEvent>) {
        let mut batch: Vec<Work> = self.inserts.into_iter().map(|(name, rows)| Work::Insert { name, rows }).collect();
        batch.extend(self.statements);
        if !self.births.is_empty() {
            batch.push(Work::Insert { name: "event.insert", rows: store.event_rows(&self.births) });
        }
        (batch, self.events)
    }

    fn insert(&mut self, name: &'static str, row: Vec<Value>) {
        match self.inserts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, rows)) => rows.push(row),
            None => self.inserts.push((name, vec![row])),
        }
    }

    fn pair(&mut self, first: &'static str, second: &'static str, row: Vec<Value>) {
        let same = self.statements.iter_mut().find_map(|statement| match statement {
            Work::Pairs { first: known, second: too, rows } if (*known, *too) == (first, second) => Some(rows),
            Work::Pairs { .. } | Work::Each { .. } | Work::One { .. } | Work::Insert { .. } => None,
        });
        match same {
            Some(rows) => rows.push(row),
            None => self.statements.push(Work::Pairs { first, second, rows: vec![row] }),
        }
    }

    fn each(&mut self, wanted: &'static str, row: Vec<Value>, is_guarded: bool) {
        let same = self.statements.iter_mut().find_map(|statement| match statement {
            Work::Each { name, rows, .. } if *name == wanted => Some(rows),
            Work::Each { .. } | Work::Pairs { .. } | Work::One { .. } | Work::Insert { .. } => None,
        });
        match same {
            Some(rows) => rows.push(row),
            None => self.statements.push(Work::Each { name: wanted, rows: vec![row], is_guarded }),
        }
    }
}
