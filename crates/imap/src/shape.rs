//! ENVELOPE and BODYSTRUCTURE (RFC 3501 7.4.2), from a message's header and structure.

use std::collections::BTreeMap;

use message::structure::{AddressItem, Inside, Part, addresses, field_value, field_values, parameters};

use crate::syntax::{nstring, string};

/// Writes an ENVELOPE of a header section.
pub(crate) fn envelope(out: &mut Vec<u8>, header: &[u8]) {
    let text = |out: &mut Vec<u8>, name: &str| nstring(out, field_value(header, name).as_deref());
    out.push(b'(');
    text(out, "Date");
    out.push(b' ');
    text(out, "Subject");
    let from = all_addresses(header, "From");
    for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        out.push(b' ');
        let found = all_addresses(header, name);
        // Sender and Reply-To are From where they are missing or empty.
        let is_from = matches!(name, "Sender" | "Reply-To") && found.is_empty();
        address_list(out, if is_from { &from } else { &found });
    }
    for name in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        text(out, name);
    }
    out.push(b')');
}

fn all_addresses(header: &[u8], name: &str) -> Vec<AddressItem> {
    field_values(header, name).iter().flat_map(|value| addresses(value)).collect()
}

fn address_list(out: &mut Vec<u8>, items: &[AddressItem]) {
    if items.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for item in items {
        match item {
            AddressItem::Mailbox { name, route, local, domain } => {
                out.push(b'(');
                nstring(out, name.as_deref());
                out.push(b' ');
                nstring(out, route.as_deref());
                out.push(b' ');
                string(out, local);
                out.push(b' ');
                // NIL would begin a group (7.4.2): an address without a domain has an empty one.
                string(out, domain.as_deref().unwrap_or_default());
                out.push(b')');
            }
            AddressItem::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                string(out, name);
                out.extend_from_slice(b" NIL)");
            }
            AddressItem::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.push(b')');
}

/// Writes the BODYSTRUCTURE (or, without its extension data, BODY) of a part of `raw`.
pub(crate) fn body_structure(out: &mut Vec<u8>, raw: &[u8], part: &Part, extended: bool) {
    let header = &raw[part.header.clone()];
    let content_type = field_value(header, "Content-Type").map(|v| parameters(&v)).unwrap_or_default();
    let parameters_of = |out: &mut Vec<u8>| parameter_list(out, &content_type.parameters);
    out.push(b'(');
    if let Inside::Parts(parts) = &part.inside {
        for inner in parts {
            body_structure(out, raw, inner, extended);
        }
        out.push(b' ');
        string(out, part.subtype.as_bytes());
        if extended {
            out.push(b' ');
            parameters_of(out);
            disposition_language_location(out, header);
        }
        out.push(b')');
        return;
    }
    // A message that says it is what it cannot be is described as what it is taken for, without its parameters.
    let as_said = content_type.value.eq_ignore_ascii_case(format!("{}/{}", part.media_type, part.subtype).as_bytes());
    string(out, part.media_type.as_bytes());
    out.push(b' ');
    string(out, part.subtype.as_bytes());
    out.push(b' ');
    let mut said = if as_said { content_type.parameters.clone() } else { Vec::new() };
    if part.media_type == "text" && !said.iter().any(|(name, _)| name == b"charset") {
        // RFC 2045 5.2: that is what it means to say nothing.
        said.push((b"charset".to_vec(), b"us-ascii".to_vec()));
    }
    parameter_list(out, &said);
    for name in ["Content-ID", "Content-Description"] {
        out.push(b' ');
        nstring(out, field_value(header, name).as_deref());
    }
    out.push(b' ');
    let encoding = field_value(header, "Content-Transfer-Encoding").filter(|v| !v.is_empty());
    let encoding = encoding.map_or_else(|| b"7bit".to_vec(), |v| parameters(&v).value);
    string(out, &encoding);
    out.extend_from_slice(format!(" {}", part.body.len()).as_bytes());
    if let Inside::Message(inner) = &part.inside {
        out.push(b' ');
        envelope(out, &raw[inner.header.clone()]);
        out.push(b' ');
        body_structure(out, raw, inner, extended);
        out.extend_from_slice(format!(" {}", part.line_count).as_bytes());
    } else if part.media_type == "text" {
        out.extend_from_slice(format!(" {}", part.line_count).as_bytes());
    }
    if extended {
        out.push(b' ');
        nstring(out, field_value(header, "Content-MD5").as_deref());
        disposition_language_location(out, header);
    }
    out.push(b')');
}

fn disposition_language_location(out: &mut Vec<u8>, header: &[u8]) {
    out.push(b' ');
    match field_value(header, "Content-Disposition").map(|v| parameters(&v)).filter(|d| !d.value.is_empty()) {
        Some(disposition) => {
            out.push(b'(');
            string(out, &disposition.value);
            out.push(b' ');
            parameter_list(out, &disposition.parameters);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let languages = field_value(header, "Content-Language").unwrap_or_default();
    let languages: Vec<&[u8]> =
        languages.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    match languages.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        all => {
            out.push(b'(');
            for (index, language) in all.iter().enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                string(out, language);
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    nstring(out, field_value(header, "Content-Location").as_deref());
}

/// The pieces of a parameter by their numbers: whether each is encoded, and its value.
type Pieces = BTreeMap<u32, (bool, Vec<u8>)>;

/// Parameters in pieces (RFC 2231 3) become one: programs that read BODYSTRUCTURE alone expect that.
fn whole_parameters(parameters: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut whole: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut pieces: BTreeMap<Vec<u8>, Pieces> = BTreeMap::new();
    for (name, value) in parameters {
        let Some((base, number, encoded)) = piece_of(name) else {
            whole.push((name.clone(), value.clone()));
            continue;
        };
        pieces.entry(base).or_default().insert(number, (encoded, value.clone()));
    }
    for (mut name, pieces) in pieces {
        let encoded = pieces.values().any(|(encoded, _)| *encoded);
        let mut value = Vec::new();
        for (is_encoded, piece) in pieces.into_values() {
            if is_encoded || !encoded {
                value.extend_from_slice(&piece);
            } else {
                let bare = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&+^`{}|#".contains(&b);
                for byte in piece {
                    if bare(byte) {
                        value.push(byte)
                    } else {
                        value.extend_from_slice(format!("%{byte:02X}").as_bytes())
                    }
                }
            }
        }
        if encoded {
            name.push(b'*');
        }
        whole.push((name, value));
    }
    whole
}

/// `name*3` or `name*3*`: the name, the number, whether it is encoded.
fn piece_of(name: &[u8]) -> Option<(Vec<u8>, u32, bool)> {
    let (rest, encoded) = name.strip_suffix(b"*").map_or((name, false), |rest| (rest, true));
    let star = memchr::memrchr(b'*', rest)?;
    let number = std::str::from_utf8(&rest[star + 1..]).ok()?.parse().ok()?;
    Some((rest[..star].to_vec(), number, encoded))
}

fn parameter_list(out: &mut Vec<u8>, parameters: &[(Vec<u8>, Vec<u8>)]) {
    let parameters = whole_parameters(parameters);
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        string(out, name);
        out.push(b' ');
        string(out, value);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Limits;
    use message::structure::structure;

    #[test]
    fn envelopes() {
        let check = |header: &str, expect: &str| {
            let mut out = Vec::new();
            envelope(&mut out, header.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check("\r\n", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(
            "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nSubject: a\r\n \"b\"\r\nFrom: Terry Gray <gray@cac.example>\r\n\
             To: imap@cac.example,\r\n\tG: x@y;\r\nMessage-Id: <1@cac.example>\r\n\r\n",
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"a \\\"b\\\"\" ((\"Terry Gray\" NIL \"gray\" \"cac.example\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.example\")) ((\"Terry Gray\" NIL \"gray\" \"cac.example\")) \
             ((NIL NIL \"imap\" \"cac.example\")(NIL NIL \"G\" NIL)(NIL NIL \"x\" \"y\")(NIL NIL NIL NIL)) NIL NIL NIL \
             \"<1@cac.example>\")",
        );
    }

    #[test]
    fn parameters_in_pieces_become_one() {
        let check = |pairs: &[(&str, &str)], expect: &str| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            let mut out = Vec::new();
            parameter_list(&mut out, &pairs);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check(&[("name*1", "b"), ("name*0", "a")], "(\"name\" \"ab\")");
        check(&[("f*0*", "utf-8''%c3%9c%20"), ("f*1", "2 6.pdf")], "(\"f*\" \"utf-8''%c3%9c%202%206.pdf\")");
        check(&[("t*", "utf-8''x"), ("a", "b")], "(\"t*\" \"utf-8''x\" \"a\" \"b\")");
    }

    #[test]
    fn structures() {
        let check = |raw: &str, extended: bool, expect: &str| {
            let mut out = Vec::new();
            body_structure(&mut out, raw.as_bytes(), &structure(raw.as_bytes(), &Limits::default()), extended);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check("\r\nhi\r\n", false, "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1)");
        check(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nx\r\n--b\r\n\
             Content-Type: image/png; name=\"a b.png\"\r\nContent-Disposition: attachment; filename=x\r\nContent-Language: de, en\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n",
            true,
            "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)\
             (\"image\" \"png\" (\"name\" \"a b.png\") NIL NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"x\")) \
             (\"de\" \"en\") NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)",
        );
    }
}
