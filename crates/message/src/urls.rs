//! URLs: found in text, normalised for matching, counted once.

use std::borrow::Cow;
use std::collections::HashSet;

use linkify::{LinkFinder, LinkKind};
use model::{UrlFact, UrlSource};
use url::{Host, Url};

use crate::Limits;
use crate::decode::{head, short_text};

/// Top-level domains that are also file endings: `report.zip` in a text is a file unless it says otherwise.
const FILE_LIKE_TLDS: &[&str] = &[
    "zip", "pm", "cf", "mov", "sh", "md", "rs", "py", "pl", "ps", "cc", "so", "ai", "app", "bz", "in", "is", "it",
    "my", "no", "be", "me",
];

/// RFC 2606 and 6761: no public suffix, but names of networks like ours and of every test.
const RESERVED_TLDS: &[&str] = &["example", "localhost", "test"];

/// Collects the URLs of one message.
#[derive(Debug)]
pub(crate) struct Urls<'l> {
    limits: &'l Limits,
    seen: HashSet<(String, UrlSource)>,
    facts: Vec<UrlFact>,
    overflow: bool,
}

impl<'l> Urls<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Urls { limits, seen: HashSet::new(), facts: Vec::new(), overflow: false }
    }

    /// The URLs, and whether there were more than the limit.
    pub(crate) fn into_facts(self) -> (Vec<UrlFact>, bool) {
        (self.facts, self.overflow)
    }

    /// Every URL of a plain text; a bare host counts when a reader's program would make it a link.
    pub(crate) fn add_text(&mut self, text: &str) {
        for link in finder().links(text) {
            if self.overflow {
                return;
            }
            let text = link.as_str();
            if text.contains("://") {
                self.add(text, UrlSource::Text);
            } else if is_linked_bare_host(text) {
                self.add_as(text, &format!("http://{text}"), UrlSource::Text);
            }
        }
    }

    /// One URL as written in `source`; what is no web address is passed over.
    pub(crate) fn add(&mut self, raw: &str, source: UrlSource) {
        self.add_as(raw, raw, source);
    }

    /// As [`Urls::add`], for a text that is read as another one.
    fn add_as(&mut self, raw: &str, read_as: &str, source: UrlSource) {
        let raw = head(raw.trim(), self.limits.url_bytes_max);
        let Some(url) = parse_web(head(read_as.trim(), self.limits.url_bytes_max)) else { return };
        let normal = normalise(&url, self.limits);
        if self.facts.len() >= self.limits.urls_max {
            self.overflow |= !self.seen.contains(&(normal, source));
            return;
        }
        if !self.seen.insert((normal.clone(), source)) {
            return;
        }
        let host = host_text(&url);
        self.facts.push(UrlFact {
            raw: short_text(raw, self.limits.url_bytes_max),
            url: normal,
            port: url.port(),
            domain: registrable_domain(&url, &host),
            host,
            source,
        });
    }
}

fn finder() -> LinkFinder {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]).url_must_have_scheme(false);
    finder
}

/// A web address: http, https or ftp; `//host` and `www.host` get the scheme that a reader's program gives them.
pub(crate) fn parse_web(raw: &str) -> Option<Url> {
    let text: Cow<'_, str> = if raw.starts_with("//") {
        Cow::Owned(format!("https:{raw}"))
    } else if raw.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) {
        Cow::Owned(format!("http://{raw}"))
    } else {
        Cow::Borrowed(raw)
    };
    let url = Url::parse(&text).ok()?;
    (matches!(url.scheme(), "http" | "https" | "ftp") && url.host().is_some()).then_some(url)
}

/// Scheme and host in lower case and the default port gone (both by the parser); the fragment never reaches a server.
fn normalise(url: &Url, limits: &Limits) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    head(url.as_str(), limits.url_bytes_max * 3).to_owned() // percent-encoding triples at most
}

/// The host, lower case, as an A-label, without a trailing dot or brackets.
pub(crate) fn host_text(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => String::new(),
    }
}

fn registrable_domain(url: &Url, host: &str) -> String {
    match url.host() {
        Some(Host::Domain(_)) => psl::domain_str(host).unwrap_or(host).to_owned(),
        _ => host.to_owned(),
    }
}

