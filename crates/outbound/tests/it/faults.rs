//! A fault at every step of the agent, and a store in trouble: nothing is lost, nothing is sent that cannot be noted.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dns::Resolver;
use model::{CopyId, MessageId, OrganisationId, ReversePath};
use outbound::{Agent, AgentConfig, NewDelivery, Routes, delivery_ops, queued_copy_ops};
use store::{BodyRef, Failing, Op, Store, Submission, Topic, Trouble, values};
use testkit::sink::Sink;
use testkit::{Arm, TestStore, at_every_step, on_both};
use tokio_util::sync::CancellationToken;

use crate::common::{self, HELLO, Host, Running, Starttls, delivery};

const ORGANISATION: OrganisationId = OrganisationId(1);
const MAILS: usize = 2;
const WAIT: Duration = Duration::from_secs(60);
/// How far the clock moves with each look.
const RETRY_MS: i64 = 30_000;
/// Longer than a lease.
const LEASE_OVER_MS: i64 = 60 * 60_000;

/// `MAILS` mails in the queue; gives their copies.
async fn enqueue(store: &Store) -> Vec<CopyId> {
    let mut copies = Vec::new();
    for n in 0..MAILS {
        let (copy_id, message_id): (CopyId, MessageId) = (store.next_id(), store.next_id());
        let path: ReversePath = format!("b{n}@us.example").parse().unwrap();
        let to = format!("p{n}@there.example").parse().unwrap();
        let new = NewDelivery::now(store, ORGANISATION, copy_id, message_id, path, to);
        let mut rows = queued_copy_ops(&new, None);
        rows.extend(delivery_ops(new));
        let now = store.now();
        let ops = move |body: &BodyRef| {
            let signed = |n: u64| i64::try_from(n).unwrap();
            let mut row = values![message_id, ORGANISATION, "outbound", body.pack_id, signed(body.offset)].to_vec();
            row.extend(values![signed(body.bytes), &body.sha256, "<1@us.example>", "b@us.example", "a@us.example", ""]);
            row.extend(values!["hello", "hello", "", "", now, None::<i64>, None::<&str>, None::<&str>, None::<&str>]);
            row.push(store::Value::NullInt);
            std::iter::once(Op::Insert("message.insert", row)).chain(rows.iter().cloned()).collect()
        };
        let body = Bytes::from(format!("From: a@us.example\r\nSubject: {n}\r\n\r\nmail {n}\r\n"));
        store.commit(Submission::with_body(body, ops)).await.unwrap();
        copies.push(copy_id);
    }
    copies
}

/// How many deliveries are in each state.
async fn states(store: &Store) -> BTreeMap<String, i64> {
    let rows = store.query("delivery.list", &values![ORGANISATION, "", "", 0_i64, 100_i64]).await.unwrap();
    let mut states = BTreeMap::new();
    for row in rows {
        *states.entry(row.text("state").unwrap().to_owned()).or_default() += 1;
    }
    states
}

async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    testkit::until(what, WAIT, holds).await;
}

async fn agent(store: &Store, addr: SocketAddr, stop: CancellationToken) -> Result<Agent, store::StoreError> {
    let routes = Routes::new(Resolver::none()).with_static("there.example", addr);
    let mut config = AgentConfig::new("out.us.example");
    config.look_ms = 200;
    Agent::start(store.clone(), config, routes, stop).await
}

/// How often each recipient got a mail.
fn received(sink: &Sink) -> BTreeMap<String, usize> {
    let mut received = BTreeMap::new();
    for mail in sink.mails() {
        for path in &mail.envelope.forward_paths {
            *received.entry(path.to_string()).or_default() += 1;
        }
    }
    received
}

