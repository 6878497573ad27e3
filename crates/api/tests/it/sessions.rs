//! Sessions in a browser: the cookie, the header against forged requests, wrong passwords, links used once.

use api::COOKIE;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use directory::NewAccount;
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::{Answer, PASSWORD, Server};

/// A request with a JSON body (or none) and these headers.
async fn call(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    server.send(request.body(body).expect("a request")).await
}

async fn sign_in(server: &Server, password: &str) -> Answer {
    call(server, "POST", "/api/v1/session", &[], Some(json!({ "login": "carla", "password": password }))).await
}

async fn with_carla(test: testkit::TestStore) -> Server {
    let server = Server::start(test).await;
    let carla = NewAccount {
        login: "carla".into(),
        name: "Carla".into(),
        role: Role::Administrator,
        person_id: None,
        password: Some(PASSWORD.into()),
    };
    server.directory.create_account(carla).await.expect("an account");
    server
}

/// `landfall_session=…` as a browser sends it back.
fn cookie_of(answer: &Answer) -> String {
    answer.header(header::SET_COOKIE).split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn a_session_lives_from_sign_in_to_sign_out() {
    on_both(|t| async move {
        let server = with_carla(t).await;
        let signed_in = sign_in(&server, PASSWORD).await.expect(StatusCode::OK);
        let set = signed_in.header(header::SET_COOKIE).to_owned();
        for part in [COOKIE, "HttpOnly", "SameSite=Lax", "Path=/", "Secure", "Max-Age="] {
            assert!(set.contains(part), "{set:?} lacks {part}");
        }
        let me = signed_in.json();
        assert_eq!(
            (&me["login"], &me["role"], &me["organisation"]["name"]),
            (&json!("carla"), &json!("administrator"), &json!("Contoso"))
        );
        let (cookie, csrf) = (cookie_of(&signed_in), me["csrf"].as_str().expect("a csrf").to_owned());
        let cookie = ("cookie", cookie.as_str());

        let again = call(&server, "GET", "/api/v1/me", &[cookie], None).await.expect(StatusCode::OK).json();
        assert_eq!(again["csrf"], json!(csrf));
        let list = || Some(json!({ "name": "Friends" }));
        for headers in [&[cookie][..], &[cookie, ("x-csrf-token", "wrong")], &[cookie, ("x-csrf-token", "")]] {
            let forged = call(&server, "POST", "/api/v1/lists", headers, list()).await;
            assert_eq!(forged.status, StatusCode::FORBIDDEN, "{forged:?}");
            assert_eq!(forged.json()["type"], "/problems/csrf");
        }
        let honest = [cookie, ("x-csrf-token", csrf.as_str())];
        call(&server, "POST", "/api/v1/lists", &honest, list()).await.expect(StatusCode::CREATED);

        call(&server, "DELETE", "/api/v1/session", &honest, None).await.expect(StatusCode::NO_CONTENT);
        call(&server, "GET", "/api/v1/me", &[cookie], None).await.expect(StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn guessing_passwords_gets_slow_and_tells_nothing() {
    let server = with_carla(testkit::sqlite().await).await;
    let unknown = json!({ "login": "nobody", "password": "wrong wrong wrong" });
    let unknown = call(&server, "POST", "/api/v1/session", &[], Some(unknown)).await.expect(StatusCode::UNAUTHORIZED);
    let wrong = sign_in(&server, "wrong wrong wrong").await.expect(StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.json()["detail"], wrong.json()["detail"]);
    for _ in 0..4 {
        sign_in(&server, "wrong wrong wrong").await.expect(StatusCode::UNAUTHORIZED);
    }
    let refused = sign_in(&server, PASSWORD).await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header(header::RETRY_AFTER), "2");
    server.test.clock.advance_ms(2_000);
    sign_in(&server, PASSWORD).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn guessing_the_password_in_an_open_session_gets_slow_too() {
    let server = with_carla(testkit::sqlite().await).await;
    let signed_in = sign_in(&server, PASSWORD).await.expect(StatusCode::OK);
    let (cookie, csrf) = (cookie_of(&signed_in), signed_in.json()["csrf"].as_str().expect("a csrf").to_owned());
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let change = async |current: &str| {
        let body = json!({ "current": current, "password": "another long password" });
        call(&server, "PUT", "/api/v1/me/password", &headers, Some(body)).await
    };
    for _ in 0..5 {
        change("wrong wrong wrong").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let refused = change(PASSWORD).await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header(header::RETRY_AFTER), "2");
    server.test.clock.advance_ms(2_000);
    change(PASSWORD).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_link_signs_in_once() {
    on_both(|t| async move {
        let server = with_carla(t).await;
        let carla = server.directory.account_by_login("carla").await.expect("a look-up").expect("Carla");
        let path = format!("/accounts/{}/sign-in-link", carla.id);
        let link = server.post(Role::Owner, &path, json!({})).await.expect(StatusCode::CREATED).json();
        let by_link =
            |token: Value| call(&server, "POST", "/api/v1/session/link", &[], Some(json!({ "token": token })));
        let first = by_link(link["token"].clone()).await.expect(StatusCode::OK);
        assert_eq!(first.json()["login"], "carla");
        by_link(link["token"].clone()).await.expect(StatusCode::UNAUTHORIZED);
        by_link(json!("forged")).await.expect(StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn only_an_owner_makes_owners() {
    let server = Server::start(testkit::sqlite().await).await;
    let new = json!({ "login": "second", "name": "Second", "role": "owner" });
    server.post(Role::Administrator, "/accounts", new.clone()).await.expect(StatusCode::FORBIDDEN);
    // Nor more than one's own role holds: an analyst may release what an administrator may not.
    let analyst = json!({ "login": "third", "name": "Third", "role": "analyst" });
    server.post(Role::Administrator, "/accounts", analyst).await.expect(StatusCode::FORBIDDEN);
    let recipient = json!({ "login": "fourth", "name": "Fourth", "role": "recipient" });
    server.post(Role::Administrator, "/accounts", recipient).await.expect(StatusCode::CREATED);
    let owner = server.directory.account_by_login("owner").await.expect("a look-up").expect("the owner");
    let path = format!("/accounts/{}/sign-in-link", owner.id);
    server.post(Role::Administrator, &path, json!({})).await.expect(StatusCode::FORBIDDEN);
    server.post(Role::Owner, "/accounts", new).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn only_the_owner_switches_individual_tracking() {
    let server = Server::start(testkit::sqlite().await).await;
    let mut settings = server.get(Role::Administrator, "/settings").await.expect(StatusCode::OK).json();
    settings["tracking"]["individual"] = json!({ "purpose": "safety training", "legal_basis": "works agreement 7" });
    let put = |role, body: Value| server.call(role, axum::http::Method::PUT, "/settings", Some(body));
    put(Role::Administrator, settings.clone()).await.expect(StatusCode::FORBIDDEN);
    let saved = put(Role::Owner, settings).await.expect(StatusCode::OK).json();
    assert_eq!(saved["tracking"]["individual"]["by"], "owner");
}

#[tokio::test]
async fn only_the_owner_moves_the_limit_that_asks_for_a_second_person() {
    let server = Server::start(testkit::sqlite().await).await;
    let mut settings = server.get(Role::Administrator, "/settings").await.expect(StatusCode::OK).json();
    let put = |role, body: Value| server.call(role, axum::http::Method::PUT, "/settings", Some(body));
    put(Role::Administrator, settings.clone()).await.expect(StatusCode::OK);
    settings["limits"]["mass_action_max"] = json!(1_000_000);
    let refused = put(Role::Administrator, settings.clone()).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(refused.json()["field"], "limits.mass_action_max");
    put(Role::Owner, settings).await.expect(StatusCode::OK);
    let kept = server.get(Role::Administrator, "/settings").await.expect(StatusCode::OK).json();
    assert_eq!(kept["limits"]["mass_action_max"], 1_000_000);
}
