//! Input that wants to hurt: bombs, endless structures, random and mutated bytes. Reading always ends and always fits.

use std::io::Write;

use message::{Limits, ParseContext, headers, parse, preview, seven_bit};
use model::{BodyType, ClientInfo, Defect, Envelope, Facts, ReversePath, Timestamp};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

fn facts(raw: &[u8]) -> Facts {
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        forward_paths: Vec::new(),
        body_type: BodyType::SevenBit,
        declared_size_bytes: None,
        options: Default::default(),
        rcpt_options: Vec::new(),
        client: ClientInfo {
            ip: "192.0.2.1".parse().unwrap(),
            helo: String::new(),
            esmtp: false,
            tls: None,
            lmtp: false,
            login: None,
        },
    };
    let limits = Limits::default();
    let facts =
        parse(raw, &ParseContext { received_at: Timestamp::default(), envelope: &envelope, own_domains: &[], limits });
    assert!(facts.header.from.len() <= limits.originators_max && facts.header.to.len() <= limits.recipients_max);
    assert!(facts.urls.len() <= limits.urls_max && facts.links.len() <= limits.links_max);
    assert!(facts.attachments.len() <= limits.attachments_max);
    assert!(facts.text_head.chars().count() <= limits.text_head_chars_max);
    assert!(!serde_json::to_string(&facts).unwrap().contains("\\u0000"), "NUL stays out of stored facts");
    facts
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn mail_with(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut raw = format!(
        "From: a@b.example\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    raw.extend_from_slice(data_encoding::BASE64.encode(bytes).as_bytes());
    raw
}

fn defects(raw: &[u8]) -> Vec<Defect> {
    facts(raw).defects
}

#[test]
fn nested_multiparts_stop_at_the_limit() {
    let mut raw = b"From: a@b.example\r\n".to_vec();
    for level in 0..20_000 {
        raw.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").as_bytes(),
        );
    }
    assert!(defects(&raw).contains(&Defect::TooDeep));
}

#[test]
fn nested_messages_stop_at_the_limit() {
    let raw = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    let facts = facts(raw.as_bytes());
    assert!(facts.defects.contains(&Defect::TooDeep));
    assert!(facts.attachments.iter().any(|file| file.unscannable));
}

#[test]
fn messages_nested_in_base64_stop_at_the_limit() {
    let mut raw = b"Subject: innermost\r\n\r\nhttp://inner.example/\r\n".to_vec();
    for _ in 0..6 {
        let encoded = data_encoding::BASE64.encode(&raw);
        raw = format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n")
            .into_bytes();
    }
    assert_eq!(facts(&raw).urls[0].host, "inner.example");
    for _ in 0..12 {
        let encoded = data_encoding::BASE64.encode(&raw);
        raw = format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n")
            .into_bytes();
    }
    assert!(defects(&raw).contains(&Defect::TooDeep));
}

#[test]
fn ten_thousand_parts() {
    let mut raw = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    for _ in 0..10_000 {
        raw.extend_from_slice(b"--b\r\nContent-Type: text/plain\r\n\r\nhttp://x.example/\r\n");
    }
    assert!(defects(&raw).contains(&Defect::TooManyParts));
}

#[test]
fn many_fields_and_many_urls() {
    let raw = "X-A: 1\r\n".repeat(100_000) + "From: a@b.example\r\nFrom: a@b.example\r\n\r\n";
    assert!(headers::field(raw.as_bytes(), "X-A").is_some());
    facts(raw.as_bytes());
    let urls: String = (0..5_000).map(|i| format!("http://h{i}.example/ ")).collect();
    let raw = format!("From: a@b.example\r\n\r\n{urls}");
    assert!(defects(raw.as_bytes()).contains(&Defect::TooManyUrls));
    let links: String = (0..5_000).map(|i| format!("<a href=http://h{i}.example/>www.x{i}.example</a>")).collect();
    let raw = format!("From: a@b.example\r\nContent-Type: text/html\r\n\r\n{links}");
    assert!(defects(raw.as_bytes()).contains(&Defect::TooManyUrls));
}

