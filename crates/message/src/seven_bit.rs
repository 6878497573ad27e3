//! An 8-bit message in 7 bits (RFC 2045 2.7, RFC 6152 3): each part that needs it becomes quoted-printable or base64, and a
//! header section beyond ASCII becomes encoded words.
//!
//! It is only done where nothing breaks: a message with a signature over its body (DKIM, ARC, multipart/signed) stays as
//! it is, and so does a header section that names an address beyond ASCII. Whoever signs does it before (RFC 6376 5.3), so
//! that the signature holds on every way.

mod header;

use data_encoding::BASE64;
use memchr::memmem;

use crate::structure::parameters;

/// Parts inside parts.
const DEPTH_MAX: usize = 32;
const PARTS_MAX: usize = 1_000;
/// RFC 2045 2.7: a longer line is no 7-bit data.
const LINE_BYTES_MAX: usize = 998;
/// RFC 2045 6.7 and 6.8.
const LINE_CHARS_MAX: usize = 76;
/// A part with a larger share of 8-bit bytes than one in this many is no text to be read as it stands.
const BASE64_SHARE: usize = 6;

/// The message in 7 bits, or `None` when it cannot be converted without harm.
pub fn convert(message: &[u8]) -> Option<Vec<u8>> {
    let (header, _) = split(message);
    let has_signature = |name: &str| field(header, name).is_some();
    if has_signature("dkim-signature") || has_signature("arc-message-signature") {
        return None;
    }
    let mut out = Vec::with_capacity(message.len() * 5 / 4);
    let mut part_count = 0;
    part(message, Place { depth: 0, is_message: true }, &mut part_count, &mut out)?;
    out.is_ascii().then_some(out)
}

/// What to sign in place of `message`; `None`: it is good as it is, or cannot be converted without harm.
pub fn before_signing(message: &[u8]) -> Option<Vec<u8>> {
    if is_seven_bit(message) { None } else { convert(message) }
}

/// Whether only a host with SMTPUTF8 may have this message: its header section names an address beyond ASCII (RFC 6531
/// 3.2), so that it has no other form.
pub fn needs_smtputf8(message: &[u8]) -> bool {
    let (header, _) = split(message);
    !header.is_ascii() && header::names_utf8_address(header)
}

/// RFC 2045 2.7: ASCII without NUL, in lines that are not too long.
fn is_seven_bit(bytes: &[u8]) -> bool {
    bytes.is_ascii()
        && memchr::memchr(0, bytes).is_none()
        && bytes.split(|b| *b == b'\n').all(|line| line.strip_suffix(b"\r").unwrap_or(line).len() <= LINE_BYTES_MAX)
}

/// Where a part stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// It is a message, so that its header section says MIME-Version.
    is_message: bool,
}

impl Place {
    fn within(self, is_message: bool) -> Place {
        Place { depth: self.depth + 1, is_message }
    }
}

/// Header section with its empty line, and the rest.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |offset| at + offset + 1);
        let is_empty = matches!(&bytes[at..end], b"\r\n" | b"\n");
        at = end;
        if is_empty {
            break;
        }
    }
    bytes.split_at(at)
}

/// A field's value, unfolded, of the first field of that name (in lower case).
fn field(header: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(header);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((found, value)) = line.split_once(':') else { continue };
        if !found.trim_end().eq_ignore_ascii_case(name) {
            continue;
        }
        let mut value = value.trim().to_owned();
        while let Some(more) = lines.next_if(|more| more.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(more.trim());
        }
        return Some(value);
    }
    None
}

/// The boundary as it stands between the parts.
fn boundary(content_type: &str) -> Option<Vec<u8>> {
    let boundary = parameters(content_type.as_bytes()).get("boundary")?.trim_ascii_end().to_vec();
    (!boundary.is_empty() && boundary.len() <= 70).then_some(boundary)
}

fn part(bytes: &[u8], place: Place, part_count: &mut usize, out: &mut Vec<u8>) -> Option<()> {
    *part_count += 1;
    if place.depth > DEPTH_MAX || *part_count > PARTS_MAX {
        return None;
    }
    if is_seven_bit(bytes) {
        out.extend_from_slice(bytes);
        return Some(());
    }
    let (header, body) = split(bytes);
    let header = header::encode(header).ok()?;
    if is_seven_bit(body) {
        out.extend_from_slice(&header);
        out.extend_from_slice(body);
        return Some(());
    }
    let content_type = field(&header, "content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        // What is signed or encrypted is not ours to change; the parts of a digest are messages without saying so; a
        // piece of a message makes no sense alone.
        "multipart/signed" | "multipart/encrypted" | "multipart/digest" | "message/partial" => None,
        kind if kind.starts_with("multipart/") => {
            write_header(&header, "7bit", place, "", out);
            multipart(body, &boundary(&content_type)?, place, part_count, out)
        }
        // RFC 2046 5.2.1: an enclosed message takes no encoding of its own; what is in it does. RFC 6532 3.7: the global
        // forms do.
        kind if kind.starts_with("message/") && !kind.starts_with("message/global") => {
            write_header(&header, "7bit", place, "", out);
            part(body, place.within(true), part_count, out)
        }
        kind => leaf(&header, body, kind, place, out),
    }
}

