//! A link is, to the letter, one that a feed lists.
//!
//! For bad pages on good hosts (file sharing, forms): the host itself must stay reachable.

use super::{Cause, Finding, Look, Rule};
use crate::{FeedKind, names};
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "feed_url",
    version: 1,
    weight: 10.0,
    class: VerdictClass::Phish,
    about: "A link is listed by a feed.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    if !look.rules.has_feed(FeedKind::Url) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for url in &look.facts.urls {
        let Some(key) = names::url_key(&url.url) else { continue };
        for (feed, entry) in look.rules.feed_hits(FeedKind::Url, &key) {
            let shown = names::bounded(&url.url);
            findings.push(
                Finding::new(entry.class, format!("the link {shown} is listed by feed '{}'", feed.name), shown)
                    .origin(format!("feed {}, entry {}", feed.name, names::bounded(&entry.value)), entry.change_id)
                    .cause(Cause::Url(url.url.clone())),
            );
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
        # Scheme and fragment do not matter.
        feed: url http://files.example/s/abc?dl=1 phish
        url: https://files.example/s/abc?dl=1
        expect: phish 10 the link https://files.example/s/abc?dl=1 is listed by feed 'test'

        # Another file of the same host.
        feed: url http://files.example/s/abc?dl=1 phish
        url: https://files.example/s/abd?dl=1
        expect: none
        ",
    );
}
