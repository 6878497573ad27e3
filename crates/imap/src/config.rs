//! Every bound of a session.

use std::time::Duration;

/// What a server is run with.
#[derive(Debug, Clone)]
pub struct ImapConfig {
    /// The host name in the greeting.
    pub hostname: String,
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections open at once from one IPv4 address or IPv6 /64.
    pub connections_per_ip_max: usize,
    /// Connections open at once that are logged in to one mailbox.
    pub connections_per_mailbox_max: usize,
    /// The largest message that APPEND takes.
    pub size_bytes_max: usize,
    /// Bytes of whole messages in memory, of all sessions together; at least one of the largest size. The sessions of one
    /// mailbox have a fourth of it.
    pub memory_bytes_max: u64,
    /// How long a command waits for room in memory before it is refused.
    pub memory_patience: Duration,
    /// Whether LOGIN and AUTHENTICATE are open without TLS to clients of this machine.
    pub clear_on_loopback: bool,
    /// How long a connection may say nothing before it logs in.
    pub greeting_deadline: Duration,
    /// How long it may say nothing afterwards; RFC 3501 5.4 wants at least 30 minutes.
    pub idle_deadline: Duration,
    /// How long a command that has begun to arrive may take, and a write that does not go on.
    pub transfer_deadline: Duration,
    /// How often a session in IDLE looks at the rows though nothing woke it, and how often a quiet one asks whether its
    /// login still stands.
    pub idle_look: Duration,
    /// A login that was good so recently is not asked for with a command.
    pub login_trust: Duration,
}

impl ImapConfig {
    /// The defaults, with this host name.
    pub fn new(hostname: String) -> Self {
        ImapConfig {
            hostname,
            connections_max: 2_000,
            connections_per_ip_max: 200,
            connections_per_mailbox_max: 16,
            size_bytes_max: 25 * 1024 * 1024,
            memory_bytes_max: 256 * 1024 * 1024,
            memory_patience: Duration::from_secs(20),
            clear_on_loopback: true,
            greeting_deadline: Duration::from_secs(60),
            idle_deadline: Duration::from_secs(30 * 60),
            transfer_deadline: Duration::from_secs(120),
            idle_look: Duration::from_secs(20),
            login_trust: Duration::from_secs(5),
        }
    }
}

/// Bytes of one command without the message of an APPEND.
pub(crate) const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one command before a login.
pub(crate) const COMMAND_BYTES_BEFORE_LOGIN_MAX: usize = 8 * 1024;
/// Literals of one command.
pub(crate) const LITERALS_MAX: usize = 64;
/// Wrong logins of one connection.
pub(crate) const LOGIN_FAILURES_MAX: u32 = 4;
/// Commands of one connection that could not be read, in a row.
pub(crate) const BAD_COMMANDS_MAX: u32 = 20;
/// Bytes gathered before they are written.
pub(crate) const WRITE_BYTES: usize = 32 * 1024;
/// Bytes of a body read at once.
pub(crate) const BODY_CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes of a header section that are looked at.
pub(crate) const HEADER_BYTES_MAX: u64 = 1024 * 1024;
/// Messages looked up at once.
pub(crate) const PAGE: usize = 256;
/// Structures of messages that a session remembers.
pub(crate) const STRUCTURES_MAX: usize = 16;
