//! What the quarantine refuses, and what can go wrong with it.

use directory::DirectoryError;
use mailbox::MailboxError;
use model::Permission;
use store::StoreError;

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Later, yes.
    Transient,
    /// No.
    Permanent,
}

/// A quarantine error. Its text says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuarantineError {
    /// The role lacks a permission.
    #[error("your role may not do that: it needs the permission {0}")]
    Forbidden(Permission),
    /// The quarantine policy of this copy does not let its recipient do that.
    #[error("the quarantine policy of this message does not let you {0}")]
    NotGranted(&'static str),
    /// There is no such held copy (or it is somebody else's).
    #[error("there is no such message in quarantine")]
    NotFound,
    /// A mass action over the limit.
    #[error(
        "this would change {count} copies, and more than {limit} (the setting limits.mass_action_max) need a second person: let \
         somebody else ask for their release first"
    )]
    NeedsSecondPerson {
        /// How many it would change.
        count: i64,
        /// The limit.
        limit: i64,
    },
    /// More items named than one call takes.
    #[error("at most {0} items can be named at once; select a campaign or a cause instead")]
    TooManyItems(usize),
    /// The stored parameters of a job cannot be read: a defect of ours or a foreign hand.
    #[error("the job's parameters cannot be read: {0}")]
    Params(String),
    /// Another worker has taken the job over.
    #[error("the job was taken over by another worker")]
    Overtaken,
    /// A task of ours ended early.
    #[error("judging ended early: {0}")]
    Judging(String),
    /// The mailbox's.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The directory's.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QuarantineError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        let store = |severity: store::Severity| match severity {
            store::Severity::Transient => Severity::Transient,
            store::Severity::Permanent => Severity::Permanent,
        };
        match self {
            QuarantineError::Mailbox(error) => match error.severity() {
                mailbox::Severity::Transient => Severity::Transient,
                mailbox::Severity::Permanent => Severity::Permanent,
            },
            QuarantineError::Directory(error) => store(error.severity()),
            QuarantineError::Store(error) => store(error.severity()),
            QuarantineError::Judging(_) => Severity::Transient,
            QuarantineError::Forbidden(_)
            | QuarantineError::NotGranted(_)
            | QuarantineError::NotFound
            | QuarantineError::NeedsSecondPerson { .. }
            | QuarantineError::TooManyItems(_)
            | QuarantineError::Params(_)
            | QuarantineError::Overtaken => Severity::Permanent,
        }
    }
}
