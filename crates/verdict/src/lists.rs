//! The allow/block list: value syntax, matching, and the index over all entries.
//!
//! Senders and domains match the From field only (not the envelope); a plain domain does not cover subdomains, `*.domain`
//! covers nothing but them. Block wins over allow; an expired entry does not count. URL entries have a syntax of their own,
//! see [`UrlPattern`].

use std::collections::HashMap;

use model::{Facts, Timestamp};

use crate::names::{self, UrlParts};
use crate::problem::Problems;
use crate::{ListAction, ListEntry, ListKind};

/// Characters of a URL entry.
const URL_ENTRY_CHARS_MAX: usize = 250;
/// Endings that are files and no top-level domains: `test.pdf` is a file name.
const FILE_ENDINGS: &[&str] = &[
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "exe", "dll", "txt", "jpg", "jpeg", "png", "gif", "html",
    "htm", "js",
];

/// Checks a value of the allow/block list and returns its normal form. The error says what is wrong and what to do.
pub fn check_list_value(action: ListAction, kind: ListKind, value: &str) -> Result<String, String> {
    match kind {
        ListKind::Sender => model::Address::parse(value.trim()).map(|a| a.key()).map_err(|e| e.to_string()),
        ListKind::Domain => parse_domain_entry(action, value).map(|(star, d)| if star { format!("*.{d}") } else { d }),
        ListKind::Url => UrlPattern::parse(action, value).map(|_| value.trim().to_ascii_lowercase()),
        ListKind::File => names::parse_sha256(value),
    }
}

/// `contoso.com` or `*.contoso.com`; `*.tld` only to block.
fn parse_domain_entry(action: ListAction, value: &str) -> Result<(bool, String), String> {
    let value = value.trim();
    let Some(base) = value.strip_prefix("*.") else { return names::parse_domain(value).map(|d| (false, d)) };
    if base.contains('.') {
        return names::parse_domain(base).map(|d| (true, d));
    }
    if action == ListAction::Allow {
        return Err("a whole top-level domain can be blocked but not allowed".to_owned());
    }
    top_level(base).map(|tld| (true, tld))
}

fn top_level(label: &str) -> Result<String, String> {
    let ascii = idna::domain_to_ascii(label).unwrap_or_default();
    if ascii.len() >= 2 && ascii.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Ok(ascii)
    } else {
        Err("not a top-level domain".to_owned())
    }
}

/// What stands before the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing: the host itself.
    Host,
    /// `*.`: subdomains only.
    Subdomains,
    /// `~`: the host and its subdomains.
    Both,
}

/// What stands after the host and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Nothing.
    End,
    /// `/*`: something must follow.
    Below,
    /// `~`: anything may follow.
    Any,
}

/// A URL entry of the allow/block list: the syntax that Exchange Online's administrators know.
///
/// | entry | matches |
/// |---|---|
/// | `contoso.com`, block | the host and its subdomains with any path; also the value as a whole word after `/` or `=` in another URL |
/// | `contoso.com`, allow | exactly that host without a path |
/// | `contoso.com/a` | that host with exactly that path, with any query |
/// | `contoso.com/*`, `contoso.com/a/*` | that host and path with something after the slash |
/// | `*.contoso.com` | subdomains without a path |
/// | `*.contoso.com/*` | subdomains with a path |
/// | `~contoso.com` | the host and subdomains without a path |
/// | `~contoso.com~` | the host and subdomains with any path; also the value as a path segment of another URL |
/// | `*.tld/*` | block only: everything under a top-level domain |
/// | `1.2.3.4`, `1.2.3.4/*` | that address without a path; with one |
///
/// Case does not matter, neither does the port: an entry names a host on all its ports, and a port in an entry is refused.
/// Mind that `contoso.com` allows no path: a tracked link needs `contoso.com/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPattern {
    left: Left,
    host: String,
    /// Path with its leading slash and without trailing `/*`; empty for none.
    path: String,
    right: Right,
    /// `*.tld/*`
    top_level: bool,
}

