//! Looking again where copies are in mailboxes that another system keeps: such a system does not tell what owners do.

use std::collections::{BTreeMap, HashMap};

use mailbox::LmtpImap;
use model::CopyId;
use store::{Row, values};

use crate::elsewhere::{Keeper, Sight, first_why};
use crate::free::{Changed, lock_copies};
use crate::{Quarantine, QuarantineError};

/// Copies of one look.
const COPIES_MAX: i64 = 256;
/// Older copies are looked for only when somebody asks.
const YOUNG_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Copies that were looked for.
    pub copy_count: i64,
    /// Of these, the ledger had them elsewhere.
    pub changed_count: i64,
    /// Why the first mailbox that could not be entered was not; empty when all were.
    pub unreached: String,
    /// The system that the first of those copies was last seen in which the system that keeps its mailbox now does not have:
    /// nobody can say where they are. Empty when there are none.
    pub seen_in: String,
}

/// A copy to be looked for.
struct Wanted {
    copy_id: CopyId,
    campaign_id: i64,
    place_detail: String,
    mailbox_id: model::MailboxId,
}

impl Quarantine {
    /// Looks where a copy is now. A copy in a mailbox of our own store, or in none, is where the ledger says.
    ///
    /// # Errors
    /// The store's. A mailbox that cannot be entered is told in the result.
    pub async fn look_again(&self, copy_id: CopyId) -> Result<Looked, QuarantineError> {
        let one = values![self.organisation_id(), copy_id, 1_i64];
        let rows = self.store().query("quarantine.elsewhere_of_copy", &one).await?;
        self.look_for(&rows).await
    }

    /// Looks for the copies after this one; gives the last, or 0 at the end.
    pub(crate) async fn look_round(&self, after: CopyId) -> Result<CopyId, QuarantineError> {
        if self.connectors.is_empty() {
            return Ok(CopyId(0));
        }
        let young = self.store().now().plus_ms(-YOUNG_MS);
        let page = values![self.organisation_id(), after, COPIES_MAX, young];
        let rows = self.store().query("quarantine.elsewhere_next", &page).await?;
        let looked = self.look_for(&rows).await?;
        if looked.changed_count > 0 {
            tracing::debug!(count = looked.changed_count, "owners had moved or deleted copies");
        }
        let is_full = i64::try_from(rows.len()).unwrap_or(0) >= COPIES_MAX;
        match rows.last().filter(|_| is_full) {
            Some(last) => Ok(last.id("id")?),
            None => Ok(CopyId(0)),
        }
    }

    async fn look_for(&self, rows: &[Row]) -> Result<Looked, QuarantineError> {
        let mut systems: BTreeMap<String, (LmtpImap, Vec<Wanted>)> = BTreeMap::new();
        let mut left: Vec<CopyId> = Vec::new();
        for row in rows {
            match self.keeper(row.text("connector")?, row.text("mailbox_address")?) {
                Keeper::There(connector) => {
                    let name = connector.name().to_owned();
                    let wanted = Wanted {
                        copy_id: row.id("id")?,
                        campaign_id: row.opt_int("campaign_id")?.unwrap_or(0),
                        place_detail: row.text("place_detail")?.to_owned(),
                        mailbox_id: row.id("mailbox_id")?,
                    };
                    systems.entry(name).or_insert_with(|| (connector, Vec::new())).1.push(wanted);
                }
                // Our own store keeps the mailbox by now and does not have it.
                Keeper::Here => left.push(row.id("id")?),
                Keeper::Unknown(_) => {}
            }
        }
        let mut looked = Looked::default();
        looked.note_seen_in(&left, &self.seen_in(&left).await?);
        for (connector, wanted) in systems.into_values() {
            self.look_into(&connector, &wanted, &mut looked).await?;
        }
        Ok(looked)
    }

    async fn look_into(
        &self,
        connector: &LmtpImap,
        wanted: &[Wanted],
        looked: &mut Looked,
    ) -> Result<(), QuarantineError> {
        let copy_ids: Vec<CopyId> = wanted.iter().map(|one| one.copy_id).collect();
        let batch = connector.look(&copy_ids).await?;
        // What is being taken out right now is not gone.
        let held = connector.held(&copy_ids).await?;
        let is_found = |copy_id: &CopyId| batch.done.iter().any(|found| found.copy_id == *copy_id);
        let is_unknown =
            |copy_id: &CopyId| held.contains(copy_id) || batch.failed.iter().any(|f| f.copy_id == *copy_id);
        let missing: Vec<CopyId> = copy_ids.iter().copied().filter(|id| !is_found(id) && !is_unknown(id)).collect();
        let seen_in = self.seen_in(&missing).await?;
        let strange: Vec<CopyId> = missing.into_iter().filter(|id| !is_seen_in(&seen_in, *id, connector)).collect();
        looked.note_seen_in(&strange, &seen_in);
        let mut changed = Changed::default();
        let mut events = Vec::new();
        let mut tx = self.store().begin().await?;
        let states = lock_copies(&mut tx, copy_ids.iter().copied()).await?;
        for one in wanted {
            let Some(state) = states.get(&one.copy_id).filter(|_| !is_unknown(&one.copy_id)) else { continue };
            let found = batch.done.iter().find(|found| found.copy_id == one.copy_id);
            let sight = Sight {
                copy_id: one.copy_id,
                state: *state,
                place_detail: &one.place_detail,
                snapshot: found.map(|found| &found.snapshot),
                seen_in: seen_in.get(&one.copy_id).map_or("", String::as_str),
                by: "look",
            };
            if let Some(event) = self.evidence(&sight, connector.name()) {
                changed.campaigns.insert(one.campaign_id);
                changed.mailboxes.insert(one.mailbox_id);
                events.push(event);
            }
        }
        tx.append_events(&events).await?;
        tx.commit().await?;
        self.announce(&changed);
        looked.copy_count += i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        looked.changed_count += i64::try_from(events.len()).unwrap_or(i64::MAX);
        if let (Some(why), true) = (first_why(&batch.failed), looked.unreached.is_empty()) {
            looked.unreached = why;
        }
        Ok(())
    }
}

impl Looked {
    fn note_seen_in(&mut self, copy_ids: &[CopyId], seen_in: &HashMap<CopyId, String>) {
        if let (Some(name), true) = (copy_ids.iter().find_map(|id| seen_in.get(id)), self.seen_in.is_empty()) {
            name.clone_into(&mut self.seen_in);
        }
    }
}

fn is_seen_in(seen_in: &HashMap<CopyId, String>, copy_id: CopyId, connector: &LmtpImap) -> bool {
    seen_in.get(&copy_id).is_some_and(|name| name == connector.name())
}
