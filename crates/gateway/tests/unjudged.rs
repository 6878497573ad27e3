//! Authentication and missing verdicts at the gateway: names that fail, mail that is let in unjudged and judged later, chains
//! that are sealed and trusted. Real sockets, real names on loopback, both databases.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use directory::{Directory, FailureMode, NewOrganisation, NewPerson, ProtectionCache, Switcher};
use dns::{Resolver, ResolverLimits, ZoneServer};
use gateway::trace::TraceFilter;
use gateway::{Gateway, GatewayConfig, IncomingWorker, Judge, LateJudge, Listening};
use message::arc::{ArcSealer, Sealing};
use message::dkim::{DkimKey, Signer};
use message::{Authenticator, ParseContext};
use model::{
    Address, AuthResult, ChangeId, ClientInfo, Composite, Domain, Envelope, Facts, ReversePath, RuleSetId, Timestamp,
    Unjudged, Verdict, VerdictClass,
};
use quarantine::{Quarantine, Worker};
use smtp::{CancellationToken, Client, ClientConfig, Mail};
use store::{BodyRef, Op, Row, Store, values};
use testkit::{TestStore, on_both};
use verdict::{Action, Feed, FeedEntry, FeedKind, Policies, Policy, PolicyKind, RuleSet, RuleSetSource};

const HOST: &str = "mx.contoso.example";
const CHANGE: ChangeId = ChangeId(77);
const WAIT: Duration = Duration::from_secs(30);
const RSA: &str = include_str!("../../message/testdata/keys/rsa2048.pem");
const BROKEN: Judge = |_, _, _| panic!("a rule that panics");
const PHISH: &str = "sign in at http://evil.example/login now";

struct House {
    store: Store,
    directory: Directory,
    protection: ProtectionCache,
    gateway: Gateway,
    listening: Option<Listening>,
    stop: CancellationToken,
    addr: SocketAddr,
}

impl House {
    async fn build(t: &TestStore, resolver: &Resolver, policies: Policies, judge: Judge) -> House {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
        let person = |address: &str| NewPerson {
            address: Address::parse(address).unwrap(),
            name: address.into(),
            department: String::new(),
            city: String::new(),
            language: "en".into(),
            attributes: BTreeMap::new(),
        };
        directory.put_people(&[person("ada@contoso.example"), person("bob@contoso.example")]).await.unwrap();
        protect(&directory, policies).await;
        let protection = ProtectionCache::start(&directory).await.unwrap();
        House::open(t, directory, protection, resolver, judge).await
    }

    /// A gateway on what is there: as after a restart.
    async fn open(
        t: &TestStore,
        directory: Directory,
        protection: ProtectionCache,
        resolver: &Resolver,
        judge: Judge,
    ) -> House {
        let mut config = GatewayConfig::new(HOST);
        (config.judge, config.bypass_look_ms, config.authentication_deadline_ms) = (judge, 0, 2_000);
        let authenticator = Authenticator::new(resolver, HOST);
        let gateway = Gateway::new(directory.clone(), protection.clone(), authenticator, config).await.unwrap();
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = gateway.listen(any, None, stop.clone()).await.unwrap();
        let addr = listening.addr;
        House { store: t.store.clone(), directory, protection, gateway, listening: Some(listening), stop, addr }
    }

    async fn send(&self, from: &str, to: &[&str], body: &[u8]) -> u16 {
        let mut client = Client::connect(self.addr, ClientConfig::new("client.fabrikam.example")).await.unwrap();
        let reverse_path: ReversePath = from.parse().unwrap();
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        let outcome = client.send(&Mail { reverse_path: &reverse_path, recipients: &recipients }, body).await.unwrap();
        client.quit().await;
        outcome.data.expect("everybody is here").code()
    }

    /// The only message with this subject.
    async fn message(&self, subject: &str) -> Row {
        let sql = values![0_i64, 1_000_i64];
        let rows = self.store.query("message.bodies", &sql).await.unwrap();
        for row in rows {
            let row = self.store.query_one("message.by_id", &values![row.int("id").unwrap()]).await.unwrap().unwrap();
            if row.text("subject").unwrap() == subject {
                return row;
            }
        }
        panic!("no message {subject:?}");
    }

