//! One SMTP session (RFC 5321 4.1.4) without I/O: bytes in with [`Session::feed`], decisions out with
//! [`Session::next_output`].
//!
//! When an output asks something (`CheckSender`, `VerifyRecipient`, `Message`, `StartTls`), nothing goes on until the
//! driver answers; the bytes that follow wait. How a dialogue is cut into reads never changes what comes out, with the
//! two exceptions that are about time itself: early talkers and what is thrown away at STARTTLS.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Address, BodyType, ClientInfo, Envelope, Reply, ReplyClass, ReversePath, TlsInfo};

use super::config::{EarlyTalker, ServerConfig};
use crate::command::{Command, ForwardPath, MailCommand};
use crate::data::{DataReceiver, Received};
use crate::input::{Input, LineDefect};

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write this reply. Replies may be collected until `next_output` gives `None` (RFC 2920 3.2).
    Reply(Reply),
    /// May the reverse-path of [`Session::envelope`] send? Answer with [`Session::decide`].
    CheckSender,
    /// May this recipient be added to [`Session::envelope`]? Answer with [`Session::decide`].
    VerifyRecipient(Address),
    /// Commit this message, then answer with [`Session::finish`].
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
enum Stage {
    /// The banner is not written.
    Fresh,
    Commands,
    Sender,
    Recipient(Address),
    Data(DataReceiver),
    Message,
    Tls,
    Closed,
}

/// A server session.
#[derive(Debug)]
pub struct Session {
    config: Arc<ServerConfig>,
    input: Input,
    outputs: VecDeque<Output>,
    stage: Stage,
    has_helo: bool,
    in_transaction: bool,
    /// Whether a recipient of this transaction was refused: DATA is then answered 554 instead of 503.
    has_refused_recipient: bool,
    envelope: Envelope,
    error_count: u32,
    refused_recipient_count: u32,
    message_count: u32,
}

