//! The MIME structure, walked once from top to bottom with a bounded stack.
//!
//! One pass over the bytes whatever the structure says: a delimiter line is compared with the boundaries that are open
//! (at most `depth_max`), innermost first, so that neither nesting nor repetition costs more than the message's length.

use model::Defect;

use crate::Limits;
use crate::decode::{Encoding, short_text};
use crate::field::{Section, file_name, parameter, trim_line_end};

/// A part without parts: text, a file, an enclosed message as a whole, or a structure too deep to open.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// `type/subtype`, lower case.
    pub(crate) content_type: String,
    pub(crate) charset: String,
    pub(crate) encoding: Encoding,
    pub(crate) is_attachment: bool,
    pub(crate) name: String,
    pub(crate) body: &'a [u8],
    /// Enclosed messages around this part.
    pub(crate) message_depth: usize,
    /// Depth in all, for enclosed messages that must be decoded before they can be opened.
    pub(crate) depth: usize,
    /// Its inside was not walked though it has one.
    pub(crate) closed: bool,
}

impl Part<'_> {
    pub(crate) fn is_text(&self) -> bool {
        self.content_type == "text/plain" || self.content_type == "text/html"
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Structure<'a> {
    pub(crate) top: Section<'a>,
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) defects: Vec<Defect>,
}

enum Open<'a> {
    Multipart { boundary: Vec<u8> },
    Message { part: Part<'a>, start: usize },
}

struct Walker<'a, 'l> {
    raw: &'a [u8],
    limits: &'l Limits,
    found: Structure<'a>,
    open: Vec<Open<'a>>,
    leaf: Option<(Part<'a>, usize)>,
    part_count: usize,
    depth_base: usize,
}

/// Walks a message. `depth` is how deep it lies in others.
pub(crate) fn walk<'a>(raw: &'a [u8], limits: &Limits, depth: usize) -> Structure<'a> {
    let mut walker = Walker {
        raw,
        limits,
        found: Structure::default(),
        open: Vec::new(),
        leaf: None,
        part_count: 0,
        depth_base: depth,
    };
    let mut at = walker.begin_part(0);
    while let Some((line_start, line_end, level, is_close)) = walker.next_delimiter(at) {
        walker.close_down_to(level, line_start);
        at = line_end;
        if is_close {
            walker.open.truncate(level);
        } else if walker.part_count >= limits.parts_max {
            walker.note(Defect::TooManyParts);
            walker.open.clear();
            return walker.found;
        } else {
            at = walker.begin_part(line_end);
        }
    }
    if walker.open.iter().any(|open| matches!(open, Open::Multipart { .. })) {
        walker.note(Defect::BrokenMime);
    }
    walker.close_down_to(0, raw.len());
    walker.found
}

