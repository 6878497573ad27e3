//! What mail programs say, in their order and spelling: none of it may be misunderstood.

use crate::ground::{Ground, LOGIN, PASSWORD};

const MAIL: &[u8] = b"From: Bob <bob@y.example>\r\nTo: ada@contoso.example\r\nSubject: Hello\r\nMessage-ID: <1@y.example>\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\r\n--b\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n";

/// A program and what it says once it is logged in; `{` at the end stands for the literal of [`MAIL`].
const DIALOGUES: &[(&str, &[&str])] = &[(
    "Thunderbird",
    &[
        "ID (\"name\" \"Thunderbird\" \"version\" \"140.0\")",
        "namespace",
        "list (subscribed) \"\" \"*\" return (special-use)",
        "list \"\" \"*\" return (special-use)",
        "list \"\" \"INBOX\"",
        "lsub \"\" \"*\"",
        "select \"INBOX\" (CONDSTORE)",
        "UID fetch 1:* (FLAGS)",
        "UID fetch 2:* (FLAGS)",
        "UID fetch 1:* (FLAGS) (CHANGEDSINCE 1)",
        "UID fetch 1:2 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID \
             Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])",
        "UID fetch 1 (UID RFC822.SIZE BODY.PEEK[])",
        "UID fetch 1 (UID RFC822.SIZE BODY[]<0.18432>)",
        "UID fetch 1 (BODYSTRUCTURE)",
        "UID fetch 1 (BODY.PEEK[HEADER] BODY.PEEK[1.MIME] BODY.PEEK[1] BODY.PEEK[2.MIME])",
        "uid store 1 +Flags (\\Seen)",
        "uid store 1 +Flags (NonJunk)",
        "uid store 1 -FLAGS (\\Flagged $Label1)",
        "status \"Sent\" (UIDNEXT MESSAGES UNSEEN RECENT)",
        "UID SEARCH UNDELETED SINCE 1-Jan-2020 SUBJECT \"Hello\"",
        "UID SEARCH CHARSET UTF-8 (OR SUBJECT \"Hello\" FROM \"bob\")",
        "append \"Sent\" (\\Seen) {",
        "append \"Drafts\" (\\Draft) \"05-Jan-2026 10:00:00 +0100\" {",
        "create \"Projects/2026\"",
        "subscribe \"Projects/2026\"",
        "uid copy 1 \"Projects/2026\"",
        "uid move 1 \"Trash\"",
        "noop",
        "check",
        "expunge",
        "unselect",
        "rename \"Projects/2026\" \"Projects/2027\"",
        "unsubscribe \"Projects/2026\"",
        "delete \"Projects/2027\"",
        "logout",
    ],
)];

#[tokio::test]
async fn what_programs_say_is_understood() {
    for (program, dialogue) in DIALOGUES {
        // Each finds a mail in the inbox.
        let t = testkit::sqlite().await;
        let ground = Ground::new(&t.store).await;
        ground.arrive(MAIL).await;
        let mut client = ground.client().await;
        client.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
        for command in *dialogue {
            let answer = match command.strip_suffix('{') {
                Some(append) => client.append(append["APPEND ".len()..].trim_end(), MAIL).await,
                None => client.run(command).await.1,
            };
            assert!(answer.starts_with("OK"), "{program}: {command}: {answer}");
        }
        ground.stop().await;
    }
}

/// Offers that nobody made are refused, and the session goes on.
#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let mut client = ground.reader().await;
    for command in [
        "XLIST \"\" \"*\"",
        "COMPRESS DEFLATE",
        "GETQUOTAROOT INBOX",
        "UID SORT (DATE) UTF-8 ALL",
        "UID THREAD REFERENCES UTF-8 ALL",
        "GETACL INBOX",
        "SELECT INBOX (QRESYNC (1 1))",
        "STARTTLS",
    ] {
        client.refused(command, "BAD").await;
        client.ok("NOOP").await;
    }
    ground.stop().await;
}
