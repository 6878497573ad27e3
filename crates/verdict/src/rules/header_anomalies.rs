//! A header section or MIME structure that honest mail programs do not write.
//!
//! The worst defect counts. Defects that evade inspection (limits, several From fields) weigh most; missing dates and
//! odd character sets come from honest scripts every day and weigh little.

use super::{Finding, Look, Rule};
use model::{Defect, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "header_anomalies",
    version: 1,
    weight: 3.0,
    class: VerdictClass::Spam,
    about: "The message is malformed in a way honest programs avoid.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    let mut defects = look.facts.defects.clone();
    defects.sort_unstable();
    defects.dedup();
    let finding = |defect: Defect| {
        let (share, words) = words(defect);
        Finding::new(VerdictClass::Spam, format!("the message is malformed: {words}"), defect.as_str()).share(share)
    };
    defects.into_iter().map(finding).collect()
}

/// The share of the weight and the words for a person.
fn words(defect: Defect) -> (f32, &'static str) {
    match defect {
        Defect::MissingFrom => (1.0, "no From field"),
        Defect::MultipleFrom => (1.0, "more than one sender in From"),
        Defect::MissingDate => (0.3, "no Date field"),
        Defect::MissingMessageId => (0.3, "no Message-ID field"),
        Defect::DuplicateField => (0.7, "a field that may occur once occurs twice"),
        Defect::NulInHeader => (0.7, "a NUL byte in the header"),
        Defect::InvalidCharset => (0.2, "bytes outside the declared character set"),
        Defect::BrokenHeader => (0.7, "a header line that is no field"),
        Defect::TooDeep => (0.7, "parts nested too deep to look into"),
        Defect::TooManyParts => (0.7, "too many parts to look into"),
        Defect::BrokenMime => (0.5, "a broken MIME structure"),
        Defect::BrokenHtml => (0.2, "HTML that could not be read in full"),
        Defect::TooManyUrls => (0.5, "too many links to look at"),
        Defect::FutureDate => (0.5, "a Date in the future"),
    }
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # Two senders.
        defect: multiple_from
        expect: spam 3 the message is malformed: more than one sender in From

        # A script without a date.
        defect: missing_date
        expect: spam 0.9 the message is malformed: no Date field

        # Nothing wrong.
        from: Ada <ada@home.example>
        expect: none
        ",
    );
}
