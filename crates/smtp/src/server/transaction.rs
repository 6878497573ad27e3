//! The mail transaction of a session (RFC 5321 3.3): from MAIL to the reply that says what became of the message, or to
//! whatever ends it before.

use model::{Address, BodyType, Envelope, MailOptions, Reply, ReplyClass, ReversePath};

use super::config::Service;
use super::session::{Output, Session, Stage, as_refusal};
use super::shape;
use crate::command::{ForwardPath, MailCommand, RcptCommand, needs_smtp_utf8};
use crate::data::{DataReceiver, Received};

impl Session {
    /// The answer to `CheckSender` or `VerifyRecipient`. A refusal is 4yz or 5yz; 421 closes the session.
    pub fn decide(&mut self, decision: Result<(), Reply>) {
        match (std::mem::replace(&mut self.stage, Stage::Commands), decision) {
            (Stage::Sender, Ok(())) => {
                self.in_transaction = true;
                self.reply(Reply::ok(250, (1, 0), "sender ok"));
            }
            (Stage::Sender, Err(refusal)) => {
                self.reset();
                self.reply_of_handler(as_refusal(refusal));
            }
            (Stage::Recipient(recipient, options), Ok(())) => {
                self.accepted.push(self.envelope.forward_paths.len());
                self.envelope.forward_paths.push(recipient);
                self.envelope.rcpt_options.push(options);
                self.reply(Reply::ok(250, (1, 5), "recipient ok"));
            }
            (Stage::Recipient(..), Err(refusal)) => {
                self.has_refused_recipient = true;
                self.refused_recipient_count += 1;
                self.reply_of_handler(as_refusal(refusal));
                if self.refused_recipient_count > self.config.refused_recipients_max {
                    self.close_with(Reply::transient(421, (7, 0), "too many refused recipients"));
                }
            }
            (Stage::Closed, _) => self.stage = Stage::Closed,
            (stage, _) => unreachable!("no decision was asked for in {stage:?}"),
        }
    }

    /// The answer to `Message`: what became of it. A 2yz reply means that it is committed.
    pub fn finish(&mut self, reply: Reply) {
        match self.stage {
            Stage::Message => {
                self.stage = Stage::Commands;
                self.message_count += 1;
                // The next transaction begins to count anew.
                self.accepted.clear();
                let is_final = reply.class() != ReplyClass::Intermediate;
                self.reply_of_handler(if is_final { reply } else { as_refusal(reply) });
            }
            Stage::Closed => {}
            _ => unreachable!("no message was handed over"),
        }
    }

    /// The answer to `Message` in LMTP (RFC 2033 4.2): one reply for each forward-path, in their order. What is missing
    /// is answered 451.
    pub fn finish_each(&mut self, replies: &[Reply]) {
        match self.stage {
            Stage::Message => {}
            Stage::Closed => return,
            _ => unreachable!("no message was handed over"),
        }
        self.stage = Stage::Commands;
        self.message_count += 1;
        for index in std::mem::take(&mut self.accepted) {
            let reply = replies.get(index).filter(|reply| reply.class() != ReplyClass::Intermediate);
            let reply = reply.cloned().unwrap_or_else(|| Reply::transient(451, (3, 0), "try again later"));
            // 421 for one recipient would cut off the replies of the others.
            let reply = if reply.code() == 421 { Reply::transient(451, (3, 0), "try again later") } else { reply };
            self.reply(reply);
        }
    }

