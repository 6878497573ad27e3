//! Verdicts in words, the same in the trace, the console and `landfall judge`.

use model::{Verdict, VerdictClass};

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

/// One sentence for a verdict: its class and the strongest signal that decided, then how many more counted:
/// `Phish: the link host t.contoso.localhost:8080 is listed by feed 'X' (entry t.contoso.localhost:8080), and 2 more`.
pub fn sentence(verdict: &Verdict) -> String {
    let class = class_words(verdict.class);
    if verdict.class == VerdictClass::Clean {
        return match verdict.allowed_by.as_slice() {
            [] => "Clean: nothing that counts was found".to_owned(),
            entries => format!("Clean: allowed by {}", entries.join("; ")),
        };
    }
    let mut counted = verdict.signals.iter().filter(|signal| signal.weight > 0.0);
    let Some(first) = counted.next() else { return class.to_owned() };
    match counted.count() {
        0 => format!("{class}: {}", first.sentence),
        more => format!("{class}: {}, and {more} more", first.sentence),
    }
}
