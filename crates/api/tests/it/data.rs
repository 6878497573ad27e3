//! The way of people through the resources, on both databases.

use axum::http::{Method, StatusCode, header};
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::Server;

const MAIL: &str = "From: News <news@x.example>\r\nTo: Ada <ada@contoso.example>\r\nSubject: Hello\r\n\
    Content-Type: text/html\r\n\r\n<p>Hi <a href=\"https://t.example.org/t/abc\">read</a>\
    <img src=\"https://t.example.org/o/abc.gif\"><script>x()</script></p>\r\n";

#[tokio::test]
async fn a_recipient_reads_flags_moves_and_deletes_own_mail() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let me = Role::Recipient;
        for _ in 0..3 {
            server.receive(MAIL).await;
        }
        let folders = server.get(me, "/mailbox/folders").await.expect(StatusCode::OK).json();
        let inbox = folders.as_array().expect("folders").iter().find(|f| f["role"] == "inbox").expect("an inbox");
        assert_eq!((&inbox["total_count"], &inbox["unseen_count"]), (&json!(3), &json!(3)));
        let path = format!("/mailbox/folders/{}/items", inbox["id"].as_str().expect("an id"));
        let first = server.get(me, &format!("{path}?limit=2")).await.expect(StatusCode::OK).json();
        let next = first["next"].as_str().expect("a cursor");
        let second = server.get(me, &format!("{path}?limit=2&after={next}")).await.expect(StatusCode::OK).json();
        assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
        assert_eq!(second["next"], Value::Null);

        let item = format!("/mailbox/items/{}", first["items"][0]["id"].as_str().expect("an id"));
        let mail = server.get(me, &item).await.expect(StatusCode::OK).json();
        let html = mail["html"].as_str().expect("html");
        assert!(html.contains("https://t.example.org/t/abc") && html.contains("/o/abc.gif"), "{html}");
        assert!(!html.contains("script"), "{html}");
        assert_eq!(mail["seen"], false, "looking does not mark it read");
        let raw = server.get(me, &format!("{item}/raw")).await.expect(StatusCode::OK);
        assert_eq!((raw.header(header::CONTENT_TYPE), raw.text().as_str()), ("message/rfc822", MAIL));
        let page = server.get(me, &format!("{item}/html?pictures=true")).await.expect(StatusCode::OK);
        let policy = page.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.contains("sandbox") && policy.contains("img-src data: http: https:"), "{policy}");

        let flags = json!({ "seen": true, "keywords": ["later"] });
        let flagged = server.call(me, Method::PATCH, &item, Some(flags)).await.expect(StatusCode::OK).json();
        assert_eq!((&flagged["seen"], &flagged["keywords"]), (&json!(true), &json!(["later"])));
        let made = server.post(me, "/mailbox/folders", json!({ "name": "Keep" })).await.expect(StatusCode::CREATED);
        let moved = server.post(me, &format!("{item}/move"), json!({ "folder_id": made.json()["id"] })).await;
        assert_eq!(moved.expect(StatusCode::OK).json()["folder_id"], made.json()["id"]);
        for _ in 0..2 {
            server.call(me, Method::DELETE, &item, None).await.expect(StatusCode::NO_CONTENT); // to Trash, then for good
        }
        server.get(me, &item).await.expect(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_traced_and_found() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let copy = server.receive(MAIL).await;
        let admin = Role::Administrator;
        let found = server.get(admin, "/trace?recipient=ADA@contoso.example").await.expect(StatusCode::OK).json();
        assert_eq!(found["items"][0]["copy_id"], json!(copy));
        assert_eq!(
            (&found["items"][0]["place"], &found["items"][0]["last_event"]),
            (&json!("inbox"), &json!("accepted"))
        );
        let none = server.get(admin, "/trace?recipient=bob@contoso.example").await.expect(StatusCode::OK).json();
        assert_eq!(none["items"], json!([]));
        let detail = server.get(admin, &format!("/trace/{copy}")).await.expect(StatusCode::OK).json();
        assert_eq!(detail["timeline"][0]["kind"], "accepted");
        assert!(!detail["answer"].as_str().expect("an answer").is_empty());
        // A communicator sees copies of campaigns, not everybody's mail.
        server.get(Role::Communicator, &format!("/copies/{copy}")).await.expect(StatusCode::NOT_FOUND);
        server.get(Role::Owner, &format!("/copies/{copy}")).await.expect(StatusCode::OK);
        let hits = server.get(admin, "/search?q=one@x.example").await.expect(StatusCode::OK).json();
        assert_eq!((&hits[0]["kind"], &hits[0]["id"]), (&json!("copy"), &json!(copy)));
        let hidden = server.get(Role::Communicator, "/search?q=one@x.example").await.expect(StatusCode::OK).json();
        assert_eq!(hidden, json!([]));
        let linked = server.get(admin, "/trace?url_host=shop.example").await.expect(StatusCode::OK).json();
        assert_eq!(linked["items"], json!([]), "no mail links there");
        let both = server.get(admin, "/trace?url_host=shop.example&message_id=one@x.example").await;
        assert_eq!(both.expect(StatusCode::UNPROCESSABLE_ENTITY).json()["field"], "url_host");
    })
    .await;
}

