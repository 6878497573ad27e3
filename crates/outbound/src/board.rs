//! The limits where others can see them: each process writes what its own limits do now into a table, when it changes and
//! often enough to show that it lives. Nothing is decided by these rows.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use store::{Row, Store, StoreError, Value, values};
use tokio::time::Instant;

use crate::lane::Shared;
use crate::limits::{LimitLine, LimitState};

/// How often the limits are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Rows are written again at least so often.
const ALIVE: Duration = Duration::from_secs(20);
/// Rows that were not written again for so long are a dead process's.
const DEAD_MS: i64 = 60_000;
/// Lines of one process, the most important first.
const LINES_MAX: usize = 200;
/// Lines of all processes.
const ALL_LINES_MAX: i64 = 1_000;

/// One line of what limits outgoing mail now.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct LimitNow {
    /// The process whose limit it is: each has its own.
    pub process: String,
    /// The limit.
    #[serde(flatten)]
    pub line: LimitLine,
}

/// What limits outgoing mail now, as the running processes wrote it down: what is paused first, then what is slowed, and so on.
///
/// # Errors
/// The store's.
pub async fn limits_now(store: &Store) -> Result<Vec<LimitNow>, StoreError> {
    let rows = store.query("queue.limits", &values![store.now().plus_ms(-DEAD_MS), ALL_LINES_MAX]).await?;
    let now = |row: &Row| Ok(LimitNow { process: row.text("owner")?.to_owned(), line: row.json("line")? });
    let mut all: Vec<LimitNow> = rows.iter().map(now).collect::<Result<_, StoreError>>()?;
    all.sort_by(|a, b| (a.line.rank(), &a.process).cmp(&(b.line.rank(), &b.process)));
    Ok(all)
}

/// Writes until the agent stops, and then that nothing is limited any more.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut shown: Vec<LimitLine> = Vec::new();
    let mut write_at = Instant::now();
    loop {
        let is_over = shared.stop.is_cancelled();
        let lines = if is_over { Vec::new() } else { limiting(&shared) };
        let is_news = lines != shown || (!lines.is_empty() && Instant::now() >= write_at);
        if is_news && shared.store.health().trouble().is_none() {
            match write(&shared, &lines).await {
                Ok(()) => (shown, write_at) = (lines, Instant::now() + ALIVE),
                Err(error) => tracing::debug!("what the limits do could not be written down: {error}"),
            }
        }
        if is_over {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

fn limiting(shared: &Shared) -> Vec<LimitLine> {
    let mut lines = shared.limits.lines(&shared.desk.waiting_by_group());
    lines.retain(|line| line.state != LimitState::Free);
    lines.truncate(LINES_MAX);
    lines
}

async fn write(shared: &Shared, lines: &[LimitLine]) -> Result<(), StoreError> {
    let (owner, now) = (shared.recorder.owner.as_str(), shared.store.now());
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(lines.len());
    for (position, line) in lines.iter().enumerate() {
        let line = serde_json::json!(line);
        rows.push(values![owner, i64::try_from(position).unwrap_or(i64::MAX), &line, now].to_vec());
    }
    let mut tx = shared.store.begin().await?;
    tx.execute("queue.forget_limits", &values![owner, now.plus_ms(-DEAD_MS)]).await?;
    tx.insert_many("queue.put_limit", &rows).await?;
    tx.commit().await
}
