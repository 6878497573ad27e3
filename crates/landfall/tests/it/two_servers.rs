//! Two complete servers in one process: no statics, no shared data, mail from one to the other by a static route.

use std::net::SocketAddr;
use std::path::Path;

use landfall::config::Config;
use landfall::server::Server;
use serde_json::json;
use tokio::net::TcpStream;

use crate::web::{Api, visit};

async fn start(dir: &Path, domain: &str, route: Option<(&str, SocketAddr)>) -> (Server, Api) {
    let route = route.map_or(String::new(), |(domain, addr)| format!("{domain}={addr}"));
    let hostname = format!("mx.{domain}");
    let variables = [
        ("LANDFALL_SERVER_HOSTNAME", hostname.as_str()),
        ("LANDFALL_ORGANISATION_DOMAINS", domain),
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

#[tokio::test]
async fn two_servers_in_one_process_send_each_other_mail() {
    let (dir_a, dir_b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (b, owner_b) = start(dir_b.path(), "b.example", None).await;
    owner_b.add_people(&["ada@b.example"]).await;
    let (a, owner_a) = start(dir_a.path(), "a.example", Some(("b.example", b.smtp[0]))).await;
    owner_a.set_base_url(a.http).await;
    owner_a.add_people(&["ada@b.example", "nobody@b.example", "carl@a.example"]).await;

    let draft = json!({
        "name": "To the neighbours", "subject": "Hello from next door", "from_name": "A", "from_address": "news@a.example",
        "content_type": "html", "content": "<p>Hello neighbours, this is what we wanted to tell you today.</p>",
        "list_id": owner_a.everyone().await, "tracking": "off", "click_tracking": false,
    });
    let campaign = owner_a.send_campaign(draft).await;
    let copies = owner_a.items(&format!("/campaigns/{campaign}/copies")).await;
    let found = |recipient: &str| {
        let copy =
            copies.iter().find(|c| c["recipient"] == recipient).unwrap_or_else(|| panic!("{recipient}: {copies:?}"));
        (copy["place"].as_str().expect("a place").to_owned(), copy["last_event"].as_str().expect("an event").to_owned())
    };
    let words = |place: &str, event: &str| (place.to_owned(), event.to_owned());
    assert_eq!(found("ada@b.example"), words("accepted", "accepted"));
    assert_eq!(found("nobody@b.example"), words("not_received", "rejected"));
    assert_eq!(found("carl@a.example"), words("inbox", "accepted"));

    let arrived = owner_b.copies_of("ada@b.example").await;
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    assert_eq!((&arrived[0]["subject"], &arrived[0]["place"]), (&json!("Hello from next door"), &json!("inbox")));
    assert_eq!(arrived[0]["campaign_id"], json!(null), "a campaign of A's is mail like any other for B");
    assert_eq!(owner_b.items("/campaigns").await.len(), 0);
    assert_eq!(owner_b.copies_of("carl@a.example").await.len(), 0, "each has its own data");

    let (a_http, a_smtp, b_http, b_smtp) = (a.http, a.smtp[0], b.http, b.smtp[0]);
    a.stop().await;
    for addr in [a_http, a_smtp] {
        assert!(TcpStream::connect(addr).await.is_err(), "{addr} still listens");
    }
    assert_eq!(visit(b_http, "/readyz").await.text, "ready\n", "the other one is not touched");
    b.stop().await;
    for addr in [b_http, b_smtp] {
        assert!(TcpStream::connect(addr).await.is_err(), "{addr} still listens");
    }
}
