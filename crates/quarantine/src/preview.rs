//! A held message made safe to look at: nothing is fetched, nothing runs, nothing can be clicked.
//!
//! Links lose their target; the host they would have led to stands behind their text. Pictures, forms, scripts, styles
//! and everything that names another resource go. Show the HTML in a sandboxed frame all the same.

use std::collections::{HashMap, HashSet};

use lol_html::html_content::ContentType;
use lol_html::{RewriteStrSettings, element, rewrite_str};
use message::Limits;
use model::{Facts, FileKind};
use url::Url;

/// Characters of a host that are shown.
const HOST_CHARS_MAX: usize = 120;
/// Links that the list names.
const LINKS_MAX: usize = 200;

/// A file of the message, or inside one of its archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewFile {
    /// Its name.
    pub name: String,
    /// Content-Type as declared.
    pub declared_type: String,
    /// What its bytes say.
    pub kind: FileKind,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Decoded size in bytes.
    pub size_bytes: u64,
    /// The archive it was found in.
    pub inside: Option<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SafePreview {
    /// Subject.
    pub subject: String,
    /// From, as written.
    pub from: String,
    /// To, as written.
    pub to: String,
    /// Date, as written.
    pub date: Option<String>,
    /// The HTML, made safe; empty when the message has none.
    pub html: String,
    /// The plain text, or the text of the HTML.
    pub text: String,
    /// Where its links lead, in full, as text.
    pub links: Vec<String>,
    /// Attachments with hash and true type.
    pub files: Vec<PreviewFile>,
}

/// Takes a message apart and makes it safe. Never fails.
pub(crate) fn safe_preview(raw: &[u8], facts: &Facts) -> SafePreview {
    let read = message::preview::read(raw, &Limits::default());
    let field =
        |name: &str| read.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let text = match (&read.text, &read.html) {
        (Some(text), _) => text.clone(),
        (None, Some(html)) => message::html_to_text(html),
        (None, None) => String::new(),
    };
    let mut links: Vec<String> = facts.urls.iter().map(|url| url.url.clone()).collect();
    links.dedup();
    links.truncate(LINKS_MAX);
    let files = facts.attachments.iter().map(|file| PreviewFile {
        name: file.name.clone(),
        declared_type: file.declared_type.clone(),
        kind: file.kind,
        sha256: file.sha256.clone(),
        size_bytes: file.size_bytes,
        inside: file.inside.clone(),
    });
    SafePreview {
        subject: field("Subject").unwrap_or_default(),
        from: field("From").unwrap_or_default(),
        to: field("To").unwrap_or_default(),
        date: field("Date"),
        html: read.html.as_deref().map(safe_html).unwrap_or_default(),
        text,
        links,
        files: files.collect(),
    }
}

/// Three passes: the first makes the markup plain (well formed, entities of links resolved), the second writes the host
/// behind each link's text, the third keeps only harmless elements. What the second cannot read goes on as it is, and
/// loses its links all the same: the sanitiser has the last word.
pub(crate) fn safe_html(html: &str) -> String {
    let plain = ammonia::clean(html);
    let shown = show_hosts(&plain).unwrap_or(plain);
    let spans = HashSet::from(["colspan", "rowspan"]);
    let mut cleaner = ammonia::Builder::default();
    cleaner
        .rm_tags(["a", "img", "map", "area", "figure", "figcaption"])
        .tag_attributes(HashMap::from([("td", spans.clone()), ("th", spans)]))
        .url_schemes(HashSet::new())
        .url_relative(ammonia::UrlRelative::Deny)
        .generic_attributes(HashSet::from(["dir", "lang"]));
    cleaner.clean(&shown).to_string()
}

fn show_hosts(html: &str) -> Option<String> {
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("a[href], area[href]", |link| {
            let href = link.get_attribute("href").unwrap_or_default();
            link.append(&format!(" [{}]", host_words(&href)), ContentType::Text);
            Ok(())
        }))
        .with_strict(false);
    rewrite_str(html, settings).ok()
}

/// What a reader is told of a link's target.
fn host_words(href: &str) -> String {
    let href = href.trim();
    let words = match Url::parse(href) {
        Ok(url) => match url.host_str() {
            Some(host) => url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            None => format!("{}: link", url.scheme()),
        },
        Err(_) if href.starts_with('#') => "this message".to_owned(),
        Err(_) => "no valid address".to_owned(),
    };
    words.chars().take(HOST_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_fetched_run_or_clicked() {
        let cases = [
            (
                "<p>Pay <a href=\"http://t.contoso.localhost:8080/c/1?x=<y>\">here</a></p>",
                "<p>Pay here [t.contoso.localhost:8080]</p>",
            ),
            ("<a href='javascript:alert(1)'>x</a>", "x"),
            ("<a href='https&#58;//evil.example/'>x</a>", "x [evil.example]"),
            ("<a href='mailto:a@x.example'>x</a>", "x [mailto: link]"),
            ("<a href=\"https://evil.example/&quot;&gt;&lt;script&gt;\">x</a>", "x [evil.example]"),
            ("<img src=http://x.example/p.gif><b>t</b>", "<b>t</b>"),
            ("<form action=//x.example><input name=p>Password</form>", "Password"),
            ("<script>alert(1)</script><style>p{background:url(//x)}</style>ok", "ok"),
            ("<td background=\"//x.example/b.png\" style=\"background:url(//x)\" onclick=x()>c</td>", "c"),
            ("<blockquote cite=\"http://x.example/\">q</blockquote>", "<blockquote>q</blockquote>"),
            ("<svg><a xlink:href=\"http://x.example\">s</a></svg>t", "t"),
            ("<meta http-equiv=refresh content=\"0;url=//x\"><base href=//x><link rel=stylesheet href=//x>t", "t"),
        ];
        for (html, expect) in cases {
            assert_eq!(safe_html(html), expect, "{html}");
        }
    }

    #[test]
    fn a_message_without_html_shows_its_text() {
        let raw = b"From: Ada <ada@x.example>\r\nSubject: Hi\r\n\r\nhello <b>\r\n";
        let preview = safe_preview(raw, &Facts::default());
        assert_eq!((preview.subject.as_str(), preview.from.as_str()), ("Hi", "Ada <ada@x.example>"));
        assert_eq!((preview.html.as_str(), preview.text.trim()), ("", "hello <b>"));
    }
}
