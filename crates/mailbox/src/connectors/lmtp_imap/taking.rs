//! Taking copies out in two phases, and finding them by Message-ID.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{CopyId, MailboxId, Place, Timestamp};
use serde_json::json;
use store::{StoreError, values};

use super::desk::{Desk, Folder, Hit};
use super::{Batch, HasCopy, Known, LmtpImap, by_mailbox, search, snapshot_of};
use crate::connector::FOUND_MAX;
use crate::{FolderRole, Found, MailboxError, PutBack, Snapshot, TakenOut};

/// How often a mailbox is looked through while its owner moves things about.
const ROUNDS_MAX: usize = 3;
/// What nobody came back for in this time is swept.
const LEFT_BEHIND_MS: i64 = 10 * 60 * 1000;
/// Rows of one sweep.
const SWEEP_MAX: i64 = 200;

/// What was written down before it moved.
struct HeldRow {
    copy_id: CopyId,
    snapshot: Snapshot,
}

/// A copy and where it is to go.
struct Moving {
    known: Known,
    from: Option<FolderRole>,
    to: Snapshot,
}

impl HasCopy for Moving {
    fn copy_id(&self) -> CopyId {
        self.known.copy_id
    }
}

impl LmtpImap {
    /// Takes copies out of their mailboxes into the holding folders, and gives how each lay there. What is in a holding
    /// folder from before is given again. Tell [`LmtpImap::settle_many`] once the snapshots are kept.
    ///
    /// # Errors
    /// The store's. A mailbox that cannot be entered is told in the batch, and nothing of it is lost.
    pub async fn take_out_many(&self, copy_ids: &[CopyId]) -> Result<Batch<TakenOut>, MailboxError> {
        let groups = by_mailbox(self.known(copy_ids).await?);
        Ok(self.each(groups, |this, group| Box::pin(async move { this.take_from(&group).await })).await)
    }

    async fn take_from(&self, group: &[Known]) -> Result<Vec<TakenOut>, MailboxError> {
        let address = &group[0].address;
        let trouble = |error| self.unreachable("IMAP", address, &error);
        let mut entered = self.enter(address).await?;
        let mut desk = entered.desk();
        let marks: Vec<&str> = group.iter().map(|known| known.mark.as_str()).collect();
        self.forget_strays(group, &mut desk, &marks).await?;
        for _ in 0..ROUNDS_MAX {
            let (_, hits) = search(&mut desk, group).await.map_err(trouble)?;
            if hits.is_empty() {
                break;
            }
            // First what is known of them, durably; then they move.
            self.write_down(group, &hits).await?;
            for (folder, uids) in by_folder(&hits) {
                desk.hold(&folder, &uids).await.map_err(trouble)?;
            }
        }
        let held = desk.search_held(&marks).await.map_err(trouble)?;
        let rows = self.held_rows(group).await?;
        let taken = group.iter().filter_map(|known| taken(known, &rows, &held)).collect();
        self.leave(entered);
        Ok(taken)
    }

    /// Forgets what was written down of copies that never reached the holding folder: they are looked for afresh.
    async fn forget_strays(&self, group: &[Known], desk: &mut Desk<'_>, marks: &[&str]) -> Result<(), MailboxError> {
        let rows = self.held_rows(group).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let held = desk.search_held(marks).await;
        let held = held.map_err(|error| self.unreachable("IMAP", &group[0].address, &error))?;
        let is_stray = |known: &&Known| rows.contains_key(&known.copy_id) && held.iter().all(|h| h.mark != known.mark);
        let strays: Vec<CopyId> = group.iter().filter(is_stray).map(|known| known.copy_id).collect();
        Ok(self.let_go(&strays).await?)
    }

    async fn write_down(&self, group: &[Known], hits: &[Hit]) -> Result<(), StoreError> {
        let store = &self.inner.store;
        let mut tx = store.begin().await?;
        for known in group {
            let own: Vec<&Hit> = hits.iter().filter(|hit| hit.mark == known.mark).collect();
            let Some(snapshot) = snapshot_of(known, &own) else { continue };
            let row =
                values![known.copy_id, self.name(), known.mailbox_id, known.message_id, &json!(snapshot), store.now()];
            tx.execute("connector.hold", &row).await?;
        }
        tx.commit().await
    }

    async fn held_rows(&self, group: &[Known]) -> Result<HashMap<CopyId, HeldRow>, StoreError> {
        let ids: serde_json::Value = group.iter().map(|known| serde_json::Value::from(known.copy_id.0)).collect();
        let rows = self.inner.store.query("connector.held", &values![self.name(), &ids]).await?;
        let held = |row: &store::Row| {
            let copy_id: CopyId = row.id("copy_id")?;
            Ok((copy_id, HeldRow { copy_id, snapshot: row.json("snapshot")? }))
        };
        rows.iter().map(held).collect()
    }

