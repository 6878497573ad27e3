//! APPEND: what an owner puts in.

use bytes::Bytes;
use model::{FolderId, MailItemId, MailboxId, MessageId, OrganisationId, SqlText, Timestamp};
use store::{BodyRef, Op, Submission, Topic, Value, values};

use super::Flags;
use super::flags::flag_values;
use crate::owner::checked_keywords;
use crate::{Embedded, MailboxError};

/// A mail that its owner puts in.
#[derive(Debug, Clone)]
pub struct OwnMail {
    /// Where.
    pub mailbox_id: MailboxId,
    /// Into which folder.
    pub folder_id: FolderId,
    /// The message.
    pub raw: Bytes,
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub internal_at: Timestamp,
    /// What lists show of it.
    pub header: OwnHeader,
}

/// What lists show of a mail that its owner put in.
#[derive(Debug, Clone, Default)]
pub struct OwnHeader {
    /// Message-ID with its angle brackets, or empty.
    pub message_id: String,
    /// Subject.
    pub subject: String,
    /// Address of the From field.
    pub from_address: String,
    /// Name of the From field.
    pub from_name: String,
}

impl Embedded {
    /// Stores a mail that its owner puts in, durably when this returns; gives (UIDVALIDITY, uid), or nothing when another
    /// session has moved it on already.
    ///
    /// # Errors
    /// [`MailboxError::NotFound`] when the folder is gone; [`MailboxError::Keyword`].
    pub async fn append(&self, mail: OwnMail) -> Result<Option<(i64, i64)>, MailboxError> {
        let keywords: Vec<String> = mail.flags.keywords.iter().cloned().collect();
        checked_keywords(&keywords)?;
        let info = self.mailbox(mail.mailbox_id).await?.ok_or(MailboxError::NotFound("mailbox"))?;
        let (message_id, item_id): (MessageId, MailItemId) = (self.store().next_id(), self.store().next_id());
        let OwnMail { mailbox_id, folder_id, raw, flags, internal_at, header } = mail;
        let now = self.store().now();
        let submission = Submission::with_body(raw, move |body| {
            let mut item = values![item_id, message_id, internal_at].to_vec();
            item.extend(flag_values(&flags));
            item.extend(values![mailbox_id, folder_id]);
            vec![
                Op::Insert("message.insert", own_message(message_id, info.organisation_id, body, &header, now)),
                Op::Guarded("imap.bump_uid", values![mailbox_id, folder_id].to_vec()),
                Op::Guarded("imap.append", item),
            ]
        });
        match self.store().commit(submission).await {
            Ok(()) => {}
            Err(store::StoreError::Conflict(_)) => return Err(MailboxError::NotFound("folder")),
            Err(error) => return Err(error.into()),
        }
        self.store().bus().announce(Topic::Mailbox, mailbox_id);
        // It is kept, whatever comes now: an error would make its owner put it in once more.
        let row = self.store().query_one("imap.appended", &values![item_id, folder_id]).await.ok().flatten();
        let at = |row: store::Row| Ok((row.int("uid_validity")?, row.int("uid")?));
        row.map(at).transpose()
    }
}

fn own_message(
    id: MessageId,
    organisation_id: OrganisationId,
    body: &BodyRef,
    header: &OwnHeader,
    now: Timestamp,
) -> Vec<Value> {
    let (none_text, none) = (None::<&str>, None::<i64>);
    let subject = SqlText::new(&header.subject);
    let lower = SqlText::new(&header.subject.to_lowercase());
    values![
        id,
        organisation_id,
        "own",
        body.pack_id,
        i64::try_from(body.offset).unwrap_or(i64::MAX),
        i64::try_from(body.bytes).unwrap_or(i64::MAX),
        &body.sha256,
        SqlText::indexed(&header.message_id),
        "",
        SqlText::indexed(&header.from_address),
        SqlText::new(&header.from_name),
        subject,
        lower,
        "",
        "",
        now,
        none,
        none_text,
        none_text,
        none_text,
        none
    ]
    .to_vec()
}
