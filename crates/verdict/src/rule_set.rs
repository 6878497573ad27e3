//! A rule set compiled for judging: immutable, shared behind an `Arc`, every look-up by hash.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use model::{Facts, ListEntryId, RuleSetId, VerdictClass};
use sha2::{Digest, Sha256};

use crate::lists::ListIndex;
use crate::names;
use crate::problem::Problems;
use crate::rules::{RULES, impersonation, list_block};
use crate::{Feed, FeedEntry, FeedKind, ListEntry, ProtectedPerson, RuleSetError, RuleSetSource, check_feed_value};

/// The largest weight a rule may be given, in points.
pub const WEIGHT_MAX: f32 = 100.0;

/// Where an entry stands: (feed, entry) in the source.
type FeedRef = (u32, u32);

/// A compiled [`RuleSetSource`].
#[derive(Debug)]
pub struct RuleSet {
    source: RuleSetSource,
    hash: String,
    by_value: [HashMap<String, Vec<FeedRef>>; 4],
    pub(crate) lists: ListIndex,
    weights: HashMap<&'static str, f32>,
    people: HashMap<String, usize>,
    own_domains: Vec<String>,
    protected_domains: Vec<String>,
}

impl RuleSet {
    /// Compiles a source. Values are compared in their normal form (see [`check_feed_value`]); the source keeps them as written.
    ///
    /// # Errors
    /// Every problem of the source, named with its place: a value that is not of its kind, an unknown rule, a weight out of
    /// range, a feed name or list id used twice. Nothing is applied in part.
    pub fn compile(source: RuleSetSource) -> Result<RuleSet, RuleSetError> {
        let mut problems = Problems::default();
        let by_value = index_feeds(&source.feeds, &mut problems);
        let lists = ListIndex::build(&source.lists, &mut problems);
        let weights = weights_in_force(&source, &mut problems);
        let own_domains = domains("own domain", &source.own_domains, &mut problems);
        let mut protected_domains = domains("protected domain", &source.protected_domains, &mut problems);
        protected_domains.extend(own_domains.iter().cloned());
        protected_domains.sort_unstable();
        protected_domains.dedup();
        let people = index_people(&source.protected_people, &mut problems);
        let hash = content_hash(&source, &weights);
        let set = RuleSet { source, hash, by_value, lists, weights, people, own_domains, protected_domains };
        problems.into_result(set)
    }

    /// The version that verdicts name.
    pub fn id(&self) -> RuleSetId {
        self.source.id
    }

    /// SHA-256 (lower-case hex) over the compiled rules' ids and versions, the weights in force, and the contents of feeds,
    /// lists, people and domains. Independent of the id, of notes and of the order in which entries are stored: equal
    /// hashes give equal classes.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What it was compiled from.
    pub fn source(&self) -> &RuleSetSource {
        &self.source
    }

    /// The weight in force of a rule, in points; 0 for a rule that does not exist.
    pub fn weight(&self, rule: &str) -> f32 {
        self.weights.get(rule).copied().unwrap_or(0.0)
    }

    /// The entry of the allow/block list with this id.
    pub fn list_entry(&self, id: ListEntryId) -> Option<&ListEntry> {
        self.source.list_entry(id)
    }

    /// Feed entries of `kind` for a value in its normal form, in the order of the source.
    pub(crate) fn feed_hits(&self, kind: FeedKind, value: &str) -> impl Iterator<Item = (&Feed, &FeedEntry)> {
        let refs = self.by_value[kind as usize].get(value).map_or(&[] as &[FeedRef], Vec::as_slice);
        refs.iter().map(|&(feed, entry)| {
            let feed = &self.source.feeds[feed as usize];
            (feed, &feed.entries[entry as usize])
        })
    }

    /// Whether a feed of this kind has entries at all: rules skip the work when not.
    pub(crate) fn has_feed(&self, kind: FeedKind) -> bool {
        !self.by_value[kind as usize].is_empty()
    }

