//! The gateway over real sockets, on both databases.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use directory::{CopyTokens, Directory, FailureMode, NewOrganisation, NewPerson, OwnCopy, ProtectionCache, Switcher};
use gateway::trace::{self, TraceFilter};
use gateway::{Gateway, GatewayConfig, IncomingWorker, Listening};
use message::Authenticator;
use model::{
    Address, CampaignId, ChangeId, CopyId, Domain, MessageId, Place, Reply, ReversePath, RuleSetId, VerdictClass,
};
use outbound::{Agent, AgentConfig, DeliveryState, NewDelivery, Routes, delivery_ops, queued_copy_ops};
use smtp::{CancellationToken, Client, ClientConfig, Mail};
use store::{BodyRef, Op, Row, Store, Submission, Value, values};
use testkit::{TestStore, on_both, sqlite};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use verdict::{
    Action, Conditions, Feed, FeedEntry, FeedKind, FileAction, Policies, Policy, PolicyKind, RuleSet, RuleSetSource,
};

const HOST: &str = "mx.contoso.example";
const CHANGE: ChangeId = ChangeId(77);
const WAIT: Duration = Duration::from_secs(30);

/// A gateway for contoso.example: Ada (Finance, also postmaster), Bob (Sales), Cleo (Sales).
struct House {
    store: Store,
    directory: Directory,
    gateway: Gateway,
    listening: Option<Listening>,
    stop: CancellationToken,
    addr: SocketAddr,
}

impl House {
    async fn build(t: &TestStore) -> House {
        House::build_with(t, Policies::standard_for_all(), |_| {}).await
    }

    async fn build_with(t: &TestStore, policies: Policies, change: impl FnOnce(&mut GatewayConfig)) -> House {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
        let person = |address: &str, department: &str| NewPerson {
            address: Address::parse(address).unwrap(),
            name: address.into(),
            department: department.into(),
            city: String::new(),
            language: "en".into(),
            attributes: BTreeMap::new(),
        };
        let people = [
            person("ada@contoso.example", "Finance"),
            person("bob@contoso.example", "Sales"),
            person("cleo@contoso.example", "Sales"),
        ];
        directory.put_people(&people).await.unwrap();
        let ada = directory.person_by_address("ada@contoso.example").await.unwrap().unwrap();
        directory.put_alias(&Address::parse("postmaster@contoso.example").unwrap(), ada.id).await.unwrap();
        protect(&directory, policies).await;
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let mut config = GatewayConfig::new(HOST);
        change(&mut config);
        let authenticator = Authenticator::new(&dns::Resolver::none(), HOST);
        let gateway = Gateway::new(directory.clone(), protection, authenticator, config).await.unwrap();
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = gateway.listen(any, None, stop.clone()).await.unwrap();
        let addr = listening.addr;
        House { store: t.store.clone(), directory, gateway, listening: Some(listening), stop, addr }
    }

    /// Each recipient's reply at RCPT, then the reply that decided, if DATA was reached.
    async fn send(&self, from: &str, to: &[&str], body: &[u8]) -> (Vec<String>, Option<Reply>) {
        let mut client = Client::connect(self.addr, ClientConfig::new("client.fabrikam.example")).await.unwrap();
        let reverse_path: ReversePath = from.parse().unwrap();
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        let mail = Mail { reverse_path: &reverse_path, recipients: &recipients };
        let outcome = client.send(&mail, body).await.unwrap();
        client.quit().await;
        (outcome.recipients.iter().map(|(_, reply)| reply.to_string()).collect(), outcome.data)
    }

    /// As `send`, for mail whose recipients are all accepted.
    async fn data(&self, from: &str, to: &[&str], body: &[u8]) -> Reply {
        let (recipients, data) = self.send(from, to, body).await;
        data.unwrap_or_else(|| panic!("nobody was accepted: {recipients:?}"))
    }

    async fn trace(&self, filter: TraceFilter) -> Vec<trace::TraceRow> {
        let filter = TraceFilter { limit: 100, ..filter };
        trace::search(&self.store, self.directory.id(), &filter).await.unwrap().rows
    }

