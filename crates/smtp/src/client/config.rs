//! How a client introduces itself, protects itself, and waits.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::auth::Credentials;

/// How a client introduces itself, protects itself, and waits.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The name for EHLO: a domain or an address literal.
    pub helo_name: String,
    /// What to do about TLS.
    pub tls: TlsMode,
    /// How long to wait, by phase.
    pub timeouts: Timeouts,
    /// The local address to connect from.
    pub source_ip: Option<IpAddr>,
    /// Who we are to the host. Sent only under TLS that is [`TlsMode::Required`] or [`TlsMode::Implicit`], whose verifier
    /// must check the certificate; otherwise connecting fails with [`super::ClientError::AuthUnavailable`].
    pub credentials: Option<Credentials>,
}

/// What to do about STARTTLS (RFC 3207). `server_name` is what the certificate is checked for, by the verifier that
/// `config` carries.
#[derive(Debug, Clone)]
pub enum TlsMode {
    /// Never.
    Off,
    /// When offered. A failed handshake is an error; the caller may connect again without TLS.
    Opportunistic {
        /// With the verifier to use.
        config: Arc<rustls::ClientConfig>,
        /// The name to ask for.
        server_name: ServerName<'static>,
    },
    /// Always: a host without STARTTLS is [`super::ClientError::TlsUnavailable`].
    Required {
        /// With the verifier to use.
        config: Arc<rustls::ClientConfig>,
        /// The name to ask for.
        server_name: ServerName<'static>,
    },
    /// From the first byte on (RFC 8314 3.3, port 465).
    Implicit {
        /// With the verifier to use.
        config: Arc<rustls::ClientConfig>,
        /// The name to ask for.
        server_name: ServerName<'static>,
    },
}

/// Milliseconds to wait for each phase; the defaults are those of RFC 5321 4.5.3.2.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// TCP.
    pub connect_ms: u64,
    /// The banner.
    pub greeting_ms: u64,
    /// EHLO, HELO, STARTTLS, AUTH, RSET.
    pub command_ms: u64,
    /// The TLS handshake.
    pub tls_ms: u64,
    /// MAIL.
    pub mail_ms: u64,
    /// Each RCPT.
    pub rcpt_ms: u64,
    /// The 354.
    pub data_start_ms: u64,
    /// Each block of the body.
    pub data_block_ms: u64,
    /// The reply after the final dot.
    pub data_end_ms: u64,
    /// QUIT; nothing depends on it.
    pub quit_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        const MINUTE_MS: u64 = 60_000;
        Timeouts {
            connect_ms: MINUTE_MS / 2,
            greeting_ms: 5 * MINUTE_MS,
            command_ms: 5 * MINUTE_MS,
            tls_ms: MINUTE_MS,
            mail_ms: 5 * MINUTE_MS,
            rcpt_ms: 5 * MINUTE_MS,
            data_start_ms: 2 * MINUTE_MS,
            data_block_ms: 3 * MINUTE_MS,
            data_end_ms: 10 * MINUTE_MS,
            quit_ms: 5_000,
        }
    }
}

impl ClientConfig {
    /// Without TLS, with the timeouts of the RFC.
    pub fn new(helo_name: impl Into<String>) -> Self {
        ClientConfig {
            helo_name: helo_name.into(),
            tls: TlsMode::Off,
            timeouts: Timeouts::default(),
            source_ip: None,
            credentials: None,
        }
    }
}
