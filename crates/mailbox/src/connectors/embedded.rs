//! The embedded mailbox: folders and items as rows of the store.

use model::{CopyId, MailboxId};
use store::{Row, Store, Topic, values};

use crate::bulk::{role_of, snapshot_of};
use crate::connector::FOUND_MAX;
use crate::{
    Delivery, Found, Landed, Locator, Mailbox, MailboxError, PutBack, TakenOut, deliver_many, put_back, take_out,
};

/// The mailbox system inside the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Embedded {
    store: Store,
}

impl Embedded {
    /// The mailboxes of this store.
    pub fn new(store: Store) -> Self {
        Embedded { store }
    }

    /// The store it lives in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn announce(&self, mailboxes: impl IntoIterator<Item = MailboxId>) {
        let mut all: Vec<MailboxId> = mailboxes.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        for mailbox_id in all {
            self.store.bus().announce(Topic::Mailbox, mailbox_id);
        }
    }
}

/// Each call is a transaction of its own and appends no event: whoever moves copies as part of something larger uses the
/// functions that take a [`store::Tx`].
impl Mailbox for Embedded {
    async fn deliver(&self, delivery: &Delivery) -> Result<Landed, MailboxError> {
        let mut tx = self.store.begin().await?;
        tx.query("copy.lock", &values![delivery.copy_id]).await?;
        let landed = deliver_many(&mut tx, std::slice::from_ref(delivery)).await?;
        tx.commit().await?;
        self.announce([delivery.mailbox_id]);
        landed.into_iter().next().ok_or(MailboxError::NotFound("mailbox"))
    }

    async fn find(&self, mailbox_id: MailboxId, locator: &Locator) -> Result<Vec<Found>, MailboxError> {
        let rows = match locator {
            Locator::Copy(copy_id) => self.store.query("mailbox.find_copy", &values![mailbox_id, *copy_id]).await?,
            Locator::MessageId(header) => {
                self.store.query("mailbox.find_message_id", &values![header, mailbox_id, FOUND_MAX]).await?
            }
        };
        rows.iter().map(|row| found(row, mailbox_id)).collect()
    }

    async fn take_out(&self, copy_ids: &[CopyId]) -> Result<Vec<TakenOut>, MailboxError> {
        let mut tx = self.store.begin().await?;
        let taken = take_out(&mut tx, copy_ids).await?;
        tx.commit().await?;
        self.announce(taken.iter().map(|t| t.snapshot.mailbox_id));
        Ok(taken)
    }

    /// What was taken out is gone with its transaction: there is nothing to let go of.
    async fn settle(&self, _copy_ids: &[CopyId]) -> Result<(), MailboxError> {
        Ok(())
    }

    async fn put_back(&self, items: &[PutBack]) -> Result<Vec<Landed>, MailboxError> {
        let mut tx = self.store.begin().await?;
        let landed = put_back(&mut tx, items).await?;
        tx.commit().await?;
        self.announce(landed.iter().map(|l| l.mailbox_id));
        Ok(landed)
    }
}

fn found(row: &Row, mailbox_id: MailboxId) -> Result<Found, MailboxError> {
    let snapshot = snapshot_of(row, mailbox_id, row.text("folder_name")?, role_of(row, "folder_role")?)?;
    Ok(Found { copy_id: row.id("copy_id")?, uid: row.int("uid")?, snapshot })
}