#[tokio::test]
async fn a_campaign_is_written_checked_and_shown() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let me = Role::Communicator;
        let mut draft = json!({
            "name": "News", "subject": "News for {{ first_name | default(\"you\") }}", "from_name": "Contoso",
            "from_address": "news@contoso.example", "content_type": "html",
            "content": "<p>Hello {{ first_name | default(\"you\") }}, <a href=\"https://contoso.example/a\">read</a></p>",
        });
        let made = server.post(me, "/campaigns", draft.clone()).await.expect(StatusCode::CREATED).json();
        let path = format!("/campaigns/{}", made["id"].as_str().expect("an id"));
        let person = server.person.to_string();
        let shown = server.post(me, &format!("{path}/preview"), json!({ "person_id": person })).await;
        assert_eq!(shown.expect(StatusCode::OK).json()["subject"], "News for Ada");
        let lint = server.get(me, &format!("{path}/lint")).await.expect(StatusCode::OK).json();
        assert_eq!(lint["sendable"], false, "it has no list yet: {lint}");
        let refused = server.post(me, &format!("{path}/send"), json!({})).await;
        assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("from_address")), "there is no DKIM key yet");
        draft["subject"] = json!("{{ shoe_size }}");
        let unknown = server.call(me, Method::PUT, &path, Some(draft)).await;
        assert_eq!((unknown.status, &unknown.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("subject")));
        for part in ["", "/stats", "/whereabouts", "/whereabouts/over-time", "/copies", "/not-received"] {
            server.get(me, &format!("{path}{part}")).await.expect(StatusCode::OK);
        }
        let listed = server.get(me, "/campaigns").await.expect(StatusCode::OK).json();
        assert_eq!((&listed["items"][0]["name"], &listed["items"][0]["state"]), (&json!("News"), &json!("draft")));
        let home = server.get(me, "/home").await.expect(StatusCode::OK).json();
        assert_eq!((&home["campaigns"][0]["name"], &home["waiting"]), (&json!("News"), &Value::Null));
        let asked = server.post(me, &format!("{path}/release-request"), json!({ "reason": "please" })).await;
        assert_eq!(asked.expect(StatusCode::OK).json()["done_count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_change_goes_through_its_life() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let admin = Role::Administrator;
        let mut heard = server.store.bus().subscribe();
        let proposal = json!({ "kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish",
            "add": "evil.example\n" });
        let made = server.post(admin, "/changes", json!({ "proposal": proposal, "reason": "seen" })).await;
        let made = made.expect(StatusCode::CREATED).json();
        let path = format!("/changes/{}", made["id"].as_str().expect("an id"));
        let early = server.post(admin, &format!("{path}/activate"), json!({})).await;
        assert_eq!(early.status, StatusCode::CONFLICT, "nothing is in force without a backtest: {early:?}");
        server.post(admin, &format!("{path}/backtest"), json!({})).await.expect(StatusCode::OK);
        while server.get(admin, &path).await.json()["change"]["state"] != "backtested" {
            let wait = tokio::time::timeout(std::time::Duration::from_secs(30), heard.recv());
            let _news = wait.await.expect("the backtest ends").expect("the bus is open");
        }
        let detail = server.get(admin, &path).await.json();
        assert_eq!((&detail["report"]["moved_count"], &detail["diff"]["kind"]), (&json!(0), &json!("feed")));
        server.get(admin, &format!("{path}/copies")).await.expect(StatusCode::OK);
        let done = server.post(admin, &format!("{path}/activate"), json!({})).await.expect(StatusCode::OK).json();
        assert_eq!((&done["changed"], &done["change"]["state"]), (&json!(true), &json!("active")));
        let again = server.post(admin, &format!("{path}/activate"), json!({})).await.expect(StatusCode::OK).json();
        assert_eq!(again["changed"], false);
        let undone = server.post(admin, &format!("{path}/undo"), json!({ "reason": "ours" })).await;
        assert_eq!(undone.expect(StatusCode::OK).json()["change"]["state"], "undone");
        let again = server.post(admin, &format!("{path}/undo"), json!({})).await.expect(StatusCode::OK).json();
        assert_eq!(again["changed"], false);
        let versions = server.get(admin, "/rule-sets").await.expect(StatusCode::OK).json();
        assert_eq!(versions["items"].as_array().expect("versions").len(), 3);
        let id = versions["items"][0]["id"].as_str().expect("an id");
        server.get(admin, &format!("/rule-sets/{id}")).await.expect(StatusCode::OK);
        let audit = server.get(admin, "/audit").await.expect(StatusCode::OK).json();
        let actions: Vec<&str> =
            audit["items"].as_array().unwrap().iter().filter_map(|entry| entry["action"].as_str()).collect();
        assert!(actions.contains(&"change.activate") && actions.contains(&"change.undo"), "{actions:?}");
    })
    .await;
}

