//! The connector against a real Dovecot: the contract, and what only two systems can get wrong.

use std::sync::Arc;

use mailbox::contract::{Subject, mailbox_contract};
use mailbox::{
    Endpoint, FolderRole, HandOver, HandedOver, LmtpImap, LmtpImapConfig, Locator, Mailbox, MailboxError, PutBack,
    Security, Snapshot,
};
use model::{CopyId, EventKind, MailboxId, MessageId, OrganisationId, PersonId, ReversePath, Timestamp};
use store::{NewEvent, Store, Submission};
use testkit::dovecot::{Dovecot, DovecotUser};
use testkit::rows::{self, NewCopy, NewMessage};
use testkit::{TestStore, on_both, sqlite};

const ORGANISATION: OrganisationId = OrganisationId(1);
const ADDRESS: &str = "ada@contoso.example";

fn endpoint(port: u16, security: Security) -> Endpoint {
    Endpoint { host: "localhost".into(), port, security }
}

fn config(dovecot: &Dovecot) -> LmtpImapConfig {
    LmtpImapConfig::new(
        endpoint(dovecot.lmtp_port, Security::Clear),
        endpoint(dovecot.imap_port, Security::Clear),
        Dovecot::MASTER,
        Dovecot::MASTER_PASSWORD,
    )
}

fn connector(store: &Store, config: LmtpImapConfig) -> LmtpImap {
    let marker = Arc::new(|copy_id: CopyId| format!("{copy_id}.secret-{copy_id}"));
    LmtpImap::new("dovecot", config, store.clone(), marker)
}

async fn new_mailbox(store: &Store, person: i64, address: &str) -> MailboxId {
    rows::new_mailbox(store, ORGANISATION, PersonId(person), address).await
}

/// A message with a body and `count` copies for a person, in no mailbox yet.
async fn new_copies(store: &Store, person: i64, count: usize) -> (MessageId, Vec<CopyId>) {
    let message = NewMessage::new(store, ORGANISATION);
    let message_id = message.id;
    let copies: Vec<CopyId> = (0..count).map(|_| store.next_id()).collect();
    let ids = copies.clone();
    let submission = Submission::with_body(body(message_id).into(), move |body| {
        let copy = |id: &CopyId| NewCopy::accepted(*id, &message, Some(PersonId(person)), ADDRESS).ops();
        std::iter::once(message.op(body)).chain(ids.iter().flat_map(copy)).collect()
    });
    store.commit(submission).await.unwrap();
    (message_id, copies)
}

fn body(message: MessageId) -> String {
    format!(
        "Return-Path: <s@x.example>\r\nMessage-ID: <{message}@x.example>\r\nSubject: Hello\r\n\r\n.a dot first\r\nHi\r\n"
    )
}

fn hand_over<'a>(copy_id: CopyId, mailbox_id: MailboxId, address: &'a str, body: &'a str) -> HandOver<'a> {
    HandOver {
        copy_id,
        mailbox_id,
        address,
        role: FolderRole::Inbox,
        reverse_path: &ReversePath::Null,
        received_at: Timestamp::from_micros(1_767_603_600_000_000),
        body: body.as_bytes(),
        is_repeated: false,
    }
}

