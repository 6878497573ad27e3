//! Greeting, TLS, logins and bounds.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use imap::ImapConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use store::values;
use testkit::on_both;
use tokio_rustls::TlsConnector;

use crate::ground::{Client, Ground, LOGIN, PASSWORD};

fn config() -> ImapConfig {
    ImapConfig::new("mx.contoso.example".into())
}

fn tls() -> (Arc<rustls::ServerConfig>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["mx.contoso.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn logins_and_their_refusals() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let mut client = ground.client().await;
        let capability = client.ok("CAPABILITY").await.join(" ");
        for word in ["IMAP4rev1", "LITERAL+", "SASL-IR", "IDLE", "AUTH=PLAIN"] {
            assert!(capability.contains(word), "{capability}");
        }
        assert!(!capability.contains("LOGINDISABLED") && !capability.contains("STARTTLS"), "{capability}");
        client.refused("SELECT INBOX", "BAD log in").await;
        client.refused("STARTTLS", "BAD").await;
        client.refused(&format!("LOGIN {LOGIN} wrong"), "NO [AUTHENTICATIONFAILED]").await;
        client.refused("AUTHENTICATE CRAM-MD5", "NO").await;
        client.refused("AUTHENTICATE PLAIN !!!", "BAD").await;
        let plain = BASE64.encode(format!("\0{LOGIN}\0{PASSWORD}"));
        let (_, answer) = client.run(&format!("AUTHENTICATE PLAIN {plain}")).await;
        assert!(answer.starts_with("OK [CAPABILITY IMAP4rev1") && answer.contains("MOVE"), "{answer}");
        client.refused(&format!("LOGIN {LOGIN} x"), "BAD you are logged in").await;
        assert_eq!(client.ok("ID (\"name\" \"test\")").await, ["* ID (\"name\" \"Landfall\")"]);
        assert_eq!(client.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \"/\")) NIL NIL"]);
        let (bye, answer) = client.run("LOGOUT").await;
        assert!(bye[0].starts_with("* BYE") && answer.starts_with("OK"), "{bye:?} {answer}");
        assert_eq!(client.line().await, "", "the connection ends");

        let mut client = ground.client().await;
        client.write(format!("a LOGIN {{{}}}\r\n", LOGIN.len()).as_bytes()).await;
        assert!(client.line().await.starts_with("+ "));
        client.write(format!("{LOGIN} {{{}+}}\r\n{PASSWORD}\r\n", PASSWORD.len()).as_bytes()).await;
        assert!(client.line().await.starts_with("a OK"));

        // Quoted as it is, which only a literal may be; others send it so.
        ground.directory.change_password(ground.account_id, PASSWORD, "p\u{e4}ssword \"with\" signs").await.unwrap();
        let mut client = ground.client().await;
        client.ok(&format!("LOGIN {LOGIN} \"p\u{e4}ssword \\\"with\\\" signs\"")).await;
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_secret_travels_in_the_clear() {
    let t = testkit::sqlite().await;
    let (server, connector) = tls();
    let ground = Ground::with(&t.store, ImapConfig { clear_on_loopback: false, ..config() }, Some(server)).await;
    let mut client = ground.client().await;
    let capability = client.ok("CAPABILITY").await.join(" ");
    assert!(
        capability.contains("LOGINDISABLED STARTTLS") || capability.contains("STARTTLS LOGINDISABLED"),
        "{capability}"
    );
    assert!(!capability.contains("AUTH="), "{capability}");
    client.refused(&format!("LOGIN {LOGIN} \"{PASSWORD}\""), "NO [PRIVACYREQUIRED]").await;
    client.refused("AUTHENTICATE PLAIN", "NO [PRIVACYREQUIRED]").await;
    // What stands behind STARTTLS in the same packet is from nobody (RFC 3501 6.2.1).
    client.write(b"a STARTTLS\r\nb CAPABILITY\r\n").await;
    assert!(client.line().await.starts_with("a OK"));
    let name = ServerName::try_from("mx.contoso.example").unwrap();
    let mut client = Client::new(connector.connect(name, client.into_inner()).await.unwrap());
    let capability = client.ok("CAPABILITY").await.join(" ");
    assert!(capability.contains("AUTH=PLAIN") && !capability.contains("STARTTLS"), "{capability}");
    client.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
    ground.stop().await;
}

#[tokio::test]
async fn bounds() {
    let t = testkit::sqlite().await;
    let bounded = ImapConfig {
        size_bytes_max: 10_000,
        connections_per_mailbox_max: 2,
        connections_per_ip_max: 4,
        greeting_deadline: Duration::from_secs(2),
        ..config()
    };
    let ground = Ground::with(&t.store, bounded, None).await;
    let mut first = ground.reader().await;
    first.refused("APPEND INBOX {10001}", "NO [TOOBIG]").await;
    first.write(format!("x APPEND INBOX {{10001+}}\r\n{}\r\n", "a".repeat(10_001)).as_bytes()).await;
    assert!(first.line().await.starts_with("x NO [TOOBIG]"));
    first.ok("NOOP").await;
    let _second = ground.reader().await;
    let mut third = ground.client().await;
    third.refused(&format!("LOGIN {LOGIN} \"{PASSWORD}\""), "NO [LIMIT]").await;
    let mut fourth = ground.client().await;
    let fifth = tokio::net::TcpStream::connect(ground.addr).await.unwrap();
    assert!(Client::new(fifth).line().await.starts_with("* BYE"), "too many from one address");
    fourth.write(&vec![b'a'; 20_000]).await;
    assert!(fourth.line().await.starts_with("* BYE [TOOBIG]"));
    // Who says nothing before a login has to go.
    assert!(third.line().await.starts_with("* BYE"));
    for _ in 0..19 {
        first.refused("FROBNICATE", "BAD").await;
    }
    first.refused("FROBNICATE", "BAD").await;
    assert!(first.line().await.starts_with("* BYE"));
    ground.stop().await;
}

#[tokio::test]
async fn a_mailbox_that_is_kept_elsewhere_is_not_shown_empty() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let account = ground.directory.account(ground.account_id).await.unwrap().expect("the account");
        let mut tx = t.store.begin().await.unwrap();
        let row = values![ground.directory.id(), account.person_id, "dovecot"];
        assert_eq!(tx.execute("connector.choose", &row).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut client = ground.client().await;
        let login = format!("LOGIN {LOGIN} \"{PASSWORD}\"");
        let answer = client.refused(&login, "NO [AUTHORIZATIONFAILED]").await;
        assert!(answer.contains("dovecot"), "{answer}");
        ground.stop().await;
    })
    .await;
}
