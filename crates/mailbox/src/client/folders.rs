//! Folders as a mail program makes, renames, drops and subscribes them.

use std::collections::HashMap;

use model::{FolderId, MailboxId};
use store::{Topic, Tx, values};

use super::{CHANGE_MAX, FOLDERS_MAX};
use crate::folder::{NAME_BYTES_MAX, check_name};
use crate::{Embedded, FolderRole, MailboxError};

impl Embedded {
    /// Creates a folder with a role that no folder of the mailbox has yet, or one of the owner's own.
    ///
    /// # Errors
    /// [`MailboxError::FolderName`], [`MailboxError::FolderExists`]; [`MailboxError::FolderInUse`] when another folder
    /// has the role; [`MailboxError::TooMany`] past [`FOLDERS_MAX`]; [`MailboxError::NotFound`] without a mailbox.
    pub async fn create_folder_as(
        &self,
        mailbox_id: MailboxId,
        name: &str,
        role: FolderRole,
    ) -> Result<FolderId, MailboxError> {
        check_name(name)?;
        let mut tx = self.store().begin().await?;
        let uid_validity = next_uid_validity(&mut tx, mailbox_id).await?;
        check_room(&mut tx, mailbox_id).await?;
        let taken = tx.query_one("mailbox.folder_by_role", &values![mailbox_id, role.as_str()]).await?.is_some();
        if role != FolderRole::Own && taken {
            return Err(MailboxError::FolderInUse("another folder has this use"));
        }
        let id: FolderId = self.store().next_id();
        let row = values![id, mailbox_id, name, role.as_str(), 1_i64, uid_validity];
        if tx.execute("mailbox.insert_folder", &row).await? == 0 {
            return Err(MailboxError::FolderExists);
        }
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(id)
    }

    /// Deletes a folder of the owner's own with everything in it, which is *deleted by owner*. Its name stays
    /// subscribed where its owner has subscribed to it (RFC 3501 6.3.9); that it was subscribed by being there ends with it.
    ///
    /// # Errors
    /// [`MailboxError::FolderInUse`] for a folder with a role, or when mail comes in faster than it goes;
    /// [`MailboxError::NotFound`].
    pub async fn remove_folder(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        actor: &str,
    ) -> Result<(), MailboxError> {
        let state = self.folder_state(mailbox_id, folder_id).await?.ok_or(MailboxError::NotFound("folder"))?;
        if state.role != FolderRole::Own {
            return Err(MailboxError::FolderInUse("every mailbox has it"));
        }
        let uids = self.uids_below(folder_id, i64::MAX).await?;
        for page in uids.chunks(CHANGE_MAX) {
            self.delete_page(mailbox_id, folder_id, page, false, actor).await?;
        }
        let mut tx = self.store().begin().await?;
        tx.query("mailbox.lock_folder", &values![folder_id]).await?;
        if tx.execute("imap.drop_folder", &values![mailbox_id, folder_id]).await? == 0 {
            return Err(MailboxError::FolderInUse("mail has just come in"));
        }
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(())
    }

    /// Renames folders together: (folder, its new name). Each gets a new UIDVALIDITY, since the name may have been another
    /// folder's before.
    ///
    /// # Errors
    /// [`MailboxError::FolderName`], [`MailboxError::FolderExists`], [`MailboxError::NotFound`]; then none is renamed.
    pub async fn rename_folders(
        &self,
        mailbox_id: MailboxId,
        renames: &[(FolderId, String)],
    ) -> Result<(), MailboxError> {
        let mut tx = self.store().begin().await?;
        for (folder_id, name) in renames {
            check_name(name)?;
            if tx.query_one("mailbox.folder_by_name", &values![mailbox_id, name]).await?.is_some() {
                return Err(MailboxError::FolderExists);
            }
            let uid_validity = next_uid_validity(&mut tx, mailbox_id).await?;
            let row = values![mailbox_id, *folder_id, name, uid_validity];
            if tx.execute("imap.rename_folder", &row).await? == 0 {
                return Err(MailboxError::NotFound("folder"));
            }
        }
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(())
    }

    /// What the owner said of names: whether each is subscribed. A folder that is not named here is.
    pub async fn subscriptions(&self, mailbox_id: MailboxId) -> Result<HashMap<String, bool>, MailboxError> {
        let rows = self.store().query("imap.subscriptions", &values![mailbox_id, FOLDERS_MAX]).await?;
        rows.iter().map(|row| Ok((row.text("name")?.to_owned(), row.flag("subscribed")?))).collect()
    }

    /// Subscribes a name, or no more.
    ///
    /// # Errors
    /// [`MailboxError::FolderName`] for a name that no folder can have; [`MailboxError::TooMany`] past [`FOLDERS_MAX`].
    pub async fn subscribe(&self, mailbox_id: MailboxId, name: &str, subscribed: bool) -> Result<(), MailboxError> {
        check_name(name)?;
        let known = self.subscriptions(mailbox_id).await?;
        if known.len() as i64 >= FOLDERS_MAX && !known.contains_key(name) {
            return Err(MailboxError::TooMany);
        }
        self.store().execute("imap.subscribe", &values![mailbox_id, name, subscribed]).await?;
        Ok(())
    }
}

/// A UIDVALIDITY that no folder of this mailbox has had. Locks the mailbox's row.
pub(crate) async fn next_uid_validity(tx: &mut Tx, mailbox_id: MailboxId) -> Result<i64, MailboxError> {
    let now = tx.store().now().as_micros() / 1_000_000;
    let row = tx.query_one("imap.next_uid_validity", &values![mailbox_id, now]).await?;
    Ok(row.ok_or(MailboxError::NotFound("mailbox"))?.int("uid_validity")?)
}

/// Folders past those that are shown could not be reached.
async fn check_room(tx: &mut Tx, mailbox_id: MailboxId) -> Result<(), MailboxError> {
    let count = tx.query_one("mailbox.folder_count", &values![mailbox_id]).await?;
    let count = count.map(|row| row.int("n")).transpose()?.unwrap_or(0);
    if count >= FOLDERS_MAX { Err(MailboxError::TooMany) } else { Ok(()) }
}

/// Whether a name can be a folder's; for callers that check before they ask.
pub fn is_folder_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && check_name(name).is_ok()
}