impl UrlPattern {
    /// Parses an entry.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(action: ListAction, value: &str) -> Result<UrlPattern, String> {
        let value = value.trim();
        if value.chars().count() > URL_ENTRY_CHARS_MAX {
            return Err(format!("a URL entry has at most {URL_ENTRY_CHARS_MAX} characters"));
        }
        if value.contains("://") {
            return Err("leave out the scheme: write contoso.com/path".to_owned());
        }
        if value.contains(['"', '\'', '@', ' ', '\\']) || value.chars().any(char::is_control) {
            return Err("quotes, spaces, backslashes and user names are not allowed".to_owned());
        }
        let (left, rest) = match (value.strip_prefix("*."), value.strip_prefix('~')) {
            (Some(rest), _) => (Left::Subdomains, rest),
            (None, Some(rest)) => (Left::Both, rest),
            (None, None) => (Left::Host, value),
        };
        let (right, rest) = match (rest.strip_suffix("/*"), rest.strip_suffix('~')) {
            (Some(rest), _) => (Right::Below, rest),
            (None, Some(rest)) => (Right::Any, rest),
            (None, None) => (Right::End, rest),
        };
        if rest.contains(['*', '~']) {
            return Err("a wildcard stands only first (*. or ~) or last (/* or ~)".to_owned());
        }
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path = path.trim_end_matches('/').to_ascii_lowercase();
        let (host, is_top_level) = pattern_host(action, left, host, right, &path)?;
        Ok(UrlPattern { left, host, path, right, top_level: is_top_level })
    }

    /// Whether an entry with this pattern and action covers the URL (with or without scheme).
    pub fn matches_url(&self, action: ListAction, url: &str) -> bool {
        UrlParts::parse(url).is_some_and(|parts| self.matches(action, &parts))
    }

    pub(crate) fn matches(&self, action: ListAction, url: &UrlParts) -> bool {
        if self.top_level {
            let under = |host: &str| names::is_under(host, &self.host);
            return under(&url.host) || url.tail_host.as_deref().is_some_and(under);
        }
        if self.is_plain() {
            return match action {
                ListAction::Allow => url.host == self.host && url.rest.is_empty(),
                ListAction::Block if names::as_ip(&self.host).is_some() => url.host == self.host && url.rest.is_empty(),
                ListAction::Block => names::is_under(&url.host, &self.host) || url.host_tokens().contains(&self.host),
            };
        }
        if self.right == Right::Any && self.path.is_empty() && self.is_path_segment(&url.rest) {
            return true;
        }
        let host_fits = match self.left {
            Left::Host => url.host == self.host,
            Left::Subdomains => url.host != self.host && names::is_under(&url.host, &self.host),
            Left::Both => names::is_under(&url.host, &self.host),
        };
        host_fits && self.path_fits(&url.rest.to_ascii_lowercase())
    }

    /// A bare host or address.
    fn is_plain(&self) -> bool {
        self.left == Left::Host && self.right == Right::End && self.path.is_empty()
    }

    /// Whether the value also matches as a word in the path or query of any host.
    pub(crate) fn matches_words(&self, action: ListAction) -> bool {
        (self.is_plain() && action == ListAction::Block && names::as_ip(&self.host).is_none())
            || (self.right == Right::Any && self.path.is_empty())
    }

    /// The host, or the top-level domain of `*.tld/*`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether this is `*.tld/*`.
    pub(crate) fn is_top_level(&self) -> bool {
        self.top_level
    }

    fn is_path_segment(&self, rest: &str) -> bool {
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        path.split('/').any(|segment| segment.eq_ignore_ascii_case(&self.host))
    }

    fn path_fits(&self, rest: &str) -> bool {
        match self.right {
            Right::End if self.path.is_empty() => rest.is_empty(),
            Right::End => rest.split('?').next().unwrap_or_default().trim_end_matches('/') == self.path,
            Right::Below => {
                let below = rest.strip_prefix(self.path.as_str()).and_then(|tail| tail.strip_prefix('/'));
                below.is_some_and(|tail| !tail.is_empty())
            }
            Right::Any => rest.starts_with(&self.path),
        }
    }
}

