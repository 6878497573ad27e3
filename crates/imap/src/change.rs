//! Changing what is in the selected folder: STORE, EXPUNGE, COPY, MOVE (RFC 3501 6.4, 4315, 6851, 7162).

use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::sequence::SequenceSet;
use mailbox::{FlagMode, FlagStore, MailboxError, Transfer};

use crate::append::flags_of;
use crate::session::{Answer, Broken, Session};
use crate::syntax::number_set;
use crate::view::{Tell, stored_modseq};

/// Tries of a step that another transaction crossed.
const TRIES_MAX: u32 = 3;

/// A STORE.
pub(crate) struct Change {
    pub(crate) set: SequenceSet,
    pub(crate) kind: StoreType,
    pub(crate) response: StoreResponse,
    pub(crate) flags: Vec<Flag<'static>>,
    pub(crate) uid: bool,
    /// RFC 7162 3.1.3.
    pub(crate) unchanged_since: Option<u64>,
}

impl Session {
    fn writable(&self) -> Result<(), Answer> {
        match &self.view {
            Some(view) if !view.read_only => Ok(()),
            _ => Err(Answer::no("[READ-ONLY] the folder was opened for reading only")),
        }
    }

    pub(crate) async fn store(&mut self, change: &Change) -> Result<Answer, Broken> {
        if let Err(answer) = self.writable() {
            return Ok(answer);
        }
        let indexes = match self.indexes(&change.set, change.uid) {
            Ok(indexes) => indexes,
            Err(answer) => return Ok(answer),
        };
        let mode = match change.kind {
            StoreType::Add => FlagMode::Add,
            StoreType::Remove => FlagMode::Remove,
            StoreType::Replace => FlagMode::Replace,
        };
        let (flags, mailbox_id) = (flags_of(&change.flags), self.mailbox_id()?);
        let (shared, Some(view)) = (self.shared.clone(), &mut self.view) else {
            return Ok(Answer::bad("select a folder first"));
        };
        let (folder_id, uids) = (view.folder.id, view.uids_at(&indexes));
        let asked = FlagStore { mode, flags: &flags, unchanged_since: change.unchanged_since.map(stored_modseq) };
        let done = again(|| shared.mailbox.change_flags(mailbox_id, folder_id, &uids, &asked)).await;
        let done = match done {
            Ok(done) => done,
            Err(error) => return Answer::of_mailbox(error),
        };
        let some_gone = done.items.len() + done.refused.len() < indexes.len() && !change.uid;
        for item in done.items {
            let uid = item.uid;
            view.set_own(item, mode, &flags);
            if change.response == StoreResponse::Answer {
                view.tell(uid, Tell::Flags);
            }
        }
        if !done.refused.is_empty() {
            let name = |uid: &i64| if change.uid { Some(*uid) } else { view.number_of(*uid) };
            let text =
                format!("[MODIFIED {}] some have changed since", number_set(done.refused.iter().filter_map(name)));
            return Ok(if some_gone { Answer::no(&text) } else { Answer::ok(&text) });
        }
        if some_gone {
            return Ok(Answer::no("[EXPUNGEISSUED] some of the messages are gone"));
        }
        Ok(Answer::ok("STORE completed"))
    }

    pub(crate) async fn expunge(&mut self, only: Option<&SequenceSet>) -> Result<Answer, Broken> {
        if let Err(answer) = self.writable() {
            return Ok(answer);
        }
        let (shared, mailbox_id, actor) = (self.shared.clone(), self.mailbox_id()?, self.actor());
        let Some(view) = &self.view else { return Ok(Answer::bad("select a folder first")) };
        let uids = only.map(|set| view.uids_at(&view.resolve(set, true).unwrap_or_default()));
        let folder_id = view.folder.id;
        match again(|| shared.mailbox.expunge(mailbox_id, folder_id, uids.as_deref(), &actor)).await {
            Ok(()) => Ok(Answer::ok("EXPUNGE completed")),
            Err(error) => Answer::of_mailbox(error),
        }
    }

    pub(crate) async fn copy(&mut self, set: &SequenceSet, to: &Mailbox<'_>, uid: bool) -> Result<Answer, Broken> {
        let indexes = match self.indexes(set, uid) {
            Ok(indexes) => indexes,
            Err(answer) => return Ok(answer),
        };
        let to = match self.folder(to, "TRYCREATE").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        let Some(view) = &self.view else { return Ok(Answer::bad("select a folder first")) };
        let uids = view.uids_at(&indexes);
        if uids.len() < indexes.len() && !uid {
            return Ok(Answer::no("[EXPUNGEISSUED] some of the messages are gone"));
        }
        match self.mailbox().copy_items(self.mailbox_id()?, view.folder.id, &uids, to.id).await {
            Ok(done) => Ok(Answer::ok(&format!("{}COPY completed", copy_uid(&done)))),
            Err(error) => Answer::of_mailbox(error),
        }
    }

    pub(crate) async fn r#move(&mut self, set: &SequenceSet, to: &Mailbox<'_>, uid: bool) -> Result<Answer, Broken> {
        if let Err(answer) = self.writable() {
            return Ok(answer);
        }
        let indexes = match self.indexes(set, uid) {
            Ok(indexes) => indexes,
            Err(answer) => return Ok(answer),
        };
        let to = match self.folder(to, "TRYCREATE").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        let (shared, mailbox_id, actor) = (self.shared.clone(), self.mailbox_id()?, self.actor());
        let Some(view) = &self.view else { return Ok(Answer::bad("select a folder first")) };
        let (from, uids) = (view.folder.id, view.uids_at(&indexes));
        match again(|| shared.mailbox.move_items(mailbox_id, from, &uids, to.id, &actor)).await {
            Ok(done) => {
                // RFC 6851 4.3: COPYUID comes before the EXPUNGEs.
                if !done.uids.is_empty() {
                    self.say(&format!("* OK {}moved", copy_uid(&done)));
                }
                Ok(Answer::ok("MOVE completed"))
            }
            Err(error) => Answer::of_mailbox(error),
        }
    }
}

fn copy_uid(done: &Transfer) -> String {
    if done.uids.is_empty() {
        return String::new();
    }
    let from = number_set(done.uids.iter().map(|(from, _)| *from));
    let to = number_set(done.uids.iter().map(|(_, to)| *to));
    format!("[COPYUID {} {from} {to}] ", done.uid_validity)
}

/// Repeats a step that can be repeated when another transaction crossed it.
async fn again<T, F>(mut run: impl FnMut() -> F) -> Result<T, MailboxError>
where
    F: Future<Output = Result<T, MailboxError>>,
{
    let mut tries = 1;
    loop {
        match run().await {
            Err(error) if tries < TRIES_MAX && error.severity() == mailbox::Severity::Transient => tries += 1,
            other => return other,
        }
    }
}
