//! The accept loop: limits, back-off and an orderly end.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Reply;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::ServerConfig;
use super::connection::{ConnectionEnd, Handler, hear_proxy, serve_connection};
use super::session::Session;

const BACKOFF_MS_MIN: u64 = 5;
const BACKOFF_MS_MAX: u64 = 1000;

/// What a server counted since it began.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Connections served, those still open included.
    pub accepted_count: AtomicU64,
    /// Connections answered 421 for a limit.
    pub refused_count: AtomicU64,
    /// Connections of proxies that did not begin with the header of the PROXY protocol.
    pub proxy_error_count: AtomicU64,
    /// Connections open now.
    pub open_count: AtomicUsize,
    /// Connections that broke.
    pub broken_count: AtomicU64,
    /// Failed calls of accept.
    pub accept_error_count: AtomicU64,
    /// Panics of the handler, each answered 451.
    pub panic_count: AtomicU64,
}

/// A server: its limits hold over all listeners it serves.
#[derive(Debug)]
pub struct Server<H> {
    config: Arc<ServerConfig>,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: Arc<H>,
    stats: Arc<ServerStats>,
    open_by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl<H> Clone for Server<H> {
    fn clone(&self) -> Self {
        Server {
            config: self.config.clone(),
            tls: self.tls.clone(),
            handler: self.handler.clone(),
            stats: self.stats.clone(),
            open_by_ip: self.open_by_ip.clone(),
        }
    }
}

impl<H: Handler> Server<H> {
    /// A server. STARTTLS is offered when `tls` is given.
    pub fn new(mut config: ServerConfig, tls: Option<Arc<rustls::ServerConfig>>, handler: Arc<H>) -> Self {
        config.tls_available = tls.is_some() && !config.tls_implicit;
        Server { config: Arc::new(config), tls, handler, stats: Arc::default(), open_by_ip: Arc::default() }
    }

    /// What was counted.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.stats
    }

