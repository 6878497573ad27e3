//! The contract suite of [`Mailbox`]: what every implementation must pass. For tests of connectors.

use model::{CopyId, MailboxId, MessageId, Timestamp};

use crate::{Delivery, FolderRole, Locator, Mailbox, PutBack, Snapshot};

/// What the suite works on: a mailbox with Inbox and Junk, and two copies that lie nowhere yet.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The mailbox.
    pub mailbox_id: MailboxId,
    /// Two copies of it.
    pub copies: [CopyId; 2],
    /// The stored message of both.
    pub message_id: MessageId,
    /// Its Message-ID header field.
    pub message_id_header: String,
    /// When it was received, in whole seconds: IMAP knows no less.
    pub received_at: Timestamp,
    /// The system dates by its own clock what is delivered to it, as LMTP has it. What is put back keeps its date in any.
    pub dates_arrivals: bool,
}

/// Runs the suite.
///
/// # Panics
/// Where the implementation breaks the contract, with what it should have done.
pub async fn mailbox_contract(mailbox: &impl Mailbox, subject: &Subject) {
    let Subject { mailbox_id, copies: [first, second], message_id, message_id_header, received_at, dates_arrivals } =
        subject.clone();
    let delivery = Delivery {
        item_id: 900_001.into(),
        mailbox_id,
        role: FolderRole::Inbox,
        copy_id: first,
        message_id,
        internal_at: received_at,
        safety_tip: String::new(),
    };
    let find = async |copy: CopyId| mailbox.find(mailbox_id, &Locator::Copy(copy)).await.expect("find answers");

    // Deliver, once and again.
    assert!(find(first).await.is_empty(), "nothing was delivered yet");
    let landed = mailbox.deliver(&delivery).await.expect("deliver");
    assert!(!landed.was_there, "the first delivery is new");
    let again = mailbox.deliver(&delivery).await.expect("deliver again");
    assert_eq!((again.was_there, again.uid), (true, landed.uid), "a second delivery changes nothing");
    let found = find(first).await;
    assert_eq!(found.len(), 1, "delivered twice, there once");
    let arrived_at = if dates_arrivals { found[0].snapshot.internal_at } else { received_at };
    assert_eq!(found[0].snapshot, Snapshot::arriving(mailbox_id, arrived_at), "unread in the inbox, with its date");
    let by_header = mailbox.find(mailbox_id, &Locator::MessageId(message_id_header)).await.expect("find answers");
    assert_eq!(by_header, found, "found by Message-ID too");

    // Take out, once and again.
    let taken = mailbox.take_out(&[first, second]).await.expect("take out");
    assert_eq!(taken.len(), 1, "only what is there is taken out");
    assert_eq!((taken[0].copy_id, taken[0].message_id), (first, message_id));
    assert_eq!(taken[0].snapshot, Snapshot::arriving(mailbox_id, arrived_at));
    assert!(find(first).await.is_empty(), "what was taken out is not found");
    mailbox.settle(&[first, second]).await.expect("settle");
    mailbox.settle(&[first]).await.expect("settle again");
    assert!(mailbox.take_out(&[first]).await.expect("take out").is_empty(), "nothing is taken out twice");

    // Put back with everything that an owner can have changed, into a folder that does not exist.
    let kept = Snapshot {
        folder: "Projects".into(),
        folder_role: FolderRole::Own,
        seen: true,
        flagged: true,
        answered: true,
        keywords: vec!["$Label1".into(), "later".into()],
        internal_at: received_at.plus_ms(-86_400_000),
        ..Snapshot::arriving(mailbox_id, received_at)
    };
    let back = PutBack { copy_id: first, message_id, snapshot: kept.clone() };
    let once = mailbox.put_back(std::slice::from_ref(&back)).await.expect("put back");
    assert_eq!((once[0].was_there, once[0].folder.as_str()), (false, "Projects"), "the folder was created again");
    let twice = mailbox.put_back(&[back.clone(), back.clone()]).await.expect("put back again");
    assert!(twice.iter().all(|l| l.was_there && l.uid == once[0].uid), "putting back again changes nothing");
    let found = find(first).await;
    assert_eq!(found.len(), 1, "put back three times, there once");
    assert_eq!(found[0].snapshot, kept, "folder, flags, keywords and date are as they were");

    // A uid is never used twice: out and back gives a higher one.
    let taken = mailbox.take_out(&[first]).await.expect("take out");
    assert_eq!(taken[0].snapshot, kept);
    mailbox.settle(&[first]).await.expect("settle");
    let both = [back, PutBack { copy_id: second, message_id, snapshot: kept }];
    let landed = mailbox.put_back(&both).await.expect("put back");
    assert!(landed[0].uid > once[0].uid, "the uid is new");
    assert_ne!(landed[0].uid, landed[1].uid, "each has its own");
    assert_eq!(mailbox.take_out(&[first, second]).await.expect("take out").len(), 2);
    mailbox.settle(&[first, second]).await.expect("settle");

    // Junk is a folder of its own, and delivering there is as repeatable.
    let junk = Delivery { role: FolderRole::Junk, item_id: 900_002.into(), ..delivery };
    let landed = mailbox.deliver(&junk).await.expect("deliver to Junk");
    assert_eq!((landed.role, landed.was_there), (FolderRole::Junk, false));
    assert!(mailbox.deliver(&junk).await.expect("deliver to Junk again").was_there);
    let found = find(first).await;
    assert_eq!((found.len(), found[0].snapshot.folder_role), (1, FolderRole::Junk));
    assert_eq!(found[0].snapshot.internal_at, received_at, "what is put into Junk keeps its date");
}
