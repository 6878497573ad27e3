//! The queue as people act on it, and what senders are told, on both databases.

use std::time::Duration;

use bytes::Bytes;
use dns::Resolver;
use model::{CampaignId, CopyId, DeliveryId, EventKind, MessageId, OrganisationId, RcptOptions, Reply, ReversePath};
use outbound::{
    Acted, Agent, AgentConfig, DeliveryState, NewDelivery, QueueAct, QueueActor, Routes, Selection, act, count,
    delivery_ops, queue_entries, queue_groups, queued_copy_ops,
};
use store::{BodyRef, NewEvent, Op, Store, Submission, Topic, values};
use testkit::on_both;
use testkit::sink::Sink;
use tokio_util::sync::CancellationToken;

const ORGANISATION: OrganisationId = OrganisationId(1);
const WAIT: Duration = Duration::from_secs(30);
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const ME: QueueActor<'_> = QueueActor { account_id: None, name: "ada", reason: "a test" };

/// One message to one recipient; `change` is what its sender asked for.
async fn enqueue(store: &Store, from: &str, to: &str, change: impl FnOnce(&mut NewDelivery)) -> (DeliveryId, CopyId) {
    let (message_id, copy_id): (MessageId, CopyId) = (store.next_id(), store.next_id());
    let path: ReversePath = from.parse().unwrap();
    let mut new = NewDelivery::now(store, ORGANISATION, copy_id, message_id, path, to.parse().unwrap());
    change(&mut new);
    let (id, campaign_id, now, from) = (new.id, new.campaign_id, store.now(), from.to_owned());
    let mut rows = queued_copy_ops(&new, None);
    rows.extend(delivery_ops(new));
    let message = move |body: &BodyRef| {
        let size = |n: u64| i64::try_from(n).unwrap();
        let mut row = values![message_id, ORGANISATION, "outbound", body.pack_id, size(body.offset)].to_vec();
        row.extend(values![size(body.bytes), &body.sha256, "<1@us.example>", &from, &from, ""]);
        row.extend(values!["Hello", "hello", "", "", now, campaign_id, None::<&str>, None::<&str>, None::<&str>]);
        row.extend(values![None::<i64>]);
        Op::Insert("message.insert", row)
    };
    let all = move |body: &BodyRef| std::iter::once(message(body)).chain(rows.iter().cloned()).collect();
    let body =
        Bytes::from_static(b"From: ada@us.example\r\nSubject: Hello\r\nMessage-ID: <1@us.example>\r\n\r\nthe body\r\n");
    store.commit(Submission::with_body(body, all)).await.unwrap();
    store.bus().announce(Topic::Delivery, 0_i64);
    (id, copy_id)
}

async fn state(store: &Store, id: DeliveryId) -> String {
    let row = store.query_one("delivery.by_id", &values![ORGANISATION, id]).await.unwrap().unwrap();
    row.text("state").unwrap().to_owned()
}

async fn story(store: &Store, copy_id: CopyId) -> String {
    let row = store.query_one("copy.by_id", &values![copy_id]).await.unwrap().unwrap();
    format!("{} {}", row.text("place").unwrap(), row.text("last_event").unwrap())
}

fn agent(store: &Store, routes: Routes, stop: &CancellationToken) -> impl Future<Output = Agent> {
    let mut config = AgentConfig::new("mx.us.example");
    config.look_ms = 50;
    let (store, stop) = (store.clone(), stop.clone());
    async move { Agent::start(store, config, routes, stop).await.unwrap() }
}

/// Waits until `holds`, looking after each notice and now and then.
async fn until<F: Future<Output = bool>>(store: &Store, what: &str, mut holds: impl FnMut() -> F) {
    let mut notices = store.bus().subscribe();
    let looking = async {
        while !holds().await {
            let _ = tokio::time::timeout(Duration::from_millis(250), notices.recv()).await;
        }
    };
    assert!(tokio::time::timeout(WAIT, looking).await.is_ok(), "waited in vain: {what}");
}

fn touched(changed_count: i64, left_count: i64) -> Acted {
    Acted { changed_count, left_count, ..Acted::default() }
}

