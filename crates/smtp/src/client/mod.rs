//! The client side: one connection to one host, any number of transactions.
//!
//! Refusals are values ([`Outcome`]); a [`ClientError`] means that the connection is of no more use, except for the
//! variants that are found before anything is written ([`ClientError::is_before_sending`]).

mod auth;
mod config;
mod error;
mod lmtp;
mod options;
mod transaction;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Reply, ReplyClass, TlsInfo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub use auth::Credentials;
pub use config::{ClientConfig, Timeouts, TlsMode};
pub use error::{ClientError, Phase};
pub use lmtp::{LmtpClient, LmtpFate};
pub use options::{MailOptions, RecipientOptions};
pub use transaction::{Capabilities, Mail, Outcome};

use crate::data::{END_OF_DATA, add_dots, canonical_newlines};
use crate::reply::ReplyParser;
use crate::stream::Stream;
use auth::{Exchange, Mechanism};
use error::{expect_completion, not_smtp};
use options::Needs;
use transaction::Said;

/// Commands written before their replies are read (RFC 2920 3.1 leaves it to the client to stay within its window).
const PIPELINE_MAX: usize = 100;
const READ_BYTES: usize = 4096;
/// For a refusal that a peer wrote before it hung up in the middle of a body.
const LAST_WORDS_MS_MAX: u64 = 2000;

/// A connection to one host, greeted and, as configured, encrypted.
#[derive(Debug)]
pub struct Client {
    /// None only while TLS begins.
    stream: Option<Stream<TcpStream>>,
    parser: ReplyParser,
    buffer: Vec<u8>,
    config: ClientConfig,
    capabilities: Capabilities,
    greeting: Reply,
    tls: Option<TlsInfo>,
    state: State,
    dialect: Dialect,
    /// Where the dialogue is.
    phase: Phase,
    /// Recipients of the last transaction that were refused for themselves, by their place in the envelope.
    refused: Vec<(usize, Reply)>,
}

/// Which protocol the host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Smtp,
    /// RFC 2033.
    Lmtp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// A transaction was left open: RSET comes first.
    NeedsReset,
    /// A transaction is under way. Whoever stops waiting for it leaves the connection like this, and useless: replies are
    /// unread, or half a body is written, and a QUIT would become part of it.
    Busy,
    Closed,
}

impl Client {
    /// Connects, waits for the banner, says EHLO (or HELO) and begins TLS as configured.
    pub async fn connect(addr: SocketAddr, config: ClientConfig) -> Result<Client, ClientError> {
        Client::connect_to(addr, config, Dialect::Smtp).await
    }

    async fn connect_to(addr: SocketAddr, config: ClientConfig, dialect: Dialect) -> Result<Client, ClientError> {
        let stream = connect_tcp(addr, &config).await?;
        let mut client = Client {
            stream: Some(Stream::Clear(stream)),
            parser: ReplyParser::default(),
            buffer: vec![0; READ_BYTES],
            config,
            capabilities: Capabilities::default(),
            greeting: Reply::plain(220, vec![String::new()]),
            tls: None,
            state: State::Ready,
            dialect,
            phase: Phase::Connect,
            refused: Vec::new(),
        };
        client.start_implicit_tls().await?;
        client.greeting = client.read_reply(Phase::Greeting).await?;
        if client.greeting.code() != 220 {
            return Err(ClientError::Closed { phase: Phase::Greeting, reply: client.greeting });
        }
        client.hello().await?;
        client.start_tls().await?;
        client.authenticate().await?;
        Ok(client)
    }

    /// What the peer said that it can do, after TLS if there is TLS.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The banner.
    pub fn greeting(&self) -> &Reply {
        &self.greeting
    }

    /// TLS, when the connection is encrypted.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// Whether another transaction can be tried on this connection.
    pub fn is_usable(&self) -> bool {
        matches!(self.state, State::Ready | State::NeedsReset)
    }

    /// The recipients of the last transaction that the host refused for themselves, by their place in the envelope: their
    /// replies count also when the transaction ended in an error later.
    pub fn refused(&self) -> &[(usize, Reply)] {
        &self.refused
    }

