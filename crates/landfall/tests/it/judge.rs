//! `landfall judge`: what it prints, and what it refuses.

use std::path::{Path, PathBuf};

use message::compose::{Mailbox, Parts, compose};
use message::dkim::{DkimKey, Signer};
use model::{Address, Timestamp};
use serde_json::{Value, json};

use crate::site::Site;

fn mail(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../message/testdata");
    let path = folder.join(name);
    assert!(path.exists(), "{}", path.display());
    path.display().to_string()
}

async fn judge(site: &Site, arguments: &[&str]) -> Value {
    let mut all = vec!["judge"];
    all.extend(arguments);
    let ran = site.run(&all).await.done();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {ran:?}"))
}

#[tokio::test]
async fn one_message_is_an_object_and_several_are_a_list() {
    let site = Site::new();
    let (held, plain) = (mail("attachments.eml"), mail("plain.eml"));
    let one = judge(&site, &[&held]).await;
    assert_eq!((&one["class"], &one["confidence"]), (&json!("malware"), &json!("high")));
    assert_eq!(one["disposition"]["kind"], "quarantine");
    assert_eq!((&one["policy"], &one["file"]), (&json!("Standard"), &json!(held)));
    assert!(one["sentence"].as_str().is_some_and(|s| s.starts_with("Malware")), "{one}");
    let signals = one["signals"].as_array().expect("signals");
    assert!(!signals.is_empty());
    for signal in signals {
        for text in ["rule", "sentence", "evidence", "class"] {
            assert!(signal[text].as_str().is_some_and(|t| !t.is_empty()), "{text} in {signal}");
        }
        assert!(signal["weight"].is_number() && signal["rule_version"].is_number(), "{signal}");
    }
    let both = judge(&site, &[&held, &plain]).await;
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    assert_eq!((&both[0]["class"], &both[1]["class"]), (&json!("malware"), &json!("clean")));
    assert_eq!(both[1]["recipient"], "bob@contoso.example", "the first To address");
}

#[tokio::test]
async fn without_names_authentication_reads_none() {
    let site = Site::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../message/testdata");
    let entries = std::fs::read_dir(folder).expect("the messages are there");
    let paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable folder").path()).collect();
    let files: Vec<String> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
        .map(|path| path.display().to_string())
        .collect();
    let mut arguments = vec!["--dns", "none", "--rcpt", "bob@contoso.example"];
    arguments.extend(files.iter().map(String::as_str));
    let all = judge(&site, &arguments).await;
    let all = all.as_array().expect("a list");
    assert_eq!(all.len(), files.len());
    for one in all {
        for kind in ["spf", "dmarc", "arc"] {
            assert_eq!(one["authentication"][kind], "none", "{one}");
        }
    }
}

#[tokio::test]
async fn a_zone_file_makes_dkim_and_spf_pass() {
    let site = Site::new();
    let key = DkimKey::generate().expect("a key");
    let (from, to): (Address, Address) =
        ("news@contoso.example".parse().expect("an address"), "bob@fabrikam.example".parse().expect("an address"));
    let raw = compose(&Parts {
        from: Mailbox { name: "News", address: &from },
        to: Mailbox { name: "Bob", address: &to },
        subject: "Signed",
        message_id: "<1@contoso.example>",
        date_at: Timestamp::from_micros(1_710_410_043_000_000),
        extra: &[],
        text: "Hello Bob, this is a signed message.\n",
        html: "<p>Hello Bob, this is a signed message.</p>",
    })
    .expect("a message");
    let mut signed = Signer::new(&key, "contoso.example", "s1").expect("a signer").sign(&raw).expect("a signature");
    signed.extend_from_slice(&raw);
    std::fs::write(site.path("signed.eml"), signed).expect("a file");
    let zone = format!(
        "contoso.example TXT \"v=spf1 ip4:192.0.2.7 -all\"\n_dmarc.contoso.example TXT \"v=DMARC1; p=reject\"\n\
         s1._domainkey.contoso.example TXT \"{}\"\n",
        key.txt_record()
    );
    std::fs::write(site.path("zone.txt"), zone).expect("a file");
    let passed = judge(&site, &["--dns", "zone.txt", "--client-ip", "192.0.2.7", "signed.eml"]).await;
    let results = &passed["authentication"];
    assert_eq!((&results["spf"], &results["dmarc"]), (&json!("pass"), &json!("pass")), "{results}");
    assert_eq!(results["dkim"][0]["result"], "pass", "{results}");
    let elsewhere = judge(&site, &["--dns", "zone.txt", "--client-ip", "192.0.2.8", "signed.eml"]).await;
    let results = &elsewhere["authentication"];
    assert_eq!((&results["spf"], &results["dmarc"]), (&json!("fail"), &json!("pass")), "{results}");
}

