//! What can go wrong while reading the ledger or keeping incidents.

use directory::DirectoryError;
use store::{Severity, StoreError};

use crate::incident::IllegalTransition;

/// An error of this crate. Its text is for the operator; what a caller did wrong has a variant of its own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no such row in this organisation.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `campaign`, `copy`, `incident`.
        what: &'static str,
        /// Which one was asked for.
        id: i64,
    },
    /// An incident cannot take this step.
    #[error(transparent)]
    Status(#[from] IllegalTransition),
    /// An update without text, or with too much of it.
    #[error("an update needs a text of 1 to {max} characters; this one has {found}")]
    UpdateText {
        /// The most that is kept, in characters.
        max: usize,
        /// What was given.
        found: usize,
    },
    /// A word in a row that this binary does not know: a defect of ours.
    #[error("unknown word {word:?} in {column}")]
    Word {
        /// The column.
        column: &'static str,
        /// What stands there.
        word: String,
    },
}

impl Error {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            Error::Store(error) => error.severity(),
            Error::Directory(error) => error.severity(),
            Error::NotFound { .. } | Error::Status(_) | Error::UpdateText { .. } | Error::Word { .. } => {
                Severity::Permanent
            }
        }
    }
}
