//! What was read and not yet used, and the splitter that takes command lines out of it.
//!
//! Only CRLF ends a command (RFC 5321 2.3.8). A line with a bare CR, a bare LF or too many bytes is one defect: it is
//! reported once, and everything up to the next CRLF is skipped, so that no part of it can run as another command.

use memchr::{memchr2, memmem};

/// Used bytes are moved out of the way once there are this many of them.
const COMPACT_BYTES_MIN: usize = 64 * 1024;

/// Bytes kept of a line that is no command: a verb.
const DEFECT_HEAD_BYTES: usize = 4;

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineDefect {
    /// A CR without LF or an LF without CR.
    BareNewline,
    /// Longer than the limit.
    TooLong,
}

/// Bytes from the peer, in order.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    skipping: bool,
    /// How the line of the last defect began.
    defect_head: [u8; DEFECT_HEAD_BYTES],
}

impl Input {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= COMPACT_BYTES_MIN {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Whether the line of the last defect began so, in any case of letters.
    pub(crate) fn defect_began_with(&self, word: &[u8; DEFECT_HEAD_BYTES]) -> bool {
        self.defect_head.eq_ignore_ascii_case(word)
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.bytes.len(), "consumed more than there is");
    }

    pub(crate) fn clear(&mut self) {
        *self = Input::default();
    }

    /// The next line without its CRLF, or what was wrong with it; `None` when more bytes are needed.
    /// `line_bytes_max` counts the CRLF (RFC 5321 4.5.3.1.4).
    pub(crate) fn next_line(&mut self, line_bytes_max: usize) -> Option<Result<&[u8], LineDefect>> {
        if self.skipping && !self.skip_to_line() {
            return None;
        }
        let text_bytes_max = line_bytes_max.saturating_sub(2);
        let rest = &self.bytes[self.start..];
        let window = &rest[..rest.len().min(text_bytes_max + 1)];
        let Some(at) = memchr2(b'\r', b'\n', window) else {
            return (rest.len() > text_bytes_max).then(|| self.defect(0, LineDefect::TooLong));
        };
        match (rest[at], rest.get(at + 1)) {
            (b'\r', None) => None,
            (b'\r', Some(b'\n')) => {
                let line = self.start..self.start + at;
                self.start += at + 2;
                Some(Ok(&self.bytes[line]))
            }
            _ => Some(self.defect(at + 1, LineDefect::BareNewline)),
        }
    }

    fn defect(&mut self, used_bytes: usize, defect: LineDefect) -> Result<&'static [u8], LineDefect> {
        let head = self.rest().get(..DEFECT_HEAD_BYTES).and_then(|head| head.try_into().ok());
        self.defect_head = head.unwrap_or_default();
        self.start += used_bytes;
        self.skipping = true;
        Err(defect)
    }

    /// Drops bytes up to and with the next CRLF; false while it has not come. A last CR stays: its LF may follow.
    fn skip_to_line(&mut self) -> bool {
        if let Some(at) = memmem::find(self.rest(), b"\r\n") {
            self.start += at + 2;
            self.skipping = false;
            return true;
        }
        let keep = usize::from(self.rest().last() == Some(&b'\r'));
        self.start = self.bytes.len() - keep;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], expect: &[Result<&str, LineDefect>]) {
        for chunk_bytes in [1, 2, 3, raw.len()] {
            let (mut input, mut got) = (Input::default(), Vec::new());
            for chunk in raw.chunks(chunk_bytes) {
                input.push(chunk);
                while let Some(line) = input.next_line(10) {
                    got.push(line.map(|l| String::from_utf8_lossy(l).into_owned()));
                }
            }
            let got: Vec<_> = got.iter().map(|r| r.as_ref().map(String::as_str).map_err(|d| *d)).collect();
            assert_eq!(got, expect, "{:?} by {chunk_bytes}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn a_defect_remembers_its_verb() {
        for (raw, is_bdat) in
            [(&b"bdat 5\nx"[..], true), (b"BDAT 12345678901", true), (b"BDA\nT", false), (b"NOOP\nBDAT 5", false)]
        {
            let mut input = Input::default();
            input.push(raw);
            assert!(matches!(input.next_line(10), Some(Err(_))), "{raw:?}");
            assert_eq!(input.defect_began_with(b"BDAT"), is_bdat, "{raw:?}");
        }
    }

    #[test]
    fn lines() {
        use LineDefect::*;
        check(b"NOOP\r\nQUIT\r\n", &[Ok("NOOP"), Ok("QUIT")]);
        check(b"\r\n", &[Ok("")]);
        check(b"NOOP\nQUIT\r\nRSET\r\n", &[Err(BareNewline), Ok("RSET")]);
        check(b"NO\rOP\r\nRSET\r\n", &[Err(BareNewline), Ok("RSET")]);
        check(b"NOOP\r\r\nRSET\r\n", &[Err(BareNewline), Ok("RSET")]);
        check(b"NOOP\n\r\nRSET\r\n", &[Err(BareNewline), Ok("RSET")]);
        check(b"12345678\r\n", &[Ok("12345678")]);
        check(b"123456789\r\nRSET\r\n", &[Err(TooLong), Ok("RSET")]);
        check(b"12345678901234567890\n\n\r\r\nRSET\r\n", &[Err(TooLong), Ok("RSET")]);
        check(b"half", &[]);
    }
}
