//! The listeners beside the MX: submission (STARTTLS and implicit TLS) and LMTP.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::{Gateway, Listening, TlsStart};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::cli::print_listener;
use crate::config::{Config, LmtpAddress};
use crate::error::CliError;
use crate::server::bind;

/// What listens.
pub struct Services {
    /// Submission with STARTTLS.
    pub submission: Vec<SocketAddr>,
    /// Submission with TLS from the first byte.
    pub submission_tls: Vec<SocketAddr>,
    /// LMTP over TCP.
    pub lmtp: Vec<SocketAddr>,
    lines: Vec<Line>,
    listening: Vec<Listening>,
    sockets: Vec<PathBuf>,
}

/// What is printed of a listener.
enum Line {
    Tcp(&'static str, SocketAddr, SocketAddr),
    Unix(PathBuf),
}

impl Services {
    /// Binds and serves everything that the configuration names until `stop` is cancelled.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(
        config: &Config,
        gateway: &Gateway,
        tls: Arc<rustls::ServerConfig>,
        stop: &CancellationToken,
    ) -> Result<Services, CliError> {
        let mut services = Services {
            submission: Vec::new(),
            submission_tls: Vec::new(),
            lmtp: Vec::new(),
            lines: Vec::new(),
            listening: Vec::new(),
            sockets: Vec::new(),
        };
        let starts =
            [(TlsStart::StartTls, &config.submission_listen), (TlsStart::AtOnce, &config.submission_listen_tls)];
        for (start, all) in starts {
            for wanted in all {
                let served = gateway.serve_submission(bind(*wanted).await?, tls.clone(), start, stop.clone());
                let served = served.map_err(|e| CliError::failed("submission.listen", &e))?;
                let (name, list) = match start {
                    TlsStart::StartTls => ("Submission", &mut services.submission),
                    TlsStart::AtOnce => ("Submission (TLS)", &mut services.submission_tls),
                };
                list.push(served.addr);
                services.lines.push(Line::Tcp(name, *wanted, served.addr));
                services.listening.push(served);
            }
        }
        for wanted in &config.lmtp_listen {
            services.lmtp(wanted, gateway, &tls, stop).await?;
        }
        Ok(services)
    }

    async fn lmtp(
        &mut self,
        wanted: &LmtpAddress,
        gateway: &Gateway,
        tls: &Arc<rustls::ServerConfig>,
        stop: &CancellationToken,
    ) -> Result<(), CliError> {
        let served = match wanted {
            LmtpAddress::Tcp(addr) => {
                let served = gateway.serve_lmtp(bind(*addr).await?, Some(tls.clone()), stop.clone());
                let served = served.map_err(|e| CliError::failed("lmtp.listen", &e))?;
                self.lmtp.push(served.addr);
                self.lines.push(Line::Tcp("LMTP", *addr, served.addr));
                served
            }
            LmtpAddress::Unix(path) => {
                let served = gateway.serve_lmtp_unix(bind_unix(path)?, stop.clone());
                self.sockets.push(path.clone());
                self.lines.push(Line::Unix(path.clone()));
                served
            }
        };
        self.listening.push(served);
        Ok(())
    }

    /// One line per listener.
    pub fn print(&self) {
        for line in &self.lines {
            match line {
                Line::Tcp(name, wanted, got) => print_listener(name, *wanted, *got, &got.to_string()),
                Line::Unix(path) => println!("LMTP {}", path.display()),
            }
        }
    }

    /// Waits until all of them have stopped.
    pub async fn stopped(self) {
        for listening in self.listening {
            listening.stopped().await;
        }
        for socket in self.sockets {
            if let Err(error) = std::fs::remove_file(&socket) {
                tracing::warn!("the socket {} stays behind: {error}", socket.display());
            }
        }
    }
}

/// A socket that a dead process left behind is taken away; anything else of that name is not.
fn bind_unix(path: &Path) -> Result<UnixListener, CliError> {
    let cannot = |e: &dyn std::fmt::Display| CliError::failed(&format!("listen on {}", path.display()), e);
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).map_err(|e| cannot(&e))?;
    }
    UnixListener::bind(path).map_err(|e| cannot(&e))
}
