//! Writing a message: multipart/alternative, the text first, as RFC 5322 and RFC 2046 want it on the wire.
//!
//! Lines end with CRLF and hold at most 76 characters of body, the header is ASCII, and no value can begin another
//! field: one with a line break or NUL is refused and named.

use data_encoding::{BASE64, HEXLOWER};
use model::{Address, Timestamp};
use sha2::{Digest, Sha256};

use crate::MessageError;

/// The longest value of a field, in bytes.
pub const FIELD_BYTES_MAX: usize = 8 * 1024;
/// RFC 5322 2.1.1: no line is longer, its CRLF not counted.
const LINE_BYTES_MAX: usize = 998;
/// RFC 5322 2.1.1: no line should be longer.
const LINE_BYTES_WANTED: usize = 78;
/// RFC 2045 6.7: with the soft break.
const QUOTED_LINE_BYTES_MAX: usize = 76;
/// RFC 2047 section 2: an encoded word is at most 75 characters; these bytes leave room for its frame.
const ENCODED_WORD_BYTES: usize = 42;

/// An address with an optional display name.
#[derive(Debug, Clone, Copy)]
pub struct Mailbox<'a> {
    /// Display name; empty for none.
    pub name: &'a str,
    /// The address.
    pub address: &'a Address,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// From.
    pub from: Mailbox<'a>,
    /// To.
    pub to: Mailbox<'a>,
    /// Subject.
    pub subject: &'a str,
    /// Message-ID with its angle brackets.
    pub message_id: &'a str,
    /// Date.
    pub date_at: Timestamp,
    /// More fields as (name, value), in this order, behind the others: Reply-To, List-Unsubscribe and so on.
    pub extra: &'a [(&'a str, &'a str)],
    /// The plain text.
    pub text: &'a str,
    /// The HTML; empty for a message of plain text alone.
    pub html: &'a str,
}

/// Writes the message. The same parts give the same bytes.
///
/// # Errors
/// [`MessageError`] names the field that is refused.
pub fn compose(parts: &Parts<'_>) -> Result<Vec<u8>, MessageError> {
    let mut out = String::with_capacity(1024 + parts.text.len() * 5 / 4 + parts.html.len() * 5 / 4);
    push_field(&mut out, "Date", &parts.date_at.to_rfc5322())?;
    push_mailbox(&mut out, "From", &parts.from)?;
    push_mailbox(&mut out, "To", &parts.to)?;
    push_field(&mut out, "Subject", parts.subject)?;
    push_field(&mut out, "Message-ID", parts.message_id)?;
    for (name, value) in parts.extra {
        push_field(&mut out, name, value)?;
    }
    out.push_str("MIME-Version: 1.0\r\n");
    if parts.html.is_empty() {
        push_text_part(&mut out, "plain", parts.text);
        return Ok(out.into_bytes());
    }
    // "=_" never occurs in quoted-printable, so no body can hold the boundary (RFC 2045 6.7 recommends it).
    let boundary = format!("=_{}", &HEXLOWER.encode(&Sha256::digest(parts.message_id))[..24]);
    out.push_str(&format!("Content-Type: multipart/alternative;\r\n boundary=\"{boundary}\"\r\n\r\n"));
    for (subtype, body) in [("plain", parts.text), ("html", parts.html)] {
        out.push_str(&format!("--{boundary}\r\n"));
        push_text_part(&mut out, subtype, body);
    }
    out.push_str(&format!("--{boundary}--\r\n"));
    Ok(out.into_bytes())
}

/// A whole field, encoded and folded, ended by CRLF.
///
/// # Errors
/// [`MessageError::HeaderName`], [`MessageError::HeaderCharacter`] or [`MessageError::HeaderTooLong`].
pub fn field(name: &str, value: &str) -> Result<String, MessageError> {
    let mut out = String::new();
    push_field(&mut out, name, value)?;
    Ok(out)
}

fn push_field(out: &mut String, name: &str, value: &str) -> Result<(), MessageError> {
    check(name, value)?;
    let words: Vec<String> = if value.is_ascii() && !value.contains("=?") {
        value.split(' ').map(str::to_owned).collect()
    } else {
        encoded_words(value)
    };
    push_folded(out, name, &words)
}

