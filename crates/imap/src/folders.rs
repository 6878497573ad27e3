//! Commands on folders: LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE.

use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_codec::imap_types::status::StatusDataItemName;
use mailbox::{FolderRole, FolderState, MailboxError, is_folder_name};
use model::FolderId;

use crate::command::ListRequest;
use crate::list::{DELIMITER, Listed, find, name_of, parents, select, subscribed_names};
use crate::session::{Answer, Broken, Session};
use crate::syntax::{mailbox_name, string};
use crate::view::wire_modseq;

/// Bytes of all patterns of a listing: each is held against every name.
const PATTERN_BYTES_MAX: usize = 4_096;

/// The name that a command means; `None` for one that no folder can have.
pub(crate) fn wire_name(mailbox: &Mailbox<'_>) -> Option<String> {
    match mailbox {
        Mailbox::Inbox => Some("INBOX".to_owned()),
        Mailbox::Other(other) => name_from(other.as_ref()),
    }
}

/// The name that bytes mean. The inbox is the same in any case of letters, also where a name only begins with it
/// (RFC 3501 5.1).
pub(crate) fn name_from(wire: &[u8]) -> Option<String> {
    let name = crate::utf7::decode(wire)?;
    let name = match name.split_once(DELIMITER) {
        Some((first, rest)) if first.eq_ignore_ascii_case("inbox") => format!("INBOX{DELIMITER}{rest}"),
        Some(_) | None => name,
    };
    (!name.is_empty()).then_some(name)
}

fn bytes_of(mailbox: &Mailbox<'_>) -> Vec<u8> {
    match mailbox {
        Mailbox::Inbox => b"INBOX".to_vec(),
        Mailbox::Other(other) => other.as_ref().to_vec(),
    }
}

/// A name for a folder that is to be: no empty level, not the inbox.
fn new_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix(DELIMITER).unwrap_or(name);
    let good = name.split(DELIMITER).all(|level| !level.is_empty() && level.trim() == level);
    (good && is_folder_name(name) && !name.eq_ignore_ascii_case("inbox")).then_some(name)
}

/// The role of a name that mail programs give to the folder of this use.
fn role_of_name(name: &str) -> FolderRole {
    let roles = [FolderRole::Drafts, FolderRole::Sent, FolderRole::Trash, FolderRole::Junk, FolderRole::Archive];
    roles.into_iter().find(|role| role.default_name() == name).unwrap_or(FolderRole::Own)
}

fn role_of_use(word: &str) -> Option<FolderRole> {
    match word {
        "\\DRAFTS" => Some(FolderRole::Drafts),
        "\\SENT" => Some(FolderRole::Sent),
        "\\TRASH" => Some(FolderRole::Trash),
        "\\JUNK" => Some(FolderRole::Junk),
        "\\ARCHIVE" => Some(FolderRole::Archive),
        _ => None,
    }
}

