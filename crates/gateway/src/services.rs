//! The listeners beside the MX: submission and LMTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use model::{Address, Envelope, Reply};
use smtp::server::Service;
use smtp::{CancellationToken, Handler, Server, ServerConfig};
use tokio::net::{TcpListener, UnixListener};

use crate::Gateway;
use crate::gateway::Listening;
use crate::submission::{MECHANISMS, Submission};

/// How TLS begins on a submission listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsStart {
    /// By STARTTLS (port 587).
    StartTls,
    /// With the first byte (port 465, RFC 8314 3.3).
    AtOnce,
}

impl Gateway {
    /// Serves people's mail programs (RFC 6409) until `stop` is cancelled.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve_submission(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        start: TlsStart,
        stop: CancellationToken,
    ) -> io::Result<Listening> {
        let config = ServerConfig {
            service: Service::Submission,
            login_mechanisms: MECHANISMS,
            tls_implicit: start == TlsStart::AtOnce,
            ..self.inner.config.server.clone()
        };
        let addr = listener.local_addr()?;
        let server = Server::new(config, Some(tls), Arc::new(Submission { gateway: self.clone() }));
        let server_stats = server.stats().clone();
        let task = tokio::spawn(async move { server.serve(listener, stop).await });
        Ok(Listening { addr, server_stats, task })
    }

    /// Serves SMTP to ourselves: as [`Gateway::serve`], but nobody speaks for others there.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve_own(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        stop: CancellationToken,
    ) -> io::Result<Listening> {
        let config = ServerConfig { proxy_peers: Vec::new(), ..self.inner.config.server.clone() };
        let addr = listener.local_addr()?;
        let server = Server::new(config, Some(tls), Arc::new(self.clone()));
        let server_stats = server.stats().clone();
        let task = tokio::spawn(async move { server.serve(listener, stop).await });
        Ok(Listening { addr, server_stats, task })
    }

    /// Serves LMTP (RFC 2033) to hosts that may hand mail over for our mailboxes.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve_lmtp(
        &self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> io::Result<Listening> {
        let addr = listener.local_addr()?;
        let server = self.lmtp_server(tls);
        let server_stats = server.stats().clone();
        let task = tokio::spawn(async move { server.serve(listener, stop).await });
        Ok(Listening { addr, server_stats, task })
    }

    /// The same on a socket in the file system; its `addr` has port 0.
    pub fn serve_lmtp_unix(&self, listener: UnixListener, stop: CancellationToken) -> Listening {
        let addr = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let server = self.lmtp_server(None);
        let server_stats = server.stats().clone();
        let task = tokio::spawn(async move { server.serve_unix(listener, stop).await });
        Listening { addr, server_stats, task }
    }

    fn lmtp_server(&self, tls: Option<Arc<rustls::ServerConfig>>) -> Server<Lmtp> {
        let base = self.inner.config.server.clone();
        let lmtp = ServerConfig::lmtp(base.hostname.clone());
        let config = ServerConfig {
            service: lmtp.service,
            early_talker: lmtp.early_talker,
            null_sender_recipients_max: lmtp.null_sender_recipients_max,
            proxy_peers: Vec::new(),
            ..base
        };
        Server::new(config, tls, Arc::new(Lmtp { gateway: self.clone() }))
    }
}

/// The handler of an LMTP listener.
struct Lmtp {
    gateway: Gateway,
}

impl Handler for Lmtp {
    async fn rcpt(&self, _envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        self.gateway.may_reach(recipient).await
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        self.gateway.data(envelope, body).await
    }

    /// One message for all when all get it. What is refused as a whole is tried for each alone, so that each gets what is
    /// true for it (RFC 2033 4.2).
    async fn data_each(&self, envelope: Envelope, body: Vec<u8>) -> Vec<Reply> {
        let recipient_count = envelope.forward_paths.len();
        let reply = self.gateway.data(envelope.clone(), body.clone()).await;
        if reply.is_completion() || recipient_count == 1 {
            return vec![reply; recipient_count];
        }
        let mut replies = Vec::with_capacity(recipient_count);
        for (index, path) in envelope.forward_paths.iter().enumerate() {
            let rcpt_options = vec![envelope.options_of(index)];
            let alone = Envelope { forward_paths: vec![path.clone()], rcpt_options, ..envelope.clone() };
            replies.push(self.gateway.data(alone, body.clone()).await);
        }
        replies
    }
}
