//! App passwords on the running binary: made over the API, used by programs that read and that send, and revoked.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::site::{Running, Site, WAIT};

/// Logs in at both doors with a password; says which opened. SCRAM is what smtplib does not know; PLAIN is.
const SCRIPT: &str = r#"
import imaplib, smtplib, ssl, sys
imap, submission, login, password = sys.argv[1:5]
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
opened = []
host, port = imap.rsplit(":", 1)
client = imaplib.IMAP4(host, int(port), timeout=30)
client.starttls(trusting)
try:
    client.login(login, password)
    client.select("INBOX")
    opened.append("imap %d" % len(client.search(None, "ALL")[1][0].split()))
except imaplib.IMAP4.error:
    pass
host, port = submission.rsplit(":", 1)
with smtplib.SMTP(host, int(port), timeout=30) as client:
    client.starttls(context=trusting)
    try:
        client.login(login, password)
        client.sendmail(login, [login], "From: %s\r\nSubject: To myself\r\n\r\nx\r\n" % login)
        opened.append("submission")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
print("opened:", " ".join(opened))
"#;

async fn opened(site: &Site, server: &Running, password: &str) -> String {
    let addr = |line: String| line.rsplit(' ').find(|word| word.contains(':')).expect("an address").to_owned();
    let (imap, submission) = (addr(server.line("IMAP 127").await), addr(server.line("Submission 127").await));
    let script = site.path("doors.py");
    std::fs::write(&script, SCRIPT).expect("the script is written");
    let ran = Command::new("python3")
        .arg(&script)
        .args([&imap, &submission, "ada@example.org", password])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(WAIT, ran).await.expect("it ends").expect("python3 is there");
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said.strip_prefix("opened:").unwrap_or_else(|| panic!("{said}")).trim().to_owned()
}

#[tokio::test]
async fn a_password_made_over_the_api_opens_its_doors_until_it_is_revoked() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    assert_eq!(owner.import("address,name\nada@example.org,Ada\n").await.done()["applied"], true);
    let ada = owner.login_of(server.http, "ada@example.org").await;
    let mut made = Vec::new();
    for (name, scopes) in [("Phone", json!(["imap"])), ("Printer", json!(["submission"])), ("Desk", json!(null))] {
        let answer = ada.post("/me/app-passwords", json!({ "name": name, "scopes": scopes })).await.done();
        let text = |field: &str| answer[field].as_str().expect("a text").to_owned();
        made.push((text("id"), text("secret")));
    }
    assert_eq!(opened(&site, &server, &made[1].1).await, "submission");
    assert_eq!(opened(&site, &server, &made[0].1).await, "imap 1");
    assert_eq!(opened(&site, &server, &made[2].1).await, "imap 1 submission");
    let used = ada.get("/me/app-passwords").await;
    let used = used.as_array().expect("a list");
    assert!(used.len() == 3 && used.iter().all(|one| one["last_used_at"].is_string()), "{used:?}");

    let gone = ada.delete(&format!("/me/app-passwords/{}", made[2].0)).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(opened(&site, &server, &made[2].1).await, "", "it is revoked");
    assert_eq!(opened(&site, &server, &made[0].1).await, "imap 2", "the others are as they were");
    server.stop().await;
}
