//! CONDSTORE (RFC 7162): what changed, and changing only what did not.

use testkit::on_both;
use tokio::net::TcpStream;

use crate::ground::{Client, Ground, LOGIN, PASSWORD};

const MAIL: &[u8] = b"Subject: Hello\r\n\r\nHi\r\n";

fn number_behind(text: &str, word: &str) -> u64 {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}")).1;
    let rest = rest.trim_start_matches([' ', '(']);
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

async fn highest(client: &mut Client<TcpStream>) -> u64 {
    number_behind(&client.ok("STATUS INBOX (HIGHESTMODSEQ)").await.join("\n"), "HIGHESTMODSEQ")
}

async fn modseq(client: &mut Client<TcpStream>, uid: u64) -> u64 {
    number_behind(&client.ok(&format!("UID FETCH {uid} MODSEQ")).await.join("\n"), "MODSEQ")
}

#[tokio::test]
async fn a_program_fetches_what_changed() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        for _ in 0..3 {
            ground.arrive(MAIL).await;
        }
        let (mut reader, mut other) = (ground.client().await, ground.reader().await);
        reader.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
        assert!(reader.ok("CAPABILITY").await.join(" ").contains(" CONDSTORE"));
        let selected = reader.ok("SELECT INBOX (CONDSTORE)").await.join("\n");
        let before = number_behind(&selected, "[HIGHESTMODSEQ");
        assert_eq!(highest(&mut reader).await, before);
        reader.refused("SELECT INBOX (QRESYNC (1 1))", "BAD").await;
        reader.ok("SELECT INBOX").await;

        // Another session changes one and another comes: both have greater numbers, and only they are told.
        other.ok("STORE 2 +FLAGS (\\Flagged)").await;
        let said = reader.ok("NOOP").await;
        let second = modseq(&mut reader, 2).await;
        assert_eq!(said, [format!("* 2 FETCH (MODSEQ ({second}) FLAGS (\\Flagged))")]);
        ground.arrive(MAIL).await;
        reader.ok("NOOP").await;
        let fourth = modseq(&mut reader, 4).await;
        assert!(before < second && second < fourth, "{before} {second} {fourth}");
        assert_eq!(highest(&mut reader).await, fourth);
        let changed = reader.ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {before})")).await;
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert_eq!(changed[0], format!("* 2 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ ({second}))"));
        assert!(changed[1].contains(&format!("MODSEQ ({fourth})")), "{changed:?}");
        assert_eq!(reader.ok(&format!("FETCH 1:* FLAGS (CHANGEDSINCE {fourth})")).await, Vec::<String>::new());
        reader.refused("UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)", "BAD").await;

        // Searches by number say the highest one that they found.
        assert_eq!(
            reader.ok(&format!("SEARCH MODSEQ {second} UNSEEN")).await,
            [format!("* SEARCH 2 4 (MODSEQ {fourth})")]
        );
        assert_eq!(
            reader.ok(&format!("UID SEARCH MODSEQ \"/flags/\\\\draft\" all {second} FLAGGED")).await,
            [format!("* SEARCH 2 (MODSEQ {second})")]
        );
        let line = reader.ok(&format!("SEARCH RETURN (MIN) MODSEQ {second}")).await.remove(0);
        assert!(line.ends_with(&format!("MIN 2 MODSEQ {second}")), "{line}");
        assert_eq!(reader.ok(&format!("SEARCH MODSEQ {}", fourth + 1)).await, ["* SEARCH"]);
        ground.stop().await;
    })
    .await;
}

/// A program that comes back asks for the number and looks for nothing when it is the one that it knows: what has gone, too,
/// makes it rise, whoever took it.
#[tokio::test]
async fn the_number_rises_when_mail_leaves() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let first = ground.arrive(MAIL).await;
        ground.arrive(MAIL).await;
        ground.arrive(MAIL).await;
        let last = ground.arrive(MAIL).await;
        let mut reader = ground.reader().await;
        let mut known = highest(&mut reader).await;
        let mut rises = async |reader: &mut Client<TcpStream>, what: &str| {
            let now = highest(reader).await;
            assert!(now > known, "{what}: {known} then, {now} now");
            known = now;
        };
        ground.purge(first).await;
        rises(&mut reader, "a purge").await;
        reader.ok("NOOP").await;
        reader.ok("UID MOVE 2 Archive").await;
        rises(&mut reader, "a move").await;
        reader.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)").await;
        rises(&mut reader, "a flag").await;
        reader.ok("EXPUNGE").await;
        rises(&mut reader, "an expunge").await;
        ground.delete_in_console(last).await;
        rises(&mut reader, "a deletion in the console").await;
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_program_changes_only_what_it_knows() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        for _ in 0..3 {
            ground.arrive(MAIL).await;
        }
        let (mut other, mut reader) = (ground.reader().await, ground.reader().await);
        let known = highest(&mut reader).await;
        other.ok("STORE 2 +FLAGS (\\Flagged)").await;
        let (said, answer) = reader.run(&format!("STORE 1:3 (UNCHANGEDSINCE {known}) +FLAGS.SILENT (\\Seen)")).await;
        assert!(answer.starts_with("OK [MODIFIED 2] "), "{answer}");
        // The others are told their new numbers, and the refused one what it has become.
        let now = highest(&mut reader).await;
        assert!(said.contains(&format!("* 1 FETCH (MODSEQ ({now}))")), "{said:?}");
        assert!(said.contains(&format!("* 3 FETCH (MODSEQ ({now}))")), "{said:?}");
        assert!(
            said.iter().any(|l| l.starts_with("* 2 FETCH (MODSEQ (") && l.ends_with("FLAGS (\\Flagged))")),
            "{said:?}"
        );
        let (_, answer) = reader.run("UID STORE 1:3 (UNCHANGEDSINCE 0) FLAGS (\\Draft)").await;
        assert!(answer.starts_with("OK [MODIFIED 1:3] "), "{answer}");
        let said = reader.ok(&format!("UID STORE 2 (UNCHANGEDSINCE {now}) +FLAGS (\\Seen)")).await;
        let now = highest(&mut reader).await;
        assert_eq!(said, [format!("* 2 FETCH (UID 2 MODSEQ ({now}) FLAGS (\\Flagged \\Seen))")]);
        // Reading says the number too, and what changes nothing has none.
        reader.ok("STORE 3 -FLAGS.SILENT (\\Seen)").await;
        let said = reader.ok("FETCH 3 BODY[TEXT]").await;
        let now = highest(&mut reader).await;
        assert!(said[0].ends_with(&format!(" FLAGS (\\Seen) MODSEQ ({now}))")), "{said:?}");
        assert_eq!(reader.ok("STORE 3 +FLAGS.SILENT (\\Seen)").await, Vec::<String>::new());
        assert_eq!(highest(&mut reader).await, now);
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_does_not_ask_is_told_no_numbers() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    ground.arrive(MAIL).await;
    let (mut other, mut plain) = (ground.reader().await, ground.reader().await);
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    assert_eq!(plain.ok("NOOP").await, ["* 1 FETCH (FLAGS (\\Flagged))"]);
    let said = plain.ok("ENABLE X-NONE CONDSTORE").await;
    assert!(said[0].starts_with("* OK [HIGHESTMODSEQ ") && said[1] == "* ENABLED CONDSTORE", "{said:?}");
    other.ok("STORE 1 -FLAGS (\\Flagged)").await;
    assert!(plain.ok("NOOP").await[0].starts_with("* 1 FETCH (MODSEQ ("));
    ground.stop().await;
}
