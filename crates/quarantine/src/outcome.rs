//! What an action did, in numbers and in a sentence.

use model::{JobId, QuarantineItemId};

use crate::Step;

/// Refusals that an outcome names; the rest is only counted.
pub const REFUSALS_MAX: usize = 20;

/// Why an item was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The item.
    pub id: QuarantineItemId,
    /// Why, and what to do.
    pub why: &'static str,
}

/// What an action did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Held on arrival, delivered now.
    pub released_count: i64,
    /// Pulled back, put back now.
    pub restored_count: i64,
    /// Asked for now, or denied now.
    pub marked_count: i64,
    /// Were so already: nothing changed.
    pub unchanged_count: i64,
    /// Refused.
    pub refused_count: i64,
    /// The first refusals with their reasons.
    pub refused: Vec<Refusal>,
    /// The job that does the work, when it is long.
    pub job_id: Option<JobId>,
}

impl Outcome {
    /// How many copies changed.
    pub fn done_count(&self) -> i64 {
        self.released_count + self.restored_count + self.marked_count
    }

    pub(crate) fn refuse(&mut self, id: QuarantineItemId, why: &'static str) {
        self.refused_count += 1;
        if self.refused.len() < REFUSALS_MAX {
            self.refused.push(Refusal { id, why });
        }
    }

    pub(crate) fn add(&mut self, other: Outcome) {
        self.released_count += other.released_count;
        self.restored_count += other.restored_count;
        self.marked_count += other.marked_count;
        self.unchanged_count += other.unchanged_count;
        self.refused_count += other.refused_count;
        let room = REFUSALS_MAX - self.refused.len();
        self.refused.extend(other.refused.into_iter().take(room));
    }

    /// What was done, in one sentence; says so when nothing had to change.
    pub fn sentence(&self, step: Step) -> String {
        let was = match step {
            Step::Request => "requested",
            Step::Deny => "denied",
            Step::Free => "released",
            Step::Expire => "expired",
        };
        if self.job_id.is_some() {
            return "this is many copies: a job does it, see its progress".to_owned();
        }
        if self.done_count() == 0 && self.refused_count == 0 {
            return match self.unchanged_count {
                0 => "there is nothing to decide: no copy matches".to_owned(),
                1 => format!("it was already {was}; nothing changed"),
                n => format!("all {} were already {was}; nothing changed", grouped(n)),
            };
        }
        let mut parts = Vec::new();
        let mut say = |count: i64, what: &str| {
            if count > 0 {
                parts.push(format!("{} {what}", counted(count)));
            }
        };
        say(self.released_count, "released to the inbox");
        say(self.restored_count, "put back where they came from");
        say(self.marked_count, was);
        say(self.unchanged_count, &format!("already {was}"));
        say(self.refused_count, "refused");
        if let Some(first) = self.refused.first() {
            parts.push(format!("the first because {}", first.why));
        }
        parts.join("; ")
    }
}

/// `1 copy`, `1,000 copies`.
pub(crate) fn counted(n: i64) -> String {
    format!("{} {}", grouped(n), if n == 1 { "copy" } else { "copies" })
}

/// `1,000`.
pub(crate) fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + 8);
    if n < 0 {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        assert_eq!(counted(1), "1 copy");
        assert_eq!(counted(1_234_567), "1,234,567 copies");
        assert_eq!(counted(100), "100 copies");
        let again = Outcome { unchanged_count: 1_000, ..Outcome::default() };
        assert_eq!(again.sentence(Step::Free), "all 1,000 were already released; nothing changed");
        let mut mixed = Outcome { released_count: 2, ..Outcome::default() };
        mixed.refuse(QuarantineItemId(1), "it needs an analyst");
        assert_eq!(
            mixed.sentence(Step::Free),
            "2 copies released to the inbox; 1 copy refused; the first because it needs an analyst"
        );
    }
}
