//! HTML read for its text, its links and what it fetches. Nothing is rendered, run or fetched.

use std::borrow::Cow;

use mail_parser::decoders::html::add_html_token;

mod foreign;
mod tokens;

use tokens::{Tag, Token, Tokens};

use crate::Limits;
use crate::decode::head;

/// The longest character reference (`&CounterClockwiseContourIntegral;`).
const ENTITY_BYTES_MAX: usize = 40;

/// A link as the reader meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HtmlLink {
    pub(crate) href: String,
    pub(crate) text: String,
}

/// What a page holds.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The text as a reader sees it, block by block.
    pub(crate) text: String,
    pub(crate) links: Vec<HtmlLink>,
    /// Pictures, styles and other things that are fetched.
    pub(crate) resources: Vec<String>,
    /// Of these, pictures from outside.
    pub(crate) remote_image_count: u32,
    pub(crate) forms: Vec<String>,
    /// Not read in full.
    pub(crate) broken: bool,
    /// More links, resources or forms than are kept.
    pub(crate) overflow: bool,
}

#[derive(Default)]
struct Reader {
    page: Page,
    link: Option<HtmlLink>,
    blank: bool,
    link_text_chars_max: usize,
    items_max: usize,
    /// Whether the text shows where its links go (for the text part of a message that we write).
    links_in_text: bool,
}

/// Reads a page within the limits.
pub(crate) fn read(html: &str, limits: &Limits) -> Page {
    read_as(html, limits, false)
}

