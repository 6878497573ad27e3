//! Terms: the words under which a message is indexed, so that a change finds the copies it can touch by look-up.
//!
//! The promise: when a feed or list entry makes a finding on a message, at least one of the entry's terms is among the
//! message's terms. (The reverse does not hold; candidates are judged.) What has no such word, like a weight or a block
//! of a whole top-level domain, asks for a scan of the window.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use model::Facts;
use serde::{Deserialize, Serialize};

use crate::names::{self, UrlParts};
use crate::{Feed, FeedKind, ListEntry, ListKind, RuleSetSource, UrlPattern, check_feed_value, check_list_value};

/// What a term names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermKind {
    /// A host of a URL or one of its parents down to the registrable domain; each also as `host:port`.
    UrlHost,
    /// A whole URL: `host[:port]/path?query`.
    Url,
    /// A word of a URL's path or query that looks like a host.
    UrlWord,
    /// The registrable domain of a URL.
    Domain,
    /// An address of From, or the reverse-path.
    Sender,
    /// A domain of From, Sender or the reverse-path, or one of its parents down to the registrable domain.
    SenderDomain,
    /// A file, by its SHA-256.
    FileSha256,
    /// A batch of mail that was judged late. Not in the message: whoever judged put it there.
    LateBatch,
}

impl TermKind {
    /// Every kind.
    pub const ALL: &'static [TermKind] = &[
        TermKind::UrlHost,
        TermKind::Url,
        TermKind::UrlWord,
        TermKind::Domain,
        TermKind::Sender,
        TermKind::SenderDomain,
        TermKind::FileSha256,
        TermKind::LateBatch,
    ];

    /// The word in SQL, JSON and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            TermKind::UrlHost => "url_host",
            TermKind::Url => "url",
            TermKind::UrlWord => "url_word",
            TermKind::Domain => "domain",
            TermKind::Sender => "sender",
            TermKind::SenderDomain => "sender_domain",
            TermKind::FileSha256 => "file_sha256",
            TermKind::LateBatch => "late_batch",
        }
    }

    /// The kind for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// A word of the index.
pub type Term = (TermKind, String);

/// Octets of a term; longer ones (URLs) are indexed and looked up by their beginning.
const TERM_BYTES_MAX: usize = 512;

/// Which messages a change can touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidates {
    /// Those with one of these terms; none when the change touches nothing.
    Terms(BTreeSet<Term>),
    /// Any message of the window: judge them all.
    Window,
}

/// Every term of a message, sorted, without repetitions.
pub fn index_terms(facts: &Facts) -> Vec<Term> {
    let mut terms: BTreeSet<Term> = BTreeSet::new();
    let mut add = |kind: TermKind, value: String| {
        if !value.is_empty() {
            terms.insert((kind, cut(value)));
        }
    };
    for url in &facts.urls {
        if let Some(key) = names::url_key(&url.url) {
            add(TermKind::Url, key);
        }
        let Some(parts) = UrlParts::of(url) else { continue };
        add(TermKind::Domain, names::registrable(&parts.host).to_owned());
        parts.host_keys().into_iter().for_each(|key| add(TermKind::UrlHost, key));
        parts.host_tokens().into_iter().for_each(|word| add(TermKind::UrlWord, word));
    }
    for mailbox in &facts.header.from {
        add(TermKind::Sender, mailbox.address.to_lowercase());
    }
    if let Some(address) = facts.reverse_path.address() {
        add(TermKind::Sender, address.key());
    }
    for domain in sender_domains(facts) {
        names::with_parents(&domain).into_iter().for_each(|name| add(TermKind::SenderDomain, name.to_owned()));
    }
    for file in &facts.attachments {
        add(TermKind::FileSha256, file.sha256.clone());
    }
    terms.into_iter().collect()
}

/// The domains that a message says it comes from: From, Sender, reverse-path; lower case, sorted.
pub(crate) fn sender_domains(facts: &Facts) -> Vec<String> {
    let header = facts.header.from.iter().chain(&facts.header.sender).map(|m| names::plain_host(m.domain()));
    let envelope = facts.reverse_path.address().map(|a| names::plain_host(a.domain().as_str()));
    let domains: BTreeSet<String> = header.chain(envelope).filter(|d| !d.is_empty()).collect();
    domains.into_iter().collect()
}

/// The terms to look up for a feed entry. Empty for a value that is not of its kind.
pub fn feed_entry_terms(kind: FeedKind, value: &str) -> Vec<Term> {
    let Ok(value) = check_feed_value(kind, value) else { return Vec::new() };
    let term_kind = match kind {
        FeedKind::UrlHost => TermKind::UrlHost,
        FeedKind::Url => TermKind::Url,
        FeedKind::Domain => TermKind::SenderDomain,
        FeedKind::FileHash => TermKind::FileSha256,
    };
    vec![(term_kind, cut(value))]
}

/// The terms to look up for an entry of the allow/block list; `None` when only a scan finds what it covers.
pub fn list_entry_terms(entry: &ListEntry) -> Option<Vec<Term>> {
    let Ok(value) = check_list_value(entry.action, entry.kind, &entry.value) else { return Some(Vec::new()) };
    match entry.kind {
        ListKind::Sender => Some(vec![(TermKind::Sender, value)]),
        ListKind::File => Some(vec![(TermKind::FileSha256, value)]),
        ListKind::Domain => {
            let domain = value.strip_prefix("*.").unwrap_or(&value).to_owned();
            let is_too_wide = value.starts_with("*.") && is_public_suffix(&domain);
            (!is_too_wide).then(|| vec![(TermKind::SenderDomain, domain)])
        }
        ListKind::Url => {
            let Ok(pattern) = UrlPattern::parse(entry.action, &entry.value) else { return Some(Vec::new()) };
            if pattern.is_top_level() || is_public_suffix(pattern.host()) {
                return None;
            }
            let mut terms = vec![(TermKind::UrlHost, pattern.host().to_owned())];
            if pattern.matches_words(entry.action) {
                terms.push((TermKind::UrlWord, pattern.host().to_owned()));
            }
            Some(terms)
        }
    }
}