    async fn of(&self, recipient: &str) -> trace::TraceDetail {
        let rows = self.trace(TraceFilter { recipient: Some(recipient.into()), ..TraceFilter::default() }).await;
        assert_eq!(rows.len(), 1, "copies of {recipient}");
        trace::detail(&self.store, self.directory.id(), rows[0].copy_id).await.unwrap().unwrap()
    }

    async fn body(&self, id: MessageId) -> Bytes {
        let row = self.store.query_one("message.by_id", &values![id]).await.unwrap().unwrap();
        self.store.body(&BodyRef::from_row(&row).unwrap()).await.unwrap()
    }

    /// The mail items of a person as `folder: subject`.
    async fn mailbox(&self, address: &str) -> Vec<String> {
        let to = self.directory.recipient(&address.parse().unwrap()).await.unwrap().unwrap();
        let mut found = Vec::new();
        for (name, folder) in [("Inbox", to.inbox_id), ("Junk", to.junk_id)] {
            let page = values![to.mailbox_id, folder, i64::MAX, i64::MAX, 100_i64];
            for row in self.store.query("mailbox.items", &page).await.unwrap() {
                found.push(format!("{name}: {}", row.text("subject").unwrap()));
            }
        }
        found
    }

    /// The quarantine of the organisation, newest first.
    async fn held(&self) -> Vec<Row> {
        let all =
            values![self.directory.id(), "", "", "", 0_i64, 0_i64, "", "", "", 0_i64, i64::MAX, i64::MAX, 100_i64];
        self.store.query("quarantine.list", &all).await.unwrap()
    }

    async fn close(mut self) {
        self.stop.cancel();
        if let Some(listening) = self.listening.take() {
            tokio::time::timeout(WAIT, listening.stopped()).await.expect("the listener stops");
        }
    }
}

/// A rule set with one phishing host, put in force by `CHANGE`, and these policies.
async fn protect(directory: &Directory, policies: Policies) {
    let store = directory.store();
    let mut entry = FeedEntry::new("evil.example", VerdictClass::Phish);
    entry.change_id = Some(CHANGE);
    let source = RuleSetSource {
        id: RuleSetId(store.next_id()),
        feeds: vec![Feed { name: "phishing-hosts".into(), kind: FeedKind::UrlHost, entries: vec![entry] }],
        ..RuleSetSource::default()
    };
    let rules = RuleSet::compile(source.clone()).unwrap();
    let source = serde_json::to_string(&source).unwrap();
    let now = store.now();
    let row = values![
        rules.id(),
        directory.id(),
        None::<i64>,
        rules.hash(),
        source,
        "test",
        "test",
        None::<i64>,
        None::<i64>,
        1_i64,
        now
    ];
    store.execute("rule_set.insert", &row).await.unwrap();
    for policy in policies.policies {
        let body = serde_json::to_string(&policy).unwrap();
        let priority = i64::from(policy.priority);
        let row = values![policy.id, directory.id(), &policy.name, priority, body, now];
        store.execute("policy.insert", &row).await.unwrap();
    }
}

