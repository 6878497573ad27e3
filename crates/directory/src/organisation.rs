//! The organisation itself, and the handle that everything about it is asked through.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use model::{Domain, OrganisationId, Timestamp};
use store::{Store, values};
use tokio::sync::Semaphore;

use crate::connectors::MailboxConnectors;
use crate::people::Recipient;
use crate::{DirectoryError, Settings, Throttle};

/// Passwords checked at the same time: each costs 19 MiB and a core for some milliseconds.
const PASSWORD_CHECKS_MAX: usize = 4;
/// Recipients kept in memory; past it the memory is emptied and fills again.
const RECIPIENTS_MAX: usize = 200_000;
/// How long another process's change of people can go unnoticed.
const RECIPIENT_AGE_MS: i64 = 15_000;

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: OrganisationId,
    /// Its name.
    pub name: String,
    /// The domains it receives mail for, the first being the main one.
    pub domains: Vec<Domain>,
}

/// What a new organisation needs.
#[derive(Debug, Clone)]
pub struct NewOrganisation {
    /// Its name.
    pub name: String,
    /// Its domains, at least one.
    pub domains: Vec<Domain>,
}

/// Whose an address is (nobody's: `None`), and when that was looked up.
type Known = (Option<Recipient>, Timestamp);

/// The directory of one organisation. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    pub(crate) store: Store,
    organisation: Arc<Organisation>,
    /// By address; emptied whenever this process changes people.
    recipients: Arc<RwLock<HashMap<String, Known>>>,
    pub(crate) connectors: Arc<MailboxConnectors>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) password_checks: Arc<Semaphore>,
}

impl Directory {
    /// The organisation of this server, if the first run has made it.
    pub async fn open(store: &Store) -> Result<Option<Directory>, DirectoryError> {
        let Some(row) = store.query_one("organisation.first", &[]).await? else { return Ok(None) };
        let organisation =
            Organisation { id: row.id("id")?, name: row.text("name")?.to_owned(), domains: row.json("domains")? };
        Ok(Some(Self::of(store, organisation)))
    }

    /// Makes the organisation with its first keys and settings.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] without a name or a domain, [`DirectoryError::Exists`] when there is one already.
    pub async fn create(store: &Store, new: NewOrganisation) -> Result<Directory, DirectoryError> {
        if new.name.trim().is_empty() {
            return Err(DirectoryError::invalid("name", "give the organisation a name"));
        }
        if new.domains.is_empty() {
            return Err(DirectoryError::invalid("domains", "name at least one domain that mail is received for"));
        }
        if store.query_one("organisation.first", &[]).await?.is_some() {
            return Err(DirectoryError::Exists("the organisation".into()));
        }
        let id: OrganisationId = store.next_id();
        let domains = serde_json::json!(new.domains);
        let mut tx = store.begin().await?;
        tx.execute("organisation.insert", &values![id, new.name.trim(), &domains, store.now()]).await?;
        crate::keys::insert_mac_key(&mut tx, id).await?;
        tx.commit().await?;
        let organisation = Organisation { id, name: new.name.trim().to_owned(), domains: new.domains };
        let directory = Self::of(store, organisation);
        directory.save_settings(&Settings::default()).await?;
        Ok(directory)
    }

    fn of(store: &Store, organisation: Organisation) -> Directory {
        Directory {
            store: store.clone(),
            organisation: Arc::new(organisation),
            recipients: Arc::default(),
            connectors: Arc::default(),
            throttle: Arc::default(),
            password_checks: Arc::new(Semaphore::new(PASSWORD_CHECKS_MAX)),
        }
    }

    /// The organisation.
    pub fn organisation(&self) -> &Organisation {
        &self.organisation
    }

    /// Its id.
    pub fn id(&self) -> OrganisationId {
        self.organisation.id
    }

    /// The store it is kept in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether mail for `domain` is ours.
    pub fn is_own_domain(&self, domain: &Domain) -> bool {
        self.organisation.domains.contains(domain)
    }

    /// What slows guessing down, shared by every door that takes passwords.
    pub fn throttle(&self) -> &Arc<Throttle> {
        &self.throttle
    }

    /// What bounds the password checks of the process; take a permit around [`Directory::sign_in`] and the like.
    pub fn password_checks(&self) -> &Arc<Semaphore> {
        &self.password_checks
    }

    /// Who is known to receive mail for an address; `None`: it has to be looked up.
    pub(crate) fn remembered(&self, address: &str) -> Option<Option<Recipient>> {
        let known = self.recipients.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (recipient, looked_up_at) = known.get(address)?;
        (self.store.now().ms_since(*looked_up_at) < RECIPIENT_AGE_MS).then(|| recipient.clone())
    }

    pub(crate) fn remember(&self, address: String, recipient: Option<Recipient>, looked_up_at: Timestamp) {
        let mut known = self.recipients.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.len() >= RECIPIENTS_MAX {
            known.clear();
        }
        known.insert(address, (recipient, looked_up_at));
    }

    /// What is known of recipients is of no use with other connectors.
    pub(crate) fn with_no_recipients(mut self) -> Self {
        self.recipients = Arc::default();
        self
    }

    pub(crate) fn forget_recipients(&self) {
        self.recipients.write().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("organisation", &self.organisation.id).finish_non_exhaustive()
    }
}
