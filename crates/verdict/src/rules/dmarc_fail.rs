//! The From domain's authentication failed (DMARC, RFC 9989): the sender is not who the From says.
//!
//! A domain that asks for `reject` or `quarantine` is taken at its word; so are the organisation's own domains whatever they
//! ask for, since nobody outside writes from them unauthenticated. With `p=none` a failure alone is only suspicious: mailing
//! lists break signatures every day. A temporary error is no failure, and neither is what a sealer that the organisation trusts
//! vouches for (ARC, composite authentication 130).

use super::{Finding, Look, Rule};
use crate::names;
use model::{AuthResult, DmarcPolicy, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "dmarc_fail",
    // Facts of before composite authentication never have the override: the version is the same, and replays are.
    version: 1,
    weight: 10.0,
    class: VerdictClass::Spoof,
    about: "Authentication of the From domain failed (DMARC).",
    check,
};

/// The part of the weight when the domain asks for nothing.
const NO_POLICY_SHARE: f32 = 0.3;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let auth = &look.facts.auth;
    if auth.dmarc != AuthResult::Fail || auth.composite.is_arc_override() {
        return Vec::new();
    }
    let domain = names::bounded(&auth.dmarc_domain);
    let asks = auth.dmarc_policy.as_str();
    let own = look.rules.is_own(&auth.dmarc_domain, look.facts);
    let (share, sentence) = match auth.dmarc_policy {
        DmarcPolicy::Reject | DmarcPolicy::Quarantine => {
            (1.0, format!("the sender could not prove to be {domain}, which asks to {asks} such mail (DMARC)"))
        }
        DmarcPolicy::None if own => {
            (1.0, format!("the sender could not prove to be {domain}, which is our own domain (DMARC)"))
        }
        DmarcPolicy::None => (NO_POLICY_SHARE, format!("the sender could not prove to be {domain} (DMARC)")),
    };
    vec![Finding::new(VerdictClass::Spoof, sentence, format!("dmarc=fail p={asks} header.from={domain}")).share(share)]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # The domain asks for it.
        from: Bank <info@bank.example>
        dmarc: fail reject
        expect: spoof 10 the sender could not prove to be bank.example, which asks to reject such mail (DMARC)

        # It asks for nothing: suspicion only.
        from: Bank <info@bank.example>
        dmarc: fail none
        expect: spoof 3 the sender could not prove to be bank.example (DMARC)

        # Our own domain.
        own: contoso.example
        from: Boss <boss@contoso.example>
        dmarc: fail none
        expect: spoof 10 the sender could not prove to be contoso.example, which is our own domain (DMARC)

        # A trusted list broke it, and says that it was whole before.
        from: Bank <info@bank.example>
        dmarc: fail reject
        compauth: pass 130
        expect: none

        # The names could not be looked up now.
        from: Bank <info@bank.example>
        dmarc: temperror reject
        expect: none
        ",
    );
}
