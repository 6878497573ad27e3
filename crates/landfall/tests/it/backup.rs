//! `landfall backup`, `restore` and `verify`: while mail comes in, and on data that somebody damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::SystemClock;
use smtp::{CancellationToken, Client, ClientConfig, Mail};
use store::{Database, Store, StoreConfig};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::site::{Running, Site};

const ADA: &str = "ada@example.org";
/// Mails that are there before the first backup.
const BEFORE_COUNT: usize = 20;

/// Sends mails one after the other until it is told to stop.
struct Sender {
    accepted: watch::Receiver<usize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sender {
    async fn start(server: &Running) -> Sender {
        let mut client = Client::connect(server.smtp, ClientConfig::new("client.example")).await.expect("a connection");
        let (count, accepted) = watch::channel(0);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (from, to) = ("eve@client.example".parse().expect("a path"), [ADA.parse().expect("an address")]);
            let mail = Mail { reverse_path: &from, recipients: &to };
            while !stopped.is_cancelled() {
                if !client.is_usable() {
                    break; // the server said that this connection had enough
                }
                let body =
                    format!("From: eve@client.example\r\nTo: {ADA}\r\nSubject: {}\r\n\r\nHi\r\n", *count.borrow());
                let outcome = client.send(&mail, body.as_bytes()).await.expect("an outcome");
                assert_eq!(outcome.data.map(|reply| reply.code()), Some(250));
                count.send_modify(|n| *n += 1);
            }
            client.quit().await;
        });
        Sender { accepted, stop, task }
    }

    async fn at_least(&self, count: usize) {
        self.accepted.clone().wait_for(|n| *n >= count).await.expect("the sender goes on");
    }

    fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }

    async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.expect("the sender ends well");
        *self.accepted.borrow()
    }
}

#[tokio::test]
async fn a_backup_under_way_of_mail_is_whole_and_comes_back() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[ADA]).await;
    let sender = Sender::start(&server).await;
    sender.at_least(BEFORE_COUNT).await;
    let mut before = 0;
    for name in ["first", "second"] {
        before = sender.accepted();
        let ran = site.run_here("backup", &["--to", name]).await.done();
        assert!(ran.stdout.contains("Backed up to"), "{ran:?}");
        sender.at_least(before + BEFORE_COUNT).await;
    }
    assert!(site.run_here("verify", &[]).await.done().stdout.contains("Verified"), "a running server's data");
    let sent = sender.stop().await;
    assert_eq!(owner.copies_of(ADA).await.len(), sent);
    server.stop().await;

    for name in ["first", "second"] {
        site.with_data(name).run_here("verify", &[]).await.done();
    }
    let taken = site.run_here("backup", &["--to", "first"]).await;
    taken.refused(2, &["first exists already"]);
    let restored = site.with_data("restored");
    restored.run_here("restore", &["--from", "second"]).await.done();
    restored.run_here("verify", &[]).await.done();
    let again = restored.serve().await;
    let count = owner.on(again.http).copies_of(ADA).await.len();
    assert!((before..=sent).contains(&count), "{count} of {sent}, {before} of them before the backup began");
    again.deliver(ADA, b"Subject: after the restore\r\n\r\nHi\r\n").await;
    again.stop().await;
    restored.run_here("verify", &[]).await.done();
}

/// A stopped server's data with three mails.
async fn with_mail() -> Site {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[ADA]).await;
    for n in 0..3 {
        server.deliver(ADA, format!("Subject: number {n}\r\n\r\nHello {n}\r\n").as_bytes()).await;
    }
    server.stop().await;
    site.run_here("verify", &[]).await.done();
    site
}

