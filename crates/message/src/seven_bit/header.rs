//! A header section beyond ASCII (RFC 6532) as RFC 2047 and RFC 2231 write it: people read the same.
//!
//! It is only done where nothing is lost. A local part beyond ASCII has no other form, and of bytes that are no UTF-8
//! nobody knows what they mean.

use model::Address;

use crate::compose::{encoded_words, push_folded};

/// Fields of mailboxes (RFC 5322 3.6.2, 3.6.3, 3.6.6) and what programs write beside them.
const MAILBOXES: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "resent-from",
    "resent-sender",
    "resent-reply-to",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "disposition-notification-to",
    "mail-followup-to",
    "mail-reply-to",
];
/// Fields with parameters (RFC 2045 5.1, RFC 2183).
const PARAMETERS: &[&str] = &["content-type", "content-disposition"];
/// Fields that programs read, in which no encoded word may stand (RFC 2047 5).
const FOR_PROGRAMS: &[&str] = &[
    "message-id",
    "in-reply-to",
    "references",
    "resent-message-id",
    "received",
    "return-path",
    "date",
    "resent-date",
    "mime-version",
    "content-id",
    "content-transfer-encoding",
    "content-location",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-id",
    "list-post",
    "list-help",
    "list-archive",
    "autocrypt",
];

/// Why a field cannot be written in ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// It names an address whose local part is beyond ASCII.
    Address,
    /// Anything else.
    Form,
}

/// The header section, its empty line included, in ASCII.
pub(super) fn encode(header: &[u8]) -> Result<Vec<u8>, Stuck> {
    let mut out = Vec::with_capacity(header.len() * 5 / 4);
    for whole in fields(header) {
        match whole.is_ascii() {
            true => out.extend_from_slice(whole),
            false => out.extend_from_slice(encoded(whole)?.as_bytes()),
        }
    }
    Ok(out)
}

/// Whether a mailbox is named that has no form in ASCII.
pub(super) fn names_utf8_address(header: &[u8]) -> bool {
    fields(header).any(|whole| !whole.is_ascii() && encoded(whole) == Err(Stuck::Address))
}

/// The fields with the lines that continue them, and the empty line.
fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = next_line(rest, 0)?;
        while rest.get(end).is_some_and(|b| matches!(b, b' ' | b'\t')) {
            end = next_line(rest, end)?;
        }
        let (field, tail) = rest.split_at(end);
        rest = tail;
        Some(field)
    })
}

fn next_line(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    Some(at + memchr::memchr(b'\n', rest).map_or(rest.len(), |offset| offset + 1))
}

fn encoded(whole: &[u8]) -> Result<String, Stuck> {
    let text = std::str::from_utf8(whole).map_err(|_| Stuck::Form)?;
    let (name, value) = text.split_once(':').ok_or(Stuck::Form)?;
    let name = name.trim_end();
    let value = value.replace(['\r', '\n'], "").replace('\t', " ");
    let (value, lower) = (value.trim(), name.to_ascii_lowercase());
    if !name.is_ascii() || value.contains(char::is_control) {
        return Err(Stuck::Form);
    }
    let is_one_of = |names: &[&str]| names.contains(&lower.as_str());
    let words = if is_one_of(MAILBOXES) {
        mailboxes(value)?
    } else if is_one_of(PARAMETERS) {
        parameters(value)?
    } else if is_one_of(FOR_PROGRAMS) {
        return Err(Stuck::Form);
    } else {
        unstructured(value)
    };
    let mut out = String::new();
    push_folded(&mut out, name, &words).map_err(|_| Stuck::Form)?;
    Ok(out)
}

/// Words beyond ASCII, with the blanks between them, become encoded words; the others stay.
fn unstructured(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    for word in value.split(' ') {
        if !word.is_ascii() || (word.is_empty() && !run.is_empty()) {
            run.push(word);
            continue;
        }
        words.extend(encoded_words(&std::mem::take(&mut run).join(" ")));
        words.push(word.to_owned());
    }
    words.extend(encoded_words(&run.join(" ")));
    words
}

