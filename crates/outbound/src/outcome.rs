//! The outcome of a try on its way into the store, until it is there.
//!
//! An outcome that is written nowhere is tried again, or keeps its delivery leased for as long as this process lives. So what the
//! store cannot write now waits for it, and what it refuses for good is written with less.

use std::time::Duration;

use model::DeliveryId;
use store::{Op, Severity, Store, StoreError, Submission, Topic};
use tokio_util::sync::CancellationToken;

use crate::Notice;

/// An outcome that cannot be written now is tried again, with doubling delays, until the store is back: who gave it up would
/// send twice. Once the process stops, only this often.
const TRIES_MAX: u32 = 8;
const DELAY_MS: u64 = 100;

/// What is written of a try, the indispensable first.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose.
    pub delivery_id: DeliveryId,
    /// The move of its row, guarded so that it is touched only while the try is ours.
    pub row: Op,
    /// The events of its copy.
    pub events: Vec<Op>,
    /// What follows from it.
    pub consequences: Vec<Op>,
    /// What its sender is told.
    pub notice: Option<Notice>,
}

/// How much of an outcome is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// The row and the events.
    Bare,
    /// The row.
    Row,
}

enum Written {
    Whole,
    /// The rest was refused for good.
    Less(Extent, StoreError),
    /// The row is not ours: an earlier write went through and its answer was lost, or the lease did not last.
    NotOurs(StoreError),
}

impl Outcome {
    /// Writes as much as the store takes, and waits for a store that takes nothing now. Gives whether that came to an end:
    /// otherwise the process stops, the lease ends by itself, and the delivery is tried again.
    pub async fn write(&self, store: &Store, stop: &CancellationToken) -> bool {
        let id = self.delivery_id;
        for attempt in 1_u32.. {
            let error = match self.write_once(store).await {
                Ok(written) => {
                    self.is_written(store, &written);
                    return true;
                }
                Err(error) => error,
            };
            if stop.is_cancelled() && attempt >= TRIES_MAX {
                tracing::error!(delivery.id = %id, "the result of {id} was not recorded, it will be tried again: {error}");
                return false;
            }
            tracing::warn!(delivery.id = %id, "the result of {id} waits for the store: {error}");
            let delay_ms = DELAY_MS << (attempt - 1).min(TRIES_MAX); // 25.6 s at most
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        false
    }

    /// # Errors
    /// When the store takes nothing now. Who refuses even the row refuses not this outcome but everything: that passes as an
    /// outage does, and then all of it is written.
    async fn write_once(&self, store: &Store) -> Result<Written, StoreError> {
        let mut refusal = None;
        for extent in [Extent::Whole, Extent::Bare] {
            match store.commit(self.submission(extent)).await {
                Ok(()) => return Ok(refusal.map_or(Written::Whole, |refusal| Written::Less(extent, refusal))),
                Err(error) if error.severity() == Severity::Permanent => refusal = refusal.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match (store.commit(self.submission(Extent::Row)).await, refusal) {
            (Err(error), Some(refusal)) if error.is_conflict() => Ok(Written::NotOurs(refusal)),
            (Err(error), _) => Err(error),
            (Ok(()), Some(refusal)) => Ok(Written::Less(Extent::Row, refusal)),
            (Ok(()), None) => Ok(Written::Whole),
        }
    }

    fn submission(&self, extent: Extent) -> Submission {
        let mut ops = vec![self.row.clone()];
        if extent != Extent::Row {
            ops.extend(self.events.iter().cloned());
        }
        if extent == Extent::Whole {
            ops.extend(self.consequences.iter().cloned());
            if let Some(notice) = self.notice.clone() {
                return Submission::with_body(notice.body.clone(), move |body| {
                    ops.iter().cloned().chain(notice.ops(body)).collect()
                });
            }
        }
        Submission::rows(ops)
    }

    fn is_written(&self, store: &Store, written: &Written) {
        let id = self.delivery_id;
        let untold = if self.notice.is_some() { ", and its sender is not told" } else { "" };
        match written {
            Written::Whole if self.notice.is_some() => store.bus().announce(Topic::Delivery, id),
            Written::Whole => {}
            Written::Less(Extent::Row, refusal) => {
                tracing::error!(delivery.id = %id, "the result of {id} is in the queue and in no event{untold}: {refusal}");
            }
            Written::Less(Extent::Whole | Extent::Bare, refusal) => {
                tracing::error!(delivery.id = %id, "the result of {id} is recorded alone{untold}: {refusal}");
            }
            Written::NotOurs(refusal) => {
                tracing::warn!(delivery.id = %id, "{id} is recorded already or somebody else's by now: {refusal}");
            }
        }
    }
}
