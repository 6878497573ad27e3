//! Bytes in and out: a connection's stream, cut into commands, and what is written to it.
//!
//! A command is a line with the literals that it announces. What is buffered is bounded before it is read, and a message
//! that APPEND brings is kept apart from the command's text.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use model::MailboxId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{COMMAND_BYTES_BEFORE_LOGIN_MAX, COMMAND_BYTES_MAX, ImapConfig, LITERALS_MAX, WRITE_BYTES};
use crate::memory::{Memory, NoRoom, Room};

/// How long, and how many reads, a connection that ends goes on listening.
const CLOSING_DEADLINE: Duration = Duration::from_secs(1);
const CLOSING_READS_MAX: usize = 64;

/// A TCP stream that may turn into a TLS stream.
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Closed,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }
}

/// A command as it came.
#[derive(Debug)]
pub(crate) struct RawCommand {
    /// Its text, literals in place, line breaks as CRLF; the message of an APPEND is an empty literal here.
    pub(crate) text: Vec<u8>,
    /// The message of an APPEND.
    pub(crate) message: Option<Bytes>,
    /// Where that is.
    pub(crate) room: Option<Room>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Command(RawCommand),
    /// A command whose literal is not taken; the rest was read past. With the text so far.
    Refused {
        text: Vec<u8>,
        why: Refusal,
    },
    /// The client is gone.
    Closed,
    /// The client said nothing for too long.
    Silent,
    /// A line without end, or too large a literal that was not waited with: there is no going on.
    Endless,
}

/// Why a literal is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The command is larger than any.
    Command,
    /// The message of an APPEND is larger than any.
    Message,
    /// There is no room for the message now.
    NoRoom,
}

/// What a command may be.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) command_bytes_max: usize,
    /// `None`: no message is taken now.
    pub(crate) messages: Option<Messages>,
    /// How long to wait for the first byte.
    pub(crate) patience: Duration,
}

/// The messages that are taken.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    bytes_max: usize,
    memory: Arc<Memory>,
    mailbox_id: MailboxId,
}

impl Bounds {
    pub(crate) fn before_login(config: &ImapConfig) -> Self {
        Bounds { command_bytes_max: COMMAND_BYTES_BEFORE_LOGIN_MAX, messages: None, patience: config.greeting_deadline }
    }

    pub(crate) fn after_login(config: &ImapConfig, memory: &Arc<Memory>, mailbox_id: MailboxId) -> Self {
        let messages = Messages { bytes_max: config.size_bytes_max, memory: memory.clone(), mailbox_id };
        Bounds { command_bytes_max: COMMAND_BYTES_MAX, messages: Some(messages), patience: config.idle_deadline }
    }
}

pub(crate) struct Wire {
    stream: Stream,
    input: BytesMut,
    /// What is to be written; [`Wire::flush`] writes it.
    pub(crate) out: Vec<u8>,
    transfer_deadline: Duration,
}

