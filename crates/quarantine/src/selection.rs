//! Which held copies an action is about, and what it would do to them.

use model::{CampaignId, QuarantineItemId, QuarantineReason, ReleaseStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Row, Store, StoreError, Value};

use crate::outcome::counted;
use crate::view::{HeldBy, word};
use crate::{Quarantine, QuarantineError, Step, advance};

/// Most items that one call names.
pub const ITEMS_MAX: usize = 1_000;

/// Which held copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// These items, at most [`ITEMS_MAX`].
    Items(Vec<QuarantineItemId>),
    /// Everything of a campaign.
    Campaign(CampaignId),
    /// Everything that a cause (a change) brought here.
    Cause(#[serde(with = "cause_text")] i64),
}

/// Ids are decimal strings in JSON.
mod cause_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(id: &i64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// What a release would do, counted before it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// Held on arrival: they would arrive now.
    pub arrival_count: i64,
    /// Pulled back: they would return to the folders they came from.
    pub purge_count: i64,
    /// Released or expired already: nothing would change.
    pub unchanged_count: i64,
    /// Of the first two: malware and high confidence phish, which need an analyst and a fresh verdict.
    pub dangerous_count: i64,
    /// Of the first two: somebody asked for their release.
    pub requested_count: i64,
}

impl Effect {
    /// How many would be freed.
    pub fn count(&self) -> i64 {
        self.arrival_count + self.purge_count
    }

    /// What would happen, in one sentence.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if self.arrival_count > 0 {
            parts.push(format!("{} held on arrival would arrive now", counted(self.arrival_count)));
        }
        if self.purge_count > 0 {
            parts.push(format!("{} would return to the folders they came from", counted(self.purge_count)));
        }
        if self.dangerous_count > 0 {
            parts.push(format!("{} of them need an analyst and a fresh verdict", counted(self.dangerous_count)));
        }
        if parts.is_empty() {
            parts.push("nothing would change".to_owned());
        }
        if self.unchanged_count > 0 {
            parts.push(format!("{} were decided before", counted(self.unchanged_count)));
        }
        parts.join("; ")
    }
}

/// An item and its copy: what is locked before anything is decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ref {
    pub id: QuarantineItemId,
    pub copy_id: model::CopyId,
}

impl Selection {
    /// # Errors
    /// [`QuarantineError::TooManyItems`].
    pub(crate) fn check(&self) -> Result<(), QuarantineError> {
        match self {
            Selection::Items(ids) if ids.len() > ITEMS_MAX => Err(QuarantineError::TooManyItems(ITEMS_MAX)),
            Selection::Items(_) | Selection::Campaign(_) | Selection::Cause(_) => Ok(()),
        }
    }

    fn key(&self) -> Value {
        match self {
            Selection::Items(ids) => Value::from(&json!(ids.iter().map(|id| id.0).collect::<Vec<_>>())),
            Selection::Campaign(id) => Value::from(*id),
            Selection::Cause(id) => Value::from(*id),
        }
    }

    /// Undecided items after `after`, in the order of ids.
    pub(crate) async fn open_page(
        &self,
        store: &Store,
        organisation_id: model::OrganisationId,
        after: QuarantineItemId,
        limit: i64,
    ) -> Result<Vec<Ref>, StoreError> {
        let statement = match self {
            Selection::Items(_) => "quarantine.open_items",
            Selection::Campaign(_) => "quarantine.open_campaign",
            Selection::Cause(_) => "quarantine.open_cause",
        };
        let page = [Value::from(organisation_id), self.key(), Value::from(after), Value::from(limit)];
        refs(&store.query(statement, &page).await?)
    }

    /// How many items it has, by status, way of holding and reason; and how many of each cell somebody else than `login` has
    /// asked for.
    pub(crate) async fn cube(
        &self,
        store: &Store,
        of: model::OrganisationId,
        login: &str,
    ) -> Result<Vec<(Cell, i64)>, StoreError> {
        let statement = match self {
            Selection::Items(_) => "quarantine.count_items",
            Selection::Campaign(_) => "quarantine.count_campaign",
            Selection::Cause(_) => "quarantine.count_cause",
        };
        let rows = store.query(statement, &[Value::from(of), self.key(), Value::from(login)]).await?;
        rows.iter().map(|row| Ok((Cell::from_row(row)?, row.int("by_others_count")?))).collect()
    }
}

pub(crate) fn refs(rows: &[Row]) -> Result<Vec<Ref>, StoreError> {
    rows.iter().map(|row| Ok(Ref { id: row.id("id")?, copy_id: row.id("copy_id")? })).collect()
}

/// One cell of the cube (status, held_by, reason) -> count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub status: ReleaseStatus,
    pub held_by: HeldBy,
    pub reason: QuarantineReason,
    pub count: i64,
}

impl Cell {
    pub(crate) fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Cell {
            status: word(row, "status", ReleaseStatus::parse)?,
            held_by: word(row, "held_by", HeldBy::parse)?,
            reason: word(row, "reason", QuarantineReason::parse)?,
            count: row.int("item_count")?,
        })
    }
}

impl Quarantine {
    /// What a release of the selection would do now.
    ///
    /// # Errors
    /// [`QuarantineError::TooManyItems`]; the store's.
    pub async fn effect(&self, selection: &Selection) -> Result<Effect, QuarantineError> {
        Ok(self.effect_of(selection, "").await?.0)
    }

    /// The same, with how many of these copies somebody else than `login` has asked for.
    pub(crate) async fn effect_of(&self, selection: &Selection, login: &str) -> Result<(Effect, i64), QuarantineError> {
        selection.check()?;
        let (mut effect, mut by_others_count) = (Effect::default(), 0);
        for (cell, by_others) in selection.cube(self.store(), self.organisation_id(), login).await? {
            by_others_count += by_others;
            if advance(cell.status, Step::Free).is_err() {
                effect.unchanged_count += cell.count;
                continue;
            }
            match cell.held_by {
                HeldBy::Arrival => effect.arrival_count += cell.count,
                HeldBy::Purge => effect.purge_count += cell.count,
            }
            if cell.reason.needs_analyst() {
                effect.dangerous_count += cell.count;
            }
            if cell.status == ReleaseStatus::Requested {
                effect.requested_count += cell.count;
            }
        }
        Ok((effect, by_others_count))
    }
}
