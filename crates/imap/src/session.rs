//! One connection: its state, and what each command does in it (RFC 3501 section 3 and 6).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use directory::{ClientLogin, ClientScope, DirectoryError, SaslMechanism, SaslStep};
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::{AString, Charset};
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;
use mailbox::{Embedded, FlagMode, MailboxError, OwnMail, Transfer};
use model::{MailboxId, Timestamp};
use store::{StoreError, Topic};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::append::{flags_of, own_header};
use crate::command::{Command, Misunderstood, Request, SearchReturn, parse, tag_of};
use crate::config::{BAD_COMMANDS_MAX, LOGIN_FAILURES_MAX};
use crate::fetch::{Fetch, FetchError, Fetched, Structures, names_of};
use crate::folders::{id_line, text_of, wire_name};
use crate::search::{Sets, answer, search};
use crate::server::{MailboxSeat, Shared};
use crate::syntax::number_set;
use crate::view::View;
use crate::wire::{Bounds, Incoming, RawCommand, Wire};

/// A line of a SASL exchange.
const SASL_LINE_BYTES_MAX: usize = 16 * 1024;
/// Tries of a step that another transaction crossed.
const TRIES_MAX: u32 = 3;

/// The tagged answer of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer(String);

impl Answer {
    pub(crate) fn ok(text: &str) -> Answer {
        Answer(format!("OK {text}"))
    }

    pub(crate) fn no(text: &str) -> Answer {
        Answer(format!("NO {text}"))
    }

    pub(crate) fn bad(text: &str) -> Answer {
        Answer(format!("BAD {text}"))
    }

    /// What the client did wrong is an answer; what failed is not.
    pub(crate) fn of_mailbox(error: MailboxError) -> Result<Answer, Broken> {
        let code = match &error {
            MailboxError::NotFound(_) => "NONEXISTENT",
            MailboxError::FolderExists => "ALREADYEXISTS",
            MailboxError::FolderName(_) | MailboxError::FolderInUse(_) => "CANNOT",
            MailboxError::Keyword | MailboxError::TooMany => "LIMIT",
            MailboxError::Unreachable(_) | MailboxError::Store(_) => return Err(Broken::Mailbox(error)),
        };
        Ok(Answer::no(&format!("[{code}] {error}")))
    }
}

/// What ends a command, or the session, early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection broke: {0}")]
    Wire(#[from] io::Error),
    #[error("the connection ended")]
    Ended(Incoming),
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("a command that needs a login ran without one")]
    NotLoggedIn,
}

impl From<FetchError> for Broken {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Wire(e) => Broken::Wire(e),
            FetchError::Mailbox(e) => Broken::Mailbox(e),
            FetchError::Store(e) => Broken::Store(e),
        }
    }
}

/// Who is logged in.
struct User {
    login: ClientLogin,
    _seat: MailboxSeat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    Close,
}

pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    peer: IpAddr,
    is_tls: bool,
    user: Option<User>,
    view: Option<View>,
    structures: Structures,
    login_failures: u32,
    bad_commands: u32,
    shutdown: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        wire: Wire,
        peer: IpAddr,
        is_tls: bool,
        shutdown: CancellationToken,
    ) -> Session {
        Session {
            shared,
            wire,
            peer,
            is_tls,
            user: None,
            view: None,
            structures: Structures::default(),
            login_failures: 0,
            bad_commands: 0,
            shutdown,
        }
    }

    pub(crate) fn mailbox(&self) -> &Embedded {
        &self.shared.mailbox
    }

    pub(crate) fn mailbox_id(&self) -> Result<MailboxId, Broken> {
        self.user.as_ref().map(|user| user.login.mailbox_id).ok_or(Broken::NotLoggedIn)
    }

    /// Who the ledger says did it.
    pub(crate) fn actor(&self) -> String {
        self.user.as_ref().map_or_else(String::new, |user| user.login.address.clone())
    }

    /// Whether what is typed here travels safely: by TLS, or not at all.
    fn is_secured(&self) -> bool {
        self.is_tls || (self.shared.config.clear_on_loopback && self.peer.is_loopback())
    }

    /// SCRAM is there for those who ask for it, but is not offered: an account's own password has no SCRAM keys, only app
    /// passwords have, and programs that take the strongest mechanism offered do not fall back to another.
    fn capabilities(&self) -> String {
        let mut all = vec!["IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE"];
        if self.user.is_some() {
            all.extend([
                "IDLE",
                "NAMESPACE",
                "UIDPLUS",
                "MOVE",
                "UNSELECT",
                "CHILDREN",
                "LIST-EXTENDED",
                "LIST-STATUS",
                "SPECIAL-USE",
                "CREATE-SPECIAL-USE",
                "ESEARCH",
                "WITHIN",
                "STATUS=SIZE",
                "BINARY",
            ]);
            return all.join(" ");
        }
        if self.shared.tls.is_some() && !self.is_tls {
            all.push("STARTTLS");
        }
        if self.is_secured() {
            all.extend(["AUTH=PLAIN", "AUTH=LOGIN"]);
        } else {
            all.push("LOGINDISABLED");
        }
        all.join(" ")
    }

    fn say(&mut self, line: &str) {
        self.wire.out.extend_from_slice(line.as_bytes());
        self.wire.out.extend_from_slice(b"\r\n");
    }

    /// Speaks until one of the two ends it.
    pub(crate) async fn run(mut self) {
        let greeting = format!("* OK [CAPABILITY {}] {} ready", self.capabilities(), self.shared.config.hostname);
        self.say(&greeting);
        loop {
            if self.wire.flush().await.is_err() {
                return;
            }
            let bounds = match self.user {
                Some(_) => Bounds::after_login(&self.shared.config),
                None => Bounds::before_login(&self.shared.config),
            };
            let shutdown = self.shutdown.clone();
            let incoming = tokio::select! {
                biased;
                incoming = self.wire.command(bounds) => incoming,
                () = shutdown.cancelled() => {
                    self.say("* BYE the server stops, come back in a moment");
                    break;
                }
            };
            match Box::pin(self.take(incoming)).await {
                Ok(After::GoOn) => {}
                Ok(After::Close) => break,
                Err(error) => {
                    tracing::debug!(%error, "a session ended early: {error}");
                    break;
                }
            }
        }
        self.wire.close().await;
    }

    async fn take(&mut self, incoming: Incoming) -> Result<After, Broken> {
        match incoming {
            Incoming::Command(raw) => self.command(raw).await,
            Incoming::TooLarge { text, is_message } => {
                let tag = tag_of(&text).unwrap_or_else(|| "*".into());
                let answer = if is_message { "NO [TOOBIG] the message is too large" } else { "BAD [TOOBIG] too long" };
                self.say(&format!("{tag} {answer}"));
                Ok(After::GoOn)
            }
            Incoming::Closed => Ok(After::Close),
            Incoming::Silent => {
                self.say("* BYE nothing was said for too long");
                Ok(After::Close)
            }
            Incoming::Endless => {
                self.say("* BYE [TOOBIG] the command is too long");
                Ok(After::Close)
            }
        }
    }

    async fn command(&mut self, raw: RawCommand) -> Result<After, Broken> {
        let Request { tag, command } = match parse(&raw.text) {
            Ok(request) => request,
            Err(Misunderstood { tag, problem }) => {
                self.say(&format!("{} BAD {problem}", tag.as_deref().unwrap_or("*")));
                return Ok(self.note_bad());
            }
        };
        let updates = Updates::of(&command);
        let done = Box::pin(self.execute(&tag, command, raw.message)).await;
        let answer = match done {
            Ok(Outcome::Answered(answer)) => answer,
            Ok(Outcome::Logout) => {
                self.say("* BYE logging out");
                self.say(&format!("{tag} OK LOGOUT completed"));
                return Ok(After::Close);
            }
            Ok(Outcome::StartTls) => {
                self.say(&format!("{tag} OK begin TLS now"));
                return self.start_tls().await;
            }
            Err(error @ (Broken::Wire(_) | Broken::Ended(_))) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a command failed: {error}");
                Answer::no("[UNAVAILABLE] something failed here, try again later")
            }
        };
        if self.look(updates).await? == After::Close {
            return Ok(After::Close);
        }
        self.say(&format!("{tag} {}", answer.0));
        if self.login_failures >= LOGIN_FAILURES_MAX {
            self.say("* BYE too many wrong logins");
            return Ok(After::Close);
        }
        if answer.0.starts_with("BAD") { Ok(self.note_bad()) } else { Ok(self.note_good()) }
    }

    fn note_good(&mut self) -> After {
        self.bad_commands = 0;
        After::GoOn
    }

    fn note_bad(&mut self) -> After {
        self.bad_commands += 1;
        if self.bad_commands < BAD_COMMANDS_MAX {
            return After::GoOn;
        }
        self.say("* BYE too many commands that are none");
        After::Close
    }

    async fn start_tls(&mut self) -> Result<After, Broken> {
        self.wire.flush().await?;
        let Some(tls) = self.shared.tls.clone() else { return Ok(After::Close) };
        self.wire.start_tls(tls).await?;
        self.is_tls = true;
        Ok(After::GoOn)
    }

    /// Looks at the rows and writes what the client does not know.
    async fn look(&mut self, updates: Updates) -> Result<After, Broken> {
        let (Some(view), Some(user)) = (&mut self.view, &self.user) else { return Ok(After::GoOn) };
        match view.sync(&self.shared.mailbox, user.login.mailbox_id).await {
            Ok(Ok(())) => view.write_updates(&mut self.wire.out, updates.may_expunge, updates.with_uid),
            Ok(Err(crate::view::FolderGone)) => {
                self.view = None;
                self.say("* BYE the selected folder is gone or has another name");
                return Ok(After::Close);
            }
            // What changed is told another time.
            Err(error) => tracing::error!(%error, "a folder could not be looked at: {error}"),
        }
        Ok(After::GoOn)
    }

    async fn execute(&mut self, tag: &str, command: Command, message: Option<Bytes>) -> Result<Outcome, Broken> {
        let body = match command {
            Command::Plain(body) => match self.anywhere(body).await? {
                Ok(outcome) => return Ok(outcome),
                Err(body) => body,
            },
            _ if self.user.is_none() => return Ok(Answer::bad("log in first").into()),
            Command::List(request) => return Ok(self.list(&request).await?.into()),
            Command::CreateAs { name, uses } => {
                let name = crate::utf7::decode(&name);
                return Ok(self.create(name, &uses).await?.into());
            }
            Command::Search { body, returns } => {
                let CommandBody::Search { charset, criteria, uid } = body else {
                    return Ok(Answer::bad("the search was not understood").into());
                };
                let asked = Asked { charset, keys: criteria.into_inner(), uid, returns: Some(returns) };
                return Ok(self.search(tag, asked).await?.into());
            }
        };
        if self.user.is_none() {
            return Ok(Answer::bad("log in first").into());
        }
        let body = match self.logged_in(body, message).await? {
            Ok(answer) => return Ok(answer.into()),
            Err(body) => body,
        };
        if self.view.is_none() {
            return Ok(Answer::bad("select a folder first").into());
        }
        Ok(self.selected(tag, body).await?.into())
    }

    /// Commands of every state, and those before a login; gives back what is none of them.
    async fn anywhere(&mut self, body: CommandBody<'static>) -> Result<Result<Outcome, CommandBody<'static>>, Broken> {
        let outcome = match body {
            CommandBody::Capability => {
                let line = format!("* CAPABILITY {}", self.capabilities());
                self.say(&line);
                Answer::ok("CAPABILITY completed").into()
            }
            CommandBody::Noop => Answer::ok("NOOP completed").into(),
            CommandBody::Logout => Outcome::Logout,
            CommandBody::Id { .. } => {
                self.wire.out.extend_from_slice(&id_line());
                Answer::ok("ID completed").into()
            }
            CommandBody::StartTLS if self.user.is_some() || self.is_tls => Answer::bad("not now").into(),
            CommandBody::StartTLS if self.shared.tls.is_none() => Answer::bad("there is no TLS here").into(),
            CommandBody::StartTLS => Outcome::StartTls,
            CommandBody::Login { .. } | CommandBody::Authenticate { .. } if self.user.is_some() => {
                Answer::bad("you are logged in").into()
            }
            CommandBody::Login { .. } | CommandBody::Authenticate { .. } if !self.is_secured() => {
                Answer::no("[PRIVACYREQUIRED] begin TLS first").into()
            }
            CommandBody::Login { username, password } => self.login(&username, password.declassify()).await?.into(),
            CommandBody::Authenticate { mechanism, initial_response } => {
                let initial = initial_response.map(|secret| secret.declassify().to_vec());
                self.authenticate(mechanism.as_ref(), initial).await?.into()
            }
            other => return Ok(Err(other)),
        };
        Ok(Ok(outcome))
    }

    async fn login(&mut self, name: &AString<'_>, password: &AString<'_>) -> Result<Answer, Broken> {
        let (Some(name), Some(password)) = (text_of(name), text_of(password)) else { return Ok(self.refused()) };
        let done = self.shared.directory.client_login(&name, &password, ClientScope::Imap, Some(self.peer)).await;
        match done {
            Ok(Some(login)) => Ok(self.welcome(login)),
            Ok(None) => Ok(self.refused()),
            Err(error) => self.put_off(error),
        }
    }

    async fn authenticate(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Result<Answer, Broken> {
        let Some(mechanism) = SaslMechanism::parse(mechanism) else {
            return Ok(Answer::no("this mechanism is not offered"));
        };
        let mut sasl = self.shared.directory.sasl(mechanism, ClientScope::Imap, Some(self.peer));
        let mut response = initial;
        loop {
            match sasl.step(response.as_deref()).await {
                Ok(SaslStep::Challenge(challenge)) => {
                    self.say(&format!("+ {}", BASE64.encode(challenge)));
                    self.wire.flush().await?;
                    let patience = self.shared.config.greeting_deadline;
                    let line = self.wire.line(SASL_LINE_BYTES_MAX, patience).await.map_err(Broken::Ended)?;
                    if line == b"*" {
                        return Ok(Answer::bad("cancelled"));
                    }
                    let Ok(bytes) = BASE64.decode(&line) else { return Ok(Answer::bad("that is no base64")) };
                    response = Some(bytes);
                }
                Ok(SaslStep::Done(login)) => return Ok(self.welcome(login)),
                Ok(SaslStep::Wrong) => return Ok(self.refused()),
                Ok(SaslStep::Malformed) => {
                    self.login_failures += 1;
                    return Ok(Answer::bad("the response breaks the rules of the mechanism"));
                }
                Err(error) => return self.put_off(error),
            }
        }
    }

    fn refused(&mut self) -> Answer {
        self.login_failures += 1;
        Answer::no("[AUTHENTICATIONFAILED] login and password do not fit")
    }

    fn put_off(&mut self, error: DirectoryError) -> Result<Answer, Broken> {
        if let DirectoryError::Throttled { wait_ms } = error {
            self.login_failures += 1;
            let seconds = wait_ms / 1000 + 1;
            return Ok(Answer::no(&format!("[UNAVAILABLE] too many wrong tries; wait {seconds} s")));
        }
        Err(error.into())
    }

    fn welcome(&mut self, login: ClientLogin) -> Answer {
        let Some(seat) = self.shared.take_mailbox_seat(login.mailbox_id) else {
            return Answer::no("[LIMIT] this mailbox is open in too many places");
        };
        tracing::debug!(mailbox.id = login.mailbox_id.0, "a mail program logged in");
        self.user = Some(User { login, _seat: seat });
        Answer::ok(&format!("[CAPABILITY {}] logged in", self.capabilities()))
    }

    /// Commands after a login; gives back those that need a selected folder.
    async fn logged_in(
        &mut self,
        body: CommandBody<'static>,
        message: Option<Bytes>,
    ) -> Result<Result<Answer, CommandBody<'static>>, Broken> {
        let answer = match body {
            CommandBody::Select { mailbox } => self.select(&mailbox, false).await?,
            CommandBody::Examine { mailbox } => self.select(&mailbox, true).await?,
            CommandBody::Create { mailbox } => self.create(wire_name(&mailbox), &[]).await?,
            CommandBody::Delete { mailbox } => self.delete(&mailbox).await?,
            CommandBody::Rename { from, to } => self.rename(&from, &to).await?,
            CommandBody::Subscribe { mailbox } => self.subscribe(&mailbox, true).await?,
            CommandBody::Unsubscribe { mailbox } => self.subscribe(&mailbox, false).await?,
            CommandBody::Lsub { reference, mailbox_wildcard } => self.lsub(&reference, &mailbox_wildcard).await?,
            CommandBody::Status { mailbox, item_names } => self.status(&mailbox, &item_names).await?,
            CommandBody::Namespace => {
                self.say("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                Answer::ok("NAMESPACE completed")
            }
            CommandBody::Enable { .. } => {
                // Nothing that is offered has to be enabled (RFC 5161 3.1).
                self.say("* ENABLED");
                Answer::ok("ENABLE completed")
            }
            CommandBody::Append { mailbox, flags, date, .. } => {
                let at = date.map(|d| Timestamp::from_micros(d.as_ref().timestamp().saturating_mul(1_000_000)));
                self.append(&mailbox, &flags, at, message).await?
            }
            CommandBody::Idle => self.idle().await?,
            other => return Ok(Err(other)),
        };
        Ok(Ok(answer))
    }

    async fn select(&mut self, mailbox: &Mailbox<'_>, read_only: bool) -> Result<Answer, Broken> {
        // RFC 3501 6.3.1: whatever comes of it, the old folder is not selected any more.
        self.view = None;
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
        let permanent = if read_only { "" } else { "\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*" };
        text.push_str(&format!("* OK [PERMANENTFLAGS ({permanent})] what can be changed\r\n"));
        text.push_str(&format!("* OK [UIDVALIDITY {}] the uids hold\r\n", view.folder.uid_validity));
        text.push_str(&format!("* OK [UIDNEXT {}] the next uid\r\n", view.folder.uid_next));
        self.wire.out.extend_from_slice(text.as_bytes());
        self.view = Some(view);
        Ok(if read_only {
            Answer::ok("[READ-ONLY] EXAMINE completed")
        } else {
            Answer::ok("[READ-WRITE] SELECT completed")
        })
    }

    async fn append(
        &mut self,
        mailbox: &Mailbox<'_>,
        flags: &[Flag<'_>],
        at: Option<Timestamp>,
        message: Option<Bytes>,
    ) -> Result<Answer, Broken> {
        let Some(raw) = message else { return Ok(Answer::bad("the message is missing")) };
        let folder = match self.folder(mailbox, "TRYCREATE").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        if raw.is_empty() {
            return Ok(Answer::no("an empty message is not kept"));
        }
        let mail = OwnMail {
            mailbox_id: self.mailbox_id()?,
            folder_id: folder.id,
            header: own_header(&raw),
            raw,
            flags: flags_of(flags),
            internal_at: at.unwrap_or_else(|| self.mailbox().store().now()),
        };
        match self.mailbox().append(mail).await {
            Ok((validity, uid)) => Ok(Answer::ok(&format!("[APPENDUID {validity} {uid}] APPEND completed"))),
            Err(error) => Answer::of_mailbox(error),
        }
    }

    /// RFC 2177. The bus wakes it; it looks by itself from time to time, since the bus may lose everything.
    async fn idle(&mut self) -> Result<Answer, Broken> {
        let mut notices = self.mailbox().store().bus().subscribe();
        let mailbox_id = self.mailbox_id()?;
        self.say("+ idling");
        let until = Instant::now() + self.shared.config.idle_deadline;
        let shutdown = self.shutdown.clone();
        loop {
            if self.look(Updates { may_expunge: true, with_uid: false }).await? == After::Close {
                self.wire.flush().await?;
                return Err(Broken::Ended(Incoming::Closed));
            }
            self.wire.flush().await?;
            let patience = until.saturating_duration_since(Instant::now());
            let woken = tokio::time::sleep(self.shared.config.idle_look);
            tokio::pin!(woken);
            tokio::select! {
                biased;
                line = self.wire.line(SASL_LINE_BYTES_MAX, patience) => {
                    let line = match line {
                        Ok(line) => line,
                        Err(incoming) => {
                            self.take_end(&incoming);
                            return Err(Broken::Ended(incoming));
                        }
                    };
                    let is_done = line.eq_ignore_ascii_case(b"DONE");
                    return Ok(if is_done { Answer::ok("IDLE completed") } else { Answer::bad("DONE ends IDLE") });
                }
                () = shutdown.cancelled() => {
                    self.say("* BYE the server stops, come back in a moment");
                    return Err(Broken::Ended(Incoming::Closed));
                }
                () = wake(&mut notices, mailbox_id) => {}
                () = &mut woken => {}
            }
        }
    }

    fn take_end(&mut self, incoming: &Incoming) {
        if matches!(incoming, Incoming::Silent) {
            self.say("* BYE nothing was said for too long");
        }
    }

    async fn selected(&mut self, tag: &str, body: CommandBody<'static>) -> Result<Answer, Broken> {
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
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid } => {
                let fetch = Fetch {
                    mailbox: &self.shared.clone().mailbox,
                    mailbox_id: self.mailbox_id()?,
                    names: names_of(macro_or_item_names, uid),
                    by_uid: uid,
                };
                self.fetch(&fetch, &sequence_set).await
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid } => {
                self.store(&Change { set: sequence_set, kind, response, flags, uid }).await
            }
            CommandBody::Copy { sequence_set, mailbox, uid } => self.copy(&sequence_set, &mailbox, uid).await,
            CommandBody::Move { sequence_set, mailbox, uid } => self.r#move(&sequence_set, &mailbox, uid).await,
            _ => Ok(Answer::bad("this command is not offered")),
        }
    }

    /// The indexes that a command means, or the answer that it means none.
    fn indexes(&self, set: &SequenceSet, uid: bool) -> Result<Vec<usize>, Answer> {
        let view = self.view.as_ref().ok_or_else(|| Answer::bad("select a folder first"))?;
        view.resolve(set, uid).ok_or_else(|| Answer::bad("there is no message of this number"))
    }

    fn writable(&self) -> Result<(), Answer> {
        match &self.view {
            Some(view) if !view.read_only => Ok(()),
            _ => Err(Answer::no("[READ-ONLY] the folder was opened for reading only")),
        }
    }

    async fn fetch(&mut self, fetch: &Fetch<'_>, set: &SequenceSet) -> Result<Answer, Broken> {
        let indexes = match self.indexes(set, fetch.by_uid) {
            Ok(indexes) => indexes,
            Err(answer) => return Ok(answer),
        };
        let Some(view) = &mut self.view else { return Ok(Answer::bad("select a folder first")) };
        let done = fetch.run(view, &mut self.structures, &indexes, &mut self.wire).await?;
        Ok(match done {
            Fetched::All => Answer::ok("FETCH completed"),
            Fetched::SomeGone if fetch.by_uid => Answer::ok("FETCH completed"),
            Fetched::SomeGone => Answer::no("[EXPUNGEISSUED] some of the messages are gone"),
            Fetched::SomeUnread => Answer::no("[UNAVAILABLE] some of the messages cannot be read now"),
            Fetched::UnknownEncoding => Answer::no("[UNKNOWN-CTE] a part has an encoding that is not known"),
        })
    }

    async fn store(&mut self, change: &Change) -> Result<Answer, Broken> {
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
        let done = again(|| shared.mailbox.change_flags(mailbox_id, folder_id, &uids, mode, &flags)).await;
        let items = match done {
            Ok(items) => items,
            Err(error) => return Answer::of_mailbox(error),
        };
        let some_gone = items.len() < indexes.len();
        let loud = change.response == StoreResponse::Answer;
        for item in items {
            let uid = item.uid;
            view.set_flags(item, loud);
            if loud {
                view.tell(uid);
            }
        }
        if some_gone && !change.uid {
            return Ok(Answer::no("[EXPUNGEISSUED] some of the messages are gone"));
        }
        Ok(Answer::ok("STORE completed"))
    }

    async fn expunge(&mut self, only: Option<&SequenceSet>) -> Result<Answer, Broken> {
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

    async fn copy(&mut self, set: &SequenceSet, to: &Mailbox<'_>, uid: bool) -> Result<Answer, Broken> {
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

    async fn r#move(&mut self, set: &SequenceSet, to: &Mailbox<'_>, uid: bool) -> Result<Answer, Broken> {
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

    async fn search(&mut self, tag: &str, asked: Asked) -> Result<Answer, Broken> {
        if let Some(charset) = &asked.charset {
            let name: &str = charset.as_ref();
            if !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii") {
                return Ok(Answer::no("[BADCHARSET (UTF-8 US-ASCII)] searches are in UTF-8"));
            }
        }
        let Some(view) = &self.view else { return Ok(Answer::bad("select a folder first")) };
        let Some(sets) = Sets::of(view, &asked.keys) else {
            return Ok(Answer::bad("there is no message of this number"));
        };
        let found = search(self.mailbox(), view, &asked.keys, &sets).await?;
        let number = |index: usize| if asked.uid { view.items[index].uid } else { index as i64 + 1 };
        let numbers: Vec<i64> = found.into_iter().map(number).collect();
        let line = answer(&numbers, asked.uid, asked.returns.as_deref(), tag);
        self.wire.out.extend_from_slice(line.as_bytes());
        Ok(Answer::ok("SEARCH completed"))
    }
}

/// A search.
struct Asked {
    charset: Option<Charset<'static>>,
    keys: Vec<SearchKey<'static>>,
    uid: bool,
    returns: Option<Vec<SearchReturn>>,
}

/// A STORE.
struct Change {
    set: SequenceSet,
    kind: StoreType,
    response: StoreResponse,
    flags: Vec<Flag<'static>>,
    uid: bool,
}

enum Outcome {
    Answered(Answer),
    Logout,
    StartTls,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Outcome::Answered(answer)
    }
}

