//! A campaign whose host answers 250 and says later, over SMTP, that it was not so: real reports to the return paths.

use std::path::Path;

use landfall::config::Config;
use landfall::server::Server;
use serde_json::{Value, json};
use smtp::{Client, ClientConfig, Mail};
use testkit::sink::{Sink, SinkMail};

use crate::web::Api;

async fn start(dir: &Path, sink: &Sink) -> (Server, Api) {
    let route = format!("fabrikam.example={}", sink.addr());
    let variables = [
        ("LANDFALL_SERVER_HOSTNAME", "mx.contoso.example"),
        ("LANDFALL_ORGANISATION_DOMAINS", "contoso.example"),
        ("LANDFALL_SMTP_LISTEN", "127.0.0.1:0"),
        ("LANDFALL_HTTP_LISTEN", "127.0.0.1:0"),
        ("LANDFALL_DNS_SERVER", "none"),
        ("LANDFALL_OUTBOUND_ROUTES", &route),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(dir, None, &variables).expect("a configuration");
    let server = Server::start(config).await.expect("a server");
    let link = server.first_run_link().await.expect("a directory").expect("a link");
    let owner = Api::owner(server.http, &link).await;
    (server, owner)
}

/// The mail for this recipient as the sink got it.
fn to<'a>(mails: &'a [SinkMail], recipient: &str) -> &'a SinkMail {
    let is_it = |mail: &&SinkMail| mail.envelope.forward_paths.iter().any(|path| path.key() == recipient);
    mails.iter().find(is_it).unwrap_or_else(|| panic!("nothing came for {recipient}"))
}

fn head(mail: &SinkMail) -> String {
    let text = String::from_utf8_lossy(&mail.body).into_owned();
    text.split("\r\n\r\n").next().expect("a header section").to_owned()
}

/// What a host writes when it finds out later.
fn notification(mail: &SinkMail, status: &str, words: &str) -> String {
    let recipient = mail.envelope.forward_paths[0].key();
    format!(
        "From: MAILER-DAEMON@mx.fabrikam.example\r\nSubject: Undelivered\r\nMessage-ID: <{recipient}.dsn@mx>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nIt came back.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.fabrikam.example\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\n\
         Status: {status}\r\nDiagnostic-Code: smtp; {words}\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{}\r\n--b--\r\n",
        head(mail)
    )
}

fn complaint(mail: &SinkMail) -> String {
    format!(
        "From: fbl@fabrikam.example\r\nSubject: complaint\r\nMessage-ID: <fbl@fabrikam.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n\
         Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\n{}\r\n--b--\r\n",
        head(mail)
    )
}

/// Sends a report over SMTP to the return path of the mail that it is about, and gives the last reply.
async fn report(server: &Server, mail: &SinkMail, body: &str) -> u16 {
    let mut client =
        Client::connect(server.smtp[0], ClientConfig::new("mx.fabrikam.example")).await.expect("a connection");
    let path = mail.envelope.reverse_path.address().expect("a return path").clone();
    let null = model::ReversePath::Null;
    let outcome =
        client.send(&Mail { reverse_path: &null, recipients: &[path] }, body.as_bytes()).await.expect("an outcome");
    client.quit().await;
    outcome.data.map_or(outcome.recipients[0].1.code(), |reply| reply.code())
}

fn place_and_event(copies: &[Value], recipient: &str) -> String {
    let copy = copies.iter().find(|c| c["recipient"] == recipient).unwrap_or_else(|| panic!("{recipient}: {copies:?}"));
    format!("{} {}", copy["place"].as_str().unwrap_or(""), copy["last_event"].as_str().unwrap_or(""))
}

#[tokio::test]
async fn what_comes_back_after_250_is_on_the_campaign_s_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let sink = Sink::start().await;
    let (server, owner) = start(dir.path(), &sink).await;
    owner.set_base_url(server.http).await;
    let people = ["bob@fabrikam.example", "carol@fabrikam.example", "dora@fabrikam.example", "carl@contoso.example"];
    owner.add_people(&people).await;
    let draft = json!({
        "name": "Benefits", "subject": "Benefits", "from_name": "News", "from_address": "news@contoso.example",
        "content_type": "html", "content": "<p>Hello, this is what we wanted to tell you today.</p>",
        "list_id": owner.everyone().await, "tracking": "off", "click_tracking": false,
    });
    let campaign = owner.send_campaign(draft.clone()).await;
    let mails = sink.wait_for(3).await;
    let path = format!("/campaigns/{campaign}/copies");
    let copies = owner.items(&path).await;
    assert_eq!(place_and_event(&copies, "bob@fabrikam.example"), "accepted accepted");
    let [bob, carol, dora] = ["bob", "carol", "dora"].map(|name| to(&mails, &format!("{name}@fabrikam.example")));
    assert_ne!(bob.envelope.reverse_path, carol.envelope.reverse_path, "each copy has a return path of its own");
    let local = bob.envelope.reverse_path.address().expect("a return path").to_string();
    assert!(
        local.starts_with("bounces+") && local.ends_with("@contoso.example"),
        "aligned with the From domain: {local}"
    );

    assert_eq!(report(&server, bob, &notification(bob, "5.1.1", "550 5.1.1 no such user")).await, 250);
    assert_eq!(report(&server, bob, &notification(bob, "5.1.1", "550 5.1.1 no such user")).await, 250, "again");
    assert_eq!(report(&server, carol, &complaint(carol)).await, 250);
    // Dora's host says the same of a mail that never was: a return path with another token.
    let mut forged = dora.clone();
    let other = format!("bounces+{}@contoso.example", "a".repeat(40));
    forged.envelope.reverse_path = other.parse().expect("a path");
    assert_eq!(report(&server, &forged, &notification(dora, "5.1.1", "550 5.1.1 no such user")).await, 550);

    let copies = owner.items(&path).await;
    assert_eq!(place_and_event(&copies, "bob@fabrikam.example"), "not_received bounced");
    assert_eq!(place_and_event(&copies, "carol@fabrikam.example"), "accepted complained");
    assert_eq!(place_and_event(&copies, "dora@fabrikam.example"), "accepted accepted");
    assert_eq!(place_and_event(&copies, "carl@contoso.example"), "inbox accepted");
    let seen = owner.get(&format!("/campaigns/{campaign}/whereabouts")).await;
    let count = |place: &str| -> i64 {
        let rows = seen["places"].as_array().expect("places").iter().filter(|row| row["place"] == place);
        rows.map(|row| row["count"].as_i64().unwrap_or(0)).sum()
    };
    assert_eq!((count("not_received"), count("accepted"), count("inbox")), (1, 2, 1), "{seen}");
    let reports = owner.items("/reports").await;
    let outcomes: Vec<&str> = reports.iter().map(|r| r["outcome"].as_str().expect("an outcome")).collect();
    assert_eq!(outcomes, ["counted", "outweighed", "counted"], "newest first: {reports:?}");

    // The next campaign leaves both out, and says so before and after.
    let second = json!({ "name": "Again", "subject": "Again", "from_name": "News", "from_address": "news@contoso.example",
        "content_type": "html", "content": draft["content"], "list_id": draft["list_id"], "tracking": "off",
        "click_tracking": false });
    let next = owner.send_campaign(second).await;
    let next = owner.get(&format!("/campaigns/{next}")).await;
    assert_eq!((&next["audience_count"], &next["suppressed_count"]), (&json!(2), &json!(2)), "{next}");
    server.stop().await;
    sink.stop().await;
}