/// Which messages can get another verdict when `old` is replaced by `new`. Weights, people, domains and the rules' code
/// can touch any; notes and names of feeds touch none.
pub fn candidate_terms(old: &RuleSetSource, new: &RuleSetSource) -> Candidates {
    let is_wide = old.weights != new.weights
        || old.protected_people != new.protected_people
        || old.protected_domains != new.protected_domains
        || old.own_domains != new.own_domains;
    if is_wide {
        return Candidates::Window;
    }
    let mut terms = BTreeSet::new();
    for (kind, value) in changed(&feed_keys(&old.feeds), &feed_keys(&new.feeds)).map(|&(kind, value, _)| (kind, value))
    {
        terms.extend(feed_entry_terms(kind, value));
    }
    for (id, action, kind, value, expires_at) in changed(&list_keys(&old.lists), &list_keys(&new.lists)).copied() {
        let entry =
            ListEntry { id, action, kind, value: value.to_owned(), expires_at, note: String::new(), change_id: None };
        match list_entry_terms(&entry) {
            Some(entry_terms) => terms.extend(entry_terms),
            None => return Candidates::Window,
        }
    }
    Candidates::Terms(terms)
}

fn feed_keys(feeds: &[Feed]) -> HashSet<(FeedKind, &str, model::VerdictClass)> {
    feeds.iter().flat_map(|feed| feed.entries.iter().map(move |e| (feed.kind, e.value.as_str(), e.class))).collect()
}

type ListKey<'a> = (model::ListEntryId, crate::ListAction, ListKind, &'a str, Option<model::Timestamp>);

fn list_keys(entries: &[ListEntry]) -> HashSet<ListKey<'_>> {
    entries.iter().map(|e| (e.id, e.action, e.kind, e.value.as_str(), e.expires_at)).collect()
}

fn changed<'a, T: Eq + Hash>(old: &'a HashSet<T>, new: &'a HashSet<T>) -> impl Iterator<Item = &'a T> {
    old.symmetric_difference(new)
}

/// Hosts that the index does not hold as a parent of others.
fn is_public_suffix(host: &str) -> bool {
    names::as_ip(host).is_none() && psl::domain_str(host).is_none()
}

fn cut(mut value: String) -> String {
    if value.len() > TERM_BYTES_MAX {
        let at = (0..=TERM_BYTES_MAX).rev().find(|&at| value.is_char_boundary(at)).unwrap_or(0);
        value.truncate(at);
    }
    value
}

#[cfg(test)]
mod tests {
    use model::{ListEntryId, UrlSource, VerdictClass};

    use super::*;
    use crate::{FeedEntry, ListAction, cases};

    #[test]
    fn a_message_is_indexed_by_what_entries_name() {
        let facts = Facts {
            urls: vec![cases::url("http://a.t.contoso.localhost:8080/c?u=Evil.example", UrlSource::Href)],
            ..Facts::default()
        };
        let terms: Vec<String> =
            index_terms(&facts).iter().map(|(kind, value)| format!("{} {value}", kind.as_str())).collect();
        assert_eq!(
            terms,
            [
                "url_host a.t.contoso.localhost",
                "url_host a.t.contoso.localhost:8080",
                "url_host contoso.localhost",
                "url_host contoso.localhost:8080",
                "url_host t.contoso.localhost",
                "url_host t.contoso.localhost:8080",
                "url a.t.contoso.localhost:8080/c?u=Evil.example",
                "url_word evil.example",
                "domain contoso.localhost",
            ]
        );
    }

    #[test]
    fn what_a_change_looks_up() {
        let feed = |values: &[&str]| Feed {
            name: "f".into(),
            kind: FeedKind::UrlHost,
            entries: values.iter().map(|&v| FeedEntry::new(v, VerdictClass::Phish)).collect(),
        };
        let base = RuleSetSource { feeds: vec![feed(&["a.example", "b.example"])], ..RuleSetSource::default() };
        let term = |value: &str| Candidates::Terms([(TermKind::UrlHost, value.to_owned())].into());
        let check = |edit: &dyn Fn(&mut RuleSetSource), expected: Candidates| {
            let mut changed = base.clone();
            edit(&mut changed);
            assert_eq!(candidate_terms(&base, &changed), expected);
            assert_eq!(candidate_terms(&changed, &base), expected, "the way back");
        };
        check(&|_| {}, Candidates::Terms(BTreeSet::new()));
        check(&|s| s.feeds[0] = feed(&["a.example", "b.example", "C.example:80"]), term("c.example:80"));
        check(&|s| s.feeds[0] = feed(&["b.example"]), term("a.example"));
        check(&|s| s.feeds[0].entries[0].class = VerdictClass::Spam, term("a.example"));
        check(&|s| s.feeds[0].entries[0].note = "x".into(), Candidates::Terms(BTreeSet::new()));
        check(&|s| s.weights = [("feed_url".to_owned(), 1.0)].into(), Candidates::Window);
        let list = |action, value: &str| ListEntry {
            id: ListEntryId(1),
            action,
            kind: ListKind::Url,
            value: value.into(),
            expires_at: None,
            note: String::new(),
            change_id: None,
        };
        check(&|s| s.lists.push(list(ListAction::Allow, "t.x.example/*")), term("t.x.example"));
        check(&|s| s.lists.push(list(ListAction::Block, "*.tld/*")), Candidates::Window);
    }
}
