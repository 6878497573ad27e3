//! AUTH (RFC 4954): the lines of a login exchange. What is in them is for the [`super::Handler`] to judge.

use std::future::Future;
use std::pin::Pin;

use data_encoding::BASE64;
use model::{Reply, SubmissionLogin};

use super::config::Service;
use super::session::{Output, Session, Stage};
use crate::command::decode_response;
use crate::input::LineDefect;

/// RFC 4954 4: a line of an exchange.
pub(super) const RESPONSE_BYTES_MAX: usize = 12_288;

/// What a client said in an exchange, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginInput {
    /// `AUTH`, with its initial response if there was one.
    Begin {
        /// One of [`super::ServerConfig::login_mechanisms`].
        mechanism: &'static str,
        /// The initial response.
        initial: Option<Vec<u8>>,
    },
    /// The response to a challenge.
    Response(Vec<u8>),
}

/// What the handler makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginStep {
    /// Ask on.
    Challenge(Vec<u8>),
    /// It is this one.
    Done(SubmissionLogin),
    /// 4yz or 5yz. A 5yz counts as a failed try.
    Refused(Reply),
}

/// One exchange, as a handler keeps it.
pub trait LoginExchange: Send {
    /// Takes a response, or `None` at the beginning when there was no initial one.
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = LoginStep> + Send + 'a>>;
}

impl Session {
    /// The mechanisms that may be used now: only under TLS, and only once.
    pub(super) fn mechanisms(&self) -> &'static [&'static str] {
        let client = self.client();
        if client.tls.is_none() || client.login.is_some() { &[] } else { self.config.login_mechanisms }
    }

    /// RFC 4954 4.
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<Vec<u8>>) {
        if self.config.login_mechanisms.is_empty() || self.config.service != Service::Submission {
            return self.refuse(Reply::permanent(502, (5, 1), "command not implemented"));
        }
        if !self.has_helo {
            return self.refuse(Reply::permanent(503, (5, 1), "say EHLO first"));
        }
        if self.client().login.is_some() || self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "logging in is done once, before any mail"));
        }
        if self.client().tls.is_none() {
            return self.refuse(Reply::permanent(538, (7, 11), "logging in needs STARTTLS first"));
        }
        let known = self.mechanisms().iter().find(|known| known.eq_ignore_ascii_case(mechanism));
        let Some(mechanism) = known else {
            return self.refuse(Reply::permanent(504, (5, 4), "this mechanism is not offered"));
        };
        self.stage = Stage::Login;
        self.outputs.push_back(Output::Login(LoginInput::Begin { mechanism, initial }));
    }

    /// A line of the client in an exchange; false when it is not whole yet.
    pub(super) fn step_login(&mut self) -> bool {
        let response = match self.input.next_line(RESPONSE_BYTES_MAX) {
            None => return false,
            // RFC 4954 4: the client gives up.
            Some(Ok(b"*")) => Err(Reply::permanent(501, (7, 0), "cancelled")),
            Some(Ok(line)) => decode_response(line),
            Some(Err(LineDefect::BareNewline | LineDefect::TooLong)) => {
                Err(Reply::permanent(500, (5, 6), "not a line of a login"))
            }
        };
        match response {
            Ok(response) => {
                self.stage = Stage::Login;
                self.outputs.push_back(Output::Login(LoginInput::Response(response)));
            }
            Err(refusal) => {
                self.stage = Stage::Commands;
                self.refuse(refusal);
            }
        }
        true
    }

    /// The answer to `Login`.
    pub fn login_step(&mut self, step: LoginStep) {
        match self.stage {
            Stage::Login => self.stage = Stage::Commands,
            Stage::Closed => return,
            _ => unreachable!("nobody was logging in"),
        }
        match step {
            LoginStep::Challenge(challenge) => {
                self.stage = Stage::LoginResponse;
                self.reply(Reply::plain(334, vec![BASE64.encode(&challenge)]));
            }
            LoginStep::Done(login) => {
                self.envelope.client.login = Some(login);
                self.login_failure_count = 0;
                self.reply(Reply::ok(235, (7, 0), "welcome"));
            }
            LoginStep::Refused(refusal) => self.login_refused(super::session::as_refusal(refusal)),
        }
    }

    /// Each wrong try waits longer for its answer, and the last ends the session.
    fn login_refused(&mut self, refusal: Reply) {
        self.login_failure_count += 1;
        let doubled = self.login_failure_count.saturating_sub(1).min(10);
        self.outputs.push_back(Output::Delay { delay_ms: self.config.login_delay_ms << doubled });
        self.reply_of_handler(refusal);
        if self.login_failure_count >= self.config.login_failures_max {
            self.close_with(Reply::transient(421, (7, 0), "too many failed logins"));
        }
    }
}
