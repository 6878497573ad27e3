//! The binary in front of a real Dovecot: mail lands in Maildirs, is pulled back by a change, put back by its undo, and
//! waits for a Dovecot that is down. The owners' eyes are Python's imaplib.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::dovecot::{Dovecot, DovecotUser};
use tokio::process::Command;
use tokio::time::timeout;

use crate::site::{Running, Site, WAIT};
use crate::web::Api;

const BAD_HOST: &str = "enrol.bad.example";
const SPAM_HOST: &str = "pills.spam.example";

/// Prints every message of a mailbox as JSON; `act` is Python that runs first, with `M` logged in.
const LOOK: &str = r#"
import imaplib, json, re, sys
M = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))
M.login(sys.argv[2], 'owner')
exec(sys.argv[3])
found = []
for line in M.list()[1]:
    name = re.match(rb'\(.*?\) "." (.*)', line).group(1).decode().strip('"')
    if M.select('"%s"' % name, readonly=True)[0] != 'OK':
        continue
    for number in M.search(None, 'ALL')[1][0].split():
        data = M.fetch(number, '(FLAGS INTERNALDATE BODY.PEEK[HEADER])')[1]
        head = data[0][0].decode()
        found.append({
            'folder': name,
            'flags': sorted(f.decode() for f in imaplib.ParseFlags(data[0][0]) if f != b'\\Recent'),
            'date': re.search('INTERNALDATE "(.*?)"', head).group(1),
            'head': data[0][1].decode(),
        })
M.logout()
print(json.dumps(found))
"#;

