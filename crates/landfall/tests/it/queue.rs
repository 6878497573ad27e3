//! The outbound queue of a running server: the command line beside it, who is told that mail arrived, and what the detector makes
//! of many hosts that refuse.

use model::Reply;
use serde_json::{Value, json};
use testkit::sink::Sink;
use testkit::until;

use crate::site::{Ran, Site, WAIT};
use crate::web::Api;

/// Exit code: nothing in the queue was meant.
const NOTHING: i32 = 3;

fn draft(name: &str, list: Value) -> Value {
    json!({
        "name": name, "subject": name, "from_name": "Us", "from_address": "news@example.org", "content_type": "html",
        "content": "<p>Hello, this is what we wanted to tell you today.</p>", "list_id": list, "tracking": "off",
        "click_tracking": false,
    })
}

/// Begins a campaign to everybody.
async fn begin(owner: &Api, name: &str) {
    let made = owner.post("/campaigns", draft(name, owner.everyone().await)).await.done();
    owner.post(&format!("/campaigns/{}/send", made["id"].as_str().expect("an id")), json!({})).await.done();
}

/// `landfall queue … --json`, and what it printed.
async fn queue(site: &Site, arguments: &[&str]) -> (Ran, Value) {
    let mut all = arguments.to_vec();
    all.push("--json");
    let data = site.data().display().to_string();
    all.splice(0..0, ["queue", "--data", &data]);
    let ran = site.run(&all).await;
    let said = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
    (ran, said)
}

