//! `landfall bypass` beside a running server: mail comes in unjudged, a kill does not end it, and afterwards it is judged.

use std::cell::Cell;

use serde_json::json;

use crate::site::Site;
use crate::web::{Api, visit};

/// A program that says it is a document: malware by the built-in rules.
const MALWARE: &[u8] =
    b"From: Eve <eve@client.example>\r\nTo: ada@example.org\r\nSubject: Invoice\r\nMIME-Version: 1.0\r\n\
    Content-Type: application/pdf; name=\"invoice.pdf.exe\"\r\n\
    Content-Disposition: attachment; filename=\"invoice.pdf.exe\"\r\n\r\nMZ\r\n";
const ADA: &str = "ada@example.org";

async fn places(owner: &Api) -> Vec<String> {
    owner.copies_of(ADA).await.iter().map(|copy| copy["place"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_bypass_lets_in_survives_a_kill_and_is_made_good() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[ADA]).await;
    let data = site.data().display().to_string();
    server.deliver(ADA, MALWARE).await;
    assert_eq!(places(&owner).await, ["quarantine"]);

    let bypass = async |arguments: &[&str]| {
        let mut all = vec!["bypass"];
        all.extend(arguments);
        all.extend(["--data", &data]);
        site.run(&all).await
    };
    bypass(&["on", "--for", "5h", "--reason", "x"]).await.refused(2, &["5h", "at most 4h"]);
    bypass(&["on", "--for", "30m", "--reason", " "]).await.refused(2, &["reason"]);
    let said = bypass(&["on", "--for", "30m", "--reason", "the feed lists our bank"]).await.done().stdout;
    assert!(said.contains("without being judged until") && said.contains("the feed lists our bank"), "{said}");
    // The gateway looks once a second: whatever comes in until then is judged.
    let delivered_count = Cell::new(1);
    owner
        .until("a mail that nobody judged", async || {
            server.deliver(ADA, MALWARE).await;
            delivered_count.set(delivered_count.get() + 1);
            places(&owner).await.contains(&"inbox".to_owned()).then_some(())
        })
        .await;
    server.kill().await;

    let server = site.serve().await;
    let owner = owner.on(server.http);
    let state = owner.get("/bypass").await;
    assert_eq!(
        (&state["bypass"]["actor"], &state["bypass"]["reason"]),
        (&json!("command line"), &json!("the feed lists our bank"))
    );
    // What the killed process had accepted is entered by this one.
    let all_entered = async || (owner.get("/bypass").await["incoming_count"] == 0).then_some(());
    owner.until("all in mailboxes", all_entered).await;
    let unjudged = owner.get("/bypass").await["unjudged_count"].as_i64().expect("a number");
    assert!(unjudged >= 1);
    let metrics = visit(server.http, "/metrics").await.text;
    for line in ["landfall_bypass_on 1", &format!("landfall_unjudged_mails {unjudged}"), "landfall_incoming_mails 0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} in {metrics}");
    }
    let said = bypass(&["status"]).await.done().stdout;
    let waiting = format!("0 accepted and on their way into mailboxes\n{unjudged} waiting for a verdict");
    assert!(said.contains("Mail is not judged until") && said.contains(&waiting), "{said}");

    bypass(&["off"]).await.done();
    owner
        .until("everything in quarantine", async || {
            places(&owner).await.iter().all(|place| place == "quarantine").then_some(())
        })
        .await;
    let copies = owner.copies_of(ADA).await;
    assert_eq!(copies.len(), delivered_count.get(), "each that was answered 250, once");
    let late = copies.iter().find(|copy| copy["last_event"] == "purged").expect("one was taken back");
    let detail = owner.get(&format!("/trace/{}", late["copy_id"].as_str().expect("an id"))).await;
    let kinds: Vec<&str> =
        detail["timeline"].as_array().expect("a timeline").iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["accepted", "judged", "purged"]);
    assert_eq!(detail["authentication"]["unjudged"], "bypass");
    let audit = owner.items("/audit").await;
    let words: Vec<&str> = audit.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert!(words.contains(&"bypass.on") && words.contains(&"bypass.off"), "{words:?}");
    assert!(bypass(&["off"]).await.done().stdout.contains("Nothing to end"));

    // By the API, too, within the same bounds.
    owner.put("/bypass", json!({ "minutes": 241, "reason": "x" })).await.refused(422, "minutes", &["240 minutes"]);
    owner.put("/bypass", json!({ "minutes": 1, "reason": "" })).await.refused(422, "reason", &["say why"]);
    let state = owner.put("/bypass", json!({ "minutes": 1, "reason": "a try" })).await.done();
    assert_eq!(state["bypass"]["actor"], "owner");
    server.stop().await;
    site.run_here("verify", &[]).await.done();
}

#[tokio::test]
async fn both_keys_are_made_for_old_and_new_data() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    let keys = owner.get("/dkim-keys").await;
    let kinds: Vec<&str> = keys.as_array().expect("keys").iter().filter_map(|key| key["kind"].as_str()).collect();
    assert_eq!(kinds, ["rsa", "ed25519"]);
    assert_eq!(keys[0]["name"], "landfall1._domainkey.example.org");
    assert_eq!(keys[1]["name"], "landfall2._domainkey.example.org");
    server.line("Publish this key").await;
    server.stop().await;
    let doctor = site.run_here("doctor", &[]).await.done().stdout;
    for part in ["landfall1._domainkey", "landfall2._domainkey", "k=ed25519; p="] {
        assert!(doctor.contains(part), "{part} in {doctor}");
    }
}
