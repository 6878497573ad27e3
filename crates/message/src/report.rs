//! Reports that come back about mail we sent: delivery status notifications (RFC 3464, 6522, 6533), what hosts send
//! instead of them, and feedback reports (RFC 5965).
//!
//! [`parse_report`] takes any bytes, is bounded by the constants here, and gives `None` for what is no report (mail of
//! people, vacation notes, read receipts). It says what a report *claims*; whether that is about a copy of ours is
//! decided by whoever holds the keys. Nothing of it may be believed because of who it says it is from.

use crate::Limits;
use crate::decode::{head, short_text, text_of};
use crate::field::Section;
use crate::mime::{self, Part};
use crate::report_class::BounceClass;
use crate::{arf, report_dsn, report_text};

/// Bytes of a report that are read: what matters stands before the returned message's body.
const REPORT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of text that are searched for a failure.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of the returned header section.
const RETURNED_BYTES_MAX: usize = 64 * 1024;
/// Recipients that one report may speak of.
pub(crate) const RECIPIENTS_MAX: usize = 100;
/// Characters of a short value, such as a host or an address.
pub(crate) const VALUE_CHARS_MAX: usize = 320;
/// Characters of a diagnostic.
pub(crate) const DIAGNOSTIC_CHARS_MAX: usize = 1_000;
/// Return paths that a report may name.
const RETURN_PATHS_MAX: usize = 8;

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// About deliveries, or what a reader thinks of it.
    pub kind: ReportKind,
    /// How it is written.
    pub dialect: Dialect,
    /// The host that reports, or empty.
    pub reporter: String,
    /// `Original-Envelope-Id` (RFC 3461 ENVID), or empty.
    pub envelope_id: String,
    /// The recipients it speaks of, at most 100. A feedback report may have none, or redacted ones.
    pub recipients: Vec<RecipientReport>,
    /// The header section of the message it is about, as returned; empty when nothing was.
    pub returned: Vec<u8>,
    /// Return paths of that message as the report names them, without brackets.
    pub return_paths: Vec<String>,
}

/// The two families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportKind {
    /// What became of a delivery.
    Delivery,
    /// What a reader, or the host for the reader, thinks of it.
    Feedback(FeedbackKind),
}

/// `Feedback-Type` (RFC 5965 7.3, RFC 6591, RFC 6430).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedbackKind {
    /// Unsolicited.
    Abuse,
    /// Phishing and the like.
    Fraud,
    /// A virus was found.
    Virus,
    /// It was wrongly taken for spam.
    NotSpam,
    /// SPF, DKIM or DMARC failed.
    AuthFailure,
    /// Wants no more of it.
    OptOut,
    /// Anything else.
    Other,
}

/// How a report is written, from the most to the least reliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `multipart/report` with a machine-readable part.
    Standard,
    /// A machine-readable part in another wrapping.
    Loose,
    /// `X-Failed-Recipients` of Exim.
    Exim,
    /// The text of qmail.
    Qmail,
    /// The text of Exchange.
    Exchange,
    /// Other text in which a recipient and a reply stand together.
    Text,
}

/// How sure it is that a report means what was read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReportConfidence {
    /// Read from prose.
    Low,
    /// A known shape.
    Medium,
    /// Machine-readable.
    High,
}

/// `Action` (RFC 3464 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportAction {
    /// It was not delivered and will not be.
    Failed,
    /// Not yet; it is tried again.
    Delayed,
    /// It reached the mailbox.
    Delivered,
    /// It left for where nobody reports.
    Relayed,
    /// It went to the members of a list.
    Expanded,
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

/// What a report says about one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// `Final-Recipient` without its type, or empty.
    pub final_recipient: String,
    /// `Original-Recipient` without its type, or empty.
    pub original_recipient: String,
    /// What became of it.
    pub action: ReportAction,
    /// The most exact code that was found.
    pub status: Option<Status>,
    /// The host's words, or empty.
    pub diagnostic: String,
    /// The host that said so, or empty.
    pub remote_mta: String,
}

impl Report {
    /// How sure its reading is.
    pub fn confidence(&self) -> ReportConfidence {
        match self.dialect {
            Dialect::Standard | Dialect::Loose => ReportConfidence::High,
            Dialect::Exim | Dialect::Qmail | Dialect::Exchange => ReportConfidence::Medium,
            Dialect::Text => ReportConfidence::Low,
        }
    }

