//! The MIME structure of a message as offsets into its bytes: what IMAP's BODYSTRUCTURE, ENVELOPE and sections are made of.
//!
//! One pass from top to bottom whatever the structure says, with a bounded stack: a delimiter line is compared with the
//! boundaries that are open, innermost first. Values are raw: encoded words stay encoded, as the standard wants it
//! (RFC 3501 7.4.2); a reader decodes them. Nothing here fails: what is malformed is described as it reads.

use std::ops::Range;

mod address;
mod params;

pub use address::{AddressItem, addresses};
pub use params::{Parameters, parameters};

use crate::Limits;
use crate::field::{Section, trim_line_end};

/// A part: the message itself, a body part, or the message inside a `message/rfc822` part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The header section with the empty line that ends it.
    pub header: Range<usize>,
    /// The body, without the line break that belongs to the delimiter behind it.
    pub body: Range<usize>,
    /// `type`, lower case.
    pub media_type: String,
    /// `subtype`, lower case.
    pub subtype: String,
    /// Line breaks in the body.
    pub line_count: usize,
    /// What is inside.
    pub inside: Inside,
}

/// What is inside a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// Nothing that is a part.
    Nothing,
    /// A multipart's parts, at least one.
    Parts(Vec<Part>),
    /// The message in a `message/rfc822` part.
    Message(Box<Part>),
}

/// Takes a message apart.
pub fn structure(raw: &[u8], limits: &Limits) -> Part {
    let mut walker = Walker { raw, limits, nodes: Vec::new(), open: Vec::new(), leaf: None };
    let mut at = walker.begin(0, None);
    while let Some(line) = walker.next_delimiter(at) {
        walker.close_down_to(line.level, line.start);
        at = line.end;
        if line.closes {
            // What follows is the epilogue: it ends with the next delimiter of an outer multipart.
            walker.open[line.level].closed = true;
        } else if walker.nodes.len() < limits.parts_max {
            at = walker.begin(line.end, Some(walker.open[line.level].node));
        } else {
            break;
        }
    }
    walker.finish()
}

struct Node {
    header: Range<usize>,
    body: Range<usize>,
    media_type: String,
    subtype: String,
    parent: Option<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Leaf,
    Multipart,
    Message,
}

struct Open {
    node: usize,
    /// `None` for an enclosed message.
    boundary: Option<Vec<u8>>,
    closed: bool,
}

struct Delimiter {
    start: usize,
    end: usize,
    level: usize,
    closes: bool,
}

struct Walker<'a, 'l> {
    raw: &'a [u8],
    limits: &'l Limits,
    nodes: Vec<Node>,
    open: Vec<Open>,
    leaf: Option<usize>,
}

impl Walker<'_, '_> {
    /// Reads the header section at `at`, and of messages enclosed right there; gives where its body begins.
    fn begin(&mut self, mut at: usize, mut parent: Option<usize>) -> usize {
        loop {
            let open = &self.open;
            let section = Section::read(self.raw, at, self.limits, |line| match_open(open, line).is_some());
            let body_start = section.body_start;
            let content_type = section.find("Content-Type").map(|field| parameters(field.value)).unwrap_or_default();
            let (media_type, subtype) = media_type(&content_type.value, self.digests(parent));
            let boundary = content_type.get("boundary").map(|b| b.trim_ascii_end().to_vec());
            let room = self.open.len() < self.limits.depth_max && self.nodes.len() + 1 < self.limits.parts_max;
            let is_message = media_type == "message" && matches!(subtype.as_str(), "rfc822" | "global");
            let node = self.nodes.len();
            let mut new = Node {
                header: at..body_start,
                body: body_start..body_start,
                media_type,
                subtype,
                parent,
                kind: Kind::Leaf,
            };
            match (new.media_type == "multipart", boundary.filter(|b| !b.is_empty())) {
                (true, Some(boundary)) if room => {
                    new.kind = Kind::Multipart;
                    self.nodes.push(new);
                    self.open.push(Open { node, boundary: Some(boundary), closed: false });
                    return body_start;
                }
                // A multipart that cannot be opened is no multipart for anybody who wants its parts.
                (true, _) => {
                    (new.media_type, new.subtype) = ("text".into(), "plain".into());
                }
                (false, _) if is_message && room => {
                    new.kind = Kind::Message;
                    self.nodes.push(new);
                    self.open.push(Open { node, boundary: None, closed: false });
                    (at, parent) = (body_start, Some(node));
                    continue;
                }
                (false, _) if is_message => {
                    (new.media_type, new.subtype) = ("application".into(), "octet-stream".into());
                }
                (false, _) => {}
            }
            self.nodes.push(new);
            self.leaf = Some(node);
            return body_start;
        }
    }

    /// RFC 2046 5.1.5: a part of a digest is a message unless it says otherwise.
    fn digests(&self, parent: Option<usize>) -> bool {
        parent.is_some_and(|p| self.nodes[p].kind == Kind::Multipart && self.nodes[p].subtype == "digest")
    }

