//! The client with hosts that say what they offer: AUTH, DSN, REQUIRETLS, SMTPUTF8, TLS from the first byte.
//!
//! The host is a script over a real socket: it answers each verb with what the test says and keeps every line it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use model::{Address, ReversePath};
use smtp::client::{Credentials, MailOptions, RecipientOptions};
use smtp::{Client, ClientConfig, ClientError, Mail, TlsMode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::common;

/// What a host offers and when TLS begins.
#[derive(Clone)]
struct Host {
    /// Behind EHLO, one line each.
    offers: &'static [&'static str],
    tls: Option<Arc<rustls::ServerConfig>>,
    implicit: bool,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn new(offers: &'static [&'static str]) -> Host {
        Host { offers, tls: None, implicit: false, heard: Arc::default() }
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let host = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = host.clone();
                tokio::spawn(async move {
                    match (host.implicit, host.tls.clone()) {
                        (true, Some(tls)) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await?;
                            host.talk(stream, true).await.map(|_| ())
                        }
                        _ => {
                            let Some(stream) = host.talk(stream, true).await? else { return Ok(()) };
                            let tls = host.tls.clone().expect("STARTTLS was offered");
                            let stream = TlsAcceptor::from(tls).accept(stream).await?;
                            host.talk(stream, false).await.map(|_| ())
                        }
                    }
                });
            }
        });
        addr
    }

    /// Gives the stream back after STARTTLS.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, greet: bool) -> std::io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        if greet {
            stream.write_all(b"220 host.example\r\n").await?;
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let said = line.trim_end().to_owned();
            line.clear();
            self.heard.lock().unwrap().push(said.clone());
            let answer = match said.split(' ').next().unwrap_or_default() {
                "EHLO" => {
                    let offers: String = self.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
                    format!("250-host.example\r\n{offers}250 HELP\r\n")
                }
                "STARTTLS" => {
                    // The second line was not protected and must never count (CVE-2011-0411 from the client's side).
                    stream.write_all(b"220 go\r\n").await?;
                    stream.flush().await?;
                    return Ok(Some(stream.into_inner()));
                }
                "AUTH" if said.starts_with("AUTH PLAIN") => "235 2.7.0 ok\r\n".into(),
                "AUTH" => "334 VXNlcm5hbWU6\r\n".into(),
                "YWRh" => "334 UGFzc3dvcmQ6\r\n".into(),
                "c2VjcmV0" => "235 2.7.0 ok\r\n".into(),
                "DATA" => "354 go on\r\n".into(),
                "QUIT" => "221 bye\r\n".into(),
                "MAIL" | "RCPT" | "." => "250 2.0.0 ok\r\n".into(),
                _ => continue,
            };
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
        Ok(None)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn config(tls: TlsMode, with_password: bool) -> ClientConfig {
    let credentials = Credentials { username: "ada".into(), password: "secret".into() };
    ClientConfig { tls, credentials: with_password.then_some(credentials), ..ClientConfig::new("client.example") }
}

async fn send(client: &mut Client, to: &str, options: &MailOptions<'_>, body: &[u8]) -> Result<u16, ClientError> {
    let recipients: Vec<Address> = vec![to.parse().unwrap()];
    let mail = Mail { reverse_path: &ReversePath::Null, recipients: &recipients };
    Ok(client.send_with(&mail, options, body).await?.data.expect("a final reply").code())
}

#[tokio::test]
async fn a_password_goes_only_under_tls_that_was_required() {
    let (server_tls, client_tls) = common::tls();
    for (offers, implicit, last) in [
        (&["STARTTLS", "AUTH LOGIN PLAIN"][..], false, "AUTH PLAIN AGFkYQBzZWNyZXQ="),
        (&["AUTH LOGIN"][..], true, "c2VjcmV0"),
    ] {
        let host = Host { tls: Some(server_tls.clone()), implicit, ..Host::new(offers) };
        let addr = host.start().await;
        let name = common::server_name();
        let tls = match implicit {
            true => TlsMode::Implicit { config: client_tls.clone(), server_name: name },
            false => TlsMode::Required { config: client_tls.clone(), server_name: name },
        };
        let client = Client::connect(addr, config(tls, true)).await.unwrap();
        assert!(client.tls().is_some());
        assert_eq!(host.heard().last().unwrap(), last);
    }
    // Without TLS, with TLS that need not be checked, and with a certificate that is not trusted: never.
    let clear = Host::new(&["AUTH PLAIN"]);
    let offered = Host { tls: Some(server_tls), ..Host::new(&["STARTTLS", "AUTH PLAIN"]) };
    let name = common::server_name();
    let strangers = Arc::new(
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
    );
    let opportunistic = TlsMode::Opportunistic { config: client_tls, server_name: name.clone() };
    let untrusted = TlsMode::Required { config: strangers, server_name: name };
    for (host, tls) in [(&clear, TlsMode::Off), (&offered, opportunistic), (&offered, untrusted)] {
        let error = Client::connect(host.start().await, config(tls, true)).await.expect_err("no connection");
        assert!(matches!(error, ClientError::AuthUnavailable(_) | ClientError::Tls(_)), "{error}");
        assert!(!host.heard().iter().any(|line| line.starts_with("AUTH")), "{:?}", host.heard());
    }
}

