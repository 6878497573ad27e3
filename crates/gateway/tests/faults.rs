//! A fault at every step of mail coming in over a socket: 250 means that it is there, and there is always an answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use directory::{Directory, NewOrganisation, NewPerson, ProtectionCache, Switcher};
use gateway::{Gateway, GatewayConfig, IncomingWorker, Listening};
use message::Authenticator;
use model::{Address, Domain, Reply, ReplyClass};
use smtp::{CancellationToken, Client, ClientConfig, Mail};
use store::{BodyRef, Failing, Trouble, values};
use testkit::{Arm, TestStore, at_every_step, on_both, sqlite};
use verdict::{Policies, RuleSetSource};

const HOST: &str = "mx.contoso.example";
const MAILS: usize = 2;

/// A gateway for Ada and Bob of contoso.example.
struct House {
    t: TestStore,
    directory: Directory,
    gateway: Gateway,
    listening: Listening,
    stop: CancellationToken,
}

async fn stage(t: &TestStore) {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
    let person = |address: &str| NewPerson {
        address: address.parse().unwrap(),
        name: address.into(),
        department: String::new(),
        city: String::new(),
        language: "en".into(),
        attributes: BTreeMap::new(),
    };
    directory.put_people(&[person("ada@contoso.example"), person("bob@contoso.example")]).await.unwrap();
    for policy in Policies::standard_for_all().policies {
        let priority = i64::from(policy.priority);
        let row = values![policy.id, directory.id(), &policy.name, priority, &serde_json::json!(policy), t.store.now()];
        t.store.execute("policy.insert", &row).await.unwrap();
    }
    let id: model::RuleSetId = t.store.next_id();
    let source = serde_json::json!(RuleSetSource { id, ..RuleSetSource::default() });
    let none = None::<i64>;
    let row = values![id, directory.id(), none, "hash", &source, "ada", "test", none, none, 1_i64, t.store.now()];
    t.store.execute("rule_set.insert", &row).await.unwrap();
}

impl House {
    async fn open(t: &TestStore) -> House {
        let directory = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let authenticator = Authenticator::new(&dns::Resolver::none(), HOST);
        let gateway =
            Gateway::new(directory.clone(), protection, authenticator, GatewayConfig::new(HOST)).await.unwrap();
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = gateway.listen(any, None, stop.clone()).await.unwrap();
        House { t: t.clone(), directory, gateway, listening, stop }
    }

    /// The replies to both recipients, and the one that decided.
    async fn send(&self, n: usize) -> (Vec<Reply>, Option<Reply>) {
        let mut client = Client::connect(self.listening.addr, ClientConfig::new("client.example")).await.unwrap();
        let recipients: Vec<Address> =
            ["ada@contoso.example", "bob@contoso.example"].iter().map(|to| to.parse().unwrap()).collect();
        let mail = Mail { reverse_path: &"zoe@client.example".parse().unwrap(), recipients: &recipients };
        let outcome = client.send(&mail, body(n).as_bytes()).await.expect("an answer");
        client.quit().await;
        (outcome.recipients.iter().map(|(_, reply)| reply.clone()).collect(), outcome.data)
    }

    /// The answers to all mails, one after the other.
    async fn send_all(&self) -> Vec<(Vec<Reply>, Option<Reply>)> {
        let mut answers = Vec::new();
        for n in 0..MAILS {
            answers.push(self.send(n).await);
        }
        answers
    }

    /// How often mail `n` is in each mailbox; what is there must be whole.
    async fn landed(&self, n: usize) -> Vec<usize> {
        let mut counts = Vec::new();
        for address in ["ada@contoso.example", "bob@contoso.example"] {
            let to = self.directory.recipient(&address.parse().unwrap()).await.unwrap().unwrap();
            let mut count = 0;
            for folder in [to.inbox_id, to.junk_id] {
                let page = values![to.mailbox_id, folder, i64::MAX, i64::MAX, 100_i64];
                for row in self.t.store.query("mailbox.items", &page).await.unwrap() {
                    if row.text("subject").unwrap() == format!("Mail {n}") {
                        self.check(row.int("message_id").unwrap(), row.int("copy_id").unwrap(), n).await;
                        count += 1;
                    }
                }
            }
            counts.push(count);
        }
        counts
    }