    async fn body(&self, row: &Row) -> String {
        let body = self.store.body(&BodyRef::from_row(row).unwrap()).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }

    async fn facts(&self, subject: &str) -> Facts {
        self.message(subject).await.json("facts").unwrap()
    }

    /// `place last_event` of each copy of a message, and the kinds of its events.
    async fn copies(&self, subject: &str) -> Vec<String> {
        let id = self.message(subject).await.int("id").unwrap();
        let mut found = Vec::new();
        for row in self.store.query("unjudged.copies", &values![id, 10_i64]).await.unwrap() {
            let copy = gateway::trace::detail(&self.store, self.directory.id(), row.id("id").unwrap()).await.unwrap();
            let copy = copy.unwrap();
            let events: Vec<String> = copy.events.iter().map(|e| e.kind.to_string()).collect();
            found.push(format!("{} {} {}: {}", copy.recipient, copy.place, copy.last_event, events.join(" ")));
        }
        found.sort();
        found
    }

    fn late(&self, judge: Judge) -> LateJudge {
        LateJudge::new(&self.directory, self.protection.clone(), judge, message::Limits::default())
    }

    /// Lets mail in without judging it, for half an hour.
    async fn bypass(&self) {
        let by = Switcher { account_id: None, name: "command line" };
        self.directory.switch_bypass_on(&by, 30 * 60_000, "x").await.unwrap();
    }

    /// Enters what waits in the incoming queue; gives how many mails.
    async fn enter(&self) -> usize {
        IncomingWorker::new(&self.gateway).work_off().await.unwrap()
    }

    async fn purge(&self) -> usize {
        let quarantine = Quarantine::new(self.directory.clone(), self.protection.clone());
        Worker::new(quarantine, CancellationToken::new()).work_off().await.unwrap()
    }

    async fn close(mut self) -> (Directory, ProtectionCache) {
        self.stop.cancel();
        if let Some(listening) = self.listening.take() {
            tokio::time::timeout(WAIT, listening.stopped()).await.expect("the listener stops");
        }
        (self.directory, self.protection)
    }
}

/// A rule set with one phishing host, put in force by [`CHANGE`], and these policies.
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
    let (source, now) = (serde_json::to_string(&source).unwrap(), store.now());
    let nothing = None::<i64>;
    let row = values![
        rules.id(),
        directory.id(),
        nothing,
        rules.hash(),
        source,
        "test",
        "test",
        nothing,
        nothing,
        1_i64,
        now
    ];
    store.execute("rule_set.insert", &row).await.unwrap();
    for policy in policies.policies {
        let body = serde_json::to_string(&policy).unwrap();
        let row = values![policy.id, directory.id(), &policy.name, i64::from(policy.priority), body, now];
        store.execute("policy.insert", &row).await.unwrap();
    }
}

