//! The store's contract: the same on both databases.

use bytes::Bytes;
use model::{CopyId, EventKind, MessageId, OrganisationId, Place, SqlText, Timestamp};
use store::{BodyRef, NewEvent, Op, Store, StoreError, Submission, Value, values};
use testkit::on_both;

const ORGANISATION: OrganisationId = OrganisationId(1);

fn message_row(id: MessageId, subject: &SqlText, body: &BodyRef) -> Vec<Value> {
    values![
        id,
        ORGANISATION,
        "inbound",
        body.pack_id,
        body.offset as i64,
        body.bytes as i64,
        &body.sha256,
        "<a@b>",
        "a@b.example",
        "a@b.example",
        "A",
        subject,
        subject.to_lower(),
        "127.0.0.1",
        "client",
        Timestamp::from_micros(5),
        Value::NullInt,
        Value::NullText,
        Value::NullText,
        Value::NullText,
        Value::NullInt
    ]
    .to_vec()
}

fn copy_row(id: CopyId, message: MessageId, place: Place, at: Timestamp) -> Vec<Value> {
    values![
        id,
        ORGANISATION,
        message,
        Value::NullInt,
        Value::NullInt,
        Value::NullInt,
        "b@c.example",
        place.as_str(),
        "",
        "accepted",
        at,
        at,
        at,
        Value::NullText,
        Value::NullText,
        Value::NullText,
        at
    ]
    .to_vec()
}

