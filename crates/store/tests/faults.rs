//! What the store keeps when something fails: at every step, in every way, on both databases.

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use model::{CopyId, EventKind, MessageId, OrganisationId, Place, Timestamp};
use store::{BodyRef, Failing, NewEvent, Op, Store, StoreError, Submission, Trouble, Value, values};
use testkit::{Arm, TestStore, at_every_step, on_both};

const ORGANISATION: OrganisationId = OrganisationId(1);
const SESSIONS: i64 = 5;

fn body(n: i64) -> Bytes {
    Bytes::from(format!("Subject: mail {n}\r\n\r\n{}\r\n", "words ".repeat(usize::try_from(n).unwrap() * 100)))
}

fn message_row(id: i64, body: &BodyRef) -> Vec<Value> {
    let (offset, bytes) = (i64::try_from(body.offset).unwrap(), i64::try_from(body.bytes).unwrap());
    let mut row = values![MessageId(id), ORGANISATION, "inbound", body.pack_id, offset, bytes, &body.sha256].to_vec();
    row.extend(values!["<a@b>", "a@b.example", "a@b.example", "A", "Mail", "mail", "127.0.0.1", "client"]);
    row.extend(values![Timestamp::from_micros(5), Value::NullInt, Value::NullText, Value::NullText]);
    row.extend(values![Value::NullText, Value::NullInt]);
    row
}

fn copy_row(id: i64) -> Vec<Value> {
    let at = Timestamp::from_micros(5);
    let mut row =
        values![CopyId(id), ORGANISATION, MessageId(id), Value::NullInt, Value::NullInt, Value::NullInt].to_vec();
    row.extend(values!["b@c.example", Place::Accepted.as_str(), "", "accepted", at, at, at]);
    row.extend(values![Value::NullText, Value::NullText, Value::NullText, at]);
    row
}

/// A mail with its rows and its event, as the gateway stores one.
fn mail(n: i64) -> Submission {
    Submission::with_body(body(n), move |place| {
        let at = Timestamp::from_micros(5);
        vec![
            Op::Insert("message.insert", message_row(n, place)),
            Op::Insert("copy.insert", copy_row(n)),
            Op::Event(NewEvent::now(ORGANISATION, CopyId(n), EventKind::Accepted, "gateway", at)),
        ]
    })
}

/// The place of mail `n`'s body, if the mail is there.
async fn place_of(store: &Store, n: i64) -> Option<BodyRef> {
    let row = store.query_one("message.by_id", &values![n]).await.unwrap()?;
    Some(BodyRef::from_row(&row).unwrap())
}

/// Whether mail `n` is there; if so it must be whole: body, copy, event, and the copy as its events say.
async fn is_there_and_whole(t: &TestStore, n: i64, what: &str) -> bool {
    let place = place_of(&t.store, n).await;
    let mut tx = t.store.begin().await.unwrap();
    let (whereabouts, fold) = (tx.whereabouts(CopyId(n)).await.unwrap(), tx.fold_of(CopyId(n)).await.unwrap());
    let events = tx.query("event.of_copy", &values![n]).await.unwrap().len();
    tx.rollback().await.unwrap();
    assert_eq!(whereabouts, fold, "{what}: mail {n}");
    assert_eq!((place.is_some(), events), (whereabouts.is_some(), usize::from(place.is_some())), "{what}: mail {n}");
    if let Some(place) = &place {
        assert_eq!(t.store.body(place).await.unwrap(), body(n), "{what}: mail {n}");
    }
    place.is_some()
}

#[tokio::test]
async fn a_batch_survives_a_fault_at_every_step() {
    let stage = async |_: &TestStore| ();
    let act = async |t: &TestStore, (): &(), arm: Arm| {
        arm.now();
        join_all((1..=SESSIONS).map(|n| t.store.commit(mail(n)))).await
    };
    let ways = [&Failing::ALL[..], &[Failing::Refused, Failing::Refusing]].concat();
    let runs = at_every_step(&ways, stage, act, async |t, (), answers, fault| {
        let what = fault.to_string();
        for (n, answer) in (1..).zip(&answers) {
            let is_there = is_there_and_whole(t, n, &what).await;
            match answer {
                Ok(()) => assert!(is_there, "{what}: mail {n} was acknowledged and is lost"),
                Err(error) => {
                    assert!(!is_there, "{what}: mail {n} was refused ({error}) and is there");
                    t.store.commit(mail(n)).await.unwrap();
                    assert!(is_there_and_whole(t, n, &what).await, "{what}: mail {n} was sent again");
                }
            }
        }
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        match fault.failing {
            _ if !fault.fired => assert_eq!(refused, 0, "{what}"),
            // One disturbance is got over, and a lost answer is looked up.
            Failing::Once | Failing::AnswerLost => assert_eq!(refused, 0, "{what}: {answers:?}"),
            Failing::Full => assert!(answers.iter().flatten_err().all(|e| matches!(e, StoreError::Full(_))), "{what}"),
            Failing::Dies | Failing::Refusing => assert!(refused > 0, "{what}"),
            // Each is asked about alone.
            Failing::Refused => assert!(refused <= 1, "{what}: {answers:?}"),
        }
    })
    .await;
    assert!(runs > 40, "{runs} faults in all");
}

