//! AUTHENTICATE SCRAM-SHA-256 (RFC 5802, RFC 7677), spoken by hand: with and without an initial response (RFC 4959).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use directory::ClientScope;
use sha2::{Digest, Sha256};
use testkit::on_both;
use testkit::scram::{hmac, salted};
use tokio::net::TcpStream;

use crate::ground::{Client, Ground, LOGIN, PASSWORD};

/// The whole exchange; gives the tagged answer.
async fn scram(client: &mut Client<TcpStream>, initial: bool, password: &str) -> String {
    let challenge = |line: &str| {
        let line = line.strip_prefix("+ ").unwrap_or_else(|| panic!("a challenge: {line}"));
        String::from_utf8(BASE64.decode(line.trim_end()).unwrap()).unwrap()
    };
    let respond = |text: &str| format!("{}\r\n", BASE64.encode(text));
    let bare = format!("n={LOGIN},r=clientnonce");
    let first = respond(&format!("n,,{bare}"));
    if initial {
        client.write(format!("s AUTHENTICATE SCRAM-SHA-256 {first}").as_bytes()).await;
    } else {
        client.write(b"s AUTHENTICATE SCRAM-SHA-256\r\n").await;
        assert_eq!(challenge(&client.line().await), "");
        client.write(first.as_bytes()).await;
    }
    let server_first = challenge(&client.line().await);
    let parts: Vec<&str> = server_first.split(',').map(|part| &part[2..]).collect();
    let salted = salted(password, &BASE64.decode(parts[1]).unwrap(), parts[2].parse().unwrap());
    let client_key = hmac(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={}", parts[0]);
    let auth_message = format!("{bare},{server_first},{without_proof}");
    let signature = hmac(&Sha256::digest(client_key), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    client.write(respond(&format!("{without_proof},p={}", BASE64.encode(proof))).as_bytes()).await;
    let line = client.line().await;
    if let Some(answer) = line.strip_prefix("s ") {
        return answer.to_owned();
    }
    let expected = hmac(&hmac(&salted, b"Server Key"), auth_message.as_bytes());
    assert_eq!(challenge(&line), format!("v={}", BASE64.encode(expected)), "the server knows the password too");
    client.write(b"\r\n").await;
    client.line().await.strip_prefix("s ").expect("the tagged answer").to_owned()
}

#[tokio::test]
async fn scram_is_offered_and_opens_the_mailbox() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let directory = &ground.directory;
        let (_, desk) = directory.create_app_password(ground.account_id, "Desk", ClientScope::ALL, None).await.unwrap();
        let for_sending = &[ClientScope::Submission];
        let (_, printer) =
            directory.create_app_password(ground.account_id, "Printer", for_sending, None).await.unwrap();
        for (initial, password) in [(true, PASSWORD), (false, PASSWORD), (true, &desk), (false, &desk)] {
            let mut client = ground.client().await;
            let capability = client.ok("CAPABILITY").await.join(" ");
            assert!(capability.contains(" AUTH=SCRAM-SHA-256 "), "{capability}");
            assert!(scram(&mut client, initial, password).await.starts_with("OK [CAPABILITY "));
            client.ok("SELECT INBOX").await;
        }
        let mut client = ground.client().await;
        for wrong in ["another password", &printer] {
            assert!(scram(&mut client, true, wrong).await.starts_with("NO [AUTHENTICATIONFAILED]"));
        }
        client.write(b"s AUTHENTICATE SCRAM-SHA-256\r\n").await;
        assert_eq!(client.line().await, "+ ");
        client.write(b"*\r\n").await;
        assert!(client.line().await.starts_with("s BAD"), "cancelled");
        client.refused("AUTHENTICATE SCRAM-SHA-256 biws", "BAD").await;
        ground.stop().await;
    })
    .await;
}

/// Who proves the right password with a login of another door is not let in, nor is a session whose password changes.
#[tokio::test]
async fn a_session_of_scram_ends_with_its_password() {
    let t = testkit::sqlite().await;
    let config = imap::ImapConfig { login_trust: std::time::Duration::ZERO, ..imap::ImapConfig::new("mx".into()) };
    let ground = Ground::with(&t.store, config, None).await;
    let mut client = ground.client().await;
    assert!(scram(&mut client, true, PASSWORD).await.starts_with("OK"));
    client.ok("NOOP").await;
    ground.directory.change_password(ground.account_id, PASSWORD, "another long password").await.unwrap();
    client.write(b"x NOOP\r\n").await;
    assert!(client.line().await.starts_with("* BYE this login"));
    ground.stop().await;
}
