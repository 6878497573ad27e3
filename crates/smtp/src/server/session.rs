//! One SMTP session (RFC 5321 4.1.4) without I/O: bytes in with [`Session::feed`], decisions out with
//! [`Session::next_output`].
//!
//! When an output asks something (`CheckSender`, `VerifyRecipient`, `Message`, `Login`, `StartTls`), nothing goes on until the
//! driver answers; the bytes that follow wait. How a dialogue is cut into reads never changes what comes out, with the
//! two exceptions that are about time itself: early talkers and what is thrown away at STARTTLS.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Address, BodyType, ClientInfo, Envelope, MailOptions, RcptOptions, Reply, ReplyClass, ReversePath, TlsInfo,
};

use super::bdat::Chunk;
use super::config::{EarlyTalker, ServerConfig, Service};
use super::login::LoginInput;
use super::shape;
use crate::command::{Command, CommandError, ForwardPath, MailCommand, RcptCommand, needs_smtp_utf8};
use crate::data::{DataReceiver, Received};
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
    has_refused_recipient: bool,
    pub(super) envelope: Envelope,
    /// For each recipient that was answered 250, which forward-path it is: LMTP answers each of them again.
    accepted: Vec<usize>,
    /// What came by BDAT so far.
    pub(super) chunks: Vec<u8>,
    pub(super) has_chunks: bool,
    pub(super) login_failure_count: u32,
    error_count: u32,
    refused_recipient_count: u32,
    message_count: u32,
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

    /// The answer to `CheckSender` or `VerifyRecipient`. A refusal is 4yz or 5yz; 421 closes the session.
    pub fn decide(&mut self, decision: Result<(), Reply>) {
        match (std::mem::replace(&mut self.stage, Stage::Commands), decision) {
            (Stage::Sender, Ok(())) => {
                self.in_transaction = true;
                self.reply(Reply::ok(250, (1, 0), "sender ok"));
            }
            (Stage::Sender, Err(refusal)) => {
                self.reset();
                self.reply_of_handler(as_refusal(refusal));
            }
            (Stage::Recipient(recipient, options), Ok(())) => {
                self.accepted.push(self.envelope.forward_paths.len());
                self.envelope.forward_paths.push(recipient);
                self.envelope.rcpt_options.push(options);
                self.reply(Reply::ok(250, (1, 5), "recipient ok"));
            }
            (Stage::Recipient(..), Err(refusal)) => {
                self.has_refused_recipient = true;
                self.refused_recipient_count += 1;
                self.reply_of_handler(as_refusal(refusal));
                if self.refused_recipient_count > self.config.refused_recipients_max {
                    self.close_with(Reply::transient(421, (7, 0), "too many refused recipients"));
                }
            }
            (Stage::Closed, _) => self.stage = Stage::Closed,
            (stage, _) => unreachable!("no decision was asked for in {stage:?}"),
        }
    }

    /// The answer to `Message`: what became of it. A 2yz reply means that it is committed.
    pub fn finish(&mut self, reply: Reply) {
        match self.stage {
            Stage::Message => {
                self.stage = Stage::Commands;
                self.message_count += 1;
                let is_final = reply.class() != ReplyClass::Intermediate;
                self.reply_of_handler(if is_final { reply } else { as_refusal(reply) });
            }
            Stage::Closed => {}
            _ => unreachable!("no message was handed over"),
        }
    }

    /// The answer to `Message` in LMTP (RFC 2033 4.2): one reply for each forward-path, in their order. What is missing
    /// is answered 451.
    pub fn finish_each(&mut self, replies: &[Reply]) {
        match self.stage {
            Stage::Message => {}
            Stage::Closed => return,
            _ => unreachable!("no message was handed over"),
        }
        self.stage = Stage::Commands;
        self.message_count += 1;
        for index in std::mem::take(&mut self.accepted) {
            let reply = replies.get(index).filter(|reply| reply.class() != ReplyClass::Intermediate);
            let reply = reply.cloned().unwrap_or_else(|| Reply::transient(451, (3, 0), "try again later"));
            // 421 for one recipient would cut off the replies of the others.
            let reply = if reply.code() == 421 { Reply::transient(451, (3, 0), "try again later") } else { reply };
            self.reply(reply);
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
            Some(Err(LineDefect::BareNewline)) => Err(Reply::permanent(500, (5, 2), "lines end with CR LF").into()),
            Some(Err(LineDefect::TooLong)) => Err(Reply::permanent(500, (5, 2), "line too long").into()),
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
            Command::Quit => self.close_with(Reply::ok(221, (0, 0), "bye")),
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
        lines
            .extend(["8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME", "DSN", "SMTPUTF8"].map(String::from));
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

    /// RFC 5321 4.1.1.2.
    fn mail(&mut self, mail: MailCommand) {
        if !self.has_helo {
            return self.refuse(Reply::permanent(503, (5, 1), "say EHLO or HELO first"));
        }
        if self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "a transaction has begun; send RSET first"));
        }
        // RFC 1870 6.1.
        if mail.declared_size_bytes.is_some_and(|size| size > self.config.body_bytes_max() as u64) {
            return self.reply(Reply::permanent(552, (3, 4), "message too big"));
        }
        // RFC 4954 6.
        if self.config.service == Service::Submission && self.client().login.is_none() {
            return self.refuse(Reply::permanent(530, (7, 0), "log in first"));
        }
        // RFC 8689 4.2.1: what must not travel without TLS must not arrive without it.
        if mail.options.require_tls && self.client().tls.is_none() {
            return self.refuse(Reply::permanent(530, (7, 10), "REQUIRETLS needs TLS here"));
        }
        if self.message_count >= self.config.messages_max {
            return self.close_with(Reply::transient(421, (7, 0), "enough messages on one connection"));
        }
        self.envelope.reverse_path = mail.reverse_path;
        self.envelope.body_type = mail.body_type;
        self.envelope.declared_size_bytes = mail.declared_size_bytes;
        self.envelope.options = mail.options;
        self.stage = Stage::Sender;
        self.outputs.push_back(Output::CheckSender);
    }

    /// RFC 5321 4.1.1.3.
    fn rcpt(&mut self, rcpt: RcptCommand) {
        if !self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        if self.has_chunks {
            return self.refuse(Reply::permanent(503, (5, 1), "the message has begun; send it or RSET"));
        }
        // RFC 5321 4.5.3.1.10: 452, so that the client sends the rest in another transaction.
        if self.envelope.forward_paths.len() >= self.config.recipients_max {
            return self.reply(Reply::transient(452, (5, 3), "too many recipients"));
        }
        if !rcpt.is_ascii && !self.envelope.options.smtp_utf8 {
            return self.refuse(needs_smtp_utf8());
        }
        let recipient = match rcpt.path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => match Address::parse(&format!("postmaster@{}", self.config.hostname)) {
                Ok(address) => address,
                Err(_) => return self.reply(Reply::permanent(501, (1, 3), "the address needs a domain")),
            },
        };
        // One copy for each recipient, however often it is named.
        if let Some(index) = self.envelope.forward_paths.iter().position(|known| *known == recipient) {
            self.accepted.push(index);
            return self.reply(Reply::ok(250, (1, 5), "recipient ok"));
        }
        // RFC 5321 4.5.5: a notification goes to the one who sent. What names more is split by an honest sender.
        if self.envelope.reverse_path == ReversePath::Null
            && self.envelope.forward_paths.len() >= self.config.null_sender_recipients_max
        {
            return self.reply(Reply::transient(452, (5, 3), "one recipient at a time for the null sender"));
        }
        self.stage = Stage::Recipient(recipient.clone(), rcpt.options);
        self.outputs.push_back(Output::VerifyRecipient(recipient));
    }

    /// RFC 5321 4.1.1.4.
    fn data(&mut self) {
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        if let Some(refusal) = self.body_refusal() {
            return self.refuse(refusal);
        }
        // RFC 3030 2 and 3: the two ways are not mixed, and dots cannot carry bare newlines.
        if self.has_chunks || self.envelope.body_type == BodyType::BinaryMime {
            return self.refuse(Reply::permanent(503, (5, 1), "this message comes by BDAT"));
        }
        let receiver = DataReceiver::new(self.config.body_bytes_max()).with_newlines(self.config.newlines);
        self.stage = Stage::Data(receiver.expecting(self.envelope.declared_size_bytes.unwrap_or(0)));
        self.reply(Reply::plain(354, vec!["end data with <CRLF>.<CRLF>".into()]));
    }

    /// Why no body may come now.
    pub(super) fn body_refusal(&self) -> Option<Reply> {
        if !self.in_transaction {
            return Some(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        if self.envelope.forward_paths.is_empty() {
            return Some(match self.has_refused_recipient {
                true => Reply::permanent(554, (5, 1), "no valid recipients"),
                false => Reply::permanent(503, (5, 1), "send RCPT first"),
            });
        }
        None
    }

    fn end_of_data(&mut self) {
        let Stage::Data(receiver) = std::mem::replace(&mut self.stage, Stage::Commands) else {
            unreachable!("data ends in data");
        };
        self.end_of_message(match receiver.finish() {
            Received::Body(body) => Ok(body),
            // What stood behind the bare CR or LF was body and is gone with it.
            Received::BareNewline => Err(bare_newline()),
            Received::TooBig => Err(Reply::permanent(552, (3, 4), "message too big")),
        });
    }

    /// The transaction ends with the message it was for, or with its refusal.
    pub(super) fn end_of_message(&mut self, body: Result<Vec<u8>, Reply>) {
        let blank = Envelope::new(self.client().clone());
        let envelope = std::mem::replace(&mut self.envelope, blank);
        let accepted = std::mem::take(&mut self.accepted);
        self.reset();
        let body = body.and_then(|body| match shape::refusal(&self.config, &body) {
            Some(refusal) => Err(refusal),
            None => Ok(body),
        });
        match body {
            Ok(body) => {
                self.stage = Stage::Message;
                self.accepted = accepted;
                self.outputs.push_back(Output::Message { envelope, body });
            }
            Err(refusal) => {
                // RFC 2033 4.2: whoever was accepted is answered.
                let more = if self.config.service == Service::Lmtp { accepted.len().saturating_sub(1) } else { 0 };
                (0..more).for_each(|_| self.reply(refusal.clone()));
                if refusal.code() == 550 { self.refuse(refusal) } else { self.reply(refusal) }
            }
        }
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

    fn is_talking_early(&self) -> bool {
        self.config.early_talker == EarlyTalker::Refuse && !self.input.is_empty()
    }

    fn refuse_early_talker(&mut self) {
        self.close_with(Reply::permanent(554, (5, 0), "wait for the reply before sending more"));
    }

    pub(super) fn reset(&mut self) {
        self.in_transaction = false;
        self.has_refused_recipient = false;
        self.envelope.reverse_path = ReversePath::Null;
        self.envelope.forward_paths.clear();
        self.envelope.rcpt_options.clear();
        self.envelope.body_type = BodyType::SevenBit;
        self.envelope.declared_size_bytes = None;
        self.envelope.options = MailOptions::default();
        self.accepted.clear();
        self.chunks = Vec::new();
        self.has_chunks = false;
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

/// RFC 5321 2.3.8.
pub(super) fn bare_newline() -> Reply {
    Reply::permanent(550, (6, 11), "bare CR or LF in the message")
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