#[test]
fn quadratic_traps() {
    let traps = [
        format!("Subject: {}\r\n\r\n", "=?utf-8?q?".repeat(100_000)),
        format!("From: {}\r\n\r\n", "(".repeat(500_000)),
        format!("From: {}\r\n\r\n", "<@,\"".repeat(200_000)),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--\r\n".repeat(500_000)),
        format!("Content-Type: text/html\r\n\r\n{}{}", "<b>".repeat(100_000), "</i>".repeat(100_000)),
        format!("Content-Type: text/html\r\n\r\n{}", "<a href=x>".repeat(80_000)),
        format!("Content-Type: text/html\r\n\r\n<{}", "a ".repeat(400_000)),
        format!("Content-Type: text/html\r\n\r\n{}", "&".repeat(900_000)),
        format!("\r\n{}", "a.".repeat(400_000)),
        format!("\r\n{}", "http://".repeat(120_000)),
        format!("\r\n{}", "a@".repeat(400_000)),
        format!("Content-Type: text/plain; {}\r\n\r\n", "name*0*=a;".repeat(1_500)),
    ];
    for trap in &traps {
        facts(trap.as_bytes());
        preview::read(trap.as_bytes(), &Limits::default());
    }
}

#[test]
fn a_zip_bomb_is_unscannable_and_small() {
    let bomb = zip_of(&[("zeros.bin", &vec![0; 40 * 1024 * 1024])]);
    assert!(bomb.len() < 100_000);
    let facts = facts(&mail_with("bomb.zip", &bomb));
    let seen: Vec<_> =
        facts.attachments.iter().map(|f| (f.name.as_str(), f.unscannable, f.inside.as_deref())).collect();
    assert_eq!(seen, [("bomb.zip", true, None), ("zeros.bin", true, Some("bomb.zip"))]);
}

#[test]
fn archives_in_archives_end() {
    let mut inner = zip_of(&[("invoice.js", b"WScript.Echo(1)")]);
    for level in 0..2 {
        inner = zip_of(&[(&format!("level{level}.zip"), &inner)]);
    }
    let names =
        |facts: &Facts| facts.attachments.iter().map(|f| (f.name.clone(), f.kind, f.unscannable)).collect::<Vec<_>>();
    let seen = names(&facts(&mail_with("top.zip", &inner)));
    assert_eq!(seen.last().unwrap(), &("invoice.js".to_owned(), model::FileKind::Script, false));
    assert!(seen.iter().all(|(_, _, unscannable)| !unscannable));
    for level in 2..6 {
        inner = zip_of(&[(&format!("level{level}.zip"), &inner)]);
    }
    assert!(names(&facts(&mail_with("top.zip", &inner))).last().unwrap().2, "past the depth nothing was seen");
}

#[test]
fn encrypted_and_broken_archives_are_unscannable() {
    let mut archive = zip_of(&[("secret.txt", b"hidden words")]);
    // The flag "encrypted" (APPNOTE 4.4.4 bit 0) in the local header and in the directory.
    archive[6] |= 1;
    let directory = archive.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    archive[directory + 8] |= 1;
    let seen = facts(&mail_with("a.zip", &archive)).attachments;
    assert_eq!(seen.iter().map(|f| f.unscannable).collect::<Vec<_>>(), [true, true]);
    assert_eq!(seen[1].name, "secret.txt");
    let broken = &archive[..archive.len() / 2];
    assert!(facts(&mail_with("a.zip", broken)).attachments[0].unscannable);
    assert!(facts(&mail_with("a.7z", b"7z\xBC\xAF\x27\x1C\0\x04")).attachments[0].unscannable);
}

#[test]
fn mail_that_is_hardly_mail() {
    for raw in [
        &b""[..],
        b"\r\n",
        b"\n",
        b":",
        b"\r",
        b"\0",
        b"From",
        b"From \r\n",
        b"--",
        b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--\r\n",
    ] {
        let facts = facts(raw);
        assert!(facts.defects.contains(&Defect::MissingFrom), "{raw:?}");
    }
}

