//! A link or picture goes to a host that a feed lists.
//!
//! The strongest sign there is about a link, and the one whose changes hurt most when a feed is wrong: a tracking host in a
//! feed takes every campaign with it. Subdomains of a listed host count; a listed port limits the entry to that port.

use super::{Cause, Finding, Look, Rule};
use crate::names::UrlParts;
use crate::{FeedKind, names};
use model::VerdictClass;

/// See the module.
pub const RULE: Rule = Rule {
    id: "feed_url_host",
    version: 1,
    weight: 10.0,
    class: VerdictClass::Phish,
    about: "A link goes to a host that a feed lists.",
    check,
};

fn check(look: &Look<'_>) -> Vec<Finding> {
    if !look.rules.has_feed(FeedKind::UrlHost) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for url in &look.facts.urls {
        let Some(parts) = UrlParts::of(url) else { continue };
        let host = url.port.map_or(parts.host.clone(), |port| names::host_port(&parts.host, port));
        for key in parts.host_keys() {
            for (feed, entry) in look.rules.feed_hits(FeedKind::UrlHost, &key) {
                let sentence =
                    format!("the link host {host} is listed by feed '{}' (entry {})", feed.name, entry.value);
                findings.push(
                    Finding::new(entry.class, sentence, names::bounded(&url.url))
                        .origin(format!("feed {}, entry {}", feed.name, entry.value), entry.change_id)
                        .cause(Cause::Url(url.url.clone())),
                );
            }
        }
    }
    findings
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # The host itself, on its port.
        feed: url_host t.contoso.localhost:8080 phish
        url: http://t.contoso.localhost:8080/c/1
        expect: phish 10 the link host t.contoso.localhost:8080 is listed by feed 'test' (entry t.contoso.localhost:8080)

        # Another port of the same host is not listed.
        feed: url_host t.contoso.localhost:8080 phish
        url: http://t.contoso.localhost:9090/c/1
        expect: none

        # A subdomain of a listed host; the scheme's own port counts as written.
        feed: url_host evil.example:443 malware
        url: https://login.evil.example/x
        expect: malware 10 the link host login.evil.example is listed by feed 'test' (entry evil.example:443)

        # A name that merely ends alike.
        feed: url_host evil.example phish
        url: https://notevil.example/
        expect: none

        # A parent of a listed host.
        feed: url_host login.evil.example phish
        url: https://evil.example/
        expect: none

        # A public suffix stands for itself alone.
        feed: url_host github.io phish
        url: https://someone.github.io/
        expect: none
        ",
    );
}