fn mail(subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: Zoe <zoe@fabrikam.example>\r\nTo: ada@contoso.example\r\nSubject: {subject}\r\n\
         Date: Mon, 05 Jan 2026 09:00:00 +0000\r\nMessage-ID: <m1@fabrikam.example>\r\n\
         X-Landfall-Unjudged: forged\r\nAuthentication-Results: {HOST}; dmarc=pass\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

const ZOE: &str = "zoe@fabrikam.example";
const BOTH: &[&str] = &["ada@contoso.example", "bob@contoso.example"];

#[tokio::test]
async fn what_came_in_unjudged_is_judged_when_judging_works_again() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), BROKEN).await;
        assert_eq!(house.send(ZOE, BOTH, &mail("Early", PHISH)).await, 451, "unless the organisation chose otherwise");
        let mut settings = house.directory.settings().await.unwrap();
        settings.failure_mode = FailureMode::DeliverUnjudged;
        house.directory.save_settings(&settings).await.unwrap();
        assert_eq!(house.send(ZOE, BOTH, &mail("Phish", PHISH)).await, 250);
        assert_eq!(house.send(ZOE, BOTH, &mail("Clean", "see you")).await, 250);
        let landed = ["ada@contoso.example inbox accepted: accepted", "bob@contoso.example inbox accepted: accepted"]
            .map(String::from);
        assert_eq!(house.copies("Phish").await, landed);
        let row = house.message("Phish").await;
        let body = house.body(&row).await;
        assert!(body.contains("\r\nX-Landfall-Unjudged: failure\r\n") && !body.contains("forged"), "{body}");
        assert!(!body.contains("X-Forefront-Antispam-Report"), "nobody judged it: {body}");
        assert_eq!(house.facts("Phish").await.unjudged, Some(Unjudged::Failure));
        assert_eq!(house.directory.unjudged_count().await.unwrap(), 2);

        // It does not work yet: nothing moves, and the next try waits.
        assert_eq!(house.late(BROKEN).work_off().await.unwrap(), 0);
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 0, "they rest a while");
        t.clock.advance_ms(60_000);
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 2);
        assert_eq!(house.directory.unjudged_count().await.unwrap(), 0);
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 0, "once");
        assert_eq!(house.purge().await, 1, "one job for what is not clean");
        assert_eq!(
            house.copies("Phish").await,
            ["ada", "bob"].map(|who| format!("{who}@contoso.example quarantine purged: accepted judged purged"))
        );
        assert_eq!(
            house.copies("Clean").await,
            ["ada", "bob"].map(|who| format!("{who}@contoso.example inbox accepted: accepted judged"))
        );
        let row = house.message("Phish").await;
        let (verdict, facts): (Verdict, Facts) = (row.json("verdict").unwrap(), row.json("facts").unwrap());
        assert_eq!(verdict.class, VerdictClass::Phish);
        let again = verdict::judge(&facts, &house.protection.current().rule_set, facts.received_at);
        assert_eq!(again, verdict, "a late verdict is replayed like any other");
        assert_eq!(facts.unjudged, Some(Unjudged::Failure), "that it came in unjudged stays known");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_bypass_ends_by_itself_and_everything_is_judged_then() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        let by = Switcher { account_id: None, name: "command line" };
        for (ms, reason) in [(0, "x"), (5 * 3_600_000, "x"), (60_000, " "), (60_000, "a\r\nb")] {
            house.directory.switch_bypass_on(&by, ms, reason).await.unwrap_err();
        }
        house.directory.switch_bypass_on(&by, 30 * 60_000, "a feed lists our own bank").await.unwrap();
        assert_eq!(house.send(ZOE, BOTH, &mail("Phish", PHISH)).await, 250);
        assert_eq!(house.enter().await, 1);
        assert_eq!(house.facts("Phish").await.unjudged, Some(Unjudged::Bypass));
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 0, "not while it lasts");

        // It is a row: another process knows it, too.
        let (directory, protection) = house.close().await;
        let house = House::open(&t, directory, protection, &Resolver::none(), verdict::judge).await;
        assert_eq!(house.send(ZOE, &BOTH[..1], &mail("Second", PHISH)).await, 250);
        assert_eq!(house.enter().await, 1);
        assert_eq!(house.copies("Second").await, ["ada@contoso.example inbox accepted: accepted"]);

        t.clock.advance_ms(30 * 60_000);
        assert_eq!(house.send(ZOE, &BOTH[..1], &mail("Third", PHISH)).await, 250);
        assert_eq!(house.copies("Third").await, ["ada@contoso.example quarantine held: held"]);
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 2);
        assert_eq!(house.purge().await, 1);
        assert_eq!(house.copies("Second").await, ["ada@contoso.example quarantine purged: accepted judged purged"]);
        let held =
            values![house.directory.id(), "", "", "", 0_i64, CHANGE, "", "", "", 0_i64, i64::MAX, i64::MAX, 9_i64];
        let held = house.store.query("quarantine.list", &held).await.unwrap();
        assert_eq!(held.len(), 4, "each with the change that put the deciding entry in force");
        let audit = house.directory.audit_page(None, 50).await.unwrap();
        let words: Vec<(&str, &str)> = audit.iter().rev().map(|e| (e.action.as_str(), e.reason.as_str())).collect();
        assert_eq!(
            words,
            [("bypass.on", "a feed lists our own bank"), ("bypass.ended", "a feed lists our own bank")],
            "its beginning and its end"
        );
        house.directory.switch_bypass_on(&by, 60_000, "again").await.unwrap();
        assert!(house.directory.switch_bypass_off(&by).await.unwrap().is_some());
        assert!(house.directory.switch_bypass_off(&by).await.unwrap().is_none());
        assert_eq!(house.send(ZOE, &BOTH[..1], &mail("Fourth", PHISH)).await, 250);
        assert_eq!(house.copies("Fourth").await, ["ada@contoso.example quarantine held: held"]);
        house.close().await;
    })
    .await;
}

