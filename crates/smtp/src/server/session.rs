//! One SMTP session (RFC 5321 4.1.4) without I/O: bytes in with [`Session::feed`], decisions out with
//! [`Session::next_output`].
//!
//! When an output asks something (`CheckSender`, `VerifyRecipient`, `Message`, `Login`, `StartTls`), nothing goes on until the
//! driver answers; the bytes that follow wait. How a dialogue is cut into reads never changes what comes out, with the
//! two exceptions that are about time itself: early talkers and what is thrown away at STARTTLS.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Address, ClientInfo, Envelope, RcptOptions, Reply, ReplyClass, TlsInfo};

use super::bdat::Chunk;
use super::config::{EarlyTalker, ServerConfig, Service};
use super::login::LoginInput;
use crate::command::{Command, CommandError};
use crate::data::DataReceiver;
use crate::input::{Input, LineDefect};

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time is moved to the driver and none is kept")]
pub enum Output {
    /// Write this reply. Replies may be collected until `next_output` gives `None` (RFC 2920 3.2).
    Reply(Reply),
    /// May the reverse-path of [`Session::envelope`] send? Answer with [`Session::decide`].
    CheckSender,
    /// May this recipient be added to [`Session::envelope`]? Answer with [`Session::decide`].
    VerifyRecipient(Address),
    /// A client logs in. Answer with [`Session::login_step`].
    Login(LoginInput),
    /// Wait so long before writing what follows.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Commit this message, then answer with [`Session::finish`], or in LMTP with [`Session::finish_each`].
    Message {
        /// With at least one forward-path.
        envelope: Envelope,
        /// As received, dots removed.
        body: Vec<u8>,
    },
    /// Write what is due, begin TLS, then call [`Session::tls_started`].
    StartTls,
    /// Write what is due and close.
    Close,
}

/// What a session waits for; the driver chooses its deadline by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A command line.
    Command,
    /// The rest of a body.
    Data,
    /// An answer to an output, or the TLS handshake.
    Driver,
    /// Nothing: it is over.
    Closed,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The banner is not written.
    Fresh,
    Commands,
    Sender,
    Recipient(Address, RcptOptions),
    Data(DataReceiver),
    Chunk(Chunk),
    /// The handler looks at what the client said.
    Login,
    /// The client has a challenge to answer.
    LoginResponse,
    Message,
    Tls,
    Closed,
}

/// A server session.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<ServerConfig>,
    pub(super) input: Input,
    pub(super) outputs: VecDeque<Output>,
    pub(super) stage: Stage,
    pub(super) has_helo: bool,
    pub(super) in_transaction: bool,
    /// Whether a recipient of this transaction was refused: DATA is then answered 554 instead of 503.
    pub(super) has_refused_recipient: bool,
    pub(super) envelope: Envelope,
    /// For each recipient that was answered 250, which forward-path it is: LMTP answers each of them again.
    pub(super) accepted: Vec<usize>,
    /// What came by BDAT so far.
    pub(super) chunks: Vec<u8>,
    pub(super) has_chunks: bool,
    pub(super) login_failure_count: u32,
    error_count: u32,
    pub(super) refused_recipient_count: u32,
    pub(super) message_count: u32,
    has_left: bool,
}

impl Session {
    /// A session with the peer at `ip`. It says nothing before [`Session::greet`].
    pub fn new(config: Arc<ServerConfig>, ip: IpAddr) -> Self {
        let lmtp = config.service == Service::Lmtp;
        let client = ClientInfo { lmtp, ..ClientInfo::at(ip.to_canonical()) };
        Session {
            config,
            input: Input::default(),
            outputs: VecDeque::new(),
            stage: Stage::Fresh,
            has_helo: false,
            in_transaction: false,
            has_refused_recipient: false,
            envelope: Envelope::new(client),
            accepted: Vec::new(),
            chunks: Vec::new(),
            has_chunks: false,
            login_failure_count: 0,
            error_count: 0,
            refused_recipient_count: 0,
            message_count: 0,
            has_left: false,
        }
    }

    /// The limits in force.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The peer.
    pub fn client(&self) -> &ClientInfo {
        &self.envelope.client
    }

    /// The envelope so far. While a sender is checked it has that sender and no recipients.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What the session waits for.
    pub fn waiting(&self) -> Waiting {
        match self.stage {
            Stage::Commands | Stage::LoginResponse => Waiting::Command,
            Stage::Data(_) | Stage::Chunk(_) => Waiting::Data,
            Stage::Fresh | Stage::Sender | Stage::Recipient(..) | Stage::Message | Stage::Login | Stage::Tls => {
                Waiting::Driver
            }
            Stage::Closed => Waiting::Closed,
        }
    }

