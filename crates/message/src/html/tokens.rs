//! HTML cut into text, start tags and end tags, as the tokenisation of the HTML standard (13.2.5) does without scripting:
//! in one pass, without a tree and without memory of what is open. Total: every text is read to its end.
//!
//! What SVG and MathML change about it (CDATA, and styles that are not raw) is not known here; see [`super::read`].

/// A piece of a page. Character references are as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'h> {
    /// Text that a reader sees.
    Text(&'h str),
    /// A start tag.
    Start(Tag<'h>),
    /// The name of an end tag, as written.
    End(&'h str),
}

/// A start tag: its name as written, and what stands between it and the `>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag<'h> {
    pub(super) name: &'h str,
    attributes: &'h str,
}

/// Elements whose content is no markup (13.2.6.4.4 and on), and whether a reader sees it. Without scripting `noscript` is
/// none of them: mail programs show what is in it.
const RAW: &[(&str, bool)] = &[
    ("iframe", false),
    ("noembed", false),
    ("noframes", false),
    ("plaintext", true),
    ("script", false),
    ("style", false),
    ("textarea", false),
    ("title", false),
    ("xmp", false),
];

/// The tokens of a page.
pub(super) struct Tokens<'h> {
    html: &'h str,
    at: usize,
    /// The element whose raw content comes next.
    raw: Option<(&'static str, bool)>,
}

impl<'h> Tokens<'h> {
    pub(super) fn of(html: &'h str) -> Tokens<'h> {
        Tokens { html, at: 0, raw: None }
    }

    /// Reads raw content up to its end tag; gives it if it is seen.
    fn raw_text(&mut self, element: &str, is_seen: bool) -> Option<Token<'h>> {
        let start = self.at;
        self.at = if element == "plaintext" { self.html.len() } else { end_of_raw(self.html, start, element) };
        let text = &self.html[start..self.at];
        (is_seen && !text.is_empty()).then_some(Token::Text(text))
    }

    /// Reads what begins with the `<` at `at`; `None` when nobody sees it.
    fn markup(&mut self) -> Option<Token<'h>> {
        let (html, start) = (self.html, self.at);
        let rest = &html.as_bytes()[start..];
        match (rest.get(1), rest.get(2)) {
            (Some(b'!'), _) if rest[2..].starts_with(b"--") => self.at = end_of_comment(html, start + 4),
            (Some(b'/'), Some(first)) if first.is_ascii_alphabetic() => {
                let name_end = end_of_name(html, start + 2);
                let end = end_of_tag(html, name_end)?;
                self.at = end;
                return Some(Token::End(&html[start + 2..name_end]));
            }
            // `</` before the end of the page is text, and so is a `<` before anything else.
            (Some(b'!' | b'?'), _) | (Some(b'/'), Some(_)) => self.at = after(html, start + 2, b'>'),
            (Some(first), _) if first.is_ascii_alphabetic() => {
                let name_end = end_of_name(html, start + 1);
                let end = end_of_tag(html, name_end)?;
                self.at = end;
                let name = &html[start + 1..name_end];
                self.raw = RAW.iter().copied().find(|(raw, _)| name.eq_ignore_ascii_case(raw));
                return Some(Token::Start(Tag { name, attributes: &html[name_end..end - 1] }));
            }
            _ => {
                self.at = next_markup(html, start + 1);
                return Some(Token::Text(&html[start..self.at]));
            }
        }
        None
    }
}

impl<'h> Iterator for Tokens<'h> {
    type Item = Token<'h>;

    fn next(&mut self) -> Option<Token<'h>> {
        while self.at < self.html.len() {
            let start = self.at;
            let found = if let Some((element, is_seen)) = self.raw.take() {
                self.raw_text(element, is_seen)
            } else if self.html.as_bytes()[start] == b'<' {
                let found = self.markup();
                if found.is_none() && self.at == start {
                    self.at = self.html.len(); // a tag that the page's end cuts off is no tag (eof-in-tag)
                }
                found
            } else {
                self.at = next_markup(self.html, start);
                Some(Token::Text(&self.html[start..self.at]))
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl<'h> Tag<'h> {
    /// The attributes in their order, names and values as written. Of two with one name the first counts.
    pub(super) fn attributes(&self) -> Attributes<'h> {
        Attributes { text: self.attributes, at: 0 }
    }
}

/// 13.2.5.32 to 13.2.5.40: attributes of a start tag.
pub(super) struct Attributes<'h> {
    text: &'h str,
    at: usize,
}

impl<'h> Iterator for Attributes<'h> {
    type Item = (&'h str, &'h str);

