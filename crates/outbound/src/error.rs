//! What can go wrong with the queue itself. What a host says is an outcome, not an error.

use store::{Severity, StoreError};

/// An error of the queue.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutboundError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such delivery in a state that allows this.
    #[error("delivery {0} is not in the queue, or is being tried right now")]
    NotInQueue(model::DeliveryId),
}

impl OutboundError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            OutboundError::Store(error) => error.severity(),
            OutboundError::NotInQueue(_) => Severity::Permanent,
        }
    }
}