    /// RFC 5321 4.1.1.2.
    pub(super) fn mail(&mut self, mail: MailCommand) {
        if !self.has_helo {
            return self.refuse(Reply::permanent(503, (5, 1), "say EHLO or HELO first"));
        }
        if self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "a transaction has begun; send RSET first"));
        }
        // RFC 1870 6.1.
        if mail.declared_size_bytes.is_some_and(|size| size > self.config.body_bytes_max() as u64) {
            return self.reply(Reply::permanent(552, (3, 4), "message too big"));
        }
        // RFC 4954 6.
        if self.config.service == Service::Submission && self.client().login.is_none() {
            return self.refuse(Reply::permanent(530, (7, 0), "log in first"));
        }
        // RFC 8689 4.2.1: what must not travel without TLS must not arrive without it.
        if mail.options.require_tls && self.client().tls.is_none() {
            return self.refuse(Reply::permanent(530, (7, 10), "REQUIRETLS needs TLS here"));
        }
        if self.message_count >= self.config.messages_max {
            return self.close_with(Reply::transient(421, (7, 0), "enough messages on one connection"));
        }
        self.envelope.reverse_path = mail.reverse_path;
        self.envelope.body_type = mail.body_type;
        self.envelope.declared_size_bytes = mail.declared_size_bytes;
        self.envelope.options = mail.options;
        self.stage = Stage::Sender;
        self.outputs.push_back(Output::CheckSender);
    }

    /// RFC 5321 4.1.1.3.
    pub(super) fn rcpt(&mut self, rcpt: RcptCommand) {
        if !self.in_transaction {
            return self.refuse(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        if self.has_chunks {
            return self.refuse(Reply::permanent(503, (5, 1), "the message has begun; send it or RSET"));
        }
        // RFC 5321 4.5.3.1.10: 452, so that the client sends the rest in another transaction. Naming one again counts too.
        if self.accepted.len() >= self.config.recipients_max {
            return self.reply(Reply::transient(452, (5, 3), "too many recipients"));
        }
        if !rcpt.is_ascii && !self.envelope.options.smtp_utf8 {
            return self.refuse(needs_smtp_utf8());
        }
        let recipient = match rcpt.path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => match Address::parse(&format!("postmaster@{}", self.config.hostname)) {
                Ok(address) => address,
                Err(_) => return self.reply(Reply::permanent(501, (1, 3), "the address needs a domain")),
            },
        };
        // One copy for each recipient, however often it is named.
        if let Some(index) = self.envelope.forward_paths.iter().position(|known| *known == recipient) {
            self.accepted.push(index);
            return self.reply(Reply::ok(250, (1, 5), "recipient ok"));
        }
        // RFC 5321 4.5.5: a notification goes to the one who sent. What names more is split by an honest sender.
        if self.envelope.reverse_path == ReversePath::Null
            && self.envelope.forward_paths.len() >= self.config.null_sender_recipients_max
        {
            return self.reply(Reply::transient(452, (5, 3), "one recipient at a time for the null sender"));
        }
        self.stage = Stage::Recipient(recipient.clone(), rcpt.options);
        self.outputs.push_back(Output::VerifyRecipient(recipient));
    }

    /// RFC 5321 4.1.1.4.
    pub(super) fn data(&mut self) {
        if self.is_talking_early() {
            return self.refuse_early_talker();
        }
        if let Some(refusal) = self.body_refusal() {
            return self.refuse(refusal);
        }
        // RFC 3030 2: the two ways are not mixed.
        if self.has_chunks {
            return self.refuse(Reply::permanent(503, (5, 1), "this message comes by BDAT"));
        }
        let receiver = DataReceiver::new(self.config.body_bytes_max()).with_newlines(self.config.newlines);
        self.stage = Stage::Data(receiver.expecting(self.envelope.declared_size_bytes.unwrap_or(0)));
        self.reply(Reply::plain(354, vec!["end data with <CRLF>.<CRLF>".into()]));
    }

    /// Why no body may come now.
    pub(super) fn body_refusal(&self) -> Option<Reply> {
        if !self.in_transaction {
            return Some(Reply::permanent(503, (5, 1), "send MAIL first"));
        }
        if self.envelope.forward_paths.is_empty() {
            return Some(match self.has_refused_recipient {
                true => Reply::permanent(554, (5, 1), "no valid recipients"),
                false => Reply::permanent(503, (5, 1), "send RCPT first"),
            });
        }
        None
    }

    pub(super) fn end_of_data(&mut self) {
        let Stage::Data(receiver) = std::mem::replace(&mut self.stage, Stage::Commands) else {
            unreachable!("data ends in data");
        };
        self.end_of_message(match receiver.finish() {
            Received::Body(body) => Ok(body),
            // What stood behind the bare CR or LF was body and is gone with it.
            Received::BareNewline => Err(bare_newline()),
            Received::TooBig => Err(Reply::permanent(552, (3, 4), "message too big")),
        });
    }

    /// The transaction ends with the message it was for, or with its refusal.
    pub(super) fn end_of_message(&mut self, body: Result<Vec<u8>, Reply>) {
        let blank = Envelope::new(self.client().clone());
        let envelope = std::mem::replace(&mut self.envelope, blank);
        let accepted = std::mem::take(&mut self.accepted);
        self.reset();
        let body = body.and_then(|body| match shape::refusal(&self.config, &body) {
            Some(refusal) => Err(refusal),
            None => Ok(body),
        });
        match body {
            Ok(body) => {
                self.stage = Stage::Message;
                self.accepted = accepted;
                self.outputs.push_back(Output::Message { envelope, body });
            }
            Err(refusal) => {
                // RFC 2033 4.2: whoever was accepted is answered.
                let more = if self.config.service == Service::Lmtp { accepted.len().saturating_sub(1) } else { 0 };
                (0..more).for_each(|_| self.reply(refusal.clone()));
                if refusal.code() == 550 { self.refuse(refusal) } else { self.reply(refusal) }
            }
        }
    }

    pub(super) fn reset(&mut self) {
        self.in_transaction = false;
        self.has_refused_recipient = false;
        self.envelope.reverse_path = ReversePath::Null;
        self.envelope.forward_paths.clear();
        self.envelope.rcpt_options.clear();
        self.envelope.body_type = BodyType::SevenBit;
        self.envelope.declared_size_bytes = None;
        self.envelope.options = MailOptions::default();
        self.accepted.clear();
        self.chunks = Vec::new();
        self.has_chunks = false;
    }
}

/// RFC 5321 2.3.8.
pub(super) fn bare_newline() -> Reply {
    Reply::permanent(550, (6, 11), "bare CR or LF in the message")
}
