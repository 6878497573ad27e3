//! A whole server whose bus loses every announcement: everything is done all the same, by those who look at the rows.

use std::sync::Arc;
use std::time::Duration;

use landfall::config::Config;
use landfall::server::Server;
use model::SystemClock;
use serde_json::json;
use smtp::{Client, ClientConfig, Mail};
use store::{Faults, Store, StoreConfig};
use testkit::sink::Sink;

use crate::web::Api;

/// Longer than the longest interval at which anything looks (15 s), several of them after one another.
const SILENT_WAIT: Duration = Duration::from_secs(120);
const PEOPLE: [&str; 3] = ["ada@example.org", "bob@example.org", "cleo@there.example"];

/// Looks again and again: there is no news to wait for.
async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    testkit::until(what, SILENT_WAIT, holds).await;
}

async fn start(dir: &std::path::Path, sink: &Sink) -> Server {
    let variables = [
        ("LANDFALL_SERVER_HOSTNAME", "mx.example"),
        ("LANDFALL_ORGANISATION_DOMAINS", "example.org"),
        ("LANDFALL_SMTP_LISTEN", "127.0.0.1:0"),
        ("LANDFALL_HTTP_LISTEN", "127.0.0.1:0"),
        ("LANDFALL_DNS_SERVER", "none"),
        ("LANDFALL_OUTBOUND_ROUTES", &format!("there.example={}", sink.addr())),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(dir, None, &variables).expect("a configuration");
    let of =
        StoreConfig { database: config.database.clone(), objects_dir: config.objects_dir.clone(), node: config.node };
    let faults = Faults::new();
    faults.silence_bus();
    let store = Store::open_with(of, Arc::new(SystemClock), faults).await.expect("a store");
    let mut listening = store.bus().subscribe();
    store.bus().announce(store::Topic::Ledger, 0_i64);
    assert!(listening.try_recv().is_err(), "nothing is announced");
    Server::start_on(config, store).await.expect("a server")
}

async fn places(owner: &Api) -> Vec<String> {
    let mut places = Vec::new();
    for person in PEOPLE {
        for copy in owner.copies_of(person).await {
            places.push(format!("{person} {}", copy["place"].as_str().expect("a place")));
        }
    }
    places.sort();
    places
}

async fn receive(server: &Server) {
    let mut client = Client::connect(server.smtp[0], ClientConfig::new("client.example")).await.expect("a connection");
    let recipients = ["ada@example.org".parse().expect("an address")];
    let mail = Mail { reverse_path: &"zoe@client.example".parse().expect("a path"), recipients: &recipients };
    let body = b"From: Zoe <zoe@client.example>\r\nSubject: Look\r\n\r\nSee http://bad.example/page\r\n";
    let outcome = client.send(&mail, body).await.expect("an outcome");
    assert_eq!(outcome.data.map(|reply| reply.code()), Some(250));
    client.quit().await;
}

#[tokio::test]
async fn everything_is_done_without_the_bus() {
    let dir = tempfile::tempdir().expect("a folder");
    let sink = Sink::start().await;
    let server = start(dir.path(), &sink).await;
    let link = server.first_run_link().await.expect("a directory").expect("a link");
    let owner = Api::owner(server.http, &link).await;
    owner.set_base_url(server.http).await;
    owner.add_people(&PEOPLE).await;

    // A campaign: dispatched, handed over to our gateway and to a foreign host, recorded, ended.
    let draft = json!({
        "name": "Quiet", "subject": "Without news", "from_name": "Us", "from_address": "news@example.org",
        "content_type": "html", "content": "<p>Hello, this is what we wanted to tell you today.</p>",
        "list_id": owner.everyone().await, "tracking": "off", "click_tracking": false,
    });
    let made = owner.post("/campaigns", draft).await.done();
    let path = format!("/campaigns/{}", made["id"].as_str().expect("an id"));
    owner.post(&format!("{path}/send"), json!({})).await.done();
    until("the end of the campaign", async || owner.get(&path).await["state"] == "sent").await;
    let landed = ["ada@example.org inbox", "bob@example.org inbox", "cleo@there.example accepted"];
    until("every copy's place", async || places(&owner).await == landed).await;
    assert_eq!(sink.mails().len(), 1);

    // Incoming mail, a change, its purge, its undo and restore.
    receive(&server).await;
    let proposal = json!({ "kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish",
        "add": "bad.example\n" });
    let made = owner.post("/changes", json!({ "proposal": proposal, "reason": "seen" })).await.done();
    let path = format!("/changes/{}", made["id"].as_str().expect("an id"));
    owner.post(&format!("{path}/backtest"), json!({})).await.done();
    until("the backtest", async || owner.get(&path).await["change"]["state"] == "backtested").await;
    owner.post(&format!("{path}/activate"), json!({ "override_reason": "we know" })).await.done();
    let count =
        async |place: &str| places(&owner).await.iter().filter(|p| **p == format!("ada@example.org {place}")).count();
    until("the purge", async || count("quarantine").await == 1).await;
    until("the new rules hold for what arrives", async || {
        receive(&server).await;
        count("quarantine").await > 1
    })
    .await;
    owner.post(&format!("{path}/undo"), json!({ "reason": "ours" })).await.done();
    // What was pulled back comes back; what was held on arrival waits for a release.
    until("the restore", async || {
        owner.copies_of("ada@example.org").await.iter().any(|copy| copy["last_event"] == "restored")
    })
    .await;
    server.stop().await;
}
