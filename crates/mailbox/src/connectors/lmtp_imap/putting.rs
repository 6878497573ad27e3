//! Handing copies over, and putting copies back.

use std::collections::{BTreeMap, HashMap};

use model::{Address, CopyId, FolderId, MailboxId, Reply, ReversePath, Timestamp};
use smtp::client::TlsMode;
use smtp::{ClientConfig, ClientError, LmtpClient, LmtpFate, Mail, Phase};
use store::values;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::config::Security;
use super::desk::{Desk, Flags, Folder, Hit};
use super::health::{Contact, Service};
use super::imap::{ImapError, Refusal};
use super::{Batch, Failed, HasCopy, IDLE_MAX, Known, LmtpImap, MARK_HEADER, SINCE_SLACK_MS};
use crate::{Delivery, FolderRole, Landed, MailboxError, PutBack, Snapshot};

/// A copy to be handed over to the mailbox system.
#[derive(Debug, Clone, Copy)]
pub struct HandOver<'a> {
    /// The copy.
    pub copy_id: CopyId,
    /// Into whose mailbox.
    pub mailbox_id: MailboxId,
    /// The owner's address.
    pub address: &'a str,
    /// [`FolderRole::Inbox`] or [`FolderRole::Junk`].
    pub role: FolderRole,
    /// MAIL FROM.
    pub reverse_path: &'a ReversePath,
    /// When we received it.
    pub received_at: Timestamp,
    /// The message as stored, under our trace header section.
    pub body: &'a [u8],
    /// A try before this one may have succeeded without our knowing.
    pub is_repeated: bool,
}

/// What the mailbox system made of a hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedOver {
    /// It has the copy.
    Landed {
        /// What it said.
        reply: String,
        /// The folder, where it is known.
        folder: Option<(FolderRole, String)>,
        /// It had the copy from a try before.
        was_there: bool,
    },
    /// It refuses the copy for this recipient, now or for good.
    Refused(Reply),
    /// It took the whole message and did not say what it made of it: the next try looks first.
    Unclear(String),
}

/// An item and the copy that it is about.
struct Returning {
    known: Known,
    snapshot: Snapshot,
}

impl HasCopy for Returning {
    fn copy_id(&self) -> CopyId {
        self.known.copy_id
    }
}

impl LmtpImap {
    /// Hands a copy over. One that is there from a try before is not handed over again.
    ///
    /// # Errors
    /// [`MailboxError::Unreachable`]: nothing was handed over, try again.
    pub async fn hand_over(&self, copy: &HandOver<'_>) -> Result<HandedOver, MailboxError> {
        if copy.is_repeated {
            let found = super::all_or_error(self.look(&[copy.copy_id]).await?)?;
            if let Some(found) = found.into_iter().next() {
                let folder = Some((found.snapshot.folder_role, found.snapshot.folder));
                return Ok(HandedOver::Landed { reply: "it was there already".into(), folder, was_there: true });
            }
        }
        let mark = (self.inner.marker)(copy.copy_id);
        match copy.role {
            FolderRole::Junk => self.append_junk(copy, &mark).await,
            FolderRole::Inbox
            | FolderRole::Sent
            | FolderRole::Trash
            | FolderRole::Drafts
            | FolderRole::Archive
            | FolderRole::Own => self.hand_over_lmtp(copy, &mark).await,
        }
    }

    async fn hand_over_lmtp(&self, copy: &HandOver<'_>, mark: &str) -> Result<HandedOver, MailboxError> {
        let Ok(recipient) = Address::parse(copy.address) else {
            return Ok(HandedOver::Refused(Reply::permanent(501, (1, 3), "the mailbox has no valid address")));
        };
        let recipients = [recipient];
        let mail = Mail { reverse_path: copy.reverse_path, recipients: &recipients };
        let body = marked(mark, without_return_path(copy.body));
        let slot = self.lmtp_slot().await?;
        let mut is_fresh = false;
        loop {
            let mut client = match self.idle_lmtp().filter(|_| !is_fresh) {
                Some(client) => client,
                None => {
                    is_fresh = true;
                    self.lmtp().await?
                }
            };
            match client.send(&mail, &body).await {
                Ok(fates) => {
                    self.keep_lmtp(client);
                    drop(slot);
                    return Ok(handed_over(fates));
                }
                // A host may close a connection that idles: no fault of this mail.
                Err(error) if !is_fresh && is_stale(&error) => is_fresh = true,
                Err(ClientError::EightBitRefused) => {
                    let reply = Reply::permanent(554, (6, 3), "the mailbox system takes no 8-bit messages");
                    return Ok(HandedOver::Refused(reply));
                }
                Err(ClientError::Utf8Refused) => {
                    let reply = Reply::permanent(553, (6, 7), "the mailbox system takes no such address");
                    return Ok(HandedOver::Refused(reply));
                }
                Err(error) => return Err(self.unreachable("LMTP", copy.address, &error)),
            }
        }
    }

