//! SMTP dialogues as text files, run on a [`Session`] without I/O or on any server over a socket.
//!
//! ```text
//! # why this dialogue matters
//! ! size_bytes_max 100                      a setting, before the first step
//! ! refuse bob@example.org 550 1.1 unknown  the reply to this address, in MAIL or RCPT
//! S: 220                                    a reply, all lines on one: this is how it must begin
//! C: EHLO client.example                    a line is sent, with CRLF
//! S: 250 mx.example ... SIZE 100            `...` stands for anything
//! C> \x00.\r\n                              these bytes are sent and no others
//! ! login mechanisms                        submission; "right" is everybody's password
//! M: <a@client.example> <ada@example.org>   a message arrives: reverse-path, then forward-paths
//! B: a line of its body                     with CRLF; B> without
//! T:                                        TLS begins
//! X:                                        the server closes
//! ```
//!
//! Neighbouring `C` lines are one write. Escapes: `\r \n \t \0 \\ \xHH` and `\{x*9}` for nine times `x`. A first step
//! `C` comes before the banner. `! one-read` marks dialogues that depend on a write being read as one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Address, ClientInfo, Envelope, Reply, TlsInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::data::Newlines;
use crate::reply::ReplyParser;
use crate::scripted_login::ScriptedLogin;
use crate::server::{EarlyTalker, Handler, LoginExchange, LoginInput, Output, ServerConfig, Service, Session};
use crate::stream::Stream;

/// How long a server has for each step over a socket.
const STEP_MS_MAX: u64 = 20_000;
const REPEAT_MAX: usize = 1024 * 1024;

/// A dialogue.
#[derive(Debug, Clone)]
pub struct Transcript {
    name: String,
    settings: Settings,
    steps: Vec<(usize, Step)>,
}

/// What went otherwise than written, or what is wrong with the writing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {text}")]
pub struct Mismatch {
    /// The transcript.
    pub name: String,
    /// The line in it, from 1; 0 when it is over.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

#[derive(Debug, Clone)]
struct Settings {
    config: ServerConfig,
    refusals: Vec<(String, Reply)>,
    is_one_read: bool,
    is_changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Vec<u8>),
    Reply(String),
    Message(Message),
    Tls,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    /// Reverse-path and forward-paths, each in angle brackets.
    paths: String,
    body: Vec<u8>,
}

/// Decides as a transcript's settings say and keeps what arrives.
#[derive(Debug)]
pub struct ScriptedHandler {
    refusals: Vec<(String, Reply)>,
    messages: Mutex<Vec<Message>>,
}

