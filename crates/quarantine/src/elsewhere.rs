//! Copies in mailboxes that another system keeps: what the rows of our own store do in one transaction takes two steps
//! there.
//!
//! Pulled back: first the copy leaves the mailbox for a holding folder, then snapshot, held item and event are committed,
//! then the holding folder lets go. Put back: first the copy is in its folder again, then that is committed. Whoever dies
//! in between leaves something that the next try finds as it is, and goes on from there.
//!
//! A mailbox that cannot be entered now holds up nobody: its copies come later, and the job says what it waits for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use mailbox::{Batch, Connectors, Failed, Landed, LmtpImap, MailboxError, PutBack, Snapshot};
use model::{CopyId, EventKind, Place, Whereabouts};
use serde_json::json;
use store::{NewEvent, Row, StoreError, values};

use crate::free::{Held, Right, held_as_it_is, may_leave, plan};
use crate::job::{Claimed, LEASE_MS};
use crate::selection::Ref;
use crate::view::word;
use crate::{Actor, Quarantine, QuarantineError};

/// What the events say who saw it; the detail names the connector.
const SOURCE: &str = "connector";

/// Which system keeps a mailbox.
pub(crate) enum Keeper {
    /// Our own store.
    Here,
    /// The one behind this connector.
    There(LmtpImap),
    /// One that is not configured in this process.
    Unknown(String),
}

/// What was put back into mailboxes of other systems before the rows say so.
#[derive(Debug, Default)]
pub(crate) struct Back {
    /// Copies whose mailbox another system keeps.
    pub(crate) there: BTreeSet<CopyId>,
    /// Those of them that are back.
    pub(crate) landed: HashMap<CopyId, Landed>,
    /// By which connector.
    pub(crate) connectors: HashMap<CopyId, String>,
    /// Why others are not.
    pub(crate) failed: HashMap<CopyId, String>,
}

impl Quarantine {
    /// The same quarantine, reaching mailboxes of other systems through these connectors.
    #[must_use]
    pub fn with_connectors(mut self, connectors: Connectors) -> Self {
        self.connectors = connectors;
        self
    }

    pub(crate) fn keeper(&self, explicit: &str, address: &str) -> Keeper {
        match self.directory().connector_of(explicit, address) {
            None => Keeper::Here,
            Some(name) => match self.connectors.get(name) {
                Some(connector) => Keeper::There(connector.clone()),
                None => Keeper::Unknown(name.to_owned()),
            },
        }
    }

    fn keeper_of(&self, row: &Row, address: &str) -> Result<Keeper, StoreError> {
        Ok(self.keeper(row.text("connector")?, row.text(address)?))
    }

    /// Puts the copies of a page that may be freed, and whose mailbox another system keeps, back there. What the rows say
    /// afterwards decides; until then the held items are as they were.
    pub(crate) async fn put_back_elsewhere(
        &self,
        page: &[Ref],
        actor: &Actor,
        right: Right,
    ) -> Result<Back, QuarantineError> {
        let mut back = Back::default();
        if self.connectors.is_empty() || page.is_empty() {
            return Ok(back);
        }
        let ids = json!(page.iter().map(|r| r.copy_id.0).collect::<BTreeSet<_>>());
        let mut by_connector: BTreeMap<String, (LmtpImap, BTreeSet<CopyId>)> = BTreeMap::new();
        for row in self.store().query("quarantine.mailboxes_of", &values![&ids]).await? {
            let copy_id: CopyId = row.id("copy_id")?;
            match self.keeper_of(&row, "address")? {
                Keeper::Here => {}
                Keeper::There(connector) => {
                    back.there.insert(copy_id);
                    let name = connector.name().to_owned();
                    by_connector.entry(name).or_insert_with(|| (connector, BTreeSet::new())).1.insert(copy_id);
                }
                Keeper::Unknown(name) => {
                    back.there.insert(copy_id);
                    back.failed.insert(copy_id, not_configured(&name));
                }
            }
        }
        if by_connector.is_empty() {
            return Ok(back);
        }
        let held = held_as_it_is(self, page).await?;
        let fresh = self.fresh_verdicts(&held).await?;
        for (connector, copy_ids) in by_connector.into_values() {
            let wanted = held.iter().filter(|held| copy_ids.contains(&held.copy_id));
            let wanted = wanted.filter(|held| may_leave(held, actor, right, &fresh).is_ok());
            let items: Vec<PutBack> = wanted.filter_map(|held| self.returning(held)).collect();
            let Batch { done, failed } = connector.put_back_many(&items).await?;
            back.connectors.extend(done.iter().map(|landed| (landed.copy_id, connector.name().to_owned())));
            back.landed.extend(done.into_iter().map(|landed| (landed.copy_id, landed)));
            back.failed.extend(failed.into_iter().map(|f| (f.copy_id, f.error.to_string())));
        }
        Ok(back)
    }

    fn returning(&self, held: &Held) -> Option<PutBack> {
        plan(held, self.store().now()).ok().map(|(_, back)| back)
    }

