//! Putting a tested change in force, and taking it back: one transaction each.

use model::{ChangeId, JobId, RuleSetId, Timestamp};
use serde::Serialize;
use store::{Topic, Tx, values};
use verdict::{Candidates, RuleSet, RuleSetSource, ZAP_WINDOW_MS, candidate_terms};

use crate::backtest::base_of;
use crate::change::checked_reason;
use crate::edit::{with_change, without_change};
use crate::state::{ChangeState, Step, advance};
use crate::versions::{NewVersion, compile, insert_active};
use crate::{Actor, Backtest, BacktestState, Change, Changes, Error};

/// What activating did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Activation {
    /// It is in force now.
    Done {
        /// The change.
        change: Box<Change>,
        /// The job that pulls landed copies back; `None` for a change that only makes verdicts milder.
        purge_job_id: Option<JobId>,
        /// Held copies that the new rules would put in the inbox: worth a redelivery, which nobody has started.
        redelivery_count: i64,
    },
    /// It was in force already; nothing was changed.
    Already(Box<Change>),
}

/// What stopping did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Stop {
    /// It is given up.
    Done(Change),
    /// It was given up already; nothing was changed.
    Already(Change),
}

/// What undoing did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Undo {
    /// It is out of force now.
    Done {
        /// The change.
        change: Box<Change>,
        /// The job that puts back what the change pulled back; `None` when it pulled nothing back.
        restore_job_id: Option<JobId>,
    },
    /// It was undone already; nothing was changed.
    Already(Box<Change>),
}

/// The next version, compiled outside the transaction.
struct Next {
    base_id: RuleSetId,
    rule_set: RuleSet,
    candidates: Candidates,
}

/// A job for the quarantine's worker.
struct NewJob<'a> {
    kind: &'static str,
    title: String,
    params: serde_json::Value,
    actor: &'a Actor,
}

impl Changes {
    /// Puts a tested change in force: the new version is active, the state is moved, the audit log says who and why, and
    /// the purge has its job, all or nothing. `override_reason` is needed, and kept, only where the backtest warned.
    ///
    /// # Errors
    /// [`Error::NoBacktest`], [`Error::StaleBacktest`], [`Error::NeedsReason`], [`Error::NeedsSecondPerson`], or
    /// [`Error::State`].
    pub async fn activate(&self, id: ChangeId, actor: &Actor, override_reason: &str) -> Result<Activation, Error> {
        let reason = checked_reason(override_reason)?;
        let found = self.get(id).await?;
        if found.state == ChangeState::Active {
            return Ok(Activation::Already(Box::new(found)));
        }
        let backtest = self.tested(&found, &reason).await?;
        self.by_enough_people(&found, &backtest, actor).await?;
        let next = self.next(|base, next_id| with_change(base, &found.diff, id, next_id)).await?;
        let mut tx = self.store().begin().await?;
        let locked = self.lock(&mut tx, id).await?;
        if locked.state == ChangeState::Active {
            return Ok(Activation::Already(Box::new(locked)));
        }
        let state = advance(locked.state, Step::Activate)?;
        self.check_base(&mut tx, next.base_id).await?;
        if locked.backtest_id != Some(backtest.id) || locked.base_rule_set_id != base_of(next.base_id) {
            return Err(Error::StaleBacktest);
        }
        let now = self.store().now();
        let new = NewVersion {
            parent_id: base_of(next.base_id),
            author: &actor.login,
            reason: &locked.title,
            backtest_id: Some(backtest.id),
            change_id: Some(id),
        };
        insert_active(&mut tx, self.directory.id(), &next.rule_set, new).await?;
        let why = if backtest.warning.is_empty() { "" } else { reason.as_str() };
        let row = values![state.as_str(), next.rule_set.id(), &actor.login, now, why, id];
        tx.execute("change.activate", &row).await?;
        let purge_job_id = self.purge_job(&mut tx, &locked, &next, actor).await?;
        let detail = serde_json::json!({
            "title": locked.title, "rule_set_id": next.rule_set.id(), "backtest_id": backtest.id,
            "warning": backtest.warning, "purge_job_id": purge_job_id,
        });
        self.audit(&mut tx, actor, "change.activate", id, why, detail).await?;
        let change = Box::new(self.lock(&mut tx, id).await?); // read before: what is committed cannot fail any more
        tx.commit().await?;
        self.announce(id, next.rule_set.id(), purge_job_id);
        Ok(Activation::Done { change, purge_job_id, redelivery_count: backtest.report.redelivery_count })
    }

    /// Takes a change out of force: a new version without exactly its entries, and the job that restores what it pulled
    /// back. What later changes did stays.
    ///
    /// # Errors
    /// [`Error::State`] for a change that is not in force.
    pub async fn undo(&self, id: ChangeId, actor: &Actor, reason: &str) -> Result<Undo, Error> {
        let reason = checked_reason(reason)?;
        let found = self.get(id).await?;
        if found.state == ChangeState::Undone {
            return Ok(Undo::Already(Box::new(found)));
        }
        advance(found.state, Step::Undo)?;
        let next = self.next(|base, next_id| without_change(base, &found.diff, id, next_id)).await?;
        let mut tx = self.store().begin().await?;
        let locked = self.lock(&mut tx, id).await?;
        if locked.state == ChangeState::Undone {
            return Ok(Undo::Already(Box::new(locked)));
        }
        let state = advance(locked.state, Step::Undo)?;
        self.check_base(&mut tx, next.base_id).await?;
        let now = self.store().now();
        let words = format!("Undo: {}", locked.title);
        let new = NewVersion {
            parent_id: base_of(next.base_id),
            author: &actor.login,
            reason: &words,
            backtest_id: locked.backtest_id,
            change_id: Some(id),
        };
        insert_active(&mut tx, self.directory.id(), &next.rule_set, new).await?;
        tx.execute("change.undo", &values![state.as_str(), &actor.login, now, &reason, id]).await?;
        let restore_job_id = self.restore_job(&mut tx, &locked, actor).await?;
        let detail = serde_json::json!({
            "title": locked.title, "rule_set_id": next.rule_set.id(), "restore_job_id": restore_job_id,
        });
        self.audit(&mut tx, actor, "change.undo", id, &reason, detail).await?;
        let change = Box::new(self.lock(&mut tx, id).await?);
        tx.commit().await?;
        self.announce(id, next.rule_set.id(), restore_job_id);
        Ok(Undo::Done { change, restore_job_id })
    }

