//! No answer about other people's mail gives away a link that would tell whether its reader had followed it.

use axum::http::StatusCode;
use campaign::Subject;
use model::{CampaignId, IncidentId, Role};
use serde_json::json;
use store::values;
use testkit::on_both;

use crate::server::Server;

/// An incident whose title and cause quote a link, as a feed with whole URLs makes one.
async fn quoting_incident(server: &Server, link: &str, cause_id: i64) -> IncidentId {
    let (id, now) = (server.store.next_id::<IncidentId>(), server.store.now());
    let cause = json!({ "rule": "feed_url", "sentence": format!("The link {link} is listed."), "evidence": link });
    let progress = json!({});
    let mut tx = server.store.begin().await.expect("a transaction");
    let (title, nothing) = (format!("The link {link} is listed"), None::<model::Timestamp>);
    let row = values![
        id,
        server.directory.id(),
        "signal",
        cause_id,
        &title,
        "open",
        &cause,
        &progress,
        1i64,
        1i64,
        now,
        nothing,
        now
    ];
    tx.execute("incident.insert", &row).await.expect("an incident");
    tx.commit().await.expect("a commit");
    id
}

#[tokio::test]
async fn a_tracked_link_is_shown_to_nobody_else() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let token = server.tracker.tokens().click(CampaignId(5), 2, Subject::Nonce(77));
        let link = format!("https://t.example/t/{token}");
        let raw = format!("From: <news@x.example>\r\nX-Link: <{link}>\r\nSubject: Hello\r\n\r\nHi\r\n");
        let (_, item) = server.hold(raw.leak()).await;
        let incident = quoting_incident(&server, &link, 1).await;
        let (who, said) = (Role::Administrator, json!({ "text": format!("We look at {link}") }));
        let why = json!({ "reason": "Ada asked" });
        let answers = [
            server.post(who, &format!("/quarantine/items/{item}/headers"), why).await,
            server.post(who, &format!("/incidents/{incident}/updates"), said).await,
            server.get(who, &format!("/incidents/{incident}")).await,
            server.get(who, "/incidents").await,
            server.get(who, "/home").await,
            server.get(who, "/search?q=listed").await,
        ];
        for answer in answers {
            let text = answer.expect(StatusCode::OK).text();
            assert!(text.contains("https://t.example/t/\u{2026}") && !text.contains(&token), "{text}");
        }
        for cause_id in 2..=12 {
            quoting_incident(&server, &link, cause_id).await;
        }
        let hits = server.get(who, "/search?q=listed").await.expect(StatusCode::OK).json();
        assert_eq!(hits.as_array().map(Vec::len), Some(10), "ten of a kind are enough: {hits}");
    })
    .await;
}