/// The text of a page, with `<address>` behind a link whose text does not show it: the text part for an HTML mail.
/// Pictures leave no trace; paragraphs are divided by an empty line at most.
pub fn html_to_text(html: &str) -> String {
    let limits = Limits { text_bytes_max: usize::MAX, ..Limits::default() };
    let page = read_as(html, &limits, true);
    let mut out = String::with_capacity(page.text.len());
    let mut empty_count = 1; // as if one stood before the first line
    for line in page.text.lines().map(str::trim) {
        empty_count = if line.is_empty() { empty_count + 1 } else { 0 };
        if empty_count <= 1 {
            out.push_str(line);
            out.push('\n');
        }
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out
}

fn read_as(html: &str, limits: &Limits, links_in_text: bool) -> Page {
    let cut = head(html, limits.text_bytes_max);
    let mut reader = Reader::new(limits, links_in_text);
    for token in Tokens::of(cut) {
        match token {
            Token::Text(text) => reader.text(text),
            Token::Start(tag) => reader.start(&lower(tag.name), &Addresses::of(tag)),
            Token::End(name) => reader.end(&lower(name)),
        }
    }
    reader.close_link();
    let mut page = reader.page;
    page.broken = cut.len() < html.len();
    if foreign::is_in(cut) {
        foreign::add(&mut page, cut, limits);
    }
    page
}

fn lower(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// The attributes of an element that name an address, as written.
#[derive(Default)]
struct Addresses<'h> {
    href: Option<Cow<'h, str>>,
    src: Option<Cow<'h, str>>,
    action: Option<Cow<'h, str>>,
    formaction: Option<Cow<'h, str>>,
    data: Option<Cow<'h, str>>,
    background: Option<Cow<'h, str>>,
}

impl<'h> Addresses<'h> {
    fn of(tag: Tag<'h>) -> Addresses<'h> {
        let mut found = Addresses::default();
        for (name, value) in tag.attributes() {
            // Of two with one name the first counts.
            if let Some(place) = found.place(name) {
                place.get_or_insert(Cow::Borrowed(value));
            }
        }
        found
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<Cow<'h, str>>> {
        let place = if name.eq_ignore_ascii_case("href") {
            &mut self.href
        } else if name.eq_ignore_ascii_case("src") {
            &mut self.src
        } else if name.eq_ignore_ascii_case("action") {
            &mut self.action
        } else if name.eq_ignore_ascii_case("formaction") {
            &mut self.formaction
        } else if name.eq_ignore_ascii_case("data") {
            &mut self.data
        } else if name.eq_ignore_ascii_case("background") {
            &mut self.background
        } else {
            return None;
        };
        Some(place)
    }
}

impl Reader {
    fn new(limits: &Limits, links_in_text: bool) -> Reader {
        Reader {
            link_text_chars_max: limits.link_text_chars_max,
            items_max: limits.urls_max,
            links_in_text,
            ..Reader::default()
        }
    }

    /// A start tag; `tag` is lower case.
    fn start(&mut self, tag: &str, addresses: &Addresses<'_>) {
        if is_block(tag) || tag == "br" {
            self.new_line();
        } else if tag == "td" || tag == "th" {
            self.blank = true;
        }
        let decoded = |value: &Option<Cow<'_, str>>| value.as_deref().map(|value| decode_entities(value).into_owned());
        match tag {
            "a" | "area" => {
                self.close_link();
                if let Some(href) = decoded(&addresses.href) {
                    self.link = Some(HtmlLink { href, text: String::new() });
                }
                if tag == "area" {
                    self.close_link();
                }
            }
            "form" => self.keep_form(decoded(&addresses.action)),
            "img" => self.keep_image(decoded(&addresses.src)),
            "base" | "link" => self.keep_resource(decoded(&addresses.href)),
            "button" | "input" => {
                self.keep_form(decoded(&addresses.formaction));
                self.keep_image(decoded(&addresses.src));
            }
            "object" => self.keep_resource(decoded(&addresses.data)),
            _ => self.keep_resource(decoded(&addresses.src)),
        }
        if let Some(background) = decoded(&addresses.background) {
            self.keep_image(Some(background));
        }
    }

    /// An end tag; `tag` is lower case.
    fn end(&mut self, tag: &str) {
        if tag == "a" {
            self.close_link();
        } else if is_block(tag) {
            self.new_line();
        }
    }

    fn keep_image(&mut self, src: Option<String>) {
        let remote = src.as_deref().is_some_and(|src| crate::urls::parse_web(src.trim()).is_some());
        self.page.remote_image_count += u32::from(remote);
        self.keep_resource(src);
    }

    fn keep_resource(&mut self, src: Option<String>) {
        if self.page.resources.len() >= self.items_max {
            self.page.overflow |= src.is_some();
        } else {
            self.page.resources.extend(src);
        }
    }

    fn keep_form(&mut self, action: Option<String>) {
        if self.page.forms.len() >= self.items_max {
            self.page.overflow |= action.is_some();
        } else {
            self.page.forms.extend(action);
        }
    }

    fn close_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        if self.links_in_text && is_shown(&link) {
            self.page.text.push_str(&format!(" <{}>", link.href.trim()));
        }
        if self.page.links.len() >= self.items_max {
            self.page.overflow = true;
        } else {
            self.page.links.push(link);
        }
    }

    fn new_line(&mut self) {
        let end = self.page.text.trim_end_matches(' ').len();
        self.page.text.truncate(end);
        // One empty line at most between blocks keeps the text from growing past the page.
        if !self.page.text.is_empty() && !self.page.text.ends_with("\n\n") {
            self.page.text.push('\n');
        }
        self.blank = false;
    }

    /// A whole text node: words, divided by one blank each.
    fn text(&mut self, node: &str) {
        let text = decode_entities(node);
        let mut rest = &*text;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            self.blank |= start > 0;
            rest = &rest[start..];
            let (word, behind) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            self.word(word);
            rest = behind;
        }
        self.blank |= !rest.is_empty();
    }

    fn word(&mut self, word: &str) {
        let blank = std::mem::take(&mut self.blank);
        if blank && !self.page.text.is_empty() && !self.page.text.ends_with(['\n', ' ']) {
            self.page.text.push(' ');
        }
        self.page.text.push_str(word);
        let bytes_max = self.link_text_chars_max * 4;
        if let Some(link) = self.link.as_mut().filter(|link| link.text.len() < bytes_max) {
            if blank && !link.text.is_empty() {
                link.text.push(' ');
            }
            link.text.push_str(head(word, bytes_max));
        }
    }
}

/// Whether a text must say where a link goes: it is a web or mail address, and not the text itself.
fn is_shown(link: &HtmlLink) -> bool {
    let href = link.href.trim();
    let goes_somewhere = ["http://", "https://", "mailto:", "tel:"].iter().any(|s| href.starts_with(s));
    goes_somewhere && link.text.trim() != href && format!("mailto:{}", link.text.trim()) != href
}

fn is_block(tag: &str) -> bool {
    const BLOCKS: &[&str] = &[
        "p",
        "div",
        "tr",
        "li",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "table",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "blockquote",
        "pre",
        "section",
        "article",
        "header",
        "footer",
        "center",
        "form",
        "address",
        "body",
        "head",
    ];
    BLOCKS.contains(&tag)
}

