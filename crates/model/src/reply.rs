//! SMTP replies (RFC 5321 4.2) with enhanced status codes (RFC 3463).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a reply by its first digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyClass {
    /// 2yz
    Completion,
    /// 3yz
    Intermediate,
    /// 4yz: try again later.
    Transient,
    /// 5yz: do not try again.
    Permanent,
}

/// `class.subject.detail`. The class is not stored: it follows the reply's first digit, so the two cannot disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnhancedCode {
    /// The second number, 0..=999.
    pub subject: u16,
    /// The third number, 0..=999.
    pub detail: u16,
}

/// One reply. Its lines hold no CR, LF, NUL or other control characters: whatever is put in is cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    lines: Vec<String>,
}

impl Reply {
    /// A 2yz or 3yz reply with an enhanced code `2.subject.detail` (3yz replies carry none, RFC 2034 section 4).
    pub fn ok(code: u16, enhanced: (u16, u16), text: impl Into<String>) -> Self {
        assert!((200..400).contains(&code), "an ok reply is 2yz or 3yz");
        let enhanced = (code < 300).then_some(EnhancedCode { subject: enhanced.0, detail: enhanced.1 });
        Reply { code, enhanced, lines: vec![clean(text.into())] }
    }

    /// A 4yz reply with `4.subject.detail`.
    pub fn transient(code: u16, enhanced: (u16, u16), text: impl Into<String>) -> Self {
        assert!((400..500).contains(&code), "a transient reply is 4yz");
        Reply {
            code,
            enhanced: Some(EnhancedCode { subject: enhanced.0, detail: enhanced.1 }),
            lines: vec![clean(text.into())],
        }
    }

    /// A 5yz reply with `5.subject.detail`.
    pub fn permanent(code: u16, enhanced: (u16, u16), text: impl Into<String>) -> Self {
        assert!((500..600).contains(&code), "a permanent reply is 5yz");
        Reply {
            code,
            enhanced: Some(EnhancedCode { subject: enhanced.0, detail: enhanced.1 }),
            lines: vec![clean(text.into())],
        }
    }

    /// A reply without an enhanced code: the greeting, EHLO and 354.
    pub fn plain(code: u16, lines: Vec<String>) -> Self {
        assert!((200..600).contains(&code) && !lines.is_empty(), "a reply has a code and a line");
        Reply { code, enhanced: None, lines: lines.into_iter().map(clean).collect() }
    }

    /// A reply as it was read from a peer. An enhanced code whose class disagrees with `code` is dropped.
    pub fn received(code: u16, enhanced: Option<(u16, u16, u16)>, lines: Vec<String>) -> Self {
        let enhanced = enhanced
            .filter(|(class, _, _)| *class == code / 100)
            .map(|(_, subject, detail)| EnhancedCode { subject, detail });
        let lines = if lines.is_empty() { vec![String::new()] } else { lines.into_iter().map(clean).collect() };
        Reply { code, enhanced, lines }
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The class by the first digit; a code a peer made up counts by its first digit too, anything else as transient.
    pub fn class(&self) -> ReplyClass {
        match self.code / 100 {
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            5 => ReplyClass::Permanent,
            _ => ReplyClass::Transient,
        }
    }

    /// The enhanced status code, if any.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The text lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether this is 2yz.
    pub fn is_completion(&self) -> bool {
        self.class() == ReplyClass::Completion
    }

    /// The reply as it goes on the wire, each line ended by CRLF.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for (i, line) in self.lines.iter().enumerate() {
            let divider = if i + 1 == self.lines.len() { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{divider}", self.code).as_bytes());
            if let Some(e) = self.enhanced {
                out.extend_from_slice(format!("{}.{}.{} ", self.code / 100, e.subject, e.detail).as_bytes());
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

/// On one line, for logs and evidence: `250 2.0.0 accepted`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(e) = self.enhanced {
            write!(f, " {}.{}.{}", self.code / 100, e.subject, e.detail)?;
        }
        write!(f, " {}", self.lines.join(" "))
    }
}

/// A control character in a reply would let text that a peer chose become protocol.
fn clean(line: String) -> String {
    const LINE_MAX: usize = 480; // RFC 5321 4.5.3.1.5: 512 octets with the code and CRLF.
    let mut line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > LINE_MAX {
        let mut end = LINE_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form() {
        assert_eq!(Reply::transient(451, (3, 0), "later").to_wire(), b"451 4.3.0 later\r\n");
        assert_eq!(Reply::ok(354, (0, 0), "go on").to_wire(), b"354 go on\r\n");
        let ehlo = Reply::plain(250, vec!["mx.example".into(), "PIPELINING".into()]);
        assert_eq!(ehlo.to_wire(), b"250-mx.example\r\n250 PIPELINING\r\n");
    }

    #[test]
    fn text_cannot_become_protocol() {
        assert_eq!(Reply::permanent(550, (1, 1), "no\r\n250 yes").to_wire(), b"550 5.1.1 no  250 yes\r\n");
    }

    #[test]
    fn a_peer_whose_numbers_disagree_keeps_the_first() {
        assert_eq!(Reply::received(450, Some((5, 7, 25)), vec!["x".into()]).enhanced(), None);
    }
}
