//! ENVELOPE, BODYSTRUCTURE and sections agree with Dovecot's, for the golden messages and for nasty ones.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{Join, join};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::ground::{Client, Ground};

const DOVECOT: &str = "/usr/lib/dovecot/imap";

/// Where we say otherwise, and why; an empty item means all of them.
const OURS: &[(&str, &str)] = &[
    // A header section ends at the first line that is no field, for us as for Python's email.
    ("from_behind_garbage", ""),
    // The line break before the outer delimiter belongs to it (RFC 2046 5.1.1), also behind an inner closing one.
    ("forwarded", "BODYSTRUCTURE"),
    ("forwarded", "BODY"),
    ("forwarded", "BODY.PEEK[2]"),
    ("rfc822", "BODYSTRUCTURE"),
    ("rfc822", "BODY"),
    ("rfc822", "BODY.PEEK[1]"),
    ("rfc822", "BODY.PEEK[1.TEXT]"),
    // A section of fields ends with an empty line, whether or not the message has one.
    ("headers_only", "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]"),
    // A line of an mbox is no field.
    ("mbox_line", "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]"),
    // Of two subjects we show the first, Dovecot the last.
    ("multiple_from", "ENVELOPE"),
    // What cannot be taken apart is text that can be read.
    ("no_boundary", ""),
    // A longer boundary is another boundary.
    ("prefix_boundaries", ""),
    // Unfolding takes line breaks out and leaves blanks (RFC 5322 2.2.3).
    ("folded", "ENVELOPE"),
    ("empty_parts", "BODY.PEEK[2.MIME]"),
    // Encoded though it has no pieces: Dovecot numbers it.
    ("rfc2231", "BODYSTRUCTURE"),
    ("rfc2231", "BODY"),
];

struct Dovecot {
    client: Client<Join<ChildStdout, ChildStdin>>,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl Dovecot {
    /// Dovecot's IMAP program on a pipe, without a server around it.
    async fn start() -> Dovecot {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().display().to_string();
        let config = format!(
            "protocols = imap\nbase_dir = {path}/run\nlog_path = {path}/log\nmail_location = maildir:{path}/mail\nssl = no\n\
             mail_uid = nobody\nmail_gid = nogroup\nfirst_valid_uid = 0\nfirst_valid_gid = 0\nnamespace inbox {{\n inbox = yes\n}}\n"
        );
        std::fs::write(dir.path().join("conf"), config).expect("a file");
        std::fs::create_dir(dir.path().join("mail")).expect("a folder");
        for name in ["", "mail"] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(dir.path().join(name), open).expect("permissions");
        }
        let mut child = Command::new(DOVECOT)
            .args(["-c", &format!("{path}/conf")])
            .env("HOME", &path)
            .env("USER", "nobody")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("scripts/setup.sh test installs Dovecot");
        let pipes = join(child.stdout.take().expect("a pipe"), child.stdin.take().expect("a pipe"));
        let mut client = Client::new(pipes);
        let greeting = client.line().await;
        assert!(greeting.starts_with("* PREAUTH"), "{greeting}");
        client.ok("SELECT INBOX").await;
        Dovecot { client, _child: child, _dir: dir }
    }
}

