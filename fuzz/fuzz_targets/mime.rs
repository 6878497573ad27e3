//! A whole message: facts, preview, attachments, cleaned headers. Always ends, always within its limits, never a panic
//! (libFuzzer's hook also sees the panics that [`message::parse`] would catch).

#![no_main]

use libfuzzer_sys::fuzz_target;
use message::{Limits, ParseContext, headers, parse, preview};
use model::{ClientInfo, Envelope, Timestamp};

const ATTACHMENTS_READ_MAX: usize = 4;

fuzz_target!(|raw: &[u8]| {
    let limits = Limits::default();
    let envelope = Envelope::new(ClientInfo::at([192, 0, 2, 1].into()));
    let own_domains = ["contoso.example".to_owned()];
    let context =
        ParseContext { received_at: Timestamp::default(), envelope: &envelope, own_domains: &own_domains, limits };
    let facts = parse(raw, &context);
    assert_eq!(facts.size_bytes, raw.len() as u64);
    assert!(facts.header.from.len() <= limits.originators_max && facts.header.to.len() <= limits.recipients_max);
    assert!(facts.urls.len() <= limits.urls_max && facts.links.len() <= limits.links_max);
    assert!(facts.attachments.len() <= limits.attachments_max);
    assert!(facts.text_head.chars().count() <= limits.text_head_chars_max);
    assert!(!facts.text_head.contains('\0') && !facts.header.subject.contains('\0'), "NUL stays out of facts");
    assert_eq!(parse(raw, &context), facts, "the same bytes, the same facts");

    let shown = preview::read(raw, &limits);
    for listed in shown.attachments.iter().take(ATTACHMENTS_READ_MAX) {
        let bytes = preview::attachment(raw, &limits, listed.index).expect("what is listed can be had");
        assert_eq!(bytes.len() as u64, listed.size_bytes);
    }
    let cleaned = headers::remove_ours(raw, "mx.contoso.example", &[]);
    assert!(cleaned.len() <= raw.len());
    let again = headers::remove_ours(&cleaned, "mx.contoso.example", &[]);
    assert_eq!(again, cleaned, "cleaned once is clean");
    assert!(headers::section(raw).len() <= raw.len());
    message::html_to_text(&String::from_utf8_lossy(raw));
});