#[tokio::test]
async fn fulfils_the_contract() {
    on_both(|t: TestStore| async move {
        let dovecot = Dovecot::start([ADDRESS]).await;
        let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
        let (message_id, copies) = new_copies(&t.store, 1, 2).await;
        let subject = Subject {
            mailbox_id,
            copies: [copies[0], copies[1]],
            message_id,
            message_id_header: format!("<{message_id}@x.example>"),
            received_at: t.store.now(),
            dates_arrivals: true,
        };
        mailbox_contract(&connector(&t.store, config(&dovecot)), &subject).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_out_is_given_again_until_it_is_settled() {
    on_both(|t: TestStore| async move {
        let dovecot = Dovecot::start([ADDRESS]).await;
        let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
        let (message, copies) = new_copies(&t.store, 1, 1).await;
        let copy = copies[0];
        // Whoever took it out died: another connector knows nothing but the rows and the mailbox.
        let connector = || connector(&t.store, config(&dovecot));
        let handed = connector().hand_over(&hand_over(copy, mailbox_id, ADDRESS, &body(message))).await.unwrap();
        assert!(matches!(handed, HandedOver::Landed { was_there: false, .. }), "{handed:?}");
        let first = connector().take_out(&[copy]).await.unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(
            connector().take_out(&[copy]).await.unwrap(),
            first,
            "the snapshot reached nobody: it is given again"
        );
        assert!(connector().find(mailbox_id, &Locator::Copy(copy)).await.unwrap().is_empty(), "its owner sees nothing");

        // Nobody came back, and the ledger has it in the inbox: it returns there.
        t.clock.advance_ms(11 * 60 * 1000);
        assert_eq!(connector().sweep().await.unwrap(), 1);
        let found = connector().find(mailbox_id, &Locator::Copy(copy)).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].snapshot, first[0].snapshot, "where it was and as it was");
        assert_eq!(connector().sweep().await.unwrap(), 0);

        // Taken out with the ledger saying so, it stays out.
        assert_eq!(connector().take_out(&[copy]).await.unwrap().len(), 1);
        let mut tx = t.store.begin().await.unwrap();
        tx.append_events(&[NewEvent::now(ORGANISATION, copy, EventKind::Purged, "purge", t.store.now())])
            .await
            .unwrap();
        tx.commit().await.unwrap();
        t.clock.advance_ms(11 * 60 * 1000);
        assert_eq!(connector().sweep().await.unwrap(), 1);
        assert!(connector().take_out(&[copy]).await.unwrap().is_empty(), "neither in the mailbox nor held");
    })
    .await;
}

#[tokio::test]
async fn an_unclear_hand_over_is_not_repeated_when_it_had_succeeded() {
    let t = sqlite().await;
    let dovecot = Dovecot::start([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let (message, copies) = new_copies(&t.store, 1, 2).await;
    let connector = connector(&t.store, config(&dovecot));
    let text = body(message);
    for (copy_id, role) in [(copies[0], FolderRole::Inbox), (copies[1], FolderRole::Junk)] {
        let once = HandOver { role, ..hand_over(copy_id, mailbox_id, ADDRESS, &text) };
        let handed = connector.hand_over(&once).await.unwrap();
        assert!(matches!(handed, HandedOver::Landed { was_there: false, .. }), "{handed:?}");
        let again = connector.hand_over(&HandOver { is_repeated: true, ..once }).await.unwrap();
        let HandedOver::Landed { was_there: true, folder: Some((found_in, _)), .. } = again else {
            panic!("{again:?}")
        };
        assert_eq!(found_in, role);
        assert_eq!(connector.look(&[copy_id]).await.unwrap().done[0].snapshot.duplicates.len(), 0, "it is there once");
    }
}

#[tokio::test]
async fn each_recipient_has_an_answer_of_its_own() {
    let t = sqlite().await;
    let users = [("ada", 0), ("full", 200)];
    let users =
        users.map(|(name, quota_bytes)| DovecotUser { address: format!("{name}@contoso.example"), quota_bytes });
    let dovecot = Dovecot::start_with(&users).await;
    // All three in one transaction: LMTP answers once for each.
    let names = ["ada@contoso.example", "full@contoso.example", "nobody@contoso.example"];
    let recipients = names.map(|name| name.parse().unwrap());
    let addr = ([127, 0, 0, 1], dovecot.lmtp_port).into();
    let mut client = smtp::LmtpClient::connect(addr, smtp::ClientConfig::new("client.example")).await.unwrap();
    let mail = smtp::Mail { reverse_path: &ReversePath::Null, recipients: &recipients };
    let fates = client.send(&mail, "X: y\r\n\r\nso much that it does not fit\r\n".repeat(20).as_bytes()).await.unwrap();
    let codes: Vec<u16> = fates
        .iter()
        .map(|fate| match fate {
            smtp::LmtpFate::Reply(reply) => reply.code(),
            smtp::LmtpFate::Unclear(_) => 0,
        })
        .collect();
    assert_eq!(codes, [250, 552, 550], "{fates:?}");
    assert!(client.is_usable());

    // The same through the connector: what is refused is a value, not a failure.
    let connector = connector(&t.store, config(&dovecot));
    let big = "X: y\r\n\r\nso much that it does not fit\r\n".repeat(20);
    for (person, name, code) in [(1, names[0], 250), (2, names[1], 552), (3, names[2], 550)] {
        let mailbox_id = new_mailbox(&t.store, person, name).await;
        let (_, copies) = new_copies(&t.store, person, 1).await;
        match connector.hand_over(&hand_over(copies[0], mailbox_id, name, &big)).await.unwrap() {
            HandedOver::Landed { .. } => assert_eq!(code, 250, "{name}"),
            HandedOver::Refused(reply) => assert_eq!(reply.code(), code, "{name}: {reply}"),
            HandedOver::Unclear(cause) => panic!("{name}: {cause}"),
        }
    }
}

#[tokio::test]
async fn a_system_that_is_down_loses_nothing_and_holds_up_nobody() {
    let t = sqlite().await;
    let mut dovecot = Dovecot::start([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let stranger = new_mailbox(&t.store, 2, "stranger@contoso.example").await;
    let (message, copies) = new_copies(&t.store, 1, 1).await;
    let (_, strange) = new_copies(&t.store, 2, 1).await;
    let copy = copies[0];
    let before = connector(&t.store, config(&dovecot));
    let text = body(message);
    before.hand_over(&hand_over(copy, mailbox_id, ADDRESS, &text)).await.unwrap();

    // One mailbox that cannot be entered does not keep the other from being worked in.
    let batch = before.take_out_many(&[copy, strange[0]]).await.unwrap();
    assert_eq!((batch.done.len(), batch.failed.len()), (1, 1));
    assert_eq!(batch.failed[0].copy_id, strange[0]);
    assert!(matches!(batch.failed[0].error, MailboxError::Unreachable(_)), "{:?}", batch.failed);
    assert_eq!(before.look(&[strange[0]]).await.unwrap().failed.len(), 1);
    let snapshot = batch.done[0].snapshot.clone();
    assert_eq!(snapshot.mailbox_id, mailbox_id);
    assert_ne!(snapshot.mailbox_id, stranger);

    dovecot.stop().await;
    let connector = connector(&t.store, config(&dovecot));
    let error = connector.settle(&[copy]).await.unwrap_err();
    assert_eq!(error.severity(), mailbox::Severity::Transient, "{error}");
    assert!(connector.hand_over(&hand_over(copy, mailbox_id, ADDRESS, &text)).await.is_err());
    let back = PutBack { copy_id: copy, message_id: message, snapshot };
    assert!(connector.put_back(std::slice::from_ref(&back)).await.is_err());

    dovecot.start_again().await;
    let landed = connector.put_back(std::slice::from_ref(&back)).await.unwrap();
    assert!(!landed[0].was_there);
    connector.settle(&[copy]).await.unwrap();
    let found = connector.find(mailbox_id, &Locator::Copy(copy)).await.unwrap();
    assert_eq!(found.len(), 1, "back once, and the holding folder is empty");
}

#[tokio::test]
async fn connections_are_encrypted_and_the_certificate_is_checked() {
    use rustls_pki_types::pem::PemObject;
    let t = sqlite().await;
    let dovecot = Dovecot::start([ADDRESS]).await;
    let trusting = |roots: rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(dovecot.certificate()).unwrap()).unwrap();
    for (port, security) in [(dovecot.imaps_port, Security::Tls), (dovecot.imap_port, Security::StartTls)] {
        let with = |roots| LmtpImapConfig {
            imap: endpoint(port, security),
            lmtp: endpoint(dovecot.lmtp_port, Security::StartTls),
            tls: Some(trusting(roots)),
            ..config(&dovecot)
        };
        connector(&t.store, with(roots.clone())).check(ADDRESS).await.unwrap();
        let stranger = connector(&t.store, with(rustls::RootCertStore::empty())).check(ADDRESS).await;
        assert!(stranger.is_err(), "an unknown certificate is not trusted");
    }
    let wrong = LmtpImapConfig { master_password: "guessed".into(), ..config(&dovecot) };
    assert!(connector(&t.store, wrong).check(ADDRESS).await.is_err());
}

#[tokio::test]
async fn duplicates_and_strange_folders_go_and_come_back() {
    let t = sqlite().await;
    let dovecot = Dovecot::start([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let (message_id, copies) = new_copies(&t.store, 1, 1).await;
    let connector = connector(&t.store, config(&dovecot));
    let received_at = t.store.now();
    let in_folder = |name: &str, flagged: bool| Snapshot {
        folder: name.into(),
        folder_role: FolderRole::Own,
        flagged,
        ..Snapshot::arriving(mailbox_id, received_at)
    };
    let mut snapshot = in_folder("Büro/Q&A \"offen\"", true);
    snapshot.duplicates = vec![in_folder("Ablage 日本", false)];
    let back = PutBack { copy_id: copies[0], message_id, snapshot };
    connector.put_back(std::slice::from_ref(&back)).await.unwrap();
    let taken = connector.take_out(&copies).await.unwrap();
    let mut places: Vec<(String, bool)> = taken
        .iter()
        .flat_map(|t| t.snapshot.duplicates.iter().chain([&t.snapshot]))
        .map(|s| (s.folder.clone(), s.flagged))
        .collect();
    places.sort();
    assert_eq!(places, [("Ablage 日本".to_owned(), false), ("Büro/Q&A \"offen\"".to_owned(), true)]);
    connector.settle(&copies).await.unwrap();
    assert!(connector.look(&copies).await.unwrap().done.is_empty());
}

#[tokio::test]
async fn putting_back_goes_on_where_it_was_left() {
    let t = sqlite().await;
    let dovecot = Dovecot::start([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let (message_id, copies) = new_copies(&t.store, 1, 1).await;
    let connector = connector(&t.store, config(&dovecot));
    let of = |folder: &str, duplicates: Vec<Snapshot>| Snapshot {
        folder: folder.into(),
        folder_role: FolderRole::Own,
        duplicates,
        ..Snapshot::arriving(mailbox_id, t.store.now())
    };
    let put_back = async |snapshot: Snapshot| {
        let back = PutBack { copy_id: copies[0], message_id, snapshot };
        connector.put_back(std::slice::from_ref(&back)).await.unwrap().remove(0)
    };
    let folders = async || {
        let found = connector.look(&copies).await.unwrap().done.remove(0).snapshot;
        let mut all: Vec<String> = found.duplicates.iter().chain([&found]).map(|s| s.folder.clone()).collect();
        all.sort();
        all
    };
    // Only its duplicate is there: whoever was at it died, or the copy itself had been taken out.
    put_back(of("Later", Vec::new())).await;
    let whole = of("Work", vec![of("Later", Vec::new())]);
    let landed = put_back(whole.clone()).await;
    assert_eq!((landed.folder.as_str(), landed.was_there), ("Work", false));
    assert_eq!(folders().await, ["Later", "Work"]);
    assert!(put_back(whole).await.was_there, "all of it is there now");
    // What lies elsewhere was moved by its owner, and is not missing.
    assert!(put_back(of("Gone", vec![of("Later", Vec::new())])).await.was_there);
    assert_eq!(folders().await, ["Later", "Work"]);
}

#[tokio::test]
async fn a_system_without_extensions_keeps_what_its_owner_marked() {
    let t = sqlite().await;
    let dovecot = Dovecot::start_bare([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let (message_id, copies) = new_copies(&t.store, 1, 2).await;
    let connector = connector(&t.store, config(&dovecot));
    let marked = |deleted: bool| Snapshot { deleted, ..Snapshot::arriving(mailbox_id, t.store.now()) };
    for (copy_id, deleted) in [(copies[0], true), (copies[1], false)] {
        let back = PutBack { copy_id, message_id, snapshot: marked(deleted) };
        connector.put_back(std::slice::from_ref(&back)).await.unwrap();
    }
    // One copy is pulled back; the other, which its owner has marked and not expunged, stays as it is.
    let taken = connector.take_out(&copies[1..]).await.unwrap();
    assert_eq!((taken.len(), &taken[0].snapshot), (1, &marked(false)));
    connector.settle(&copies[1..]).await.unwrap();
    let left = connector.look(&copies).await.unwrap().done;
    assert_eq!((left.len(), left[0].copy_id, &left[0].snapshot), (1, copies[0], &marked(true)));
}

#[tokio::test]
async fn a_message_id_is_found_whole() {
    let t = sqlite().await;
    let dovecot = Dovecot::start([ADDRESS]).await;
    let mailbox_id = new_mailbox(&t.store, 1, ADDRESS).await;
    let (message_id, copies) = new_copies(&t.store, 1, 1).await;
    let connector = connector(&t.store, config(&dovecot));
    let back = PutBack { copy_id: copies[0], message_id, snapshot: Snapshot::arriving(mailbox_id, t.store.now()) };
    connector.put_back(std::slice::from_ref(&back)).await.unwrap();
    for (header, count) in [(format!("<{message_id}@x.example>"), 1), ("@x.example".into(), 0), (String::new(), 0)] {
        let found = connector.find(mailbox_id, &Locator::MessageId(header.clone())).await.unwrap();
        assert_eq!(found.len(), count, "{header:?}");
    }
}
