//! From facts to a verdict, and from a verdict to what happens with one recipient's copy.
//!
//! Pure and synchronous: no clock, no runtime, no network, no SQL. The same facts, the same rule set and the same
//! instant give the same verdict, today and in a replay a year from now. All waiting (DNS, reputation, history)
//! happened before, in whoever filled the [`Facts`](model::Facts).
//!
//! # Nouns
//!
//! - **fact**: something observed about a message (`model::Facts`); stored with it and never computed again.
//! - **[`Rule`]**: one file in `rules/`, listed in [`RULES`]; looks at facts and reports **findings**.
//! - **signal**: a finding with its weight in points (`model::Signal`).
//! - **[`RuleSet`]**: feeds, allow and block entries, weights, protected people and domains, compiled for look-up by hash;
//!   immutable, with a content [`hash`](RuleSet::hash). Built from a [`RuleSetSource`], which is what is stored.
//! - **verdict**: the class that the signals' points reach ([`judge()`]; the arithmetic is in its module).
//! - **[`Policy`]**: what the organisation wants for a class; Default, Standard, Strict and custom ones.
//! - **[`Decision`]**: the disposition of one recipient's copy with its reason, tag and retention ([`decide`]).
//! - **zero-hour purge**: whether a decision made later moves a copy that has landed ([`zap_decision`]).
//! - **term**: a word under which a message is indexed, so that a change finds the copies it can touch without reading
//!   all of them ([`index_terms`], [`candidate_terms`]).
//!
//! # Example
//!
//! ```
//! use model::{Address, Disposition, Facts, RuleSetId, Timestamp, UrlFact, UrlSource, VerdictClass};
//! use verdict::{Feed, FeedEntry, FeedKind, Policies, RecipientContext, RuleSet, RuleSetSource};
//!
//! let rules = RuleSet::compile(RuleSetSource {
//!     id: RuleSetId(7),
//!     feeds: vec![Feed {
//!         name: "phishing-hosts".into(),
//!         kind: FeedKind::UrlHost,
//!         entries: vec![FeedEntry::new("t.contoso.localhost:8080", VerdictClass::Phish)],
//!     }],
//!     ..RuleSetSource::default()
//! })?;
//! let facts = Facts {
//!     urls: vec![UrlFact {
//!         raw: "http://t.contoso.localhost:8080/c/1".into(),
//!         url: "http://t.contoso.localhost:8080/c/1".into(),
//!         host: "t.contoso.localhost".into(),
//!         port: Some(8080),
//!         domain: "contoso.localhost".into(),
//!         source: UrlSource::Href,
//!     }],
//!     ..Facts::default()
//! };
//!
//! let verdict = verdict::judge(&facts, &rules, Timestamp::default());
//! assert_eq!(verdict.class, VerdictClass::Phish);
//! assert_eq!(
//!     verdict::sentence(&verdict),
//!     "Phish: the link host t.contoso.localhost:8080 is listed by feed 'phishing-hosts' (entry t.contoso.localhost:8080)"
//! );
//!
//! let recipient = RecipientContext { address: Address::parse("ada@contoso.example")?, groups: vec![] };
//! let decision = verdict::decide(&verdict, &facts, &Policies::standard_for_all(), &recipient);
//! assert_eq!(decision.disposition, Disposition::Quarantine);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(test)]
mod cases;
mod decide;
mod feeds;
mod judge;
mod lists;
mod names;
mod policy;
mod presets;
mod problem;
#[cfg(test)]
mod properties;
mod rule_set;
pub mod rules;
mod sentence;
mod source;
mod terms;
mod zap;

pub use decide::{Decision, RecipientContext, decide};
pub use feeds::{BadLine, FeedFile, parse_feed_file};
pub use judge::{
    BULK_LEVEL_MIN, HIGH_CONFIDENCE_PHISH_POINTS, HIGH_CONFIDENCE_SPAM_POINTS, HIGH_CONFIDENCE_SPAM_SUM_POINTS,
    IMPERSONATION_POINTS, MALWARE_POINTS, PHISH_POINTS, SPAM_POINTS, SPOOF_POINTS, judge,
};
pub use lists::{UrlPattern, check_list_value};
pub use policy::{
    Action, AntiMalware, AntiPhish, AntiSpam, ClassAction, Conditions, DmarcAction, FileAction, Policies, Policy,
    PolicyKind, PolicyType, QuarantineTag,
};
pub use presets::{
    ADMIN_ONLY_RETENTION_DAYS, COMMON_FILE_TYPES, DEFAULT_POLICY_ID, STANDARD_POLICY_ID, STRICT_POLICY_ID,
};
pub use problem::{ENTRY_PROBLEMS_MAX, RuleSetError, SourceProblem};
pub use rule_set::{RuleSet, WEIGHT_MAX};
pub use rules::{Cause, Finding, Look, RULES, Rule};
pub use sentence::{class_words, sentence};
pub use source::{
    Feed, FeedEntry, FeedKind, ListAction, ListEntry, ListKind, ProtectedPerson, RuleSetSource, check_feed_value,
};
pub use terms::{Candidates, Term, TermKind, candidate_terms, feed_entry_terms, index_terms, list_entry_terms};
pub use zap::{LandedCopy, ZAP_WINDOW_MS, ZapDecision, ZapKind, late_decision, zap_decision};