impl<'a> Walker<'a, '_> {
    fn note(&mut self, defect: Defect) {
        if !self.found.defects.contains(&defect) {
            self.found.defects.push(defect);
        }
    }

    /// Reads the header section at `at` (and of messages enclosed right there) and opens what it announces.
    /// Returns where to look for the next delimiter.
    fn begin_part(&mut self, mut at: usize) -> usize {
        loop {
            self.part_count += 1;
            let open = &self.open;
            let section = Section::read(self.raw, at, self.limits, |line| match_boundary(open, line).is_some());
            let body_start = section.body_start;
            if section.broken && at > 0 && !section.fields.is_empty() {
                self.note(Defect::BrokenMime);
            }
            let (mut part, boundary) = self.describe(&section);
            if at == 0 {
                self.found.top = section;
            }
            let too_deep = self.depth_base + self.open.len() >= self.limits.depth_max;
            if part.content_type.starts_with("multipart/") {
                match boundary {
                    Some(boundary) if !too_deep => {
                        self.open.push(Open::Multipart { boundary });
                        return body_start;
                    }
                    Some(_) => {
                        self.note(Defect::TooDeep);
                        part.closed = true;
                    }
                    None => {
                        self.note(Defect::BrokenMime);
                        part.content_type = "text/plain".into();
                    }
                }
            } else if part.content_type == "message/rfc822" || part.content_type == "message/global" {
                let room = self.part_count < self.limits.parts_max;
                if !too_deep && room && part.encoding == Encoding::Identity && body_start < self.raw.len() {
                    self.open.push(Open::Message { part, start: body_start });
                    at = body_start;
                    continue;
                }
                if too_deep || !room {
                    self.note(if too_deep { Defect::TooDeep } else { Defect::TooManyParts });
                    part.closed = true;
                }
            }
            self.leaf = Some((part, body_start));
            return body_start;
        }
    }

    fn describe(&self, section: &Section<'a>) -> (Part<'a>, Option<Vec<u8>>) {
        let limits = self.limits;
        let mut part = Part {
            content_type: "text/plain".into(),
            charset: String::new(),
            encoding: Encoding::Identity,
            is_attachment: false,
            name: String::new(),
            body: &[],
            message_depth: self.open.iter().filter(|open| matches!(open, Open::Message { .. })).count(),
            depth: self.depth_base + self.open.len(),
            closed: false,
        };
        let mut boundary = None;
        if let Some(field) = section.find("Content-Type") {
            field.content_type(limits, |value| {
                let kind = format!("{}/{}", value.ctype(), value.subtype().unwrap_or("plain"));
                // A parameter without its semicolon must not become part of the type.
                let kind = kind.split_ascii_whitespace().next().unwrap_or_default();
                part.content_type = short_text(kind, limits.short_text_chars_max).to_lowercase();
                part.charset = parameter(value, "charset").unwrap_or_default();
                part.name = parameter(value, "name").map(|name| file_name(&name, limits)).unwrap_or_default();
                boundary = parameter(value, "boundary").map(String::into_bytes).filter(|text| !text.is_empty());
            });
        }
        if let Some(field) = section.find("Content-Disposition") {
            field.content_type(limits, |value| {
                part.is_attachment = value.ctype().eq_ignore_ascii_case("attachment");
                if let Some(name) = parameter(value, "filename") {
                    part.name = file_name(&name, limits);
                }
            });
        }
        if let Some(field) = section.find("Content-Transfer-Encoding") {
            part.encoding = Encoding::parse(&field.raw_text(limits));
        }
        (part, boundary)
    }

    /// The next line that is a delimiter of an open multipart: its start, the start of the next line, which one, and
    /// whether it closes it.
    fn next_delimiter(&self, from: usize) -> Option<(usize, usize, usize, bool)> {
        if self.open.is_empty() {
            return None;
        }
        let mut at = from;
        while at < self.raw.len() {
            let line_start = if self.raw[at..].starts_with(b"--") && (at == 0 || self.raw[at - 1] == b'\n') {
                at
            } else {
                at + memchr::memmem::find(&self.raw[at..], b"\n--")? + 1
            };
            let line_end =
                memchr::memchr(b'\n', &self.raw[line_start..]).map_or(self.raw.len(), |i| line_start + i + 1);
            if let Some((level, is_close)) = match_boundary(&self.open, trim_line_end(&self.raw[line_start..line_end]))
            {
                return Some((line_start, line_end, level, is_close));
            }
            // Not past the line's end: the next candidate's line break is this line's.
            at = line_end.saturating_sub(1).max(line_start + 2);
            if line_end == self.raw.len() {
                return None;
            }
        }
        None
    }

    /// Ends the leaf and everything inside the multipart `level` at the delimiter that begins at `end`.
    fn close_down_to(&mut self, level: usize, end: usize) {
        let mut body_end = end;
        if end < self.raw.len() || self.raw.is_empty() {
            // RFC 2046 5.1.1: the line break before a delimiter belongs to the delimiter.
            body_end -= usize::from(self.raw[..body_end].ends_with(b"\n"));
            body_end -= usize::from(self.raw[..body_end].ends_with(b"\r"));
        }
        if let Some((mut part, start)) = self.leaf.take() {
            part.body = self.raw.get(start..body_end.max(start)).unwrap_or_default();
            self.found.parts.push(part);
        }
        while self.open.len() > level + 1 || (level == 0 && end == self.raw.len() && !self.open.is_empty()) {
            if let Some(Open::Message { mut part, start }) = self.open.pop() {
                part.body = self.raw.get(start..body_end.max(start)).unwrap_or_default();
                self.found.parts.push(part);
            }
        }
    }
}

/// Which open multipart a line delimits, and whether it closes it.
fn match_boundary(open: &[Open<'_>], line: &[u8]) -> Option<(usize, bool)> {
    let text = line.strip_prefix(b"--")?;
    open.iter().enumerate().rev().find_map(|(level, open)| {
        let Open::Multipart { boundary } = open else { return None };
        let rest = text.strip_prefix(boundary.as_slice())?;
        match rest.trim_ascii_end() {
            b"" => Some((level, false)),
            b"--" => Some((level, true)),
            _ => None,
        }
    })
}