fn list_line(word: &str, listed: &Listed) -> Vec<u8> {
    let mut out = format!("* {word} ({}) \"{DELIMITER}\" ", listed.attributes.join(" ")).into_bytes();
    mailbox_name(&mut out, &listed.name);
    if listed.child_info {
        out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.extend_from_slice(b"\r\n");
    out
}

impl Session {
    pub(crate) async fn folders(&self) -> Result<Vec<FolderState>, Broken> {
        Ok(self.mailbox().folder_states(self.mailbox_id()?).await?)
    }

    /// The folder of a name, or the answer that there is none.
    pub(crate) async fn folder(
        &self,
        mailbox: &Mailbox<'_>,
        code: &str,
    ) -> Result<Result<FolderState, Answer>, Broken> {
        let missing = || Answer::no(&format!("[{code}] there is no such folder"));
        let Some(name) = wire_name(mailbox) else { return Ok(Err(missing())) };
        Ok(find(&self.folders().await?, &name).cloned().ok_or_else(missing))
    }

    pub(crate) async fn list(&mut self, request: &ListRequest) -> Result<Answer, Broken> {
        if let [pattern] = request.patterns.as_slice()
            && pattern.is_empty()
        {
            self.wire.out.extend_from_slice(format!("* LIST (\\Noselect) \"{DELIMITER}\" \"\"\r\n").as_bytes());
            return Ok(Answer::ok("LIST completed"));
        }
        if request.patterns.iter().map(Vec::len).sum::<usize>() > PATTERN_BYTES_MAX {
            return Ok(Answer::no("[LIMIT] the patterns are too long"));
        }
        let folders = self.folders().await?;
        let subscriptions = self.mailbox().subscriptions(self.mailbox_id()?).await?;
        for listed in select(request, &folders, &subscriptions) {
            self.wire.out.extend_from_slice(&list_line("LIST", &listed));
            if let Some(index) = listed.index.filter(|_| !request.return_status.is_empty()) {
                self.write_status(&folders[index], &request.return_status).await?;
            }
            self.wire.flush_if_full().await?;
        }
        Ok(Answer::ok("LIST completed"))
    }

    pub(crate) async fn lsub(&mut self, reference: &Mailbox<'_>, pattern: &ListMailbox<'_>) -> Result<Answer, Broken> {
        let pattern: Vec<u8> = match pattern {
            ListMailbox::Token(token) => token.as_ref().to_vec(),
            ListMailbox::String(text) => text.as_ref().to_vec(),
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Ok(Answer::no("[LIMIT] the pattern is too long"));
        }
        let folders = self.folders().await?;
        let subscriptions = self.mailbox().subscriptions(self.mailbox_id()?).await?;
        for listed in subscribed_names(&bytes_of(reference), &pattern, &folders, &subscriptions) {
            self.wire.out.extend_from_slice(&list_line("LSUB", &listed));
        }
        Ok(Answer::ok("LSUB completed"))
    }

    pub(crate) async fn status(
        &mut self,
        mailbox: &Mailbox<'_>,
        items: &[StatusDataItemName],
    ) -> Result<Answer, Broken> {
        let folder = match self.folder(mailbox, "NONEXISTENT").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        self.write_status(&folder, items).await?;
        Ok(Answer::ok("STATUS completed"))
    }

    async fn write_status(&mut self, folder: &FolderState, items: &[StatusDataItemName]) -> Result<(), Broken> {
        let counts = self.mailbox().counts(folder).await?;
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            all.push(match item {
                StatusDataItemName::Messages => format!("MESSAGES {}", counts.total),
                StatusDataItemName::Recent => format!("RECENT {}", counts.recent),
                StatusDataItemName::UidNext => format!("UIDNEXT {}", folder.uid_next),
                StatusDataItemName::UidValidity => format!("UIDVALIDITY {}", folder.uid_validity),
                StatusDataItemName::Unseen => format!("UNSEEN {}", counts.unseen),
                StatusDataItemName::Deleted => format!("DELETED {}", counts.deleted),
                StatusDataItemName::Size => format!("SIZE {}", self.mailbox().size_bytes(folder.id).await?),
                StatusDataItemName::DeletedStorage => "DELETED-STORAGE 0".to_owned(),
                StatusDataItemName::HighestModSeq => format!("HIGHESTMODSEQ {}", wire_modseq(folder.modseq)),
            });
        }
        self.wire.out.extend_from_slice(b"* STATUS ");
        mailbox_name(&mut self.wire.out, name_of(folder));
        self.wire.out.extend_from_slice(format!(" ({})\r\n", all.join(" ")).as_bytes());
        Ok(())
    }

    pub(crate) async fn create(&mut self, name: Option<String>, uses: &[String]) -> Result<Answer, Broken> {
        let cannot = Answer::no("[CANNOT] a folder cannot have this name");
        let Some(name) = name else { return Ok(cannot) };
        let Some(name) = new_name(&name) else { return Ok(cannot) };
        let mailbox_id = self.mailbox_id()?;
        let folders = self.folders().await?;
        let role = match uses {
            [] => Some(role_of_name(name)).filter(|role| folders.iter().all(|f| f.role != *role)).unwrap_or_default(),
            [word] => match role_of_use(word) {
                Some(role) => role,
                None => return Ok(Answer::no("[USEATTR] there is no such use here")),
            },
            _ => return Ok(Answer::no("[USEATTR] a folder has one use")),
        };
        if let Err(error) = self.mailbox().create_folder_as(mailbox_id, name, role).await {
            return Answer::of_mailbox(error);
        }
        // RFC 3501 6.3.3: the levels above should be there too.
        for parent in parents(name).filter(|parent| find(&folders, parent).is_none()) {
            match self.mailbox().create_folder_as(mailbox_id, parent, FolderRole::Own).await {
                Ok(_) | Err(MailboxError::FolderExists | MailboxError::FolderName(_)) => {}
                Err(error) => return Answer::of_mailbox(error),
            }
        }
        Ok(Answer::ok("CREATE completed"))
    }

    pub(crate) async fn delete(&mut self, mailbox: &Mailbox<'_>) -> Result<Answer, Broken> {
        let folder = match self.folder(mailbox, "NONEXISTENT").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        let actor = self.actor();
        match self.mailbox().remove_folder(self.mailbox_id()?, folder.id, &actor).await {
            Ok(()) => {
                self.unselect(&[folder.id]);
                Ok(Answer::ok("DELETE completed"))
            }
            Err(error) => Answer::of_mailbox(error),
        }
    }

    pub(crate) async fn rename(&mut self, from: &Mailbox<'_>, to: &Mailbox<'_>) -> Result<Answer, Broken> {
        let folder = match self.folder(from, "NONEXISTENT").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        let to = wire_name(to);
        let Some(to) = to.as_deref().and_then(new_name) else {
            return Ok(Answer::no("[CANNOT] a folder cannot have this name"));
        };
        if folder.role == FolderRole::Inbox {
            return self.empty_inbox_into(&folder, to).await;
        }
        let below = format!("{}{DELIMITER}", folder.name);
        let mut renames = vec![(folder.id, to.to_owned())];
        for other in self.folders().await?.iter().filter(|f| f.role != FolderRole::Inbox) {
            if let Some(rest) = other.name.strip_prefix(&below) {
                renames.push((other.id, format!("{to}{DELIMITER}{rest}")));
            }
        }
        match self.mailbox().rename_folders(self.mailbox_id()?, &renames).await {
            Ok(()) => {
                let renamed: Vec<FolderId> = renames.iter().map(|(id, _)| *id).collect();
                self.unselect(&renamed);
                Ok(Answer::ok("RENAME completed"))
            }
            Err(error) => Answer::of_mailbox(error),
        }
    }

    /// What this session itself takes away is not selected any more, and no news to it: a session that another one takes
    /// its folder from is ended.
    fn unselect(&mut self, gone: &[FolderId]) {
        if self.view.as_ref().is_some_and(|view| gone.contains(&view.folder.id)) {
            self.view = None;
        }
    }

    /// RFC 3501 6.3.5: renaming the inbox moves its messages; the inbox stays.
    async fn empty_inbox_into(&mut self, inbox: &FolderState, to: &str) -> Result<Answer, Broken> {
        let (mailbox_id, actor) = (self.mailbox_id()?, self.actor());
        let target = match self.mailbox().create_folder_as(mailbox_id, to, FolderRole::Own).await {
            Ok(target) => target,
            Err(error) => return Answer::of_mailbox(error),
        };
        let uids = self.mailbox().uids_below(inbox.id, inbox.uid_next).await?;
        for page in uids.chunks(1_000) {
            self.mailbox().move_items(mailbox_id, inbox.id, page, target, &actor).await?;
        }
        Ok(Answer::ok("RENAME completed"))
    }

    pub(crate) async fn subscribe(&mut self, mailbox: &Mailbox<'_>, subscribed: bool) -> Result<Answer, Broken> {
        let cannot = || Answer::no("[CANNOT] a folder cannot have this name");
        let Some(name) = wire_name(mailbox) else { return Ok(cannot()) };
        if subscribed && find(&self.folders().await?, &name).is_none() {
            return Ok(Answer::no("[NONEXISTENT] there is no such folder"));
        }
        match self.mailbox().subscribe(self.mailbox_id()?, &name, subscribed).await {
            Ok(()) => Ok(Answer::ok(if subscribed { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" })),
            Err(error) => Answer::of_mailbox(error),
        }
    }
}

/// The ID answer (RFC 2971): who this is, and no more.
pub(crate) fn id_line() -> Vec<u8> {
    let mut out = b"* ID (\"name\" ".to_vec();
    string(&mut out, b"Landfall");
    out.extend_from_slice(b")\r\n");
    out
}

/// The text of an astring.
pub(crate) fn text_of(text: &AString<'_>) -> Option<String> {
    std::str::from_utf8(text.as_ref()).ok().map(str::to_owned)
}
