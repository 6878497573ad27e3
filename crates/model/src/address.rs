//! Mail addresses (RFC 5321 section 4.1.2), parsed at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A domain name: ASCII, lower case, A-labels, without a trailing dot; or an address literal such as `[127.0.0.1]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

/// `local-part@domain`. The domain is compared in lower case; [`Address::key`] also lowers the local part,
/// which is how recipients and senders are compared and stored (RFC 5321 2.4 leaves that to the owner of the domain).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    local: String,
    domain: Domain,
}

/// The reverse-path of an envelope: an address, or null (`<>`) for notifications (RFC 5321 4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum ReversePath {
    /// `<>`: never answered by a notification.
    #[default]
    Null,
    /// `<address>`.
    Address(Address),
}

/// What is wrong with an address; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@` between a local part and a domain.
    #[error("an address needs a name, an @ and a domain, such as ada@example.org")]
    Form,
    /// Longer than RFC 5321 4.5.3.1 allows (local part 64, domain 255 octets).
    #[error("the address is too long: at most 64 characters before the @ and 255 after it")]
    TooLong,
    /// A character that is not allowed before the @ without quotes.
    #[error("the part before the @ has a character that is not allowed: {0:?}")]
    LocalCharacter(char),
    /// The domain is not a host name.
    #[error("the domain is not valid: letters, digits and hyphens in parts divided by dots")]
    Domain,
}

impl Domain {
    /// Parses a host name (letters, digits, hyphens, underscores; at most 63 a label) or an address literal.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let lower = text.to_lowercase();
        let text = lower.strip_suffix('.').unwrap_or(&lower);
        if text.len() > 255 {
            return Err(AddressError::TooLong);
        }
        if text.starts_with('[') && text.ends_with(']') && text.len() > 2 {
            let ok = text[1..text.len() - 1].bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
            return if ok { Ok(Domain(text.to_owned())) } else { Err(AddressError::Domain) };
        }
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.chars().all(|c| {
                    c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric())
                })
        };
        if text.is_empty() || !text.split('.').all(label) {
            return Err(AddressError::Domain);
        }
        // RFC 5890 2.3.2.1: compared as A-labels. One that no U-label leads to and back is no name (RFC 5891 5.4).
        if !text.is_ascii() || text.split('.').any(|label| label.starts_with("xn--")) {
            let ascii = idna::domain_to_ascii(text).map_err(|_| AddressError::Domain)?;
            if ascii.len() > 255 {
                return Err(AddressError::TooLong);
            }
            // A label that fits as it was typed may be too long as an A-label: nobody could ask for it.
            return if ascii.split('.').all(label) { Ok(Domain(ascii)) } else { Err(AddressError::Domain) };
        }
        Ok(Domain(text.to_owned()))
    }

    /// The name, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `other` or a subdomain of it.
    pub fn is_under(&self, other: &Domain) -> bool {
        self == other || self.0.strip_suffix(&other.0).is_some_and(|head| head.ends_with('.'))
    }
}

impl Address {
    /// Parses `local@domain` (no angle brackets, no display name). A quoted local part keeps its quotes.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Form)?;
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Form);
        }
        // Lower case can be longer beyond ASCII, and the key must be an address too.
        if local.len() > 64 || (!local.is_ascii() && local.to_lowercase().len() > 64) {
            return Err(AddressError::TooLong);
        }
        check_local(local)?;
        Ok(Address { local: local.to_owned(), domain: Domain::parse(domain)? })
    }

    /// The part before the `@`, as written.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The form used to compare and to store: all in lower case.
    pub fn key(&self) -> String {
        format!("{}@{}", self.local.to_lowercase(), self.domain.0)
    }
}

/// RFC 5321 4.1.2: dot-string of atext, or a quoted string without control characters. UTF-8 per RFC 6531.
fn check_local(local: &str) -> Result<(), AddressError> {
    if let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
        return check_quoted(inner);
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(AddressError::LocalCharacter('.'));
    }
    let allowed = |c: char| {
        c == '.'
            || c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
    };
    match local.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(AddressError::LocalCharacter(c)),
        None => Ok(()),
    }
}

