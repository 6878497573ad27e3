//! What a mail program does with a mailbox: the operations of IMAP (RFC 3501, 4315, 6851) as transactions.
//!
//! A folder is read as a view (uids and flags) and, for what is shown, by pages of uids; never whole. Every change that
//! moves or deletes a copy of the ledger appends its event in the same transaction. What an owner puts in (APPEND, COPY)
//! is an item of its own and no copy: nobody sent it, so the ledger hears nothing of it.

mod flags;
mod folders;
mod moving;
mod put;

use model::{FolderId, MailboxId, MessageId, Timestamp};
use serde_json::json;
use store::{BodyRef, Row, values};

use crate::bulk::role_of;
use crate::{Embedded, FolderRole, MailboxError};

pub use flags::{FlagMode, FlagStore, Flags, FlagsChanged};
pub use folders::is_folder_name;
pub(crate) use folders::next_uid_validity;
pub use moving::Transfer;
pub use put::{OwnHeader, OwnMail};

/// Most folders that a mail program is shown.
pub const FOLDERS_MAX: i64 = 2_000;
/// Items that one transaction changes the flags of, or deletes.
const CHANGE_MAX: usize = 1_000;
/// Items that one COPY or MOVE takes: all of them or none, so one transaction.
pub const COPY_MAX: usize = 20_000;
/// Rows of one page of a view.
const VIEW_PAGE: i64 = 5_000;

/// A folder with what IMAP says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderState {
    /// Its id.
    pub id: FolderId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: FolderRole,
    /// UIDNEXT.
    pub uid_next: i64,
    /// UIDVALIDITY.
    pub uid_validity: i64,
    /// Counts what comes in and changes of flags; with each the number grows. See [`ViewItem::modseq`].
    pub modseq: i64,
    /// Items from this uid on were shown to no session yet.
    pub recent_uid: i64,
}

/// Counts of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderCounts {
    /// All items.
    pub total: i64,
    /// Without `\Seen`.
    pub unseen: i64,
    /// Shown to no session yet.
    pub recent: i64,
    /// With `\Deleted`.
    pub deleted: i64,
}

/// An item as a session keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewItem {
    /// Its uid.
    pub uid: i64,
    /// Its flags.
    pub flags: Flags,
    /// The folder's counter when it came in or its flags last changed; 0 for what came before this was counted.
    pub modseq: i64,
}

/// What is needed to show an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its uid.
    pub uid: i64,
    /// The message.
    pub message_id: MessageId,
    /// INTERNALDATE.
    pub internal_at: Timestamp,
    /// Where its bytes are.
    pub body: BodyRef,
}

impl Embedded {
    /// The folders of a mailbox, those with a role first, then by name; at most [`FOLDERS_MAX`].
    pub async fn folder_states(&self, mailbox_id: MailboxId) -> Result<Vec<FolderState>, MailboxError> {
        let rows = self.store().query("imap.folders", &values![mailbox_id, FOLDERS_MAX]).await?;
        rows.iter().map(folder_state).collect()
    }

    /// A folder, if this mailbox has it.
    pub async fn folder_state(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
    ) -> Result<Option<FolderState>, MailboxError> {
        let row = self.store().query_one("imap.folder", &values![mailbox_id, folder_id]).await?;
        row.map(|row| folder_state(&row)).transpose()
    }

    /// The counts of a folder.
    pub async fn counts(&self, folder: &FolderState) -> Result<FolderCounts, MailboxError> {
        let row = self.store().query_one("imap.counts", &values![folder.id, folder.recent_uid]).await?;
        let row = row.ok_or(MailboxError::NotFound("folder"))?;
        Ok(FolderCounts {
            total: row.int("total_count")?,
            unseen: row.int("unseen_count")?,
            recent: row.int("recent_count")?,
            deleted: row.int("deleted_count")?,
        })
    }

