//! The machine-readable part of a delivery status notification (RFC 3464 2, RFC 6533 for addresses beyond ASCII).

use crate::Limits;
use crate::field::Section;
use crate::report::{
    DIAGNOSTIC_CHARS_MAX, Dialect, RECIPIENTS_MAX, RecipientReport, Report, ReportAction, ReportKind, Status,
    VALUE_CHARS_MAX, reply_code, words,
};

/// Groups of fields looked at: one about the message, the rest about recipients.
const GROUPS_MAX: usize = RECIPIENTS_MAX + 1;

/// Reads the part; `None` when it speaks of no recipient.
pub(crate) fn read(raw: &[u8], dialect: Dialect) -> Option<Report> {
    let limits = Limits::default();
    let mut report = Report {
        kind: ReportKind::Delivery,
        dialect,
        reporter: String::new(),
        envelope_id: String::new(),
        recipients: Vec::new(),
        returned: Vec::new(),
        return_paths: Vec::new(),
    };
    for group in groups(raw, &limits) {
        let text = |name: &str| group.find(name).map(|field| field.raw_text(&limits)).unwrap_or_default();
        let typed = |name: &str| typed_value(&text(name));
        let (last, original) = (typed("Final-Recipient"), typed("Original-Recipient"));
        if last.is_empty() && original.is_empty() {
            // RFC 3464 2.2: about the message. Some hosts put it behind the first recipient.
            if report.reporter.is_empty() {
                report.reporter = words(&typed("Reporting-MTA"), VALUE_CHARS_MAX);
                report.envelope_id = words(&text("Original-Envelope-Id"), VALUE_CHARS_MAX);
            }
            continue;
        }
        if report.recipients.len() >= RECIPIENTS_MAX {
            break;
        }
        let diagnostic = words(&typed("Diagnostic-Code"), DIAGNOSTIC_CHARS_MAX);
        let status = best_status(&text("Status"), &diagnostic);
        let Some(action) = action(&text("Action"), status) else { continue };
        report.recipients.push(RecipientReport {
            final_recipient: words(&last, VALUE_CHARS_MAX),
            original_recipient: words(&original, VALUE_CHARS_MAX),
            action,
            status,
            diagnostic,
            remote_mta: words(&typed("Remote-MTA"), VALUE_CHARS_MAX),
        });
    }
    (!report.recipients.is_empty()).then_some(report)
}

/// The groups of fields that empty lines divide.
fn groups<'a>(raw: &'a [u8], limits: &Limits) -> Vec<Section<'a>> {
    let mut groups = Vec::new();
    let mut at = 0;
    while at < raw.len() && groups.len() < GROUPS_MAX {
        let section = Section::read(raw, at, limits, |_| false);
        let next = if section.body_start > at {
            section.body_start
        } else {
            // A line that is no field: on behind it.
            memchr::memchr(b'\n', &raw[at..]).map_or(raw.len(), |i| at + i + 1)
        };
        at = next;
        if !section.fields.is_empty() {
            groups.push(section);
        }
    }
    groups
}

/// `rfc822; user@example.org` without its type. A value without a type is taken as it is.
pub(crate) fn typed_value(text: &str) -> String {
    let (kind, value) = match text.split_once(';') {
        Some((kind, value)) if !kind.contains('@') => (kind.trim(), value.trim()),
        _ => ("", text.trim()),
    };
    let value = value.trim_start_matches('<').trim_end_matches('>');
    if kind.eq_ignore_ascii_case("utf-8") { embedded_unicode(value) } else { value.to_owned() }
}

