//! Real mail programs on the running binary: Python's imaplib, imapclient and mutt. On both databases.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::site::Site;

/// What the whole journey may take.
const JOURNEY: Duration = Duration::from_secs(300);

/// `scripts/setup.sh test` makes it.
fn python() -> String {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    format!("{home}/.cache/landfall-python/bin/python3")
}

async fn journey(site: Site) {
    let server = site.serve().await;
    let addr = |line: String| line.split(' ').nth(1).expect("an address").to_owned();
    let (imap, imaps) = (addr(server.line("IMAP ").await), addr(server.line("IMAPS ").await));
    let link = server.line("First run: ").await;
    let here = env!("CARGO_MANIFEST_DIR");
    let certificate = site.data().join("tls/certificate.pem");
    let run = Command::new(python())
        .arg(format!("{here}/tests/imap_programs.py"))
        .args([server.http.to_string(), server.smtp.to_string(), imap, imaps])
        .arg(link.rsplit(' ').next().expect("a link"))
        .arg(&certificate)
        .arg(format!("{here}/../message/testdata"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(JOURNEY, run).await.expect("the journey ends").expect("scripts/setup.sh test makes this Python");
    let (said, wrong) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.trim_end().ends_with("all of it"), "{said}\n{wrong}");
    let log = server.stop().await;
    assert!(!log.iter().any(|line| line.contains("a long enough password")), "no secret is logged");
}

#[tokio::test]
async fn mail_programs_see_mail_arrive_vanish_and_come_back() {
    journey(Site::new()).await;
}

#[tokio::test]
async fn mail_programs_on_postgresql() {
    let fresh = crate::postgres::Fresh::database("imap").await;
    journey(Site::new().with("LANDFALL_STORE_DATABASE", fresh.url.clone())).await;
    fresh.end().await;
}
