//! The embedded mailbox on both databases.

use std::collections::BTreeSet;

use mailbox::contract::{Subject, mailbox_contract};
use mailbox::{
    Deleted, Delivery, Embedded, FlagChange, FolderRole, MailboxError, NewFolder, PERSONAL_FOLDERS, PutBack, Snapshot,
    deliver_many, deliver_ops, put_back,
};
use model::{CopyId, EventKind, MailItemId, MailboxId, MessageId, OrganisationId, PersonId, Place};
use store::{NewEvent, Op, Store, Submission, values};
use testkit::{TestStore, on_both};

const ORGANISATION: OrganisationId = OrganisationId(1);

async fn new_mailbox(store: &Store, person: i64) -> MailboxId {
    let id: MailboxId = store.next_id();
    let mut tx = store.begin().await.unwrap();
    let row = values![id, ORGANISATION, PersonId(person), format!("p{person}@contoso.example"), store.now()];
    tx.execute("mailbox.insert", &row).await.unwrap();
    for role in PERSONAL_FOLDERS {
        let name = role.default_name().to_owned();
        let folder = NewFolder { id: store.next_id(), mailbox_id: id, name, role: *role, created_at: store.now() };
        tx.execute("mailbox.insert_folder", &folder.row()).await.unwrap();
    }
    tx.commit().await.unwrap();
    id
}

fn message_op(store: &Store, id: MessageId, body: &store::BodyRef) -> Op {
    let (none_text, none) = (None::<&str>, None::<i64>);
    let row = values![
        id,
        ORGANISATION,
        "inbound",
        body.pack_id,
        i64::try_from(body.offset).unwrap(),
        i64::try_from(body.bytes).unwrap(),
        &body.sha256,
        format!("<{id}@x.example>"),
        "s@x.example",
        "s@x.example",
        "Sender",
        "Hello",
        "hello",
        "127.0.0.1",
        "mx.example",
        store.now(),
        none,
        none_text,
        none_text,
        none_text,
        none
    ];
    Op::Insert("message.insert", row.to_vec())
}

fn copy_ops(store: &Store, id: CopyId, message: MessageId, place: Place) -> Vec<Op> {
    let (none_text, none, now) = (None::<&str>, None::<i64>, store.now());
    let row = values![
        id,
        ORGANISATION,
        message,
        message,
        none,
        none,
        "p@contoso.example",
        place.as_str(),
        "",
        "accepted",
        now,
        now,
        now,
        none_text,
        none_text,
        none_text,
        now
    ];
    let event = NewEvent { place: Some(place), ..NewEvent::now(ORGANISATION, id, EventKind::Accepted, "gateway", now) };
    vec![Op::Insert("copy.insert", row.to_vec()), Op::Event(event)]
}

/// A message with a body and `count` copies, as the gateway stores it, but in no mailbox.
async fn new_copies(store: &Store, count: usize) -> (MessageId, Vec<CopyId>) {
    let message: MessageId = store.next_id();
    let copies: Vec<CopyId> = (0..count).map(|_| store.next_id()).collect();
    let (held, ids) = (store.clone(), copies.clone());
    let submission = Submission::with_body("Subject: Hello\r\n\r\nHi\r\n".into(), move |body| {
        let mut ops = vec![message_op(&held, message, body)];
        ops.extend(ids.iter().flat_map(|id| copy_ops(&held, *id, message, Place::Inbox)));
        ops
    });
    store.commit(submission).await.unwrap();
    (message, copies)
}

fn delivery(store: &Store, mailbox_id: MailboxId, copy_id: CopyId, message_id: MessageId) -> Delivery {
    Delivery {
        item_id: store.next_id(),
        mailbox_id,
        role: FolderRole::Inbox,
        copy_id,
        message_id,
        internal_at: store.now(),
        safety_tip: String::new(),
    }
}

#[tokio::test]
async fn fulfils_the_contract() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message_id, copies) = new_copies(&t.store, 2).await;
        let subject = Subject {
            mailbox_id,
            copies: [copies[0], copies[1]],
            message_id,
            message_id_header: format!("<{message_id}@x.example>"),
            received_at: t.store.now(),
            dates_arrivals: false,
        };
        mailbox_contract(&Embedded::new(t.store.clone()), &subject).await;
    })
    .await;
}

