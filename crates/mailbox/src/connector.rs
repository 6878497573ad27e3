//! The contract at the seam between Landfall and a mailbox system.

use std::future::Future;

use model::{CopyId, FolderId, MailItemId, MailboxId, MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{FolderRole, MailboxError};

/// A mailbox system. The embedded one lives in the store's rows; a connector speaks LMTP and IMAP to another.
///
/// What holds for every implementation, and is checked by [`crate::contract::mailbox_contract`]:
///
/// - **Once.** A copy is visible in its mailbox at most once. Delivering or putting back a copy that is there changes
///   nothing and gives where it is.
/// - **Complete.** Putting back a snapshot gives folder, flags, keywords and date as they were when it was taken; the
///   folder is created again if it is gone. Only the uid is new, and higher than any before in that folder.
/// - **Repeatable.** Taking out what is not there is no error and gives nothing; a caller that does not know whether its
///   last call succeeded repeats it.
///
/// What must not happen: a copy that is gone from the mailbox while its snapshot reached nobody. Taking out has therefore two
/// phases: a connector that cannot take out in the caller's transaction moves the copy to a holding folder, reports it again
/// on every repetition, and empties the holding folder only when it is told that the snapshot is kept
/// ([`Mailbox::settle`]).
pub trait Mailbox: Send + Sync {
    /// Puts a copy into the folder of a role.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] when there is no such mailbox.
    fn deliver(&self, delivery: &Delivery) -> impl Future<Output = Result<Landed, MailboxError>> + Send;

    /// Where a copy (or the copies of a Message-ID, at most [`FOUND_MAX`]) is in a mailbox; empty when nowhere.
    fn find(
        &self,
        mailbox_id: MailboxId,
        locator: &Locator,
    ) -> impl Future<Output = Result<Vec<Found>, MailboxError>> + Send;

    /// Takes copies out of their mailboxes; gives those that were there, with what is needed to put them back. What was
    /// taken out before and is not settled may be given again.
    fn take_out(&self, copy_ids: &[CopyId]) -> impl Future<Output = Result<Vec<TakenOut>, MailboxError>> + Send;

    /// The snapshots of these copies are kept (or the copies are back): whatever the system still holds of them goes.
    /// Repeating it changes nothing.
    fn settle(&self, copy_ids: &[CopyId]) -> impl Future<Output = Result<(), MailboxError>> + Send;

    /// Puts copies back as their snapshots say; gives where each of them is now, in the order given.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] when a mailbox is gone; then nothing was put back.
    fn put_back(&self, items: &[PutBack]) -> impl Future<Output = Result<Vec<Landed>, MailboxError>> + Send;
}

/// Most copies that one [`Mailbox::find`] by Message-ID gives.
pub const FOUND_MAX: i64 = 100;

/// A copy to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The row id it gets (made by the caller, so that a repeated try has the same).
    pub item_id: MailItemId,
    /// Into whose mailbox.
    pub mailbox_id: MailboxId,
    /// Into which folder: [`FolderRole::Inbox`] or [`FolderRole::Junk`].
    pub role: FolderRole,
    /// The copy.
    pub copy_id: CopyId,
    /// The message as received; a connector reads its body from the store.
    pub message_id: MessageId,
    /// INTERNALDATE: now, for mail that arrives now.
    pub internal_at: Timestamp,
    /// A warning to show above the message, or empty.
    pub safety_tip: String,
}

/// How to find mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// By our own copy id.
    Copy(CopyId),
    /// By the Message-ID header field with its angle brackets.
    MessageId(String),
}

/// Where a copy is in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The copy.
    pub copy_id: CopyId,
    /// Its uid in the folder.
    pub uid: i64,
    /// What a snapshot would hold now.
    pub snapshot: Snapshot,
}

/// A copy as it lay in a mailbox: enough to put it back. Stored as JSON in `quarantine_item.snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The mailbox.
    pub mailbox_id: MailboxId,
    /// The folder's name.
    pub folder: String,
    /// The folder's role; a folder with a role is found again by it even if it was renamed.
    #[serde(default)]
    pub folder_role: FolderRole,
    /// `\Seen`
    pub seen: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Deleted`
    #[serde(default)]
    pub deleted: bool,
    /// `\Draft`
    #[serde(default)]
    pub draft: bool,
    /// Keywords, sorted.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// INTERNALDATE.
    pub internal_at: Timestamp,
    /// The warning shown above it.
    #[serde(default)]
    pub safety_tip: String,
    /// The owner's own duplicates of it, in other folders or the same: taken out with it, put back with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<Snapshot>,
}

impl Snapshot {
    /// The snapshot of mail that arrives at `internal_at` in the inbox: unread and without marks.
    pub fn arriving(mailbox_id: MailboxId, internal_at: Timestamp) -> Self {
        Snapshot {
            mailbox_id,
            folder: FolderRole::Inbox.default_name().to_owned(),
            folder_role: FolderRole::Inbox,
            seen: false,
            flagged: false,
            answered: false,
            deleted: false,
            draft: false,
            keywords: Vec::new(),
            internal_at,
            safety_tip: String::new(),
            duplicates: Vec::new(),
        }
    }
}

/// A copy that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOut {
    /// The copy.
    pub copy_id: CopyId,
    /// The message as received.
    pub message_id: MessageId,
    /// How it lay there.
    pub snapshot: Snapshot,
}

/// A copy to be put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// The copy.
    pub copy_id: CopyId,
    /// The message as received.
    pub message_id: MessageId,
    /// How it lay there.
    pub snapshot: Snapshot,
}

/// Where a copy landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The copy.
    pub copy_id: CopyId,
    /// The mailbox.
    pub mailbox_id: MailboxId,
    /// The folder (0 where the mailbox system has no ids of ours).
    pub folder_id: FolderId,
    /// Its name.
    pub folder: String,
    /// Its role.
    pub role: FolderRole,
    /// The uid in it.
    pub uid: i64,
    /// It was there before: nothing was changed.
    pub was_there: bool,
}