fn push_mailbox(out: &mut String, name: &str, mailbox: &Mailbox<'_>) -> Result<(), MessageError> {
    check(name, mailbox.name)?;
    let address = format!("<{}@{}>", mailbox.address.local(), ascii_domain(mailbox.address.domain().as_str()));
    check(name, &address)?;
    let display = mailbox.name.trim();
    let atom = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    let mut words: Vec<String> = if display.is_empty() {
        return push_folded(out, name, &[address.trim_matches(['<', '>']).to_owned()]);
    } else if !display.is_ascii() || display.contains("=?") || display.contains(char::is_control) {
        encoded_words(display)
    } else if display.chars().all(atom) {
        display.split(' ').map(str::to_owned).collect()
    } else {
        vec![format!("\"{}\"", display.replace('\\', "\\\\").replace('"', "\\\""))]
    };
    words.push(address);
    push_folded(out, name, &words)
}

fn check(name: &str, value: &str) -> Result<(), MessageError> {
    if name.is_empty() || !name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
        return Err(MessageError::HeaderName { name: name.chars().take(LINE_BYTES_WANTED).collect() });
    }
    if value.contains(['\r', '\n', '\0']) {
        return Err(MessageError::HeaderCharacter { field: name.to_owned() });
    }
    if value.len() > FIELD_BYTES_MAX {
        return Err(MessageError::HeaderTooLong { field: name.to_owned() });
    }
    Ok(())
}

/// Writes words divided by blanks, on as many lines as it takes.
pub(crate) fn push_folded(out: &mut String, name: &str, words: &[String]) -> Result<(), MessageError> {
    out.push_str(name);
    out.push(':');
    let mut line_bytes = name.len() + 1;
    for (index, word) in words.iter().enumerate() {
        if word.len() + name.len() + 2 > LINE_BYTES_MAX {
            return Err(MessageError::HeaderTooLong { field: name.to_owned() });
        }
        // An empty word (two blanks in a row) must not become a line of blanks alone, which would end the field.
        if index > 0
            && !word.is_empty()
            && line_bytes + 1 + word.len() > LINE_BYTES_WANTED
            && out.ends_with(|c| c != ' ')
        {
            out.push_str("\r\n");
            line_bytes = 0;
        }
        out.push(' ');
        out.push_str(word);
        line_bytes += 1 + word.len();
    }
    out.push_str("\r\n");
    if line_bytes > LINE_BYTES_MAX {
        return Err(MessageError::HeaderTooLong { field: name.to_owned() });
    }
    Ok(())
}

/// RFC 2047: UTF-8 in base64, cut between characters.
pub(crate) fn encoded_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(crate::decode::head(rest, ENCODED_WORD_BYTES).len());
        words.push(format!("=?utf-8?B?{}?=", BASE64.encode(word.as_bytes())));
        rest = tail;
    }
    words
}

/// A domain as A-labels: the header stays ASCII.
fn ascii_domain(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_owned();
    }
    url::Host::parse(domain).map_or_else(|_| domain.to_owned(), |host| host.to_string())
}

