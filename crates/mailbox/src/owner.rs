//! What the owner of a mailbox does with it. Everything is asked by mailbox id: an item of another mailbox does not exist.

use std::collections::{BTreeSet, HashMap};

use model::{
    CampaignId, CopyId, EventKind, FolderId, MailItemId, MailboxId, MessageId, OrganisationId, PersonId, Place,
    Timestamp,
};
use serde_json::json;
use store::{BodyRef, NewEvent, Row, Topic, Tx, values};

use crate::bulk::{folders_of, id_list, role_of, touch};
use crate::client::FOLDERS_MAX;
use crate::{Embedded, FolderRole, MailboxError};

/// Most items that one page holds.
pub const ITEMS_PAGE_MAX: usize = 200;
/// Most keywords that an item carries.
pub const KEYWORDS_MAX: usize = 32;
const KEYWORD_BYTES_MAX: usize = 64;
/// What the events say who saw it.
pub(crate) const SOURCE: &str = "mailbox";

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Its id.
    pub id: MailboxId,
    /// The organisation.
    pub organisation_id: OrganisationId,
    /// The owner.
    pub person_id: PersonId,
    /// The owner's address.
    pub address: String,
}

/// A folder with its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its id.
    pub id: FolderId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: FolderRole,
    /// How many items it has.
    pub total_count: i64,
    /// How many of them are unread.
    pub unseen_count: i64,
}

/// Where a page of items ended: the next one starts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemPosition {
    /// INTERNALDATE of the last item.
    pub internal_at: Timestamp,
    /// Its id.
    pub id: MailItemId,
}

