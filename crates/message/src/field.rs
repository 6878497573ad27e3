//! Header fields: cut from raw bytes here, their values read by the MIME library.

use std::borrow::Cow;

use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, Address, ContentType, HeaderValue};
use model::{MailboxFact, Timestamp};

use crate::Limits;
use crate::decode::{head, short_text, text_of};

/// One field, unfolded by nobody yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    /// Everything after the colon, line ends included.
    pub(crate) value: &'a [u8],
    /// Offset of the name in what was read.
    pub(crate) start: usize,
}

impl<'a> Field<'a> {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value for the library: bounded, and ended by a line end, without which it reads nothing.
    fn terminated(&self, limits: &Limits) -> Cow<'a, [u8]> {
        let value = &self.value[..self.value.len().min(limits.field_bytes_max)];
        if value.ends_with(b"\n") {
            return Cow::Borrowed(value);
        }
        let mut owned = value.to_vec();
        owned.extend_from_slice(b"\r\n");
        Cow::Owned(owned)
    }

    /// The value on one line, not decoded.
    pub(crate) fn raw_text(&self, limits: &Limits) -> String {
        let value = &self.value[..self.value.len().min(limits.field_bytes_max)];
        short_text(&String::from_utf8_lossy(value), limits.short_text_chars_max)
    }

    /// The value with its encoded words decoded (RFC 2047).
    pub(crate) fn text(&self, limits: &Limits) -> String {
        let value = self.terminated(limits);
        match MessageStream::new(&value).parse_unstructured() {
            HeaderValue::Text(text) => short_text(&text, limits.short_text_chars_max),
            _ => String::new(),
        }
    }

    /// The mailboxes of an address list, groups opened. A value that holds none is kept as a name.
    pub(crate) fn mailboxes(&self, limits: &Limits, count_max: usize) -> Vec<MailboxFact> {
        let value = self.terminated(limits);
        let parsed = MessageStream::new(&value).parse_address();
        let fact = |addr: &Addr<'_>| MailboxFact {
            name: short_text(addr.name.as_deref().unwrap_or_default(), limits.short_text_chars_max),
            address: short_text(addr.address.as_deref().unwrap_or_default(), limits.short_text_chars_max)
                .to_lowercase(),
        };
        let mut found: Vec<MailboxFact> = match &parsed {
            HeaderValue::Address(Address::List(list)) => list.iter().take(count_max).map(fact).collect(),
            HeaderValue::Address(Address::Group(groups)) => {
                groups.iter().flat_map(|group| &group.addresses).take(count_max).map(fact).collect()
            }
            _ => Vec::new(),
        };
        found.retain(|mailbox| !(mailbox.name.is_empty() && mailbox.address.is_empty()));
        if found.is_empty() {
            let name = self.text(limits);
            found.extend((!name.is_empty()).then_some(MailboxFact { name, address: String::new() }));
        }
        found
    }

    /// A date (RFC 5322 3.3).
    pub(crate) fn date(&self, limits: &Limits) -> Option<Timestamp> {
        let value = self.terminated(limits);
        match MessageStream::new(&value).parse_date() {
            HeaderValue::DateTime(date) if date.is_valid() => {
                Some(Timestamp::from_micros(date.to_timestamp().checked_mul(1_000_000)?))
            }
            _ => None,
        }
    }

    /// Calls `read` with a Content-Type or Content-Disposition, its parameters decoded (RFC 2231).
    pub(crate) fn content_type<R>(&self, limits: &Limits, read: impl FnOnce(&ContentType<'_>) -> R) -> Option<R> {
        let value = self.terminated(limits);
        match MessageStream::new(&value).parse_content_type() {
            HeaderValue::ContentType(content_type) => Some(read(&content_type)),
            _ => None,
        }
    }
}

/// A header section.
#[derive(Debug, Default)]
pub(crate) struct Section<'a> {
    pub(crate) fields: Vec<Field<'a>>,
    /// Where the body begins.
    pub(crate) body_start: usize,
    /// No empty line before the body, or a line that is no field.
    pub(crate) broken: bool,
    /// It ended at a line that is no field rather than at an empty one.
    at_other_line: bool,
}

