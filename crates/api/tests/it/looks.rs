//! Who looks at other people's mail leaves a record, and says why before its content is shown.

use axum::http::StatusCode;
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::Server;

const MAIL: &str = "From: News <news@x.example>\r\nTo: Ada <ada@contoso.example>\r\nSubject: Hello\r\n\r\nHi\r\n";

/// The records of one action: whose, of what, why.
async fn records(server: &Server, action: &str) -> Vec<(String, String, String)> {
    let audit = server.get(Role::Owner, "/audit?limit=200").await.expect(StatusCode::OK).json();
    let word = |entry: &Value, field: &str| entry[field].as_str().expect("a word").to_owned();
    let of = audit["items"].as_array().expect("items").iter().filter(|entry| entry["action"] == action);
    of.map(|entry| (word(entry, "actor"), word(entry, "target"), word(entry, "reason"))).collect()
}

#[tokio::test]
async fn held_mail_of_others_asks_for_a_reason_and_one_look_is_one_record() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let (_, item) = server.hold(MAIL).await;
        for part in ["preview", "headers"] {
            let path = format!("/quarantine/items/{item}/{part}");
            for reason in ["", "  ", &"x".repeat(301)] {
                let refused = server.post(Role::Analyst, &path, json!({ "reason": reason })).await;
                assert_eq!(
                    (refused.status, &refused.json()["field"]),
                    (StatusCode::UNPROCESSABLE_ENTITY, &json!("reason"))
                );
            }
            let action = format!("quarantine.{part}");
            assert_eq!(records(&server, &action).await, []);
            for _ in 0..3 {
                server.post(Role::Analyst, &path, json!({ "reason": " Ada asked " })).await.expect(StatusCode::OK);
            }
            let target = format!("quarantine item {item}");
            let record = |actor: &str, why: &str| (actor.to_owned(), target.clone(), why.to_owned());
            assert_eq!(records(&server, &action).await, [record("analyst", "Ada asked")]);
            server.post(Role::Analyst, &path, json!({ "reason": "another one" })).await.expect(StatusCode::OK);
            server.post(Role::Administrator, &path, json!({ "reason": "Ada asked" })).await.expect(StatusCode::OK);
            assert_eq!(
                records(&server, &action).await,
                [
                    record("administrator", "Ada asked"),
                    record("analyst", "another one"),
                    record("analyst", "Ada asked")
                ]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn opening_a_trace_of_others_is_recorded_once() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let copy = server.receive(MAIL).await;
        for _ in 0..3 {
            server.get(Role::Analyst, &format!("/trace/{copy}")).await.expect(StatusCode::OK);
            server.get(Role::Owner, &format!("/copies/{copy}")).await.expect(StatusCode::OK);
        }
        let record = |actor: &str| (actor.to_owned(), format!("copy {copy}"), String::new());
        assert_eq!(records(&server, "trace.open").await, [record("owner"), record("analyst")]);
        // One's own is nobody else's business.
        server.get_as_ada(Role::Analyst, &format!("/trace/{copy}")).await.expect(StatusCode::OK);
        assert_eq!(records(&server, "trace.open").await.len(), 2);
        // Later it is another look.
        server.test.clock.advance_ms(60 * 60 * 1000 + 1);
        server.get(Role::Analyst, &format!("/trace/{copy}")).await.expect(StatusCode::OK);
        assert_eq!(records(&server, "trace.open").await.len(), 3);
    })
    .await;
}
