//! Mailboxes that another system keeps: what people are told of it. (A real Dovecot answers in the binary's own tests.)

use axum::http::{Method, StatusCode};
use directory::MailboxConnectors;
use mailbox::{Connectors, Endpoint, LmtpImap, LmtpImapConfig, Security};
use model::Role;
use serde_json::{Value, json};
use testkit::{TestStore, on_both};

use crate::server::Server;

const MAIL: &str = "From: News <news@x.example>\r\nSubject: Hello\r\n\r\nHi\r\n";

/// A server that knows of one mailbox system, at a port of the local host where nobody listens.
async fn start(t: TestStore, everywhere: bool) -> Server {
    let endpoint = || Endpoint { host: "127.0.0.1".into(), port: 9, security: Security::Clear };
    let config = LmtpImapConfig::new(endpoint(), endpoint(), "landfall", "secret");
    let marker = std::sync::Arc::new(|copy: model::CopyId| copy.to_string());
    let connector = LmtpImap::new("dovecot", config, t.store.clone(), marker);
    let known = MailboxConnectors {
        names: ["dovecot".to_owned()].into(),
        everywhere: everywhere.then(|| "dovecot".to_owned()),
        ..MailboxConnectors::default()
    };
    Server::start_with(t, known, Connectors::new([connector])).await
}

#[tokio::test]
async fn a_mailbox_elsewhere_is_not_shown_as_an_empty_one() {
    on_both(|t| async move {
        let server = start(t, true).await;
        let me = Role::Recipient;
        let own = server.get(me, "/mailbox").await.expect(StatusCode::OK).json();
        assert_eq!(
            (&own["kept_by"], &own["item_count"], &own["waiting_count"], &own["answers"]),
            (&json!("dovecot"), &json!(0), &json!(0), &Value::Null)
        );
        let refused = server.get(me, "/mailbox/folders").await.expect(StatusCode::CONFLICT).json();
        assert!(refused["detail"].as_str().expect("a detail").contains("\"dovecot\""), "{refused}");
        let home = server.get(me, "/home").await.expect(StatusCode::OK).json();
        assert_eq!((&home["mail_kept_by"], &home["unseen_count"]), (&json!("dovecot"), &Value::Null));

        // What came before stays to be read.
        server.receive(MAIL).await;
        assert_eq!(server.get(me, "/mailbox").await.expect(StatusCode::OK).json()["item_count"], 1);
        server.get(me, "/mailbox/folders").await.expect(StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn an_administrator_chooses_where_a_mailbox_is_kept() {
    on_both(|t| async move {
        let server = start(t, false).await;
        let admin = Role::Administrator;
        let path = format!("/people/{}", server.person);
        let before = server.get(admin, &path).await.expect(StatusCode::OK).json();
        assert_eq!((&before["mailbox"]["kept_by"], &before["connectors"]), (&Value::Null, &json!(["dovecot"])));
        let choose = async |role, name: &str| {
            server.call(role, Method::PUT, &format!("{path}/mailbox"), Some(json!({ "connector": name }))).await
        };
        let wrong = choose(admin, "courier").await;
        assert_eq!((wrong.status, &wrong.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("connector")));
        choose(Role::Communicator, "dovecot").await.expect(StatusCode::FORBIDDEN);
        for _ in 0..2 {
            let after = choose(admin, "dovecot").await.expect(StatusCode::OK).json();
            assert_eq!(
                (&after["mailbox"]["kept_by"], &after["mailbox"]["chosen"]),
                (&json!("dovecot"), &json!("dovecot"))
            );
        }
        // The gateway asks the same directory: the next mail goes there.
        let address = "ada@contoso.example".parse().expect("an address");
        let recipient = server.directory.recipient(&address).await.expect("a recipient").expect("Ada");
        assert_eq!(recipient.connector.as_deref(), Some("dovecot"));
        let listed = server.get(admin, "/connectors").await.expect(StatusCode::OK).json();
        assert_eq!((&listed[0]["name"], &listed[0]["chosen_count"]), (&json!("dovecot"), &json!(1)));
        let back = choose(admin, "").await.expect(StatusCode::OK).json();
        assert_eq!(back["mailbox"]["kept_by"], Value::Null);
        let audit = server.get(admin, "/audit").await.expect(StatusCode::OK).json();
        let made = audit["items"].as_array().expect("items").iter().filter(|e| e["action"] == "mailbox.connector");
        assert_eq!(made.count(), 2, "choosing the same again changes nothing: {audit}");
    })
    .await;
}

#[tokio::test]
async fn a_connector_says_that_nobody_answers_and_since_when() {
    on_both(|t| async move {
        let server = start(t, true).await;
        let admin = Role::Administrator;
        let new = server.get(admin, "/connectors").await.expect(StatusCode::OK).json();
        assert_eq!(
            (&new[0]["lmtp"]["state"], &new[0]["imap"]["state"], &new[0]["everywhere"]),
            (&json!("not_asked"), &json!("not_asked"), &json!(true))
        );
        let look = server.post(admin, "/connectors/dovecot/look", json!({})).await.expect(StatusCode::OK).json();
        let lmtp = &look["connector"]["lmtp"];
        assert_eq!((&lmtp["state"], &look["connector"]["imap"]["state"]), (&json!("silent"), &json!("silent")));
        assert!(!lmtp["error"].as_str().expect("why").is_empty() && lmtp["since_at"].is_string(), "{look}");
        assert!(look["sentence"].as_str().expect("a sentence").starts_with("It does not answer: "), "{look}");
        let since = lmtp["since_at"].clone();
        let again = server.post(admin, "/connectors/dovecot/look", json!({})).await.expect(StatusCode::OK).json();
        assert_eq!(again["connector"]["lmtp"]["since_at"], since, "since the first time in a row");
        server.post(admin, "/connectors/courier/look", json!({})).await.expect(StatusCode::NOT_FOUND);
        server.post(Role::Analyst, "/connectors/dovecot/look", json!({})).await.expect(StatusCode::FORBIDDEN);
    })
    .await;
}
