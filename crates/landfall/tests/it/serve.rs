//! `landfall serve`: start, stop, start again, and what it says.

use std::net::TcpListener;

use crate::site::Site;
use crate::web::{client, sign_in_by_link, visit};

const MAIL: &[u8] = b"From: Eve <eve@client.example>\r\nTo: ada@example.org\r\nSubject: Kept\r\n\r\nHello Ada\r\n";

#[tokio::test]
async fn the_first_run_link_works_once() {
    let site = Site::new();
    let server = site.serve().await;
    let line = server.line("First run: ").await;
    let url = line.rsplit(' ').next().expect("a link").to_owned();
    assert!(url.starts_with(&format!("http://{}/sign-in/link/", server.http)), "{line}");
    let page = client().get(&url).send().await.expect("the page of the link");
    assert_eq!(page.status(), 200, "looking at the page uses nothing up");
    let token = url.rsplit('/').next().expect("a token");
    let me = sign_in_by_link(server.http, token).await.done();
    assert_eq!((me["role"].as_str(), me["login"].as_str()), (Some("owner"), Some("owner")));
    sign_in_by_link(server.http, token).await.refused(401, "", &[]);
    sign_in_by_link(server.http, "A2345").await.refused(401, "", &[]);
    server.stop().await;

    let again = site.serve().await;
    sign_in_by_link(again.http, token).await.refused(401, "", &[]);
    again.terminate().await;
    again.line("Stopping").await;
    assert!(!again.said().iter().any(|line| line.starts_with("First run")), "{:?}", again.said());
    assert_eq!(again.ended().await.0, 0);
}

