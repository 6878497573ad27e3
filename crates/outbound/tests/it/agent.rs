//! The agent against real hosts on loopback, on both databases.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use dns::Resolver;
use model::{CampaignId, CopyId, DeliveryId, MessageId, OrganisationId, Reply, ReversePath};
use outbound::{
    Agent, AgentConfig, DeliveryState, NewDelivery, OutboundError, QueueFilter, Routes, delivery_ops, queued_copy_ops,
};
use store::{BodyRef, Op, Store, Submission, Topic, values};
use testkit::sink::Sink;
use testkit::{TestStore, on_both};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const ORGANISATION: OrganisationId = OrganisationId(1);
const WAIT: Duration = Duration::from_secs(30);

/// A message and one delivery of it for each recipient; gives (delivery, copy) for each.
async fn enqueue(
    store: &Store,
    reverse_path: &str,
    recipients: &[&str],
    campaign_id: Option<CampaignId>,
) -> Vec<(DeliveryId, CopyId)> {
    let message_id: MessageId = store.next_id();
    let reverse_path: ReversePath = reverse_path.parse().unwrap();
    let mut rows = Vec::new();
    let mut made = Vec::new();
    for recipient in recipients {
        let copy_id = store.next_id();
        let to = recipient.parse().unwrap();
        let mut new = NewDelivery::now(store, ORGANISATION, copy_id, message_id, reverse_path.clone(), to);
        new.campaign_id = campaign_id;
        made.push((new.id, copy_id));
        rows.extend(queued_copy_ops(&new, None));
        rows.extend(delivery_ops(new));
    }
    let now = store.now();
    let path = reverse_path.to_string();
    let body =
        Bytes::from_static(b"From: a@us.example\r\nSubject: hello\r\nMessage-ID: <1@us.example>\r\n\r\nhi\r\n.dot\r\n");
    let ops = move |body: &BodyRef| {
        let signed = |n: u64| i64::try_from(n).unwrap();
        let message = values![
            message_id,
            ORGANISATION,
            "outbound",
            body.pack_id,
            signed(body.offset),
            signed(body.bytes),
            &body.sha256,
            "<1@us.example>",
            &path,
            "a@us.example",
            "",
            "hello",
            "hello",
            "",
            "",
            now,
            campaign_id,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>
        ];
        std::iter::once(Op::Insert("message.insert", message.to_vec())).chain(rows.iter().cloned()).collect()
    };
    store.commit(Submission::with_body(body, ops)).await.unwrap();
    store.bus().announce(Topic::Delivery, 0_i64);
    made
}

/// Waits until `holds`, looking after each notice (the agent announces what it records) and each second.
async fn until<F: Future<Output = bool>>(store: &Store, what: &str, mut holds: impl FnMut() -> F) {
    let mut notices = store.bus().subscribe();
    let looking = async {
        while !holds().await {
            let _ = tokio::time::timeout(Duration::from_millis(250), notices.recv()).await;
        }
    };
    assert!(tokio::time::timeout(WAIT, looking).await.is_ok(), "waited in vain: {what}");
}

struct Row {
    state: String,
    attempt_count: i64,
    last_reply: String,
    next_try_at: model::Timestamp,
}

async fn delivery(store: &Store, id: DeliveryId) -> Row {
    let row = store.query_one("delivery.by_id", &values![ORGANISATION, id]).await.unwrap().expect("the delivery");
    Row {
        state: row.text("state").unwrap().to_owned(),
        attempt_count: row.int("attempt_count").unwrap(),
        last_reply: row.text("last_reply").unwrap().to_owned(),
        next_try_at: row.at("next_try_at").unwrap(),
    }
}

async fn until_state(store: &Store, id: DeliveryId, state: &str) -> Row {
    until(store, &format!("{id} becomes {state}"), || async { delivery(store, id).await.state == state }).await;
    delivery(store, id).await
}

/// `place/last_event: kinds…` of a copy, and the columns equal the fold.
async fn story(store: &Store, copy_id: CopyId) -> String {
    let row = store.query_one("copy.by_id", &values![copy_id]).await.unwrap().expect("the copy");
    let events = store.query("event.of_copy", &values![copy_id]).await.unwrap();
    let kinds: Vec<&str> = events.iter().map(|e| e.text("kind").unwrap()).collect();
    let mut tx = store.begin().await.unwrap();
    let fold = tx.fold_of(copy_id).await.unwrap().expect("events");
    let (place, last) = (row.text("place").unwrap(), row.text("last_event").unwrap());
    assert_eq!((fold.place.as_str(), fold.last_event.as_str()), (place, last));
    format!("{place}/{last}: {}", kinds.join(" "))
}

