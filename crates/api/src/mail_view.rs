//! A received message as a browser may show it: to its owner as any mail client would, to others without anything live.

use std::collections::{HashMap, HashSet};

use ammonia::{Builder, UrlRelative};
use message::Limits;
use message::preview::{self, Preview};

/// A message's parts for a page.
#[derive(Debug)]
pub struct MailView {
    /// The To field, decoded.
    pub to: Vec<String>,
    /// Safe HTML; empty when the message has none.
    pub html: String,
    /// The plain text.
    pub text: String,
    /// Name, type, size.
    pub attachments: Vec<(String, String, u64)>,
}

/// For its owner: no scripts, no forms, no frames; links and pictures lead where they led in the message.
pub fn for_owner(raw: &[u8]) -> MailView {
    let preview = preview::read(raw, &Limits::default());
    MailView {
        to: field(&preview, "to").map(|to| to.split(',').map(|a| a.trim().to_owned()).collect()).unwrap_or_default(),
        html: preview.html.as_deref().map(owner_html).unwrap_or_default(),
        text: preview.text.clone().unwrap_or_default(),
        attachments: preview.attachments.into_iter().map(|a| (a.name, a.content_type, a.size_bytes)).collect(),
    }
}

/// The value of the first field of that name.
fn field(preview: &Preview, name: &str) -> Option<String> {
    preview.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

fn owner_html(html: &str) -> String {
    const LAYOUT: [&str; 14] = [
        "style",
        "class",
        "align",
        "valign",
        "width",
        "height",
        "bgcolor",
        "border",
        "cellpadding",
        "cellspacing",
        "dir",
        "lang",
        "role",
        "title",
    ];
    Builder::default()
        .add_tags(["center", "font"])
        .add_generic_attributes(LAYOUT)
        .add_tag_attributes("font", ["color", "face", "size"])
        .rm_clean_content_tags(HashSet::<&str>::new())
        .add_clean_content_tags(["title", "head"])
        .url_schemes(HashSet::from(["http", "https", "mailto", "tel", "cid"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer"))
        .set_tag_attribute_values(HashMap::from([("a", HashMap::from([("target", "_blank")]))]))
        .clean(html)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_the_pixel_stay_and_nothing_runs() {
        let html = "<html><head><title>x</title><style>p{}</style></head><body onload=\"a()\"><script>b()</script>\
            <form action=\"https://evil.example\"><input></form>\
            <a href=\"https://t.example.org/t/abc?x=1&amp;y=2\" onclick=\"c()\">Read</a>\
            <a href=\"javascript:d()\">Run</a><img src=\"https://t.example.org/o/abc.gif\" width=\"1\" height=\"1\" alt=\"\">\
            <td style=\"color:red\">t</td><iframe src=\"https://evil.example\"></iframe></body></html>";
        let raw = format!("To: Ada <ada@example.org>\r\nContent-Type: text/html\r\n\r\n{html}\r\n");
        let view = for_owner(raw.as_bytes());
        assert!(view.html.contains("href=\"https://t.example.org/t/abc?x=1&amp;y=2\""), "{}", view.html);
        assert!(view.html.contains("src=\"https://t.example.org/o/abc.gif\""), "{}", view.html);
        for gone in ["script", "onload", "onclick", "javascript", "<form", "<iframe", "<title", "b()"] {
            assert!(!view.html.contains(gone), "{gone} is still in {}", view.html);
        }
        assert_eq!(view.to, ["Ada <ada@example.org>"]);
    }
}
