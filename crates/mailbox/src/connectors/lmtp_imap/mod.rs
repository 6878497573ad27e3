//! The connector to a mailbox system that speaks LMTP and IMAP, such as Dovecot.
//!
//! Mail for the inbox is handed over by LMTP, so that the system's own filters see it; mail for Junk is appended to that
//! folder by IMAP, so that it never shows in the inbox first. Everything else is done inside the mailboxes by IMAP, as a
//! master user who may enter all of them.
//!
//! Each message carries a mark of ours, a header field whose value only we can make ([`MARK_HEADER`]). By it a copy is
//! found wherever its owner has put it, and a hand-over whose end was unclear is not repeated when it had succeeded.
//!
//! Taking out has two phases, so that nothing is lost whatever dies in between: what is known of a copy is written to the
//! table `connector_held`, then the copy moves to a holding folder; the caller keeps the snapshot and says so
//! ([`crate::Mailbox::settle`]), and only then is the holding folder emptied. [`LmtpImap::sweep`] ends what nobody came
//! back for: it goes by what the ledger says of the copy.

mod config;
mod desk;
mod health;
mod imap;
mod putting;
mod taking;
mod utf7;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use model::{CopyId, MailboxId, MessageId, Timestamp};
use smtp::LmtpClient;
use store::{BodyRef, Row, Store, StoreError, values};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use config::{Endpoint, LmtpImapConfig, Security, UserName};
pub use health::{ConnectorHealth, ServiceHealth};
pub use putting::{HandOver, HandedOver};

use crate::{Delivery, Found, Landed, Locator, Mailbox, MailboxError, PutBack, Snapshot, TakenOut};
use desk::{Desk, Folder, Hit};
use health::{Contact, HealthBook, Service};
use imap::{ImapError, Session};

/// The header field that carries the mark of a copy.
pub const MARK_HEADER: &str = "X-Landfall-Id";
/// Clocks differ, and IMAP searches by whole days: so much earlier than its arrival a copy is looked for.
const SINCE_SLACK_MS: i64 = 2 * 24 * 60 * 60 * 1000;
/// How long a connection is kept that nobody needs now.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// After a system has let a log-in wait to its deadline, nobody else waits for it so long.
const SILENT: Duration = Duration::from_secs(5);

/// Makes the mark of a copy: unguessable for who has not our key, and always the same.
pub type Marker = Arc<dyn Fn(CopyId) -> String + Send + Sync>;

/// A connector to one mailbox system. Cheap to clone.
#[derive(Clone)]
pub struct LmtpImap {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    config: LmtpImapConfig,
    store: Store,
    marker: Marker,
    imap_slots: Arc<Semaphore>,
    lmtp_slots: Arc<Semaphore>,
    idle_imap: Mutex<Vec<IdleSession>>,
    idle_lmtp: Mutex<Vec<(LmtpClient, Instant)>>,
    /// One at a time works in a mailbox: what was looked for and not found is put there once.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Until when the system counts as silent.
    silent_until: Mutex<Option<Instant>>,
    health: HealthBook,
}

struct IdleSession {
    user: String,
    session: Session,
    since: Instant,
}

/// What came of an operation on many copies: mailboxes that could not be reached do not hold up the others.
#[derive(Debug, Clone)]
pub struct Batch<T> {
    /// What was done, in no order.
    pub done: Vec<T>,
    /// What could not be done now.
    pub failed: Vec<Failed>,
}

/// A copy that nothing could be done with now.
#[derive(Debug, Clone)]
pub struct Failed {
    /// The copy.
    pub copy_id: CopyId,
    /// Why.
    pub error: MailboxError,
}

/// What the store knows of a copy.
#[derive(Debug, Clone)]
struct Known {
    copy_id: CopyId,
    message_id: MessageId,
    mailbox_id: MailboxId,
    address: String,
    received_at: Timestamp,
    body: BodyRef,
    mark: String,
}

/// A mailbox that is entered. Dropped, its connection ends; [`LmtpImap::leave`] keeps it for the next.
struct Entered<'a> {
    connector: &'a LmtpImap,
    user: String,
    session: Session,
    _alone: OwnedMutexGuard<()>,
    _slot: OwnedSemaphorePermit,
}

