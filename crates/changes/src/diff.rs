//! What a change changes: as somebody writes it ([`Proposal`]), and as it is kept ([`Diff`]).

use model::{ChangeId, ListEntryId, Timestamp, VerdictClass};
use serde::{Deserialize, Serialize};
use verdict::{Feed, FeedEntry, FeedKind, ListAction, ListEntry, ListKind, RULES, RuleSetSource};

use crate::{Error, Problem};

/// Problems reported with their text; the rest is counted.
const PROBLEMS_MAX: usize = 1_000;
/// Characters of a value shown in a title.
const TITLE_VALUE_CHARS_MAX: usize = 80;
/// Characters of a feed's name.
const FEED_NAME_CHARS_MAX: usize = 80;

/// What somebody proposes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Proposal {
    /// Add lines to a feed, or take entries out. A feed that does not exist yet comes into being.
    Feed {
        /// The feed's unique name.
        feed: String,
        /// What its entries are.
        kind: FeedKind,
        /// What entries speak for that name no class themselves.
        class: VerdictClass,
        /// A feed file: one entry a line, or CSV (see `verdict::parse_feed_file`).
        #[serde(default)]
        add: String,
        /// Values to take out.
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Add entries to the allow/block list, or take some out.
    List {
        /// New entries.
        #[serde(default)]
        add: Vec<NewListEntry>,
        /// Entries to take out.
        #[serde(default)]
        remove: Vec<ListEntryId>,
    },
    /// Give a rule another weight.
    Weight {
        /// The rule's id.
        rule: String,
        /// In points, 0 (off) to 100.
        weight: f32,
    },
}

/// An entry for the allow/block list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewListEntry {
    /// Allow or block.
    pub action: ListAction,
    /// What the value is.
    pub kind: ListKind,
    /// The value.
    pub value: String,
    /// From this instant on it does not count; `None`: it stays.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Why, for people.
    #[serde(default)]
    pub note: String,
}

/// What a change changes, in normal form, with all that an undo needs. Kept as JSON in `change.diff`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Diff {
    /// Entries of a feed.
    Feed {
        /// The feed's unique name.
        feed: String,
        /// What its entries are.
        kind: FeedKind,
        /// New entries; each carries the change's id.
        add: Vec<FeedEntry>,
        /// Entries taken out, as they were.
        remove: Vec<FeedEntry>,
    },
    /// Entries of the allow/block list.
    List {
        /// New entries; each carries the change's id.
        add: Vec<ListEntry>,
        /// Entries taken out, as they were.
        remove: Vec<ListEntry>,
    },
    /// The weight of a rule.
    Weight {
        /// The rule's id.
        rule: String,
        /// The new weight in points.
        weight: f32,
        /// The weight in force before, in points, whether the rule's own or given.
        before: f32,
        /// Whether `before` was given by a rule set (and by which change), or the rule's own.
        before_given: bool,
        /// See `before_given`.
        #[serde(default)]
        before_change_id: Option<ChangeId>,
    },
}

impl Diff {
    /// The word in `change.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Diff::Feed { .. } => "feed",
            Diff::List { .. } => "list",
            Diff::Weight { .. } => "weight",
        }
    }

    /// Whether this can only make verdicts milder, so that nothing has to be pulled back.
    pub fn only_lowers(&self) -> bool {
        match self {
            Diff::Feed { add, .. } => add.is_empty(),
            Diff::List { add, remove } => {
                add.iter().all(|e| e.action == ListAction::Allow)
                    && remove.iter().all(|e| e.action == ListAction::Block)
            }
            Diff::Weight { weight, before, .. } => weight <= before,
        }
    }

    /// One line for lists and updates: `Feed phishing-hosts: add t.contoso.localhost:8080`.
    pub fn title(&self) -> String {
        match self {
            Diff::Feed { feed, add, remove, .. } => {
                let add = sample("add", "entries", add.iter().map(|e| e.value.clone()).collect());
                let remove = sample("remove", "entries", remove.iter().map(|e| e.value.clone()).collect());
                format!("Feed {feed}: {}", joined(add, remove))
            }
            Diff::List { add, remove } => {
                let words = |e: &ListEntry| format!("{} {} {}", e.action.as_str(), e.kind.as_str(), e.value);
                let add = sample("add", "entries", add.iter().map(words).collect());
                let remove = sample("remove", "entries", remove.iter().map(words).collect());
                format!("Allow/block list: {}", joined(add, remove))
            }
            Diff::Weight { rule, weight, before, .. } => format!("Weight of rule {rule}: {before} to {weight}"),
        }
    }
}