/// The errors among answers.
trait FlattenErr<'a> {
    fn flatten_err(self) -> impl Iterator<Item = &'a StoreError>;
}

impl<'a, I: Iterator<Item = &'a Result<(), StoreError>>> FlattenErr<'a> for I {
    fn flatten_err(self) -> impl Iterator<Item = &'a StoreError> {
        self.filter_map(|answer| answer.as_ref().err())
    }
}

#[tokio::test]
async fn the_body_is_durable_before_its_row_and_the_row_before_the_answer() {
    use store::Step::{Begin, Commit, Execute, Put};
    on_both(|t| async move {
        let before = t.faults.log().len();
        t.store.commit(mail(1)).await.unwrap();
        let log = t.faults.log();
        let steps: Vec<_> =
            log[before..].iter().map(|(step, _)| *step).filter(|step| *step != store::Step::Query).collect();
        assert_eq!(steps.first(), Some(&Put), "on {}: {steps:?}", t.name);
        assert_eq!(steps.get(1), Some(&Begin), "on {}: {steps:?}", t.name);
        assert_eq!(steps.last(), Some(&Commit), "on {}: {steps:?}", t.name);
        assert!(steps[2..steps.len() - 1].iter().all(|step| *step == Execute), "on {}: {steps:?}", t.name);
    })
    .await;
}

#[tokio::test]
async fn a_commit_is_durable_by_the_database_s_own_words() {
    on_both(|t| async move {
        let guarantees = t.store.guarantees().await.unwrap();
        let of = |name: &str| guarantees.iter().find(|g| g.name == name).unwrap_or_else(|| panic!("{guarantees:?}"));
        if t.name == "sqlite" {
            assert!(of("synchronous").holds && of("journal_mode").holds, "{guarantees:?}");
            assert_eq!((of("synchronous").value.as_str(), of("journal_mode").value.as_str()), ("2", "wal"));
        } else {
            // The test server is started with synchronous_commit=off and fsync=off: the one is put right by each
            // connection, the other only the operator can.
            assert_eq!((of("synchronous_commit").value.as_str(), of("synchronous_commit").holds), ("on", true));
            assert_eq!((of("fsync").value.as_str(), of("fsync").holds), ("off", false));
        }
    })
    .await;
}

