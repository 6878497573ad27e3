//! Words of a credential phish: asks to confirm an account, threatens, hurries, and gives a link to do it at.
//!
//! Asking alone is what every password mail does; with a threat and haste it is a phish. Mail that proves to come from one of
//! our own domains is not judged by its words (our own security training says all of them).

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{Finding, Look, Rule};
use crate::names;
use model::{AuthResult, UrlSource, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "credential_words",
    version: 1,
    weight: 6.0,
    class: VerdictClass::Phish,
    about: "The text asks to confirm an account, threatens and hurries.",
    check,
};

/// What a phrase does to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ask,
    Threat,
    Haste,
}

const PHRASES: &[(Role, &str)] = &[
    (Role::Ask, "verify your account"),
    (Role::Ask, "verify your identity"),
    (Role::Ask, "verify your mailbox"),
    (Role::Ask, "confirm your account"),
    (Role::Ask, "confirm your identity"),
    (Role::Ask, "confirm your password"),
    (Role::Ask, "validate your mailbox"),
    (Role::Ask, "validate your account"),
    (Role::Ask, "update your payment"),
    (Role::Ask, "update your billing"),
    (Role::Ask, "re-enter your password"),
    (Role::Ask, "keep the same password"),
    (Role::Ask, "keep my password"),
    (Role::Ask, "konto bestätigen"),
    (Role::Ask, "konto verifizieren"),
    (Role::Ask, "passwort bestätigen"),
    (Role::Ask, "zahlungsdaten aktualisieren"),
    (Role::Ask, "confirmez votre compte"),
    (Role::Ask, "vérifier votre compte"),
    (Role::Threat, "will be suspended"),
    (Role::Threat, "has been suspended"),
    (Role::Threat, "will be deactivated"),
    (Role::Threat, "has been limited"),
    (Role::Threat, "will be closed"),
    (Role::Threat, "will be deleted"),
    (Role::Threat, "will be locked"),
    (Role::Threat, "lose access"),
    (Role::Threat, "unusual sign-in"),
    (Role::Threat, "unusual activity"),
    (Role::Threat, "password expires"),
    (Role::Threat, "password will expire"),
    (Role::Threat, "wird gesperrt"),
    (Role::Threat, "wurde gesperrt"),
    (Role::Threat, "wurde eingeschränkt"),
    (Role::Threat, "sera suspendu"),
    (Role::Haste, "within 24 hours"),
    (Role::Haste, "within 48 hours"),
    (Role::Haste, "immediately"),
    (Role::Haste, "as soon as possible"),
    (Role::Haste, "final notice"),
    (Role::Haste, "last warning"),
    (Role::Haste, "expires today"),
    (Role::Haste, "innerhalb von 24 stunden"),
    (Role::Haste, "umgehend"),
    (Role::Haste, "sofort"),
    (Role::Haste, "dans les 24 heures"),
];

const ASK_SHARE: f32 = 0.4;
const THREAT_SHARE: f32 = 0.4;
const HASTE_SHARE: f32 = 0.2;

/// Built once from constants; holds no state.
static MATCHER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::new(PHRASES.iter().map(|(_, phrase)| phrase)).expect("a few dozen short phrases always compile")
});

fn check(look: &Look<'_>) -> Vec<Finding> {
    let facts = look.facts;
    let proven_own = facts.auth.dmarc == AuthResult::Pass && look.rules.is_own(facts.from().domain(), facts);
    let has_target = facts.urls.iter().any(|url| url.source != UrlSource::Resource) || !facts.attachments.is_empty();
    if proven_own || !has_target {
        return Vec::new();
    }
    let text = format!("{}\n{}", facts.header.subject, facts.text_head).to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut seen: Vec<usize> = MATCHER.find_overlapping_iter(&text).map(|hit| hit.pattern().as_usize()).collect();
    seen.sort_unstable();
    seen.dedup();
    let says = |role: Role| seen.iter().any(|&at| PHRASES[at].0 == role);
    if !says(Role::Ask) {
        return Vec::new();
    }
    let mut share = ASK_SHARE;
    let mut does = vec!["asks to confirm an account"];
    if says(Role::Threat) {
        share += THREAT_SHARE;
        does.push("threatens");
    }
    if says(Role::Haste) {
        share += HASTE_SHARE;
        does.push("hurries");
    }
    let phrases: Vec<&str> = seen.iter().map(|&at| PHRASES[at].1).collect();
    let sentence = format!("the text {}", does.join(", "));
    vec![Finding::new(VerdictClass::Phish, sentence, names::bounded(&phrases.join("; "))).share(share)]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # All three.
        text: Your mailbox will be suspended. Please  Verify your   account within 24 hours.
        url: http://x.example/a
        expect: phish 6 the text asks to confirm an account, threatens, hurries

        # Asks only, as every sign-up does.
        text: Welcome! Please verify your account.
        url: http://x.example/a
        expect: phish 2.4 the text asks to confirm an account

        # Threatens and hurries without asking: a dunning letter.
        text: Final notice: your access will be closed.
        url: http://x.example/a
        expect: none

        # Nowhere to do it.
        text: Your mailbox will be suspended. Verify your account immediately.
        expect: none

        # Our own training, proven ours.
        own: contoso.example
        from: Security <security@contoso.example>
        dmarc: pass reject
        text: Your mailbox will be suspended. Verify your account immediately. Would you have clicked?
        url: http://x.example/a
        expect: none
        ",
    );
}