    /// The finished backtest of a change that may be activated with this reason.
    async fn tested(&self, change: &Change, reason: &str) -> Result<Backtest, Error> {
        let Some(backtest_id) = change.backtest_id else {
            // Stopped and undone changes are refused for what they are, not for lack of a test.
            return Err(match change.state {
                ChangeState::Proposed => Error::NoBacktest,
                state => advance(state, Step::Activate).err().map_or(Error::NoBacktest, Error::State),
            });
        };
        advance(change.state, Step::Activate).map_err(|refused| match change.state {
            ChangeState::Proposed => Error::NoBacktest,
            _ => Error::State(refused),
        })?;
        let backtest = self.backtest_status(backtest_id).await?;
        if backtest.state != BacktestState::Done {
            return Err(Error::NoBacktest);
        }
        if !backtest.warning.is_empty() && reason.is_empty() {
            return Err(Error::NeedsReason { warning: backtest.warning });
        }
        Ok(backtest)
    }

    /// Pulling back very much mail takes two: whoever proposed it and whoever puts it in force. (Taking it back takes one.)
    async fn by_enough_people(&self, change: &Change, backtest: &Backtest, actor: &Actor) -> Result<(), Error> {
        let (count, limit) = (backtest.report.purge_count, self.directory.settings().await?.limits.mass_action_max);
        if count > limit && change.proposed_by == actor.login {
            return Err(Error::NeedsSecondPerson { count, limit, proposed_by: change.proposed_by.clone() });
        }
        Ok(())
    }

    /// Compiles the version that `edit` makes of the active one.
    async fn next(&self, edit: impl Fn(&RuleSetSource, RuleSetId) -> RuleSetSource) -> Result<Next, Error> {
        let base = self.protection().await?.rule_set;
        let source = edit(base.source(), self.store().next_id());
        let compiling = tokio::task::spawn_blocking(move || {
            let candidates = candidate_terms(base.source(), &source);
            compile(source).map(|rule_set| Next { base_id: base.id(), rule_set, candidates })
        });
        compiling.await.map_err(|error| Error::CutOff(error.to_string()))?
    }

    /// Holds the active version and makes sure that it is still the one that the next was made from.
    async fn check_base(&self, tx: &mut Tx, base_id: RuleSetId) -> Result<(), Error> {
        let row = tx.query_one("rule_set.lock_active", &values![self.directory.id()]).await?;
        let active = row.map(|row| row.id::<RuleSetId>("id")).transpose()?;
        if active == base_of(base_id) { Ok(()) } else { Err(Error::StaleBacktest) }
    }

    async fn purge_job(
        &self,
        tx: &mut Tx,
        change: &Change,
        next: &Next,
        actor: &Actor,
    ) -> Result<Option<JobId>, Error> {
        if change.diff.only_lowers() {
            return Ok(None);
        }
        let title = format!("Pull back: {}", change.title);
        let params = purge_params(&next.candidates);
        self.insert_job(tx, change.id, NewJob { kind: "purge", title, params, actor }).await.map(Some)
    }

    async fn restore_job(&self, tx: &mut Tx, change: &Change, actor: &Actor) -> Result<Option<JobId>, Error> {
        if change.diff.only_lowers() {
            return Ok(None);
        }
        let title = format!("Put back: {}", change.title);
        let params = serde_json::json!({});
        self.insert_job(tx, change.id, NewJob { kind: "restore", title, params, actor }).await.map(Some)
    }

    async fn insert_job(&self, tx: &mut Tx, change_id: ChangeId, job: NewJob<'_>) -> Result<JobId, Error> {
        let (id, now): (JobId, Timestamp) = (self.store().next_id(), self.store().now());
        let row =
            values![id, self.directory.id(), job.kind, job.title, change_id.0, &job.params, &job.actor.login, now];
        tx.execute("job.insert", &row).await?;
        Ok(id)
    }

    fn announce(&self, change_id: ChangeId, rule_set_id: RuleSetId, job_id: Option<JobId>) {
        let bus = self.store().bus();
        bus.announce(Topic::RuleSet, rule_set_id);
        bus.announce(Topic::Change, change_id);
        if let Some(job_id) = job_id {
            bus.announce(Topic::Job, job_id);
        }
    }
}

/// As `job.sql` says: the terms to look up, or none for a change that can touch any mail of the window.
fn purge_params(candidates: &Candidates) -> serde_json::Value {
    match candidates {
        Candidates::Window => serde_json::json!({ "window_ms": ZAP_WINDOW_MS }),
        Candidates::Terms(terms) => {
            let terms: Vec<(&str, &str)> = terms.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
            serde_json::json!({ "terms": terms, "window_ms": ZAP_WINDOW_MS })
        }
    }
}
