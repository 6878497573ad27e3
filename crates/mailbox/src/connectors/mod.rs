//! The mailbox systems, one file or folder each, and those that are configured.

mod embedded;
mod lmtp_imap;
mod waiting;

use std::collections::BTreeMap;

pub use embedded::Embedded;
pub use lmtp_imap::{
    Batch, ConnectorHealth, Endpoint, Failed, HandOver, HandedOver, LmtpImap, LmtpImapConfig, MARK_HEADER, Marker,
    Security, ServiceHealth, UserName,
};
pub use waiting::{Waiting, chosen_mailboxes, mailbox_to_ask, waiting, waiting_for};

/// The connectors of this process by name; none where all mailboxes are embedded. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connectors {
    by_name: BTreeMap<String, LmtpImap>,
}

impl Connectors {
    /// These connectors.
    pub fn new(connectors: impl IntoIterator<Item = LmtpImap>) -> Self {
        Connectors { by_name: connectors.into_iter().map(|one| (one.name().to_owned(), one)).collect() }
    }

    /// The connector of this name, if it is configured.
    pub fn get(&self, name: &str) -> Option<&LmtpImap> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &LmtpImap> {
        self.by_name.values()
    }

    /// Whether all mailboxes are embedded.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
