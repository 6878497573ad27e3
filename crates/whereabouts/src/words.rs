//! Numbers and times as people read them.

use model::Timestamp;

/// `1000` as `1,000`.
pub(crate) fn number(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 copy`, `1,000 copies`: a count with its noun.
pub fn count_of(n: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// `1 recipient`, `1,000 recipients`.
pub fn recipients(n: i64) -> String {
    count_of(n, "recipient", "recipients")
}

/// `10:14 UTC` today, `2026-11-22 10:14 UTC` on another day than `now`.
pub(crate) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_rfc3339();
    let (day, rest) = text.split_at(text.len().min(10));
    let time = rest.get(1..6).unwrap_or("");
    if now.to_rfc3339().starts_with(day) { format!("{time} UTC") } else { format!("{day} {time} UTC") }
}

/// A sentence's first letter made small, so that it can follow "because"; names in capitals stay.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

/// The finding of a verdict's sentence, without the class in front (`Phish: the link host …`) and the stop at its end.
pub(crate) fn finding(sentence: &str) -> &str {
    let rest = match sentence.split_once(": ") {
        Some((class, rest)) if class.len() <= CLASS_WORDS_MAX && !class.contains(['\'', '"', '/']) => rest,
        _ => sentence,
    };
    rest.trim().trim_end_matches('.')
}

/// One example of what was seen, fit for many eyes: a tracked link's path is one person's token, so only its host is shown.
pub(crate) fn shown_evidence(text: &str) -> String {
    match text.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('/'))) {
        Some((scheme, Some((host, path)))) if !path.is_empty() => format!("{scheme}://{host}/\u{2026}"),
        _ => text.to_owned(),
    }
}

/// The longest class in words is "High confidence phish"; what is longer before a colon is no class.
const CLASS_WORDS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567"), (100_000, "100,000")] {
            assert_eq!(number(n), text);
        }
        assert_eq!((recipients(1).as_str(), recipients(2).as_str()), ("1 recipient", "2 recipients"));
    }

    #[test]
    fn findings_lose_their_class() {
        let check = |sentence: &str, want: &str| assert_eq!(finding(sentence), want);
        check("Phish: the link host t.x is listed by feed 'f'.", "the link host t.x is listed by feed 'f'");
        check("the feed 'a: b' lists it", "the feed 'a: b' lists it");
        check("", "");
        assert_eq!(lower_first("The link"), "the link");
        assert_eq!(lower_first("DMARC failed"), "DMARC failed");
    }

    #[test]
    fn evidence_shows_no_token() {
        let check = |text: &str, want: &str| assert_eq!(shown_evidence(text), want);
        check("http://t.x:8080/c/TOKEN?x=1", "http://t.x:8080/\u{2026}");
        check("http://t.x/", "http://t.x/");
        check("t.x:8080", "t.x:8080");
        check("", "");
    }

    #[test]
    fn today_has_no_date() {
        let at = Timestamp::parse_rfc3339("2026-11-22T10:14:03Z").unwrap();
        assert_eq!(clock_time(at, at.plus_ms(60_000)), "10:14 UTC");
        assert_eq!(clock_time(at, at.plus_ms(86_400_000)), "2026-11-22 10:14 UTC");
    }
}
