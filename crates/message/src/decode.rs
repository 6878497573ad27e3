//! Content-transfer-encodings and character sets, read leniently: a reader's program shows what it can, so do we.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// A content-transfer-encoding (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    pub(crate) fn parse(value: &str) -> Self {
        let value = value.trim();
        if value.eq_ignore_ascii_case("base64") {
            Encoding::Base64
        } else if value.eq_ignore_ascii_case("quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Identity
        }
    }

    /// The decoded bytes.
    pub(crate) fn decode<'a>(self, body: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Encoding::Identity => Cow::Borrowed(body),
            Encoding::QuotedPrintable => Cow::Owned(quoted_printable(body)),
            Encoding::Base64 => Cow::Owned(base64(body)),
        }
    }
}

/// RFC 2045 6.8: characters outside the alphabet are skipped; padding ends a group, not the content, since
/// concatenated base64 is read on by common programs.
fn base64(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 3);
    let (mut group, mut bits) = (0_u32, 0_u32);
    for &byte in body {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                (group, bits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        group = group << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    out
}

/// RFC 2045 6.7: a `=` that begins no escape stays as it is; blanks before a line's end go.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|&b| b == b'\n') {
        let text_end = line.iter().rposition(|b| !b.is_ascii_whitespace()).map_or(0, |i| i + 1);
        let (text, mut end) = (&line[..text_end], &line[text_end..]);
        if end.last() == Some(&b'\n') {
            end = if end.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
        }
        let (text, end) = text.strip_suffix(b"=").map_or((text, end), |text| (text, &b""[..]));
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'=', rest) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            match rest.get(1..3).and_then(hex_pair) {
                Some(byte) => {
                    out.push(byte);
                    rest = &rest[3..];
                }
                None => {
                    out.push(b'=');
                    rest = &rest[1..];
                }
            }
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(end);
    }
    out
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let (high, low) = (digit(*pair.first()?)?, digit(*pair.get(1)?)?);
    u8::try_from(high << 4 | low).ok()
}

/// Text in a declared character set (UTF-8 when none or unknown), and whether every byte was valid.
pub(crate) fn text_of(bytes: &[u8], charset: &str) -> (String, bool) {
    let charset = charset.trim();
    let utf8 = ["", "utf-8", "utf8", "us-ascii", "ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    let decoder = if utf8 { None } else { charset_decoder(charset.as_bytes()) };
    match decoder {
        Some(decoder) => {
            let text = decoder(bytes);
            let valid = !text.contains(char::REPLACEMENT_CHARACTER);
            (text, valid)
        }
        None => match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => (text.to_owned(), true),
            Cow::Owned(text) => (text, false),
        },
    }
}

/// One line of text for a fact: NUL and other controls never get in, blanks are single, the length is bounded.
pub(crate) fn short_text(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max));
    let mut count = 0;
    let mut blank = false;
    for c in text.chars() {
        let c = if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
        if c.is_whitespace() || c.is_control() {
            blank = !out.is_empty();
            continue;
        }
        if count + usize::from(blank) >= chars_max {
            break;
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
            count += 1;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// The longest head of `text` with at most `bytes_max` bytes.
pub(crate) fn head(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_encodings() {
        let check = |encoding: &str, body: &str, expect: &str| {
            let decoded = Encoding::parse(encoding).decode(body.as_bytes());
            assert_eq!(String::from_utf8_lossy(&decoded), expect, "{encoding} {body:?}");
        };
        check(" Base64 ", "aGVs\r\nbG8=", "hello");
        check("base64", "a G*V~s bG8", "hello");
        check("base64", "aGk=aGk=", "hihi");
        check("base64", "====", "");
        check("quoted-printable", "a=3Db=\r\nc  \r\nd", "a=bc\r\nd");
        check("quoted-printable", "100=% =zz =", "100=% =zz ");
        check("quoted-printable", "=C3=BC=\n!", "ü!");
        check("8bit", "as=20is", "as=20is");
    }

    #[test]
    fn short_texts_are_one_clean_line() {
        assert_eq!(short_text("  a\r\n\tb\0c  ", 80), "a b\u{FFFD}c");
        assert_eq!(short_text("a b c", 3), "a b");
        assert_eq!(short_text("üüü", 2), "üü");
    }
}
