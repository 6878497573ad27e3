//! The embedded mailbox on both databases.

use std::collections::BTreeSet;

use mailbox::contract::{Subject, mailbox_contract};
use mailbox::{
    Deleted, Delivery, Embedded, FOLDERS_MAX, FlagChange, FlagMode, FlagStore, Flags, FolderRole, Locator, Mailbox,
    MailboxError, OwnHeader, OwnMail, PutBack, Snapshot, deliver_many, deliver_ops, put_back,
};
use model::{CopyId, FolderId, MailItemId, MailboxId, MessageId, OrganisationId, PersonId};
use store::{Store, Submission, values};
use testkit::rows::{self, NewCopy, NewMessage};
use testkit::{TestStore, on_both};

const ORGANISATION: OrganisationId = OrganisationId(1);

async fn new_mailbox(store: &Store, person: i64) -> MailboxId {
    let address = format!("p{person}@contoso.example");
    rows::new_mailbox(store, ORGANISATION, PersonId(person), &address).await
}

/// A message with a body and `count` copies, as the gateway stores it, but in no mailbox.
async fn new_copies(store: &Store, count: usize) -> (MessageId, Vec<CopyId>) {
    let message = NewMessage::new(store, ORGANISATION);
    let message_id = message.id;
    let copies: Vec<CopyId> = (0..count).map(|_| store.next_id()).collect();
    let ids = copies.clone();
    let submission = Submission::with_body("Subject: Hello\r\n\r\nHi\r\n".into(), move |body| {
        let copy = |id: &CopyId| NewCopy::accepted(*id, &message, None, "p@contoso.example").ops();
        std::iter::once(message.op(body)).chain(ids.iter().flat_map(copy)).collect()
    });
    store.commit(submission).await.unwrap();
    (message_id, copies)
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
async fn a_mailbox_has_only_so_many_folders() {
    on_both(|t: TestStore| async move {
        let (mailbox, mine) = (Embedded::new(t.store.clone()), new_mailbox(&t.store, 1).await);
        let room = FOLDERS_MAX as usize - mailbox.folders(mine).await.unwrap().len();
        let folder = |n: usize| {
            let id: FolderId = t.store.next_id();
            values![id, mine, format!("Folder {n}"), "", 1_i64, 1_i64].to_vec()
        };
        let mut tx = t.store.begin().await.unwrap();
        let rows: Vec<_> = (1..room).map(folder).collect();
        tx.insert_many("mailbox.insert_folder", &rows).await.unwrap();
        tx.commit().await.unwrap();
        mailbox.create_folder(mine, "The last").await.unwrap();
        assert!(matches!(mailbox.create_folder(mine, "One more").await, Err(MailboxError::TooMany)));
        assert_eq!(mailbox.folders(mine).await.unwrap().len() as i64, FOLDERS_MAX);
    })
    .await;
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

fn draft(mailbox_id: MailboxId, folder_id: FolderId, message_id: &str, store: &Store) -> OwnMail {
    OwnMail {
        mailbox_id,
        folder_id,
        raw: "Subject: mine\r\n\r\nx\r\n".into(),
        flags: Flags::default(),
        internal_at: store.now(),
        header: OwnHeader { message_id: message_id.into(), ..OwnHeader::default() },
    }
}

#[tokio::test]
async fn an_owners_own_mail_is_not_taken_for_a_copy() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message, copies) = new_copies(&t.store, 1).await;
        t.store
            .commit(Submission::rows(deliver_ops(&delivery(&t.store, mailbox_id, copies[0], message))))
            .await
            .unwrap();
        let mailbox = Embedded::new(t.store.clone());
        let header = format!("<{message}@x.example>");
        let inbox = mailbox.folder_of_role(mailbox_id, FolderRole::Inbox).await.unwrap().unwrap();
        let drafts = mailbox.folder_of_role(mailbox_id, FolderRole::Drafts).await.unwrap().unwrap();
        mailbox.append(draft(mailbox_id, drafts, &header, &t.store)).await.unwrap().expect("a uid");
        mailbox.copy_items(mailbox_id, inbox, &[1], drafts).await.unwrap();
        let found = mailbox.find(mailbox_id, &Locator::MessageId(header)).await.unwrap();
        assert_eq!(found.iter().map(|f| f.copy_id).collect::<Vec<_>>(), copies);
    })
    .await;
}