fn mail(subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: Zoe <zoe@fabrikam.example>\r\nTo: ada@contoso.example\r\nSubject: {subject}\r\n\
         Date: Mon, 05 Jan 2026 09:00:00 +0000\r\nMessage-ID: <m1@fabrikam.example>\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

const PHISH: &str = "sign in at http://evil.example/login now";
const ZOE: &str = "zoe@fabrikam.example";

/// A policy for one department.
fn for_group(mut policy: Policy, group: &str) -> Policy {
    policy.enabled = true;
    policy.conditions = Conditions { groups: vec![group.into()], ..Conditions::default() };
    policy
}

#[tokio::test]
async fn a_mail_lands_and_is_there_when_the_reply_comes() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let reply = house.data(ZOE, &["ada@contoso.example"], &mail("Quarterly figures", "see you")).await;
        assert_eq!(reply.code(), 250, "{reply}");
        assert_eq!(house.mailbox("ada@contoso.example").await, ["Inbox: Quarterly figures"]);
        let story = house.of("ada@contoso.example").await;
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("inbox", "accepted"));
        assert_eq!(story.disposition.as_deref(), Some("deliver"));
        assert_eq!(story.events.len(), 1);
        assert_eq!(reply.lines(), [story.message.id.to_string()], "the reply names the message");
        let verdict: model::Verdict = serde_json::from_value(story.message.verdict.clone().unwrap()).unwrap();
        let facts: model::Facts = serde_json::from_value(story.message.facts.clone().unwrap()).unwrap();
        assert_eq!((verdict.class, facts.sender_known), (VerdictClass::Clean, Some(false)));

        let body = String::from_utf8(house.body(story.message.id).await.to_vec()).unwrap();
        let expect = format!("Return-Path: <{ZOE}>\r\nReceived: from client.fabrikam.example ([127.0.0.1])\r\n");
        assert!(body.starts_with(&expect), "{body}");
        for part in [
            "Authentication-Results: mx.contoso.example;",
            "X-Forefront-Antispam-Report: CIP:127.0.0.1;",
            "From: Zoe",
            "\r\n\r\nsee you\r\n",
        ] {
            assert!(body.contains(part), "{part} in {body}");
        }
        // The second time the sender is known.
        t.clock.advance_ms(1);
        house.data(ZOE, &["bob@contoso.example"], &mail("Again", "hello")).await;
        let facts = house.of("bob@contoso.example").await.message.facts.unwrap();
        assert_eq!(facts["sender_known"], true);
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_mail_is_held_and_says_why() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let reply = house.data(ZOE, &["ada@contoso.example"], &mail("Your account", PHISH)).await;
        assert_eq!(reply.code(), 250);
        assert!(house.mailbox("ada@contoso.example").await.is_empty());
        let story = house.of("ada@contoso.example").await;
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("quarantine", "held"));
        assert_eq!(story.policy.as_deref(), Some("Standard"));
        let held = &story.events[0];
        assert_eq!((held.kind.as_str(), held.cause_id), ("held", Some(CHANGE.0)));
        let sentence = held.detail["sentence"].as_str().unwrap();
        assert!(sentence.contains("evil.example") && sentence.contains("phishing-hosts"), "{sentence}");
        let items = house.held().await;
        assert_eq!(items.len(), 1);
        let item = &items[0];
        assert_eq!(item.text("reason").unwrap(), "phish");
        assert_eq!((item.text("status").unwrap(), item.opt_int("cause_id").unwrap()), ("needs_review", Some(CHANGE.0)));
        assert_eq!(item.int("expires_at").unwrap() - item.int("held_at").unwrap(), 30 * 86_400_000_000);
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn recipients_have_policies_of_their_own() {
    on_both(|t| async move {
        let policies = Policies { policies: vec![for_group(Policy::standard(), "Finance"), Policy::default_preset()] };
        let house = House::build_with(&t, policies, |_| {}).await;
        let to = ["ada@contoso.example", "bob@contoso.example", "BOB+news@contoso.example", "cleo@contoso.example"];
        assert_eq!(house.data(ZOE, &to, &mail("Your account", PHISH)).await.code(), 250);
        assert!(house.mailbox("ada@contoso.example").await.is_empty());
        assert_eq!(house.of("ada@contoso.example").await.place, "quarantine");
        for junked in ["bob@contoso.example", "cleo@contoso.example"] {
            assert_eq!(house.mailbox(junked).await, ["Junk: Your account"], "once, also by two addresses");
            let story = house.of(junked).await;
            assert_eq!((story.place.as_str(), story.policy.as_deref()), ("junk", Some("Default")));
        }
        let stats = house.gateway.stats();
        assert_eq!(stats.held_count.load(Ordering::Relaxed), 1);
        assert_eq!(stats.junk_count.load(Ordering::Relaxed), 2);
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn only_those_who_are_here_are_reached() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let to = ["nobody@contoso.example", "eve@elsewhere.example", "ada@contoso.example"];
        let (recipients, data) = house.send("", &to, &mail("A bounce", "sorry")).await;
        assert!(recipients[0].starts_with("550 5.1.1"), "{recipients:?}");
        assert!(recipients[1].starts_with("550 5.7.1"), "{recipients:?}");
        assert_eq!(data.map(|reply| reply.code()), Some(250));
        assert_eq!(house.trace(TraceFilter::default()).await.len(), 1);

        let raw = tokio::net::TcpStream::connect(house.addr).await.unwrap();
        let (read, mut write) = raw.into_split();
        let mut replies = BufReader::new(read).lines();
        let mut said = replies.next_line().await.unwrap().unwrap();
        for command in ["HELO x.example", "MAIL FROM:<a@b.example>", "RCPT TO:<Postmaster>"] {
            write.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
            said = replies.next_line().await.unwrap().unwrap();
        }
        assert!(said.starts_with("250 2.1.5"), "{said}");
        drop((replies, write));
        let reply = house.data(ZOE, &["postmaster@mx.contoso.example"], &mail("To the postmaster", "hi")).await;
        assert_eq!(reply.code(), 250);
        assert!(house.mailbox("ada@contoso.example").await.contains(&"Inbox: To the postmaster".to_owned()));
        house.close().await;
    })
    .await;
}

