//! The client side of IMAP4rev1 (RFC 3501), as much of it as a connector needs: one connection, one command at a time.
//!
//! Answers are read by `imap-codec`. A line that it cannot read is left out: a server may say more than we understand.

use std::sync::Arc;
use std::time::Duration;

use imap_codec::ResponseCodec;
use imap_codec::decode::{Decoder, ResponseDecodeError};
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::response::{Code, CommandContinuationRequest, Data, Response, Status, StatusKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::{Endpoint, Security};

/// What a server may say to one command.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImapError {
    /// The server says no.
    #[error("{command} was answered NO: {text}")]
    No { command: &'static str, refusal: Refusal, text: String },
    /// The server does not understand.
    #[error("{command} was answered BAD: {text}")]
    Bad { command: &'static str, text: String },
    /// The connection could not be made or broke.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// It took too long.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
}

/// What the response code of a NO says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// RFC 3501 7.1: the folder does not exist, and can be created.
    TryCreate,
    /// RFC 5530: it exists already.
    AlreadyExists,
    /// RFC 9208: over quota.
    OverQuota,
    /// RFC 5530: it would be possible another time, or once somebody has repaired something.
    Passing,
    /// Anything else.
    Other,
}

/// The answer to a command that succeeded.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) data: Vec<Data<'static>>,
    pub(super) code: Option<Code<'static>>,
}

/// A piece of a command.
#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Literal(Vec<u8>),
}

/// A command as it is put together.
#[derive(Debug, Clone)]
pub(super) struct Command {
    name: &'static str,
    parts: Vec<Part>,
}

impl Command {
    pub(super) fn new(name: &'static str) -> Self {
        Command { name, parts: vec![Part::Text(name.to_owned())] }
    }

    /// Text of ours that needs no quoting.
    pub(super) fn plain(mut self, text: &str) -> Self {
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
        self
    }

    /// A string of anybody's: quoted, or a literal where a quoted string cannot hold it (RFC 3501 4.3).
    pub(super) fn string(self, text: &str) -> Self {
        let is_quotable = text.bytes().all(|b| (b' '..0x7f).contains(&b));
        if !is_quotable {
            return self.literal(text.as_bytes());
        }
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        self.plain(&format!("\"{escaped}\""))
    }

    pub(super) fn literal(mut self, bytes: &[u8]) -> Self {
        self.parts.push(Part::Literal(bytes.to_vec()));
        self
    }
}

