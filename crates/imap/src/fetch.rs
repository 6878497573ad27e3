//! FETCH (RFC 3501 6.4.5, BINARY of RFC 3516): messages are read by ranges of their stored bytes and written as they are
//! read; one message at a time is in memory, and only where its structure or a part without its encoding is asked for.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::fetch::{
    MacroOrMessageDataItemNames, MessageDataItemName as Name, Part as PartPath, Section,
};
use mailbox::{Content, Embedded, FlagMode, FlagStore, Flags};
use message::Limits;
use message::structure::{Part, decoded_body, pick_fields, structure};
use model::{MailboxId, MessageId};
use store::{BodyRef, Store, StoreError};

use crate::config::{BODY_CHUNK_BYTES, HEADER_BYTES_MAX, PAGE, STRUCTURES_MAX};
use crate::memory::{Memory, NoRoom, Room};
use crate::shape::{body_structure, envelope};
use crate::syntax::{date_time, flag_list, literal, literal8_begin, nstring, without_nul};
use crate::view::{Tell, View, wire_modseq};
use crate::wire::Wire;

/// Why a FETCH did not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The connection is of no use any more.
    #[error("the connection broke: {0}")]
    Wire(#[from] io::Error),
    /// The rows could not be read or written.
    #[error(transparent)]
    Mailbox(#[from] mailbox::MailboxError),
    /// A body could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// Everything was there.
    All,
    /// Some were gone meanwhile.
    SomeGone,
    /// Some could not be read; the log says why.
    SomeUnread,
    /// A part has an encoding that is not known (RFC 3516 4.3).
    UnknownEncoding,
    /// There was no room in memory for some.
    NoRoom,
}

/// Why a message could not be read.
#[derive(Debug)]
enum Unread {
    NoRoom,
    Store(StoreError),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Unread::Store(error)
    }
}

impl From<NoRoom> for Unread {
    fn from(_: NoRoom) -> Self {
        Unread::NoRoom
    }
}

impl From<Unread> for FetchError {
    fn from(unread: Unread) -> Self {
        // Room is taken before an answer begins; who has none then has a connection that cannot go on.
        match unread {
            Unread::NoRoom => FetchError::Wire(io::Error::other("no room")),
            Unread::Store(error) => FetchError::Store(error),
        }
    }
}

/// Structures of the messages asked for last.
#[derive(Debug, Default)]
pub(crate) struct Structures(VecDeque<(MessageId, Arc<Part>)>);

impl Structures {
    fn get(&self, id: MessageId) -> Option<Arc<Part>> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, part)| part.clone())
    }

    fn keep(&mut self, id: MessageId, part: Arc<Part>) {
        self.0.truncate(STRUCTURES_MAX - 1);
        self.0.push_front((id, part));
    }
}

/// What is asked, and of whom.
pub(crate) struct Fetch<'a> {
    pub(crate) mailbox: &'a Embedded,
    pub(crate) memory: &'a Memory,
    pub(crate) mailbox_id: MailboxId,
    pub(crate) names: Vec<Name<'static>>,
    /// What is told unasked is told with its mod-sequence.
    pub(crate) condstore: bool,
}