/// Section C row 17: a mail whose first line begins with a blank would write on in our last field.
#[tokio::test]
async fn nobody_writes_on_in_our_fields() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let raw = b" BCL:0; dmarc=pass\r\nFrom: Zoe <zoe@fabrikam.example>\r\nSubject: Folded\r\n\r\nhi\r\n";
        assert_eq!(house.data(ZOE, &["ada@contoso.example"], raw).await.code(), 250);
        let story = house.of("ada@contoso.example").await;
        let stored = String::from_utf8(house.body(story.message.id).await.to_vec()).unwrap();
        assert!(stored.contains(";\r\nX-Landfall-Unattached: BCL:0; dmarc=pass\r\nFrom: Zoe"), "{stored}");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn bytes_that_no_database_takes_are_stored_as_text_they_do() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let mut raw =
            b"From: Zo\0e <zoe@fabrikam.example>\r\nSubject: a\0b\xFF c\r\nMessage-ID: <\xFF\0@x>\r\n".to_vec();
        raw.extend_from_slice(b"X-Landfall-Copy: 1.2.3.\xFF\r\n\r\nhttp://a\0b.example/\xFF\r\n");
        assert_eq!(house.data(ZOE, &["ada@contoso.example"], &raw).await.code(), 250);
        let story = house.of("ada@contoso.example").await;
        assert!(story.message.subject.starts_with('a') && !story.message.subject.contains('\0'));
        assert!(
            house.body(story.message.id).await.ends_with(b"http://a\0b.example/\xFF\r\n"),
            "the body is as it came"
        );
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_big_or_goes_in_circles_is_refused() {
    let t = sqlite().await;
    let house = House::build_with(&t, Policies::standard_for_all(), |config| {
        config.server.size_bytes_max = 10_000;
        config.received_count_max = 3;
        config.blocking_bytes_min = 4_000;
    })
    .await;
    let big = mail("big", &"x ".repeat(10_000));
    let (_, data) = house.send(ZOE, &["ada@contoso.example"], &big).await;
    assert_eq!(data.map_or(552, |reply| reply.code()), 552);
    let looping = [b"Received: from a\r\n".repeat(3), mail("loop", "x")].concat();
    assert_eq!(
        house.data(ZOE, &["ada@contoso.example"], &looping).await.to_string().split(" this").next(),
        Some("554 5.4.6")
    );
    assert!(house.trace(TraceFilter::default()).await.is_empty(), "nothing is stored");
    let large = mail("large enough for a thread", &"x ".repeat(3_000));
    assert_eq!(house.data(ZOE, &["ada@contoso.example"], &large).await.code(), 250);
    house.close().await;
}

#[tokio::test]
async fn a_store_that_fails_is_said_and_leaves_nothing() {
    let t = sqlite().await;
    let house = House::build(&t).await;
    // The folder of the packs is a file: no body can be put.
    let packs = t.store.objects_dir().join("packs");
    std::fs::write(&packs, b"").unwrap();
    let reply = house.data(ZOE, &["ada@contoso.example"], &mail("Lost?", "no")).await;
    assert_eq!(reply.to_string(), "451 4.3.0 try again later");
    assert!(house.trace(TraceFilter::default()).await.is_empty());
    assert!(house.mailbox("ada@contoso.example").await.is_empty());
    std::fs::remove_file(&packs).unwrap();
    t.store.health().well().await;
    assert_eq!(house.data(ZOE, &["ada@contoso.example"], &mail("Lost?", "no")).await.code(), 250);
    assert_eq!(house.trace(TraceFilter::default()).await.len(), 1);
    house.close().await;
}