impl Transcript {
    /// Reads a transcript; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<Transcript, Mismatch> {
        let mut config = ServerConfig::new("mx.example");
        config.early_talker = EarlyTalker::Refuse;
        let settings = Settings { config, refusals: Vec::new(), is_one_read: false, is_changed: false };
        let mut transcript = Transcript { name: name.to_owned(), settings, steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let parsed = transcript.take_line(index + 1, line.trim_end_matches(['\r', '\n']));
            parsed.map_err(|text| transcript.mismatch(index + 1, text))?;
        }
        if matches!(transcript.steps.first(), Some((_, Step::Send(_)))) {
            // Over a socket the banner waits for the bytes that come before it.
            transcript.settings.config.banner_delay_ms = STEP_MS_MAX;
            transcript.settings.is_changed = true;
        }
        Ok(transcript)
    }

    /// The name it was read under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limits that it wants of the server.
    pub fn config(&self) -> &ServerConfig {
        &self.settings.config
    }

    /// Whether it runs on any server: it changes no setting and refuses nobody.
    pub fn is_plain(&self) -> bool {
        !self.settings.is_changed
    }

    /// Whether it depends on how the bytes are cut into reads.
    pub fn is_one_read(&self) -> bool {
        self.settings.is_one_read
    }

    /// Decides as the settings say.
    pub fn handler(&self) -> ScriptedHandler {
        ScriptedHandler { refusals: self.settings.refusals.clone(), messages: Mutex::default() }
    }

    /// Runs the dialogue on a session. `next_chunk_bytes` says how many bytes the next read brings (at least one).
    pub fn run_on_session(&self, mut next_chunk_bytes: impl FnMut() -> usize) -> Result<(), Mismatch> {
        let mut dialogue = Dialogue::new(self);
        for (line, step) in &self.steps {
            let done = match step {
                Step::Send(bytes) => dialogue.send(bytes, &mut next_chunk_bytes),
                expected => dialogue.expect(expected),
            };
            done.map_err(|text| self.mismatch(*line, text))?;
        }
        match dialogue.seen.pop_front() {
            None => Ok(()),
            Some(step) => Err(self.mismatch(0, format!("not expected at the end: {step:?}"))),
        }
    }

    /// Runs the dialogue on a server, and takes leave with QUIT if the server has not closed. Messages cannot be seen
    /// from here; see [`Transcript::check_messages`].
    pub async fn run_on_socket(
        &self,
        addr: SocketAddr,
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    ) -> Result<(), Mismatch> {
        let stream = bounded(TcpStream::connect(addr)).await.map_err(|error| self.mismatch(0, error.to_string()))?;
        let mut peer = Peer { stream: Stream::Clear(stream), parser: ReplyParser::default() };
        let mut is_closed = false;
        for (line, step) in &self.steps {
            let done = match step {
                Step::Send(bytes) => peer.write(bytes).await,
                Step::Reply(pattern) => peer.expect_reply(pattern).await,
                Step::Message(_) => Ok(()),
                Step::Tls => match &tls {
                    Some((config, name)) => {
                        let upgraded = peer.start_tls(config.clone(), name.clone()).await;
                        peer = upgraded.map_err(|text| self.mismatch(*line, text))?;
                        Ok(())
                    }
                    None => Err("TLS was not set up".to_owned()),
                },
                Step::Closed => {
                    is_closed = true;
                    peer.expect_end().await
                }
            };
            done.map_err(|text| self.mismatch(*line, text))?;
        }
        if !is_closed {
            let leave = async {
                peer.write(b"QUIT\r\n").await?;
                peer.expect_reply("221").await?;
                peer.expect_end().await
            };
            leave.await.map_err(|text| self.mismatch(0, text))?;
        }
        Ok(())
    }

    /// Compares what the handler kept with the messages of the transcript.
    pub fn check_messages(&self, handler: &ScriptedHandler) -> Result<(), Mismatch> {
        let expected = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Message(message) => Some(message.clone()),
            Step::Send(_) | Step::Reply(_) | Step::Tls | Step::Closed => None,
        });
        let expected: Vec<Message> = expected.collect();
        let got = handler.messages.lock().unwrap_or_else(PoisonError::into_inner);
        match *got == expected {
            true => Ok(()),
            false => Err(self.mismatch(0, format!("messages are {got:?}, not {expected:?}"))),
        }
    }

    fn mismatch(&self, line: usize, text: String) -> Mismatch {
        Mismatch { name: self.name.clone(), line, text }
    }

    fn take_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(setting) = line.strip_prefix("! ") {
            return self.settings.take(setting);
        }
        let (mark, text) = line.split_at_checked(2).ok_or("a step has a mark of two characters")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        match mark {
            "C:" | "C>" => {
                let bytes = line_bytes(mark, text)?;
                if let Some((_, Step::Send(before))) = self.steps.last_mut() {
                    before.extend_from_slice(&bytes);
                    return Ok(());
                }
                self.steps.push((number, Step::Send(bytes)));
            }
            "S:" => self.steps.push((number, Step::Reply(text.to_owned()))),
            "M:" => {
                let message = Message { paths: text.to_owned(), body: Vec::new() };
                self.steps.push((number, Step::Message(message)));
            }
            "B:" | "B>" => match self.steps.last_mut() {
                Some((_, Step::Message(message))) => message.body.extend_from_slice(&line_bytes(mark, text)?),
                _ => return Err("B follows M".into()),
            },
            "T:" => self.steps.push((number, Step::Tls)),
            "X:" => self.steps.push((number, Step::Closed)),
            _ => return Err(format!("{mark:?} is no mark")),
        }
        Ok(())
    }
}

