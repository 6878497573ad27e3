//! Golden messages: `testdata/NAME.eml` (CRLF) gives `testdata/NAME.json`, and so does its LF twin.
//!
//! To write the expected facts anew: `UPDATE_GOLDENS=1 cargo test -p message --test golden`, then read the difference.

use std::path::{Path, PathBuf};

use message::{Limits, ParseContext, parse};
use model::{Address, BodyType, ClientInfo, Envelope, Facts, Timestamp};

fn envelope() -> Envelope {
    Envelope {
        reverse_path: "ada@fabrikam.example".parse().unwrap(),
        forward_paths: vec![Address::parse("bob@contoso.example").unwrap()],
        body_type: BodyType::SevenBit,
        declared_size_bytes: None,
        options: Default::default(),
        rcpt_options: Vec::new(),
        client: ClientInfo {
            ip: "192.0.2.1".parse().unwrap(),
            helo: "mail.fabrikam.example".into(),
            esmtp: true,
            tls: None,
            lmtp: false,
            login: None,
        },
    }
}

fn facts(raw: &[u8]) -> Facts {
    let context = ParseContext {
        received_at: Timestamp::parse_rfc3339("2026-11-22T12:00:00Z").unwrap(),
        envelope: &envelope(),
        own_domains: &["contoso.example".to_owned()],
        limits: Limits::default(),
    };
    parse(raw, &context)
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_golden_message_gives_its_facts() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let cases = cases();
    assert!(cases.len() >= 12, "the golden messages are there");
    for case in cases {
        let raw = std::fs::read(&case).unwrap();
        let got = serde_json::to_string_pretty(&facts(&raw)).unwrap() + "\n";
        let golden = case.with_extension("json");
        if update {
            std::fs::write(&golden, &got).unwrap();
        }
        let expect = std::fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
        assert_eq!(got, expect, "{}", case.display());
    }
}

#[test]
fn line_ends_do_not_change_the_facts() {
    for case in cases() {
        let raw = std::fs::read(&case).unwrap();
        let lone_lf = raw.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
        assert!(!lone_lf, "{}: golden messages have CRLF", case.display());
        let twin: Vec<u8> = raw.iter().copied().filter(|b| *b != b'\r').collect();
        let (mut expect, mut got) = (facts(&raw), facts(&twin));
        for facts in [&mut expect, &mut got] {
            facts.size_bytes = 0;
            for file in facts.attachments.iter_mut().filter(|file| file.declared_type.starts_with("message/")) {
                (file.size_bytes, file.sha256) = (0, String::new());
            }
        }
        assert_eq!(got, expect, "{}", case.display());
    }
}
