//! Selecting a folder, and reading what is in it: SELECT, EXAMINE, CLOSE, FETCH, SEARCH (RFC 3501 section 6.4).

use imap_codec::imap_types::command::{CommandBody, FetchModifier, SelectParameter, StoreModifier};
use imap_codec::imap_types::core::Charset;
use imap_codec::imap_types::extensions::enable::CapabilityEnable;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;
use imap_codec::imap_types::status::StatusDataItemName;

use crate::change::Change;
use crate::command::{Command, SearchReturn};
use crate::fetch::{Fetch, Fetched, names_of};
use crate::memory::NoRoom;
use crate::search::{Sets, Whose, answer, asks_modseq, search};
use crate::session::{Answer, Broken, Session};
use crate::view::{View, wire_modseq};

/// A search.
pub(crate) struct Asked {
    pub(crate) charset: Option<Charset<'static>>,
    pub(crate) keys: Vec<SearchKey<'static>>,
    pub(crate) uid: bool,
    pub(crate) returns: Option<Vec<SearchReturn>>,
}

/// Whether a command says that the client knows mod-sequences (RFC 7162 3.1); SELECT and EXAMINE say so themselves.
pub(crate) fn is_condstore(command: &Command) -> bool {
    match command {
        Command::Plain(CommandBody::Enable { capabilities }) => {
            capabilities.as_ref().contains(&CapabilityEnable::CondStore)
        }
        Command::Plain(CommandBody::Status { item_names, .. }) => {
            item_names.contains(&StatusDataItemName::HighestModSeq)
        }
        Command::List(request) => request.return_status.contains(&StatusDataItemName::HighestModSeq),
        Command::Plain(CommandBody::Fetch { macro_or_item_names, modifiers, .. }) => {
            let named = match macro_or_item_names {
                MacroOrMessageDataItemNames::Macro(_) => false,
                MacroOrMessageDataItemNames::MessageDataItemNames(names) => {
                    names.contains(&MessageDataItemName::ModSeq)
                }
            };
            named || !modifiers.is_empty()
        }
        Command::Plain(CommandBody::Store { modifiers, .. }) => !modifiers.is_empty(),
        Command::Plain(CommandBody::Search { criteria, .. })
        | Command::Search { body: CommandBody::Search { criteria, .. }, .. } => asks_modseq(criteria.as_ref()),
        Command::Plain(_) | Command::Search { .. } | Command::CreateAs { .. } => false,
    }
}

impl Session {
    /// From now on what changes is told with its mod-sequence.
    pub(crate) fn enable_condstore(&mut self) {
        if std::mem::replace(&mut self.condstore, true) {
            return;
        }
        if let Some(view) = &self.view {
            let line = format!("* OK [HIGHESTMODSEQ {}] the highest so far", wire_modseq(view.folder.modseq));
            self.say(&line);
        }
    }

    pub(crate) async fn select(
        &mut self,
        mailbox: &Mailbox<'_>,
        parameters: &[SelectParameter],
        read_only: bool,
    ) -> Result<Answer, Broken> {
        // RFC 3501 6.3.1: whatever comes of it, the old folder is not selected any more.
        self.view = None;
        if parameters.iter().any(|one| *one != SelectParameter::CondStore) {
            return Ok(Answer::bad("QRESYNC is not offered"));
        }
        self.condstore |= !parameters.is_empty();
        let folder = match self.folder(mailbox, "NONEXISTENT").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        let Some(view) = View::open(self.mailbox(), self.mailbox_id()?, folder, read_only).await? else {
            return Ok(Answer::no("[NONEXISTENT] there is no such folder"));
        };
        let mut text = view.flags_line();
        text.push_str(&format!("* {} EXISTS\r\n* {} RECENT\r\n", view.count(), view.recent_count()));
        if let Some(unseen) = view.items.iter().position(|item| !item.flags.seen) {
            text.push_str(&format!("* OK [UNSEEN {}] the first unseen message\r\n", unseen + 1));
        }
        let keywords: String = view.keywords().map(|keyword| format!("{keyword} ")).collect();
        let permanent = format!("\\Answered \\Flagged \\Deleted \\Seen \\Draft {keywords}\\*");
        let permanent = if read_only { "" } else { &permanent };
        text.push_str(&format!("* OK [PERMANENTFLAGS ({permanent})] what can be changed\r\n"));
        text.push_str(&format!("* OK [UIDVALIDITY {}] the uids hold\r\n", view.folder.uid_validity));
        text.push_str(&format!("* OK [UIDNEXT {}] the next uid\r\n", view.folder.uid_next));
        let highest = wire_modseq(view.folder.modseq);
        text.push_str(&format!("* OK [HIGHESTMODSEQ {highest}] the highest so far\r\n"));
        self.wire.out.extend_from_slice(text.as_bytes());
        self.view = Some(view);
        Ok(if read_only {
            Answer::ok("[READ-ONLY] EXAMINE completed")
        } else {
            Answer::ok("[READ-WRITE] SELECT completed")
        })
    }