    pub(super) async fn lmtp_slot(&self) -> Result<OwnedSemaphorePermit, MailboxError> {
        let closed = |_| MailboxError::Unreachable("the connector is closing".into());
        self.inner.lmtp_slots.clone().acquire_owned().await.map_err(closed)
    }

    /// A new LMTP connection.
    pub(super) async fn lmtp(&self) -> Result<LmtpClient, MailboxError> {
        let connected = self.connect_lmtp().await;
        let contact = match &connected {
            Ok(_) => Contact::Answered,
            Err(MailboxError::Unreachable(words)) => Contact::Failed(words.clone()),
            Err(error) => Contact::Failed(error.to_string()),
        };
        self.note(Service::Lmtp, contact);
        connected
    }

    async fn connect_lmtp(&self) -> Result<LmtpClient, MailboxError> {
        let config = &self.inner.config;
        let endpoint = &config.lmtp;
        let trouble = |error: &dyn std::fmt::Display| {
            let (name, host, port) = (&self.inner.name, &endpoint.host, endpoint.port);
            MailboxError::Unreachable(format!("{name} (LMTP, {host}:{port}): {error}"))
        };
        let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
        let addresses: Vec<_> = addresses.map_err(|e| trouble(&e))?.collect();
        let mut client = ClientConfig::new(config.helo_name.clone());
        let deadline_ms = u64::try_from(config.deadline.as_millis()).unwrap_or(u64::MAX);
        client.timeouts.connect_ms = client.timeouts.connect_ms.min(deadline_ms);
        client.timeouts.greeting_ms = client.timeouts.greeting_ms.min(deadline_ms);
        client.timeouts.command_ms = client.timeouts.command_ms.min(deadline_ms);
        if endpoint.security != Security::Clear {
            let trusted = config.tls.clone().ok_or_else(|| trouble(&"no certificates to trust are configured"))?;
            let server_name = rustls_pki_types::ServerName::try_from(endpoint.host.clone()).map_err(|e| trouble(&e))?;
            client.tls = TlsMode::Required { config: trusted, server_name };
        }
        let mut last = trouble(&"the name has no address");
        for address in addresses {
            match LmtpClient::connect(address, client.clone()).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = trouble(&error),
            }
        }
        Err(last)
    }

    fn idle_lmtp(&self) -> Option<LmtpClient> {
        let mut idle = self.inner.idle_lmtp.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(client, _)| client)
    }

    pub(super) fn keep_lmtp(&self, client: LmtpClient) {
        let mut idle = self.inner.idle_lmtp.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.note(Service::Lmtp, Contact::Answered);
        if client.is_usable() && idle.len() < self.inner.config.connections_max {
            idle.push((client, Instant::now()));
        }
    }

    /// By IMAP, since LMTP knows no folders: what is junk never shows in the inbox first.
    async fn append_junk(&self, copy: &HandOver<'_>, mark: &str) -> Result<HandedOver, MailboxError> {
        let mut entered = self.enter(copy.address).await?;
        let mut desk = entered.desk();
        let trouble = |error| self.unreachable("IMAP", copy.address, &error);
        let folders = desk.folders().await.map_err(trouble)?;
        let arriving = Snapshot {
            folder_role: FolderRole::Junk,
            folder: FolderRole::Junk.default_name().to_owned(),
            ..Snapshot::arriving(copy.mailbox_id, copy.received_at)
        };
        let folder = desk.folder_for(&folders, &arriving);
        let body = marked(mark, copy.body);
        let appended = desk.append(&folder, &Flags::default(), copy.received_at, &body).await;
        let handed = match appended {
            Ok(uid) => HandedOver::Landed {
                reply: format!(
                    "appended to {} as {}",
                    folder.name,
                    uid.map_or("a message".into(), |uid| uid.to_string())
                ),
                folder: Some((FolderRole::Junk, folder.name)),
                was_there: false,
            },
            Err(ImapError::No { refusal: Refusal::OverQuota, text, .. }) => {
                HandedOver::Refused(Reply::permanent(552, (2, 2), text))
            }
            Err(ImapError::No { text, .. }) => HandedOver::Refused(Reply::transient(451, (3, 0), text)),
            Err(error) => return Err(trouble(error)),
        };
        self.leave(entered);
        Ok(handed)
    }

    pub(super) async fn deliver_one(&self, delivery: &Delivery) -> Result<Landed, MailboxError> {
        let known = self.known(&[delivery.copy_id]).await?;
        let known = known.into_iter().next().ok_or(MailboxError::NotFound("mailbox"))?;
        let body = self.inner.store.body(&known.body).await?;
        let copy = HandOver {
            copy_id: delivery.copy_id,
            mailbox_id: delivery.mailbox_id,
            address: &known.address,
            role: delivery.role,
            reverse_path: &ReversePath::Null,
            received_at: delivery.internal_at,
            body: &body,
            is_repeated: true,
        };
        let was_there = match self.hand_over(&copy).await? {
            HandedOver::Landed { was_there, .. } => was_there,
            HandedOver::Refused(reply) => return Err(self.unreachable("LMTP", &known.address, &reply)),
            HandedOver::Unclear(cause) => return Err(self.unreachable("LMTP", &known.address, &cause)),
        };
        let found = super::all_or_error(self.look(&[delivery.copy_id]).await?)?;
        let found = found.into_iter().next().ok_or(MailboxError::NotFound("copy"))?;
        Ok(Landed {
            copy_id: delivery.copy_id,
            mailbox_id: known.mailbox_id,
            folder_id: FolderId(0),
            folder: found.snapshot.folder,
            role: found.snapshot.folder_role,
            uid: found.uid,
            was_there,
        })
    }

    /// Puts copies back as their snapshots say: the bytes that were delivered, with flags and date; the folder is made
    /// again when it is gone. A copy that is in a folder already stays where it is.
    ///
    /// # Errors
    /// The store's. A mailbox that cannot be entered is told in the batch.
    pub async fn put_back_many(&self, items: &[PutBack]) -> Result<Batch<Landed>, MailboxError> {
        let snapshots: BTreeMap<CopyId, &PutBack> = items.iter().rev().map(|item| (item.copy_id, item)).collect();
        let copy_ids: Vec<CopyId> = snapshots.keys().copied().collect();
        let mut groups: BTreeMap<MailboxId, Vec<Returning>> = BTreeMap::new();
        let mut missing: HashMap<CopyId, ()> = copy_ids.iter().map(|id| (*id, ())).collect();
        for known in self.known(&copy_ids).await? {
            missing.remove(&known.copy_id);
            let snapshot = snapshots[&known.copy_id].snapshot.clone();
            groups.entry(known.mailbox_id).or_default().push(Returning { known, snapshot });
        }
        let groups: Vec<Vec<Returning>> = groups.into_values().collect();
        let mut batch = self.each(groups, |this, group| Box::pin(async move { this.put_into(&group).await })).await;
        let gone = missing.into_keys().map(|copy_id| Failed { copy_id, error: MailboxError::NotFound("mailbox") });
        batch.failed.extend(gone);
        Ok(batch)
    }

    async fn put_into(&self, group: &[Returning]) -> Result<Vec<Landed>, MailboxError> {
        let address = &group[0].known.address;
        let trouble = |error| self.unreachable("IMAP", address, &error);
        let mut entered = self.enter(address).await?;
        let mut desk = entered.desk();
        let mut folders = desk.folders().await.map_err(trouble)?;
        let marks: Vec<&str> = group.iter().map(|one| one.known.mark.as_str()).collect();
        let earliest = group.iter().map(|one| one.known.received_at.min(one.snapshot.internal_at)).min();
        let since = earliest.map(|at| at.plus_ms(-SINCE_SLACK_MS));
        let there = desk.search(&folders, &marks, since).await.map_err(trouble)?;
        let mut landed = Vec::with_capacity(group.len());
        for one in group {
            let own: Vec<&Hit> = there.iter().filter(|hit| hit.mark == one.known.mark).collect();
            let absent = absent(&desk, &folders, &one.snapshot, &own);
            let mut at = own.first().map(|hit| landed_at(&one.known, &hit.folder, hit.uid, true));
            if !absent.is_empty() {
                let stored = self.inner.store.body(&one.known.body).await?;
                let body = marked(&one.known.mark, &stored);
                for (snapshot, folder) in absent {
                    let appended = desk.append(&folder, &Flags::of(snapshot), snapshot.internal_at, &body).await;
                    let uid = match appended.map_err(trouble)? {
                        Some(uid) => uid,
                        None => {
                            let only = std::slice::from_ref(&folder);
                            let hits = desk.search(only, &[&one.known.mark], since).await.map_err(trouble)?;
                            hits.iter().map(|hit: &Hit| hit.uid).max().unwrap_or(0)
                        }
                    };
                    if std::ptr::eq(snapshot, &one.snapshot) {
                        at = Some(landed_at(&one.known, &folder, uid, false));
                    }
                    if !folders.contains(&folder) {
                        folders.push(folder);
                    }
                }
            }
            landed.push(at.ok_or(MailboxError::NotFound("copy"))?);
        }
        self.leave(entered);
        Ok(landed)
    }

    /// The mailbox's address and explicit connector, if there is such a mailbox.
    ///
    /// # Errors
    /// The store's.
    pub async fn address_of(&self, mailbox_id: MailboxId) -> Result<Option<String>, MailboxError> {
        let row = self.inner.store.query_one("connector.mailbox", &values![mailbox_id]).await?;
        Ok(row.map(|row| row.text("address").map(str::to_owned)).transpose()?)
    }
}

