//! Reports that come back (DSN, ARF, and what hosts write instead): always ends, bounded, the same each time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use message::parse_report;

/// The bounds that the parser promises.
const RECIPIENTS_MAX: usize = 100;
const RETURNED_BYTES_MAX: usize = 64 * 1024;
const RETURN_PATHS_MAX: usize = 8;

fuzz_target!(|raw: &[u8]| {
    let report = parse_report(raw);
    assert_eq!(parse_report(raw), report, "the same bytes, the same report");
    let Some(report) = report else { return };
    assert!(report.recipients.len() <= RECIPIENTS_MAX);
    assert!(report.returned.len() <= RETURNED_BYTES_MAX);
    assert!(report.return_paths.len() <= RETURN_PATHS_MAX);
    report.confidence();
    for recipient in &report.recipients {
        recipient.class();
    }
    for name in ["Message-ID", "X-Landfall-Copy", "Subject"] {
        if let Some(value) = report.returned_field(name) {
            assert!(!value.contains(['\r', '\n']), "a field is one line");
        }
    }
});
