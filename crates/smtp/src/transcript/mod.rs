//! SMTP dialogues as text files, run on a [`crate::Session`] without I/O or on any server over a socket.
//!
//! ```text
//! # why this dialogue matters
//! ! size_bytes_max 100                      a setting, before the first step
//! ! refuse bob@example.org 550 1.1 unknown  the reply to this address, in MAIL or RCPT
//! S: 220                                    a reply, all lines on one: this is how it must begin
//! C: EHLO client.example                    a line is sent, with CRLF
//! S: 250 mx.example ... SIZE 100            `...` stands for anything
//! C> \x00.\r\n                              these bytes are sent and no others
//! ! login mechanisms                        submission; "right" is everybody's password
//! M: <a@client.example> <ada@example.org>   a message arrives: reverse-path, then forward-paths
//! B: a line of its body                     with CRLF; B> without
//! T:                                        TLS begins
//! X:                                        the server closes
//! ```
//!
//! Neighbouring `C` lines are one write. Escapes: `\r \n \t \0 \\ \xHH` and `\{x*9}` for nine times `x`. A first step
//! `C` comes before the banner. `! one-read` marks dialogues that depend on a write being read as one.

mod dialogue;
mod peer;
mod scripted;
mod text;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use model::Reply;
use rustls_pki_types::ServerName;

use crate::server::ServerConfig;

use dialogue::Dialogue;
use peer::Peer;
pub use scripted::ScriptedHandler;

/// How long a server has for each step over a socket.
const STEP_MS_MAX: u64 = 20_000;

/// A dialogue.
#[derive(Debug, Clone)]
pub struct Transcript {
    name: String,
    settings: Settings,
    steps: Vec<(usize, Step)>,
}

/// What went otherwise than written, or what is wrong with the writing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {text}")]
pub struct Mismatch {
    /// The transcript.
    pub name: String,
    /// The line in it, from 1; 0 when it is over.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

#[derive(Debug, Clone)]
struct Settings {
    config: ServerConfig,
    refusals: Vec<(String, Reply)>,
    is_one_read: bool,
    is_changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Vec<u8>),
    Reply(String),
    Message(Message),
    Tls,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    /// Reverse-path and forward-paths, each in angle brackets.
    paths: String,
    body: Vec<u8>,
}

impl Transcript {
    /// The name it was read under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limits that it wants of the server.
    pub fn config(&self) -> &ServerConfig {
        &self.settings.config
    }

    /// Whether it runs on any server: it changes no setting and refuses nobody.
    pub fn is_plain(&self) -> bool {
        !self.settings.is_changed
    }

    /// Whether it depends on how the bytes are cut into reads.
    pub fn is_one_read(&self) -> bool {
        self.settings.is_one_read
    }

    /// Decides as the settings say.
    pub fn handler(&self) -> ScriptedHandler {
        ScriptedHandler { refusals: self.settings.refusals.clone(), messages: Mutex::default() }
    }

    /// Runs the dialogue on a session. `next_chunk_bytes` says how many bytes the next read brings (at least one).
    pub fn run_on_session(&self, mut next_chunk_bytes: impl FnMut() -> usize) -> Result<(), Mismatch> {
        let mut dialogue = Dialogue::new(self);
        for (line, step) in &self.steps {
            let done = match step {
                Step::Send(bytes) => dialogue.send(bytes, &mut next_chunk_bytes),
                expected => dialogue.expect(expected),
            };
            done.map_err(|text| self.mismatch(*line, text))?;
        }
        match dialogue.seen.pop_front() {
            None => Ok(()),
            Some(step) => Err(self.mismatch(0, format!("not expected at the end: {step:?}"))),
        }
    }

    /// Runs the dialogue on a server, and takes leave with QUIT if the server has not closed. Messages cannot be seen
    /// from here; see [`Transcript::check_messages`].
    pub async fn run_on_socket(
        &self,
        addr: SocketAddr,
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    ) -> Result<(), Mismatch> {
        let mut peer = Peer::connect(addr).await.map_err(|error| self.mismatch(0, error.to_string()))?;
        let mut is_closed = false;
        for (line, step) in &self.steps {
            let done = match step {
                Step::Send(bytes) => peer.write(bytes).await,
                Step::Reply(pattern) => peer.expect_reply(pattern).await,
                Step::Message(_) => Ok(()),
                Step::Tls => match &tls {
                    Some((config, name)) => {
                        let upgraded = peer.start_tls(config.clone(), name.clone()).await;
                        peer = upgraded.map_err(|text| self.mismatch(*line, text))?;
                        Ok(())
                    }
                    None => Err("TLS was not set up".to_owned()),
                },
                Step::Closed => {
                    is_closed = true;
                    peer.expect_end().await
                }
            };
            done.map_err(|text| self.mismatch(*line, text))?;
        }
        if !is_closed {
            let leave = async {
                peer.write(b"QUIT\r\n").await?;
                peer.expect_reply("221").await?;
                peer.expect_end().await
            };
            leave.await.map_err(|text| self.mismatch(0, text))?;
        }
        Ok(())
    }

    /// Compares what the handler kept with the messages of the transcript.
    pub fn check_messages(&self, handler: &ScriptedHandler) -> Result<(), Mismatch> {
        let expected = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Message(message) => Some(message.clone()),
            Step::Send(_) | Step::Reply(_) | Step::Tls | Step::Closed => None,
        });
        let expected: Vec<Message> = expected.collect();
        let got = handler.messages.lock().unwrap_or_else(PoisonError::into_inner);
        match *got == expected {
            true => Ok(()),
            false => Err(self.mismatch(0, format!("messages are {got:?}, not {expected:?}"))),
        }
    }

    fn mismatch(&self, line: usize, text: String) -> Mismatch {
        Mismatch { name: self.name.clone(), line, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::{begins_as, unescape};

    #[test]
    fn patterns_and_escapes() {
        assert!(begins_as("250 mx ... SIZE 1", "250 mx PIPELINING SIZE 100"));
        assert!(!begins_as("250 mx ... STARTTLS", "250 mx PIPELINING SIZE 100"));
        assert_eq!(unescape(r"a\r\n\0\x41\{yz*2}\\").unwrap(), b"a\r\n\0Ayzyz\\");
        assert!(unescape(r"\q").is_err());
    }

    #[test]
    fn a_wrong_dialogue_is_told_by_line() {
        let run = |text: &str| Transcript::parse("t", text).and_then(|t| t.run_on_session(|| 1)).unwrap_err();
        assert_eq!(run("S: 220\nC: NOOP\nS: 500\n").line, 3);
        assert_eq!(run("S: 220\nC: NOOP\n").line, 0);
        assert_eq!(run("S: 220\nC: NOOP\nC: NOOP\nS: 250\nC: QUIT\n").line, 5);
        assert_eq!(run("S: 220\n?: NOOP\n").line, 2);
    }
}
