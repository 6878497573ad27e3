//! A dialogue on a session without I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use model::TlsInfo;

use super::scripted::{ScriptedHandler, accepted, as_message};
use super::text::matches;
use super::{Step, Transcript};
use crate::scripted_login::ScriptedLogin;
use crate::server::{LoginInput, Output, Session};

/// A run on a session: what came out and was not yet expected.
pub(super) struct Dialogue {
    session: Session,
    handler: ScriptedHandler,
    /// What came out and was not expected yet.
    pub(super) seen: VecDeque<Step>,
    is_greeted: bool,
    exchange: ScriptedLogin,
}

impl Dialogue {
    pub(super) fn new(transcript: &Transcript) -> Self {
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let session = Session::new(Arc::new(transcript.config().clone()), ip);
        Dialogue {
            session,
            handler: transcript.handler(),
            seen: VecDeque::new(),
            is_greeted: false,
            exchange: ScriptedLogin::default(),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8], next_chunk_bytes: &mut dyn FnMut() -> usize) -> Result<(), String> {
        if let Some(step) = self.seen.pop_front() {
            return Err(format!("not expected before this: {step:?}"));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(next_chunk_bytes().clamp(1, rest.len()));
            self.session.feed(chunk);
            if self.is_greeted {
                self.drain();
            }
            rest = after;
        }
        Ok(())
    }

    pub(super) fn expect(&mut self, expected: &Step) -> Result<(), String> {
        if !self.is_greeted {
            self.is_greeted = true;
            self.session.greet(None);
            self.drain();
        }
        match self.seen.pop_front() {
            None => Err(format!("nothing came, expected {expected:?}")),
            Some(seen) if !matches(expected, &seen) => Err(format!("expected {expected:?}, got {seen:?}")),
            Some(Step::Tls) => {
                self.session.tls_started(TlsInfo { version: "TLSv1.3".into(), cipher: "none".into() });
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.next_output() {
            match output {
                Output::Reply(reply) => self.seen.push_back(Step::Reply(reply.to_string())),
                Output::CheckSender => {
                    let decision = self.handler.decide_sender(self.session.envelope());
                    self.session.decide(decision);
                }
                Output::VerifyRecipient(recipient) => {
                    let decision = self.handler.decide(&recipient);
                    self.session.decide(decision);
                }
                Output::Login(input) => {
                    let response = match input {
                        LoginInput::Begin { initial, mechanism } => {
                            self.exchange = ScriptedLogin::new(mechanism);
                            initial
                        }
                        LoginInput::Response(response) => Some(response),
                    };
                    let step = self.exchange.take(response.as_deref());
                    self.session.login_step(step);
                }
                Output::Delay { .. } => {}
                Output::Message { envelope, body } if envelope.client.lmtp => {
                    let replies = self.handler.replies_to(&envelope);
                    self.seen.push_back(Step::Message(as_message(&envelope, body)));
                    self.session.finish_each(&replies);
                }
                Output::Message { envelope, body } => {
                    self.seen.push_back(Step::Message(as_message(&envelope, body)));
                    self.session.finish(accepted());
                }
                Output::StartTls => self.seen.push_back(Step::Tls),
                Output::Close => self.seen.push_back(Step::Closed),
            }
        }
    }
}