/// Checks the host of a pattern; `true` for the top-level domain of `*.tld/*`.
fn pattern_host(
    action: ListAction,
    left: Left,
    host: &str,
    right: Right,
    path: &str,
) -> Result<(String, bool), String> {
    if names::as_ip(host).is_some() {
        if left != Left::Host || right == Right::Any {
            return Err("an address takes no wildcard but a trailing /*".to_owned());
        }
        return Ok((names::plain_host(host), false));
    }
    if host.contains(':') {
        return Err("leave out the port: an entry names a host on all its ports".to_owned());
    }
    if !host.is_ascii() {
        return Err("write international names in Punycode (xn--…)".to_owned());
    }
    if left == Left::Subdomains && right == Right::Below && path.is_empty() && !host.contains('.') {
        return match action {
            ListAction::Block => top_level(host).map(|tld| (tld, true)),
            ListAction::Allow => Err("a whole top-level domain can be blocked but not allowed".to_owned()),
        };
    }
    let host = names::parse_domain(host)?;
    let ending = host.rsplit('.').next().unwrap_or_default();
    if ending.len() < 2 {
        return Err("the part after the last dot has at least two characters".to_owned());
    }
    if FILE_ENDINGS.contains(&ending) {
        return Err("this looks like a file name; write the host, such as contoso.com/*".to_owned());
    }
    Ok((host, false))
}

/// All entries by what they match, so that one URL or address costs a few look-ups, however many entries there are.
#[derive(Debug, Default)]
pub(crate) struct ListIndex {
    entries: Vec<ListEntry>,
    senders: HashMap<String, Vec<usize>>,
    /// Domain -> (subdomains only, entry).
    domains: HashMap<String, Vec<(bool, usize)>>,
    urls: HashMap<String, Vec<(UrlPattern, usize)>>,
    files: HashMap<String, Vec<usize>>,
}

impl ListIndex {
    pub(crate) fn build(entries: &[ListEntry], problems: &mut Problems) -> ListIndex {
        let mut index = ListIndex { entries: entries.to_vec(), ..ListIndex::default() };
        // By id, so that hits come in one order however the entries were stored.
        index.entries.sort_by_key(|entry| entry.id);
        for at in 0..index.entries.len() {
            if at > 0 && index.entries[at].id == index.entries[at - 1].id {
                problems.add(|| "list entry".to_owned(), &index.entries[at].id.to_string(), "two entries have this id");
            }
            if let Err(problem) = index.add(at) {
                let entry = &index.entries[at];
                problems.add(|| entry.words(), &entry.value, problem);
            }
        }
        index
    }

    fn add(&mut self, at: usize) -> Result<(), String> {
        let ListEntry { action, kind, value, .. } = &self.entries[at];
        match kind {
            ListKind::Sender => {
                let value = check_list_value(*action, *kind, value)?;
                self.senders.entry(value).or_default().push(at);
            }
            ListKind::Domain => {
                let (subdomains_only, domain) = parse_domain_entry(*action, value)?;
                self.domains.entry(domain).or_default().push((subdomains_only, at));
            }
            ListKind::Url => {
                let pattern = UrlPattern::parse(*action, value)?;
                self.urls.entry(pattern.host.clone()).or_default().push((pattern, at));
            }
            ListKind::File => {
                let value = check_list_value(*action, *kind, value)?;
                self.files.entry(value).or_default().push(at);
            }
        }
        Ok(())
    }

    /// Entries of `action` in force that cover the From field.
    pub(crate) fn sender_hits(&self, action: ListAction, facts: &Facts, now: Timestamp) -> Vec<&ListEntry> {
        let mut hits = Vec::new();
        for mailbox in &facts.header.from {
            hits.extend(self.senders.get(&mailbox.address.to_lowercase()).into_iter().flatten().copied());
            let domain = mailbox.domain();
            for suffix in suffixes(domain) {
                let entries = self.domains.get(suffix).into_iter().flatten();
                hits.extend(entries.filter(|(below, _)| *below == (suffix.len() < domain.len())).map(|&(_, at)| at));
            }
        }
        self.in_force(hits, action, now)
    }

    /// Entries of `action` in force that cover the URL.
    pub(crate) fn url_hits(&self, action: ListAction, url: &UrlParts, now: Timestamp) -> Vec<&ListEntry> {
        if self.urls.is_empty() {
            return Vec::new();
        }
        let words = url.host_tokens();
        let segments = url.rest.split(['/', '?', '#']).filter(|s| s.contains('.')).map(str::to_ascii_lowercase);
        let segments: Vec<String> = segments.collect();
        let mut hits = Vec::new();
        let names = suffixes(&url.host).into_iter().chain(url.tail_host.as_deref().map(suffixes).unwrap_or_default());
        let names = names.chain(words.iter().map(String::as_str)).chain(segments.iter().map(String::as_str));
        for name in names {
            let entries = self.urls.get(name).into_iter().flatten();
            let fits = |(pattern, at): &&(UrlPattern, usize)| {
                self.entries[*at].action == action && pattern.matches(action, url)
            };
            hits.extend(entries.filter(fits).map(|(_, at)| *at));
        }
        self.in_force(hits, action, now)
    }