    /// Whether the domain belongs to the organisation, by this rule set or by the facts.
    pub(crate) fn is_own(&self, domain: &str, facts: &Facts) -> bool {
        let own = self.own_domains.iter().chain(&facts.own_domains);
        !domain.is_empty() && own.into_iter().any(|own| names::is_under(domain, own))
    }

    /// Domains that lookalikes are searched for: own ones (also those of the facts) and protected ones.
    pub(crate) fn guarded_domains<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a str> {
        let extra = facts.own_domains.iter().filter(|d| !self.protected_domains.contains(d));
        self.protected_domains.iter().chain(extra).map(String::as_str)
    }

    /// The protected person with this name, in the form of [`impersonation::name_key`].
    pub(crate) fn person(&self, name_key: &str) -> Option<&ProtectedPerson> {
        self.people.get(name_key).map(|&index| &self.source.protected_people[index])
    }
}

fn index_feeds(feeds: &[Feed], problems: &mut Problems) -> [HashMap<String, Vec<FeedRef>>; 4] {
    let mut maps: [HashMap<String, Vec<FeedRef>>; 4] = Default::default();
    for (feed_index, feed) in feeds.iter().enumerate() {
        if feeds[..feed_index].iter().any(|other| other.name == feed.name) {
            problems.add(|| "feed".to_owned(), &feed.name, "two feeds have this name; rename one");
        }
        let map = &mut maps[feed.kind as usize];
        map.reserve(feed.entries.len());
        for (entry_index, entry) in feed.entries.iter().enumerate() {
            if entry.class == VerdictClass::Clean {
                let place = || format!("feed {}, entry {}", feed.name, entry_index + 1);
                problems.add(
                    place,
                    &entry.value,
                    "an entry speaks for something bad; what is good goes on the allow list",
                );
            }
            match check_feed_value(feed.kind, &entry.value) {
                Ok(value) => map.entry(value).or_default().push((feed_index as u32, entry_index as u32)),
                Err(problem) => {
                    problems.add(|| format!("feed {}, entry {}", feed.name, entry_index + 1), &entry.value, problem);
                }
            }
        }
    }
    maps
}

fn weights_in_force(source: &RuleSetSource, problems: &mut Problems) -> HashMap<&'static str, f32> {
    for (rule, &weight) in &source.weights {
        let place = || format!("weight of {rule}");
        if rule == list_block::RULE.id {
            problems.add(place, rule, "block entries cannot be weighed; remove the entry or let it expire");
        } else if !RULES.iter().any(|known| known.id == rule) {
            problems.add(place, rule, "no rule has this name");
        } else if !(0.0..=WEIGHT_MAX).contains(&weight) {
            problems.add(place, &weight.to_string(), format!("a weight is a number from 0 (off) to {WEIGHT_MAX}"));
        }
    }
    RULES.iter().map(|rule| (rule.id, source.weights.get(rule.id).copied().unwrap_or(rule.weight))).collect()
}

fn domains(what: &str, values: &[String], problems: &mut Problems) -> Vec<String> {
    let mut parsed = Vec::new();
    for value in values {
        match names::parse_domain(value) {
            Ok(domain) => parsed.push(domain),
            Err(problem) => problems.add(|| what.to_owned(), value, problem),
        }
    }
    parsed
}

fn index_people(people: &[ProtectedPerson], problems: &mut Problems) -> HashMap<String, usize> {
    let mut index = HashMap::new();
    for (at, person) in people.iter().enumerate() {
        let key = impersonation::name_key(&person.name);
        if key.is_empty() {
            problems.add(|| "protected person".to_owned(), &person.address, "the name is empty");
        }
        // The first of two people with one name stands for both: either address is outside or inside alike.
        index.entry(key).or_insert(at);
    }
    index
}

