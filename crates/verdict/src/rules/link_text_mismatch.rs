//! A link shows one host and goes to another.
//!
//! Campaign tools rewrite links for counting, so this alone is suspicion, not proof. It weighs in full when the text shows one of
//! our own or protected domains and the link leaves them.

use super::{Cause, Finding, Look, Rule};
use crate::names;
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "link_text_mismatch",
    version: 1,
    weight: 3.0,
    class: VerdictClass::Phish,
    about: "A link shows one host and goes to another.",
    check,
};

const FOREIGN_SHARE: f32 = 0.6;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for link in &look.facts.links {
        let (shown, goes) = (names::registrable(&link.text_host), names::registrable(&link.href_host));
        if shown.is_empty() || goes.is_empty() || shown == goes {
            continue;
        }
        let guarded = look.rules.guarded_domains(look.facts).any(|g| names::is_under(&link.text_host, g));
        let leaves = !look.rules.is_own(&link.href_host, look.facts);
        let share = if guarded && leaves { 1.0 } else { FOREIGN_SHARE };
        let (text_host, href_host) = (names::bounded(&link.text_host), names::bounded(&link.href_host));
        let sentence = format!("a link shows {text_host} but goes to {href_host}");
        findings.push(
            Finding::new(VerdictClass::Phish, sentence, format!("{} -> {href_host}", names::bounded(&link.text)))
                .share(share)
                .cause(Cause::Host(link.href_host.clone())),
        );
    }
    findings
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # It shows our host.
        own: contoso.example
        link: intranet.contoso.example -> login.evil.example
        expect: phish 3 a link shows intranet.contoso.example but goes to login.evil.example

        # It shows a foreign host.
        link: www.bank.example -> t.newsletter.example
        expect: phish 1.8 a link shows www.bank.example but goes to t.newsletter.example

        # Another host of the same owner.
        link: www.bank.example -> login.bank.example
        expect: none
        ",
    );
}