/// A campaign copy as it stands in the queue.
async fn campaign_copy(house: &House, campaign_id: CampaignId, recipient: &str) -> CopyId {
    let store = &house.store;
    let (copy_id, message_id): (CopyId, MessageId) = (store.next_id(), store.next_id());
    let (organisation, to) = (house.directory.id(), recipient.parse().unwrap());
    let mut new = NewDelivery::now(store, organisation, copy_id, message_id, ReversePath::Null, to);
    new.campaign_id = Some(campaign_id);
    let mut ops = queued_copy_ops(&new, None);
    let mut message: Vec<Value> = values![message_id, organisation, "outbound", 0_i64, 0_i64, 0_i64, ""].to_vec();
    message.extend(values!["<c@contoso.example>", "b@contoso.example", "news@contoso.example", "News", "News", "news"]);
    message.extend(values!["", "", store.now(), campaign_id, None::<&str>, None::<&str>, None::<&str>, None::<i64>]);
    ops.push(Op::Insert("message.insert", message));
    store.commit(Submission::rows(ops)).await.unwrap();
    copy_id
}

#[tokio::test]
async fn a_campaign_copy_is_one_row_and_arrives_once() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let campaign_id = CampaignId(3);
        let tokens = CopyTokens::new(house.directory.mac().await.unwrap());
        let own = |copy_id| OwnCopy { campaign_id, copy_id };
        let ada = campaign_copy(&house, campaign_id, "ada@contoso.example").await;
        let signed = |copy_id, to: &str| {
            let head = format!("{}: {}\r\n", CopyTokens::HEADER, tokens.sign(own(copy_id), to));
            [head.into_bytes(), mail("News", "read http://t.contoso.example/1")].concat()
        };
        let first =
            house.data("b@contoso.example", &["ada@contoso.example"], &signed(ada, "ada@contoso.example")).await;
        let again =
            house.data("b@contoso.example", &["ada@contoso.example"], &signed(ada, "ada@contoso.example")).await;
        assert_eq!((first.code(), &again), (250, &first), "the resend is answered with the first id");
        assert_eq!(house.mailbox("ada@contoso.example").await, ["Inbox: News"]);
        let story = house.of("ada@contoso.example").await;
        let kinds: Vec<&str> = story.events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!((story.copy_id, story.campaign_id), (ada, Some(campaign_id)));
        assert_eq!(kinds, ["queued", "accepted", "resend_suppressed"]);
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("inbox", "accepted"));
        assert_eq!(story.received.unwrap().direction, "inbound");

        // Somebody else's header makes no mail ours, and a copy that is not there is a mail like any other.
        let bob = house.data(ZOE, &["bob@contoso.example"], &signed(ada, "ada@contoso.example")).await;
        let cleo = house.data(ZOE, &["cleo@contoso.example"], &signed(CopyId(5), "cleo@contoso.example")).await;
        assert_eq!((bob.code(), cleo.code()), (250, 250));
        for recipient in ["bob@contoso.example", "cleo@contoso.example"] {
            let story = house.of(recipient).await;
            assert_eq!((story.campaign_id, story.events.len()), (None, 1), "{recipient}");
        }
        // Being ours lowers no verdict.
        let held = campaign_copy(&house, campaign_id, "bob@contoso.example").await;
        let head = format!("{}: {}\r\n", CopyTokens::HEADER, tokens.sign(own(held), "bob@contoso.example"));
        let phish = [head.into_bytes(), mail("News", PHISH)].concat();
        assert_eq!(house.data("b@contoso.example", &["bob@contoso.example"], &phish).await.code(), 250);
        let story = trace::detail(&house.store, house.directory.id(), held).await.unwrap().unwrap();
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("quarantine", "held"));
        assert_eq!(house.held().await[0].opt_int("campaign_id").unwrap(), Some(3));
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_campaign_copy_that_comes_twice_during_a_bypass_arrives_once() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let by = Switcher { account_id: None, name: "test" };
        house.directory.switch_bypass_on(&by, 60_000, "x").await.unwrap();
        let campaign_id = CampaignId(3);
        let tokens = CopyTokens::new(house.directory.mac().await.unwrap());
        let copy_id = campaign_copy(&house, campaign_id, "ada@contoso.example").await;
        let value = tokens.sign(OwnCopy { campaign_id, copy_id }, "ada@contoso.example");
        let news = [format!("{}: {value}\r\n", CopyTokens::HEADER).into_bytes(), mail("News", "read on")].concat();
        for _ in 0..3 {
            let reply = house.data("b@contoso.example", &["ada@contoso.example"], &news).await;
            assert_eq!(reply.code(), 250);
        }
        let worker = IncomingWorker::new(&house.gateway);
        let (first, second) = tokio::join!(worker.work_off(), worker.work_off());
        assert_eq!(first.unwrap() + second.unwrap(), 3, "two workers at once");
        assert_eq!(house.directory.incoming_count().await.unwrap(), 0);
        assert_eq!(house.mailbox("ada@contoso.example").await, ["Inbox: News"]);
        let story = house.of("ada@contoso.example").await;
        let kinds: Vec<&str> = story.events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["queued", "accepted", "resend_suppressed", "resend_suppressed"]);
        house.close().await;
    })
    .await;
}

