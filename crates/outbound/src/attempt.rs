//! One try: a job over a connection, and what became of each of its deliveries.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use model::{Address, Reply, ReplyClass, ReversePath};
use smtp::client::{Client, ClientError, Mail, MailOptions, Outcome, Phase, RecipientOptions};

use crate::desk::{Claimed, Job};
use crate::routes::{RouteFailure, Target};
use crate::{FailureClass, seven_bit};

/// For the whole of one transaction, whatever its phases allow one by one.
const TRANSACTION_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A connection and whom it leads to.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) target: Target,
    pub(crate) mail_count: u32,
}

/// What became of one delivery.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// A reply decided: accepted, refused for now, or for good.
    Reply(Reply),
    /// No reply; it will be tried again.
    Failed { class: FailureClass, cause: String },
}

/// A delivery with its fate and the evidence.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) delivery: Claimed,
    pub(crate) fate: Fate,
    /// Host name and address, empty when none was reached.
    pub(crate) host: String,
    pub(crate) is_encrypted: bool,
    /// The host speaks DSN (RFC 3461), so it tells the sender what becomes of it.
    pub(crate) peer_has_dsn: bool,
}

/// Why no connection came about.
pub(crate) struct NoConnection {
    pub(crate) fate: Fate,
    pub(crate) host: String,
    /// What the host said, when it asked to come later.
    pub(crate) slower: Option<String>,
}

/// What a route without targets means for its deliveries.
pub(crate) fn no_route(failure: &RouteFailure) -> NoConnection {
    let cause = failure.to_string();
    let fate = match failure {
        RouteFailure::Dns(_) => Fate::Failed { class: FailureClass::Dns, cause },
        RouteFailure::Policy(_) => Fate::Failed { class: FailureClass::Tls, cause },
        RouteFailure::NullMx | RouteFailure::NoHost | RouteFailure::Loop | RouteFailure::RequireTls => {
            Fate::Reply(Reply::permanent(550, failure.enhanced(), cause))
        }
    };
    NoConnection { fate, host: String::new(), slower: None }
}

/// The same fate for every delivery of a job.
pub(crate) fn all(deliveries: Vec<Claimed>, fate: &Fate, host: &str) -> Vec<Tried> {
    let tried = |delivery| Tried {
        delivery,
        fate: fate.clone(),
        host: host.to_owned(),
        is_encrypted: false,
        peer_has_dsn: false,
    };
    deliveries.into_iter().map(tried).collect()
}

/// An address as hosts without SMTPUTF8 take it: the domain in A-labels (RFC 6531 3.2). The local part cannot be changed.
fn on_the_wire(address: &Address) -> Option<Address> {
    if address.domain().as_str().is_ascii() {
        return Some(address.clone());
    }
    let domain = idna::domain_to_ascii(address.domain().as_str()).ok()?;
    Address::parse(&format!("{}@{domain}", address.local())).ok()
}

impl Connection {
    /// Sends one job. The second value tells whether the connection can be used again.
    ///
    /// # Errors
    /// The job comes back when the connection turned out to be closed before the host took anything of it.
    pub(crate) async fn send(&mut self, job: Job, body: &Bytes) -> Result<(Vec<Tried>, bool), (Job, ClientError)> {
        let is_reused = self.mail_count > 0;
        self.mail_count += 1;
        let (mut good, mut tried) = self.sort_out(job.deliveries, &job.reverse_path);
        let recipients: Vec<Address> = good.iter().filter_map(|d| on_the_wire(d.recipient.as_ref()?)).collect();
        if recipients.is_empty() {
            return Ok((tried, true));
        }
        let reverse_path = match job.reverse_path.address().and_then(on_the_wire) {
            Some(address) => ReversePath::Address(address),
            None => job.reverse_path.clone(),
        };
        let mail = Mail { reverse_path: &reverse_path, recipients: &recipients };
        let sending = tokio::time::timeout(TRANSACTION_DEADLINE, self.transact(&mail, &good, body)).await;
        let sent = sending.unwrap_or_else(|_| {
            Err(ClientError::UnclearEnd { cause: "the transaction took longer than half an hour".into() })
        });
        match sent {
            Ok(outcome) => {
                let fates = fates(&outcome, good.len());
                tried.extend(good.into_iter().zip(fates).map(|(delivery, fate)| self.tried(delivery, fate)));
                Ok((tried, self.client.is_usable()))
            }
            Err(error) if is_reused && is_stale(&error) => {
                good.extend(tried.into_iter().map(|t| t.delivery));
                Err((Job { deliveries: good, ..job }, error))
            }
            Err(error) => {
                let is_usable = error.is_before_sending() && self.client.is_usable();
                let fate = fate_of_error(&error);
                tried.extend(good.into_iter().map(|delivery| self.tried(delivery, fate.clone())));
                Ok((tried, is_usable))
            }
        }
    }