async fn mailbox(dovecot: &Dovecot, user: &str, act: &str) -> Vec<Value> {
    let python = Command::new("python3")
        .args(["-c", LOOK, &dovecot.imap_port.to_string(), user, act])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(WAIT, python).await.expect("Python ends").expect("python3 is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let all: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    all.as_array().expect("a list").clone()
}

fn folders(mails: &[Value]) -> Vec<&str> {
    mails.iter().map(|mail| mail["folder"].as_str().expect("a folder")).collect()
}

fn site_for(dovecot: &Dovecot) -> Site {
    connected(Site::new(), "DOVECOT", dovecot).with("LANDFALL_MAILBOXES_CONNECTOR", "dovecot")
}

/// The site with one more connector.
fn connected(site: Site, name: &str, dovecot: &Dovecot) -> Site {
    std::fs::write(site.path("master"), format!("{}\n", Dovecot::MASTER_PASSWORD)).expect("a file");
    let master = site.path("master").display().to_string();
    let variable = |key: &str| format!("LANDFALL_CONNECTORS_{name}_{key}");
    site.clone()
        .with(&variable("LMTP"), format!("localhost:{}", dovecot.lmtp_port))
        .with(&variable("IMAP"), format!("localhost:{}", dovecot.imaps_port))
        .with(&variable("IMAP_SECURITY"), "tls")
        .with(&variable("CA_FILE"), dovecot.certificate().display().to_string())
        .with(&variable("MASTER_USER"), Dovecot::MASTER)
        .with(&variable("MASTER_PASSWORD_FILE"), master)
}

async fn copy_of(api: &Api, recipient: &str, subject: &str) -> Option<Value> {
    let copies = api.copies_of(recipient).await;
    copies.into_iter().find(|copy| copy["subject"] == subject)
}

/// Waits until a copy is where it should be.
async fn until_at(api: &Api, recipient: &str, subject: &str, place: &str, event: &str) {
    let what = format!("{recipient}: {place} after {event}");
    let there = async || {
        let copy = copy_of(api, recipient, subject).await?;
        (copy["place"] == place && copy["last_event"] == event).then_some(())
    };
    api.until(&what, there).await;
}

/// Proposes a feed with this host, tests and activates it; gives the change's id.
async fn flag(api: &Api, host: &str, class: &str) -> String {
    let proposal = json!({
        "proposal": { "kind": "feed", "feed": format!("hosts of {class}"), "feed_kind": "url_host", "class": class,
            "add": format!("{host}\n") },
        "reason": "today's update",
    });
    let change = api.post("/changes", proposal).await.done();
    let path = format!("/changes/{}", change["id"].as_str().expect("an id"));
    let tested = async |wanted: &str| (api.get(&path).await["change"]["state"] == wanted).then_some(());
    api.post(&format!("{path}/backtest"), json!({})).await.done();
    api.until("the backtest", async || tested("backtested").await).await;
    api.post(&format!("{path}/activate"), json!({ "override_reason": "we trust it" })).await.done();
    change["id"].as_str().expect("an id").to_owned()
}

async fn job(api: &Api, kind: &str, cause: &str) -> Option<Value> {
    let jobs = api.items("/jobs").await;
    jobs.into_iter().find(|job| job["kind"] == kind && job["cause_id"] == cause)
}

async fn until_done(api: &Api, kind: &str, cause: &str) -> String {
    let done = async || job(api, kind, cause).await.filter(|job| job["state"] == "done");
    api.until(&format!("the end of {kind}"), done).await["result"].as_str().expect("a result").to_owned()
}

async fn send(server: &Running, to: &[&str], subject: &str, host: &str) {
    let body = format!(
        "From: Eve <eve@client.example>\r\nTo: all@example.org\r\nSubject: {subject}\r\nMessage-ID: <{subject}@client.example>\r\n\
         Date: Mon, 23 Nov 2026 00:00:00 +0000\r\n\r\nHello, see http://{host}/now for what we talked about.\r\n"
    );
    let outcome = server.send("eve@client.example", to, body.as_bytes()).await;
    assert_eq!(outcome.data.as_ref().map(model::Reply::code), Some(250), "{outcome:?}");
}

#[tokio::test]
async fn mail_lands_is_pulled_back_and_put_back() {
    let users = [("ada", 0), ("bob", 0), ("dora", 0), ("full", 100)];
    let users = users.map(|(name, quota_bytes)| DovecotUser { address: format!("{name}@example.org"), quota_bytes });
    let mut dovecot = Dovecot::start_with(&users).await;
    let (server, owner) = site_for(&dovecot).serve_first().await;
    owner
        .add_people(&[
            "ada@example.org",
            "bob@example.org",
            "dora@example.org",
            "full@example.org",
            "ghost@example.org",
        ])
        .await;
    let csv = "address,name,mailbox_connector\ncarl@example.org,Carl,embedded\n";
    assert_eq!(owner.import(csv).await.done()["applied"], true);
    let wrong = "address,name,mailbox_connector\nx@example.org,X,courier\n";
    owner.import(wrong).await.refused(422, "mailbox_connector", &["courier", "dovecot"]);

    // One mail for six: each has an outcome of its own.
    let all = ["ada", "bob", "dora", "full", "ghost", "carl"].map(|name| format!("{name}@example.org"));
    send(&server, &all.each_ref().map(String::as_str), "Enrolment", BAD_HOST).await;
    for name in ["ada", "bob", "dora", "carl"] {
        until_at(&owner, &format!("{name}@example.org"), "Enrolment", "inbox", "accepted").await;
    }
    for name in ["full", "ghost"] {
        until_at(&owner, &format!("{name}@example.org"), "Enrolment", "not_received", "rejected").await;
    }
    let arrived = mailbox(&dovecot, "bob@example.org", "").await;
    assert_eq!(folders(&arrived), ["INBOX"]);
    let head = arrived[0]["head"].as_str().expect("a head");
    assert!(head.contains("X-Landfall-Id: ") && head.contains("Authentication-Results: "), "{head}");
    assert_eq!(head.matches("Return-Path: ").count(), 1, "{head}");

    // What owners do with it, in Dovecot alone.
    let act = "M.select('INBOX'); M.create('Projects'); M.store('1', '+FLAGS', '(\\\\Flagged \\\\Seen later)'); \
               M.copy('1', 'Projects'); M.store('1', '+FLAGS', '\\\\Deleted'); M.expunge()";
    let moved = mailbox(&dovecot, "ada@example.org", act).await;
    assert_eq!(folders(&moved), ["Projects"]);
    let gone =
        mailbox(&dovecot, "dora@example.org", "M.select('INBOX'); M.store('1', '+FLAGS', '\\\\Deleted'); M.expunge()")
            .await;
    assert!(gone.is_empty());

    // The change becomes active while Dovecot is down: the purge says what it waits for, and goes on by itself.
    dovecot.stop().await;
    let change = flag(&owner, BAD_HOST, "phish").await;
    let waits = async || {
        let job = job(&owner, "purge", &change).await?;
        job["result"].as_str().is_some_and(|text| text.contains("do not answer")).then_some(job)
    };
    let waiting = owner.until("the purge waits", waits).await;
    assert_ne!(waiting["state"], "done", "{waiting}");
    until_at(&owner, "carl@example.org", "Enrolment", "quarantine", "purged").await;
    dovecot.start_again().await;
    let result = until_done(&owner, "purge", &change).await;
    assert!(!result.contains("did not answer"), "{result}");
    for name in ["ada", "bob"] {
        let address = format!("{name}@example.org");
        until_at(&owner, &address, "Enrolment", "quarantine", "purged").await;
        assert!(mailbox(&dovecot, &address, "").await.is_empty(), "{name}: gone, also from the holding folder");
    }
    until_at(&owner, "dora@example.org", "Enrolment", "deleted", "deleted_by_owner").await;

    // The undo puts it back as it was.
    owner.post(&format!("/changes/{change}/undo"), json!({ "reason": "our own host" })).await.done();
    let result = until_done(&owner, "restore", &change).await;
    assert!(result.starts_with("3 "), "{result}");
    until_at(&owner, "ada@example.org", "Enrolment", "other_folder", "restored").await;
    until_at(&owner, "bob@example.org", "Enrolment", "inbox", "restored").await;
    let back = mailbox(&dovecot, "ada@example.org", "").await;
    assert_eq!(back.len(), 1, "{back:?}");
    for part in ["folder", "flags", "date"] {
        assert_eq!(back[0][part], moved[0][part], "{part}");
    }
    assert!(back[0]["head"].as_str().expect("a head").contains("Subject: Enrolment"));
    assert_eq!(mailbox(&dovecot, "bob@example.org", "").await[0]["date"], arrived[0]["date"]);
    assert!(mailbox(&dovecot, "dora@example.org", "").await.is_empty(), "what its owner deleted stays deleted");
    server.stop().await;
}

#[tokio::test]
async fn mail_waits_for_a_mailbox_system_that_is_down_and_junk_goes_to_junk() {
    let mut dovecot = Dovecot::start(["ada@example.org"]).await;
    let site = site_for(&dovecot);
    let (server, owner) = site.serve_first().await;
    owner.add_people(&["ada@example.org"]).await;
    // One landed, and its owner has not read it: spam that is known later goes to Junk in her mailbox, and back.
    send(&server, &["ada@example.org"], "Pills", SPAM_HOST).await;
    until_at(&owner, "ada@example.org", "Pills", "inbox", "accepted").await;
    let change = flag(&owner, SPAM_HOST, "spam").await;
    until_done(&owner, "purge", &change).await;
    until_at(&owner, "ada@example.org", "Pills", "junk", "purged").await;
    assert_eq!(folders(&mailbox(&dovecot, "ada@example.org", "").await), ["Junk"]);
    send(&server, &["ada@example.org"], "More", SPAM_HOST).await;
    until_at(&owner, "ada@example.org", "More", "junk", "accepted").await;
    assert_eq!(folders(&mailbox(&dovecot, "ada@example.org", "").await), ["Junk", "Junk"]);
    owner.post(&format!("/changes/{change}/undo"), json!({ "reason": "they are ours" })).await.done();
    until_done(&owner, "restore", &change).await;
    until_at(&owner, "ada@example.org", "Pills", "inbox", "redelivered").await;
    let mut there = mailbox(&dovecot, "ada@example.org", "").await;
    there.sort_by_key(|mail| mail["folder"].to_string());
    assert_eq!(folders(&there), ["INBOX", "Junk"]);

    // Moved in Dovecot alone: whoever asks is told, and the ledger knows from then on.
    let act = "M.create('Later'); M.select('INBOX'); M.copy('1', 'Later'); M.store('1', '+FLAGS', '\\\\Deleted'); M.expunge()";
    mailbox(&dovecot, "ada@example.org", act).await;
    let copy = copy_of(&owner, "ada@example.org", "Pills").await.expect("the copy");
    let path = format!("/copies/{}/look", copy["copy_id"].as_str().expect("an id"));
    assert_eq!(owner.post(&path, json!({})).await.done()["changed"], true);
    assert_eq!(owner.post(&path, json!({})).await.done()["changed"], false);
    until_at(&owner, "ada@example.org", "Pills", "other_folder", "redelivered").await;

    // Accepted while Dovecot is down, kept over a kill -9, handed over once.
    dovecot.stop().await;
    send(&server, &["ada@example.org"], "Patience", "client.example").await;
    until_at(&owner, "ada@example.org", "Patience", "on_its_way", "deferred").await;
    let queue = owner.get("/queue").await.to_string();
    assert!(queue.contains("connector:dovecot"), "{queue}");
    let look = owner.post("/connectors/dovecot/look", json!({})).await.done();
    let state = |look: &Value, service: &str| look["connector"][service]["state"].as_str().expect("a state").to_owned();
    assert_eq!((state(&look, "lmtp"), state(&look, "imap")), ("silent".into(), "silent".into()), "{look}");
    assert_eq!((&look["connector"]["waiting_count"], &look["retried_count"]), (&json!(1), &json!(0)), "{look}");
    // Its owner is told where her mail is, and that some waits, instead of being shown an empty mailbox.
    let ada = owner.login_of(server.http, "ada@example.org").await;
    let own = ada.get("/mailbox").await;
    assert_eq!(
        (&own["kept_by"], &own["waiting_count"], &own["answers"]),
        (&json!("dovecot"), &json!(1), &json!(false))
    );
    ada.try_get("/mailbox/folders").await.refused(409, "", &["dovecot"]);
    server.kill().await;
    let server = site.serve().await;
    let owner = owner.on(server.http);
    dovecot.start_again().await;
    let look = owner.post("/connectors/dovecot/look", json!({})).await.done();
    assert_eq!((state(&look, "lmtp"), state(&look, "imap")), ("answers".into(), "answers".into()), "{look}");
    until_at(&owner, "ada@example.org", "Patience", "inbox", "accepted").await;
    let mails = mailbox(&dovecot, "ada@example.org", "").await;
    let arrived = mails.iter().filter(|mail| mail["head"].to_string().contains("Subject: Patience")).count();
    assert_eq!(arrived, 1, "{mails:?}");
    server.stop().await;
}

/// A mailbox that is kept in another system from now on: what the new one does not have was not deleted by anybody.
#[tokio::test]
async fn what_the_wrong_system_does_not_have_was_not_deleted() {
    const ADA: &str = "ada@example.org";
    let (former, latter) = (Dovecot::start([ADA]).await, Dovecot::start([ADA]).await);
    let (server, owner) = connected(site_for(&former), "LATTER", &latter).serve_first().await;
    owner.add_people(&[ADA]).await;
    for (subject, host) in [("Stays", "client.example"), ("Bad", BAD_HOST), ("Goes", "client.example")] {
        send(&server, &[ADA], subject, host).await;
        until_at(&owner, ADA, subject, "inbox", "accepted").await;
    }
    let person = owner.items(&format!("/people?query={ADA}")).await.remove(0)["id"].as_str().expect("an id").to_owned();
    let keep_in = async |system: &str| {
        owner.put(&format!("/people/{person}/mailbox"), json!({ "connector": system })).await.done();
    };
    let look = async |subject: &str| {
        let copy = copy_of(&owner, ADA, subject).await.expect("the copy");
        owner.post(&format!("/copies/{}/look", copy["copy_id"].as_str().expect("an id")), json!({})).await.done()
    };
    for system in ["latter", "embedded"] {
        keep_in(system).await;
        let seen = look("Stays").await;
        let sentence = seen["sentence"].as_str().expect("a sentence");
        assert!(seen["changed"] == false && sentence.contains("last seen in dovecot"), "{system}: {seen}");
        until_at(&owner, ADA, "Stays", "inbox", "accepted").await;
    }
    // Nor does a purge that finds nothing say so.
    keep_in("latter").await;
    let change = flag(&owner, BAD_HOST, "phish").await;
    until_done(&owner, "purge", &change).await;
    until_at(&owner, ADA, "Bad", "inbox", "accepted").await;
    assert_eq!(folders(&mailbox(&former, ADA, "").await), ["INBOX"; 3]);

    // In the system that had it, missing is deleted.
    keep_in("dovecot").await;
    let act =
        "M.select('INBOX'); M.store(M.search(None, 'SUBJECT', 'Goes')[1][0], '+FLAGS', '\\\\Deleted'); M.expunge()";
    assert_eq!(mailbox(&former, ADA, act).await.len(), 2);
    assert_eq!(look("Goes").await["changed"], true);
    until_at(&owner, ADA, "Goes", "deleted", "deleted_by_owner").await;
    assert_eq!(look("Stays").await["changed"], false);

    // What is put back is known to be where it was put.
    keep_in("latter").await;
    send(&server, &[ADA], "Back", SPAM_HOST).await;
    until_at(&owner, ADA, "Back", "inbox", "accepted").await;
    let change = flag(&owner, SPAM_HOST, "phish").await;
    until_at(&owner, ADA, "Back", "quarantine", "purged").await;
    owner.post(&format!("/changes/{change}/undo"), json!({ "reason": "our own host" })).await.done();
    until_at(&owner, ADA, "Back", "inbox", "restored").await;
    let act = "M.select('INBOX'); M.store('1', '+FLAGS', '\\\\Deleted'); M.expunge()";
    assert!(mailbox(&latter, ADA, act).await.is_empty());
    assert_eq!(look("Back").await["changed"], true);
    until_at(&owner, ADA, "Back", "deleted", "deleted_by_owner").await;
    server.stop().await;
}
