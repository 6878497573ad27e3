//! Rows that many tests begin with: a received message, its copies, a mailbox with its folders.

use model::{
    CampaignId, CopyId, EventKind, FolderId, MailboxId, MessageId, OrganisationId, PersonId, Place, Timestamp,
};
use store::{BodyRef, NewEvent, Op, Store, values};

/// What every mailbox starts with: name and role.
const FOLDERS: [(&str, &str); 6] = [
    ("Inbox", "inbox"),
    ("Junk", "junk"),
    ("Drafts", "drafts"),
    ("Sent", "sent"),
    ("Archive", "archive"),
    ("Trash", "trash"),
];

/// A received message.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id; its Message-ID is `<id@x.example>`.
    pub id: MessageId,
    /// Whose.
    pub organisation_id: OrganisationId,
    /// The campaign it is of.
    pub campaign_id: Option<CampaignId>,
    /// From whom, in the envelope and the header.
    pub from: String,
    /// Its subject.
    pub subject: String,
    /// Its facts as JSON, if it was read.
    pub facts: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
}

impl NewMessage {
    /// A message from `s@x.example` that says Hello, received now.
    pub fn new(store: &Store, organisation_id: OrganisationId) -> Self {
        NewMessage {
            id: store.next_id(),
            organisation_id,
            campaign_id: None,
            from: "s@x.example".into(),
            subject: "Hello".into(),
            facts: None,
            received_at: store.now(),
        }
    }

    /// Its Message-ID.
    pub fn message_id_header(&self) -> String {
        format!("<{}@x.example>", self.id)
    }

    /// Its row; `body` is where its bytes lie.
    ///
    /// # Panics
    /// For a place that no pack has.
    pub fn op(&self, body: &BodyRef) -> Op {
        let (none_text, none) = (None::<&str>, None::<i64>);
        let number = |n: u64| i64::try_from(n).expect("packs are smaller");
        let row = values![
            self.id,
            self.organisation_id,
            "inbound",
            body.pack_id,
            number(body.offset),
            number(body.bytes),
            &body.sha256,
            self.message_id_header(),
            &self.from,
            &self.from,
            "Sender",
            &self.subject,
            self.subject.to_lowercase(),
            "127.0.0.1",
            "mx.example",
            self.received_at,
            self.campaign_id,
            self.facts.as_deref(),
            none_text,
            none_text,
            none
        ];
        Op::Insert("message.insert", row.to_vec())
    }
}

/// A copy as the gateway makes it.
#[derive(Debug, Clone)]
pub struct NewCopy {
    /// Its id.
    pub id: CopyId,
    /// Of which message.
    pub message: NewMessage,
    /// For whom, where it is somebody of ours.
    pub person_id: Option<PersonId>,
    /// To which address.
    pub recipient: String,
    /// What the gateway did with it.
    pub kind: EventKind,
    /// Where it put it.
    pub place: Place,
}

impl NewCopy {
    /// A copy that was accepted into the inbox.
    pub fn accepted(id: CopyId, message: &NewMessage, person_id: Option<PersonId>, recipient: &str) -> Self {
        let (kind, place) = (EventKind::Accepted, Place::Inbox);
        NewCopy { id, message: message.clone(), person_id, recipient: recipient.to_owned(), kind, place }
    }

    /// Its row and its first event.
    pub fn ops(&self) -> [Op; 2] {
        let (none_text, now) = (None::<&str>, self.message.received_at);
        let (of, message_id) = (self.message.organisation_id, self.message.id);
        let row = values![
            self.id,
            of,
            message_id,
            message_id,
            self.message.campaign_id,
            self.person_id,
            &self.recipient,
            self.place.as_str(),
            "",
            self.kind.as_str(),
            now,
            now,
            now,
            none_text,
            none_text,
            none_text,
            now
        ];
        let event = NewEvent { place: Some(self.place), ..NewEvent::now(of, self.id, self.kind, "gateway", now) };
        [Op::Insert("copy.insert", row.to_vec()), Op::Event(event)]
    }
}

/// A mailbox with its folders.
///
/// # Panics
/// When it cannot be made.
pub async fn new_mailbox(
    store: &Store,
    organisation_id: OrganisationId,
    person_id: PersonId,
    address: &str,
) -> MailboxId {
    let id: MailboxId = store.next_id();
    let mut tx = store.begin().await.expect("a transaction");
    let now = store.now();
    let row = values![id, organisation_id, person_id, address, now];
    tx.execute("mailbox.insert", &row).await.expect("a mailbox");
    let validity = now.as_micros() / 1_000_000;
    let folder = |(name, role): (&str, &str)| {
        let folder_id: FolderId = store.next_id();
        values![folder_id, id, name, role, 1_i64, validity].to_vec()
    };
    let folders: Vec<_> = FOLDERS.into_iter().map(folder).collect();
    tx.insert_many("mailbox.insert_folder", &folders).await.expect("its folders");
    tx.commit().await.expect("a commit");
    id
}
