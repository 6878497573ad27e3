//! Changes as rows: proposing, reading, stopping.

use directory::{Directory, NewAudit, Protection};
use model::{AccountId, BacktestId, ChangeId, RuleSetId, Timestamp};
use serde::Serialize;
use store::{Row, Store, Topic, Tx, values};

use crate::activate::Stop;
use crate::diff::normalise;
use crate::state::{ChangeState, Step, advance};
use crate::{Diff, Error, Proposal};

/// Rows per page at most.
const PAGE_MAX: i64 = 200;
/// Characters of a reason.
pub(crate) const REASON_CHARS_MAX: usize = 2_000;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The account; `None` for the server itself.
    pub account_id: Option<AccountId>,
    /// The login, as shown in lists and updates.
    pub login: String,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// Where it is in its life.
    pub state: ChangeState,
    /// One line.
    pub title: String,
    /// What it changes.
    pub diff: Diff,
    /// Why it was proposed.
    pub reason: String,
    /// Who proposed it.
    pub proposed_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Its last backtest, also one that runs.
    pub backtest_id: Option<BacktestId>,
    /// The version that the proposal and its backtest start from.
    pub base_rule_set_id: Option<RuleSetId>,
    /// The version that it made.
    pub rule_set_id: Option<RuleSetId>,
    /// Who activated it, or empty.
    pub activated_by: String,
    /// When.
    pub activated_at: Option<Timestamp>,
    /// Why it was activated against the backtest's warning, or empty.
    pub override_reason: String,
    /// Who undid or stopped it, or empty.
    pub undone_by: String,
    /// When.
    pub undone_at: Option<Timestamp>,
    /// Why.
    pub undo_reason: String,
    /// When its row last moved.
    pub updated_at: Timestamp,
}

/// Which changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeFilter {
    /// Only in this state.
    pub state: Option<ChangeState>,
    /// The last change of the page before; changes come newest first.
    pub before: Option<ChangeId>,
    /// Rows wanted, 1 to 200.
    pub limit: i64,
}

/// The changes of one organisation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    pub(crate) directory: Directory,
}

impl Changes {
    /// For the organisation of `directory`.
    pub fn new(directory: &Directory) -> Changes {
        Changes { directory: directory.clone() }
    }

    pub(crate) fn store(&self) -> &Store {
        self.directory.store()
    }

    /// What mail is judged by now, read from the rows.
    pub(crate) async fn protection(&self) -> Result<Protection, Error> {
        Ok(self.directory.protection().await?)
    }

    /// Writes a proposal down. Nothing is in force yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] lists every problem with its place (for feed lines the line number) and what to do.
    pub async fn propose(&self, proposal: Proposal, reason: &str, actor: &Actor) -> Result<Change, Error> {
        let reason = checked_reason(reason)?;
        let protection = self.protection().await?;
        let store = self.store();
        let (id, now): (ChangeId, Timestamp) = (store.next_id(), store.now());
        let diff = normalise(proposal, protection.rule_set.source(), id, now, || store.next_id())?;
        let (kind, title, json) = (diff.kind(), diff.title(), serde_json::json!(diff));
        let base = Some(protection.rule_set.id()).filter(|id| id.0 != 0);
        let mut tx = store.begin().await?;
        let state = ChangeState::Proposed.as_str();
        let organisation_id = self.directory.id();
        let row = values![id, organisation_id, kind, &title, state, &json, &reason, &actor.login, now, base, now];
        tx.execute("change.insert", &row).await?;
        self.audit(&mut tx, actor, "change.propose", id, &reason, serde_json::json!({ "title": title })).await?;
        let change = self.lock(&mut tx, id).await?; // read before: what is committed cannot fail any more
        tx.commit().await?;
        store.bus().announce(Topic::Change, id);
        Ok(change)
    }

