//! Bad input meets a clear error that says where and what to do, and nothing is half applied.

use serde_json::{Value, json};

use crate::site::{Running, Site};
use crate::web::{Api, client, send, visit};

const ADA: &str = "ada@example.org";
const MJML: &str = "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ first_name | default(\"you\") }}, \
    read <a href=\"https://intranet.example.org/news\">the news</a> of this week.</mj-text></mj-column></mj-section>\
    </mj-body></mjml>";

/// A server with Ada, and its owner.
async fn with_ada() -> (Running, Api) {
    let (server, owner) = Site::new().serve_first().await;
    owner.add_people(&[ADA]).await;
    (server, owner)
}

async fn draft(owner: &Api) -> Value {
    json!({
        "name": "News", "subject": "News of the week", "from_name": "News", "from_address": "news@example.org",
        "content_type": "mjml", "content": MJML, "list_id": owner.everyone().await, "tracking": "anonymous",
        "click_tracking": true,
    })
}

#[tokio::test]
async fn a_malformed_csv_row_is_named_by_its_line() {
    let (server, owner) = with_ada().await;
    let before = owner.get("/people").await;
    let csv = "address,name,city\nbob@example.org,Bob,Bonn\ncarl@example.org,Carl\nnonsense,Dora,Bonn\nemil@example.org,,Ulm\n";
    let report = owner.import(csv).await.done();
    assert_eq!((&report["applied"], &report["rejected_count"]), (&json!(false), &json!(3)));
    for (n, (line, field, words)) in
        [(3, "", "check commas"), (4, "address", "nonsense"), (5, "name", "empty")].into_iter().enumerate()
    {
        let row = &report["rejected"][n];
        assert_eq!((&row["line"], &row["field"]), (&json!(line), &json!(field)), "{report}");
        assert!(row["problem"].as_str().is_some_and(|p| p.contains(words)), "{row}");
    }
    owner.import("name,city\nBob,Bonn\n").await.refused(422, "csv", &["address"]);
    assert_eq!(owner.get("/people").await, before, "nobody is made");
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_merge_field_is_named() {
    let (server, owner) = with_ada().await;
    let mut wrong = draft(&owner).await;
    wrong["content"] = json!(MJML.replace("<mj-text>", "<mj-text>\n\n{{ shoe_size }} "));
    let refused = owner.post("/campaigns", wrong).await;
    refused.refused(422, "content", &["shoe_size", "first_name"]);
    assert_eq!(refused.json()["errors"][0]["line"], 3, "{refused:?}");
    let mut wrong = draft(&owner).await;
    wrong["subject"] = json!("For {{ shoe_size }}");
    owner.post("/campaigns", wrong).await.refused(422, "subject", &["shoe_size"]);
    assert_eq!(owner.items("/campaigns").await.len(), 0, "no draft is kept");
    server.stop().await;
}

#[tokio::test]
async fn broken_mjml_is_named_by_its_line() {
    let (server, owner) = with_ada().await;
    let path = format!(
        "/campaigns/{}",
        owner.post("/campaigns", draft(&owner).await).await.done()["id"].as_str().expect("an id")
    );
    for (content, line) in [
        ("<mjml><mj-body>\n<mj-section>\n<mj-column><mj-text>Hello</mj-column></mj-section></mj-body></mjml>", 3),
        ("<mjml>\n<mj-body><mj-nonsense>Hello</mj-nonsense></mj-body></mjml>", 2),
    ] {
        let mut wrong = draft(&owner).await;
        wrong["content"] = json!(content);
        let refused = owner.put(&path, wrong).await;
        refused.refused(422, "content", &["MJML"]);
        assert_eq!(refused.json()["errors"][0]["line"], line, "{refused:?}");
        assert_eq!(owner.get(&path).await["content"], MJML, "the draft is as it was");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_bad_address_is_refused_at_every_door() {
    let (server, owner) = with_ada().await;
    for (address, words) in
        [("news@", "an @ and a domain"), ("news.example.org", "an @ and a domain"), ("a b@example.org", "not allowed")]
    {
        let mut wrong = draft(&owner).await;
        wrong["from_address"] = json!(address);
        owner.post("/campaigns", wrong).await.refused(422, "from_address", &[words]);
    }
    assert_eq!(owner.items("/campaigns").await.len(), 0);
    let mut talk = server.talk().await;
    assert!(talk.say("EHLO client.example").await.starts_with("250"));
    assert!(talk.say("MAIL FROM:<a@b@client.example>").await.starts_with("501 5.1.7"));
    assert!(talk.say("RCPT TO:<ada@example.org>").await.starts_with("503"), "there is no transaction");
    assert!(talk.say("MAIL FROM:<eve@client.example>").await.starts_with("250"));
    assert!(talk.say("RCPT TO:<ada>").await.starts_with("501 5.1.3"));
    assert!(talk.say("RCPT TO:<ada@>").await.starts_with("501 5.1.3"));
    assert!(talk.say("DATA").await.starts_with("503"), "nobody is addressed");
    drop(talk);
    assert_eq!(owner.copies_of(ADA).await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_mail_is_refused_and_the_session_goes_on() {
    const SIZE_BYTES_MAX: usize = 65_536;
    let site = Site::new().with("LANDFALL_SMTP_SIZE_BYTES_MAX", SIZE_BYTES_MAX.to_string());
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[ADA]).await;
    let mut talk = server.talk().await;
    assert!(talk.say("EHLO client.example").await.starts_with("250"));
    let declared = talk.say(&format!("MAIL FROM:<eve@client.example> SIZE={}", SIZE_BYTES_MAX + 1)).await;
    assert!(declared.starts_with("552 5.3.4"), "{declared}");
    for (size_bytes, reply) in [(SIZE_BYTES_MAX + 2, "552 5.3.4"), (SIZE_BYTES_MAX / 2, "250 ")] {
        assert!(talk.say("MAIL FROM:<eve@client.example>").await.starts_with("250"));
        assert!(talk.say("RCPT TO:<ada@example.org>").await.starts_with("250"));
        assert!(talk.say("DATA").await.starts_with("354"));
        let mut body = b"Subject: large\r\n\r\n".to_vec();
        while body.len() < size_bytes {
            body.extend_from_slice(b"0123456789012345678901234567890123456789\r\n");
        }
        talk.write(&body).await;
        let said = talk.say(".").await;
        assert!(said.starts_with(reply), "{said}");
    }
    assert_eq!(owner.copies_of(ADA).await.len(), 1, "only the second one is there");
    let body = "x".repeat(3 * 1024 * 1024);
    owner.post("/lists", json!({ "name": body })).await.refused(413, "", &["larger"]);
    assert_eq!(owner.get("/lists").await.as_array().map(Vec::len), Some(1), "Everyone alone");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_token_is_nobody() {
    let (server, owner) = with_ada().await;
    let before = owner.get("/people").await;
    let url = format!("http://{}/api/v1/people/import", server.http);
    let csv = "address,name\nmallory@example.org,Mallory\n";
    for token in ["lf_wrong", "", "x y", &"A".repeat(5_000)] {
        let request = client().post(&url).bearer_auth(token).header("content-type", "text/csv").body(csv);
        send(request).await.refused(401, "", &["Sign in"]);
    }
    let cookie =
        client().post(&url).header("cookie", "session=forged; landfall=forged").header("content-type", "text/csv");
    send(cookie.body(csv)).await.refused(401, "", &["Sign in"]);
    send(client().get(format!("http://{}/api/v1/people", server.http))).await.refused(401, "", &["Sign in"]);
    assert_eq!(owner.get("/people").await, before, "nobody is made");
    server.stop().await;
}

#[tokio::test]
async fn a_truncated_or_forged_tracking_link_redirects_nowhere() {
    let (server, owner) = with_ada().await;
    owner.set_base_url(server.http).await;
    let campaign = owner.send_campaign(draft(&owner).await).await;
    let ada = owner.login_of(server.http, ADA).await;
    let mails = ada.inbox().await;
    assert_eq!(mails.len(), 1);
    let mail =
        String::from_utf8(mails[0].clone()).expect("our own mail is ASCII").replace("=\r\n", "").replace("=3D", "=");
    let begin = format!("http://{}/t/", server.http);
    let rest = &mail[mail.find(&begin).expect("a tracked link") + begin.len()..];
    let token = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').expect("an end")];

    let copies = format!("/campaigns/{campaign}/copies");
    let copy = owner.items(&copies).await[0]["id"].as_str().expect("an id").to_owned();
    let before = owner.get(&format!("/copies/{copy}")).await;
    let middle = token.len() / 2;
    let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let forged = [
        token[..token.len() - 1].to_owned(),
        token[..middle].to_owned(),
        token[..1].to_owned(),
        format!("{}{other}{}", &token[..middle], &token[middle + 1..]),
        format!("{token}A"),
        format!("{token}A?url=https://evil.example/"),
        "https%3A%2F%2Fevil.example%2F".to_owned(),
    ];
    for path in &forged {
        let answer = visit(server.http, &format!("/t/{path}")).await;
        assert_eq!((answer.status, answer.headers.get("location")), (404, None), "{path}");
    }
    assert_eq!(owner.get(&format!("/copies/{copy}")).await, before, "nothing is recorded of them");
    for path in [format!("/t/{token}"), format!("/t/{token}?url=https://evil.example/")] {
        let true_link = visit(server.http, &path).await;
        assert_eq!(true_link.status, 302, "{true_link:?}");
        assert_eq!(true_link.headers["location"], "https://intranet.example.org/news");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_feed_file_with_a_bad_line_is_refused_whole() {
    let (server, owner) = with_ada().await;
    let before = owner.get("/rule-sets").await;
    let proposal = |add: &str| {
        json!({ "reason": "today's update", "proposal":
            { "kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish", "add": add } })
    };
    let refused = owner.post("/changes", proposal("evil.example\n# a comment\nnot a host\nworse.example\n")).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let problem = refused.json();
    let said = format!("{} {}", problem["field"], problem["detail"]);
    assert!(said.contains("line 3") && said.contains("not understood"), "{problem}");
    assert_eq!(owner.items("/changes").await.len(), 0);
    assert_eq!(owner.get("/feeds").await.as_array().map(Vec::len), Some(0));
    assert_eq!(owner.get("/rule-sets").await, before);
    owner.post("/changes", proposal("evil.example\n# a comment\nworse.example\n")).await.done();
    server.stop().await;
}

/// A mail whose Subject no database takes as it is: it is delivered, found by what can be shown, and kept byte by byte.
pub async fn mail_with_nul_and_invalid_utf8_is_kept(site: &Site) {
    const MAIL: &[u8] = b"From: eve@client.example\r\nTo: ada@example.org\r\nSubject: bad \0 and \xff\xfe bytes\r\n\
        X-Odd: \0\xff\r\n\r\nText with \xff and \0 too\r\n";
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[ADA]).await;
    server.deliver(ADA, MAIL).await;
    let copies = owner.copies_of(ADA).await;
    assert_eq!(copies.len(), 1, "{copies:?}");
    let subject = copies[0]["subject"].as_str().expect("a subject");
    assert!(subject.starts_with("bad ") && subject.ends_with(" bytes") && !subject.contains('\0'), "{subject:?}");
    let detail = owner.get(&format!("/trace/{}", copies[0]["copy_id"].as_str().expect("an id"))).await;
    assert_eq!(detail["timeline"][0]["kind"], "accepted", "{detail}");
    let ada = owner.login_of(server.http, ADA).await;
    let mails = ada.inbox().await;
    assert!(mails.len() == 1 && mails[0].ends_with(MAIL), "the mail is there as it came: {mails:?}");
    server.stop().await;
}

#[tokio::test]
async fn nul_and_invalid_utf8_in_a_subject() {
    mail_with_nul_and_invalid_utf8_is_kept(&Site::new()).await;
}
