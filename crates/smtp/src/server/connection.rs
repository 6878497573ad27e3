//! One connection: a [`Session`] on a stream, with deadlines, TLS and a [`Handler`] that decides.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use model::{Address, ClientInfo, Envelope, Reply, TlsInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::Service;
use super::login::{LoginExchange, LoginInput, LoginStep};
use super::proxy::read_header;
use super::session::{Output, Session, Waiting};
use crate::stream::Stream;

const READ_BYTES: usize = 32 * 1024;
/// After our last reply, so that it is not lost to a reset while the peer still sends.
const LINGER_MS: u64 = 1000;
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Who decides and who commits. A panic in any of these is answered 451 and ends nothing else.
pub trait Handler: Send + Sync + 'static {
    /// Whether this peer may talk to us; a refusal is said instead of the banner, and the connection closes.
    fn connect(&self, client: &ClientInfo) -> impl Future<Output = Result<(), Reply>> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// Whether this reverse-path may send. The envelope has no recipients yet.
    fn mail(&self, envelope: &Envelope) -> impl Future<Output = Result<(), Reply>> + Send {
        let _ = envelope;
        async { Ok(()) }
    }

    /// Whether `recipient` may be added to the envelope, which has those accepted before it.
    fn rcpt(&self, envelope: &Envelope, recipient: &Address) -> impl Future<Output = Result<(), Reply>> + Send;

    /// Begins a login by one of the mechanisms that the server's configuration offers; `None` refuses it.
    fn login(&self, client: &ClientInfo, mechanism: &'static str) -> Option<Box<dyn LoginExchange>> {
        let (_, _) = (client, mechanism);
        None
    }

    /// As [`Handler::data`] for LMTP: a reply for each forward-path, in their order (RFC 2033 4.2).
    fn data_each(&self, envelope: Envelope, body: Vec<u8>) -> impl Future<Output = Vec<Reply>> + Send {
        async move {
            let recipient_count = envelope.forward_paths.len();
            vec![self.data(envelope, body).await; recipient_count]
        }
    }

    /// Commits a message. A 2yz reply promises that it is durable for every forward-path (RFC 5321 6.1).
    fn data(&self, envelope: Envelope, body: Vec<u8>) -> impl Future<Output = Reply> + Send;
}

/// How a connection ended.
#[derive(Debug)]
pub enum ConnectionEnd {
    /// We closed it: after QUIT, a deadline, too many errors or at shutdown.
    Closed,
    /// The peer closed it.
    PeerClosed,
    /// It broke, TLS failed, or the peer did not read what we wrote.
    Broken(io::Error),
}

/// Reads the header of the PROXY protocol within `deadline_ms` and gives the client that the peer speaks for, if any.
pub(super) async fn hear_proxy<S: AsyncRead + Unpin>(
    stream: &mut S,
    deadline_ms: u64,
) -> io::Result<Option<std::net::IpAddr>> {
    timeout(Duration::from_millis(deadline_ms), read_header(stream)).await?
}

/// Serves one connection to its end; the second value counts the panics of the handler.
///
/// The replies of one pipelined batch are written together. When `shutdown` is cancelled, the session closes as soon
/// as no transaction is under way.
pub async fn serve_connection<S, H>(
    stream: S,
    session: Session,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: &H,
    shutdown: &CancellationToken,
) -> (ConnectionEnd, u64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Handler,
{
    let now = Instant::now();
    let mut connection = Connection {
        stream: Some(Stream::Clear(stream)),
        session,
        tls,
        handler,
        shutdown,
        exchange: None,
        due: Vec::with_capacity(1024),
        buffer: Vec::with_capacity(READ_BYTES),
        began_at: now,
        waiting_since: now,
        waited_for: Waiting::Driver,
        waited_bytes: 0,
        panic_count: 0,
    };
    let end = match connection.run().await {
        Ok(end) => end,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => ConnectionEnd::PeerClosed,
        Err(error) => ConnectionEnd::Broken(error),
    };
    (end, connection.panic_count)
}

struct Connection<'a, S, H> {
    /// None only while TLS begins.
    stream: Option<Stream<S>>,
    session: Session,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: &'a H,
    shutdown: &'a CancellationToken,
    /// A login that is under way.
    exchange: Option<Box<dyn LoginExchange>>,
    /// Replies that are not yet written.
    due: Vec<u8>,
    /// What was read last. (Not zeroed for each connection: most need a fraction of it.)
    buffer: Vec<u8>,
    began_at: Instant,
    /// Since when the present command or body is awaited, and how many bytes of it came.
    waiting_since: Instant,
    waited_for: Waiting,
    waited_bytes: u64,
    panic_count: u64,
}

