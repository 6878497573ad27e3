//! Verdicts in words, the same in the trace, the console and `landfall judge`.

use model::{Verdict, VerdictClass};

use crate::judge;

/// The class as people read it: `High confidence phish`.
pub const fn class_words(class: VerdictClass) -> &'static str {
    match class {
        VerdictClass::Malware => "Malware",
        VerdictClass::HighConfidencePhish => "High confidence phish",
        VerdictClass::Phish => "Phish",
        VerdictClass::Spoof => "Spoof",
        VerdictClass::Impersonation => "Impersonation",
        VerdictClass::HighConfidenceSpam => "High confidence spam",
        VerdictClass::Spam => "Spam",
        VerdictClass::Bulk => "Bulk",
        VerdictClass::Clean => "Clean",
    }
}

/// One sentence for a verdict: its class and the strongest signal that decided, then how many more decided with it:
/// `Phish: the link host t.contoso.localhost:8080 is listed by feed 'X' (entry t.contoso.localhost:8080), and 2 more`.
pub fn sentence(verdict: &Verdict) -> String {
    let class = class_words(verdict.class);
    if verdict.class == VerdictClass::Clean {
        return match verdict.allowed_by.as_slice() {
            [] => "Clean: nothing that counts was found".to_owned(),
            entries => format!("Clean: allowed by {}", entries.join("; ")),
        };
    }
    let mut deciding = verdict.signals.iter().filter(|s| s.weight > 0.0 && judge::decides(s.class, verdict.class));
    let Some(first) = deciding.next() else { return class.to_owned() };
    match deciding.count() {
        0 => format!("{class}: {}", first.sentence),
        more => format!("{class}: {}, and {more} more", first.sentence),
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::{RuleSet, cases};

    #[test]
    fn sentences() {
        let check = |case: &str, expected: &str| {
            let (facts, source, _) = cases::parse(&case.replace("; ", "\n"));
            let rules = RuleSet::compile(source).unwrap();
            assert_eq!(sentence(&judge::judge(&facts, &rules, Timestamp::default())), expected);
        };
        check("from: A <a@home.example>", "Clean: nothing that counts was found");
        let listed = "feed: url_host e.example phish; url: http://e.example/";
        check(listed, "Phish: the link host e.example is listed by feed 'test' (entry e.example)");
        check(
            &format!("{listed}; url: http://192.0.2.1/"),
            "Phish: the link host e.example is listed by feed 'test' (entry e.example), and 1 more",
        );
        check(&format!("{listed}x; allow: url e.example/*"), "Clean: allowed by allow entry 1: url e.example/*");
    }
}