    /// A change.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub async fn get(&self, id: ChangeId) -> Result<Change, Error> {
        let row = self.store().query_one("change.by_id", &values![id, self.directory.id()]).await?;
        change(&row.ok_or(Error::NotFound { what: "change", id: id.0 })?)
    }

    /// A page of changes, newest first.
    pub async fn list(&self, filter: ChangeFilter) -> Result<Vec<Change>, Error> {
        let before = filter.before.map_or(i64::MAX, |id| id.0);
        let state = filter.state.map_or("", ChangeState::as_str);
        let page = values![self.directory.id(), before, state, filter.limit.clamp(1, PAGE_MAX)];
        self.store().query("change.page", &page).await?.iter().map(change).collect()
    }

    /// Gives a change up that is not in force. A backtest under way ends at its next step.
    ///
    /// # Errors
    /// [`Error::State`] for a change that is, or was, in force.
    pub async fn stop(&self, id: ChangeId, actor: &Actor, reason: &str) -> Result<Stop, Error> {
        let reason = checked_reason(reason)?;
        let mut tx = self.store().begin().await?;
        let found = self.lock(&mut tx, id).await?;
        if found.state == ChangeState::Stopped {
            return Ok(Stop::Already(found));
        }
        let state = advance(found.state, Step::Stop)?;
        let now = self.store().now();
        tx.execute("change.undo", &values![state.as_str(), &actor.login, now, &reason, id]).await?;
        self.audit(&mut tx, actor, "change.stop", id, &reason, serde_json::json!({ "title": found.title })).await?;
        let change = self.lock(&mut tx, id).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Change, id);
        Ok(Stop::Done(change))
    }

    /// The change, held until the end of the transaction.
    pub(crate) async fn lock(&self, tx: &mut Tx, id: ChangeId) -> Result<Change, Error> {
        let row = tx.query_one("change.lock", &values![id, self.directory.id()]).await?;
        change(&row.ok_or(Error::NotFound { what: "change", id: id.0 })?)
    }

    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        action: &'static str,
        id: ChangeId,
        reason: &str,
        detail: serde_json::Value,
    ) -> Result<(), Error> {
        let target = format!("change {id}");
        let entry = NewAudit { account_id: actor.account_id, action, target, reason, detail };
        Ok(self.directory.audit_in(tx, entry).await?)
    }
}

/// A reason without surrounding space, bounded; empty is fine where nothing asks for one.
pub(crate) fn checked_reason(reason: &str) -> Result<String, Error> {
    let reason = model::SqlText::new(reason.trim());
    if reason.as_str().chars().count() > REASON_CHARS_MAX {
        let problem = format!("a reason has at most {REASON_CHARS_MAX} characters");
        return Err(Error::invalid("reason", reason.as_str().chars().take(80).collect::<String>(), problem));
    }
    Ok(reason.as_str().to_owned())
}

fn change(row: &Row) -> Result<Change, Error> {
    let word = row.text("state")?;
    let state = ChangeState::parse(word)
        .ok_or_else(|| Error::Row { what: "change", problem: format!("unknown state {word:?}") })?;
    Ok(Change {
        id: row.id("id")?,
        state,
        title: row.text("title")?.to_owned(),
        diff: row.json("diff")?,
        reason: row.text("reason")?.to_owned(),
        proposed_by: row.text("proposed_by")?.to_owned(),
        created_at: row.at("created_at")?,
        backtest_id: row.opt_id("backtest_id")?,
        base_rule_set_id: row.opt_id("base_rule_set_id")?,
        rule_set_id: row.opt_id("rule_set_id")?,
        activated_by: row.text("activated_by")?.to_owned(),
        activated_at: row.opt_at("activated_at")?,
        override_reason: row.text("override_reason")?.to_owned(),
        undone_by: row.text("undone_by")?.to_owned(),
        undone_at: row.opt_at("undone_at")?,
        undo_reason: row.text("undo_reason")?.to_owned(),
        updated_at: row.at("updated_at")?,
    })
}