enum Read {
    Bytes(usize),
    End,
    TimedOut,
    ShutDown,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, H: Handler> Connection<'_, S, H> {
    async fn run(&mut self) -> io::Result<ConnectionEnd> {
        if self.session.config().tls_implicit {
            let tls = self.handshake().await?;
            self.session.tls_from_the_start(tls);
        }
        self.hear_early_talkers().await?;
        let admitted = self.handler.connect(self.session.client());
        let admitted = guarded(admitted, self.session.config().handler_deadline_ms, &mut self.panic_count).await;
        self.session.greet(admitted.unwrap_or_else(|| Err(try_later())).err());
        loop {
            let has_progressed = self.act().await?;
            self.flush().await?;
            if self.session.waiting() == Waiting::Closed {
                // At shutdown nobody is waited for: those that are told to go were idle.
                if !self.shutdown.is_cancelled() && !self.is_done() {
                    self.linger().await;
                }
                return Ok(ConnectionEnd::Closed);
            }
            if has_progressed || self.session.waiting() != self.waited_for {
                self.waiting_since = Instant::now();
                self.waited_for = self.session.waiting();
                self.waited_bytes = 0;
            }
            match self.read().await? {
                Read::Bytes(count) => {
                    self.waited_bytes += count as u64;
                    self.session.feed(&self.buffer);
                }
                Read::End => return Ok(ConnectionEnd::PeerClosed),
                Read::TimedOut => self.session.time_out(),
                Read::ShutDown => self.session.shut_down(),
            }
        }
    }

    /// Does what the session asks until it wants bytes; true when it asked for anything.
    async fn act(&mut self) -> io::Result<bool> {
        let mut has_progressed = false;
        while let Some(output) = self.session.next_output() {
            has_progressed = true;
            let deadline_ms = self.session.config().handler_deadline_ms;
            match output {
                Output::Reply(reply) => self.due.extend_from_slice(&reply.to_wire()),
                Output::CheckSender => {
                    let decision = self.handler.mail(self.session.envelope());
                    let decision = guarded(decision, deadline_ms, &mut self.panic_count).await;
                    self.session.decide(decision.unwrap_or_else(|| Err(try_later())));
                }
                Output::VerifyRecipient(recipient) => {
                    let decision = self.handler.rcpt(self.session.envelope(), &recipient);
                    let decision = guarded(decision, deadline_ms, &mut self.panic_count).await;
                    self.session.decide(decision.unwrap_or_else(|| Err(try_later())));
                }
                Output::Login(input) => self.log_in(input).await,
                Output::Delay { delay_ms } => {
                    self.flush().await?;
                    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                }
                Output::Message { envelope, body } if self.session.config().service == Service::Lmtp => {
                    self.flush().await?;
                    let replies = self.handler.data_each(envelope, body);
                    let replies = guarded(replies, deadline_ms, &mut self.panic_count).await;
                    self.session.finish_each(&replies.unwrap_or_default());
                }
                Output::Message { envelope, body } => {
                    self.flush().await?;
                    let reply = guarded(self.handler.data(envelope, body), deadline_ms, &mut self.panic_count).await;
                    self.session.finish(reply.unwrap_or_else(try_later));
                }
                Output::StartTls => self.start_tls().await?,
                Output::Close => break,
            }
        }
        Ok(has_progressed)
    }

    async fn log_in(&mut self, input: LoginInput) {
        let response = match input {
            LoginInput::Begin { mechanism, initial } => {
                self.exchange = self.handler.login(self.session.client(), mechanism);
                initial
            }
            LoginInput::Response(response) => Some(response),
        };
        let deadline_ms = self.session.config().handler_deadline_ms;
        let step = match &mut self.exchange {
            Some(exchange) => guarded(exchange.step(response.as_deref()), deadline_ms, &mut self.panic_count).await,
            None => None,
        };
        // RFC 4954 6: 454 4.7.0 for a failure that passes.
        let later = || LoginStep::Refused(Reply::transient(454, (7, 0), "logging in is not possible now"));
        let step = step.unwrap_or_else(later);
        if !matches!(step, LoginStep::Challenge(_)) {
            self.exchange = None;
        }
        self.session.login_step(step);
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.flush().await?;
        let tls = self.handshake().await?;
        self.session.tls_started(tls);
        Ok(())
    }

