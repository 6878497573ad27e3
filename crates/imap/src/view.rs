//! A session's picture of its folder. Message numbers hold still until the client has been told (RFC 3501 5.5, 7.4.1):
//! what has gone stays in its place as a gap until an EXPUNGE may be said.

use std::collections::BTreeSet;

use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};
use mailbox::{Embedded, Flags, FolderState, MailboxError, ViewItem};
use model::MailboxId;

use crate::syntax::flag_list;

/// Elements of one sequence set.
const SET_MAX: usize = 20_000;

/// One message of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) uid: i64,
    pub(crate) flags: Flags,
    pub(crate) recent: bool,
    /// It has left the folder; the client has not been told.
    pub(crate) gone: bool,
    /// Its flags changed; the client has not been told.
    changed: bool,
}

/// The selected folder.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) folder: FolderState,
    pub(crate) read_only: bool,
    pub(crate) items: Vec<Item>,
    /// Messages that the client knows of.
    told_count: usize,
    keywords: BTreeSet<String>,
    keywords_are_new: bool,
}

/// The folder is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderGone;

impl View {
    /// Opens a folder.
    pub(crate) async fn open(
        mailbox: &Embedded,
        mailbox_id: MailboxId,
        folder: FolderState,
        read_only: bool,
    ) -> Result<Option<View>, MailboxError> {
        let from_nothing = FolderState { uid_next: 1, ..folder };
        let mut view = View {
            folder: from_nothing,
            read_only,
            items: Vec::new(),
            told_count: 0,
            keywords: BTreeSet::new(),
            keywords_are_new: false,
        };
        let opened = view.sync(mailbox, mailbox_id).await?;
        view.told_count = view.items.len();
        view.keywords_are_new = false;
        view.items.iter_mut().for_each(|item| item.changed = false);
        Ok(opened.is_ok().then_some(view))
    }

    /// Looks at the rows: what came, what changed, what went.
    pub(crate) async fn sync(
        &mut self,
        mailbox: &Embedded,
        mailbox_id: MailboxId,
    ) -> Result<Result<(), FolderGone>, MailboxError> {
        let Some(now) = mailbox.folder_state(mailbox_id, self.folder.id).await? else { return Ok(Err(FolderGone)) };
        // A renamed folder has another validity: what this session knows is no more.
        if now.uid_validity != self.folder.uid_validity {
            return Ok(Err(FolderGone));
        }
        if now.modseq > self.folder.modseq {
            for item in mailbox.changed_since(now.id, self.folder.modseq).await? {
                self.note_flags(item);
            }
        }
        let known_next = self.folder.uid_next;
        if now.uid_next > known_next {
            let recent_from = self.claim_recent(mailbox, &now).await?;
            for item in mailbox.view(now.id, known_next, now.uid_next).await? {
                self.note_keywords(&item.flags);
                let recent = item.uid >= recent_from;
                self.items.push(Item { uid: item.uid, flags: item.flags, recent, gone: false, changed: false });
            }
        }
        let there = self.items.iter().filter(|item| !item.gone).count();
        if mailbox.count_below(now.id, now.uid_next).await? != there as i64 {
            let uids = mailbox.uids_below(now.id, now.uid_next).await?;
            for item in &mut self.items {
                item.gone = uids.binary_search(&item.uid).is_err();
            }
        }
        self.folder = now;
        Ok(Ok(()))
    }

    /// From which uid on this session is the first to be told.
    async fn claim_recent(&self, mailbox: &Embedded, now: &FolderState) -> Result<i64, MailboxError> {
        if now.recent_uid >= now.uid_next {
            return Ok(i64::MAX);
        }
        // EXAMINE changes nothing (RFC 3501 6.3.2), but shows it.
        if self.read_only || mailbox.claim_recent(now.id, now.recent_uid, now.uid_next).await? {
            return Ok(now.recent_uid);
        }
        Ok(i64::MAX)
    }