/// Whether a text like `contoso.example/path` without a scheme becomes a link in common programs: its ending is a
/// public suffix that the list knows, and it does not look like a file or an end of a sentence.
fn is_linked_bare_host(text: &str) -> bool {
    let host = text.split(['/', '?', '#', ':']).next().unwrap_or_default();
    if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) {
        return host.len() > 4;
    }
    let lower = host.to_lowercase();
    let (name, tld) = lower.rsplit_once('.').unwrap_or_default();
    let known = psl::suffix(lower.as_bytes()).is_some_and(|suffix| suffix.is_known()) || RESERVED_TLDS.contains(&tld);
    let has_path = text.len() > host.len() + 1;
    // `word.Next` is two sentences without a blank; a domain is capitalised throughout or not at all.
    let capital = |label: Option<&str>| label.is_some_and(|l| l.starts_with(|c: char| c.is_ascii_uppercase()));
    let mut labels = host.rsplit('.');
    let (end, before) = (labels.next(), labels.next());
    let sentence = capital(end) && !capital(before);
    known && !name.is_empty() && !sentence && (has_path || !FILE_LIKE_TLDS.contains(&tld))
}

/// The host that a link's visible text names, if it names one.
pub(crate) fn host_named_by(text: &str) -> Option<String> {
    let found = finder().links(text).next()?;
    let raw = found.as_str();
    let url = if raw.contains("://") {
        parse_web(raw)?
    } else if is_linked_bare_host(raw) {
        parse_web(&format!("http://{raw}"))?
    } else {
        return None;
    };
    Some(host_text(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Vec<String> {
        let limits = Limits::default();
        let mut urls = Urls::new(&limits);
        urls.add_text(text);
        urls.into_facts().0.into_iter().map(|fact| fact.url).collect()
    }

    #[test]
    fn in_text() {
        let check = |text: &str, expect: &[&str]| assert_eq!(of_text(text), expect, "{text:?}");
        check("See https://Contoso.Example:443/a?b#c.", &["https://contoso.example/a?b"]);
        check("(http://t.contoso.localhost:8080/x)", &["http://t.contoso.localhost:8080/x"]);
        check("go to www.contoso.com now", &["http://www.contoso.com/"]);
        check("go to contoso.com/login now", &["http://contoso.com/login"]);
        check("contoso.co.uk, fabrikam.de", &["http://contoso.co.uk/", "http://fabrikam.de/"]);
        check("report.zip main.rs end.Next e.g. x.y ada@contoso.com", &[]);
        check("https://a.com https://a.com/ https://A.com", &["https://a.com/"]);
    }

    #[test]
    fn parts_of_one() {
        let limits = Limits::default();
        let mut urls = Urls::new(&limits);
        urls.add("HTTPS://ada:pw@www.B\u{fc}cher.Example.CO.UK:8443/\u{e4}?q#f", UrlSource::Href);
        urls.add("//cdn.contoso.com/x.png", UrlSource::Resource);
        urls.add("http://[::1]:80/", UrlSource::Href);
        urls.add("mailto:ada@contoso.com", UrlSource::Href);
        urls.add("javascript:alert(1)", UrlSource::Href);
        urls.add("cid:logo", UrlSource::Resource);
        let (facts, overflow) = urls.into_facts();
        assert!(!overflow);
        let parts: Vec<_> = facts.iter().map(|f| (f.host.as_str(), f.port, f.domain.as_str())).collect();
        assert_eq!(
            parts,
            [
                ("www.xn--bcher-kva.example.co.uk", Some(8443), "example.co.uk"),
                ("cdn.contoso.com", None, "contoso.com"),
                ("::1", None, "::1")
            ]
        );
    }

    #[test]
    fn hosts_that_texts_name() {
        let check = |text: &str, host: Option<&str>| assert_eq!(host_named_by(text).as_deref(), host, "{text:?}");
        check("https://Login.Contoso.com/x", Some("login.contoso.com"));
        check("  www.contoso.com ", Some("www.contoso.com"));
        check("contoso.com", Some("contoso.com"));
        check("Click here", None);
        check("report.zip", None);
        check("Portal.Contoso.Example", Some("portal.contoso.example"));
        check("b\u{fc}cher.example", Some("xn--bcher-kva.example"));
    }
}
