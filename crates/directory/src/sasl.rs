//! The server's side of SASL (RFC 4422) for mail programs: PLAIN (RFC 4616), LOGIN (two prompts), SCRAM-SHA-256 (RFC 7677).
//!
//! [`Sasl`] takes decoded responses and gives challenges; base64 and the lines around it belong to the protocol.

use std::net::IpAddr;

use data_encoding::BASE64;

use crate::app_passwords::ClientScope;
use crate::client_logins::{ClientLogin, ScramVerifier};
use crate::{Directory, DirectoryError};

/// A longer response is no login.
const RESPONSE_BYTES_MAX: usize = 4_096;
const NONCE_BYTES: usize = 18;

/// The mechanisms offered. All of them need TLS around them here, also SCRAM: what follows is mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password in the clear.
    Plain,
    /// The same, asked for in two steps; old programs know nothing else.
    Login,
    /// A proof of an app password or of the account's own.
    ScramSha256,
}

impl SaslMechanism {
    /// All of them, best first.
    pub const ALL: &'static [SaslMechanism] = &[SaslMechanism::ScramSha256, SaslMechanism::Plain, SaslMechanism::Login];

    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::Login => "LOGIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// By its name, in any case.
    pub fn parse(name: &str) -> Option<SaslMechanism> {
        Self::ALL.iter().copied().find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(name))
    }
}

/// What a response led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslStep {
    /// Send this and wait for a response.
    Challenge(Vec<u8>),
    /// It is this one.
    Done(ClientLogin),
    /// Login, password or proof do not fit. Says no more on purpose.
    Wrong,
    /// The response breaks the mechanism's rules.
    Malformed,
}

/// One exchange.
pub struct Sasl {
    directory: Directory,
    scope: ClientScope,
    client: Option<IpAddr>,
    state: State,
}

enum State {
    Plain,
    LoginName,
    LoginPassword {
        name: String,
    },
    ScramFirst,
    ScramFinal(Box<ScramFinal>),
    /// The server's signature is sent; an empty response ends it.
    ScramEnd(ClientLogin),
    Over,
}

struct ScramFinal {
    name: String,
    verifier: ScramVerifier,
    gs2_header: String,
    nonce: String,
    /// client-first-message-bare and server-first-message, with the comma.
    messages: String,
}

impl Directory {
    /// Begins an exchange with a client at `client` that wants `scope`.
    pub fn sasl(&self, mechanism: SaslMechanism, scope: ClientScope, client: Option<IpAddr>) -> Sasl {
        let state = match mechanism {
            SaslMechanism::Plain => State::Plain,
            SaslMechanism::Login => State::LoginName,
            SaslMechanism::ScramSha256 => State::ScramFirst,
        };
        Sasl { directory: self.clone(), scope, client, state }
    }
}

