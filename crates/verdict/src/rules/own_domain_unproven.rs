//! A domain of ours in the From, and nothing that proves it: no DMARC policy decides, no signature and no SPF pass speaks for it,
//! and the host's name is another's (composite authentication 601).
//!
//! Where our own domain publishes a DMARC policy, `dmarc_fail` speaks; this rule is for organisations that have not got that far.
//! Mail of those who logged in is proven. A host that could not look names up says nothing.

use super::{Finding, Look, Rule};
use crate::names;
use model::{AuthResult, CompositeResult, VerdictClass};

/// The reason code of an implicit failure of a domain of ours.
const IMPLICIT_OWN: u16 = 601;

/// See the module.
pub const RULE: Rule = Rule {
    id: "own_domain_unproven",
    version: 1,
    weight: 6.0,
    class: VerdictClass::Spoof,
    about: "The From names our own domain, and nothing proves it.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    let auth = &look.facts.auth;
    let composite = auth.composite;
    let is_implicit = composite.result == CompositeResult::Fail && composite.reason == IMPLICIT_OWN;
    // With a DMARC failure the other rule has said it.
    if !is_implicit || auth.dmarc == AuthResult::Fail {
        return Vec::new();
    }
    let domain = names::bounded(look.facts.from().domain());
    let sentence = format!("nothing proves that the sender is {domain}, which is our own domain");
    vec![Finding::new(
        VerdictClass::Spoof,
        sentence,
        format!("compauth=fail reason={IMPLICIT_OWN} header.from={domain}"),
    )]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # From outside, in our name, without a policy of ours.
        from: Boss <boss@contoso.example>
        compauth: fail 601
        expect: spoof 6 nothing proves that the sender is contoso.example, which is our own domain

        # The policy decides.
        from: Boss <boss@contoso.example>
        dmarc: fail none
        compauth: fail 601
        expect: none

        # Another domain.
        from: Ada <ada@fabrikam.example>
        compauth: fail 1
        expect: none

        # The names could not be looked up.
        from: Boss <boss@contoso.example>
        compauth: none 301
        expect: none
        ",
    );
}