/// `\x{HEX}` of utf-8-addr-xtext (RFC 6533 3) as characters; what is no escape stays as it is.
fn embedded_unicode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x{") {
        out.push_str(&rest[..at]);
        let inside = &rest[at + 3..];
        let decoded = inside.split_once('}').and_then(|(hex, after)| {
            let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
            Some((c, after))
        });
        match decoded {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push_str("\\x{");
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The host's own code says more than `5.0.0` of the one who relays it.
fn best_status(field: &str, diagnostic: &str) -> Option<Status> {
    let (said, inner) = (Status::find(field), Status::find(diagnostic));
    match (said, inner) {
        (Some(said), Some(inner)) if !said.is_exact() && inner.is_exact() && inner.class == said.class => Some(inner),
        (Some(said), _) => Some(said),
        (None, inner) => inner,
    }
}

/// The action as said; without one, what the code means.
fn action(text: &str, status: Option<Status>) -> Option<ReportAction> {
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or("");
    let known = [
        ReportAction::Failed,
        ReportAction::Delayed,
        ReportAction::Delivered,
        ReportAction::Relayed,
        ReportAction::Expanded,
    ];
    if let Some(action) = known.into_iter().find(|action| word.eq_ignore_ascii_case(action.as_str())) {
        return Some(action);
    }
    match (word, status?.class) {
        ("", 5) => Some(ReportAction::Failed),
        ("", 4) => Some(ReportAction::Delayed),
        ("", 2) => Some(ReportAction::Delivered),
        // A word of another standard: what it means is not known.
        _ => None,
    }
}

/// The action that a text means which names none.
pub(crate) fn action_of_text(text: &str, status: Option<Status>) -> Option<ReportAction> {
    match status.map(|status| status.class).or(reply_code(text).map(|code| if code < 500 { 4 } else { 5 })) {
        Some(4) => Some(ReportAction::Delayed),
        Some(5) => Some(ReportAction::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(raw: &str) -> String {
        let Some(report) = read(raw.as_bytes(), Dialect::Standard) else { return "-".into() };
        let said = |r: &RecipientReport| {
            let status = r.status.map_or("-".into(), |status| status.to_string());
            format!("{} {} {} [{}] {}", r.final_recipient, r.action.as_str(), status, r.remote_mta, r.diagnostic)
        };
        report.recipients.iter().map(said).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn groups_of_fields() {
        let check = |raw: &str, want: &str| assert_eq!(one(raw), want, "{raw:?}");
        check(
            "Reporting-MTA: dns; mx.x\r\n\r\nFinal-Recipient: rfc822; a@b.c\r\nAction: failed\r\nStatus: 5.0.0\r\n\
             Remote-MTA: dns; mx.b.c\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n such user\r\n",
            "a@b.c failed 5.1.1 [mx.b.c] 550 5.1.1 no such user",
        );
        // No empty line between message and recipients, and no type; no action: the code tells.
        check("Reporting-MTA: x\n\nFinal-Recipient: <a@b.c>\nStatus: 4.4.1 (timeout)\n", "a@b.c delayed 4.4.1 [] ");
        check(
            "\n\n\nFinal-Recipient: rfc822;a@b\nAction: Failed (x)\n\n\n\nOriginal-Recipient: rfc822;c@d\nAction:delayed\n",
            "a@b failed - []  |  delayed - [] ",
        );
        check(
            "Final-Recipient: utf-8; j\\x{F8}rn@b\\x{2603}\nAction: failed\nStatus: 5.6.7\n",
            "jørn@b☃ failed 5.6.7 [] ",
        );
        check("Final-Recipient: utf-8; \\x{110000}\\x{zz\nAction: relayed\n", "\\x{110000}\\x{zz relayed - [] ");
        check("Final-Recipient: rfc822; a@b\nAction: pondered\nStatus: 5.1.1\n", "-");
        check("Reporting-MTA: dns; only\n", "-");
        check("", "-");
    }

    #[test]
    fn many_recipients_are_bounded() {
        let raw = "Final-Recipient: rfc822; a@b\nAction: failed\n\n".repeat(10_000);
        assert_eq!(read(raw.as_bytes(), Dialect::Standard).unwrap().recipients.len(), RECIPIENTS_MAX);
    }
}
