//! The life of a change: proposed, backtesting, backtested, active, undone; or stopped before it was active.

use serde::{Deserialize, Serialize};

/// Where a change is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// Written down, not tested.
    Proposed,
    /// A backtest runs (or was cut off by the end of the process, and may be started again).
    Backtesting,
    /// Tested; may be activated.
    Backtested,
    /// In force.
    Active,
    /// Was in force and was taken back.
    Undone,
    /// Given up before it was in force.
    Stopped,
}

impl ChangeState {
    /// Every state.
    pub const ALL: &'static [ChangeState] = &[
        ChangeState::Proposed,
        ChangeState::Backtesting,
        ChangeState::Backtested,
        ChangeState::Active,
        ChangeState::Undone,
        ChangeState::Stopped,
    ];

    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeState::Proposed => "proposed",
            ChangeState::Backtesting => "backtesting",
            ChangeState::Backtested => "backtested",
            ChangeState::Active => "active",
            ChangeState::Undone => "undone",
            ChangeState::Stopped => "stopped",
        }
    }

    /// The state for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

impl std::fmt::Display for ChangeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A backtest starts.
    StartBacktest,
    /// It ended with a result.
    FinishBacktest,
    /// It ended without one.
    FailBacktest,
    /// Put in force.
    Activate,
    /// Taken back.
    Undo,
    /// Given up.
    Stop,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Step] =
        &[Step::StartBacktest, Step::FinishBacktest, Step::FailBacktest, Step::Activate, Step::Undo, Step::Stop];
}

/// A step that cannot follow a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change that is {from} cannot take the step {step:?}")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: ChangeState,
    /// The step that was refused.
    pub step: Step,
}

/// The state after a step.
///
/// # Errors
/// [`IllegalTransition`] for a step that does not fit.
pub fn advance(from: ChangeState, step: Step) -> Result<ChangeState, IllegalTransition> {
    use ChangeState as S;
    match (from, step) {
        (S::Proposed | S::Backtesting | S::Backtested, Step::StartBacktest) => Ok(S::Backtesting),
        (S::Backtesting, Step::FinishBacktest) => Ok(S::Backtested),
        (S::Backtesting, Step::FailBacktest) => Ok(S::Proposed),
        (S::Backtested, Step::Activate) => Ok(S::Active),
        (S::Active, Step::Undo) => Ok(S::Undone),
        (S::Proposed | S::Backtesting | S::Backtested, Step::Stop) => Ok(S::Stopped),
        (
            S::Proposed | S::Backtesting | S::Backtested | S::Active | S::Undone | S::Stopped,
            Step::StartBacktest | Step::FinishBacktest | Step::FailBacktest | Step::Activate | Step::Undo | Step::Stop,
        ) => Err(IllegalTransition { from, step }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: states in order; columns: steps in order; `-` is refused.
    const TABLE: &str = "
        backtesting -          -        -      -      stopped
        backtesting backtested proposed -      -      stopped
        backtesting -          -        active -      stopped
        -           -          -        -      undone -
        -           -          -        -      -      -
        -           -          -        -      -      -";

    #[test]
    fn the_whole_table() {
        let rows: Vec<Vec<&str>> =
            TABLE.lines().map(|l| l.split_whitespace().collect()).filter(|r: &Vec<_>| !r.is_empty()).collect();
        for (from, row) in ChangeState::ALL.iter().zip(&rows) {
            for (step, want) in Step::ALL.iter().zip(row) {
                let got = advance(*from, *step).map_or("-", ChangeState::as_str);
                assert_eq!(got, *want, "{from} {step:?}");
            }
            assert_eq!(ChangeState::parse(from.as_str()), Some(*from));
        }
        assert_eq!(rows.len(), ChangeState::ALL.len());
    }
}
