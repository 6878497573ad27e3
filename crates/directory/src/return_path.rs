//! Return paths: each copy of ours leaves with a reverse-path of its own (VERP), so that what comes back names its copy.
//!
//! `bounces+<token>@domain`: the token is the copy's id under a MAC. It says nothing about a person to whoever sees it,
//! cannot be made by anybody else, and ends to be accepted when reports about the copy have become implausible.

use data_encoding::BASE32_NOPAD;
use model::{CopyId, Timestamp};

use crate::Mac;

/// The purpose of the MAC among others made with the same key.
const PURPOSE: &str = "return path";
const MAC_BYTES: usize = 16;
/// Key id, copy, MAC.
const TOKEN_BYTES: usize = 1 + 8 + MAC_BYTES;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Makes and reads the local parts of return paths. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReturnTokens {
    mac: Mac,
}

impl ReturnTokens {
    /// What a return path begins with.
    pub const PREFIX: &'static str = "bounces+";
    /// How long after a copy was made its return path takes reports. Hosts give up within days; complaints come later.
    pub const AGE_MS_MAX: i64 = 90 * DAY_MS;

    /// With the organisation's key.
    pub fn new(mac: Mac) -> Self {
        ReturnTokens { mac }
    }

    /// The local part for a copy: 48 letters and digits, since a mail system may change their case.
    pub fn local(&self, copy_id: CopyId) -> String {
        let mut raw = vec![self.key_id()];
        raw.extend_from_slice(&copy_id.0.to_be_bytes());
        let tag = self.mac.sign(PURPOSE, &raw);
        raw.extend_from_slice(&tag);
        format!("{}{}", Self::PREFIX, BASE32_NOPAD.encode(&raw).to_ascii_lowercase())
    }

    /// Whether a local part claims to be one. Nobody else's address may begin so.
    pub fn is_claimed(local: &str) -> bool {
        local.get(..Self::PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(Self::PREFIX))
    }

    /// The copy of a local part, whatever became of its case; `None` when it is not ours, not whole, or too old. The
    /// MAC is compared in constant time.
    pub fn copy_id(&self, local: &str, now: Timestamp) -> Option<CopyId> {
        let token = local.get(Self::PREFIX.len()..).filter(|_| Self::is_claimed(local))?;
        // The alphabet has no more characters than these bytes need: what is longer is not read.
        let token = Some(token).filter(|token| token.len() == TOKEN_BYTES * 8 / 5)?;
        let raw = BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).ok()?;
        let (said, tag) = raw.split_at_checked(TOKEN_BYTES - MAC_BYTES)?;
        if said.first() != Some(&self.key_id()) || !self.mac.verify(PURPOSE, said, tag) {
            return None;
        }
        let copy_id = CopyId(i64::from_be_bytes(said[1..].try_into().ok()?));
        (now.ms_since(copy_id.made_at()) <= Self::AGE_MS_MAX).then_some(copy_id)
    }

    /// One character of ASCII by [`Mac`]'s contract.
    fn key_id(&self) -> u8 {
        u8::try_from(self.mac.key_id).unwrap_or(b'?')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{IdSource, TestClock};

    #[test]
    fn a_return_path_names_its_copy_for_a_while_and_nothing_else_does() {
        let ours = ReturnTokens::new(Mac::from_key('1', vec![7; 32]));
        let clock = TestClock::at(Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap());
        let copy_id: CopyId = IdSource::new(1).next(&clock);
        let made_at = copy_id.made_at();
        let local = ours.local(copy_id);
        assert!(local.len() <= 64 && model::Address::parse(&format!("{local}@contoso.example")).is_ok(), "{local}");
        assert!(!local.contains(&copy_id.to_string()));
        assert_eq!(ours.copy_id(&local, made_at), Some(copy_id));
        assert_eq!(ours.copy_id(&local.to_uppercase(), made_at.plus_ms(ReturnTokens::AGE_MS_MAX)), Some(copy_id));
        assert_eq!(ours.copy_id(&local, made_at.plus_ms(ReturnTokens::AGE_MS_MAX + 1)), None, "too old");
        for other in [Mac::from_key('1', vec![8; 32]), Mac::from_key('2', vec![7; 32])] {
            assert_eq!(ReturnTokens::new(other).copy_id(&local, made_at), None, "a key that is not ours");
        }
        for cut in 0..local.len() {
            assert_eq!(ours.copy_id(&local[..cut], made_at), None, "cut at {cut}");
        }
        for at in ReturnTokens::PREFIX.len()..local.len() {
            let other = if local.as_bytes()[at] == b'a' { 'b' } else { 'a' };
            let forged = format!("{}{other}{}", &local[..at], &local[at + 1..]);
            assert_eq!(ours.copy_id(&forged, made_at), None, "forged at {at}");
        }
        for wrong in ["bounces+", "bounces", "", "bounces+ü", "b+aaaa", "postmaster"] {
            assert_eq!(ours.copy_id(wrong, made_at), None, "{wrong}");
        }
        assert!(ReturnTokens::is_claimed("Bounces+x") && !ReturnTokens::is_claimed("bounces"));
    }
}
