//! DKIM keys and signatures (RFC 6376) for what we send.

use std::fmt;

use data_encoding::BASE64;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::generate::DkimKeyPair;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};

use crate::MessageError;

/// RFC 8301 3.2: signers must use at least 1,024 bits and should use 2,048.
const RSA_BITS: usize = 2_048;
const PEM_LINE_CHARS: usize = 64;

/// The fields that are signed. From stands twice: signed once more than it occurs, so that nobody can add a second
/// (RFC 6376 8.15). A field of this list that is absent is signed as absent.
const SIGNED_FIELDS: &[&str] = &[
    "From",
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Id",
    "Feedback-ID",
    "Auto-Submitted",
];

/// An RSA key pair. Its text form is PEM (PKCS#1); PKCS#8 is read as well.
pub struct DkimKey {
    der: Vec<u8>,
    is_pkcs8: bool,
    public_der: Vec<u8>,
}

impl DkimKey {
    /// Makes an RSA-2048 key. Takes from a tenth of a second to a few: make it once, keep its PEM.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the library cannot.
    pub fn generate() -> Result<Self, MessageError> {
        let pair = DkimKeyPair::generate_rsa(RSA_BITS).map_err(key_error)?;
        let (der, public_der) = pair.into_inner();
        Ok(DkimKey { der, is_pkcs8: false, public_der })
    }

    /// Reads `RSA PRIVATE KEY` (PKCS#1) or `PRIVATE KEY` (PKCS#8) in PEM.
    ///
    /// # Errors
    /// [`MessageError::Key`] says what was expected.
    pub fn from_pem(pem: &str) -> Result<Self, MessageError> {
        let expected = || key_error("expected a PEM block, RSA PRIVATE KEY or PRIVATE KEY");
        let begin = pem.lines().map(str::trim).find(|line| line.starts_with("-----BEGIN ")).ok_or_else(expected)?;
        let is_pkcs8 = match begin {
            "-----BEGIN PRIVATE KEY-----" => true,
            "-----BEGIN RSA PRIVATE KEY-----" => false,
            _ => return Err(expected()),
        };
        let body: String = pem
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != begin)
            .skip(1)
            .take_while(|line| !line.starts_with("-----END "))
            .collect();
        let der = BASE64.decode(body.as_bytes()).map_err(key_error)?;
        let mut key = DkimKey { der, is_pkcs8, public_der: Vec::new() };
        key.public_der = key.load()?.public_key();
        Ok(key)
    }

    /// The private key in PEM. Keep it where only the sending process reads it.
    pub fn to_pem(&self) -> String {
        let label = if self.is_pkcs8 { "PRIVATE KEY" } else { "RSA PRIVATE KEY" };
        let encoded = BASE64.encode(&self.der);
        let mut pem = format!("-----BEGIN {label}-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str(&format!("-----END {label}-----\n"));
        pem
    }

    /// The text of the TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 3.6.1).
    pub fn txt_record(&self) -> String {
        format!("v=DKIM1; k=rsa; p={}", BASE64.encode(&subject_public_key_info(&self.public_der)))
    }

    fn load(&self) -> Result<RsaKey<Sha256>, MessageError> {
        let der = if self.is_pkcs8 {
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.der.as_slice()))
        } else {
            PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(self.der.as_slice()))
        };
        RsaKey::from_key_der(der).map_err(key_error)
    }
}

/// Never shows the key.
impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DkimKey").finish_non_exhaustive()
    }
}

/// RFC 5280 4.1: the public key inside its algorithm's identifier, the form that verifiers expect in `p=`.
fn subject_public_key_info(rsa_public_key: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    const RSA_ENCRYPTION: &[u8] = b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01\x05\x00";
    let bits = [&[0_u8][..], rsa_public_key].concat(); // no unused bits
    tagged(SEQUENCE, &[RSA_ENCRYPTION, &tagged(BIT_STRING, &bits)].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|b| *b != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

fn key_error(cause: impl fmt::Display) -> MessageError {
    MessageError::Key { cause: cause.to_string() }
}

/// Signs for one domain and selector. The key is loaded once; signing borrows.
pub struct Signer {
    signer: DkimSigner<RsaKey<Sha256>, Done>,
}

impl Signer {
    /// A signer with relaxed/relaxed canonicalization (RFC 6376 3.4), without a body length.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the key does not load.
    pub fn new(key: &DkimKey, domain: &str, selector: &str) -> Result<Self, MessageError> {
        let signer = DkimSigner::from_key(key.load()?)
            .domain(domain)
            .selector(selector)
            .headers(SIGNED_FIELDS.iter().copied())
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        Ok(Signer { signer })
    }

    /// The DKIM-Signature field for a message, ended by CRLF: put it in front.
    ///
    /// # Errors
    /// [`MessageError::Sign`], for a message without any of the signed fields.
    pub fn sign(&self, raw: &[u8]) -> Result<Vec<u8>, MessageError> {
        let signature = self.signer.sign(raw).map_err(|error| MessageError::Sign { cause: error.to_string() })?;
        Ok(signature.to_header().into_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = DkimKey::generate().unwrap();
        let again = DkimKey::from_pem(&format!("a comment\n{}", key.to_pem())).unwrap();
        assert_eq!(again.txt_record(), key.txt_record());
        assert_eq!(again.to_pem(), key.to_pem());
        assert!(key.txt_record().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\nAAAA\n"]
        {
            assert!(matches!(DkimKey::from_pem(text), Err(MessageError::Key { .. })), "{text:?}");
        }
    }
}
