//! Delivery status notifications (RFC 3464, 3461, 6533): telling a sender what became of a copy.
//!
//! A notification is 7-bit on the wire unless its sender's address itself is beyond ASCII, so that no host on its way back
//! has to convert it: text is quoted-printable, a returned header section with UTF-8 goes as base64.

use data_encoding::{BASE64, HEXLOWER};
use model::{Address, Reply, Timestamp, decode_xtext};
use sha2::{Digest, Sha256};

use crate::MessageError;
use crate::compose::{field, push_quoted_printable};
use crate::decode::head;
use crate::headers::section;
use crate::report::ReportAction;

/// Bytes of the original header section that are returned.
const RETURNED_BYTES_MAX: usize = 32 * 1024;
/// Bytes of an original that is returned whole; a larger one comes back as its header section.
const WHOLE_BYTES_MAX: usize = 1024 * 1024;
/// RFC 5322 2.1.1.
const LINE_BYTES_MAX: usize = 998;
/// RFC 2045 6.8.
const BASE64_LINE_CHARS: usize = 76;
/// What is told of a host's reply; RFC 5321 4.5.3.1.5 allows a line of 512.
const REPLY_BYTES_MAX: usize = 900;
/// A host's word may be longer than any line.
const WORD_CHARS_MAX: usize = 200;

/// What a notification says. It is sent with the null reverse-path (RFC 5321 4.5.5), which is the caller's part.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// What became of the copy.
    pub action: ReportAction,
    /// The host that reports.
    pub reporting_mta: &'a str,
    /// Whom it tells: the reverse-path of the original.
    pub sender: &'a Address,
    /// Whose copy it is about.
    pub recipient: &'a Address,
    /// `ORCPT` as given (`rfc822;` and xtext), or empty.
    pub orcpt: &'a str,
    /// `ENVID` as given (xtext), or empty.
    pub envid: &'a str,
    /// `RET=FULL`: the whole original is wanted back when it failed (RFC 3461 4.3).
    pub wants_whole: bool,
    /// The host that answered, if one was reached.
    pub remote_mta: Option<&'a str>,
    /// Its reply, or ours.
    pub reply: &'a Reply,
    /// When the original was accepted.
    pub arrived_at: Timestamp,
    /// Until when it is tried, for a delay.
    pub retry_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
    /// The notification's own Message-ID with its angle brackets.
    pub message_id: &'a str,
    /// The original message, or as much of it as is there.
    pub original: &'a [u8],
    /// Nothing of the original may be shown: it was to go by protected ways only, and nobody knows the way back.
    pub is_redacted: bool,
}

