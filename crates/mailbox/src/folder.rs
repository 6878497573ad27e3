//! Folder roles (RFC 6154's special uses) and where a copy in such a folder is said to be.

use model::Place;
use serde::{Deserialize, Serialize};

use crate::MailboxError;

/// Folder names, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum FolderRole {
    /// The inbox.
    #[serde(rename = "inbox")]
    Inbox,
    /// Junk.
    #[serde(rename = "junk")]
    Junk,
    /// Sent.
    #[serde(rename = "sent")]
    Sent,
    /// Trash.
    #[serde(rename = "trash")]
    Trash,
    /// Drafts.
    #[serde(rename = "drafts")]
    Drafts,
    /// Archive.
    #[serde(rename = "archive")]
    Archive,
    /// A folder of the owner's own.
    #[default]
    #[serde(rename = "")]
    Own,
}

impl FolderRole {
    /// Every role.
    pub const ALL: &'static [FolderRole] = &[
        FolderRole::Inbox,
        FolderRole::Junk,
        FolderRole::Sent,
        FolderRole::Trash,
        FolderRole::Drafts,
        FolderRole::Archive,
        FolderRole::Own,
    ];

    /// The word in SQL and JSON; empty for a folder of the owner's own.
    pub const fn as_str(self) -> &'static str {
        match self {
            FolderRole::Inbox => "inbox",
            FolderRole::Junk => "junk",
            FolderRole::Sent => "sent",
            FolderRole::Trash => "trash",
            FolderRole::Drafts => "drafts",
            FolderRole::Archive => "archive",
            FolderRole::Own => "",
        }
    }

    /// The role for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == text)
    }

    /// The name that a folder of this role is created with.
    pub const fn default_name(self) -> &'static str {
        match self {
            FolderRole::Inbox => "Inbox",
            FolderRole::Junk => "Junk",
            FolderRole::Sent => "Sent",
            FolderRole::Trash => "Trash",
            FolderRole::Drafts => "Drafts",
            FolderRole::Archive => "Archive",
            FolderRole::Own => "Folder",
        }
    }

    /// Where the ledger says a copy in a folder of this role and `name` is: place and place_detail.
    pub fn whereabouts(self, name: &str) -> (Place, String) {
        match self {
            FolderRole::Inbox => (Place::Inbox, String::new()),
            FolderRole::Junk => (Place::Junk, String::new()),
            FolderRole::Sent | FolderRole::Trash | FolderRole::Drafts | FolderRole::Archive | FolderRole::Own => {
                (Place::OtherFolder, name.to_owned())
            }
        }
    }
}

/// A name that an owner may give: not empty, bounded, without control characters, not surrounded by blanks.
pub(crate) fn check_name(name: &str) -> Result<(), MailboxError> {
    if name.is_empty() || name.trim() != name {
        return Err(MailboxError::FolderName("it must not be empty, nor begin or end with a blank"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(MailboxError::FolderName("it may have at most 200 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(MailboxError::FolderName("it must not hold control characters"));
    }
    Ok(())
}
