//! The running server under pressure: a full disk, a folder that cannot be written, a database that dies, a crowd. It says
//! 4yz, never nothing; it keeps what it acknowledged; it recovers by itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::site::{Running, Site, Talk, WAIT};
use crate::web::{Api, visit};

const TO: &str = "ada@example.org";

/// Looks again and again until it holds.
async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    testkit::until(what, WAIT, holds).await;
}

async fn ready(http: SocketAddr) -> bool {
    visit(http, "/readyz").await.status == 200
}

/// Clients that send one mail after the other and note each answer.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<(String, String)>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(smtp: SocketAddr, name: &'static str, clients: usize, body_bytes: usize) -> Load {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let clients = (0..clients)
            .map(|client| {
                let (stop, answers) = (stop.clone(), answers.clone());
                tokio::spawn(async move {
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        n += 1;
                        let subject = format!("{name}-{client}-{n}");
                        let answer = one_mail(smtp, &subject, body_bytes).await;
                        answers.lock().expect("no panic").push((subject, answer));
                    }
                })
            })
            .collect();
        Load { stop, answers, clients }
    }

    /// How many answers begin so.
    fn count(&self, begin: &str) -> usize {
        self.answers.lock().expect("no panic").iter().filter(|(_, answer)| answer.starts_with(begin)).count()
    }

    /// Stops; gives the subjects that were acknowledged. Every answer must be one of these kinds.
    async fn end(self, kinds: &[&str]) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            timeout(WAIT, client).await.expect("every client gets an answer").expect("no panic");
        }
        let answers = self.answers.lock().expect("no panic");
        for (subject, answer) in answers.iter() {
            assert!(kinds.iter().any(|kind| answer.starts_with(kind)), "{subject}: {answer:?}");
        }
        answers.iter().filter(|(_, answer)| answer.starts_with("250")).map(|(subject, _)| subject.clone()).collect()
    }
}

/// The reply that decided; empty when the connection ended without one, 421 when it was not greeted.
async fn one_mail(smtp: SocketAddr, subject: &str, body_bytes: usize) -> String {
    let Some(mut talk) = Talk::to(smtp).await else { return "421".to_owned() };
    for line in ["EHLO client.example", "MAIL FROM:<zoe@client.example>", &format!("RCPT TO:<{TO}>"), "DATA"] {
        let reply = talk.say(line).await;
        if !reply.starts_with("250") && !reply.starts_with("354") {
            return reply;
        }
    }
    let text = "All work and no play makes a mail of any size.\r\n".repeat(body_bytes / 48);
    let mail = format!("From: Zoe <zoe@client.example>\r\nTo: {TO}\r\nSubject: {subject}\r\n\r\n{text}.");
    talk.say(&mail).await
}

/// Every one of `wanted` is there once.
async fn all_there(owner: &Api, wanted: &BTreeSet<String>) {
    let copies = owner.copies_of(TO).await;
    let mut found = BTreeSet::new();
    for copy in &copies {
        let subject = copy["subject"].as_str().expect("a subject").to_owned();
        assert!(found.insert(subject.clone()), "{subject} is there twice");
    }
    let lost: Vec<_> = wanted.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

/// A process in a mount namespace of its own, with small file systems that end with it.
struct Mounts {
    holder: Child,
}

impl Mounts {
    /// `None`, and it is said, when nobody may mount here.
    async fn new(mounts: &[(PathBuf, &str)]) -> Option<Mounts> {
        if fs::metadata("/proc/self").expect("proc").uid() != 0 {
            eprintln!("SKIPPED: only root may mount small file systems; CI runs this as root");
            return None;
        }
        let script: String = mounts
            .iter()
            .map(|(at, size)| format!("mkdir -p {0} && mount -t tmpfs -o size={size} none {0} && ", at.display()))
            .collect();
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &format!("{script} echo mounted && exec sleep infinity")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare is there");
        let mut said = BufReader::new(holder.stdout.take().expect("a pipe")).lines();
        let line = timeout(WAIT, said.next_line()).await.expect("it answers").expect("a line");
        assert_eq!(line.as_deref(), Some("mounted"), "root can mount");
        Some(Mounts { holder })
    }

    fn pid(&self) -> u32 {
        self.holder.id().expect("it lives")
    }

    /// A path of the namespace, seen from outside.
    fn path(&self, inside: &Path) -> PathBuf {
        let inside = inside.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.pid().to_string()).join("root").join(inside)
    }

    async fn remount(&self, at: &Path, how: &str) {
        let pid = self.pid().to_string();
        let option = format!("remount,{how}");
        // Busy while a file is just being written.
        until(&option, async || {
            let mut command = Command::new("nsenter");
            command.args(["-m", "-t", &pid, "mount", "-o", &option]).arg(at);
            command.status().await.expect("nsenter is there").success()
        })
        .await;
    }
}