    /// Commands on the selected folder.
    pub(crate) async fn selected(&mut self, tag: &str, body: CommandBody<'static>) -> Result<Answer, Broken> {
        match body {
            CommandBody::Check => Ok(Answer::ok("CHECK completed")),
            CommandBody::Unselect => {
                self.view = None;
                Ok(Answer::ok("UNSELECT completed"))
            }
            CommandBody::Close => {
                if self.view.as_ref().is_some_and(|view| !view.read_only) {
                    self.expunge(None).await?;
                }
                self.view = None;
                Ok(Answer::ok("CLOSE completed"))
            }
            CommandBody::Expunge => self.expunge(None).await,
            CommandBody::ExpungeUid { sequence_set } => self.expunge(Some(&sequence_set)).await,
            CommandBody::Search { charset, criteria, uid } => {
                self.search(tag, Asked { charset, keys: criteria.into_inner(), uid, returns: None }).await
            }
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid, modifiers } => {
                self.fetch(&sequence_set, macro_or_item_names, uid, &modifiers).await
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid, modifiers } => {
                let unchanged_since = match modifiers.as_slice() {
                    [] => None,
                    [StoreModifier::UnchangedSince(modseq)] => Some(*modseq),
                    _ => return Ok(Answer::bad("UNCHANGEDSINCE is said once")),
                };
                self.store(&Change { set: sequence_set, kind, response, flags, uid, unchanged_since }).await
            }
            CommandBody::Copy { sequence_set, mailbox, uid } => self.copy(&sequence_set, &mailbox, uid).await,
            CommandBody::Move { sequence_set, mailbox, uid } => self.r#move(&sequence_set, &mailbox, uid).await,
            _ => Ok(Answer::bad("this command is not offered")),
        }
    }

    /// The indexes that a command means, or the answer that it means none.
    pub(crate) fn indexes(&self, set: &SequenceSet, uid: bool) -> Result<Vec<usize>, Answer> {
        let view = self.view.as_ref().ok_or_else(|| Answer::bad("select a folder first"))?;
        view.resolve(set, uid).ok_or_else(|| Answer::bad("there is no message of this number"))
    }

    async fn fetch(
        &mut self,
        set: &SequenceSet,
        names: MacroOrMessageDataItemNames<'static>,
        by_uid: bool,
        modifiers: &[FetchModifier],
    ) -> Result<Answer, Broken> {
        let mut names = names_of(names, by_uid);
        let mut changed_since = None;
        for modifier in modifiers {
            match modifier {
                FetchModifier::ChangedSince(modseq) if changed_since.is_none() => changed_since = Some(modseq.get()),
                FetchModifier::ChangedSince(_) => return Ok(Answer::bad("CHANGEDSINCE is said once")),
                FetchModifier::Vanished => return Ok(Answer::bad("QRESYNC is not offered")),
            }
        }
        // RFC 7162 3.1.4.1: who asks for changes is told their mod-sequences.
        if changed_since.is_some() && !names.contains(&MessageDataItemName::ModSeq) {
            names.push(MessageDataItemName::ModSeq);
        }
        let mut indexes = match self.indexes(set, by_uid) {
            Ok(indexes) => indexes,
            Err(answer) => return Ok(answer),
        };
        let (shared, mailbox_id, condstore) = (self.shared.clone(), self.mailbox_id()?, self.condstore);
        let Some(view) = &mut self.view else { return Ok(Answer::bad("select a folder first")) };
        if let Some(since) = changed_since {
            indexes.retain(|index| wire_modseq(view.items[*index].modseq) > since);
        }
        let fetch = Fetch { mailbox: &shared.mailbox, memory: &shared.memory, mailbox_id, names, condstore };
        let done = fetch.run(view, &mut self.structures, &indexes, &mut self.wire).await?;
        Ok(match done {
            Fetched::All => Answer::ok("FETCH completed"),
            Fetched::SomeGone if by_uid => Answer::ok("FETCH completed"),
            Fetched::SomeGone => Answer::no("[EXPUNGEISSUED] some of the messages are gone"),
            Fetched::SomeUnread => Answer::no("[UNAVAILABLE] some of the messages cannot be read now"),
            Fetched::NoRoom => Answer::no_room(),
            Fetched::UnknownEncoding => Answer::no("[UNKNOWN-CTE] a part has an encoding that is not known"),
        })
    }

    pub(crate) async fn search(&mut self, tag: &str, asked: Asked) -> Result<Answer, Broken> {
        if let Some(charset) = &asked.charset {
            let name: &str = charset.as_ref();
            if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii") {
                return Ok(Answer::no("[BADCHARSET (UTF-8 US-ASCII)] searches are in UTF-8"));
            }
        }
        let Some(view) = &self.view else { return Ok(Answer::bad("select a folder first")) };
        let sets = Sets::of(view, &asked.keys);
        let whose = Whose { mailbox: self.mailbox(), memory: &self.shared.memory, mailbox_id: self.mailbox_id()? };
        let found = match search(&whose, view, &asked.keys, &sets).await? {
            Ok(found) => found,
            Err(NoRoom) => return Ok(Answer::no_room()),
        };
        let with_modseq = asks_modseq(&asked.keys);
        let line = answer(view, &found, with_modseq, asked.uid, asked.returns.as_deref(), tag);
        self.wire.out.extend_from_slice(line.as_bytes());
        Ok(Answer::ok("SEARCH completed"))
    }
}