    fn next_delimiter(&self, from: usize) -> Option<Delimiter> {
        if !self.open.iter().any(|open| open.boundary.is_some()) {
            return None;
        }
        let mut at = from;
        while at < self.raw.len() {
            let start = if self.raw[at..].starts_with(b"--") && (at == 0 || self.raw[at - 1] == b'\n') {
                at
            } else {
                at + memchr::memmem::find(&self.raw[at..], b"\n--")? + 1
            };
            let end = memchr::memchr(b'\n', &self.raw[start..]).map_or(self.raw.len(), |i| start + i + 1);
            if let Some((level, closes)) = match_open(&self.open, trim_line_end(&self.raw[start..end])) {
                return Some(Delimiter { start, end, level, closes });
            }
            if end == self.raw.len() {
                return None;
            }
            at = (end - 1).max(start + 2);
        }
        None
    }

    /// Ends the leaf and everything inside the multipart at `level`, at the delimiter that begins at `end`.
    fn close_down_to(&mut self, level: usize, end: usize) {
        // RFC 2046 5.1.1: the line break before a delimiter belongs to the delimiter.
        let mut body_end = end;
        body_end -= usize::from(self.raw[..body_end].ends_with(b"\n"));
        body_end -= usize::from(self.raw[..body_end].ends_with(b"\r"));
        if let Some(leaf) = self.leaf.take() {
            self.end_at(leaf, body_end);
        }
        while self.open.len() > level + 1 {
            if let Some(open) = self.open.pop() {
                self.end_at(open.node, body_end);
            }
        }
    }

    fn end_at(&mut self, node: usize, end: usize) {
        let body = &mut self.nodes[node].body;
        body.end = end.max(body.start);
        let header = &mut self.nodes[node].header;
        // An empty part whose delimiter follows at once: its header's end is the delimiter's line break.
        header.end = header.end.max(header.start);
    }

    fn finish(mut self) -> Part {
        let end = self.raw.len();
        if let Some(leaf) = self.leaf.take() {
            self.end_at(leaf, end);
        }
        while let Some(open) = self.open.pop() {
            self.end_at(open.node, end);
        }
        let mut children: Vec<Vec<Part>> = self.nodes.iter().map(|_| Vec::new()).collect();
        let raw = self.raw;
        for (index, node) in self.nodes.into_iter().enumerate().rev() {
            let mut inside: Vec<Part> = std::mem::take(&mut children[index]);
            inside.reverse();
            let parent = node.parent;
            let part = part_of(raw, node, inside);
            match parent {
                Some(parent) => children[parent].push(part),
                None => return part,
            }
        }
        empty_text(0)
    }
}

fn part_of(raw: &[u8], node: Node, mut inside: Vec<Part>) -> Part {
    let body = node.body.clone();
    let inside = match node.kind {
        Kind::Leaf => Inside::Nothing,
        Kind::Multipart => {
            if inside.is_empty() {
                // BODYSTRUCTURE has no multipart without parts.
                inside.push(empty_text(body.end));
            }
            Inside::Parts(inside)
        }
        Kind::Message => Inside::Message(Box::new(inside.pop().unwrap_or_else(|| empty_text(body.end)))),
    };
    let line_count = memchr::memchr_iter(b'\n', &raw[body.clone()]).count();
    Part { header: node.header, body, media_type: node.media_type, subtype: node.subtype, line_count, inside }
}

fn empty_text(at: usize) -> Part {
    let (media_type, subtype) = ("text".into(), "plain".into());
    Part { header: at..at, body: at..at, media_type, subtype, line_count: 0, inside: Inside::Nothing }
}

fn match_open(open: &[Open], line: &[u8]) -> Option<(usize, bool)> {
    let text = line.strip_prefix(b"--")?;
    open.iter().enumerate().rev().find_map(|(level, open)| {
        if open.closed {
            return None;
        }
        let rest = text.strip_prefix(open.boundary.as_deref()?)?;
        match rest.trim_ascii_end() {
            b"" => Some((level, false)),
            b"--" => Some((level, true)),
            _ => None,
        }
    })
}

/// `type` and `subtype`; what is missing or malformed is text/plain (RFC 2045 5.2), or a message in a digest.
fn media_type(value: &[u8], in_digest: bool) -> (String, String) {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let token =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b));
    match text.split_once('/') {
        Some((kind, subtype)) if token(kind.trim()) && token(subtype.trim()) => {
            (kind.trim().to_owned(), subtype.trim().to_owned())
        }
        _ if in_digest => ("message".into(), "rfc822".into()),
        _ => ("text".into(), "plain".into()),
    }
}

impl Part {
    /// The part that a section's numbers name (RFC 3501 6.4.5); the message itself for none.
    pub fn find(&self, path: &[u32]) -> Option<&Part> {
        let Some((last, before)) = path.split_last() else { return Some(self) };
        let mut container = self;
        for number in before {
            container = container.child(*number)?.container()?;
        }
        container.child(*last)
    }