/// Writes a file until nothing is free.
fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).expect("a file");
    let chunk = vec![0_u8; 65_536];
    while file.write_all(&chunk).is_ok() {}
    drop(file);
    let mut rest = fs::OpenOptions::new().append(true).open(ballast).expect("the file");
    while rest.write_all(&chunk[..512]).is_ok() {}
}

async fn serve_with_ada(site: &Site) -> (Running, Api) {
    let (server, owner) = site.serve_first().await;
    owner.add_people(&[TO]).await;
    server.deliver(TO, b"Subject: first\r\n\r\nHello\r\n").await;
    (server, owner)
}

/// What was accepted is in mailboxes.
async fn entered(owner: &Api) {
    until("all is entered", async || owner.get("/bypass").await["incoming_count"] == 0).await;
}

/// Switches judging off, and waits until the gateway knows.
async fn bypass(server: &Running, owner: &Api) {
    owner.put("/bypass", json!({ "minutes": 60, "reason": "pressure" })).await.done();
    let mut n = 0;
    until("mail comes in unjudged", async || {
        n += 1;
        assert!(one_mail(server.smtp, &format!("before {n}"), 100).await.starts_with("250"));
        owner.get("/bypass").await["unjudged_count"].as_i64().is_some_and(|count| count > 0)
    })
    .await;
    entered(owner).await;
}

#[tokio::test]
async fn a_full_disk_puts_mail_off_loses_none_and_passes() {
    a_full_disk(async |_, _| {}).await;
}

#[tokio::test]
async fn a_full_disk_does_the_same_to_the_incoming_queue() {
    a_full_disk(bypass).await;
}

async fn a_full_disk(prepare: impl AsyncFn(&Running, &Api)) {
    let site = Site::new().with("LANDFALL_STORE_FREE_BYTES_MIN", "0");
    let Some(mounts) = Mounts::new(&[(site.data(), "40m")]).await else { return };
    let site = site.inside(mounts.pid());
    let ballast = mounts.path(&site.data()).join("ballast");
    let (server, owner) = serve_with_ada(&site).await;
    prepare(&server, &owner).await;

    // It fills up while mail comes in.
    let load = Load::start(server.smtp, "filling", 4, 20_000);
    until("some mail is taken", async || load.count("250") > 3).await;
    fill(&ballast);
    until("mail is put off", async || load.count("452 4.3.1") > 3).await;
    assert!(!ready(server.http).await, "whoever balances traffic is told");
    assert_eq!(visit(server.http, "/healthz").await.status, 200);
    assert_eq!(visit(server.http, "/").await.status, 200, "the console is there");
    assert!(!owner.copies_of(TO).await.is_empty(), "the API answers");

    // Space comes back: it goes on by itself, without a restart.
    fs::remove_file(&ballast).expect("the ballast goes");
    until("the store writes again", async || ready(server.http).await).await;
    let taken = load.count("250");
    until("mail is taken again", async || load.count("250") > taken).await;
    let mut acknowledged = load.end(&["250", "452", "451", "421"]).await;
    entered(&owner).await;
    all_there(&owner, &acknowledged).await;

    // It is killed while the disk is full, and starts when there is space.
    let load = Load::start(server.smtp, "again", 4, 20_000);
    fill(&ballast);
    until("mail is put off", async || load.count("452 4.3.1") > 3).await;
    acknowledged.extend(load.end(&["250", "452", "451", "421"]).await);
    server.kill().await;
    fs::remove_file(&ballast).expect("the ballast goes");
    let server = site.serve().await;
    let owner = owner.on(server.http);
    entered(&owner).await;
    all_there(&owner, &acknowledged).await;
    server.deliver(TO, b"Subject: last\r\n\r\nHello\r\n").await;
    server.stop().await;
    site.run_here("verify", &[]).await.done();
}

