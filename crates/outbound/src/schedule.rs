//! When to try again, as data: a rule per class of failure.

use model::Timestamp;

/// Why a try failed for now. A 5yz reply is no such failure: it is an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The host could not be reached, or closed before it took anything.
    Connect,
    /// Names could not be looked up now.
    Dns,
    /// A 4yz reply.
    Transient,
    /// The final dot was written and no reply came.
    Unclear,
    /// TLS that must be did not come about, or a policy rules the hosts out.
    Tls,
    /// Our own store could not give the body.
    Local,
}

/// The delays of one class: `first_ms`, doubled with each further try, up to `longest_ms`, and up to
/// `jitter_percent` more or less, so that a thousand copies do not come back at the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRule {
    /// Which failures.
    pub class: FailureClass,
    /// Before the second try, in milliseconds.
    pub first_ms: i64,
    /// The longest delay, in milliseconds.
    pub longest_ms: i64,
    /// Spread, in percent of the delay.
    pub jitter_percent: u8,
}

/// The rules, and how long to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule {
    /// One rule per class; a class without one uses the first.
    pub rules: Vec<RetryRule>,
    /// How long after it was enqueued a delivery is given up, in milliseconds (RFC 5321 4.5.4.1: 4 to 5 days).
    pub give_up_ms: i64,
}

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Past this many doublings the longest delay has been reached by any rule.
const DOUBLINGS_MAX: i64 = 30;

impl Default for RetrySchedule {
    fn default() -> Self {
        let rule = |class, first_ms| RetryRule { class, first_ms, longest_ms: 4 * HOUR_MS, jitter_percent: 20 };
        RetrySchedule {
            rules: vec![
                rule(FailureClass::Transient, 2 * MINUTE_MS),
                rule(FailureClass::Connect, 15 * SECOND_MS),
                rule(FailureClass::Dns, 30 * SECOND_MS),
                rule(FailureClass::Unclear, 5 * MINUTE_MS),
                rule(FailureClass::Tls, 5 * MINUTE_MS),
                rule(FailureClass::Local, 30 * SECOND_MS),
            ],
            give_up_ms: 5 * 24 * HOUR_MS,
        }
    }
}

impl RetrySchedule {
    /// When to try again after the `attempt_count`th try failed at `now`.
    pub fn next_try(
        &self,
        class: FailureClass,
        attempt_count: i64,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Timestamp {
        let Some(rule) = self.rules.iter().find(|rule| rule.class == class).or(self.rules.first()) else {
            return now.plus_ms(HOUR_MS);
        };
        let doublings = (attempt_count - 1).clamp(0, DOUBLINGS_MAX);
        let delay_ms = rule.first_ms.saturating_mul(1 << doublings).min(rule.longest_ms).max(1);
        let spread_ms = delay_ms.saturating_mul(i64::from(rule.jitter_percent)) / 100;
        now.plus_ms(delay_ms + rng.i64(-spread_ms..=spread_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_stay_within_their_jitter() {
        let schedule = RetrySchedule::default();
        let now = Timestamp::from_micros(0);
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempt, expect_ms) in
            [(1, 120_000), (2, 240_000), (3, 480_000), (20, 4 * HOUR_MS), (i64::MAX, 4 * HOUR_MS)]
        {
            for _ in 0..50 {
                let got = schedule.next_try(FailureClass::Transient, attempt, now, &mut rng).ms_since(now);
                let (low, high) = (expect_ms * 80 / 100, expect_ms * 120 / 100);
                assert!((low..=high).contains(&got), "attempt {attempt}: {got} ms");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let plan = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let next = |n| RetrySchedule::default().next_try(FailureClass::Connect, n, Timestamp::default(), &mut rng);
            (1..20).map(next).collect::<Vec<_>>()
        };
        assert_eq!(plan(3), plan(3));
        assert_ne!(plan(3), plan(4));
    }
}