/// A connection to a server.
pub(super) struct Session {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    tag: u32,
    deadline: Duration,
    capabilities: Vec<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, hears the greeting, encrypts as configured, and logs in.
    pub(super) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<rustls::ClientConfig>>,
        user: &str,
        secret: &str,
        deadline: Duration,
    ) -> Result<Session, ImapError> {
        timeout(deadline, Session::connect(endpoint, tls, user, secret, deadline))
            .await
            .unwrap_or(Err(ImapError::Timeout("the log-in")))
    }

    async fn connect(
        endpoint: &Endpoint,
        tls: Option<&Arc<rustls::ClientConfig>>,
        user: &str,
        secret: &str,
        deadline: Duration,
    ) -> Result<Session, ImapError> {
        let lost = |e: std::io::Error| ImapError::Lost(e.to_string());
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let session =
            |wire: Box<dyn Wire>| Session { wire, buffer: Vec::new(), tag: 0, deadline, capabilities: Vec::new() };
        let mut session = match endpoint.security {
            Security::Tls => {
                let mut session = session(Box::new(encrypt(stream, endpoint, tls).await?));
                session.greeting().await?;
                session
            }
            Security::StartTls => {
                let stream = start_tls(stream).await?;
                session(Box::new(encrypt(stream, endpoint, tls).await?))
            }
            Security::Clear => {
                let mut session = session(Box::new(stream));
                session.greeting().await?;
                session
            }
        };
        session.run(Command::new("LOGIN").plain(" ").string(user).plain(" ").string(secret)).await?;
        let answer = session.run(Command::new("CAPABILITY")).await?;
        session.capabilities = capabilities(&answer);
        Ok(session)
    }

    /// Whether the server says that it can do this.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    async fn greeting(&mut self) -> Result<(), ImapError> {
        let line = self.line().await?;
        if line.starts_with(b"* OK") { Ok(()) } else { Err(ImapError::Lost("the server does not greet".into())) }
    }

    /// A line as it stands; only before the first command.
    async fn line(&mut self) -> Result<Vec<u8>, ImapError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                return Ok(self.buffer.drain(..end + 2).collect());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ImapError> {
        if self.buffer.len() > RESPONSE_BYTES_MAX {
            return Err(ImapError::Lost("the server says too much".into()));
        }
        let start = self.buffer.len();
        self.buffer.resize(start + READ_BYTES, 0);
        let count = self.wire.read(&mut self.buffer[start..]).await.map_err(|e| ImapError::Lost(e.to_string()))?;
        self.buffer.truncate(start + count);
        if count == 0 { Err(ImapError::Lost("the server hung up".into())) } else { Ok(()) }
    }

    /// Runs one command. After any error but NO the connection is of no more use.
    pub(super) async fn run(&mut self, command: Command) -> Result<Answer, ImapError> {
        let name = command.name;
        timeout(self.deadline, self.converse(command)).await.unwrap_or(Err(ImapError::Timeout(name)))
    }

    async fn converse(&mut self, command: Command) -> Result<Answer, ImapError> {
        self.tag += 1;
        let tag = format!("L{}", self.tag);
        let name = command.name;
        let mut line = format!("{tag} ").into_bytes();
        let mut data = Vec::new();
        for part in command.parts {
            match part {
                Part::Text(text) => line.extend_from_slice(text.as_bytes()),
                Part::Literal(bytes) => {
                    // RFC 7888: a server that can LITERAL+ is not waited for.
                    let mode = if self.can("LITERAL+") { "+" } else { "" };
                    line.extend_from_slice(format!("{{{}{mode}}}\r\n", bytes.len()).as_bytes());
                    if mode.is_empty() {
                        self.write(&line).await?;
                        line.clear();
                        if let Some(ended) = self.until_continued(name, &tag, &mut data).await? {
                            return Ok(ended);
                        }
                    }
                    line.extend_from_slice(&bytes);
                }
            }
        }
        line.extend_from_slice(b"\r\n");
        self.write(&line).await?;
        loop {
            match self.next().await? {
                Response::Data(one) => data.push(one),
                Response::CommandContinuationRequest(_) => {}
                Response::Status(status) => {
                    if let Some(code) = ended(name, &tag, status)? {
                        return Ok(Answer { data, code: code.0 });
                    }
                }
            }
        }
    }

    /// Waits for the go-ahead to a literal. A command that ends here was refused, or is strange.
    async fn until_continued(
        &mut self,
        name: &'static str,
        tag: &str,
        data: &mut Vec<Data<'static>>,
    ) -> Result<Option<Answer>, ImapError> {
        loop {
            match self.next().await? {
                Response::CommandContinuationRequest(
                    CommandContinuationRequest::Basic(_) | CommandContinuationRequest::Base64(_),
                ) => return Ok(None),
                Response::Data(one) => data.push(one),
                Response::Status(status) => {
                    if let Some(code) = ended(name, tag, status)? {
                        return Ok(Some(Answer { data: std::mem::take(data), code: code.0 }));
                    }
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ImapError> {
        let lost = |e: std::io::Error| ImapError::Lost(e.to_string());
        self.wire.write_all(bytes).await.map_err(lost)?;
        self.wire.flush().await.map_err(lost)
    }

    /// The next response that can be read.
    async fn next(&mut self) -> Result<Response<'static>, ImapError> {
        loop {
            match ResponseCodec::default().decode(&self.buffer) {
                Ok((rest, response)) => {
                    let used = self.buffer.len() - rest.len();
                    let response = response.into_static();
                    self.buffer.drain(..used);
                    return Ok(response);
                }
                Err(ResponseDecodeError::Incomplete | ResponseDecodeError::LiteralFound { .. }) => self.fill().await?,
                Err(ResponseDecodeError::Failed) => {
                    let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") else {
                        self.fill().await?;
                        continue;
                    };
                    // RFC 3501 wants ASCII; Dovecot writes folder names into its texts as they are.
                    let line = &mut self.buffer[..end];
                    if !line.is_ascii() {
                        line.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
                        continue;
                    }
                    let tagged = self.buffer.starts_with(format!("L{} ", self.tag).as_bytes());
                    self.buffer.drain(..end + 2);
                    if tagged {
                        return Err(ImapError::Lost("the end of a command cannot be read".into()));
                    }
                }
            }
        }
    }

    /// Takes leave; nothing depends on it.
    pub(super) async fn close(mut self) {
        let _ = self.run(Command::new("LOGOUT")).await;
    }
}

/// `Some` when the tagged answer has come.
fn ended(
    name: &'static str,
    tag: &str,
    status: Status<'static>,
) -> Result<Option<(Option<Code<'static>>,)>, ImapError> {
    match status {
        Status::Bye(bye) if name != "LOGOUT" => Err(ImapError::Lost(format!("the server says BYE: {}", bye.text))),
        Status::Bye(_) | Status::Untagged(_) => Ok(None),
        Status::Tagged(tagged) if tagged.tag.as_ref() != tag => Ok(None),
        Status::Tagged(tagged) => {
            let text = tagged.body.text.to_string();
            match tagged.body.kind {
                StatusKind::Ok => Ok(Some((tagged.body.code,))),
                StatusKind::No => {
                    Err(ImapError::No { command: name, refusal: refusal(tagged.body.code.as_ref()), text })
                }
                StatusKind::Bad => Err(ImapError::Bad { command: name, text }),
            }
        }
    }
}

fn refusal(code: Option<&Code<'_>>) -> Refusal {
    match code {
        Some(Code::TryCreate) => Refusal::TryCreate,
        Some(Code::OverQuota) => Refusal::OverQuota,
        Some(Code::Other(other)) => match String::from_utf8_lossy(other.inner()).to_ascii_uppercase().as_str() {
            "TRYCREATE" | "NONEXISTENT" => Refusal::TryCreate,
            "ALREADYEXISTS" => Refusal::AlreadyExists,
            "OVERQUOTA" => Refusal::OverQuota,
            "UNAVAILABLE" | "INUSE" | "SERVERBUG" | "CORRUPTION" | "CONTACTADMIN" | "LIMIT" => Refusal::Passing,
            _ => Refusal::Other,
        },
        Some(_) | None => Refusal::Other,
    }
}

fn capabilities(answer: &Answer) -> Vec<String> {
    let named = answer.data.iter().filter_map(|data| match data {
        Data::Capability(all) => Some(all.as_ref().iter().map(|one| one.to_string().to_ascii_uppercase())),
        _ => None,
    });
    named.flatten().collect()
}

async fn encrypt(
    stream: TcpStream,
    endpoint: &Endpoint,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ImapError> {
    let config = tls.ok_or_else(|| ImapError::Lost("no certificates to trust are configured".into()))?;
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| ImapError::Lost(format!("{} is no name that a certificate can have", endpoint.host)))?;
    let connected = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
    connected.map_err(|e| ImapError::Lost(format!("TLS failed: {e}")))
}

/// STARTTLS (RFC 3501 6.2.1): by hand, before anything is believed. What stands behind the OK was not protected, so it
/// ends the connection.
async fn start_tls(mut stream: TcpStream) -> Result<TcpStream, ImapError> {
    let lost = |e: std::io::Error| ImapError::Lost(e.to_string());
    let greeting = clear_line(&mut stream).await?;
    if !greeting.starts_with(b"* OK") {
        return Err(ImapError::Lost("the server does not greet".into()));
    }
    stream.write_all(b"S STARTTLS\r\n").await.map_err(lost)?;
    loop {
        let line = clear_line(&mut stream).await?;
        match line.as_slice() {
            line if line.starts_with(b"S OK") => return Ok(stream),
            line if line.starts_with(b"* ") => {}
            _ => return Err(ImapError::Lost("the server does not offer STARTTLS".into())),
        }
    }
}

/// A line, byte by byte: nothing behind it is taken from what TLS will read.
async fn clear_line(stream: &mut TcpStream) -> Result<Vec<u8>, ImapError> {
    const LINE_BYTES_MAX: usize = 8 * 1024;
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        let byte = stream.read_u8().await.map_err(|e| ImapError::Lost(e.to_string()))?;
        line.push(byte);
        if line.ends_with(b"\r\n") {
            return Ok(line);
        }
    }
    Err(ImapError::Lost("the server says too much".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_now_is_not_nothing() {
        let of = |text: &str| {
            let line = format!("L1 NO {text}\r\n");
            let (_, response) = ResponseCodec::default().decode(line.as_bytes()).expect("a response");
            let Response::Status(status) = response else { panic!("a status") };
            match ended("EXAMINE", "L1", status.into_static()) {
                Err(ImapError::No { refusal, .. }) => refusal,
                other => panic!("{text}: {other:?}"),
            }
        };
        for passing in
            ["[UNAVAILABLE] x", "[INUSE] x", "[ServerBug] x", "[CORRUPTION] x", "[CONTACTADMIN] x", "[LIMIT] x"]
        {
            assert_eq!(of(passing), Refusal::Passing, "{passing}");
        }
        assert_eq!(of("[TRYCREATE] x"), Refusal::TryCreate);
        assert_eq!(of("[NONEXISTENT] x"), Refusal::TryCreate);
        assert_eq!(of("[NOPERM] x"), Refusal::Other);
        assert_eq!(of("no such folder"), Refusal::Other);
    }
}
