//! Messages: what FETCH, STORE, SEARCH, APPEND, COPY, MOVE and EXPUNGE do, and what the ledger hears of it.

use testkit::on_both;

use crate::ground::Ground;

const PARTS: &[u8] = b"From: Ada <ada@x.example>\r\nTo: bob@y.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nB=C3=A4r\r\n--b\r\n\
Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ndeep\r\n--b--\r\n";

#[tokio::test]
async fn messages_are_read_by_parts() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        ground.arrive(PARTS).await;
        let mut client = ground.client().await;
        client.ok(&format!("LOGIN {} \"{}\"", crate::ground::LOGIN, crate::ground::PASSWORD)).await;
        let (said, answer) = client.run("EXAMINE inbox").await;
        assert!(said.contains(&"* 1 EXISTS".into()) && said.contains(&"* 1 RECENT".into()), "{said:?}");
        assert!(said.iter().any(|l| l.starts_with("* OK [UNSEEN 1]")), "{said:?}");
        assert!(answer.starts_with("OK [READ-ONLY]"), "{answer}");
        client.ok("FETCH 1 BODY[]").await;
        client.refused("STORE 1 +FLAGS (\\Seen)", "NO [READ-ONLY]").await;
        let select = client.ok("SELECT INBOX").await;
        assert!(select.contains(&"* 1 RECENT".into()), "EXAMINE took no recent: {select:?}");
        let one = |lines: Vec<String>| {
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines[0].clone()
        };
        let size = PARTS.len();
        assert_eq!(
            one(client.ok("FETCH 1 (UID RFC822.SIZE FLAGS INTERNALDATE)").await),
            format!(
                "* 1 FETCH (UID 1 RFC822.SIZE {size} FLAGS (\\Recent) INTERNALDATE \" 5-Jan-2026 09:00:00 +0000\")"
            )
        );
        let envelope = one(client.ok("FETCH 1 ENVELOPE").await);
        assert!(
            envelope.contains("\"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" ((\"Ada\" NIL \"ada\" \"x.example\"))"),
            "{envelope}"
        );
        for (section, expect) in [
            ("BODY.PEEK[1]", "BODY[1] {8}\r\nB=C3=A4r"),
            ("BODY.PEEK[2.1]", "BODY[2.1] {4}\r\ndeep"),
            ("BODY.PEEK[2.HEADER]", "BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
            ("BODY.PEEK[2.TEXT]<1.2>", "BODY[2.TEXT]<1> {2}\r\nee"),
            ("BODY.PEEK[]<4.9>", "BODY[]<4> {9}\r\n: Ada <ad"),
            ("BODY.PEEK[]<9999.9>", "BODY[]<9999> {0}\r\n"),
            ("BODY.PEEK[9]", "BODY[9] NIL"),
            (
                "BODY.PEEK[HEADER.FIELDS (to X-None)]",
                "BODY[HEADER.FIELDS (to X-None)] {21}\r\nTo: bob@y.example\r\n\r\n",
            ),
            ("BODY.PEEK[2.HEADER.FIELDS.NOT (SUBJECT)]", "BODY[2.HEADER.FIELDS.NOT (SUBJECT)] {2}\r\n\r\n"),
            ("BODY.PEEK[1.MIME]", "BODY[1.MIME] {88}\r\n"),
            ("BINARY.PEEK[1]", "BINARY[1] {4}\r\nB\u{e4}r"),
            ("BINARY.SIZE[1]", "BINARY.SIZE[1] 4"),
        ] {
            let line = one(client.ok(&format!("FETCH 1 ({section})")).await);
            assert!(line.starts_with(&format!("* 1 FETCH ({expect}")), "{section}: {line}");
        }
        let structure = one(client.ok("FETCH 1 BODYSTRUCTURE").await);
        assert!(structure.contains("\"quoted-printable\" 8 0") && structure.contains("\"mixed\""), "{structure}");
        let whole = one(client.ok("UID FETCH 1 RFC822").await);
        assert!(whole.contains(std::str::from_utf8(PARTS).unwrap()), "{whole}");
        let flags = one(client.ok("FETCH 1 FLAGS").await);
        assert_eq!(flags, "* 1 FETCH (FLAGS (\\Seen \\Recent))", "reading marks as read");
        client.refused("FETCH 2 FLAGS", "BAD").await;
        assert_eq!(client.ok("UID FETCH 99 FLAGS").await, Vec::<String>::new());
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn binary_parts_come_as_they_are() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    // %PDF, NUL, 0x80, 0x01
    let raw = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERgCAAQ==\r\n";
    ground.arrive(raw).await;
    let mut client = ground.reader().await;
    for (item, expect) in [
        ("BINARY.PEEK[1]", &b"* 1 FETCH (BINARY[1] ~{7}\r\n%PDF\0\x80\x01)"[..]),
        ("BINARY.PEEK[1]<4.1>", b"* 1 FETCH (BINARY[1]<4> ~{1}\r\n\0)"),
        ("BINARY.PEEK[1]<0.4>", b"* 1 FETCH (BINARY[1]<0> {4}\r\n%PDF)"),
    ] {
        assert_eq!(client.ok(&format!("FETCH 1 {item}")).await, [String::from_utf8_lossy(expect)], "{item}");
    }
    ground.stop().await;
}

#[tokio::test]
async fn searches() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        ground.arrive(PARTS).await;
        ground.arrive(b"From: eve@z.example\r\nSubject: plain\r\n\r\nnothing here\r\n").await;
        let mut client = ground.reader().await;
        client.ok("STORE 2 +FLAGS (\\Flagged $Work)").await;
        for (keys, expect) in [
            ("ALL", " 1 2"),
            ("FLAGGED", " 2"),
            ("KEYWORD $work UNSEEN", " 2"),
            ("NOT FLAGGED", " 1"),
            ("OR FLAGGED FROM ada", " 1 2"),
            ("FROM \"EVE@\"", " 2"),
            ("SUBJECT \"PLAIN\"", " 2"),
            ("HEADER Mime-Version \"\"", " 1"),
            ("BODY deep", " 1"),
            ("TEXT inner", " 1"),
            ("SENTON 2-Feb-2026", " 1"),
            ("SENTBEFORE 2-Feb-2026", ""),
            ("SINCE 5-Jan-2026 BEFORE 6-Jan-2026", " 1 2"),
            ("ON 4-Jan-2026", ""),
            ("LARGER 100", " 1"),
            ("SMALLER 100", " 2"),
            ("UID 2:*", " 2"),
            ("2:* NOT (FLAGGED SEEN)", " 2"),
            ("YOUNGER 60", " 1 2"),
            ("NEW", " 1 2"),
            ("OLD", ""),
        ] {
            assert_eq!(client.ok(&format!("SEARCH {keys}")).await, [format!("* SEARCH{expect}")], "{keys}");
        }
        client
            .write("s SEARCH CHARSET UTF-8 SUBJECT {8+}\r\nGR\u{dc}\u{df}E\r\n".replace("{8+}", "{7+}").as_bytes())
            .await;
        assert_eq!(client.line().await, "* SEARCH 1");
        assert!(client.line().await.starts_with("s OK"));
        assert_eq!(
            client.ok("SEARCH CHARSET UTF-8 SUBJECT \"GR\u{dc}\u{df}E\"").await,
            ["* SEARCH 1"],
            "quoted as it is"
        );
        assert_eq!(client.ok("SEARCH BODY \"none\"").await, ["* SEARCH"]);
        // What is not there fits nothing; to FETCH it is a mistake.
        assert_eq!(client.ok("SEARCH OR 7:9 2:5").await, ["* SEARCH 2"]);
        client.refused("FETCH 2:5 FLAGS", "BAD").await;
        client.ok("SELECT Archive").await;
        assert_eq!(client.ok("UID SEARCH 1:* NOT DELETED").await, ["* SEARCH"]);
        let select = client.ok("SELECT INBOX").await;
        let permanent =
            "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work \\*)] what can be changed";
        assert!(select.iter().any(|line| line == permanent), "{select:?}");
        client.refused("SEARCH CHARSET KOI8-R ALL", "NO [BADCHARSET").await;
        let line = client.ok("UID SEARCH RETURN (MIN MAX COUNT) ALL").await.remove(0);
        assert!(line.ends_with("UID MIN 1 MAX 2 COUNT 2"), "{line}");
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_owners_own_mail_is_kept_and_is_no_copy() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let mut client = ground.reader().await;
        let draft = b"From: ada@contoso.example\r\nSubject: Draft\r\n\r\nnot yet\r\n";
        assert!(client.append("None", draft).await.starts_with("NO [TRYCREATE]"));
        let answer = client.append("Sent (\\Seen \\Draft $Mine) \"01-Feb-2025 12:00:00 +0100\"", draft).await;
        assert!(answer.starts_with("OK [APPENDUID ") && answer.contains(" 1] "), "{answer}");
        client.ok("SELECT Sent").await;
        assert_eq!(
            client.ok("FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[TEXT])").await,
            ["* 1 FETCH (FLAGS (\\Seen \\Draft \\Recent $Mine) INTERNALDATE \" 1-Feb-2025 11:00:00 +0000\" BODY[TEXT] {9}\r\nnot yet\r\n)"]
        );
        client.ok("COPY 1 INBOX").await;
        client.ok("MOVE 1 Archive").await;
        client.ok("SELECT Archive").await;
        client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
        assert_eq!(client.ok("EXPUNGE").await, ["* 1 EXPUNGE"]);
        client.ok("SELECT INBOX").await;
        assert_eq!(client.ok("FETCH 1 (UID FLAGS)").await, ["* 1 FETCH (UID 1 FLAGS (\\Seen \\Draft \\Recent $Mine))"]);
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_ledger_knows_where_an_owner_puts_a_copy() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let copy = ground.arrive(PARTS).await;
        let mut client = ground.reader().await;
        client.ok("CREATE Work").await;
        let said = client.ok("UID MOVE 1 Work").await;
        assert!(said[0].starts_with("* OK [COPYUID ") && said[0].contains(" 1 1] "), "{said:?}");
        assert_eq!(said[1], "* 1 EXPUNGE");
        assert_eq!(ground.whereabouts(copy).await, ("other_folder".into(), "Work".into(), "accepted".into()));

        // As programs without MOVE do it: the copy takes the original's place, and the ledger follows.
        client.ok("SELECT Work").await;
        let (_, answer) = client.run("COPY 1 Junk").await;
        assert!(answer.starts_with("OK [COPYUID "), "{answer}");
        client.ok("STORE 1 +FLAGS (\\Deleted)").await;
        client.ok("EXPUNGE").await;
        assert_eq!(ground.whereabouts(copy).await.0, "junk");

        // A purge takes the duplicates along, and the undo brings them back.
        client.ok("SELECT Junk").await;
        client.ok("STORE 1 FLAGS (\\Flagged Mine)").await;
        client.ok("COPY 1 Archive").await;
        let taken = ground.purge(copy).await;
        assert_eq!(client.ok("NOOP").await, ["* 1 EXPUNGE"]);
        assert_eq!(client.ok("STATUS Archive (MESSAGES)").await, ["* STATUS Archive (MESSAGES 0)"]);
        ground.restore(taken).await;
        let said = client.ok("NOOP").await;
        assert!(said.contains(&"* 1 EXISTS".into()), "{said:?}");
        assert_eq!(client.ok("FETCH 1 (UID FLAGS)").await, ["* 1 FETCH (UID 2 FLAGS (\\Flagged \\Recent Mine))"]);
        assert_eq!(client.ok("STATUS Archive (MESSAGES)").await, ["* STATUS Archive (MESSAGES 1)"]);

        // Deleting the original while a duplicate is kept is moving; deleting the last is deleting.
        client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
        client.ok("CLOSE").await;
        assert_eq!(ground.whereabouts(copy).await.1, "Archive");
        client.ok("SELECT Archive").await;
        client.ok("STORE 1 +FLAGS (\\Deleted)").await;
        client.ok("UID EXPUNGE 5:9").await;
        assert_eq!(client.ok("SEARCH ALL").await, ["* SEARCH 1"], "UID EXPUNGE takes only those it names");
        client.ok("UID EXPUNGE 1:*").await;
        assert_eq!(ground.whereabouts(copy).await.2, "deleted_by_owner");
        assert_eq!(ground.events(copy).await.last().map(String::as_str), Some("deleted_by_owner"));

        let copy = ground.arrive(PARTS).await;
        client.ok("CREATE Gone").await;
        client.ok("SELECT INBOX").await;
        client.ok("MOVE 1 Gone").await;
        client.ok("DELETE Gone").await;
        assert_eq!(ground.whereabouts(copy).await.0, "deleted", "a folder's mail goes with it");
        ground.stop().await;
    })
    .await;
}

/// The pack that holds these bytes is damaged.
fn damage(objects: &std::path::Path, bytes: &[u8]) {
    for shard in std::fs::read_dir(objects.join("packs")).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut raw = std::fs::read(&path).unwrap();
            if let Some(at) = raw.windows(bytes.len()).position(|window| window == bytes) {
                raw[at] ^= 0x20;
                std::fs::write(&path, raw).unwrap();
                return;
            }
        }
    }
    panic!("no pack holds it");
}

#[tokio::test]
async fn a_damaged_message_does_not_hide_the_others() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    ground.arrive(b"Subject: one\r\n\r\nneedle in the first\r\n").await;
    ground.arrive(b"Subject: two\r\n\r\nneedle in the second\r\n").await;
    let mut client = ground.reader().await;
    assert_eq!(client.ok("SEARCH BODY needle").await, ["* SEARCH 1 2"]);
    damage(&t.config.objects_dir, b"needle in the first");
    assert_eq!(client.ok("SEARCH BODY needle").await, ["* SEARCH 2"]);
    client.refused("FETCH 1:2 BODYSTRUCTURE", "NO [UNAVAILABLE]").await;
    ground.stop().await;
}
