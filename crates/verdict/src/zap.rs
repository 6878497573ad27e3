//! Zero-hour purge: whether what is known now moves a copy that has landed.
//!
//! | class now | read state | goes where |
//! |---|---|---|
//! | malware, high confidence phish | read and unread | quarantine |
//! | phish | read and unread | where the policy wants phish |
//! | spam, high confidence spam | unread only | where the policy wants it |
//! | spoof, impersonation, bulk, clean | | stays |
//!
//! Only within a window after landing, only while the policy's switch is on, and never to where the copy already is or to
//! a milder place. Where the policy redirects or deletes on arrival the copy goes to quarantine, so that nothing is lost
//! by a change of mind.

use model::{Disposition, Place, QuarantineReason, Timestamp, VerdictClass};
use serde::{Deserialize, Serialize};

use crate::{Decision, class_words};

/// The documented window after landing, in milliseconds: 48 hours.
pub const ZAP_WINDOW_MS: i64 = 48 * 60 * 60 * 1000;

/// A copy in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandedCopy {
    /// Where it is now.
    pub place: Place,
    /// Whether its owner has read it.
    pub read: bool,
    /// When it landed.
    pub landed_at: Timestamp,
}

/// Which purge it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZapKind {
    /// Malware.
    Malware,
    /// Phish, also of high confidence.
    Phish,
    /// Spam, also of high confidence.
    Spam,
}

impl ZapKind {
    /// The name in hunting tables: `Phish ZAP`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ZapKind::Malware => "Malware ZAP",
            ZapKind::Phish => "Phish ZAP",
            ZapKind::Spam => "Spam ZAP",
        }
    }
}

/// What purge does with a landed copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZapDecision {
    /// Nothing; the words say why.
    Leave(String),
    /// Out of the mailbox into quarantine.
    Quarantine {
        /// Which purge.
        kind: ZapKind,
        /// Why it is held.
        reason: QuarantineReason,
    },
    /// Into the mailbox's Junk folder.
    Junk {
        /// Which purge.
        kind: ZapKind,
    },
}

/// Decides for one landed copy, by the decision that would be made for it now. `window_ms` is usually [`ZAP_WINDOW_MS`].
pub fn zap_decision(decision: &Decision, copy: LandedCopy, now: Timestamp, window_ms: i64) -> ZapDecision {
    let leave = |why: &str| ZapDecision::Leave(why.to_owned());
    let kind = match decision.class {
        VerdictClass::Malware => ZapKind::Malware,
        VerdictClass::HighConfidencePhish | VerdictClass::Phish => ZapKind::Phish,
        VerdictClass::HighConfidenceSpam | VerdictClass::Spam => ZapKind::Spam,
        VerdictClass::Spoof | VerdictClass::Impersonation | VerdictClass::Bulk | VerdictClass::Clean => {
            return ZapDecision::Leave(format!("{} is not taken back after delivery", class_words(decision.class)));
        }
    };
    if !decision.zap_enabled {
        return ZapDecision::Leave(format!("policy {} has zero-hour purge switched off", decision.policy_name));
    }
    if now.ms_since(copy.landed_at) > window_ms {
        return leave("it landed too long ago");
    }
    if kind == ZapKind::Spam && copy.read {
        return leave("it has been read, and spam is taken back only unread");
    }
    let is_landed = match copy.place {
        Place::Inbox | Place::OtherFolder | Place::Junk => true,
        Place::Accepted | Place::Unknown | Place::OnItsWay => false,
        Place::Quarantine | Place::Deleted | Place::NotReceived => false,
    };
    if !is_landed {
        return leave("it is not in a folder of the mailbox");
    }
    let held =
        || ZapDecision::Quarantine { kind, reason: decision.reason.unwrap_or(QuarantineReason::of(decision.class)) };
    match decision.disposition {
        Disposition::Deliver => leave("the policy delivers it"),
        Disposition::Reject => leave("it could only be refused on arrival"),
        Disposition::Junk if copy.place == Place::Junk => leave("it is in Junk already"),
        Disposition::Junk => ZapDecision::Junk { kind },
        Disposition::Quarantine | Disposition::Redirect { .. } | Disposition::Drop => held(),
    }
}