    fn next(&mut self) -> Option<(&'h str, &'h str)> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let skip = |mut at: usize, is_skipped: fn(&u8) -> bool| {
            while bytes.get(at).is_some_and(is_skipped) {
                at += 1;
            }
            at
        };
        let start = skip(self.at, |b| is_space(*b) || *b == b'/');
        bytes.get(start)?;
        // A `=` that comes first belongs to the name.
        let name_end = skip(start + 1, |b| !is_space(*b) && *b != b'/' && *b != b'=');
        let equals = skip(name_end, |b| is_space(*b));
        if bytes.get(equals) != Some(&b'=') {
            self.at = name_end;
            return Some((&text[start..name_end], ""));
        }
        let begin = skip(equals + 1, |b| is_space(*b));
        let (value, end) = match bytes.get(begin) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = memchr::memchr(*quote, &bytes[begin + 1..]).map_or(bytes.len(), |n| begin + 1 + n);
                (begin + 1..end, (end + 1).min(bytes.len()))
            }
            _ => {
                let end = skip(begin, |b| !is_space(*b));
                (begin..end, end)
            }
        };
        self.at = end;
        Some((&text[start..name_end], &text[value]))
    }
}

/// HTML's blanks.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0C)
}

fn next_markup(html: &str, from: usize) -> usize {
    memchr::memchr(b'<', &html.as_bytes()[from..]).map_or(html.len(), |n| from + n)
}

/// Behind the next such byte, or the end.
fn after(html: &str, from: usize, byte: u8) -> usize {
    memchr::memchr(byte, &html.as_bytes()[from..]).map_or(html.len(), |n| from + n + 1)
}

fn end_of_name(html: &str, from: usize) -> usize {
    let is_end = |b: &u8| is_space(*b) || matches!(b, b'/' | b'>');
    html.as_bytes()[from..].iter().position(is_end).map_or(html.len(), |n| from + n)
}

/// Behind the `>` that ends a tag: not one inside a quoted value.
fn end_of_tag(html: &str, mut at: usize) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum State {
        BeforeName,
        Name,
        AfterName,
        BeforeValue,
        Value,
    }
    let bytes = html.as_bytes();
    let mut state = State::BeforeName;
    while let Some(byte) = bytes.get(at) {
        state = match (state, byte) {
            (_, b'>') => return Some(at + 1),
            (State::BeforeValue, quote @ (b'"' | b'\'')) => {
                at += 1 + memchr::memchr(*quote, &bytes[at + 1..])?;
                State::BeforeName
            }
            (State::BeforeValue, b) if is_space(*b) => State::BeforeValue,
            (State::BeforeValue, _) => State::Value,
            (State::Value, b) if is_space(*b) => State::BeforeName,
            (State::Value, _) => State::Value,
            (State::Name | State::AfterName, b'=') => State::BeforeValue,
            (_, b'/') => State::BeforeName,
            (State::Name, b) if is_space(*b) => State::AfterName,
            (State::BeforeName | State::AfterName, b) if is_space(*b) => state,
            (State::BeforeName | State::Name | State::AfterName, _) => State::Name,
        };
        at += 1;
    }
    None
}

/// Where a comment that began before `from` ends: behind `-->` or `--!>`; `<!-->` and `<!--->` are whole ones.
fn end_of_comment(html: &str, from: usize) -> usize {
    let bytes = html.as_bytes();
    for whole in [&b">"[..], b"->"] {
        if bytes[from..].starts_with(whole) {
            return from + whole.len();
        }
    }
    let mut at = from;
    while let Some(n) = memchr::memmem::find(&bytes[at..], b"--") {
        at += n;
        for end in [&b"-->"[..], b"--!>"] {
            if bytes[at..].starts_with(end) {
                return at + end.len();
            }
        }
        at += 1;
    }
    html.len()
}

