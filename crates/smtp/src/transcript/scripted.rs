//! The handler of transcripts: it decides as their settings say.

use std::sync::{Mutex, PoisonError};

use model::{Address, ClientInfo, Envelope, Reply};

use super::Message;
use crate::scripted_login::ScriptedLogin;
use crate::server::{Handler, LoginExchange};

/// Decides as a transcript's settings say and keeps what arrives.
#[derive(Debug)]
pub struct ScriptedHandler {
    pub(super) refusals: Vec<(String, Reply)>,
    pub(super) messages: Mutex<Vec<Message>>,
}

impl ScriptedHandler {
    pub(super) fn decide(&self, address: &Address) -> Result<(), Reply> {
        let key = address.key();
        let refusal = self.refusals.iter().find(|(refused, _)| *refused == key);
        refusal.map_or(Ok(()), |(_, reply)| Err(reply.clone()))
    }

    pub(super) fn decide_sender(&self, envelope: &Envelope) -> Result<(), Reply> {
        envelope.reverse_path.address().map_or(Ok(()), |address| self.decide(address))
    }
}

impl ScriptedHandler {
    /// In LMTP: `full` in front of the @ has no room, whoever it is.
    pub(super) fn replies_to(&self, envelope: &Envelope) -> Vec<Reply> {
        let reply = |to: &Address| match to.local() {
            "full" => Reply::transient(452, (2, 2), "mailbox full"),
            _ => accepted(),
        };
        envelope.forward_paths.iter().map(reply).collect()
    }
}

impl Handler for ScriptedHandler {
    fn login(&self, _client: &ClientInfo, mechanism: &'static str) -> Option<Box<dyn LoginExchange>> {
        Some(Box::new(ScriptedLogin::new(mechanism)))
    }

    async fn data_each(&self, envelope: Envelope, body: Vec<u8>) -> Vec<Reply> {
        let replies = self.replies_to(&envelope);
        self.data(envelope, body).await;
        replies
    }

    async fn mail(&self, envelope: &Envelope) -> Result<(), Reply> {
        self.decide_sender(envelope)
    }

    async fn rcpt(&self, _envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        self.decide(recipient)
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        let message = as_message(&envelope, body);
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        accepted()
    }
}

pub(super) fn accepted() -> Reply {
    Reply::ok(250, (0, 0), "accepted")
}

pub(super) fn as_message(envelope: &Envelope, body: Vec<u8>) -> Message {
    let mut paths = format!("<{}>", envelope.reverse_path);
    for path in &envelope.forward_paths {
        paths.push_str(&format!(" <{path}>"));
    }
    Message { paths, body }
}
