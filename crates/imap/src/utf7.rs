//! Modified UTF-7 (RFC 3501 5.1.3): how folder names travel.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const ENGINE: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// A name as it travels.
pub(crate) fn encode(name: &str) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if (' '..='~').contains(&first) {
            wire.push(first);
            if first == '&' {
                wire.push('-');
            }
            rest = &rest[1..];
            continue;
        }
        let end = rest.find(|c: char| (' '..='~').contains(&c)).unwrap_or(rest.len());
        let units: Vec<u8> = rest[..end].encode_utf16().flat_map(u16::to_be_bytes).collect();
        wire.push('&');
        wire.push_str(&ENGINE.encode(units));
        wire.push('-');
        rest = &rest[end..];
    }
    wire
}

/// The name for what travelled; `None` when it is not well formed. UTF-8, which some programs send, is taken as it is.
pub(crate) fn decode(wire: &[u8]) -> Option<String> {
    let wire = std::str::from_utf8(wire).ok()?;
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((before, shifted)) = rest.split_once('&') {
        name.push_str(before);
        let (code, after) = shifted.split_once('-')?;
        rest = after;
        if code.is_empty() {
            name.push('&');
            continue;
        }
        let bytes = ENGINE.decode(code).ok()?;
        if bytes.is_empty() || bytes.len() % 2 != 0 {
            return None;
        }
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let text = String::from_utf16(&units).ok()?;
        // One name has one form on the wire: what needs no encoding must not have one.
        if text.chars().any(|c| (' '..='~').contains(&c)) {
            return None;
        }
        name.push_str(&text);
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("R&D", "R&-D"),
            ("~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("\u{1f600}", "&2D3eAA-"),
            ("Entw\u{fc}rfe", "Entw&APw-rfe"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
        for wrong in [&b"&"[..], b"&U,BTFw", b"&!-", b"&2D0-", b"&AGE-", b"\xff"] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
        assert_eq!(decode("Entw\u{fc}rfe".as_bytes()).as_deref(), Some("Entw\u{fc}rfe"));
    }
}
