//! Reports that come back, over real sockets, on both databases.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use directory::{CopyTokens, Directory, NewOrganisation, NewPerson, OwnCopy, ProtectionCache, ReturnTokens};
use gateway::{Gateway, GatewayConfig, Listening};
use message::Authenticator;
use model::{Address, CampaignId, CopyId, Domain, EventKind, MessageId, Place, Reply, ReversePath, RuleSetId};
use outbound::{NewDelivery, queued_copy_ops};
use smtp::{CancellationToken, Client, ClientConfig, Mail};
use store::{BodyRef, NewEvent, Op, Row, Store, Submission, values};
use testkit::{TestStore, on_both};
use verdict::{Policies, RuleSet, RuleSetSource};

const WAIT: Duration = Duration::from_secs(30);
const CAMPAIGN: CampaignId = CampaignId(3);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A gateway for contoso.example with Ada, who is also the postmaster.
struct House {
    store: Store,
    directory: Directory,
    listening: Listening,
    stop: CancellationToken,
    addr: SocketAddr,
    returns: ReturnTokens,
    copies: CopyTokens,
}

/// A copy as a campaign enqueues it.
struct Sent {
    id: CopyId,
    recipient: String,
    message_id_header: String,
    copy_header: String,
    return_path: String,
}

impl House {
    async fn build(t: &TestStore) -> House {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
        let ada = NewPerson {
            address: Address::parse("ada@contoso.example").unwrap(),
            name: "Ada".into(),
            department: String::new(),
            city: String::new(),
            language: "en".into(),
            attributes: BTreeMap::new(),
        };
        directory.put_people(&[ada]).await.unwrap();
        let ada = directory.person_by_address("ada@contoso.example").await.unwrap().unwrap();
        directory.put_alias(&Address::parse("postmaster@contoso.example").unwrap(), ada.id).await.unwrap();
        rules(&directory).await;
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let authenticator = Authenticator::new(&dns::Resolver::none(), "mx.contoso.example");
        let config = GatewayConfig::new("mx.contoso.example");
        let gateway = Gateway::new(directory.clone(), protection, authenticator, config).await.unwrap();
        let stop = CancellationToken::new();
        let listening = gateway.listen(SocketAddr::from(([127, 0, 0, 1], 0)), None, stop.clone()).await.unwrap();
        let (mac, addr) = (directory.mac().await.unwrap(), listening.addr);
        let (returns, copies) = (ReturnTokens::new(mac.clone()), CopyTokens::new(mac));
        House { store: t.store.clone(), directory, listening, stop, addr, returns, copies }
    }

    /// A campaign's copy to a foreign address, which a host has answered 250.
    async fn sent(&self, recipient: &str) -> Sent {
        let (store, organisation_id) = (&self.store, self.directory.id());
        let (id, message_id): (CopyId, MessageId) = (store.next_id(), store.next_id());
        let return_path = format!("{}@contoso.example", self.returns.local(id));
        let message_id_header = format!("<{:032x}@contoso.example>", message_id.0);
        let reverse_path: ReversePath = return_path.parse().unwrap();
        let mut new =
            NewDelivery::now(store, organisation_id, id, message_id, reverse_path, recipient.parse().unwrap());
        new.campaign_id = Some(CAMPAIGN);
        let mut ops = queued_copy_ops(&new, None);
        ops.push(Op::Event(NewEvent::now(organisation_id, id, EventKind::Accepted, "smtp", store.now())));
        let (header, path, now) = (message_id_header.clone(), return_path.clone(), store.now());
        let message = move |body: &BodyRef| {
            let size = |n: u64| i64::try_from(n).unwrap();
            let mut row = values![message_id, organisation_id, "outbound", body.pack_id, size(body.offset)].to_vec();
            row.extend(values![size(body.bytes), &body.sha256, &header, &path, "news@contoso.example", "News"]);
            row.extend(values!["News", "news", "", "", now, CAMPAIGN, None::<&str>, None::<&str>, None::<&str>]);
            row.extend(values![None::<i64>]);
            Op::Insert("message.insert", row)
        };
        let all = move |body: &BodyRef| std::iter::once(message(body)).chain(ops.iter().cloned()).collect();
        store.commit(Submission::with_body("Subject: News\r\n\r\nNews\r\n".into(), all)).await.unwrap();
        let copy_header = self.copies.sign(OwnCopy { campaign_id: CAMPAIGN, copy_id: id }, recipient);
        Sent { id, recipient: recipient.into(), message_id_header, copy_header, return_path }
    }

