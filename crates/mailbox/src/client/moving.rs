//! COPY, MOVE and EXPUNGE: what lies where, and what the ledger hears of it.

use std::collections::{BTreeSet, HashMap};

use model::{CampaignId, CopyId, FolderId, MailItemId, MailboxId};
use serde_json::json;
use store::{Row, Topic, Tx, values};

use super::flags::flag_values;
use super::{CHANGE_MAX, COPY_MAX, Flags, FolderState, folder_state, uid_list};
use crate::bulk::{id_list, touch};
use crate::owner::{Gone, delete_copies, moved_event};
use crate::{Embedded, MailboxError};

/// Uids before and after COPY or MOVE, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// UIDVALIDITY of the folder they are in now.
    pub uid_validity: i64,
    /// (uid there, uid here)
    pub uids: Vec<(i64, i64)>,
}

impl Embedded {
    /// Removes the items with `\Deleted`, all or those of `uids`, for good: the ledger says *deleted by owner*, or where
    /// the owner's duplicate is.
    pub async fn expunge(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        uids: Option<&[i64]>,
        actor: &str,
    ) -> Result<(), MailboxError> {
        let rows = self.store().query("imap.deleted_uids", &values![folder_id]).await?;
        let mut deleted: Vec<i64> = rows.iter().map(|row| row.int("uid")).collect::<Result<_, _>>()?;
        if let Some(uids) = uids {
            let wanted: BTreeSet<i64> = uids.iter().copied().collect();
            deleted.retain(|uid| wanted.contains(uid));
        }
        for page in deleted.chunks(CHANGE_MAX) {
            self.delete_page(mailbox_id, folder_id, page, true, actor).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_page(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        uids: &[i64],
        only_deleted: bool,
        actor: &str,
    ) -> Result<(), MailboxError> {
        let mut tx = self.store().begin().await?;
        let held = hold_all(&mut tx, mailbox_id, folder_id, uids).await?;
        let gone: Vec<&HeldItem> = held.iter().filter(|item| item.flags.deleted || !only_deleted).collect();
        let ids: Vec<i64> = gone.iter().map(|item| item.id.0).collect();
        tx.execute("mailbox.delete_items", &values![&json!(ids)]).await?;
        let copies: Vec<Gone> = gone.iter().filter_map(|item| item.ledger).collect();
        delete_copies(&mut tx, &copies, actor).await?;
        let campaigns = campaigns_of(&gone);
        tx.commit().await?;
        self.announce_change(mailbox_id, campaigns);
        Ok(())
    }

    /// Duplicates items: all of them or none.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] for the folder; [`MailboxError::TooMany`].
    pub async fn copy_items(
        &self,
        mailbox_id: MailboxId,
        from: FolderId,
        uids: &[i64],
        to: FolderId,
    ) -> Result<Transfer, MailboxError> {
        check_count(uids)?;
        let mut tx = self.store().begin().await?;
        lock_origins(&mut tx, from, uids).await?;
        let target = lock_target(&mut tx, mailbox_id, to).await?;
        let mut rows = tx.query("imap.lock_items", &values![from, &uid_list(uids)]).await?;
        rows.sort_by_key(|row| row.int("uid").unwrap_or(0));
        let mut items = Vec::with_capacity(rows.len());
        let mut done = Vec::with_capacity(rows.len());
        for (uid, row) in (target.uid_next..).zip(&rows) {
            let id: MailItemId = self.store().next_id();
            let (copy_id, origin): (i64, Option<i64>) = (row.int("copy_id")?, row.opt_int("origin_copy_id")?);
            // A duplicate of a duplicate is one of the same copy; what is no copy has no origin.
            let origin = origin.or((copy_id != row.int("id")?).then_some(copy_id));
            let mut item =
                values![id, mailbox_id, to, uid, id.0, row.int("message_id")?, row.int("internal_at")?].to_vec();
            item.extend(flag_values(&Flags::read(row)?).into_iter().take(5));
            item.extend(values![row.text("keywords")?, row.text("safety_tip")?, origin, target.modseq + 1]);
            items.push(item);
            done.push((row.int("uid")?, uid));
        }
        take_uids(&mut tx, &target, done.len()).await?;
        tx.insert_many("mailbox.insert_item", &items).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(Transfer { uid_validity: target.uid_validity, uids: done })
    }

    /// Moves items: all of them or none. In the folder itself they get new uids (RFC 6851 3.3).
    ///
    /// # Errors
    /// As [`Embedded::copy_items`].
    pub async fn move_items(
        &self,
        mailbox_id: MailboxId,
        from: FolderId,
        uids: &[i64],
        to: FolderId,
        actor: &str,
    ) -> Result<Transfer, MailboxError> {
        check_count(uids)?;
        let mut tx = self.store().begin().await?;
        lock_copies(&mut tx, from, uids).await?;
        // Both at once, in the order of ids.
        tx.query("mailbox.lock_folders", &values![&id_list(&BTreeSet::from([from, to]))]).await?;
        let target = lock_target(&mut tx, mailbox_id, to).await?;
        let mut held = hold_all(&mut tx, mailbox_id, from, uids).await?;
        held.sort_unstable_by_key(|item| item.uid);
        let places: Vec<serde_json::Value> =
            (target.uid_next..).zip(&held).map(|(uid, item)| json!([item.id.0, uid])).collect();
        take_uids(&mut tx, &target, held.len()).await?;
        tx.execute("imap.move_items", &values![to, &json!(places)]).await?;
        let now = self.store().now();
        let moved = held.iter().filter_map(|item| item.ledger).filter(|_| from != to);
        let events: Vec<_> = moved.map(|copy| moved_event(&copy, target.role, &target.name, actor, now)).collect();
        tx.append_events(&events).await?;
        let campaigns = campaigns_of(&held.iter().collect::<Vec<_>>());
        tx.commit().await?;
        self.announce_change(mailbox_id, campaigns);
        let done = held.iter().map(|item| item.uid).zip(target.uid_next..).collect();
        Ok(Transfer { uid_validity: target.uid_validity, uids: done })
    }

    fn announce_change(&self, mailbox_id: MailboxId, campaigns: BTreeSet<i64>) {
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        for campaign in campaigns {
            self.store().bus().announce(Topic::Ledger, campaign);
        }
    }
}

/// An item whose copy, if it is one, and whose row are locked until the end of the transaction.
struct HeldItem {
    id: MailItemId,
    uid: i64,
    flags: Flags,
    ledger: Option<Gone>,
    campaign_id: Option<CampaignId>,
}

/// Locks the copies of some items, as everybody who moves copies does first.
async fn lock_copies(tx: &mut Tx, folder_id: FolderId, uids: &[i64]) -> Result<Vec<Row>, MailboxError> {
    let rows = tx.query("imap.peek_items", &values![folder_id, &uid_list(uids)]).await?;
    let ids: Vec<CopyId> = rows.iter().map(|row| row.id("copy_id")).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        tx.query("copy.lock_many", &values![&id_list(&ids)]).await?;
    }
    Ok(rows)
}

/// Locks the copies that some items are, or are duplicates of: a purge that takes a copy with its duplicates must not
/// overlook the one that is just being made.
async fn lock_origins(tx: &mut Tx, folder_id: FolderId, uids: &[i64]) -> Result<(), MailboxError> {
    let rows = tx.query("imap.origins", &values![folder_id, &uid_list(uids)]).await?;
    let ids: Vec<CopyId> = rows.iter().map(|row| row.id("copy_id")).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        tx.query("copy.lock_many", &values![&id_list(&ids)]).await?;
    }
    Ok(())
}

