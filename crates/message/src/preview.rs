//! A message taken apart for a reader: its header section, its bodies as they came, the list of its attachments.
//!
//! Nothing is made safe here. HTML must be sanitised before it reaches a browser.

use crate::Limits;
use crate::decode::{Encoding, head, text_of};
use crate::field::Section;
use crate::mime::{self, Part};

/// Bytes kept of the header section.
const HEADER_BYTES_MAX: usize = 128 * 1024;

/// An attachment as a reader's program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewAttachment {
    /// Its number for [`attachment`].
    pub index: usize,
    /// File name as given, decoded, bounded; may be empty.
    pub name: String,
    /// Content-Type as declared, lower case.
    pub content_type: String,
    /// Decoded size in bytes.
    pub size_bytes: u64,
}

/// The parts of a message that a preview shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// The header section as it came; invalid UTF-8 and NUL replaced; bounded.
    pub header: String,
    /// The header's fields as (name, value), values unfolded and decoded; bounded.
    pub fields: Vec<(String, String)>,
    /// The plain text of the message itself.
    pub text: Option<String>,
    /// Its HTML, unsafe.
    pub html: Option<String>,
    /// Its attachments.
    pub attachments: Vec<PreviewAttachment>,
}

/// Takes a message apart. Never fails.
pub fn read(raw: &[u8], limits: &Limits) -> Preview {
    std::panic::catch_unwind(|| read_parts(raw, limits))
        .unwrap_or_else(|_| Preview { header: header_text(raw), ..Preview::default() })
}

/// The decoded bytes of the attachment with this index.
pub fn attachment(raw: &[u8], limits: &Limits, index: usize) -> Option<Vec<u8>> {
    let find = || {
        let structure = mime::walk(raw, limits, 0);
        let part = structure.parts.get(index).filter(|part| is_listed(part))?;
        Some(part.encoding.decode(part.body).into_owned())
    };
    std::panic::catch_unwind(find).ok().flatten()
}

fn read_parts(raw: &[u8], limits: &Limits) -> Preview {
    let section = Section::read(raw, 0, limits, |_| false);
    let fields = section
        .fields
        .iter()
        .map(|field| (String::from_utf8_lossy(field.name.trim_ascii_end()).into_owned(), field.text(limits)))
        .collect();
    let mut preview = Preview { header: header_text(raw), fields, ..Preview::default() };
    for (index, part) in mime::walk(raw, limits, 0).parts.iter().enumerate() {
        if is_listed(part) {
            let decoded_bytes = match part.encoding {
                Encoding::Identity => part.body.len(),
                Encoding::Base64 | Encoding::QuotedPrintable => part.encoding.decode(part.body).len(),
            };
            preview.attachments.push(PreviewAttachment {
                index,
                name: part.name.clone(),
                content_type: part.content_type.clone(),
                size_bytes: decoded_bytes as u64,
            });
        }
        if part.is_text() && !part.is_attachment && part.message_depth == 0 {
            let (text, _) = text_of(&part.encoding.decode(part.body), &part.charset);
            let text = head(&text, limits.text_bytes_max).replace('\0', "\u{FFFD}");
            let body = if part.content_type == "text/html" { &mut preview.html } else { &mut preview.text };
            match body {
                Some(body) if body.len() + text.len() <= limits.text_bytes_max => body.push_str(&text),
                Some(_) => {}
                None => *body = Some(text),
            }
        }
    }
    preview
}

/// Parts of an enclosed message belong to it, not to this one.
fn is_listed(part: &Part<'_>) -> bool {
    part.message_depth == 0 && (part.is_attachment || !part.is_text() || !part.name.is_empty())
}

fn header_text(raw: &[u8]) -> String {
    let section = crate::headers::section(raw);
    String::from_utf8_lossy(&section[..section.len().min(HEADER_BYTES_MAX)]).replace('\0', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_attachments() {
        let raw = b"Subject: =?utf-8?q?=C3=BC?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
            Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nhello\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n\
            --c--\r\n--b\r\nContent-Type: text/plain; name=note.txt\r\nContent-Disposition: attachment\r\n\
            Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner text\r\n--b--\r\n";
        let preview = read(raw, &Limits::default());
        assert_eq!(preview.fields[0], ("Subject".into(), "\u{fc}".into()));
        assert_eq!((preview.text.as_deref(), preview.html.as_deref()), (Some("hello"), Some("<p>hello")));
        let listed: Vec<_> =
            preview.attachments.iter().map(|a| (a.name.as_str(), a.content_type.as_str(), a.size_bytes)).collect();
        assert_eq!(listed, [("note.txt", "text/plain", 2), ("", "message/rfc822", 28)]);
        assert_eq!(attachment(raw, &Limits::default(), preview.attachments[0].index).as_deref(), Some(&b"hi"[..]));
        assert_eq!(attachment(raw, &Limits::default(), 99), None);
        let empty = Preview { text: Some(String::new()), ..Preview::default() };
        assert_eq!(read(b"", &Limits::default()), empty);
    }
}
