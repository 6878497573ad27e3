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
    /// The recipient's own address, which policies look at (not the alias it was sent to).
    pub address: String,
    /// The recipient's department: the group that policies can be scoped by; may be empty.
    pub department: String,
    /// Where it is now, whether it was read and when it landed.
    pub landed: LandedCopy,
    /// Whether it lies in a mailbox of ours; the purge reaches no other.
    pub in_mailbox: bool,
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
pub struct Bench {
    /// The rules in force.
    pub active: Arc<RuleSet>,
    /// The proposed ones.
    pub proposed: Arc<RuleSet>,
    /// The policies in force.
    pub policies: Arc<Policies>,
    /// The mail that a purge for this change looks at.
    pub candidates: Arc<Candidates>,
    /// The instant of the judgement.
    pub now: Timestamp,
    /// How long after landing a purge takes back, in milliseconds.
    pub zap_window_ms: i64,
}

/// Judges a message under both rule sets and gives the copies that would move. A copy whose address is no address is left
/// out; there is no such copy on a host of ours.
pub fn judge_message(
    bench: &Bench,
    (message_id, received_at): (MessageId, Timestamp),
    facts: &Facts,
    copies: &[JudgedCopy],
) -> Vec<MovedCopy> {
    let (was, will) = (judge(facts, &bench.active, bench.now), judge(facts, &bench.proposed, bench.now));
    let in_window = bench.now.ms_since(received_at) <= bench.zap_window_ms;
    let mut touched: Option<bool> = None;
    let mut moved = Vec::new();
    for copy in copies {
        let Ok(address) = Address::parse(&copy.address) else { continue };
        let groups = if copy.department.is_empty() { Vec::new() } else { vec![copy.department.clone()] };
        let recipient = RecipientContext { address, groups };
        let before = decide(&was, facts, &bench.policies, &recipient);
        let after = decide(&will, facts, &bench.policies, &recipient);
        let zap = |decision| purge_of(&zap_decision(decision, copy.landed, bench.now, bench.zap_window_ms));
        let mut purge = zap(&after).filter(|_| copy.in_mailbox && in_window);
        if purge.is_some() && purge == zap(&before) {
            // The active rules would pull it back too: the job reaches it only if the change points at its message.
            let touched = *touched.get_or_insert_with(|| is_candidate(facts, &bench.candidates));
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
