//! A host that takes mail and keeps it in memory, on a free port of 127.0.0.1, and refuses when it is told to.
//!
//! It is the real SMTP server with a handler that remembers.

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Address, Envelope, Reply};
use smtp::server::serve_connection;
use smtp::{CancellationToken, Handler, ServerConfig, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// How long [`Sink::wait_for`] waits.
const WAIT_MS_MAX: u64 = 30_000;

/// What a sink took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkMail {
    /// With the accepted recipients.
    pub envelope: Envelope,
    /// As it arrived, dots removed.
    pub body: Vec<u8>,
}

/// A running sink; it stops when it is dropped.
#[derive(Debug)]
pub struct Sink {
    addr: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    mail_count: watch::Sender<usize>,
}

/// Scripts by [`Address::key`].
#[derive(Debug, Default)]
struct State {
    mails: Vec<SinkMail>,
    connection_count: usize,
    attempts: HashMap<String, usize>,
    at_rcpt: HashMap<String, Script>,
    at_data: HashMap<String, Script>,
    lost_replies: HashMap<String, usize>,
}

/// Replies to give: some in turn, then one for ever, or acceptance.
#[derive(Debug, Default)]
struct Script {
    in_turn: std::collections::VecDeque<Reply>,
    for_ever: Option<Reply>,
}

impl Sink {
    /// Accepts everything, without TLS, under the name `sink.example`.
    pub async fn start() -> Sink {
        Sink::start_with(ServerConfig::new("sink.example"), None).await
    }

    /// With these limits, and STARTTLS when `tls` is given.
    pub async fn start_with(mut config: ServerConfig, tls: Option<Arc<rustls::ServerConfig>>) -> Sink {
        config.tls_available = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { state: Mutex::default(), mail_count: watch::Sender::new(0) });
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::new(config), tls, shared.clone(), shutdown.clone()));
        Sink { addr, shared, shutdown, serving }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// RCPT of this address gets these replies in turn (one for each RCPT) and is accepted after them.
    pub fn refuse(&self, recipient: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().at_rcpt.entry(recipient.to_lowercase()).or_default().in_turn.extend(replies);
    }

    /// RCPT of this address always gets this reply.
    pub fn refuse_always(&self, recipient: &str, reply: Reply) {
        self.state().at_rcpt.entry(recipient.to_lowercase()).or_default().for_ever = Some(reply);
    }

    /// The next bodies for this address get these replies in turn and are not kept.
    pub fn refuse_data(&self, recipient: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().at_data.entry(recipient.to_lowercase()).or_default().in_turn.extend(replies);
    }

    /// The next `times` bodies for this address are kept, and the connection is cut instead of a reply: an unclear end.
    pub fn lose_replies(&self, recipient: &str, times: usize) {
        self.state().lost_replies.insert(recipient.to_lowercase(), times);
    }

    /// What arrived so far, in order.
    pub fn mails(&self) -> Vec<SinkMail> {
        self.state().mails.clone()
    }

    /// How often RCPT named this address.
    pub fn attempts(&self, recipient: &str) -> usize {
        self.state().attempts.get(&recipient.to_lowercase()).copied().unwrap_or(0)
    }

    /// How many connections came.
    pub fn connection_count(&self) -> usize {
        self.state().connection_count
    }

    /// Waits until at least `count` mails have arrived and gives them all.
    ///
    /// # Panics
    /// When they do not come in half a minute.
    pub async fn wait_for(&self, count: usize) -> Vec<SinkMail> {
        let mut counts = self.shared.mail_count.subscribe();
        let arrived = timeout(Duration::from_millis(WAIT_MS_MAX), counts.wait_for(|&arrived| arrived >= count)).await;
        let mails = self.mails();
        assert!(matches!(arrived, Ok(Ok(_))), "{} of {count} mails arrived", mails.len());
        mails
    }

    /// Stops it and waits until its port is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let serving = std::mem::replace(&mut self.serving, tokio::spawn(async {}));
        serving.await.expect("the sink does not panic");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Script {
    fn next(&mut self) -> Option<Reply> {
        self.in_turn.pop_front().or_else(|| self.for_ever.clone())
    }
}

async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept() => {
                let (stream, peer) = accepted.expect("accept on loopback");
                shared.state().connection_count += 1;
                let session = Session::new(config.clone(), peer.ip());
                sessions.spawn(serve_one(stream, session, tls.clone(), shared.clone(), shutdown.clone()));
            }
        }
    }
    sessions.shutdown().await;
}

