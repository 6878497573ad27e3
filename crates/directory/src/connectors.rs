//! Which system keeps a mailbox: what the process's configuration says for a domain, unless the mailbox itself says
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::CopyId;

use crate::{Directory, DirectoryError, Mac};

/// The word for a mailbox in our own store.
pub const EMBEDDED: &str = "embedded";
/// The attribute of a person (a column of an import) that says which connector keeps the mailbox.
pub const CONNECTOR_ATTRIBUTE: &str = "mailbox_connector";
const MARK_PURPOSE: &str = "mailbox mark";

/// What the configuration says of mailboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailboxConnectors {
    /// The connectors there are.
    pub names: BTreeSet<String>,
    /// For a domain, in lower case: a connector's name or [`EMBEDDED`].
    pub by_domain: BTreeMap<String, String>,
    /// For any other domain; `None`: embedded.
    pub everywhere: Option<String>,
}

impl Directory {
    /// The same directory, knowing which systems keep mailboxes. For the composition root, before anybody asks.
    #[must_use]
    pub fn with_mailbox_connectors(mut self, connectors: MailboxConnectors) -> Self {
        self.connectors = Arc::new(connectors);
        self.recipients = Arc::default();
        self
    }

    /// What is known of the systems that keep mailboxes.
    pub fn mailbox_connectors(&self) -> &MailboxConnectors {
        &self.connectors
    }

    /// The connector that keeps the mailbox of `address`; `None`: it is embedded. `explicit` is what the mailbox's own
    /// row says.
    pub fn connector_of<'a>(&'a self, explicit: &'a str, address: &str) -> Option<&'a str> {
        let configured = || {
            let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
            let connectors = &self.connectors;
            connectors.by_domain.get(domain).or(connectors.everywhere.as_ref()).map(String::as_str)
        };
        let name = if explicit.is_empty() { configured() } else { Some(explicit) };
        name.filter(|name| *name != EMBEDDED)
    }

    /// # Errors
    /// [`DirectoryError::Invalid`] for a name that is no connector's.
    pub(crate) fn check_connector(&self, name: &str) -> Result<(), DirectoryError> {
        if name.is_empty() || name == EMBEDDED || self.connectors.names.contains(name) {
            return Ok(());
        }
        let known: Vec<&str> = self.connectors.names.iter().map(String::as_str).collect();
        let problem = format!("there is no connector {name:?}; use {EMBEDDED} or one of: {}", known.join(", "));
        Err(DirectoryError::invalid(CONNECTOR_ATTRIBUTE, problem))
    }
}

/// The mark by which a copy is found in a mailbox of another system: `<copy>.<mac>`.
pub fn mailbox_mark(mac: &Mac, copy_id: CopyId) -> String {
    let tag = mac.sign(MARK_PURPOSE, copy_id.to_string().as_bytes());
    format!("{copy_id}.{}", data_encoding::BASE64URL_NOPAD.encode(&tag))
}
