//! Bounces without a machine-readable part: Exim's `X-Failed-Recipients`, the texts of qmail, Exchange and others, in
//! which a recipient stands at the beginning of a paragraph and the host's reply in it.
//!
//! Prose is read with low confidence and only from what says of itself that a machine sent it: a person who quotes a
//! bounce sends no report.

use model::Address;

use crate::Limits;
use crate::field::Section;
use crate::report::{
    DIAGNOSTIC_CHARS_MAX, Dialect, RECIPIENTS_MAX, RecipientReport, Report, ReportAction, ReportKind, Status,
    VALUE_CHARS_MAX, returned_section, words,
};
use crate::report_class::BounceClass;
use crate::report_dsn::action_of_text;

/// Lines of text that are looked at.
const LINES_MAX: usize = 2_000;
/// Lines of one paragraph that belong to a recipient.
const PARAGRAPH_LINES_MAX: usize = 30;

/// Local parts that machines report from.
const MACHINES: &[&str] =
    &["mailer-daemon", "mailerdaemon", "postmaster", "mail-daemon", "mdaemon", "microsoftexchange"];

/// Lines behind which a copy of the returned message stands; compared in lower case, anywhere in the line.
const RETURNED_BELOW: &[&str] = &[
    "below this line is a copy of the message",
    "this is a copy of the message, including all the headers",
    "this is a copy of your message, including all the headers",
    "this is a copy of the message's headers",
    "the body of the message is",
    "original message headers",
    "original message follows",
    "unsent message below",
    "undelivered message headers",
    "returned message follows",
    "message header follows",
    "headers of the original message",
    "----- original message -----",
];

/// Reads a report from its header section and text; `None` when it is none.
pub(crate) fn read(top: &Section<'_>, text: &str) -> Option<Report> {
    let limits = Limits::default();
    let named = failed_recipients(top, &limits);
    if named.is_empty() && !is_from_machine(top, &limits) {
        return None;
    }
    let (above, below) = split_returned(text);
    let mut recipients = paragraphs(above);
    let dialect = if named.is_empty() { dialect(above) } else { Dialect::Exim };
    if !is_warning(dialect, above) {
        // The last reply may have been 4yz: what comes back as a whole has been given up all the same.
        recipients.iter_mut().for_each(|recipient| recipient.action = ReportAction::Failed);
    }
    if !named.is_empty() {
        recipients = exim(&named, &recipients, above);
    }
    if recipients.is_empty() {
        return None;
    }
    let from = top.find("From").map(|field| field.mailboxes(&limits, 1)).unwrap_or_default();
    let host = from.first().and_then(|mailbox| mailbox.address.rsplit_once('@')).map_or("", |(_, host)| host);
    Some(Report {
        kind: ReportKind::Delivery,
        dialect,
        reporter: words(host, VALUE_CHARS_MAX),
        envelope_id: String::new(),
        recipients,
        returned: returned_section(below.as_bytes()),
        return_paths: Vec::new(),
    })
}

/// `X-Failed-Recipients: a@b.example, c@d.example` (Exim), folded or repeated.
fn failed_recipients(top: &Section<'_>, limits: &Limits) -> Vec<String> {
    let values = top.all("X-Failed-Recipients").take(RECIPIENTS_MAX).map(|field| field.raw_text(limits));
    let each = values.flat_map(|value| value.split(',').map(|a| a.trim().to_owned()).collect::<Vec<_>>());
    each.filter(|address| Address::parse(address).is_ok()).take(RECIPIENTS_MAX).collect()
}

/// Whether it says of itself that a machine sent it. A vacation note says so too; it names no failed recipient.
fn is_from_machine(top: &Section<'_>, limits: &Limits) -> bool {
    let from = top.find("From").map(|field| field.mailboxes(limits, 1)).unwrap_or_default();
    let local = from.first().and_then(|mailbox| mailbox.address.rsplit_once('@')).map_or("", |(local, _)| local);
    let local = local.trim_matches('"');
    let null_path = top.find("Return-Path").is_some_and(|field| field.raw_text(limits).trim() == "<>");
    let name = from.first().map(|mailbox| mailbox.name.to_lowercase()).unwrap_or_default();
    null_path
        || MACHINES.iter().any(|machine| local.eq_ignore_ascii_case(machine) || local.starts_with(machine))
        || name.contains("mail delivery s")
        || name.contains("mailer-daemon")
}