/// As a campaign enqueues: message with its body, copy and hand-over, together.
async fn enqueue(house: &House, tokens: &CopyTokens, campaign_id: CampaignId, recipient: &str) -> CopyId {
    let store = &house.store;
    let (copy_id, message_id): (CopyId, MessageId) = (store.next_id(), store.next_id());
    let reverse_path = format!("b-{copy_id}@contoso.example").parse().unwrap();
    let (organisation, to) = (house.directory.id(), recipient.parse().unwrap());
    let mut new = NewDelivery::now(store, organisation, copy_id, message_id, reverse_path, to);
    new.campaign_id = Some(campaign_id);
    let mut rows = queued_copy_ops(&new, None);
    rows.extend(delivery_ops(new));
    let value = tokens.sign(OwnCopy { campaign_id, copy_id }, recipient);
    let body = [format!("{}: {value}\r\n", CopyTokens::HEADER).into_bytes(), mail("News", "read on")].concat();
    let now = store.now();
    let ops = move |body: &BodyRef| {
        let signed = |n: u64| i64::try_from(n).unwrap();
        let mut message: Vec<Value> = values![message_id, organisation, "outbound", body.pack_id].to_vec();
        message.extend(values![signed(body.offset), signed(body.bytes), &body.sha256, "<c@contoso.example>"]);
        message.extend(values!["b@contoso.example", "news@contoso.example", "News", "News", "news", "", "", now]);
        message.extend(values![campaign_id, None::<&str>, None::<&str>, None::<&str>, None::<i64>]);
        std::iter::once(Op::Insert("message.insert", message)).chain(rows.iter().cloned()).collect()
    };
    store.commit(Submission::with_body(body.into(), ops)).await.unwrap();
    copy_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_goes_out_and_comes_in_with_both_ends_writing_the_same_copies() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let tokens = CopyTokens::new(house.directory.mac().await.unwrap());
        let campaign_id = CampaignId(8);
        let people = ["ada@contoso.example", "bob@contoso.example", "cleo@contoso.example"];
        let enqueuing = (0..300).map(|n| enqueue(&house, &tokens, campaign_id, people[n % people.len()]));
        let copies = futures::future::join_all(enqueuing).await;
        let stop = CancellationToken::new();
        let routes = Routes::new(dns::Resolver::none()).with_own("contoso.example", house.addr);
        let config = AgentConfig::new("out.contoso.example");
        let mut notices = house.store.bus().subscribe();
        let agent = Agent::start(house.store.clone(), config, routes, stop.clone()).await.unwrap();
        let all_done = async {
            while outbound::campaign_counts(&house.store, campaign_id).await.unwrap() != [(DeliveryState::Done, 300)] {
                let _ = tokio::time::timeout(Duration::from_millis(250), notices.recv()).await;
            }
        };
        tokio::time::timeout(WAIT, all_done).await.expect("the campaign is handed over");
        stop.cancel();
        agent.stopped().await;
        for copy_id in copies {
            let story = trace::detail(&house.store, house.directory.id(), copy_id).await.unwrap().unwrap();
            assert_eq!((story.place.as_str(), story.last_event.as_str()), ("inbox", "accepted"));
            let told: Vec<String> = story.events.iter().map(|e| format!("{} {}", e.kind, e.source)).collect();
            assert_eq!(told, ["queued outbound", "accepted gateway", "accepted smtp"]);
        }
        assert_eq!(house.gateway.stats().inbox_count.load(Ordering::Relaxed), 300);
        house.close().await;
    })
    .await;
}