    fn note_keywords(&mut self, flags: &Flags) {
        for keyword in &flags.keywords {
            if !self.keywords.contains(keyword) {
                self.keywords.insert(keyword.clone());
                self.keywords_are_new = true;
            }
        }
    }

    fn note_flags(&mut self, now: ViewItem) {
        self.note_keywords(&now.flags);
        if let Ok(index) = self.index_of(now.uid) {
            let item = &mut self.items[index];
            if item.flags != now.flags {
                item.flags = now.flags;
                item.changed = true;
            }
        }
    }

    /// Flags that this session has changed itself; `tell` when the client does not know them.
    pub(crate) fn set_flags(&mut self, now: ViewItem, tell: bool) {
        self.note_keywords(&now.flags);
        if let Ok(index) = self.index_of(now.uid) {
            let item = &mut self.items[index];
            let changed = item.flags != now.flags;
            item.flags = now.flags;
            item.changed = if tell { item.changed || changed } else { false };
        }
    }

    /// That these are told with the next updates, also if they did not change.
    pub(crate) fn tell(&mut self, uid: i64) {
        if let Ok(index) = self.index_of(uid) {
            self.items[index].changed = true;
        }
    }

    fn index_of(&self, uid: i64) -> Result<usize, usize> {
        self.items.binary_search_by_key(&uid, |item| item.uid)
    }

    /// All keywords in use, with the system flags.
    pub(crate) fn flags_line(&self) -> String {
        let keywords: String = self.keywords.iter().map(|k| format!(" {k}")).collect();
        format!("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft{keywords})\r\n")
    }

    /// How many messages the client is to believe in.
    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn recent_count(&self) -> usize {
        self.items.iter().filter(|item| item.recent).count()
    }

    /// Writes what the client does not know yet. EXPUNGE only where the command allows it.
    pub(crate) fn write_updates(&mut self, out: &mut Vec<u8>, may_expunge: bool, with_uid: bool) {
        if may_expunge && self.items.iter().any(|item| item.gone) {
            // From the last to the first: then no number changes by the one before.
            for (index, _) in self.items.iter().enumerate().rev().filter(|(_, item)| item.gone) {
                if index < self.told_count {
                    out.extend_from_slice(format!("* {} EXPUNGE\r\n", index + 1).as_bytes());
                    self.told_count -= 1;
                }
            }
            self.items.retain(|item| !item.gone);
        }
        if std::mem::take(&mut self.keywords_are_new) {
            out.extend_from_slice(self.flags_line().as_bytes());
        }
        if self.items.len() != self.told_count {
            self.told_count = self.items.len();
            out.extend_from_slice(format!("* {} EXISTS\r\n", self.told_count).as_bytes());
            out.extend_from_slice(format!("* {} RECENT\r\n", self.recent_count()).as_bytes());
        }
        for (index, item) in self.items.iter_mut().enumerate() {
            if std::mem::take(&mut item.changed) && !item.gone {
                let uid = if with_uid { format!("UID {} ", item.uid) } else { String::new() };
                let flags = flag_list(&item.flags, item.recent);
                out.extend_from_slice(format!("* {} FETCH ({uid}FLAGS {flags})\r\n", index + 1).as_bytes());
            }
        }
    }

    /// The indexes that a set names, ascending. `None`: it names a message number that there is none of.
    pub(crate) fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Option<Vec<usize>> {
        let last = if by_uid { self.items.last().map_or(0, |i| i.uid) } else { self.items.len() as i64 };
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for sequence in set.0.as_ref().iter().take(SET_MAX) {
            let (from, to) = match sequence {
                Sequence::Single(one) => (number(*one, last), number(*one, last)),
                Sequence::Range(a, b) => (number(*a, last), number(*b, last)),
            };
            let (from, to) = (from.min(to), from.max(to));
            if by_uid {
                let end = match self.index_of(to) {
                    Ok(index) => index + 1,
                    Err(index) => index,
                };
                let start = self.index_of(from).unwrap_or_else(|index| index);
                ranges.push((start, end));
            } else {
                if from < 1 || to > last {
                    return None;
                }
                ranges.push((usize::try_from(from - 1).ok()?, usize::try_from(to).ok()?));
            }
        }
        ranges.sort_unstable();
        let mut all: Vec<usize> = Vec::new();
        let mut next = 0;
        for (start, end) in ranges {
            all.extend(start.max(next)..end.max(start.max(next)));
            next = next.max(end);
        }
        Some(all)
    }

