//! What goes along with an envelope where a host knows the extension: DSN (RFC 3461), REQUIRETLS (RFC 8689), SMTPUTF8
//! (RFC 6531), SIZE, 8BITMIME.

use super::transaction::{Capabilities, Mail};

/// What goes along with one transaction. The values of DSN parameters are xtext as they came; one that is not is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct MailOptions<'a> {
    /// `ENVID=`; empty for none.
    pub envid: &'a str,
    /// `RET=`: `FULL`, `HDRS`, or empty.
    pub ret: &'a str,
    /// One for each recipient, in order; those that are missing ask for nothing.
    pub recipients: &'a [RecipientOptions<'a>],
    /// `REQUIRETLS`: the host must offer it, on a connection under TLS that was required.
    pub require_tls: bool,
}

/// What goes along with one recipient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecipientOptions<'a> {
    /// `NOTIFY=`: `NEVER`, or some of `SUCCESS`, `FAILURE`, `DELAY` with commas; empty for none.
    pub notify: &'a str,
    /// `ORCPT=`: `rfc822;ada@example.org`; empty for none.
    pub orcpt: &'a str,
}

/// What a body and an envelope need of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) size_bytes: usize,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
}

/// The end of the MAIL command, from its second parameter on.
pub(super) fn mail_parameters(capabilities: &Capabilities, options: &MailOptions<'_>, needs: Needs) -> String {
    let mut text = String::new();
    if capabilities.size {
        // RFC 1870 5: with CRLFs, without added dots and the end.
        text.push_str(&format!(" SIZE={}", needs.size_bytes));
    }
    if needs.eight_bit {
        text.push_str(" BODY=8BITMIME");
    }
    if needs.utf8 {
        text.push_str(" SMTPUTF8");
    }
    if options.require_tls {
        text.push_str(" REQUIRETLS");
    }
    if capabilities.dsn {
        push(&mut text, "RET", options.ret);
        push(&mut text, "ENVID", options.envid);
    }
    text
}

/// The end of one RCPT command.
pub(super) fn recipient_parameters(capabilities: &Capabilities, options: Option<&RecipientOptions<'_>>) -> String {
    let mut text = String::new();
    if let (true, Some(options)) = (capabilities.dsn, options) {
        push(&mut text, "NOTIFY", options.notify);
        push(&mut text, "ORCPT", options.orcpt);
    }
    text
}

fn push(text: &mut String, keyword: &str, value: &str) {
    // RFC 5321 4.1.2: a value is printable ASCII without "=" (in xtext a "=" is written +3D) and without blanks.
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'=') {
        text.push_str(&format!(" {keyword}={value}"));
    }
}

/// Whether the host must know SMTPUTF8: an address goes beyond ASCII.
pub(super) fn has_utf8_address(mail: &Mail<'_>) -> bool {
    let is_ascii = |address: &model::Address| address.local().is_ascii() && address.domain().as_str().is_ascii();
    !mail.recipients.iter().chain(mail.reverse_path.address()).all(is_ascii)
}

/// Whether the header section is UTF-8 beyond ASCII (RFC 6532): such a message is announced where the host takes it.
pub(super) fn has_utf8_header(body: &[u8]) -> bool {
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'\n', &body[at..]) {
        let line = &body[at..at + offset];
        if line.is_empty() || line == b"\r" {
            break;
        }
        at += offset + 1;
    }
    let header = &body[..at];
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_only_where_they_are_known_and_never_break_the_line() {
        let dsn = Capabilities { dsn: true, size: true, ..Capabilities::default() };
        let options = MailOptions { envid: "QQ+3D1", ret: "HDRS", require_tls: true, ..MailOptions::default() };
        let needs = Needs { size_bytes: 7, eight_bit: true, utf8: true };
        assert_eq!(
            mail_parameters(&dsn, &options, needs),
            " SIZE=7 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=QQ+3D1"
        );
        let bad = MailOptions { envid: "a\r\nRSET", ret: "FULL X=Y", ..MailOptions::default() };
        assert_eq!(mail_parameters(&dsn, &bad, Needs { size_bytes: 1, ..Needs::default() }), " SIZE=1");
        let recipient = RecipientOptions { notify: "SUCCESS,DELAY", orcpt: "rfc822;a@b" };
        assert_eq!(recipient_parameters(&dsn, Some(&recipient)), " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b");
        assert_eq!(recipient_parameters(&Capabilities::default(), Some(&recipient)), "");
    }

    #[test]
    fn only_the_header_section_counts_as_header() {
        assert!(has_utf8_header("Subject: Grüße\r\n\r\nx".as_bytes()));
        assert!(!has_utf8_header("Subject: x\r\n\r\nGrüße".as_bytes()));
        assert!(!has_utf8_header(b"Subject: \xFF\r\n\r\nx"));
        assert!(!has_utf8_header(b""));
    }
}