/// Locks the copies of items that leave a folder, then the folder, then the items, and reads these as they are then: a purge may
/// have taken some meanwhile.
async fn hold_all(
    tx: &mut Tx,
    mailbox_id: MailboxId,
    folder_id: FolderId,
    uids: &[i64],
) -> Result<Vec<HeldItem>, MailboxError> {
    if tx.query_one("imap.folder", &values![mailbox_id, folder_id]).await?.is_none() {
        return Err(MailboxError::NotFound("folder"));
    }
    let mut known: HashMap<i64, (Gone, Option<CampaignId>)> = HashMap::new();
    for row in lock_copies(tx, folder_id, uids).await? {
        let gone = Gone { organisation_id: row.id("organisation_id")?, copy_id: row.id("copy_id")? };
        known.insert(row.int("id")?, (gone, row.opt_id("campaign_id")?));
    }
    touch(tx, &BTreeSet::from([folder_id])).await?;
    let rows = tx.query("imap.lock_items", &values![folder_id, &uid_list(uids)]).await?;
    rows.iter()
        .map(|row| {
            let id = row.int("id")?;
            let ledger = known.get(&id).filter(|(gone, _)| row.id("copy_id").is_ok_and(|c: CopyId| c == gone.copy_id));
            Ok(HeldItem {
                id: MailItemId(id),
                uid: row.int("uid")?,
                flags: Flags::read(row)?,
                ledger: ledger.map(|(gone, _)| *gone),
                campaign_id: ledger.and_then(|(_, campaign)| *campaign),
            })
        })
        .collect()
}

fn campaigns_of(items: &[&HeldItem]) -> BTreeSet<i64> {
    let of = |item: &&HeldItem| item.ledger.map(|_| item.campaign_id.map_or(0, |id| id.0));
    items.iter().filter_map(of).collect()
}

/// The folder that items come into, locked.
async fn lock_target(tx: &mut Tx, mailbox_id: MailboxId, folder_id: FolderId) -> Result<FolderState, MailboxError> {
    tx.query("mailbox.lock_folders", &values![&json!([folder_id.0])]).await?;
    let row = tx.query_one("imap.folder", &values![mailbox_id, folder_id]).await?;
    folder_state(&row.ok_or(MailboxError::NotFound("folder"))?)
}

async fn take_uids(tx: &mut Tx, folder: &FolderState, count: usize) -> Result<(), MailboxError> {
    let next = folder.uid_next + i64::try_from(count).unwrap_or(0);
    tx.execute("mailbox.set_uid_next", &values![&json!([[folder.id.0, next]])]).await?;
    Ok(())
}

fn check_count(uids: &[i64]) -> Result<(), MailboxError> {
    if uids.len() > COPY_MAX { Err(MailboxError::TooMany) } else { Ok(()) }
}