    /// A field of the returned header section: unfolded, decoded, bounded.
    pub fn returned_field(&self, name: &str) -> Option<String> {
        crate::headers::field(&self.returned, name)
    }

    /// What it says about the recipient of this address: that entry, or the only one. A list or a forward may have
    /// changed the address on the way, so the only entry is about the only copy that the return path names.
    pub fn about(&self, address: &str) -> Option<&RecipientReport> {
        let is_it = |r: &&RecipientReport| {
            r.final_recipient.eq_ignore_ascii_case(address) || r.original_recipient.eq_ignore_ascii_case(address)
        };
        match &self.recipients[..] {
            [only] => Some(only),
            many => many.iter().find(is_it),
        }
    }
}

impl RecipientReport {
    /// The failure class by the table of [`BounceClass`].
    pub fn class(&self) -> BounceClass {
        BounceClass::of(self.status, &self.diagnostic)
    }
}

impl ReportConfidence {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReportConfidence::Low => "low",
            ReportConfidence::Medium => "medium",
            ReportConfidence::High => "high",
        }
    }
}

impl FeedbackKind {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            FeedbackKind::Abuse => "abuse",
            FeedbackKind::Fraud => "fraud",
            FeedbackKind::Virus => "virus",
            FeedbackKind::NotSpam => "not_spam",
            FeedbackKind::AuthFailure => "auth_failure",
            FeedbackKind::OptOut => "opt_out",
            FeedbackKind::Other => "other",
        }
    }

    /// Whether a person does not want this mail: a complaint.
    pub const fn is_complaint(self) -> bool {
        match self {
            FeedbackKind::Abuse | FeedbackKind::Fraud | FeedbackKind::OptOut => true,
            FeedbackKind::Virus | FeedbackKind::NotSpam | FeedbackKind::AuthFailure | FeedbackKind::Other => false,
        }
    }
}

impl ReportAction {
    /// The word of RFC 3464.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReportAction::Failed => "failed",
            ReportAction::Delayed => "delayed",
            ReportAction::Delivered => "delivered",
            ReportAction::Relayed => "relayed",
            ReportAction::Expanded => "expanded",
        }
    }
}

impl Status {
    /// The first `d.d.d` with class 2, 4 or 5 in `text`; one that says more than `x.0.0` is preferred.
    pub fn find(text: &str) -> Option<Status> {
        let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
        let mut first = None;
        for status in words.filter_map(Status::parse) {
            if status.is_exact() {
                return Some(status);
            }
            first = first.or(Some(status));
        }
        first
    }

    fn parse(word: &str) -> Option<Status> {
        let mut parts = word.trim_matches('.').split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n <= 999 && text.len() <= 3);
        let class = match class {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        // Four numbers are an address of a host.
        let none = parts.next().is_none();
        none.then_some(Status { class, subject: number(subject)?, detail: number(detail)? })
    }

