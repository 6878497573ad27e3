//! How data is written (RFC 3501 section 4 and 9): strings, dates, flags.

use std::fmt::Write as _;

use mailbox::Flags;
use model::Timestamp;

/// Quoted strings stay short of this; longer ones go as literals.
const QUOTED_BYTES_MAX: usize = 1_000;

/// A string: quoted where it can be, else a literal. NUL is not allowed anywhere and becomes 0x80.
pub(crate) fn string(out: &mut Vec<u8>, value: &[u8]) {
    let quotable =
        value.len() <= QUOTED_BYTES_MAX && value.iter().all(|b| (1..=0x7e).contains(b) && !b"\r\n".contains(b));
    if !quotable {
        return literal(out, value);
    }
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// A literal.
pub(crate) fn literal(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
    let start = out.len();
    out.extend_from_slice(value);
    without_nul(&mut out[start..]);
}

/// How any bytes begin: as a literal, or with NUL in them as a literal8 (RFC 3516 4.2).
pub(crate) fn literal8_begin(out: &mut Vec<u8>, value: &[u8]) {
    let tilde = if memchr::memchr(0, value).is_some() { "~" } else { "" };
    out.extend_from_slice(format!("{tilde}{{{}}}\r\n", value.len()).as_bytes());
}

/// RFC 3501 forbids NUL in literals; one byte stays one byte.
pub(crate) fn without_nul(bytes: &mut [u8]) {
    if memchr::memchr(0, bytes).is_some() {
        for byte in bytes.iter_mut().filter(|b| **b == 0) {
            *byte = 0x80;
        }
    }
}

/// A string or NIL.
pub(crate) fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// A folder name as it travels, quoted or as an atom.
pub(crate) fn mailbox_name(out: &mut Vec<u8>, name: &str) {
    let wire = crate::utf7::encode(name);
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"-_.&/+,".contains(&b);
    if !wire.is_empty() && wire.bytes().all(atom) && !wire.eq_ignore_ascii_case("nil") {
        out.extend_from_slice(wire.as_bytes());
    } else {
        string(out, wire.as_bytes());
    }
}

/// `(\Seen …)`
pub(crate) fn flag_list(flags: &Flags, recent: bool) -> String {
    let mut all: Vec<&str> = Vec::new();
    let system = [
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.seen, "\\Seen"),
        (flags.draft, "\\Draft"),
        (recent, "\\Recent"),
    ];
    all.extend(system.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name));
    all.extend(flags.keywords.iter().map(String::as_str));
    format!("({})", all.join(" "))
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `"17-Jul-1996 02:44:25 +0000"`
pub(crate) fn date_time(at: Timestamp) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_micros().div_euclid(1_000_000));
    let at = at.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let month = MONTHS[usize::from(u8::from(at.month())) - 1];
    format!("\"{:2}-{month}-{:04} {:02}:{:02}:{:02} +0000\"", at.day(), at.year(), at.hour(), at.minute(), at.second())
}

/// The calendar day of a Date field as it is written there, whatever its zone (RFC 3501 6.4.4), as days since 1970.
pub(crate) fn sent_day(value: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(value);
    let text = text.split_once(',').map_or(text.as_ref(), |(_, rest)| rest);
    let mut words = text.split_ascii_whitespace();
    let day: u8 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| name.get(..3).is_some_and(|n| n.eq_ignore_ascii_case(m)))?;
    let year: i32 = words.next()?.parse().ok()?;
    // RFC 5322 4.3: two digits.
    let year = match year {
        0..=49 => 2000 + year,
        50..=999 => 1900 + year,
        _ => year,
    };
    let month = time::Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
    let date = time::Date::from_calendar_date(year, month, day).ok()?;
    Some(i64::from(date.to_julian_day()) - 2_440_588)
}

/// `3:5,9` of ascending numbers.
pub(crate) fn number_set(numbers: impl IntoIterator<Item = i64>) -> String {
    let mut out = String::new();
    let mut run: Option<(i64, i64)> = None;
    let mut close = |run: Option<(i64, i64)>| {
        let Some((from, to)) = run else { return };
        let comma = if out.is_empty() { "" } else { "," };
        let _ = if from == to { write!(out, "{comma}{from}") } else { write!(out, "{comma}{from}:{to}") };
    };
    for number in numbers {
        run = match run {
            Some((from, to)) if number == to + 1 => Some((from, number)),
            other => {
                close(other);
                Some((number, number))
            }
        };
    }
    close(run);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let check = |value: &[u8], expect: &[u8]| {
            let mut out = Vec::new();
            string(&mut out, value);
            assert_eq!(out, expect, "{value:?}");
        };
        check(b"", b"\"\"");
        check(b"a \"b\\", b"\"a \\\"b\\\\\"");
        check(b"two\r\nlines", b"{10}\r\ntwo\r\nlines");
        check("\u{fc}".as_bytes(), b"{2}\r\n\xc3\xbc");
        check(b"a\0", b"{2}\r\na\x80");
        let mut out = Vec::new();
        mailbox_name(&mut out, "a b\u{fc}");
        assert_eq!(out, b"\"a b&APw-\"");
    }

    #[test]
    fn dates_and_sets() {
        assert_eq!(date_time(Timestamp::from_micros(837_571_465_999_999)), "\"17-Jul-1996 02:44:25 +0000\"");
        assert_eq!(date_time(Timestamp::from_micros(1_767_225_600_000_000)), "\" 1-Jan-2026 00:00:00 +0000\"");
        assert_eq!(sent_day(b"Thu, 1 Jan 1970 23:59:59 -1200"), Some(0));
        assert_eq!(sent_day(b"2 January 70 00:00 +0000"), Some(1));
        assert_eq!(sent_day(b"yesterday"), None);
        assert_eq!(number_set([1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(number_set([]), "");
    }
}
