//! The states of a held copy and the steps between them.
//!
//! ```text
//! needs_review ──request──▶ requested ──deny──▶ denied
//!      │                        │                 │
//!      └────────── free ────────┴───── free ──────┴──▶ released      (end)
//!      └────────── expire ──────┴───── expire ────┴──▶ expired       (end)
//! ```

use model::{EventKind, ReleaseStatus};

/// What can be done to a held copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask for its release.
    Request,
    /// Refuse what was asked.
    Deny,
    /// Release it, or put it back.
    Free,
    /// End its retention.
    Expire,
}

/// A step that the status does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a copy that is {from} cannot be taken through {step:?}")]
pub struct IllegalStep {
    /// The status.
    pub from: ReleaseStatus,
    /// The step.
    pub step: Step,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Step] = &[Step::Request, Step::Deny, Step::Free, Step::Expire];

    /// The status after it.
    pub const fn target(self) -> ReleaseStatus {
        match self {
            Step::Request => ReleaseStatus::Requested,
            Step::Deny => ReleaseStatus::Denied,
            Step::Free => ReleaseStatus::Released,
            Step::Expire => ReleaseStatus::Expired,
        }
    }

    /// The event it leaves in the ledger; freeing leaves `released` or `restored`, as the copy was held.
    pub(crate) const fn event(self) -> EventKind {
        match self {
            Step::Request => EventKind::ReleaseRequested,
            Step::Deny => EventKind::Denied,
            Step::Free => EventKind::Released,
            Step::Expire => EventKind::Expired,
        }
    }
}

/// The status after `step`.
///
/// # Errors
/// [`IllegalStep`] where the picture above has no arrow.
pub fn advance(from: ReleaseStatus, step: Step) -> Result<ReleaseStatus, IllegalStep> {
    use ReleaseStatus::{Denied, Expired, NeedsReview, Released, Requested};
    let allowed = match step {
        Step::Request => from == NeedsReview,
        Step::Deny => from == Requested,
        Step::Free | Step::Expire => match from {
            NeedsReview | Requested | Denied => true,
            Released | Expired => false,
        },
    };
    if allowed { Ok(step.target()) } else { Err(IllegalStep { from, step }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        use ReleaseStatus::{Denied, Expired, NeedsReview, Released, Requested};
        let table = [
            // from, request, deny, free, expire
            (NeedsReview, Some(Requested), None, Some(Released), Some(Expired)),
            (Requested, None, Some(Denied), Some(Released), Some(Expired)),
            (Denied, None, None, Some(Released), Some(Expired)),
            (Released, None, None, None, None),
            (Expired, None, None, None, None),
        ];
        assert_eq!(table.len(), ReleaseStatus::ALL.len());
        for (from, request, deny, free, expire) in table {
            let got: Vec<_> = Step::ALL.iter().map(|step| advance(from, *step).ok()).collect();
            assert_eq!(got, [request, deny, free, expire], "from {from}");
        }
    }
}
