//! The accept loop: limits, back-off and an orderly end. Each connection is a task; a panic ends that one alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use directory::Directory;
use mailbox::Embedded;
use model::MailboxId;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::ImapConfig;
use crate::memory::Memory;
use crate::news::News;
use crate::session::Session;
use crate::wire::{Stream, Wire};

const BACKOFF_MS_MIN: u64 = 5;
const BACKOFF_MS_MAX: u64 = 1000;
/// What sessions get to end their command when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What a server counted since it began.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Connections served, those still open included.
    pub accepted_count: AtomicU64,
    /// Connections refused for a limit.
    pub refused_count: AtomicU64,
    /// Connections open now.
    pub open_count: AtomicUsize,
    /// Failed calls of accept.
    pub accept_error_count: AtomicU64,
    /// Sessions that ended by a panic.
    pub panic_count: AtomicU64,
    /// Logins that opened a mailbox.
    pub logins_ok_count: AtomicU64,
    /// Logins that opened none: wrong, too many tries, or too many sessions.
    pub logins_failed_count: AtomicU64,
    /// Commands answered OK.
    pub commands_ok_count: AtomicU64,
    /// Commands answered NO.
    pub commands_no_count: AtomicU64,
    /// Commands answered BAD.
    pub commands_bad_count: AtomicU64,
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) config: ImapConfig,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) directory: Directory,
    pub(crate) mailbox: Embedded,
    pub(crate) memory: Arc<Memory>,
    pub(crate) news: Arc<News>,
    pub(crate) stats: Arc<ServerStats>,
    by_network: Seats<IpAddr>,
    by_mailbox: Seats<i64>,
}

impl Shared {
    pub(crate) fn take_mailbox_seat(&self, mailbox_id: MailboxId) -> Option<MailboxSeat> {
        self.by_mailbox.take(mailbox_id.0, self.config.connections_per_mailbox_max).map(MailboxSeat)
    }
}

/// How many places are taken, by key.
struct Seats<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Eq + Hash + Copy> Seats<K> {
    fn new() -> Self {
        Seats(Arc::default())
    }

    fn take(&self, key: K, max: usize) -> Option<Seat<K>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Seat { key, taken: self.0.clone() })
    }
}

/// A place; dropping it frees the place, also after a panic or an abort.
struct Seat<K: Eq + Hash + Copy> {
    key: K,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash + Copy> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

/// A place among the sessions of a mailbox.
pub(crate) struct MailboxSeat(#[expect(dead_code, reason = "held for its drop")] Seat<i64>);

/// One more open connection until it is dropped.
struct Open(Arc<ServerStats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An IMAP server: its limits hold over all listeners it serves. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("stats", &self.shared.stats).finish_non_exhaustive()
    }
}

/// How connections of a listener begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Clear,
    Tls,
}

impl Server {
    /// A server for the mailboxes of this organisation. STARTTLS is offered when `tls` is given.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(config: ImapConfig, directory: Directory, tls: Option<Arc<rustls::ServerConfig>>) -> Server {
        let mailbox = Embedded::new(directory.store().clone());
        let (memory, news) = (Arc::new(Memory::new(&config)), News::follow(directory.store().bus()));
        let (stats, by_network, by_mailbox) = (Arc::default(), Seats::new(), Seats::new());
        let shared = Shared { config, tls, directory, mailbox, memory, news, stats, by_network, by_mailbox };
        Server { shared: Arc::new(shared) }
    }

    /// What was counted.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.shared.stats
    }

    /// Serves connections that begin in clear text, until `shutdown` is cancelled.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        self.run(listener, Begin::Clear, shutdown).await;
    }

    /// Serves connections that begin with TLS (RFC 8314 3.2), until `shutdown` is cancelled. Without a TLS
    /// configuration every connection is ended at once.
    pub async fn serve_tls(&self, listener: TcpListener, shutdown: CancellationToken) {
        self.run(listener, Begin::Tls, shutdown).await;
    }

    async fn run(&self, listener: TcpListener, begin: Begin, shutdown: CancellationToken) {
        let mut sessions: JoinSet<()> = JoinSet::new();
        let mut backoff_ms = BACKOFF_MS_MIN;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = sessions.join_next(), if !sessions.is_empty() => self.note_end(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        backoff_ms = BACKOFF_MS_MIN;
                        self.admit(stream, begin, peer.ip().to_canonical(), &shutdown, &mut sessions);
                    }
                    Err(error) => {
                        self.shared.stats.accept_error_count.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, backoff_ms, "accept failed, next try in {backoff_ms} ms: {error}");
                        let pause = tokio::time::sleep(Duration::from_millis(backoff_ms));
                        tokio::select! { () = shutdown.cancelled() => break, () = pause => {} }
                        backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
                    }
                },
            }
        }
        drop(listener);
        let all_ended = async {
            while let Some(ended) = sessions.join_next().await {
                self.note_end(ended);
            }
        };
        if timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
            tracing::warn!(session.count = sessions.len(), "IMAP sessions did not end in the grace and were cut");
            sessions.shutdown().await;
        }
    }

    fn note_end(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.shared.stats.panic_count.fetch_add(1, Ordering::Relaxed);
            tracing::error!("an IMAP session ended by a panic");
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        begin: Begin,
        ip: IpAddr,
        shutdown: &CancellationToken,
        sessions: &mut JoinSet<()>,
    ) {
        let shared = self.shared.clone();
        let full = shared.stats.open_count.load(Ordering::Acquire) >= shared.config.connections_max;
        let seat = shared.by_network.take(network_of(ip), shared.config.connections_per_ip_max);
        let Some(seat) = seat.filter(|_| !full) else {
            shared.stats.refused_count.fetch_add(1, Ordering::Relaxed);
            if begin == Begin::Clear {
                // The send buffer of a new socket is empty: one write that does not wait is enough.
                let _ = stream.try_write(b"* BYE [UNAVAILABLE] too many connections, try again later\r\n");
            }
            return;
        };
        shared.stats.accepted_count.fetch_add(1, Ordering::Relaxed);
        shared.stats.open_count.fetch_add(1, Ordering::AcqRel);
        let open = Open(shared.stats.clone());
        let shutdown = shutdown.clone();
        sessions.spawn(async move {
            let _places = (seat, open);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused: {error}");
            }
            let mut wire = Wire::new(Stream::Clear(stream), &shared.config);
            if begin == Begin::Tls {
                let Some(tls) = shared.tls.clone() else { return };
                if let Err(error) = wire.start_tls(tls).await {
                    tracing::debug!(%error, "TLS did not begin: {error}");
                    return;
                }
            }
            let session = Session::new(shared, wire, ip, begin == Begin::Tls, shutdown);
            Box::pin(session.run()).await;
        });
    }
}

/// One customer has one IPv4 address or one IPv6 /64.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}
