//! Links of a page that we send, rewritten one by one.

use lol_html::{RewriteStrSettings, element, rewrite_str};

use crate::MessageError;
use crate::html::decode_entities;

/// Gives `replace` the address of each link (`<a href>`, `<area href>`), decoded; what it returns takes its place.
/// Links that lead nowhere on the web are passed over: `mailto:`, `tel:`, `sms:`, `data:`, `cid:`, `javascript:`, `#`
/// and empty ones. Everything else of the page stays byte for byte.
///
/// # Errors
/// [`MessageError::Html`] when the page cannot be read.
pub fn rewrite_links(html: &str, mut replace: impl FnMut(&str) -> Option<String>) -> Result<String, MessageError> {
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("a[href], area[href]", |el| {
            let written = el.get_attribute("href").unwrap_or_default();
            let href = decode_entities(written.trim());
            if is_web(&href)
                && let Some(new) = replace(&href)
            {
                el.set_attribute("href", &encode_attribute(&new))?;
            }
            Ok(())
        }))
        .with_strict(false);
    rewrite_str(html, settings).map_err(|error| MessageError::Html { cause: error.to_string() })
}

fn is_web(href: &str) -> bool {
    const ELSEWHERE: &[&str] = &["mailto:", "tel:", "sms:", "data:", "cid:", "javascript:", "#"];
    let lower = href.to_ascii_lowercase();
    !href.is_empty() && !ELSEWHERE.iter().any(|scheme| lower.starts_with(scheme))
}

fn encode_attribute(value: &str) -> String {
    value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_links_change() {
        let html = r##"<p><a class="x" href="https://a.example/?b=1&amp;c=2">A</a><a href="mailto:x@y.z">M</a><a href="#top">T</a>
            <a name=n>N</a><area href=HTTP://b.example><img src="https://c.example/p.png"><a href="https://keep.example/">K</a>"##;
        let mut seen = Vec::new();
        let out = rewrite_links(html, |href| {
            seen.push(href.to_owned());
            (!href.contains("keep")).then(|| format!("https://t.example/{}?a=1&b=\"2\"", seen.len()))
        })
        .unwrap();
        assert_eq!(seen, ["https://a.example/?b=1&c=2", "HTTP://b.example", "https://keep.example/"]);
        let expect = html
            .replace("https://a.example/?b=1&amp;c=2", "https://t.example/1?a=1&amp;b=&quot;2&quot;")
            .replace("href=HTTP://b.example", "href=\"https://t.example/2?a=1&amp;b=&quot;2&quot;\"");
        assert_eq!(out, expect);
    }
}