impl Session {
    /// A session with the peer at `ip`. It says nothing before [`Session::greet`].
    pub fn new(config: Arc<ServerConfig>, ip: IpAddr) -> Self {
        let client = ClientInfo::at(ip.to_canonical());
        Session {
            config,
            input: Input::default(),
            outputs: VecDeque::new(),
            stage: Stage::Fresh,
            has_helo: false,
            in_transaction: false,
            has_refused_recipient: false,
            envelope: blank_envelope(client),
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
            Stage::Commands => Waiting::Command,
            Stage::Data(_) => Waiting::Data,
            Stage::Fresh | Stage::Sender | Stage::Recipient(_) | Stage::Message | Stage::Tls => Waiting::Driver,
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
        self.reply(Reply::plain(220, vec![format!("{} ESMTP", self.config.hostname)]));
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
            (Stage::Recipient(recipient), Ok(())) => {
                self.envelope.forward_paths.push(recipient);
                self.reply(Reply::ok(250, (1, 5), "recipient ok"));
            }
            (Stage::Recipient(_), Err(refusal)) => {
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

    /// TLS is in force. Nothing that was said before counts any more (RFC 3207 4.2).
    pub fn tls_started(&mut self, tls: TlsInfo) {
        assert!(matches!(self.stage, Stage::Tls), "TLS begins when it was asked for");
        self.stage = Stage::Commands;
        self.input.clear();
        self.reset();
        self.has_helo = false;
        let client = &mut self.envelope.client;
        *client = ClientInfo { tls: Some(tls), ..ClientInfo::at(client.ip) };
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
            Stage::Fresh | Stage::Sender | Stage::Recipient(_) | Stage::Message | Stage::Tls | Stage::Closed => false,
        }
    }

    fn step_command(&mut self) -> bool {
        let command = match self.input.next_line(self.config.line_bytes_max) {
            None => return false,
            Some(Ok(line)) => Command::parse(line),
            Some(Err(LineDefect::BareNewline)) => Err(Reply::permanent(500, (5, 2), "lines end with CR LF")),
            Some(Err(LineDefect::TooLong)) => Err(Reply::permanent(500, (5, 2), "line too long")),
        };
        match command {
            Ok(command) => self.run(command),
            Err(refusal) => self.refuse(refusal),
        }
        true
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Ehlo { name } => self.ehlo(name),
            Command::Helo { name } => self.helo(name),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(path) => self.rcpt(path),
            Command::Data => self.data(),
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
        lines.push("8BITMIME".into());
        lines.push("ENHANCEDSTATUSCODES".into());
        if self.config.tls_available && self.envelope.client.tls.is_none() {
            lines.push("STARTTLS".into());
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
        if self.message_count >= self.config.messages_max {
            return self.close_with(Reply::transient(421, (7, 0), "enough messages on one connection"));
        }
        self.envelope.reverse_path = mail.reverse_path;
        self.envelope.body_type = mail.body_type;
        self.envelope.declared_size_bytes = mail.declared_size_bytes;
        self.stage = Stage::Sender;
        self.outputs.push_back(Output::CheckSender);
    }

    /// RFC 5321 4.1.1.3.
    fn rcpt(&mut self, path: ForwardPath) {
        if !self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        // RFC 5321 4.5.3.1.10: 452, so that the client sends the rest in another transaction.
        if self.envelope.forward_paths.len() >= self.config.recipients_max {
            return self.reply(Reply::transient(452, (5, 3), "too many recipients"));
        }
        let recipient = match path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => match Address::parse(&format!("postmaster@{}", self.config.hostname)) {
                Ok(address) => address,
                Err(_) => return self.reply(Reply::permanent(501, (1, 3), "the address needs a domain")),
            },
        };
        // One copy for each recipient, however often it is named.
        if self.envelope.forward_paths.contains(&recipient) {
            return self.reply(Reply::ok(250, (1, 5), "recipient ok"));
        }
        self.stage = Stage::Recipient(recipient.clone());
        self.outputs.push_back(Output::VerifyRecipient(recipient));
    }

    /// RFC 5321 4.1.1.4.
    fn data(&mut self) {
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        if !self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        if self.envelope.forward_paths.is_empty() {
            let refusal = match self.has_refused_recipient {
                true => Reply::permanent(554, (5, 1), "no valid recipients"),
                false => Reply::permanent(503, (5, 1), "send RCPT first"),
            };
            return self.refuse(refusal);
        }
        self.stage = Stage::Data(DataReceiver::new(self.config.body_bytes_max()));
        self.reply(Reply::plain(354, vec!["end data with <CRLF>.<CRLF>".into()]));
    }

    fn end_of_data(&mut self) {
        let Stage::Data(receiver) = std::mem::replace(&mut self.stage, Stage::Commands) else {
            unreachable!("data ends in data");
        };
        let blank = blank_envelope(self.client().clone());
        let envelope = std::mem::replace(&mut self.envelope, blank);
        self.reset();
        match receiver.finish() {
            Received::Body(body) => {
                self.stage = Stage::Message;
                self.outputs.push_back(Output::Message { envelope, body });
            }
            // RFC 5321 2.3.8. What stood behind the bare CR or LF was body and is gone with it.
            Received::BareNewline => self.refuse(Reply::permanent(550, (6, 11), "bare CR or LF in the message")),
            Received::TooBig => self.reply(Reply::permanent(552, (3, 4), "message too big")),
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

    fn reset(&mut self) {
        self.in_transaction = false;
        self.has_refused_recipient = false;
        self.envelope.reverse_path = ReversePath::Null;
        self.envelope.forward_paths.clear();
        self.envelope.body_type = BodyType::SevenBit;
        self.envelope.declared_size_bytes = None;
    }

    fn reply(&mut self, reply: Reply) {
        self.outputs.push_back(Output::Reply(reply));
    }

    /// RFC 5321 3.8: 421 means that the channel closes.
    fn reply_of_handler(&mut self, reply: Reply) {
        if reply.code() == 421 {
            return self.close_with(reply);
        }
        self.reply(reply);
    }

    /// A refusal that counts against the peer.
    fn refuse(&mut self, reply: Reply) {
        self.reply(reply);
        self.error_count += 1;
        if self.error_count > self.config.errors_max {
            self.close_with(Reply::transient(421, (7, 0), "too many errors"));
        }
    }

    fn close_with(&mut self, reply: Reply) {
        if matches!(self.stage, Stage::Closed) {
            return;
        }
        self.stage = Stage::Closed;
        self.input.clear();
        self.reply(reply);
        self.outputs.push_back(Output::Close);
    }
}

fn blank_envelope(client: ClientInfo) -> Envelope {
    Envelope::new(client)
}

/// A refusal that is not one is a bug of the handler; the peer tries again later.
fn as_refusal(reply: Reply) -> Reply {
    match reply.class() {
        ReplyClass::Transient | ReplyClass::Permanent => reply,
        ReplyClass::Completion | ReplyClass::Intermediate => {
            tracing::error!(code = reply.code(), "a refusal was no 4yz or 5yz reply; answered 451");
            Reply::transient(451, (3, 0), "try again later")
        }
    }
}