/// The text above the returned message, and what stands below the line that announces it.
fn split_returned(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n').take(LINES_MAX) {
        let lower = line.to_lowercase();
        at += line.len();
        if RETURNED_BELOW.iter().any(|mark| lower.contains(mark)) {
            return (&text[..at - line.len()], text[at..].trim_start_matches(is_rule_or_blank));
        }
    }
    // Without such a line: where a header section begins.
    let begins = ["\nReturn-Path: ", "\nReceived: from ", "\nMessage-ID: ", "\nX-Landfall-Copy: "];
    match begins.iter().filter_map(|begin| text.find(begin)).min() {
        Some(at) => text.split_at(at + 1),
        None => (text, ""),
    }
}

fn is_rule_or_blank(c: char) -> bool {
    c.is_whitespace() || c == '-' || c == '='
}

/// Whether the text says that it goes on trying. Those programs that are known by their text say so elsewhere or never.
fn is_warning(dialect: Dialect, text: &str) -> bool {
    const MARKS: &[&str] = &[
        "will be tried",
        "will keep trying",
        "still trying",
        "delayed",
        "will continue to try",
        "warning message only",
    ];
    let lower = text.to_lowercase();
    matches!(dialect, Dialect::Text) && MARKS.iter().any(|mark| lower.contains(mark))
}

fn dialect(text: &str) -> Dialect {
    if text.contains("qmail-send program") {
        Dialect::Qmail
    } else if text.contains("Diagnostic information for administrators") || text.contains("Remote Server returned") {
        Dialect::Exchange
    } else {
        Dialect::Text
    }
}

/// Every recipient at the beginning of a paragraph, with what follows as the host's words.
fn paragraphs(text: &str) -> Vec<RecipientReport> {
    let mut found: Vec<RecipientReport> = Vec::new();
    let mut open: Option<(String, String, usize)> = None; // address, words, lines
    for line in text.lines().take(LINES_MAX) {
        let trimmed = line.trim();
        let begins = recipient_line(trimmed);
        if (trimmed.is_empty() || begins.is_some())
            && let Some((address, said, _)) = open.take_if(|(_, said, _)| begins.is_some() || !said.is_empty())
        {
            found.extend(described(address, &said));
            if found.len() >= RECIPIENTS_MAX {
                return found;
            }
        }
        match (begins, &mut open) {
            (Some((address, rest)), _) => open = Some((address.to_owned(), rest.to_owned(), 0)),
            (None, Some((_, said, lines))) if *lines < PARAGRAPH_LINES_MAX => {
                *lines += 1;
                said.push(' ');
                said.push_str(trimmed);
            }
            (None, _) => {}
        }
    }
    if let Some((address, said, _)) = open {
        found.extend(described(address, &said));
    }
    found
}

/// `<user@example.org>: rest`, `user@example.org`, `<user@example.org>` at the beginning of a line.
fn recipient_line(line: &str) -> Option<(&str, &str)> {
    let (address, rest) = match line.strip_prefix('<').and_then(|inner| inner.split_once('>')) {
        Some((address, rest)) => (address, rest),
        None => line.split_once(|c: char| c.is_whitespace() || c == ':').unwrap_or((line, "")),
    };
    let rest = rest.trim_start_matches([':', ',', ' ', '\t']);
    let is_alone = line.starts_with('<') || rest.is_empty() || line[address.len()..].starts_with(':');
    (is_alone && address.contains('@') && Address::parse(address).is_ok()).then_some((address, rest))
}

/// A recipient counts when its words hold a code, or words that the table of classes knows.
fn described(address: String, said: &str) -> Option<RecipientReport> {
    let diagnostic = words(said, DIAGNOSTIC_CHARS_MAX);
    let status = Status::find(&diagnostic);
    let class = BounceClass::of(status, &diagnostic);
    let action = action_of_text(&diagnostic, status)
        .or((class != BounceClass::Unknown).then_some(ReportAction::Failed))
        .filter(|_| !diagnostic.is_empty())?;
    Some(RecipientReport {
        final_recipient: words(&address, VALUE_CHARS_MAX),
        original_recipient: String::new(),
        action,
        status,
        diagnostic,
        remote_mta: String::new(),
    })
}

/// The recipients that the field names have failed for good; their words are in the text if they can be told apart.
fn exim(named: &[String], described: &[RecipientReport], text: &str) -> Vec<RecipientReport> {
    let one = |address: &String| {
        let known = described.iter().find(|r| r.final_recipient.eq_ignore_ascii_case(address));
        let diagnostic = match known {
            Some(known) => known.diagnostic.clone(),
            None if named.len() == 1 => words(text, DIAGNOSTIC_CHARS_MAX),
            None => String::new(),
        };
        RecipientReport {
            final_recipient: words(address, VALUE_CHARS_MAX),
            original_recipient: String::new(),
            action: ReportAction::Failed,
            status: Status::find(&diagnostic),
            diagnostic,
            remote_mta: String::new(),
        }
    };
    named.iter().map(one).collect()
}
