//! What can go wrong with the store, sorted by what a caller does about it.

use std::io::ErrorKind;

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Later, yes.
    Transient,
    /// No.
    Permanent,
}

/// A store error. Its text is for the operator, never for a peer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The row exists already, or a guarded statement found nothing to touch.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The disk is full: answer 452, free space.
    #[error("no space left: {0}")]
    Full(String),
    /// The database or the object store does not answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Too much waits to be written already: answer 452, try later. Nothing was begun.
    #[error("too busy: {0}")]
    Busy(String),
    /// The database has a schema this binary does not know.
    #[error(
        "the database has schema version {found}, this binary knows up to {known}: use the binary that wrote it, or restore a backup"
    )]
    Schema {
        /// The version found.
        found: i64,
        /// The highest version known.
        known: i64,
    },
    /// A column is missing or of another type: a defect of ours.
    #[error("column {column}: {problem}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A body is missing, shorter than its row says, or not what was stored.
    #[error("body in pack {pack_id}: {problem}")]
    Body {
        /// The pack.
        pack_id: i64,
        /// What is wrong.
        problem: String,
    },
    /// This database cannot do that.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The statement was refused: a defect of ours.
    #[error("statement {statement}: {problem}")]
    Statement {
        /// Its name.
        statement: String,
        /// The database's words.
        problem: String,
    },
}

impl StoreError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Busy(_) => Severity::Transient,
            StoreError::Conflict(_)
            | StoreError::Schema { .. }
            | StoreError::Column { .. }
            | StoreError::Body { .. }
            | StoreError::Unsupported(_)
            | StoreError::Statement { .. } => Severity::Permanent,
        }
    }

    /// Whether this is [`StoreError::Conflict`].
    pub fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Conflict(_))
    }

    pub(crate) fn from_sql(statement: &str, error: sqlx::Error) -> Self {
        let problem = error.to_string();
        match &error {
            sqlx::Error::Database(db) if db.is_unique_violation() => {
                StoreError::Conflict(format!("{statement}: {problem}"))
            }
            sqlx::Error::Database(db) if is_full(db.code().as_deref()) => StoreError::Full(problem),
            sqlx::Error::Database(db) if is_passing(db.code().as_deref()) => StoreError::Unavailable(problem),
            sqlx::Error::Database(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Statement { statement: statement.into(), problem }
            }
            _ => StoreError::Unavailable(problem),
        }
    }

    /// From SQLite's extended result code.
    pub(crate) fn from_sqlite(statement: &str, code: i32, problem: String) -> Self {
        match code.unsigned_abs() {
            // A primary key or a unique index.
            1555 | 2067 => StoreError::Conflict(format!("{statement}: {problem}")),
            code if is_full_sqlite(code) => StoreError::Full(problem),
            code if is_passing_sqlite(code) => StoreError::Unavailable(problem),
            _ => StoreError::Statement { statement: statement.into(), problem },
        }
    }

    /// From an error whose sources may hold the system's.
    pub(crate) fn from_io(error: &(dyn std::error::Error + 'static)) -> Self {
        let problem = error.to_string();
        if io_kinds(error).any(|kind| FULL.contains(&kind)) {
            StoreError::Full(problem)
        } else {
            StoreError::Unavailable(problem)
        }
    }
}

/// Disk, quota, or the process's limit on file sizes.
const FULL: [ErrorKind; 3] = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];

/// The kinds of all I/O errors among the sources of an error.
pub(crate) fn io_kinds<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = ErrorKind> + 'e {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
}

/// A SQLite result code; PostgreSQL's have five signs.
fn sqlite_code(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().filter(|_| code.len() < 5)
}

/// PostgreSQL: disk_full.
fn is_full(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    sqlite_code(code).map_or(code == "53100", is_full_sqlite)
}

/// Full (13), and no room for the shared memory file (4874).
fn is_full_sqlite(code: u32) -> bool {
    code & 0xFF == 13 || code == 4874
}

/// Trouble of the database and not of the statement. PostgreSQL: connection, access, resources, locks, shutdown, system,
/// deadlock, read-only and internal classes.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return true };
    if let Some(number) = sqlite_code(code) {
        return is_passing_sqlite(number);
    }
    ["08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
}

/// Permission (3), busy (5), locked (6), memory (7), read-only (8), I/O (10), corrupt (11), cannot open (14), not a
/// database (26), with their extended codes. A damaged database is in here: what waits to be written must wait for its
/// restore.
fn is_passing_sqlite(code: u32) -> bool {
    matches!(code & 0xFF, 3 | 5 | 6 | 7 | 8 | 10 | 11 | 14 | 26)
}