/// The copies of mail with a link to `evil.example`, as a trace finds them.
async fn linked(house: &House) -> Vec<String> {
    let filter = TraceFilter { url_host: Some("evil.example".into()), limit: 10, ..TraceFilter::default() };
    let found = gateway::trace::search(&house.store, house.directory.id(), &filter).await.unwrap();
    found.rows.into_iter().map(|row| row.subject).collect()
}

#[tokio::test]
async fn what_is_entered_later_says_the_same() {
    on_both(|t| async move {
        let names = names().await;
        let resolver = Resolver::at(names.addr()).unwrap();
        let house = House::build(&t, &resolver, Policies::standard_for_all(), verdict::judge).await;
        let raw = |subject: &str| {
            let head = String::from_utf8(mail(subject, "")).unwrap();
            let head = head.trim_end().replace("Subject:", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nSubject:");
            // The first line continues nothing: our fields must not take it in.
            format!(
                " of nobody\r\n{head}\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>{PHISH} <a href=\"http://evil.example/a\">bank.example\
                 </a><img src=\"https://cdn.example/1.png\"></p>\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF-1.7\r\n--b--\r\n"
            )
        };
        assert_eq!(house.send(ZOE, &BOTH[..1], raw("At once").as_bytes()).await, 250);
        house.bypass().await;
        assert_eq!(house.send(ZOE, &BOTH[..1], raw("Later").as_bytes()).await, 250);
        assert_eq!(linked(&house).await, ["At once"]);
        t.clock.advance_ms(2_000);
        assert_eq!(house.enter().await, 1);
        assert_eq!(linked(&house).await, ["Later", "At once"], "it is found while judging is off");
        let row = house.message("Later").await;
        assert_eq!(row.at("received_at").unwrap().ms_since(house.message("At once").await.at("received_at").unwrap()), 0);
        let body = house.body(&row).await;
        assert!(body.contains("\r\nX-Landfall-Unjudged: bypass\r\n") && !body.contains("forged"), "{body}");
        let (at_once, mut later) = (house.facts("At once").await, house.facts("Later").await);
        assert!(!later.urls.is_empty() && !later.attachments.is_empty() && !later.links.is_empty());
        assert_eq!(later.unjudged.take(), Some(Unjudged::Bypass));
        later.header.subject = at_once.header.subject.clone();
        (later.received_at, later.sender_known) = (at_once.received_at, at_once.sender_known);
        later.size_bytes += 2; // the subject is shorter by so much
        assert_eq!(later, at_once);
        t.clock.advance_ms(30 * 60_000);
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 1);
        assert_eq!(house.purge().await, 1);
        assert_eq!(house.copies("Later").await, ["ada@contoso.example quarantine purged: accepted judged purged"]);
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_schema_17_left_unread_is_read_when_it_is_judged() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        let to: Vec<Address> = vec![BOTH[0].parse().unwrap()];
        let mut envelope = Envelope::new(ClientInfo::at([127, 0, 0, 1].into()));
        (envelope.reverse_path, envelope.forward_paths) = (ZOE.parse().unwrap(), to);
        for subject in ["Torn", "Whole"] {
            let raw = mail(subject, PHISH);
            let limits = message::Limits::default();
            let context = ParseContext { received_at: t.store.now(), envelope: &envelope, own_domains: &[], limits };
            let header = serde_json::json!(message::parse_header(&raw, &context));
            let stored = [b"Received: by us\r\nX-Landfall-Unjudged: bypass\r\n".as_slice(), &raw].concat();
            let mut row = testkit::rows::NewMessage::new(&t.store, house.directory.id());
            row.subject = subject.into();
            let of = house.directory.id();
            let owed = move |place: &BodyRef| {
                let owed = values![row.id, of, "bypass", row.received_at, 0_i64, row.received_at, &header].to_vec();
                vec![row.op(place), Op::Insert("unjudged.insert", owed)]
            };
            t.store.commit(store::Submission::with_body(stored.into(), owed)).await.unwrap();
        }
        let place = BodyRef::from_row(&house.message("Torn").await).unwrap();
        let mut pack = std::fs::read(t.pack_path(place.pack_id)).unwrap();
        pack[usize::try_from(place.offset).unwrap()] ^= 0x20;
        std::fs::write(t.pack_path(place.pack_id), pack).unwrap();
        assert_eq!(house.late(verdict::judge).work_off().await.unwrap(), 1, "the one that can be read");
        assert_eq!(house.directory.unjudged_count().await.unwrap(), 1, "the other is not forgotten");
        assert_eq!(house.message("Torn").await.opt_text("facts").unwrap(), None);
        assert_eq!(linked(&house).await, [] as [&str; 0], "no copies, but terms");
        let read = house.message("Whole").await;
        assert_eq!(read.json::<Verdict>("verdict").unwrap().class, VerdictClass::Phish);
        assert!(!read.json::<Facts>("facts").unwrap().urls.is_empty());
        house.close().await;
    })
    .await;
}

