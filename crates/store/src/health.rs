//! Whether the store can write now: a latch. It closes when a write fails for want of space or of a database, or when
//! free space falls below the floor; it opens by itself as soon as a probe (a small object and a small transaction, both
//! made durable) goes through.
//!
//! Who takes mail in asks [`Health::trouble`] and puts it off early. Who sends mail out waits for [`Health::well`]: a mail
//! whose sending cannot be written down would be sent twice.

use std::path::PathBuf;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Inner, Severity, Store, StoreError};

/// How often free space is looked at, and how often a store in trouble is tried again.
const LOOK: Duration = Duration::from_millis(500);
/// A probe that takes longer has failed.
const PROBE_MAX: Duration = Duration::from_secs(15);

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space left, or less than the floor.
    Full,
    /// The database or the object store refuses or does not answer.
    Unavailable,
}

/// See the module.
#[derive(Debug)]
pub struct Health {
    state: watch::Sender<Option<Trouble>>,
    free_bytes_min: AtomicU64,
    dirs: Vec<PathBuf>,
}

impl Health {
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Health {
        Health { state: watch::Sender::new(None), free_bytes_min: AtomicU64::new(0), dirs }
    }

    /// What is wrong; `None` when all is well.
    pub fn trouble(&self) -> Option<Trouble> {
        *self.state.borrow()
    }

    /// Waits until all is well; returns at once when it is.
    pub async fn well(&self) {
        let mut state = self.state.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = state.wait_for(Option::is_none).await;
    }

    /// Takes no bodies any more when less than this is free where rows or bodies are, so that results and decisions can
    /// still be written down. 0: no floor.
    pub fn set_free_bytes_min(&self, free_bytes_min: u64) {
        self.free_bytes_min.store(free_bytes_min, Ordering::Relaxed);
    }

    /// The bytes free where it is tightest; `None` when nobody can tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let free = |dir: &PathBuf| rustix::fs::statvfs(dir).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        self.dirs.iter().filter_map(free).min()
    }

    /// # Errors
    /// [`StoreError::Full`] when free space is below the floor.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        let floor = self.free_bytes_min.load(Ordering::Relaxed);
        match self.free_bytes() {
            Some(free) if free < floor => {
                let error = StoreError::Full(format!("{free} bytes are free, the floor is {floor}"));
                self.failed(&error);
                Err(error)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A write failed.
    pub(crate) fn failed(&self, error: &StoreError) {
        let trouble = match error {
            StoreError::Full(_) => Trouble::Full,
            error if error.severity() == Severity::Transient && !matches!(error, StoreError::Busy(_)) => {
                Trouble::Unavailable
            }
            _ => return,
        };
        self.state.send_if_modified(|state| {
            if state.is_none() {
                tracing::error!("the store cannot write, mail is put off and delivery waits: {error}");
            }
            let is_news = *state != Some(trouble);
            *state = Some(trouble);
            is_news
        });
    }

    fn recovered(&self, after: Duration) {
        tracing::info!(after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX), "the store writes again");
        self.state.send_replace(None);
    }
}

/// Looks and probes for as long as the store lives.
pub(crate) fn watch(inner: Weak<Inner>) {
    tokio::spawn(async move {
        let mut since: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(inner) = inner.upgrade() else { return };
            let store = Store { inner };
            let health = store.health();
            if health.check_space().is_err() || health.trouble().is_none() {
                since = health.trouble().map(|_| since.unwrap_or_else(Instant::now));
                continue;
            }
            let began = *since.get_or_insert_with(Instant::now);
            if matches!(tokio::time::timeout(PROBE_MAX, probe(&store)).await, Ok(Ok(()))) {
                health.recovered(began.elapsed());
                since = None;
            }
        }
    });
}

/// One small object and one small transaction, made durable as mail is.
async fn probe(store: &Store) -> Result<(), StoreError> {
    store.probe_objects().await?;
    store.execute("setting.probe", &[]).await.map(|_| ())
}