    pub(crate) fn is_exact(self) -> bool {
        (self.subject, self.detail) != (0, 0)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The first SMTP reply code (4yz or 5yz) in `text`: three digits that stand alone, or before a `-`.
pub(crate) fn reply_code(text: &str) -> Option<u16> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let is_code = |word: &&str| word.len() == 3 && word.starts_with(['4', '5']);
    words.filter(is_code).find_map(|word| word.parse().ok())
}

/// Reads a report; `None` for what is none. Never panics, whatever the bytes; time is linear in their number.
pub fn parse_report(raw: &[u8]) -> Option<Report> {
    let raw = &raw[..raw.len().min(REPORT_BYTES_MAX)];
    let limits = Limits::default();
    let found = mime::walk(raw, &limits, 0);
    let outer = || found.parts.iter().filter(|part| part.message_depth == 0);
    let returned = outer().find(|part| is_returned(part)).map(|part| returned_section(&decoded(part)));
    let report_type = found.top.find("Content-Type").map(|f| f.raw_text(&limits).to_lowercase()).unwrap_or_default();
    // RFC 8098: a reader's receipt is about reading. RFC 8460: a TLS report is about connections.
    if report_type.contains("disposition-notification") || report_type.contains("tlsrpt") {
        return None;
    }
    let dialect = if report_type.starts_with("multipart/report") { Dialect::Standard } else { Dialect::Loose };
    let mut report = if let Some(part) = outer().find(|part| part.content_type == "message/feedback-report") {
        arf::read(&decoded(part), dialect)
    } else {
        let status = outer().find(|part| is_status(&part.content_type));
        match status.and_then(|part| report_dsn::read(&decoded(part), dialect)) {
            Some(report) => report,
            None => {
                let text = outer().find(|part| part.is_text()).map(text_of_part).unwrap_or_default();
                report_text::read(&found.top, &text)?
            }
        }
    };
    if let Some(returned) = returned {
        report.returned = returned;
    }
    if let Some(path) = report.returned_field("Return-Path") {
        report.return_paths.push(path);
    }
    report.return_paths = clean_paths(&report.return_paths);
    Some(report)
}

fn clean_paths(paths: &[String]) -> Vec<String> {
    let bare = |path: &String| path.trim().trim_start_matches('<').trim_end_matches('>').trim().to_owned();
    let mut clean: Vec<String> = Vec::new();
    for path in paths.iter().map(bare).filter(|path| path.contains('@')) {
        if clean.len() < RETURN_PATHS_MAX && !clean.contains(&path) {
            clean.push(path);
        }
    }
    clean
}

fn is_status(content_type: &str) -> bool {
    matches!(content_type, "message/delivery-status" | "message/global-delivery-status")
}

/// RFC 3462 and 6533 name these; `text/rfc822` and the bare `message/rfc822` of old hosts are read as well.
fn is_returned(part: &Part<'_>) -> bool {
    matches!(
        part.content_type.as_str(),
        "text/rfc822-headers" | "text/rfc822" | "message/rfc822" | "message/global" | "message/global-headers"
    )
}

fn decoded(part: &Part<'_>) -> Vec<u8> {
    let decoded = part.encoding.decode(part.body).into_owned();
    if part.content_type.starts_with("message/global") && matches!(part.encoding, crate::decode::Encoding::Identity) {
        return part.body.to_vec();
    }
    decoded
}

fn text_of_part(part: &Part<'_>) -> String {
    let raw = part.encoding.decode(part.body);
    let raw = &raw[..raw.len().min(TEXT_BYTES_MAX)];
    let (text, _) = text_of(raw, &part.charset);
    let text = if part.content_type == "text/html" { crate::html_to_text(&text) } else { text };
    head(&text, TEXT_BYTES_MAX).to_owned()
}

/// The header section at the beginning of what was returned.
pub(crate) fn returned_section(raw: &[u8]) -> Vec<u8> {
    let start = raw.iter().position(|b| !matches!(b, b'\r' | b'\n' | b' ' | b'\t')).unwrap_or(raw.len());
    let raw = &raw[start..];
    let section = Section::read(raw, 0, &Limits::default(), |_| false);
    raw[..section.body_start.min(RETURNED_BYTES_MAX)].to_vec()
}

/// A bounded line of a peer's words.
pub(crate) fn words(text: &str, chars_max: usize) -> String {
    short_text(text, chars_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_words() {
        let check = |text: &str, want: &str| {
            let got = Status::find(text).map_or("-".into(), |status| status.to_string());
            assert_eq!(got, want, "{text}");
        };
        check("550 5.1.1 <x@y>: no such user", "5.1.1");
        check("host 10.5.1.1 said: 550-5.0.0 no; 5.7.26 unauthenticated", "5.7.26");
        check("5.0.0", "5.0.0");
        check("smtp;550 #5.1.0 Address rejected.", "5.1.0");
        check("1.2.3.4 6.1.1 5.1", "-");
        check("5.1.1234", "-");
        assert_eq!(reply_code("said: 550-no"), Some(550));
        assert_eq!(reply_code("TCP 4500 port 25, 250 OK"), None);
        assert_eq!(reply_code("'452 too many'"), Some(452));
    }

    #[test]
    fn what_is_no_report() {
        for raw in [
            &b""[..],
            b"From: ada@contoso.example\r\nSubject: Hello\r\n\r\n<bob@fabrikam.example>: 550 is my flat number\r\n",
            b"From: bob@fabrikam.example\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nI am away until Monday.\r\n",
            b"From: postmaster@x.example\r\nContent-Type: multipart/report; report-type=tlsrpt; boundary=b\r\n\r\n--b\r\n\r\n<bob@fabrikam.example>: 550 5.1.1 no\r\n--b--\r\n",
            b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\nread\r\n--b--\r\n",
        ] {
            assert_eq!(parse_report(raw), None, "{}", String::from_utf8_lossy(raw));
        }
    }
}
