//! Which system keeps a mailbox: what the process's configuration says for a domain, unless the mailbox itself says
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{AccountId, CopyId, MailboxId, PersonId};
use store::values;

use crate::{Directory, DirectoryError, Mac, NewAudit};

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

/// Where a person's mailbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonMailbox {
    /// The mailbox.
    pub id: MailboxId,
    /// Its address.
    pub address: String,
    /// What the mailbox itself says: empty (as configured for its domain), [`EMBEDDED`], or a connector's name.
    pub chosen: String,
    /// The connector to the system that keeps it; `None`: it is embedded.
    pub connector: Option<String>,
    /// Mails of it that lie in our own store. More than none in a mailbox that is kept elsewhere: it was here before.
    pub item_count: i64,
}

impl Directory {
    /// The same directory, knowing which systems keep mailboxes. For the composition root, before anybody asks.
    #[must_use]
    pub fn with_mailbox_connectors(mut self, connectors: MailboxConnectors) -> Self {
        self.connectors = Arc::new(connectors);
        self.with_no_recipients()
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

    /// Where a person's mailbox is; `None` for somebody without one.
    ///
    /// # Errors
    /// The store's.
    pub async fn mailbox_of_person(&self, person_id: PersonId) -> Result<Option<PersonMailbox>, DirectoryError> {
        let row = self.store.query_one("connector.of_person", &values![self.id(), person_id]).await?;
        let Some(row) = row else { return Ok(None) };
        let (address, chosen) = (row.text("address")?.to_owned(), row.text("connector")?.to_owned());
        let connector = self.connector_of(&chosen, &address).map(str::to_owned);
        Ok(Some(PersonMailbox { id: row.id("id")?, address, chosen, connector, item_count: row.int("item_count")? }))
    }

    /// Says which system keeps a person's mailbox from now on: empty (as configured for its domain), [`EMBEDDED`], or a
    /// connector's name. Mail that is there already stays where it is. Audited.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] for a name that is no connector's; [`DirectoryError::NotFound`] without a mailbox.
    pub async fn choose_connector(
        &self,
        person_id: PersonId,
        name: &str,
        by: Option<AccountId>,
    ) -> Result<PersonMailbox, DirectoryError> {
        self.check_connector("connector", name)?;
        let before = self.mailbox_of_person(person_id).await?.ok_or(DirectoryError::NotFound("mailbox"))?;
        if before.chosen != name {
            let mut tx = self.store.begin().await?;
            tx.execute("connector.choose", &values![self.id(), person_id, name]).await?;
            // The column of an import says it as well, as a merge field does.
            let row = tx.query_one("person.by_id", &values![self.id(), person_id]).await?;
            let mut attributes: BTreeMap<String, String> =
                row.ok_or(DirectoryError::NotFound("person"))?.json("attributes")?;
            if attributes.contains_key(CONNECTOR_ATTRIBUTE) {
                attributes.insert(CONNECTOR_ATTRIBUTE.to_owned(), name.to_owned());
                let attributes = serde_json::json!(attributes);
                tx.execute("person.set_attributes", &values![self.id(), person_id, &attributes]).await?;
            }
            let detail = serde_json::json!({ "before": before.chosen, "after": name });
            let target = format!("mailbox of {}", before.address);
            let audit = NewAudit { account_id: by, action: "mailbox.connector", target, reason: "", detail };
            self.audit_in(&mut tx, audit).await?;
            tx.commit().await?;
            self.forget_recipients();
        }
        self.mailbox_of_person(person_id).await?.ok_or(DirectoryError::NotFound("mailbox"))
    }

    /// # Errors
    /// [`DirectoryError::Invalid`] for a name that is no connector's.
    pub(crate) fn check_connector(&self, field: &'static str, name: &str) -> Result<(), DirectoryError> {
        if name.is_empty() || name == EMBEDDED || self.connectors.names.contains(name) {
            return Ok(());
        }
        let known: Vec<&str> = self.connectors.names.iter().map(String::as_str).collect();
        let problem = format!("there is no connector {name:?}; use {EMBEDDED} or one of: {}", known.join(", "));
        Err(DirectoryError::invalid(field, problem))
    }
}

/// The mark by which a copy is found in a mailbox of another system: `<copy>.<mac>`.
pub fn mailbox_mark(mac: &Mac, copy_id: CopyId) -> String {
    let tag = mac.sign(MARK_PURPOSE, copy_id.to_string().as_bytes());
    format!("{copy_id}.{}", data_encoding::BASE64URL_NOPAD.encode(&tag))
}