/// What is read of an address list before it is known what it is: a display name, a group's name, or an address.
#[derive(Default)]
struct Phrase {
    /// As it stands.
    raw: String,
    /// As it is read, without quotes.
    text: String,
}

/// An address list (RFC 5322 3.4): display names and comments become encoded words, domains A-labels.
fn mailboxes(value: &str) -> Result<Vec<String>, Stuck> {
    let mut words: Vec<String> = Vec::new();
    let mut phrase = Phrase::default();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => quoted(rest)?,
            '(' => comment(rest)?,
            '<' => rest.find('>').ok_or(Stuck::Form)? + 1,
            ',' | ';' | ':' => 1,
            _ => rest.find(['"', '(', '<', ',', ';', ':']).unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        rest = tail;
        match first {
            '"' => phrase.push(token, &unescaped(&token[1..token.len() - 1])),
            '(' => {
                phrase.end(&mut words, false)?;
                words.extend(comment_words(token));
            }
            '<' => {
                phrase.end(&mut words, true)?;
                words.push(format!("<{}>", address(&token[1..token.len() - 1])?));
            }
            ',' | ';' | ':' => {
                phrase.end(&mut words, false)?;
                match words.last_mut() {
                    Some(last) => last.push(first),
                    None => words.push(first.to_string()),
                }
            }
            _ => phrase.push(token, token),
        }
    }
    phrase.end(&mut words, false)?;
    Ok(words)
}

impl Phrase {
    fn push(&mut self, raw: &str, text: &str) {
        self.raw.push_str(raw);
        self.text.push_str(text);
    }

    /// It is over; in front of an address in angle brackets it is a name whatever stands in it.
    fn end(&mut self, words: &mut Vec<String>, is_name: bool) -> Result<(), Stuck> {
        let Phrase { raw, text } = std::mem::take(self);
        let (raw, text) = (raw.trim(), text.trim());
        if raw.is_empty() {
            return Ok(());
        }
        if raw.is_ascii() {
            words.push(raw.to_owned());
        } else if !is_name && raw.contains('@') {
            words.push(address(raw)?);
        } else if text.contains("=?") {
            return Err(Stuck::Form); // half of it is encoded already
        } else {
            words.extend(encoded_words(text));
        }
        Ok(())
    }
}

/// The length of the quoted string at the start.
fn quoted(text: &str) -> Result<usize, Stuck> {
    let mut is_escaped = true; // the first quote opens
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(Stuck::Form)
}