/// Where raw content ends: at `</name` followed by a blank, `/` or `>`.
fn end_of_raw(html: &str, from: usize, element: &str) -> usize {
    let bytes = html.as_bytes();
    let mut at = from;
    while let Some(n) = memchr::memmem::find(&bytes[at..], b"</") {
        at += n;
        let name = bytes.get(at + 2..at + 2 + element.len());
        let behind = bytes.get(at + 2 + element.len());
        if name.is_some_and(|name| name.eq_ignore_ascii_case(element.as_bytes()))
            && behind.is_some_and(|b| is_space(*b) || matches!(b, b'/' | b'>'))
        {
            return at;
        }
        at += 2;
    }
    html.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"text"`, `<name a=v>`, `</name>`, divided by blanks.
    fn told(html: &str) -> String {
        let tell = |token: Token<'_>| match token {
            Token::Text(text) => format!("{text:?}"),
            Token::End(name) => format!("</{name}>"),
            Token::Start(tag) => {
                let attributes: String = tag.attributes().map(|(name, value)| format!(" {name}={value}")).collect();
                format!("<{}{attributes}>", tag.name)
            }
        };
        Tokens::of(html).map(tell).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pieces_of_a_page() {
        let check = |html: &str, expect: &str| assert_eq!(told(html), expect, "{html:?}");
        check("a<b>c</b >d", r#""a" <b> "c" </b> "d""#);
        check("<a href=x class='y z' id=\"q>r\" on>t", r#"<a href=x class=y z id=q>r on=> "t""#);
        check("<img/src=x/><br/>", "<img src=x/> <br>");
        check("<a =b=c d = e f=>g", r#"<a =b=c d=e f=> "g""#);
        check("<a href='x\"><b>y'>z", r#"<a href=x"><b>y> "z""#);
        check("<a\u{e4}\u{f6}=\u{fc} \u{fc}>", "<a\u{e4}\u{f6}=\u{fc} \u{fc}=>");
        check("1 < 2 <3 </ 4", r#""1 " "< 2 " "<3 ""#);
        check("x</", r#""x" "</""#);
        check("x<", r#""x" "<""#);
        check("<a href=\"x>never ends", "");
        check("a<b href", r#""a""#);
    }

    #[test]
    fn comments_and_declarations_are_not_seen() {
        let check = |html: &str, expect: &str| assert_eq!(told(html), expect, "{html:?}");
        check("a<!-- <b> -->c<!-- -- --!>d", r#""a" "c" "d""#);
        check("a<!-->b<!--->c<!---->d<!--", r#""a" "b" "c" "d""#);
        check("<!DOCTYPE html>a<?php <b> ?>c<!x>d", r#""a" " ?>c" "d""#);
        check("a</>b</1 c>d", r#""a" "b" "d""#);
    }

    #[test]
    fn raw_content_is_no_markup() {
        let check = |html: &str, expect: &str| assert_eq!(told(html), expect, "{html:?}");
        check("<style><a href=x></STYLE >b", r#"<style> </STYLE> "b""#);
        check("<script>if (a</b) '</scripts>'</script/>c", r#"<script> </script> "c""#);
        check("<title><b></title><textarea><a></textarea>d", r#"<title> </title> <textarea> </textarea> "d""#);
        check("<noscript><a href=x>y</a></noscript>", r#"<noscript> <a href=x> "y" </a> </noscript>"#);
        check("<plaintext><b></plaintext>", r#"<plaintext> "<b></plaintext>""#);
        check("<xmp><a></xmp", "<xmp>");
    }

    #[test]
    fn every_text_is_read_to_its_end() {
        let mut random = fastrand::Rng::with_seed(7);
        let alphabet = [
            "<", ">", "/", "!", "-", "--", "=", "\"", "'", " ", "a", "href", "style", "</style>", "\u{e4}", "\0", "\n",
        ];
        for _ in 0..20_000 {
            let html: String = (0..random.usize(0..40)).map(|_| alphabet[random.usize(0..alphabet.len())]).collect();
            for token in Tokens::of(&html) {
                if let Token::Start(tag) = token {
                    tag.attributes().count();
                }
            }
        }
    }
}
