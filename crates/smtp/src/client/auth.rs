//! AUTH as a client (RFC 4954): SCRAM-SHA-256 (RFC 7677), PLAIN (RFC 4616), LOGIN, in this order of preference.
//!
//! Nothing of this runs without TLS that was asked for as required: see [`super::Client::connect`]. Secrets are neither
//! shown by `Debug` nor put into errors.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use model::Reply;
use sha2::{Digest, Sha256};

/// Iterations that a server may ask for; more would be a way to keep us busy.
const ITERATIONS_MAX: u32 = 1_000_000;
/// RFC 7677 4: fewer are not accepted.
const ITERATIONS_MIN: u32 = 4_096;
const NONCE_BYTES: usize = 18;

/// A name and a secret for AUTH.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Never shows the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The mechanisms that we speak, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    ScramSha256,
    Plain,
    Login,
}

impl Mechanism {
    /// The best of those that a host offers.
    pub(super) fn best(offered: &[String]) -> Option<Mechanism> {
        let known =
            [("SCRAM-SHA-256", Mechanism::ScramSha256), ("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)];
        known.into_iter().find(|(word, _)| offered.iter().any(|o| o == word)).map(|(_, mechanism)| mechanism)
    }
}

/// One exchange: what to say first, and what to say to each 334.
pub(super) struct Exchange<'a> {
    credentials: &'a Credentials,
    mechanism: Mechanism,
    step: usize,
    scram: Scram,
}

#[derive(Default)]
struct Scram {
    client_first_bare: String,
    /// What the server must prove to know.
    server_signature: Vec<u8>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(credentials: &'a Credentials, mechanism: Mechanism) -> Self {
        Exchange { credentials, mechanism, step: 0, scram: Scram::default() }
    }

    /// The AUTH command with its initial response, CRLF included.
    pub(super) fn begin(&mut self) -> Result<String, &'static str> {
        let Credentials { username, password } = self.credentials;
        match self.mechanism {
            Mechanism::Plain => {
                if username.contains('\0') || password.contains('\0') {
                    return Err("a NUL cannot be part of a user name or a password");
                }
                Ok(format!("AUTH PLAIN {}\r\n", BASE64.encode(format!("\0{username}\0{password}").as_bytes())))
            }
            Mechanism::Login => Ok("AUTH LOGIN\r\n".to_owned()),
            Mechanism::ScramSha256 => {
                let mut nonce = [0; NONCE_BYTES];
                getrandom::fill(&mut nonce).map_err(|_| "the system gives no random numbers")?;
                Ok(self.begin_scram(&BASE64.encode(&nonce)))
            }
        }
    }