/// Between the quotes: a quote or backslash stands behind a backslash only. Otherwise the quotes would end early, and
/// what follows them would be read as something else by the next host: `RCPT TO:<"a"> NOTIFY=NEVER ..."@x.example>`.
fn check_quoted(inner: &str) -> Result<(), AddressError> {
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some(c) if !c.is_control() => {}
                _ => return Err(AddressError::LocalCharacter('\\')),
            },
            '"' => return Err(AddressError::LocalCharacter('"')),
            c if c.is_control() => return Err(AddressError::LocalCharacter(c)),
            _ => {}
        }
    }
    Ok(())
}

impl ReversePath {
    /// The address, unless null.
    pub fn address(&self) -> Option<&Address> {
        match self {
            ReversePath::Null => None,
            ReversePath::Address(a) => Some(a),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}
/// Without angle brackets: empty for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().map_or(Ok(()), |a| a.fmt(f))
    }
}
impl FromStr for Domain {
    type Err = AddressError;
    fn from_str(s: &str) -> Result<Self, AddressError> {
        Domain::parse(s)
    }
}
impl FromStr for Address {
    type Err = AddressError;
    fn from_str(s: &str) -> Result<Self, AddressError> {
        Address::parse(s)
    }
}
/// The empty string is the null path.
impl FromStr for ReversePath {
    type Err = AddressError;
    fn from_str(s: &str) -> Result<Self, AddressError> {
        if s.is_empty() { Ok(ReversePath::Null) } else { Address::parse(s).map(ReversePath::Address) }
    }
}

macro_rules! serde_as_text {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
serde_as_text!(Domain, Address, ReversePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ok = [
            "ada@example.org",
            "Ada.Byron+x@Example.ORG",
            "\"a b\"@x.de",
            "\"a\\\"> \\\\\"@x.de",
            "\"\"@x.de",
            "j@[127.0.0.1]",
            "postmaster@a-b.c",
            "ü@bücher.example",
        ];
        for text in ok {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
        assert_eq!(Address::parse("Ada@Example.ORG").unwrap().key(), "ada@example.org");
        for text in [
            "",
            "ada",
            "@x.y",
            "a@",
            "a b@x.y",
            "a@x..y",
            "a@-x.y",
            ".a@x.y",
            "a..b@x.y",
            "a@x.y\r\n",
            "a\n@x.y",
            "a<b@x.y",
            "a@x y",
            "\"a\"> SIZE=1 \"b\"@x.y",
            "\"a\\\"@x.y",
            "\"@x.y",
            "a@\u{130}.y",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?} should be refused");
        }
        assert_eq!(Address::parse(&format!("{}@x.y", "a".repeat(65))), Err(AddressError::TooLong));
    }

    #[test]
    fn names_beyond_ascii_are_compared_as_a_labels() {
        for (text, key) in [
            ("Bücher.Example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("xn--fsqu00a.example", "xn--fsqu00a.example"),
        ] {
            assert_eq!(Domain::parse(text).map(|d| d.as_str().to_owned()), Ok(key.to_owned()), "{text}");
        }
        let long = format!("{}\u{fc}.example", "t".repeat(60));
        for wrong in ["xn--a.example", "xn--bcher-kva-.example", "xn--a-ecp.ru.example", "xn--0.example", &long] {
            assert_eq!(Domain::parse(wrong), Err(AddressError::Domain), "{wrong}");
        }
    }

    #[test]
    fn subdomains() {
        let d = |t: &str| Domain::parse(t).unwrap();
        assert!(d("t.comms.example").is_under(&d("comms.example")));
        assert!(d("comms.example").is_under(&d("comms.example")));
        assert!(!d("evilcomms.example").is_under(&d("comms.example")));
    }
}
