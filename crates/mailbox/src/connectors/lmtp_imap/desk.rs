//! What a connector does inside one mailbox over one IMAP session: list, find, move, remove, append.

use std::collections::BTreeSet;

use imap_codec::imap_types::core::NString;
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::flag::{Flag, FlagFetch, FlagNameAttribute};
use imap_codec::imap_types::mailbox::Mailbox as WireFolder;
use imap_codec::imap_types::response::{Code, Data};
use model::Timestamp;

use super::imap::{Command, ImapError, Refusal, Session};
use super::{MARK_HEADER, utf7};
use crate::{FolderRole, Snapshot};

/// Folders of one mailbox that are looked through.
const FOLDERS_MAX: usize = 2_000;
/// Marks of one SEARCH.
const MARKS_PER_SEARCH: usize = 16;
/// Finds of one folder that are read.
const HITS_MAX: usize = 2_000;

/// A folder of the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// As the wire calls it.
    pub(super) wire: String,
    /// As people call it.
    pub(super) name: String,
    pub(super) role: FolderRole,
}

/// A message with one of our marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) mark: String,
    /// Its Message-ID, or empty.
    pub(super) message_id: String,
    pub(super) folder: Folder,
    pub(super) uid: u32,
    pub(super) flags: Flags,
    pub(super) internal_at: Timestamp,
}

/// The flags of a message, as far as a snapshot keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) seen: bool,
    pub(super) flagged: bool,
    pub(super) answered: bool,
    pub(super) deleted: bool,
    pub(super) draft: bool,
    pub(super) keywords: BTreeSet<String>,
}

impl Flags {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Flags {
            seen: snapshot.seen,
            flagged: snapshot.flagged,
            answered: snapshot.answered,
            deleted: snapshot.deleted,
            draft: snapshot.draft,
            keywords: snapshot.keywords.iter().cloned().collect(),
        }
    }

    pub(super) fn write_to(&self, snapshot: &mut Snapshot) {
        snapshot.seen = self.seen;
        snapshot.flagged = self.flagged;
        snapshot.answered = self.answered;
        snapshot.deleted = self.deleted;
        snapshot.draft = self.draft;
        snapshot.keywords = self.keywords.iter().cloned().collect();
    }

    fn read(found: &[FlagFetch<'_>]) -> Self {
        let mut flags = Flags::default();
        for flag in found {
            match flag {
                FlagFetch::Flag(Flag::Seen) => flags.seen = true,
                FlagFetch::Flag(Flag::Flagged) => flags.flagged = true,
                FlagFetch::Flag(Flag::Answered) => flags.answered = true,
                FlagFetch::Flag(Flag::Deleted) => flags.deleted = true,
                FlagFetch::Flag(Flag::Draft) => flags.draft = true,
                FlagFetch::Flag(Flag::Keyword(word)) => {
                    flags.keywords.insert(word.inner().to_owned());
                }
                FlagFetch::Flag(Flag::Extension(_)) | FlagFetch::Recent => {}
            }
        }
        flags
    }

    fn wire(&self) -> String {
        let system = [
            (self.seen, "\\Seen"),
            (self.flagged, "\\Flagged"),
            (self.answered, "\\Answered"),
            (self.deleted, "\\Deleted"),
            (self.draft, "\\Draft"),
        ];
        let system = system.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name);
        // A keyword is an atom (RFC 3501 9): what is none cannot have come from a mailbox.
        let is_atom =
            |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b));
        let keywords = self.keywords.iter().map(String::as_str).filter(is_atom);
        system.chain(keywords).collect::<Vec<_>>().join(" ")
    }
}

/// One mailbox, entered.
pub(super) struct Desk<'a> {
    pub(super) session: &'a mut Session,
    pub(super) junk_folder: &'a str,
    pub(super) holding_folder: &'a str,
}

