//! Fail at step k, for every k, in every way, on both databases: restart, and look what is left.

use std::fmt;

use store::Failing;

use crate::db::{TestStore, postgres, sqlite};

/// More steps than any action has: past it the action never ends.
const STEPS_MAX: u64 = 2_000;

/// What failed in a run.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The database.
    pub database: &'static str,
    /// How.
    pub failing: Failing,
    /// At which step, from 1.
    pub step: u64,
    /// Whether the action had so many steps; the last run of each kind has no fault.
    pub fired: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fired = if self.fired { "" } else { " (not reached)" };
        write!(f, "{:?} at step {} on {}{fired}", self.failing, self.step, self.database)
    }
}

/// For each database and each way of failing: `stage` sets up a fresh store, `act` runs with the k-th step failing, the
/// store is opened again as after a restart, and `check` looks. k grows until `act` ends before it. Gives how many runs
/// had a fault.
///
/// # Panics
/// When `check` does, or when `act` has no end.
pub async fn at_every_step<S, R>(
    stage: impl AsyncFn(&TestStore) -> S,
    act: impl AsyncFn(&TestStore, &S) -> R,
    check: impl AsyncFn(&TestStore, &S, R, Fault),
) -> u64 {
    let mut count = 0;
    for failing in Failing::ALL {
        for is_sqlite in [true, false] {
            for step in 1.. {
                assert!(step <= STEPS_MAX, "{failing:?}: the action has no end");
                let (fresh, database) = if is_sqlite {
                    (sqlite().await, None)
                } else {
                    let (fresh, database) = postgres().await;
                    (fresh, Some(database))
                };
                let staged = stage(&fresh).await;
                fresh.faults.arm(failing, step);
                let result = act(&fresh, &staged).await;
                let fired = fresh.faults.disarm();
                let again = fresh.restarted().await;
                check(&again, &staged, result, Fault { database: again.name, failing, step, fired }).await;
                drop(again);
                if let Some(database) = database {
                    database.drop().await;
                }
                if !fired {
                    break;
                }
                count += 1;
            }
        }
    }
    count
}
