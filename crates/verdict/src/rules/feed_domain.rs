//! The sender's domain is one that a feed lists.
//!
//! Looks at From, Sender and the reverse-path: whoever names a listed domain in any of them wants mail to work from there.

use super::{Finding, Look, Rule};
use crate::{FeedKind, names};
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "feed_domain",
    version: 1,
    weight: 10.0,
    class: VerdictClass::Spam,
    about: "The sender's domain is listed by a feed.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    if !look.rules.has_feed(FeedKind::Domain) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for domain in crate::terms::sender_domains(look.facts) {
        for name in names::with_parents(&domain) {
            for (feed, entry) in look.rules.feed_hits(FeedKind::Domain, name) {
                let shown = names::bounded(&domain);
                let sentence =
                    format!("the sender's domain {shown} is listed by feed '{}' (entry {})", feed.name, entry.value);
                findings.push(
                    Finding::new(entry.class, sentence, shown)
                        .origin(format!("feed {}, entry {}", feed.name, entry.value), entry.change_id),
                );
            }
        }
    }
    findings
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # From.
        feed: domain spam.example spam
        from: Shop <shop@news.spam.example>
        expect: spam 10 the sender's domain news.spam.example is listed by feed 'test' (entry spam.example)

        # Reverse-path alone.
        feed: domain spam.example high_confidence_spam
        from: Shop <shop@shop.example>
        mail-from: b@spam.example
        expect: high_confidence_spam 10 the sender's domain spam.example is listed by feed 'test' (entry spam.example)

        # The domain only ends alike.
        feed: domain spam.example spam
        from: Shop <shop@antispam.example>
        expect: none
        ",
    );
}
