//! How often somebody may do something: connections, messages and recipients by client network, by sender and by login.
//!
//! Counting is approximate and bounded: two windows of counters, the older one weighted by how much of it still counts.
//! When a window has too many keys it becomes the older one early, so that a flood of addresses forgets and never grows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use model::{Address, Reply, SubmissionLogin, Timestamp};
use smtp::server::Network;

/// Keys of one window.
const KEYS_MAX: usize = 50_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The rates that are allowed; 0: any.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// Connections of one IPv4 address or IPv6 /64 in a minute.
    pub ip_connections_per_minute_max: u32,
    /// Transactions of one network in a minute.
    pub ip_messages_per_minute_max: u32,
    /// Recipients named by one network in an hour.
    pub ip_recipients_per_hour_max: u32,
    /// Transactions of one reverse-path in a minute.
    pub sender_messages_per_minute_max: u32,
    /// Mails that one login hands in in a minute.
    pub login_messages_per_minute_max: u32,
    /// Recipients that one login names in an hour.
    pub login_recipients_per_hour_max: u32,
    /// Networks that the limits by network and sender do not hold for.
    pub exempt: Vec<Network>,
}

impl Default for RateLimits {
    /// Generous to honest hosts; our own agent, which comes from the local host, is exempt.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1"].map(|network| network.parse().expect("a network"));
        RateLimits {
            ip_connections_per_minute_max: 300,
            ip_messages_per_minute_max: 600,
            ip_recipients_per_hour_max: 20_000,
            sender_messages_per_minute_max: 300,
            login_messages_per_minute_max: 60,
            login_recipients_per_hour_max: 1_000,
            exempt: loopback.into(),
        }
    }
}

/// Counts against the limits.
#[derive(Debug)]
pub(crate) struct Limits {
    rates: RateLimits,
    ip_connections: Counter<IpAddr>,
    ip_messages: Counter<IpAddr>,
    ip_recipients: Counter<IpAddr>,
    sender_messages: Counter<String>,
    login_messages: Counter<i64>,
    login_recipients: Counter<i64>,
}

impl Limits {
    pub(crate) fn new(rates: RateLimits) -> Self {
        Limits {
            ip_connections: Counter::new(rates.ip_connections_per_minute_max, MINUTE_MS),
            ip_messages: Counter::new(rates.ip_messages_per_minute_max, MINUTE_MS),
            ip_recipients: Counter::new(rates.ip_recipients_per_hour_max, HOUR_MS),
            sender_messages: Counter::new(rates.sender_messages_per_minute_max, MINUTE_MS),
            login_messages: Counter::new(rates.login_messages_per_minute_max, MINUTE_MS),
            login_recipients: Counter::new(rates.login_recipients_per_hour_max, HOUR_MS),
            rates,
        }
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.rates.exempt.iter().any(|network| network.contains(ip))
    }

    /// A connection from `ip`.
    pub(crate) fn connect(&self, ip: IpAddr, now: Timestamp) -> Result<(), Reply> {
        match self.is_exempt(ip) || self.ip_connections.take(network_of(ip), now) {
            true => Ok(()),
            false => Err(Reply::transient(421, (7, 0), "too many connections from your network, try again later")),
        }
    }

    /// A transaction from `ip` in the name of `sender`; `None` for the null sender, who is everybody's.
    pub(crate) fn mail(&self, ip: IpAddr, sender: Option<&Address>, now: Timestamp) -> Result<(), Reply> {
        if self.is_exempt(ip) {
            return Ok(());
        }
        if !self.ip_messages.take(network_of(ip), now) {
            return Err(Reply::transient(450, (7, 1), "too many messages from your network, try again later"));
        }
        match sender.is_none_or(|sender| self.sender_messages.take(sender.key(), now)) {
            true => Ok(()),
            false => Err(Reply::transient(450, (7, 1), "too many messages from this sender, try again later")),
        }
    }

    /// A recipient named by `ip`.
    pub(crate) fn rcpt(&self, ip: IpAddr, now: Timestamp) -> Result<(), Reply> {
        match self.is_exempt(ip) || self.ip_recipients.take(network_of(ip), now) {
            true => Ok(()),
            false => Err(Reply::transient(452, (7, 1), "too many recipients from your network, try again later")),
        }
    }

    /// A mail that a login hands in.
    pub(crate) fn login_mail(&self, login: &SubmissionLogin, now: Timestamp) -> Result<(), Reply> {
        match self.login_messages.take(login.account_id.0, now) {
            true => Ok(()),
            false => Err(Reply::transient(450, (7, 1), "too many messages in a minute, try again later")),
        }
    }

    /// A recipient that a login names.
    pub(crate) fn login_rcpt(&self, login: &SubmissionLogin, now: Timestamp) -> Result<(), Reply> {
        match self.login_recipients.take(login.account_id.0, now) {
            true => Ok(()),
            false => Err(Reply::transient(452, (7, 1), "too many recipients in an hour, try again later")),
        }
    }
}