#[tokio::test]
async fn selections_are_counted_held_tried_and_taken_out() {
    on_both(|t| async move {
        let store = &t.store;
        let campaign = |new: &mut NewDelivery| new.campaign_id = Some(CampaignId(9));
        let mut copies = Vec::new();
        for name in ["a", "b", "c"] {
            copies.push(enqueue(store, "", &format!("{name}@one.example"), campaign).await);
        }
        let other = enqueue(store, "ada@us.example", "d@two.example", |_| {}).await;
        // The second one may have arrived; the third is known to have.
        let event = |copy_id, kind| NewEvent::now(ORGANISATION, copy_id, kind, "smtp", store.now());
        let mut landed = event(copies[2].1, EventKind::Accepted);
        landed.place = Some(model::Place::Inbox);
        let seen = vec![Op::Event(event(copies[1].1, EventKind::MayBeDouble)), Op::Event(landed)];
        store.commit(Submission::rows(seen)).await.unwrap();

        let groups = queue_groups(store, ORGANISATION).await.unwrap();
        let told: Vec<_> = groups.iter().map(|g| (g.mx_group.as_str(), g.count, g.due_count, g.domain_count)).collect();
        assert_eq!(told, [("one.example", 3, 3, 1), ("two.example", 1, 1, 1)]);
        let one = Selection { domain: Some("One.Example".into()), ..Selection::default() };
        let counts = count(store, ORGANISATION, &one).await.unwrap();
        assert_eq!((counts.count, counts.due_count, counts.campaign_count), (3, 3, 1));
        let by_sender = Selection { sender: Some("ada@us.example".into()), ..Selection::default() };
        let entries = queue_entries(store, ORGANISATION, &by_sender, None, 10).await.unwrap();
        assert_eq!((entries.len(), entries[0].item.id, entries[0].subject.as_str()), (1, other.0, "Hello"));

        let acted =
            |selection: Selection, what| async move { act(store, ORGANISATION, &selection, what, &ME).await.unwrap() };
        assert_eq!(acted(one.clone(), QueueAct::Hold).await, touched(3, 0));
        assert_eq!(acted(one.clone(), QueueAct::Hold).await, touched(0, 3), "twice is once");
        assert_eq!(acted(Selection::default(), QueueAct::Flush).await.changed_count, 1, "what is paused stays paused");
        let first = Selection { id: Some(copies[0].0), ..Selection::default() };
        assert_eq!(acted(first, QueueAct::Retry).await.changed_count, 1);
        assert_eq!(state(store, copies[0].0).await, "due");
        let group = Selection { mx_group: Some("one.example".into()), ..Selection::default() };
        assert_eq!(acted(group, QueueAct::Delete).await, touched(3, 0));
        for (at, want) in [(0, "not_received dropped"), (1, "unknown dropped"), (2, "inbox accepted")] {
            assert_eq!(story(store, copies[at].1).await, want, "{}: copy {at}", t.name);
            assert_eq!(state(store, copies[at].0).await, "failed");
        }
        assert_eq!(state(store, other.0).await, "due");
        let audit = store.query("audit.page", &values![ORGANISATION, i64::MAX, 10_i64]).await.unwrap();
        assert_eq!(audit.len(), 5);
        let last = &audit[0];
        assert_eq!(
            (last.text("action").unwrap(), last.text("target").unwrap()),
            ("queue.delete", "MX group one.example")
        );
        let detail: serde_json::Value = last.json("detail").unwrap();
        assert_eq!((&detail["by"], &detail["changed_count"]), (&"ada".into(), &3.into()));
    })
    .await;
}

#[tokio::test]
async fn the_copies_of_a_paused_campaign_are_not_tried_one_by_one() {
    on_both(|t| async move {
        let store = &t.store;
        let id = CampaignId(store.next_id());
        let mut row =
            values![id, ORGANISATION, "n", "s", "f", "f@us.example", "html", "c", None::<i64>, "paused"].to_vec();
        row.extend(values!["off", 0_i64, None::<i64>, store.now(), store.now()]);
        store.execute("campaign.insert", &row).await.unwrap();
        let held = |new: &mut NewDelivery| (new.campaign_id, new.held) = (Some(id), true);
        let (delivery, _) = enqueue(store, "", "a@one.example", held).await;
        let acted = act(store, ORGANISATION, &Selection::default(), QueueAct::Retry, &ME).await.unwrap();
        assert_eq!((acted, state(store, delivery).await.as_str()), (touched(0, 1), "held"));
        let held = Selection { state: Some(DeliveryState::Held), ..Selection::default() };
        assert_eq!(count(store, ORGANISATION, &held).await.unwrap().held_count, 1);
    })
    .await;
}

