//! What a mail program does with a mailbox: the operations of IMAP (RFC 3501, 4315, 6851) as transactions.
//!
//! A folder is read as a view (uids and flags) and, for what is shown, by pages of uids; never whole. Every change that
//! moves or deletes a copy of the ledger appends its event in the same transaction. What an owner puts in (APPEND, COPY)
//! is an item of its own and no copy: nobody sent it, so the ledger hears nothing of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use model::{CampaignId, CopyId, FolderId, MailItemId, MailboxId, MessageId, OrganisationId, SqlText, Timestamp};
use serde_json::json;
use store::{BodyRef, Op, Row, Submission, Topic, Tx, Value, values};

use crate::bulk::{id_list, role_of};
use crate::folder::{NAME_BYTES_MAX, check_name};
use crate::owner::{Gone, KEYWORDS_MAX, checked_keywords, delete_copies, moved_event};
use crate::{Embedded, FolderRole, MailboxError};

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
    /// Counts changes of flags.
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

/// Flags and keywords of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags {
    /// `\Seen`
    pub seen: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Deleted`
    pub deleted: bool,
    /// `\Draft`
    pub draft: bool,
    /// Keywords.
    pub keywords: BTreeSet<String>,
}

/// How STORE changes flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagMode {
    /// These as well.
    Add,
    /// These not.
    Remove,
    /// Exactly these.
    Replace,
}

impl Flags {
    /// These flags after a change.
    pub fn changed(&self, mode: FlagMode, by: &Flags) -> Flags {
        match mode {
            FlagMode::Replace => by.clone(),
            FlagMode::Add => Flags {
                seen: self.seen || by.seen,
                flagged: self.flagged || by.flagged,
                answered: self.answered || by.answered,
                deleted: self.deleted || by.deleted,
                draft: self.draft || by.draft,
                keywords: self
                    .keywords
                    .iter()
                    .chain(by.keywords.iter().filter(|k| !self.has_keyword(k)))
                    .cloned()
                    .collect(),
            },
            FlagMode::Remove => Flags {
                seen: self.seen && !by.seen,
                flagged: self.flagged && !by.flagged,
                answered: self.answered && !by.answered,
                deleted: self.deleted && !by.deleted,
                draft: self.draft && !by.draft,
                keywords: self.keywords.iter().filter(|k| !by.has_keyword(k)).cloned().collect(),
            },
        }
    }

    /// Keywords are the same in any case of letters (RFC 3501 2.3.2).
    fn has_keyword(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword))
    }

    fn read(row: &Row) -> Result<Flags, MailboxError> {
        Ok(Flags {
            seen: row.flag("seen")?,
            flagged: row.flag("flagged")?,
            answered: row.flag("answered")?,
            deleted: row.flag("deleted")?,
            draft: row.flag("draft")?,
            keywords: match row.text("keywords")? {
                "[]" => BTreeSet::new(),
                _ => row.json("keywords")?,
            },
        })
    }
}

/// An item as a session keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewItem {
    /// Its uid.
    pub uid: i64,
    /// Its flags.
    pub flags: Flags,
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

/// Uids before and after COPY or MOVE, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// UIDVALIDITY of the folder they are in now.
    pub uid_validity: i64,
    /// (uid there, uid here)
    pub uids: Vec<(i64, i64)>,
}

/// A mail that its owner puts in.
#[derive(Debug, Clone)]
pub struct OwnMail {
    /// Where.
    pub mailbox_id: MailboxId,
    /// Into which folder.
    pub folder_id: FolderId,
    /// The message.
    pub raw: Bytes,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_at: Timestamp,
    /// What lists show of it.
    pub header: OwnHeader,
}

/// What lists show of a mail that its owner put in.
#[derive(Debug, Clone, Default)]
pub struct OwnHeader {
    /// Message-ID with its angle brackets, or empty.
    pub message_id: String,
    /// Subject.
    pub subject: String,
    /// Address of the From field.
    pub from_address: String,
    /// Name of the From field.
    pub from_name: String,
}

impl Embedded {
    /// The folders of a mailbox, by name; at most [`FOLDERS_MAX`].
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

    /// Items whose flags changed after the folder's counter stood at `modseq`.
    pub async fn changed_since(&self, folder_id: FolderId, modseq: i64) -> Result<Vec<ViewItem>, MailboxError> {
        self.store().query("imap.changed", &values![folder_id, modseq]).await?.iter().map(view_item).collect()
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

    /// Changes flags; gives the items as they are then, by uid. Those that are gone are left out.
    ///
    /// # Errors
    /// [`MailboxError::Keyword`] when an item would carry what it cannot; nothing of its page is changed then.
    pub async fn change_flags(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        uids: &[i64],
        mode: FlagMode,
        flags: &Flags,
    ) -> Result<Vec<ViewItem>, MailboxError> {
        let keywords: Vec<String> = flags.keywords.iter().cloned().collect();
        checked_keywords(&keywords)?;
        let mut all = Vec::with_capacity(uids.len());
        for page in uids.chunks(CHANGE_MAX) {
            let mut tx = self.store().begin().await?;
            let bumped = tx.query_one("imap.bump_modseq", &values![mailbox_id, folder_id]).await?;
            let modseq = bumped.ok_or(MailboxError::NotFound("folder"))?.int("modseq")?;
            let rows = tx.query("imap.lock_items", &values![folder_id, &uid_list(page)]).await?;
            let mut groups: BTreeMap<Flags, Vec<i64>> = BTreeMap::new();
            for row in &rows {
                let before = Flags::read(row)?;
                let after = before.changed(mode, flags);
                if after.keywords.len() > KEYWORDS_MAX {
                    return Err(MailboxError::Keyword);
                }
                if after != before {
                    groups.entry(after.clone()).or_default().push(row.int("id")?);
                }
                all.push(ViewItem { uid: row.int("uid")?, flags: after });
            }
            if groups.is_empty() {
                tx.rollback().await?;
                continue;
            }
            for (flags, ids) in &groups {
                let mut row = flag_values(flags);
                row.extend(values![modseq, &json!(ids)]);
                tx.execute("imap.set_flags_of", &row).await?;
            }
            tx.commit().await?;
            self.store().bus().announce(Topic::Mailbox, mailbox_id);
        }
        all.sort_unstable_by_key(|item| item.uid);
        Ok(all)
    }

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

    async fn delete_page(
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
            item.extend(values![row.text("keywords")?, row.text("safety_tip")?, origin]);
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

    /// Stores a mail that its owner puts in, durably when this returns; gives (UIDVALIDITY, uid).
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] when the folder is gone; [`MailboxError::Keyword`].
    pub async fn append(&self, mail: OwnMail) -> Result<(i64, i64), MailboxError> {
        let keywords: Vec<String> = mail.flags.keywords.iter().cloned().collect();
        checked_keywords(&keywords)?;
        let info = self.mailbox(mail.mailbox_id).await?.ok_or(MailboxError::NotFound("mailbox"))?;
        let (message_id, item_id): (MessageId, MailItemId) = (self.store().next_id(), self.store().next_id());
        let OwnMail { mailbox_id, folder_id, raw, flags, internal_at, header } = mail;
        let now = self.store().now();
        let submission = Submission::with_body(raw, move |body| {
            let mut item = values![item_id, message_id, internal_at].to_vec();
            item.extend(flag_values(&flags));
            item.extend(values![mailbox_id, folder_id]);
            vec![
                Op::Insert("message.insert", own_message(message_id, info.organisation_id, body, &header, now)),
                Op::Guarded("imap.bump_uid", values![mailbox_id, folder_id].to_vec()),
                Op::Guarded("imap.append", item),
            ]
        });
        match self.store().commit(submission).await {
            Ok(()) => {}
            Err(store::StoreError::Conflict(_)) => return Err(MailboxError::NotFound("folder")),
            Err(error) => return Err(error.into()),
        }
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        let row = self.store().query_one("imap.appended", &values![item_id]).await?;
        let row = row.ok_or(MailboxError::NotFound("item"))?;
        Ok((row.int("uid_validity")?, row.int("uid")?))
    }

    /// Creates a folder with a role that no folder of the mailbox has yet, or one of the owner's own.
    ///
    /// # Errors
    /// [`MailboxError::FolderName`], [`MailboxError::FolderExists`]; [`MailboxError::FolderInUse`] when another folder
    /// has the role; [`MailboxError::NotFound`] without a mailbox.
    pub async fn create_folder_as(
        &self,
        mailbox_id: MailboxId,
        name: &str,
        role: FolderRole,
    ) -> Result<FolderId, MailboxError> {
        check_name(name)?;
        let mut tx = self.store().begin().await?;
        let uid_validity = next_uid_validity(&mut tx, mailbox_id).await?;
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

    /// Deletes a folder of the owner's own with everything in it, which is *deleted by owner*. Its name stays subscribed.
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
        tx.execute("imap.keep_subscription", &values![mailbox_id, &state.name]).await?;
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

/// Locks copies, then items, and reads the items as they are then: a purge may have taken some meanwhile.
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

async fn next_uid_validity(tx: &mut Tx, mailbox_id: MailboxId) -> Result<i64, MailboxError> {
    let now = tx.store().now().as_micros() / 1_000_000;
    let row = tx.query_one("imap.next_uid_validity", &values![mailbox_id, now]).await?;
    Ok(row.ok_or(MailboxError::NotFound("mailbox"))?.int("uid_validity")?)
}

fn check_count(uids: &[i64]) -> Result<(), MailboxError> {
    if uids.len() > COPY_MAX { Err(MailboxError::TooMany) } else { Ok(()) }
}

fn own_message(
    id: MessageId,
    organisation_id: OrganisationId,
    body: &BodyRef,
    header: &OwnHeader,
    now: Timestamp,
) -> Vec<Value> {
    let (none_text, none) = (None::<&str>, None::<i64>);
    let subject = SqlText::new(&header.subject);
    let lower = SqlText::new(&header.subject.to_lowercase());
    values![
        id,
        organisation_id,
        "own",
        body.pack_id,
        i64::try_from(body.offset).unwrap_or(i64::MAX),
        i64::try_from(body.bytes).unwrap_or(i64::MAX),
        &body.sha256,
        SqlText::indexed(&header.message_id),
        "",
        SqlText::indexed(&header.from_address),
        SqlText::new(&header.from_name),
        subject,
        lower,
        "",
        "",
        now,
        none,
        none_text,
        none_text,
        none_text,
        none
    ]
    .to_vec()
}

/// seen, flagged, answered, deleted, draft, keywords.
fn flag_values(flags: &Flags) -> Vec<Value> {
    let keywords = json!(flags.keywords);
    values![flags.seen, flags.flagged, flags.answered, flags.deleted, flags.draft, &keywords].to_vec()
}

fn uid_list(uids: &[i64]) -> serde_json::Value {
    json!(uids)
}

fn view_item(row: &Row) -> Result<ViewItem, MailboxError> {
    Ok(ViewItem { uid: row.int("uid")?, flags: Flags::read(row)? })
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

/// Whether a name can be a folder's; for callers that check before they ask.
pub fn is_folder_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && check_name(name).is_ok()
}
