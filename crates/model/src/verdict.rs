//! What was concluded about a message, and what was done with a copy.

use serde::{Deserialize, Serialize};

use crate::event::text_enum;
use crate::{Address, ChangeId, RuleSetId};

text_enum! {
    /// The class of a verdict. Declared from worst to best: `Malware < Clean`.
    VerdictClass {
        /// Malicious file.
        Malware = "malware",
        /// Phishing beyond reasonable doubt.
        HighConfidencePhish = "high_confidence_phish",
        /// Phishing.
        Phish = "phish",
        /// The sender is not who the From says.
        Spoof = "spoof",
        /// Looks like a protected person or domain.
        Impersonation = "impersonation",
        /// Spam beyond reasonable doubt.
        HighConfidenceSpam = "high_confidence_spam",
        /// Spam.
        Spam = "spam",
        /// Bulk mail.
        Bulk = "bulk",
        /// Nothing found.
        Clean = "clean",
    }
}

text_enum! {
    /// How sure a verdict is.
    Confidence {
        /// Weak.
        Low = "low",
        /// Usual.
        Normal = "normal",
        /// Strong.
        High = "high",
    }
}

/// A rule's finding, with what it saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The rule's id: `url_host_feed`.
    pub rule: String,
    /// The rule's behaviour version; a replay needs the same.
    pub rule_version: u16,
    /// What it weighs under the rule set in force, in points.
    pub weight: f32,
    /// The class this finding speaks for.
    pub class: VerdictClass,
    /// A sentence that a person understands.
    pub sentence: String,
    /// What was seen: a URL, a host, a hash, a header value. Bounded.
    pub evidence: String,
    /// Where the rule got it: the feed or list entry (`feed phishing-hosts, entry t.comms.example`), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The change that put that entry (or that weight) in force, if any: how a held copy finds its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<ChangeId>,
}

/// The conclusion about one message, reproducible from its stored facts and the rule set named here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The class.
    pub class: VerdictClass,
    /// How sure.
    pub confidence: Confidence,
    /// Every finding, the deciding ones first.
    pub signals: Vec<Signal>,
    /// Bulk complaint level, 0 (not bulk) to 9.
    pub bulk_level: u8,
    /// The allow entries that lowered the class, in words; empty when none did.
    #[serde(default)]
    pub allowed_by: Vec<String>,
    /// The rule set version that judged.
    pub rule_set_id: RuleSetId,
}

/// What the recipient's policy did with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disposition {
    /// Into the inbox.
    Deliver,
    /// Into Junk.
    Junk,
    /// Into quarantine.
    Quarantine,
    /// Refused in the SMTP dialogue.
    Reject,
    /// Sent to someone else instead.
    Redirect {
        /// To whom.
        to: Address,
    },
    /// Accepted and thrown away.
    Drop,
}

impl Disposition {
    /// The word in SQL and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Disposition::Deliver => "deliver",
            Disposition::Junk => "junk",
            Disposition::Quarantine => "quarantine",
            Disposition::Reject => "reject",
            Disposition::Redirect { .. } => "redirect",
            Disposition::Drop => "drop",
        }
    }
}
