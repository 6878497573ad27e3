//! An 8-bit message for a host that only takes 7 bits (RFC 6152 3): each 8-bit part becomes quoted-printable or base64.
//!
//! It is only done where nothing breaks: a message with a signature over its body (DKIM, ARC, multipart/signed) or with
//! 8-bit bytes in a header section stays as it is, and is then refused with 5.6.3 rather than mangled.

use data_encoding::BASE64;
use memchr::memmem;

/// Parts inside parts.
const DEPTH_MAX: usize = 32;
const PARTS_MAX: usize = 1_000;
/// RFC 2045 6.7 and 6.8.
const LINE_CHARS_MAX: usize = 76;
/// A part with a larger share of 8-bit bytes than one in this many is no text to be read as it stands.
const BASE64_SHARE: usize = 6;

/// The message in 7 bits, or `None` when it cannot be converted without harm.
pub(crate) fn convert(message: &[u8]) -> Option<Vec<u8>> {
    let (header, _) = split(message);
    let has_signature = |name: &str| field(header, name).is_some();
    if has_signature("dkim-signature") || has_signature("arc-message-signature") {
        return None;
    }
    let mut out = Vec::with_capacity(message.len() * 5 / 4);
    let mut part_count = 0;
    part(message, 0, &mut part_count, &mut out)?;
    out.is_ascii().then_some(out)
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

fn boundary(content_type: &str) -> Option<String> {
    let lower = content_type.to_ascii_lowercase();
    let at = lower.find("boundary=")? + "boundary=".len();
    let value = content_type[at..].trim_start();
    let boundary = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => value.split([';', ' ', '\t']).next()?,
    };
    (!boundary.is_empty() && boundary.len() <= 70).then(|| boundary.to_owned())
}

fn part(bytes: &[u8], depth: usize, part_count: &mut usize, out: &mut Vec<u8>) -> Option<()> {
    *part_count += 1;
    if depth > DEPTH_MAX || *part_count > PARTS_MAX {
        return None;
    }
    if bytes.is_ascii() {
        out.extend_from_slice(bytes);
        return Some(());
    }
    let (header, body) = split(bytes);
    if !header.is_ascii() {
        return None;
    }
    let content_type = field(header, "content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "multipart/signed" || kind == "multipart/encrypted" {
        return None;
    }
    if kind.starts_with("multipart/") {
        write_header(header, "7bit", out);
        return multipart(body, &boundary(&content_type)?, depth, part_count, out);
    }
    if kind.starts_with("message/") {
        // RFC 2046 5.2.1: an enclosed message takes no encoding of its own; what is in it does.
        write_header(header, "7bit", out);
        return part(body, depth + 1, part_count, out);
    }
    let encoding = field(header, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase();
    if encoding == "base64" || encoding == "quoted-printable" {
        return None; // 8-bit bytes where none can be: nobody knows what they mean
    }
    let eight_bit_count = body.iter().filter(|b| !b.is_ascii()).count();
    let is_text = kind.is_empty() || kind.starts_with("text/");
    if is_text && eight_bit_count * BASE64_SHARE <= body.len() {
        write_header(header, "quoted-printable", out);
        quoted_printable(body, out);
    } else {
        write_header(header, "base64", out);
        base64(body, out);
    }
    Some(())
}

fn multipart(body: &[u8], boundary: &str, depth: usize, part_count: &mut usize, out: &mut Vec<u8>) -> Option<()> {
    let delimiter = format!("--{boundary}");
    let mut at = 0;
    let mut part_start = None;
    loop {
        let line = next_delimiter(body, delimiter.as_bytes(), at);
        let (line_start, line_end) = line.unwrap_or((body.len(), body.len()));
        match part_start {
            Some(start) => {
                // The CRLF in front of a delimiter belongs to it (RFC 2046 5.1.1).
                let end = content_end(body, start, line_start);
                part(&body[start..end], depth + 1, part_count, out)?;
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

/// The header section with its Content-Transfer-Encoding replaced, or added at its end.
fn write_header(header: &[u8], encoding: &str, out: &mut Vec<u8>) {
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

    fn check(message: &str, expect: &str) {
        let got = convert(message.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), Some(expect));
    }

    #[test]
    fn text_becomes_quoted_printable() {
        check(
            "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Hello G=rüße to all of you \r\nsecond\r\n",
            "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\
             \r\nHello G=3Dr=C3=BC=C3=9Fe to all of you=20\r\nsecond\r\n",
        );
    }

    #[test]
    fn only_the_parts_that_need_it_change() {
        check(
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\nüüü\r\n--b--\r\npost\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw7zDvMO8\r\n\r\n--b--\r\npost\r\n",
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
    }

    #[test]
    fn what_would_break_is_left_alone() {
        for message in [
            "DKIM-Signature: v=1\r\n\r\nü\r\n",
            "ARC-Message-Signature: i=1\r\n\r\nü\r\n",
            "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n",
            "Subject: ü\r\n\r\nü\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\nü\r\n--b--\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n",
            "Content-Transfer-Encoding: base64\r\n\r\nü\r\n",
        ] {
            assert_eq!(convert(message.as_bytes()), None, "{message:?}");
        }
    }
}
