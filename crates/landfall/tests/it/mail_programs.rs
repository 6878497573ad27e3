//! Real mail programs against the running server: swaks, Python's smtplib; and a server that runs out of descriptors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::site::{Running, Site, WAIT};
use crate::web::Api;

const PEOPLE: &str = "address,name\nada@example.org,Ada\ngrace@example.org,Grace\n";

/// A site where mail programs come in by every door.
fn site() -> Site {
    Site::new().with("LANDFALL_OUTBOUND_RELAY", "127.0.0.1:9")
}

struct Ran {
    code: i32,
    said: String,
}

/// Runs a program to its end.
async fn run(program: &str, arguments: &[&str]) -> Ran {
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let ran = timeout(WAIT, child).await.unwrap_or_else(|_| panic!("{program} did not end"));
    let ran = ran.unwrap_or_else(|e| panic!("{program}: {e}; scripts/setup.sh test installs it"));
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    Ran { code: ran.status.code().unwrap_or(-1), said }
}

async fn swaks(addr: SocketAddr, arguments: &[&str]) -> Ran {
    let server = addr.to_string();
    let mut all = vec!["--server", &server, "--helo", "client.example"];
    all.extend(arguments);
    run("swaks", &all).await
}

async fn listener(server: &Running, name: &str) -> SocketAddr {
    let line = server.line(&format!("{name} 127")).await;
    let addr =
        line.strip_prefix(name).and_then(|rest| rest.trim().split(' ').next()).and_then(|addr| addr.parse().ok());
    addr.unwrap_or_else(|| panic!("{line:?} names no address"))
}

async fn app_password(site: &Site, address: &str, scopes: &str) -> String {
    let ran = site.run_here("app-password", &[address, "--name", "test", "--for", scopes]).await.done();
    let secret = ran.stdout.trim().to_owned();
    assert!(secret.len() == 24 && secret.matches('-').count() == 4, "{secret:?}");
    secret
}

async fn ready(site: &Site) -> (Running, Api, String) {
    let (server, owner) = site.serve_first().await;
    assert_eq!(owner.import(PEOPLE).await.done()["applied"], true);
    let secret = app_password(site, "ada@example.org", "submission").await;
    (server, owner, secret)
}

