//! The tokens in public links: signed by the organisation's key, with its key id, never an id that can be changed.
//!
//! A token is `base64url(key id, purpose, payload, MAC)`. Purposes keep them apart: a token of a pixel is no token of a
//! link. In anonymous mode the payload holds a random nonce made at render, which stands nowhere beside the copy; in
//! individual mode it holds the copy. Return paths are `directory::ReturnTokens`.

use data_encoding::BASE64URL_NOPAD;
use directory::Mac;
use model::{CampaignId, CopyId};

use crate::CampaignError;

const MAC_BYTES: usize = 16;
/// The purpose of the MAC among others made with the same key.
const PURPOSE: &str = "tracking";
/// The longest token ever made has 48 characters; what is longer is not read.
const TOKEN_CHARS_MAX: usize = 64;

/// Whose hit: a nonce that nobody can join with a copy, or the copy itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Anonymous mode.
    Nonce(u64),
    /// Individual mode.
    Copy(CopyId),
}

impl Subject {
    /// The word that groups the hits of one copy: the nonce in hex, or `c` and the copy's number.
    pub fn key(self) -> String {
        match self {
            Subject::Nonce(nonce) => format!("{nonce:016x}"),
            Subject::Copy(copy_id) => format!("c{copy_id}"),
        }
    }

    /// The copy, in individual mode.
    pub fn copy_id(self) -> Option<CopyId> {
        match self {
            Subject::Nonce(_) => None,
            Subject::Copy(copy_id) => Some(copy_id),
        }
    }

    fn to_bytes(self) -> [u8; 8] {
        match self {
            Subject::Nonce(nonce) => nonce.to_be_bytes(),
            Subject::Copy(copy_id) => copy_id.0.to_be_bytes(),
        }
    }
}

/// What a tracking token says once its MAC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The link's position, or `None` for the pixel.
    pub link_position: Option<u16>,
    /// Whose.
    pub subject: Subject,
}

/// Makes and reads tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    mac: Mac,
}

const CLICK_NONCE: u8 = 1;
const CLICK_COPY: u8 = 2;
const OPEN_NONCE: u8 = 3;
const OPEN_COPY: u8 = 4;
const UNSUBSCRIBE: u8 = 5;

impl Tokens {
    /// With the organisation's key.
    pub fn new(mac: Mac) -> Self {
        Tokens { mac }
    }

    /// The token of link number `position` for `subject`.
    pub fn click(&self, campaign_id: CampaignId, position: u16, subject: Subject) -> String {
        let purpose = match subject {
            Subject::Nonce(_) => CLICK_NONCE,
            Subject::Copy(_) => CLICK_COPY,
        };
        let payload = [&campaign_id.0.to_be_bytes()[..], &position.to_be_bytes(), &subject.to_bytes()].concat();
        BASE64URL_NOPAD.encode(&self.seal(purpose, &payload))
    }

    /// The token of the pixel for `subject`.
    pub fn open(&self, campaign_id: CampaignId, subject: Subject) -> String {
        let purpose = match subject {
            Subject::Nonce(_) => OPEN_NONCE,
            Subject::Copy(_) => OPEN_COPY,
        };
        let payload = [&campaign_id.0.to_be_bytes()[..], &subject.to_bytes()].concat();
        BASE64URL_NOPAD.encode(&self.seal(purpose, &payload))
    }

    /// The token with which a copy's recipient unsubscribes (RFC 8058 section 3.1: opaque and hard to forge).
    pub fn unsubscribe(&self, copy_id: CopyId) -> String {
        BASE64URL_NOPAD.encode(&self.seal(UNSUBSCRIBE, &copy_id.0.to_be_bytes()))
    }

    /// What a token of a link or pixel says.
    ///
    /// # Errors
    /// [`CampaignError::Token`] when it is truncated, forged, of another purpose or of another key.
    pub fn tracked(&self, token: &str) -> Result<Tracked, CampaignError> {
        let (purpose, payload) = self.unseal(&decode_url(token)?)?;
        let (link_position, subject) = match (purpose, payload.len()) {
            (CLICK_NONCE | CLICK_COPY, 18) => (Some(u16::from_be_bytes(array(&payload[8..10])?)), &payload[10..]),
            (OPEN_NONCE | OPEN_COPY, 16) => (None, &payload[8..]),
            _ => return Err(CampaignError::Token),
        };
        let subject: [u8; 8] = array(subject)?;
        let subject = match purpose {
            CLICK_NONCE | OPEN_NONCE => Subject::Nonce(u64::from_be_bytes(subject)),
            _ => Subject::Copy(CopyId(i64::from_be_bytes(subject))),
        };
        Ok(Tracked { campaign_id: CampaignId(i64::from_be_bytes(array(&payload[..8])?)), link_position, subject })
    }