const SEED: &str = "From: =?utf-8?Q?J=C3=B6rg?= <joerg@fabrikam.example>\r\nTo: a@b.example, Group: c@d.example;\r\n\
    Subject: =?iso-8859-1?B?5A==?= x\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@x>\r\n\
    Authentication-Results: mx.contoso.example; spf=pass\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\n\
    Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=A4llo http://x.example/=\r\nabc\r\n--b2\r\n\
    Content-Type: text/html; charset=windows-1252\r\n\r\n<a href=\"http://y.example/?a&amp;b\">www.z.example</a><img src=cid:1>\r\n\
    --b2--\r\n--b1\r\nContent-Type: application/zip; name*0*=utf-8''a%20; name*1=b.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    UEsDBAoAAAAAAAAAIQDYV1CKAgAAAAIAAAABAAAAYWhpUEsBAhQACgAAAAAAAAAhANhXUIoCAAAAAgAAAAEAAAAAAAAAAAAAAAAAAAAAAGFQSwUGAAAAAAEAAQAvAAAAIQAAAAAA\r\n\
    --b1\r\nContent-Type: message/rfc822\r\n\r\nFrom: i@n.example\r\n\r\ninner\r\n--b1--\r\nepilogue\r\n";

/// What is made 7-bit is, whatever it was.
/// A first line that begins with a blank is a field of its own in what we store: what is behind it is read as whoever gets the
/// mail reads it, and not as one long text.
#[test]
fn a_first_line_that_continues_nothing_hides_no_body() {
    let encoded = data_encoding::BASE64.encode(b"<a href=\"http://evil.example/login\">sign in</a>");
    let raw = format!(
        " of nobody\r\nFrom: a@b.example\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n"
    );
    let found = facts(raw.as_bytes());
    assert!(found.has_html && found.urls.iter().any(|url| url.host == "evil.example"), "{found:?}");
    assert!(found.defects.contains(&Defect::BrokenHeader), "{:?}", found.defects);
}

fn in_seven_bits(raw: &[u8]) {
    assert!(seven_bit::convert(raw).is_none_or(|converted| converted.is_ascii()), "{raw:?}");
    seven_bit::before_signing(raw);
    seven_bit::needs_smtputf8(raw);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(raw in prop::collection::vec(any::<u8>(), 0..2_000)) {
        facts(&raw);
        preview::read(&raw, &Limits::default());
        headers::remove_ours(&raw, "mx.contoso.example", &[]);
        in_seven_bits(&raw);
    }

    #[test]
    fn mail_like_letters(raw in "[-:;=?<>\"'()@,./&%*_ \\r\\n\\tabcFromTBQ0-9\u{0}\u{fc}]{0,600}") {
        facts(raw.as_bytes());
        preview::read(raw.as_bytes(), &Limits::default());
        in_seven_bits(raw.as_bytes());
        in_seven_bits(format!("To: {raw}\r\nContent-Disposition: {raw}\r\n\r\n").as_bytes());
    }

    #[test]
    fn mutated_mail(changes in prop::collection::vec((0..SEED.len(), 0..4_u8, any::<u8>(), 0..80_usize), 1..12)) {
        let mut raw = SEED.as_bytes().to_vec();
        for (at, kind, byte, length) in changes {
            let at = at.min(raw.len().saturating_sub(1));
            let end = (at + length).min(raw.len());
            match kind {
                0 => raw[at] = byte,
                1 => { raw.drain(at..end); }
                2 => { let piece = raw[at..end].to_vec(); raw.splice(at..at, piece); }
                _ => raw.insert(at, byte),
            }
            if raw.is_empty() { break; }
        }
        let facts = facts(&raw);
        let cleaned = headers::remove_ours(&raw, "mx.contoso.example", &[]);
        prop_assert!(cleaned.len() <= raw.len());
        in_seven_bits(&raw);
        prop_assert!(facts.size_bytes == raw.len() as u64);
    }
}