    async fn handshake(&mut self) -> io::Result<TlsInfo> {
        let config = self.tls.clone().ok_or_else(|| io::Error::other("TLS was offered without a certificate"))?;
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        let deadline = Duration::from_millis(self.session.config().tls_deadline_ms);
        let (stream, tls) = timeout(deadline, stream.accept_tls(config)).await??;
        self.stream = Some(stream);
        Ok(tls)
    }

    /// RFC 5321 4.3.1: the client waits for the banner. What it says before is fed to the session, which refuses it.
    async fn hear_early_talkers(&mut self) -> io::Result<()> {
        let delay_ms = self.session.config().banner_delay_ms;
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut reading = pin!(stream.read_buf(&mut self.buffer));
        let heard = match delay_ms {
            // Only what is there already: a timer would cost every connection a tick.
            0 => poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await,
            _ => match timeout(Duration::from_millis(delay_ms), reading).await {
                Ok(heard) => Poll::Ready(heard),
                Err(_) => Poll::Pending,
            },
        };
        match heard {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(_)) => {
                self.session.feed(&self.buffer);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    async fn read(&mut self) -> io::Result<Read> {
        let deadline = self.deadline();
        let is_at_rest = self.session.is_at_rest();
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        self.buffer.clear();
        let read = timeout_at(deadline, stream.read_buf(&mut self.buffer));
        tokio::select! {
            biased;
            () = self.shutdown.cancelled(), if is_at_rest => Ok(Read::ShutDown),
            read = read => match read {
                Ok(Ok(0)) => Ok(Read::End),
                Ok(Ok(count)) => Ok(Read::Bytes(count)),
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(Read::TimedOut),
            },
        }
    }

    /// A command has one deadline however it drips; a body has a grace and then has to keep its rate.
    fn deadline(&self) -> Instant {
        let config = self.session.config();
        let allowed_ms = match self.session.waiting() {
            Waiting::Data => {
                let earned_ms = self.waited_bytes.saturating_mul(1000).checked_div(config.data_rate_min);
                config.data_grace_ms.saturating_add(earned_ms.unwrap_or(config.connection_deadline_ms))
            }
            Waiting::Command | Waiting::Driver | Waiting::Closed => config.command_deadline_ms,
        };
        let whole = self.began_at + Duration::from_millis(config.connection_deadline_ms);
        whole.min(self.waiting_since + Duration::from_millis(allowed_ms.min(config.connection_deadline_ms)))
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.due.is_empty() {
            return Ok(());
        }
        let deadline = Duration::from_millis(self.session.config().write_deadline_ms);
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        timeout(deadline, async {
            stream.write_all(&self.due).await?;
            stream.flush().await
        })
        .await??;
        self.due.clear();
        Ok(())
    }

    /// Whether the peer said goodbye over a stream that ends without a word of ours (TLS has one, RFC 8446 6.1).
    fn is_done(&self) -> bool {
        self.session.has_left() && matches!(self.stream, Some(Stream::Clear(_)))
    }

    /// Says that we are done and reads on for a moment: closing a socket with unread bytes resets the connection,
    /// and a reset can overtake the reply that explains it.
    async fn linger(&mut self) {
        let Some(stream) = self.stream.as_mut() else { return };
        let buffer = &mut self.buffer;
        let reading = async {
            if stream.shutdown().await.is_err() {
                return;
            }
            let mut read_bytes = 0;
            while read_bytes < LINGER_BYTES_MAX {
                buffer.clear();
                match stream.read_buf(buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => read_bytes += count,
                }
            }
        };
        // A peer that stays longer gets its reset.
        let _ = timeout(Duration::from_millis(LINGER_MS), reading).await;
    }
}

fn try_later() -> Reply {
    Reply::transient(451, (3, 0), "try again later")
}

/// Runs a decision of the handler; `None` when it panicked or took too long.
async fn guarded<F: Future>(future: F, deadline_ms: u64, panic_count: &mut u64) -> Option<F::Output> {
    let mut future = pin!(future);
    let caught = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    });
    match timeout(Duration::from_millis(deadline_ms), caught).await {
        Ok(Some(value)) => Some(value),
        Ok(None) => {
            *panic_count += 1;
            tracing::error!("the handler panicked; the peer was answered 451");
            None
        }
        Err(_) => {
            tracing::error!(deadline_ms, "the handler took more than {deadline_ms} ms; the peer was answered 451");
            None
        }
    }
}
