//! What a rule set is made of: plain, serialisable data, as stored and as changed by proposals.

use std::collections::BTreeMap;

use model::{ChangeId, ListEntryId, RuleSetId, Timestamp, VerdictClass};
use serde::{Deserialize, Serialize};

use crate::{lists, names};

/// Everything that an organisation's verdicts depend on besides the rules' own code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleSetSource {
    /// The version that verdicts name. Not part of the content hash.
    pub id: RuleSetId,
    /// Feeds, by unique name.
    pub feeds: Vec<Feed>,
    /// The allow/block list.
    pub lists: Vec<ListEntry>,
    /// Weights that replace a rule's own, in points, 0 (off) to 100.
    pub weights: BTreeMap<String, f32>,
    /// The change that put such a weight in force, by rule; no part of the content hash.
    pub weight_changes: BTreeMap<String, ChangeId>,
    /// People whose names outsiders must not use.
    pub protected_people: Vec<ProtectedPerson>,
    /// Domains besides the organisation's own that lookalikes are searched for (partners, the bank).
    pub protected_domains: Vec<String>,
    /// The organisation's own domains; those named in the facts count too.
    pub own_domains: Vec<String>,
}

impl Default for RuleSetSource {
    /// No feeds, no entries, every rule with its own weight.
    fn default() -> Self {
        RuleSetSource {
            id: RuleSetId(0),
            feeds: Vec::new(),
            lists: Vec::new(),
            weights: BTreeMap::new(),
            weight_changes: BTreeMap::new(),
            protected_people: Vec::new(),
            protected_domains: Vec::new(),
            own_domains: Vec::new(),
        }
    }
}

/// A list of bad things from somebody who watches for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Its unique name, as shown in sentences.
    pub name: String,
    /// What its entries are.
    pub kind: FeedKind,
    /// The entries.
    pub entries: Vec<FeedEntry>,
}

/// What a feed's entries are and how they match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedKind {
    /// `host` or `host:port`. Matches links to that host and to its subdomains; with a port, on that port only (the
    /// scheme's default port counts). An entry that is itself a public suffix (`github.io`) means that host alone.
    UrlHost,
    /// A whole URL. Scheme, fragment and the ports 80 and 443 do not matter, path and query do.
    Url,
    /// A domain that senders write from (From, Sender, reverse-path), with its subdomains.
    Domain,
    /// The SHA-256 of a file, 64 hexadecimal digits.
    FileHash,
}

impl FeedKind {
    /// Every kind.
    pub const ALL: &'static [FeedKind] = &[FeedKind::UrlHost, FeedKind::Url, FeedKind::Domain, FeedKind::FileHash];

    /// The word in SQL, JSON and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            FeedKind::UrlHost => "url_host",
            FeedKind::Url => "url",
            FeedKind::Domain => "domain",
            FeedKind::FileHash => "file_hash",
        }
    }

    /// The kind for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// One entry of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// What is listed, in the form of the feed's kind.
    pub value: String,
    /// What a hit speaks for.
    pub class: VerdictClass,
    /// Where it comes from, for people; no part of the verdict.
    #[serde(default)]
    pub note: String,
    /// The change that put it in force; its signals name it, the content hash leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<ChangeId>,
}

impl FeedEntry {
    /// An entry without a note and of no change.
    pub fn new(value: impl Into<String>, class: VerdictClass) -> Self {
        FeedEntry { value: value.into(), class, note: String::new(), change_id: None }
    }
}

/// Checks one feed value and returns the form it is compared in (lower case, A-labels, default port removed).
/// The error says what is wrong and what to do.
pub fn check_feed_value(kind: FeedKind, value: &str) -> Result<String, String> {
    match kind {
        FeedKind::UrlHost => names::parse_host_port(value),
        FeedKind::Url => names::url_key(value).ok_or_else(|| "not a URL: write it as https://host/path".to_owned()),
        FeedKind::Domain => names::parse_domain(value),
        FeedKind::FileHash => names::parse_sha256(value),
    }
}

/// An entry of the allow/block list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListEntry {
    /// Its id: entries are changed and undone one by one.
    pub id: ListEntryId,
    /// Allow or block.
    pub action: ListAction,
    /// What the value is.
    pub kind: ListKind,
    /// The value; for URLs in the syntax of [`UrlPattern`](crate::UrlPattern).
    pub value: String,
    /// From this instant on it does not count; `None`: it stays.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Why it is there, for people.
    #[serde(default)]
    pub note: String,
    /// The change that put it in force; its signals name it, the content hash leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<ChangeId>,
}

impl ListEntry {
    /// Whether it counts at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }

    /// How sentences and origins name it: `allow entry 12: url t.contoso.localhost/*`.
    pub fn words(&self) -> String {
        format!("{} entry {}: {} {}", self.action.as_str(), self.id, self.kind.as_str(), self.value)
    }
}

/// What an entry of the allow/block list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListAction {
    /// Takes findings away.
    Allow,
    /// Quarantines. Wins over allow.
    Block,
}

impl ListAction {
    /// The word in SQL, JSON and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            ListAction::Allow => "allow",
            ListAction::Block => "block",
        }
    }

    /// The action for a word.
    pub fn parse(text: &str) -> Option<Self> {
        [ListAction::Allow, ListAction::Block].into_iter().find(|action| action.as_str() == text)
    }
}

/// What the value of a list entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// An address of the From field.
    Sender,
    /// The domain of a From address: `contoso.com` (itself only) or `*.contoso.com` (its subdomains).
    Domain,
    /// A URL pattern.
    Url,
    /// The SHA-256 of a file.
    File,
}

impl ListKind {
    /// Every kind.
    pub const ALL: &'static [ListKind] = &[ListKind::Sender, ListKind::Domain, ListKind::Url, ListKind::File];

    /// The word in SQL, JSON and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            ListKind::Sender => "sender",
            ListKind::Domain => "domain",
            ListKind::Url => "url",
            ListKind::File => "file",
        }
    }

    /// The kind for a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// Somebody whose name outsiders must not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedPerson {
    /// Display name, as colleagues see it.
    pub name: String,
    /// Their own address.
    pub address: String,
}

impl RuleSetSource {
    /// The entry of the allow/block list with this id.
    pub fn list_entry(&self, id: ListEntryId) -> Option<&ListEntry> {
        self.lists.iter().find(|entry| entry.id == id)
    }

    /// Whether every value of the allow/block list is well formed; used before a proposal is accepted.
    pub fn check_lists(&self) -> Vec<(ListEntryId, String)> {
        let check = |e: &ListEntry| lists::check_list_value(e.action, e.kind, &e.value).err().map(|p| (e.id, p));
        self.lists.iter().filter_map(check).collect()
    }
}
