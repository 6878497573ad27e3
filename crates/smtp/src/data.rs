//! The body between DATA and its end: received with dots removed, sent with dots added (RFC 5321 4.5.2).

use std::borrow::Cow;

use memchr::{memchr2, memmem};

/// Memory set aside for an announced size, at most; a larger body grows into it.
const BELIEVED_BYTES_MAX: usize = 1024 * 1024;

/// Takes the bytes after `354` until `CRLF.CRLF`, and nothing else, ends them (RFC 5321 4.1.1.4).
///
/// The state before the first byte counts as the start of a line, so a lone `.CRLF` is an empty body. A bare CR or
/// LF, or a body over the limit, drops what was collected; the receiver goes on to the true end all the same. A
/// normalising one writes a bare CR or LF down as CRLF; neither begins a line in which a dot would mean anything.
#[derive(Debug)]
pub struct DataReceiver {
    body: Vec<u8>,
    place: Place,
    body_bytes_max: usize,
    newlines: Newlines,
    has_bare_newline: bool,
    is_too_big: bool,
}

/// What to do with a CR without LF or an LF without CR (RFC 5321 2.3.8 forbids both).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newlines {
    /// Refuse the message, at its true end.
    #[default]
    Refuse,
    /// Write CRLF down instead.
    Normalise,
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The body, dots removed, each line with its CRLF.
    Body(Vec<u8>),
    /// There was a CR without LF or an LF without CR (RFC 5321 2.3.8 forbids both); the body is gone.
    BareNewline,
    /// It was larger than allowed; the body is gone.
    TooBig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot and a CR at the start of a line.
    DotCr,
    Middle,
    /// After a CR that is not yet written to the body.
    Cr,
    Ended,
}

impl DataReceiver {
    /// A receiver for one body of at most `body_bytes_max` bytes.
    pub fn new(body_bytes_max: usize) -> Self {
        DataReceiver {
            body: Vec::new(),
            place: Place::LineStart,
            body_bytes_max,
            newlines: Newlines::Refuse,
            has_bare_newline: false,
            is_too_big: false,
        }
    }

    /// The same with another answer to bare newlines.
    #[must_use]
    pub fn with_newlines(self, newlines: Newlines) -> Self {
        DataReceiver { newlines, ..self }
    }

    /// The same with room for a body of the announced size, as far as an announcement is believed.
    #[must_use]
    pub fn expecting(mut self, announced_bytes: u64) -> Self {
        let believed = usize::try_from(announced_bytes).unwrap_or(usize::MAX).min(BELIEVED_BYTES_MAX);
        self.body.reserve(believed.min(self.body_bytes_max));
        self
    }

    /// Takes bytes up to the end of the body at most and says how many it took. Neighbouring lines are copied at once.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self.place {
                Place::LineStart if byte == b'.' => {
                    self.place = Place::Dot;
                    at += 1;
                }
                Place::Dot if byte == b'\r' => {
                    self.place = Place::DotCr;
                    at += 1;
                }
                // The dot of a longer line was added by the sender: it stays out.
                Place::LineStart | Place::Dot => self.place = Place::Middle,
                Place::DotCr if byte == b'\n' => {
                    self.place = Place::Ended;
                    return at + 1;
                }
                Place::Cr if byte == b'\n' => {
                    self.keep(b"\r\n");
                    self.place = Place::LineStart;
                    at += 1;
                }
                Place::DotCr | Place::Cr => {
                    self.bare_newline();
                    self.place = Place::Middle;
                }
                Place::Middle => at += self.take_lines(&bytes[at..]),
                Place::Ended => break,
            }
        }
        at
    }

    /// Takes whole lines and what follows them, up to the next dot at the start of a line or the next bare newline.
    fn take_lines(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(offset) = memchr2(b'\r', b'\n', &bytes[at..]) {
            let newline = at + offset;
            if bytes[newline] == b'\n' {
                self.keep(&bytes[..newline]);
                self.bare_newline();
                return newline + 1;
            }
            match bytes.get(newline + 1) {
                Some(b'\n') => at = newline + 2,
                // Whether it is bare is known with the next byte.
                Some(_) | None => {
                    self.keep(&bytes[..newline]);
                    self.place = Place::Cr;
                    return newline + 1;
                }
            }
            if bytes.get(at).is_none_or(|&next| next == b'.') {
                self.keep(&bytes[..at]);
                self.place = Place::LineStart;
                return at;
            }
        }
        self.keep(bytes);
        bytes.len()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.has_bare_newline || self.is_too_big {
            return;
        }
        if bytes.len() > self.body_bytes_max - self.body.len() {
            self.is_too_big = true;
            self.body = Vec::new();
            return;
        }
        self.body.extend_from_slice(bytes);
    }

    fn bare_newline(&mut self) {
        match self.newlines {
            Newlines::Normalise => self.keep(b"\r\n"),
            Newlines::Refuse => {
                self.has_bare_newline = true;
                self.body = Vec::new();
            }
        }
    }

    /// Whether the end has come.
    pub fn is_ended(&self) -> bool {
        self.place == Place::Ended
    }

    /// What was received. A bare newline counts before the size, wherever the two stood.
    pub fn finish(self) -> Received {
        debug_assert!(self.is_ended(), "a body is finished at its end");
        if self.has_bare_newline {
            Received::BareNewline
        } else if self.is_too_big {
            Received::TooBig
        } else {
            Received::Body(self.body)
        }
    }
}

