//! The machine-readable part of a feedback report (RFC 5965 3, RFC 6591 for authentication failures).
//!
//! Recipients are often redacted (RFC 6590), so a complaint is matched by what the returned header section and
//! `Original-Mail-From` carry; the recipient is kept as said.

use crate::Limits;
use crate::field::Section;
use crate::report::{
    Dialect, FeedbackKind, RECIPIENTS_MAX, RecipientReport, Report, ReportAction, ReportKind, VALUE_CHARS_MAX, words,
};
use crate::report_dsn::typed_value;

/// Reads the part. Without a `Feedback-Type` it is a report of an unknown kind.
pub(crate) fn read(raw: &[u8], dialect: Dialect) -> Report {
    let limits = Limits::default();
    let start = raw.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(raw.len());
    let section = Section::read(raw, start, &limits, |_| false);
    let text = |name: &str| section.find(name).map(|field| field.raw_text(&limits)).unwrap_or_default();
    let recipient = |value: String| RecipientReport {
        final_recipient: words(&typed_value(&value), VALUE_CHARS_MAX),
        original_recipient: String::new(),
        // It lay before somebody who complained, or who judged it for them.
        action: ReportAction::Delivered,
        status: None,
        diagnostic: String::new(),
        remote_mta: String::new(),
    };
    let recipients =
        section.all("Original-Rcpt-To").take(RECIPIENTS_MAX).map(|field| recipient(field.raw_text(&limits)));
    let mta = typed_value(&text("Reporting-MTA"));
    let reporter = if mta.is_empty() { text("User-Agent") } else { mta };
    Report {
        kind: ReportKind::Feedback(kind(&text("Feedback-Type"))),
        dialect,
        reporter: words(&reporter, VALUE_CHARS_MAX),
        envelope_id: words(&text("Original-Envelope-Id"), VALUE_CHARS_MAX),
        recipients: recipients.collect(),
        returned: Vec::new(),
        return_paths: section.all("Original-Mail-From").take(RECIPIENTS_MAX).map(|f| f.raw_text(&limits)).collect(),
    }
}

fn kind(word: &str) -> FeedbackKind {
    match word.trim().to_ascii_lowercase().as_str() {
        "abuse" => FeedbackKind::Abuse,
        "fraud" => FeedbackKind::Fraud,
        "virus" => FeedbackKind::Virus,
        "not-spam" => FeedbackKind::NotSpam,
        "auth-failure" => FeedbackKind::AuthFailure,
        "opt-out" | "opt-out-list" => FeedbackKind::OptOut,
        _ => FeedbackKind::Other,
    }
}