/// One customer has one IPv4 address or one IPv6 /64.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// A sliding window per key, out of two fixed ones.
#[derive(Debug)]
struct Counter<K> {
    max: u32,
    window_ms: i64,
    windows: Mutex<Windows<K>>,
}

#[derive(Debug)]
struct Windows<K> {
    began_at: Timestamp,
    now: HashMap<K, u32>,
    before: HashMap<K, u32>,
}

impl<K: Hash + Eq> Counter<K> {
    fn new(max: u32, window_ms: i64) -> Self {
        let windows = Windows { began_at: Timestamp::default(), now: HashMap::new(), before: HashMap::new() };
        Counter { max, window_ms, windows: Mutex::new(windows) }
    }

    /// Counts once more for `key`; false, and not counted, when that is too often.
    fn take(&self, key: K, at: Timestamp) -> bool {
        if self.max == 0 {
            return true;
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let age_ms = windows.turn(at, self.window_ms);
        let before = f64::from(windows.before.get(&key).copied().unwrap_or(0));
        let weight = 1.0 - (age_ms as f64 / self.window_ms as f64);
        let now = windows.now.get(&key).copied().unwrap_or(0);
        if f64::from(now) + before * weight >= f64::from(self.max) {
            return false;
        }
        windows.now.insert(key, now + 1);
        true
    }
}

impl<K: Hash + Eq> Windows<K> {
    /// Begins a window when the last is over, or full. Gives the age of the present one.
    fn turn(&mut self, at: Timestamp, window_ms: i64) -> i64 {
        let age_ms = at.ms_since(self.began_at);
        if (0..window_ms).contains(&age_ms) && self.now.len() < KEYS_MAX {
            return age_ms;
        }
        let is_next = (0..2 * window_ms).contains(&age_ms);
        self.before = std::mem::take(&mut self.now);
        if !is_next {
            self.before.clear();
        }
        let is_over = !(0..window_ms).contains(&age_ms);
        // The end of the last window, so that a quiet second does not weigh as a new one.
        self.began_at = if is_over && is_next { self.began_at.plus_ms(window_ms) } else { at };
        at.ms_since(self.began_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000).plus_ms(ms)
    }

    #[test]
    fn a_window_slides() {
        let counter = Counter::new(10, 1_000);
        for _ in 0..10 {
            assert!(counter.take("a", at(0)));
        }
        assert!(!counter.take("a", at(0)) && counter.take("b", at(0)));
        assert!(!counter.take("a", at(999)));
        // Half of the last window still counts.
        let taken = (0..20).filter(|_| counter.take("a", at(1_500))).count();
        assert_eq!(taken, 5);
        assert!((0..10).all(|_| counter.take("a", at(9_000))), "long ago is forgotten");
        assert!(counter.take("c", at(0)), "a clock that steps back lets people in");
        assert!((0..1_000).all(|_| Counter::new(0, 1_000).take("a", at(0))), "0 is no limit");
    }

    #[test]
    fn the_memory_is_bounded() {
        let counter = Counter::new(1, 1_000);
        assert!(counter.take(0, at(0)));
        for n in 1..3 * KEYS_MAX {
            counter.take(n, at(0));
        }
        let windows = counter.windows.lock().unwrap();
        assert!(windows.now.len() <= KEYS_MAX && windows.before.len() <= KEYS_MAX);
    }

    #[test]
    fn replies_say_how_long_it_lasts() {
        let rates = RateLimits {
            ip_connections_per_minute_max: 1,
            ip_messages_per_minute_max: 2,
            ip_recipients_per_hour_max: 1,
            sender_messages_per_minute_max: 1,
            ..RateLimits::default()
        };
        let limits = Limits::new(rates);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let ada = Address::parse("ada@example.org").unwrap();
        let code = |done: Result<(), Reply>| done.err().map(|reply| reply.to_string()[..9].to_owned());
        assert_eq!(code(limits.connect(ip, at(0))), None);
        assert_eq!(code(limits.connect(ip, at(0))).as_deref(), Some("421 4.7.0"));
        assert_eq!(code(limits.mail(ip, Some(&ada), at(0))), None);
        assert_eq!(code(limits.mail(ip, Some(&ada), at(0))).as_deref(), Some("450 4.7.1"), "by sender");
        assert_eq!(code(limits.mail(ip, None, at(0))).as_deref(), Some("450 4.7.1"), "by network");
        assert_eq!(code(limits.rcpt(ip, at(0))), None);
        assert_eq!(code(limits.rcpt(ip, at(0))).as_deref(), Some("452 4.7.1"));
        let us = "127.0.0.1".parse().unwrap();
        assert!((0..100).all(|_| limits.connect(us, at(0)).is_ok() && limits.mail(us, Some(&ada), at(0)).is_ok()));
    }
}