#[tokio::test]
async fn the_queue_is_seen_and_changed_from_the_command_line() {
    let sink = Sink::start().await;
    let later = || [Reply::transient(450, (2, 1), "come again")];
    for to in ["a@there.example", "b@there.example", "c@other.example"] {
        sink.refuse(to, later());
    }
    let routes = format!("there.example={0},other.example={0}", sink.addr());
    let site = Site::new().with("LANDFALL_OUTBOUND_ROUTES", routes);
    let (server, owner) = site.serve_first().await;
    owner.set_base_url(server.http).await;
    owner.add_people(&["a@there.example", "b@there.example", "c@other.example"]).await;
    begin(&owner, "Benefits").await;
    let all_tried = async || {
        let (_, each) = queue(&site, &["list", "--each"]).await;
        let is_tried = |one: &Value| one["last_reply"] == "450 4.2.1 come again" && one["state"] == "due";
        each.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(is_tried))
    };
    until("all three were tried", WAIT, all_tried).await;

    let (ran, groups) = queue(&site, &["list"]).await;
    assert_eq!(
        (ran.code, &groups[0]["mx_group"], &groups[0]["count"]),
        (0, &json!("route other.example, +1"), &json!(3))
    );
    assert_eq!(&groups[0]["domain_count"], &json!(2), "{groups}");
    let (_, there) = queue(&site, &["list", "--domain", "there.example"]).await;
    let ids: Vec<&str> = there.as_array().expect("rows").iter().map(|one| one["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 2);
    let shown = site.run_here("queue", &["show", ids[0]]).await.done().stdout;
    for part in ["a@there.example", "deferred 450 4.2.1 come again", "subject \"Benefits\""] {
        assert!(shown.contains(part), "{part} in {shown}");
    }

    let (_, held) = queue(&site, &["hold", "--domain", "there.example", "--reason", "we wait"]).await;
    assert_eq!(held, json!({ "changed_count": 2, "left_count": 0, "lifted": [] }));
    let (_, paused) = queue(&site, &["list", "--state", "held"]).await;
    assert_eq!(paused.as_array().map(Vec::len), Some(2));
    let data = site.data().display().to_string();
    site.run(&["queue", "--data", &data, "delete"]).await.refused(2, &["say which"]);
    let tried = site.run(&["queue", "--data", &data, "delete", "--all", "--dry-run"]).await.done();
    assert!(tried.stdout.contains("would mean 3 hand-overs"), "{tried:?}");

    let (_, deleted) = queue(&site, &["delete", ids[0], "--reason", "sent by mistake"]).await;
    assert_eq!(deleted, json!({ "changed_count": 1, "left_count": 0, "lifted": [] }));
    let copies = owner.copies_of("a@there.example").await;
    assert_eq!(copies[0]["place"], "not_received", "{copies:?}");
    let audit = owner.items("/audit").await;
    let of = |action: &str| audit.iter().find(|entry| entry["action"] == action).unwrap_or(&Value::Null);
    assert_eq!(
        (&of("queue.hold")["target"], &of("queue.delete")["reason"]),
        (&json!("domain there.example"), &json!("sent by mistake"))
    );

    let (_, flushed) = queue(&site, &["flush"]).await;
    assert_eq!(flushed["changed_count"], 1, "what is paused stays paused");
    sink.wait_for(1).await;
    assert_eq!((sink.attempts("c@other.example"), sink.attempts("b@there.example")), (2, 1));
    let (_, retried) = queue(&site, &["retry", ids[1]]).await;
    assert_eq!(retried["changed_count"], 1);
    sink.wait_for(2).await;
    until("the queue is empty", WAIT, async || queue(&site, &["list"]).await.0.code == NOTHING).await;
    for nothing in [&["retry", ids[1]][..], &["show", ids[1]], &["flush"], &["limits"]] {
        assert_eq!(queue(&site, nothing).await.0.code, NOTHING, "{nothing:?}");
    }
    assert_eq!(sink.attempts("a@there.example"), 1, "what was deleted is not tried");
    server.stop().await;
}

/// A host that says "too much": everybody who looks sees that it is left alone, and until when.
#[tokio::test]
async fn limits_are_seen_from_the_command_line_and_through_the_api() {
    let sink = Sink::start().await;
    sink.refuse_always("a@there.example", Reply::transient(421, (7, 0), "too many connections from you"));
    let site = Site::new().with("LANDFALL_OUTBOUND_ROUTES", format!("there.example={}", sink.addr()));
    let (server, owner) = site.serve_first().await;
    owner.set_base_url(server.http).await;
    owner.add_people(&["a@there.example"]).await;
    begin(&owner, "Benefits").await;
    until("it is limited", WAIT, async || queue(&site, &["limits"]).await.0.code == 0).await;
    let (_, limits) = queue(&site, &["limits"]).await;
    let limit = &limits[0];
    assert_eq!((&limit["level"], &limit["state"]), (&json!("group"), &json!("paused")), "{limits}");
    assert_eq!((&limit["name"], &limit["mx_group"]), (&json!("route there.example"), &json!("route there.example")));
    let line = site.run_here("queue", &["limits"]).await.done().stdout;
    for part in ["group route there.example: paused until ", "answered 421 4.7.0 too many connections from you"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let by_api = owner.get("/queue/limits").await;
    assert_eq!(by_api[0]["state"], "paused", "{by_api}");
    assert!(by_api[0]["eases_at"].is_string() && by_api[0]["last_reply"].as_str().is_some_and(|r| r.contains("421")));
    server.stop().await;
    assert_eq!(queue(&site, &["limits"]).await.0.code, NOTHING, "a server that stopped limits nothing");
}

/// RFC 3461: who asks hears that the mail is in the mailbox, from us, since nobody comes after us.
#[tokio::test]
async fn whoever_asks_is_told_that_a_mail_arrived() {
    let home = Sink::start().await;
    let site = Site::new().with("LANDFALL_OUTBOUND_ROUTES", format!("there.example={}", home.addr()));
    let (server, owner) = site.serve_first().await;
    owner.add_people(&["ada@example.org", "grace@example.org"]).await;
    let mut talk = server.talk().await;
    assert!(talk.say("EHLO client.there.example").await.starts_with("250"));
    assert!(talk.say("MAIL FROM:<bob@there.example> RET=HDRS ENVID=QQ314").await.starts_with("250"));
    let ask = "RCPT TO:<ada@example.org> NOTIFY=SUCCESS ORCPT=rfc822;first@example.org";
    assert!(talk.say(ask).await.starts_with("250"));
    assert!(talk.say("RCPT TO:<grace@example.org> NOTIFY=NEVER").await.starts_with("250"));
    assert!(talk.say("DATA").await.starts_with("354"));
    talk.write(b"From: Bob <bob@there.example>\r\nTo: ada@example.org\r\nSubject: Lunch\r\n\r\nthe body\r\n").await;
    assert!(talk.say(".").await.starts_with("250 "));
    let told = home.wait_for(1).await;
    let text = String::from_utf8_lossy(&told[0].body).into_owned();
    for part in [
        "Action: delivered",
        "Status: 2.",
        "Original-Envelope-Id: QQ314",
        "Original-Recipient: rfc822;first@example.org",
        "Final-Recipient: rfc822; ada@example.org",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("Subject: Lunch") && !text.contains("the body"), "RET=HDRS: {text}");
    assert_eq!(told[0].envelope.reverse_path, model::ReversePath::Null);
    // The bodies of both are in their mailboxes, and nobody hears of the second.
    for to in ["ada@example.org", "grace@example.org"] {
        assert_eq!(owner.copies_of(to).await[0]["place"], "inbox");
    }
    until("nothing is left in the queue", WAIT, async || queue(&site, &["list"]).await.0.code == NOTHING).await;
    assert_eq!(home.mails().len(), 1);
    server.stop().await;
}

/// Hosts of several domains refuse for one cause: one incident, however many campaigns meet it; another cause is another one, and
/// a mailbox that is gone is nobody else's.
#[tokio::test]
async fn one_incident_opens_for_each_cause_that_many_hosts_refuse_for() {
    let sink = Sink::start().await;
    let domains = ["one.example", "two.example", "three.example"];
    let mut people = Vec::new();
    for domain in domains {
        for (name, reply) in [
            ("listed", Reply::permanent(550, (7, 1), "your IP has a poor reputation and is listed by spamhaus")),
            ("content", Reply::permanent(554, (6, 0), "we do not take such contents")),
            ("gone", Reply::permanent(550, (1, 1), "no such user")),
        ] {
            let to = format!("{name}@{domain}");
            sink.refuse_always(&to, reply);
            people.push(to);
        }
    }
    let routes: Vec<String> = domains.iter().map(|domain| format!("{domain}={}", sink.addr())).collect();
    let site = Site::new().with("LANDFALL_OUTBOUND_ROUTES", routes.join(","));
    let (server, owner) = site.serve_first().await;
    owner.set_base_url(server.http).await;
    let mut settings = owner.get("/settings").await;
    settings["incident"] = json!({ "threshold_count": 3, "delay_ms": 0 });
    owner.put("/settings", settings).await.done();
    owner.add_people(&people.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let list = owner.everyone().await;
    owner.send_campaign(draft("Benefits", list.clone())).await;
    let opened = async |count: usize| {
        let found = async || Some(owner.items("/incidents").await).filter(|all| all.len() >= count);
        owner.until("the incidents", found).await
    };
    let incidents = opened(2).await;
    let impact = |all: &[Value]| all.iter().map(|one| one["impact_count"].as_i64().unwrap_or(0)).collect::<Vec<_>>();
    assert_eq!((incidents.len(), impact(&incidents)), (2, vec![3, 3]), "{incidents:?}");

    // The next campaign meets the same causes: the same incidents grow. Those who are gone get none.
    owner.send_campaign(draft("More benefits", list)).await;
    let grown = async || Some(owner.items("/incidents").await).filter(|all| impact(all) == [6, 6]);
    let incidents = owner.until("both have grown", grown).await;
    assert_eq!(incidents.len(), 2, "{incidents:?}");
    server.stop().await;
}
