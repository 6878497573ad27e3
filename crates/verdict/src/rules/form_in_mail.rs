//! An HTML form inside the mail sends what is typed to somebody. Honest mail links to a page instead.

use super::{Cause, Finding, Look, Rule};
use crate::names;
use model::{UrlSource, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "form_in_mail",
    version: 1,
    weight: 4.0,
    class: VerdictClass::Phish,
    about: "The mail contains a form to type into.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    let forms = look.facts.urls.iter().filter(|url| url.source == UrlSource::Form);
    let finding = |url: &model::UrlFact| {
        let sentence = format!("the mail contains a form that sends what is typed to {}", names::bounded(&url.host));
        Finding::new(VerdictClass::Phish, sentence, names::bounded(&url.url)).cause(Cause::Url(url.url.clone()))
    };
    forms.map(finding).collect()
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # A form.
        form: https://collect.example/in
        expect: phish 4 the mail contains a form that sends what is typed to collect.example

        # A link to a page with a form.
        url: https://collect.example/in
        expect: none
        ",
    );
}
