//! What can go wrong with the store, sorted by what a caller does about it.

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
    /// A body is missing or shorter than its row says.
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
            StoreError::Full(_) | StoreError::Unavailable(_) => Severity::Transient,
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
            // SQLITE_FULL is 13; PostgreSQL's disk_full is 53100.
            sqlx::Error::Database(db) if matches!(db.code().as_deref(), Some("13" | "53100")) => {
                StoreError::Full(problem)
            }
            sqlx::Error::Database(db) if is_passing(db.code().as_deref()) => StoreError::Unavailable(problem),
            sqlx::Error::Database(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Statement { statement: statement.into(), problem }
            }
            _ => StoreError::Unavailable(problem),
        }
    }

    pub(crate) fn from_io(error: &dyn std::fmt::Display) -> Self {
        let problem = error.to_string();
        if problem.contains("No space left") || problem.contains("os error 28") {
            StoreError::Full(problem)
        } else {
            StoreError::Unavailable(problem)
        }
    }
}

/// SQLite: busy (5), locked (6), read-only (8), I/O (10) with their extended codes; PostgreSQL: connection, resources,
/// shutdown, deadlock and serialisation classes.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return true };
    if let Ok(number) = code.parse::<u32>()
        && code.len() < 5
    {
        return matches!(number & 0xFF, 5 | 6 | 8 | 10);
    }
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
}