impl<'a> Section<'a> {
    /// Reads fields from `start` until an empty line, a line that is no field (it begins the body), or one for which
    /// `is_end` holds. Fields past the limit are passed over.
    pub(crate) fn read(raw: &'a [u8], start: usize, limits: &Limits, is_end: impl Fn(&[u8]) -> bool) -> Self {
        let mut section = Section { body_start: raw.len(), ..Section::default() };
        let mut open: Option<(usize, usize)> = None; // start and colon of the field being read
        let mut at = start;
        loop {
            let next = memchr::memchr(b'\n', &raw[at..]).map_or(raw.len(), |i| at + i + 1);
            let line = trim_line_end(&raw[at..next]);
            let folded = open.is_some() && line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
            if at < raw.len() && folded {
                at = next;
                continue;
            }
            if let Some((from, colon)) = open.take()
                && section.fields.len() < limits.fields_max
            {
                section.fields.push(Field { name: &raw[from..colon], value: &raw[colon + 1..at], start: from });
            }
            if at >= raw.len() {
                section.broken = start < raw.len();
                return section;
            }
            if line.is_empty() {
                section.body_start = next;
                return section;
            }
            let mbox_line = at == start && line.starts_with(b"From ");
            if !mbox_line {
                let Some(colon) = field_colon(line).filter(|_| !is_end(line)) else {
                    section.at_other_line = !is_end(line);
                    section.broken |= section.at_other_line;
                    section.body_start = at;
                    return section;
                };
                // A name with a blank in it is no field, but readers' programs read on behind it: so do we.
                section.broken |= !line[..colon].trim_ascii_end().iter().all(|b| (33..=126).contains(b));
                open = Some((at, at + colon));
            }
            at = next;
        }
    }

    /// As [`Section::read`] from the start, but past lines that are no fields until the first empty line: where other
    /// programs find fields. A second From behind a broken line must be seen, and so must a forged result.
    pub(crate) fn read_on(raw: &'a [u8], limits: &Limits) -> Self {
        let mut section = Section::read(raw, 0, limits, |_| false);
        let mut at = section.body_start;
        let mut at_other_line = section.at_other_line;
        while at_other_line {
            let next = memchr::memchr(b'\n', &raw[at..]).map_or(raw.len(), |i| at + i + 1);
            let rest = Section::read(raw, next, limits, |_| false);
            let room = limits.fields_max.saturating_sub(section.fields.len());
            section.fields.extend(rest.fields.into_iter().take(room));
            (at, at_other_line) = (rest.body_start, rest.at_other_line);
        }
        section
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.is(name))
    }

    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Field<'a>> {
        self.fields.iter().filter(move |field| field.is(name))
    }
}

pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The colon behind a name. The name should be printable ASCII (RFC 5322 2.2); blanks before the colon are obsolete.
fn field_colon(line: &[u8]) -> Option<usize> {
    memchr::memchr(b':', line).filter(|colon| !line[..*colon].trim_ascii().is_empty())
}

/// A parameter of a Content-Type or Content-Disposition as text.
pub(crate) fn parameter(content_type: &ContentType<'_>, name: &str) -> Option<String> {
    content_type.attribute(name).map(str::to_owned)
}

/// A file name: RFC 2231 was decoded by the library, encoded words (which do not belong there) are decoded here.
pub(crate) fn file_name(name: &str, limits: &Limits) -> String {
    let decoded = if name.contains("=?") {
        let line = format!("{}\r\n", head(name, limits.field_bytes_max).replace(['\r', '\n'], " "));
        match MessageStream::new(line.as_bytes()).parse_unstructured() {
            HeaderValue::Text(text) => text.into_owned(),
            _ => name.to_owned(),
        }
    } else {
        name.to_owned()
    };
    short_text(&decoded, limits.short_text_chars_max)
}

/// Whether the bytes of a header section are UTF-8 (RFC 6532 allows it unencoded).
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    text_of(bytes, "").1
}