/// What is not there of a copy and its owner's duplicates, and where it belongs. Whoever put them back before may have
/// died in the middle; one that lies in another folder than it should was moved there and is not missing.
fn absent<'a>(
    desk: &Desk<'_>,
    folders: &[Folder],
    snapshot: &'a Snapshot,
    own: &[&Hit],
) -> Vec<(&'a Snapshot, Folder)> {
    let mut unmatched: Vec<&Hit> = own.to_vec();
    let mut absent = Vec::new();
    let duplicates = snapshot.duplicates.iter().take(crate::bulk::DUPLICATES_MAX);
    for wanted in std::iter::once(snapshot).chain(duplicates) {
        let folder = desk.folder_for(folders, wanted);
        match unmatched.iter().position(|hit| hit.folder == folder) {
            Some(at) => drop(unmatched.remove(at)),
            None => absent.push((wanted, folder)),
        }
    }
    absent.drain(..unmatched.len().min(absent.len()));
    absent
}

fn landed_at(known: &Known, folder: &Folder, uid: u32, was_there: bool) -> Landed {
    Landed {
        copy_id: known.copy_id,
        mailbox_id: known.mailbox_id,
        folder_id: FolderId(0),
        folder: folder.name.clone(),
        role: folder.role,
        uid: i64::from(uid),
        was_there,
    }
}