#[tokio::test]
async fn a_sender_is_told_once_that_it_takes_long_and_then_how_it_ended() {
    on_both(|t| async move {
        let (store, home, stop) = (&t.store, Sink::start().await, CancellationToken::new());
        let there = Sink::start().await;
        there.refuse_always("slow@there.example", Reply::transient(450, (2, 1), "busy"));
        let routes = Routes::new(Resolver::none())
            .with_static("there.example", there.addr())
            .with_static("us.example", home.addr());
        let running = agent(store, routes, &stop).await;
        let (id, _) = enqueue(store, "ada@us.example", "slow@there.example", |new| {
            new.options.envid = "QQ314".into();
            new.rcpt_options.orcpt = "rfc822;slow@there.example".into();
        })
        .await;
        let (quiet, _) = enqueue(store, "eve@us.example", "slow@there.example", |new| new.may_tell = false).await;
        let (never, _) = enqueue(store, "bob@us.example", "slow@there.example", |new| {
            new.rcpt_options = RcptOptions { notify: "NEVER".into(), orcpt: String::new() };
        })
        .await;
        let tries = |at_least: usize| {
            let there = &there;
            move || async move { there.attempts("slow@there.example") >= at_least }
        };
        // A host that refuses is left alone for a while by the limits: time has to pass for each further try.
        // The agent looks by itself: an announcement of ours would wake this test as well, and time would fly.
        let pass = |ms: i64| t.clock.advance_ms(ms);
        let first = tries(3);
        until(store, "the first tries", || {
            pass(10 * MINUTE_MS);
            first()
        })
        .await;
        let all_due = || async {
            let entries = queue_entries(store, ORGANISATION, &Selection::default(), None, 10).await.unwrap();
            entries.iter().all(|entry| entry.item.state == "due")
        };
        for (hours, at_least) in [(5, 6), (9, 9)] {
            until(store, "the tries are written down", all_due).await;
            pass(hours * HOUR_MS);
            let tried = tries(at_least);
            until(store, "another try", || {
                pass(10 * MINUTE_MS);
                tried()
            })
            .await;
        }
        let is_told = || async { !home.mails().is_empty() };
        until(store, "the warning", || {
            pass(10 * MINUTE_MS);
            is_told()
        })
        .await;
        let told = home.wait_for(1).await;
        let text = String::from_utf8(told[0].body.clone()).unwrap();
        for part in [
            "Action: delayed",
            "Status: 4.2.1",
            "Original-Envelope-Id: QQ314",
            "Will-Retry-Until: ",
            "Original-Recipient: rfc822;slow@there.example",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        until(store, "the tries are written down", all_due).await;
        pass(6 * 24 * HOUR_MS);
        let is_over = || async {
            let left = queue_groups(store, ORGANISATION).await.unwrap();
            left.is_empty() && home.mails().len() >= 2
        };
        until(store, "the end", || {
            pass(10 * MINUTE_MS);
            is_over()
        })
        .await;
        for delivery in [id, quiet, never] {
            assert_eq!(state(store, delivery).await, "failed");
        }
        let told = home.wait_for(2).await;
        assert!(String::from_utf8_lossy(&told[1].body).contains("Action: failed"), "and only Ada is told");
        assert_eq!(home.mails().len(), 2);
        assert!(told.iter().all(|mail| mail.envelope.reverse_path == ReversePath::Null));
        stop.cancel();
        running.stopped().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_asked_hears_of_success_where_the_host_will_not_say_it() {
    on_both(|t| async move {
        let (store, home, stop) = (&t.store, Sink::start().await, CancellationToken::new());
        let there = Sink::start().await;
        let routes = Routes::new(Resolver::none())
            .with_static("there.example", there.addr())
            .with_static("us.example", home.addr());
        let running = agent(store, routes, &stop).await;
        let success = |new: &mut NewDelivery| new.rcpt_options.notify = "SUCCESS".into();
        let (first, _) = enqueue(store, "ada@us.example", "x@there.example", success).await;
        let (second, _) = enqueue(store, "bob@us.example", "y@there.example", |_| {}).await;
        for delivery in [first, second] {
            until(store, "the hand-over", || async move { state(store, delivery).await == "done" }).await;
        }
        // The sink speaks as our server does: when it offers DSN, telling is its part.
        let speaks_dsn =
            there.mails().iter().any(|mail| mail.envelope.rcpt_options.iter().any(|o| !o.notify.is_empty()));
        if speaks_dsn {
            assert!(home.mails().is_empty(), "it was told to tell");
        } else {
            let told = home.wait_for(1).await;
            assert!(String::from_utf8_lossy(&told[0].body).contains("Action: relayed\r\nStatus: 2.0.0"));
        }
        stop.cancel();
        running.stopped().await;
    })
    .await;
}
