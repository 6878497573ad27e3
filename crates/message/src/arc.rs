//! ARC sealing (RFC 8617) of what we send on: the next hop may see what we saw before our forwarding broke it.
//!
//! Checking chains is `auth.rs`; here a set is added. A chain that fails is sealed as failed once and never again.

use std::fmt;
use std::fmt::Write as _;

use data_encoding::BASE64;
use mail_auth::common::crypto::SigningKey;
use model::{AuthResult, Timestamp};
use sha2::{Digest, Sha256};

use crate::dkim::{DkimKey, LoadedKey};
use crate::field::{Field, Section, trim_line_end};
use crate::{Limits, MessageError};

/// RFC 8617 5.2: chains longer than this fail; nobody makes one longer.
pub const ARC_SETS_MAX: u32 = 50;
/// Characters of base64 on a line.
const BASE64_LINE_CHARS: usize = 70;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// The fields that are signed, as often as they occur. RFC 8617 4.1.2: neither Authentication-Results nor ARC's own.
const SIGNED_FIELDS: &[&str] = &[
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "DKIM-Signature",
];

/// Adds ARC sets in the name of one domain and selector, by its RSA key.
pub struct ArcSealer {
    key: LoadedKey,
    domain: String,
    selector: String,
}

/// What is said about a message when it is sealed.
#[derive(Debug, Clone, Copy)]
pub struct Sealing<'a> {
    /// Our name (RFC 8601 2.5).
    pub authserv_id: &'a str,
    /// The results, as they stand in Authentication-Results behind the name: `spf=pass …; dkim=…`.
    pub results: &'a str,
    /// The chain as we found it.
    pub chain: AuthResult,
    /// When.
    pub at: Timestamp,
}

impl ArcSealer {
    /// A sealer.
    ///
    /// # Errors
    /// [`MessageError::Key`] when the key does not load.
    pub fn new(key: &DkimKey, domain: &str, selector: &str) -> Result<Self, MessageError> {
        Ok(ArcSealer { key: key.load()?, domain: domain.to_owned(), selector: selector.to_owned() })
    }

    /// The three fields of the next set, to be put in front; `None` when the chain must not grow: it failed and says so
    /// already, it is as long as one may be, or it could not be checked.
    ///
    /// # Errors
    /// [`MessageError::Sign`].
    pub fn seal(&self, raw: &[u8], sealing: &Sealing<'_>) -> Result<Option<String>, MessageError> {
        let limits = Limits { fields_max: usize::MAX, ..Limits::default() };
        let section = Section::read(raw, 0, &limits, |_| false);
        let sets = Sets::of(&section, &limits);
        let state = match sealing.chain {
            AuthResult::None if sets.instance_max == 0 => "none",
            AuthResult::Pass if sets.instance_max > 0 => "pass",
            AuthResult::TempError => return Ok(None),
            _ if sets.instance_max == 0 || sets.is_closed => return Ok(None),
            // RFC 8617 5.1.1: the set that closes a broken chain.
            _ => "fail",
        };
        let instance = sets.instance_max + 1;
        if instance > ARC_SETS_MAX {
            return Ok(None);
        }
        let results = format!("{RESULTS}: i={instance}; {};\r\n\t{}\r\n", sealing.authserv_id, sealing.results);
        let signature = self.signature(raw, &section, instance, sealing.at)?;
        // RFC 8617 5.1.1: a seal of a failed chain covers its own set only.
        let mut covered = if state == "fail" { Vec::new() } else { sets.in_order() };
        covered.extend([relaxed_field(&results), relaxed_field(&signature)]);
        let seal = format!(
            "{SEAL}: i={instance}; a={}; t={}; cv={state};\r\n\td={}; s={};\r\n\tb=",
            self.algorithm(),
            seconds(sealing.at),
            self.domain,
            self.selector,
        );
        let seal = self.signed(&covered.concat(), seal)?;
        Ok(Some(format!("{seal}{signature}{results}")))
    }

    fn signature(
        &self,
        raw: &[u8],
        section: &Section<'_>,
        instance: u32,
        at: Timestamp,
    ) -> Result<String, MessageError> {
        let (mut names, mut covered) = (Vec::new(), Vec::new());
        for name in SIGNED_FIELDS {
            // From the bottom: the last occurrence is the first that a name stands for (RFC 6376 5.4.2).
            for field in section.all(name).collect::<Vec<_>>().into_iter().rev() {
                names.push(name.to_ascii_lowercase());
                covered.extend(relaxed(field));
            }
        }
        if names.is_empty() {
            return Err(MessageError::Sign { cause: "there is no field to sign".into() });
        }
        let body = Sha256::digest(relaxed_body(&raw[section.body_start..]));
        let mut field = format!(
            "{SIGNATURE}: i={instance}; a={}; c=relaxed/relaxed;\r\n\td={}; s={}; t={};\r\n\th=",
            self.algorithm(),
            self.domain,
            self.selector,
            seconds(at),
        );
        let _ = write!(field, "{};\r\n\tbh={};\r\n\tb=", names.join(":\r\n\t "), BASE64.encode(&body));
        self.signed(&covered, field)
    }