    /// The uids at these indexes that are still there.
    pub(crate) fn uids_at(&self, indexes: &[usize]) -> Vec<i64> {
        indexes.iter().map(|i| &self.items[*i]).filter(|item| !item.gone).map(|item| item.uid).collect()
    }
}

fn number(value: SeqOrUid, last: i64) -> i64 {
    match value {
        SeqOrUid::Value(n) => i64::from(n.get()),
        SeqOrUid::Asterisk => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailbox::FolderRole;
    use model::FolderId;

    fn view(uids: &[i64]) -> View {
        let item = |uid: &i64| Item { uid: *uid, flags: Flags::default(), recent: false, gone: false, changed: false };
        View {
            folder: FolderState {
                id: FolderId(1),
                name: "x".into(),
                role: FolderRole::Own,
                uid_next: 100,
                uid_validity: 1,
                modseq: 0,
                recent_uid: 1,
            },
            read_only: false,
            items: uids.iter().map(item).collect(),
            told_count: uids.len(),
            keywords: BTreeSet::new(),
            keywords_are_new: false,
        }
    }

    #[test]
    fn sets() {
        let view = view(&[3, 5, 9]);
        let check = |set: &str, by_uid: bool| view.resolve(&SequenceSet::try_from(set).unwrap(), by_uid);
        assert_eq!(check("1", false), Some(vec![0]));
        assert_eq!(check("3:1,2", false), Some(vec![0, 1, 2]));
        assert_eq!(check("*", false), Some(vec![2]));
        assert_eq!(check("4", false), None);
        assert_eq!(check("2:4", false), None);
        assert_eq!(check("1:*", true), Some(vec![0, 1, 2]));
        assert_eq!(check("4:8", true), Some(vec![1]));
        assert_eq!(check("10:*", true), Some(vec![2]), "the last one, RFC 3501 6.4.8");
        assert_eq!(check("*", true), Some(vec![2]));
        assert_eq!(check("10", true), Some(vec![]));
        assert_eq!(check("5,3:5", true), Some(vec![0, 1]));
    }

    #[test]
    fn numbers_hold_still_until_told() {
        let mut view = view(&[3, 5, 9]);
        view.items[0].gone = true;
        view.items[1].gone = true;
        view.items.push(Item { uid: 11, flags: Flags::default(), recent: true, gone: false, changed: false });
        view.set_flags(ViewItem { uid: 9, flags: Flags { seen: true, ..Flags::default() } }, true);
        let mut out = Vec::new();
        view.write_updates(&mut out, false, false);
        assert_eq!(String::from_utf8(out).unwrap(), "* 4 EXISTS\r\n* 1 RECENT\r\n* 3 FETCH (FLAGS (\\Seen))\r\n");
        let mut out = Vec::new();
        view.write_updates(&mut out, true, true);
        assert_eq!(String::from_utf8(out).unwrap(), "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n");
        view.write_updates(&mut Vec::new(), true, true);
        assert_eq!((view.items.len(), view.told_count), (2, 2));
    }

    #[test]
    fn what_came_and_went_unseen_is_never_told() {
        let mut view = view(&[3]);
        view.items.push(Item { uid: 5, flags: Flags::default(), recent: true, gone: true, changed: false });
        let mut out = Vec::new();
        view.write_updates(&mut out, true, false);
        assert_eq!(String::from_utf8(out).unwrap(), "");
    }
}
