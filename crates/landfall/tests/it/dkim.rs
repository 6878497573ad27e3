//! The keys that mail is signed with are replaced beside a running server, without a signature that nobody can check.

use std::net::SocketAddr;

use serde_json::json;
use testkit::sink::Sink;

use crate::site::{Ran, Site};
use crate::web::Api;

/// `landfall dkim …`
async fn dkim(site: &Site, arguments: &[&str]) -> Ran {
    let data = site.data().display().to_string();
    let mut all = vec!["dkim", "--data", &data];
    all.extend(arguments);
    site.run(&all).await
}

/// The selectors that the `count`th mail of the sink is signed with, after a campaign to everybody.
async fn signed_by(owner: &Api, sink: &Sink, count: usize) -> Vec<String> {
    let draft = json!({
        "name": "News", "subject": "News", "from_name": "Us", "from_address": "news@example.org", "content_type": "html",
        "content": "<p>Hello, this is what we wanted to tell you today.</p>", "list_id": owner.everyone().await,
        "tracking": "off", "click_tracking": false,
    });
    let made = owner.post("/campaigns", draft).await.done();
    owner.post(&format!("/campaigns/{}/send", made["id"].as_str().expect("an id")), json!({})).await.done();
    let mails = sink.wait_for(count).await;
    let text = String::from_utf8(mails[count - 1].body.clone()).unwrap();
    let selectors = text.split("; s=").skip(1).filter_map(|rest| rest.split(';').next());
    selectors.map(str::to_owned).collect()
}

#[tokio::test]
async fn keys_are_replaced_step_by_step() {
    let sink = Sink::start().await;
    let site = Site::new().with("LANDFALL_OUTBOUND_ROUTES", format!("there.example={}", sink.addr()));
    let (server, owner) = site.serve_first().await;
    owner.set_base_url(server.http).await;
    owner.add_people(&["a@there.example"]).await;
    assert_eq!(signed_by(&owner, &sink, 1).await, ["landfall1", "landfall2"]);

    let ran = dkim(&site, &["use"]).await;
    assert_eq!(ran.code, 1, "nothing waits: {ran:?}");
    let made = dkim(&site, &["new"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let records: Vec<&str> = made.stdout.lines().filter_map(|line| line.strip_prefix("Publish: ")).collect();
    assert!(records.len() == 2 && records[0].starts_with("landfall3._domainkey.example.org TXT \"v=DKIM1; k=rsa;"));
    assert_eq!(dkim(&site, &["new"]).await.code, 2, "one after the other");
    // Nothing is signed with what nobody can check, neither before nor while the records are missing.
    let early = dkim(&site, &["use"]).await;
    assert!(early.code == 2 && early.stderr.contains("landfall4._domainkey.example.org is not published"), "{early:?}");
    assert_eq!(signed_by(&owner, &sink, 2).await, ["landfall1", "landfall2"]);

    let zone = records.join("\n") + "\n";
    let zone = dns::ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let seeing = site.clone().with("LANDFALL_DNS_SERVER", zone.addr().to_string());
    let used = dkim(&seeing, &["use"]).await;
    assert_eq!(used.code, 0, "{used:?}");
    assert_eq!(signed_by(&owner, &sink, 3).await, ["landfall3", "landfall4"]);

    let list = dkim(&site, &["list"]).await.stdout;
    let uses: Vec<&str> = list.lines().filter_map(|line| line.split("._domainkey").next()).collect();
    assert_eq!(uses, ["signing  landfall3", "signing  landfall4", "retired  landfall1", "retired  landfall2"]);
    assert_eq!(dkim(&site, &["forget", "landfall1._domainkey.example.org"]).await.code, 0);
    assert_ne!(dkim(&site, &["forget", "landfall3._domainkey.example.org"]).await.code, 0, "it signs");
    // A new start makes no key in the place of one that was replaced.
    server.stop().await;
    let _server = site.serve().await;
    assert!(!dkim(&site, &["list"]).await.stdout.contains("landfall1"));
}
