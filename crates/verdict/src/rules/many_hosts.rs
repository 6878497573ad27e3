//! Links to unusually many different domains: link farms and copied spam.

use std::collections::BTreeSet;

use super::{Finding, Look, Rule};
use model::{UrlSource, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "many_hosts",
    version: 1,
    weight: 2.0,
    class: VerdictClass::Spam,
    about: "Links to unusually many different domains.",
    check,
};

/// More distinct domains than this are unusual, even in a press review.
const DOMAINS_USUAL_MAX: usize = 25;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let links = look.facts.urls.iter().filter(|url| url.source != UrlSource::Resource);
    let domains: BTreeSet<&str> = links.map(|url| url.domain.as_str()).filter(|d| !d.is_empty()).collect();
    if domains.len() <= DOMAINS_USUAL_MAX {
        return Vec::new();
    }
    let sentence = format!("the message links to {} different domains", domains.len());
    vec![Finding::new(VerdictClass::Spam, sentence, domains.len().to_string())]
}

#[cfg(test)]
#[test]
fn cases() {
    let urls = |count: usize| (0..count).map(|n| format!("url: http://host{n}.example/\n")).collect::<String>();
    let fires = format!("{}expect: spam 2 the message links to 26 different domains", urls(26));
    crate::cases::check(&RULE, &fires);
    crate::cases::check(&RULE, &format!("{}expect: none", urls(25)));
}