/// Decides for one landed copy that came in without a verdict, by the decision that would have been made on arrival. It is
/// taken where it would have gone then: every class counts, and no switch or window, which are about changes of mind. Only what
/// is a nuisance and has been read stays.
pub fn late_decision(decision: &Decision, copy: LandedCopy) -> ZapDecision {
    let leave = |why: &str| ZapDecision::Leave(why.to_owned());
    let kind = match decision.class {
        VerdictClass::Malware => ZapKind::Malware,
        VerdictClass::HighConfidencePhish | VerdictClass::Phish | VerdictClass::Spoof | VerdictClass::Impersonation => {
            ZapKind::Phish
        }
        VerdictClass::HighConfidenceSpam | VerdictClass::Spam | VerdictClass::Bulk => ZapKind::Spam,
        VerdictClass::Clean => return leave("it is clean"),
    };
    match copy.place {
        Place::Inbox | Place::OtherFolder | Place::Junk => {}
        Place::Accepted
        | Place::Unknown
        | Place::OnItsWay
        | Place::Quarantine
        | Place::Deleted
        | Place::NotReceived => return leave("it is not in a folder of the mailbox"),
    }
    if kind == ZapKind::Spam && copy.read {
        return leave("it has been read, and spam is taken back only unread");
    }
    match decision.disposition {
        Disposition::Deliver => leave("the policy delivers it"),
        Disposition::Junk if copy.place == Place::Junk => leave("it is in Junk already"),
        Disposition::Junk => ZapDecision::Junk { kind },
        Disposition::Quarantine | Disposition::Redirect { .. } | Disposition::Drop | Disposition::Reject => {
            let reason = decision.reason.unwrap_or(QuarantineReason::of(decision.class));
            ZapDecision::Quarantine { kind, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Address;

    use super::*;
    use crate::{Action, Policies, RecipientContext, RuleSet, cases, decide, judge};

    /// class of the feed | read | place | hours since it landed | policies | what happens
    const TABLE: &str = "
malware | read | inbox | 1 | standard | quarantine Malware ZAP malware
high_confidence_phish | read | other_folder | 47 | standard | quarantine Phish ZAP high_confidence_phish
phish | read | inbox | 1 | standard | quarantine Phish ZAP phish
phish | unread | inbox | 48 | standard | quarantine Phish ZAP phish
phish | unread | inbox | 49 | standard | leave
phish | read | inbox | 1 | default | junk Phish ZAP
phish | read | junk | 1 | default | leave
phish | read | junk | 1 | standard | quarantine Phish ZAP phish
phish | read | quarantine | 1 | standard | leave
phish | read | deleted | 1 | standard | leave
phish | read | accepted | 1 | standard | leave
phish | read | inbox | 1 | off | leave
phish | read | inbox | 1 | delete | quarantine Phish ZAP phish
spam | unread | inbox | 1 | standard | junk Spam ZAP
spam | read | inbox | 1 | standard | leave
high_confidence_spam | unread | other_folder | 1 | standard | quarantine Spam ZAP spam
high_confidence_spam | read | other_folder | 1 | standard | leave
spoof | unread | inbox | 1 | standard | leave
bulk | unread | inbox | 1 | standard | leave
";

    fn policies(name: &str) -> Policies {
        let mut policies = if name == "default" { Policies::initial() } else { Policies::standard_for_all() };
        for spam in policies.policies.iter_mut().filter_map(|p| p.anti_spam.as_mut()) {
            match name {
                "off" => spam.phish_zap = false,
                "delete" => spam.phish.action = Action::Delete,
                _ => {}
            }
        }
        policies
    }

    /// class of the feed | read | place | policies | what happens
    const LATE: &str = "
malware | read | inbox | standard | quarantine Malware ZAP malware
phish | read | other_folder | off | quarantine Phish ZAP phish
phish | unread | deleted | standard | leave
spoof | unread | inbox | standard | junk Phish ZAP
spam | unread | inbox | standard | junk Spam ZAP
spam | read | inbox | standard | leave
spam | unread | junk | standard | leave
bulk | unread | inbox | standard | junk Spam ZAP
bulk | read | inbox | standard | leave
";

    #[test]
    fn what_came_in_unjudged_goes_where_it_would_have_gone() {
        for line in LATE.lines().filter(|l| !l.is_empty()) {
            let [class, read, place, policy, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("five columns: {line}")
            };
            let (facts, source, _) = cases::parse(&format!("feed: url_host e.example {class}\nurl: http://e.example/"));
            let verdict = judge(&facts, &RuleSet::compile(source).unwrap(), Timestamp::default());
            let recipient =
                RecipientContext { address: Address::parse("ada@contoso.example").unwrap(), groups: vec![] };
            let decision = decide(&verdict, &facts, &policies(policy), &recipient);
            let landed_at = Timestamp::default();
            let copy = LandedCopy { place: Place::parse(place).unwrap(), read: read == "read", landed_at };
            let found = match late_decision(&decision, copy) {
                ZapDecision::Leave(_) => "leave".to_owned(),
                ZapDecision::Quarantine { kind, reason } => format!("quarantine {} {reason}", kind.as_str()),
                ZapDecision::Junk { kind } => format!("junk {}", kind.as_str()),
            };
            assert_eq!(found, expected, "{line}\n{}", decision.explanation);
        }
    }

    #[test]
    fn documented_rules() {
        for line in TABLE.lines().filter(|l| !l.is_empty()) {
            let [class, read, place, hours, policy, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("six columns: {line}")
            };
            let (facts, source, _) = cases::parse(&format!("feed: url_host e.example {class}\nurl: http://e.example/"));
            let verdict = judge(&facts, &RuleSet::compile(source).unwrap(), Timestamp::default());
            let recipient =
                RecipientContext { address: Address::parse("ada@contoso.example").unwrap(), groups: vec![] };
            let decision = decide(&verdict, &facts, &policies(policy), &recipient);
            let landed_at = Timestamp::default();
            let copy = LandedCopy { place: Place::parse(place).unwrap(), read: read == "read", landed_at };
            let now = landed_at.plus_ms(hours.parse::<i64>().unwrap() * 60 * 60 * 1000);
            let found = match zap_decision(&decision, copy, now, ZAP_WINDOW_MS) {
                ZapDecision::Leave(why) => {
                    assert!(!why.is_empty());
                    "leave".to_owned()
                }
                ZapDecision::Quarantine { kind, reason } => format!("quarantine {} {reason}", kind.as_str()),
                ZapDecision::Junk { kind } => format!("junk {}", kind.as_str()),
            };
            assert_eq!(found, expected, "{line}\n{}", decision.explanation);
        }
    }
}