impl Desk<'_> {
    /// The folders that mail can lie in, the inbox first; not the holding folder.
    pub(super) async fn folders(&mut self) -> Result<Vec<Folder>, ImapError> {
        let special = if self.session.can("SPECIAL-USE") { " RETURN (SPECIAL-USE)" } else { "" };
        let answer = match self.session.run(Command::new("LIST").plain(" \"\" \"*\"").plain(special)).await {
            Err(ImapError::Bad { .. }) if !special.is_empty() => {
                self.session.run(Command::new("LIST").plain(" \"\" \"*\"")).await?
            }
            done => done?,
        };
        let mut folders = Vec::new();
        for data in &answer.data {
            let Data::List { items, mailbox, .. } = data else { continue };
            let is_container = items.iter().any(|item| {
                matches!(item, FlagNameAttribute::Noselect) || item.to_string().eq_ignore_ascii_case("\\NonExistent")
            });
            let wire = wire_name(mailbox);
            let name = utf7::decode(&wire);
            if is_container || name == self.holding_folder {
                continue;
            }
            let role = self.role(&name, items);
            folders.push(Folder { wire, name: shown_name(role, name), role });
        }
        // The most likely first; what is left out for want of room is at the end.
        folders.sort_by_key(|folder| match folder.role {
            FolderRole::Inbox => 0,
            FolderRole::Junk => 1,
            FolderRole::Trash | FolderRole::Archive | FolderRole::Sent | FolderRole::Drafts => 2,
            FolderRole::Own => 3,
        });
        folders.truncate(FOLDERS_MAX);
        Ok(folders)
    }

    fn role(&self, name: &str, attributes: &[FlagNameAttribute<'_>]) -> FolderRole {
        if name.eq_ignore_ascii_case("INBOX") {
            return FolderRole::Inbox;
        }
        for attribute in attributes {
            match attribute.to_string().to_ascii_lowercase().as_str() {
                "\\junk" => return FolderRole::Junk,
                "\\trash" => return FolderRole::Trash,
                "\\sent" => return FolderRole::Sent,
                "\\drafts" => return FolderRole::Drafts,
                "\\archive" => return FolderRole::Archive,
                _ => {}
            }
        }
        if name == self.junk_folder { FolderRole::Junk } else { FolderRole::Own }
    }

    /// Every message of these folders that has one of the marks, and arrived at `since` or later.
    pub(super) async fn search(
        &mut self,
        folders: &[Folder],
        marks: &[&str],
        since: Option<Timestamp>,
    ) -> Result<Vec<Hit>, ImapError> {
        let since = since.map(|at| format!(" SINCE {}", date(at))).unwrap_or_default();
        let mut hits = Vec::new();
        for folder in folders {
            if !self.enter(folder, "EXAMINE").await? {
                continue;
            }
            let mut uids = BTreeSet::new();
            for marks in marks.chunks(MARKS_PER_SEARCH) {
                let mut search = Command::new("UID SEARCH").plain(&since);
                for (i, mark) in marks.iter().enumerate() {
                    let or = if i + 1 < marks.len() { " OR" } else { "" };
                    search = search.plain(&format!("{or} HEADER {MARK_HEADER} ")).string(mark);
                }
                uids.extend(self.uids(search).await?);
            }
            hits.extend(self.read(folder, &uids).await?.into_iter().filter(|hit| marks.contains(&hit.mark.as_str())));
        }
        Ok(hits)
    }

    /// Every message of these folders with this Message-ID that has a mark at all.
    pub(super) async fn search_message_id(&mut self, folders: &[Folder], id: &str) -> Result<Vec<Hit>, ImapError> {
        let mut hits = Vec::new();
        for folder in folders {
            if self.enter(folder, "EXAMINE").await? {
                let uids = self.uids(Command::new("UID SEARCH").plain(" HEADER Message-ID ").string(id)).await?;
                // SEARCH finds what contains it (RFC 3501 6.4.4); wanted is what is it.
                let found = self.read(folder, &uids).await?;
                hits.extend(found.into_iter().filter(|hit| hit.message_id == id));
            }
        }
        Ok(hits)
    }

    /// False: the folder is gone, or nobody may enter it. What cannot be entered only now is an error: a copy that may lie
    /// there is not nowhere.
    async fn enter(&mut self, folder: &Folder, how: &'static str) -> Result<bool, ImapError> {
        match self.session.run(Command::new(how).plain(" ").string(&folder.wire)).await {
            Ok(_) => Ok(true),
            Err(error @ ImapError::No { refusal: Refusal::Passing, .. }) => Err(error),
            Err(ImapError::No { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn uids(&mut self, search: Command) -> Result<BTreeSet<u32>, ImapError> {
        let answer = self.session.run(search).await?;
        let mut uids = BTreeSet::new();
        for data in &answer.data {
            if let Data::Search(found, ..) = data {
                uids.extend(found.iter().map(|uid| uid.get()));
            }
        }
        Ok(uids)
    }

    async fn read(&mut self, folder: &Folder, uids: &BTreeSet<u32>) -> Result<Vec<Hit>, ImapError> {
        let mut hits = Vec::new();
        if uids.is_empty() {
            return Ok(hits);
        }
        let fields = format!("BODY.PEEK[HEADER.FIELDS ({MARK_HEADER} Message-ID)]");
        let what = format!(" {} (UID FLAGS INTERNALDATE {fields})", set(uids));
        let answer = self.session.run(Command::new("UID FETCH").plain(&what)).await?;
        for data in answer.data.iter().take(HITS_MAX) {
            let Data::Fetch { items, .. } = data else { continue };
            let (mut uid, mut mark, mut flags, mut at) = (None, None, Flags::default(), None);
            let mut message_id = String::new();
            for item in items.as_ref() {
                match item {
                    MessageDataItem::Uid(number) => uid = Some(number.get()),
                    MessageDataItem::Flags(found) => flags = Flags::read(found),
                    MessageDataItem::InternalDate(date) => {
                        at = Some(Timestamp::from_micros(date.as_ref().timestamp_micros()));
                    }
                    MessageDataItem::BodyExt { data: NString(Some(header)), .. } => {
                        mark = field_of(header.as_ref(), MARK_HEADER).filter(|mark| !mark.is_empty());
                        message_id = field_of(header.as_ref(), "Message-ID").unwrap_or_default();
                    }
                    _ => {}
                }
            }
            if let (Some(uid), Some(mark), Some(internal_at)) = (uid, mark, at) {
                hits.push(Hit { mark, message_id, folder: folder.clone(), uid, flags, internal_at });
            }
        }
        Ok(hits)
    }

    /// What lies in the holding folder under these marks.
    pub(super) async fn search_held(&mut self, marks: &[&str]) -> Result<Vec<Hit>, ImapError> {
        let holding = self.holding();
        self.search(&[holding], marks, None).await
    }

    fn holding(&self) -> Folder {
        let name = self.holding_folder.to_owned();
        Folder { wire: utf7::encode(&name), name, role: FolderRole::Own }
    }

    /// Moves messages of one folder into the holding folder (made when it is not there).
    pub(super) async fn hold(&mut self, folder: &Folder, uids: &BTreeSet<u32>) -> Result<(), ImapError> {
        let holding = self.holding();
        self.move_to(folder, uids, &holding, false).await
    }

    /// Moves messages to another folder: MOVE (RFC 6851), or COPY, `\Deleted` and UID EXPUNGE where the server has none.
    pub(super) async fn move_to(
        &mut self,
        folder: &Folder,
        uids: &BTreeSet<u32>,
        to: &Folder,
        subscribe: bool,
    ) -> Result<(), ImapError> {
        if uids.is_empty() || !self.enter(folder, "SELECT").await? {
            return Ok(());
        }
        let verb = if self.session.can("MOVE") { "UID MOVE" } else { "UID COPY" };
        let command = Command::new(verb).plain(&format!(" {} ", set(uids))).string(&to.wire);
        match self.session.run(command.clone()).await {
            Err(ImapError::No { refusal: Refusal::TryCreate, .. }) => {
                self.create(to, subscribe).await?;
                self.session.run(command).await?;
            }
            done => {
                done?;
            }
        }
        if verb == "UID COPY" {
            self.expunge(uids).await?;
        }
        Ok(())
    }

    /// Removes what the holding folder has under these marks.
    pub(super) async fn empty_holding(&mut self, marks: &[&str]) -> Result<(), ImapError> {
        let uids: BTreeSet<u32> = self.search_held(marks).await?.iter().map(|hit| hit.uid).collect();
        let holding = self.holding();
        if !uids.is_empty() && self.enter(&holding, "SELECT").await? {
            self.expunge(&uids).await?;
        }
        Ok(())
    }

    /// In the folder that is selected. Without UIDPLUS (RFC 4315) everything that is marked goes, as RFC 3501 has it: what
    /// its owner had marked loses the mark for that moment.
    async fn expunge(&mut self, uids: &BTreeSet<u32>) -> Result<(), ImapError> {
        if self.session.can("UIDPLUS") {
            self.mark_deleted(uids, true).await?;
            self.session.run(Command::new("UID EXPUNGE").plain(&format!(" {}", set(uids)))).await?;
            return Ok(());
        }
        let marked = self.uids(Command::new("UID SEARCH").plain(" DELETED")).await?;
        let others: BTreeSet<u32> = marked.difference(uids).copied().collect();
        self.mark_deleted(&others, false).await?;
        self.mark_deleted(uids, true).await?;
        self.session.run(Command::new("EXPUNGE")).await?;
        self.mark_deleted(&others, true).await
    }

    async fn mark_deleted(&mut self, uids: &BTreeSet<u32>, deleted: bool) -> Result<(), ImapError> {
        if uids.is_empty() {
            return Ok(());
        }
        let sign = if deleted { '+' } else { '-' };
        let store = Command::new("UID STORE").plain(&format!(" {} {sign}FLAGS.SILENT (\\Deleted)", set(uids)));
        self.session.run(store).await.map(|_| ())
    }

    /// Makes a folder; one that is there already is fine.
    async fn create(&mut self, folder: &Folder, subscribe: bool) -> Result<(), ImapError> {
        match self.session.run(Command::new("CREATE").plain(" ").string(&folder.wire)).await {
            Err(ImapError::No { refusal: Refusal::AlreadyExists, .. }) => {}
            done => {
                done?;
            }
        }
        if subscribe {
            self.session.run(Command::new("SUBSCRIBE").plain(" ").string(&folder.wire)).await?;
        }
        Ok(())
    }

    /// Appends a message with its flags and date; the folder is made when it is gone. Gives the uid where the server
    /// tells it (RFC 4315).
    pub(super) async fn append(
        &mut self,
        folder: &Folder,
        flags: &Flags,
        at: Timestamp,
        body: &[u8],
    ) -> Result<Option<u32>, ImapError> {
        let command = Command::new("APPEND")
            .plain(" ")
            .string(&folder.wire)
            .plain(&format!(" ({}) \"{}\" ", flags.wire(), date_time(at)))
            .literal(body);
        let answer = match self.session.run(command.clone()).await {
            Err(ImapError::No { refusal: Refusal::TryCreate, .. }) => {
                self.create(folder, true).await?;
                self.session.run(command).await?
            }
            done => done?,
        };
        Ok(match answer.code {
            Some(Code::AppendUid { uid, .. }) => Some(uid.get()),
            Some(_) | None => None,
        })
    }

    /// The folder that a snapshot names: by its role, else by its name; as it would be made when it is not there.
    pub(super) fn folder_for(&self, folders: &[Folder], snapshot: &Snapshot) -> Folder {
        let by_role = folders.iter().find(|f| f.role != FolderRole::Own && f.role == snapshot.folder_role);
        let by_name = || folders.iter().find(|f| f.name == snapshot.folder);
        by_role.or_else(by_name).cloned().unwrap_or_else(|| {
            let name = match snapshot.folder_role {
                FolderRole::Inbox => "INBOX",
                FolderRole::Junk => self.junk_folder,
                _ => &snapshot.folder,
            };
            Folder {
                wire: utf7::encode(name),
                name: shown_name(snapshot.folder_role, name.to_owned()),
                role: snapshot.folder_role,
            }
        })
    }
}

/// INBOX is called as everywhere else here.
fn shown_name(role: FolderRole, name: String) -> String {
    if role == FolderRole::Inbox { role.default_name().to_owned() } else { name }
}

fn wire_name(folder: &WireFolder<'_>) -> String {
    match folder {
        WireFolder::Inbox => "INBOX".to_owned(),
        WireFolder::Other(other) => String::from_utf8_lossy(other.as_ref()).into_owned(),
    }
}

/// The value of the first field of this name in a header section; folded lines are put together. The first mark is the
/// one that we wrote.
fn field_of(header: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(header);
    let mut lines = text.split("\r\n");
    let mut value = loop {
        let (found, value) = match lines.next()?.split_once(':') {
            Some((found, value)) => (found, value),
            None => continue,
        };
        if found.trim_end().eq_ignore_ascii_case(name) {
            break value.trim().to_owned();
        }
    };
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push_str(line.trim());
    }
    Some(value)
}

/// `1,2,5:9`
fn set(uids: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == uid => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let words = ranges.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}:{b}") });
    words.collect::<Vec<_>>().join(",")
}

/// `05-Jan-2026` (RFC 3501 9: date).
fn date(at: Timestamp) -> String {
    date_time(at).split(' ').next().unwrap_or_default().to_owned()
}

/// `05-Jan-2026 09:00:00 +0000` (RFC 3501 9: date-time).
fn date_time(at: Timestamp) -> String {
    // Mon, 05 Jan 2026 09:00:00 +0000
    let text = at.to_rfc5322();
    let mut words = text.split_once(", ").map_or(text.as_str(), |(_, rest)| rest).splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, rest) = (word(), word(), word(), word());
    format!("{day:0>2}-{month}-{year} {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_wire() {
        assert_eq!(set(&BTreeSet::from([1, 2, 3, 7, 9, 10])), "1:3,7,9:10");
        let at = Timestamp::from_micros(1_767_603_600_000_000);
        assert_eq!((date(at).as_str(), date_time(at).as_str()), ("05-Jan-2026", "05-Jan-2026 09:00:00 +0000"));
        let flags =
            Flags { seen: true, keywords: BTreeSet::from(["a b".into(), "$Label1".into()]), ..Flags::default() };
        assert_eq!(flags.wire(), "\\Seen $Label1", "what is no keyword is left out");
        let mark = |header: &[u8]| field_of(header, MARK_HEADER);
        assert_eq!(mark(b"X-Landfall-Id: 7.abc\r\n\r\n").as_deref(), Some("7.abc"));
        assert_eq!(mark(b"X-Landfall-Id: 7.\r\n abc\r\nX-Landfall-Id: 8.d\r\n\r\n").as_deref(), Some("7.abc"));
        assert_eq!(mark(b"message-id:\r\n <1@x>\r\nx-landfall-id: 7.abc\r\n\r\n").as_deref(), Some("7.abc"));
        assert_eq!(field_of(b"message-id:\r\n <1@x>\r\nx-y: z\r\n\r\n", "Message-ID").as_deref(), Some("<1@x>"));
        assert_eq!(mark(b"\r\n"), None);
    }
}
