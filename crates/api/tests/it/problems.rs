//! Bad input gets a problem document that names the field and says what to do, and changes nothing.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use model::Role;
use serde_json::json;
use testkit::on_both;

use crate::server::{Answer, Server};

/// Fails unless the answer is a problem document of this status, field and words.
#[track_caller]
fn check(answer: &Answer, status: u16, field: &str, words: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    assert!(problem["type"].as_str().expect("a type").starts_with("/problems/"), "{problem}");
    assert!(!problem["reference"].as_str().expect("a reference").is_empty(), "{problem}");
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let server = Server::start(testkit::sqlite().await).await;
    let admin = Role::Administrator;
    check(&server.get(admin, "/people?limit=1000").await, 422, "limit", "1 to 200");
    check(&server.get(admin, "/people?limit=many").await, 400, "limit", "digit");
    check(&server.get(admin, "/people?after=yesterday").await, 400, "after", "cursor");
    check(&server.get(admin, "/people?colour=red").await, 400, "colour", "colour");
    check(&server.get(admin, "/trace?after=1.2").await, 400, "after", "cursor");
    check(&server.get(admin, "/trace?place=heaven").await, 400, "place", "heaven");
    check(&server.get(admin, "/people/abc").await, 400, "id", "decimal");
    check(&server.get(admin, "/people/12").await, 404, "", "no such person");
    check(&server.get(admin, "/nothing").await, 404, "", "no such operation");
    check(&server.call(admin, Method::DELETE, "/people", None).await, 405, "", "method");
    check(&server.post(admin, "/lists", json!({ "name": "A", "colour": "red" })).await, 422, "colour", "colour");
    check(&server.post(admin, "/lists", json!({ "name": 7 })).await, 422, "name", "string");
    check(&server.post(admin, "/lists", json!({ "name": "A", "person_ids": [12] })).await, 422, "person_ids[0]", "");
    check(
        &server.post(admin, "/lists", json!({ "name": "A", "person_ids": ["12"] })).await,
        422,
        "person_ids",
        "number 1 of these",
    );
    check(&server.post(admin, "/quarantine/release", json!({})).await, 422, "item_ids", "exactly one");
    check(&server.get(admin, "/events?topics=weather").await, 400, "topics", "weather");
    check(
        &server.get(Role::Recipient, "/events?topics=jobs").await,
        403,
        "",
        "an administrator, an analyst or an owner",
    );
    check(&server.get(Role::Recipient, "/mailbox/folders/1/items?after=x").await, 400, "after", "cursor");
    check(&server.get(Role::Recipient, "/mailbox/items/77").await, 404, "", "no such item");
    check(&server.get(admin, "/mailbox/folders").await, 404, "", "belongs to no person");
    let syntax = Request::post("/api/v1/lists")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token(admin)))
        .header(header::CONTENT_TYPE, "application/json");
    check(&server.send(syntax.body(Body::from("{\"name\":")).expect("a request")).await, 400, "", "not valid JSON");
    let plain = Request::post("/api/v1/lists").header(header::AUTHORIZATION, format!("Bearer {}", server.token(admin)));
    check(&server.send(plain.body(Body::from("{}")).expect("a request")).await, 400, "", "application/json");
    let large = Request::post("/api/v1/lists")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token(admin)))
        .header(header::CONTENT_TYPE, "application/json");
    let body = Body::from(vec![b' '; 3 * 1024 * 1024]);
    check(&server.send(large.body(body).expect("a request")).await, 413, "", "larger");
}

#[tokio::test]
async fn a_wrong_token_is_nobody() {
    let server = Server::start(testkit::sqlite().await).await;
    for value in ["Bearer lf_wrong", "Bearer", "Basic YTpi", &format!("Bearer {}", "x".repeat(10_000))] {
        let request = Request::get("/api/v1/me").header(header::AUTHORIZATION, value).body(Body::empty());
        let answer = server.send(request.expect("a request")).await;
        check(&answer, 401, "", "Sign in");
        assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer");
    }
}

#[tokio::test]
async fn a_csv_with_bad_rows_names_their_lines_and_applies_nothing() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let import = |query: &str, csv: &'static str| {
            let request = Request::post(format!("/api/v1/people/import{query}"))
                .header(header::AUTHORIZATION, format!("Bearer {}", server.token(Role::Administrator)))
                .header(header::CONTENT_TYPE, "text/csv");
            server.send(request.body(Body::from(csv)).expect("a request"))
        };
        let csv = "address,name,city\nbob@contoso.example,Bob,Bonn\nnonsense,Carla,Bonn\n";
        let report = import("?list=All", csv).await.expect(StatusCode::OK).json();
        assert_eq!(report["applied"], false, "{report}");
        assert_eq!(report["rejected"][0]["line"], 3);
        assert_eq!(report["rejected"][0]["field"], "address");
        let people = server.get(Role::Administrator, "/people").await.expect(StatusCode::OK).json();
        assert_eq!(people["items"].as_array().expect("items").len(), 1, "only Ada");

        let report = import("?list=All&take_good=true", csv).await.expect(StatusCode::OK).json();
        assert_eq!((&report["applied"], &report["created_count"]), (&json!(true), &json!(1)), "{report}");
        let lists = server.get(Role::Administrator, "/lists").await.expect(StatusCode::OK).json();
        assert_eq!(lists[0]["member_count"], 1);
        let list = lists[0]["id"].as_str().expect("an id").to_owned();
        let members = server.get(Role::Administrator, &format!("/lists/{list}/members")).await.json();
        assert_eq!(members["items"][0]["address"], "bob@contoso.example");
        let form = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"p.csv\"\r\n\r\n\
            address,name\ncarl@contoso.example,Carl\n\r\n--b--\r\n";
        let request = Request::post("/api/v1/people/import")
            .header(header::AUTHORIZATION, format!("Bearer {}", server.token(Role::Administrator)))
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
        let report = server.send(request.body(Body::from(form)).expect("a request")).await.expect(StatusCode::OK);
        assert_eq!(report.json()["created_count"], 1);
        check(&import("", "name\nBob\n").await, 422, "csv", "address");
        let mut form = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"p.csv\"\r\n\r\n".to_vec();
        form.resize(64 * 1024 * 1024 + 1, b'a');
        let request = Request::post("/api/v1/people/import")
            .header(header::AUTHORIZATION, format!("Bearer {}", server.token(Role::Administrator)))
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
        check(&server.send(request.body(Body::from(form)).expect("a request")).await, 413, "", "larger");
    })
    .await;
}

#[tokio::test]
async fn a_feed_file_with_a_bad_line_is_refused_whole() {
    let server = Server::start(testkit::sqlite().await).await;
    let proposal = |add: &str| {
        json!({ "reason": "test", "proposal":
            { "kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish", "add": add } })
    };
    let refused = server.post(Role::Administrator, "/changes", proposal("evil.example\nnot a host\n")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.json()["field"].as_str().expect("a field").contains('2'), "{refused:?}");
    let changes = server.get(Role::Administrator, "/changes").await.expect(StatusCode::OK).json();
    assert_eq!(changes["items"], json!([]));
}