    async fn let_go(&self, copy_ids: &[CopyId]) -> Result<(), StoreError> {
        if copy_ids.is_empty() {
            return Ok(());
        }
        let ids: serde_json::Value = copy_ids.iter().map(|id| serde_json::Value::from(id.0)).collect();
        self.inner.store.execute("connector.let_go", &values![&ids]).await.map(|_| ())
    }

    /// The snapshots of these copies are kept: the holding folders let go of them. Repeating it changes nothing; what
    /// fails is ended by [`LmtpImap::sweep`].
    ///
    /// # Errors
    /// The store's.
    pub async fn settle_many(&self, copy_ids: &[CopyId]) -> Result<Batch<CopyId>, MailboxError> {
        let known = self.known(copy_ids).await?;
        let rows = self.held_rows(&known).await?;
        let groups = by_mailbox(known.into_iter().filter(|known| rows.contains_key(&known.copy_id)).collect());
        Ok(self.each(groups, |this, group| Box::pin(async move { this.settle_in(&group).await })).await)
    }

    async fn settle_in(&self, group: &[Known]) -> Result<Vec<CopyId>, MailboxError> {
        let address = &group[0].address;
        let mut entered = self.enter(address).await?;
        let marks: Vec<&str> = group.iter().map(|known| known.mark.as_str()).collect();
        let emptied = entered.desk().empty_holding(&marks).await;
        emptied.map_err(|error| self.unreachable("IMAP", address, &error))?;
        self.leave(entered);
        let copy_ids: Vec<CopyId> = group.iter().map(|known| known.copy_id).collect();
        self.let_go(&copy_ids).await?;
        Ok(copy_ids)
    }

    /// Which of these copies lie in a holding folder, or were on their way there when somebody died.
    ///
    /// # Errors
    /// The store's.
    pub async fn held(&self, copy_ids: &[CopyId]) -> Result<BTreeSet<CopyId>, MailboxError> {
        let ids: serde_json::Value = copy_ids.iter().map(|id| serde_json::Value::from(id.0)).collect();
        let rows = self.inner.store.query("connector.held", &values![self.name(), &ids]).await?;
        Ok(rows.iter().map(|row| row.id("copy_id")).collect::<Result<_, _>>()?)
    }

    /// Moves copies from the folder of one role (any, when `None`) to where the snapshots say, their flags and dates as
    /// they are; the folder is made when it is gone. Gives how those lay that were moved; what is there already, or in a
    /// folder of another role, stays.
    ///
    /// # Errors
    /// The store's. A mailbox that cannot be entered is told in the batch.
    pub async fn move_many(
        &self,
        from: Option<FolderRole>,
        to: &[(CopyId, Snapshot)],
    ) -> Result<Batch<(TakenOut, Snapshot)>, MailboxError> {
        let copy_ids: Vec<CopyId> = to.iter().map(|(copy_id, _)| *copy_id).collect();
        let targets: HashMap<CopyId, &Snapshot> = to.iter().map(|(copy_id, to)| (*copy_id, to)).collect();
        let mut groups: BTreeMap<MailboxId, Vec<Moving>> = BTreeMap::new();
        for known in self.known(&copy_ids).await? {
            let to = targets[&known.copy_id].clone();
            groups.entry(known.mailbox_id).or_default().push(Moving { known, from, to });
        }
        let groups: Vec<Vec<Moving>> = groups.into_values().collect();
        Ok(self.each(groups, |this, group| Box::pin(async move { this.move_in(&group).await })).await)
    }

    async fn move_in(&self, group: &[Moving]) -> Result<Vec<(TakenOut, Snapshot)>, MailboxError> {
        let address = &group[0].known.address;
        let trouble = |error| self.unreachable("IMAP", address, &error);
        let mut entered = self.enter(address).await?;
        let mut desk = entered.desk();
        let known: Vec<Known> = group.iter().map(|moving| moving.known.clone()).collect();
        let (folders, hits) = search(&mut desk, &known).await.map_err(trouble)?;
        let mut moved = Vec::new();
        for Moving { known, from, to } in group {
            let target = desk.folder_for(&folders, to);
            let is_to_move = |hit: &&Hit| {
                hit.mark == known.mark && hit.folder != target && from.is_none_or(|from| hit.folder.role == from)
            };
            let own: Vec<&Hit> = hits.iter().filter(is_to_move).collect();
            let Some(before) = snapshot_of(known, &own) else { continue };
            for (folder, uids) in by_folder(own.iter().copied()) {
                desk.move_to(&folder, &uids, &target, true).await.map_err(trouble)?;
            }
            let after = Snapshot { folder: target.name, folder_role: target.role, ..before.clone() };
            let taken = TakenOut { copy_id: known.copy_id, message_id: known.message_id, snapshot: before };
            moved.push((taken, after));
        }
        self.leave(entered);
        Ok(moved)
    }

