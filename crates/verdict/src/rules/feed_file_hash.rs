//! An attached file, or one inside an attached archive, is one that a feed lists by SHA-256.

use super::{Cause, Finding, Look, Rule};
use crate::{FeedKind, names};
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "feed_file_hash",
    version: 1,
    weight: 10.0,
    class: VerdictClass::Malware,
    about: "An attached file is listed by a feed.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    if !look.rules.has_feed(FeedKind::FileHash) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for file in &look.facts.attachments {
        for (feed, entry) in look.rules.feed_hits(FeedKind::FileHash, &file.sha256) {
            let name = names::bounded(&file.name);
            findings.push(
                Finding::new(entry.class, format!("the file '{name}' is listed by feed '{}'", feed.name), &file.sha256)
                    .origin(format!("feed {}, entry {}", feed.name, entry.value), entry.change_id)
                    .cause(Cause::File(file.sha256.clone())),
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
        # Upper case in the feed, lower case in the facts.
        feed: file_hash AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA malware
        file: invoice.pdf document sha=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        expect: malware 10 the file 'invoice.pdf' is listed by feed 'test'

        # One digit differs.
        feed: file_hash aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa malware
        file: invoice.pdf document sha=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab
        expect: none
        ",
    );
}
