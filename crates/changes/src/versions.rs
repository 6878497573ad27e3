//! Rule set versions: immutable rows, exactly one of them active.

use model::{BacktestId, ChangeId, Domain, OrganisationId, PolicyId, RuleSetId, Timestamp};
use serde::Serialize;
use store::{Row, Tx, Value, values};
use verdict::{Policies, RuleSet, RuleSetSource};

use crate::{Changes, Error};

/// Rows per page at most.
const PAGE_MAX: i64 = 200;

/// A version of the rule set, without its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleSetVersion {
    /// Its id; verdicts name it.
    pub id: RuleSetId,
    /// The version it was made from.
    pub parent_id: Option<RuleSetId>,
    /// Hash of its content: equal hashes judge alike.
    pub hash: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The backtest it was tried with; `None` only for the first version, which is empty.
    pub backtest_id: Option<BacktestId>,
    /// The change that made it (or whose undo did).
    pub change_id: Option<ChangeId>,
    /// Whether it is in force.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes the first version of a new organisation in its transaction: no feeds, no entries, every rule with its own
/// weight; policies Default and Standard, the latter in force for everybody. Does nothing when a version is active.
///
/// There is no backtest of the first version: it is what the organisation's first mail is judged by, so there is no mail
/// to try it on.
pub async fn first_version(
    tx: &mut Tx,
    organisation_id: OrganisationId,
    domains: &[Domain],
    author: &str,
) -> Result<Option<RuleSetId>, Error> {
    if tx.query_one("rule_set.lock_active", &values![organisation_id]).await?.is_some() {
        return Ok(None);
    }
    let (store, now) = (tx.store().clone(), tx.store().now());
    let id: RuleSetId = store.next_id();
    // A single word such as localhost is too wide for rules that look for similar names; the facts know it anyway.
    let own_domains = domains.iter().map(|d| d.as_str().to_owned()).filter(|d| d.contains('.')).collect();
    let rule_set = compile(RuleSetSource { id, own_domains, ..RuleSetSource::default() })?;
    let new = NewVersion { parent_id: None, author, reason: "first version", backtest_id: None, change_id: None };
    insert_active(tx, organisation_id, &rule_set, new).await?;
    for (position, mut policy) in Policies::standard_for_all().policies.into_iter().enumerate() {
        policy.id = store.next_id::<PolicyId>();
        let (body, priority) = (serde_json::json!(policy), i64::try_from(position).unwrap_or(i64::MAX));
        let row = values![policy.id, organisation_id, &policy.name, priority, &body, now];
        tx.execute("policy.insert", &row).await?;
    }
    Ok(Some(id))
}

/// What a version's row says besides its content.
pub(crate) struct NewVersion<'a> {
    pub parent_id: Option<RuleSetId>,
    pub author: &'a str,
    pub reason: &'a str,
    pub backtest_id: Option<BacktestId>,
    pub change_id: Option<ChangeId>,
}

/// Writes a version and makes it the active one, in place of the one before.
pub(crate) async fn insert_active(
    tx: &mut Tx,
    organisation_id: OrganisationId,
    rule_set: &RuleSet,
    new: NewVersion<'_>,
) -> Result<(), Error> {
    tx.execute("rule_set.deactivate", &values![organisation_id]).await?;
    let source = serde_json::json!(rule_set.source());
    let now = tx.store().now();
    let row: [Value; 11] = values![
        rule_set.id(),
        organisation_id,
        new.parent_id,
        rule_set.hash(),
        &source,
        new.author,
        new.reason,
        new.backtest_id,
        new.change_id,
        true,
        now
    ];
    tx.execute("rule_set.insert", &row).await?;
    Ok(())
}

pub(crate) fn compile(source: RuleSetSource) -> Result<RuleSet, Error> {
    RuleSet::compile(source).map_err(|error| Error::RuleSet(error.to_string()))
}

impl Changes {
    /// A page of versions, newest first.
    pub async fn versions(&self, before: Option<RuleSetId>, limit: i64) -> Result<Vec<RuleSetVersion>, Error> {
        let page = values![self.directory.id(), before.map_or(i64::MAX, |id| id.0), limit.clamp(1, PAGE_MAX)];
        self.store().query("rule_set.page", &page).await?.iter().map(version).collect()
    }

    /// One version with its source.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub async fn version(&self, id: RuleSetId) -> Result<(RuleSetVersion, RuleSetSource), Error> {
        let row = self.store().query_one("rule_set.by_id", &values![id, self.directory.id()]).await?;
        let row = row.ok_or(Error::NotFound { what: "rule set", id: id.0 })?;
        Ok((version(&row)?, row.json("source")?))
    }

    /// The source in force: its feeds, the allow/block list, the weights.
    pub async fn active_source(&self) -> Result<RuleSetSource, Error> {
        Ok(self.protection().await?.rule_set.source().clone())
    }
}

fn version(row: &Row) -> Result<RuleSetVersion, Error> {
    Ok(RuleSetVersion {
        id: row.id("id")?,
        parent_id: row.opt_id("parent_id")?,
        hash: row.text("hash")?.to_owned(),
        author: row.text("author")?.to_owned(),
        reason: row.text("reason")?.to_owned(),
        backtest_id: row.opt_id("backtest_id")?,
        change_id: row.opt_id("change_id")?,
        active: row.flag("active")?,
        created_at: row.at("created_at")?,
    })
}