#[tokio::test]
async fn an_agent_survives_a_fault_at_every_step() {
    let stage = async |t: &TestStore| (Sink::start().await, enqueue(&t.store).await);
    let act = async |t: &TestStore, (sink, _): &(Sink, Vec<CopyId>), arm: Arm| {
        // The agent lives in a runtime of its own: the end of that is its kill -9.
        let victim = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let watcher = Store::open(t.config.clone(), t.clock.clone()).await.unwrap();
        arm.now();
        let (store, addr) = (t.store.clone(), sink.addr());
        let running = victim.spawn(async move { agent(&store, addr, CancellationToken::new()).await });
        if let Ok(running) = running.await.expect("no panic") {
            let faults = t.faults.clone();
            until("all is sent, or the store has died", async || {
                t.clock.advance_ms(RETRY_MS); // a body that could not be read is tried again later
                states(&watcher).await.is_empty() || faults.has_died()
            })
            .await;
            drop(running);
        }
        victim.shutdown_background();
    };
    // What is refused once is written with less: a delivery that waited for a restart would never be sent here.
    let ways = [Failing::Once, Failing::AnswerLost, Failing::Dies, Failing::Refused];
    let runs = at_every_step(&ways, stage, act, async |t, (sink, copies), (), fault| {
        t.clock.advance_ms(LEASE_OVER_MS);
        let stop = CancellationToken::new();
        let running = agent(&t.store, sink.addr(), stop.clone()).await.unwrap();
        until(&format!("{fault}: the rest is sent"), async || states(&t.store).await.is_empty()).await;
        stop.cancel();
        running.stopped().await;
        let received = received(sink);
        assert_eq!(received.len(), MAILS, "{fault}: {received:?}");
        // Only a death between the host's 250 and our note may send twice: at least once, as promised to foreign hosts.
        let most = if fault.failing == Failing::Dies { 2 } else { 1 };
        assert!(received.values().all(|count| *count <= most), "{fault}: {received:?}");
        for copy_id in copies {
            let mut tx = t.store.begin().await.unwrap();
            let (now, fold) = (tx.whereabouts(*copy_id).await.unwrap(), tx.fold_of(*copy_id).await.unwrap());
            let events = tx.query("event.of_copy", &values![*copy_id]).await.unwrap();
            tx.rollback().await.unwrap();
            assert_eq!(now, fold, "{fault}");
            let accepted = events.iter().filter(|event| event.text("kind").unwrap() == "accepted").count();
            assert_eq!(accepted, 1, "{fault}: noted once");
        }
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}

#[tokio::test]
async fn nothing_is_sent_while_it_could_not_be_noted() {
    on_both(|t| async move {
        let sink = Sink::start().await;
        enqueue(&t.store).await;
        t.store.health().set_free_bytes_min(u64::MAX);
        until("the latch closes", async || t.store.health().trouble() == Some(Trouble::Full)).await;
        let stop = CancellationToken::new();
        let running = agent(&t.store, sink.addr(), stop.clone()).await.unwrap();
        until("all is claimed", async || states(&t.store).await.get("leased") == Some(&(MAILS as i64))).await;
        assert_eq!(sink.connection_count(), 0, "on {}: nobody is called", t.name);
        t.store.health().set_free_bytes_min(0);
        sink.wait_for(MAILS).await;
        until("all is noted", async || states(&t.store).await.is_empty()).await;
        stop.cancel();
        running.stopped().await;

        // An agent that is told to stop while it waits stops, and another takes over.
        enqueue(&t.store).await;
        t.store.health().set_free_bytes_min(u64::MAX);
        until("the latch closes", async || t.store.health().trouble() == Some(Trouble::Full)).await;
        let stop = CancellationToken::new();
        let running = agent(&t.store, sink.addr(), stop.clone()).await.unwrap();
        until("all is claimed", async || states(&t.store).await.get("leased") == Some(&(MAILS as i64))).await;
        stop.cancel();
        running.stopped().await;
        assert_eq!(sink.mails().len(), MAILS, "on {}", t.name);
        t.store.health().set_free_bytes_min(0);
        t.store.health().well().await;
        let stop = CancellationToken::new();
        let running = agent(&t.store, sink.addr(), stop.clone()).await.unwrap();
        sink.wait_for(2 * MAILS).await;
        until("all is noted", async || states(&t.store).await.is_empty()).await;
        stop.cancel();
        running.stopped().await;
        assert!(received(&sink).values().all(|count| *count == 2), "on {}", t.name);
    })
    .await;
}

/// The kinds of a copy's events.
async fn events(store: &Store, copy_id: CopyId) -> Vec<String> {
    let rows = store.query("event.of_copy", &values![copy_id]).await.unwrap();
    rows.iter().map(|row| row.text("kind").unwrap().to_owned()).collect()
}

/// Copies whose rows nobody can read, so that their ledger takes no event: each result is in the queue all the same, whatever it
/// is, and no lease is left of it.
#[tokio::test]
async fn a_result_that_the_ledger_refuses_ends_its_try() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        for (to, reply) in [("later", "450 4.2.1 later"), ("never", "550 5.1.1 nobody")] {
            host.at_rcpt.lock().unwrap().insert(format!("{to}@there.example"), VecDeque::from([reply]));
        }
        let to = ["done@there.example", "later@there.example", "never@there.example", "well@there.example"];
        let made = common::enqueue(store, &to, HELLO, |_| {}).await;
        for (_, copy_id) in &made[..3] {
            let row = serde_json::json!([[copy_id.0, "nowhere", "", "queued", 0, 0, 0]]);
            assert_eq!(store.execute("copy.set_whereabouts_of", &values![row]).await.unwrap(), 1);
        }
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(store, routes, |_| {}).await;
        let states = async || {
            let mut states = Vec::new();
            for (id, _) in &made {
                let (state, _, reply) = delivery(store, *id).await;
                states.push(format!("{state} {}", reply.get(..3).unwrap_or_default()));
            }
            states
        };
        let expect = ["done 250", "due 450", "failed 550", "done 250"];
        common::until(store, "each is in the queue as it is", || async { states().await == expect }).await;
        assert!(store.query("delivery.leasing_owners", &[]).await.unwrap().is_empty(), "on {}", t.name);
        // Time passes, and what is due is tried again; what is done is not.
        t.clock.advance_ms(LEASE_OVER_MS);
        store.bus().announce(Topic::Delivery, 0_i64);
        let expect = ["done 250", "done 250", "failed 550", "done 250"];
        common::until(store, "the second try is as good", || async { states().await == expect }).await;
        running.stop().await;
        let asked = ["done", "later", "never", "well"].map(|to| host.heard(&format!("RCPT TO:<{to}@")));
        assert_eq!(asked, [1, 2, 1, 1], "on {}", t.name);
        assert_eq!(events(store, made[0].1).await, ["queued"], "nothing else could be written");
        assert_eq!(events(store, made[3].1).await, ["queued", "accepted"], "the others of the batch are whole");
    })
    .await;
}

