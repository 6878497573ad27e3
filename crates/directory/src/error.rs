//! What the directory refuses, and why.

use store::{Severity, StoreError};

/// A directory error. The text says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field of a request is not acceptable.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// It does not exist (or belongs to somebody else).
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// Wrong login, password, link or token. Says no more on purpose.
    #[error("the login or the password is not right")]
    Unauthenticated,
    /// Too many wrong tries from there with this login.
    #[error("too many wrong tries; the next is allowed in {wait_ms} ms")]
    Throttled {
        /// Until the next one.
        wait_ms: i64,
    },
    /// A stored rule set or policy does not compile: a defect of ours or a foreign hand.
    #[error("the stored rule set does not load: {0}")]
    Protection(String),
}

impl DirectoryError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            DirectoryError::Store(e) => e.severity(),
            DirectoryError::Throttled { .. } => Severity::Transient,
            DirectoryError::Invalid { .. }
            | DirectoryError::NotFound(_)
            | DirectoryError::Exists(_)
            | DirectoryError::Unauthenticated
            | DirectoryError::Protection(_) => Severity::Permanent,
        }
    }

    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        DirectoryError::Invalid { field, problem: problem.into() }
    }
}