#[tokio::test]
async fn an_allow_entry_ends_and_repeating_it_says_so() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let until = |ms: i64| server.store.now().plus_ms(ms).to_rfc3339();
        let week = 7 * 24 * 60 * 60 * 1000;
        let ask = |expires_at: String| {
            let body =
                json!({ "kind": "url", "value": "t.contoso.example/*", "expires_at": expires_at, "reason": "ours" });
            server.post(Role::Administrator, "/allow", body)
        };
        let first = ask(until(week)).await.expect(StatusCode::OK).json();
        assert_eq!(first["changed"], true, "{first}");
        let again = ask(until(week)).await.expect(StatusCode::OK).json();
        assert_eq!((&again["changed"], &again["change"]), (&json!(false), &Value::Null));
        let long = ask(until(60 * week)).await;
        assert_eq!((long.status, &long.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("expires_at")));
    })
    .await;
}

#[tokio::test]
async fn administrators_see_their_pages_empty() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let pages = [
            "/home",
            "/quarantine",
            "/quarantine/facets",
            "/rules",
            "/feeds",
            "/list-entries",
            "/policies",
            "/incidents",
            "/jobs",
            "/queue",
            "/queue/items",
            "/accounts",
            "/tokens",
            "/totals",
            "/my/quarantine",
            "/lists",
        ];
        for page in pages {
            let role = if page.starts_with("/my") { Role::Recipient } else { Role::Administrator };
            server.get(role, page).await.expect(StatusCode::OK);
        }
        let rules = server.get(Role::Analyst, "/rules").await.json();
        assert_eq!(rules.as_array().expect("rules").len(), verdict::RULES.len());
        let nothing = server.post(Role::Administrator, "/quarantine/release", json!({ "campaign_id": "1" })).await;
        assert_eq!(nothing.expect(StatusCode::OK).json()["done_count"], 0);
    })
    .await;
}

#[tokio::test]
async fn news_reaches_who_may_hear_it() {
    let server = Server::start(testkit::sqlite().await).await;
    let mut line = server.listen(Role::Recipient, "/events").await;
    server.store.bus().announce(store::Topic::Change, 5);
    server.receive(MAIL).await; // announces nothing by itself
    let mailbox = mailbox::Embedded::new(server.store.clone()).mailbox_of(server.person).await.unwrap().unwrap();
    server.store.bus().announce(store::Topic::Mailbox, mailbox.id.0 + 1);
    server.store.bus().announce(store::Topic::Mailbox, mailbox.id);
    let heard = line.next().await;
    assert!(heard.contains("event: mailbox") && heard.contains(&mailbox.id.to_string()), "{heard}");
}