/// What may be told behind a command.
#[derive(Debug, Clone, Copy)]
struct Updates {
    may_expunge: bool,
    with_uid: bool,
}

impl Updates {
    /// RFC 3501 7.4.1: no EXPUNGE while a command speaks of message numbers.
    fn of(command: &Command) -> Updates {
        let (by_number, with_uid) = match command {
            Command::Plain(
                CommandBody::Fetch { uid, .. } | CommandBody::Store { uid, .. } | CommandBody::Search { uid, .. },
            )
            | Command::Search { body: CommandBody::Search { uid, .. }, .. } => (!uid, *uid),
            Command::Plain(CommandBody::Copy { uid, .. } | CommandBody::Move { uid, .. }) => (false, *uid),
            Command::Plain(_) | Command::List(_) | Command::CreateAs { .. } | Command::Search { .. } => (false, false),
        };
        Updates { may_expunge: !by_number, with_uid }
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

/// Waits for news of a mailbox.
async fn wake(notices: &mut tokio::sync::broadcast::Receiver<store::Notice>, mailbox_id: MailboxId) {
    loop {
        match notices.recv().await {
            Ok(notice) if notice.topic == Topic::Mailbox && notice.id == mailbox_id.0 => return,
            Ok(_) => {}
            // What was missed may have been ours.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
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