#[tokio::test]
async fn a_host_without_our_mechanisms_gets_no_password() {
    let (server_tls, client_tls) = common::tls();
    let host = Host { tls: Some(server_tls), ..Host::new(&["STARTTLS", "AUTH CRAM-MD5"]) };
    let tls = TlsMode::Required { config: client_tls, server_name: common::server_name() };
    let refused = Client::connect(host.start().await, config(tls, true)).await;
    assert!(matches!(refused, Err(ClientError::AuthUnavailable(_))));
}

#[tokio::test]
async fn dsn_parameters_go_to_who_knows_them() {
    let recipients = [RecipientOptions { notify: "FAILURE,DELAY", orcpt: "rfc822;b@host.example" }];
    let options = MailOptions { envid: "x1", ret: "HDRS", recipients: &recipients, require_tls: false };
    for (offers, mail, rcpt) in [
        (
            &["DSN", "PIPELINING"][..],
            "MAIL FROM:<> RET=HDRS ENVID=x1",
            "RCPT TO:<b@host.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@host.example",
        ),
        (&[][..], "MAIL FROM:<>", "RCPT TO:<b@host.example>"),
    ] {
        let host = Host::new(offers);
        let mut client = Client::connect(host.start().await, config(TlsMode::Off, false)).await.unwrap();
        assert_eq!(send(&mut client, "b@host.example", &options, b"hi\r\n").await.unwrap(), 250);
        let heard = host.heard();
        assert_eq!((heard[1].as_str(), heard[2].as_str()), (mail, rcpt));
    }
}

#[tokio::test]
async fn addresses_beyond_ascii_need_a_host_that_takes_them() {
    let host = Host::new(&["SMTPUTF8", "8BITMIME"]);
    let mut client = Client::connect(host.start().await, config(TlsMode::Off, false)).await.unwrap();
    assert_eq!(send(&mut client, "jürgen@host.example", &MailOptions::default(), b"hi\r\n").await.unwrap(), 250);
    assert_eq!(host.heard()[1], "MAIL FROM:<> SMTPUTF8");
    let header = "Subject: Grüße\r\n\r\nhi\r\n".as_bytes();
    send(&mut client, "b@host.example", &MailOptions::default(), header).await.unwrap();
    assert!(host.heard().contains(&"MAIL FROM:<> BODY=8BITMIME SMTPUTF8".to_owned()), "{:?}", host.heard());

    let plain = Host::new(&["8BITMIME"]);
    let mut client = Client::connect(plain.start().await, config(TlsMode::Off, false)).await.unwrap();
    let refused = send(&mut client, "jürgen@host.example", &MailOptions::default(), b"hi\r\n").await;
    assert!(matches!(refused, Err(ClientError::Utf8Refused)));
    assert_eq!(plain.heard().len(), 1, "nothing but EHLO was said");
    assert!(client.is_usable());
}

#[tokio::test]
async fn require_tls_needs_required_tls_and_the_hosts_word() {
    let (server_tls, client_tls) = common::tls();
    let options = MailOptions { require_tls: true, ..MailOptions::default() };
    let name = common::server_name();
    for (offers, is_required, is_sent) in [
        (&["STARTTLS", "REQUIRETLS"][..], true, true),
        (&["STARTTLS", "REQUIRETLS"][..], false, false),
        (&["STARTTLS"][..], true, false),
    ] {
        let host = Host { tls: Some(server_tls.clone()), ..Host::new(offers) };
        let (config_, server_name) = (client_tls.clone(), name.clone());
        let tls = match is_required {
            true => TlsMode::Required { config: config_, server_name },
            false => TlsMode::Opportunistic { config: config_, server_name },
        };
        let mut client = Client::connect(host.start().await, config(tls, false)).await.unwrap();
        let sent = send(&mut client, "b@host.example", &options, b"hi\r\n").await;
        assert_eq!(sent.is_ok(), is_sent, "{offers:?} {is_required}");
        assert_eq!(host.heard().iter().any(|line| line == "MAIL FROM:<> REQUIRETLS"), is_sent);
    }
}