fn leaf(header: &[u8], body: &[u8], kind: &str, place: Place, out: &mut Vec<u8>) -> Option<()> {
    let encoding = field(header, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
    if encoding == "base64" || encoding == "quoted-printable" {
        // 8-bit bytes where none can be: nobody knows what they mean. Long lines are only that.
        out.extend_from_slice(header);
        out.extend_from_slice(body);
        return body.is_ascii().then_some(());
    }
    // RFC 1428: for a text of which nothing is said.
    let charset = if std::str::from_utf8(body).is_ok() { "utf-8" } else { "unknown-8bit" };
    let eight_bit_count = body.iter().filter(|b| !b.is_ascii()).count();
    let is_text = kind.is_empty() || kind.starts_with("text/");
    if is_text && eight_bit_count * BASE64_SHARE <= body.len() {
        write_header(header, "quoted-printable", place, charset, out);
        quoted_printable(body, out);
    } else {
        write_header(header, "base64", place, charset, out);
        base64(body, out);
    }
    Some(())
}

fn multipart(body: &[u8], boundary: &[u8], place: Place, part_count: &mut usize, out: &mut Vec<u8>) -> Option<()> {
    let delimiter = [b"--", boundary].concat();
    let mut at = 0;
    let mut part_start = None;
    loop {
        let line = next_delimiter(body, &delimiter, at);
        let (line_start, line_end) = line.unwrap_or((body.len(), body.len()));
        match part_start {
            Some(start) => {
                // The CRLF in front of a delimiter belongs to it (RFC 2046 5.1.1).
                let end = content_end(body, start, line_start);
                part(&body[start..end], place.within(false), part_count, out)?;
                out.extend_from_slice(&body[end..line_start]);
            }
            None if body[..line_start].is_ascii() => out.extend_from_slice(&body[..line_start]),
            None => return None,
        }
        out.extend_from_slice(&body[line_start..line_end]);
        line?;
        let is_close = body[line_start + delimiter.len()..line_end].starts_with(b"--");
        if is_close {
            let epilogue = &body[line_end..];
            out.extend_from_slice(epilogue);
            return epilogue.is_ascii().then_some(());
        }
        (at, part_start) = (line_end, Some(line_end));
    }
}

fn content_end(body: &[u8], start: usize, line_start: usize) -> usize {
    match &body[start..line_start] {
        content if content.ends_with(b"\r\n") => line_start - 2,
        content if content.ends_with(b"\n") => line_start - 1,
        _ => line_start,
    }
}

/// Start and end of the next line that is a delimiter.
fn next_delimiter(body: &[u8], delimiter: &[u8], mut from: usize) -> Option<(usize, usize)> {
    loop {
        let at = from + memmem::find(&body[from..], delimiter)?;
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |offset| at + offset + 1);
        let rest = body[at + delimiter.len()..end].trim_ascii_end();
        let rest = rest.strip_prefix(b"--").unwrap_or(rest);
        if (at == 0 || body[at - 1] == b'\n') && rest.is_empty() {
            return Some((at, end));
        }
        from = at + delimiter.len();
    }
}