impl Entered<'_> {
    fn desk(&mut self) -> Desk<'_> {
        let config = &self.connector.inner.config;
        Desk { session: &mut self.session, junk_folder: &config.junk_folder, holding_folder: &config.holding_folder }
    }
}

impl LmtpImap {
    /// A connector of this name. `store` tells whose mailbox a copy is for and keeps what is being taken out.
    pub fn new(name: &str, config: LmtpImapConfig, store: Store, marker: Marker) -> Self {
        let slots = || Arc::new(Semaphore::new(config.connections_max.max(1)));
        let inner = Inner {
            name: name.to_owned(),
            imap_slots: slots(),
            lmtp_slots: slots(),
            config,
            store,
            marker,
            idle_imap: Mutex::default(),
            idle_lmtp: Mutex::default(),
            locks: Mutex::default(),
            silent_until: Mutex::default(),
            health: HealthBook::default(),
        };
        LmtpImap { inner: Arc::new(inner) }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it was told of the mailbox system.
    pub fn config(&self) -> &LmtpImapConfig {
        &self.inner.config
    }

    /// Enters a mailbox as its owner would, and asks whether both services answer. For `doctor` and for people who ask.
    ///
    /// # Errors
    /// [`MailboxError::Unreachable`] says which of them does not, and why.
    pub async fn check(&self, address: &str) -> Result<(), MailboxError> {
        let mut entered = self.enter(address).await?;
        let folders = entered.desk().folders().await;
        folders.map_err(|error| self.unreachable("IMAP", address, &error))?;
        self.leave(entered);
        let slot = self.lmtp_slot().await?;
        let client = self.lmtp().await?;
        self.keep_lmtp(client);
        drop(slot);
        Ok(())
    }

    /// What the contacts of this process have said of the system so far.
    pub fn health(&self) -> ConnectorHealth {
        self.inner.health.now()
    }

    /// Waits until a service answers that had not. For one who waits; news that nobody waits for are kept.
    pub async fn answers_again(&self) {
        self.inner.health.answers_again().await;
    }

    /// Contacts both services now, whatever they said before, and gives what is known afterwards. Without an address no
    /// mailbox is entered, and nothing new is known of IMAP.
    pub async fn contact(&self, address: Option<&str>) -> ConnectorHealth {
        *self.silent_until() = None;
        // A connection that was kept says nothing of the next one.
        self.inner.idle_imap.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let enter = async {
            if let Some(address) = address
                && let Ok(entered) = self.enter(address).await
            {
                self.leave(entered);
            }
        };
        let hand_over = async {
            if let Ok(slot) = self.lmtp_slot().await {
                if let Ok(client) = self.lmtp().await {
                    self.keep_lmtp(client);
                }
                drop(slot);
            }
        };
        futures::future::join(enter, hand_over).await;
        self.health()
    }

    fn note(&self, service: Service, contact: Contact) {
        self.inner.health.note(service, contact, self.inner.store.now());
    }

    fn unreachable(&self, what: &str, address: &str, error: &dyn std::fmt::Display) -> MailboxError {
        MailboxError::Unreachable(format!("{} ({what}, {address}): {error}", self.inner.name))
    }

    async fn enter(&self, address: &str) -> Result<Entered<'_>, MailboxError> {
        let inner = &self.inner;
        let config = &inner.config;
        let user = format!("{}{}{}", config.user(address), config.master_separator, config.master_user);
        let alone = self.lock_of(&user).lock_owned().await;
        let closed = |_| MailboxError::Unreachable("the connector is closing".into());
        let slot = inner.imap_slots.clone().acquire_owned().await.map_err(closed)?;
        let session = match self.idle_session(&user).await {
            Some(session) => session,
            None => {
                if self.silent_until().is_some_and(|until| Instant::now() < until) {
                    return Err(self.unreachable("IMAP", address, &"the system let others wait in vain just now"));
                }
                let (tls, password) = (config.tls.as_ref(), &config.master_password);
                let opened = Session::open(&config.imap, tls, &user, password, config.deadline).await;
                if matches!(opened, Err(ImapError::Timeout(_))) {
                    *self.silent_until() = Some(Instant::now() + SILENT);
                }
                opened.map_err(|error| {
                    let words = format!("{address}: {error}");
                    let is_refusal = matches!(error, ImapError::No { .. });
                    self.note(Service::Imap, if is_refusal { Contact::Refused(words) } else { Contact::Failed(words) });
                    self.unreachable("IMAP", address, &error)
                })?
            }
        };
        self.note(Service::Imap, Contact::Answered);
        Ok(Entered { connector: self, user, session, _alone: alone, _slot: slot })
    }