    /// RCPT's reply if it refused, else DATA's.
    async fn mail(&self, from: &str, to: &str, body: &str) -> Reply {
        let mut client = Client::connect(self.addr, ClientConfig::new("mx.fabrikam.example")).await.unwrap();
        let (reverse_path, recipients) = (from.parse::<ReversePath>().unwrap(), [to.parse::<Address>().unwrap()]);
        let outcome =
            client.send(&Mail { reverse_path: &reverse_path, recipients: &recipients }, body.as_bytes()).await;
        client.quit().await;
        let outcome = outcome.unwrap();
        outcome.data.unwrap_or_else(|| outcome.recipients[0].1.clone())
    }

    async fn take(&self, from: &str, to: &str, body: &str) {
        let reply = self.mail(from, to, body).await;
        assert_eq!(reply.code(), 250, "{reply}");
    }

    /// Place, last event and the kinds of all events.
    async fn copy(&self, sent: &Sent) -> (String, Vec<String>) {
        let row = self.store.query_one("copy.by_id", &values![sent.id]).await.unwrap().unwrap();
        let events = self.store.query("event.of_copy", &values![sent.id]).await.unwrap();
        let kinds = events.iter().map(|event| event.text("kind").unwrap().to_owned()).collect();
        (format!("{} {}", row.text("place").unwrap(), row.text("last_event").unwrap()), kinds)
    }

    /// The reports of the organisation, oldest first: outcome, kind, class, how it was matched.
    async fn reports(&self) -> Vec<String> {
        let all = values![self.directory.id(), i64::MAX, "", 100_i64];
        let rows = self.store.query("report.page", &all).await.unwrap();
        let word = |row: &Row, column: &str| row.text(column).unwrap().to_owned();
        let told = |row: &Row| {
            ["outcome", "kind", "class", "matched_by"].map(|column| word(row, column)).join(" ").trim_end().to_owned()
        };
        rows.iter().rev().map(told).collect()
    }

    async fn suppressed(&self) -> Vec<String> {
        let rows = self.store.query("campaign.suppressions", &values![self.directory.id(), "", 100_i64]).await.unwrap();
        let told = |row: &Row| format!("{}: {}", row.text("address").unwrap(), row.text("reason").unwrap());
        rows.iter().map(told).collect()
    }

    async fn inbox_count(&self) -> usize {
        let ada = self.directory.recipient(&"ada@contoso.example".parse().unwrap()).await.unwrap().unwrap();
        let page = values![ada.mailbox_id, ada.inbox_id, i64::MAX, i64::MAX, 100_i64];
        self.store.query("mailbox.items", &page).await.unwrap().len()
    }

    async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.listening.stopped()).await.expect("the listener stops");
    }
}

async fn rules(directory: &Directory) {
    let store = directory.store();
    let source = RuleSetSource { id: RuleSetId(store.next_id()), ..RuleSetSource::default() };
    let rules = RuleSet::compile(source.clone()).unwrap();
    let (source, none, now) = (serde_json::to_string(&source).unwrap(), None::<i64>, store.now());
    let mut row = values![rules.id(), directory.id(), none, rules.hash(), source, "test", "test"].to_vec();
    row.extend(values![none, none, 1_i64, now]);
    store.execute("rule_set.insert", &row).await.unwrap();
    for policy in Policies::standard_for_all().policies {
        let body = serde_json::to_string(&policy).unwrap();
        let row = values![policy.id, directory.id(), &policy.name, i64::from(policy.priority), body, now];
        store.execute("policy.insert", &row).await.unwrap();
    }
}

/// A notification as a host writes it. `returned`: the header section of what it returns.
fn dsn(id: &str, recipient: &str, action: &str, status: &str, words: &str, returned: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.fabrikam.example\r\nTo: whoever@contoso.example\r\nSubject: Undelivered\r\n\
         Message-ID: <{id}@mx.fabrikam.example>\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt failed.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.fabrikam.example\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; {words}\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n--b--\r\n"
    )
}

/// A complaint with the recipient redacted.
fn arf(kind: &str, returned: &str) -> String {
    format!(
        "From: fbl@isp.example\r\nTo: abuse@contoso.example\r\nSubject: complaint\r\nMessage-ID: <fbl@isp.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: x/1\r\nVersion: 1\r\n\
         Original-Rcpt-To: redacted@isp.example\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n--b--\r\n"
    )
}

