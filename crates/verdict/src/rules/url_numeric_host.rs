//! A link goes to an address instead of a name.

use super::{Cause, Finding, Look, Rule};
use crate::names::{self, UrlParts};
use model::{UrlSource, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "url_numeric_host",
    version: 1,
    weight: 3.0,
    class: VerdictClass::Phish,
    about: "A link goes to an IP address instead of a name.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in look.facts.urls.iter().filter(|url| url.source != UrlSource::Resource) {
        let Some(parts) = UrlParts::of(url) else { continue };
        if names::as_ip(&parts.host).is_none() {
            continue;
        }
        let sentence = format!("a link goes to the address {} instead of a name", parts.host);
        let finding = Finding::new(VerdictClass::Phish, sentence, names::bounded(&url.url));
        findings.push(finding.cause(Cause::Url(url.url.clone())));
    }
    findings
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # An address.
        url: http://192.0.2.7/login
        expect: phish 3 a link goes to the address 192.0.2.7 instead of a name

        # The same as one number, which browsers read alike.
        url: http://3221225991/login
        expect: phish 3 a link goes to the address 192.0.2.7 instead of a name

        # A name with numbers.
        url: http://192-0-2-7.host.example/login
        expect: none
        ",
    );
}