#[tokio::test]
async fn a_port_in_use_is_replaced_and_said() {
    let taken = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0")];
    let ports = taken.each_ref().map(|t| t.as_ref().expect("a port").local_addr().expect("an address"));
    let site = Site::new()
        .with("LANDFALL_SMTP_LISTEN", ports[0].to_string())
        .with("LANDFALL_HTTP_LISTEN", ports[1].to_string());
    let server = site.serve().await;
    let said = format!("(port {} is in use)", ports[0].port());
    assert!(server.line("SMTP ").await.ends_with(&said), "{:?}", server.said());
    let said = format!("(port {} is in use)", ports[1].port());
    assert!(server.line("Console ").await.ends_with(&said), "{:?}", server.said());
    assert!(!ports.contains(&server.smtp) && !ports.contains(&server.http));
    assert_eq!(visit(server.http, "/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn sigterm_keeps_mail_in_flight_and_a_restart_keeps_everything() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    owner.add_people(&["ada@example.org"]).await;
    server.deliver("ada@example.org", MAIL).await;

    let mut idle = server.talk().await;
    assert!(idle.say("EHLO client.example").await.starts_with("250"));
    let mut flying = server.talk().await;
    assert!(flying.say("EHLO client.example").await.starts_with("250"));
    assert!(flying.say("MAIL FROM:<eve@client.example>").await.starts_with("250"));
    assert!(flying.say("RCPT TO:<ada@example.org>").await.starts_with("250"));
    assert!(flying.say("DATA").await.starts_with("354"));
    let (first, rest) = MAIL.split_at(40);
    flying.write(first).await;
    server.terminate().await;
    server.line("Stopping").await;
    assert!(idle.reply().await.starts_with("421 "), "sessions at rest are told to go");
    flying.write(rest).await;
    assert!(flying.say(".").await.starts_with("250 "), "a mail that has begun is taken");
    drop(flying);
    assert_eq!(server.ended().await.0, 0);

    let again = site.serve().await;
    let owner = owner.on(again.http);
    let copies = owner.copies_of("ada@example.org").await;
    assert_eq!(copies.len(), 2, "{copies:?}");
    assert!(copies.iter().all(|copy| copy["place"] == "inbox" && copy["subject"] == "Kept"), "{copies:?}");
    again.kill().await;

    let once_more = site.serve().await;
    assert_eq!(owner.on(once_more.http).copies_of("ada@example.org").await.len(), 2, "after kill -9 as well");
    once_more.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_named_and_nothing_is_made() {
    let site = Site::new();
    let refused = |site: Site, words: &'static [&'static str]| async move {
        site.run_here("serve", &[]).await.refused(2, words);
        assert!(!site.data().join("landfall.db").exists(), "{words:?}: nothing is made");
    };
    refused(site.clone().with("LANDFALL_SMTP_LISTENER", "x"), &["LANDFALL_SMTP_LISTENER", "landfall doctor"]).await;
    refused(
        site.clone().with("LANDFALL_SMTP_SIZE_BYTES_MAX", "1"),
        &["smtp.size_bytes_max", "\"1\"", "LANDFALL_SMTP_SIZE_BYTES_MAX", "65536 to 268435456"],
    )
    .await;
    refused(site.clone().with("LANDFALL_HTTP_LISTEN", "here"), &["http.listen", "\"here\"", "address:port"]).await;
    refused(site.clone().with("LANDFALL_ORGANISATION_DOMAINS", "a b"), &["organisation.domains", "\"a b\""]).await;
    std::fs::write(site.path("bad.toml"), "[smtp]\nlisten_on = \"127.0.0.1:0\"\n").expect("a file");
    site.run_here("serve", &["--config", "bad.toml"]).await.refused(2, &["smtp.listen_on", "bad.toml"]);
    std::fs::write(site.path("broken.toml"), "[smtp\n").expect("a file");
    site.run_here("serve", &["--config", "broken.toml"]).await.refused(2, &["broken.toml", "line 1"]);
    site.run_here("serve", &["--config", "none.toml"]).await.refused(2, &["none.toml", "cannot be read"]);
}

#[tokio::test]
async fn probes_the_postmaster_and_a_log_without_addresses() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    assert_eq!(visit(server.http, "/healthz").await.text, "ok\n");
    assert_eq!(visit(server.http, "/readyz").await.text, "ready\n");
    owner.add_people(&["ada@example.org"]).await;
    for to in ["postmaster@example.org", "PostMaster@mx.example", "ada@example.org"] {
        server.deliver(to, MAIL).await;
    }
    let mut talk = server.talk().await;
    assert!(talk.say("EHLO client.example").await.starts_with("250"));
    assert!(talk.say("MAIL FROM:<eve@client.example>").await.starts_with("250"));
    assert!(talk.say("RCPT TO:<Postmaster>").await.starts_with("250"), "RFC 5321 4.5.1: without a domain");
    assert!(talk.say("RCPT TO:<nobody@example.org>").await.starts_with("550 5.1.1"));
    assert!(talk.say("RCPT TO:<ada@elsewhere.example>").await.starts_with("550 5.7.1"));
    drop(talk);
    for postmaster in ["postmaster@example.org", "postmaster@mx.example"] {
        assert_eq!(owner.copies_of(postmaster).await.len(), 1, "{postmaster}");
    }

    let metrics = visit(server.http, "/metrics").await;
    assert_eq!(metrics.status, 200);
    let samples = metrics.text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    assert!(names.len() >= 10, "{}", metrics.text);
    for name in names {
        assert!(metrics.text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(metrics.text.contains(&format!("# TYPE {name} ")), "{name} has no type");
    }
    let log = server.stop().await;
    for line in log {
        assert!(!line.contains('@'), "an address at info: {line}");
    }
}

#[tokio::test]
async fn who_is_locked_out_gets_a_link_from_the_command_line() {
    let site = Site::new();
    site.run_here("sign-in-link", &[]).await.refused(2, &["holds no data"]);
    assert!(!site.data().join("landfall.db").exists(), "looking makes nothing");
    let (server, _owner) = site.serve_first().await;
    let ran = site.run_here("sign-in-link", &["owner"]).await.done();
    let token = ran.stdout.trim_end().rsplit('/').next().expect("a token");
    assert_eq!(sign_in_by_link(server.http, token).await.done()["login"], "owner");
    sign_in_by_link(server.http, token).await.refused(401, "", &[]);
    site.run_here("sign-in-link", &["mallory"]).await.refused(2, &["mallory"]);
    server.stop().await;
}

#[tokio::test]
async fn a_data_directory_is_one_servers_and_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    let mode = std::fs::metadata(site.data()).expect("the data directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "keys and everybody's mail are in it");
    let data = site.data().display().to_string();
    site.run_here("serve", &[]).await.refused(2, &["another server runs on", &data, "--data"]);
    site.run_here("demo", &[]).await.refused(2, &["another server runs on", &data, "--data"]);
    owner.add_people(&["ada@example.org"]).await;
    server.deliver("ada@example.org", MAIL).await;
    server.kill().await;

    // Whoever dies holds nothing any more. What is no demo's gets no logins with a password that everybody knows.
    site.run_here("demo", &[]).await.refused(2, &["not of a demo", &data, "--data"]);
    site.run_here("seed", &[]).await.refused(2, &["holds data already", &data]);
    let again = site.serve().await;
    let accounts = owner.on(again.http).get("/accounts").await;
    assert_eq!(accounts.as_array().map(Vec::len), Some(1), "{accounts}");
    again.stop().await;
}

#[tokio::test]
async fn the_story_takes_a_configuration_as_a_server_does() {
    let site = Site::new();
    for (text, words) in [("[smtp]\nlisten_on = \"x\"\n", "smtp.listen_on"), ("[http", "story.toml")] {
        std::fs::write(site.path("story.toml"), text).expect("a configuration");
        site.run_here("demo", &["--config", "story.toml"]).await.refused(2, &[words]);
    }
    site.run_here("demo", &["--config", "none.toml"]).await.refused(2, &["none.toml"]);
    assert!(!site.data().exists(), "nothing is begun");
    let text = "[http]\npublic_url = \"http://story.example:8080\"\n[organisation]\nname = \"Somebody else\"\n";
    std::fs::write(site.path("story.toml"), text).expect("a configuration");
    let story = ["--config", "story.toml", "--exit", "--acts", "0", "--people", "20"];
    let told = site.run_here("demo", &story).await.done().stdout;
    assert!(told.contains("Console http://story.example:8080"), "{told}");
    assert!(told.contains("Contoso has 20 people"), "the story is about its own organisation: {told}");
}