fn routes(addr: SocketAddr) -> Routes {
    Routes::new(Resolver::none()).with_static("there.example", addr)
}

struct Running {
    agent: Agent,
    stop: CancellationToken,
}

impl Running {
    async fn start(store: &Store, routes: Routes) -> Running {
        Running::start_with(store, routes, |_| {}).await
    }

    async fn start_with(store: &Store, routes: Routes, change: impl FnOnce(&mut AgentConfig)) -> Running {
        let stop = CancellationToken::new();
        let mut config = AgentConfig::new("out.us.example");
        change(&mut config);
        let agent = Agent::start(store.clone(), config, routes, stop.clone()).await.unwrap();
        Running { agent, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.agent.stopped()).await.expect("the agent stops");
    }
}

#[tokio::test]
async fn a_campaign_is_handed_over_on_few_connections() {
    on_both(|t| async move {
        let sink = Sink::start().await;
        let mut made = Vec::new();
        for n in 0..60 {
            let to = format!("p{n}@there.example");
            made.extend(enqueue(&t.store, &format!("b-{n}@us.example"), &[&to], Some(CampaignId(9))).await);
        }
        let running = Running::start_with(&t.store, routes(sink.addr()), |c| c.route_connections_max = 4).await;
        sink.wait_for(60).await;
        for (id, copy_id) in &made {
            let row = until_state(&t.store, *id, "done").await;
            assert_eq!(row.attempt_count, 1);
            assert!(row.last_reply.starts_with("250"), "{}", row.last_reply);
            assert_eq!(story(&t.store, *copy_id).await, "accepted/accepted: queued accepted");
        }
        assert_eq!(sink.mails().len(), 60, "each once");
        assert!(sink.connection_count() <= 4, "{} connections", sink.connection_count());
        assert!(sink.mails().iter().all(|mail| mail.body.ends_with(b"hi\r\n.dot\r\n")));
        let counts = outbound::campaign_counts(&t.store, CampaignId(9)).await.unwrap();
        assert_eq!(counts, [(DeliveryState::Done, 60)]);
        // A connection may idle now; the agent stops all the same.
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn later_means_later_and_no_means_no() {
    on_both(|t| async move {
        let sink = Sink::start().await;
        sink.refuse("slow@there.example", [Reply::transient(450, (2, 1), "busy")]);
        sink.refuse_always("gone@there.example", Reply::permanent(550, (1, 1), "no such user"));
        let slow = enqueue(&t.store, "b1@us.example", &["slow@there.example"], Some(CampaignId(9))).await[0];
        let gone = enqueue(&t.store, "b2@us.example", &["gone@there.example"], Some(CampaignId(9))).await[0];
        let running = Running::start(&t.store, routes(sink.addr())).await;

        let row = until_state(&t.store, gone.0, "failed").await;
        assert_eq!(row.last_reply, "550 5.1.1 no such user");
        assert_eq!(story(&t.store, gone.1).await, "not_received/rejected: queued rejected");

        let store = &t.store;
        until(store, "the first try", || async { !delivery(store, slow.0).await.last_reply.is_empty() }).await;
        let row = until_state(&t.store, slow.0, "due").await;
        assert_eq!((row.attempt_count, row.last_reply.as_str()), (1, "450 4.2.1 busy"));
        assert!(row.next_try_at > t.store.now());
        assert_eq!(story(&t.store, slow.1).await, "on_its_way/deferred: queued deferred");
        t.clock.set(row.next_try_at.plus_ms(1));
        t.store.bus().announce(Topic::Delivery, 0_i64);
        let row = until_state(&t.store, slow.0, "done").await;
        assert_eq!((row.attempt_count, sink.attempts("slow@there.example")), (2, 2));
        assert_eq!(story(&t.store, slow.1).await, "accepted/accepted: queued deferred accepted");
        assert_eq!(
            sink.attempts("gone@there.example"),
            1,
            "a campaign's failure notifies nobody and is not tried again"
        );
        assert_eq!(sink.mails().len(), 1);
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn recipients_of_one_mail_share_a_transaction_and_not_a_fate() {
    on_both(|t| async move {
        let sink = Sink::start().await;
        sink.refuse_always("b@there.example", Reply::permanent(550, (1, 1), "no such user"));
        sink.refuse("c@there.example", [Reply::transient(452, (2, 2), "full")]);
        let to = ["a@there.example", "b@there.example", "c@there.example", "d@there.example"];
        let made = enqueue(&t.store, "b@us.example", &to, Some(CampaignId(9))).await;
        let running = Running::start(&t.store, routes(sink.addr())).await;
        for (n, state) in [(0, "done"), (1, "failed"), (3, "done")] {
            until_state(&t.store, made[n].0, state).await;
        }
        until_state(&t.store, made[2].0, "due").await;
        let mails = sink.mails();
        let reached: Vec<String> = mails[0].envelope.forward_paths.iter().map(ToString::to_string).collect();
        assert_eq!((mails.len(), reached), (1, vec!["a@there.example".to_owned(), "d@there.example".to_owned()]));
        // A campaign's failures notify nobody.
        let filter = QueueFilter { limit: 10, ..QueueFilter::default() };
        let queue = outbound::queue_list(&t.store, ORGANISATION, &filter).await.unwrap();
        assert_eq!(queue.len(), 1, "only c waits");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_sender_is_told_and_a_notification_is_not_answered() {
    on_both(|t| async move {
        let (sink, home) = (Sink::start().await, Sink::start().await);
        sink.refuse_always("gone@there.example", Reply::permanent(550, (1, 1), "no such user"));
        home.refuse_always("b@us.example", Reply::permanent(550, (1, 1), "nor this one"));
        let routes = routes(sink.addr()).with_static("us.example", home.addr());
        let running = Running::start(&t.store, routes).await;
        enqueue(&t.store, "ada@us.example", &["gone@there.example"], None).await;
        let notice = home.wait_for(1).await.remove(0);
        assert_eq!(notice.envelope.reverse_path, ReversePath::Null);
        let text = String::from_utf8(notice.body).unwrap();
        for part in ["Final-Recipient: rfc822; gone@there.example", "Status: 5.1.1", "Message-ID: <1@us.example>"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        enqueue(&t.store, "b@us.example", &["gone@there.example"], None).await;
        let store = &t.store;
        let is_idle = || async { outbound::queue_summary(store, ORGANISATION).await.unwrap().is_empty() };
        until(store, "the queue is empty", is_idle).await;
        assert_eq!((home.mails().len(), home.attempts("b@us.example")), (1, 1), "the end of it");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_unclear_end_is_tried_again_and_noted_unless_the_host_is_ours() {
    on_both(|t| async move {
        for (is_own, expect) in [
            (false, "accepted/accepted: queued may_be_double deferred accepted"),
            (true, "accepted/accepted: queued deferred accepted"),
        ] {
            let sink = Sink::start().await;
            sink.lose_replies("x@there.example", 1);
            let routes = Routes::new(Resolver::none());
            let routes = if is_own {
                routes.with_own("there.example", sink.addr())
            } else {
                routes.with_static("there.example", sink.addr())
            };
            let running = Running::start(&t.store, routes).await;
            let (id, copy_id) = enqueue(&t.store, "", &["x@there.example"], None).await[0];
            let store = &t.store;
            until(store, "the first try", || async { !delivery(store, id).await.last_reply.is_empty() }).await;
            t.clock.set(delivery(store, id).await.next_try_at.plus_ms(1));
            t.store.bus().announce(Topic::Delivery, 0_i64);
            until_state(store, id, "done").await;
            assert_eq!(story(store, copy_id).await, expect);
            assert_eq!(sink.mails().len(), 2, "the first one had arrived");
            running.stop().await;
        }
    })
    .await;
}

/// A host that says nothing until told, then takes mail; the first `cut_count` bodies are cut off in their middle.
struct Slow {
    addr: SocketAddr,
    open: watch::Sender<bool>,
}

impl Slow {
    async fn start(cut_count: usize) -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let open = watch::Sender::new(false);
        let gate = open.subscribe();
        let cuts = Arc::new(AtomicUsize::new(cut_count));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Slow::talk(stream, gate.clone(), cuts.clone()));
            }
        });
        Slow { addr, open }
    }

    async fn talk(
        stream: tokio::net::TcpStream,
        mut gate: watch::Receiver<bool>,
        cuts: Arc<AtomicUsize>,
    ) -> std::io::Result<()> {
        let _ = gate.wait_for(|is_open| *is_open).await;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        write.write_all(b"220 slow.example\r\n").await?;
        let mut line = String::new();
        while lines.read_line(&mut line).await? > 0 {
            let verb = line[..4.min(line.len())].to_ascii_uppercase();
            line.clear();
            match verb.as_str() {
                "EHLO" => write.write_all(b"250-slow.example\r\n250 PIPELINING\r\n").await?,
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let less = |n: usize| n.checked_sub(1);
                    if cuts.fetch_update(SeqCst, SeqCst, less).is_ok() {
                        lines.read_exact(&mut [0; 8]).await?;
                        return Ok(());
                    }
                    while line != ".\r\n" {
                        line.clear();
                        lines.read_line(&mut line).await?;
                    }
                    line.clear();
                    write.write_all(b"250 2.0.0 taken\r\n").await?;
                }
                "QUIT" => return write.write_all(b"221 bye\r\n").await,
                _ => write.write_all(b"250 ok\r\n").await?,
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_data_costs_a_try_and_no_copy() {
    on_both(|t| async move {
        let host = Slow::start(1).await;
        host.open.send_replace(true);
        let running = Running::start(&t.store, routes(host.addr)).await;
        let (id, copy_id) = enqueue(&t.store, "", &["x@there.example"], None).await[0];
        let store = &t.store;
        until(store, "the first try", || async { !delivery(store, id).await.last_reply.is_empty() }).await;
        t.clock.set(delivery(store, id).await.next_try_at.plus_ms(1));
        t.store.bus().announce(Topic::Delivery, 0_i64);
        until_state(store, id, "done").await;
        let told = story(store, copy_id).await;
        // Whether the final dot was written before the cut was seen is up to the network.
        assert!(told.ends_with("deferred accepted"), "{told}");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_paused_stays_and_what_has_begun_ends() {
    on_both(|t| async move {
        let host = Slow::start(0).await;
        let campaign = CampaignId(5);
        let mut made = Vec::new();
        for n in 0..10 {
            made.extend(enqueue(&t.store, "b@us.example", &[&format!("p{n}@there.example")], Some(campaign)).await);
        }
        let running = Running::start_with(&t.store, routes(host.addr), |c| c.route_connections_max = 1).await;
        let store = &t.store;
        let leased = |wanted: i64| async move {
            let counts = outbound::campaign_counts(store, campaign).await.unwrap();
            counts.iter().any(|(state, n)| *state == DeliveryState::Leased && *n == wanted)
        };
        until(store, "all are claimed", || leased(10)).await;

        let mut tx = store.begin().await.unwrap();
        assert_eq!(outbound::hold_campaign(&mut tx, campaign).await.unwrap(), 10);
        tx.commit().await.unwrap();
        store.bus().announce(Topic::Delivery, 0_i64);
        // One is in the hands of the lane that waits for the greeting; nine come back.
        let untried = || async {
            let mut tries = 0;
            for (id, _) in &made {
                tries += delivery(store, *id).await.attempt_count;
            }
            tries == 1
        };
        until(store, "nine are given back", untried).await;
        host.open.send_replace(true);
        let counts = || async { outbound::campaign_counts(store, campaign).await.unwrap() };
        let expect = [(DeliveryState::Done, 1), (DeliveryState::Held, 9)];
        until(store, "one is done", || async { counts().await == expect }).await;

        let mut tx = store.begin().await.unwrap();
        assert_eq!(outbound::resume_campaign(&mut tx, campaign).await.unwrap(), 9);
        tx.commit().await.unwrap();
        store.bus().announce(Topic::Delivery, 0_i64);
        until(store, "all are done", || async { counts().await == [(DeliveryState::Done, 10)] }).await;
        for (_, copy_id) in &made {
            assert_eq!(story(store, *copy_id).await, "accepted/accepted: queued accepted");
        }
        running.stop().await;
    })
    .await;
}

/// Rows as a dead process left them.
async fn leave_leased(t: &TestStore, until: model::Timestamp) {
    let mut tx = t.store.begin().await.unwrap();
    let none = serde_json::json!([]);
    let claimed = tx.query("delivery.claim_due", &values!["dead", until, t.store.now(), 100_i64, &none]).await.unwrap();
    assert!(!claimed.is_empty());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn leases_of_a_dead_process_end() {
    on_both(|t| async move {
        let sink = Sink::start().await;
        let lease_end = t.store.now().plus_ms(60_000);
        let first = enqueue(&t.store, "", &["a@there.example"], None).await[0];
        leave_leased(&t, lease_end).await;
        let running = Running::start_with(&t.store, routes(sink.addr()), |c| c.sole_owner = false).await;
        let second = enqueue(&t.store, "", &["b@there.example"], None).await[0];
        until_state(&t.store, second.0, "done").await;
        assert_eq!(delivery(&t.store, first.0).await.state, "leased", "somebody else's as long as the lease lasts");
        t.clock.set(lease_end.plus_ms(1));
        t.store.bus().announce(Topic::Delivery, 0_i64);
        assert_eq!(until_state(&t.store, first.0, "done").await.attempt_count, 2);
        running.stop().await;

        let third = enqueue(&t.store, "", &["c@there.example"], None).await[0];
        leave_leased(&t, t.store.now().plus_ms(60_000)).await;
        let running = Running::start(&t.store, routes(sink.addr())).await;
        until_state(&t.store, third.0, "done").await;
        assert_eq!(sink.mails().len(), 3, "each once");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_host_is_tried_until_the_time_is_over() {
    on_both(|t| async move {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = nobody.local_addr().unwrap();
        drop(nobody);
        let made = enqueue(&t.store, "", &["a@there.example", "b@there.example"], None).await;
        let missing = enqueue(&t.store, "", &["c@nowhere.example"], None).await[0];
        let running = Running::start(&t.store, routes(addr)).await;
        until_state(&t.store, missing.0, "failed").await;
        assert_eq!(delivery(&t.store, missing.0).await.last_reply, "550 5.1.2 the domain has no mail host");
        let store = &t.store;
        let tried = || async {
            let (a, b) = (delivery(store, made[0].0).await, delivery(store, made[1].0).await);
            !a.last_reply.is_empty() && !b.last_reply.is_empty()
        };
        until(store, "both were tried", tried).await;
        assert_eq!(story(store, made[0].1).await, "on_its_way/deferred: queued deferred");
        t.clock.advance_ms(5 * 24 * 3_600_000);
        t.store.bus().announce(Topic::Delivery, 0_i64);
        for (id, copy_id) in &made {
            until_state(store, *id, "failed").await;
            assert_eq!(story(store, *copy_id).await, "not_received/expired: queued deferred expired");
        }
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_queue_can_be_seen_and_changed() {
    on_both(|t| async move {
        let store = &t.store;
        let made = enqueue(store, "", &["a@there.example", "b@there.example", "c@other.example"], None).await;
        let summary = outbound::queue_summary(store, ORGANISATION).await.unwrap();
        let lines: Vec<String> = summary.iter().map(|l| format!("{} {} {}", l.domain, l.state, l.count)).collect();
        assert_eq!(lines, ["other.example due 1", "there.example due 2"]);
        let filter = QueueFilter { domain: Some("There.example".into()), limit: 1, ..QueueFilter::default() };
        let first = outbound::queue_list(store, ORGANISATION, &filter).await.unwrap();
        let filter = QueueFilter { after: Some(first[0].id), ..filter };
        let second = outbound::queue_list(store, ORGANISATION, &filter).await.unwrap();
        assert_eq!((first[0].id, second[0].id), (made[0].0, made[1].0));

        outbound::hold(store, ORGANISATION, made[0].0).await.unwrap();
        assert_eq!(delivery(store, made[0].0).await.state, "held");
        assert!(matches!(
            outbound::hold(store, ORGANISATION, made[0].0).await,
            Err(OutboundError::NotInQueue(id)) if id == made[0].0
        ));
        assert!(outbound::hold(store, OrganisationId(2), made[1].0).await.is_err(), "of another organisation");
        outbound::retry_now(store, ORGANISATION, made[0].0).await.unwrap();
        assert_eq!(delivery(store, made[0].0).await.state, "due");
        outbound::delete(store, ORGANISATION, made[0].0, "root", "sent by mistake").await.unwrap();
        assert_eq!(delivery(store, made[0].0).await.state, "failed");
        assert_eq!(story(store, made[0].1).await, "not_received/dropped: queued dropped");
        assert!(outbound::delete(store, ORGANISATION, made[0].0, "root", "again").await.is_err());
    })
    .await;
}