/// An attachment that the file type filter does not let in.
fn with_program() -> Vec<u8> {
    let text = "From: zoe@fabrikam.example\r\nSubject: Program\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhere\r\n--b\r\n\
        Content-Disposition: attachment; filename=\"run.scr\"\r\n\r\nMZ\r\n--b--\r\n";
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn a_refusal_is_everybodys_or_nobodys() {
    on_both(|t| async move {
        let mut holds = for_group(Policy::standard(), "Finance");
        holds.anti_malware.as_mut().unwrap().file_filter = false;
        let policies = Policies { policies: vec![holds, Policy::default_preset()] };
        assert_eq!(Policy::default_preset().anti_malware.unwrap().file_action, FileAction::Reject);
        let house = House::build_with(&t, policies, |_| {}).await;
        let reply = house.data(ZOE, &["bob@contoso.example"], &with_program()).await;
        assert_eq!(reply.to_string(), "550 5.7.1 this mail is refused by policy");
        let story = house.of("bob@contoso.example").await;
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("not_received", "rejected"));
        assert_eq!((story.message.body_bytes, story.disposition.as_deref()), (0, Some("reject")));
        assert!(story.message.verdict.is_some() && house.body(story.message.id).await.is_empty());

        let both = ["ada@contoso.example", "cleo@contoso.example"];
        assert_eq!(house.data(ZOE, &both, &with_program()).await.code(), 250);
        assert_eq!(house.of("cleo@contoso.example").await.place, "quarantine");
        assert_ne!(house.of("ada@contoso.example").await.last_event, "rejected");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn redirected_and_dropped_mail_leaves_its_story() {
    on_both(|t| async move {
        let phish = |action: Action, group: &str, id: i64| {
            let mut policy = for_group(Policy::default_preset(), group);
            (policy.id, policy.kind, policy.name) = (model::PolicyId(id), PolicyKind::Custom, group.into());
            policy.anti_spam.as_mut().unwrap().phish.action = action;
            policy
        };
        let to = Address::parse("cleo@contoso.example").unwrap();
        let mut elsewhere = phish(Action::Redirect { to: "soc@elsewhere.example".parse().unwrap() }, "", 900);
        elsewhere.conditions = Conditions { users: vec!["cleo@contoso.example".into()], ..Conditions::default() };
        let policies = Policies {
            policies: vec![
                elsewhere,
                phish(Action::Redirect { to }, "Finance", 901),
                phish(Action::Delete, "Sales", 902),
                Policy::default_preset(),
            ],
        };
        let house = House::build_with(&t, policies, |_| {}).await;
        assert_eq!(house.data(ZOE, &["ada@contoso.example"], &mail("One", PHISH)).await.code(), 250);
        let story = house.of("ada@contoso.example").await;
        assert_eq!((story.place.as_str(), story.last_event.as_str()), ("not_received", "dropped"));
        assert_eq!(story.events[0].detail["redirected_to"], "cleo@contoso.example");
        assert_eq!(house.mailbox("cleo@contoso.example").await, ["Inbox: One"]);

        assert_eq!(house.data(ZOE, &["bob@contoso.example"], &mail("Two", PHISH)).await.code(), 250);
        let story = house.of("bob@contoso.example").await;
        assert_eq!((story.last_event.as_str(), story.message.body_bytes), ("dropped", 0));
        assert!(house.mailbox("bob@contoso.example").await.is_empty());

        assert_eq!(house.data(ZOE, &["cleo@contoso.example"], &mail("Three", PHISH)).await.code(), 250);
        let queue = outbound::queue_summary(&house.store, house.directory.id()).await.unwrap();
        assert_eq!((queue.len(), queue[0].domain.as_str()), (1, "elsewhere.example"));
        assert_eq!(house.of("soc@elsewhere.example").await.place, "on_its_way");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_judge_that_fails_holds_mail_up_or_lets_it_through_as_chosen() {
    on_both(|t| async move {
        let house = House::build_with(&t, Policies::standard_for_all(), |config| {
            config.judge = |_, _, _| panic!("a rule that panics");
        })
        .await;
        let reply = house.data(ZOE, &["ada@contoso.example"], &mail("First", "x")).await;
        assert_eq!(reply.code(), 451);
        assert!(house.trace(TraceFilter::default()).await.is_empty());
        let mut settings = house.directory.settings().await.unwrap();
        settings.failure_mode = FailureMode::DeliverUnjudged;
        house.directory.save_settings(&settings).await.unwrap();
        assert_eq!(house.data(ZOE, &["ada@contoso.example"], &mail("Second", "x")).await.code(), 250);
        let story = house.of("ada@contoso.example").await;
        assert_eq!((story.place.as_str(), story.message.verdict), ("inbox", None));
        let body = house.body(story.message.id).await;
        assert!(String::from_utf8_lossy(&body).contains("X-Landfall-Unjudged: failure\r\n"));
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_trace_finds_by_each_filter_and_pages_without_gaps() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        for n in 0..7 {
            let raw = mail(&format!("Offer {n} of 100% tea"), "x");
            house.data(ZOE, &["ada@contoso.example", "bob@contoso.example"], &raw).await;
            t.clock.advance_ms(1_000);
        }
        let other = String::from_utf8(mail("Coffee", "see http://shop.example/beans"))
            .unwrap()
            .replace(ZOE, "yan@fabrikam.example");
        let other = other.replace("<m1@", "<m2@");
        house.data("yan@fabrikam.example", &["ada@contoso.example"], other.as_bytes()).await;
        let some = |text: &str| Some(text.to_owned());
        let none = TraceFilter::default;
        let cases = [
            (none(), 15),
            (TraceFilter { sender: some("ZOE@fabrikam.example"), ..none() }, 14),
            (TraceFilter { recipient: some("ada@contoso.example"), ..none() }, 8),
            (TraceFilter { subject: some("100% TEA"), ..none() }, 14),
            (TraceFilter { subject: some("offer 3"), ..none() }, 2),
            (TraceFilter { subject: some("tea offer"), ..none() }, 0),
            (TraceFilter { message_id_header: some("m2@fabrikam.example"), ..none() }, 1),
            (
                TraceFilter {
                    message_id_header: some("<m1@fabrikam.example>"),
                    recipient: some("bob@contoso.example"),
                    ..none()
                },
                7,
            ),
            (TraceFilter { url_host: some("SHOP.example"), ..none() }, 1),
            (TraceFilter { url_host: some("shop.example"), sender: some(ZOE), ..none() }, 0),
            (TraceFilter { url_host: some("other.example"), ..none() }, 0),
            (TraceFilter { place: Some(Place::Inbox), ..none() }, 15),
            (TraceFilter { place: Some(Place::Junk), ..none() }, 0),
            (TraceFilter { from_at: Some(t.store.now().plus_ms(-2_000)), to_at: Some(t.store.now()), ..none() }, 4),
            (TraceFilter { sender: some(ZOE), to_at: Some(t.store.now().plus_ms(-5_000)), ..none() }, 4),
        ];
        for (filter, count) in cases {
            let organisation = house.directory.id();
            let mut filter = TraceFilter { limit: 3, ..filter };
            let mut ids = Vec::new();
            loop {
                let page = trace::search(&house.store, organisation, &filter).await.unwrap();
                ids.extend(page.rows.iter().map(|row| row.copy_id));
                match page.next {
                    Some(next) => filter.after = Some(next.to_string().parse().unwrap()),
                    None => break,
                }
            }
            let mut unique = ids.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!((ids.len(), unique.len()), (count, count), "{filter:?}");
        }
        house.close().await;
    })
    .await;
}