#[tokio::test]
async fn swaks_hands_mail_in() {
    let site = site();
    let (server, owner, secret) = ready(&site).await;
    let (starttls, at_once) = (listener(&server, "Submission").await, listener(&server, "Submission (TLS)").await);
    let ada = ["--from", "ada@example.org", "--h-From", "ada@example.org", "--to", "grace@example.org"];
    let login = |mechanism: &'static str, secret: &str| {
        ["--auth", mechanism, "--auth-user", "ada@example.org", "--auth-password", secret].map(str::to_owned).to_vec()
    };
    let with = |start: &str, login: Vec<String>, more: &[&str]| {
        let more = more.iter().map(|word| (*word).to_owned());
        [start.to_owned()].into_iter().chain(login).chain(more).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    let cases = [
        (starttls, with("--tls", login("PLAIN", &secret), &ada), 0, "250 2.0.0"),
        (starttls, with("--tls", login("LOGIN", &secret.replace('-', "")), &ada), 0, "250 2.0.0"),
        (at_once, with("--tlsc", login("PLAIN", &secret), &ada), 0, "250 2.0.0"),
        (starttls, with("--tls", login("PLAIN", "wrong"), &ada), 28, "535 5.7.8"),
        (starttls, with("", login("PLAIN", &secret), &ada), 28, ""),
        (starttls, with("--tls", Vec::new(), &ada), 23, "530 5.7.0"),
        (
            starttls,
            with("--tls", login("PLAIN", &secret), &["--from", "grace@example.org", "--to", "x@y.example"]),
            23,
            "550 5.7.1",
        ),
        (
            starttls,
            with(
                "--tls",
                login("PLAIN", &secret),
                &["--from", "ada@example.org", "--h-From", "ada@example.org", "--to", "x@far.example"],
            ),
            0,
            "250 2.0.0",
        ),
    ];
    for (addr, arguments, code, says) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = swaks(addr, &arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.said);
        assert!(ran.said.contains(says), "{arguments:?} should say {says:?}: {}", ran.said);
    }
    assert_eq!(owner.copies_of("grace@example.org").await.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn swaks_by_lmtp_and_through_a_proxy() {
    let site = site();
    let socket = site.path("lmtp");
    let site = site
        .with("LANDFALL_LMTP_LISTEN", format!("127.0.0.1:0,{}", socket.display()))
        .with("LANDFALL_SMTP_PROXY_PEERS", "127.0.0.1");
    let (server, owner, _) = ready(&site).await;
    let lmtp = listener(&server, "LMTP").await;
    let mail = ["--from", "eve@client.example", "--to", "ada@example.org,nobody@example.org,grace@example.org"];
    let by_tcp = swaks(lmtp, &[&["--protocol", "LMTP"][..], &mail].concat()).await;
    let (lhlo, path) = (["--protocol", "LMTP", "--helo", "client.example", "--socket"], socket.display().to_string());
    let by_path = run("swaks", &[&lhlo[..], &[path.as_str()], &mail].concat()).await;
    for ran in [by_tcp, by_path] {
        assert!(ran.said.contains("550 5.1.1") && ran.said.matches("250 2.0.0").count() >= 2, "{}", ran.said);
    }
    let to_ada = ["--from", "eve@client.example", "--to", "ada@example.org"];
    let source = [
        "--proxy-version",
        "1",
        "--proxy-family",
        "TCP4",
        "--proxy-source",
        "192.0.2.7",
        "--proxy-source-port",
        "5000",
    ];
    let proxied = [&source[..], &["--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"]].concat();
    let ran = swaks(server.smtp, &[&proxied[..], &to_ada].concat()).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    let ran = swaks(server.smtp, &to_ada).await;
    assert_ne!(ran.code, 0, "a listed proxy must say for whom it speaks: {}", ran.said);
    assert_eq!(owner.copies_of("ada@example.org").await.len(), 3);
    assert_eq!(owner.copies_of("grace@example.org").await.len(), 2);
    server.stop().await;
    assert!(!Path::new(&path).exists(), "the socket is taken away");
}

/// What Python's smtplib does: STARTTLS, a login, two kinds of recipients, DSN parameters, an address beyond ASCII.
const SCRIPT: &str = r#"
import smtplib, ssl, sys
host, port, password = sys.argv[1], int(sys.argv[2]), sys.argv[3]
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP(host, port, timeout=30) as client:
    client.starttls(context=trusting)
    client.ehlo("client.example")
    for word in ("auth", "dsn", "smtputf8", "chunking", "8bitmime", "size"):
        assert client.has_extn(word), word
    try:
        client.login("ada@example.org", "wrong")
        sys.exit("a wrong password was taken")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
    client.login("ada@example.org", password)
    letter = "From: Ada <ada@example.org>\r\nTo: Grace <grace@example.org>\r\nSubject: From Python\r\n\r\n.dot\r\n..dots\r\n"
    refused = client.sendmail("ada@example.org", ["grace@example.org", "x@far.example", "nobody@example.org"], letter,
        mail_options=["RET=HDRS", "ENVID=QQ1"], rcpt_options=["NOTIFY=FAILURE"])
    assert set(refused) == {"nobody@example.org"} and refused["nobody@example.org"][0] == 550, refused
    refused = client.sendmail("ada@example.org", ["jos\u00e9@far.example"], letter.encode(), mail_options=["SMTPUTF8"])
    assert not refused, refused
    try:
        client.sendmail("grace@example.org", ["x@far.example"], letter)
        sys.exit("another's address was taken")
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code == 550, error
    client.rset()
    client.send(b"BDAT 6 LAST\r\nRSET\r\n")
    code, said = client.getreply()
    assert code == 503, (code, said)
print("fine")
"#;

#[tokio::test]
async fn smtplib_hands_mail_in() {
    let site = site();
    let (server, owner, secret) = ready(&site).await;
    let addr = listener(&server, "Submission").await;
    let script = site.path("mail.py");
    std::fs::write(&script, SCRIPT).expect("the script is written");
    let (ip, port, script) = (addr.ip().to_string(), addr.port().to_string(), script.display().to_string());
    let ran = run("python3", &[&script, &ip, &port, &secret]).await;
    assert!(ran.code == 0 && ran.said.contains("fine"), "{}", ran.said);
    assert_eq!(owner.copies_of("grace@example.org").await.len(), 1);
    server.stop().await;
}

/// Section C row 25: out of descriptors the server waits, serves those who are there, and takes new ones afterwards.
#[tokio::test]
async fn out_of_descriptors_it_goes_on() {
    let site = site().with("LANDFALL_SMTP_CONNECTIONS_PER_IP_MAX", "1000").wrapped(&["prlimit", "--nofile=120"]);
    let (server, owner, _) = ready(&site).await;
    let mut first = BufReader::new(TcpStream::connect(server.smtp).await.expect("a connection"));
    let mut line = String::new();
    timeout(WAIT, first.read_line(&mut line)).await.expect("a banner").expect("a line");
    let mut crowd = Vec::new();
    while crowd.len() < 200 {
        crowd.push(TcpStream::connect(server.smtp).await.expect("the system completes the connection"));
    }
    server.logged("accept failed").await;
    drop(crowd);
    server.deliver("ada@example.org", b"From: e@client.example\r\nSubject: After\r\n\r\nx\r\n").await;
    assert_eq!(owner.copies_of("ada@example.org").await.len(), 1);
    drop(first);
    server.stop().await;
}
