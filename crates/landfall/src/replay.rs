//! Every verdict can be replayed: the same stored facts and the rule set version that the verdict names give it again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use model::{Facts, RuleSetId, Verdict};
use store::{Store, values};
use verdict::{RuleSet, RuleSetSource};

use crate::error::CliError;

const MESSAGES_PER_PAGE: i64 = 500;

/// Judges every stored message again by the version that judged it; gives how many.
///
/// # Errors
/// [`CliError::Failed`] names the first message whose verdict comes out differently, or the rule that has changed since.
pub async fn verify_verdicts(store: &Store) -> Result<u64, CliError> {
    let mut versions: BTreeMap<RuleSetId, RuleSet> = BTreeMap::new();
    let (mut after, mut count) = (0i64, 0u64);
    loop {
        let rows = store.query("message.judged", &values![after, MESSAGES_PER_PAGE]).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = last.int("id")?;
        for row in &rows {
            let (id, stored): (i64, Verdict) = (row.int("id")?, row.json("verdict")?);
            let facts: Facts = row.json("facts")?;
            if facts.version != Facts::VERSION {
                let text = format!(
                    "message {id}: its facts have layout {}, this binary reads {}",
                    facts.version,
                    Facts::VERSION
                );
                return Err(CliError::Failed(text));
            }
            if let Entry::Vacant(missing) = versions.entry(stored.rule_set_id) {
                missing.insert(version(store, stored.rule_set_id).await?);
            }
            check(id, &stored, &verdict::judge(&facts, &versions[&stored.rule_set_id], facts.received_at))?;
            count += 1;
        }
    }
}

/// The compiled rule set of a version.
pub async fn version(store: &Store, id: RuleSetId) -> Result<RuleSet, CliError> {
    let row = store.query_one("rule_set.source_of", &values![id]).await?;
    let row = row.ok_or_else(|| CliError::Failed(format!("there is no rule set version {id}")))?;
    RuleSet::compile(row.json::<RuleSetSource>("source")?)
        .map_err(|e| CliError::failed(&format!("rule set version {id}"), &e))
}

fn check(message: i64, stored: &Verdict, again: &Verdict) -> Result<(), CliError> {
    if stored == again {
        return Ok(());
    }
    let versions = |v: &Verdict| v.signals.iter().map(|s| (s.rule.clone(), s.rule_version)).collect::<BTreeMap<_, _>>();
    let (then, now) = (versions(stored), versions(again));
    let changed = then.iter().find(|(rule, version)| now.get(*rule).is_some_and(|v| v != *version));
    Err(CliError::Failed(match changed {
        Some((rule, version)) => format!("message {message}: a replay needs version {version} of the rule {rule}"),
        None => format!("message {message}: the verdict was {}, a replay gives {}", stored.class, again.class),
    }))
}