    /// As [`Part::find`], then the message that it encloses: what HEADER and TEXT behind numbers mean.
    pub fn find_message(&self, path: &[u32]) -> Option<&Part> {
        if path.is_empty() {
            return Some(self);
        }
        match &self.find(path)?.inside {
            Inside::Message(message) => Some(message),
            Inside::Nothing | Inside::Parts(_) => None,
        }
    }

    fn container(&self) -> Option<&Part> {
        match &self.inside {
            Inside::Nothing => None,
            Inside::Parts(_) => Some(self),
            Inside::Message(message) => Some(message),
        }
    }

    /// Part `number` of a message or multipart; a message that is no multipart has itself as its part 1.
    fn child(&self, number: u32) -> Option<&Part> {
        match &self.inside {
            Inside::Parts(parts) => parts.get(usize::try_from(number).ok()?.checked_sub(1)?),
            Inside::Nothing | Inside::Message(_) => (number == 1).then_some(self),
        }
    }
}

/// Where the body begins, in the first bytes of a message; `None` when they do not reach that far. `is_all`: there are no
/// more.
pub fn header_end(head: &[u8], is_all: bool) -> Option<usize> {
    // A line that was cut in its middle says nothing about what it is.
    let whole_lines = if is_all { head.len() } else { memchr::memrchr(b'\n', head).map_or(0, |at| at + 1) };
    let end = Section::read(&head[..whole_lines], 0, &Limits::default(), |_| false).body_start;
    // An empty line at the very end may be followed by nothing: only then is the end of the bytes the end of the header.
    let ends_here = end < whole_lines || head[..end].ends_with(b"\n\r\n") || head[..end].ends_with(b"\n\n");
    (is_all || ends_here).then_some(end)
}

/// The unfolded value of the first field of this name in a header section, without blanks around it; not decoded.
pub fn field_value(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let section = Section::read(header, 0, &Limits::default(), |_| false);
    section.find(name).map(|field| unfold(field.value))
}

/// The bytes of the fields for which `wanted` holds (a name without its colon), as they stand, in their order.
pub fn pick_fields(header: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let limits = Limits { fields_max: usize::MAX, ..Limits::default() };
    let section = Section::read(header, 0, &limits, |_| false);
    let mut out = Vec::new();
    for field in section.fields.iter().filter(|field| wanted(field.name.trim_ascii_end())) {
        out.extend_from_slice(field.name);
        out.push(b':');
        out.extend_from_slice(field.value);
        if !field.value.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// All values of the fields of this name, unfolded, in their order.
pub fn field_values(header: &[u8], name: &str) -> Vec<Vec<u8>> {
    let section = Section::read(header, 0, &Limits::default(), |_| false);
    section.fields.iter().filter(|field| field.is(name)).map(|field| unfold(field.value)).collect()
}

/// A value with its encoded words decoded (RFC 2047), bounded: for searching.
pub fn decoded_field(raw_value: &[u8]) -> String {
    let mut line = raw_value.to_vec();
    line.extend_from_slice(b"\r\n");
    let field = crate::field::Field { name: b"", value: &line, start: 0 };
    let limits = Limits { short_text_chars_max: 16 * 1024, ..Limits::default() };
    field.text(&limits)
}

/// A text part's text, decoded from its encoding and character set: for searching.
pub fn decoded_text(raw: &[u8], part: &Part) -> String {
    let header = &raw[part.header.clone()];
    let encoding = field_value(header, "Content-Transfer-Encoding").unwrap_or_default();
    let encoding = crate::decode::Encoding::parse(&String::from_utf8_lossy(&encoding));
    let content_type = field_value(header, "Content-Type").map(|v| parameters(&v)).unwrap_or_default();
    let charset = content_type.get("charset").map(|c| String::from_utf8_lossy(c).into_owned()).unwrap_or_default();
    crate::decode::text_of(&encoding.decode(&raw[part.body.clone()]), &charset).0
}

/// The content of a part without its content-transfer-encoding (RFC 3516); `None` for an encoding that is not known.
pub fn decoded_body(raw: &[u8], part: &Part) -> Option<Vec<u8>> {
    let encoding = field_value(&raw[part.header.clone()], "Content-Transfer-Encoding").unwrap_or_default();
    let name = String::from_utf8_lossy(&encoding).trim().to_ascii_lowercase();
    let known = ["", "7bit", "8bit", "binary", "base64", "quoted-printable"].contains(&name.as_str());
    known.then(|| crate::decode::Encoding::parse(&name).decode(&raw[part.body.clone()]).into_owned())
}

/// Line breaks go, the blanks behind them stay (RFC 5322 2.2.3); NUL goes too.
pub(crate) fn unfold(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect::<Vec<u8>>().trim_ascii().to_vec()
}

#[cfg(test)]
mod tests;