    /// Serves until `shutdown` is cancelled. Then nothing more is accepted, sessions at rest are told 421, and
    /// transactions that have begun get `shutdown_grace_ms`.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        self.accept_from(Socket::Tcp(listener), shutdown).await;
    }

    /// As [`Server::serve`], on a socket in the file system. Its peers count as the local host.
    pub async fn serve_unix(&self, listener: UnixListener, shutdown: CancellationToken) {
        self.accept_from(Socket::Unix(listener), shutdown).await;
    }

    async fn accept_from(&self, listener: Socket, shutdown: CancellationToken) {
        let mut sessions = JoinSet::new();
        let mut backoff_ms = BACKOFF_MS_MIN;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok(peer) => {
                        backoff_ms = BACKOFF_MS_MIN;
                        self.admit(peer, &shutdown, &mut sessions);
                    }
                    Err(error) => {
                        // Out of descriptors, mostly: what is open goes on, and a spinning loop would help nobody.
                        self.stats.accept_error_count.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, backoff_ms, "accept failed, next try in {backoff_ms} ms: {error}");
                        let pause = tokio::time::sleep(Duration::from_millis(backoff_ms));
                        tokio::select! { () = shutdown.cancelled() => break, () = pause => {} }
                        backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
                    }
                },
            }
        }
        drop(listener);
        let grace = Duration::from_millis(self.config.shutdown_grace_ms);
        let all_ended = timeout(grace, async { while sessions.join_next().await.is_some() {} }).await;
        if all_ended.is_err() {
            tracing::warn!(session.count = sessions.len(), "sessions did not end in the grace and were cut");
            sessions.shutdown().await;
        }
    }

    fn admit(&self, peer: Peer, shutdown: &CancellationToken, sessions: &mut JoinSet<()>) {
        let ip = match &peer {
            Peer::Tcp(_, ip) => *ip,
            Peer::Unix(_) => Ipv4Addr::LOCALHOST.into(),
        };
        let is_proxy = matches!(peer, Peer::Tcp(..)) && self.config.proxy_peers.iter().any(|known| known.contains(ip));
        // A proxy's connections count for those that it speaks for.
        let seat = if is_proxy { self.take_place() } else { self.take_seat(ip) };
        let Some(seat) = seat else {
            self.stats.refused_count.fetch_add(1, Ordering::Relaxed);
            return refuse(peer);
        };
        self.stats.accepted_count.fetch_add(1, Ordering::Relaxed);
        let server = self.clone();
        let shutdown = shutdown.clone();
        sessions.spawn(async move {
            match peer {
                Peer::Tcp(stream, _) if is_proxy => server.serve_proxied(stream, seat, ip, &shutdown).await,
                Peer::Tcp(stream, _) => server.serve_one(without_delay(stream), seat, ip, &shutdown).await,
                Peer::Unix(stream) => server.serve_one(stream, seat, ip, &shutdown).await,
            }
        });
    }

    /// A proxy that does not say for whom it speaks is left without a word: it does not speak SMTP yet.
    async fn serve_proxied(&self, stream: TcpStream, seat: Seat, proxy: IpAddr, shutdown: &CancellationToken) {
        let mut stream = without_delay(stream);
        let ip = match hear_proxy(&mut stream, self.config.proxy_deadline_ms).await {
            Ok(client) => client.map_or(proxy, |ip| ip.to_canonical()),
            Err(error) => {
                self.stats.proxy_error_count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%proxy, "the listed proxy {proxy} sent no header of the PROXY protocol: {error}");
                return;
            }
        };
        drop(seat);
        match self.take_seat(ip) {
            Some(seat) => self.serve_one(stream, seat, ip, shutdown).await,
            None => {
                self.stats.refused_count.fetch_add(1, Ordering::Relaxed);
                refuse(Peer::Tcp(stream, ip));
            }
        }
    }

    async fn serve_one<S>(&self, stream: S, seat: Seat, ip: IpAddr, shutdown: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let _seat = seat;
        let session = Session::new(self.config.clone(), ip);
        let serving = serve_connection(stream, session, self.tls.clone(), &*self.handler, shutdown);
        let (end, panic_count) = Box::pin(serving).await;
        self.stats.panic_count.fetch_add(panic_count, Ordering::Relaxed);
        if let ConnectionEnd::Broken(error) = end {
            self.stats.broken_count.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%error, "a connection broke: {error}");
        }
    }

    /// A seat that counts for nobody but the whole.
    fn take_place(&self) -> Option<Seat> {
        if self.stats.open_count.load(Ordering::Acquire) >= self.config.connections_max {
            return None;
        }
        self.stats.open_count.fetch_add(1, Ordering::AcqRel);
        Some(Seat { network: None, stats: self.stats.clone(), open_by_ip: self.open_by_ip.clone() })
    }

    fn take_seat(&self, ip: IpAddr) -> Option<Seat> {
        if self.stats.open_count.load(Ordering::Acquire) >= self.config.connections_max {
            return None;
        }
        let network = network_of(ip);
        let mut open_by_ip = self.open_by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open_by_ip.entry(network).or_default();
        if *open >= self.config.connections_per_ip_max {
            return None;
        }
        *open += 1;
        self.stats.open_count.fetch_add(1, Ordering::AcqRel);
        Some(Seat { network: Some(network), stats: self.stats.clone(), open_by_ip: self.open_by_ip.clone() })
    }
}

/// A place among the open connections; dropping it frees the place, also after a panic or an abort.
struct Seat {
    network: Option<IpAddr>,
    stats: Arc<ServerStats>,
    open_by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stats.open_count.fetch_sub(1, Ordering::AcqRel);
        let Some(network) = self.network else { return };
        let mut open_by_ip = self.open_by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open_by_ip.get_mut(&network) {
            *open -= 1;
            if *open == 0 {
                open_by_ip.remove(&network);
            }
        }
    }
}

/// One customer has one IPv4 address or one IPv6 /64.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    async fn accept(&self) -> io::Result<Peer> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Peer::Tcp(stream, peer.ip().to_canonical()))
            }
            Socket::Unix(listener) => Ok(Peer::Unix(listener.accept().await?.0)),
        }
    }
}

enum Peer {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

fn without_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused: {error}");
    }
    stream
}

/// The send buffer of a new socket is empty, so one write that does not wait is enough.
fn refuse(peer: Peer) {
    let reply = Reply::transient(421, (3, 2), "too many connections, try again later").to_wire();
    let written = match peer {
        Peer::Tcp(stream, _) => stream.into_std().and_then(|mut stream| stream.write_all(&reply)),
        Peer::Unix(stream) => stream.into_std().and_then(|mut stream| stream.write_all(&reply)),
    };
    if let Err(error) = written {
        tracing::debug!(%error, "a refusal was not written: {error}");
    }
}
