//! When pages of SQLite's log are written to their places: beside the writer, and not in its way.
//!
//! SQLite does it inside the commit that makes the log long enough, and everybody who waits for the writer waits for tens of
//! milliseconds then. Here a thread with a connection of its own does it while commits go on. What was committed meanwhile
//! is little, and the writer itself writes that: only when all pages are in their places does the log begin anew.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rusqlite::{Connection, OpenFlags};

/// Pages in the log from which on it is worth while: a page that many commits touch is written to its place once.
const PAGES_MIN: i32 = 16_000;
/// While a long read keeps the log from beginning anew, it is tried again each time that so many were added.
const PAGES_MORE: i32 = 4_000;
/// One pass, as far as readers allow; never waits for anybody.
const PASS: &str = "PRAGMA wal_checkpoint(PASSIVE)";

thread_local! {
    /// Pages in the log after the last commit of the writer on this thread: SQLite tells them to a function without state.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Kept by the writer's thread.
pub(crate) struct Checkpoints {
    wake: mpsc::SyncSender<()>,
    is_done: Arc<AtomicBool>,
    is_under_way: bool,
    due_at_pages: i32,
}

impl Checkpoints {
    /// For `writer`, which stays on this thread. The other thread ends when this is dropped.
    pub(crate) fn beside(writer: &Connection, path: &Path) -> Result<Checkpoints, rusqlite::Error> {
        writer.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages);
            Ok(())
        }));
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let (wake, woken) = mpsc::sync_channel(1);
        let is_done = Arc::new(AtomicBool::new(false));
        let told = is_done.clone();
        let work = move || {
            while let Ok(()) = woken.recv() {
                pass(&connection);
                told.store(true, Ordering::Release);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sqlite-checkpoint".into()).spawn(work) {
            // The writer does it all, later.
            tracing::warn!("no thread for writing SQLite's log to its places: {error}");
            is_done.store(true, Ordering::Release);
        }
        Ok(Checkpoints { wake, is_done, is_under_way: false, due_at_pages: PAGES_MIN })
    }

    /// Between two jobs of the writer.
    pub(crate) fn tend(&mut self, writer: &Connection) {
        let pages = LOG_PAGES.get();
        if pages < PAGES_MIN {
            self.due_at_pages = PAGES_MIN;
        }
        if self.is_under_way && self.is_done.load(Ordering::Acquire) && writer.is_autocommit() {
            self.is_under_way = false;
            pass(writer);
        } else if !self.is_under_way && pages >= self.due_at_pages {
            self.is_under_way = true;
            self.due_at_pages = pages + PAGES_MORE;
            self.is_done.store(false, Ordering::Release);
            if self.wake.try_send(()).is_err() {
                self.is_done.store(true, Ordering::Release);
            }
        }
    }
}

fn pass(connection: &Connection) {
    // What it could not do it does next time; that it cannot write at all the next commit is told.
    if let Err(error) = connection.query_row(PASS, [], |_| Ok(())) {
        tracing::debug!("SQLite's log was not written to its places: {error}");
    }
}