    fn tried(&self, delivery: Claimed, fate: Fate) -> Tried {
        Tried {
            delivery,
            fate,
            host: self.target.to_string(),
            is_encrypted: self.client.tls().is_some(),
            peer_has_dsn: self.client.capabilities().dsn,
        }
    }

    /// Parts those that this host cannot be told of from the others: texts that are no address, and local parts beyond
    /// ASCII for a host without SMTPUTF8 (RFC 6531 3.1: never sent there, so that the others of the mail can go).
    fn sort_out(&self, deliveries: Vec<Claimed>, reverse_path: &ReversePath) -> (Vec<Claimed>, Vec<Tried>) {
        let takes_utf8 = self.client.capabilities().smtputf8;
        let is_sender_utf8 = reverse_path.address().is_some_and(|address| !address.local().is_ascii());
        let mut good = Vec::with_capacity(deliveries.len());
        let mut bad = Vec::new();
        for delivery in deliveries {
            let fate = match delivery.recipient.as_ref().and_then(on_the_wire) {
                None => Reply::permanent(501, (1, 3), "the recipient is no valid address"),
                Some(to) if takes_utf8 || (to.local().is_ascii() && !is_sender_utf8) => {
                    good.push(delivery);
                    continue;
                }
                Some(_) => Reply::permanent(553, (6, 7), "the host does not take addresses beyond ASCII"),
            };
            let tried = self.tried(delivery, Fate::Reply(fate));
            bad.push(tried);
        }
        (good, bad)
    }

    /// One transaction; for a host without 8BITMIME the body is converted first, where that breaks no signature.
    async fn transact(&mut self, mail: &Mail<'_>, good: &[Claimed], body: &Bytes) -> Result<Outcome, ClientError> {
        let recipients: Vec<RecipientOptions<'_>> = good
            .iter()
            .map(|d| RecipientOptions { notify: &d.rcpt_options.notify, orcpt: &d.rcpt_options.orcpt })
            .collect();
        let first = good.first().map(|d| &d.options);
        let options = MailOptions {
            envid: first.map_or("", |o| &o.envid),
            ret: first.map_or("", |o| &o.ret),
            recipients: &recipients,
            require_tls: first.is_some_and(|o| o.require_tls),
        };
        let is_converted = !self.client.capabilities().eight_bit_mime && !body.is_ascii();
        let body = match is_converted {
            true => Cow::Owned(seven_bit::convert(body).ok_or(ClientError::EightBitRefused)?),
            false => Cow::Borrowed(&body[..]),
        };
        self.client.send_with(mail, &options, &body).await
    }

    pub(crate) async fn quit(self) {
        self.client.quit().await;
    }
}

/// A host may close a connection that idles, or after as many mails as it likes: no fault of this mail.
fn is_stale(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset | Phase::Rcpt),
        ClientError::Closed { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset),
        ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::UnclearEnd { .. }
        | ClientError::Protocol { .. }
        | ClientError::Tls(_)
        | ClientError::TlsUnavailable
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::RequireTlsUnavailable
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}

/// A recipient's own refusal decides about it; what DATA was answered decides about the accepted ones.
fn fates(outcome: &Outcome, count: usize) -> Vec<Fate> {
    let silent = || Fate::Failed { class: FailureClass::Transient, cause: "no reply for this recipient".into() };
    let mut fates: Vec<Fate> = outcome
        .recipients
        .iter()
        .map(|(_, reply)| match (&outcome.data, reply.is_completion()) {
            (Some(data), true) => Fate::Reply(data.clone()),
            (None, true) => silent(),
            (_, false) => Fate::Reply(reply.clone()),
        })
        .collect();
    fates.resize_with(count, silent);
    fates
}

pub(crate) fn fate_of_error(error: &ClientError) -> Fate {
    let cause = error.to_string();
    match error {
        ClientError::UnclearEnd { .. } => Fate::Failed { class: FailureClass::Unclear, cause },
        ClientError::EightBitRefused => Fate::Reply(Reply::permanent(554, (6, 3), cause)),
        ClientError::Utf8Refused => Fate::Reply(Reply::permanent(553, (6, 7), cause)),
        // RFC 8689 5: X.7.30, REQUIRETLS support required.
        ClientError::RequireTlsUnavailable => Fate::Reply(Reply::permanent(550, (7, 30), cause)),
        ClientError::Closed { reply, .. } if reply.class() == ReplyClass::Transient => Fate::Reply(reply.clone()),
        ClientError::Tls(_) | ClientError::TlsUnavailable => Fate::Failed { class: FailureClass::Tls, cause },
        ClientError::Closed { .. }
        | ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::Lost { .. }
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::Protocol { .. } => Fate::Failed { class: FailureClass::Connect, cause },
    }
}

/// `mx.example.org [192.0.2.1]:25`, as evidence.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]:{}", self.host, self.addr.ip(), self.addr.port())
    }
}
