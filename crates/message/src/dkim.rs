//! DKIM keys and signatures (RFC 6376, RSA and, beside it, Ed25519 by RFC 8463) for what we send.

use std::fmt;

use data_encoding::BASE64;
use mail_auth::common::crypto::{DkimKey as PrivateKey, Ed25519Key, RsaKey};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::generate::DkimKeyPair;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use model::Domain;
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

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// `rsa-sha256`: every verifier knows it.
    Rsa,
    /// `ed25519-sha256` (RFC 8463): some do, so that it never stands alone.
    Ed25519,
}

/// A key as the library signs with it.
pub(crate) type LoadedKey = PrivateKey;

/// A key pair. Its text form is PEM: PKCS#1 for RSA, PKCS#8 for Ed25519; PKCS#8 is read for RSA as well.
pub struct DkimKey {
    der: Vec<u8>,
    form: Form,
    public: Vec<u8>,
}

/// How the private key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    RsaPkcs1,
    RsaPkcs8,
    Ed25519Pkcs8,
}

impl DkimKey {
    /// Makes an RSA-2048 key. Takes from a tenth of a second to a few: make it once, keep its PEM.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the library cannot.
    pub fn generate() -> Result<Self, MessageError> {
        let pair = DkimKeyPair::generate_rsa(RSA_BITS).map_err(key_error)?;
        let (der, public) = pair.into_inner();
        Ok(DkimKey { der, form: Form::RsaPkcs1, public })
    }

    /// Makes an Ed25519 key, at once.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the library cannot.
    pub fn generate_ed25519() -> Result<Self, MessageError> {
        let der = Ed25519Key::generate_pkcs8().map_err(key_error)?;
        let public = ed25519(&der)?.public_key();
        Ok(DkimKey { der, form: Form::Ed25519Pkcs8, public })
    }

    /// Reads `RSA PRIVATE KEY` (PKCS#1) or `PRIVATE KEY` (PKCS#8, RSA or Ed25519) in PEM.
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
        if is_pkcs8 && let Ok(key) = ed25519(&der) {
            return Ok(DkimKey { der, form: Form::Ed25519Pkcs8, public: key.public_key() });
        }
        let form = if is_pkcs8 { Form::RsaPkcs8 } else { Form::RsaPkcs1 };
        let mut key = DkimKey { der, form, public: Vec::new() };
        key.public = key.rsa()?.public_key();
        Ok(key)
    }

    /// How it signs.
    pub fn kind(&self) -> KeyKind {
        match self.form {
            Form::RsaPkcs1 | Form::RsaPkcs8 => KeyKind::Rsa,
            Form::Ed25519Pkcs8 => KeyKind::Ed25519,
        }
    }

    /// The private key in PEM. Keep it where only the sending process reads it.
    pub fn to_pem(&self) -> String {
        let label = if self.form == Form::RsaPkcs1 { "RSA PRIVATE KEY" } else { "PRIVATE KEY" };
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

    /// The text of the TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 3.6.1, RFC 8463 4).
    pub fn txt_record(&self) -> String {
        match self.kind() {
            KeyKind::Rsa => format!("v=DKIM1; k=rsa; p={}", BASE64.encode(&subject_public_key_info(&self.public))),
            KeyKind::Ed25519 => format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(&self.public)),
        }
    }

    pub(crate) fn load(&self) -> Result<LoadedKey, MessageError> {
        match self.kind() {
            KeyKind::Rsa => Ok(PrivateKey::Rsa(self.rsa()?)),
            KeyKind::Ed25519 => Ok(PrivateKey::Ed25519(ed25519(&self.der)?)),
        }
    }

    fn rsa(&self) -> Result<RsaKey<mail_auth::common::crypto::Sha256>, MessageError> {
        let der = if self.form == Form::RsaPkcs8 {
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.der.as_slice()))
        } else {
            PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(self.der.as_slice()))
        };
        RsaKey::from_key_der(der).map_err(key_error)
    }
}

/// Other programs write the key without its public half.
fn ed25519(der: &[u8]) -> Result<Ed25519Key, MessageError> {
    Ed25519Key::from_pkcs8_maybe_unchecked_der(der).map_err(key_error)
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

/// Signs for one domain, once for each of its keys. The keys are loaded once; signing borrows.
pub struct Signer {
    signers: Vec<(KeyKind, DkimSigner<PrivateKey, Done>)>,
}

/// A key as it is kept: `selector._domainkey.domain` and its PEM.
#[derive(Debug, Clone, Copy)]
pub struct KeptKey<'a> {
    /// The selector.
    pub selector: &'a str,
    /// The domain.
    pub domain: &'a str,
    /// The private key.
    pub pem: &'a str,
}