/// Writes the notification.
///
/// # Errors
/// [`MessageError`] when a value cannot stand in a field.
pub fn build(notice: &Notification<'_>) -> Result<Vec<u8>, MessageError> {
    let boundary = format!("=_{}", &HEXLOWER.encode(&Sha256::digest(notice.message_id))[..24]);
    // RFC 6533 6: the global forms are for senders who can read addresses beyond ASCII, so for those who have one.
    let global = if notice.sender.to_string().is_ascii() { "" } else { "global-" };
    let mut out = String::new();
    out.push_str(&field("Date", &notice.now.to_rfc5322())?);
    out.push_str(&field("From", &format!("Mail Delivery System <postmaster@{}>", notice.reporting_mta))?);
    out.push_str(&line("To", &notice.sender.to_string())?);
    out.push_str(&field("Subject", subject(notice.action))?);
    out.push_str(&field("Message-ID", notice.message_id)?);
    if let Some(original_id) =
        crate::headers::field(notice.original, "Message-ID").filter(|id| id.is_ascii() && !id.contains(' '))
    {
        push_optional(&mut out, "References", &original_id);
    }
    // RFC 3834 section 5: answered by no machine.
    out.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    out.push_str(&format!(
        "Content-Type: multipart/report; report-type={global}delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ));
    push_quoted_printable(&mut out, &words(notice));
    out.push_str(&format!("--{boundary}\r\nContent-Type: message/{global}delivery-status\r\n"));
    out.push_str(if global.is_empty() { "\r\n" } else { "Content-Transfer-Encoding: 8bit\r\n\r\n" });
    push_status(&mut out, notice, !global.is_empty())?;
    let mut out = out.into_bytes();
    if !notice.is_redacted {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        push_returned(&mut out, notice);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok(out)
}

/// The subject of a notification.
pub fn subject(action: ReportAction) -> &'static str {
    match action {
        ReportAction::Failed => "Not delivered",
        ReportAction::Delayed => "Delayed: it is still being tried",
        ReportAction::Delivered => "Delivered to the mailbox",
        ReportAction::Relayed => "Handed over: no further news will come",
        ReportAction::Expanded => "Sent on to the members of a list",
    }
}

/// The part for people.
fn words(notice: &Notification<'_>) -> String {
    let (recipient, reply) = (notice.recipient, reply_text(notice));
    let begin = match notice.action {
        ReportAction::Failed => "Your message could not be delivered to",
        ReportAction::Delayed => "Your message has not been delivered yet to",
        ReportAction::Delivered => "As you asked to be told: your message was put into the mailbox of",
        ReportAction::Relayed => "As you asked to be told: your message was handed over on its way to",
        ReportAction::Expanded => "As you asked to be told: your message was sent on to the members of",
    };
    let end = match (notice.action, notice.retry_until) {
        (ReportAction::Failed, _) => "It will not be tried again.".to_owned(),
        (ReportAction::Delayed, Some(until)) => {
            format!("It is tried again until {}. You need do nothing.", until.to_rfc5322())
        }
        (ReportAction::Delayed, None) => "It is tried again. You need do nothing.".to_owned(),
        (ReportAction::Relayed, _) => "The host that took it sends no confirmations.".to_owned(),
        (ReportAction::Delivered | ReportAction::Expanded, _) => String::new(),
    };
    format!("{begin}\n\n    {recipient}\n\nThe answer was:\n\n    {reply}\n\n{end}\n")
}

/// RFC 3464 2.2 and 2.3: fields about the message, an empty line, fields about the recipient.
fn push_status(out: &mut String, notice: &Notification<'_>, is_global: bool) -> Result<(), MessageError> {
    out.push_str(&field("Reporting-MTA", &format!("dns; {}", notice.reporting_mta))?);
    if let Some(envid) = plain(notice.envid) {
        push_optional(out, "Original-Envelope-Id", &envid);
    }
    out.push_str(&field("Arrival-Date", &notice.arrived_at.to_rfc5322())?);
    out.push_str("\r\n");
    if let Some((kind, address)) = notice.orcpt.split_once(';')
        && let Some(address) = plain(address)
        && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        push_optional(out, "Original-Recipient", &format!("{kind};{address}"));
    }
    out.push_str(&line("Final-Recipient", &typed_address(&notice.recipient.to_string(), is_global))?);
    out.push_str(&field("Action", notice.action.as_str())?);
    out.push_str(&field("Status", &status(notice))?);
    if let Some(remote) = notice.remote_mta {
        out.push_str(&field("Remote-MTA", &format!("dns; {remote}"))?);
    }
    let keep = |c: char| (is_global || c.is_ascii()) && !c.is_control();
    let reply: String = reply_text(notice).chars().map(|c| if keep(c) { c } else { '?' }).collect();
    out.push_str(&line("Diagnostic-Code", &format!("smtp; {reply}"))?);
    out.push_str(&field("Last-Attempt-Date", &notice.now.to_rfc5322())?);
    if let Some(until) = notice.retry_until.filter(|_| notice.action == ReportAction::Delayed) {
        out.push_str(&field("Will-Retry-Until", &until.to_rfc5322())?);
    }
    out.push_str("\r\n");
    Ok(())
}

/// The reply as far as it can be told: a sender is told of a failure whatever a host says.
fn reply_text(notice: &Notification<'_>) -> String {
    let mut out = String::new();
    let mut word_chars = 0;
    for c in head(&notice.reply.to_string(), REPLY_BYTES_MAX).chars() {
        word_chars = if c == ' ' { 0 } else { word_chars + 1 };
        if word_chars > WORD_CHARS_MAX {
            out.push(' ');
            word_chars = 1;
        }
        out.push(c);
    }
    out
}

/// A field that is left out when its value cannot stand in one.
fn push_optional(out: &mut String, name: &str, value: &str) {
    if let Ok(field) = field(name, value) {
        out.push_str(&field);
    }
}

/// A field of a global form holds UTF-8 as it is (RFC 6532); others are 7-bit.
fn line(name: &str, value: &str) -> Result<String, MessageError> {
    if value.is_ascii() {
        return field(name, value);
    }
    match value.contains(char::is_control) {
        true => Err(MessageError::HeaderCharacter { field: name.to_owned() }),
        false => Ok(format!("{name}: {value}\r\n")),
    }
}

/// The class follows the action (RFC 3464 2.3.4), subject and detail the reply.
fn status(notice: &Notification<'_>) -> String {
    let class = match notice.action {
        ReportAction::Failed => 5,
        ReportAction::Delayed => 4,
        ReportAction::Delivered | ReportAction::Relayed | ReportAction::Expanded => 2,
    };
    notice
        .reply
        .enhanced()
        .map_or_else(|| format!("{class}.0.0"), |code| format!("{class}.{}.{}", code.subject, code.detail))
}

/// The text behind xtext that may stand in a field: ASCII without controls. `None` when there is nothing to say.
fn plain(xtext: &str) -> Option<String> {
    let text = String::from_utf8(decode_xtext(xtext)?).ok()?;
    let is_fine = !text.is_empty() && text.chars().all(|c| c.is_ascii() && !c.is_ascii_control());
    is_fine.then_some(text)
}

/// RFC 6533 3: an address beyond ASCII as it is in the global form, otherwise with its characters as `\x{HEX}`.
fn typed_address(address: &str, is_global: bool) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    if is_global {
        return format!("utf-8; {address}");
    }
    let mut out = String::from("utf-8; ");
    for c in address.chars() {
        if c.is_ascii() && c != '\\' {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    out
}

/// RFC 3461 6.2: the whole original only for a failure and when asked for, otherwise its header section.
fn push_returned(out: &mut Vec<u8>, notice: &Notification<'_>) {
    let original = notice.original;
    // An 8-bit original cannot be encoded inside message/rfc822, and the way back may be 7-bit.
    let is_whole = notice.wants_whole
        && notice.action == ReportAction::Failed
        && original.len() <= WHOLE_BYTES_MAX
        && original.is_ascii()
        && !original.contains(&0);
    if is_whole {
        out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
        push_lines(out, original);
        return;
    }
    let head = section(original);
    let head = &head[..head.len().min(RETURNED_BYTES_MAX)];
    if !head.is_ascii() && std::str::from_utf8(head).is_ok() {
        // RFC 6533 5: a header section with UTF-8 is of a type of its own, which may be encoded.
        out.extend_from_slice(b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        let encoded = BASE64.encode(head);
        for line in encoded.as_bytes().chunks(BASE64_LINE_CHARS) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
        return;
    }
    out.extend_from_slice(b"Content-Type: text/rfc822-headers\r\n\r\n");
    push_lines(out, head);
}

/// Clean 7-bit lines that end with CR LF. Empty lines stay in a whole message; a header section has none.
fn push_lines(out: &mut Vec<u8>, raw: &[u8]) {
    for line in raw.split_inclusive(|b| *b == b'\n') {
        let line = crate::field::trim_line_end(line);
        let clean = |b: &u8| if b.is_ascii() && !b.is_ascii_control() || *b == b'\t' { *b } else { b'?' };
        out.extend(line.iter().take(LINE_BYTES_MAX).map(clean));
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Report, ReportKind, parse_report};

    const ORIGINAL: &[u8] =
        b"From: ada@contoso.example\r\nSubject: Hello\r\nMessage-ID: <1@contoso.example>\r\n\r\nsecret body\r\n";

    fn notice<'a>(
        sender: &'a Address,
        recipient: &'a Address,
        reply: &'a Reply,
        original: &'a [u8],
    ) -> Notification<'a> {
        Notification {
            action: ReportAction::Failed,
            reporting_mta: "mx.contoso.example",
            sender,
            recipient,
            orcpt: "",
            envid: "",
            wants_whole: false,
            remote_mta: Some("mx.fabrikam.example"),
            reply,
            arrived_at: Timestamp::from_micros(1_710_410_043_000_000),
            retry_until: None,
            now: Timestamp::from_micros(1_710_410_103_000_000),
            message_id: "<dsn-1@mx.contoso.example>",
            original,
            is_redacted: false,
        }
    }

    /// Every notification is clean on the wire and reads back as what was said.
    fn built(notice: &Notification<'_>) -> (String, Report) {
        let raw = build(notice).unwrap();
        let report = parse_report(&raw).expect("it reads back");
        assert_eq!((report.kind, report.recipients.len()), (ReportKind::Delivery, 1));
        assert_eq!(report.recipients[0].action, notice.action);
        let text = String::from_utf8(raw).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(text.matches("Auto-Submitted: auto-replied\r\n").count(), 1);
        (text, report)
    }

    #[track_caller]
    fn contains(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn a_notification() {
        let (sender, recipient) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("bob@fabrikam.example").unwrap());
        let reply = Reply::received(550, Some((5, 1, 1)), vec!["no such user".into()]);
        let (text, report) = built(&notice(&sender, &recipient, &reply, ORIGINAL));
        contains(
            &text,
            &[
                "To: ada@contoso.example\r\n",
                "References: <1@contoso.example>\r\n",
                "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=",
                "Reporting-MTA: dns; mx.contoso.example\r\nArrival-Date: Thu, 14 Mar 2024 09:54:03 +0000\r\n\r\n\
                 Final-Recipient: rfc822; bob@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
                 Remote-MTA: dns; mx.fabrikam.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
                "Content-Type: text/rfc822-headers\r\n\r\nFrom: ada@contoso.example\r\nSubject: Hello\r\nMessage-ID: <1@contoso.example>\r\n",
            ],
        );
        assert!(!text.contains("secret body"));
        assert_eq!(report.returned_field("Subject").as_deref(), Some("Hello"));
    }

    #[test]
    fn what_was_asked_for_is_given_back() {
        let (sender, recipient) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("bob@fabrikam.example").unwrap());
        let reply = Reply::transient(451, (4, 1), "no answer");
        let base = Notification {
            orcpt: "rfc822;Bob+2Bnews@fabrikam.example",
            envid: "QQ+2B314",
            wants_whole: true,
            ..notice(&sender, &recipient, &reply, ORIGINAL)
        };
        let (text, report) = built(&base);
        contains(&text, &["Content-Type: message/rfc822\r\n\r\nFrom: ada", "\r\n\r\nsecret body\r\n"]);
        assert_eq!(
            (report.envelope_id.as_str(), report.recipients[0].original_recipient.as_str()),
            ("QQ+314", "Bob+news@fabrikam.example")
        );

        let until = base.now.plus_ms(432_000_000);
        let (text, _) = built(&Notification { action: ReportAction::Delayed, retry_until: Some(until), ..base });
        contains(
            &text,
            &["Action: delayed\r\nStatus: 4.4.1\r\n", "Will-Retry-Until: Tue, 19 Mar 2024", "text/rfc822-headers"],
        );
        let ok = Reply::ok(250, (0, 0), "taken");
        let (text, _) = built(&Notification { action: ReportAction::Relayed, reply: &ok, ..base });
        contains(&text, &["Action: relayed\r\nStatus: 2.0.0\r\n", "sends no confirmations", "text/rfc822-headers"]);
        // What cannot stand in a field is left out, not sent on.
        let (text, _) = built(&Notification { orcpt: "x y;+0D+0AX: 1", envid: "a+0D+0AX-Injected: 1", ..base });
        assert!(!text.contains("Original-") && !text.contains("X-Injected"));
    }

    /// However long a host's words are, and whatever the sender wrote: the news gets through.
    #[test]
    fn nothing_is_too_long_to_be_told() {
        let (sender, recipient) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("bob@fabrikam.example").unwrap());
        let reply = Reply::received(550, Some((5, 7, 1)), vec!["x".repeat(4_000); 100]);
        let original = format!("Message-ID: <{}@x.example>\r\nSubject: Hello\r\n\r\nx", "i".repeat(995));
        let long = "a".repeat(2_000);
        let orcpt = format!("rfc822;{long}@x.example");
        let notice =
            Notification { orcpt: &orcpt, envid: &long, ..notice(&sender, &recipient, &reply, original.as_bytes()) };
        let (text, _) = built(&notice);
        contains(&text, &["Status: 5.7.1\r\n", "Diagnostic-Code: smtp; 550 5.7.1\r\n xxx", "Subject: Hello\r\n"]);
    }

    /// RFC 8689 5: of mail that asked for REQUIRETLS nothing comes back in clear.
    #[test]
    fn a_redacted_notification_shows_nothing_of_the_original() {
        let (sender, recipient) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("bob@fabrikam.example").unwrap());
        let reply = Reply::permanent(550, (7, 30), "no REQUIRETLS there");
        let notice =
            Notification { is_redacted: true, wants_whole: true, ..notice(&sender, &recipient, &reply, ORIGINAL) };
        let (text, report) = built(&notice);
        contains(&text, &["References: <1@contoso.example>\r\n", "Status: 5.7.30\r\n"]);
        assert!(
            !text.contains("rfc822-headers") && !text.contains("Subject: Hello") && !text.contains("secret"),
            "{text}"
        );
        assert!(report.returned.is_empty());
    }

    #[test]
    fn beyond_ascii() {
        let (ada, bob) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("jørn@fabrikam.example").unwrap());
        let reply = Reply::received(550, Some((5, 1, 1)), vec!["jørn?".into()]);
        let original =
            "From: ada@contoso.example\r\nSubject: für\r\nMessage-ID: <1@contoso.example>\r\n\r\nbody".as_bytes();
        let whole = Notification { wants_whole: true, ..notice(&ada, &bob, &reply, original) };
        let (text, report) = built(&whole);
        assert!(text.is_ascii(), "a sender in ASCII gets 7 bits: {text}");
        contains(
            &text,
            &["Final-Recipient: utf-8; j\\x{F8}rn@fabrikam.example\r\n", "Content-Type: message/global-headers\r\n"],
        );
        assert_eq!(report.recipients[0].final_recipient, "jørn@fabrikam.example");
        assert_eq!(report.returned_field("Subject").as_deref(), Some("für"));

        let jurgen = Address::parse("jürgen@contoso.example").unwrap();
        let (text, report) = built(&Notification { sender: &jurgen, ..whole });
        contains(
            &text,
            &["report-type=global-delivery-status", "Content-Type: message/global-delivery-status\r\n", "utf-8; jørn@"],
        );
        assert_eq!(report.recipients[0].diagnostic, "550 5.1.1 jørn?");
        // Bytes that are no UTF-8 are shown as question marks.
        let (text, _) = built(&Notification { original: b"Subject: f\xFCr\r\n\r\nx", ..whole });
        contains(&text, &["text/rfc822-headers\r\n\r\nSubject: f?r\r\n"]);
    }
}
