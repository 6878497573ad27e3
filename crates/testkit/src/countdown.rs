//! Fail at step k, for every k, in every way, on both databases: restart, and look what is left.

use std::fmt;

use store::{Failing, Faults};

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

/// Makes the planned step fail, counted from when it is told.
pub struct Arm {
    faults: Faults,
    failing: Failing,
    step: u64,
}

impl Arm {
    /// What is set up is set up: count from here.
    pub fn now(self) {
        self.faults.arm(self.failing, self.step);
    }
}

/// For each database and each of these ways of failing: `stage` sets up a fresh store, `act` arms and runs with the
/// k-th step failing, the
/// store is opened again as after a restart, and `check` looks. k grows until `act` ends before it. Gives how many runs
/// had a fault. What `stage` gives must hold no store: the first one ends before the second is opened.
///
/// # Panics
/// When `check` does, or when `act` has no end.
pub async fn at_every_step<S, R>(
    ways: &[Failing],
    stage: impl AsyncFn(&TestStore) -> S,
    act: impl AsyncFn(&TestStore, &S, Arm) -> R,
    check: impl AsyncFn(&TestStore, &S, R, Fault),
) -> u64 {
    let mut count = 0;
    for &failing in ways {
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
                let arm = Arm { faults: fresh.faults.clone(), failing, step };
                let result = act(&fresh, &staged, arm).await;
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
