//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what is kept of a password, and how a proof is checked against it.

use hmac::{Hmac, Mac as _};
use sha2::{Digest, Sha256};
use store::{Row, StoreError};
use subtle::ConstantTimeEq;

/// RFC 7677 4 asks for at least 4,096. Passwords that people choose want as many as can be had: a library that many clients
/// use (Cyrus SASL) takes no more than this. All passwords of an account share the number, since SCRAM names it first.
pub(crate) const ITERATIONS: u32 = 65_536;

pub(crate) type Key = [u8; 32];

/// What is kept of one password (RFC 5802 3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

impl ScramKeys {
    /// The keys of `password`: PBKDF2 with HMAC-SHA-256, which takes some milliseconds.
    pub(crate) fn derive(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys {
        let salted = salted_password(password, salt, iterations);
        let client_key = hmac(&salted, b"Client Key");
        ScramKeys { stored_key: Sha256::digest(client_key).into(), server_key: hmac(&salted, b"Server Key") }
    }

    /// Whether `proof` was made with the password over `auth_message`.
    pub(crate) fn proves(&self, auth_message: &[u8], proof: &[u8]) -> bool {
        let Ok(proof) = Key::try_from(proof) else { return false };
        let mut client_key = hmac(&self.stored_key, auth_message);
        for (byte, proved) in client_key.iter_mut().zip(proof) {
            *byte ^= proved;
        }
        Sha256::digest(client_key).as_slice().ct_eq(&self.stored_key).into()
    }

    /// What proves to the client that the server knows the password.
    pub(crate) fn server_signature(&self, auth_message: &[u8]) -> Key {
        hmac(&self.server_key, auth_message)
    }

    /// In constant time.
    pub(crate) fn is(&self, other: &ScramKeys) -> bool {
        self.stored_key.ct_eq(&other.stored_key).into()
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys")
    }
}

/// A base64 column.
pub(crate) fn bytes_of(row: &Row, column: &'static str) -> Result<Vec<u8>, StoreError> {
    let wrong = |_| StoreError::Column { column: column.into(), problem: "not base64".into() };
    data_encoding::BASE64.decode(row.text(column)?.as_bytes()).map_err(wrong)
}

/// A key in a base64 column.
pub(crate) fn key_of(row: &Row, column: &'static str) -> Result<Key, StoreError> {
    let wrong = |_| StoreError::Column { column: column.into(), problem: "not 32 bytes".into() };
    bytes_of(row, column)?.try_into().map_err(wrong)
}

/// `Hi` of RFC 5802 2.2.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes a key of any length");
    let round = |text: &[&[u8]]| -> Key {
        let mut mac = keyed.clone();
        text.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut last = round(&[salt, &1_u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = round(&[&last]);
        sum.iter_mut().zip(last).for_each(|(byte, next)| *byte ^= next);
    }
    sum
}

fn hmac(key: &[u8], text: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange that RFC 7677 3 prints.
    #[test]
    fn the_published_exchange() {
        let b64 = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap();
        let keys = ScramKeys::derive(b"pencil", &b64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4_096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = b64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert!(keys.proves(auth_message.as_bytes(), &proof));
        assert!(!keys.proves(&auth_message.as_bytes()[1..], &proof));
        assert!(!keys.proves(auth_message.as_bytes(), &proof[1..]));
        let signature = b64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(keys.server_signature(auth_message.as_bytes()).as_slice(), signature);
    }
}