#[tokio::test]
async fn held_mail_is_looked_at_and_released_once() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let admin = Role::Administrator;
        let (copy, item) = server.hold(MAIL).await;
        let (path, selection) = (format!("/quarantine/items/{item}"), json!({ "item_ids": [item] }));
        let listed =
            server.get(admin, "/quarantine?status=needs_review&reason=spam").await.expect(StatusCode::OK).json();
        assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["held_by"]), (&json!(item), &json!("arrival")));
        let none = server.get(admin, "/quarantine?reason=malware").await.expect(StatusCode::OK).json();
        assert_eq!(none["items"], json!([]));
        let facets = server.get(admin, "/quarantine/facets").await.expect(StatusCode::OK).json();
        assert_eq!((&facets["total_count"], &facets["status"][0]["value"]), (&json!(1), &json!("needs_review")));
        let detail = server.get(admin, &path).await.expect(StatusCode::OK).json();
        assert_eq!((&detail["returns_to"], &detail["timeline"][0]["kind"]), (&json!("Inbox"), &json!("held")));
        let why = json!({ "reason": "Ada asked" });
        let preview = server.post(admin, &format!("{path}/preview"), why.clone()).await.expect(StatusCode::OK).json();
        let html = preview["html"].as_str().expect("html");
        assert!(!html.contains("href") && !html.contains("<img"), "{html}");
        let headers = server.post(admin, &format!("{path}/headers"), why).await.expect(StatusCode::OK).json();
        assert!(headers["raw"].as_str().expect("a header section").starts_with("From: News"), "{headers}");

        let own = server.get(Role::Recipient, "/my/quarantine").await.expect(StatusCode::OK).json();
        assert_eq!((&own["items"][0]["id"], &own["items"][0]["recipient_may_release"]), (&json!(item), &json!(false)));
        server.get(Role::Recipient, &format!("/my/quarantine/{item}/preview")).await.expect(StatusCode::OK);
        let refused = server.post(Role::Recipient, &format!("/my/quarantine/{item}/release"), json!({})).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        let asked = server.post(Role::Recipient, &format!("/my/quarantine/{item}/request"), json!({})).await;
        assert_eq!(asked.expect(StatusCode::OK).json()["done_count"], 1);
        let home = server.get(admin, "/home").await.expect(StatusCode::OK).json();
        assert_eq!(home["waiting"]["release_requests_count"], 1);

        let effect = server.post(admin, "/quarantine/release/preview", selection.clone()).await;
        assert_eq!(effect.expect(StatusCode::OK).json()["arrival_count"], 1);
        let done = server.post(admin, "/quarantine/release", selection.clone()).await.expect(StatusCode::OK).json();
        assert_eq!((&done["done_count"], &done["unchanged_count"]), (&json!(1), &json!(0)));
        let again = server.post(admin, "/quarantine/release", selection).await.expect(StatusCode::OK).json();
        assert_eq!((&again["done_count"], &again["unchanged_count"]), (&json!(0), &json!(1)));
        let detail = server.get(admin, &format!("/trace/{copy}")).await.expect(StatusCode::OK).json();
        assert_eq!((&detail["item"]["place"], &detail["item"]["last_event"]), (&json!("inbox"), &json!("released")));
        assert_eq!(detail["quarantine_item_id"], json!(item));
        let home = server.get(Role::Recipient, "/home").await.expect(StatusCode::OK).json();
        assert_eq!((&home["unseen_count"], &home["own_held_count"]), (&json!(1), &json!(0)));
        let audit = server.get(admin, "/audit").await.expect(StatusCode::OK).json();
        let actions: Vec<_> = audit["items"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
        let expected = ["trace.open", "quarantine.release", "quarantine.release", "quarantine.headers"];
        assert_eq!(actions[..4], expected, "{audit}");
    })
    .await;
}