/// The message under its mark.
fn marked(mark: &str, body: &[u8]) -> Vec<u8> {
    let mut whole = format!("{MARK_HEADER}: {mark}\r\n").into_bytes();
    whole.extend_from_slice(body);
    whole
}

/// RFC 5321 4.4: whoever makes the final delivery writes Return-Path, and by LMTP that is the mailbox system.
fn without_return_path(body: &[u8]) -> &[u8] {
    if !body.starts_with(b"Return-Path:") {
        return body;
    }
    let end = body.windows(2).position(|w| w == b"\r\n");
    end.map_or(body, |end| &body[end + 2..])
}

fn handed_over(fates: Vec<LmtpFate>) -> HandedOver {
    match fates.into_iter().next() {
        Some(LmtpFate::Reply(reply)) if reply.is_completion() => {
            HandedOver::Landed { reply: reply.to_string(), folder: None, was_there: false }
        }
        Some(LmtpFate::Reply(reply)) => HandedOver::Refused(reply),
        Some(LmtpFate::Unclear(cause)) => HandedOver::Unclear(cause),
        None => HandedOver::Unclear("no recipient was answered".into()),
    }
}

fn is_stale(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset | Phase::Rcpt),
        ClientError::Closed { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset),
        ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::UnclearEnd { .. }
        | ClientError::Protocol { .. }
        | ClientError::Tls(_)
        | ClientError::TlsUnavailable
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::RequireTlsUnavailable
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}