fn joined(add: Option<String>, remove: Option<String>) -> String {
    [add, remove].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn sample(verb: &str, noun: &str, values: Vec<String>) -> Option<String> {
    match values.as_slice() {
        [] => None,
        [one] => Some(format!("{verb} {}", one.chars().take(TITLE_VALUE_CHARS_MAX).collect::<String>())),
        many => Some(format!("{verb} {} {noun}", many.len())),
    }
}

/// Checks a proposal against the rule set in force and gives its normal form.
///
/// # Errors
/// [`Error::Invalid`] with every problem found.
pub(crate) fn normalise(
    proposal: Proposal,
    active: &RuleSetSource,
    change_id: ChangeId,
    now: Timestamp,
    mut next_entry_id: impl FnMut() -> ListEntryId,
) -> Result<Diff, Error> {
    let mut problems = Problems::default();
    let diff = match proposal {
        Proposal::Feed { feed, kind, class, add, remove } => {
            let known = active.feeds.iter().find(|f| f.name == feed.trim());
            check_feed(&feed, kind, known, &mut problems);
            let add = added_lines(kind, class, &add, known, change_id, &mut problems);
            let remove = removed_values(kind, &remove, known, &mut problems);
            Diff::Feed { feed: feed.trim().to_owned(), kind, add, remove }
        }
        Proposal::List { add, remove } => {
            let add = add
                .into_iter()
                .enumerate()
                .filter_map(|(at, new)| list_entry(&format!("entry {}", at + 1), new, active, now, &mut problems))
                .map(|entry| ListEntry { id: next_entry_id(), change_id: Some(change_id), ..entry })
                .collect();
            let remove = remove.iter().filter_map(|id| known_entry(*id, active, &mut problems)).collect();
            Diff::List { add, remove }
        }
        Proposal::Weight { rule, weight } => weight_diff(rule, weight, active, &mut problems),
    };
    if problems.count == 0 && is_empty(&diff) {
        problems.add("change", "", "it changes nothing: add or remove at least one entry");
    }
    problems.into_result(diff)
}

fn is_empty(diff: &Diff) -> bool {
    match diff {
        Diff::Feed { add, remove, .. } => add.is_empty() && remove.is_empty(),
        Diff::List { add, remove } => add.is_empty() && remove.is_empty(),
        Diff::Weight { .. } => false,
    }
}

fn check_feed(name: &str, kind: FeedKind, known: Option<&Feed>, problems: &mut Problems) {
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.chars().count() > FEED_NAME_CHARS_MAX || trimmed.contains(['\'', '\n', '\0']) {
        problems.add("feed", name, format!("a feed's name has 1 to {FEED_NAME_CHARS_MAX} characters, without quotes"));
    }
    if let Some(feed) = known.filter(|feed| feed.kind != kind) {
        let problem = format!("this feed lists {}; use that kind, or another name", feed.kind.as_str());
        problems.add("kind", kind.as_str(), problem);
    }
}

fn added_lines(
    kind: FeedKind,
    class: VerdictClass,
    text: &str,
    known: Option<&Feed>,
    change_id: ChangeId,
    problems: &mut Problems,
) -> Vec<FeedEntry> {
    let file = verdict::parse_feed_file(kind, class, text.as_bytes());
    for bad in &file.bad_lines {
        problems.add(format!("line {}", bad.line), &bad.text, &bad.problem);
    }
    problems.count += file.bad_count.saturating_sub(file.bad_lines.len());
    let listed: std::collections::HashSet<(&str, VerdictClass)> =
        known.map(|f| f.entries.iter().map(|e| (e.value.as_str(), e.class)).collect()).unwrap_or_default();
    for entry in file.entries.iter().filter(|e| listed.contains(&(e.value.as_str(), e.class))) {
        problems.add("add", &entry.value, "this feed lists it already; leave the line out");
    }
    file.entries.into_iter().map(|entry| FeedEntry { change_id: Some(change_id), ..entry }).collect()
}

fn removed_values(kind: FeedKind, values: &[String], known: Option<&Feed>, problems: &mut Problems) -> Vec<FeedEntry> {
    let mut removed = Vec::new();
    for value in values {
        let normal = verdict::check_feed_value(kind, value).unwrap_or_else(|_| value.trim().to_owned());
        let entries = known.map_or(&[] as &[FeedEntry], |feed| feed.entries.as_slice());
        let before = removed.len();
        removed.extend(entries.iter().filter(|entry| entry.value == normal || entry.value == *value).cloned());
        if removed.len() == before {
            problems.add("remove", value, "this feed does not list it; nothing to remove");
        }
    }
    removed
}

fn list_entry(
    place: &str,
    new: NewListEntry,
    active: &RuleSetSource,
    now: Timestamp,
    problems: &mut Problems,
) -> Option<ListEntry> {
    let value = match verdict::check_list_value(new.action, new.kind, &new.value) {
        Ok(value) => value,
        Err(problem) => {
            problems.add(place, &new.value, problem);
            return None;
        }
    };
    if let Some(at) = new.expires_at.filter(|at| *at <= now) {
        problems.add(place, at.to_rfc3339(), "this instant has passed: give a later one, or none");
        return None;
    }
    if let Some(entry) =
        entry_in_force(active, new.action, new.kind, &value, now).filter(|e| lasts_until(e, new.expires_at))
    {
        problems.add(place, &new.value, format!("the list has it already ({})", entry.words()));
        return None;
    }
    let NewListEntry { action, kind, expires_at, note, .. } = new;
    Some(ListEntry { id: ListEntryId(0), action, kind, value, expires_at, note, change_id: None })
}

/// The entry with this normalised value that counts now and lasts longest.
pub(crate) fn entry_in_force<'a>(
    active: &'a RuleSetSource,
    action: ListAction,
    kind: ListKind,
    value: &str,
    now: Timestamp,
) -> Option<&'a ListEntry> {
    let same = |e: &&ListEntry| e.action == action && e.kind == kind && e.value == value && e.in_force(now);
    active.lists.iter().filter(same).max_by_key(|e| e.expires_at.map_or(i64::MAX, Timestamp::as_micros))
}

