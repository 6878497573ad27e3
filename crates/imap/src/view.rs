//! A session's picture of its folder. Message numbers hold still until the client has been told (RFC 3501 5.5, 7.4.1):
//! what has gone stays in its place as a gap until an EXPUNGE may be said.

use std::collections::BTreeSet;

use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};
use mailbox::{Embedded, FlagMode, Flags, FolderState, MailboxError, ViewItem};
use model::MailboxId;

use crate::session::Updates;
use crate::syntax::flag_list;

/// What the client is still to hear of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Tell {
    #[default]
    Nothing,
    /// Its mod-sequence, where the client wants to hear of it: the flags are as it believes.
    ModSeq,
    /// Its flags.
    Flags,
}

/// A mod-sequence as it travels: never 0, which means that there is none (RFC 7162 3.1.1).
pub(crate) fn wire_modseq(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0).saturating_add(1)
}

/// The stored one for what travelled; below all of them for 0.
pub(crate) fn stored_modseq(wire: u64) -> i64 {
    i64::try_from(wire).unwrap_or(i64::MAX) - 1
}

/// One message of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) uid: i64,
    pub(crate) flags: Flags,
    /// As it is stored; see [`wire_modseq`].
    pub(crate) modseq: i64,
    pub(crate) recent: bool,
    /// It has left the folder; the client has not been told.
    pub(crate) gone: bool,
    tell: Tell,
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
        // Everything is read before anything is noted: what fails half-way must not be noted twice.
        let known_next = self.folder.uid_next;
        let changed = if now.modseq > self.folder.modseq {
            mailbox.changed_since(now.id, self.folder.modseq, known_next).await?
        } else {
            Vec::new()
        };
        let arrived =
            if now.uid_next > known_next { mailbox.view(now.id, known_next, now.uid_next).await? } else { Vec::new() };
        let there = self.items.iter().filter(|item| !item.gone).count() + arrived.len();
        let left = if mailbox.count_below(now.id, now.uid_next).await? == there as i64 {
            None
        } else {
            Some(mailbox.uids_below(now.id, now.uid_next).await?)
        };
        let recent_from = if arrived.is_empty() { i64::MAX } else { self.claim_recent(mailbox, &now).await? };
        changed.into_iter().for_each(|item| self.note_flags(item));
        for ViewItem { uid, flags, modseq } in arrived {
            self.note_keywords(&flags);
            let recent = uid >= recent_from;
            self.items.push(Item { uid, flags, modseq, recent, gone: false, tell: Tell::Nothing });
        }
        if let Some(uids) = left {
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
            let tell = match (item.flags == now.flags, item.modseq == now.modseq) {
                (true, true) => Tell::Nothing,
                (true, false) => Tell::ModSeq,
                (false, _) => Tell::Flags,
            };
            (item.flags, item.modseq, item.tell) = (now.flags, now.modseq, item.tell.max(tell));
        }
    }

    /// Flags that this session has changed itself. The client knows what it asked for, not what others did meanwhile.
    pub(crate) fn set_own(&mut self, now: ViewItem, mode: FlagMode, by: &Flags) {
        let index = self.index_of(now.uid);
        if let Ok(index) = index
            && self.items[index].flags.changed(mode, by) == now.flags
        {
            self.items[index].flags = now.flags.clone();
        }
        self.note_flags(now);
    }

    /// That this is told with the next updates, also if it did not change.
    pub(crate) fn tell(&mut self, uid: i64, what: Tell) {
        if let Ok(index) = self.index_of(uid) {
            self.items[index].tell = self.items[index].tell.max(what);
        }
    }

    /// The client has just been told the flags of this one, and its mod-sequence or not.
    pub(crate) fn told(&mut self, index: usize, with_modseq: bool) {
        let rest = if with_modseq { Tell::Nothing } else { Tell::ModSeq };
        self.items[index].tell = self.items[index].tell.min(rest);
    }

    /// The message number of a uid.
    pub(crate) fn number_of(&self, uid: i64) -> Option<i64> {
        self.index_of(uid).ok().map(|index| index as i64 + 1)
    }

    fn index_of(&self, uid: i64) -> Result<usize, usize> {
        self.items.binary_search_by_key(&uid, |item| item.uid)
    }

    /// The keywords in use.
    pub(crate) fn keywords(&self) -> impl Iterator<Item = &str> {
        self.keywords.iter().map(String::as_str)
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
    pub(crate) fn write_updates(&mut self, out: &mut Vec<u8>, updates: Updates) {
        let Updates { may_expunge, with_uid, with_modseq } = updates;
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
            let tell = std::mem::take(&mut item.tell);
            if item.gone || tell == Tell::Nothing || (tell == Tell::ModSeq && !with_modseq) {
                continue;
            }
            let mut data = Vec::with_capacity(3);
            if with_uid {
                data.push(format!("UID {}", item.uid));
            }
            if with_modseq {
                data.push(format!("MODSEQ ({})", wire_modseq(item.modseq)));
            }
            if tell == Tell::Flags {
                data.push(format!("FLAGS {}", flag_list(&item.flags, item.recent)));
            }
            out.extend_from_slice(format!("* {} FETCH ({})\r\n", index + 1, data.join(" ")).as_bytes());
        }
    }

    /// The indexes that a set names, ascending. `None`: it names a message number that there is none of.
    pub(crate) fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Option<Vec<usize>> {
        let last = self.items.len() as i64;
        let is_strange = |(from, to): &(i64, i64)| !by_uid && (*from < 1 || *to > last);
        if self.bounds(set, by_uid).any(|bounds| is_strange(&bounds)) {
            return None;
        }
        Some(self.resolve_known(set, by_uid))
    }

    /// As [`View::resolve`], leaving out what there is none of: to a search that is no mistake.
    pub(crate) fn resolve_known(&self, set: &SequenceSet, by_uid: bool) -> Vec<usize> {
        let index = |number: i64| usize::try_from(number).unwrap_or(0).min(self.items.len());
        let range = |(from, to): (i64, i64)| match by_uid {
            true => (self.items.partition_point(|i| i.uid < from), self.items.partition_point(|i| i.uid <= to)),
            false => (index(from - 1), index(to)),
        };
        let mut ranges: Vec<(usize, usize)> = self.bounds(set, by_uid).map(range).collect();
        ranges.sort_unstable();
        let mut all: Vec<usize> = Vec::new();
        let mut next = 0;
        for (start, end) in ranges {
            all.extend(start.max(next)..end.max(start.max(next)));
            next = next.max(end);
        }
        all
    }

    /// From where to where each of a set's elements reaches; `*` is the last message.
    fn bounds<'a>(&self, set: &'a SequenceSet, by_uid: bool) -> impl Iterator<Item = (i64, i64)> + use<'a> {
        let last = if by_uid { self.items.last().map_or(0, |i| i.uid) } else { self.items.len() as i64 };
        set.0.as_ref().iter().map(move |sequence| {
            let (from, to) = match sequence {
                Sequence::Single(one) => (number(*one, last), number(*one, last)),
                Sequence::Range(a, b) => (number(*a, last), number(*b, last)),
            };
            (from.min(to), from.max(to))
        })
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

    impl View {
        /// A view for tests, with the mod-sequences given.
        pub(crate) fn of_uids(uids: &[i64], modseq: impl Fn(i64) -> i64) -> View {
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
                items: uids.iter().map(|uid| Item { modseq: modseq(*uid), ..item(*uid, false) }).collect(),
                told_count: uids.len(),
                keywords: BTreeSet::new(),
                keywords_are_new: false,
            }
        }
    }

    fn item(uid: i64, recent: bool) -> Item {
        Item { uid, flags: Flags::default(), modseq: 0, recent, gone: false, tell: Tell::Nothing }
    }

    fn view(uids: &[i64]) -> View {
        View::of_uids(uids, |_| 0)
    }

    const EXPUNGING: Updates = Updates { may_expunge: true, with_uid: false, with_modseq: false };

    #[test]
    fn what_others_did_meanwhile_is_told() {
        let seen = Flags { seen: true, ..Flags::default() };
        let both = Flags { flagged: true, ..seen.clone() };
        let updates = |view: &mut View, with_modseq: bool| {
            let mut out = Vec::new();
            view.write_updates(&mut out, Updates { with_modseq, ..Updates::default() });
            String::from_utf8(out).unwrap()
        };
        // +FLAGS.SILENT (\Seen), while another session had set \Flagged.
        let mut view = view(&[3, 5]);
        view.set_own(ViewItem { uid: 3, flags: seen.clone(), modseq: 7 }, FlagMode::Add, &seen);
        view.set_own(ViewItem { uid: 5, flags: both.clone(), modseq: 7 }, FlagMode::Add, &seen);
        assert_eq!(updates(&mut view, false), "* 2 FETCH (FLAGS (\\Flagged \\Seen))\r\n");
        view.set_own(ViewItem { uid: 3, flags: both, modseq: 8 }, FlagMode::Replace, &Flags::default());
        view.set_own(ViewItem { uid: 5, flags: Flags::default(), modseq: 8 }, FlagMode::Replace, &Flags::default());
        assert_eq!(
            updates(&mut view, true),
            "* 1 FETCH (MODSEQ (9) FLAGS (\\Flagged \\Seen))\r\n* 2 FETCH (MODSEQ (9))\r\n"
        );
        assert_eq!(updates(&mut view, true), "");
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
        let known = |set: &str| view.resolve_known(&SequenceSet::try_from(set).unwrap(), false);
        assert_eq!((known("2:9"), known("4:7"), known("*,9")), (vec![1, 2], vec![], vec![2]));
    }

    #[test]
    fn numbers_hold_still_until_told() {
        let mut view = view(&[3, 5, 9]);
        view.items[0].gone = true;
        view.items[1].gone = true;
        view.items.push(item(11, true));
        view.note_flags(ViewItem { uid: 9, flags: Flags { seen: true, ..Flags::default() }, modseq: 4 });
        let mut out = Vec::new();
        view.write_updates(&mut out, Updates::default());
        assert_eq!(String::from_utf8(out).unwrap(), "* 4 EXISTS\r\n* 1 RECENT\r\n* 3 FETCH (FLAGS (\\Seen))\r\n");
        let mut out = Vec::new();
        view.write_updates(&mut out, Updates { with_uid: true, ..EXPUNGING });
        assert_eq!(String::from_utf8(out).unwrap(), "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n");
        view.write_updates(&mut Vec::new(), EXPUNGING);
        assert_eq!((view.items.len(), view.told_count), (2, 2));
    }

    #[test]
    fn what_came_and_went_unseen_is_never_told() {
        let mut view = view(&[3]);
        view.items.push(Item { gone: true, ..item(5, true) });
        let mut out = Vec::new();
        view.write_updates(&mut out, EXPUNGING);
        assert_eq!(String::from_utf8(out).unwrap(), "");
    }
}
