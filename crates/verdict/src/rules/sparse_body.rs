//! Next to no text, but one link or file: there is nothing to read and one thing to click.

use std::collections::BTreeSet;

use super::{Cause, Finding, Look, Rule};
use crate::names;
use model::{UrlSource, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "sparse_body",
    version: 1,
    weight: 2.0,
    class: VerdictClass::Spam,
    about: "Next to no text and a single link.",
    check,
};

/// Shorter texts say nothing.
const TEXT_CHARS_SPARSE_MAX: u32 = 80;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let facts = look.facts;
    if facts.text_chars > TEXT_CHARS_SPARSE_MAX || facts.sender_known == Some(true) {
        return Vec::new();
    }
    let links: BTreeSet<&str> =
        facts.urls.iter().filter(|u| u.source != UrlSource::Resource).map(|u| u.url.as_str()).collect();
    let [link] = links.into_iter().collect::<Vec<_>>()[..] else { return Vec::new() };
    let sentence = format!("the message is a single link with hardly any text ({} characters)", facts.text_chars);
    let finding = Finding::new(VerdictClass::Spam, sentence, names::bounded(link));
    vec![finding.cause(Cause::Url(link.to_owned()))]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # Click this.
        text: See this!
        url: http://x.example/a
        expect: spam 2 the message is a single link with hardly any text (9 characters)

        # Two links.
        text: See this!
        url: http://x.example/a
        url: http://y.example/a
        expect: none

        # A text with a link.
        text: Dear all, the minutes of our meeting of Tuesday are in the usual place, please have a look and tell me what is missing.
        url: http://x.example/a
        expect: none

        # From somebody we know.
        known: yes
        text: See this!
        url: http://x.example/a
        expect: none
        ",
    );
}
