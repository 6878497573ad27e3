//! The sender's domain looks like one of ours or of a protected partner.
//!
//! Four kinds: the same to the eye (confusable letters: `cont0so.example`, Cyrillic letters, `rn` for `m`), one letter added,
//! dropped, changed or swapped (names of five letters and more), our name as a part (`contoso-login.example`), our name under
//! another ending (`contoso.evil`). The last two happen honestly as well and weigh less. Links are looked at for the
//! first kind only.

use super::{Cause, Finding, Look, Rule};
use crate::names;
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "lookalike_domain",
    version: 1,
    weight: 8.0,
    class: VerdictClass::Impersonation,
    about: "The sender's domain looks like one of ours or a partner's.",
    check,
};

/// Shorter names differ by one letter too often.
const TYPO_CHARS_MIN: usize = 5;
/// Longer names are not compared letter by letter.
const TYPO_CHARS_MAX: usize = 64;
const PART_SHARE: f32 = 0.7;
const OTHER_ENDING_SHARE: f32 = 0.5;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let facts = look.facts;
    let mut findings = Vec::new();
    let senders = facts.header.from.iter().chain(&facts.header.reply_to).map(|m| m.domain().to_owned());
    let mut senders: Vec<String> = senders.filter(|d| !d.is_empty()).collect();
    senders.sort_unstable();
    senders.dedup();
    for domain in &senders {
        if let Some((guarded, share, how)) = likeness(look, domain) {
            let shown = names::bounded(domain);
            let sentence = format!("the sender's domain {shown} {how} {guarded}");
            findings.push(Finding::new(VerdictClass::Impersonation, sentence, shown).share(share));
        }
    }
    let mut hosts: Vec<&str> = facts.urls.iter().map(|u| u.domain.as_str()).filter(|h| !h.is_empty()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts {
        if let Some((guarded, _, SAME)) = likeness(look, host) {
            let shown = names::bounded(host);
            let sentence = format!("the link host {shown} {SAME} {guarded}");
            let finding = Finding::new(VerdictClass::Impersonation, sentence, shown);
            findings.extend(
                facts
                    .urls
                    .iter()
                    .filter(|u| u.domain == host)
                    .map(|u| finding.clone().cause(Cause::Url(u.url.clone()))),
            );
        }
    }
    findings
}

const SAME: &str = "looks the same as";

/// One kind of likeness: its share of the weight, its words, and whether a guarded domain has it.
type Way<'a> = (f32, &'static str, &'a dyn Fn(&str) -> bool);

/// The guarded domain that `domain` resembles most, with the share and the words.
fn likeness<'a>(look: &Look<'a>, domain: &str) -> Option<(&'a str, f32, &'static str)> {
    let guarded: Vec<&'a str> = look.rules.guarded_domains(look.facts).collect();
    if guarded.iter().any(|g| names::is_under(domain, g)) {
        return None;
    }
    let name = first_label(domain);
    let (unicode, _) = idna::domain_to_unicode(names::registrable(domain));
    let skeleton = folded(&unicode);
    let ways: [Way<'_>; 4] = [
        (1.0, SAME, &|g| {
            folded(names::registrable(g)) == skeleton
                || (folded(first_label(g)) == folded(&first_of(&unicode)) && first_label(g) != name)
        }),
        (1.0, "differs by one letter from", &|g| one_edit_apart(name, first_label(g))),
        (PART_SHARE, "has as a part the name of", &|g| {
            name.split('-').any(|part| part == first_label(g)) && name != first_label(g)
        }),
        (OTHER_ENDING_SHARE, "has another ending than", &|g| name == first_label(g)),
    ];
    for (share, how, is_like) in ways {
        if let Some(hit) = guarded.iter().find(|g| is_like(g)) {
            return Some((hit, share, how));
        }
    }
    None
}

/// The registrable name without its public suffix: `contoso` of `mail.contoso.co.uk`.
fn first_label(domain: &str) -> &str {
    names::registrable(domain).split('.').next().unwrap_or_default()
}

fn first_of(domain: &str) -> String {
    domain.split('.').next().unwrap_or_default().to_owned()
}

/// What the eye sees: Unicode's confusables, and pairs of letters that run together.
fn folded(text: &str) -> String {
    let skeleton = unicode_security::skeleton(&text.to_lowercase()).collect::<String>().to_lowercase();
    skeleton.replace('1', "l").replace('0', "o").replace("vv", "w").replace("rn", "m")
}

/// One letter added, dropped, changed, or two neighbours swapped.
fn one_edit_apart(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    if short.len() < TYPO_CHARS_MIN || long.len() > TYPO_CHARS_MAX || long.len() - short.len() > 1 || a == b {
        return false;
    }
    let head = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    if long.len() > short.len() {
        return short[head..] == long[head + 1..];
    }
    let swapped = head + 1 < short.len()
        && short[head] == long[head + 1]
        && short[head + 1] == long[head]
        && short[head + 2..] == long[head + 2..];
    swapped || short[head + 1..] == long[head + 1..]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # A zero for an o.
        own: contoso.example
        from: IT <it@cont0so.example>
        expect: impersonation 8 the sender's domain cont0so.example looks the same as contoso.example

        # r and n for m, under a partner's name.
        protect: margies.example
        from: Margie <m@rnargies.example>
        expect: impersonation 8 the sender's domain rnargies.example looks the same as margies.example

        # Cyrillic o (as an A-label).
        own: contoso.example
        from: IT <it@xn--cntoso-wqf.example>
        expect: impersonation 8 the sender's domain xn--cntoso-wqf.example looks the same as contoso.example

        # Two letters swapped.
        own: contoso.example
        from: IT <it@mail.contsoo.example>
        expect: impersonation 8 the sender's domain mail.contsoo.example differs by one letter from contoso.example

        # Our name as a part.
        own: contoso.example
        from: IT <it@contoso-login.example>
        expect: impersonation 5.6 the sender's domain contoso-login.example has as a part the name of contoso.example

        # Another ending: happens honestly.
        own: contoso.example
        from: IT <it@contoso.localhost>
        expect: impersonation 4 the sender's domain contoso.localhost has another ending than contoso.example

        # Ourselves.
        own: contoso.example
        from: IT <it@mail.contoso.example>
        expect: none

        # Two letters differ.
        own: contoso.example
        from: IT <it@kontosa.example>
        expect: none

        # A short name.
        own: abc.example
        from: IT <it@abd.example>
        expect: none

        # Links count only when they look the same.
        own: contoso.example
        url: http://t.contoso.localhost:8080/c/1
        expect: none
        ",
    );
}