    /// Ends what somebody left behind between the two phases: a copy that the ledger has in quarantine leaves the holding
    /// folder, any other returns to where it was. Gives how many were ended.
    ///
    /// # Errors
    /// The store's, and the first mailbox that could not be entered; the rest is done all the same.
    pub async fn sweep(&self) -> Result<usize, MailboxError> {
        let store = &self.inner.store;
        let before: Timestamp = store.now().plus_ms(-LEFT_BEHIND_MS);
        let rows = store.query("connector.left_behind", &values![self.name(), before, SWEEP_MAX]).await?;
        let (mut settled, mut back) = (Vec::new(), Vec::new());
        for row in &rows {
            let copy_id: CopyId = row.id("copy_id")?;
            settled.push(copy_id);
            if row.text("place")? != Place::Quarantine.as_str() {
                let (message_id, snapshot) = (row.id("message_id")?, row.json("snapshot")?);
                back.push(PutBack { copy_id, message_id, snapshot });
            }
        }
        let returned = self.put_back_many(&back).await?;
        let stays: BTreeSet<CopyId> = returned.failed.iter().map(|failed| failed.copy_id).collect();
        settled.retain(|copy_id| !stays.contains(copy_id));
        let ended = self.settle_many(&settled).await?;
        match returned.failed.into_iter().chain(ended.failed).next() {
            Some(failed) => Err(failed.error),
            None => Ok(ended.done.len()),
        }
    }

    pub(super) async fn find_message_id(
        &self,
        mailbox_id: MailboxId,
        header: &str,
    ) -> Result<Vec<Found>, MailboxError> {
        let row = self.inner.store.query_one("connector.mailbox", &values![mailbox_id]).await?;
        let row = row.ok_or(MailboxError::NotFound("mailbox"))?;
        if header.is_empty() {
            return Ok(Vec::new()); // every message contains it, and none is it
        }
        let address = row.text("address")?;
        let mut entered = self.enter(address).await?;
        let trouble = |error| self.unreachable("IMAP", address, &error);
        let mut desk = entered.desk();
        let folders = desk.folders().await.map_err(trouble)?;
        let hits = desk.search_message_id(&folders, header).await.map_err(trouble)?;
        self.leave(entered);
        // The copy's id stands in front of the mark; whoever made it up did not make our mark.
        let copy_ids: BTreeSet<i64> =
            hits.iter().filter_map(|hit| hit.mark.split('.').next().and_then(|id| id.parse().ok())).collect();
        let copy_ids: Vec<CopyId> = copy_ids.into_iter().map(CopyId).collect();
        let mut found = Vec::new();
        for known in self.known(&copy_ids).await?.iter().filter(|known| known.mailbox_id == mailbox_id) {
            let own: Vec<&Hit> = hits.iter().filter(|hit| hit.mark == known.mark).collect();
            if let Some(snapshot) = snapshot_of(known, &own) {
                found.push(Found { copy_id: known.copy_id, uid: i64::from(own[0].uid), snapshot });
            }
        }
        found.truncate(usize::try_from(FOUND_MAX).unwrap_or(usize::MAX));
        Ok(found)
    }
}

fn by_folder<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Vec<(Folder, BTreeSet<u32>)> {
    let mut folders: BTreeMap<&'a str, (Folder, BTreeSet<u32>)> = BTreeMap::new();
    for hit in hits {
        let entry = folders.entry(&hit.folder.wire).or_insert_with(|| (hit.folder.clone(), BTreeSet::new()));
        entry.1.insert(hit.uid);
    }
    folders.into_values().collect()
}

/// What was taken of one copy: it is in the holding folder, and what is written of it says where it was. Flags are those
/// that it carried when it moved.
fn taken(known: &Known, rows: &HashMap<CopyId, HeldRow>, held: &[Hit]) -> Option<TakenOut> {
    let row = rows.get(&known.copy_id)?;
    let own: Vec<&Hit> = held.iter().filter(|hit| hit.mark == known.mark).collect();
    let mut snapshot = row.snapshot.clone();
    match own[..] {
        [] => return None,
        [only] if snapshot.duplicates.is_empty() => only.flags.write_to(&mut snapshot),
        _ => {}
    }
    Some(TakenOut { copy_id: row.copy_id, message_id: known.message_id, snapshot })
}