impl Signer {
    /// Signs mail from `from` with the keys of the domain itself, or of the nearest domain above it that has some (relaxed
    /// alignment, RFC 9989): of `keys`, newest first, the newest of each kind, RSA before Ed25519. `None` when there is none.
    ///
    /// # Errors
    /// [`MessageError::Key`] when one of them does not load.
    pub fn nearest<'a>(
        keys: impl IntoIterator<Item = KeptKey<'a>>,
        from: &Domain,
    ) -> Result<Option<Self>, MessageError> {
        let above = keys.into_iter().filter(|key| Domain::parse(key.domain).is_ok_and(|domain| from.is_under(&domain)));
        let above: Vec<KeptKey<'_>> = above.collect();
        let nearest = above.iter().map(|key| key.domain).max_by_key(|domain| domain.len());
        let mut signer = Signer { signers: Vec::new() };
        for kept in above.iter().filter(|key| Some(key.domain) == nearest) {
            let key = DkimKey::from_pem(kept.pem)?;
            if !signer.has(key.kind()) {
                signer = signer.and(&key, kept.domain, kept.selector)?;
            }
        }
        Ok((!signer.signers.is_empty()).then_some(signer))
    }

    /// Whether it signs so.
    pub fn has(&self, kind: KeyKind) -> bool {
        self.signers.iter().any(|(known, _)| *known == kind)
    }

    /// A signer with relaxed/relaxed canonicalization (RFC 6376 3.4), without a body length.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the key does not load.
    pub fn new(key: &DkimKey, domain: &str, selector: &str) -> Result<Self, MessageError> {
        Signer { signers: Vec::new() }.and(key, domain, selector)
    }

    /// With one more key. RSA signs first, whatever the order here: some verifiers give up at what they do not know.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the key does not load.
    pub fn and(mut self, key: &DkimKey, domain: &str, selector: &str) -> Result<Self, MessageError> {
        let signer = DkimSigner::from_key(key.load()?)
            .domain(domain)
            .selector(selector)
            .headers(SIGNED_FIELDS.iter().copied())
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        self.signers.push((key.kind(), signer));
        self.signers.sort_by_key(|(kind, _)| *kind);
        Ok(self)
    }

    /// The DKIM-Signature fields for a message, each ended by CRLF: put them in front.
    ///
    /// # Errors
    /// [`MessageError::Sign`], for a message without any of the signed fields.
    pub fn sign(&self, raw: &[u8]) -> Result<Vec<u8>, MessageError> {
        let mut fields = Vec::new();
        for (_, signer) in &self.signers {
            let signature = signer.sign(raw).map_err(|error| MessageError::Sign { cause: error.to_string() })?;
            fields.extend(signature.to_header().into_bytes());
        }
        Ok(fields)
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
    fn an_ed25519_key_survives_its_text_form() {
        let key = DkimKey::generate_ed25519().unwrap();
        let again = DkimKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!((again.txt_record(), again.kind()), (key.txt_record(), KeyKind::Ed25519));
        assert!(key.txt_record().starts_with("v=DKIM1; k=ed25519; p="));
        // RFC 8463 A: as OpenSSL writes a key, without its public half.
        let openssl = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        let known = DkimKey::from_pem(openssl).unwrap().txt_record();
        assert_eq!(known, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }

    #[test]
    fn rsa_signs_first() {
        let (rsa, ed) = (DkimKey::generate().unwrap(), DkimKey::generate_ed25519().unwrap());
        let signer = Signer::new(&ed, "a.example", "e").unwrap().and(&rsa, "a.example", "r").unwrap();
        let fields = String::from_utf8(signer.sign(b"From: a@a.example\r\n\r\nx\r\n").unwrap()).unwrap();
        let places = ["a=rsa-sha256", "a=ed25519-sha256"].map(|algorithm| fields.find(algorithm).unwrap());
        assert!(places[0] < places[1], "{fields}");
    }

    #[test]
    fn the_newest_keys_of_the_nearest_domain_sign() {
        let pem: Vec<String> = (0..3).map(|_| DkimKey::generate_ed25519().unwrap().to_pem()).collect();
        let rsa = DkimKey::generate().unwrap().to_pem();
        let key = |selector, domain, pem| KeptKey { selector, domain, pem };
        let keys = [
            key("new", "b.example", &pem[0]),
            key("rsa", "a.example", &rsa),
            key("new", "a.example", &pem[1]),
            key("old", "a.example", &pem[2]),
        ];
        let signed = |from: &str| {
            let signer = Signer::nearest(keys, &from.parse().unwrap()).unwrap()?;
            assert_eq!(signer.has(KeyKind::Rsa), from.ends_with("a.example"));
            let fields = String::from_utf8(signer.sign(b"From: a@a.example\r\n\r\nx\r\n").unwrap()).unwrap();
            let of = |tag: &str| fields.matches(tag).count();
            Some((of("DKIM-Signature:"), of("s=rsa;"), of("s=new;"), of("d=a.example;")))
        };
        assert_eq!(signed("mail.a.example"), Some((2, 1, 1, 2)));
        assert_eq!(signed("b.example"), Some((1, 0, 1, 0)));
        assert_eq!(signed("c.example"), None);
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