#[tokio::test]
async fn below_the_floor_mail_is_put_off_and_decisions_are_kept() {
    let site = Site::new().with("LANDFALL_STORE_FREE_BYTES_MIN", "8388608");
    let Some(mounts) = Mounts::new(&[(site.data(), "40m")]).await else { return };
    let site = site.inside(mounts.pid());
    let ballast = mounts.path(&site.data()).join("ballast");
    let (server, owner) = serve_with_ada(&site).await;
    fs::write(&ballast, vec![0_u8; 34 * 1024 * 1024]).expect("it fits");
    until("the floor is noticed", async || !ready(server.http).await).await;
    assert!(one_mail(server.smtp, "refused", 100).await.starts_with("452 4.3.1"));
    owner.add_people(&["bob@example.org"]).await; // what people decide is still written down
    fs::remove_file(&ballast).expect("the ballast goes");
    until("the floor is left", async || ready(server.http).await).await;
    assert!(one_mail(server.smtp, "taken", 100).await.starts_with("250"));
    server.stop().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_puts_mail_off() {
    let site = Site::new();
    let objects = site.path("objects");
    let Some(mounts) = Mounts::new(&[(objects.clone(), "200m")]).await else { return };
    let site = site.inside(mounts.pid()).with("LANDFALL_STORE_OBJECTS_DIR", objects.display().to_string());
    let (server, owner) = serve_with_ada(&site).await;
    let load = Load::start(server.smtp, "permission", 4, 2_000);
    until("some mail is taken", async || load.count("250") > 3).await;
    mounts.remount(&objects, "ro").await;
    until("mail is put off", async || load.count("451") > 3).await;
    assert!(!ready(server.http).await);
    mounts.remount(&objects, "rw").await;
    until("the store writes again", async || ready(server.http).await).await;
    let taken = load.count("250");
    until("mail is taken again", async || load.count("250") > taken).await;
    let acknowledged = load.end(&["250", "451", "421"]).await;
    all_there(&owner, &acknowledged).await;
    server.stop().await;
    site.run_here("verify", &[]).await.done();
}

#[tokio::test]
async fn a_torn_pack_is_reported_by_verify() {
    let site = Site::new();
    let (server, _owner) = serve_with_ada(&site).await;
    server.stop().await;
    site.run_here("verify", &[]).await.done();
    let folders = fs::read_dir(site.data().join("objects/packs")).expect("packs");
    let packs: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder.expect("a folder").path()).expect("packs"))
        .map(|pack| pack.expect("a pack").path())
        .collect();
    let [pack] = packs.as_slice() else { panic!("{packs:?}") };
    let size = fs::metadata(pack).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(pack).expect("it opens").set_len(size - 4).expect("it is torn");
    let ran = site.run_here("verify", &[]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("its body is not what was stored"), "{ran:?}");
}

/// What a process asked of the system, each call where it ended: `(call with its arguments and result)`.
fn calls(trace: &str) -> Vec<String> {
    let mut begun: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(part) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, part);
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            calls.push(format!("{}{rest}", begun.remove(pid).unwrap_or_default()));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// What a server that serves Ada asks of the system, from its start to its end; `act` happens meanwhile. `None`, and it is said,
/// where nothing can be traced.
async fn traced(act: impl AsyncFn(&Running, &Api)) -> Option<Vec<String>> {
    let site = Site::new();
    let file = site.path("trace").display().to_string();
    let filter =
        "trace=openat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg";
    let strace = ["strace", "-D", "-f", "-y", "-s", "128", "-e", filter, "-o", &file];
    let tried = Command::new(strace[0]).args(["-o", "/dev/null", "true"]).status().await;
    if !tried.as_ref().is_ok_and(std::process::ExitStatus::success) {
        eprintln!("SKIPPED: strace cannot trace here ({tried:?}); CI has it");
        return None;
    }
    let site = site.wrapped(&strace);
    let (server, owner) = serve_with_ada(&site).await;
    act(&server, &owner).await;
    server.stop().await;
    Some(calls(&fs::read_to_string(&file).expect("a trace")))
}

/// A call that is looked for: what it is, and how it is known.
type Wanted<'a> = (&'a str, &'a dyn Fn(&str) -> bool);