/// A store that refuses everything for a while gets the whole result afterwards, and until then nothing is sent again.
#[tokio::test]
async fn a_result_outlives_a_store_that_refuses_everything() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        host.script(".", &["wait"]);
        let (id, copy_id) = common::enqueue(store, &["a@there.example"], HELLO, |_| {}).await[0];
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(store, routes, |_| {}).await;
        common::until(store, "the mail is there", || async { host.heard(".") == 1 }).await;
        t.faults.arm(Failing::Refusing, 1);
        host.go.notify_one();
        let refused = || t.faults.log().iter().filter(|(_, is_done)| !is_done).count();
        // Each time the result, the result alone and its row: with all three it rests.
        common::until(store, "all is refused", || async { refused() >= 6 && refused() % 3 == 0 }).await;
        assert!(t.faults.disarm());
        common::until(store, "it is recorded", || async { delivery(store, id).await.0 == "done" }).await;
        t.clock.advance_ms(LEASE_OVER_MS);
        let next = common::one(store, "next@there.example").await;
        common::until(store, "the next is sent", || async { delivery(store, next).await.0 == "done" }).await;
        running.stop().await;
        assert_eq!(host.heard("RCPT TO:<a@"), 1, "on {}", t.name);
        assert_eq!(events(store, copy_id).await, ["queued", "accepted"], "on {}", t.name);
    })
    .await;
}