    async fn check(&self, message_id: i64, copy_id: i64, n: usize) {
        let row = self.t.store.query_one("message.by_id", &values![message_id]).await.unwrap().expect("the message");
        let stored = self.t.store.body(&BodyRef::from_row(&row).unwrap()).await.unwrap();
        assert!(String::from_utf8_lossy(&stored).ends_with(&body(n)), "mail {n} is another");
        let mut tx = self.t.store.begin().await.unwrap();
        let fold = tx.fold_of(model::CopyId(copy_id)).await.unwrap();
        assert_eq!(tx.whereabouts(model::CopyId(copy_id)).await.unwrap(), fold);
        tx.rollback().await.unwrap();
    }

    async fn close(self) {
        self.stop.cancel();
        self.listening.stopped().await;
    }
}

fn body(n: usize) -> String {
    format!("From: Zoe <zoe@client.example>\r\nTo: ada@contoso.example\r\nSubject: Mail {n}\r\n\r\nHello {n}\r\n")
}

#[tokio::test]
async fn incoming_mail_survives_a_fault_at_every_step() {
    let act = async |t: &TestStore, (): &(), arm: Arm| {
        let house = House::open(t).await;
        arm.now();
        let answers = house.send_all().await;
        t.faults.disarm();
        house.close().await;
        answers
    };
    let runs = at_every_step(&Failing::ALL, stage, act, async |t, (), answers, fault| {
        let house = House::open(t).await;
        for (n, (at_rcpt, at_data)) in answers.iter().enumerate() {
            let landed = house.landed(n).await;
            for (place, reply) in at_rcpt.iter().enumerate() {
                let taken = reply.class() == ReplyClass::Completion;
                assert!(taken || reply.class() == ReplyClass::Transient, "{fault}: {reply}");
                let taken = taken && at_data.as_ref().is_some_and(|reply| reply.class() == ReplyClass::Completion);
                // Twice is no mail of ours; a refusal whose commit came to pass is at-least-once, and looked up here.
                assert_eq!(landed[place], usize::from(taken), "{fault}: mail {n}: {at_rcpt:?} {at_data:?}");
            }
            if let Some(reply) = at_data {
                assert!(matches!(reply.class(), ReplyClass::Completion | ReplyClass::Transient), "{fault}: {reply}");
            }
            if landed.contains(&0) {
                let (_, again) = house.send(n).await;
                assert_eq!(again.expect("somebody is there").code(), 250, "{fault}");
            }
        }
        house.close().await;
    })
    .await;
    assert!(runs > 40, "{runs} faults in all");
}

#[tokio::test]
async fn mail_that_is_entered_behind_survives_a_fault_at_every_step() {
    let stage = async |t: &TestStore| {
        stage(t).await;
        let directory = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let by = Switcher { account_id: None, name: "test" };
        directory.switch_bypass_on(&by, 30 * 60_000, "x").await.unwrap();
    };
    let act = async |t: &TestStore, (): &(), arm: Arm| {
        let house = House::open(t).await;
        arm.now();
        let answers = house.send_all().await;
        // What fails here is tried again below.
        let _ = IncomingWorker::new(&house.gateway).work_off().await;
        t.faults.disarm();
        house.close().await;
        answers
    };
    let runs = at_every_step(&Failing::ALL, stage, act, async |t, (), answers, fault| {
        t.clock.advance_ms(60_000);
        let house = House::open(t).await;
        IncomingWorker::new(&house.gateway).work_off().await.unwrap();
        assert_eq!(house.directory.incoming_count().await.unwrap(), 0, "{fault}");
        for (n, (at_rcpt, at_data)) in answers.iter().enumerate() {
            let is_taken = |reply: &Reply| reply.class() == ReplyClass::Completion;
            let landed =
                at_rcpt.iter().map(|reply| usize::from(is_taken(reply) && at_data.as_ref().is_some_and(is_taken)));
            assert_eq!(house.landed(n).await, landed.collect::<Vec<_>>(), "{fault}: mail {n}: {at_rcpt:?} {at_data:?}");
        }
        house.close().await;
    })
    .await;
    assert!(runs > 40, "{runs} faults in all");
}

