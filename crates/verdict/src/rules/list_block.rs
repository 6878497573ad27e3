//! An entry of the organisation's block list covers the sender, a link or a file.
//!
//! This is a decision of the organisation, not evidence: its weight cannot be changed, no allow entry takes it away, and it
//! holds the copy in quarantine whatever the policy says of the class. Senders, domains and URLs count as high confidence
//! phish, files as malware.

use super::{Cause, Finding, Look, Rule};
use crate::names::{self, UrlParts};
use crate::{ListAction, ListEntry};
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "list_block",
    // 2: the sentence names a link's host, since the whole address of a tracked link is one person's.
    version: 2,
    weight: 10.0,
    class: VerdictClass::HighConfidencePhish,
    about: "An entry of the block list covers the sender, a link or a file.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    let Look { facts, rules, now } = *look;
    let finding = |class: VerdictClass, entry: &ListEntry, what: &str, shown: &str, evidence: &str| {
        let evidence = names::bounded(evidence);
        let sentence = format!("the {what} {} is on the block list (entry {})", names::bounded(shown), entry.value);
        Finding::new(class, sentence, evidence).origin(entry.words(), entry.change_id).cause(Cause::BlockEntry)
    };
    let mut findings = Vec::new();
    for entry in rules.lists.sender_hits(ListAction::Block, facts, now) {
        findings.push(finding(
            VerdictClass::HighConfidencePhish,
            entry,
            "sender",
            &facts.from().address,
            &facts.from().address,
        ));
    }
    for url in &facts.urls {
        let Some(parts) = UrlParts::of(url) else { continue };
        for entry in rules.lists.url_hits(ListAction::Block, &parts, now) {
            findings.push(finding(VerdictClass::HighConfidencePhish, entry, "link to", &url.host, &url.url));
        }
    }
    for file in &facts.attachments {
        for entry in rules.lists.file_hits(ListAction::Block, &file.sha256, now) {
            findings.push(finding(VerdictClass::Malware, entry, "file", &file.name, &file.name));
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
        # A sender.
        block: sender eve@evil.example
        from: Eve <eve@evil.example>
        expect: high_confidence_phish 10 the sender eve@evil.example is on the block list (entry eve@evil.example)

        # Not the whole domain.
        block: sender eve@evil.example
        from: Bob <bob@evil.example>
        expect: none

        # A domain without its subdomains; the envelope does not count.
        block: domain evil.example
        from: Bob <bob@sub.evil.example>
        mail-from: bob@evil.example
        expect: none

        # A URL with a path.
        block: url evil.example
        url: https://www.evil.example/a/b
        expect: high_confidence_phish 10 the link to www.evil.example is on the block list (entry evil.example)

        # A file.
        block: file aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        file: a.txt text sha=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        expect: malware 10 the file a.txt is on the block list (entry aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)
        ",
    );
}