/// What ends a body on the wire; it follows what [`add_dots`] gives.
pub const END_OF_DATA: &[u8] = b".\r\n";

/// A body with canonical newlines as DATA carries it, without [`END_OF_DATA`]: a dot is added where a line starts with
/// one (RFC 5321 4.5.2). Borrowed when no line does.
///
/// A line of NULs before a dot gets a dot too: a receiver that drops NULs would otherwise see the end of the body in
/// `CRLF NUL .CRLF`, and one that keeps RFC 5321 4.5.2 takes the added dot off again.
pub fn add_dots(canonical: &[u8]) -> Cow<'_, [u8]> {
    if !needs_dots(canonical) {
        return Cow::Borrowed(canonical);
    }
    let mut stuffed = Vec::with_capacity(canonical.len() + canonical.len() / 64 + 16);
    for line in canonical.split_inclusive(|&b| b == b'\n') {
        if starts_like_an_end(line) {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    Cow::Owned(stuffed)
}

/// The body with each CRLF, bare CR and bare LF as one CRLF, and one at the end. Borrowed when nothing changes.
pub fn canonical_newlines(body: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = first_defect(body) else {
        return Cow::Borrowed(body);
    };
    let mut out = Vec::with_capacity(body.len() + body.len() / 32 + 2);
    out.extend_from_slice(&body[..first]);
    let mut at = first;
    while let Some(offset) = memchr2(b'\r', b'\n', &body[at..]) {
        let newline = at + offset;
        out.extend_from_slice(&body[at..newline]);
        out.extend_from_slice(b"\r\n");
        at = newline + if body[newline..].starts_with(b"\r\n") { 2 } else { 1 };
    }
    if at < body.len() {
        out.extend_from_slice(&body[at..]);
        out.extend_from_slice(b"\r\n");
    }
    Cow::Owned(out)
}

/// Whether there is a CR without LF or an LF without CR.
pub(crate) fn has_bare_newline(body: &[u8]) -> bool {
    first_defect(body).is_some_and(|at| matches!(body[at], b'\r' | b'\n'))
}

/// Where the first bare CR or LF stands, or where the last line begins when the last line has no CRLF.
fn first_defect(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(offset) = memchr2(b'\r', b'\n', &body[at..]) {
        let newline = at + offset;
        if !body[newline..].starts_with(b"\r\n") {
            return Some(newline);
        }
        at = newline + 2;
    }
    (at < body.len()).then_some(at)
}

fn needs_dots(canonical: &[u8]) -> bool {
    starts_like_an_end(canonical)
        || memmem::find_iter(canonical, b"\r\n.").next().is_some()
        || memmem::find_iter(canonical, b"\r\n\0").any(|at| starts_like_an_end(&canonical[at + 2..]))
}

fn starts_like_an_end(line: &[u8]) -> bool {
    line.iter().find(|&&b| b != 0) == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// End-of-data sequences that some servers take for the true one.
    const FAKE_ENDS: [&[u8]; 12] = [
        b"\n.\n",
        b"\r.\r",
        b"\r.\n",
        b"\n.\r",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
    ];

    fn to_wire(body: &[u8]) -> Vec<u8> {
        add_dots(&canonical_newlines(body)).into_owned()
    }

    fn receive(wire: &[u8], body_bytes_max: usize) -> (Received, usize) {
        let whole = {
            let mut receiver = DataReceiver::new(body_bytes_max);
            let used_bytes = receiver.push(wire);
            assert!(receiver.is_ended(), "{:?} did not end", String::from_utf8_lossy(wire));
            (receiver.finish(), used_bytes)
        };
        let mut receiver = DataReceiver::new(body_bytes_max);
        let bytewise: usize = wire.iter().map(|&b| receiver.push(&[b])).sum();
        assert_eq!((receiver.finish(), bytewise), whole, "byte by byte is the same");
        whole
    }

    #[test]
    fn receives() {
        let check = |wire: &[u8], body: &[u8]| {
            assert_eq!(receive(wire, 1000), (Received::Body(body.to_vec()), wire.len()));
        };
        check(b".\r\n", b"");
        check(b"a\r\n.\r\n", b"a\r\n");
        check(b"..\r\n.a\r\n...\r\n.\r\n", b".\r\na\r\n..\r\n");
        check(b"\r\n\r\n.\r\n", b"\r\n\r\n");
        check(b"\0\xFF\r\n.\r\n", b"\0\xFF\r\n");
        check(b"a.\r\n.\r\n", b"a.\r\n");
    }

    #[test]
    fn stops_at_the_end_and_not_before() {
        assert_eq!(receive(b"a\r\n.\r\nQUIT\r\n", 1000), (Received::Body(b"a\r\n".to_vec()), 6));
        for fake in FAKE_ENDS {
            let wire = [b"a", fake, b"MAIL FROM:<x@y.z>\r\n", b"\r\n.\r\n"].concat();
            let (received, used_bytes) = receive(&wire, 1000);
            assert_eq!(used_bytes, wire.len(), "{fake:?} ended the body");
            let is_canonical = first_defect(fake).is_none();
            assert_eq!(received == Received::BareNewline, !is_canonical, "{fake:?}");
        }
    }

    #[test]
    fn too_big_runs_to_the_true_end() {
        assert_eq!(receive(b"12\r\n.\r\n", 4).0, Received::Body(b"12\r\n".to_vec()));
        assert_eq!(receive(b"123\r\n.\r\n", 4), (Received::TooBig, 8));
        assert_eq!(receive(b"12345\n\r\n.\r\n", 4).0, Received::BareNewline);
    }

    #[test]
    fn normalises_and_ends_at_the_true_end_only() {
        let normalise = |wire: &[u8]| {
            let mut receiver = DataReceiver::new(1000).with_newlines(Newlines::Normalise).expecting(u64::MAX);
            let used_bytes: usize = wire.iter().map(|&b| receiver.push(&[b])).sum();
            let Received::Body(bytewise) = receiver.finish() else { panic!("{wire:?} was not taken") };
            let mut receiver = DataReceiver::new(1000).with_newlines(Newlines::Normalise);
            assert_eq!((receiver.push(wire), receiver.finish()), (used_bytes, Received::Body(bytewise.clone())));
            assert_eq!(used_bytes, wire.len(), "{wire:?} ended early");
            bytewise
        };
        assert_eq!(normalise(b"a\nb\rc\r\n.\r\n"), b"a\r\nb\r\nc\r\n");
        assert_eq!(normalise(b"a\r\r\n\n\r\n.\r\n"), b"a\r\n\r\n\r\n\r\n");
        for fake in FAKE_ENDS {
            let got = normalise(&[b"a", fake, b"RSET\r\n", b"\r\n.\r\n"].concat());
            assert_eq!(first_defect(&got), None, "{fake:?}");
            // On its way out a dot is added after that: what was no end here is none there.
            let mut wire = to_wire(&got);
            wire.extend_from_slice(END_OF_DATA);
            assert_eq!(receive(&wire, 1000), (Received::Body(got), wire.len()), "{fake:?}");
        }
    }

    #[test]
    fn sends() {
        let check = |body: &[u8], wire: &[u8]| assert_eq!(to_wire(body), wire, "{:?}", String::from_utf8_lossy(body));
        check(b"", b"");
        check(b"a", b"a\r\n");
        check(b"a\nb\rc\r\nd\r\r\n", b"a\r\nb\r\nc\r\nd\r\n\r\n");
        check(b".", b"..\r\n");
        check(b".a\n..\r\n", b"..a\r\n...\r\n");
        check(b"a\r\n\0\0.\r\n", b"a\r\n.\0\0.\r\n");
        for untouched in [&b"a\r\nb.\r\n"[..], b"", b"\r\n", b"a\r\n\0b\r\n"] {
            assert!(matches!(canonical_newlines(untouched), Cow::Borrowed(_)));
            assert!(matches!(add_dots(untouched), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn no_fake_end_leaves_us() {
        for fake in FAKE_ENDS {
            let body = [b"a", fake, b"b\r\n"].concat();
            let mut wire = to_wire(&body);
            for other in FAKE_ENDS {
                assert_eq!(memmem::find(&wire, other), None, "{other:?} left us for {fake:?}");
            }
            wire.extend_from_slice(END_OF_DATA);
            let (received, _) = receive(&wire, 1000);
            assert_eq!(received, Received::Body(canonical_newlines(&body).into_owned()));
        }
    }
}
