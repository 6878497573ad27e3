//! What can go wrong with a mailbox.

use store::StoreError;

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Later, yes.
    Transient,
    /// No.
    Permanent,
}

/// A mailbox error. The texts of what an owner did wrong say what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailboxError {
    /// There is no such mailbox, folder or item in this mailbox.
    #[error("there is no such {0} in this mailbox")]
    NotFound(&'static str),
    /// A folder name that cannot be used.
    #[error("the folder name cannot be used: {0}")]
    FolderName(&'static str),
    /// A folder of that name exists.
    #[error("there is already a folder of this name")]
    FolderExists,
    /// The folder cannot be deleted.
    #[error("the folder cannot be deleted: {0}")]
    FolderInUse(&'static str),
    /// A keyword (RFC 3501 section 2.3.2) that cannot be used.
    #[error("a keyword is 1 to 64 letters, digits and $ _ - . characters, and an item has at most 32 of them")]
    Keyword,
    /// More at once than one step takes.
    #[error("that is too much at once")]
    TooMany,
    /// The mailbox system behind a connector does not answer now.
    #[error("the mailbox system does not answer: {0}")]
    Unreachable(String),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MailboxError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            MailboxError::Unreachable(_) => Severity::Transient,
            MailboxError::Store(error) => match error.severity() {
                store::Severity::Transient => Severity::Transient,
                store::Severity::Permanent => Severity::Permanent,
            },
            MailboxError::NotFound(_)
            | MailboxError::FolderName(_)
            | MailboxError::FolderExists
            | MailboxError::FolderInUse(_)
            | MailboxError::TooMany
            | MailboxError::Keyword => Severity::Permanent,
        }
    }
}
