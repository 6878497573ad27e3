//! Answers go to a free mailbox although the mail claims to come from an organisation.
//!
//! The classic of invoice and salary fraud: the From may even be genuine or spoofed, the answer must reach the fraudster.

use super::{Finding, Look, Rule};
use crate::names;
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "reply_to_differs",
    version: 1,
    weight: 3.0,
    class: VerdictClass::Phish,
    about: "Answers go to a free mailbox at another domain than From.",
    check,
};

/// Providers where anybody gets a mailbox; sorted.
const FREE_MAIL: &[&str] = &[
    "aol.com",
    "freemail.example",
    "gmail.com",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "inbox.lv",
    "live.com",
    "mail.com",
    "mail.ru",
    "outlook.com",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "tutanota.com",
    "web.de",
    "yahoo.com",
    "yandex.com",
    "yandex.ru",
    "ymail.com",
    "zoho.com",
    "163.com",
];

fn check(look: &Look<'_>) -> Vec<Finding> {
    let from = look.facts.from();
    let from_domain = names::registrable(from.domain());
    if from_domain.is_empty() || FREE_MAIL.contains(&from_domain) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for mailbox in &look.facts.header.reply_to {
        let domain = names::registrable(mailbox.domain());
        if domain == from_domain || !FREE_MAIL.contains(&domain) {
            continue;
        }
        let (address, from) = (names::bounded(&mailbox.address), names::bounded(&from.address));
        let sentence = format!("answers go to the free mailbox {address}, not to {from}");
        findings.push(Finding::new(VerdictClass::Phish, sentence, address));
    }
    findings
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # The director writes from his office but reads at a free mailbox.
        from: Boss <boss@bank.example>
        reply-to: Boss <boss.office@gmail.com>
        expect: phish 3 answers go to the free mailbox boss.office@gmail.com, not to boss@bank.example

        # An organisation with two domains.
        from: Shop <shop@shop.example>
        reply-to: Help <help@shop-support.example>
        expect: none

        # From one free mailbox to another.
        from: Ada <ada@gmx.net>
        reply-to: Ada <ada@gmail.com>
        expect: none
        ",
    );
}
