//! Whole messages in memory have a common bound: who finds no room waits, then is told so, and nothing else stops.

use std::time::Duration;

use imap::ImapConfig;
use testkit::on_both;

use crate::ground::Ground;

const LARGEST: usize = 100_000;

/// A mail of so many bytes with a part.
fn mail(bytes: usize) -> Vec<u8> {
    let head = b"Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nneedle\r\n";
    [head, vec![b'x'; bytes - head.len()].as_slice()].concat()
}

fn config(patience: Duration) -> ImapConfig {
    ImapConfig {
        size_bytes_max: LARGEST,
        memory_bytes_max: 1,
        memory_patience: patience,
        ..ImapConfig::new("mx.contoso.example".into())
    }
}

#[tokio::test]
async fn who_finds_no_room_is_told_and_the_rest_goes_on() {
    on_both(|t| async move {
        let ground = Ground::with(&t.store, config(Duration::from_millis(50)), None).await;
        ground.arrive(&mail(60_000)).await;
        let (mut slow, mut other) = (ground.reader().await, ground.reader().await);
        // One message that does not come to its end has all the room there is.
        let raw = mail(LARGEST);
        slow.write(format!("s APPEND Sent {{{}}}\r\n", raw.len()).as_bytes()).await;
        assert!(slow.line().await.starts_with("+ "));
        slow.write(&raw[..50_000]).await;
        for command in [
            "APPEND Sent {50000}",
            "FETCH 1 BODYSTRUCTURE",
            "FETCH 1 BINARY.PEEK[1]",
            "FETCH 1 BODY.PEEK[1]",
            "SEARCH BODY needle",
        ] {
            other.refused(command, "NO [LIMIT]").await;
        }
        // Sent without waiting it is read past, and what stands behind it is no command.
        other.write(b"p APPEND Sent {7+}\r\nNOTHING {10+}\r\nq LOGOUT\r\n\r\nr NOOP\r\n").await;
        assert!(other.line().await.starts_with("p NO [LIMIT]"));
        assert!(other.line().await.starts_with("r OK"));
        // What is read in pieces needs no room.
        let whole = other.ok("FETCH 1 (ENVELOPE BODY.PEEK[] BODY.PEEK[HEADER])").await;
        assert!(whole[0].len() > 60_000);
        assert_eq!(other.ok("SEARCH SUBJECT large").await, ["* SEARCH 1"]);
        slow.write(&raw[50_000..]).await;
        slow.write(b"\r\n").await;
        assert!(slow.line().await.starts_with("s OK [APPENDUID "));
        // The room is free again.
        assert_eq!(other.ok("SEARCH BODY needle").await, ["* SEARCH 1"]);
        assert!(other.ok("FETCH 1 BODYSTRUCTURE").await[0].contains("\"mixed\""));
        assert!(other.append("Sent", &raw).await.starts_with("OK"));
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_finds_no_room_waits_for_it() {
    let t = testkit::sqlite().await;
    let ground = Ground::with(&t.store, config(crate::ground::WAIT), None).await;
    let (mut first, mut second) = (ground.reader().await, ground.reader().await);
    let raw = mail(LARGEST);
    first.write(format!("a APPEND Sent {{{}}}\r\n", raw.len()).as_bytes()).await;
    assert!(first.line().await.starts_with("+ "));
    second.write(format!("b APPEND Sent {{{}}}\r\n", raw.len()).as_bytes()).await;
    // The one that has room gets to its end while the other waits.
    first.write(&raw).await;
    first.write(b"\r\n").await;
    assert!(first.line().await.starts_with("a OK"));
    assert!(second.line().await.starts_with("+ "));
    // A connection that ends gives its room back.
    drop(second);
    assert!(first.append("Sent", &raw).await.starts_with("OK"));
    ground.stop().await;
}