    /// What it means that somebody stopped waiting for a transaction: nothing was accepted, unless the final dot was written.
    pub fn interrupted(&self) -> ClientError {
        match self.phase {
            Phase::DataEnd => ClientError::UnclearEnd { cause: "nobody waited for the reply any longer".into() },
            phase => ClientError::Timeout { phase },
        }
    }

    /// One transaction. The body may have any line ends; one that is CRLF throughout and has no line that starts with
    /// a dot is written as it stands, without a copy.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send(&mut self, mail: &Mail<'_>, body: &[u8]) -> Result<Outcome, ClientError> {
        self.send_with(mail, &MailOptions::default(), body).await
    }

    /// As [`Client::send`], with what goes along with the envelope.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_with(
        &mut self,
        mail: &Mail<'_>,
        options: &MailOptions<'_>,
        body: &[u8],
    ) -> Result<Outcome, ClientError> {
        self.refused.clear();
        let eight_bit = !body.is_ascii();
        if eight_bit && !self.capabilities.eight_bit_mime {
            return Err(ClientError::EightBitRefused);
        }
        let has_utf8_address = options::has_utf8_address(mail);
        // RFC 6531 3.1: without SMTPUTF8 such an address goes nowhere.
        if has_utf8_address && !self.capabilities.smtputf8 {
            return Err(ClientError::Utf8Refused);
        }
        if options.require_tls && !(self.is_tls_required() && self.capabilities.require_tls) {
            return Err(ClientError::RequireTlsUnavailable);
        }
        let utf8 = self.capabilities.smtputf8 && (has_utf8_address || (eight_bit && options::has_utf8_header(body)));
        let canonical = canonical_newlines(body);
        let commands = self.commands_with(mail, options, Needs { size_bytes: canonical.len(), eight_bit, utf8 });
        let sent = self.transact(mail, &commands, &add_dots(&canonical)).await;
        if sent.is_err() {
            self.state = State::Closed;
        }
        sent
    }

    /// Whether TLS is in force that was asked for as required, so that its verifier has accepted the certificate.
    fn is_tls_required(&self) -> bool {
        self.tls.is_some() && matches!(self.config.tls, TlsMode::Required { .. } | TlsMode::Implicit { .. })
    }

    /// Ends an open transaction, or asks whether the peer is still there.
    pub async fn reset(&mut self) -> Result<(), ClientError> {
        let asked = match self.expect_silence().await {
            Ok(()) => self.command(Phase::Reset, "RSET\r\n").await,
            Err(error) => Err(error),
        };
        let reply = asked.inspect_err(|_| self.state = State::Closed)?;
        self.state = State::Ready;
        expect_completion(Phase::Reset, reply)
    }

    /// Takes leave. Whatever happens now changes nothing about what was sent.
    pub async fn quit(mut self) {
        if !self.is_usable() || self.command(Phase::Quit, "QUIT\r\n").await.is_err() {
            return;
        }
        if let Some(stream) = self.stream.as_mut() {
            let wait = Duration::from_millis(self.config.timeouts.quit_ms);
            let _ = timeout(wait, stream.shutdown()).await;
        }
    }

    async fn hello(&mut self) -> Result<(), ClientError> {
        let verb = match self.dialect {
            Dialect::Smtp => "EHLO",
            Dialect::Lmtp => "LHLO",
        };
        let ehlo = format!("{verb} {}\r\n", self.config.helo_name);
        let reply = self.command(Phase::Hello, &ehlo).await?;
        if reply.is_completion() {
            self.capabilities = Capabilities::parse(&reply);
            return Ok(());
        }
        if reply.class() != ReplyClass::Permanent || self.dialect == Dialect::Lmtp {
            return Err(ClientError::Closed { phase: Phase::Hello, reply });
        }
        // RFC 5321 3.2: a host that does not know EHLO is asked with HELO.
        let helo = format!("HELO {}\r\n", self.config.helo_name);
        let reply = self.command(Phase::Hello, &helo).await?;
        self.capabilities = Capabilities::default();
        if reply.is_completion() { Ok(()) } else { Err(ClientError::Closed { phase: Phase::Hello, reply }) }
    }

    /// RFC 3207.
    async fn start_tls(&mut self) -> Result<(), ClientError> {
        let (config, server_name, is_required) = match &self.config.tls {
            TlsMode::Off | TlsMode::Implicit { .. } => return Ok(()),
            TlsMode::Opportunistic { config, server_name } => (config.clone(), server_name.clone(), false),
            TlsMode::Required { config, server_name } => (config.clone(), server_name.clone(), true),
        };
        let is_ready = self.capabilities.starttls && self.command(Phase::StartTls, "STARTTLS\r\n").await?.code() == 220;
        if !is_ready {
            return if is_required { Err(ClientError::TlsUnavailable) } else { Ok(()) };
        }
        self.shake_hands(config, server_name).await?;
        self.hello().await
    }

    async fn start_implicit_tls(&mut self) -> Result<(), ClientError> {
        let TlsMode::Implicit { config, server_name } = &self.config.tls else { return Ok(()) };
        let (config, server_name) = (config.clone(), server_name.clone());
        self.shake_hands(config, server_name).await
    }

    async fn shake_hands(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<(), ClientError> {
        // Whatever stands behind the 220 was not protected: it is not a reply to anything.
        self.parser.clear();
        let lost = || ClientError::Lost { phase: Phase::StartTls, source: io::ErrorKind::NotConnected.into() };
        let stream = self.stream.take().ok_or_else(lost)?;
        let wait = Duration::from_millis(self.config.timeouts.tls_ms);
        let started = timeout(wait, stream.connect_tls(config, server_name)).await;
        let (stream, tls) =
            started.map_err(|_| ClientError::Timeout { phase: Phase::StartTls })?.map_err(ClientError::Tls)?;
        self.stream = Some(stream);
        self.tls = Some(tls);
        Ok(())
    }

    /// RFC 4954, when credentials are configured.
    async fn authenticate(&mut self) -> Result<(), ClientError> {
        let Some(credentials) = self.config.credentials.clone() else { return Ok(()) };
        let cannot = |why| ClientError::AuthUnavailable(why);
        if !self.is_tls_required() {
            return Err(cannot("a password is only sent under TLS with a checked certificate"));
        }
        let mechanism = Mechanism::best(&self.capabilities.auth)
            .ok_or(cannot("the host offers none of SCRAM-SHA-256, PLAIN and LOGIN"))?;
        let mut exchange = Exchange::new(&credentials, mechanism);
        let mut line = exchange.begin().map_err(cannot)?;
        loop {
            let reply = self.command(Phase::Auth, &line).await?;
            match reply.class() {
                ReplyClass::Completion => return exchange.end(&reply).map_err(cannot),
                ReplyClass::Intermediate => line = exchange.go_on(&reply).map_err(cannot)?,
                ReplyClass::Transient | ReplyClass::Permanent => return Err(ClientError::AuthRefused(reply)),
            }
        }
    }

    fn commands(&self, mail: &Mail<'_>, size_bytes: usize, is_eight_bit: bool) -> Vec<(Phase, String)> {
        let needs = Needs { size_bytes, eight_bit: is_eight_bit, utf8: false };
        self.commands_with(mail, &MailOptions::default(), needs)
    }

    fn commands_with(&self, mail: &Mail<'_>, options: &MailOptions<'_>, needs: Needs) -> Vec<(Phase, String)> {
        let mut commands = Vec::with_capacity(mail.recipients.len() + 3);
        if self.state == State::NeedsReset {
            commands.push((Phase::Reset, "RSET\r\n".to_owned()));
        }
        let parameters = options::mail_parameters(&self.capabilities, options, needs);
        commands.push((Phase::Mail, format!("MAIL FROM:<{}>{parameters}\r\n", mail.reverse_path)));
        commands.extend(mail.recipients.iter().enumerate().map(|(at, recipient)| {
            let parameters = options::recipient_parameters(&self.capabilities, options.recipients.get(at));
            (Phase::Rcpt, format!("RCPT TO:<{recipient}>{parameters}\r\n"))
        }));
        commands.push((Phase::DataStart, "DATA\r\n".to_owned()));
        commands
    }

    async fn transact(
        &mut self,
        mail: &Mail<'_>,
        commands: &[(Phase, String)],
        wire: &[u8],
    ) -> Result<Outcome, ClientError> {
        let mut said = self.converse(commands).await?;
        let is_anyone_accepted = said.is_anyone_accepted();
        let data = match said.data.take() {
            Some(go_on) if go_on.class() == ReplyClass::Intermediate => {
                // RFC 2920 3.1: a host that says 354 without a recipient gets an empty body.
                match self.send_body(if is_anyone_accepted { wire } else { b"" }).await {
                    Ok(reply) => Some(reply),
                    Err(error) if is_anyone_accepted => return Err(error),
                    // Every recipient has an answer: what becomes of a body without any does not matter.
                    Err(_) => {
                        self.state = State::Closed;
                        None
                    }
                }
            }
            Some(reply) if reply.is_completion() => {
                let text = format!("DATA was answered {reply}");
                return Err(ClientError::Protocol { phase: Phase::DataStart, text });
            }
            refused => refused,
        };
        Ok(said.outcome(mail, data.filter(|_| is_anyone_accepted)))
    }

    /// The dialogue up to the reply to DATA.
    async fn converse(&mut self, commands: &[(Phase, String)]) -> Result<Said, ClientError> {
        self.expect_silence().await?;
        self.state = State::Busy;
        self.refused.clear();
        let mut said = Said::default();
        let group_max = if self.capabilities.pipelining { PIPELINE_MAX } else { 1 };
        for group in commands.chunks(group_max) {
            // RFC 5321 3.3: without MAIL or recipients there is nothing to go on with.
            if said.is_hopeless(group) {
                break;
            }
            let text: Vec<u8> = group.iter().flat_map(|(_, command)| command.bytes()).collect();
            self.write(group[0].0, &[&text]).await?;
            for (phase, _) in group {
                let reply = self.read_reply(*phase).await?;
                if *phase == Phase::Rcpt && !said.is_mail_refused() && !reply.is_completion() {
                    self.refused.push((said.recipients.len(), reply.clone()));
                }
                said.hear(*phase, reply)?;
            }
        }
        self.state = State::NeedsReset;
        Ok(said)
    }

    /// Writes the body and waits for what became of it. From the final dot on the end is unclear until the reply.
    async fn send_body(&mut self, wire: &[u8]) -> Result<Reply, ClientError> {
        self.state = State::Busy;
        if let Err(lost) = self.write_slices(Phase::DataBlock, &[wire, END_OF_DATA]).await {
            return self.last_words().await.ok_or(lost);
        }
        let unclear = |error: ClientError| ClientError::UnclearEnd { cause: error.to_string() };
        self.flush(Phase::DataEnd).await.map_err(unclear)?;
        let reply = self.read_any_reply(Phase::DataEnd).await.map_err(unclear)?;
        self.state = if reply.code() == 421 { State::Closed } else { State::Ready };
        Ok(reply)
    }

    /// Why a peer hung up in the middle of a body, if it said so.
    async fn last_words(&mut self) -> Option<Reply> {
        self.state = State::Closed;
        let wait = Duration::from_millis(LAST_WORDS_MS_MAX);
        let reply = timeout(wait, self.read_any_reply(Phase::DataBlock)).await.ok()?.ok()?;
        matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent).then_some(reply)
    }

    /// Nothing may be said unasked between transactions, but 421: every reply behind it would be taken for another's.
    async fn expect_silence(&mut self) -> Result<(), ClientError> {
        let phase = Phase::Mail;
        let lost = |source| ClientError::Lost { phase, source };
        if !self.is_usable() {
            return Err(lost(io::ErrorKind::NotConnected.into()));
        }
        // What has come meanwhile is known once the runtime has looked.
        tokio::task::yield_now().await;
        if let Some(stream) = self.stream.as_mut()
            && let Ok(read) = timeout(Duration::ZERO, stream.read(&mut self.buffer)).await
        {
            match read.map_err(lost)? {
                0 => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
                count => self.parser.feed(&self.buffer[..count]),
            }
        }
        if self.parser.is_empty() {
            return Ok(());
        }
        match self.parser.next_reply() {
            Ok(Some(reply)) if reply.code() == 421 => Err(ClientError::Closed { phase, reply }),
            Ok(_) => Err(ClientError::Protocol { phase, text: "a reply that nobody asked for".into() }),
            Err(error) => Err(not_smtp(phase, error)),
        }
    }

    async fn command(&mut self, phase: Phase, line: &str) -> Result<Reply, ClientError> {
        self.write(phase, &[line.as_bytes()]).await?;
        self.read_reply(phase).await
    }

    /// A reply; 421 is the end of the connection (RFC 5321 3.8).
    async fn read_reply(&mut self, phase: Phase) -> Result<Reply, ClientError> {
        let reply = self.read_any_reply(phase).await?;
        if reply.code() == 421 {
            self.state = State::Closed;
            return Err(ClientError::Closed { phase, reply });
        }
        Ok(reply)
    }

    async fn read_any_reply(&mut self, phase: Phase) -> Result<Reply, ClientError> {
        let wait = self.enter(phase);
        let lost = |source| ClientError::Lost { phase, source };
        let reading = async {
            loop {
                if let Some(reply) = self.parser.next_reply().map_err(|error| not_smtp(phase, error))? {
                    return Ok(reply);
                }
                let stream = self.stream.as_mut().ok_or_else(|| lost(io::ErrorKind::NotConnected.into()))?;
                match stream.read(&mut self.buffer).await.map_err(lost)? {
                    0 => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
                    count => self.parser.feed(&self.buffer[..count]),
                }
            }
        };
        timeout(wait, reading).await.unwrap_or(Err(ClientError::Timeout { phase }))
    }

    async fn write(&mut self, phase: Phase, slices: &[&[u8]]) -> Result<(), ClientError> {
        self.write_slices(phase, slices).await?;
        self.flush(phase).await
    }

    /// Writes all; each block has the phase's time.
    async fn write_slices(&mut self, phase: Phase, slices: &[&[u8]]) -> Result<(), ClientError> {
        let wait = self.enter(phase);
        let lost = |source| ClientError::Lost { phase, source };
        let stream = self.stream.as_mut().ok_or_else(|| lost(io::ErrorKind::NotConnected.into()))?;
        let mut slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = timeout(wait, stream.write_vectored(rest)).await;
            match written.map_err(|_| ClientError::Timeout { phase })?.map_err(lost)? {
                0 => return Err(lost(io::ErrorKind::WriteZero.into())),
                count => IoSlice::advance_slices(&mut rest, count),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, phase: Phase) -> Result<(), ClientError> {
        let wait = self.enter(phase);
        let lost = |source| ClientError::Lost { phase, source };
        let stream = self.stream.as_mut().ok_or_else(|| lost(io::ErrorKind::NotConnected.into()))?;
        let flushed = timeout(wait, stream.flush()).await;
        flushed.map_err(|_| ClientError::Timeout { phase })?.map_err(lost)
    }

    /// The dialogue is in `phase` now; gives how long to wait there.
    fn enter(&mut self, phase: Phase) -> Duration {
        self.phase = phase;
        let timeouts = &self.config.timeouts;
        let wait_ms = match phase {
            Phase::Connect => timeouts.connect_ms,
            Phase::Greeting => timeouts.greeting_ms,
            Phase::Hello | Phase::StartTls | Phase::Auth | Phase::Reset => timeouts.command_ms,
            Phase::Mail => timeouts.mail_ms,
            Phase::Rcpt => timeouts.rcpt_ms,
            Phase::DataStart => timeouts.data_start_ms,
            Phase::DataBlock => timeouts.data_block_ms,
            Phase::DataEnd => timeouts.data_end_ms,
            Phase::Quit => timeouts.quit_ms,
        };
        Duration::from_millis(wait_ms)
    }
}

async fn connect_tcp(addr: SocketAddr, config: &ClientConfig) -> Result<TcpStream, ClientError> {
    let connecting = async {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(ip) = config.source_ip {
            socket.bind(SocketAddr::new(ip, 0))?;
        }
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let wait = Duration::from_millis(config.timeouts.connect_ms);
    match timeout(wait, connecting).await {
        Ok(connected) => connected.map_err(ClientError::Connect),
        Err(_) => Err(ClientError::Timeout { phase: Phase::Connect }),
    }
}
