//! LMTP (RFC 2033), the client side: as SMTP, but after the final dot the host answers once for every recipient that it
//! accepted, so that one full mailbox does not decide about the others.

use std::net::SocketAddr;

use model::{Reply, ReplyClass};

use super::transaction::{Mail, Said};
use super::{Capabilities, Client, ClientConfig, ClientError, Dialect, Phase, State};
use crate::data::{END_OF_DATA, add_dots, canonical_newlines};

/// A connection to a host that speaks LMTP, greeted and, as configured, encrypted.
#[derive(Debug)]
pub struct LmtpClient {
    client: Client,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LmtpFate {
    /// The host said so: it has the mail, or refuses it now or for good.
    Reply(Reply),
    /// The final dot was written and this recipient's reply did not come: the host may have the mail or not. The text
    /// says what came instead.
    Unclear(String),
}

impl LmtpClient {
    /// Connects, waits for the banner, says LHLO and begins TLS as configured.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(addr: SocketAddr, config: ClientConfig) -> Result<LmtpClient, ClientError> {
        Ok(LmtpClient { client: Client::connect_to(addr, config, Dialect::Lmtp).await? })
    }

    /// What the host said that it can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.client.capabilities()
    }

    /// Whether another transaction can be tried on this connection.
    pub fn is_usable(&self) -> bool {
        self.client.is_usable()
    }

    /// One transaction; gives what became of each recipient, in order.
    ///
    /// # Errors
    /// As [`Client::send`], except that an end which is unclear is a fate of the recipients it concerns. An error means
    /// that no recipient has the mail.
    pub async fn send(&mut self, mail: &Mail<'_>, body: &[u8]) -> Result<Vec<LmtpFate>, ClientError> {
        let client = &mut self.client;
        let is_eight_bit = !body.is_ascii();
        if is_eight_bit && !client.capabilities.eight_bit_mime {
            return Err(ClientError::EightBitRefused);
        }
        let mut addresses = mail.recipients.iter().chain(mail.reverse_path.address());
        if !addresses.all(|address| address.local().is_ascii() && address.domain().as_str().is_ascii()) {
            return Err(ClientError::Utf8Refused);
        }
        let canonical = canonical_newlines(body);
        let commands = client.commands(mail, canonical.len(), is_eight_bit);
        let sent = self.transact(mail, &commands, &add_dots(&canonical)).await;
        if sent.is_err() {
            self.client.state = State::Closed;
        }
        sent
    }

    async fn transact(
        &mut self,
        mail: &Mail<'_>,
        commands: &[(Phase, String)],
        wire: &[u8],
    ) -> Result<Vec<LmtpFate>, ClientError> {
        let mut said = self.client.converse(commands).await?;
        let accepted_count = if said.is_mail_refused() { 0 } else { count_accepted(&said) };
        let finals = match said.data.take() {
            Some(go_on) if go_on.class() == ReplyClass::Intermediate => {
                let wire = if accepted_count == 0 { b"" } else { wire };
                self.send_body(wire, accepted_count).await?
            }
            Some(reply) if reply.is_completion() => {
                let text = format!("DATA was answered {reply}");
                return Err(ClientError::Protocol { phase: Phase::DataStart, text });
            }
            Some(refused) => vec![LmtpFate::Reply(refused); accepted_count],
            None => Vec::new(),
        };
        let mut finals = finals.into_iter();
        let outcome = said.outcome(mail, None);
        let fate = |(_, reply): (model::Address, Reply)| match reply.is_completion() {
            true => finals.next().unwrap_or_else(|| LmtpFate::Reply(silent())),
            false => LmtpFate::Reply(reply),
        };
        Ok(outcome.recipients.into_iter().map(fate).collect())
    }

    /// Writes the body and reads one reply for each accepted recipient (RFC 2033 4.2). From the final dot on, what has
    /// no reply is unclear.
    async fn send_body(&mut self, wire: &[u8], accepted_count: usize) -> Result<Vec<LmtpFate>, ClientError> {
        let client = &mut self.client;
        client.state = State::Busy;
        if let Err(lost) = client.write_slices(Phase::DataBlock, &[wire, END_OF_DATA]).await {
            let refusal = client.last_words().await.ok_or(lost)?;
            return Ok(vec![LmtpFate::Reply(refusal); accepted_count]);
        }
        let mut fates = Vec::with_capacity(accepted_count);
        let mut trouble = client.flush(Phase::DataEnd).await.err();
        while trouble.is_none() && fates.len() < accepted_count {
            match client.read_any_reply(Phase::DataEnd).await {
                Ok(reply) => fates.push(LmtpFate::Reply(reply)),
                Err(error) => trouble = Some(error),
            }
        }
        let has_said_farewell = |fate: &LmtpFate| matches!(fate, LmtpFate::Reply(reply) if reply.code() == 421);
        let is_over = trouble.is_some() || fates.iter().any(has_said_farewell);
        client.state = if is_over { State::Closed } else { State::Ready };
        if let Some(error) = trouble {
            fates.resize(accepted_count, LmtpFate::Unclear(error.to_string()));
        }
        Ok(fates)
    }

    /// Asks whether the host is still there, and ends what was left open.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn reset(&mut self) -> Result<(), ClientError> {
        self.client.reset().await
    }

    /// Takes leave.
    pub async fn quit(self) {
        self.client.quit().await;
    }
}

fn count_accepted(said: &Said) -> usize {
    said.recipients.iter().filter(|reply| reply.is_completion()).count()
}

/// For an accepted recipient when DATA was never reached.
fn silent() -> Reply {
    Reply::transient(451, (4, 0), "the host said nothing of this recipient")
}
