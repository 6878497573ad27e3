//! Countdown faults, for tests: the k-th step of what a test does fails, in one of several ways. The test takes k from 1
//! until a run passes without a fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::StoreError;
use crate::seam::Step;

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It is not done, once.
    Once,
    /// The disk is full at this step, once: it is not done.
    Full,
    /// It is done, and its answer is lost. Counts only the steps that leave something behind: put and commit.
    AnswerLost,
    /// It is not done, and nothing works from here on: the database has died.
    Dies,
    /// It is refused for good, once, as what is wrong with a statement or a row is.
    Refused,
    /// It is refused for good, and so is everything after it.
    Refusing,
}

impl Failing {
    /// Every way that is trouble of the database or of the disk; whether all is refused is another question.
    pub const ALL: [Failing; 4] = [Failing::Once, Failing::Full, Failing::AnswerLost, Failing::Dies];
}

#[derive(Default)]
struct Plan {
    armed: Option<(Failing, u64)>,
    seen: u64,
    fired: bool,
    /// The step was let through and its answer gets lost.
    losing: Option<Step>,
    log: Vec<(Step, bool)>,
}

#[derive(Default)]
struct Inner {
    plan: Mutex<Plan>,
    silent_bus: AtomicBool,
}

/// The plan of a test. Clones are the same plan; a store opened with it asks it at each step.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

impl Faults {
    /// Nothing fails until [`Faults::arm`].
    pub fn new() -> Faults {
        Faults::default()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.inner.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the `at`-th step fails so, counted from 1.
    pub fn arm(&self, failing: Failing, at: u64) {
        *self.plan() = Plan { armed: Some((failing, at)), ..Plan::default() };
    }

    /// Nothing fails any more; gives whether the fault had happened.
    pub fn disarm(&self) -> bool {
        let mut plan = self.plan();
        plan.armed = None;
        plan.fired
    }

    /// Whether the fault has happened and nothing works since.
    pub fn has_died(&self) -> bool {
        let plan = self.plan();
        plan.fired && matches!(plan.armed, Some((Failing::Dies, _)))
    }

    /// The steps since [`Faults::arm`] (or the start) in order, each with whether it was done.
    pub fn log(&self) -> Vec<(Step, bool)> {
        self.plan().log.clone()
    }

    /// The bus loses every announcement from now on.
    pub fn silence_bus(&self) {
        self.inner.silent_bus.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_bus_silent(&self) -> bool {
        self.inner.silent_bus.load(Ordering::Relaxed)
    }

    pub(crate) fn before(&self, step: Step) -> Result<(), StoreError> {
        let mut plan = self.plan();
        let Some((failing, at)) = plan.armed else {
            plan.log.push((step, true));
            return Ok(());
        };
        let leaves_something = matches!(step, Step::Put | Step::Commit);
        if failing != Failing::AnswerLost || leaves_something {
            plan.seen += 1;
        }
        let is_hit = plan.seen == at && !plan.fired;
        let has_fired = plan.fired;
        plan.fired |= is_hit;
        let fails = match failing {
            Failing::AnswerLost => {
                if is_hit {
                    plan.losing = Some(step);
                }
                false
            }
            Failing::Once | Failing::Full | Failing::Refused => is_hit,
            Failing::Dies | Failing::Refusing => is_hit || has_fired,
        };
        plan.log.push((step, !fails));
        match (fails, failing) {
            (false, _) => Ok(()),
            (true, Failing::Full) => Err(StoreError::Full(format!("a fault at {step:?}"))),
            (true, Failing::Refused | Failing::Refusing) => {
                Err(StoreError::Statement { statement: format!("{step:?}"), problem: "a fault".into() })
            }
            (true, Failing::Once | Failing::AnswerLost | Failing::Dies) => {
                Err(StoreError::Unavailable(format!("a fault at {step:?}")))
            }
        }
    }

    pub(crate) fn after(&self, step: Step) -> Result<(), StoreError> {
        let mut plan = self.plan();
        if plan.losing == Some(step) {
            plan.losing = None;
            return Err(StoreError::Unavailable(format!("a fault: the answer to {step:?} was lost")));
        }
        Ok(())
    }
}
