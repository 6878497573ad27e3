//! Reports in the shapes that hosts send: `testdata/reports/NAME.eml` (CRLF) reads as `testdata/reports/NAME.txt`, and so
//! does its LF twin. Names that begin with `none_` are no reports.
//!
//! To write the expected readings anew: `UPDATE_GOLDENS=1 cargo test -p message --test reports`, then read the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use message::{Report, parse_report};
use proptest::prelude::*;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reports");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "eml")).collect();
    cases.sort();
    cases
}

fn told(report: Option<&Report>) -> String {
    let Some(report) = report else { return "no report\n".into() };
    let mut out = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| writeln!(out, "{name}: {value}").unwrap();
    line("kind", &format!("{:?}", report.kind));
    line("dialect", &format!("{:?}, {}", report.dialect, report.confidence().as_str()));
    line("reporter", &report.reporter);
    line("envelope id", &report.envelope_id);
    for recipient in &report.recipients {
        let status = recipient.status.map_or("-".to_owned(), |status| status.to_string());
        line("recipient", &format!("{} (originally {:?})", recipient.final_recipient, recipient.original_recipient));
        line("  action", &format!("{} {status} {}", recipient.action.as_str(), recipient.class().as_str()));
        line("  from", &recipient.remote_mta);
        line("  words", &recipient.diagnostic);
    }
    line("return paths", &report.return_paths.join(" "));
    for name in ["Message-ID", "X-Landfall-Copy", "Subject"] {
        line(name, &report.returned_field(name).unwrap_or_default());
    }
    out.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn every_report_reads_as_expected() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let cases = cases();
    assert!(cases.len() >= 15, "the reports are there");
    for case in cases {
        let raw = std::fs::read(&case).unwrap();
        let report = parse_report(&raw);
        let is_none = case.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("none_"));
        assert_eq!(report.is_none(), is_none, "{}", case.display());
        let golden = case.with_extension("txt");
        let got = told(report.as_ref());
        if update {
            std::fs::write(&golden, &got).unwrap();
        }
        let expect = std::fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
        assert_eq!(got, expect, "{}", case.display());
        let twin: Vec<u8> = raw.iter().copied().filter(|b| *b != b'\r').collect();
        assert_eq!(told(parse_report(&twin).as_ref()), expect, "{} with bare line feeds", case.display());
    }
}

/// Every returned message of ours carries what a match needs, whatever the host wrote around it.
#[test]
fn the_returned_part_keeps_our_marks() {
    let mut found = 0;
    for case in cases() {
        let raw = std::fs::read(&case).unwrap();
        if !raw.windows(16).any(|w| w == b"X-Landfall-Copy:") {
            continue;
        }
        let report = parse_report(&raw).unwrap_or_else(|| panic!("{}", case.display()));
        let copy = report.returned_field("X-Landfall-Copy");
        assert_eq!(copy.as_deref(), Some("1.4001.5001.AAAAAAAAAAAAAAAAAAAAAA"), "{}", case.display());
        found += 1;
    }
    assert!(found >= 10, "{found}");
}

/// What a report may grow to in memory, whatever came in.
fn is_bounded(report: &Report) -> bool {
    let small = |text: &str| text.chars().count() <= 1_000;
    report.recipients.len() <= 100
        && report.returned.len() <= 64 * 1024
        && report.return_paths.len() <= 8
        && small(&report.reporter)
        && report.recipients.iter().all(|r| small(&r.diagnostic) && small(&r.final_recipient) && small(&r.remote_mta))
}

#[test]
fn a_huge_report_is_read_in_bounds() {
    let line = "<a@b.example>: 550 5.1.1 no\r\n";
    let text = format!("From: mailer-daemon@b.example\r\n\r\n{}", line.repeat(200_000));
    let report = parse_report(text.as_bytes()).unwrap();
    assert!(is_bounded(&report) && report.recipients.len() == 100);
    let fields = format!("X-Failed-Recipients: {}\r\n\r\n", "a@b.example, ".repeat(100_000));
    assert!(parse_report(fields.as_bytes()).is_none_or(|report| is_bounded(&report)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(parse_report(&raw).is_none_or(|report| is_bounded(&report)));
    }

    /// Real shapes, cut, doubled and with bytes changed.
    #[test]
    fn mutated_reports_never_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        twice in any::<bool>(),
    ) {
        let cases = cases();
        let mut raw = std::fs::read(which.get(&cases)).unwrap();
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        raw.truncate(cut.index(raw.len() + 1));
        if twice {
            raw.extend_from_within(..);
        }
        prop_assert!(parse_report(&raw).is_none_or(|report| is_bounded(&report)));
    }

    #[test]
    fn report_like_letters_never_panic(
        text in "(From: mailer-daemon@x\n|X-Failed-Recipients: a@b\n|Content-Type: multipart/report; boundary=b\n|--b\n|Content-Type: message/delivery-status\n|Content-Type: message/feedback-report\n|Feedback-Type: abuse\n|Final-Recipient: utf-8; \\\\x\\{[0-9a-f]{0,8}\\}\n|Action: failed\n|Status: [0-9]\\.[0-9]{1,4}\\.[0-9]\n|<a@b>:|550|\n| ){0,60}"
    ) {
        prop_assert!(parse_report(text.as_bytes()).is_none_or(|report| is_bounded(&report)));
    }
}
