//! Replies as a client reads them (RFC 5321 4.2): multi-line, bounded, without I/O.

use memchr::memchr;
use model::Reply;

/// The longest line taken, in bytes (RFC 5321 4.5.3.1.5 says 512; some hosts write more).
pub const LINE_BYTES_MAX: usize = 4096;
/// The most lines of one reply.
pub const LINES_MAX: usize = 128;

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line over [`LINE_BYTES_MAX`].
    #[error("a reply line is too long")]
    LineTooLong,
    /// More than [`LINES_MAX`] lines.
    #[error("a reply has too many lines")]
    TooManyLines,
    /// No three digits from 200 to 599 at the start, or not followed by a blank or a hyphen.
    #[error("a reply does not start with a code")]
    Code,
    /// The lines of one reply have different codes.
    #[error("the lines of a reply disagree about the code")]
    CodeChanged,
}

/// Collects bytes and gives replies.
#[derive(Debug, Default)]
pub struct ReplyParser {
    bytes: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyParser {
    /// Bytes from the server.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets everything read (RFC 3207 4.2: what came before TLS counts for nothing).
    pub fn clear(&mut self) {
        *self = ReplyParser::default();
    }

    /// Whether nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lines.is_empty()
    }

    /// The next whole reply; `None` when more bytes are needed. After an error the connection is of no more use.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        let mut used_bytes = 0;
        let reply = loop {
            let rest = &self.bytes[used_bytes..];
            let Some(end) = memchr(b'\n', &rest[..rest.len().min(LINE_BYTES_MAX)]) else {
                if rest.len() >= LINE_BYTES_MAX {
                    return Err(ReplyError::LineTooLong);
                }
                break None;
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let (code, is_last, text) = parse_line(line)?;
            if self.code.is_some_and(|first| first != code) {
                return Err(ReplyError::CodeChanged);
            }
            if self.lines.len() == LINES_MAX {
                return Err(ReplyError::TooManyLines);
            }
            self.code = Some(code);
            self.lines.push(text);
            used_bytes += end + 1;
            if is_last {
                self.code = None;
                break Some(to_reply(code, std::mem::take(&mut self.lines)));
            }
        };
        self.bytes.drain(..used_bytes);
        Ok(reply)
    }
}

fn parse_line(line: &[u8]) -> Result<(u16, bool, String), ReplyError> {
    let digits = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit)).ok_or(ReplyError::Code)?;
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if !(200..600).contains(&code) {
        return Err(ReplyError::Code);
    }
    let is_last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return Err(ReplyError::Code),
    };
    let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned();
    Ok((code, is_last, text))
}

/// Takes the enhanced status code (RFC 2034) off the lines that have it.
fn to_reply(code: u16, mut lines: Vec<String>) -> Reply {
    let enhanced = lines.first().and_then(|line| parse_enhanced(line)).filter(|(class, _, _)| *class == code / 100);
    if let Some(enhanced) = enhanced {
        for line in &mut lines {
            if parse_enhanced(line) == Some(enhanced) {
                *line = line.split_once(' ').map_or(String::new(), |(_, text)| text.to_owned());
            }
        }
    }
    Reply::received(code, enhanced, lines)
}

fn parse_enhanced(line: &str) -> Option<(u16, u16, u16)> {
    let word = line.split(' ').next()?;
    let mut numbers = word.split('.').map(|part| {
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if is_number { part.parse::<u16>().ok() } else { None }
    });
    let enhanced = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && [2, 4, 5].contains(&enhanced.0)).then_some(enhanced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], expect: &[Result<&str, ReplyError>]) {
        for chunk_bytes in [1, 3, raw.len()] {
            let (mut parser, mut got) = (ReplyParser::default(), Vec::new());
            'all: for chunk in raw.chunks(chunk_bytes) {
                parser.feed(chunk);
                loop {
                    match parser.next_reply() {
                        Ok(Some(reply)) => got.push(Ok(reply.to_string())),
                        Ok(None) => break,
                        Err(error) => {
                            got.push(Err(error));
                            break 'all;
                        }
                    }
                }
            }
            let got: Vec<_> = got.iter().map(|r| r.as_ref().map(String::as_str).map_err(|e| *e)).collect();
            assert_eq!(got, expect, "{:?} by {chunk_bytes}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn replies() {
        check(b"220 mx\r\n", &[Ok("220 mx")]);
        check(b"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n", &[Ok("250 mx SIZE 1 HELP")]);
        check(b"250\r\n354\n", &[Ok("250 "), Ok("354 ")]);
        check(b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", &[Ok("550 5.1.1 no such user")]);
        check(b"450 5.7.25 disagrees\r\n", &[Ok("450 5.7.25 disagrees")]);
        check(b"250 2.0.0\r\n", &[Ok("250 2.0.0 ")]);
        check(b"250 1.2.3.4 says hello\r\n", &[Ok("250 1.2.3.4 says hello")]);
        check(b"250 2.0.0 \xFF\r\n", &[Ok("250 2.0.0 \u{FFFD}")]);
    }

    #[test]
    fn no_replies() {
        check(b"hello\r\n", &[Err(ReplyError::Code)]);
        check(b"25\r\n", &[Err(ReplyError::Code)]);
        check(b"650 no\r\n", &[Err(ReplyError::Code)]);
        check(b"250_no\r\n", &[Err(ReplyError::Code)]);
        check(b"250-a\r\n251 b\r\n", &[Err(ReplyError::CodeChanged)]);
        check(&b"250-a\r\n".repeat(LINES_MAX + 1), &[Err(ReplyError::TooManyLines)]);
        check(&vec![b'2'; LINE_BYTES_MAX], &[Err(ReplyError::LineTooLong)]);
    }
}