/// The header section with its Content-Transfer-Encoding replaced, or added at its end. A message says MIME-Version,
/// without which nobody decodes it, and a text of which nothing is said gets `charset`.
fn write_header(header: &[u8], encoding: &str, place: Place, charset: &str, out: &mut Vec<u8>) {
    let (fields, empty_line) = match header {
        h if h.ends_with(b"\r\n\r\n") || h == b"\r\n" => h.split_at(h.len() - 2),
        h if h.ends_with(b"\n\n") || h == b"\n" => h.split_at(h.len() - 1),
        h => (h, &b"\r\n"[..]),
    };
    let mut is_dropped = false;
    for line in fields.split_inclusive(|b| *b == b'\n') {
        let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
        if !is_folded {
            let name = line.split(|b| *b == b':').next().unwrap_or_default().trim_ascii_end();
            is_dropped = name.eq_ignore_ascii_case(b"content-transfer-encoding");
        }
        if !is_dropped {
            out.extend_from_slice(line);
        }
    }
    if place.is_message && field(header, "mime-version").is_none() {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    if place.is_message && !charset.is_empty() && field(header, "content-type").is_none() {
        out.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
    out.extend_from_slice(empty_line);
}

/// RFC 2045 6.7.
fn quoted_printable(body: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for line in body.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut length = 0;
        for (at, &byte) in text.iter().enumerate() {
            let is_last = at + 1 == text.len();
            let is_plain = (b'!'..=b'~').contains(&byte) && byte != b'=' || (matches!(byte, b' ' | b'\t') && !is_last);
            let width = if is_plain { 1 } else { 3 };
            if length + width > LINE_CHARS_MAX - 1 {
                out.extend_from_slice(b"=\r\n");
                length = 0;
            }
            if is_plain {
                out.push(byte);
            } else {
                out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            length += width;
        }
        if line.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn base64(body: &[u8], out: &mut Vec<u8>) {
    for chunk in body.chunks(LINE_CHARS_MAX / 4 * 3) {
        out.extend_from_slice(BASE64.encode(chunk).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expect: &str) {
        let got = convert(message.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), Some(expect));
    }

    #[test]
    fn text_becomes_quoted_printable() {
        check(
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Hello G=rüße to all of you \r\nsecond\r\n",
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\
             \r\nHello G=3Dr=C3=BC=C3=9Fe to all of you=20\r\nsecond\r\n",
        );
    }

    #[test]
    fn only_the_parts_that_need_it_change() {
        check(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
             --b\r\nContent-Type: application/x; name=\"ü\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\nüüü\r\n--b--\r\npost\r\n",
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
             --b\r\nContent-Type: application/x; name*=utf-8''%C3%BC\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw7zDvMO8\r\n\r\n--b--\r\npost\r\n",
        );
    }

    #[test]
    fn the_boundary_is_the_parameter_of_that_name() {
        check(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; x-boundary=no; boundary=\"b\"\r\n\r\n\
             --b\r\n\r\nü\r\n--b--\r\n",
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; x-boundary=no; boundary=\"b\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n\
             --b\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n\r\n--b--\r\n",
        );
    }

    /// Without MIME-Version nobody would decode what was encoded.
    #[test]
    fn a_message_without_mime_says_what_it_is() {
        check(
            "Subject: für\r\n\r\nGrüße an alle dort, die das hier lesen\r\n",
            "Subject: =?utf-8?B?ZsO8cg==?=\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe an alle dort, die das hier lesen\r\n",
        );
        let latin = convert(b"Subject: x\r\n\r\nDrei Gr\xFC\xDFe an alle\r\n").unwrap();
        assert!(String::from_utf8(latin).unwrap().contains("charset=unknown-8bit"));
        check(
            "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\nSubject: ü\r\n\r\nplain\r\n",
            "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: =?utf-8?B?w7w=?=\r\n\r\nplain\r\n",
        );
    }

    #[test]
    fn lines_stay_short_and_decode_to_the_same() {
        let body = format!("{}é{}\r\n", "a".repeat(200), "=".repeat(100));
        let message = format!("Content-Type: text/plain\r\n\r\n{body}");
        let converted = String::from_utf8(convert(message.as_bytes()).unwrap()).unwrap();
        assert!(converted.lines().all(|line| line.len() <= LINE_CHARS_MAX), "{converted}");
        let (_, encoded) = converted.split_once("\r\n\r\n").unwrap();
        let joined = encoded.replace("=\r\n", "").replace("=3D", "=").replace("=C3=A9", "é");
        assert_eq!(joined, body);
        // RFC 2045 2.7: a line of more than 998 bytes is no 7-bit data either.
        let long = format!("Subject: x\r\n\r\n{}\r\n", "a".repeat(LINE_BYTES_MAX + 1));
        let converted = String::from_utf8(before_signing(long.as_bytes()).unwrap()).unwrap();
        assert!(converted.lines().all(|line| line.len() <= LINE_CHARS_MAX), "{converted}");
        assert_eq!(before_signing(b"Subject: x\r\n\r\nshort\r\n"), None);
    }

    #[test]
    fn what_would_break_is_left_alone() {
        for message in [
            "DKIM-Signature: v=1\r\n\r\nü\r\n",
            "ARC-Message-Signature: i=1\r\n\r\nü\r\n",
            "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n",
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n",
            "Content-Type: message/partial; id=x\r\n\r\nü\r\n",
            "From: ü@x.example\r\n\r\nü\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\nü\r\n--b--\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\nü\r\n",
        ] {
            assert_eq!(convert(message.as_bytes()), None, "{message:?}");
        }
    }

    #[test]
    fn an_address_beyond_ascii_needs_a_host_that_knows_it() {
        assert!(needs_smtputf8("To: ü@x.example\r\nDKIM-Signature: x\r\n\r\nx\r\n".as_bytes()));
        assert!(!needs_smtputf8("To: Zoë <z@x.example>\r\n\r\nFrom: ü@x.example\r\n".as_bytes()));
        assert!(!needs_smtputf8(b"To: \xFC@x.example\r\n\r\n"), "that is no UTF-8: nobody knows what it is");
    }
}