#[tokio::test]
async fn policies_differ() {
    let site = Site::new();
    let phish = mail("link_text.eml");
    for (name, shown, disposition) in
        [("default", "Default", "junk"), ("Standard", "Standard", "quarantine"), ("strict", "Strict", "quarantine")]
    {
        let one = judge(&site, &["--policy", name, &phish]).await;
        assert_eq!(one["class"], "phish");
        assert_eq!((&one["policy"], &one["disposition"]["kind"]), (&json!(shown), &json!(disposition)), "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_judged_is_said() {
    let site = Site::new();
    let plain = mail("plain.eml");
    std::fs::write(site.path("rules.json"), "{\"weights\": 7").expect("a file");
    std::fs::write(site.path("zone.txt"), "contoso.example TXT \"v=spf1 -all\"\ncontoso.example NOTHING x\n")
        .expect("a file");
    for (arguments, words) in [
        (vec!["missing.eml"], vec!["missing.eml", "cannot be read"]),
        (vec!["--policy", "severe", &plain], vec!["--policy", "severe", "default, standard or strict"]),
        (vec!["--rules", "rules.json", &plain], vec!["--rules rules.json", "line 1"]),
        (vec!["--rules", "none.json", &plain], vec!["--rules none.json"]),
        (vec!["--rules", "12", &plain], vec!["--rules 12", "--data"]),
        (vec!["--dns", "zone.txt", &plain], vec!["--dns zone.txt", "line 2"]),
        (vec!["--mail-from", "not an address", &plain], vec!["--mail-from", "not an address"]),
        (vec!["--rcpt", "nobody", &plain], vec!["--rcpt", "nobody"]),
    ] {
        let mut all = vec!["judge"];
        all.extend(arguments);
        let ran = site.run(&all).await;
        ran.refused(2, &words);
        assert_eq!(ran.stdout, "", "nothing is half printed");
    }
}

/// A configuration says where the database is in which a version of the rules is looked up, as it does for a server.
#[tokio::test]
async fn a_version_of_the_rules_is_found_by_the_configuration() {
    let fresh = crate::postgres::Fresh::database("judge").await;
    let site = Site::new();
    let file = site.path("there.toml");
    std::fs::write(&file, format!("[store]\ndatabase = \"{}\"\n", fresh.url)).expect("a configuration");
    let file = file.display().to_string();
    let (server, owner) = site.clone().with("LANDFALL_STORE_DATABASE", fresh.url.clone()).serve_first().await;
    let versions = owner.items("/rule-sets").await;
    let id = versions[0]["id"].as_str().expect("an id").to_owned();
    let (plain, data) = (mail("plain.eml"), site.data().display().to_string());
    let one = judge(&site, &["--config", &file, "--rules", &id, "--data", &data, &plain]).await;
    assert_eq!(one["rule_set"]["id"], json!(id), "{one}");
    server.stop().await;

    let elsewhere = site.run(&["judge", "--rules", &id, "--data", &data, &plain]).await;
    elsewhere.refused(2, &["holds no data"]);
    for (arguments, words) in [
        (vec!["--config", &file, &plain], vec!["--config", "there.toml", "--rules ID"]),
        (vec!["--config", &file, "--rules", "none.json", &plain], vec!["--config", "--rules ID"]),
        (vec!["--config", "none.toml", "--rules", &id, "--data", &data, &plain], vec!["none.toml"]),
    ] {
        let mut all = vec!["judge"];
        all.extend(arguments);
        let ran = site.run(&all).await;
        ran.refused(2, &words);
        assert_eq!(ran.stdout, "", "nothing is half printed");
    }
    fresh.end().await;
}
