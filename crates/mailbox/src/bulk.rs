//! The embedded mailbox's building blocks: hundreds of copies in a handful of statements, inside the caller's transaction.
//!
//! On PostgreSQL the uid of a folder is given out under the folder's row lock. Locks are taken in one order: copies by
//! id (the caller's, through `copy.lock_many`), folders by id, items. A group commit takes folder locks in the order of
//! its submissions; should it meet a bulk operation the wrong way round, the database ends one of the two as passing
//! ([`store::Severity::Transient`]) and its caller tries again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{CopyId, FolderId, MailboxId};
use serde_json::json;
use store::{Op, Row, StoreError, Tx, Value, values};

use crate::client::next_uid_validity;
use crate::folder::NAME_BYTES_MAX;
use crate::{Delivery, FolderRole, Landed, MailboxError, PutBack, Snapshot, TakenOut};

/// Most duplicates of one copy that are put back with it.
pub(crate) const DUPLICATES_MAX: usize = 64;

/// The two operations of one delivery for a group commit: the folder gives a uid, the item takes it.
///
/// Both are guarded: a mailbox without such a folder and a copy that lies in a mailbox already are conflicts, and the
/// whole submission stores nothing.
pub fn deliver_ops(delivery: &Delivery) -> Vec<Op> {
    let row = values![
        delivery.mailbox_id,
        delivery.role.as_str(),
        delivery.item_id,
        delivery.copy_id,
        delivery.message_id,
        delivery.internal_at,
        &delivery.safety_tip,
    ]
    .to_vec();
    vec![Op::EachPair("mailbox.bump_roles", "mailbox.deliver_each", row)]
}

/// Delivers many copies now. As [`put_back`] with the snapshot of mail that has just arrived.
///
/// # Errors
/// [`MailboxError::NotFound`] when a mailbox does not exist; roll back then.
pub async fn deliver_many(tx: &mut Tx, deliveries: &[Delivery]) -> Result<Vec<Landed>, MailboxError> {
    let items: Vec<PutBack> = deliveries
        .iter()
        .map(|d| PutBack {
            copy_id: d.copy_id,
            message_id: d.message_id,
            snapshot: Snapshot {
                folder: d.role.default_name().to_owned(),
                folder_role: d.role,
                safety_tip: d.safety_tip.clone(),
                ..Snapshot::arriving(d.mailbox_id, d.internal_at)
            },
        })
        .collect();
    put_back(tx, &items).await
}

/// How copies lie in their mailboxes now: those that are there, their items locked until the end of the transaction.
pub async fn look(tx: &mut Tx, copy_ids: &[CopyId]) -> Result<Vec<TakenOut>, MailboxError> {
    Ok(look_with_items(tx, copy_ids).await?.1)
}

/// Takes copies out; gives those that were there. The caller holds the locks of the copies, keeps the snapshots and
/// appends the events in the same transaction.
pub async fn take_out(tx: &mut Tx, copy_ids: &[CopyId]) -> Result<Vec<TakenOut>, MailboxError> {
    let rows = tx.query("imap.folders_of_copies", &values![&id_list(copy_ids)]).await?;
    let folders: BTreeSet<FolderId> = rows.iter().map(|row| row.id("folder_id")).collect::<Result<_, _>>()?;
    touch(tx, &folders).await?;
    let (item_ids, taken) = look_with_items(tx, copy_ids).await?;
    if !item_ids.is_empty() {
        tx.execute("mailbox.delete_items", &values![&serde_json::Value::from(item_ids)]).await?;
    }
    Ok(taken)
}

/// Mail leaves these folders: their numbers rise, so that a mail program that knew them before (RFC 7162) looks for what has
/// gone. Locks them, in the order of ids; who also locks copies or items does that before and after.
pub(crate) async fn touch(tx: &mut Tx, folders: &BTreeSet<FolderId>) -> Result<(), StoreError> {
    if folders.is_empty() {
        return Ok(());
    }
    tx.query("mailbox.lock_folders", &values![&id_list(folders)]).await?;
    tx.execute("imap.touch_folders", &values![&id_list(folders)]).await?;
    Ok(())
}