/// Serves until the end, or until the handler cuts.
async fn serve_one(
    stream: TcpStream,
    session: Session,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    stream.set_nodelay(true).expect("TCP_NODELAY on loopback");
    let handler = Keeper { shared, cut: CancellationToken::new() };
    let serving = serve_connection(stream, session, tls, &handler, &shutdown);
    tokio::select! {
        biased;
        () = handler.cut.cancelled() => {}
        _ = serving => {}
    }
}

/// The handler of one connection.
struct Keeper {
    shared: Arc<Shared>,
    cut: CancellationToken,
}

impl Keeper {
    fn keep(&self, envelope: Envelope, body: Vec<u8>) {
        let mut state = self.shared.state();
        state.mails.push(SinkMail { envelope, body });
        let count = state.mails.len();
        drop(state);
        self.shared.mail_count.send_replace(count);
    }

    /// Takes one of the replies to lose, if there is one for a recipient.
    fn is_reply_lost(&self, envelope: &Envelope) -> bool {
        let mut state = self.shared.state();
        for recipient in &envelope.forward_paths {
            if let Some(times) = state.lost_replies.get_mut(&recipient.key()).filter(|times| **times > 0) {
                *times -= 1;
                return true;
            }
        }
        false
    }
}

impl Handler for Keeper {
    async fn rcpt(&self, _envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        let mut state = self.shared.state();
        let key = recipient.key();
        *state.attempts.entry(key.clone()).or_default() += 1;
        state.at_rcpt.get_mut(&key).and_then(Script::next).map_or(Ok(()), Err)
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        let refusal = {
            let mut state = self.shared.state();
            envelope.forward_paths.iter().find_map(|to| state.at_data.get_mut(&to.key()).and_then(Script::next))
        };
        if let Some(refusal) = refusal {
            return refusal;
        }
        let is_lost = self.is_reply_lost(&envelope);
        self.keep(envelope, body);
        if is_lost {
            self.cut.cancel();
            pending::<()>().await;
        }
        Reply::ok(250, (0, 0), "kept")
    }
}

#[cfg(test)]
mod tests {
    use model::ReversePath;
    use smtp::{Client, ClientConfig, ClientError, Mail};

    use super::*;

    async fn send(sink: &Sink, to: &str) -> Result<smtp::Outcome, ClientError> {
        let recipients = [to.parse().expect("an address")];
        let mut client = Client::connect(sink.addr(), ClientConfig::new("client.example")).await?;
        client.send(&Mail { reverse_path: &ReversePath::Null, recipients: &recipients }, b"hello\r\n").await
    }

    #[tokio::test]
    async fn keeps_refuses_and_loses() {
        let sink = Sink::start().await;
        sink.refuse("later@example.org", [Reply::transient(450, (2, 1), "busy")]);
        sink.refuse_always("never@example.org", Reply::permanent(550, (1, 1), "unknown"));
        sink.refuse_data("heavy@example.org", [Reply::transient(452, (2, 2), "full")]);
        sink.lose_replies("lost@example.org", 1);

        assert_eq!(send(&sink, "later@example.org").await.unwrap().recipients[0].1.code(), 450);
        assert_eq!(send(&sink, "later@example.org").await.unwrap().data.unwrap().code(), 250);
        assert_eq!(send(&sink, "Never@example.org").await.unwrap().recipients[0].1.code(), 550);
        assert_eq!(send(&sink, "never@example.org").await.unwrap().data, None);
        assert_eq!(send(&sink, "heavy@example.org").await.unwrap().data.unwrap().code(), 452);
        assert!(matches!(send(&sink, "lost@example.org").await, Err(ClientError::UnclearEnd { .. })));
        assert_eq!(send(&sink, "lost@example.org").await.unwrap().data.unwrap().code(), 250);

        let mails = sink.wait_for(3).await;
        let to: Vec<_> = mails.iter().map(|mail| mail.envelope.forward_paths[0].key()).collect();
        assert_eq!(to, ["later@example.org", "lost@example.org", "lost@example.org"]);
        assert_eq!(mails[0].body, b"hello\r\n");
        assert_eq!((sink.attempts("never@example.org"), sink.connection_count()), (2, 7));
        sink.stop().await;
    }
}
