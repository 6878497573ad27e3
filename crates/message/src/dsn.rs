//! Delivery status notifications (RFC 3464): telling a sender that a copy did not arrive.

use data_encoding::HEXLOWER;
use model::{Address, Reply, Timestamp};
use sha2::{Digest, Sha256};

use crate::MessageError;
use crate::compose::{field, push_quoted_printable};
use crate::headers::section;

/// Bytes of the original header section that are returned.
const RETURNED_BYTES_MAX: usize = 32 * 1024;
/// RFC 5322 2.1.1.
const LINE_BYTES_MAX: usize = 998;

/// What a notification says. It is sent with the null reverse-path (RFC 5321 4.5.5), which is the caller's part.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// The host that reports.
    pub reporting_mta: &'a str,
    /// Whom it tells: the reverse-path of the original.
    pub sender: &'a Address,
    /// Who did not get it.
    pub recipient: &'a Address,
    /// The host that refused, if one was reached.
    pub remote_mta: Option<&'a str>,
    /// Its reply, or ours.
    pub reply: &'a Reply,
    /// When the original was accepted.
    pub arrived_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// The notification's own Message-ID with its angle brackets.
    pub message_id: &'a str,
    /// The original message; only its header section is returned.
    pub original: &'a [u8],
}

/// Writes the notification.
///
/// # Errors
/// [`MessageError`] when a value cannot stand in a field.
pub fn build(failure: &Failure<'_>) -> Result<Vec<u8>, MessageError> {
    let boundary = format!("=_{}", &HEXLOWER.encode(&Sha256::digest(failure.message_id))[..24]);
    let mut out = String::new();
    out.push_str(&field("Date", &failure.now.to_rfc5322())?);
    out.push_str(&field("From", &format!("Mail Delivery System <postmaster@{}>", failure.reporting_mta))?);
    out.push_str(&field("To", &failure.sender.to_string())?);
    out.push_str(&field("Subject", "Not delivered")?);
    out.push_str(&field("Message-ID", failure.message_id)?);
    if let Some(original_id) =
        crate::headers::field(failure.original, "Message-ID").filter(|id| id.is_ascii() && !id.contains(' '))
    {
        out.push_str(&field("References", &original_id)?);
    }
    // RFC 3834 section 5: answered by no machine.
    out.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    out.push_str(&format!(
        "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ));
    push_quoted_printable(
        &mut out,
        &format!(
            "Your message could not be delivered to\n\n    {}\n\nThe answer was:\n\n    {}\n\nIt will not be tried again.\n",
            failure.recipient, failure.reply
        ),
    );
    out.push_str(&format!("--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n"));
    push_status(&mut out, failure)?;
    out.push_str(&format!("--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"));
    push_original(&mut out, failure.original);
    out.push_str(&format!("\r\n--{boundary}--\r\n"));
    Ok(out.into_bytes())
}

/// RFC 3464 2.2 and 2.3: fields about the message, an empty line, fields about the recipient.
fn push_status(out: &mut String, failure: &Failure<'_>) -> Result<(), MessageError> {
    let status = failure
        .reply
        .enhanced()
        .map_or_else(|| "5.0.0".to_owned(), |code| format!("5.{}.{}", code.subject, code.detail));
    out.push_str(&field("Reporting-MTA", &format!("dns; {}", failure.reporting_mta))?);
    out.push_str(&field("Arrival-Date", &failure.arrived_at.to_rfc5322())?);
    out.push_str("\r\n");
    out.push_str(&field("Final-Recipient", &format!("rfc822; {}", failure.recipient))?);
    out.push_str(&field("Action", "failed")?);
    out.push_str(&field("Status", &status)?);
    if let Some(remote) = failure.remote_mta {
        out.push_str(&field("Remote-MTA", &format!("dns; {remote}"))?);
    }
    let reply: String =
        failure.reply.to_string().chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect();
    out.push_str(&field("Diagnostic-Code", &format!("smtp; {reply}"))?);
    out.push_str(&field("Last-Attempt-Date", &failure.now.to_rfc5322())?);
    out.push_str("\r\n");
    Ok(())
}

/// The original header section as 7-bit lines.
fn push_original(out: &mut String, original: &[u8]) {
    let head = section(original);
    for line in head[..head.len().min(RETURNED_BYTES_MAX)].split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let clean = |b: &u8| if b.is_ascii() && !b.is_ascii_control() || *b == b'\t' { char::from(*b) } else { '?' };
        out.extend(line.iter().take(LINE_BYTES_MAX).map(clean));
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification() {
        let (sender, recipient) =
            (Address::parse("ada@contoso.example").unwrap(), Address::parse("bob@fabrikam.example").unwrap());
        let reply = Reply::received(550, Some((5, 1, 1)), vec!["no such user".into()]);
        let raw = build(&Failure {
            reporting_mta: "mx.contoso.example",
            sender: &sender,
            recipient: &recipient,
            remote_mta: Some("mx.fabrikam.example"),
            reply: &reply,
            arrived_at: Timestamp::from_micros(1_710_410_043_000_000),
            now: Timestamp::from_micros(1_710_410_103_000_000),
            message_id: "<dsn-1@mx.contoso.example>",
            original: "From: ada@contoso.example\nSubject: \u{fc}\nMessage-ID: <1@contoso.example>\n\nsecret body"
                .as_bytes(),
        })
        .unwrap();
        let text = String::from_utf8(raw).unwrap();
        for part in [
            "To: ada@contoso.example\r\n",
            "References: <1@contoso.example>\r\n",
            "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=",
            "Reporting-MTA: dns; mx.contoso.example\r\nArrival-Date: Thu, 14 Mar 2024 09:54:03 +0000\r\n\r\n\
             Final-Recipient: rfc822; bob@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; mx.fabrikam.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            "Content-Type: text/rfc822-headers\r\n\r\nFrom: ada@contoso.example\r\nSubject: ??\r\nMessage-ID: <1@contoso.example>\r\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains("secret body"));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