#[tokio::test]
async fn concurrent_group_commits_give_each_item_its_own_uid() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message, copies) = new_copies(&t.store, 60).await;
        let mut tasks = Vec::new();
        for (n, copy) in copies.iter().copied().enumerate() {
            let store = t.store.clone();
            // Half through the group commit, half through transactions of their own.
            tasks.push(tokio::spawn(async move {
                let one = delivery(&store, mailbox_id, copy, message);
                if n % 2 == 0 {
                    store.commit(Submission::rows(deliver_ops(&one))).await.unwrap();
                } else {
                    let mut tx = store.begin().await.unwrap();
                    deliver_many(&mut tx, &[one]).await.unwrap();
                    tx.commit().await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mailbox = Embedded::new(t.store.clone());
        let inbox = mailbox.folder_of_role(mailbox_id, FolderRole::Inbox).await.unwrap().unwrap();
        let items = mailbox.items(mailbox_id, inbox, None, 100).await.unwrap();
        let uids: BTreeSet<i64> = items.iter().map(|i| i.uid).collect();
        assert_eq!((items.len(), uids.len()), (60, 60));

        // Delivered again: a conflict, and nothing is there twice.
        let again = deliver_ops(&delivery(&t.store, mailbox_id, copies[0], message));
        assert!(t.store.commit(Submission::rows(again)).await.unwrap_err().is_conflict());
        let nowhere = deliver_ops(&delivery(&t.store, MailboxId(77), copies[0], message));
        assert!(t.store.commit(Submission::rows(nowhere)).await.unwrap_err().is_conflict());
        assert_eq!(mailbox.folders(mailbox_id).await.unwrap().iter().map(|f| f.total_count).sum::<i64>(), 60);
    })
    .await;
}

#[tokio::test]
async fn an_owner_reads_flags_moves_and_deletes() {
    on_both(|t: TestStore| async move {
        let (mine, theirs) = (new_mailbox(&t.store, 1).await, new_mailbox(&t.store, 2).await);
        let (message, copies) = new_copies(&t.store, 5).await;
        let mailbox = Embedded::new(t.store.clone());
        for copy in &copies {
            t.clock.set(t.store.now().plus_ms(1_000));
            let ops = deliver_ops(&delivery(&t.store, mine, *copy, message));
            t.store.commit(Submission::rows(ops)).await.unwrap();
        }
        let inbox = mailbox.folder_of_role(mine, FolderRole::Inbox).await.unwrap().unwrap();

        // Pages, newest first.
        let first = mailbox.items(mine, inbox, None, 3).await.unwrap();
        let rest = mailbox.items(mine, inbox, Some(first[2].position()), 3).await.unwrap();
        let listed: Vec<CopyId> = first.iter().chain(&rest).map(|i| i.copy_id).collect();
        assert_eq!(listed, copies.iter().rev().copied().collect::<Vec<_>>());

        // Another mailbox's item does not exist.
        let id: MailItemId = first[0].id;
        assert!(matches!(mailbox.item(theirs, id).await, Err(MailboxError::NotFound(_))));
        assert!(matches!(mailbox.delete_item(theirs, id, "eve").await, Err(MailboxError::NotFound(_))));
        let item = mailbox.item(mine, id).await.unwrap();
        assert!(t.store.verify_body(&item.body).await.unwrap());

        let change =
            FlagChange { seen: Some(true), keywords: Some(vec!["b".into(), "a".into()]), ..Default::default() };
        mailbox.set_flags(mine, id, &change).await.unwrap();
        let bad = FlagChange { keywords: Some(vec!["no blanks".into()]), ..Default::default() };
        assert!(matches!(mailbox.set_flags(mine, id, &bad).await, Err(MailboxError::Keyword)));
        mailbox.set_flags(mine, id, &FlagChange { flagged: Some(true), ..Default::default() }).await.unwrap();
        let item = mailbox.item(mine, id).await.unwrap().summary;
        assert_eq!((item.seen, item.flagged, item.keywords), (true, true, vec!["a".to_owned(), "b".to_owned()]));
        let counts = mailbox.folders(mine).await.unwrap();
        let inbox_row = counts.iter().find(|f| f.role == FolderRole::Inbox).unwrap();
        assert_eq!((inbox_row.total_count, inbox_row.unseen_count), (5, 4));

        // A folder of one's own; the ledger follows.
        let projects = mailbox.create_folder(mine, "Projects").await.unwrap();
        assert!(matches!(mailbox.create_folder(mine, "Projects").await, Err(MailboxError::FolderExists)));
        assert!(matches!(mailbox.create_folder(mine, " x").await, Err(MailboxError::FolderName(_))));
        mailbox.move_item(mine, id, projects, "ada").await.unwrap();
        expect_place(&t, item.copy_id, "other_folder", "Projects", "accepted").await;
        assert!(matches!(mailbox.delete_folder(mine, projects).await, Err(MailboxError::FolderInUse(_))));
        assert!(matches!(mailbox.delete_folder(mine, inbox).await, Err(MailboxError::FolderInUse(_))));

        // Trash first, then gone.
        assert!(matches!(mailbox.delete_item(mine, id, "ada").await.unwrap(), Deleted::ToTrash(_)));
        expect_place(&t, item.copy_id, "other_folder", "Trash", "accepted").await;
        mailbox.delete_folder(mine, projects).await.unwrap();
        assert_eq!(mailbox.delete_item(mine, id, "ada").await.unwrap(), Deleted::Gone);
        expect_place(&t, item.copy_id, "deleted", "", "deleted_by_owner").await;
        assert!(matches!(mailbox.item(mine, id).await, Err(MailboxError::NotFound(_))));
    })
    .await;
}

async fn expect_place(t: &TestStore, copy: CopyId, place: &str, detail: &str, last_event: &str) {
    let row = t.store.query_one("copy.by_id", &values![copy]).await.unwrap().unwrap();
    let got = (row.text("place").unwrap(), row.text("place_detail").unwrap(), row.text("last_event").unwrap());
    assert_eq!(got, (place, detail, last_event), "{}", t.name);
}

#[tokio::test]
async fn a_snapshot_of_a_mailbox_that_is_gone_puts_nothing_back() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message_id, copies) = new_copies(&t.store, 2).await;
        let back = |copy_id: CopyId, mailbox_id: MailboxId| PutBack {
            copy_id,
            message_id,
            snapshot: Snapshot::arriving(mailbox_id, t.store.now()),
        };
        let mut tx = t.store.begin().await.unwrap();
        let items = [back(copies[0], mailbox_id), back(copies[1], MailboxId(77))];
        assert!(matches!(put_back(&mut tx, &items).await, Err(MailboxError::NotFound("mailbox"))));
        drop(tx);
        let mailbox = Embedded::new(t.store.clone());
        assert_eq!(mailbox.folders(mailbox_id).await.unwrap().iter().map(|f| f.total_count).sum::<i64>(), 0);
    })
    .await;
}