    /// The field with its signature over `covered` and itself.
    fn signed(&self, covered: &[u8], mut field: String) -> Result<String, MessageError> {
        let unsigned = relaxed_field(&field);
        let input = [covered, trim_line_end(&unsigned)].concat();
        let signature = self.key.sign(input.as_slice()).map_err(|e| MessageError::Sign { cause: e.to_string() })?;
        let encoded = BASE64.encode(&signature);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(BASE64_LINE_CHARS));
            field.push_str(line);
            field.push_str(if tail.is_empty() { "\r\n" } else { "\r\n\t " });
            rest = tail;
        }
        Ok(field)
    }

    fn algorithm(&self) -> &'static str {
        self.key.algorithm().name()
    }
}

impl fmt::Debug for ArcSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcSealer").field("domain", &self.domain).finish_non_exhaustive()
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

/// The sets that are there.
struct Sets {
    /// (instance, order within its set, canonical text).
    fields: Vec<(u32, u8, Vec<u8>)>,
    instance_max: u32,
    /// The newest seal says that the chain failed.
    is_closed: bool,
}

impl Sets {
    fn of(section: &Section<'_>, limits: &Limits) -> Sets {
        let mut sets = Sets { fields: Vec::new(), instance_max: 0, is_closed: false };
        for (order, name) in [RESULTS, SIGNATURE, SEAL].into_iter().enumerate() {
            for field in section.all(name) {
                let value = field.raw_text(limits);
                let Some(instance) = tag(&value, "i").and_then(|i| i.parse::<u32>().ok()) else { continue };
                sets.is_closed |= name == SEAL && tag(&value, "cv").is_some_and(|cv| cv.eq_ignore_ascii_case("fail"));
                sets.instance_max = sets.instance_max.max(instance);
                sets.fields.push((instance, u8::try_from(order).unwrap_or(u8::MAX), relaxed(field)));
            }
        }
        sets.fields.sort();
        sets
    }

    fn in_order(self) -> Vec<Vec<u8>> {
        self.fields.into_iter().map(|(_, _, text)| text).collect()
    }
}

/// The value of a tag in a tag list (RFC 6376 3.2).
pub(crate) fn tag<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// RFC 6376 3.4.2.
fn relaxed(field: &Field<'_>) -> Vec<u8> {
    let mut out = field.name.trim_ascii().to_ascii_lowercase();
    out.push(b':');
    let words = field.value.split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        out.extend((index > 0).then_some(b' '));
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn relaxed_field(line: &str) -> Vec<u8> {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    relaxed(&Field { name: name.as_bytes(), value: value.as_bytes(), start: 0 })
}

/// RFC 6376 3.4.4.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut empty_lines = 0;
    for line in body.split_inclusive(|b| *b == b'\n') {
        let line = trim_line_end(line);
        let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
        if end == 0 {
            empty_lines += 1;
            continue;
        }
        // Empty lines at the end of the body are left out.
        out.extend(b"\r\n".repeat(std::mem::take(&mut empty_lines)));
        let mut in_blank = false;
        for byte in &line[..end] {
            let is_blank = matches!(byte, b' ' | b'\t');
            match (is_blank, in_blank) {
                (true, true) => {}
                (true, false) => out.push(b' '),
                (false, _) => out.push(*byte),
            }
            in_blank = is_blank;
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_canonical() {
        let check = |body: &[u8], expected: &[u8]| assert_eq!(relaxed_body(body), expected, "{body:?}");
        check(b"", b"");
        check(b"\r\n\r\n", b"");
        check(b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"); // RFC 6376 3.4.5
        check(b"a\r\n\r\n \t\r\nb", b"a\r\n\r\n\r\nb\r\n");
    }

    #[test]
    fn fields_are_canonical() {
        assert_eq!(relaxed_field("B : Y\t\r\n\tZ  \r\n"), b"b:Y Z\r\n"); // RFC 6376 3.4.5
        assert_eq!(tag("i=2; a=x; CV = pass", "cv"), Some("pass"));
    }
}
