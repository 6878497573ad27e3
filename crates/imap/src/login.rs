//! What is said before a mailbox is open, and how it is opened: CAPABILITY, STARTTLS, LOGIN, AUTHENTICATE.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use directory::{ClientLogin, ClientScope, DirectoryError, SaslMechanism, SaslStep};
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::AString;

use crate::folders::{id_line, text_of};
use crate::session::{After, Answer, Broken, Outcome, Session, User};

/// A line of a SASL exchange.
const SASL_LINE_BYTES_MAX: usize = 16 * 1024;
/// What is offered to everybody.
const ALWAYS: [&str; 6] = [
    "IMAP4rev1",
    "LITERAL+",
    "SASL-IR",
    "ID",
    "ENABLE",
    // Python's imaplib asks once, before the login.
    "IDLE",
];
/// What is offered after a login.
const LOGGED_IN: [&str; 14] = [
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
    "CONDSTORE",
];

impl Session {
    /// Whether what is typed here travels safely: by TLS, or not at all.
    fn is_secured(&self) -> bool {
        self.is_tls || (self.shared.config.clear_on_loopback && self.peer.is_loopback())
    }

    pub(crate) fn capabilities(&self) -> String {
        let mechanisms: Vec<String> = SaslMechanism::ALL.iter().map(|one| format!("AUTH={}", one.as_str())).collect();
        let mut all = ALWAYS.to_vec();
        if self.user.is_some() {
            all.extend(LOGGED_IN);
            return all.join(" ");
        }
        if self.shared.tls.is_some() && !self.is_tls {
            all.push("STARTTLS");
        }
        if self.is_secured() {
            all.extend(mechanisms.iter().map(String::as_str));
        } else {
            all.push("LOGINDISABLED");
        }
        all.join(" ")
    }

    /// Commands of every state, and those before a login; gives back what is none of them.
    pub(crate) async fn anywhere(
        &mut self,
        body: CommandBody<'static>,
    ) -> Result<Result<Outcome, CommandBody<'static>>, Broken> {
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

    pub(crate) async fn start_tls(&mut self) -> Result<After, Broken> {
        self.wire.flush().await?;
        let Some(tls) = self.shared.tls.clone() else { return Ok(After::Close) };
        self.wire.start_tls(tls).await?;
        self.is_tls = true;
        Ok(After::GoOn)
    }

    async fn login(&mut self, name: &AString<'_>, password: &AString<'_>) -> Result<Answer, Broken> {
        let (Some(name), Some(password)) = (text_of(name), text_of(password)) else { return Ok(self.refused()) };
        let done = self.shared.directory.client_login(&name, &password, ClientScope::Imap, Some(self.peer)).await;
        match done {
            Ok(Some(login)) => self.welcome(login).await,
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
                Ok(SaslStep::Done(login)) => return self.welcome(login).await,
                Ok(SaslStep::Wrong) => return Ok(self.refused()),
                Ok(SaslStep::Malformed) => {
                    self.note_failure();
                    return Ok(Answer::bad("the response breaks the rules of the mechanism"));
                }
                Err(error) => return self.put_off(error),
            }
        }
    }

    fn note_failure(&mut self) {
        self.login_failures += 1;
        self.shared.stats.logins_failed_count.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&mut self) -> Answer {
        self.note_failure();
        Answer::no("[AUTHENTICATIONFAILED] login and password do not fit")
    }

    fn put_off(&mut self, error: DirectoryError) -> Result<Answer, Broken> {
        if let DirectoryError::Throttled { wait_ms } = error {
            self.note_failure();
            let seconds = wait_ms / 1000 + 1;
            return Ok(Answer::no(&format!("[UNAVAILABLE] too many wrong tries; wait {seconds} s")));
        }
        Err(error.into())
    }

    async fn welcome(&mut self, login: ClientLogin) -> Result<Answer, Broken> {
        // What it rests on from here on: a change that comes later ends the session.
        let Some(stamp) = self.shared.directory.client_stamp(&login, ClientScope::Imap).await? else {
            return Ok(self.refused());
        };
        let kept = self.shared.directory.mailbox_of_person(login.person_id).await?;
        if let Some(connector) = kept.and_then(|mailbox| mailbox.connector) {
            // An empty mailbox would be a lie.
            self.shared.stats.logins_failed_count.fetch_add(1, Ordering::Relaxed);
            let where_it_is = format!("[AUTHORIZATIONFAILED] this mailbox is kept in {connector}, ask that system");
            return Ok(Answer::no(&where_it_is));
        }
        let Some(seat) = self.shared.take_mailbox_seat(login.mailbox_id) else {
            self.shared.stats.logins_failed_count.fetch_add(1, Ordering::Relaxed);
            return Ok(Answer::no("[LIMIT] this mailbox is open in too many places"));
        };
        tracing::debug!(mailbox.id = login.mailbox_id.0, "a mail program logged in");
        self.shared.stats.logins_ok_count.fetch_add(1, Ordering::Relaxed);
        self.user = Some(User::new(login, stamp, seat));
        Ok(Answer::ok(&format!("[CAPABILITY {}] logged in", self.capabilities())))
    }
}
