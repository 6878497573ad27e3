//! The limits of the agent, each with a default.

use smtp::client::Timeouts;

use crate::RetrySchedule;
use crate::shaping::Shaping;
use crate::tls::{ReportConfig, TlsConfig};

/// How an agent works. Durations are milliseconds.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Our name in EHLO, in DSNs and for the MX loop guard.
    pub hostname: String,
    /// Connections at a time, all routes together.
    pub connections_max: usize,
    /// Connections at a time to one route.
    pub route_connections_max: usize,
    /// Mails over one connection before it is closed.
    pub connection_mails_max: u32,
    /// Recipients of one transaction (RFC 5321 4.5.3.1.8 lets a host refuse more than 100).
    pub recipients_max: usize,
    /// Deliveries taken from the queue and not yet recorded.
    pub claimed_max: usize,
    /// Deliveries of one domain in memory before others are preferred.
    pub domain_claimed_max: usize,
    /// How long a claimed delivery is ours without renewal.
    pub lease_ms: i64,
    /// How long an idle connection is kept for the next mail.
    pub idle_ms: u64,
    /// The longest sleep without looking at the rows: announcements may be lost, other processes make none here.
    pub look_ms: u64,
    /// Nobody else works on this database (SQLite): leases left by a dead process are cleared at once.
    pub sole_owner: bool,
    /// The seed of the jitter.
    pub seed: u64,
    /// When to try again.
    pub schedule: RetrySchedule,
    /// After how long the sender of a mail that still waits is told so (RFC 3461 4.1 DELAY); 0 never.
    pub delay_warning_ms: i64,
    /// How long to wait in each phase of the dialogue.
    pub timeouts: Timeouts,
    /// What TLS is asked of hosts.
    pub tls: TlsConfig,
    /// How fast and how widely mail goes to whom.
    pub shaping: Shaping,
    /// Mails in a minute, all together; `None`: any number.
    pub messages_per_minute_max: Option<u32>,
    /// Who reports TLS results, if anybody does.
    pub reports: Option<ReportConfig>,
}

impl AgentConfig {
    /// The defaults for a host of this name that is alone on its database.
    pub fn new(hostname: impl Into<String>) -> Self {
        AgentConfig {
            hostname: hostname.into(),
            connections_max: 100,
            route_connections_max: 20,
            connection_mails_max: 500,
            recipients_max: 100,
            claimed_max: 1_024,
            domain_claimed_max: 768,
            lease_ms: 10 * 60_000,
            idle_ms: 5_000,
            look_ms: 15_000,
            sole_owner: true,
            seed: 0x1a4d_fa11,
            schedule: RetrySchedule::default(),
            delay_warning_ms: 4 * 60 * 60_000,
            timeouts: Timeouts::default(),
            tls: TlsConfig::off(),
            shaping: Shaping::default(),
            messages_per_minute_max: None,
            reports: None,
        }
    }
}