impl Sasl {
    /// Takes a response; `None` at the beginning, when the client sent no initial one.
    ///
    /// # Errors
    /// [`DirectoryError::Throttled`] and [`DirectoryError::Store`]; the exchange is over then.
    pub async fn step(&mut self, response: Option<&[u8]>) -> Result<SaslStep, DirectoryError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let Some(response) = response else {
            let prompt: &[u8] = if matches!(state, State::LoginName) { b"Username:" } else { b"" };
            self.state = state;
            return Ok(SaslStep::Challenge(prompt.to_vec()));
        };
        let Some(text) = std::str::from_utf8(response).ok().filter(|t| t.len() <= RESPONSE_BYTES_MAX) else {
            return Ok(SaslStep::Malformed);
        };
        match state {
            State::Plain => self.plain(text).await,
            State::LoginName => {
                self.state = State::LoginPassword { name: text.to_owned() };
                Ok(SaslStep::Challenge(b"Password:".to_vec()))
            }
            State::LoginPassword { name } => self.check(&name, text).await,
            State::ScramFirst => self.scram_first(text).await,
            State::ScramFinal(first) => self.scram_final(*first, text).await,
            State::ScramEnd(login) if text.is_empty() => Ok(SaslStep::Done(login)),
            State::ScramEnd(_) | State::Over => Ok(SaslStep::Malformed),
        }
    }

    /// RFC 4616 2: authzid NUL authcid NUL passwd.
    async fn plain(&self, text: &str) -> Result<SaslStep, DirectoryError> {
        let parts: Vec<&str> = text.split('\0').collect();
        let [authorize, name, password] = parts[..] else { return Ok(SaslStep::Malformed) };
        if name.is_empty() || password.is_empty() {
            return Ok(SaslStep::Malformed);
        }
        if !authorize.is_empty() && !authorize.eq_ignore_ascii_case(name) {
            return Ok(SaslStep::Wrong); // nobody acts as somebody else here
        }
        self.check(name, password).await
    }

    async fn check(&self, name: &str, password: &str) -> Result<SaslStep, DirectoryError> {
        let login = self.directory.client_login(name, password, self.scope, self.client).await?;
        Ok(login.map_or(SaslStep::Wrong, SaslStep::Done))
    }

    /// RFC 5802 7, client-first-message.
    async fn scram_first(&mut self, text: &str) -> Result<SaslStep, DirectoryError> {
        let Some(first) = ClientFirst::parse(text) else { return Ok(SaslStep::Malformed) };
        if !first.authorize.is_empty() && !first.authorize.eq_ignore_ascii_case(&first.name) {
            return Ok(SaslStep::Wrong);
        }
        self.directory.client_may_try(&first.name, self.client)?;
        let verifier = self.directory.scram_verifier(&first.name, self.scope).await?;
        let mut own = [0u8; NONCE_BYTES];
        getrandom::fill(&mut own).expect("the operating system gives randomness");
        let nonce = format!("{}{}", first.nonce, BASE64.encode(&own));
        let challenge = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let messages = format!("{},{challenge}", first.bare);
        let (name, gs2_header) = (first.name, first.gs2_header);
        self.state = State::ScramFinal(Box::new(ScramFinal { name, verifier, gs2_header, nonce, messages }));
        Ok(SaslStep::Challenge(challenge.into_bytes()))
    }

    /// RFC 5802 7, client-final-message.
    async fn scram_final(&mut self, first: ScramFinal, text: &str) -> Result<SaslStep, DirectoryError> {
        let Some((without_proof, proof)) = text.rsplit_once(",p=") else { return Ok(SaslStep::Malformed) };
        let binding = format!("c={}", BASE64.encode(first.gs2_header.as_bytes()));
        let mut attributes = without_proof.split(',');
        let is_ours = attributes.next() == Some(binding.as_str())
            && attributes.next().and_then(|a| a.strip_prefix("r=")) == Some(first.nonce.as_str());
        let (true, Ok(proof)) = (is_ours, BASE64.decode(proof.as_bytes())) else { return Ok(SaslStep::Malformed) };
        self.directory.client_may_try(&first.name, self.client)?;
        let auth_message = format!("{},{without_proof}", first.messages);
        let found = first.verifier.passwords.iter().find(|(_, keys)| keys.proves(auth_message.as_bytes(), &proof));
        self.directory.note_client_try(&first.name, self.client, found.is_some()).await?;
        let (Some((password, keys)), Some(login)) = (found, first.verifier.login) else { return Ok(SaslStep::Wrong) };
        if let Some(password) = password {
            self.directory.touch_app_password(password).await?;
        }
        let app_password_id = password.as_ref().map(|password| password.id);
        self.state = State::ScramEnd(ClientLogin { app_password_id, ..login });
        let signature = BASE64.encode(&keys.server_signature(auth_message.as_bytes()));
        Ok(SaslStep::Challenge(format!("v={signature}").into_bytes()))
    }
}

struct ClientFirst {
    gs2_header: String,
    authorize: String,
    bare: String,
    name: String,
    nonce: String,
}

impl ClientFirst {
    fn parse(text: &str) -> Option<ClientFirst> {
        let mut parts = text.splitn(3, ',');
        let (flag, authorize, bare) = (parts.next()?, parts.next()?, parts.next()?);
        // RFC 5802 6: `p=` wants a channel binding, which only the -PLUS mechanism has.
        if flag != "n" && flag != "y" {
            return None;
        }
        let gs2_header = format!("{flag},{authorize},");
        let authorize = match authorize {
            "" => String::new(),
            some => unescape(some.strip_prefix("a=")?)?,
        };
        // RFC 5802 5.1: `m=` in front is an extension that must be understood; none is.
        let mut attributes = bare.split(',');
        let name = unescape(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?.to_owned();
        let is_nonce = !nonce.is_empty() && nonce.len() <= 256 && nonce.bytes().all(|b| b.is_ascii_graphic());
        (is_nonce && !name.is_empty()).then(|| ClientFirst {
            gs2_header,
            authorize,
            bare: bare.to_owned(),
            name,
            nonce,
        })
    }
}

/// RFC 5802 5.1: `=2C` is a comma and `=3D` an equals sign; no other `=` may stand in a name.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('=');
    out.push_str(parts.next()?);
    for part in parts {
        out.push(match part.get(..2)? {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(&part[2..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let first = ClientFirst::parse("n,a=ada,n=a=2Cb=3D,r=abc").unwrap();
        assert_eq!(
            (first.name.as_str(), first.authorize.as_str(), first.gs2_header.as_str()),
            ("a,b=", "ada", "n,a=ada,")
        );
        for wrong in [
            "",
            "n,,",
            "p=tls-unique,,n=a,r=b",
            "n,,n=,r=b",
            "n,,n=a,r=",
            "n,,m=x,n=a,r=b",
            "n,,n=a=2,r=b",
            "n,,n=a=41,r=b",
            "n,b,n=a,r=b",
            "n,,n=a,r=\u{e4}",
        ] {
            assert!(ClientFirst::parse(wrong).is_none(), "{wrong}");
        }
    }
}