/// An item as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSummary {
    /// Its id, which stays the same when it is moved.
    pub id: MailItemId,
    /// The folder.
    pub folder_id: FolderId,
    /// The uid in the folder.
    pub uid: i64,
    /// The copy.
    pub copy_id: CopyId,
    /// The message.
    pub message_id: MessageId,
    /// INTERNALDATE.
    pub internal_at: Timestamp,
    /// `\Seen`
    pub seen: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Answered`
    pub answered: bool,
    /// Keywords, sorted.
    pub keywords: Vec<String>,
    /// A warning to show above the message, or empty.
    pub safety_tip: String,
    /// Subject.
    pub subject: String,
    /// Address of the From field.
    pub from_address: String,
    /// Name of the From field.
    pub from_name: String,
    /// Size in bytes.
    pub size_bytes: i64,
}

impl ItemSummary {
    /// Where a page that ends with this item ends.
    pub fn position(&self) -> ItemPosition {
        ItemPosition { internal_at: self.internal_at, id: self.id }
    }
}

/// An item in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As the list shows it.
    pub summary: ItemSummary,
    /// The folder's name.
    pub folder: String,
    /// The folder's role.
    pub folder_role: FolderRole,
    /// The Message-ID header field.
    pub message_id_header: String,
    /// Where the body is: [`store::Store::body`] reads it.
    pub body: BodyRef,
}

/// What to change of an item's flags; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagChange {
    /// `\Seen`
    pub seen: Option<bool>,
    /// `\Flagged`
    pub flagged: Option<bool>,
    /// `\Answered`
    pub answered: Option<bool>,
    /// All keywords.
    pub keywords: Option<Vec<String>>,
}

/// Where a moved item is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The folder.
    pub folder_id: FolderId,
    /// The uid there.
    pub uid: i64,
}

/// What deleting did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It lies in Trash now.
    ToTrash(Moved),
    /// It is gone.
    Gone,
}

impl Embedded {
    /// The mailbox of a person, if there is one.
    pub async fn mailbox_of(&self, person_id: PersonId) -> Result<Option<MailboxInfo>, MailboxError> {
        let row = self.store().query_one("mailbox.by_person", &values![person_id]).await?;
        row.map(|row| mailbox_info(&row)).transpose()
    }

    /// A mailbox by its id, if there is one.
    pub async fn mailbox(&self, mailbox_id: MailboxId) -> Result<Option<MailboxInfo>, MailboxError> {
        let row = self.store().query_one("mailbox.by_id", &values![mailbox_id]).await?;
        row.map(|row| mailbox_info(&row)).transpose()
    }

    /// The folders with their counts, by name; at most [`FOLDERS_MAX`].
    pub async fn folders(&self, mailbox_id: MailboxId) -> Result<Vec<Folder>, MailboxError> {
        let rows = self.store().query("mailbox.folders", &values![mailbox_id, FOLDERS_MAX]).await?;
        rows.iter()
            .map(|row| {
                Ok(Folder {
                    id: row.id("id")?,
                    name: row.text("name")?.to_owned(),
                    role: role_of(row, "role")?,
                    total_count: row.int("total_count")?,
                    unseen_count: row.int("unseen_count")?,
                })
            })
            .collect()
    }

    /// The id of the folder of a role, if there is one.
    pub async fn folder_of_role(
        &self,
        mailbox_id: MailboxId,
        role: FolderRole,
    ) -> Result<Option<FolderId>, MailboxError> {
        let row = self.store().query_one("mailbox.folder_by_role", &values![mailbox_id, role.as_str()]).await?;
        Ok(row.map(|row| row.id("id")).transpose()?)
    }

    /// Creates a folder.
    ///
    /// # Errors
    /// [`MailboxError::FolderName`], [`MailboxError::FolderExists`]; [`MailboxError::TooMany`] past [`FOLDERS_MAX`];
    /// [`MailboxError::NotFound`] without a mailbox.
    pub async fn create_folder(&self, mailbox_id: MailboxId, name: &str) -> Result<FolderId, MailboxError> {
        self.create_folder_as(mailbox_id, name, FolderRole::Own).await
    }

    /// Deletes an empty folder of the owner's own.
    ///
    /// # Errors
    /// [`MailboxError::FolderInUse`] for a folder with a role or with items in it; [`MailboxError::NotFound`].
    pub async fn delete_folder(&self, mailbox_id: MailboxId, folder_id: FolderId) -> Result<(), MailboxError> {
        let mut tx = self.store().begin().await?;
        let (_, role) = folder(&mut tx, mailbox_id, folder_id).await?;
        if role != FolderRole::Own {
            return Err(MailboxError::FolderInUse("every mailbox has it"));
        }
        // Whoever puts something in takes this lock first.
        tx.query("mailbox.lock_folder", &values![folder_id]).await?;
        if tx.execute("mailbox.delete_folder", &values![mailbox_id, folder_id]).await? == 0 {
            return Err(MailboxError::FolderInUse("move or delete what is in it first"));
        }
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(())
    }

    /// A page of a folder's items, newest first. `after`: the position of the last item of the page before.
    pub async fn items(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        after: Option<ItemPosition>,
        limit: usize,
    ) -> Result<Vec<ItemSummary>, MailboxError> {
        let (at, id) = after.map_or((i64::MAX, i64::MAX), |p| (p.internal_at.as_micros(), p.id.0));
        let limit = i64::try_from(limit.clamp(1, ITEMS_PAGE_MAX)).unwrap_or(1);
        let rows = self.store().query("mailbox.items", &values![mailbox_id, folder_id, at, id, limit]).await?;
        rows.iter().map(summary).collect()
    }

    /// An item in full.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] when this mailbox has no such item.
    pub async fn item(&self, mailbox_id: MailboxId, item_id: MailItemId) -> Result<Item, MailboxError> {
        let row = self.store().query_one("mailbox.item", &values![mailbox_id, item_id]).await?;
        let row = row.ok_or(MailboxError::NotFound("item"))?;
        Ok(Item {
            summary: summary(&row)?,
            folder: row.text("folder_name")?.to_owned(),
            folder_role: role_of(&row, "folder_role")?,
            message_id_header: row.text("message_id_header")?.to_owned(),
            body: BodyRef::from_row(&row)?,
        })
    }

    /// Changes flags and keywords. Flags are not whereabouts: the ledger hears nothing of them.
    ///
    /// # Errors
    /// [`MailboxError::Keyword`]; [`MailboxError::NotFound`].
    pub async fn set_flags(
        &self,
        mailbox_id: MailboxId,
        item_id: MailItemId,
        change: &FlagChange,
    ) -> Result<(), MailboxError> {
        let keywords = change.keywords.as_deref().map(checked_keywords).transpose()?;
        let mut tx = self.store().begin().await?;
        let first = tx.query_one("mailbox.item", &values![mailbox_id, item_id]).await?;
        let folder_id: FolderId = first.ok_or(MailboxError::NotFound("item"))?.id("folder_id")?;
        // Folders are locked before items; should the item move meanwhile, its new folder shows it anew anyway.
        tx.query("imap.bump_modseq", &values![mailbox_id, folder_id]).await?;
        let row = tx.query_one("mailbox.lock_item", &values![mailbox_id, item_id]).await?;
        let row = row.ok_or(MailboxError::NotFound("item"))?;
        let keywords = match keywords {
            Some(keywords) => json!(keywords).to_string(),
            None => row.text("keywords")?.to_owned(),
        };
        let flags = values![
            change.seen.unwrap_or(row.flag("seen")?),
            change.flagged.unwrap_or(row.flag("flagged")?),
            change.answered.unwrap_or(row.flag("answered")?),
            keywords,
            item_id
        ];
        tx.execute("mailbox.set_flags", &flags).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        Ok(())
    }

    /// Moves an item to another folder, where it gets a new uid; the ledger notes where it is now. To the folder it is
    /// in: nothing changes.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] for the item or the folder.
    pub async fn move_item(
        &self,
        mailbox_id: MailboxId,
        item_id: MailItemId,
        folder_id: FolderId,
        actor: &str,
    ) -> Result<Moved, MailboxError> {
        let mut tx = self.store().begin().await?;
        let held = hold(&mut tx, mailbox_id, item_id).await?;
        let moved = move_held(&mut tx, &held, folder_id, actor).await?;
        tx.commit().await?;
        self.announce_owner(&held);
        Ok(moved)
    }

    /// Deletes: first into Trash; what lies in Trash is gone for good, and the ledger says *deleted by owner*.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] for the item.
    pub async fn delete_item(
        &self,
        mailbox_id: MailboxId,
        item_id: MailItemId,
        actor: &str,
    ) -> Result<Deleted, MailboxError> {
        let mut tx = self.store().begin().await?;
        let held = hold(&mut tx, mailbox_id, item_id).await?;
        let trash = tx.query_one("mailbox.folder_by_role", &values![mailbox_id, FolderRole::Trash.as_str()]).await?;
        let trash: Option<FolderId> = trash.map(|row| row.id("id")).transpose()?;
        let deleted = match trash {
            Some(trash) if held.role != FolderRole::Trash => {
                Deleted::ToTrash(move_held(&mut tx, &held, trash, actor).await?)
            }
            Some(_) | None => {
                touch(&mut tx, &BTreeSet::from([held.folder_id])).await?;
                tx.execute("mailbox.delete_items", &values![&json!([item_id.0])]).await?;
                if held.is_copy {
                    let gone = Gone { organisation_id: held.organisation_id, copy_id: held.copy_id };
                    delete_copies(&mut tx, &[gone], actor).await?;
                }
                Deleted::Gone
            }
        };
        tx.commit().await?;
        self.announce_owner(&held);
        Ok(deleted)
    }

    fn announce_owner(&self, held: &Held) {
        self.store().bus().announce(Topic::Mailbox, held.mailbox_id);
        self.store().bus().announce(Topic::Ledger, held.campaign_id.map_or(0, |id| id.0));
    }
}

/// An item whose copy is locked until the end of the transaction.
struct Held {
    mailbox_id: MailboxId,
    item_id: MailItemId,
    organisation_id: OrganisationId,
    campaign_id: Option<CampaignId>,
    copy_id: CopyId,
    /// The ledger knows it; otherwise it is the owner's own draft, sent mail or duplicate.
    is_copy: bool,
    folder_id: FolderId,
    uid: i64,
    role: FolderRole,
}

/// Locks the item's copy first, as everybody who moves copies does, then reads the item as it is then: a purge may have
/// taken it meanwhile.
async fn hold(tx: &mut Tx, mailbox_id: MailboxId, item_id: MailItemId) -> Result<Held, MailboxError> {
    let first = tx.query_one("mailbox.item", &values![mailbox_id, item_id]).await?;
    let copy_id: CopyId = first.ok_or(MailboxError::NotFound("item"))?.id("copy_id")?;
    tx.query("copy.lock", &values![copy_id]).await?;
    let row = tx.query_one("mailbox.item", &values![mailbox_id, item_id]).await?;
    let row = row.ok_or(MailboxError::NotFound("item"))?;
    Ok(Held {
        mailbox_id,
        item_id,
        organisation_id: row.id("organisation_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        copy_id,
        is_copy: row.opt_int("ledger_id")?.is_some(),
        folder_id: row.id("folder_id")?,
        uid: row.int("uid")?,
        role: role_of(&row, "folder_role")?,
    })
}

async fn move_held(tx: &mut Tx, held: &Held, folder_id: FolderId, actor: &str) -> Result<Moved, MailboxError> {
    let (name, role) = folder(tx, held.mailbox_id, folder_id).await?;
    if folder_id == held.folder_id {
        return Ok(Moved { folder_id, uid: held.uid });
    }
    let both = BTreeSet::from([held.folder_id, folder_id]);
    let locked = tx.query("mailbox.lock_folders", &values![&id_list(&both)]).await?;
    let target = locked.iter().find(|row| row.id("id").is_ok_and(|id: FolderId| id == folder_id));
    let uid = target.ok_or(MailboxError::NotFound("folder"))?.int("uid_next")?;
    touch(tx, &BTreeSet::from([held.folder_id])).await?;
    tx.execute("mailbox.set_uid_next", &values![&json!([[folder_id.0, uid + 1]])]).await?;
    tx.execute("mailbox.move_item", &values![folder_id, uid, held.mailbox_id, held.item_id]).await?;
    if held.is_copy {
        let moved = Gone { organisation_id: held.organisation_id, copy_id: held.copy_id };
        let event = moved_event(&moved, role, &name, actor, tx.store().now());
        tx.append_events(&[event]).await?;
    }
    Ok(Moved { folder_id, uid })
}

/// A copy of the ledger that its owner moves or deletes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone {
    pub(crate) organisation_id: OrganisationId,
    pub(crate) copy_id: CopyId,
}

pub(crate) fn moved_event(copy: &Gone, role: FolderRole, name: &str, actor: &str, at: Timestamp) -> NewEvent {
    let (place, place_detail): (Place, String) = role.whereabouts(name);
    NewEvent {
        place: Some(place),
        place_detail,
        actor: actor.to_owned(),
        ..NewEvent::now(copy.organisation_id, copy.copy_id, EventKind::MovedByOwner, SOURCE, at)
    }
}

/// What the ledger hears of copies whose items were deleted in this transaction. Where the owner has kept a duplicate,
/// that takes the copy's place: moving by COPY and EXPUNGE, as older mail programs do, is moving and not deleting.
pub(crate) async fn delete_copies(tx: &mut Tx, copies: &[Gone], actor: &str) -> Result<(), MailboxError> {
    let ids: Vec<CopyId> = copies.iter().map(|c| c.copy_id).collect();
    let rows = tx.query("imap.lock_duplicates", &values![&id_list(&ids)]).await?;
    let folders = folders_of(tx, &rows).await?;
    // The newest duplicate comes last and stays in the map.
    let kept: HashMap<CopyId, &Row> =
        rows.iter().map(|row| Ok((row.id("origin_copy_id")?, row))).collect::<Result<_, MailboxError>>()?;
    let now = tx.store().now();
    let mut events = Vec::with_capacity(copies.len());
    for copy in copies {
        let Some(row) = kept.get(&copy.copy_id) else {
            let mut event = NewEvent::now(copy.organisation_id, copy.copy_id, EventKind::DeletedByOwner, SOURCE, now);
            event.actor = actor.to_owned();
            events.push(event);
            continue;
        };
        let folder_id: FolderId = row.id("folder_id")?;
        let (name, role) = folders.get(&folder_id).ok_or(MailboxError::NotFound("folder"))?;
        tx.execute("imap.promote", &values![copy.copy_id, row.int("id")?]).await?;
        events.push(moved_event(copy, *role, name, actor, now));
    }
    Ok(tx.append_events(&events).await?)
}

async fn folder(tx: &mut Tx, mailbox_id: MailboxId, id: FolderId) -> Result<(String, FolderRole), MailboxError> {
    let row = tx.query_one("mailbox.folder", &values![mailbox_id, id]).await?;
    let row = row.ok_or(MailboxError::NotFound("folder"))?;
    Ok((row.text("name")?.to_owned(), role_of(&row, "role")?))
}

pub(crate) fn checked_keywords(keywords: &[String]) -> Result<BTreeSet<&str>, MailboxError> {
    let good = |k: &str| {
        !k.is_empty()
            && k.len() <= KEYWORD_BYTES_MAX
            && k.bytes().all(|b| b.is_ascii_alphanumeric() || b"$_-.".contains(&b))
    };
    if keywords.len() > KEYWORDS_MAX || !keywords.iter().all(|k| good(k)) {
        return Err(MailboxError::Keyword);
    }
    Ok(keywords.iter().map(String::as_str).collect())
}

fn mailbox_info(row: &Row) -> Result<MailboxInfo, MailboxError> {
    Ok(MailboxInfo {
        id: row.id("id")?,
        organisation_id: row.id("organisation_id")?,
        person_id: row.id("person_id")?,
        address: row.text("address")?.to_owned(),
    })
}

fn summary(row: &Row) -> Result<ItemSummary, MailboxError> {
    Ok(ItemSummary {
        id: row.id("id")?,
        folder_id: row.id("folder_id")?,
        uid: row.int("uid")?,
        copy_id: row.id("copy_id")?,
        message_id: row.id("message_id")?,
        internal_at: row.at("internal_at")?,
        seen: row.flag("seen")?,
        flagged: row.flag("flagged")?,
        answered: row.flag("answered")?,
        keywords: row.json("keywords")?,
        safety_tip: row.text("safety_tip")?.to_owned(),
        subject: row.text("subject")?.to_owned(),
        from_address: row.text("from_address")?.to_owned(),
        from_name: row.text("from_name")?.to_owned(),
        size_bytes: row.int("body_bytes")?,
    })
}
