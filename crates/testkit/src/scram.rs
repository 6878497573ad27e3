//! The arithmetic of a SCRAM client (RFC 5802 2.2), by itself: what a server computes is compared with it.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// HMAC-SHA-256.
///
/// # Panics
/// Never: a key may have any length.
pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// `Hi`: the salted password.
pub fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut round = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = round;
    for _ in 1..iterations {
        round = hmac(password.as_bytes(), &round);
        sum.iter_mut().zip(round).for_each(|(a, b)| *a ^= b);
    }
    sum
}