#[tokio::test]
async fn a_folder_made_again_is_another_one_whoever_makes_it() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message_id, copies) = new_copies(&t.store, 1).await;
        let mailbox = Embedded::new(t.store.clone());
        let mut seen = BTreeSet::new();
        let validity = async || {
            let states = mailbox.folder_states(mailbox_id).await.unwrap();
            let work = states.into_iter().find(|state| state.name == "Work").unwrap();
            mailbox.remove_folder(mailbox_id, work.id, "ada").await.unwrap();
            work.uid_validity
        };
        // The clock stands still.
        mailbox.create_folder_as(mailbox_id, "Work", FolderRole::Own).await.unwrap();
        seen.insert(validity().await);
        mailbox.create_folder(mailbox_id, "Work").await.unwrap();
        seen.insert(validity().await);
        let snapshot = Snapshot {
            folder: "Work".into(),
            folder_role: FolderRole::Own,
            ..Snapshot::arriving(mailbox_id, t.store.now())
        };
        mailbox.put_back(&[PutBack { copy_id: copies[0], message_id, snapshot }]).await.unwrap();
        seen.insert(validity().await);
        assert_eq!(seen.len(), 3, "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn a_mailbox_has_so_many_folders_and_the_inbox_is_among_them() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let mailbox = Embedded::new(t.store.clone());
        let there = mailbox.folder_states(mailbox_id).await.unwrap().len();
        let missing = usize::try_from(FOLDERS_MAX).unwrap() - there;
        let row = |n: usize| {
            let id: FolderId = t.store.next_id();
            values![id, mailbox_id, format!("A {n:05}"), "", 1_i64, 1_i64].to_vec()
        };
        let rows: Vec<_> = (0..missing).map(row).collect();
        let mut tx = t.store.begin().await.unwrap();
        tx.insert_many("mailbox.insert_folder", &rows).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(mailbox.create_folder(mailbox_id, "B").await, Err(MailboxError::TooMany)));
        let one_more = mailbox.create_folder_as(mailbox_id, "B", FolderRole::Own).await;
        assert!(matches!(one_more, Err(MailboxError::TooMany)));
        // A folder that a restore made again counts beyond: what has a use is shown all the same.
        t.store.execute("mailbox.insert_folder", &row(missing)).await.unwrap();
        let states = mailbox.folder_states(mailbox_id).await.unwrap();
        assert_eq!(states.iter().filter(|state| state.role != FolderRole::Own).count(), there);
    })
    .await;
}

/// RFC 7162 3.1.1: whatever comes in or changes has a greater modseq than anything in its folder before.
#[tokio::test]
async fn what_comes_in_or_changes_has_the_greatest_modseq() {
    on_both(|t: TestStore| async move {
        let mailbox_id = new_mailbox(&t.store, 1).await;
        let (message, copies) = new_copies(&t.store, 3).await;
        let mailbox = Embedded::new(t.store.clone());
        let folder = async |role| mailbox.folder_of_role(mailbox_id, role).await.unwrap().unwrap();
        let (inbox, archive) = (folder(FolderRole::Inbox).await, folder(FolderRole::Archive).await);
        let mut highest = std::collections::BTreeMap::new();
        // The newest change of a folder is that of `uid`, and greater than all before.
        let mut check = async |folder, uid: i64, what: &str| {
            let now = mailbox.folder_state(mailbox_id, folder).await.unwrap().unwrap().modseq;
            let items = mailbox.view(folder, 1, i64::MAX).await.unwrap();
            let modseq = items.iter().find(|item| item.uid == uid).unwrap().modseq;
            let before = highest.insert(folder, modseq).unwrap_or(0);
            assert!(modseq > before && modseq == now, "{what}: {modseq} after {before}, folder {now}");
        };
        let deliver = async |n: usize| {
            let ops = deliver_ops(&delivery(&t.store, mailbox_id, copies[n], message));
            t.store.commit(Submission::rows(ops)).await.unwrap();
        };
        deliver(0).await;
        check(inbox, 1, "delivered").await;
        deliver(1).await;
        check(inbox, 2, "delivered again").await;
        let seen = Flags { seen: true, ..Flags::default() };
        let change = FlagStore { mode: FlagMode::Add, flags: &seen, unchanged_since: None };
        mailbox.change_flags(mailbox_id, inbox, &[1], &change).await.unwrap();
        check(inbox, 1, "flags by IMAP").await;
        let item = mailbox.items(mailbox_id, inbox, None, 10).await.unwrap().pop().unwrap();
        mailbox
            .set_flags(mailbox_id, item.id, &FlagChange { flagged: Some(true), ..Default::default() })
            .await
            .unwrap();
        check(inbox, item.uid, "flags by the API").await;
        mailbox.copy_items(mailbox_id, inbox, &[1], archive).await.unwrap();
        check(archive, 1, "COPY").await;
        mailbox.move_items(mailbox_id, inbox, &[1], archive, "ada").await.unwrap();
        check(archive, 2, "MOVE").await;
        mailbox.append(draft(mailbox_id, archive, "", &t.store)).await.unwrap();
        check(archive, 3, "APPEND").await;
        mailbox
            .move_item(mailbox_id, mailbox.items(mailbox_id, inbox, None, 1).await.unwrap()[0].id, archive, "ada")
            .await
            .unwrap();
        check(archive, 4, "moved by the API").await;
        let taken = mailbox.take_out(&[copies[1]]).await.unwrap().remove(0);
        let back = PutBack { copy_id: copies[1], message_id: message, snapshot: taken.snapshot };
        mailbox.put_back(&[back]).await.unwrap();
        check(archive, 5, "put back").await;
        // Whoever asks for what did not change since is refused, and nothing is changed.
        let since = FlagStore { unchanged_since: Some(highest[&archive] - 1), ..change };
        let done = mailbox.change_flags(mailbox_id, archive, &[4, 5], &since).await;
        assert!(done.is_ok_and(|done| done.refused == [5]), "{}", t.name);
    })
    .await;
}