fn packs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(packs(&path));
        } else if path.extension().is_some_and(|e| e == "pack") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn verify_notices_each_damage() {
    let site = with_mail().await;
    site.run_here("backup", &["--to", "copy"]).await.done();
    let copy = site.with_data("copy");
    for damaged in [&site, &copy] {
        let pack = packs(&damaged.data()).pop().expect("a pack");
        let whole = fs::read(&pack).expect("a readable pack");
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let is_copy = damaged.data() == copy.data();
        let name = pack.file_stem().and_then(|n| n.to_str()).expect("a name");

        fs::write(&pack, &flipped).expect("a flipped byte");
        let words: &[&str] =
            if is_copy { &[name, "not what was backed up"] } else { &["message", "not what was stored"] };
        damaged.run_here("verify", &[]).await.refused(1, words);
        fs::write(&pack, &whole[..whole.len() - 1]).expect("a truncated pack");
        damaged.run_here("verify", &[]).await.refused(1, &[name]);
        fs::remove_file(&pack).expect("a missing pack");
        damaged.run_here("verify", &[]).await.refused(1, &[name]);
        fs::write(&pack, &whole).expect("the pack as it was");
        damaged.run_here("verify", &[]).await.done();
    }
    fs::write(packs(&copy.data()).pop().expect("a pack"), b"x").expect("a damaged pack");
    let refused = site.with_data("restored");
    refused.run_here("restore", &["--from", "copy"]).await.refused(1, &["not what was backed up"]);
    assert!(!refused.data().join("landfall.db").exists(), "nothing is half restored");
}

#[tokio::test]
async fn verify_notices_a_place_that_no_event_says() {
    let site = with_mail().await;
    let path = site.data().join("landfall.db");
    let config = StoreConfig { database: Database::Sqlite { path }, objects_dir: site.data().join("objects"), node: 2 };
    let store = Store::open(config, Arc::new(SystemClock)).await.expect("the store opens");
    let rows = store.query("copy.ids", &store::values![0i64, 10i64]).await.expect("copies");
    let id = rows[1].int("id").expect("an id");
    let row = store.query_one("copy.by_id", &store::values![id]).await.expect("a query").expect("a copy");
    assert_eq!(row.text("place").expect("a place"), "inbox");
    let by_hand = serde_json::json!([[
        id,
        "junk",
        "",
        row.text("last_event").expect("an event"),
        row.int("last_event_at").expect("a time"),
        row.int("place_at").expect("a time"),
        row.int("evidence_at").expect("a time")
    ]]);
    store.execute("copy.set_whereabouts_of", &store::values![&by_hand]).await.expect("the row is changed");
    drop(store);
    site.run_here("verify", &[]).await.refused(1, &[&format!("copy {id}"), "not what its events say"]);
}

#[tokio::test]
async fn only_whole_backups_and_new_folders_are_taken() {
    let site = with_mail().await;
    site.run_here("backup", &["--to", "copy.monday"]).await.done();
    site.run_here("restore", &["--from", "copy.monday"]).await.refused(2, &["is not empty", "new folder"]);
    let other = site.with_data("other");
    fs::create_dir(other.data()).expect("a folder");
    fs::write(other.data().join("notes.txt"), b"mine").expect("a file");
    other.run_here("restore", &["--from", "copy.monday"]).await.refused(2, &["notes.txt"]);
    fs::remove_file(other.data().join("notes.txt")).expect("the file goes");

    // A backup that fails on its way, as one that was killed does, leaves what looks like none.
    let pack = packs(&site.data()).pop().expect("a pack");
    let whole = fs::read(&pack).expect("a readable pack");
    fs::remove_file(&pack).expect("a missing pack");
    site.run_here("backup", &["--to", "copy.tuesday"]).await.refused(1, &["1 packs", "missing"]);
    assert!(site.path("copy.tuesday.partial").exists() && !site.path("copy.tuesday").exists());
    assert!(site.path("copy.monday").exists(), "another backup is left alone");
    other.run_here("restore", &["--from", "copy.tuesday.partial"]).await.refused(2, &["not a backup"]);
    site.with_data("copy.tuesday.partial").run_here("verify", &[]).await.refused(2, &["cut off"]);
    site.with_data("copy.tuesday").run_here("verify", &[]).await.refused(2, &["nothing to verify"]);
    assert!(!site.path("copy.tuesday").exists(), "looking makes nothing");
    fs::write(&pack, whole).expect("the pack as it was");
    site.run_here("backup", &["--to", "copy.tuesday"]).await.done();
    assert!(!site.path("copy.tuesday.partial").exists());

    fs::write(site.data().join("backup.lock"), b"").expect("a lock");
    site.run_here("backup", &["--to", "third"]).await.refused(1, &["backup.lock", "remove the file"]);
    site.with_data("none").run_here("backup", &["--to", "third"]).await.refused(2, &["nothing to back up"]);
    let postgres = site.clone().with("LANDFALL_STORE_DATABASE", "postgres://localhost/x");
    postgres.run_here("backup", &["--to", "third"]).await.refused(2, &["pg_dump"]);
    assert!(!site.path("third").exists());
}