/// Character references decoded; what is none stays as written.
pub(crate) fn decode_entities(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'&', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name_length =
            rest[1..].bytes().take(ENTITY_BYTES_MAX).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#');
        let length = 1 + name_length.count();
        let ended = rest.as_bytes().get(length) == Some(&b';');
        // A number needs no semicolon to be read by browsers.
        let token = if ended { &rest[..=length] } else { &rest[..length] };
        let numeric = token.starts_with("&#");
        if length > 1 && (ended || numeric) {
            let whole = if ended { token.to_owned() } else { format!("{token};") };
            let before = out.len();
            add_html_token(&mut out, whole.as_bytes(), false);
            if out[before..] == whole {
                out.truncate(before);
                out.push_str(token);
            }
            rest = &rest[token.len()..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities() {
        let check = |text: &str, expect: &str| assert_eq!(decode_entities(text), expect, "{text:?}");
        check("a&amp;b &lt;&#104;&#x69; &#104&#105 &uuml;", "a&b <hi hi ü");
        check("&nosuch; & &; AT&T &", "&nosuch; & &; AT&T &");
        check("&#0; &#x110000; &#99999999999;", "\0 \u{FFFD} &#99999999999;");
        check("?a=1&b=2&copy=3", "?a=1&b=2&copy=3");
    }

    #[test]
    fn a_page() {
        let html = r#"<html><head><title>T</title><style>p{x}</style></head><body background="http://b.example/bg.gif">
            <p>Hello <b>Ada</b>,&nbsp;go&shy;od</p><script>var x = "<a href='http://no.example'>";</script>
            <a href="https://evil.example/?a=1&amp;b=2">https://www.<b>contoso</b>.com</a> and <a href=x>open
            <a href='mailto:ada@contoso.com'>Ada</a><img src="cid:1"><img src=//pix.example/p.gif width=1>
            <form action="https://form.example/"><input type=image src=https://i.example/b.png></form>
            <!-- <a href="http://comment.example"> --></body></html>"#;
        let page = read(html, &Limits::default());
        assert!(!page.broken && !page.overflow);
        let links: Vec<_> = page.links.iter().map(|l| (l.href.as_str(), l.text.as_str())).collect();
        assert_eq!(
            links,
            [
                ("https://evil.example/?a=1&b=2", "https://www.contoso.com"),
                ("x", "open"),
                ("mailto:ada@contoso.com", "Ada")
            ]
        );
        assert_eq!(page.forms, ["https://form.example/"]);
        assert_eq!(
            page.resources,
            ["http://b.example/bg.gif", "cid:1", "//pix.example/p.gif", "https://i.example/b.png"]
        );
        assert_eq!(page.remote_image_count, 3);
        assert!(page.text.starts_with("Hello Ada, go\u{AD}od\n"), "{:?}", page.text);
        assert!(!page.text.contains("var x") && !page.text.contains("p{x}"));
    }

    #[test]
    fn text_for_readers_without_html() {
        let html = "<h1>News</h1><p>Read <a href=\"https://t.example/c/1\">the story</a>.</p><p></p><p></p>\
                    <table><tr><td>A</td><td>B</td></tr></table><a href=\"https://x.example/\">https://x.example/</a>";
        assert_eq!(html_to_text(html), "News\n\nRead the story <https://t.example/c/1>.\n\nA B\n\nhttps://x.example/");
    }

    #[test]
    fn what_mail_programs_show_is_read() {
        let links = |html: &str| read(html, &Limits::default()).links.into_iter().map(|l| l.href).collect::<Vec<_>>();
        // Nothing runs scripts there.
        assert_eq!(links("<noscript><a href=http://x.example>y</a></noscript>"), ["http://x.example"]);
        // In SVG a style is markup, and CDATA is text; behind the SVG it is not: whoever shows it either way, we have seen it.
        assert_eq!(links("<svg><style><a href=http://x.example>y</a></style></svg>"), ["http://x.example"]);
        let page = read("<svg><style><a href=x>www.<b>bank</b>.example</a> z</style></svg>", &Limits::default());
        assert_eq!(page.links, [HtmlLink { href: "x".into(), text: "www.bank.example".into() }]);
        let hidden = "<svg></p><style><!--</style><a href=http://x.example>y</a>";
        assert_eq!(links(hidden), ["http://x.example"]);
        let hidden = "<svg><![CDATA[><style>]]></svg><a href=http://x.example>y</a>";
        assert_eq!(links(hidden), ["http://x.example"]);
    }

    #[test]
    fn hostile_nesting_costs_no_memory() {
        let html = "<b>".repeat(150_000) + &"</i>".repeat(150_000) + "<a href=x>y</a>";
        let page = read(&html, &Limits { text_bytes_max: usize::MAX, ..Limits::default() });
        assert!(!page.broken && page.links.len() == 1);
    }
}