    fn begin_scram(&mut self, nonce: &str) -> String {
        let name = self.credentials.username.replace('=', "=3D").replace(',', "=2C");
        self.scram.client_first_bare = format!("n={name},r={nonce}");
        let first = format!("n,,{}", self.scram.client_first_bare);
        format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode(first.as_bytes()))
    }

    /// The answer to a 334, CRLF included.
    pub(super) fn go_on(&mut self, reply: &Reply) -> Result<String, &'static str> {
        self.step += 1;
        let Credentials { username, password } = self.credentials;
        let answer = match (self.mechanism, self.step) {
            (Mechanism::Login, 1) => BASE64.encode(username.as_bytes()),
            (Mechanism::Login, 2) => BASE64.encode(password.as_bytes()),
            (Mechanism::ScramSha256, 1) => BASE64.encode(self.scram_final(&challenge(reply)?)?.as_bytes()),
            (Mechanism::ScramSha256, 2) => {
                self.check_server(&challenge(reply)?)?;
                String::new()
            }
            (Mechanism::Plain | Mechanism::Login | Mechanism::ScramSha256, _) => {
                return Err("the host asks for more than the mechanism has");
            }
        };
        Ok(answer + "\r\n")
    }

    /// RFC 5802 3, the client's last message.
    fn scram_final(&mut self, server_first: &str) -> Result<String, &'static str> {
        let value = |key: &str| server_first.split(',').find_map(|part| part.strip_prefix(key));
        let wrong = "the host's challenge is not SCRAM";
        let (nonce, salt) = (value("r=").ok_or(wrong)?, value("s=").ok_or(wrong)?);
        let salt = BASE64.decode(salt.as_bytes()).map_err(|_| wrong)?;
        let iterations: u32 = value("i=").and_then(|i| i.parse().ok()).ok_or(wrong)?;
        let own_nonce = self.scram.client_first_bare.split_once(",r=").map_or("", |(_, nonce)| nonce);
        if !nonce.starts_with(own_nonce) || nonce.len() == own_nonce.len() {
            return Err("the host's nonce does not continue ours");
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("the host asks for too few or too many iterations");
        }
        let salted = salted_password(self.credentials.password.as_bytes(), &salt, iterations);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(b"n,,"));
        let auth_message = format!("{},{server_first},{without_proof}", self.scram.client_first_bare);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(&client_key), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        self.scram.server_signature = hmac(&hmac(&salted, b"Server Key"), auth_message.as_bytes());
        Ok(format!("{without_proof},p={}", BASE64.encode(&proof)))
    }

    /// The host proves that it knows the password as well.
    fn check_server(&self, server_final: &str) -> Result<(), &'static str> {
        let wrong = "the host could not prove that it knows the password";
        let signature = server_final.split(',').find_map(|part| part.strip_prefix("v=")).ok_or(wrong)?;
        let signature = BASE64.decode(signature.as_bytes()).map_err(|_| wrong)?;
        if signature == self.scram.server_signature { Ok(()) } else { Err(wrong) }
    }

    /// Whether the host has proved all that its mechanism promises, once it said 235. Some hosts say the last message of
    /// SCRAM in the 235 itself; then it is checked here.
    pub(super) fn end(&self, reply: &Reply) -> Result<(), &'static str> {
        if self.mechanism != Mechanism::ScramSha256 || self.step >= 2 {
            return Ok(());
        }
        let words = reply.lines().first().map(String::as_str).unwrap_or_default();
        let last = words.split(' ').find_map(|word| BASE64.decode(word.as_bytes()).ok());
        let last = last.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        self.check_server(&last)
    }
}

fn challenge(reply: &Reply) -> Result<String, &'static str> {
    let text = reply.lines().first().map(String::as_str).unwrap_or_default();
    let bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| "the host's challenge is not base64")?;
    String::from_utf8(bytes).map_err(|_| "the host's challenge is not text")
}

/// `Hi` of RFC 5802 2.2: PBKDF2 with HMAC-SHA-256, one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()].concat());
    let mut sum = block.clone();
    for _ in 1..iterations {
        block = hmac(password, &block);
        sum.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 3.
    #[test]
    fn scram_is_that_of_the_rfc() {
        let credentials = Credentials { username: "user".into(), password: "pencil".into() };
        let mut exchange = Exchange::new(&credentials, Mechanism::ScramSha256);
        let begin = exchange.begin_scram("rOprNGfwEbeRWgbNEkqO");
        assert_eq!(begin, format!("AUTH SCRAM-SHA-256 {}\r\n", BASE64.encode(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")));
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = exchange.scram_final(first).unwrap();
        assert!(last.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{last}");
        exchange.check_server("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(exchange.check_server("v=AAAA").is_err() && exchange.check_server("").is_err());
    }

    #[test]
    fn a_host_that_answers_badly_gets_no_proof() {
        let credentials = Credentials { username: "u=,".into(), password: "p".into() };
        let mut exchange = Exchange::new(&credentials, Mechanism::ScramSha256);
        exchange.begin_scram("abc");
        assert!(exchange.scram.client_first_bare.starts_with("n=u=3D=2C,"));
        for first in
            ["", "r=abc,s=AAAA,i=4096", "r=xyzw,s=AAAA,i=4096", "r=abcd,s=AAAA,i=1", "r=abcd,s=AAAA,i=4294967295"]
        {
            assert!(exchange.scram_final(first).is_err(), "{first}");
        }
    }

    #[test]
    fn the_best_mechanism_is_taken_and_the_password_is_never_shown() {
        let offered = |words: &[&str]| Mechanism::best(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(offered(&["LOGIN", "PLAIN", "SCRAM-SHA-256"]), Some(Mechanism::ScramSha256));
        assert_eq!(offered(&["LOGIN", "XOAUTH2"]), Some(Mechanism::Login));
        assert_eq!(offered(&["CRAM-MD5"]), None);
        let shown = format!("{:?}", Credentials { username: "u".into(), password: "hidden".into() });
        assert!(!shown.contains("hidden"));
    }
}