/// The length of the comment at the start; comments nest.
fn comment(text: &str) -> Result<usize, Stuck> {
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Ok(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    Err(Stuck::Form)
}

fn comment_words(token: &str) -> Vec<String> {
    if token.is_ascii() {
        return vec![token.to_owned()];
    }
    let mut words = encoded_words(unescaped(&token[1..token.len() - 1]).trim());
    if let Some(first) = words.first_mut() {
        first.insert(0, '(');
    }
    if let Some(last) = words.last_mut() {
        last.push(')');
    }
    words
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// An address with its domain in A-labels.
fn address(text: &str) -> Result<String, Stuck> {
    let text = text.trim();
    if text.is_ascii() {
        return Ok(text.to_owned());
    }
    let address = Address::parse(text).map_err(|_| Stuck::Address)?;
    if address.local().is_ascii() { Ok(address.to_string()) } else { Err(Stuck::Address) }
}

/// A value with parameters: one beyond ASCII is written as RFC 2231 4 wants it.
fn parameters(value: &str) -> Result<Vec<String>, Stuck> {
    let mut words = Vec::new();
    let mut rest = value;
    loop {
        let (part, tail) = cut_parameter(rest);
        let word = match part.trim() {
            part if part.is_ascii() => part.to_owned(),
            part if words.is_empty() => return Err(if part.contains('@') { Stuck::Address } else { Stuck::Form }),
            part => extended(part)?,
        };
        let Some(tail) = tail else {
            words.push(word);
            return Ok(words);
        };
        words.push(word + ";");
        rest = tail;
    }
}

/// Up to the next semicolon outside quotes, and what follows it.
fn cut_parameter(text: &str) -> (&str, Option<&str>) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// `filename="Größe.txt"` as `filename*=utf-8''Gr%C3%B6%C3%9Fe.txt`.
fn extended(parameter: &str) -> Result<String, Stuck> {
    let (name, value) = parameter.split_once('=').ok_or(Stuck::Form)?;
    let (name, value) = (name.trim(), value.trim());
    if !name.is_ascii() || name.is_empty() || name.contains('*') {
        return Err(Stuck::Form);
    }
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = inner.map_or_else(|| value.to_owned(), unescaped);
    let mut out = format!("{name}*=utf-8''");
    for byte in value.bytes() {
        match byte {
            // attr-char of RFC 2231 7.
            b if b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &str, want: Result<&str, Stuck>) {
        let got = encode(field.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), want.as_ref().copied(), "{field:?}");
    }

    #[test]
    fn people_read_the_same() {
        check("Subject: plain\r\n\r\n", Ok("Subject: plain\r\n\r\n"));
        check("Subject: Grüße an\r\n alle\r\nX: y\r\n", Ok("Subject: =?utf-8?B?R3LDvMOfZQ==?= an alle\r\nX: y\r\n"));
        check("Subject: a ü  ö b\r\n", Ok("Subject: a =?utf-8?B?w7wgIMO2?= b\r\n"));
        check("From: Zoë Müller <z@x.example>\r\n", Ok("From: =?utf-8?B?Wm/DqyBNw7xsbGVy?= <z@x.example>\r\n"));
        check(
            "To: \"Zoë, \\\"Z\\\"\" <z@x.example>, plain <p@x.example>,q@x.example\r\n",
            Ok("To: =?utf-8?B?Wm/DqywgIloi?= <z@x.example>, plain <p@x.example>, q@x.example\r\n"),
        );
        check("Cc: Jörg @ home <j@x.example>\r\n", Ok("Cc: =?utf-8?B?SsO2cmcgQCBob21l?= <j@x.example>\r\n"));
        check("To: Größen: a@x.example;\r\n", Ok("To: =?utf-8?B?R3LDtsOfZW4=?=: a@x.example;\r\n"));
        check("To: a@x.example (für (alle))\r\n", Ok("To: a@x.example (=?utf-8?B?ZsO8ciAoYWxsZSk=?=)\r\n"));
        check("To: a@bücher.example\r\n", Ok("To: a@xn--bcher-kva.example\r\n"));
        check(
            "Content-Disposition: attachment; filename=\"Größe 1;2.txt\"; size=3\r\n",
            Ok("Content-Disposition: attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201%3B2.txt;\r\n size=3\r\n"),
        );
    }

    #[test]
    fn what_has_no_other_form_is_left() {
        for field in ["From: jürgen@x.example\r\n", "To: Ada <ada@x.example>, J <jürgen@x.example>\r\n"] {
            check(field, Err(Stuck::Address));
            assert!(names_utf8_address(field.as_bytes()));
        }
        for field in [
            "Message-ID: <ü@x.example>\r\n",
            "To: \"Zoë <z@x.example>\r\n",
            "To: =?utf-8?Q?a?= ü <z@x.example>\r\n",
            "Content-Type: text/plän; charset=x\r\n",
            "Content-Disposition: x; fü=b\r\n",
            "ü: x\r\n",
            "ü\r\n",
        ] {
            check(field, Err(Stuck::Form));
            assert!(!names_utf8_address(field.as_bytes()));
        }
        assert_eq!(encode(b"Subject: \xFC\r\n"), Err(Stuck::Form));
    }
}
