//! Flags and keywords of items, and changing them.

use std::collections::{BTreeMap, BTreeSet};

use model::{FolderId, MailboxId};
use serde_json::json;
use store::{Row, Topic, Value, values};

use super::{CHANGE_MAX, ViewItem, uid_list};
use crate::owner::{KEYWORDS_MAX, checked_keywords};
use crate::{Embedded, MailboxError};

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

/// What STORE asks for.
#[derive(Debug, Clone, Copy)]
pub struct FlagStore<'a> {
    /// How.
    pub mode: FlagMode,
    /// Which flags.
    pub flags: &'a Flags,
    /// Only items whose modseq is not greater; `None`: all.
    pub unchanged_since: Option<i64>,
}

/// What STORE came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagsChanged {
    /// The items as they are now, by uid. Those that are gone are left out.
    pub items: Vec<ViewItem>,
    /// Uids of those that had changed since, and were left as they are; ascending.
    pub refused: Vec<i64>,
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

    pub(super) fn read(row: &Row) -> Result<Flags, MailboxError> {
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

impl Embedded {
    /// Changes flags; gives the items as they are then. With `unchanged_since`, items with a greater modseq are left as
    /// they are and named (RFC 7162 3.1.3).
    ///
    /// # Errors
    /// [`MailboxError::Keyword`] when an item would carry what it cannot; nothing of its page is changed then.
    pub async fn change_flags(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        uids: &[i64],
        change: &FlagStore<'_>,
    ) -> Result<FlagsChanged, MailboxError> {
        let keywords: Vec<String> = change.flags.keywords.iter().cloned().collect();
        checked_keywords(&keywords)?;
        let mut all = FlagsChanged::default();
        for page in uids.chunks(CHANGE_MAX) {
            self.change_page(mailbox_id, folder_id, page, change, &mut all).await?;
        }
        all.items.sort_unstable_by_key(|item| item.uid);
        all.refused.sort_unstable();
        Ok(all)
    }

    async fn change_page(
        &self,
        mailbox_id: MailboxId,
        folder_id: FolderId,
        uids: &[i64],
        change: &FlagStore<'_>,
        all: &mut FlagsChanged,
    ) -> Result<(), MailboxError> {
        let mut tx = self.store().begin().await?;
        let bumped = tx.query_one("imap.bump_modseq", &values![mailbox_id, folder_id]).await?;
        let modseq = bumped.ok_or(MailboxError::NotFound("folder"))?.int("modseq")?;
        let rows = tx.query("imap.lock_items", &values![folder_id, &uid_list(uids)]).await?;
        let (mut items, mut refused) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut groups: BTreeMap<Flags, Vec<i64>> = BTreeMap::new();
        for row in &rows {
            let (uid, was, before) = (row.int("uid")?, row.int("modseq")?, Flags::read(row)?);
            if change.unchanged_since.is_some_and(|since| was > since) {
                refused.push(uid);
                continue;
            }
            let after = before.changed(change.mode, change.flags);
            if after.keywords.len() > KEYWORDS_MAX {
                return Err(MailboxError::Keyword);
            }
            let is_changed = after != before;
            if is_changed {
                groups.entry(after.clone()).or_default().push(row.int("id")?);
            }
            items.push(ViewItem { uid, flags: after, modseq: if is_changed { modseq } else { was } });
        }
        if groups.is_empty() {
            tx.rollback().await?;
        } else {
            for (flags, ids) in &groups {
                let mut row = flag_values(flags);
                row.extend(values![modseq, &json!(ids)]);
                tx.execute("imap.set_flags_of", &row).await?;
            }
            tx.commit().await?;
            self.store().bus().announce(Topic::Mailbox, mailbox_id);
        }
        all.items.extend(items);
        all.refused.extend(refused);
        Ok(())
    }
}

/// seen, flagged, answered, deleted, draft, keywords.
pub(super) fn flag_values(flags: &Flags) -> Vec<Value> {
    let keywords = json!(flags.keywords);
    values![flags.seen, flags.flagged, flags.answered, flags.deleted, flags.draft, &keywords].to_vec()
}
