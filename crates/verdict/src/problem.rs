//! What can be wrong with the source of a rule set. Nothing of a source with a problem is ever applied.

use std::fmt;

/// Problems reported at most for one source; the rest is counted.
pub const ENTRY_PROBLEMS_MAX: usize = 100;

/// One thing wrong in a [`RuleSetSource`](crate::RuleSetSource), with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProblem {
    /// Where: `feed phishing-hosts, entry 17` or `weight of nonsense`.
    pub place: String,
    /// The value as given, bounded.
    pub value: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.place, self.value, self.problem)
    }
}

/// A rule set could not be compiled. Always permanent: the same source fails the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule set has {count} problem(s); the first: {}", .problems.first().map(ToString::to_string).unwrap_or_default())]
pub struct RuleSetError {
    /// The problems, at most [`ENTRY_PROBLEMS_MAX`].
    pub problems: Vec<SourceProblem>,
    /// How many there are in all.
    pub count: usize,
}

/// Collects problems up to the bound and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    problems: Vec<SourceProblem>,
    count: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, place: impl FnOnce() -> String, value: &str, problem: impl Into<String>) {
        self.count += 1;
        if self.problems.len() < ENTRY_PROBLEMS_MAX {
            let value = crate::names::bounded(value);
            self.problems.push(SourceProblem { place: place(), value, problem: problem.into() });
        }
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, RuleSetError> {
        match self.count {
            0 => Ok(value),
            count => Err(RuleSetError { problems: self.problems, count }),
        }
    }
}
