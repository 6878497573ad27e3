//! The IMAP listeners: one for connections that begin in clear text (STARTTLS), one for TLS from the first byte.

use std::net::SocketAddr;
use std::sync::Arc;

use directory::Directory;
use imap::{ImapConfig, Server, ServerStats};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::print_listener;
use crate::config::Config;
use crate::error::CliError;
use crate::server::bind;

/// Listeners that run until the token they were started with is cancelled.
pub(crate) struct Imap {
    stats: Arc<ServerStats>,
    listening: Vec<Listening>,
}

struct Listening {
    name: &'static str,
    wanted: SocketAddr,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Imap {
    /// Binds and serves. Without a certificate there is no listener for TLS.
    pub(crate) async fn start(
        config: &Config,
        directory: &Directory,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: &CancellationToken,
    ) -> Result<Imap, CliError> {
        let mut bounds = ImapConfig::new(config.hostname.clone());
        bounds.size_bytes_max = usize::try_from(config.smtp_size_bytes_max).unwrap_or(usize::MAX);
        bounds.connections_max = config.imap_connections_max;
        bounds.connections_per_mailbox_max = config.imap_connections_per_mailbox_max;
        bounds.memory_bytes_max = config.imap_memory_bytes_max;
        let has_tls = tls.is_some();
        let server = Server::new(bounds, directory.clone(), tls);
        let mut listening = Vec::new();
        for wanted in &config.imap_listen {
            let listener = bind(*wanted).await?;
            let addr = listener.local_addr().map_err(|e| CliError::failed("imap.listen", &e))?;
            let (server, stop) = (server.clone(), stop.clone());
            let task = tokio::spawn(async move { server.serve(listener, stop).await });
            listening.push(Listening { name: "IMAP", wanted: *wanted, addr, task });
        }
        for wanted in config.imap_listen_tls.iter().filter(|_| has_tls) {
            let listener = bind(*wanted).await?;
            let addr = listener.local_addr().map_err(|e| CliError::failed("imap.listen_tls", &e))?;
            let (server, stop) = (server.clone(), stop.clone());
            let task = tokio::spawn(async move { server.serve_tls(listener, stop).await });
            listening.push(Listening { name: "IMAPS", wanted: *wanted, addr, task });
        }
        Ok(Imap { stats: server.stats().clone(), listening })
    }

    /// What is counted.
    pub(crate) fn stats(&self) -> Arc<ServerStats> {
        self.stats.clone()
    }

    /// One line per listener.
    pub(crate) fn print(&self) {
        for one in &self.listening {
            print_listener(one.name, one.wanted, one.addr, &one.addr.to_string());
        }
    }

    /// Waits for the end of every session.
    pub(crate) async fn stopped(self) {
        for one in self.listening {
            if let Err(error) = one.task.await {
                tracing::error!("an IMAP listener ended badly: {error}");
            }
        }
    }
}
