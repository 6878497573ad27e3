//! The in-process bus: wakes whoever waits for a row. It may lose everything; receivers look at the rows.

use tokio::sync::broadcast;

/// Notices kept for a slow receiver; one that lags is told so and looks at the rows.
const NOTICES_MAX: usize = 4_096;

/// What kind of row there is news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Deliveries became due.
    Delivery,
    /// A campaign or its copies changed; the id is the campaign's.
    Campaign,
    /// A change of the protection side was proposed, tested, activated or undone; the id is the change's.
    Change,
    /// The active rule set or the policies are new.
    RuleSet,
    /// A job waits, moved or ended; the id is the job's.
    Job,
    /// Copies changed place; the id is a campaign's or 0.
    Ledger,
    /// An incident changed; the id is the incident's.
    Incident,
    /// Mail in a mailbox changed; the id is the mailbox's.
    Mailbox,
}

/// One notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Of what.
    pub topic: Topic,
    /// Which row.
    pub id: i64,
}

/// See the module.
#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Notice>,
    faults: Option<crate::Faults>,
}

impl Bus {
    pub(crate) fn new(faults: Option<crate::Faults>) -> Self {
        Bus { sender: broadcast::channel(NOTICES_MAX).0, faults }
    }

    /// Announces; nobody listening is fine.
    pub fn announce(&self, topic: Topic, id: impl Into<i64>) {
        if self.faults.as_ref().is_some_and(crate::Faults::is_bus_silent) {
            return;
        }
        let _ = self.sender.send(Notice { topic, id: id.into() });
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.sender.subscribe()
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("receiver_count", &self.sender.receiver_count()).finish_non_exhaustive()
    }
}
