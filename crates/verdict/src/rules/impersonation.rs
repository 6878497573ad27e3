//! The display name is that of a protected person, the address is not theirs.
//!
//! Names are compared as they look: without case, accents of position (`Byron, Ada` is `Ada Byron`) and with confusable
//! letters folded. An address inside the organisation may carry any name. Somebody who has written before may share a
//! protected person's name. A display name that shows an own address while the mail comes from elsewhere counts as well.

use super::{Finding, Look, Rule};
use crate::names;
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "display_name_impersonation",
    version: 1,
    weight: 8.0,
    class: VerdictClass::Impersonation,
    about: "An outside address uses the name of a protected person.",
    check,
};

/// Characters of a name that are compared.
const NAME_CHARS_MAX: usize = 128;

/// The form in which names are compared: words in lower case, confusable letters folded, sorted.
pub(crate) fn name_key(name: &str) -> String {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect::<String>().to_lowercase();
    let folded: String = unicode_security::skeleton(&name).collect::<String>().to_lowercase();
    let mut words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    words.sort_unstable();
    words.join(" ")
}

fn check(look: &Look<'_>) -> Vec<Finding> {
    if look.facts.sender_known == Some(true) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for mailbox in &look.facts.header.from {
        let name = names::bounded(&mailbox.name);
        if look.rules.is_own(mailbox.domain(), look.facts) || name.is_empty() {
            continue;
        }
        let address = names::bounded(&mailbox.address);
        let evidence = format!("{name} <{address}>");
        if let Some(person) = look.rules.person(&name_key(&mailbox.name)) {
            if person.address.eq_ignore_ascii_case(&mailbox.address) {
                continue;
            }
            let sentence =
                format!("the sender calls itself {}, but writes from the outside address {address}", person.name);
            findings.push(Finding::new(VerdictClass::Impersonation, sentence, evidence));
        } else if let Some(shown) = own_address_in(&mailbox.name, look) {
            let sentence = format!("the sender's name shows our address {shown}, but the mail comes from {address}");
            findings.push(Finding::new(VerdictClass::Impersonation, sentence, evidence));
        }
    }
    findings
}

/// An address of an own domain written inside a display name.
fn own_address_in(name: &str, look: &Look<'_>) -> Option<String> {
    let words = name.split(|c: char| c.is_whitespace() || "<>()[]\"',;".contains(c));
    let mut addresses = words.filter_map(|word| word.rsplit_once('@').map(|(_, domain)| (word, domain.to_lowercase())));
    addresses.find(|(_, domain)| look.rules.is_own(domain, look.facts)).map(|(word, _)| names::bounded(word))
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # Her name, somebody else's address.
        own: contoso.example
        person: Ada Byron <ada@contoso.example>
        from: BYRON, Ada <ceo1815@freemail.example>
        expect: impersonation 8 the sender calls itself Ada Byron, but writes from the outside address ceo1815@freemail.example

        # A Cyrillic letter in place of a Latin one.
        own: contoso.example
        person: Ada Byron <ada@contoso.example>
        from: Adа Byron <x@freemail.example>
        expect: impersonation 8 the sender calls itself Ada Byron, but writes from the outside address x@freemail.example

        # Her private address is listed as hers.
        person: Ada Byron <ada@home.example>
        from: Ada Byron <ada@home.example>
        expect: none

        # Inside, names may repeat.
        own: contoso.example
        person: Ada Byron <ada@contoso.example>
        from: Ada Byron <ada.byron2@contoso.example>
        expect: none

        # A namesake who has written before.
        person: Ada Byron <ada@contoso.example>
        known: yes
        from: Ada Byron <ada@namesake.example>
        expect: none

        # Another name.
        person: Ada Byron <ada@contoso.example>
        from: Ada Byronson <ada@namesake.example>
        expect: none

        # An own address as a name.
        own: contoso.example
        from: ada@contoso.example <x@freemail.example>
        expect: impersonation 8 the sender's name shows our address ada@contoso.example, but the mail comes from x@freemail.example
        ",
    );
}
