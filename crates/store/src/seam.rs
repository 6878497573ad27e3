//! Where the store meets what can fail: each call of a database or of the object store passes here, so that a test can make
//! any step fail. Nothing but [`crate::Store::open_with`] plans a fault.

use crate::StoreError;

/// One call of something that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A pack is written: data, its fsync, its name, the fsync of its folder.
    Put,
    /// A body is read.
    Get,
    /// A write transaction begins.
    Begin,
    /// Rows are read.
    Query,
    /// A statement of a write transaction.
    Execute,
    /// A write transaction becomes durable.
    Commit,
}

/// What a test has planned, or nothing: that is what [`crate::Store::open`] gives.
#[derive(Default)]
pub(crate) struct Seam {
    pub(crate) faults: Option<crate::Faults>,
}

impl Seam {
    /// Told before a step; an error means that the step must not be done.
    pub(crate) fn before(&self, step: Step) -> Result<(), StoreError> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.before(step))
    }

    /// Told after a step that was done; an error means that its answer got lost.
    pub(crate) fn after(&self, step: Step) -> Result<(), StoreError> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.after(step))
    }
}