/// The data items of a command; UID commands always give the UID (RFC 3501 6.4.8).
pub(crate) fn names_of(asked: MacroOrMessageDataItemNames<'static>, by_uid: bool) -> Vec<Name<'static>> {
    let mut names = match asked {
        MacroOrMessageDataItemNames::Macro(short) => {
            short.expand().into_iter().map(imap_codec::imap_types::IntoStatic::into_static).collect()
        }
        MacroOrMessageDataItemNames::MessageDataItemNames(names) => names,
    };
    if by_uid && !names.contains(&Name::Uid) {
        names.insert(0, Name::Uid);
    }
    names
}

impl Fetch<'_> {
    fn store(&self) -> &Store {
        self.mailbox.store()
    }

    /// Writes the answers for these indexes.
    pub(crate) async fn run(
        &self,
        view: &mut View,
        structures: &mut Structures,
        indexes: &[usize],
        wire: &mut Wire,
    ) -> Result<Fetched, FetchError> {
        let mut end = Fetched::All;
        let from_view = self.names.iter().all(|name| matches!(name, Name::Uid | Name::Flags | Name::ModSeq));
        let marks_seen = !view.read_only && self.names.iter().any(marks_seen);
        for page in indexes.chunks(PAGE) {
            let newly_seen = if marks_seen { self.mark_seen(view, page).await? } else { Vec::new() };
            let contents =
                if from_view { Vec::new() } else { self.mailbox.contents(view.folder.id, &view.uids_at(page)).await? };
            for index in page {
                let uid = view.items[*index].uid;
                let content = contents.binary_search_by_key(&uid, |c| c.uid).ok().map(|i| &contents[i]);
                if content.is_none() && !from_view {
                    end = Fetched::SomeGone;
                    continue;
                }
                let shown = Shown { index: *index, content, is_newly_seen: newly_seen.binary_search(&uid).is_ok() };
                match self.one(view, shown, structures, wire).await? {
                    Fetched::All if self.names.contains(&Name::Flags) || shown.is_newly_seen => {
                        view.told(*index, self.names.contains(&Name::ModSeq) || !self.condstore || shown.is_newly_seen);
                    }
                    Fetched::All => {}
                    other => end = other,
                }
                wire.flush_if_full().await?;
            }
        }
        Ok(end)
    }

    /// Reading marks as read (RFC 3501 6.4.5); gives the uids of which that is news, ascending.
    async fn mark_seen(&self, view: &mut View, page: &[usize]) -> Result<Vec<i64>, FetchError> {
        let unseen: Vec<usize> = page.iter().copied().filter(|i| !view.items[*i].flags.seen).collect();
        let uids = view.uids_at(&unseen);
        if uids.is_empty() {
            return Ok(uids);
        }
        let seen = Flags { seen: true, ..Flags::default() };
        let change = FlagStore { mode: FlagMode::Add, flags: &seen, unchanged_since: None };
        let now = self.mailbox.change_flags(self.mailbox_id, view.folder.id, &uids, &change).await?;
        for item in now.items {
            let uid = item.uid;
            view.set_own(item, FlagMode::Add, &seen);
            // Should it not be shown after all, the client still hears of it.
            view.tell(uid, Tell::Flags);
        }
        Ok(uids)
    }

    /// The answer for one message. Whole in memory but for bodies, which are written as they are read.
    async fn one(
        &self,
        view: &View,
        shown: Shown<'_>,
        structures: &mut Structures,
        wire: &mut Wire,
    ) -> Result<Fetched, FetchError> {
        let Shown { index, content, is_newly_seen } = shown;
        let (memory, mailbox_id) = (self.memory, self.mailbox_id);
        let mut message =
            Message { store: self.store(), memory, mailbox_id, content, structures, header: None, whole: None };
        // What can be read is read before anything is written: a literal cannot be taken back.
        match message.prepare(&self.names).await {
            Ok(Fetched::All) => {}
            Ok(other) => return Ok(other),
            Err(Unread::NoRoom) => return Ok(Fetched::NoRoom),
            Err(Unread::Store(error)) => {
                tracing::error!(%error, "a stored message cannot be read: {error}");
                return Ok(Fetched::SomeUnread);
            }
        }
        let item = &view.items[index];
        wire.out.extend_from_slice(format!("* {} FETCH (", index + 1).as_bytes());
        for (i, name) in self.names.iter().enumerate() {
            if i > 0 {
                wire.out.push(b' ');
            }
            match name {
                Name::Flags => {
                    wire.out.extend_from_slice(format!("FLAGS {}", flag_list(&item.flags, item.recent)).as_bytes());
                }
                Name::Uid => wire.out.extend_from_slice(format!("UID {}", item.uid).as_bytes()),
                Name::ModSeq => {
                    wire.out.extend_from_slice(format!("MODSEQ ({})", wire_modseq(item.modseq)).as_bytes());
                }
                // The answer has begun: what fails now can only end the connection.
                other => message.write(other, wire).await.map_err(|error| match error {
                    FetchError::Wire(error) => FetchError::Wire(error),
                    other => FetchError::Wire(io::Error::other(other)),
                })?,
            }
            wire.flush_if_full().await?;
        }
        if is_newly_seen && !self.names.contains(&Name::Flags) {
            wire.out.extend_from_slice(format!(" FLAGS {}", flag_list(&item.flags, item.recent)).as_bytes());
        }
        if is_newly_seen && self.condstore && !self.names.contains(&Name::ModSeq) {
            wire.out.extend_from_slice(format!(" MODSEQ ({})", wire_modseq(item.modseq)).as_bytes());
        }
        wire.out.extend_from_slice(b")\r\n");
        Ok(Fetched::All)
    }
}

/// A message that is to be shown.
#[derive(Clone, Copy)]
struct Shown<'a> {
    index: usize,
    content: Option<&'a Content>,
    /// Showing it marks it as read, which the answer says.
    is_newly_seen: bool,
}

