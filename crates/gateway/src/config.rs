//! The limits of the gateway, each with a default.

use message::Limits;
use model::{Facts, Timestamp, Verdict};
use smtp::ServerConfig;
use verdict::RuleSet;

use crate::limits::RateLimits;

/// How a mail is judged: [`verdict::judge()`]. A test puts one here that panics.
pub type Judge = fn(&Facts, &RuleSet, Timestamp) -> Verdict;

/// How a gateway works. Durations are milliseconds.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Our name: in the banner, in Received and as the authserv-id of Authentication-Results (RFC 8601 2.5).
    pub hostname: String,
    /// The SMTP server's limits.
    pub server: ServerConfig,
    /// How often somebody may do something.
    pub rates: RateLimits,
    /// The limits of reading a message.
    pub limits: Limits,
    /// For SPF, DKIM, DMARC and ARC of one mail together; past it they read `temperror`.
    pub authentication_deadline_ms: u64,
    /// For each look into our own history; past it the fact is unknown.
    pub history_deadline_ms: u64,
    /// A mail with as many Received fields goes round in circles (RFC 5321 6.3).
    pub received_count_max: u32,
    /// Bodies of this size and more are parsed on a thread of their own.
    pub blocking_bytes_min: usize,
    /// How mail is judged.
    pub judge: Judge,
    /// How old the answer may be to whether judging is switched off.
    pub bypass_look_ms: u64,
}

impl GatewayConfig {
    /// The defaults for a host of this name.
    pub fn new(hostname: impl Into<String>) -> Self {
        let hostname = hostname.into();
        GatewayConfig {
            server: ServerConfig::new(hostname.clone()),
            hostname,
            rates: RateLimits::default(),
            limits: Limits::default(),
            authentication_deadline_ms: 10_000,
            history_deadline_ms: 1_000,
            received_count_max: 100,
            blocking_bytes_min: 256 * 1024,
            judge: verdict::judge,
            bypass_look_ms: 1_000,
        }
    }
}
