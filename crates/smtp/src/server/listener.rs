//! The accept loop: limits, back-off and an orderly end.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Reply;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::ServerConfig;
use super::connection::{ConnectionEnd, Handler, serve_connection};
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
        config.tls_available = tls.is_some();
        Server { config: Arc::new(config), tls, handler, stats: Arc::default(), open_by_ip: Arc::default() }
    }

    /// What was counted.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.stats
    }

    /// Serves until `shutdown` is cancelled. Then nothing more is accepted, sessions at rest are told 421, and
    /// transactions that have begun get `shutdown_grace_ms`.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        let mut sessions = JoinSet::new();
        let mut backoff_ms = BACKOFF_MS_MIN;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        backoff_ms = BACKOFF_MS_MIN;
                        self.admit(stream, peer.ip().to_canonical(), &shutdown, &mut sessions);
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

    fn admit(&self, stream: TcpStream, ip: IpAddr, shutdown: &CancellationToken, sessions: &mut JoinSet<()>) {
        let Some(seat) = self.take_seat(ip) else {
            self.stats.refused_count.fetch_add(1, Ordering::Relaxed);
            return refuse(stream);
        };
        self.stats.accepted_count.fetch_add(1, Ordering::Relaxed);
        let server = self.clone();
        let shutdown = shutdown.clone();
        sessions.spawn(async move {
            let _seat = seat;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused: {error}");
            }
            let session = Session::new(server.config.clone(), ip);
            let serving = serve_connection(stream, session, server.tls.clone(), &*server.handler, &shutdown);
            let (end, panic_count) = Box::pin(serving).await;
            server.stats.panic_count.fetch_add(panic_count, Ordering::Relaxed);
            if let ConnectionEnd::Broken(error) = end {
                server.stats.broken_count.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "a connection broke: {error}");
            }
        });
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
        Some(Seat { network, stats: self.stats.clone(), open_by_ip: self.open_by_ip.clone() })
    }
}

/// A place among the open connections; dropping it frees the place, also after a panic or an abort.
struct Seat {
    network: IpAddr,
    stats: Arc<ServerStats>,
    open_by_ip: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stats.open_count.fetch_sub(1, Ordering::AcqRel);
        let mut open_by_ip = self.open_by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open_by_ip.get_mut(&self.network) {
            *open -= 1;
            if *open == 0 {
                open_by_ip.remove(&self.network);
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

/// The send buffer of a new socket is empty, so one write that does not wait is enough.
fn refuse(stream: TcpStream) {
    let reply = Reply::transient(421, (3, 2), "too many connections, try again later").to_wire();
    let written = stream.into_std().and_then(|mut stream| stream.write_all(&reply));
    if let Err(error) = written {
        tracing::debug!(%error, "a refusal was not written: {error}");
    }
}