async fn body_of(store: &Store, message: MessageId) -> Bytes {
    let row = store.query_one("message.by_id", &values![message]).await.unwrap().unwrap();
    store.body(&BodyRef::from_row(&row).unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_statement_prepares() {
    on_both(|t| async move {
        assert_eq!(t.store.check_statements().await, Vec::new(), "on {}", t.name);
    })
    .await;
}

#[tokio::test]
async fn a_crowd_shares_packs_and_each_gets_its_own_body() {
    on_both(|t| async move {
        let store = &t.store;
        let sent: Vec<(MessageId, Bytes)> =
            (0..300u32).map(|n| (store.next_id(), Bytes::from(format!("body {n}\r\n")))).collect();
        let commits = sent.iter().map(|(id, body)| {
            let id = *id;
            store.commit(Submission::with_body(body.clone(), move |place| {
                vec![Op::Insert("message.insert", message_row(id, &SqlText::new("hello"), place))]
            }))
        });
        for done in futures::future::join_all(commits).await {
            done.unwrap();
        }
        for (id, body) in &sent {
            assert_eq!(&body_of(store, *id).await, body);
        }
        let packs = store.query("pack.all", &[]).await.unwrap();
        assert!(packs.len() < sent.len(), "{} packs for {} bodies", packs.len(), sent.len());
        let bodies: i64 = packs.iter().map(|p| p.int("body_count").unwrap()).sum();
        assert_eq!(bodies, 300);
    })
    .await;
}

#[tokio::test]
async fn a_poisoned_submission_fails_alone() {
    on_both(|t| async move {
        let store = &t.store;
        let taken: MessageId = store.next_id();
        let put = |id: MessageId| {
            store.commit(Submission::with_body(Bytes::from_static(b"x"), move |place| {
                vec![Op::Insert("message.insert", message_row(id, &SqlText::new("s"), place))]
            }))
        };
        put(taken).await.unwrap();
        let ids: Vec<MessageId> = (0..20).map(|n| if n == 7 { taken } else { store.next_id() }).collect();
        let results = futures::future::join_all(ids.iter().map(|id| put(*id))).await;
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.as_ref().err().map(StoreError::is_conflict), (n == 7).then_some(true), "{n}: {result:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn text_that_a_database_would_refuse_is_stored_marked() {
    on_both(|t| async move {
        let id: MessageId = t.store.next_id();
        let subject = SqlText::from_bytes(b"a\0b\xFFc");
        assert!(subject.had_defect());
        let stored = subject.clone();
        t.store
            .commit(Submission::with_body(Bytes::from_static(b"\0\xFF"), move |place| {
                vec![Op::Insert("message.insert", message_row(id, &stored, place))]
            }))
            .await
            .unwrap();
        let row = t.store.query_one("message.by_id", &values![id]).await.unwrap().unwrap();
        assert_eq!(row.text("subject").unwrap(), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(&body_of(&t.store, id).await[..], b"\0\xFF", "a body keeps its bytes");
        // What somebody typed, as a value to store and as one to look for.
        t.store.execute("setting.put", &values![ORGANISATION, "k\0", "v\0", 0i64]).await.unwrap();
        let row = t.store.query_one("setting.get", &values![ORGANISATION, "k\0".to_owned()]).await.unwrap().unwrap();
        assert_eq!(row.text("value").unwrap(), "v\u{FFFD}");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    on_both(|t| async move {
        let mut tx = t.store.begin().await.unwrap();
        tx.execute("setting.put", &values![ORGANISATION, "k", "1", 0i64]).await.unwrap();
        drop(tx);
        assert!(t.store.query_one("setting.get", &values![ORGANISATION, "k"]).await.unwrap().is_none());
        t.store.execute("setting.put", &values![ORGANISATION, "k", "2", 0i64]).await.unwrap();
        let row = t.store.query_one("setting.get", &values![ORGANISATION, "k"]).await.unwrap().unwrap();
        assert_eq!(row.text("value").unwrap(), "2");
    })
    .await;
}

#[tokio::test]
async fn a_guarded_statement_that_touches_nothing_undoes_the_submission() {
    on_both(|t| async move {
        let id: CopyId = t.store.next_id();
        let refused = t
            .store
            .commit(Submission::rows(vec![
                Op::Insert("copy.insert", copy_row(id, MessageId(1), Place::Inbox, t.store.now())),
                Op::Guarded("list.add_by_address", values![404i64, ORGANISATION, "[]"].to_vec()),
            ]))
            .await;
        assert!(refused.is_err_and(|e| e.is_conflict()));
        assert!(t.store.query_one("copy.by_id", &values![id]).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn reopening_keeps_everything_and_a_foreign_schema_is_refused() {
    on_both(|t| async move {
        t.store.execute("setting.put", &values![ORGANISATION, "k", "1", 0i64]).await.unwrap();
        let again = Store::open(t.config.clone(), t.clock.clone()).await.unwrap();
        assert!(again.query_one("setting.get", &values![ORGANISATION, "k"]).await.unwrap().is_some());
        again.execute("setting.record_schema_version", &values![store::SCHEMA_VERSION + 1, 0i64]).await.unwrap();
        let refused = Store::open(t.config.clone(), t.clock.clone()).await;
        assert!(matches!(refused, Err(StoreError::Schema { .. })));
    })
    .await;
}

/// Random histories: after every step the columns of `copy` equal the fold of its events, on both databases, and both
/// databases agree. Late evidence (an earlier effective_at) is part of it.
#[tokio::test]
async fn random_histories_fold_to_the_columns() {
    let outcome = std::sync::Mutex::new(Vec::<String>::new());
    on_both(|t| {
        let outcome = &outcome;
        async move {
            let mut random = fastrand::Rng::with_seed(20_240_314);
            let mut states = String::new();
            for copy in 1..=40i64 {
                let id = CopyId(copy);
                let start = Timestamp::from_micros(1_000_000);
                t.store
                    .commit(Submission::rows(vec![
                        Op::Insert("copy.insert", copy_row(id, MessageId(copy), Place::Accepted, start)),
                        Op::Event(NewEvent::now(ORGANISATION, id, EventKind::Accepted, "smtp", start)),
                    ]))
                    .await
                    .unwrap();
                for _ in 0..random.usize(1..12) {
                    let kind = EventKind::ALL[random.usize(..EventKind::ALL.len())];
                    let place = random.bool().then(|| Place::ALL[random.usize(..Place::ALL.len())]);
                    let at = Timestamp::from_micros(1_000_000 + random.i64(0..50) * 1_000);
                    let event = NewEvent { place, ..NewEvent::now(ORGANISATION, id, kind, "gateway", at) };
                    let mut tx = t.store.begin().await.unwrap();
                    tx.append_events(&[event]).await.unwrap();
                    let now = tx.whereabouts(id).await.unwrap();
                    assert_eq!(now, tx.fold_of(id).await.unwrap(), "copy {copy} on {}", t.name);
                    tx.commit().await.unwrap();
                    states.push_str(&format!("{now:?}\n"));
                }
            }
            outcome.lock().unwrap().push(states);
        }
    })
    .await;
    let outcome = outcome.into_inner().unwrap();
    assert_eq!(outcome[0], outcome[1], "SQLite and PostgreSQL tell the same story");
}

#[tokio::test]
async fn a_snapshot_is_a_database_of_its_own() {
    let t = testkit::sqlite().await;
    t.store.execute("setting.put", &values![ORGANISATION, "k", "1", 0i64]).await.unwrap();
    let target = t.dir.path().join("snapshot.db");
    t.store.snapshot_into(&target).await.unwrap();
    t.store.execute("setting.put", &values![ORGANISATION, "k", "2", 0i64]).await.unwrap();
    let config = store::StoreConfig { database: store::Database::Sqlite { path: target }, ..t.config.clone() };
    let copy = Store::open(config, t.clock.clone()).await.unwrap();
    let row = copy.query_one("setting.get", &values![ORGANISATION, "k"]).await.unwrap().unwrap();
    assert_eq!(row.text("value").unwrap(), "1");
}

#[tokio::test]
async fn a_caller_that_goes_away_at_any_point_leaves_the_writer_usable() {
    on_both(|t| async move {
        let write = async |value: String| {
            let mut tx = t.store.begin().await?;
            tx.execute("setting.put", &values![ORGANISATION, "k", value, 0i64]).await?;
            tx.commit().await
        };
        // Dropped after so many polls: within BEGIN, within the statement, within COMMIT.
        for polls in 1..8_u32 {
            let mut dropped = Box::pin(write(format!("dropped {polls}")));
            for _ in 0..polls {
                if futures::poll!(&mut dropped).is_ready() {
                    break;
                }
                // SQLite's thread answers, or the socket does; either wakes nobody here, so look again.
                tokio::task::yield_now().await;
            }
            drop(dropped);
            write(format!("kept {polls}")).await.unwrap();
            let row = t.store.query_one("setting.get", &values![ORGANISATION, "k"]).await.unwrap().unwrap();
            assert_eq!(row.text("value").unwrap(), format!("kept {polls}"), "on {}", t.name);
        }
    })
    .await;
}