/// The items of some copies and of their owners' duplicates, locked; and how each copy lies there.
async fn look_with_items(tx: &mut Tx, copy_ids: &[CopyId]) -> Result<(Vec<i64>, Vec<TakenOut>), MailboxError> {
    if copy_ids.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let rows = tx.query("mailbox.lock_items_of_copies", &values![&id_list(copy_ids)]).await?;
    let copies = tx.query("imap.lock_duplicates", &values![&id_list(copy_ids)]).await?;
    let mut folders = folders_of(tx, &rows).await?;
    folders.extend(folders_of(tx, &copies).await?);
    let snapshot = |row: &Row| -> Result<Snapshot, MailboxError> {
        let folder_id: FolderId = row.id("folder_id")?;
        let (name, role) = folders.get(&folder_id).ok_or(MailboxError::NotFound("folder"))?;
        Ok(snapshot_of(row, row.id("mailbox_id")?, name, *role)?)
    };
    let mut item_ids = Vec::with_capacity(rows.len() + copies.len());
    let mut taken: Vec<TakenOut> = Vec::with_capacity(rows.len());
    for row in &rows {
        item_ids.push(row.int("id")?);
        let (copy_id, message_id) = (row.id("copy_id")?, row.id("message_id")?);
        taken.push(TakenOut { copy_id, message_id, snapshot: snapshot(row)? });
    }
    for row in &copies {
        let origin: CopyId = row.id("origin_copy_id")?;
        if let Some(original) = taken.iter_mut().find(|t| t.copy_id == origin) {
            item_ids.push(row.int("id")?);
            original.snapshot.duplicates.push(snapshot(row)?);
        }
    }
    Ok((item_ids, taken))
}

/// Name and role of the folders that some items lie in.
pub(crate) async fn folders_of(
    tx: &mut Tx,
    items: &[Row],
) -> Result<HashMap<FolderId, (String, FolderRole)>, StoreError> {
    let ids: BTreeSet<FolderId> = items.iter().map(|row| row.id("folder_id")).collect::<Result<_, _>>()?;
    let rows = tx.query("mailbox.folders_by_id", &values![&id_list(&ids)]).await?;
    rows.iter().map(|row| Ok((row.id("id")?, (row.text("name")?.to_owned(), role_of(row, "role")?)))).collect()
}

/// Puts copies back as their snapshots say, under new uids; gives where each of them is now, in the order given. A copy
/// that is in a mailbox already stays as it is. A folder that is gone is created again.
///
/// # Errors
/// [`MailboxError::NotFound`] when a mailbox does not exist; roll back then.
pub async fn put_back(tx: &mut Tx, items: &[PutBack]) -> Result<Vec<Landed>, MailboxError> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let folders = ensure_folders(tx, items).await?;
    let there = items_there(tx, items).await?;
    let mut wanted: BTreeMap<FolderId, Vec<Placed<'_>>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for item in items.iter().filter(|i| !there.contains_key(&i.copy_id)) {
        // A copy named twice is put back once.
        if !seen.insert(item.copy_id) {
            continue;
        }
        let original = Placed { item, snapshot: &item.snapshot, is_duplicate: false };
        let duplicates = item.snapshot.duplicates.iter().take(DUPLICATES_MAX);
        let duplicates = duplicates.map(|snapshot| Placed { item, snapshot, is_duplicate: true });
        for placed in std::iter::once(original).chain(duplicates) {
            wanted.entry(folders.of(placed.snapshot)?).or_default().push(placed);
        }
    }
    let mut next = take_uids(tx, &wanted).await?;
    let mut rows = Vec::with_capacity(seen.len());
    let mut landed: HashMap<CopyId, Landed> = HashMap::with_capacity(items.len());
    for (folder_id, copies) in &wanted {
        let (name, role) = folders.named(*folder_id);
        for placed in copies {
            let Next { uid, modseq } = next.get_mut(folder_id).ok_or(MailboxError::NotFound("folder"))?;
            let mut row = item_row(tx, placed, *folder_id, *uid);
            row.push(Value::from(*modseq));
            rows.push(row);
            let mailbox_id = placed.snapshot.mailbox_id;
            let (folder, uid_now) = (name.to_owned(), *uid);
            let (copy_id, folder_id) = (placed.item.copy_id, *folder_id);
            *uid += 1;
            if !placed.is_duplicate {
                let at = Landed { copy_id, mailbox_id, folder_id, folder, role, uid: uid_now, was_there: false };
                landed.insert(copy_id, at);
            }
        }
    }
    tx.insert_many("mailbox.insert_item", &rows).await?;
    let of = |item: &PutBack| there.get(&item.copy_id).or(landed.get(&item.copy_id)).cloned();
    items.iter().map(|item| of(item).ok_or(MailboxError::NotFound("copy"))).collect()
}

