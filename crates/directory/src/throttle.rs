//! Slows down guessing of passwords: a bounded memory of failures per login and client address. One for the console and
//! for mail programs, so that who is told to wait at one door cannot go on at the other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use model::Timestamp;

/// Failures in a row before waiting begins.
pub(crate) const FREE_FAILURES_COUNT: u32 = 5;
/// The first wait; it doubles with every further failure.
const FIRST_WAIT_MS: i64 = 2_000;
/// The longest wait, after which failures are forgotten.
const LONGEST_WAIT_MS: i64 = 15 * 60 * 1000;
/// Pairs remembered; past it the oldest is forgotten.
const PAIRS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Timestamp,
}

impl Failures {
    fn wait_ms(self) -> i64 {
        match self.count.checked_sub(FREE_FAILURES_COUNT) {
            None => 0,
            Some(over) => FIRST_WAIT_MS.saturating_mul(1 << over.min(20)).min(LONGEST_WAIT_MS),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Throttle {
    pairs: Mutex<HashMap<(String, Option<IpAddr>), Failures>>,
}

impl Throttle {
    /// Milliseconds to wait before the next try; 0: go on.
    pub fn wait_ms(&self, login: &str, client: Option<IpAddr>, now: Timestamp) -> i64 {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = pairs.get(&key(login, client)) else { return 0 };
        (failures.wait_ms() - now.ms_since(failures.last_at)).max(0)
    }

    /// A try failed. Gives how many have in a row.
    pub fn failed(&self, login: &str, client: Option<IpAddr>, now: Timestamp) -> u32 {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() >= PAIRS_MAX {
            pairs.retain(|_, failures| now.ms_since(failures.last_at) < LONGEST_WAIT_MS);
        }
        if pairs.len() >= PAIRS_MAX
            && let Some(oldest) = pairs.iter().min_by_key(|(_, f)| f.last_at).map(|(key, _)| key.clone())
        {
            pairs.remove(&oldest);
        }
        let failures = pairs.entry(key(login, client)).or_insert(Failures { count: 0, last_at: now });
        if now.ms_since(failures.last_at) >= LONGEST_WAIT_MS {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last_at: now };
        failures.count
    }

    /// A try succeeded.
    pub fn succeeded(&self, login: &str, client: Option<IpAddr>) {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(login, client));
    }
}

/// Logins are compared in lower case; an overlong one is cut, so that the memory stays small.
fn key(login: &str, client: Option<IpAddr>) -> (String, Option<IpAddr>) {
    // Whoever has an IPv6 address has the rest of its /64 too.
    let network = client.map(|ip| match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    });
    (login.trim().to_lowercase().chars().take(254).collect(), network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let (throttle, client) = (Throttle::default(), Some(IpAddr::from([192, 0, 2, 1])));
        let at = |ms| Timestamp::from_micros(0).plus_ms(ms);
        for _ in 0..FREE_FAILURES_COUNT {
            assert_eq!(throttle.wait_ms("ada@example.org", client, at(0)), 0);
            throttle.failed("ada@example.org", client, at(0));
        }
        assert_eq!(throttle.wait_ms("ADA@example.org ", client, at(0)), FIRST_WAIT_MS);
        assert_eq!(throttle.wait_ms("ada@example.org", Some(IpAddr::from([192, 0, 2, 2])), at(0)), 0);
        throttle.failed("ada@example.org", client, at(FIRST_WAIT_MS));
        assert_eq!(throttle.wait_ms("ada@example.org", client, at(FIRST_WAIT_MS)), 2 * FIRST_WAIT_MS);
        let networks = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "::ffff:192.0.2.1", "192.0.2.1", "2001:db8:0:2::1"]
            .map(|ip| key("ada", Some(ip.parse().expect("an address"))).1);
        assert!(networks[0] == networks[1] && networks[2] == networks[3] && networks[0] != networks[4]);
        throttle.succeeded("ada@example.org", client);
        assert_eq!(throttle.wait_ms("ada@example.org", client, at(FIRST_WAIT_MS)), 0);
    }

    #[test]
    fn the_memory_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..PAIRS_MAX + 10 {
            throttle.failed(&format!("login{n}"), None, Timestamp::from_micros(n as i64));
        }
        assert_eq!(throttle.pairs.lock().unwrap().len(), PAIRS_MAX);
    }
}