#[tokio::test]
async fn a_store_in_trouble_is_told_at_rcpt_and_ends_by_itself() {
    on_both(|t| async move {
        stage(&t).await;
        let house = House::open(&t).await;
        t.store.health().set_free_bytes_min(u64::MAX);
        let (_, decided) = house.send(0).await;
        assert_eq!(decided.expect("DATA was reached").to_string(), "452 4.3.1 no space left, try again later");
        assert_eq!(t.store.health().trouble(), Some(Trouble::Full));
        let (at_rcpt, decided) = house.send(0).await;
        assert_eq!(at_rcpt[0].to_string(), "452 4.3.1 no space left, try again later");
        assert!(decided.is_none(), "no body is sent in vain");
        t.store.health().set_free_bytes_min(0);
        t.store.health().well().await;
        assert_eq!(house.send(0).await.1.expect("DATA was reached").code(), 250);
        assert_eq!(house.landed(0).await, [1, 1]);
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_folder_of_bodies_may_be_lost_and_nothing_is_pretended() {
    let t = sqlite().await;
    stage(&t).await;
    let house = House::open(&t).await;
    assert_eq!(house.send(0).await.1.expect("DATA").code(), 250);
    std::fs::remove_dir_all(&t.config.objects_dir).unwrap();
    let answer = house.send(1).await.1.expect("DATA");
    assert_eq!(answer.code(), 250, "the folder is made again, with all that makes it durable: {answer}");
    assert_eq!(house.landed(1).await, [1, 1]);
    let rows = t.store.query("message.bodies", &values![0_i64, 10_i64]).await.unwrap();
    let mut there = Vec::new();
    for row in &rows {
        there.push(t.store.verify_body(&BodyRef::from_row(row).unwrap()).await.unwrap());
    }
    assert_eq!(there, [false, true], "what is lost is told");
    house.close().await;
}

#[tokio::test]
async fn who_hangs_up_in_data_leaves_nothing_and_after_it_one_mail() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    on_both(|t| async move {
        stage(&t).await;
        let house = House::open(&t).await;
        for (n, end) in [(0, ""), (1, "."), (2, ".\r"), (3, ".\r\n")] {
            let socket = tokio::net::TcpStream::connect(house.listening.addr).await.unwrap();
            let mut lines = BufReader::new(socket).lines();
            lines.next_line().await.unwrap();
            for (command, code) in [
                ("HELO client.example", "250"),
                ("MAIL FROM:<zoe@client.example>", "250"),
                ("RCPT TO:<ada@contoso.example>", "250"),
                ("DATA", "354"),
            ] {
                lines.get_mut().write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
                let reply = lines.next_line().await.unwrap().expect("a reply");
                assert!(reply.starts_with(code), "{command}: {reply}");
            }
            lines.get_mut().write_all(format!("{}{end}", body(n)).as_bytes()).await.unwrap();
            lines.get_mut().shutdown().await.unwrap();
            // The server has ended the session when its side of the connection ends.
            while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
        }
        for n in 0..3 {
            assert_eq!(house.landed(n).await, [0, 0], "mail {n} did not end");
        }
        assert_eq!(house.landed(3).await, [1, 0], "the true end was there: the answer was lost, not the mail");
        house.close().await;
    })
    .await;
}