/// What waits in the incoming queue, as `recipient disposition`.
async fn promised(house: &House) -> Vec<String> {
    let rows = house.store.query("incoming.recipients", &values![house.directory.id(), 1_000_i64]).await.unwrap();
    let promised = rows.iter().map(|row| (row.text("recipient").unwrap(), row.text("disposition").unwrap()));
    promised.map(|(recipient, disposition)| format!("{recipient} {disposition}")).collect()
}

#[tokio::test]
async fn while_judging_is_off_mail_is_accepted_first_and_entered_behind() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        house.bypass().await;
        for subject in ["One", "Two", "Three"] {
            assert_eq!(house.send(ZOE, BOTH, &mail(subject, PHISH)).await, 250);
        }
        assert_eq!(promised(&house).await, ["ada@contoso.example deliver", "bob@contoso.example deliver"].repeat(3));
        assert_eq!(house.directory.incoming_count().await.unwrap(), 3);

        // Whoever answered is gone. The next process leaves fresh mail to its owner, and then enters it once.
        let (directory, protection) = house.close().await;
        let house = House::open(&t, directory, protection, &Resolver::none(), verdict::judge).await;
        assert_eq!(house.enter().await, 0, "its owner may be at it");
        t.clock.advance_ms(5_000);
        let (first, second) = tokio::join!(house.enter(), house.enter());
        assert_eq!(first + second, 3, "two at once enter each once");
        assert_eq!(house.enter().await, 0);
        assert_eq!(promised(&house).await, [] as [&str; 0]);
        assert_eq!(house.directory.incoming_count().await.unwrap(), 0);
        for subject in ["One", "Two", "Three"] {
            let landed = ["ada", "bob"].map(|who| format!("{who}@contoso.example inbox accepted: accepted"));
            assert_eq!(house.copies(subject).await, landed);
        }
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn mail_is_entered_in_the_order_in_which_it_came() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        house.bypass().await;
        for n in 0..70 {
            assert_eq!(house.send(ZOE, &BOTH[..1], &mail(&format!("{n:03}"), "see you")).await, 250);
        }
        assert_eq!(house.enter().await, 70, "more than one commit takes");
        let ada = house.directory.recipient(&BOTH[0].parse().unwrap()).await.unwrap().unwrap();
        let page = values![ada.mailbox_id, ada.inbox_id, i64::MAX, i64::MAX, 100_i64];
        let rows = house.store.query("mailbox.items", &page).await.unwrap();
        let mut found: Vec<(i64, &str)> =
            rows.iter().map(|row| (row.int("uid").unwrap(), row.text("subject").unwrap())).collect();
        found.sort_unstable();
        let subjects: Vec<&str> = found.into_iter().map(|(_, subject)| subject).collect();
        assert_eq!(subjects, (0..70).map(|n| format!("{n:03}")).collect::<Vec<_>>());
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_needs_an_answer_at_once_gets_it_during_a_bypass() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        house.bypass().await;
        let circling = [b"Received: by x\r\n".repeat(100), mail("Circling", "x")].concat();
        assert_eq!(house.send(ZOE, &BOTH[..1], &circling).await, 554);
        let large = mail("Large", &"0123456789abcdef\r\n".repeat(20_000));
        assert_eq!(house.send(ZOE, &BOTH[..1], &large).await, 250);
        assert_eq!(house.copies("Large").await, ["ada@contoso.example inbox accepted: accepted"], "it is no row");
        assert_eq!(house.enter().await, 0);
        house.close().await;
    })
    .await;
}

