//! A session ends with what opened it.

use std::time::Duration;

use directory::ClientScope;
use imap::ImapConfig;
use testkit::on_both;
use tokio::net::TcpStream;

use crate::ground::{Client, Ground, LOGIN, PASSWORD};

/// A server that asks often.
fn watchful() -> ImapConfig {
    ImapConfig {
        idle_look: Duration::from_millis(50),
        login_trust: Duration::ZERO,
        ..ImapConfig::new("mx.contoso.example".into())
    }
}

async fn selected(ground: &Ground, secret: &str) -> Client<TcpStream> {
    let mut client = ground.client().await;
    client.ok(&format!("LOGIN {LOGIN} \"{secret}\"")).await;
    client.ok("SELECT INBOX").await;
    client
}

async fn ends(client: &mut Client<TcpStream>) {
    let line = client.line().await;
    assert!(line.starts_with("* BYE this login"), "{line}");
    assert_eq!(client.line().await, "", "the connection ends");
}

#[tokio::test]
async fn a_revoked_app_password_ends_its_sessions_and_no_others() {
    on_both(|t| async move {
        let ground = Ground::with(&t.store, watchful(), None).await;
        let (owner, scopes) = (ground.account_id, [ClientScope::Imap]);
        let made = ground.directory.create_app_password(owner, "Phone", &scopes, None).await.unwrap();
        let (phone, secret) = (made.0.id, made.1);
        let (mut idle, mut quiet) = (selected(&ground, &secret).await, selected(&ground, &secret).await);
        let mut other = selected(&ground, PASSWORD).await;
        idle.write(b"i IDLE\r\n").await;
        assert_eq!(idle.line().await, "+ idling");
        ground.directory.revoke_app_password(owner, phone, None).await.unwrap();
        ends(&mut idle).await;
        ends(&mut quiet).await;
        other.ok("NOOP").await;
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_ends_what_it_opened_with_the_next_command() {
    on_both(|t| async move {
        let ground =
            Ground::with(&t.store, ImapConfig { idle_look: Duration::from_secs(600), ..watchful() }, None).await;
        let owner = ground.account_id;
        let made = ground.directory.create_app_password(owner, "Phone", &[ClientScope::Imap], None).await.unwrap();
        let (mut client, mut phone) = (selected(&ground, PASSWORD).await, selected(&ground, &made.1).await);
        ground.arrive(b"Subject: secret\r\n\r\nx\r\n").await;
        ground.directory.change_password(owner, PASSWORD, "another long password").await.unwrap();
        client.write(b"a FETCH 1 BODY[]\r\n").await;
        ends(&mut client).await;
        phone.ok("NOOP").await;
        selected(&ground, "another long password").await.ok("NOOP").await;
        ground.stop().await;
    })
    .await;
}