/// Every field ends with its length, so that no two contents read alike.
fn content_hash(source: &RuleSetSource, weights: &HashMap<&'static str, f32>) -> String {
    let mut hasher = Sha256::new();
    let mut put = |fields: &[&str]| {
        for field in fields {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field.as_bytes());
        }
    };
    for rule in RULES {
        put(&["rule", rule.id, &rule.version.to_string(), &weights[rule.id].to_string()]);
    }
    let mut feeds: Vec<&Feed> = source.feeds.iter().collect();
    feeds.sort_by(|a, b| a.name.cmp(&b.name));
    for feed in feeds {
        put(&["feed", &feed.name, feed.kind.as_str()]);
        let mut entries: Vec<(&str, &str)> =
            feed.entries.iter().map(|e| (e.value.as_str(), e.class.as_str())).collect();
        entries.sort_unstable();
        for (value, class) in entries {
            put(&[value, class]);
        }
    }
    let mut lists: Vec<&ListEntry> = source.lists.iter().collect();
    lists.sort_by_key(|entry| entry.id);
    for entry in lists {
        let expires = entry.expires_at.map(|at| at.as_micros().to_string()).unwrap_or_default();
        put(&["list", entry.action.as_str(), entry.kind.as_str(), &entry.value, &expires]);
    }
    let mut people: Vec<(&str, &str)> =
        source.protected_people.iter().map(|p| (p.name.as_str(), p.address.as_str())).collect();
    people.sort_unstable();
    for (name, address) in people {
        put(&["person", name, address]);
    }
    for (kind, domains) in [("own", &source.own_domains), ("protected", &source.protected_domains)] {
        let mut domains: Vec<&str> = domains.iter().map(String::as_str).collect();
        domains.sort_unstable();
        for domain in domains {
            put(&[kind, domain]);
        }
    }
    HEXLOWER.encode(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> RuleSetSource {
        let entries =
            vec![FeedEntry::new("a.example", VerdictClass::Phish), FeedEntry::new("b.example", VerdictClass::Spam)];
        RuleSetSource {
            feeds: vec![Feed { name: "hosts".into(), kind: FeedKind::UrlHost, entries }],
            ..RuleSetSource::default()
        }
    }

    #[test]
    fn the_hash_follows_contents_only() {
        let hash = |source: RuleSetSource| RuleSet::compile(source).unwrap().hash().to_owned();
        let base = hash(source());
        assert_eq!(base.len(), 64);
        let mut same = source();
        same.id = RuleSetId(99);
        same.feeds[0].entries.reverse();
        same.feeds[0].entries[0].note = "seen today".into();
        assert_eq!(hash(same), base);
        type Edit = fn(&mut RuleSetSource);
        let edits: [Edit; 4] = [
            |s| s.feeds[0].entries[0].value = "c.example".into(),
            |s| s.feeds[0].entries[0].class = VerdictClass::Spam,
            |s| s.weights = [("feed_url_host".to_owned(), 3.0)].into(),
            |s| s.own_domains.push("contoso.example".into()),
        ];
        for edit in edits {
            let mut changed = source();
            edit(&mut changed);
            assert_ne!(hash(changed), base);
        }
    }

    #[test]
    fn every_problem_is_named_and_nothing_is_applied() {
        let mut bad = source();
        bad.feeds[0].entries.push(FeedEntry::new("http://x/y", VerdictClass::Phish));
        bad.feeds.push(Feed {
            name: "hosts".into(),
            kind: FeedKind::FileHash,
            entries: vec![FeedEntry::new("abc", VerdictClass::Malware)],
        });
        bad.weights.insert("no_such_rule".into(), 1.0);
        bad.weights.insert("dmarc_fail".into(), f32::NAN);
        bad.weights.insert("list_block".into(), 0.0);
        let error = RuleSet::compile(bad).unwrap_err();
        let places: Vec<&str> = error.problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "feed hosts, entry 3",
                "feed",
                "feed hosts, entry 1",
                "weight of dmarc_fail",
                "weight of list_block",
                "weight of no_such_rule"
            ]
        );
        assert_eq!(error.count, 6);
        assert!(error.to_string().contains("feed hosts, entry 3"));
    }
}
