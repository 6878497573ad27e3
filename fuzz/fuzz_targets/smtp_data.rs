//! The body after DATA: only `CRLF.CRLF` ends it, and how the bytes are cut into reads changes nothing.
//!
//! The receiver is compared with a plain reading of RFC 5321 4.1.1.4 and 4.5.2 that looks at the whole input at once.
//! Input: a byte for the size limit, a byte for the cut, then what the peer sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::data::{DataReceiver, END_OF_DATA, Newlines, Received, add_dots, canonical_newlines};

/// What was received, and how many bytes of the wire it took; `None` without an end.
fn expected(wire: &[u8], body_bytes_max: usize) -> Option<(Received, usize)> {
    let starts_with_end = wire.starts_with(b".\r\n");
    let end = if starts_with_end { 0 } else { wire.windows(5).position(|w| w == b"\r\n.\r\n")? + 2 };
    let text = &wire[..end];
    let canonical = canonical_newlines(text);
    let received = if canonical.as_ref() != text {
        Received::BareNewline
    } else {
        let lines = text.split_inclusive(|&b| b == b'\n').map(|line| line.strip_prefix(b".").unwrap_or(line));
        let body = lines.collect::<Vec<_>>().concat();
        if body.len() > body_bytes_max { Received::TooBig } else { Received::Body(body) }
    };
    Some((received, end + END_OF_DATA.len()))
}

fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>, body_bytes_max: usize) -> Option<(Received, usize)> {
    let mut receiver = DataReceiver::new(body_bytes_max);
    let mut used_bytes = 0;
    for piece in pieces {
        used_bytes += receiver.push(piece);
        if receiver.is_ended() {
            return Some((receiver.finish(), used_bytes));
        }
    }
    None
}

/// The end is found where it is found when bare newlines are refused; what they were is CRLF.
fn check_normalised(wire: &[u8], cut: u8, expected: Option<&(Received, usize)>) {
    let receive = |chunk_bytes: usize| {
        let mut receiver = DataReceiver::new(usize::MAX).with_newlines(Newlines::Normalise);
        let used_bytes: usize = wire.chunks(chunk_bytes).map(|piece| receiver.push(piece)).sum();
        receiver.is_ended().then(|| (receiver.finish(), used_bytes))
    };
    let whole = receive(wire.len().max(1));
    assert_eq!(receive(1 + usize::from(cut % 16)), whole, "in pieces, with newlines put right");
    assert_eq!(whole.as_ref().map(|(_, used)| used), expected.map(|(_, used)| used), "the same end");
    let Some((Received::Body(body), _)) = whole else { return assert!(whole.is_none()) };
    assert_eq!(canonical_newlines(&body).as_ref(), body, "only CRLF is left");
}

fuzz_target!(|input: &[u8]| {
    let [limit, cut, wire @ ..] = input else { return };
    let body_bytes_max = if *limit == 0 { usize::MAX } else { usize::from(*limit) };
    let expected = expected(wire, body_bytes_max);
    assert_eq!(receive(std::iter::once(wire), body_bytes_max), expected, "in one piece");
    assert_eq!(receive(wire.chunks(1 + usize::from(*cut % 16)), body_bytes_max), expected, "in pieces");
    let (head, tail) = wire.split_at(usize::from(*cut).min(wire.len()));
    assert_eq!(receive([head, tail].into_iter(), body_bytes_max), expected, "in two pieces");

    check_normalised(wire, *cut, expected.as_ref());

    // What we send is read back as what it was.
    let canonical = canonical_newlines(wire);
    assert_eq!(canonical_newlines(&canonical), canonical, "canonical once is canonical");
    let sent = [&add_dots(&canonical), END_OF_DATA].concat();
    let back = receive(std::iter::once(sent.as_slice()), usize::MAX);
    assert_eq!(back, Some((Received::Body(canonical.into_owned()), sent.len())), "sent and received");
});
