//! What is refused, and why.

use directory::DirectoryError;
use serde::Serialize;
use store::{Severity, StoreError};

use crate::state::{ChangeState, IllegalTransition};

/// One thing wrong with a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: `line 3`, `remove`, `entry 2`, `rule`.
    pub place: String,
    /// The value as given, bounded.
    pub value: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}: {}", self.place, self.value, self.problem)
    }
}

/// Why a change could not be made, tested, activated or undone. Repeats are no errors, see the outcomes of each call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The proposal has problems; nothing of it was kept.
    #[error("the change has {count} problem(s), nothing was changed; the first: {}", .problems.first().map(ToString::to_string).unwrap_or_default())]
    Invalid {
        /// The problems, at most 1,000.
        problems: Vec<Problem>,
        /// How many there are in all.
        count: usize,
    },
    /// There is no such change, backtest or version in this organisation.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `change`, `backtest`, `rule set`.
        what: &'static str,
        /// Which one was asked for.
        id: i64,
    },
    /// The step does not fit the state.
    #[error("{0}; {todo}", todo = what_to_do(.0))]
    State(#[from] IllegalTransition),
    /// Nothing becomes active without a backtest.
    #[error("the change has no backtest: run one first")]
    NoBacktest,
    /// Another version became active since the backtest, so that its prediction says nothing any more.
    #[error("the rules in force have changed since the backtest: run it again")]
    StaleBacktest,
    /// The backtest warned.
    #[error("the backtest warns: {warning} To activate all the same, give a reason")]
    NeedsReason {
        /// Its words.
        warning: String,
    },
    /// It would pull back more copies than one person may.
    #[error(
        "activating it pulls back {count} copies, and more than {limit} (the setting limits.mass_action_max) need a second \
         person: somebody else than {proposed_by}, who proposed it, activates it"
    )]
    NeedsSecondPerson {
        /// How many, by its backtest.
        count: i64,
        /// The limit.
        limit: i64,
        /// The first person.
        proposed_by: String,
    },
    /// The active rule set does not load: a defect of ours or a foreign hand.
    #[error("the rule set does not load: {0}")]
    RuleSet(String),
    /// A word or number in a row that this binary does not know.
    #[error("row {what}: {problem}")]
    Row {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread of the backtest died.
    #[error("the backtest was cut off: {0}")]
    CutOff(String),
}

fn what_to_do(refused: &IllegalTransition) -> &'static str {
    match refused.from {
        ChangeState::Proposed => "run its backtest first",
        ChangeState::Backtesting => "wait for its backtest, or stop it",
        ChangeState::Backtested => "activate it or stop it",
        ChangeState::Active => "undo it",
        ChangeState::Undone | ChangeState::Stopped => "propose it again",
    }
}

impl Error {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            Error::Store(error) => error.severity(),
            Error::Directory(error) => error.severity(),
            Error::CutOff(_) => Severity::Transient,
            Error::Invalid { .. }
            | Error::NotFound { .. }
            | Error::State(_)
            | Error::NoBacktest
            | Error::StaleBacktest
            | Error::NeedsReason { .. }
            | Error::NeedsSecondPerson { .. }
            | Error::RuleSet(_)
            | Error::Row { .. } => Severity::Permanent,
        }
    }

    pub(crate) fn invalid(place: impl Into<String>, value: impl Into<String>, problem: impl Into<String>) -> Error {
        let problem = Problem { place: place.into(), value: value.into(), problem: problem.into() };
        Error::Invalid { problems: vec![problem], count: 1 }
    }
}