/// A literal's announcement at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Announced {
    /// Where the `{` (or `~{`) stands.
    start: usize,
    bytes: usize,
    waits: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream, config: &ImapConfig) -> Self {
        Wire { stream, input: BytesMut::new(), out: Vec::new(), transfer_deadline: config.transfer_deadline }
    }

    /// Turns to TLS. What was read before belongs to nobody (RFC 3501 6.2.1; CVE-2011-0411 and its kind).
    pub(crate) async fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        self.input.clear();
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Clear(stream) => {
                let accepting = TlsAcceptor::from(config).accept(stream);
                let tls = timeout(self.transfer_deadline, accepting).await.map_err(|_| io::ErrorKind::TimedOut)??;
                self.stream = Stream::Tls(Box::new(tls));
                Ok(())
            }
            Stream::Tls(_) | Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes what is gathered.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let writing = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        let done = timeout(self.transfer_deadline, writing).await.map_err(|_| io::ErrorKind::TimedOut)?;
        self.out = out;
        self.out.clear();
        // A large answer's buffer is not kept for the connection's life.
        self.out.shrink_to(2 * WRITE_BYTES);
        done
    }

    /// Writes what is gathered when it is much.
    pub(crate) async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.out.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Ends the connection. What the client is still sending is read past for a moment: closing on unread bytes would
    /// reset the connection and take our last words with it.
    pub(crate) async fn close(&mut self) {
        let _ = self.flush().await;
        let ending = async {
            if self.stream.shutdown().await.is_err() {
                return;
            }
            for _ in 0..CLOSING_READS_MAX {
                self.input.clear();
                self.input.reserve(16 * 1024);
                if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                    return;
                }
            }
        };
        let _ = timeout(CLOSING_DEADLINE, ending).await;
    }

    /// A line without its end, for responses inside a command. Loses nothing when it is dropped while it waits.
    pub(crate) async fn line(&mut self, bytes_max: usize, patience: Duration) -> Result<Vec<u8>, Incoming> {
        let until = Instant::now() + patience;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let mut line = self.input.split_to(end + 1).to_vec();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return if line.len() > bytes_max { Err(Incoming::Endless) } else { Ok(line) };
            }
            if self.input.len() > bytes_max {
                return Err(Incoming::Endless);
            }
            self.fill(until).await?;
        }
    }

    async fn fill(&mut self, until: Instant) -> Result<(), Incoming> {
        match timeout_at(until, self.stream.read_buf(&mut self.input)).await {
            Ok(Ok(0) | Err(_)) => Err(Incoming::Closed),
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(Incoming::Silent),
        }
    }

    /// The next command.
    pub(crate) async fn command(&mut self, bounds: Bounds) -> Incoming {
        match self.try_command(&bounds).await {
            Ok(incoming) | Err(incoming) => incoming,
        }
    }

    async fn try_command(&mut self, bounds: &Bounds) -> Result<Incoming, Incoming> {
        if self.input.is_empty() {
            self.fill(Instant::now() + bounds.patience).await?;
        }
        let until = Instant::now() + self.transfer_deadline;
        let mut raw = RawCommand { text: Vec::new(), message: None, room: None };
        let mut literals = 0;
        loop {
            let room = bounds.command_bytes_max.saturating_sub(raw.text.len());
            let line = self.line(room, self.transfer_deadline).await?;
            raw.text.extend_from_slice(&line);
            let Some(announced) = announced(&raw.text, raw.text.len() - line.len()) else {
                raw.text.extend_from_slice(b"\r\n");
                return Ok(Incoming::Command(raw));
            };
            literals += 1;
            let message = bounds.messages.as_ref();
            let message = message.filter(|_| raw.message.is_none() && brings_message(&raw.text, announced.start));
            let (max, too_large) = match message {
                Some(message) => (message.bytes_max, Refusal::Message),
                None => (room.saturating_sub(line.len()), Refusal::Command),
            };
            if announced.bytes > max || literals > LITERALS_MAX {
                return self.refuse(raw.text, announced, too_large, bounds).await;
            }
            if let Some(message) = message {
                match message.memory.take(message.mailbox_id, announced.bytes as u64).await {
                    Ok(room) => raw.room = Some(room),
                    Err(NoRoom) => return self.refuse(raw.text, announced, Refusal::NoRoom, bounds).await,
                }
            }
            if announced.waits {
                self.out.extend_from_slice(b"+ Ready\r\n");
                self.flush().await.map_err(|_| Incoming::Closed)?;
            }
            let until = if message.is_some() { self.message_deadline(announced.bytes) } else { until };
            let literal = self.exactly(announced.bytes, until).await?;
            if message.is_some() {
                raw.text.truncate(announced.start);
                raw.text.extend_from_slice(b"{0}\r\n");
                raw.message = Some(literal);
            } else {
                raw.text.extend_from_slice(b"\r\n");
                raw.text.extend_from_slice(&literal);
            }
        }
    }

    /// The transfer deadline for each MiB.
    fn message_deadline(&self, bytes: usize) -> Instant {
        let steps = u32::try_from(bytes / (1024 * 1024) + 1).unwrap_or(u32::MAX);
        Instant::now() + self.transfer_deadline.saturating_mul(steps.min(64))
    }

    async fn exactly(&mut self, bytes: usize, until: Instant) -> Result<Bytes, Incoming> {
        self.input.reserve(bytes.saturating_sub(self.input.len()));
        while self.input.len() < bytes {
            self.fill(until).await?;
        }
        // What follows gets a buffer of its own: a session must not keep that of its largest message.
        let rest = BytesMut::from(&self.input[bytes..]);
        let mut literal = std::mem::replace(&mut self.input, rest);
        literal.truncate(bytes);
        Ok(literal.freeze())
    }

    /// A literal that is not taken: it is not sent when the client waits (RFC 3501 7.5), else it is read past, and with it the
    /// rest of its command: nothing of that is a command of its own.
    async fn refuse(
        &mut self,
        text: Vec<u8>,
        announced: Announced,
        why: Refusal,
        bounds: &Bounds,
    ) -> Result<Incoming, Incoming> {
        let mut left_max = bounds.messages.as_ref().map_or(0, |messages| messages.bytes_max.saturating_mul(2));
        let mut next = announced;
        for _ in 0..LITERALS_MAX {
            if next.waits {
                return Ok(Incoming::Refused { text, why });
            }
            left_max = left_max.checked_sub(next.bytes).ok_or(Incoming::Endless)?;
            self.skip(next.bytes).await?;
            let line = self.line(bounds.command_bytes_max, self.transfer_deadline).await?;
            match self::announced(&line, 0) {
                Some(following) => next = following,
                None => return Ok(Incoming::Refused { text, why }),
            }
        }
        Err(Incoming::Endless)
    }

    async fn skip(&mut self, bytes: usize) -> Result<(), Incoming> {
        let until = self.message_deadline(bytes);
        let mut left = bytes;
        while left > 0 {
            if self.input.is_empty() {
                self.fill(until).await?;
            }
            let now = left.min(self.input.len());
            self.input.advance(now);
            left -= now;
        }
        Ok(())
    }
}

