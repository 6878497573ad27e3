//! Several processes on one PostgreSQL database and one folder of bodies: each mail once, each job once, and nothing is
//! stuck when one of them dies.

use std::collections::BTreeMap;

use serde_json::json;
use testkit::sink::Sink;

use crate::postgres::Fresh;
use crate::site::{Running, Site, WAIT};
use crate::web::Api;

const PEOPLE: usize = 120;

fn node(fresh: &Fresh, common: &Site, number: u16, sink: &Sink) -> Site {
    common
        .with_data(&format!("node{number}"))
        .with("LANDFALL_STORE_DATABASE", fresh.url.clone())
        .with("LANDFALL_STORE_OBJECTS_DIR", common.path("objects").display().to_string())
        .with("LANDFALL_SERVER_NODE", number.to_string())
        .with("LANDFALL_OUTBOUND_ROUTES", format!("there.example={}", sink.addr()))
        .with("LANDFALL_OUTBOUND_CONNECTIONS_MAX", "4")
}

/// A campaign to everybody, begun.
async fn begin_campaign(owner: &Api) -> String {
    let draft = json!({
        "name": "Shared", "subject": "From all of us", "from_name": "Us", "from_address": "news@example.org",
        "content_type": "html", "content": "<p>Hello, this is what we wanted to tell you today.</p>",
        "list_id": owner.everyone().await, "tracking": "off", "click_tracking": false,
    });
    let made = owner.post("/campaigns", draft).await.done();
    let path = format!("/campaigns/{}", made["id"].as_str().expect("an id"));
    owner.post(&format!("{path}/send"), json!({})).await.done();
    path
}

/// How often each recipient got a mail with this subject.
fn received(sink: &Sink) -> BTreeMap<String, usize> {
    let mut received = BTreeMap::new();
    for mail in sink.mails() {
        for path in &mail.envelope.forward_paths {
            *received.entry(path.to_string()).or_default() += 1;
        }
    }
    received
}

async fn sent(owner: &Api, path: &str) {
    // Each process hears its own news only: look often enough.
    testkit::until(&format!("{path} ends"), 2 * WAIT, async || owner.get(path).await["state"] == "sent").await;
}

async fn two(first: &Site, second: &Site) -> (Running, Running, Api) {
    let (a, owner) = first.serve_first().await;
    let b = second.serve().await;
    owner.set_base_url(a.http).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("p{n:03}@there.example")).collect();
    owner.add_people(&people.iter().map(String::as_str).collect::<Vec<_>>()).await;
    (a, b, owner)
}

#[tokio::test]
async fn two_servers_on_one_database_share_without_doubling() {
    let fresh = Fresh::database("cluster").await;
    let sink = Sink::start().await;
    let common = Site::new();
    let (a, b, owner) = two(&node(&fresh, &common, 1, &sink), &node(&fresh, &common, 2, &sink)).await;
    owner.add_people(&["ada@example.org"]).await;

    // Mail comes in at both; each sees all of it.
    a.deliver("ada@example.org", b"Subject: at a\r\n\r\nSee http://bad.example/\r\n").await;
    b.deliver("ada@example.org", b"Subject: at b\r\n\r\nSee http://bad.example/\r\n").await;
    for http in [a.http, b.http] {
        let copies = owner.on(http).copies_of("ada@example.org").await;
        assert_eq!(copies.len(), 2, "{copies:?}");
    }

    // Two campaigns, one begun at each.
    let (x, y) = (begin_campaign(&owner).await, begin_campaign(&owner.on(b.http)).await);
    sent(&owner, &x).await;
    sent(&owner, &y).await;
    let got = received(&sink);
    assert_eq!(got.len(), PEOPLE);
    assert!(got.values().all(|count| *count == 2), "each campaign once: {got:?}");

    // A change put in force at one is in force at the other, and its purge is done once.
    let proposal = json!({ "kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish",
        "add": "bad.example\n" });
    let made = owner.post("/changes", json!({ "proposal": proposal, "reason": "seen" })).await.done();
    let path = format!("/changes/{}", made["id"].as_str().expect("an id"));
    let look = async |what: &str, holds: &dyn Fn(&serde_json::Value) -> bool, at: &str| {
        testkit::until(what, WAIT, async || holds(&owner.get(at).await)).await;
    };
    owner.post(&format!("{path}/backtest"), json!({})).await.done();
    look("the backtest", &|change| change["change"]["state"] == "backtested", &path).await;
    owner.post(&format!("{path}/activate"), json!({ "override_reason": "we know" })).await.done();
    look(
        "the purge",
        &|jobs| jobs["items"].as_array().is_some_and(|all| all.iter().all(|j| j["state"] == "done")),
        "/jobs",
    )
    .await;
    let copies = owner.copies_of("ada@example.org").await;
    let copies: Vec<_> = copies.iter().filter(|copy| copy["campaign_id"].is_null()).collect();
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|copy| copy["place"] == "quarantine"), "{copies:?}");
    assert_eq!(owner.items("/jobs").await.len(), 1);
    a.stop().await;
    b.stop().await;
    fresh.end().await;
}

#[tokio::test]
async fn what_a_dead_server_had_begun_is_done_by_the_others_and_after_its_restart() {
    let fresh = Fresh::database("dead_node").await;
    let sink = Sink::start().await;
    let common = Site::new();
    let (first, second) = (node(&fresh, &common, 1, &sink), node(&fresh, &common, 2, &sink));
    let (a, b, owner) = two(&first, &second).await;
    let path = begin_campaign(&owner).await;
    sink.wait_for(PEOPLE / 6).await;
    a.kill().await; // with deliveries leased, perhaps in the middle of some
    let a = first.serve().await;
    sent(&owner.on(b.http), &path).await;
    let got = received(&sink);
    assert_eq!(got.len(), PEOPLE, "nobody is left out");
    // What was under way at the kill may have been sent before: at least once, to a foreign host.
    assert!(got.values().all(|count| *count <= 2), "{got:?}");
    let copies = owner.on(b.http).items(&format!("{path}/copies?limit=200")).await;
    assert_eq!(copies.len(), PEOPLE);
    assert!(copies.iter().all(|copy| copy["place"] == "accepted"), "{copies:?}");
    a.stop().await;
    b.stop().await;
    fresh.end().await;
}