    /// The copy of an unsubscribe token.
    ///
    /// # Errors
    /// [`CampaignError::Token`] as [`Tokens::tracked`].
    pub fn unsubscribed(&self, token: &str) -> Result<CopyId, CampaignError> {
        match self.unseal(&decode_url(token)?)? {
            (UNSUBSCRIBE, payload) => Ok(CopyId(i64::from_be_bytes(array(&payload)?))),
            _ => Err(CampaignError::Token),
        }
    }

    fn seal(&self, purpose: u8, payload: &[u8]) -> Vec<u8> {
        let mut raw = vec![self.key_id(), purpose];
        raw.extend_from_slice(payload);
        let tag = self.mac.sign(PURPOSE, &raw);
        raw.extend_from_slice(&tag);
        raw
    }

    fn unseal(&self, raw: &[u8]) -> Result<(u8, Vec<u8>), CampaignError> {
        let split = raw.len().checked_sub(MAC_BYTES).filter(|at| *at > 2).ok_or(CampaignError::Token)?;
        let (said, tag) = raw.split_at(split);
        if said[0] != self.key_id() || !self.mac.verify(PURPOSE, said, tag) {
            return Err(CampaignError::Token);
        }
        Ok((said[1], said[2..].to_vec()))
    }

    /// One character of ASCII by `Mac`'s contract; another one would only make every token unreadable.
    fn key_id(&self) -> u8 {
        u8::try_from(self.mac.key_id).unwrap_or(b'?')
    }
}

/// A fresh nonce.
///
/// # Errors
/// [`CampaignError::Internal`] when the system has no randomness.
pub(crate) fn nonce() -> Result<u64, CampaignError> {
    Ok(u64::from_be_bytes(random::<8>()?))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], CampaignError> {
    let mut raw = [0; N];
    getrandom::fill(&mut raw).map_err(|e| CampaignError::Internal(format!("no randomness: {e}")))?;
    Ok(raw)
}

fn decode_url(token: &str) -> Result<Vec<u8>, CampaignError> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(CampaignError::Token);
    }
    BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| CampaignError::Token)
}

fn array<const N: usize>(raw: &[u8]) -> Result<[u8; N], CampaignError> {
    raw.try_into().map_err(|_| CampaignError::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key_id: char, fill: u8) -> Tokens {
        Tokens::new(Mac::from_key(key_id, vec![fill; 32]))
    }

    #[test]
    fn tokens_say_what_they_were_told_and_nothing_else_is_accepted() {
        let ours = tokens('1', 7);
        let campaign_id = CampaignId(1_234_567_890_123);
        for subject in [Subject::Nonce(u64::MAX - 5), Subject::Copy(CopyId(77))] {
            let click = ours.click(campaign_id, 3, subject);
            assert_eq!(ours.tracked(&click).unwrap(), Tracked { campaign_id, link_position: Some(3), subject });
            assert!(click.len() <= 48 && click.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            let open = ours.open(campaign_id, subject);
            assert_eq!(ours.tracked(&open).unwrap(), Tracked { campaign_id, link_position: None, subject });
            for other in [tokens('1', 8), tokens('2', 7)] {
                assert!(other.tracked(&click).is_err(), "a key that is not ours");
            }
            for cut in 0..click.len() {
                assert!(ours.tracked(&click[..cut]).is_err(), "truncated to {cut}");
            }
            for at in 0..click.len() {
                let other = if click.as_bytes()[at] == b'A' { 'B' } else { 'A' };
                let forged = format!("{}{other}{}", &click[..at], &click[at + 1..]);
                assert!(ours.tracked(&forged).is_err(), "forged at {at}");
            }
        }
        assert!(ours.tracked(&"A".repeat(5_000)).is_err());
        assert!(ours.tracked("ünicode").is_err());
    }

    #[test]
    fn purposes_are_kept_apart() {
        let ours = tokens('1', 7);
        let copy_id = CopyId(42);
        let token = ours.unsubscribe(copy_id);
        assert_eq!(ours.unsubscribed(&token).unwrap(), copy_id);
        assert!(ours.tracked(&token).is_err());
        assert!(ours.unsubscribed(&ours.open(CampaignId(1), Subject::Copy(copy_id))).is_err());
    }
}
