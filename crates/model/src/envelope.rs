//! The SMTP envelope (RFC 5321 2.3.1) and who brought it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Address, ReversePath};

/// The `BODY=` parameter of MAIL (RFC 6152, RFC 3030).
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
    /// Who brought it.
    pub client: ClientInfo,
}