    fn silent_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.inner.silent_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_of(&self, user: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for a lock that only the map holds.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(user.to_owned()).or_default().clone()
    }

    /// A kept connection that still answers.
    async fn idle_session(&self, user: &str) -> Option<Session> {
        let kept = {
            let mut idle = self.inner.idle_imap.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|kept| kept.since.elapsed() < IDLE_MAX);
            let at = idle.iter().position(|kept| kept.user == user)?;
            idle.swap_remove(at)
        };
        let mut session = kept.session;
        session.run(imap::Command::new("NOOP")).await.ok().map(|_| session)
    }

    fn leave(&self, entered: Entered<'_>) {
        let Entered { user, session, .. } = entered;
        let mut idle = self.inner.idle_imap.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < IDLE_MAX);
        if idle.len() >= self.inner.config.connections_max {
            let oldest = idle.remove(0);
            // Nothing depends on the farewell; a runtime that stops leaves it out.
            tokio::spawn(oldest.session.close());
        }
        idle.push(IdleSession { user, session, since: Instant::now() });
    }

    async fn known(&self, copy_ids: &[CopyId]) -> Result<Vec<Known>, StoreError> {
        let ids: serde_json::Value = copy_ids.iter().map(|id| serde_json::Value::from(id.0)).collect();
        let rows = self.inner.store.query("connector.copies", &values![&ids]).await?;
        rows.iter().map(|row| self.known_from(row)).collect()
    }

    fn known_from(&self, row: &Row) -> Result<Known, StoreError> {
        let copy_id: CopyId = row.id("id")?;
        Ok(Known {
            copy_id,
            message_id: row.id("message_id")?,
            mailbox_id: row.id("mailbox_id")?,
            address: row.text("address")?.to_owned(),
            received_at: row.at("received_at")?,
            body: BodyRef::from_row(row)?,
            mark: (self.inner.marker)(copy_id),
        })
    }

    /// Where some copies are now, in whatever folder; those that are nowhere are not named.
    ///
    /// # Errors
    /// The store's. A mailbox that cannot be entered is told in the batch.
    pub async fn look(&self, copy_ids: &[CopyId]) -> Result<Batch<Found>, MailboxError> {
        let groups = by_mailbox(self.known(copy_ids).await?);
        Ok(self.each(groups, |this, group| Box::pin(async move { this.look_in(&group).await })).await)
    }

    async fn look_in(&self, group: &[Known]) -> Result<Vec<Found>, MailboxError> {
        let address = &group[0].address;
        let mut entered = self.enter(address).await?;
        let hits = search(&mut entered.desk(), group).await.map_err(|e| self.unreachable("IMAP", address, &e))?.1;
        self.leave(entered);
        let found = |known: &Known| {
            let own: Vec<&Hit> = hits.iter().filter(|hit| hit.mark == known.mark).collect();
            let snapshot = snapshot_of(known, &own)?;
            Some(Found { copy_id: known.copy_id, uid: i64::from(own[0].uid), snapshot })
        };
        Ok(group.iter().filter_map(found).collect())
    }

    /// Works through mailboxes, several at a time.
    async fn each<G: HasCopy + Send + Sync + 'static, T: Send + 'static>(
        &self,
        groups: Vec<Vec<G>>,
        work: WorkIn<G, T>,
    ) -> Batch<T> {
        let mut batch = Batch { done: Vec::new(), failed: Vec::new() };
        let working = groups.into_iter().map(|group| {
            let group = Arc::new(group);
            let worked = work(self.clone(), group.clone());
            async move { (worked.await, group) }
        });
        let mut working = futures::stream::iter(working).buffer_unordered(self.inner.config.connections_max.max(1));
        while let Some((worked, group)) = working.next().await {
            match worked {
                Ok(done) => batch.done.extend(done),
                Err(error) => {
                    let failed = |one: &G| Failed { copy_id: one.copy_id(), error: error.clone() };
                    batch.failed.extend(group.iter().map(failed));
                }
            }
        }
        batch
    }
}

