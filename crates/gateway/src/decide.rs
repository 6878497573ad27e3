//! From the verdict to a plan: what happens with each recipient's copy.

use directory::{OwnCopy, Recipient};
use mailbox::FolderRole;
use model::{Address, ChangeId, CopyId, Disposition, Facts, QuarantineReason, Verdict};
use verdict::{Decision, Policies, PolicyType, RecipientContext};

/// A forward-path and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Addressee {
    pub(crate) path: Address,
    pub(crate) recipient: Recipient,
}

/// What happens with one copy.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) to: Addressee,
    pub(crate) copy_id: CopyId,
    /// The campaign copy that this is, if it is ours.
    pub(crate) own: Option<OwnCopy>,
    pub(crate) action: Action,
    /// `None` when it was not judged.
    pub(crate) decision: Option<Decision>,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Into this folder.
    Deliver(FolderRole),
    /// Into quarantine.
    Hold,
    /// Refused for everybody.
    Reject,
    /// Accepted and thrown away.
    Drop,
    /// To somebody else of ours.
    RedirectHere(Addressee),
    /// To somebody elsewhere, through the outbound queue.
    RedirectAway(Address),
}

/// What the policies want for one recipient.
pub(crate) fn decide(verdict: &Verdict, facts: &Facts, policies: &Policies, to: &Addressee) -> Decision {
    // The primary address and the department are what policies are scoped by, whichever alias was written to.
    let address = Address::parse(&to.recipient.address).unwrap_or_else(|_| to.path.clone());
    let context = RecipientContext { address, groups: vec![to.recipient.department.clone()] };
    verdict::decide(verdict, facts, policies, &context)
}

/// DATA has one reply: a mail is refused only when all its recipients' policies refuse it. Otherwise they hold it.
pub(crate) fn settle_refusals(decisions: &mut [Decision]) {
    let refuses = |decision: &Decision| decision.disposition == Disposition::Reject;
    if decisions.iter().all(refuses) {
        return;
    }
    for decision in decisions.iter_mut().filter(|decision| refuses(decision)) {
        decision.disposition = Disposition::Quarantine;
        decision.reason = Some(match decision.policy_type {
            PolicyType::AntiMalware => QuarantineReason::FileTypeBlock,
            PolicyType::AntiSpam | PolicyType::AntiPhish | PolicyType::AllowBlockList => {
                QuarantineReason::of(decision.class)
            }
        });
        decision.explanation.push_str("; held, since others get the same mail");
    }
}

/// The change that put the deciding finding in force, if one did.
pub(crate) fn cause(verdict: &Verdict, decision: &Decision) -> Option<ChangeId> {
    let counted = || verdict.signals.iter().filter(|signal| signal.weight > 0.0);
    let exact = counted().filter(|signal| signal.class == decision.class).find_map(|signal| signal.change_id);
    // A block entry may decide beside a worse class.
    exact.or_else(|| counted().filter(|signal| signal.class <= decision.class).find_map(|signal| signal.change_id))
}

impl Action {
    /// Whether the body must be kept.
    pub(crate) fn needs_body(&self) -> bool {
        match self {
            Action::Deliver(_) | Action::Hold | Action::RedirectHere(_) | Action::RedirectAway(_) => true,
            Action::Reject | Action::Drop => false,
        }
    }
}