/// Whether an entry counts at least until `expires_at`.
pub(crate) fn lasts_until(entry: &ListEntry, expires_at: Option<Timestamp>) -> bool {
    match (entry.expires_at, expires_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(there), Some(wanted)) => there >= wanted,
    }
}

fn known_entry(id: ListEntryId, active: &RuleSetSource, problems: &mut Problems) -> Option<ListEntry> {
    let entry = active.list_entry(id);
    if entry.is_none() {
        problems.add("remove", id.to_string(), "the list has no entry with this id");
    }
    entry.cloned()
}

fn weight_diff(rule: String, weight: f32, active: &RuleSetSource, problems: &mut Problems) -> Diff {
    let known = RULES.iter().find(|known| known.id == rule);
    let given = active.weights.get(&rule).copied();
    let before = given.unwrap_or(known.map_or(0.0, |rule| rule.weight));
    if known.is_none() {
        let names: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        problems.add("rule", &rule, format!("no rule has this name; the rules are {}", names.join(", ")));
    } else if !(0.0..=verdict::WEIGHT_MAX).contains(&weight) {
        let problem = format!("a weight is a number from 0 (off) to {}", verdict::WEIGHT_MAX);
        problems.add("weight", weight.to_string(), problem);
    } else if weight == before {
        problems.add("weight", weight.to_string(), "the rule has this weight already");
    }
    let before_change_id = active.weight_changes.get(&rule).copied();
    Diff::Weight { rule, weight, before, before_given: given.is_some(), before_change_id }
}

