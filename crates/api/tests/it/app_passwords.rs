//! App passwords over the API: made, listed, used, revoked, and nobody else's business.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use directory::{ClientScope, NewAccount, NewPerson};
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::{Answer, PASSWORD, Server};

const PATH: &str = "/me/app-passwords";

/// A login for a person of their own; gives its token.
async fn person(server: &Server, address: &str) -> String {
    let new = NewPerson {
        address: address.parse().expect("an address"),
        name: address.into(),
        department: String::new(),
        city: String::new(),
        language: "en".into(),
        attributes: BTreeMap::new(),
    };
    server.directory.put_people(&[new]).await.expect("people");
    let person_id = server.directory.person_by_address(address).await.expect("people").map(|person| person.id);
    let new = NewAccount {
        login: address.into(),
        name: address.into(),
        role: Role::Recipient,
        person_id,
        password: Some(PASSWORD.into()),
    };
    let account = server.directory.create_account(new).await.expect("an account");
    server.directory.create_api_token(account.id, "test").await.expect("a token").1
}

async fn call(server: &Server, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    server.send(request.body(body).expect("a request")).await
}

async fn list(server: &Server, token: &str) -> Vec<Value> {
    let answer = call(server, token, Method::GET, PATH, None).await.expect(StatusCode::OK);
    answer.json().as_array().expect("a list").clone()
}

async fn opens(server: &Server, login: &str, secret: &str, scope: ClientScope) -> bool {
    server.directory.client_login(login, secret, scope, None).await.expect("an answer").is_some()
}

#[tokio::test]
async fn they_are_made_listed_used_and_revoked() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let bob = person(&server, "bob@contoso.example").await;
        assert!(list(&server, &bob).await.is_empty());

        let made =
            call(&server, &bob, Method::POST, PATH, Some(json!({ "name": " Phone ", "scopes": ["imap"] }))).await;
        let made = made.expect(StatusCode::CREATED).json();
        let secret = made["secret"].as_str().expect("a secret");
        assert_eq!(
            (&made["name"], &made["scopes"], &made["login"], &made["last_used_at"]),
            (&json!("Phone"), &json!(["imap"]), &json!("bob@contoso.example"), &Value::Null)
        );
        assert!(opens(&server, "bob@contoso.example", secret, ClientScope::Imap).await);
        assert!(!opens(&server, "bob@contoso.example", secret, ClientScope::Submission).await, "it is for reading");
        assert!(!opens(&server, "ada@contoso.example", secret, ClientScope::Imap).await, "it is Bob's");

        let all = call(&server, &bob, Method::POST, PATH, Some(json!({ "name": "Desk" }))).await;
        let all = all.expect(StatusCode::CREATED).json();
        assert_eq!(all["scopes"], json!(["imap", "submission"]), "left out: everything");
        let listed = list(&server, &bob).await;
        let names: Vec<&Value> = listed.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["Desk", "Phone"], "newest first");
        assert!(listed.iter().all(|one| one.get("secret").is_none()), "shown once");
        assert!(listed[1]["last_used_at"].is_string() && listed[0]["last_used_at"].is_null(), "{listed:?}");

        let path = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
        call(&server, &bob, Method::DELETE, &path, None).await.expect(StatusCode::NO_CONTENT);
        assert!(!opens(&server, "bob@contoso.example", secret, ClientScope::Imap).await, "revoked");
        assert!(
            opens(&server, "bob@contoso.example", all["secret"].as_str().expect("a secret"), ClientScope::Imap).await
        );
        call(&server, &bob, Method::DELETE, &path, None).await.expect(StatusCode::NOT_FOUND);
        assert_eq!(list(&server, &bob).await.len(), 1);

        let audited = server.directory.audit_page(None, 10).await.expect("the audit");
        let actions: Vec<&str> = audited.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(
            actions.iter().filter(|action| action.starts_with("app_password.")).collect::<Vec<_>>(),
            [&"app_password.revoke", &"app_password.create", &"app_password.create"]
        );
    })
    .await;
}

#[tokio::test]
async fn those_of_others_are_out_of_reach() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let bob = person(&server, "bob@contoso.example").await;
        let eve = person(&server, "eve@contoso.example").await;
        let made = call(&server, &bob, Method::POST, PATH, Some(json!({ "name": "Phone" }))).await;
        let made = made.expect(StatusCode::CREATED).json();
        assert!(list(&server, &eve).await.is_empty());
        let path = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
        call(&server, &eve, Method::DELETE, &path, None).await.expect(StatusCode::NOT_FOUND);
        for role in Role::ALL.iter().copied().filter(|role| *role != Role::Recipient) {
            let answer = server.call(role, Method::DELETE, &path, None).await;
            assert!(!answer.status.is_success(), "{role}: {answer:?}");
            let answer = server.post(role, PATH, json!({ "name": "x" })).await;
            assert!(!answer.status.is_success(), "{role} has no mailbox: {answer:?}");
        }
        let secret = made["secret"].as_str().expect("a secret");
        assert!(opens(&server, "bob@contoso.example", secret, ClientScope::Imap).await, "still Bob's");
        server.visit("/api/v1/me/app-passwords").await.expect(StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_made_is_said() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let bob = person(&server, "bob@contoso.example").await;
        for (body, field) in [
            (json!({ "name": "  " }), "name"),
            (json!({ "name": "x".repeat(101) }), "name"),
            (json!({ "name": "a\u{7}b" }), "name"),
            (json!({ "name": "Phone", "scopes": [] }), "scopes"),
        ] {
            let answer = call(&server, &bob, Method::POST, PATH, Some(body.clone())).await;
            assert!(answer.status.is_client_error(), "{body}: {answer:?}");
            assert_eq!(answer.json()["field"], json!(field), "{body}: {answer:?}");
        }
        for body in [json!({}), json!({ "name": "x", "scopes": ["pop3"] }), json!({ "name": "x", "secret": "mine" })] {
            let answer = call(&server, &bob, Method::POST, PATH, Some(body.clone())).await;
            assert!(answer.status.is_client_error(), "{body}: {answer:?}");
        }
        for _ in 0..directory::APP_PASSWORDS_MAX {
            call(&server, &bob, Method::POST, PATH, Some(json!({ "name": "x" }))).await.expect(StatusCode::CREATED);
        }
        let one_more = call(&server, &bob, Method::POST, PATH, Some(json!({ "name": "x" }))).await;
        assert!(one_more.status.is_client_error(), "{one_more:?}");
    })
    .await;
}