    /// The bytes of all messages in a folder (RFC 8438).
    pub async fn size_bytes(&self, folder_id: FolderId) -> Result<i64, MailboxError> {
        let row = self.store().query_one("imap.size", &values![folder_id]).await?;
        Ok(row.map(|row| row.int("size_bytes")).transpose()?.unwrap_or(0))
    }

    /// Uids and flags of the items with `from <= uid < below`, by uid.
    pub async fn view(&self, folder_id: FolderId, from: i64, below: i64) -> Result<Vec<ViewItem>, MailboxError> {
        let mut all = Vec::new();
        let mut at = from;
        while at < below {
            let rows = self.store().query("imap.view", &values![folder_id, at, below, VIEW_PAGE]).await?;
            for row in &rows {
                all.push(view_item(row)?);
            }
            if (rows.len() as i64) < VIEW_PAGE {
                break;
            }
            at = all.last().map_or(below, |item: &ViewItem| item.uid + 1);
        }
        Ok(all)
    }

    /// Items with a uid below this one whose flags changed after the folder's counter stood at `modseq`, by uid.
    pub async fn changed_since(
        &self,
        folder_id: FolderId,
        modseq: i64,
        below: i64,
    ) -> Result<Vec<ViewItem>, MailboxError> {
        self.store().query("imap.changed", &values![folder_id, modseq, below]).await?.iter().map(view_item).collect()
    }

    /// How many items have a uid below this one.
    pub async fn count_below(&self, folder_id: FolderId, uid: i64) -> Result<i64, MailboxError> {
        let row = self.store().query_one("imap.count_below", &values![folder_id, uid]).await?;
        Ok(row.map(|row| row.int("total_count")).transpose()?.unwrap_or(0))
    }

    /// The uids below this one, ascending.
    pub async fn uids_below(&self, folder_id: FolderId, below: i64) -> Result<Vec<i64>, MailboxError> {
        let mut all: Vec<i64> = Vec::new();
        loop {
            let from = all.last().map_or(1, |uid| uid + 1);
            let rows = self.store().query("imap.uids", &values![folder_id, from, below, VIEW_PAGE]).await?;
            for row in &rows {
                all.push(row.int("uid")?);
            }
            if (rows.len() as i64) < VIEW_PAGE {
                return Ok(all);
            }
        }
    }

    /// Takes the items with `known <= uid < next` as recent; false when another session was first.
    pub async fn claim_recent(&self, folder_id: FolderId, known: i64, next: i64) -> Result<bool, MailboxError> {
        Ok(self.store().execute("imap.claim_recent", &values![folder_id, known, next]).await? > 0)
    }

    /// What is needed to show the items of these uids; those that are gone are left out.
    pub async fn contents(&self, folder_id: FolderId, uids: &[i64]) -> Result<Vec<Content>, MailboxError> {
        let rows = self.store().query("imap.contents", &values![folder_id, &uid_list(uids)]).await?;
        rows.iter()
            .map(|row| {
                Ok(Content {
                    uid: row.int("uid")?,
                    message_id: row.id("message_id")?,
                    internal_at: row.at("internal_at")?,
                    body: BodyRef::from_row(row)?,
                })
            })
            .collect()
    }
}

fn uid_list(uids: &[i64]) -> serde_json::Value {
    json!(uids)
}

fn view_item(row: &Row) -> Result<ViewItem, MailboxError> {
    Ok(ViewItem { uid: row.int("uid")?, flags: Flags::read(row)?, modseq: row.int("modseq")? })
}

fn folder_state(row: &Row) -> Result<FolderState, MailboxError> {
    Ok(FolderState {
        id: row.id("id")?,
        name: row.text("name")?.to_owned(),
        role: role_of(row, "role")?,
        uid_next: row.int("uid_next")?,
        uid_validity: row.int("uid_validity")?,
        modseq: row.int("modseq")?,
        recent_uid: row.int("recent_uid")?,
    })
}
