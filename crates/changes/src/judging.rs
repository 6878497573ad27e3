//! One message under two rule sets: what would happen with its copies. Pure; the very functions that judge arriving mail.

use std::sync::Arc;

use model::{Address, CampaignId, CopyId, Disposition, Facts, MessageId, Place, Timestamp, VerdictClass};
use verdict::{
    Candidates, LandedCopy, Policies, RecipientContext, RuleSet, ZapDecision, decide, index_terms, judge, sentence,
    zap_decision,
};

/// A copy of a judged message, as its rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedCopy {
    /// The copy.
    pub copy_id: CopyId,
    /// Its campaign, when it is our own mail.
    pub campaign_id: Option<CampaignId>,
    /// The campaign's name, or empty.
    pub campaign_name: String,
    /// The recipient's address.
    pub recipient: String,
    /// The recipient's department: the group that policies can be scoped by; may be empty.
    pub department: String,
    /// Where it is now, whether it was read and when it landed.
    pub landed: LandedCopy,
}

/// A copy that the proposed rule set treats otherwise than the active one.
#[derive(Debug, Clone, PartialEq)]
pub struct MovedCopy {
    /// The copy.
    pub copy: JudgedCopy,
    /// The message that was judged.
    pub message_id: MessageId,
    /// What the active rule set does on arrival.
    pub before: Disposition,
    /// What the proposed one does.
    pub after: Disposition,
    /// The class before.
    pub class_before: VerdictClass,
    /// The class after.
    pub class_after: VerdictClass,
    /// Where activating pulls the landed copy; `None`: it stays where it is.
    pub purge: Option<Place>,
    /// Why, by the proposed rule set.
    pub sentence: String,
}

impl MovedCopy {
    /// Whether the recipient has less of it afterwards than before.
    pub fn takes_away(&self) -> bool {
        self.purge.is_some() || rank(&self.after) > rank(&self.before)
    }
}

/// How far from the inbox.
fn rank(disposition: &Disposition) -> u8 {
    match disposition {
        Disposition::Deliver => 0,
        Disposition::Junk => 1,
        Disposition::Quarantine | Disposition::Redirect { .. } => 2,
        Disposition::Reject | Disposition::Drop => 3,
    }
}

/// The two rule sets and everything else that decides.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub active: Arc<RuleSet>,
    pub proposed: Arc<RuleSet>,
    pub policies: Arc<Policies>,
    pub candidates: Arc<Candidates>,
    pub now: Timestamp,
    pub zap_window_ms: i64,
}

/// The landed state of a copy from its rows: read is the flag in the mailbox, and it landed when the mailbox says (the
/// date that moves and restores keep), or when it came to its place where no mailbox item tells.
pub fn landed_copy(
    place: Place,
    place_at: Timestamp,
    seen: Option<bool>,
    internal_at: Option<Timestamp>,
) -> LandedCopy {
    LandedCopy { place, read: seen.unwrap_or(false), landed_at: internal_at.unwrap_or(place_at) }
}

/// Judges a message under both rule sets and gives the copies that would move. A copy whose address is no address is left
/// out; there is no such copy on a host of ours.
pub fn judge_message(
    message_id: MessageId,
    facts: &Facts,
    copies: &[JudgedCopy],
    (active, proposed): (&RuleSet, &RuleSet),
    policies: &Policies,
    candidates: &Candidates,
    (now, zap_window_ms): (Timestamp, i64),
) -> Vec<MovedCopy> {
    let (was, will) = (judge(facts, active, now), judge(facts, proposed, now));
    let mut touched: Option<bool> = None;
    let mut moved = Vec::new();
    for copy in copies {
        let Ok(address) = Address::parse(&copy.recipient) else { continue };
        let groups = if copy.department.is_empty() { Vec::new() } else { vec![copy.department.clone()] };
        let recipient = RecipientContext { address, groups };
        let before = decide(&was, facts, policies, &recipient);
        let after = decide(&will, facts, policies, &recipient);
        let purge_before = purge_of(&zap_decision(&before, copy.landed, now, zap_window_ms));
        let mut purge = purge_of(&zap_decision(&after, copy.landed, now, zap_window_ms));
        if purge.is_some() && purge == purge_before {
            // The active rules would pull it back too: the job reaches it only if the change points at its message.
            let touched = *touched.get_or_insert_with(|| is_candidate(facts, candidates));
            purge = purge.filter(|_| touched);
        }
        if before.disposition != after.disposition || purge.is_some() {
            moved.push(MovedCopy {
                copy: copy.clone(),
                message_id,
                before: before.disposition,
                after: after.disposition,
                class_before: before.class,
                class_after: after.class,
                purge,
                sentence: sentence(&will),
            });
        }
    }
    moved
}

fn purge_of(decision: &ZapDecision) -> Option<Place> {
    match decision {
        ZapDecision::Leave(_) => None,
        ZapDecision::Quarantine { .. } => Some(Place::Quarantine),
        ZapDecision::Junk { .. } => Some(Place::Junk),
    }
}

/// Whether the purge job looks at this message at all.
fn is_candidate(facts: &Facts, candidates: &Candidates) -> bool {
    match candidates {
        Candidates::Window => true,
        Candidates::Terms(terms) => index_terms(facts).iter().any(|term| terms.contains(term)),
    }
}