    /// Whether nothing would be lost by closing now: no transaction has begun and no half command is there.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Commands) && !self.in_transaction && self.input.is_empty()
    }

    /// Whether the peer said QUIT and nothing behind it: there is nothing left to hear of it.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// Bytes from the peer, in order.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.stage {
            Stage::Closed => {}
            // A large body does not take the way through the line buffer.
            Stage::Data(receiver) if self.input.is_empty() => {
                let used_bytes = receiver.push(bytes);
                self.input.push(&bytes[used_bytes..]);
            }
            Stage::Chunk(chunk) if self.input.is_empty() => {
                let used_bytes = chunk.take(bytes, &mut self.chunks);
                self.input.push(&bytes[used_bytes..]);
            }
            _ => self.input.push(bytes),
        }
    }

    /// The banner (RFC 5321 4.3.1). Bytes that came before it make the peer an early talker.
    pub fn greet(&mut self, refusal: Option<Reply>) {
        assert!(matches!(self.stage, Stage::Fresh), "a session greets once");
        self.stage = Stage::Commands;
        if let Some(reply) = refusal {
            return self.close_with(reply);
        }
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        let protocol = if self.config.service == Service::Lmtp { "LMTP" } else { "ESMTP" };
        self.reply(Reply::plain(220, vec![format!("{} {protocol}", self.config.hostname)]));
    }

    /// What to do next; `None` when the session needs bytes or an answer.
    pub fn next_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.step() {
                return None;
            }
        }
    }

    /// TLS is in force from the first byte (RFC 8314 3.3), before the banner.
    pub fn tls_from_the_start(&mut self, tls: TlsInfo) {
        assert!(matches!(self.stage, Stage::Fresh), "before the banner");
        self.input.clear();
        self.envelope.client.tls = Some(tls);
    }

    /// TLS is in force. Nothing that was said before counts any more (RFC 3207 4.2).
    pub fn tls_started(&mut self, tls: TlsInfo) {
        assert!(matches!(self.stage, Stage::Tls), "TLS begins when it was asked for");
        self.stage = Stage::Commands;
        self.input.clear();
        self.reset();
        self.has_helo = false;
        let client = &mut self.envelope.client;
        *client = ClientInfo { tls: Some(tls), lmtp: client.lmtp, ..ClientInfo::at(client.ip) };
    }

    /// The peer took too long.
    pub fn time_out(&mut self) {
        self.close_with(Reply::transient(421, (4, 2), "timeout"));
    }

    /// The server is going down.
    pub fn shut_down(&mut self) {
        self.close_with(Reply::transient(421, (3, 2), "service is going down"));
    }

    /// Uses some of the input; false when there is nothing to use.
    fn step(&mut self) -> bool {
        match &mut self.stage {
            Stage::Commands => self.step_command(),
            Stage::Data(receiver) => {
                let used_bytes = receiver.push(self.input.rest());
                self.input.consume(used_bytes);
                if !receiver.is_ended() {
                    return false;
                }
                self.end_of_data();
                true
            }
            Stage::Chunk(chunk) => {
                let used_bytes = chunk.take(self.input.rest(), &mut self.chunks);
                let is_over = chunk.is_over();
                self.input.consume(used_bytes);
                if is_over {
                    self.end_of_chunk();
                }
                is_over
            }
            Stage::LoginResponse => self.step_login(),
            Stage::Fresh
            | Stage::Sender
            | Stage::Recipient(..)
            | Stage::Message
            | Stage::Login
            | Stage::Tls
            | Stage::Closed => false,
        }
    }

    fn step_command(&mut self) -> bool {
        let command = match self.input.next_line(self.config.line_bytes_max) {
            None => return false,
            Some(Ok(line)) => Command::parse(line),
            Some(Err(defect)) => {
                let reply = match defect {
                    LineDefect::BareNewline => Reply::permanent(500, (5, 2), "lines end with CR LF"),
                    LineDefect::TooLong => Reply::permanent(500, (5, 2), "line too long"),
                };
                // A chunk follows it, and nobody knows how long it is.
                let is_bdat = self.input.defect_began_with(b"BDAT");
                Err(if is_bdat { CommandError::Fatal(reply) } else { reply.into() })
            }
        };
        match command {
            Ok(command) => self.run(command),
            Err(CommandError::Refused(refusal)) => self.refuse(refusal),
            Err(CommandError::Fatal(refusal)) => self.close_with(refusal),
        }
        true
    }

    fn run(&mut self, command: Command) {
        match command {
            // RFC 2033 4.1: each of the two protocols has its own greeting and not the other's.
            Command::Ehlo { .. } | Command::Helo { .. } if self.config.service == Service::Lmtp => {
                self.refuse(Reply::permanent(500, (5, 1), "this is LMTP: say LHLO"));
            }
            Command::Lhlo { .. } if self.config.service != Service::Lmtp => {
                self.refuse(Reply::permanent(500, (5, 1), "command not recognised"));
            }
            Command::Ehlo { name } | Command::Lhlo { name } => self.ehlo(name),
            Command::Helo { name } => self.helo(name),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::Bdat { size_bytes, is_last } => self.bdat(size_bytes, is_last),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial),
            Command::StartTls => self.starttls(),
            Command::Rset => {
                self.reset();
                self.reply(Reply::ok(250, (0, 0), "ok"));
            }
            Command::Noop => self.reply(Reply::ok(250, (0, 0), "ok")),
            // RFC 5321 3.5.3 and 7.3: neither yes nor no.
            Command::Vrfy => self.reply(Reply::ok(252, (5, 0), "send mail and see")),
            Command::Help => self.reply(Reply::ok(214, (0, 0), "see RFC 5321")),
            Command::Quit => {
                self.has_left = self.input.is_empty();
                self.close_with(Reply::ok(221, (0, 0), "bye"));
            }
        }
    }

    /// RFC 5321 4.1.1.1.
    fn ehlo(&mut self, name: String) {
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        self.enter(name, true);
        let mut lines = vec![self.config.hostname.clone(), "PIPELINING".into()];
        lines.push(format!("SIZE {}", self.config.size_bytes_max));
        lines.extend(["8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN", "SMTPUTF8"].map(String::from));
        let has_tls = self.envelope.client.tls.is_some();
        if self.config.tls_available && !has_tls {
            lines.push("STARTTLS".into());
        }
        // RFC 8689 2: offered where it can be kept.
        if has_tls {
            lines.push("REQUIRETLS".into());
        }
        if !self.mechanisms().is_empty() && self.config.service == Service::Submission {
            lines.push(format!("AUTH {}", self.mechanisms().join(" ")));
        }
        self.reply(Reply::plain(250, lines));
    }

    fn helo(&mut self, name: String) {
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        self.enter(name, false);
        self.reply(Reply::plain(250, vec![self.config.hostname.clone()]));
    }

    fn enter(&mut self, name: String, esmtp: bool) {
        self.reset();
        self.has_helo = true;
        self.envelope.client.helo = name;
        self.envelope.client.esmtp = esmtp;
    }

    /// RFC 3207 4.
    fn starttls(&mut self) {
        if self.envelope.client.tls.is_some() {
            return self.refuse(Reply::permanent(503, (5, 1), "TLS is in force"));
        }
        if !self.config.tls_available {
            return self.refuse(Reply::permanent(502, (5, 1), "TLS is not available"));
        }
        // Whatever was pipelined behind STARTTLS was not protected: it is never run.
        self.input.clear();
        self.stage = Stage::Tls;
        self.reply(Reply::ok(220, (0, 0), "go ahead"));
        self.outputs.push_back(Output::StartTls);
    }

    pub(super) fn is_talking_early(&self) -> bool {
        self.config.early_talker == EarlyTalker::Refuse && !self.input.is_empty()
    }

    pub(super) fn refuse_early_talker(&mut self) {
        self.close_with(Reply::permanent(554, (5, 0), "wait for the reply before sending more"));
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        self.outputs.push_back(Output::Reply(reply));
    }

    /// RFC 5321 3.8: 421 means that the channel closes.
    pub(super) fn reply_of_handler(&mut self, reply: Reply) {
        if reply.code() == 421 {
            return self.close_with(reply);
        }
        self.reply(reply);
    }

    /// A refusal that counts against the peer.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.reply(reply);
        self.error_count += 1;
        if self.error_count > self.config.errors_max {
            self.close_with(Reply::transient(421, (7, 0), "too many errors"));
        }
    }

    pub(super) fn close_with(&mut self, reply: Reply) {
        if matches!(self.stage, Stage::Closed) {
            return;
        }
        self.stage = Stage::Closed;
        self.input.clear();
        self.reply(reply);
        self.outputs.push_back(Output::Close);
    }
}

/// A refusal that is not one is a bug of the handler; the peer tries again later.
pub(super) fn as_refusal(reply: Reply) -> Reply {
    match reply.class() {
        ReplyClass::Transient | ReplyClass::Permanent => reply,
        ReplyClass::Completion | ReplyClass::Intermediate => {
            tracing::error!(code = reply.code(), "a refusal was no 4yz or 5yz reply; answered 451");
            Reply::transient(451, (3, 0), "try again later")
        }
    }
}
