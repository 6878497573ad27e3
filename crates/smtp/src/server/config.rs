//! The limits of a server. Every one is a named bound with a default that suits a public MX.

use super::proxy::Network;
use crate::data::Newlines;

/// What to do with a client that talks before it may: before the banner, or behind a command that must be the last of
/// its group (RFC 2920 3.1: EHLO, HELO and DATA). Whatever it pipelined there, it did not read our answer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyTalker {
    /// Answer `554 5.5.0` and close: nothing it sent is run.
    Refuse,
    /// Go on as if the bytes had come later.
    Tolerate,
}

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Service {
    /// Other hosts (RFC 5321).
    #[default]
    Relay,
    /// People's mail programs (RFC 6409): nothing is taken before a login, and logging in needs TLS.
    Submission,
    /// A host that hands mail over for mailboxes (RFC 2033): one reply for each recipient.
    Lmtp,
}

/// Limits and names of a server. Durations are milliseconds, sizes bytes.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Whom it is for.
    pub service: Service,
    /// The mechanisms of AUTH that are offered under TLS to [`Service::Submission`].
    pub login_mechanisms: &'static [&'static str],
    /// Failed logins before the session ends with 421.
    pub login_failures_max: u32,
    /// How long a failed login waits for its answer; each further one twice as long.
    pub login_delay_ms: u64,
    /// Whether TLS begins with the first byte (RFC 8314 3.3) instead of by STARTTLS.
    pub tls_implicit: bool,
    /// Peers that speak for others by the PROXY protocol. They must; nobody else can.
    pub proxy_peers: Vec<Network>,
    /// For the header of the PROXY protocol.
    pub proxy_deadline_ms: u64,
    /// What to do with a bare CR or LF in a body.
    pub newlines: Newlines,
    /// A line of a body without its CRLF (RFC 5321 4.5.3.1.6 asks senders for 998); 0: any, and bytes stay as they are.
    pub body_line_bytes_max: usize,
    /// The header section; 0: any.
    pub header_bytes_max: usize,
    /// Recipients of one mail from the null sender.
    pub null_sender_recipients_max: usize,
    /// The name in the banner and in the reply to EHLO.
    pub hostname: String,
    /// The largest body, after dots are removed (RFC 1870); 0 means no limit but memory's.
    pub size_bytes_max: usize,
    /// Recipients of one transaction; at least 100 (RFC 5321 4.5.3.1.8).
    pub recipients_max: usize,
    /// One command line with its CRLF; at least 512 (RFC 5321 4.5.3.1.4).
    pub line_bytes_max: usize,
    /// Commands refused for their syntax or order before the session ends with 421.
    pub errors_max: u32,
    /// Recipients refused by the handler before the session ends with 421 (a directory harvest).
    pub refused_recipients_max: u32,
    /// Transactions of one connection before it ends with 421.
    pub messages_max: u32,
    /// Whether STARTTLS is offered. [`super::Server::new`] sets it.
    pub tls_available: bool,
    /// What to do with early talkers.
    pub early_talker: EarlyTalker,
    /// How long to wait for early talkers before the banner.
    pub banner_delay_ms: u64,
    /// For one whole command line, however slowly it drips (RFC 5321 4.5.3.2.7: at least 5 minutes).
    pub command_deadline_ms: u64,
    /// For a body, before the minimum rate counts.
    pub data_grace_ms: u64,
    /// Bytes per second a body must come at, on average, once the grace is over; 0 means any.
    pub data_rate_min: u64,
    /// For one decision of the handler; past it the answer is 451.
    pub handler_deadline_ms: u64,
    /// For a TLS handshake.
    pub tls_deadline_ms: u64,
    /// For writing what is due to a client that does not read.
    pub write_deadline_ms: u64,
    /// For the whole connection, looked at between commands and blocks.
    pub connection_deadline_ms: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one IPv4 address or one IPv6 /64.
    pub connections_per_ip_max: usize,
    /// At shutdown, for transactions that have begun.
    pub shutdown_grace_ms: u64,
}

impl ServerConfig {
    /// The defaults for a host of this name.
    pub fn new(hostname: impl Into<String>) -> Self {
        ServerConfig {
            service: Service::Relay,
            login_mechanisms: &[],
            login_failures_max: 4,
            login_delay_ms: 500,
            tls_implicit: false,
            proxy_peers: Vec::new(),
            proxy_deadline_ms: 5_000,
            newlines: Newlines::Refuse,
            body_line_bytes_max: 0,
            header_bytes_max: 1024 * 1024,
            null_sender_recipients_max: 1,
            hostname: hostname.into(),
            size_bytes_max: 50 * 1024 * 1024,
            recipients_max: 1000,
            line_bytes_max: 2048,
            errors_max: 20,
            refused_recipients_max: 200,
            messages_max: 10_000,
            tls_available: false,
            early_talker: EarlyTalker::Refuse,
            banner_delay_ms: 0,
            command_deadline_ms: 5 * 60_000,
            data_grace_ms: 3 * 60_000,
            data_rate_min: 500,
            handler_deadline_ms: 5 * 60_000,
            tls_deadline_ms: 60_000,
            write_deadline_ms: 60_000,
            connection_deadline_ms: 60 * 60_000,
            connections_max: 1000,
            connections_per_ip_max: 100,
            shutdown_grace_ms: 10_000,
        }
    }

    /// The defaults for LMTP: whoever may reach it is trusted with its mail, so it names many recipients also for the null
    /// sender and talks as it likes.
    pub fn lmtp(hostname: impl Into<String>) -> Self {
        ServerConfig {
            service: Service::Lmtp,
            null_sender_recipients_max: usize::MAX,
            early_talker: EarlyTalker::Tolerate,
            ..Self::new(hostname)
        }
    }

    /// The defaults for submission.
    pub fn submission(hostname: impl Into<String>, login_mechanisms: &'static [&'static str]) -> Self {
        ServerConfig { service: Service::Submission, login_mechanisms, ..Self::new(hostname) }
    }

    /// The size limit as a number to compare with.
    pub(crate) fn body_bytes_max(&self) -> usize {
        if self.size_bytes_max == 0 { usize::MAX } else { self.size_bytes_max }
    }
}
