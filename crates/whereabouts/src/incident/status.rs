//! The life of an incident: open, identified, monitoring, resolved; and back to identified when more is lost.

use serde::{Deserialize, Serialize};

/// Where an incident is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Copies are lost, the cause is not known.
    Open,
    /// The cause is known.
    Identified,
    /// A remedy is applied; it is watched whether copies come back.
    Monitoring,
    /// Every copy in scope is back in a mailbox or decided.
    Resolved,
}

impl Status {
    /// Every status.
    pub const ALL: &'static [Status] = &[Status::Open, Status::Identified, Status::Monitoring, Status::Resolved];

    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Identified => "identified",
            Status::Monitoring => "monitoring",
            Status::Resolved => "resolved",
        }
    }

    /// The status for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == text)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The cause became known.
    CauseFound,
    /// More copies are lost by the same cause.
    Grew,
    /// A release, an undo or an allow entry took effect.
    RemedyApplied,
    /// Every copy in scope is back or decided.
    AllBack,
    /// A person says so.
    Set(Status),
}

/// A step that cannot follow a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an incident that is {from} cannot take the step {step:?}")]
pub struct IllegalTransition {
    /// The status it has.
    pub from: Status,
    /// The step that was refused.
    pub step: Step,
}

/// The status after a step.
///
/// # Errors
/// [`IllegalTransition`] for a step that does not fit.
pub fn advance(from: Status, step: Step) -> Result<Status, IllegalTransition> {
    use Status as S;
    match (from, step) {
        (S::Open | S::Identified, Step::CauseFound) => Ok(S::Identified),
        (S::Monitoring, Step::CauseFound) => Ok(S::Monitoring),
        (S::Open, Step::Grew) => Ok(S::Open),
        (S::Identified | S::Monitoring | S::Resolved, Step::Grew) => Ok(S::Identified),
        (S::Open | S::Identified | S::Monitoring, Step::RemedyApplied) => Ok(S::Monitoring),
        (S::Open | S::Identified | S::Monitoring, Step::AllBack) => Ok(S::Resolved),
        (S::Open | S::Identified | S::Monitoring | S::Resolved, Step::Set(S::Identified)) => Ok(S::Identified),
        (S::Open | S::Identified | S::Monitoring, Step::Set(to @ (S::Monitoring | S::Resolved))) => Ok(to),
        (same @ (S::Open | S::Resolved), Step::Set(to)) if same == to => Ok(same),
        (S::Resolved, Step::CauseFound | Step::RemedyApplied | Step::AllBack)
        | (S::Open | S::Identified | S::Monitoring | S::Resolved, Step::Set(_)) => {
            Err(IllegalTransition { from, step })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: statuses in order; columns: cause found, grew, remedy, all back, then set to each status; `-` is refused.
    const TABLE: &str = "
        identified open       monitoring resolved open identified monitoring resolved
        identified identified monitoring resolved -    identified monitoring resolved
        monitoring identified monitoring resolved -    identified monitoring resolved
        -          identified -          -        -    identified -          resolved";

    #[test]
    fn the_whole_table() {
        let set = Status::ALL.iter().map(|status| Step::Set(*status));
        let steps: Vec<Step> =
            [Step::CauseFound, Step::Grew, Step::RemedyApplied, Step::AllBack].into_iter().chain(set).collect();
        let rows: Vec<Vec<&str>> =
            TABLE.lines().map(|l| l.split_whitespace().collect()).filter(|r: &Vec<_>| !r.is_empty()).collect();
        assert_eq!(rows.len(), Status::ALL.len());
        for (from, row) in Status::ALL.iter().zip(&rows) {
            assert_eq!(row.len(), steps.len());
            for (step, want) in steps.iter().zip(row) {
                assert_eq!(advance(*from, *step).map_or("-", Status::as_str), *want, "{from} {step:?}");
            }
        }
    }
}