/// Whether a message has to be whole in memory while this is written. Its structure is known by then.
fn needs_whole(name: &Name<'_>) -> bool {
    matches!(name, Name::Body | Name::BodyStructure | Name::Binary { .. } | Name::BinarySize { .. })
}

fn marks_seen(name: &Name<'_>) -> bool {
    match name {
        Name::BodyExt { peek, .. } | Name::Binary { peek, .. } => !peek,
        Name::Rfc822 | Name::Rfc822Text => true,
        _ => false,
    }
}

/// A message that is being shown.
struct Message<'a> {
    store: &'a Store,
    memory: &'a Memory,
    mailbox_id: MailboxId,
    content: Option<&'a Content>,
    structures: &'a mut Structures,
    header: Option<Bytes>,
    /// Only for what needs all of it: its structure, decoded parts.
    whole: Option<(Bytes, Room)>,
}

impl Message<'_> {
    fn body(&self) -> Result<&BodyRef, StoreError> {
        let missing = || StoreError::Body { pack_id: 0, problem: "no content was looked up".into() };
        self.content.map(|c| &c.body).ok_or_else(missing)
    }

    async fn prepare(&mut self, names: &[Name<'static>]) -> Result<Fetched, Unread> {
        for name in names {
            match name {
                Name::Envelope | Name::Rfc822Header | Name::Rfc822Text => drop(self.header().await?),
                Name::Body | Name::BodyStructure => drop((self.whole().await?, self.parts().await?)),
                Name::BodyExt { section: None, .. } | Name::Rfc822 => drop(self.first_bytes().await?),
                Name::BodyExt { section: Some(section), .. } => drop(self.section(section).await?),
                Name::Binary { section, .. } | Name::BinarySize { section } => {
                    let found = self.binary(section).await?;
                    if found.is_none() {
                        return Ok(Fetched::UnknownEncoding);
                    }
                }
                _ => {}
            }
        }
        if !names.iter().any(needs_whole) {
            self.whole = None;
        }
        Ok(Fetched::All)
    }

    /// Proves that the body can be read.
    async fn first_bytes(&self) -> Result<Bytes, StoreError> {
        let body = self.body()?;
        self.store.body_part(body, 0..1).await
    }

    async fn header(&mut self) -> Result<Bytes, StoreError> {
        if let Some(header) = &self.header {
            return Ok(header.clone());
        }
        let header = read_header(self.store, self.body()?).await?;
        self.header = Some(header.clone());
        Ok(header)
    }

    /// All of it, with as much room again for a part without its encoding.
    async fn whole(&mut self) -> Result<Bytes, Unread> {
        if let Some((whole, _)) = &self.whole {
            return Ok(whole.clone());
        }
        let body = self.body()?.clone();
        let room = self.memory.take(self.mailbox_id, body.bytes.saturating_mul(2)).await?;
        let whole = self.store.body(&body).await?;
        self.whole = Some((whole.clone(), room));
        Ok(whole)
    }

    async fn parts(&mut self) -> Result<Arc<Part>, Unread> {
        let id = self.content.map_or(MessageId(0), |c| c.message_id);
        if let Some(part) = self.structures.get(id) {
            return Ok(part);
        }
        let whole = self.whole().await?;
        let part = Arc::new(structure(&whole, &Limits::default()));
        self.structures.keep(id, part.clone());
        Ok(part)
    }

    async fn write(&mut self, name: &Name<'static>, wire: &mut Wire) -> Result<(), FetchError> {
        match name {
            Name::InternalDate => {
                let at = self.content.map_or(model::Timestamp::from_micros(0), |c| c.internal_at);
                wire.out.extend_from_slice(format!("INTERNALDATE {}", date_time(at)).as_bytes());
            }
            Name::Rfc822Size => {
                wire.out.extend_from_slice(format!("RFC822.SIZE {}", self.body()?.bytes).as_bytes());
            }
            Name::Envelope => {
                let header = self.header().await?;
                wire.out.extend_from_slice(b"ENVELOPE ");
                envelope(&mut wire.out, &header);
            }
            Name::Body | Name::BodyStructure => {
                let (whole, part) = (self.whole().await?, self.parts().await?);
                let extended = *name == Name::BodyStructure;
                wire.out.extend_from_slice(if extended { b"BODYSTRUCTURE " } else { b"BODY " });
                body_structure(&mut wire.out, &whole, &part, extended);
            }
            Name::Rfc822Header => {
                let header = self.header().await?;
                wire.out.extend_from_slice(b"RFC822.HEADER ");
                literal(&mut wire.out, &header);
            }
            Name::Rfc822 => {
                wire.out.extend_from_slice(b"RFC822 ");
                let all = 0..self.body()?.bytes;
                self.stream(all, wire).await?;
            }
            Name::Rfc822Text => {
                wire.out.extend_from_slice(b"RFC822.TEXT ");
                let text = self.header().await?.len() as u64..self.body()?.bytes;
                self.stream(text, wire).await?;
            }
            Name::BodyExt { section, partial, .. } => {
                let label = section.as_ref().map_or_else(Vec::new, section_label);
                write_label(&mut wire.out, b"BODY[", &label, partial.map(|(origin, _)| origin));
                let found = match section {
                    None => Some(Found::Range(0..self.body()?.bytes)),
                    Some(section) => self.section(section).await?,
                };
                self.write_found(found, *partial, wire).await?;
            }
            Name::Binary { section, partial, .. } => {
                let label = path_label(section.iter().map(|n| n.get()));
                write_label(&mut wire.out, b"BINARY[", label.as_bytes(), partial.map(|(origin, _)| origin));
                let found = self.binary(section).await?.flatten();
                self.write_found(found.map(Found::Binary), *partial, wire).await?;
            }
            Name::BinarySize { section } => {
                let label = path_label(section.iter().map(|n| n.get()));
                let size = self.binary(section).await?.flatten().map_or(0, |data| data.len());
                wire.out.extend_from_slice(format!("BINARY.SIZE[{label}] {size}").as_bytes());
            }
            Name::Flags | Name::Uid | Name::ModSeq => {}
        }
        Ok(())
    }

    async fn write_found(
        &mut self,
        found: Option<Found>,
        partial: Option<(u32, std::num::NonZeroU32)>,
        wire: &mut Wire,
    ) -> Result<(), FetchError> {
        let cut = |length: u64| {
            let (from, most) = partial.map_or((0, u64::MAX), |(from, most)| (u64::from(from), u64::from(most.get())));
            let from = from.min(length);
            from..from.saturating_add(most).min(length)
        };
        match found {
            None => nstring(&mut wire.out, None),
            Some(Found::Bytes(bytes)) => literal(&mut wire.out, &bytes[range_in(&bytes, cut(bytes.len() as u64))]),
            Some(Found::Binary(bytes)) => {
                let bytes = &bytes[range_in(&bytes, cut(bytes.len() as u64))];
                literal8_begin(&mut wire.out, bytes);
                for piece in bytes.chunks(BODY_CHUNK_BYTES as usize) {
                    wire.out.extend_from_slice(piece);
                    wire.flush_if_full().await?;
                }
            }
            Some(Found::Range(range)) => {
                let inner = cut(range.end.saturating_sub(range.start));
                self.stream(range.start + inner.start..range.start + inner.end, wire).await?;
            }
        }
        Ok(())
    }

    /// A literal of these bytes of the message, written as they are read. Should reading fail on the way, the connection
    /// has to end: the client counts on what was announced.
    async fn stream(&self, range: Range<u64>, wire: &mut Wire) -> Result<(), FetchError> {
        let body = self.body()?;
        wire.out.extend_from_slice(format!("{{{}}}\r\n", range.end - range.start).as_bytes());
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + BODY_CHUNK_BYTES);
            let chunk = self.store.body_part(body, at..end).await.map_err(io::Error::other)?;
            let start = wire.out.len();
            wire.out.extend_from_slice(&chunk);
            without_nul(&mut wire.out[start..]);
            at = end;
            wire.flush_if_full().await?;
        }
        Ok(())
    }

    /// What a section means; `None` where the message has no such part.
    async fn section(&mut self, section: &Section<'static>) -> Result<Option<Found>, Unread> {
        let range = |range: &Range<usize>| Some(Found::Range(range.start as u64..range.end as u64));
        Ok(match section {
            Section::Header(None) => Some(Found::Bytes(self.header().await?.to_vec())),
            Section::Text(None) => Some(Found::Range(self.header().await?.len() as u64..self.body()?.bytes)),
            Section::HeaderFields(path, names) => self.fields(path.as_ref(), names.as_ref(), true).await?,
            Section::HeaderFieldsNot(path, names) => self.fields(path.as_ref(), names.as_ref(), false).await?,
            Section::Part(path) => self.parts().await?.find(&numbers(path)).and_then(|part| range(&part.body)),
            Section::Mime(path) => self.parts().await?.find(&numbers(path)).and_then(|part| range(&part.header)),
            Section::Header(Some(path)) => {
                self.parts().await?.find_message(&numbers(path)).and_then(|part| range(&part.header))
            }
            Section::Text(Some(path)) => {
                self.parts().await?.find_message(&numbers(path)).and_then(|part| range(&part.body))
            }
        })
    }

    async fn fields(
        &mut self,
        path: Option<&PartPath>,
        names: &[AString<'static>],
        wanted: bool,
    ) -> Result<Option<Found>, Unread> {
        let header = match path {
            None => self.header().await?,
            Some(path) => {
                let parts = self.parts().await?;
                let Some(part) = parts.find_message(&numbers(path)) else { return Ok(None) };
                {
                    let range = part.header.start as u64..part.header.end as u64;
                    self.store.body_part(self.body()?, range).await?
                }
            }
        };
        let is_named = |name: &[u8]| names.iter().any(|n| n.as_ref().eq_ignore_ascii_case(name));
        let mut picked = pick_fields(&header, |name| is_named(name) == wanted);
        picked.extend_from_slice(b"\r\n");
        Ok(Some(Found::Bytes(picked)))
    }

    /// A part's content without its encoding: `None` for an unknown encoding, `Some(None)` where there is no such part.
    async fn binary(&mut self, path: &[std::num::NonZeroU32]) -> Result<Option<Option<Vec<u8>>>, Unread> {
        let (whole, parts) = (self.whole().await?, self.parts().await?);
        if path.is_empty() {
            return Ok(Some(Some(whole.to_vec())));
        }
        let path: Vec<u32> = path.iter().map(|n| n.get()).collect();
        let Some(part) = parts.find(&path) else { return Ok(Some(None)) };
        Ok(decoded_body(&whole, part).map(Some))
    }
}

