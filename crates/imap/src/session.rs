//! One connection: its state, and which command may run in it (RFC 3501 section 3).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use directory::{ClientLogin, ClientScope, ClientStamp, DirectoryError};
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::extensions::enable::CapabilityEnable;
use mailbox::{Embedded, MailboxError};
use model::{MailboxId, Timestamp};
use store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::{Command, Misunderstood, Request, parse, tag_of};
use crate::config::{BAD_COMMANDS_MAX, LOGIN_FAILURES_MAX};
use crate::fetch::{FetchError, Structures};
use crate::folders::wire_name;
use crate::selected::{Asked, is_condstore};
use crate::server::{MailboxSeat, Shared};
use crate::view::View;
use crate::wire::{Bounds, Incoming, RawCommand, Refusal, Wire};

/// Said where a message has to be in memory and cannot be now.
const NO_ROOM: &str = "NO [LIMIT] too many large messages are worked on now, try again later";

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

    pub(crate) fn no_room() -> Answer {
        Answer(NO_ROOM.to_owned())
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
pub(crate) struct User {
    login: ClientLogin,
    /// What the login rests on.
    stamp: ClientStamp,
    /// When it was last known to stand.
    known_at: Instant,
    _seat: MailboxSeat,
}

impl User {
    pub(crate) fn new(login: ClientLogin, stamp: ClientStamp, seat: MailboxSeat) -> User {
        User { login, stamp, known_at: Instant::now(), _seat: seat }
    }

    /// Whether what was shown at the login still opens the mailbox: the account can be switched off and its password
    /// changed or revoked while the connection lives. A directory that does not answer ends nobody's session.
    pub(crate) async fn stands(&mut self, shared: &Shared) -> bool {
        match shared.directory.client_stamp(&self.login, ClientScope::Imap).await {
            Ok(Some(stamp)) if stamp == self.stamp => self.known_at = Instant::now(),
            Ok(Some(_) | None) => return false,
            Err(error) => tracing::warn!(%error, "whether a login still stands is not known: {error}"),
        }
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    GoOn,
    Close,
}

/// What a session waited for.
enum Next {
    Incoming(Incoming),
    Stopping,
    Revoked,
}

pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    pub(crate) peer: IpAddr,
    pub(crate) is_tls: bool,
    pub(crate) user: Option<User>,
    pub(crate) view: Option<View>,
    /// The client wants to hear of mod-sequences (RFC 7162 3.1).
    pub(crate) condstore: bool,
    pub(crate) structures: Structures,
    pub(crate) login_failures: u32,
    bad_commands: u32,
    pub(crate) shutdown: CancellationToken,
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
            condstore: false,
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

    pub(crate) fn say(&mut self, line: &str) {
        self.wire.out.extend_from_slice(line.as_bytes());
        self.wire.out.extend_from_slice(b"\r\n");
    }

    pub(crate) fn say_stopping(&mut self) {
        self.say("* BYE the server stops, come back in a moment");
    }

    pub(crate) fn say_revoked(&mut self) {
        self.say("* BYE this login is not valid any more");
    }

    /// Speaks until one of the two ends it.
    pub(crate) async fn run(mut self) {
        let greeting = format!("* OK [CAPABILITY {}] {} ready", self.capabilities(), self.shared.config.hostname);
        self.say(&greeting);
        loop {
            if self.wire.flush().await.is_err() {
                return;
            }
            let incoming = match self.next().await {
                Next::Incoming(incoming) => incoming,
                Next::Stopping => {
                    self.say_stopping();
                    break;
                }
                Next::Revoked => {
                    self.say_revoked();
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

    /// Waits for a command. A login that is revoked meanwhile ends the waiting.
    async fn next(&mut self) -> Next {
        let Session { shared, wire, user, shutdown, .. } = self;
        let bounds = match user {
            Some(user) => Bounds::after_login(&shared.config, &shared.memory, user.login.mailbox_id),
            None => Bounds::before_login(&shared.config),
        };
        // It goes on where it was when something else woke us: what has arrived of a command is kept.
        let command = wire.command(bounds);
        tokio::pin!(command);
        loop {
            tokio::select! {
                biased;
                incoming = &mut command => return Next::Incoming(incoming),
                () = shutdown.cancelled() => return Next::Stopping,
                () = tokio::time::sleep(shared.config.idle_look) => {
                    if let Some(user) = user.as_mut()
                        && !user.stands(shared).await
                    {
                        return Next::Revoked;
                    }
                }
            }
        }
    }

    async fn take(&mut self, incoming: Incoming) -> Result<After, Broken> {
        match incoming {
            Incoming::Command(raw) => {
                let trust = self.shared.config.login_trust;
                if let Some(user) = &mut self.user
                    && user.known_at.elapsed() >= trust
                    && !user.stands(&self.shared).await
                {
                    self.say_revoked();
                    return Ok(After::Close);
                }
                self.command(raw).await
            }
            Incoming::Refused { text, why } => {
                let tag = tag_of(&text).unwrap_or_else(|| "*".into());
                let answer = match why {
                    Refusal::Command => "BAD [TOOBIG] too long",
                    Refusal::Message => "NO [TOOBIG] the message is too large",
                    Refusal::NoRoom => NO_ROOM,
                };
                self.say(&format!("{tag} {answer}"));
                Ok(if why == Refusal::Command { self.note_bad() } else { After::GoOn })
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
        // Its room is held until it is done.
        let RawCommand { text, message, room: _room } = raw;
        let Request { tag, command } = match parse(&text) {
            Ok(request) => request,
            Err(Misunderstood { tag, problem }) => {
                self.say(&format!("{} BAD {problem}", tag.as_deref().unwrap_or("*")));
                self.shared.stats.commands_bad_count.fetch_add(1, Ordering::Relaxed);
                return Ok(self.note_bad());
            }
        };
        let updates = Updates::of(&command);
        if is_condstore(&command) && self.user.is_some() {
            self.enable_condstore();
        }
        let done = Box::pin(self.execute(&tag, command, message)).await;
        let answer = match done {
            Ok(Outcome::Answered(answer)) => answer,
            Ok(Outcome::Logout) => {
                self.shared.stats.commands_ok_count.fetch_add(1, Ordering::Relaxed);
                self.say("* BYE logging out");
                self.say(&format!("{tag} OK LOGOUT completed"));
                return Ok(After::Close);
            }
            Ok(Outcome::StartTls) => {
                self.shared.stats.commands_ok_count.fetch_add(1, Ordering::Relaxed);
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
        let stats = &self.shared.stats;
        let (count, is_bad) = match answer.0.as_bytes() {
            [b'B', ..] => (&stats.commands_bad_count, true),
            [b'N', ..] => (&stats.commands_no_count, false),
            _ => (&stats.commands_ok_count, false),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if is_bad { Ok(self.note_bad()) } else { Ok(self.note_good()) }
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

    /// Looks at the rows and writes what the client does not know.
    pub(crate) async fn look(&mut self, updates: Updates) -> Result<After, Broken> {
        let (Some(view), Some(user)) = (&mut self.view, &self.user) else { return Ok(After::GoOn) };
        match view.sync(&self.shared.mailbox, user.login.mailbox_id).await {
            Ok(Ok(())) => view.write_updates(&mut self.wire.out, Updates { with_modseq: self.condstore, ..updates }),
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
                let name = crate::folders::name_from(&name);
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

    /// Commands after a login; gives back those that need a selected folder.
    async fn logged_in(
        &mut self,
        body: CommandBody<'static>,
        message: Option<Bytes>,
    ) -> Result<Result<Answer, CommandBody<'static>>, Broken> {
        let answer = match body {
            CommandBody::Select { mailbox, parameters } => self.select(&mailbox, &parameters, false).await?,
            CommandBody::Examine { mailbox, parameters } => self.select(&mailbox, &parameters, true).await?,
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
            CommandBody::Enable { capabilities } => {
                // RFC 5161 3.1: what is not known is not named in the answer.
                let enabled = capabilities.as_ref().contains(&CapabilityEnable::CondStore);
                self.say(if enabled { "* ENABLED CONDSTORE" } else { "* ENABLED" });
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
}

pub(crate) enum Outcome {
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
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Updates {
    pub(crate) may_expunge: bool,
    pub(crate) with_uid: bool,
    pub(crate) with_modseq: bool,
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
        Updates { may_expunge: !by_number, with_uid, with_modseq: false }
    }
}