impl Settings {
    fn take(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
        let number = || value.trim().parse::<usize>().map_err(|_| format!("{name} needs a number"));
        let count = || value.trim().parse::<u32>().map_err(|_| format!("{name} needs a number"));
        self.is_changed = true;
        match name {
            "one-read" => {
                self.is_one_read = true;
                self.is_changed = false;
            }
            "tls" => self.config.tls_available = true,
            "lmtp" => {
                self.config.service = Service::Lmtp;
                self.config.null_sender_recipients_max = usize::MAX;
            }
            "submission" => {
                self.config.service = Service::Submission;
                self.config.login_mechanisms = &["PLAIN", "LOGIN"];
                self.config.login_delay_ms = 0;
                self.config.tls_available = true;
            }
            "normalise" => self.config.newlines = Newlines::Normalise,
            "login_failures_max" => self.config.login_failures_max = count()?,
            "body_line_bytes_max" => self.config.body_line_bytes_max = number()?,
            "header_bytes_max" => self.config.header_bytes_max = number()?,
            "tolerate-early-talkers" => self.config.early_talker = EarlyTalker::Tolerate,
            "size_bytes_max" => self.config.size_bytes_max = number()?,
            "recipients_max" => self.config.recipients_max = number()?,
            "line_bytes_max" => self.config.line_bytes_max = number()?,
            "errors_max" => self.config.errors_max = count()?,
            "messages_max" => self.config.messages_max = count()?,
            "refused_recipients_max" => self.config.refused_recipients_max = count()?,
            "refuse" => self.refusals.push(parse_refusal(value)?),
            _ => return Err(format!("{name:?} is no setting")),
        }
        Ok(())
    }
}

/// `address code subject.detail text`.
fn parse_refusal(value: &str) -> Result<(String, Reply), String> {
    let mut words = value.splitn(4, ' ');
    let mut word = || words.next().ok_or("the form is: refuse ADDRESS CODE SUBJECT.DETAIL TEXT");
    let (address, code, enhanced, text) = (word()?, word()?, word()?, word()?);
    let code: u16 = code.parse().map_err(|_| "the code is a number")?;
    let enhanced = enhanced.split_once('.').and_then(|(s, d)| Some((s.parse().ok()?, d.parse().ok()?)));
    let enhanced = enhanced.ok_or("the enhanced code has two numbers")?;
    let reply = match code {
        400..500 => Reply::transient(code, enhanced, text),
        500..600 => Reply::permanent(code, enhanced, text),
        _ => return Err("a refusal is 4yz or 5yz".into()),
    };
    Ok((address.to_owned(), reply))
}

