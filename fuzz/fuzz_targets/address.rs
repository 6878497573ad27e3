//! Addresses of envelopes and of header fields. What was taken can be written on a wire and read again as the same:
//! no address smuggles a bracket, a line or a parameter into a command.

#![no_main]

use libfuzzer_sys::fuzz_target;
use message::{Limits, ParseContext, parse};
use model::{Address, ClientInfo, Domain, Envelope, Timestamp};

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        check_address(text);
        check_domain(text);
    }
    check_field(input);
});

fn check_address(text: &str) {
    let Ok(address) = Address::parse(text) else { return };
    let written = address.to_string();
    assert_eq!(Address::parse(&written).as_ref(), Ok(&address), "written and read again");
    let key = Address::parse(&address.key()).expect("the key is an address");
    assert_eq!(key.key(), address.key(), "the key of a key is itself");
    assert!(!written.chars().any(char::is_control), "no control character");
    let local = address.local();
    if let Some(inner) = local.strip_prefix('"') {
        assert!(is_quoted(inner), "a quote ends where the local part ends: {local:?}");
    } else {
        assert!(!local.contains(['<', '>', ' ', '"', '\\', ',', ':', ';', '@']), "a mark without quotes: {local:?}");
    }
}

/// RFC 5321 4.1.2 after the first quote: a quote or backslash inside stands behind a backslash, the last one ends it.
fn is_quoted(inner: &str) -> bool {
    let mut rest = inner.chars();
    loop {
        match rest.next() {
            Some('\\') => {
                if rest.next().is_none() {
                    return false;
                }
            }
            Some('"') => return rest.next().is_none(),
            Some(_) => {}
            None => return false,
        }
    }
}

fn check_domain(text: &str) {
    let Ok(domain) = Domain::parse(text) else { return };
    assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain), "written and read again");
    assert!(domain.is_under(&domain));
    assert!(!domain.as_str().contains(['<', '>', ' ', '"', '@']));
}

/// The same bytes as a From field.
fn check_field(input: &[u8]) {
    let limits = Limits::default();
    let envelope = Envelope::new(ClientInfo::at([192, 0, 2, 1].into()));
    let raw = [b"From: ", input, b"\r\n\r\n"].concat();
    let context = ParseContext { received_at: Timestamp::default(), envelope: &envelope, own_domains: &[], limits };
    for mailbox in parse(&raw, &context).header.from {
        assert!(mailbox.name.chars().count() <= limits.short_text_chars_max);
        assert!(!mailbox.address.contains(['\r', '\n', '\0']), "no line in an address");
    }
}
