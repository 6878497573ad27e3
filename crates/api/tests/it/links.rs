//! What strangers reach: tracking links, unsubscribing, health, the console's files.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use campaign::Subject;
use model::{CampaignId, LinkId};
use store::values;
use testkit::on_both;

use crate::server::Server;

const TARGET: &str = "https://intranet.contoso.example/news?id=1&x=2";

/// A campaign's one link, and its token.
async fn with_link(t: testkit::TestStore) -> (Server, CampaignId, String) {
    let server = Server::start(t).await;
    let (campaign, link): (CampaignId, LinkId) = (server.store.next_id(), server.store.next_id());
    let row = values![link, campaign, 0i64, TARGET];
    server.store.execute("campaign.insert_link", &row).await.expect("a link");
    let token = server.tracker.tokens().click(campaign, 0, Subject::Nonce(7));
    (server, campaign, token)
}

async fn hits(server: &Server, campaign: CampaignId) -> usize {
    let found = server.store.query("hit.of_copy", &values![campaign, Subject::Nonce(7).key(), 100i64]).await;
    found.expect("hits").len()
}

#[tokio::test]
async fn a_link_leads_where_its_author_pointed_it_and_counts_once() {
    on_both(|t| async move {
        let (server, campaign, token) = with_link(t).await;
        let head = Request::head(format!("/t/{token}")).body(Body::empty()).expect("a request");
        assert_eq!(server.send(head).await.expect(StatusCode::FOUND).header(header::LOCATION), TARGET);
        assert_eq!(hits(&server, campaign).await, 0, "HEAD is not counted");

        let followed = server.visit(&format!("/t/{token}")).await.expect(StatusCode::FOUND);
        assert_eq!(followed.header(header::LOCATION), TARGET);
        assert_eq!(followed.header(header::REFERRER_POLICY), "no-referrer");
        assert_eq!(followed.header(header::CACHE_CONTROL), "no-store");
        assert_eq!(followed.header("x-robots-tag"), "noindex");
        assert_eq!(hits(&server, campaign).await, 1);

        let open = server.tracker.tokens().open(campaign, Subject::Nonce(7));
        let pixel = server.visit(&format!("/o/{open}.gif")).await.expect(StatusCode::OK);
        assert_eq!(pixel.header(header::CONTENT_TYPE), "image/gif");
        assert_eq!((pixel.body.len(), &pixel.body[..6]), (43, &b"GIF89a"[..]));
        assert_eq!(hits(&server, campaign).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_forged_or_truncated_link_leads_nowhere() {
    let (server, campaign, token) = with_link(testkit::sqlite().await).await;
    let open = server.tracker.tokens().open(campaign, Subject::Nonce(7));
    let mut tokens = vec!["".to_owned(), "x".into(), "https%3A%2F%2Fevil.example".into(), "A".repeat(4_000), open];
    tokens.extend((1..token.len()).map(|n| token[..n].to_owned()));
    for position in 0..token.len() {
        let flipped = if token.as_bytes()[position] == b'A' { "B" } else { "A" };
        tokens.push(format!("{}{flipped}{}", &token[..position], &token[position + 1..]));
    }
    for forged in &tokens {
        let answer = server.visit(&format!("/t/{forged}")).await;
        assert_eq!(answer.header(header::LOCATION), "", "{forged}");
        if !forged.is_empty() {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{forged}");
        }
        let pixel = server.visit(&format!("/o/{forged}")).await; // without .gif, also the right one
        assert!(!pixel.body.starts_with(b"GIF"), "{forged}");
    }
    assert_eq!(hits(&server, campaign).await, 0);
}

#[tokio::test]
async fn unsubscribing_takes_a_post() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let copy = server.receive("Subject: Hello\r\n\r\nHi\r\n").await;
        let path = format!("/u/{}", server.tracker.tokens().unsubscribe(copy));
        let asked = server.visit(&path).await.expect(StatusCode::OK);
        assert!(asked.text().contains("ada@contoso.example") && asked.text().contains("<form"), "{}", asked.text());
        let campaigns = campaign::Campaigns::new(server.directory.clone());
        assert!(campaigns.suppressions("", 10).await.expect("a list").is_empty(), "a GET unsubscribes nobody");
        let post = |body: &'static str| {
            let request = Request::post(&path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            server.send(request.body(Body::from(body)).expect("a request"))
        };
        post("something=else").await.expect(StatusCode::NOT_FOUND);
        for _ in 0..2 {
            post("List-Unsubscribe=One-Click").await.expect(StatusCode::OK);
            let suppressed = campaigns.suppressions("", 10).await.expect("a list");
            assert_eq!(suppressed.len(), 1);
            assert_eq!(suppressed[0].address, "ada@contoso.example");
        }
        assert_eq!(server.visit("/u/forged").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn health_metrics_and_the_console() {
    let server = Server::start(testkit::sqlite().await).await;
    assert_eq!(server.visit("/healthz").await.expect(StatusCode::OK).text(), "ok\n");
    assert_eq!(server.visit("/readyz").await.expect(StatusCode::OK).text(), "ready\n");
    let metrics = server.visit("/metrics").await.expect(StatusCode::OK).text();
    assert!(metrics.contains("landfall_http_requests_total{class=\"2xx\"} 2\n"), "{metrics}");
    for name in metrics.lines().filter(|l| !l.starts_with('#')).map(|l| l.split(['{', ' ']).next().expect("a name")) {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} has no type");
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for path in ["/", "/campaigns/12", "/sign-in"] {
        let page = server.visit(path).await.expect(StatusCode::OK);
        assert!(page.header(header::CONTENT_TYPE).starts_with("text/html"), "{path}");
        assert!(page.header(header::CONTENT_SECURITY_POLICY).contains("default-src 'self'"), "{path}");
        assert_eq!(page.header(header::CACHE_CONTROL), "no-cache", "{path}");
    }
    server.visit("/assets/none.js").await.expect(StatusCode::NOT_FOUND);
    let missing = server.visit("/api/v1/none").await.expect(StatusCode::NOT_FOUND);
    assert_eq!(missing.header(header::CONTENT_TYPE), "application/problem+json");
    assert_eq!(missing.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    let document = server.visit("/api/v1/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(document.text(), api::openapi_json());
}
