//! What mail programs say, in their order and spelling: none of it may be misunderstood.

use crate::ground::{Ground, LOGIN, PASSWORD};

const MAIL: &[u8] = b"From: Bob <bob@y.example>\r\nTo: ada@contoso.example\r\nSubject: Hello\r\nMessage-ID: <1@y.example>\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\r\n--b\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n";

/// A program and what it says once it is logged in; `{` at the end stands for the literal of [`MAIL`].
const DIALOGUES: &[(&str, &[&str])] = &[
    (
        // Taken down from 153.8.0 (its own log, November 2026), without what it says before the login.
        "Thunderbird 153",
        &[
            "namespace",
            "ID (\"name\" \"Thunderbird\" \"version\" \"153.8.0\")",
            "list (subscribed) \"\" \"*\" return (special-use)",
            "list \"\" \"INBOX\"",
            "STATUS \"INBOX\" (UIDNEXT MESSAGES UNSEEN RECENT)",
            "select \"INBOX\"",
            "UID fetch 1:* (FLAGS)",
            "UID fetch 1 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority \
             X-Priority References Newsgroups In-Reply-To Content-Type Reply-To Received)])",
            "noop",
            "UID fetch 2:* (FLAGS)",
            "UID fetch 1 (UID RFC822.SIZE BODY.PEEK[])",
            "STATUS \"Archive\" (UIDNEXT MESSAGES UNSEEN RECENT)",
            "uid store 1 +Flags (\\Seen)",
            "uid store 1 +Flags (\\Flagged)",
            "uid store 1 +FLAGS ($label1)",
            "uid store 1 +FLAGS (work)",
            "uid store 1 -Flags (\\Seen)",
            "uid store 1 -FLAGS (work)",
            "uid store 1 +FLAGS (Junk)",
            "uid store 1 -FLAGS (NonJunk)",
            "uid store 1 +FLAGS (NonJunk)",
            "uid store 1 -FLAGS (Junk)",
            "create \"Projects\"",
            "subscribe \"Projects\"",
            "list \"\" \"Projects\"",
            "create \"Projects/Entw&APw-rfe &- &ZeVnLA-\"",
            "subscribe \"Projects/Entw&APw-rfe &- &ZeVnLA-\"",
            "list \"\" \"Projects/Entw&APw-rfe &- &ZeVnLA-\"",
            "uid copy 1 \"Projects/Entw&APw-rfe &- &ZeVnLA-\"",
            "uid SEARCH UNDELETED SUBJECT \"tested\"",
            "uid SEARCH UNDELETED BODY \"this is the text\"",
            // The literal waits for the server; without `+` on the wire.
            "uid SEARCH CHARSET UTF-8 UNDELETED BODY {7+}\r\nGr\u{fc}\u{df}e",
            "uid SEARCH UNDELETED (OR SUBJECT \"bad\" FROM \"nobody\")",
            "uid SEARCH UNDELETED NOT SUBJECT \"xyz\" OR TO \"ada\" HEADER CC \"ada\"",
            "uid SEARCH UNDELETED SENTSINCE 26-Dec-1999",
            "uid SEARCH UNDELETED KEYWORD $label1",
            "uid SEARCH UNDELETED SEEN",
            "uid SEARCH UNDELETED SUBJECT \"quo\\\"te\\\\\\\\back\"",
            // With `use_condstore`, in a folder that it opened before without: 0 is below all mod-sequences.
            "UID fetch 1:* (FLAGS) (CHANGEDSINCE 0)",
            "UID fetch 1:* (FLAGS) (CHANGEDSINCE 1)",
            "uid store 1 +Flags (\\Seen \\Deleted)",
            "uid store 1 -Flags (\\Deleted)",
            "uid move 1 \"Projects\"",
            "UID fetch 6:* (FLAGS)",
            "select \"Projects\"",
            "uid store 1 +Flags (\\Deleted)",
            "check",
            "expunge",
            "list (subscribed) \"\" \"Projects/*\" return (special-use)",
            "close",
            "rename \"Projects\" \"Projects 2027\"",
            "subscribe \"Projects 2027\"",
            "unsubscribe \"Projects\"",
            "subscribe \"Projects 2027/Entw&APw-rfe &- &ZeVnLA-\"",
            "unsubscribe \"Projects/Entw&APw-rfe &- &ZeVnLA-\"",
            "list \"\" \"Projects 2027\"",
            "select \"Projects 2027\"",
            "list (subscribed) \"\" \"Projects 2027/*\" return (special-use)",
            "close",
            "rename \"Projects 2027\" \"Trash/Projects 2027\"",
            "subscribe \"Trash/Projects 2027\"",
            "unsubscribe \"Projects 2027\"",
            "subscribe \"Trash/Projects 2027/Entw&APw-rfe &- &ZeVnLA-\"",
            "unsubscribe \"Projects 2027/Entw&APw-rfe &- &ZeVnLA-\"",
            "append \"Drafts\" (\\Draft) {",
            "append \"Sent\" (\\Seen) {",
            "select \"Sent\"",
            "uid move 1 \"Trash\"",
            "select \"Trash\"",
            "uid move 1 \"INBOX\"",
            "select \"INBOX\"",
            "uid move 2 \"Trash\"",
            "select \"Trash\"",
            "store 1:* +FLAGS.SILENT (\\Deleted)",
            "expunge",
            "list \"\" \"Trash/*\"",
            "delete \"Trash/Projects 2027/Entw&APw-rfe &- &ZeVnLA-\"",
            "unsubscribe \"Trash/Projects 2027/Entw&APw-rfe &- &ZeVnLA-\"",
            "delete \"Trash/Projects 2027\"",
            "unsubscribe \"Trash/Projects 2027\"",
        ],
    ),
    (
        "Thunderbird 140",
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
    ),
    (
        "Outlook",
        &[
            "CAPABILITY",
            "ID (\"name\" \"Microsoft.Outlook\" \"vendor\" NIL)",
            "LIST \"\" \"\"",
            "NAMESPACE",
            "LIST (SPECIAL-USE) \"\" \"*\"",
            "LSUB \"\" \"*\"",
            "LIST \"\" \"*\"",
            "STATUS \"Inbox\" (UIDNEXT UIDVALIDITY UNSEEN)",
            "SELECT \"Inbox\"",
            "FETCH 1:* (UID FLAGS)",
            "UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[] INTERNALDATE)",
            "UID FETCH 1 (BODY.PEEK[HEADER.FIELDS (\"DATE\" \"FROM\" \"SUBJECT\")] ENVELOPE)",
            "UID STORE 1 +FLAGS.SILENT (\\Seen)",
            "UID STORE 1 +FLAGS.SILENT \\Deleted",
            "UID SEARCH UID 1:* DELETED",
            "UID EXPUNGE 1",
            "CLOSE",
        ],
    ),
    (
        "Apple Mail",
        &[
            "ID (\"name\" \"Mac OS X Mail\" \"version\" \"16.0 (3696)\" \"os\" \"Mac OS X\" \"vendor\" \"Apple Inc.\")",
            "ENABLE CONDSTORE",
            "ENABLE CONDSTORE QRESYNC",
            "LIST \"\" \"\"",
            "LIST \"\" \"*\" RETURN (SPECIAL-USE)",
            "LIST (SUBSCRIBED) \"\" \"*\" RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ))",
            "STATUS \"Archive\" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)",
            "SELECT INBOX (CONDSTORE)",
            "FETCH 1:* (FLAGS UID)",
            "FETCH 1:1 (INTERNALDATE UID RFC822.SIZE FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (date subject from to cc \
             message-id in-reply-to references content-type x-priority x-uniform-type-identifier list-id \
             list-unsubscribe authentication-results dkim-signature)])",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
            "UID FETCH 1 (BODYSTRUCTURE BODY.PEEK[HEADER])",
            "UID FETCH 1 BODY.PEEK[1]<0.65536>",
            "UID SEARCH RETURN (ALL) 1:* NOT DELETED",
            "UID SEARCH RETURN (COUNT) UNSEEN UNDELETED",
            "UID SEARCH OR OR OR FROM \"bob\" TO \"bob\" SUBJECT \"bob\" BODY \"bob\"",
            "UID STORE 1 +FLAGS.SILENT (\\Seen $NotJunk NotJunk)",
            "UID STORE 1 (UNCHANGEDSINCE 99999) +FLAGS.SILENT (\\Flagged)",
            "append Sent (\\Seen $NotJunk) \" 5-Jan-2026 10:00:00 +0100\" {",
            "CHECK",
        ],
    ),
    (
        "K-9",
        &[
            "ID (\"name\" \"K-9 Mail\")",
            "NAMESPACE",
            "LIST \"\" \"*\"",
            "LSUB \"\" \"*\"",
            "SELECT \"INBOX\"",
            "UID SEARCH 1:* NOT DELETED",
            "UID SEARCH 1:1 SINCE 01-Jan-2020 NOT DELETED",
            "UID FETCH 1 (UID FLAGS)",
            "UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to \
             cc reply-to message-id references in-reply-to list-unsubscribe sender X-K9mail-Identity Chat-Version)])",
            "UID FETCH 1 (UID BODYSTRUCTURE)",
            "UID FETCH 1 (UID BODY.PEEK[]<0.32768>)",
            "UID FETCH 1 (UID BODY.PEEK[1])",
            "UID SEARCH HEADER MESSAGE-ID \"<1@y.example>\"",
            "UID SEARCH TEXT \"Hi\" NOT DELETED",
            "UID STORE 1 +FLAGS.SILENT (\\Seen \\Flagged)",
            "UID MOVE 1 \"Archive\"",
            "EXPUNGE",
        ],
    ),
    (
        "Roundcube",
        &[
            "ID NIL",
            "LIST (SUBSCRIBED) \"\" \"*\" RETURN (STATUS (MESSAGES UNSEEN))",
            "LIST \"\" % RETURN (SPECIAL-USE)",
            "SELECT INBOX",
            "UID FETCH 1:* (UID RFC822.SIZE FLAGS INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT \
             CONTENT-TYPE CC REPLY-TO LIST-POST DISPOSITION-NOTIFICATION-TO X-PRIORITY)])",
            "UID SEARCH RETURN (COUNT MIN MAX) UNSEEN",
            "UID SEARCH RETURN (ALL) ALL UNDELETED",
            "UID FETCH 1 (BODY.PEEK[2.MIME] BODY.PEEK[2])",
            "UID FETCH 1 BODY.PEEK[TEXT]<0.1024>",
            "UID SEARCH CHARSET UTF-8 OR HEADER SUBJECT \"gr\u{fc}\u{df}e\" HEADER FROM \"gr\u{fc}\u{df}e\"",
            "UNSELECT",
        ],
    ),
    (
        "mbsync",
        &[
            "LIST \"\" \"*\"",
            "CREATE \"INBOX/Sub\"",
            "SELECT \"INBOX\"",
            "UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-TUID MESSAGE-ID)])",
            "UID FETCH 1 (FLAGS BODY.PEEK[])",
            "UID STORE 1 +FLAGS.SILENT (\\Answered)",
            "UID SEARCH HEADER X-TUID abc+/def",
            "CLOSE",
        ],
    ),
];

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