fn messages() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../message/testdata");
    let mut all = Vec::new();
    let files = std::fs::read_dir(folder).expect("golden messages");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "eml")) {
        let raw = std::fs::read(file).expect("a file");
        let text: Vec<u8> = raw.iter().copied().filter(|b| *b != b'\r').collect();
        let crlf = text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        all.push((file.file_stem().expect("a name").to_string_lossy().into_owned(), crlf));
    }
    let nasty: &[(&str, &str)] = &[
        ("empty_body", "Subject: x\r\n\r\n"),
        (
            "addresses",
            "From: \"A, B\" <a@x>, c@y (Cee), G: d@z, E <e@z>;, <@r1,@r2:f@g>\r\nTo: undisclosed-recipients:;\r\nCc: =?utf-8?q?=C3=BC?= <u@x>\r\n\r\nx\r\n",
        ),
        ("quoted_local", "From: \"a b\"@x.example\r\nSender: S <s@x>\r\nReply-To: R <r@x>\r\n\r\nx\r\n"),
        ("folded", "Subject: a\r\n  b\r\n\tc\r\nIn-Reply-To: <1@x>\r\n <2@x>\r\nMessage-ID:\r\n <3@x>\r\n\r\nx\r\n"),
        (
            "alternative",
            "Content-Type: multipart/alternative; boundary=\"a b\"\r\n\r\n--a b\r\nContent-Type: text/plain; charset=\"utf-8\"; format=flowed\r\n\r\none\r\ntwo\r\n--a b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: QUOTED-PRINTABLE\r\n\r\n<p>\r\n--a b--\r\n",
        ),
        (
            "nested",
            "Content-Type: multipart/mixed; boundary=o\r\n\r\npre\r\n--o\r\nContent-Type: multipart/related; boundary=i\r\n\r\n--i\r\n\r\nA\r\n--i\r\nContent-Type: image/png\r\nContent-ID: <c@x>\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: inline; filename=\"a.png\"\r\n\r\nAAAA\r\n--i--\r\nepi\r\n--o\r\nContent-Type: application/pdf; name=b.pdf\r\nContent-Description: a file\r\nContent-MD5: Q2hlY2s=\r\nContent-Language: en, de\r\nContent-Location: http://x/\r\n\r\nPDF\r\n--o--\r\nepilogue\r\n",
        ),
        (
            "rfc822",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\nFrom: in@x\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nX\r\n--c\r\nContent-Type: text/html\r\n\r\nY\r\n--c--\r\n--b--\r\n",
        ),
        ("bare_rfc822", "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\nlines\r\n"),
        (
            "digest",
            "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: one\r\n\r\n1\r\n--d\r\n\r\nSubject: two\r\n\r\n2\r\n--d--\r\n",
        ),
        (
            "unclosed",
            "Content-Type: multipart/mixed; boundary=u\r\n\r\n--u\r\n\r\none\r\n--u\r\nContent-Type: text/html\r\n\r\ntwo\r\n",
        ),
        ("no_parts", "Content-Type: multipart/mixed; boundary=u\r\n\r\nnothing\r\n"),
        ("empty_parts", "Content-Type: multipart/mixed; boundary=u\r\n\r\n--u\r\n--u\r\n\r\n--u--\r\n"),
        (
            "inner_unclosed",
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nA\r\n--o\r\n\r\nB\r\n--o--\r\n",
        ),
        (
            "comments",
            "Content-Type: text/plain (plain); charset=us-ascii (c)\r\nContent-Transfer-Encoding: 8bit (bits)\r\n\r\nx\r\n",
        ),
        ("rfc2231", "Content-Type: application/x; name*0=\"a\"; name*1=b; title*=utf-8''%C3%BC\r\n\r\nx\r\n"),
        ("no_header", "\r\nbody only\r\n"),
    ];
    all.extend(
        nasty.iter().filter(|(_, raw)| raw.contains('\n')).map(|(n, raw)| ((*n).to_owned(), raw.as_bytes().to_vec())),
    );
    all.retain(|(_, raw)| !raw.contains(&0));
    all
}

/// As both would say it: letters in one case, a literal and a quoted string the same.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        let Some((length, after)) = rest[open + 1..].split_once("}\r\n") else { break };
        let Ok(length) = length.parse::<usize>() else { break };
        out.push_str(&rest[..open]);
        let cut = after.char_indices().map(|(i, _)| i).find(|i| *i >= length).unwrap_or(after.len());
        out.push_str(&format!("\"{}\"", &after[..cut]));
        rest = &after[cut..];
    }
    out.push_str(rest);
    out.to_lowercase()
}

async fn ask<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    client: &mut Client<S>,
    number: usize,
    item: &str,
) -> String {
    let (said, answer) = client.run(&format!("FETCH {number} ({item})")).await;
    let line = said.iter().find(|line| line.contains("FETCH (")).cloned().unwrap_or(answer);
    plain(line.split_once("FETCH (").map_or("", |(_, rest)| rest))
}

#[tokio::test]
async fn descriptions_agree_with_dovecots() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let mut ours: Client<TcpStream> = ground.reader().await;
    let mut dovecot = Dovecot::start().await;
    let mut differences = Vec::new();
    for (number, (name, raw)) in (1..).zip(messages()) {
        assert!(ours.append("INBOX", &raw).await.starts_with("OK"), "{name}");
        assert!(dovecot.client.append("INBOX", &raw).await.starts_with("OK"), "{name}");
        ours.ok("NOOP").await;
        dovecot.client.ok("NOOP").await;
        for item in [
            "RFC822.SIZE",
            "ENVELOPE",
            "BODYSTRUCTURE",
            "BODY",
            "BODY.PEEK[HEADER]",
            "BODY.PEEK[TEXT]",
            "BODY.PEEK[1]",
            "BODY.PEEK[1.MIME]",
            "BODY.PEEK[2]",
            "BODY.PEEK[1.1]",
            "BODY.PEEK[1.2]",
            "BODY.PEEK[1.HEADER]",
            "BODY.PEEK[1.TEXT]",
            "BODY.PEEK[2.MIME]",
            "BODY.PEEK[1.1.MIME]",
            "BODY.PEEK[1.1.1]",
            "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM X-NONE)]",
            "BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]",
            "BODY.PEEK[]<5.20>",
        ] {
            if OURS.iter().any(|(known, ours)| *known == name && (ours.is_empty() || *ours == item)) {
                continue;
            }
            let (one, other) = (ask(&mut ours, number, item).await, ask(&mut dovecot.client, number, item).await);
            // What is not there is NIL for us and empty for Dovecot, which also finds part 1 of a part without parts.
            let is_missing = one.ends_with("] nil)");
            if is_missing && (other.ends_with("] \"\")") || item.contains("[1.1")) {
                continue;
            }
            if one != other {
                differences.push(format!("{name} {item}\n  we:      {one:?}\n  Dovecot: {other:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    ground.stop().await;
}