/// What is put into a folder: a copy, or its owner's duplicate of it.
struct Placed<'a> {
    item: &'a PutBack,
    snapshot: &'a Snapshot,
    is_duplicate: bool,
}

fn item_row(tx: &Tx, placed: &Placed<'_>, folder_id: FolderId, uid: i64) -> Vec<Value> {
    let id: i64 = tx.store().next_id();
    let s = placed.snapshot;
    let keywords = json!(s.keywords);
    let copy_id = placed.item.copy_id;
    // A duplicate is no copy: its copy_id is its own id.
    let (copy, origin) = if placed.is_duplicate { (id, Some(copy_id)) } else { (copy_id.0, None) };
    values![
        id,
        s.mailbox_id,
        folder_id,
        uid,
        copy,
        placed.item.message_id,
        s.internal_at,
        s.seen,
        s.flagged,
        s.answered,
        s.deleted,
        s.draft,
        &keywords,
        &s.safety_tip,
        origin
    ]
    .to_vec()
}

/// What the next item of a folder gets.
struct Next {
    uid: i64,
    modseq: i64,
}

/// Gives out as many uids in each folder as it gets items.
async fn take_uids<T>(
    tx: &mut Tx,
    wanted: &BTreeMap<FolderId, Vec<T>>,
) -> Result<HashMap<FolderId, Next>, MailboxError> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let mut first = HashMap::with_capacity(wanted.len());
    let mut next = Vec::with_capacity(wanted.len());
    for row in tx.query("mailbox.lock_folders", &values![&id_list(wanted.keys())]).await? {
        let folder_id: FolderId = row.id("id")?;
        let uid = row.int("uid_next")?;
        let count = wanted.get(&folder_id).map_or(0, Vec::len);
        first.insert(folder_id, Next { uid, modseq: row.int("modseq")? + 1 });
        next.push(json!([folder_id.0, uid + i64::try_from(count).unwrap_or(i64::MAX - uid)]));
    }
    tx.execute("mailbox.set_uid_next", &values![&serde_json::Value::from(next)]).await?;
    Ok(first)
}

/// The copies that lie in a mailbox already.
async fn items_there(tx: &mut Tx, items: &[PutBack]) -> Result<HashMap<CopyId, Landed>, MailboxError> {
    let copy_ids: BTreeSet<CopyId> = items.iter().map(|i| i.copy_id).collect();
    let rows = tx.query("mailbox.lock_items_of_copies", &values![&id_list(&copy_ids)]).await?;
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let names = folders_of(tx, &rows).await?;
    let mut there = HashMap::with_capacity(rows.len());
    for row in &rows {
        let (copy_id, folder_id) = (row.id("copy_id")?, row.id("folder_id")?);
        let (folder, role) = names.get(&folder_id).cloned().ok_or(MailboxError::NotFound("folder"))?;
        let (mailbox_id, uid) = (row.id("mailbox_id")?, row.int("uid")?);
        there.insert(copy_id, Landed { copy_id, mailbox_id, folder_id, folder, role, uid, was_there: true });
    }
    Ok(there)
}

/// The folders of some mailboxes, by role and by name.
struct Folders {
    by_role: HashMap<(MailboxId, FolderRole), FolderId>,
    by_name: HashMap<(MailboxId, String), FolderId>,
    names: HashMap<FolderId, (String, FolderRole)>,
}