/// Panics unless these calls were made in this order for the last mail: from its 354 on.
fn in_order(calls: &[String], wanted: &[Wanted<'_>]) {
    let start = calls.iter().rposition(|call| call.contains("\"354 ")).expect("354");
    let mut at = start;
    for (what, is_it) in wanted {
        let found = calls[at + 1..].iter().position(|call| is_it(call));
        at += 1 + found.unwrap_or_else(|| panic!("no {what} after {}: {:#?}", calls[at], &calls[start..]));
    }
}

fn done(call: &str, name: &str) -> bool {
    call.starts_with(name) && call.trim_end().ends_with("= 0")
}

fn is_log_synced(call: &str) -> bool {
    (done(call, "fdatasync(") || done(call, "fsync(")) && call.contains("landfall.db-wal")
}

fn is_answered(call: &str) -> bool {
    call.contains("\"250 2.0.0 ")
}

#[tokio::test]
async fn the_system_is_asked_for_durability_before_the_client_is_told() {
    let act = async |server: &Running, _: &Api| {
        assert!(one_mail(server.smtp, "traced", 100).await.starts_with("250"), "by DATA, whose 354 shows in the trace");
    };
    let Some(calls) = traced(act).await else { return };
    in_order(
        &calls,
        &[
            ("body", &|call| call.starts_with("pwrite64") && call.contains(".pack")),
            ("fsync of the pack", &|call| done(call, "fdatasync(") && call.contains(".pack")),
            ("fsync of the log of the rows", &is_log_synced),
            ("answer", &is_answered),
        ],
    );
    // The pack was made for an earlier mail: its name was durable before anything was written to it.
    let made =
        calls.iter().position(|call| call.starts_with("openat(") && call.contains(".pack\", O_WRONLY|O_CREAT|O_EXCL"));
    let made = made.unwrap_or_else(|| panic!("no pack was made: {calls:#?}"));
    let named = |call: &String| done(call, "fsync(") && call.contains("/packs/") && !call.contains(".pack");
    let named = calls[made..].iter().position(named).expect("fsync of its folder");
    let written = calls[made..].iter().position(|call| call.starts_with("pwrite64") && call.contains(".pack"));
    assert!(written.is_some_and(|written| named < written), "{:#?}", &calls[made..]);
}

#[tokio::test]
async fn the_incoming_queue_is_on_disk_before_the_client_is_told() {
    let act = async |server: &Running, owner: &Api| {
        bypass(server, owner).await;
        assert!(one_mail(server.smtp, "traced", 100).await.starts_with("250"));
        entered(owner).await;
    };
    let Some(calls) = traced(act).await else { return };
    in_order(
        &calls,
        &[
            ("row", &|call| call.starts_with("pwrite64") && call.contains("landfall.db-wal")),
            ("fsync of the log", &is_log_synced),
            ("answer", &is_answered),
            ("body, entered behind", &|call| call.starts_with("pwrite64") && call.contains(".pack")),
        ],
    );
}

/// A PostgreSQL cluster of this test's own, that it may kill.
struct Cluster {
    state: tempfile::TempDir,
    url: String,
}

impl Cluster {
    async fn start() -> Cluster {
        let state = tempfile::tempdir().expect("a folder");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
        let ran = Command::new(script).arg("start").env("LANDFALL_TEST_POSTGRES_STATE", state.path()).output().await;
        let ran = ran.expect("the script runs");
        let said = String::from_utf8(ran.stdout).expect("text");
        let url = said.split('\'').nth(1).unwrap_or_else(|| panic!("{said} {:?}", ran.stderr)).to_owned();
        Cluster { state, url }
    }

    fn data(&self) -> PathBuf {
        let dir = fs::read_to_string(self.state.path().join("dir")).expect("its folder");
        Path::new(dir.trim()).join("data")
    }

    /// kill -9 for the server and all its children.
    async fn kill(&self) {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let pid = pid.lines().next().expect("a process id").to_owned();
        let children = Command::new("ps").args(["--ppid", &pid, "-o", "pid="]).output().await.expect("ps is there");
        let children = String::from_utf8(children.stdout).expect("numbers");
        let all: Vec<&str> = std::iter::once(pid.as_str()).chain(children.split_whitespace()).collect();
        let _ = Command::new("kill").arg("-9").args(&all).status().await; // a child may be gone already
        until("the server is gone", async || all.iter().all(|pid| !Path::new("/proc").join(pid).join("exe").exists()))
            .await;
        // Dead, but perhaps not reaped yet: whoever finds such a number in a lock file takes its server for alive.
        let locks = fs::read_dir(self.data().parent().expect("a folder")).expect("its folder");
        let locks =
            locks.map(|entry| entry.expect("a file").path()).filter(|path| path.extension() == Some("lock".as_ref()));
        for lock in locks.chain([self.data().join("postmaster.pid")]) {
            fs::remove_file(&lock).unwrap_or_else(|e| panic!("{}: {e}", lock.display()));
        }
    }

    async fn restart(&self) {
        let bins = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is there");
        let bin = bins.map(|entry| entry.expect("a version").path().join("bin/pg_ctl")).max().expect("a version");
        let as_postgres = if fs::metadata("/proc/self").expect("proc").uid() == 0 {
            vec!["runuser", "-u", "postgres", "--"]
        } else {
            vec!["env"]
        };
        let data = self.data();
        let log = data.with_file_name("log");
        // It starts with the options that it was started with at first.
        let started = Command::new(as_postgres[0])
            .args(&as_postgres[1..])
            .arg(bin)
            .args(["restart", "-w", "-D"])
            .arg(&data)
            .arg("-l")
            .arg(&log)
            .stdout(Stdio::null())
            .status();
        assert!(started.await.expect("pg_ctl runs").success(), "{}", fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
        let stopped = std::process::Command::new(script)
            .arg("stop")
            .env("LANDFALL_TEST_POSTGRES_STATE", self.state.path())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the cluster of the test did not stop");
        }
    }
}

#[tokio::test]
async fn a_database_that_dies_puts_mail_off_and_is_found_again() {
    let cluster = Cluster::start().await;
    let url = store::create_postgres_database(&cluster.url, "landfall_dying").await.expect("a database");
    let site = Site::new().with("LANDFALL_STORE_DATABASE", url);
    let (server, owner) = serve_with_ada(&site).await;
    let mut acknowledged = BTreeSet::new();
    for round in ["first", "second"] {
        let load = Load::start(server.smtp, round, 4, 2_000);
        until("some mail is taken", async || load.count("250") > 3).await;
        cluster.kill().await;
        until("mail is put off", async || load.count("451") + load.count("421") > 3).await;
        assert_eq!(visit(server.http, "/healthz").await.status, 200, "the process lives");
        cluster.restart().await;
        until("the database is found again", async || ready(server.http).await).await;
        let taken = load.count("250");
        until("mail is taken again", async || load.count("250") > taken).await;
        acknowledged.extend(load.end(&["250", "451", "452", "421"]).await);
    }
    all_there(&owner, &acknowledged).await;
    server.stop().await;
    site.run_here("verify", &[]).await.done();
}

#[tokio::test]
async fn a_crowd_is_served_or_told_and_memory_is_bounded() {
    const CROWD: usize = 1_200;
    const SESSIONS_MAX: usize = 1_000;
    const BYTES_MAX: u64 = 1 << 30;
    let site = Site::new()
        .with("LANDFALL_SMTP_CONNECTIONS_MAX", SESSIONS_MAX.to_string())
        .with("LANDFALL_SMTP_CONNECTIONS_PER_IP_MAX", "100000");
    let (server, owner) = serve_with_ada(&site).await;
    // All are connected before anybody sends.
    let mut crowd = Vec::new();
    let mut told = 0;
    for _ in 0..CROWD {
        match Talk::to(server.smtp).await {
            Some(talk) => crowd.push(talk),
            None => told += 1,
        }
    }
    assert_eq!((crowd.len(), told), (SESSIONS_MAX, CROWD - SESSIONS_MAX), "past the limit 421");
    let taken = Arc::new(AtomicUsize::new(0));
    let sending: Vec<_> = (0..)
        .zip(crowd)
        .map(|(n, mut talk)| {
            let taken = taken.clone();
            tokio::spawn(async move {
                for line in ["EHLO client.example", "MAIL FROM:<zoe@client.example>", &format!("RCPT TO:<{TO}>")] {
                    assert!(talk.say(line).await.starts_with("250"), "{line}");
                }
                assert!(talk.say("DATA").await.starts_with("354"));
                let text = "A line of a mail of the crowd.\r\n".repeat(1_000);
                let reply = talk.say(&format!("Subject: crowd-{n}\r\n\r\n{text}.")).await;
                assert!(["250", "451", "452", "421"].iter().any(|kind| reply.starts_with(kind)), "{n}: {reply:?}");
                let is_taken = reply.starts_with("250");
                taken.fetch_add(usize::from(is_taken), Ordering::Relaxed);
                is_taken.then(|| format!("crowd-{n}"))
            })
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for client in sending {
        acknowledged.extend(client.await.expect("no panic"));
    }
    assert!(taken.load(Ordering::Relaxed) > 0);
    all_there(&owner, &acknowledged).await;
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(peak_kib * 1_024 < BYTES_MAX, "{peak_kib} KiB for {SESSIONS_MAX} sessions");
    server.stop().await;
}