fn push_text_part(out: &mut String, subtype: &str, body: &str) {
    out.push_str(&format!(
        "Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ));
    push_quoted_printable(out, body);
}

/// RFC 2045 6.7. Any line break of the input becomes CRLF; the last line gets one.
pub(crate) fn push_quoted_printable(out: &mut String, body: &str) {
    let body = body.strip_suffix("\r\n").or_else(|| body.strip_suffix(['\r', '\n'])).unwrap_or(body);
    let mut lines = body.split('\n').peekable();
    while let Some(line) = lines.next() {
        // A lone CR is a line break too: it must not reach the wire.
        for line in line.strip_suffix('\r').unwrap_or(line).split('\r') {
            push_quoted_line(out, line.as_bytes());
            out.push_str("\r\n");
        }
        if lines.peek().is_none() {
            break;
        }
    }
}

fn push_quoted_line(out: &mut String, line: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut used = 0;
    for (index, &byte) in line.iter().enumerate() {
        let is_last = index + 1 == line.len();
        let literal = match byte {
            b'=' => false,
            b' ' | b'\t' => !is_last,
            // A dot or "From " at a line's start has been eaten by other programs.
            b'.' => used > 0,
            b'F' => used > 0 || !line[index..].starts_with(b"From "),
            33..=126 => true,
            _ => false,
        };
        let width = if literal { 1 } else { 3 };
        if used + width > QUOTED_LINE_BYTES_MAX - usize::from(!is_last) {
            out.push_str("=\r\n");
            used = 0;
        }
        if literal {
            out.push(char::from(byte));
        } else {
            out.push('=');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
        used += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Encoding;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn letter<'a>(from: &'a Address, subject: &'a str, extra: &'a [(&'a str, &'a str)]) -> Parts<'a> {
        Parts {
            from: Mailbox { name: "Contoso News", address: from },
            to: Mailbox { name: "Zoë, \"Z\"", address: from },
            subject,
            message_id: "<1@contoso.example>",
            date_at: Timestamp::from_micros(1_710_410_043_000_000),
            extra,
            text: "Hello\n.dot\r\nFrom here",
            html: "<p>H\u{e9}llo</p>",
        }
    }

    #[test]
    fn the_whole_message() {
        let from = address("news@contoso.example");
        let unsubscribe = [("List-Unsubscribe", "<https://t.contoso.example/u/1>, <mailto:u@contoso.example>")];
        let raw = String::from_utf8(compose(&letter(&from, "B\u{fc}cher", &unsubscribe)).unwrap()).unwrap();
        assert_eq!(
            raw,
            "Date: Thu, 14 Mar 2024 09:54:03 +0000\r\nFrom: Contoso News <news@contoso.example>\r\n\
             To: =?utf-8?B?Wm/DqywgIloi?= <news@contoso.example>\r\nSubject: =?utf-8?B?QsO8Y2hlcg==?=\r\n\
             Message-ID: <1@contoso.example>\r\n\
             List-Unsubscribe: <https://t.contoso.example/u/1>, <mailto:u@contoso.example>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/alternative;\r\n boundary=\"=_e2a7fa9fdab1a5b5b1a8d8ad\"\r\n\r\n\
             --=_e2a7fa9fdab1a5b5b1a8d8ad\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nHello\r\n=2Edot\r\n=46rom here\r\n\
             --=_e2a7fa9fdab1a5b5b1a8d8ad\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>H=C3=A9llo</p>\r\n--=_e2a7fa9fdab1a5b5b1a8d8ad--\r\n"
                .replace("e2a7fa9fdab1a5b5b1a8d8ad", &HEXLOWER.encode(&Sha256::digest("<1@contoso.example>"))[..24])
        );
    }

    #[test]
    fn values_cannot_become_fields() {
        let from = address("news@contoso.example");
        let check = |parts: &Parts<'_>, field: &str| match compose(parts) {
            Err(error) => assert!(error.to_string().contains(field), "{error}"),
            Ok(_) => panic!("{field} should be refused"),
        };
        for bad in ["x\r\nBcc: y", "x\ny", "x\ry", "x\0y"] {
            check(&letter(&from, bad, &[]), "Subject");
            check(&letter(&from, "s", &[("X-A", bad)]), "X-A");
            check(&Parts { from: Mailbox { name: bad, address: &from }, ..letter(&from, "s", &[]) }, "From");
            check(&Parts { message_id: bad, ..letter(&from, "s", &[]) }, "Message-ID");
        }
        check(&letter(&from, "s", &[("X A", "v")]), "X A");
        check(&letter(&from, "s", &[("X-A\r\nB", "v")]), "not a header field name");
        check(&letter(&from, &"x".repeat(1_000), &[]), "Subject");
    }

    #[test]
    fn long_values_fold() {
        let long = field("Subject", &"word ".repeat(100)).unwrap();
        assert!(long.lines().all(|line| line.len() <= LINE_BYTES_WANTED && !line.trim().is_empty()), "{long}");
        let encoded = field("Subject", &"\u{fc}ber ".repeat(100)).unwrap();
        assert!(encoded.is_ascii() && encoded.lines().all(|line| line.len() <= LINE_BYTES_WANTED), "{encoded}");
    }

    #[test]
    fn quoted_printable_round_trip() {
        for body in [
            "",
            "a",
            "trailing \t",
            "=",
            "\u{1F600}".repeat(60).as_str(),
            "x".repeat(500).as_str(),
            "a\r\n\r\nb",
            "tab\t .",
        ] {
            let mut out = String::new();
            push_quoted_printable(&mut out, body);
            assert!(out.lines().all(|line| line.len() <= QUOTED_LINE_BYTES_MAX), "{out:?}");
            let back = Encoding::QuotedPrintable.decode(out.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(back).unwrap(), format!("{body}\r\n"));
        }
        let mut out = String::new();
        push_quoted_printable(&mut out, "a\rb\nc");
        assert_eq!(out, "a\r\nb\r\nc\r\n");
    }
}
