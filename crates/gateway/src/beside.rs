//! What is stored together with a mail that comes in: both, or neither.

use store::Store;

use crate::incoming::Waited;
use crate::submission::Outgoing;
use crate::writing::Writing;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'a> {
    Nothing,
    /// What goes to others of the same mail.
    Outgoing(&'a Outgoing),
    /// The mail was accepted before: its row leaves the incoming queue.
    Waited(&'a Waited),
}

impl Beside<'_> {
    pub(crate) fn writing(self) -> Option<Writing> {
        match self {
            Beside::Nothing => None,
            Beside::Outgoing(outgoing) => Some(outgoing.writing()),
            Beside::Waited(waited) => Some(waited.writing()),
        }
    }

    /// Whether a mail of the incoming queue is not there any more. What cannot be read is there.
    pub(crate) async fn is_over(self, store: &Store) -> bool {
        match self {
            Beside::Nothing | Beside::Outgoing(_) => false,
            Beside::Waited(waited) => !waited.is_there(store).await.unwrap_or(true),
        }
    }

    /// `writing`, and what stands beside it.
    pub(crate) fn with(self, writing: Writing) -> Writing {
        match self.writing() {
            Some(beside) => writing.and(beside),
            None => writing,
        }
    }
}