    /// Entries of `action` in force for a file's SHA-256.
    pub(crate) fn file_hits(&self, action: ListAction, sha256: &str, now: Timestamp) -> Vec<&ListEntry> {
        let hits = self.files.get(sha256).into_iter().flatten().copied().collect();
        self.in_force(hits, action, now)
    }

    fn in_force(&self, mut hits: Vec<usize>, action: ListAction, now: Timestamp) -> Vec<&ListEntry> {
        hits.sort_unstable();
        hits.dedup();
        let entries = hits.into_iter().map(|at| &self.entries[at]);
        entries.filter(|entry| entry.action == action && entry.in_force(now)).collect()
    }
}

/// The host and everything right of each of its dots; at most 127 by the length of a name. An address has only itself.
fn suffixes(host: &str) -> Vec<&str> {
    if names::as_ip(host).is_some() {
        return vec![host];
    }
    let mut all = vec![host];
    all.extend(host.match_indices('.').map(|(at, _)| &host[at + 1..]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// entry | allow matches | allow misses | block matches | block misses; `=`: the same as for allow, `-`: none.
    const EXAMPLES: &str = r"
*.tld/*        | -  | - | a.tld, tld/abcd, b.abcd.tld, tld/contoso.com, tld/q=contoso.com, www.abcd.com\xyz.tld, www.abcd.com\xyz.tld?q=1234, www.abcd.tld, www.abcd.tld/q=a@contoso.com | abcd.com, a.tlds
contoso.com    | contoso.com | abc-contoso.com, contoso.com/a, payroll.contoso.com, fabrikam.com/contoso.com, fabrikam.com/q=contoso.com, www.contoso.com, www.contoso.com/q=a@contoso.com | contoso.com, contoso.com/a, abc.xyz.contoso.com/a/b/c, payroll.contoso.com, fabrikam.com/contoso.com, fabrikam.com/q=contoso.com, www.contoso.com, www.contoso.com/q=a@contoso.com | abc-contoso.com, fabrikam.com/xcontoso.com
*.contoso.com  | www.contoso.com, xyz.abc.contoso.com | 123contoso.com, contoso.com, fabrikam.com/contoso.com, www.contoso.com/abc | = | =
contoso.com/a/*| contoso.com/a/b, contoso.com/a/b/c, contoso.com/a/?q=joe@t.com | contoso.com, contoso.com/a, www.contoso.com, www.contoso.com/q=a@contoso.com | = | =
~contoso.com   | contoso.com, www.contoso.com, xyz.abc.contoso.com | 123contoso.com, contoso.com/abc, www.contoso.com/abc | = | =
contoso.com/*  | contoso.com/?q=whatever@fabrikam.com, contoso.com/a, contoso.com/a/b/c, contoso.com/ab, contoso.com/b, contoso.com/b/a/c, contoso.com/ba | contoso.com | = | =
*.contoso.com/*| abc.contoso.com/ab, abc.xyz.contoso.com/a/b/c, www.contoso.com/a, www.contoso.com/b/a/c, xyz.contoso.com/ba | contoso.com/b | = | =
~contoso.com~  | contoso.com, contoso.com/a, www.contoso.com, www.contoso.com/b, xyz.abc.contoso.com, abc.xyz.contoso.com/a/b/c, contoso.com/b/a/c, fabrikam.com/contoso.com | 123contoso.com, contoso.org, fabrikam.com/q=contoso.com | = | =
1.2.3.4        | 1.2.3.4 | 1.2.3.4/a, 11.2.3.4/a | = | =
1.2.3.4/*      | 1.2.3.4/b, 1.2.3.4/baaaa | 1.2.3.4 | = | =
t.contoso.com/*| http://t.contoso.com:8080/c/1, https://T.Contoso.com/c | t.contoso.com, x.t.contoso.com/c | = | =
";

    fn urls(cell: &str) -> Vec<&str> {
        cell.split(", ").map(str::trim).filter(|u| !u.is_empty() && *u != "-").collect()
    }

    /// Checks both the pattern itself and the index, which must find what the pattern matches.
    fn check(action: ListAction, value: &str, url: &str, expected: bool) {
        let pattern = UrlPattern::parse(action, value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(pattern.matches_url(action, url), expected, "{} {value} on {url}", action.as_str());
        let entry = ListEntry {
            id: model::ListEntryId(1),
            action,
            kind: ListKind::Url,
            value: value.to_owned(),
            expires_at: None,
            note: String::new(),
            change_id: None,
        };
        let index = ListIndex::build(&[entry], &mut Problems::default());
        let parts = UrlParts::parse(url).unwrap();
        let found = !index.url_hits(action, &parts, Timestamp::default()).is_empty();
        assert_eq!(found, expected, "index: {} {value} on {url}", action.as_str());
    }

    #[test]
    fn documented_url_examples() {
        let mut count = 0;
        for line in EXAMPLES.lines().filter(|l| !l.is_empty()) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let same = |at: usize| if cells[at] == "=" { cells[at - 2] } else { cells[at] };
            let table = [
                (ListAction::Allow, cells[1], true),
                (ListAction::Allow, cells[2], false),
                (ListAction::Block, same(3), true),
                (ListAction::Block, same(4), false),
            ];
            for (action, cell, expected) in table {
                for url in urls(cell) {
                    check(action, cells[0], url, expected);
                    count += 1;
                }
            }
        }
        assert!(count > 100, "only {count} examples were read");
    }

    #[test]
    fn documented_invalid_entries() {
        let invalid = [
            "contoso",
            "*.contoso.*",
            "*.com",
            "*.pdf",
            "test.pdf",
            "*contoso.com",
            "contoso.com*",
            "*1.2.3.4",
            "1.2.3.4*",
            "*.1.2.3.4",
            "contoso.com/a*",
            "contoso.com/ab*",
            "contoso.com:443",
            "abc.contoso.com:25",
            "*",
            "*.*",
            "conto*so.com",
            "conto~so.com",
            "contoso.com/**",
            "contoso.com/*/*",
            ".com",
            "contoso.",
            "*.com*",
            "https://contoso.com",
            "user@contoso.com",
            "\"contoso.com\"",
            "bücher.example",
            "",
        ];
        for value in invalid {
            for action in [ListAction::Allow, ListAction::Block] {
                assert!(UrlPattern::parse(action, value).is_err(), "{value:?} should be refused");
            }
        }
        assert!(UrlPattern::parse(ListAction::Allow, "*.tld/*").is_err());
        assert!(UrlPattern::parse(ListAction::Block, "t.co").is_ok());
        assert!(UrlPattern::parse(ListAction::Block, &format!("contoso.com/{}", "a".repeat(250))).is_err());
    }

    #[test]
    fn senders_and_domains() {
        let check = |kind, value: &str, from: &str, expected: bool| {
            let id = model::ListEntryId(1);
            let entry = ListEntry {
                id,
                action: ListAction::Block,
                kind,
                value: value.into(),
                expires_at: None,
                note: String::new(),
                change_id: None,
            };
            let mut problems = Problems::default();
            let index = ListIndex::build(&[entry], &mut problems);
            problems.into_result(()).unwrap();
            let mut facts = Facts::default();
            facts.header.from = vec![model::MailboxFact { name: String::new(), address: from.into() }];
            let found = !index.sender_hits(ListAction::Block, &facts, Timestamp::default()).is_empty();
            assert_eq!(found, expected, "{value} on {from}");
        };
        check(ListKind::Sender, "Ada@Contoso.com", "ada@contoso.com", true);
        check(ListKind::Sender, "ada@contoso.com", "bob@contoso.com", false);
        check(ListKind::Domain, "contoso.com", "ada@contoso.com", true);
        check(ListKind::Domain, "contoso.com", "ada@mail.contoso.com", false);
        check(ListKind::Domain, "*.contoso.com", "ada@mail.contoso.com", true);
        check(ListKind::Domain, "*.contoso.com", "ada@contoso.com", false);
        check(ListKind::Domain, "*.tld", "ada@a.b.tld", true);
        check(ListKind::Domain, "*.tld", "ada@tld.com", false);
        assert!(check_list_value(ListAction::Allow, ListKind::Domain, "*.com").is_err());
        assert!(check_list_value(ListAction::Block, ListKind::Sender, "contoso.com").is_err());
    }
}
