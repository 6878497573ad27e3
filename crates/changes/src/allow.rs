//! The fast path for an allow entry: proposed, backtested and activated in one go, since it can only make verdicts milder.

use serde::Serialize;
use verdict::{ListAction, ListEntry};

use crate::activate::Activation;
use crate::diff::{entry_in_force, lasts_until};
use crate::{Actor, BacktestOptions, Change, Changes, Error, NewListEntry, Proposal};

/// Messages that the backtest of an allow entry judges at most, so that the answer comes at once.
const MESSAGES_MAX: i64 = 20_000;
/// An entry in force is replaced only by one that lasts longer by so much: a repeated click asks for nothing new.
const LONGER_MS_MIN: i64 = 24 * 60 * 60 * 1_000;

/// An entry of the allow list: what is allowed, until when, and a note for people. `action` must be allow.
pub type Allow = NewListEntry;

/// What allowing did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Allowed {
    /// The entry is in force.
    Done {
        /// The change that brought it.
        change: Box<Change>,
        /// The entry.
        entry: ListEntry,
        /// Held copies that would get through now: worth a redelivery, which nobody has started.
        redelivery_count: i64,
    },
    /// The list had it already; nothing was changed.
    Already {
        /// The entry that is in force.
        entry: ListEntry,
    },
}

impl Changes {
    /// Adds an allow entry: a change like any other, with its backtest record, without the wait.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that is not of its kind, an expiry in the past, or a block entry, which has to be
    /// proposed and looked at.
    pub async fn allow(&self, entry: Allow, actor: &Actor, reason: &str) -> Result<Allowed, Error> {
        if entry.action != ListAction::Allow {
            return Err(Error::invalid(
                "action",
                entry.action.as_str(),
                "propose a block entry and look at its backtest",
            ));
        }
        let now = self.store().now();
        let source = self.active_source().await?;
        if let Ok(value) = verdict::check_list_value(entry.action, entry.kind, &entry.value) {
            let until = entry.expires_at.map(|at| at.plus_ms(-LONGER_MS_MIN));
            let there = entry_in_force(&source, entry.action, entry.kind, &value, now);
            if let Some(there) = there.filter(|there| lasts_until(there, until)) {
                return Ok(Allowed::Already { entry: there.clone() });
            }
        }
        let change = self.propose(Proposal::List { add: vec![entry], remove: Vec::new() }, reason, actor).await?;
        let options = BacktestOptions { messages_max: MESSAGES_MAX, ..BacktestOptions::default() };
        self.backtest(change.id, options, actor).await?;
        // An allow entry takes nothing away, so that its backtest has nothing to warn of; the reason is there if it does.
        let (change, redelivery_count) = match self.activate(change.id, actor, reason).await? {
            Activation::Done { change, redelivery_count, .. } => (change, redelivery_count),
            Activation::Already(change) => (change, 0),
        };
        let crate::Diff::List { add, .. } = &change.diff else {
            return Err(Error::Row { what: "change", problem: "its diff is of another kind than was proposed".into() });
        };
        let entry = add.first().cloned().ok_or(Error::Row { what: "change", problem: "its entry is gone".into() })?;
        Ok(Allowed::Done { change, entry, redelivery_count })
    }
}
