//! Putting a change into the source of a rule set, and taking exactly that change out again. Pure.

use std::collections::HashSet;

use model::{ChangeId, RuleSetId};
use verdict::{Feed, RuleSetSource};

use crate::Diff;

/// `active` with the change in it, as version `id`. What is new carries the change's id, so that signals name their cause.
pub(crate) fn with_change(active: &RuleSetSource, diff: &Diff, change_id: ChangeId, id: RuleSetId) -> RuleSetSource {
    let mut source = RuleSetSource { id, ..active.clone() };
    match diff {
        Diff::Feed { feed: name, kind, add, remove } => {
            let at = source.feeds.iter().position(|feed| feed.name == *name).unwrap_or_else(|| {
                source.feeds.push(Feed { name: name.clone(), kind: *kind, entries: Vec::new() });
                source.feeds.len() - 1
            });
            let gone: HashSet<&str> = remove.iter().map(|entry| entry.value.as_str()).collect();
            let entries = &mut source.feeds[at].entries;
            entries.retain(|entry| !gone.contains(entry.value.as_str()));
            entries.extend(add.iter().cloned());
        }
        Diff::List { add, remove } => {
            source.lists.retain(|entry| !remove.iter().any(|gone| gone.id == entry.id));
            source.lists.extend(add.iter().cloned());
        }
        Diff::Weight { rule, weight, .. } => {
            source.weights.insert(rule.clone(), *weight);
            source.weight_changes.insert(rule.clone(), change_id);
        }
    }
    source
}

/// `active` without the entries that the change brought, and with those that it took out unless they are back already, as
/// version `id`. What later changes did stays.
pub(crate) fn without_change(active: &RuleSetSource, diff: &Diff, change_id: ChangeId, id: RuleSetId) -> RuleSetSource {
    let mut source = RuleSetSource { id, ..active.clone() };
    match diff {
        Diff::Feed { feed: name, kind, remove, .. } => {
            for feed in &mut source.feeds {
                feed.entries.retain(|entry| entry.change_id != Some(change_id));
            }
            if !remove.is_empty() && !source.feeds.iter().any(|feed| feed.name == *name) {
                source.feeds.push(Feed { name: name.clone(), kind: *kind, entries: Vec::new() });
            }
            if let Some(feed) = source.feeds.iter_mut().find(|feed| feed.name == *name) {
                let there: HashSet<String> = feed.entries.iter().map(|entry| entry.value.clone()).collect();
                feed.entries.extend(remove.iter().filter(|entry| !there.contains(&entry.value)).cloned());
            }
            source.feeds.retain(|feed| feed.name != *name || !feed.entries.is_empty());
        }
        Diff::List { remove, .. } => {
            source.lists.retain(|entry| entry.change_id != Some(change_id));
            for entry in remove {
                if source.list_entry(entry.id).is_none() {
                    source.lists.push(entry.clone());
                }
            }
        }
        Diff::Weight { rule, before, before_given, before_change_id, .. } => {
            // A weight that a later change has set again is that change's, not ours.
            if source.weight_changes.get(rule) == Some(&change_id) {
                source.weights.remove(rule);
                source.weight_changes.remove(rule);
                if *before_given {
                    source.weights.insert(rule.clone(), *before);
                }
                if let Some(id) = before_change_id {
                    source.weight_changes.insert(rule.clone(), *id);
                }
            }
        }
    }
    source
}

#[cfg(test)]
mod tests {
    use model::VerdictClass;
    use verdict::{FeedEntry, FeedKind};

    use super::*;

    fn entry(value: &str, change: i64) -> FeedEntry {
        FeedEntry { change_id: Some(ChangeId(change)), ..FeedEntry::new(value, VerdictClass::Phish) }
    }

    fn feed(add: Vec<FeedEntry>, remove: Vec<FeedEntry>) -> Diff {
        Diff::Feed { feed: "f".into(), kind: FeedKind::UrlHost, add, remove }
    }

    #[test]
    fn undo_takes_out_this_change_and_leaves_later_ones() {
        let none = RuleSetSource::default();
        let first = feed(vec![entry("a.example", 1), entry("b.example", 1)], vec![]);
        let one = with_change(&none, &first, ChangeId(1), RuleSetId(1));
        let second = feed(vec![entry("c.example", 2)], vec![entry("a.example", 1)]);
        let two = with_change(&one, &second, ChangeId(2), RuleSetId(2));
        let values = |source: &RuleSetSource| -> Vec<String> {
            source.feeds.iter().flat_map(|f| f.entries.iter().map(|e| e.value.clone())).collect()
        };
        assert_eq!(values(&two), ["b.example", "c.example"]);
        assert_eq!(values(&without_change(&two, &second, ChangeId(2), RuleSetId(3))), ["b.example", "a.example"]);
        assert_eq!(values(&without_change(&two, &first, ChangeId(1), RuleSetId(3))), ["c.example"]);
        assert_eq!(without_change(&one, &first, ChangeId(1), RuleSetId(0)), none, "an empty feed is no feed");
    }

    #[test]
    fn a_weight_goes_back_only_if_it_is_still_ours() {
        let diff = |weight, before, given, by| Diff::Weight {
            rule: "dmarc_fail".into(),
            weight,
            before,
            before_given: given,
            before_change_id: by,
        };
        let none = RuleSetSource::default();
        let first = diff(9.0, 4.0, false, None);
        let one = with_change(&none, &first, ChangeId(1), RuleSetId(1));
        let second = diff(1.0, 9.0, true, Some(ChangeId(1)));
        let two = with_change(&one, &second, ChangeId(2), RuleSetId(2));
        assert_eq!(without_change(&two, &second, ChangeId(2), RuleSetId(1)), one);
        assert_eq!(without_change(&two, &first, ChangeId(1), RuleSetId(2)), two);
        assert_eq!(without_change(&one, &first, ChangeId(1), RuleSetId(0)), none);
    }
}