/// Collects problems up to the bound and counts the rest.
#[derive(Default)]
struct Problems {
    problems: Vec<Problem>,
    count: usize,
}

impl Problems {
    fn add(&mut self, place: impl Into<String>, value: impl AsRef<str>, problem: impl Into<String>) {
        self.count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            let value = value.as_ref().chars().take(TITLE_VALUE_CHARS_MAX).collect();
            self.problems.push(Problem { place: place.into(), value, problem: problem.into() });
        }
    }

    fn into_result(self, diff: Diff) -> Result<Diff, Error> {
        match self.count {
            0 => Ok(diff),
            count => Err(Error::Invalid { problems: self.problems, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> RuleSetSource {
        let entry = ListEntry {
            id: ListEntryId(9),
            action: ListAction::Allow,
            kind: ListKind::Domain,
            value: "fabrikam.example".into(),
            expires_at: None,
            note: String::new(),
            change_id: None,
        };
        let feed = Feed {
            name: "hosts".into(),
            kind: FeedKind::UrlHost,
            entries: vec![FeedEntry::new("bad.example", VerdictClass::Phish)],
        };
        RuleSetSource { feeds: vec![feed], lists: vec![entry], ..RuleSetSource::default() }
    }

    fn places(proposal: Proposal) -> Vec<String> {
        match normalise(proposal, &source(), ChangeId(1), Timestamp::default(), || ListEntryId(10)) {
            Ok(diff) => vec![diff.title()],
            Err(Error::Invalid { problems, count }) => {
                assert_eq!(problems.len(), count);
                assert!(problems.iter().all(|p| !p.problem.is_empty()));
                problems.into_iter().map(|p| p.place).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn feed(kind: FeedKind, add: &str, remove: &[&str]) -> Proposal {
        let remove = remove.iter().map(|r| (*r).to_owned()).collect();
        Proposal::Feed { feed: "hosts".into(), kind, class: VerdictClass::Phish, add: add.into(), remove }
    }

    fn allow(kind: ListKind, value: &str) -> Proposal {
        let value = value.to_owned();
        let entry = NewListEntry { action: ListAction::Allow, kind, value, expires_at: None, note: String::new() };
        Proposal::List { add: vec![entry], remove: vec![] }
    }

    #[test]
    fn proposals_are_checked_as_a_whole() {
        use FeedKind::{Domain, UrlHost};
        let check = |proposal: Proposal, want: &[&str]| assert_eq!(places(proposal), want);
        check(feed(UrlHost, "t.contoso.localhost:8080\n", &[]), &["Feed hosts: add t.contoso.localhost:8080"]);
        check(feed(UrlHost, "a.example\nno host!\nb.example\n:9", &[]), &["line 2", "line 4"]);
        check(feed(UrlHost, "bad.example", &[]), &["add"]);
        check(feed(UrlHost, "", &["bad.example"]), &["Feed hosts: remove bad.example"]);
        check(feed(UrlHost, "", &["other.example"]), &["remove"]);
        check(feed(UrlHost, "# nothing\n", &[]), &["change"]);
        check(feed(Domain, "a.example", &[]), &["kind"]);
        check(allow(ListKind::Domain, "fabrikam.example"), &["entry 1"]);
        check(allow(ListKind::Sender, "no address"), &["entry 1"]);
        check(Proposal::List { add: vec![], remove: vec![ListEntryId(8)] }, &["remove"]);
        check(Proposal::Weight { rule: "no_rule".into(), weight: 1.0 }, &["rule"]);
        check(Proposal::Weight { rule: RULES[0].id.into(), weight: 1_000.0 }, &["weight"]);
        check(Proposal::Weight { rule: RULES[0].id.into(), weight: RULES[0].weight }, &["weight"]);
    }

    #[test]
    fn an_unknown_rule_is_answered_with_the_known_ones() {
        let refused = normalise(
            Proposal::Weight { rule: "nonsense".into(), weight: 1.0 },
            &source(),
            ChangeId(1),
            Timestamp::default(),
            || ListEntryId(10),
        );
        assert!(refused.unwrap_err().to_string().contains("feed_url_host"));
    }
}
