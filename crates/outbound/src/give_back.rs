//! Giving deliveries back that were claimed and not tried: to be claimed again at once, or not before a moment.
//!
//! What cannot be given back now is tried again until the store takes it: as long as this agent lives it renews the leases
//! of all that it has, so that nobody else would ever take what it forgot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::Timestamp;
use store::{StoreError, values};

use crate::desk::{Claimed, Job};
use crate::lane::Shared;

const DELAY_MS: u64 = 100;
const DOUBLINGS_MAX: u32 = 8;
/// Once the agent stops, only this often: then the leases end by themselves.
const STOPPING_TRIES_MAX: u32 = 5;

/// Gives jobs back, not before `at`.
pub(crate) fn later(shared: &Arc<Shared>, jobs: Vec<Job>, at: Timestamp) {
    let deliveries: Vec<Claimed> = jobs.into_iter().flat_map(|job| job.deliveries).collect();
    if deliveries.is_empty() {
        return;
    }
    let giving = shared.clone();
    shared.tasks.spawn(async move { give_back(&giving, deliveries, Some(at)).await });
}

/// Gives deliveries back and takes them off the desk. `at`: not before; `None`: as they were.
pub(crate) async fn give_back(shared: &Shared, deliveries: Vec<Claimed>, at: Option<Timestamp>) {
    let _turn = shared.desk.claiming.lock().await;
    in_turn(shared, deliveries, at).await;
}

/// As [`give_back`], for who has the turn: nothing is claimed meanwhile. Otherwise a second try, after an answer that got
/// lost, could give back what was claimed anew by then and is being sent.
pub(crate) async fn in_turn(shared: &Shared, deliveries: Vec<Claimed>, at: Option<Timestamp>) {
    if deliveries.is_empty() {
        return;
    }
    for attempt in 1_u32.. {
        let Err(error) = write(shared, &deliveries, at).await else { break };
        tracing::warn!(count = deliveries.len(), "deliveries could not be given back yet: {error}");
        if shared.stop.is_cancelled() && attempt >= STOPPING_TRIES_MAX {
            break;
        }
        let delay = Duration::from_millis(DELAY_MS << (attempt - 1).min(DOUBLINGS_MAX));
        tokio::time::sleep(delay).await;
    }
    shared.desk.look.store(true, Ordering::Relaxed);
    shared.desk.leave(&deliveries);
}

/// One try at it.
pub(crate) async fn write(shared: &Shared, deliveries: &[Claimed], at: Option<Timestamp>) -> Result<(), StoreError> {
    let owner = shared.recorder.owner.as_str();
    let mut tx = shared.store.begin().await?;
    for delivery in deliveries {
        // The count of tries: a row that was lost and claimed once more is another job's.
        let (id, attempt_count) = (delivery.id, delivery.attempt_count);
        match at {
            Some(at) => tx.execute("delivery.postpone", &values![at, id, owner, attempt_count]).await?,
            None => tx.execute("delivery.release", &values![id, owner, attempt_count]).await?,
        };
    }
    tx.commit().await
}