/// Puts a mail into the incoming queue as a process that is gone did.
async fn left_behind(house: &House, from: &str, to: &str, subject: &str) {
    let mut envelope = Envelope::new(ClientInfo::at([127, 0, 0, 1].into()));
    (envelope.reverse_path, envelope.forward_paths) = (from.parse().unwrap(), vec![to.parse().unwrap()]);
    let envelope = serde_json::json!(envelope).to_string();
    let at = house.store.now().plus_ms(-60_000);
    let raw = bytes::Bytes::from(mail(subject, "x"));
    let row = values![
        house.store.next_id::<model::MessageId>(),
        house.directory.id(),
        7_i64,
        at,
        at,
        0_i64,
        1_i64,
        envelope,
        raw
    ];
    let op = Op::Insert("incoming.insert", row.to_vec());
    house.store.commit(store::Submission::rows(vec![op])).await.unwrap();
}

#[tokio::test]
async fn who_is_not_here_any_more_when_mail_is_entered_is_told_of() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        let gone = "gone@contoso.example";
        left_behind(&house, ZOE, gone, "Told").await;
        left_behind(&house, "", gone, "Null sender").await;
        assert_eq!(house.enter().await, 2);
        let filter = TraceFilter { recipient: Some(gone.into()), limit: 10, ..TraceFilter::default() };
        let found = gateway::trace::search(&house.store, house.directory.id(), &filter).await.unwrap();
        let mut lost: Vec<_> = found.rows.iter().map(|row| (&*row.subject, &*row.place, &*row.last_event)).collect();
        lost.sort_unstable();
        assert_eq!(lost, [("Null sender", "not_received", "rejected"), ("Told", "not_received", "rejected")]);
        let told = house.message(message::dsn::subject(message::ReportAction::Failed)).await;
        let body = house.body(&told).await;
        assert!(body.contains(&format!("Final-Recipient: rfc822; {gone}\r\nAction: failed")), "{body}");
        assert!(!body.contains("Null sender") && body.contains("Told"), "{body}");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_entered_rests_and_holds_nothing_up() {
    on_both(|t| async move {
        let house = House::build(&t, &Resolver::none(), Policies::standard_for_all(), verdict::judge).await;
        let at = house.store.now().plus_ms(-60_000);
        let raw = bytes::Bytes::from_static(b"x");
        let row = values![1_i64, house.directory.id(), 7_i64, at, at, 0_i64, 1_i64, "no envelope", raw];
        let op = Op::Insert("incoming.insert", row.to_vec());
        house.store.commit(store::Submission::rows(vec![op])).await.unwrap();
        left_behind(&house, ZOE, BOTH[0], "Fine").await;
        assert_eq!(house.enter().await, 1);
        assert_eq!(house.copies("Fine").await, ["ada@contoso.example inbox accepted: accepted"]);
        assert_eq!(house.directory.incoming_count().await.unwrap(), 1, "it is not thrown away");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn names_that_fail_never_lose_or_block_mail() {
    let zone = "$SERVFAIL fabrikam.example\n$SERVFAIL _dmarc.fabrikam.example\n";
    let servfail = ZoneServer::start(zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let zone = "$TRUNCATED fabrikam.example\n$TRUNCATED _dmarc.fabrikam.example\n";
    let truncated = ZoneServer::start(zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let servers = [
        ("servfail", servfail.addr()),
        ("truncated", truncated.addr()),
        ("silent", silent.local_addr().unwrap()),
        ("closed", closed),
    ];
    on_both(|t| async move {
        let limits = ResolverLimits { try_ms: 200, tries_max: 1, ..ResolverLimits::default() };
        let first = Resolver::at_with(servers[0].1, limits).unwrap();
        let mut house = House::build(&t, &first, Policies::standard_for_all(), verdict::judge).await;
        for (name, addr) in servers {
            let (directory, protection) = house.close().await;
            let resolver = Resolver::at_with(addr, limits).unwrap();
            house = House::open(&t, directory, protection, &resolver, verdict::judge).await;
            let begun = Instant::now();
            assert_eq!(house.send(ZOE, &BOTH[..1], &mail(name, "see you")).await, 250, "{name}");
            assert!(begun.elapsed() < WAIT, "{name}: the gateway's own deadline holds");
            let facts = house.facts(name).await;
            assert_eq!((facts.auth.spf, facts.auth.dmarc), (AuthResult::TempError, AuthResult::TempError), "{name}");
            assert_eq!(facts.auth.composite.reason, 301, "{name}");
            assert_eq!(house.copies(name).await, ["ada@contoso.example inbox accepted: accepted"], "{name}");
            let body = house.body(&house.message(name).await).await;
            assert_eq!(body.matches("Authentication-Results:").count(), 1, "{body}");
            assert!(
                body.contains("spf=temperror (sender IP is 127.0.0.1) smtp.mailfrom=zoe@fabrikam.example"),
                "{body}"
            );
        }
        house.close().await;
    })
    .await;
}

async fn names() -> ZoneServer {
    let key = DkimKey::from_pem(RSA).unwrap().txt_record();
    let zone = format!(
        "_dmarc.fabrikam.example TXT \"v=DMARC1; p=reject\"\nfabrikam.example TXT \"v=spf1 -all\"\n\
         k._domainkey.fabrikam.example TXT \"{key}\"\nk._domainkey.lists.example TXT \"{key}\"\n\
         k._domainkey.contoso.example TXT \"{key}\"\n"
    );
    ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

/// A signed mail that a list changed and sealed.
fn listed(subject: &str) -> Vec<u8> {
    let key = DkimKey::from_pem(RSA).unwrap();
    let raw = String::from_utf8(mail(subject, "see you")).unwrap();
    let signed = Signer::new(&key, "fabrikam.example", "k").unwrap().sign(raw.as_bytes()).unwrap();
    let changed = format!("{}{raw}[the list]\r\n", String::from_utf8(signed).unwrap());
    let sealing = Sealing {
        authserv_id: "mx.lists.example",
        results: "dmarc=pass header.from=fabrikam.example",
        chain: AuthResult::None,
        at: Timestamp::from_micros(1_767_600_000_000_000),
    };
    let seal = ArcSealer::new(&key, "lists.example", "k").unwrap().seal(changed.as_bytes(), &sealing).unwrap().unwrap();
    format!("{seal}{changed}").into_bytes()
}

#[tokio::test]
async fn a_trusted_sealer_overrides_dmarc() {
    on_both(|t| async move {
        let names = names().await;
        let resolver = Resolver::at(names.addr()).unwrap();
        let house = House::build(&t, &resolver, Policies::standard_for_all(), verdict::judge).await;
        let to = &BOTH[..1];
        assert_eq!(house.send("list@lists.example", to, &listed("Unknown list")).await, 550, "p=reject is honoured");
        let mut settings = house.directory.settings().await.unwrap();
        settings.authentication.trusted_sealers = vec!["lists.example".into()];
        house.directory.save_settings(&settings).await.unwrap();
        assert_eq!(house.send("list@lists.example", to, &listed("Trusted list")).await, 250);
        let facts = house.facts("Trusted list").await;
        assert_eq!((facts.auth.dmarc, facts.auth.arc), (AuthResult::Fail, AuthResult::Pass));
        assert_eq!(facts.auth.composite.reason, Composite::ARC_OVERRIDE);
        assert_eq!(house.copies("Trusted list").await, ["ada@contoso.example inbox accepted: accepted"]);
        let body = house.body(&house.message("Trusted list").await).await;
        assert!(body.contains("compauth=pass reason=130"), "{body}");
        for wrong in ["Lists.Example", "lists", "a b.example", "*.lists.example"] {
            settings.authentication.trusted_sealers = vec![wrong.into()];
            house.directory.save_settings(&settings).await.unwrap_err();
        }
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_on_is_sealed() {
    on_both(|t| async move {
        let names = names().await;
        let resolver = Resolver::at(names.addr()).unwrap();
        let mut policy = Policy::default_preset();
        (policy.kind, policy.name) = (PolicyKind::Custom, "Elsewhere".into());
        let to = "soc@elsewhere.example".parse().unwrap();
        policy.anti_spam.as_mut().unwrap().phish.action = Action::Redirect { to };
        policy.anti_phish.as_mut().unwrap().honor_dmarc = false;
        policy.anti_phish.as_mut().unwrap().spoof_intelligence = false;
        let house = House::build(&t, &resolver, Policies { policies: vec![policy] }, verdict::judge).await;
        house.directory.put_secret("dkim", "k._domainkey.contoso.example", RSA).await.unwrap();
        let sealed = String::from_utf8(listed("Sent on")).unwrap().replace("see you", PHISH);
        let fresh = mail("Sent on, too", PHISH);
        // The list's seal does not hold for what was changed after it: ours says so and closes the chain.
        for (subject, raw, chain) in
            [("Sent on", sealed.as_bytes(), "i=2; a=rsa-sha256"), ("Sent on, too", &fresh[..], "i=1; a=rsa-sha256")]
        {
            assert_eq!(house.send("list@lists.example", &BOTH[..1], raw).await, 250);
            let body = house.body(&house.message(subject).await).await;
            assert!(body.contains(&format!("ARC-Seal: {chain}")) && body.contains("d=contoso.example; s=k;"), "{body}");
            assert!(body.contains("ARC-Authentication-Results: i=") && body.contains("compauth="), "{body}");
        }
        let body = house.body(&house.message("Sent on, too").await).await;
        let mut client = model::ClientInfo::at("127.0.0.1".parse().unwrap());
        client.helo = "mx.contoso.example".into();
        let envelope = model::Envelope {
            reverse_path: ZOE.parse().unwrap(),
            forward_paths: vec!["soc@elsewhere.example".parse().unwrap()],
            body_type: model::BodyType::EightBitMime,
            declared_size_bytes: None,
            options: Default::default(),
            rcpt_options: Vec::new(),
            client,
        };
        let next_hop = Authenticator::new(&resolver, "mx.elsewhere.example");
        let there = next_hop.authenticate(body.as_bytes(), &envelope, WAIT).await;
        assert_eq!((there.arc, there.arc_sets[0].domain.as_str()), (AuthResult::Pass, "contoso.example"));
        assert_eq!(house.message("Sent on, too").await.json::<Facts>("facts").unwrap().auth.arc, AuthResult::None);
        house.close().await;
    })
    .await;
}