#[tokio::test]
async fn a_bounce_after_250_moves_the_copy_once_and_suppresses_the_address() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let sent = house.sent("bob@fabrikam.example").await;
        assert_eq!(house.copy(&sent).await.0, "accepted accepted");
        t.clock.advance_ms(60_000);

        let warning = dsn("w1", &sent.recipient, "delayed", "4.4.1", "451 4.4.1 no answer", "");
        house.take("", &sent.return_path, &warning).await;
        assert_eq!(house.copy(&sent).await.0, "accepted deferred", "{}: another host has it", t.name);
        house.take("", &sent.return_path, &warning).await;
        assert_eq!(house.reports().await[1], "repeated delayed routing return_path");

        let bounce = dsn("d1", &sent.recipient, "failed", "5.1.1", "550 5.1.1 no such user", "");
        // In capitals, and not from the null path: hosts do both.
        house.take("MAILER-DAEMON@mx.fabrikam.example", &sent.return_path.to_uppercase(), &bounce).await;
        assert_eq!(
            house.copy(&sent).await,
            ("not_received bounced".into(), ["queued", "accepted", "deferred", "bounced"].map(str::to_owned).to_vec())
        );
        assert_eq!(house.suppressed().await, ["bob@fabrikam.example: bounced: 550 5.1.1 no such user"]);
        let events = house.store.query("event.of_copy", &values![sent.id]).await.unwrap();
        let detail: serde_json::Value = events[3].json("detail").unwrap();
        assert_eq!((&detail["class"], &detail["reply"]), (&"hard".into(), &"550 5.1.1 no such user".into()));
        assert_eq!(detail["sentence"], "there is no such mailbox");

        house.take("", &sent.return_path, &bounce).await;
        let other_words = dsn("d2", &sent.recipient, "failed", "5.2.2", "552 5.2.2 full", "");
        house.take("", &sent.return_path, &other_words).await;
        assert_eq!(house.copy(&sent).await.1.len(), 4, "the same end is not told twice");
        assert_eq!(
            house.reports().await,
            [
                "counted delayed routing return_path",
                "repeated delayed routing return_path",
                "counted failed hard return_path",
                "outweighed failed hard return_path",
                "outweighed failed quota return_path",
            ]
        );
        assert_eq!(house.inbox_count().await, 0, "a report lies in no mailbox");
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn only_our_own_return_paths_are_taken() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let sent = house.sent("bob@fabrikam.example").await;
        let bounce = dsn("d1", &sent.recipient, "failed", "5.1.1", "550 5.1.1 no such user", "");
        let nobody = house.mail("", "nobody@contoso.example", &bounce).await;
        assert_eq!((nobody.code(), nobody.enhanced().map(|e| (e.subject, e.detail))), (550, Some((1, 1))));
        let (local, domain) = sent.return_path.split_once('@').unwrap();
        let last = if local.ends_with('a') { "b" } else { "a" };
        let forged = format!("{}{last}@{domain}", &local[..local.len() - 1]);
        for (from, to) in [
            ("", forged.as_str()),
            ("eve@evil.example", forged.as_str()),
            ("", "bounces+@contoso.example"),
            ("", "bounces+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@contoso.example"),
        ] {
            assert_eq!(house.mail(from, to, &bounce).await, nobody, "{to}: no more is said than of anybody");
        }
        let elsewhere = house.mail("", &format!("{local}@fabrikam.example"), &bounce).await;
        assert_eq!(elsewhere.to_string(), "550 5.7.1 relaying denied");
        t.clock.advance_ms(ReturnTokens::AGE_MS_MAX + DAY_MS);
        assert_eq!(house.mail("", &sent.return_path, &bounce).await, nobody, "too old");
        assert_eq!(house.copy(&sent).await.0, "accepted accepted");
        assert!(house.reports().await.is_empty() && house.suppressed().await.is_empty());
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_report_inside_ordinary_mail_counts_when_it_carries_our_mark() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let by_header = house.sent("bob@fabrikam.example").await;
        let returned = format!("Subject: News\r\n{}: {}\r\n", CopyTokens::HEADER, by_header.copy_header);
        let bounce = dsn(
            "d1",
            "b.ob@inner.fabrikam.example",
            "failed",
            "5.7.1",
            "550 5.7.1 blocked using a blocklist",
            &returned,
        );
        house.take("", "postmaster@contoso.example", &bounce).await;
        assert_eq!(house.copy(&by_header).await.0, "not_received bounced");

        let by_id = house.sent("carl@fabrikam.example").await;
        let returned = format!("Subject: News\r\nMessage-ID: {}\r\n", by_id.message_id_header);
        house.take("bob@fabrikam.example", "ada@contoso.example", &arf("abuse", &returned)).await;
        assert_eq!(house.copy(&by_id).await.0, "accepted complained");
        assert_eq!(house.suppressed().await, ["carl@fabrikam.example: complained: abuse"]);
        house.take("bob@fabrikam.example", "ada@contoso.example", &arf("abuse", &returned)).await;
        assert_eq!(house.copy(&by_id).await.1.len(), 3, "a complaint is told once");

        assert_eq!(house.inbox_count().await, 3, "all of it is mail like any other as well");
        assert_eq!(
            house.reports().await,
            ["counted failed block copy_header", "counted abuse  message_id", "repeated abuse  message_id"]
        );
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_forged_or_outweighed_changes_nothing() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let sent = house.sent("bob@fabrikam.example").await;
        let failed = |id: &str, returned: &str| dsn(id, &sent.recipient, "failed", "5.1.1", "550 5.1.1 gone", returned);
        let other = house.copies.sign(OwnCopy { campaign_id: CAMPAIGN, copy_id: sent.id }, "eve@evil.example");
        let stolen = format!("{}: {other}\r\nMessage-ID: {}\r\n", CopyTokens::HEADER, sent.message_id_header);
        for (id, returned) in [
            ("f1", ""),
            ("f2", "Message-ID: <guessed@contoso.example>\r\n"),
            ("f3", stolen.as_str()),
            ("f4", "X-Landfall-Copy: 1.3.4.AAAA\r\n"),
            ("f5", "Return-Path: <bounces+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@contoso.example>\r\n"),
        ] {
            house.take("", "postmaster@contoso.example", &failed(id, returned)).await;
        }
        assert_eq!(house.copy(&sent).await.0, "accepted accepted");
        assert_eq!(house.reports().await, vec!["unmatched failed hard"; 5]);
        assert_eq!(house.inbox_count().await, 5, "the postmaster gets to see them");
        assert!(house.suppressed().await.is_empty());

        // What our own gateway has seen weighs more than what another host claims.
        let mut landed =
            NewEvent::now(house.directory.id(), sent.id, EventKind::Accepted, "gateway", house.store.now());
        landed.place = Some(Place::Inbox);
        house.store.commit(Submission::rows(vec![Op::Event(landed)])).await.unwrap();
        house.take("", &sent.return_path, &failed("f6", "")).await;
        assert_eq!(house.copy(&sent).await.0, "inbox accepted");
        // A vacation note to the return path, feedback that is no complaint, and a success: kept, nothing more.
        let note = "From: bob@fabrikam.example\r\nSubject: Away\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n";
        house.take("", &sent.return_path, note).await;
        house.take("", &sent.return_path, &arf("not-spam", "")).await;
        let success = dsn("f7", &sent.recipient, "delivered", "2.0.0", "250 2.0.0 ok", "");
        house.take("", &sent.return_path, &success).await;
        assert_eq!(house.copy(&sent).await.1.len(), 3);
        assert_eq!(
            house.reports().await[5..],
            [
                "outweighed failed hard return_path",
                "noted other  return_path",
                "noted not_spam  return_path",
                "noted delivered  return_path"
            ]
        );
        house.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_report_many_times_at_once_counts_once() {
    on_both(|t| async move {
        let house = House::build(&t).await;
        let sent = house.sent("bob@fabrikam.example").await;
        let bounce = dsn("d1", &sent.recipient, "failed", "5.1.1", "550 5.1.1 gone", "");
        futures::future::join_all((0..8).map(|_| house.take("", &sent.return_path, &bounce))).await;
        let (state, kinds) = house.copy(&sent).await;
        assert_eq!(
            (state.as_str(), kinds.iter().filter(|kind| *kind == "bounced").count()),
            ("not_received bounced", 1)
        );
        let reports = house.reports().await;
        assert_eq!((reports.len(), reports.iter().filter(|r| r.starts_with("counted")).count()), (8, 1));
        house.close().await;
    })
    .await;
}