/// What is done in one mailbox.
type WorkIn<G, T> = fn(LmtpImap, Arc<Vec<G>>) -> BoxFuture<'static, Result<Vec<T>, MailboxError>>;

/// What is about a copy.
trait HasCopy {
    fn copy_id(&self) -> CopyId;
}

impl HasCopy for Known {
    fn copy_id(&self) -> CopyId {
        self.copy_id
    }
}

/// The folders of a mailbox, and what lies in them of some copies.
async fn search(desk: &mut Desk<'_>, group: &[Known]) -> Result<(Vec<Folder>, Vec<Hit>), ImapError> {
    let folders = desk.folders().await?;
    let marks: Vec<&str> = group.iter().map(|known| known.mark.as_str()).collect();
    let since = group.iter().map(|known| known.received_at).min().map(|at| at.plus_ms(-SINCE_SLACK_MS));
    let hits = desk.search(&folders, &marks, since).await?;
    Ok((folders, hits))
}

fn by_mailbox(all: Vec<Known>) -> Vec<Vec<Known>> {
    let mut groups: BTreeMap<MailboxId, Vec<Known>> = BTreeMap::new();
    for known in all {
        groups.entry(known.mailbox_id).or_default().push(known);
    }
    groups.into_values().collect()
}

/// How a copy lies in its mailbox: the first find is the copy, further ones are its owner's duplicates.
fn snapshot_of(known: &Known, hits: &[&Hit]) -> Option<Snapshot> {
    let one = |hit: &Hit| {
        let mut snapshot = Snapshot {
            folder: hit.folder.name.clone(),
            folder_role: hit.folder.role,
            ..Snapshot::arriving(known.mailbox_id, hit.internal_at)
        };
        hit.flags.write_to(&mut snapshot);
        snapshot
    };
    let (first, others) = hits.split_first()?;
    let mut snapshot = one(first);
    snapshot.duplicates = others.iter().map(|hit| one(hit)).collect();
    Some(snapshot)
}

/// Everything that could not be done is one error: the caller repeats the whole, which changes nothing about what was
/// done.
fn all_or_error<T>(batch: Batch<T>) -> Result<Vec<T>, MailboxError> {
    match batch.failed.into_iter().next() {
        Some(failed) => Err(failed.error),
        None => Ok(batch.done),
    }
}

impl Mailbox for LmtpImap {
    async fn deliver(&self, delivery: &Delivery) -> Result<Landed, MailboxError> {
        self.deliver_one(delivery).await
    }

    async fn find(&self, mailbox_id: MailboxId, locator: &Locator) -> Result<Vec<Found>, MailboxError> {
        match locator {
            Locator::Copy(copy_id) => {
                let found = all_or_error(self.look(&[*copy_id]).await?)?;
                Ok(found.into_iter().filter(|f| f.snapshot.mailbox_id == mailbox_id).collect())
            }
            Locator::MessageId(header) => self.find_message_id(mailbox_id, header).await,
        }
    }

    async fn take_out(&self, copy_ids: &[CopyId]) -> Result<Vec<TakenOut>, MailboxError> {
        all_or_error(self.take_out_many(copy_ids).await?)
    }

    async fn settle(&self, copy_ids: &[CopyId]) -> Result<(), MailboxError> {
        all_or_error(self.settle_many(copy_ids).await?).map(|_| ())
    }

    async fn put_back(&self, items: &[PutBack]) -> Result<Vec<Landed>, MailboxError> {
        let landed = all_or_error(self.put_back_many(items).await?)?;
        let of = |item: &PutBack| landed.iter().find(|l| l.copy_id == item.copy_id).cloned();
        items.iter().map(|item| of(item).ok_or(MailboxError::NotFound("copy"))).collect()
    }
}

impl std::fmt::Debug for LmtpImap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LmtpImap").field("name", &self.inner.name).finish_non_exhaustive()
    }
}