#[tokio::test]
async fn a_torn_pack_is_told_and_never_handed_on() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 4] = [
        ("the end is missing", |file| {
            let size = std::fs::metadata(file).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(size - 7).unwrap();
        }),
        ("nothing is left", |file| std::fs::write(file, b"").unwrap()),
        ("a byte is flipped", |file| {
            let mut raw = std::fs::read(file).unwrap();
            let last = raw.len() - 5;
            raw[last] ^= 0x20;
            std::fs::write(file, raw).unwrap();
        }),
        ("the file is gone", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (what, harm) in harms {
        let t = testkit::sqlite().await;
        // Another process appends to a pack of its own.
        Store::open(t.config.clone(), t.clock.clone()).await.unwrap().commit(mail(1)).await.unwrap();
        t.store.commit(mail(2)).await.unwrap();
        let place = place_of(&t.store, 2).await.unwrap();
        let file = t.pack_path(place.pack_id);
        assert!(t.store.verify_body(&place).await.unwrap());
        harm(&file);
        let told = t.store.body(&place).await;
        assert!(
            matches!(&told, Err(StoreError::Body { pack_id, .. }) if *pack_id == place.pack_id),
            "{what}: {told:?}"
        );
        assert!(!t.store.verify_body(&place).await.unwrap(), "{what}");
        let other = place_of(&t.store, 1).await.unwrap();
        assert!(t.store.verify_body(&other).await.unwrap(), "{what}: the other mail is as it was");
    }
}

#[tokio::test]
async fn below_the_floor_no_body_is_taken_and_rows_still_are() {
    on_both(|t| async move {
        let health = t.store.health();
        health.set_free_bytes_min(u64::MAX);
        let refused = t.store.commit(mail(1)).await;
        assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
        assert_eq!(health.trouble(), Some(Trouble::Full));
        assert!(t.store.ping().await.is_err(), "whoever sends traffic here is told");
        let row = Op::Execute("setting.put", values![ORGANISATION, "k", "1", 0i64].to_vec());
        t.store.commit(Submission::rows(vec![row])).await.unwrap();
        assert_eq!(health.trouble(), Some(Trouble::Full), "the floor still holds");
        health.set_free_bytes_min(1);
        health.well().await; // by itself
        t.store.ping().await.unwrap();
        t.store.commit(mail(1)).await.unwrap();
        assert!(!t.config.objects_dir.join("probe").read_dir().unwrap().any(|_| true), "probes are taken away");
    })
    .await;
}

#[tokio::test]
async fn the_latch_closes_on_a_failed_write_and_opens_by_itself() {
    for (failing, trouble) in [(Failing::Full, Trouble::Full), (Failing::Dies, Trouble::Unavailable)] {
        on_both(|t| async move {
            t.faults.arm(failing, 1);
            assert!(t.store.commit(mail(1)).await.is_err());
            assert_eq!(t.store.health().trouble(), Some(trouble), "on {}", t.name);
            t.faults.disarm();
            t.store.health().well().await;
            t.store.commit(mail(1)).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_pack_without_rows_is_taken_away() {
    on_both(|t| async move {
        t.store.commit(mail(1)).await.unwrap();
        let again = t.store.commit(mail(1)).await;
        assert!(again.as_ref().is_err_and(StoreError::is_conflict), "{again:?}");
        let packs = |dir: std::path::PathBuf| -> usize {
            let folders = dir.join("packs").read_dir().unwrap();
            folders.map(|folder| folder.unwrap().path().read_dir().unwrap().count()).sum()
        };
        assert_eq!(packs(t.config.objects_dir.clone()), 1, "on {}", t.name);
    })
    .await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_and_nobody_hangs() {
    const CROWD: i64 = 3_000;
    let t = testkit::sqlite().await;
    let mut held = Some(t.store.begin().await.unwrap()); // somebody has the only writer and does not give it back
    let mut crowd: FuturesUnordered<_> =
        (1..=CROWD).map(|n| t.store.commit(mail(n)).map(move |answer| (n, answer))).collect();
    let (mut busy, mut unavailable, mut taken) = (0, 0, 0);
    let mut answers = Vec::new();
    while let Some((n, answer)) = crowd.next().await {
        match &answer {
            Ok(()) => taken += 1,
            Err(StoreError::Busy(_)) => busy += 1,
            Err(StoreError::Unavailable(_)) => unavailable += 1,
            Err(error) => panic!("mail {n}: {error}"),
        }
        answers.push((n, answer.is_ok()));
        if busy > 0 {
            held = None; // given back at last: who still waits in the queue is served
        }
    }
    assert!(held.is_none() && taken > 0, "{busy} were not begun, {unavailable} failed, {taken} were taken");
    assert_eq!(i64::try_from(answers.len()).unwrap(), CROWD, "everybody has one answer");
    for (n, was_taken) in answers {
        assert_eq!(place_of(&t.store, n).await.is_some(), was_taken, "mail {n}");
    }
}

#[tokio::test]
async fn a_database_that_another_process_has_locked_is_told() {
    let t = testkit::sqlite().await;
    let other = Store::open(t.config.clone(), t.clock.clone()).await.unwrap();
    let mut lock = other.begin().await.unwrap();
    lock.query("setting.ping", &[]).await.unwrap(); // it begins with its first statement
    let refused = t.store.commit(mail(1)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let mut tx = t.store.begin().await.unwrap();
    let put = values![ORGANISATION, "alone", "1", 0i64];
    assert!(matches!(tx.execute("setting.put", &put).await, Err(StoreError::Unavailable(_))), "it cannot begin");
    drop(lock);
    other.execute("setting.put", &values![ORGANISATION, "k", "0", 0i64]).await.unwrap();
    assert!(matches!(tx.execute("setting.put", &put).await, Err(StoreError::Unavailable(_))), "nothing by itself");
    drop(tx);
    assert!(t.store.query_one("setting.get", &values![ORGANISATION, "alone"]).await.unwrap().is_none());
    other.execute("setting.put", &values![ORGANISATION, "k", "1", 0i64]).await.unwrap();
    t.store.commit(mail(1)).await.unwrap();
    assert!(is_there_and_whole(&t, 1, "afterwards").await);
}

#[tokio::test]
async fn two_processes_may_open_a_new_database_at_once() {
    on_both(|t| async move {
        let store::Database::Postgres { url } = &t.config.database else { return };
        let name = format!("landfall_twice_{}", std::process::id());
        let url = store::create_postgres_database(url, &name).await.unwrap();
        let config =
            store::StoreConfig { database: store::Database::Postgres { url: url.clone() }, ..t.config.clone() };
        let opened = join_all((0..4).map(|_| Store::open(config.clone(), t.clock.clone()))).await;
        for store in opened {
            store.unwrap().ping().await.unwrap();
        }
        store::drop_postgres_database(&url.replace(&name, "postgres"), &name).await.unwrap();
    })
    .await;
}