fn line_bytes(mark: &str, text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = unescape(text)?;
    if mark.ends_with(':') {
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(bytes)
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mark = after.chars().next().ok_or("a backslash at the end")?;
        let mut used_bytes = 1;
        match mark {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let hex = after.get(1..3).ok_or("\\x needs two digits")?;
                out.push(u8::from_str_radix(hex, 16).map_err(|_| "\\x needs two digits")?);
                used_bytes = 3;
            }
            '{' => {
                let end = after.find('}').ok_or("\\{ needs a }")?;
                let (what, times) = after[1..end].rsplit_once('*').ok_or("the form is \\{x*9}")?;
                let times: usize = times.parse().map_err(|_| "the form is \\{x*9}")?;
                out.extend_from_slice(what.repeat(times.min(REPEAT_MAX)).as_bytes());
                used_bytes = end + 1;
            }
            _ => return Err(format!("\\{mark} is no escape")),
        }
        rest = &after[used_bytes..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Whether `text` begins as `pattern` says, where `...` stands for anything.
fn begins_as(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split("...").map(str::trim);
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else {
        return false;
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn matches(expected: &Step, seen: &Step) -> bool {
    match (expected, seen) {
        (Step::Reply(pattern), Step::Reply(text)) => begins_as(pattern, text),
        (expected, seen) => expected == seen,
    }
}

/// A run on a session: what came out and was not yet expected.
struct Dialogue {
    session: Session,
    handler: ScriptedHandler,
    seen: VecDeque<Step>,
    is_greeted: bool,
    exchange: ScriptedLogin,
}

impl Dialogue {
    fn new(transcript: &Transcript) -> Self {
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let session = Session::new(Arc::new(transcript.config().clone()), ip);
        Dialogue {
            session,
            handler: transcript.handler(),
            seen: VecDeque::new(),
            is_greeted: false,
            exchange: ScriptedLogin::default(),
        }
    }

    fn send(&mut self, bytes: &[u8], next_chunk_bytes: &mut dyn FnMut() -> usize) -> Result<(), String> {
        if let Some(step) = self.seen.pop_front() {
            return Err(format!("not expected before this: {step:?}"));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(next_chunk_bytes().clamp(1, rest.len()));
            self.session.feed(chunk);
            if self.is_greeted {
                self.drain();
            }
            rest = after;
        }
        Ok(())
    }

    fn expect(&mut self, expected: &Step) -> Result<(), String> {
        if !self.is_greeted {
            self.is_greeted = true;
            self.session.greet(None);
            self.drain();
        }
        match self.seen.pop_front() {
            None => Err(format!("nothing came, expected {expected:?}")),
            Some(seen) if !matches(expected, &seen) => Err(format!("expected {expected:?}, got {seen:?}")),
            Some(Step::Tls) => {
                self.session.tls_started(TlsInfo { version: "TLSv1.3".into(), cipher: "none".into() });
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.next_output() {
            match output {
                Output::Reply(reply) => self.seen.push_back(Step::Reply(reply.to_string())),
                Output::CheckSender => {
                    let decision = self.handler.decide_sender(self.session.envelope());
                    self.session.decide(decision);
                }
                Output::VerifyRecipient(recipient) => {
                    let decision = self.handler.decide(&recipient);
                    self.session.decide(decision);
                }
                Output::Login(input) => {
                    let response = match input {
                        LoginInput::Begin { initial, mechanism } => {
                            self.exchange = ScriptedLogin::new(mechanism);
                            initial
                        }
                        LoginInput::Response(response) => Some(response),
                    };
                    let step = self.exchange.take(response.as_deref());
                    self.session.login_step(step);
                }
                Output::Delay { .. } => {}
                Output::Message { envelope, body } if envelope.client.lmtp => {
                    let replies = self.handler.replies_to(&envelope);
                    self.seen.push_back(Step::Message(as_message(&envelope, body)));
                    self.session.finish_each(&replies);
                }
                Output::Message { envelope, body } => {
                    self.seen.push_back(Step::Message(as_message(&envelope, body)));
                    self.session.finish(accepted());
                }
                Output::StartTls => self.seen.push_back(Step::Tls),
                Output::Close => self.seen.push_back(Step::Closed),
            }
        }
    }
}

impl ScriptedHandler {
    fn decide(&self, address: &Address) -> Result<(), Reply> {
        let key = address.key();
        let refusal = self.refusals.iter().find(|(refused, _)| *refused == key);
        refusal.map_or(Ok(()), |(_, reply)| Err(reply.clone()))
    }

    fn decide_sender(&self, envelope: &Envelope) -> Result<(), Reply> {
        envelope.reverse_path.address().map_or(Ok(()), |address| self.decide(address))
    }
}

impl ScriptedHandler {
    /// In LMTP: `full` in front of the @ has no room, whoever it is.
    fn replies_to(&self, envelope: &Envelope) -> Vec<Reply> {
        let reply = |to: &Address| match to.local() {
            "full" => Reply::transient(452, (2, 2), "mailbox full"),
            _ => accepted(),
        };
        envelope.forward_paths.iter().map(reply).collect()
    }
}

impl Handler for ScriptedHandler {
    fn login(&self, _client: &ClientInfo, mechanism: &'static str) -> Option<Box<dyn LoginExchange>> {
        Some(Box::new(ScriptedLogin::new(mechanism)))
    }

    async fn data_each(&self, envelope: Envelope, body: Vec<u8>) -> Vec<Reply> {
        let replies = self.replies_to(&envelope);
        self.data(envelope, body).await;
        replies
    }

    async fn mail(&self, envelope: &Envelope) -> Result<(), Reply> {
        self.decide_sender(envelope)
    }

    async fn rcpt(&self, _envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        self.decide(recipient)
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        let message = as_message(&envelope, body);
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        accepted()
    }
}

fn accepted() -> Reply {
    Reply::ok(250, (0, 0), "accepted")
}

fn as_message(envelope: &Envelope, body: Vec<u8>) -> Message {
    let mut paths = format!("<{}>", envelope.reverse_path);
    for path in &envelope.forward_paths {
        paths.push_str(&format!(" <{path}>"));
    }
    Message { paths, body }
}

/// The client's end of a run over a socket.
struct Peer {
    stream: Stream<TcpStream>,
    parser: ReplyParser,
}

impl Peer {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        bounded(writing).await.map_err(|error| format!("write: {error}"))
    }

    async fn expect_reply(&mut self, pattern: &str) -> Result<(), String> {
        loop {
            if let Some(reply) = self.parser.next_reply().map_err(|error| error.to_string())? {
                let text = reply.to_string();
                return match begins_as(pattern, &text) {
                    true => Ok(()),
                    false => Err(format!("expected {pattern:?}, got {text:?}")),
                };
            }
            if self.read().await? == 0 {
                return Err(format!("expected {pattern:?}, the server closed"));
            }
        }
    }

    async fn expect_end(&mut self) -> Result<(), String> {
        if !self.parser.is_empty() || self.read().await? > 0 {
            return Err(format!("expected the end, got {:?}", self.parser));
        }
        Ok(())
    }

    async fn start_tls(
        mut self,
        config: Arc<rustls::ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<Self, String> {
        self.parser.clear();
        let (stream, _) = bounded(self.stream.connect_tls(config, server_name)).await.map_err(|e| e.to_string())?;
        Ok(Peer { stream, parser: self.parser })
    }

    async fn read(&mut self) -> Result<usize, String> {
        let mut buffer = [0; 4096];
        let count = bounded(self.stream.read(&mut buffer)).await.map_err(|error| format!("read: {error}"))?;
        self.parser.feed(&buffer[..count]);
        Ok(count)
    }
}

async fn bounded<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_millis(STEP_MS_MAX), step).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_escapes() {
        assert!(begins_as("250 mx ... SIZE 1", "250 mx PIPELINING SIZE 100"));
        assert!(!begins_as("250 mx ... STARTTLS", "250 mx PIPELINING SIZE 100"));
        assert_eq!(unescape(r"a\r\n\0\x41\{yz*2}\\").unwrap(), b"a\r\n\0Ayzyz\\");
        assert!(unescape(r"\q").is_err());
    }

    #[test]
    fn a_wrong_dialogue_is_told_by_line() {
        let run = |text: &str| Transcript::parse("t", text).and_then(|t| t.run_on_session(|| 1)).unwrap_err();
        assert_eq!(run("S: 220\nC: NOOP\nS: 500\n").line, 3);
        assert_eq!(run("S: 220\nC: NOOP\n").line, 0);
        assert_eq!(run("S: 220\nC: NOOP\nC: NOOP\nS: 250\nC: QUIT\n").line, 5);
        assert_eq!(run("S: 220\n?: NOOP\n").line, 2);
    }
}