    /// Copies that were put back although the rows did not let them leave (somebody decided otherwise meanwhile) are taken
    /// out again.
    pub(crate) async fn take_back(&self, copy_ids: &[CopyId]) -> Result<(), QuarantineError> {
        if copy_ids.is_empty() {
            return Ok(());
        }
        let ids = json!(copy_ids.iter().map(|id| id.0).collect::<BTreeSet<_>>());
        for row in self.store().query("quarantine.mailboxes_of", &values![&ids]).await? {
            let place = word(&row, "place", Place::parse)?;
            let is_in_mailbox = matches!(place, Place::Inbox | Place::OtherFolder | Place::Junk);
            if let (false, Keeper::There(connector)) = (is_in_mailbox, self.keeper_of(&row, "address")?) {
                let copy_id = [row.id("copy_id")?];
                let taken = connector.take_out_many(&copy_id).await?;
                let settled = connector.settle_many(&copy_id).await?;
                if let Some(failed) = taken.failed.into_iter().chain(settled.failed).next() {
                    return Err(failed.error.into());
                }
            }
        }
        Ok(())
    }

    /// Ends what a process that died left in holding folders.
    pub(crate) async fn sweep_holding(&self) {
        for connector in self.connectors.iter() {
            match connector.sweep().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "ended {count} moves that {} was left with", connector.name()),
                Err(error) => tracing::warn!(%error, "moves that {} was left with wait", connector.name()),
            }
        }
    }
}

/// What a look into a mailbox saw of a copy.
pub(crate) struct Sight<'a> {
    pub(crate) copy_id: CopyId,
    /// What the ledger says.
    pub(crate) state: Whereabouts,
    /// The folder that the ledger names.
    pub(crate) place_detail: &'a str,
    /// How it lies there; `None`: nowhere in the mailbox.
    pub(crate) snapshot: Option<&'a Snapshot>,
    /// Which system it was last seen in; empty: our own, or none that is known.
    pub(crate) seen_in: &'a str,
    /// Who looked.
    pub(crate) by: &'static str,
}

impl Quarantine {
    /// Which systems some copies were last seen in; those of our own store are not named.
    pub(crate) async fn seen_in(&self, copy_ids: &[CopyId]) -> Result<HashMap<CopyId, String>, StoreError> {
        let mut seen = HashMap::new();
        if copy_ids.is_empty() {
            return Ok(seen);
        }
        let ids = json!(copy_ids.iter().map(|id| id.0).collect::<BTreeSet<_>>());
        for row in self.store().query("quarantine.seen_in", &values![&ids]).await? {
            let (copy_id, detail): (CopyId, serde_json::Value) = (row.id("copy_id")?, row.json("detail")?);
            match detail["connector"].as_str() {
                Some(name) => drop(seen.insert(copy_id, name.to_owned())),
                None => drop(seen.remove(&copy_id)),
            }
        }
        Ok(seen)
    }

    /// What a look says beyond the ledger: the owner has moved or deleted the copy. What is missing in a system that never
    /// had it was not deleted by anybody: the mailbox was kept elsewhere then.
    pub(crate) fn evidence(&self, sight: &Sight<'_>, connector: &str) -> Option<NewEvent> {
        let event = |kind| NewEvent {
            detail: json!({ "connector": connector, "seen_by": sight.by }),
            ..NewEvent::now(self.organisation_id(), sight.copy_id, kind, SOURCE, self.store().now())
        };
        let (kind, place, place_detail) = match sight.snapshot {
            Some(snapshot) => {
                let (place, place_detail) = snapshot.folder_role.whereabouts(&snapshot.folder);
                if place == sight.state.place && place_detail == sight.place_detail {
                    return None;
                }
                (EventKind::MovedByOwner, Some(place), place_detail)
            }
            None if sight.seen_in == connector => (EventKind::DeletedByOwner, None, String::new()),
            None => return None,
        };
        sight.state.advance(kind, place).ok()?;
        Some(NewEvent { place, place_detail, ..event(kind) })
    }
}

/// Does slow work while the job's lease is renewed.
///
/// # Errors
/// [`QuarantineError::Overtaken`]: another worker has the job; what was done is found by it as it is.
pub(crate) async fn renewing<T>(
    quarantine: &Quarantine,
    job: &mut Claimed,
    work: impl Future<Output = T>,
) -> Result<T, QuarantineError> {
    let mut work = pin!(work);
    let every = Duration::from_millis(u64::try_from(LEASE_MS / 3).unwrap_or(1));
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(every) => job.renew(quarantine.store()).await?,
        }
    }
}

pub(crate) fn not_configured(name: &str) -> String {
    format!("the connector {name} is not configured in this process")
}

/// Why the first of some copies could not be reached.
pub(crate) fn first_why(failed: &[Failed]) -> Option<String> {
    failed.first().map(|failed| match &failed.error {
        MailboxError::Unreachable(why) => why.clone(),
        error => error.to_string(),
    })
}