enum Found {
    /// Bytes of the stored message.
    Range(Range<u64>),
    Bytes(Vec<u8>),
    /// A part without its encoding, which may hold any byte (RFC 3516).
    Binary(Vec<u8>),
}

fn range_in(bytes: &[u8], range: Range<u64>) -> Range<usize> {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    at(range.start)..at(range.end)
}

fn numbers(path: &PartPath) -> Vec<u32> {
    path.0.as_ref().iter().map(|n| n.get()).collect()
}

fn path_label(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(".")
}

/// A section as it was asked for, which is how the answer names it.
fn section_label(section: &Section<'_>) -> Vec<u8> {
    let with_path = |path: Option<&PartPath>, word: &str| {
        let path = path.map_or(String::new(), |p| path_label(p.0.as_ref().iter().map(|n| n.get())));
        let dot = if path.is_empty() || word.is_empty() { "" } else { "." };
        format!("{path}{dot}{word}").into_bytes()
    };
    let with_names = |path: Option<&PartPath>, word: &str, names: &[AString<'_>]| {
        let mut label = with_path(path, word);
        label.extend_from_slice(b" (");
        for (i, name) in names.iter().enumerate() {
            if i > 0 {
                label.push(b' ');
            }
            let bytes: &[u8] = name.as_ref();
            let atom = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
            if !bytes.is_empty() && bytes.iter().all(atom) {
                label.extend_from_slice(bytes);
            } else {
                crate::syntax::string(&mut label, bytes);
            }
        }
        label.push(b')');
        label
    };
    match section {
        Section::Part(path) => with_path(Some(path), ""),
        Section::Header(path) => with_path(path.as_ref(), "HEADER"),
        Section::Text(path) => with_path(path.as_ref(), "TEXT"),
        Section::Mime(path) => with_path(Some(path), "MIME"),
        Section::HeaderFields(path, names) => with_names(path.as_ref(), "HEADER.FIELDS", names.as_ref()),
        Section::HeaderFieldsNot(path, names) => with_names(path.as_ref(), "HEADER.FIELDS.NOT", names.as_ref()),
    }
}

fn write_label(out: &mut Vec<u8>, word: &[u8], label: &[u8], origin: Option<u32>) {
    out.extend_from_slice(word);
    out.extend_from_slice(label);
    out.push(b']');
    if let Some(origin) = origin {
        out.extend_from_slice(format!("<{origin}>").as_bytes());
    }
    out.push(b' ');
}

/// A message's header section with the empty line behind it; at most [`HEADER_BYTES_MAX`].
pub(crate) async fn read_header(store: &Store, body: &BodyRef) -> Result<Bytes, StoreError> {
    let mut wanted = 16 * 1024;
    loop {
        let most = body.bytes.min(HEADER_BYTES_MAX);
        let bytes = store.body_part(body, 0..wanted.min(most)).await?;
        let is_all = wanted >= most;
        if let Some(end) = message::structure::header_end(&bytes, is_all) {
            return Ok(bytes.slice(..end));
        }
        wanted = wanted.saturating_mul(8);
    }
}