/// The literal that the line from `line_start` on announces at its end (RFC 3501 4.3, RFC 7888, RFC 3516).
fn announced(text: &[u8], line_start: usize) -> Option<Announced> {
    let line = &text[line_start..];
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = &inner[open + 1..];
    let (digits, waits) = digits.strip_suffix(b"+").map_or((digits, true), |digits| (digits, false));
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bytes = std::str::from_utf8(digits).ok()?.parse::<u32>().ok()?;
    let tilde = usize::from(open > 0 && inner[open - 1] == b'~');
    Some(Announced { start: line_start + open - tilde, bytes: usize::try_from(bytes).ok()?, waits })
}

/// Whether a literal is the message of an APPEND: not the folder name, which comes right behind the word.
fn brings_message(text: &[u8], literal_start: usize) -> bool {
    let Some(space) = memchr::memchr(b' ', text) else { return false };
    let rest = &text[space + 1..];
    let word = b"APPEND ";
    rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word) && literal_start > space + 1 + word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_recognised() {
        let check = |text: &str| announced(text.as_bytes(), 0).map(|a| (a.start, a.bytes, a.waits));
        assert_eq!(check("a LOGIN {5}"), Some((8, 5, true)));
        assert_eq!(check("a LOGIN {5+}"), Some((8, 5, false)));
        assert_eq!(check("a APPEND b ~{5}"), Some((11, 5, true)));
        for none in ["a LOGIN {5} ", "a {}", "a {+}", "a {-1}", "a {99999999999}", "a {5", "}"] {
            assert_eq!(check(none), None, "{none}");
        }
        assert!(brings_message(b"a append INBOX {5}", 15));
        assert!(brings_message(b"a APPEND {5}\r\nINBOX {7}", 20));
        assert!(!brings_message(b"a APPEND {5}", 9));
        assert!(!brings_message(b"a LOGIN x {5}", 10));
    }

    #[tokio::test]
    async fn a_message_leaves_no_buffer_behind() {
        const BYTES: usize = 3 * 1024 * 1024;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let config = ImapConfig::new("mx".into());
        let mut wire = Wire::new(Stream::Clear(stream), &config);
        let bounds = Bounds::after_login(&config, &Arc::new(Memory::new(&config)), MailboxId(1));
        let begin = format!("a APPEND b {{{BYTES}+}}\r\n");
        let sent = [begin.as_bytes(), vec![b'x'; BYTES].as_slice(), b"\r\nb NOOP\r\n"].concat();
        let sending = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client
        });
        let Incoming::Command(first) = wire.command(bounds.clone()).await else { panic!("a command") };
        assert_eq!(first.message.map(|message| message.len()), Some(BYTES));
        assert!(wire.input.capacity() < BYTES / 4, "{}", wire.input.capacity());
        let Incoming::Command(second) = wire.command(bounds).await else { panic!("a command") };
        assert_eq!((second.text.as_slice(), second.room.is_none()), (&b"b NOOP\r\n"[..], true));
        sending.await.unwrap();
    }
}
