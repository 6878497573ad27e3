//! The rules: one file each, one line each in [`RULES`].
//!
//! A rule's file holds what it looks for and why, `RULE`, `check`, and its cases: at least one that fires and a near miss
//! that does not. To add one, copy the nearest file and add its line below. **Raise `version` whenever behaviour changes**:
//! a replay of an old verdict names the version it would need.

use model::{ChangeId, Facts, Timestamp, VerdictClass};

use crate::RuleSet;

mod bulk_marks;
mod credential_words;
mod dangerous_attachment;
mod dmarc_fail;
mod feed_domain;
mod feed_file_hash;
mod feed_url;
mod feed_url_host;
mod form_in_mail;
mod header_anomalies;
pub(crate) mod impersonation;
mod link_text_mismatch;
pub(crate) mod list_block;
mod lookalike_domain;
mod many_hosts;
mod own_domain_unproven;
mod reply_to_differs;
mod sparse_body;
mod url_numeric_host;

/// Every rule, in the order of their ids.
pub const RULES: &[Rule] = &[
    bulk_marks::RULE,
    credential_words::RULE,
    dangerous_attachment::RULE,
    impersonation::RULE,
    dmarc_fail::RULE,
    feed_domain::RULE,
    feed_file_hash::RULE,
    feed_url::RULE,
    feed_url_host::RULE,
    form_in_mail::RULE,
    header_anomalies::RULE,
    link_text_mismatch::RULE,
    list_block::RULE,
    lookalike_domain::RULE,
    many_hosts::RULE,
    own_domain_unproven::RULE,
    reply_to_differs::RULE,
    sparse_body::RULE,
    url_numeric_host::RULE,
];

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name in signals, weights and reports; never reused.
    pub id: &'static str,
    /// Raised whenever its behaviour changes.
    pub version: u16,
    /// Its own weight in points, unless the rule set gives another.
    pub weight: f32,
    /// The class it usually speaks for; feeds name one per entry.
    pub class: VerdictClass,
    /// What it looks for, in one line for the console.
    pub about: &'static str,
    /// Looks at a message.
    pub check: fn(&Look<'_>) -> Vec<Finding>,
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What was observed.
    pub facts: &'a Facts,
    /// Feeds, lists, people, domains.
    pub rules: &'a RuleSet,
    /// The instant at which entries are in force or expired.
    pub now: Timestamp,
}

/// What a rule saw, before it is weighed.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The class it speaks for.
    pub class: VerdictClass,
    /// Its part of the rule's weight: 1.0 for all of it; may exceed 1 where a rule counts (bulk marks).
    pub share: f32,
    /// A sentence that a person understands; starts in lower case, without a full stop.
    pub sentence: String,
    /// What was seen.
    pub evidence: String,
    /// The feed or list entry it rests on.
    pub origin: Option<String>,
    /// The change that put that entry in force.
    pub change_id: Option<ChangeId>,
    /// What caused it: an allow entry for just that takes it away.
    pub cause: Cause,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The message as a whole, or its sender.
    Message,
    /// One URL, in its normal form.
    Url(String),
    /// Every link to a host.
    Host(String),
    /// A file, by its SHA-256.
    File(String),
    /// A block entry: no allow entry takes it away.
    BlockEntry,
}

impl Finding {
    /// A finding of the whole weight about the message.
    pub(crate) fn new(class: VerdictClass, sentence: impl Into<String>, evidence: impl Into<String>) -> Finding {
        let (sentence, evidence) = (sentence.into(), evidence.into());
        Finding { class, share: 1.0, sentence, evidence, origin: None, change_id: None, cause: Cause::Message }
    }

    pub(crate) fn share(self, share: f32) -> Finding {
        Finding { share, ..self }
    }

    pub(crate) fn cause(self, cause: Cause) -> Finding {
        Finding { cause, ..self }
    }

    pub(crate) fn origin(self, origin: impl Into<String>, change_id: Option<ChangeId>) -> Finding {
        Finding { origin: Some(origin.into()), change_id, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_weights_in_range() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(RULES[..at].iter().all(|other| other.id != rule.id), "{} occurs twice", rule.id);
            assert!((0.0..=crate::WEIGHT_MAX).contains(&rule.weight) && rule.version > 0 && !rule.about.is_empty());
        }
    }
}
