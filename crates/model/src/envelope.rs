//! The SMTP envelope (RFC 5321 2.3.1) and who brought it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, Address, PersonId, ReversePath};

/// The `BODY=` parameter of MAIL (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyType {
    /// `7BIT`
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// What TLS a session had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: String,
    /// The cipher suite's name.
    pub cipher: String,
}

/// The peer of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// The peer's address.
    pub ip: IpAddr,
    /// What it said in HELO or EHLO, cleaned.
    pub helo: String,
    /// Whether it said EHLO (ESMTP) rather than HELO.
    pub esmtp: bool,
    /// TLS, when the session is encrypted.
    pub tls: Option<TlsInfo>,
    /// Whether it speaks LMTP (RFC 2033).
    #[serde(default)]
    pub lmtp: bool,
    /// Who logged in (RFC 4954).
    #[serde(default)]
    pub login: Option<SubmissionLogin>,
}

impl ClientInfo {
    /// A peer that has said nothing yet.
    pub fn at(ip: IpAddr) -> Self {
        ClientInfo { ip, helo: String::new(), esmtp: false, tls: None, lmtp: false, login: None }
    }
}

/// Who hands mail in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionLogin {
    /// The account.
    pub account_id: AccountId,
    /// The person it belongs to.
    pub person_id: PersonId,
    /// The person's primary address.
    pub address: String,
    /// Whether it may send as others than itself.
    pub may_send_as_others: bool,
}

/// What the sender asked for of the whole mail, checked, in the form it was given in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MailOptions {
    /// `SMTPUTF8` (RFC 6531): an address or the header section may hold UTF-8.
    #[serde(default)]
    pub smtp_utf8: bool,
    /// `REQUIRETLS` (RFC 8689): never without verified TLS.
    #[serde(default)]
    pub require_tls: bool,
    /// `RET=` (RFC 3461 4.3): `FULL`, `HDRS`, or empty.
    #[serde(default)]
    pub ret: String,
    /// `ENVID=` (RFC 3461 4.4) as xtext, or empty; [`decode_xtext`] reads it.
    #[serde(default)]
    pub envid: String,
}

/// What the sender asked for of one recipient's copy, checked, in the form it was given in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RcptOptions {
    /// `NOTIFY=` (RFC 3461 4.1) in upper case: `NEVER`, or some of `SUCCESS,FAILURE,DELAY`, or empty.
    #[serde(default)]
    pub notify: String,
    /// `ORCPT=` (RFC 3461 4.2): `rfc822;` and xtext, or empty.
    #[serde(default)]
    pub orcpt: String,
}

/// One mail transaction's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, in order, each accepted at RCPT. Never empty once DATA begins.
    pub forward_paths: Vec<Address>,
    /// `BODY=`.
    pub body_type: BodyType,
    /// `SIZE=`, in bytes, as declared.
    pub declared_size_bytes: Option<u64>,
    /// What the sender asked for.
    #[serde(default)]
    pub options: MailOptions,
    /// What it asked for of each recipient, in the order of `forward_paths`; see [`Envelope::options_of`].
    #[serde(default)]
    pub rcpt_options: Vec<RcptOptions>,
    /// Who brought it.
    pub client: ClientInfo,
}

impl Envelope {
    /// No mail yet, from `client`.
    pub fn new(client: ClientInfo) -> Self {
        Envelope {
            reverse_path: ReversePath::Null,
            forward_paths: Vec::new(),
            body_type: BodyType::SevenBit,
            declared_size_bytes: None,
            options: MailOptions::default(),
            rcpt_options: Vec::new(),
            client,
        }
    }

    /// What was asked for of the recipient at `index` of the forward-paths.
    pub fn options_of(&self, index: usize) -> RcptOptions {
        self.rcpt_options.get(index).cloned().unwrap_or_default()
    }
}

/// The text behind xtext (RFC 3461 4): `+` and two upper-case hexadecimal digits are a byte. `None` when it is not
/// xtext.
pub fn decode_xtext(xtext: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(xtext.len());
    let mut bytes = xtext.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let digit = |b: u8| match b {
                    b'0'..=b'9' => Some(b - b'0'),
                    b'A'..=b'F' => Some(b - b'A' + 10),
                    _ => None,
                };
                out.push(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?);
            }
            b'!'..=b'~' if byte != b'=' => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

/// A text as xtext, so that it may stand in `ENVID=` and `ORCPT=`.
pub fn encode_xtext(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(char::from(byte)),
            _ => out.push_str(&format!("+{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_both_ways() {
        for (text, xtext) in
            [(&b"a+b=c"[..], "a+2Bb+3Dc"), (b"", ""), (b"\0 \xff", "+00+20+FF"), (b"QQ314159", "QQ314159")]
        {
            assert_eq!(encode_xtext(text), xtext);
            assert_eq!(decode_xtext(xtext).as_deref(), Some(text));
        }
        for wrong in ["+", "+2", "+2b", "+GG", "a=b", "a b", "a\u{e4}"] {
            assert_eq!(decode_xtext(wrong), None, "{wrong}");
        }
    }
}