impl Folders {
    async fn read(tx: &mut Tx, mailbox_ids: &BTreeSet<MailboxId>) -> Result<Self, StoreError> {
        let mut folders = Folders { by_role: HashMap::new(), by_name: HashMap::new(), names: HashMap::new() };
        for row in tx.query("mailbox.folders_of_mailboxes", &values![&id_list(mailbox_ids)]).await? {
            let (id, mailbox_id): (FolderId, MailboxId) = (row.id("id")?, row.id("mailbox_id")?);
            let (name, role) = (row.text("name")?.to_owned(), role_of(&row, "role")?);
            if role != FolderRole::Own {
                folders.by_role.insert((mailbox_id, role), id);
            }
            folders.by_name.insert((mailbox_id, name.clone()), id);
            folders.names.insert(id, (name, role));
        }
        Ok(folders)
    }

    fn find(&self, snapshot: &Snapshot) -> Option<FolderId> {
        let by_role = self.by_role.get(&(snapshot.mailbox_id, snapshot.folder_role));
        by_role.or_else(|| self.by_name.get(&(snapshot.mailbox_id, snapshot.folder.clone()))).copied()
    }

    fn of(&self, snapshot: &Snapshot) -> Result<FolderId, MailboxError> {
        self.find(snapshot).ok_or(MailboxError::NotFound("folder"))
    }

    fn named(&self, folder_id: FolderId) -> (&str, FolderRole) {
        self.names.get(&folder_id).map_or(("", FolderRole::Own), |(name, role)| (name, *role))
    }
}

/// The folders that the snapshots name; those that are gone are created again.
async fn ensure_folders(tx: &mut Tx, items: &[PutBack]) -> Result<Folders, MailboxError> {
    let snapshots = || items.iter().flat_map(|i| std::iter::once(&i.snapshot).chain(&i.snapshot.duplicates));
    let mailbox_ids: BTreeSet<MailboxId> = snapshots().map(|s| s.mailbox_id).collect();
    let folders = Folders::read(tx, &mailbox_ids).await?;
    let missing: BTreeMap<(MailboxId, &str), FolderRole> = snapshots()
        .filter(|s| folders.find(s).is_none())
        .map(|s| ((s.mailbox_id, s.folder.as_str()), s.folder_role))
        .collect();
    if missing.is_empty() {
        return Ok(folders);
    }
    let mut rows = Vec::with_capacity(missing.len());
    for ((mailbox_id, name), role) in missing {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(MailboxError::FolderName("a snapshot names a folder that cannot exist"));
        }
        let uid_validity = next_uid_validity(tx, mailbox_id).await?;
        let id: FolderId = tx.store().next_id();
        rows.push(values![id, mailbox_id, name, role.as_str(), 1_i64, uid_validity].to_vec());
    }
    tx.insert_many("mailbox.insert_folder", &rows).await?;
    Ok(Folders::read(tx, &mailbox_ids).await?)
}

pub(crate) fn snapshot_of(
    row: &Row,
    mailbox_id: MailboxId,
    folder: &str,
    folder_role: FolderRole,
) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        mailbox_id,
        folder: folder.to_owned(),
        folder_role,
        seen: row.flag("seen")?,
        flagged: row.flag("flagged")?,
        answered: row.flag("answered")?,
        deleted: row.flag("deleted")?,
        draft: row.flag("draft")?,
        keywords: row.json("keywords")?,
        internal_at: row.at("internal_at")?,
        safety_tip: row.text("safety_tip")?.to_owned(),
        duplicates: Vec::new(),
    })
}

pub(crate) fn role_of(row: &Row, column: &str) -> Result<FolderRole, StoreError> {
    let text = row.text(column)?;
    FolderRole::parse(text)
        .ok_or_else(|| StoreError::Column { column: column.into(), problem: format!("unknown folder role {text:?}") })
}

pub(crate) fn id_list<'a, I: Into<i64> + Copy + 'a>(ids: impl IntoIterator<Item = &'a I>) -> serde_json::Value {
    ids.into_iter().map(|id| serde_json::Value::from((*id).into())).collect()
}
