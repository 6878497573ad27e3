//! One try: a job over a connection, and what became of each of its deliveries.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use message::{headers, seven_bit};
use model::{Address, Reply, ReplyClass, ReversePath};
use smtp::client::{Capabilities, Client, ClientError, Mail, MailOptions, Outcome, Phase, RecipientOptions};

use crate::FailureClass;
use crate::desk::{Claimed, Job};
use crate::routes::{RouteFailure, Target};

/// For the whole of one transaction, whatever its phases allow one by one.
const TRANSACTION_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A connection and whom it leads to.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) target: Target,
    pub(crate) mail_count: u32,
    /// It leads to our own gateway.
    pub(crate) is_own: bool,
    /// It goes in clear because TLS did not work, now or lately.
    pub(crate) is_tls_given_up: bool,
}

/// What became of one transaction.
pub(crate) struct Sent {
    pub(crate) tried: Vec<Tried>,
    /// Those whom the host had no room for in this transaction while it took others (RFC 5321 4.5.3.1.10): they go at once,
    /// in the next one.
    pub(crate) rest: Option<Job>,
    /// Whether the connection can be used again.
    pub(crate) is_usable: bool,
}

/// The host took nothing of the job, and another connection may do better.
pub(crate) struct Untaken {
    pub(crate) job: Job,
    pub(crate) error: ClientError,
    /// The connection had idled, so that the same host may well take it; otherwise the next host may.
    pub(crate) is_stale: bool,
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
    /// The host refuses our name and password: it concerns all mail and somebody has to look.
    pub(crate) is_login_refused: bool,
}

/// What a route without targets means for its deliveries.
pub(crate) fn no_route(failure: &RouteFailure) -> NoConnection {
    let cause = failure.to_string();
    let fate = match failure {
        RouteFailure::Dns(_) => Fate::Failed { class: FailureClass::Dns, cause },
        RouteFailure::Policy(_) => Fate::Failed { class: FailureClass::Tls, cause },
        RouteFailure::NullMx | RouteFailure::NoHost | RouteFailure::Loop(_) | RouteFailure::RequireTls => {
            Fate::Reply(Reply::permanent(550, failure.enhanced(), cause))
        }
    };
    NoConnection { fate, host: String::new(), slower: None, is_login_refused: false }
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
    /// Sends one job.
    ///
    /// # Errors
    /// The job comes back when the host took nothing of it and another connection may do better.
    pub(crate) async fn send(&mut self, job: Job, body: &Bytes) -> Result<Sent, Untaken> {
        let is_reused = self.mail_count > 0;
        self.mail_count += 1;
        let Job { message_id, reverse_path, body: place, deliveries } = job;
        let again =
            |deliveries| Job { message_id, reverse_path: reverse_path.clone(), body: place.clone(), deliveries };
        let (good, mut tried) = self.sort_out(deliveries, &reverse_path);
        let recipients: Vec<Address> = good.iter().filter_map(|d| on_the_wire(d.recipient.as_ref()?)).collect();
        if recipients.is_empty() {
            return Ok(Sent { tried, rest: None, is_usable: true });
        }
        let from = match reverse_path.address().and_then(on_the_wire) {
            Some(address) => ReversePath::Address(address),
            None => reverse_path.clone(),
        };
        let mail = Mail { reverse_path: &from, recipients: &recipients };
        let sending = tokio::time::timeout(TRANSACTION_DEADLINE, self.transact(&mail, &good, body)).await;
        match sending.unwrap_or_else(|_elapsed| Err(self.client.interrupted())) {
            Ok(outcome) => {
                let fates = fates(&outcome, good.len());
                let has_taken = fates.iter().any(|fate| matches!(fate, Fate::Reply(reply) if reply.is_completion()));
                let mut rest = Vec::new();
                for (delivery, fate) in good.into_iter().zip(fates) {
                    match &fate {
                        Fate::Reply(reply) if has_taken && is_one_too_many(reply) => rest.push(delivery),
                        Fate::Reply(_) | Fate::Failed { .. } => tried.push(self.tried(delivery, fate)),
                    }
                }
                let rest = (!rest.is_empty()).then(|| again(rest));
                Ok(Sent { tried, rest, is_usable: self.client.is_usable() })
            }
            Err(error) => {
                let is_stale = is_reused && is_stale(&error);
                if is_stale || (!is_reused && is_host_trouble(&error) && self.client.refused().is_empty()) {
                    let all = good.into_iter().chain(tried.into_iter().map(|one| one.delivery)).collect();
                    return Err(Untaken { job: again(all), error, is_stale });
                }
                let is_usable = error.is_before_sending() && self.client.is_usable();
                // What the connection remembers of refusals is about this mail only if this mail was begun.
                let refused: &[(usize, Reply)] = if error.is_before_sending() { &[] } else { self.client.refused() };
                let refused: HashMap<usize, Reply> = refused.iter().cloned().collect();
                for (at, delivery) in good.into_iter().enumerate() {
                    let fate =
                        refused.get(&at).map_or_else(|| fate_of_error(&error), |reply| Fate::Reply(recode(reply)));
                    tried.push(self.tried(delivery, fate));
                }
                Ok(Sent { tried, rest: None, is_usable })
            }
        }
    }

    fn tried(&self, delivery: Claimed, fate: Fate) -> Tried {
        let fate = match fate {
            Fate::Reply(reply) if self.wants_tls_back(&reply) => {
                Fate::Failed { class: FailureClass::Tls, cause: format!("in clear after TLS failed: {reply}") }
            }
            Fate::Reply(_) | Fate::Failed { .. } => fate,
        };
        Tried {
            delivery,
            fate,
            host: self.target.to_string(),
            is_encrypted: self.client.tls().is_some(),
            peer_has_dsn: self.client.capabilities().dsn,
        }
    }

    /// A host that offers TLS, with which TLS failed, and that takes nothing without (RFC 3207 4): it speaks of the connection,
    /// and later TLS may work.
    fn wants_tls_back(&self, reply: &Reply) -> bool {
        const STARTTLS_FIRST: u16 = 530;
        reply.code() == STARTTLS_FIRST && self.is_tls_given_up && self.client.tls().is_none()
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

    /// One transaction, with the body as this host can take it.
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
            // RFC 8689 is about the way between hosts; our own gateway is behind no network.
            require_tls: first.is_some_and(|o| o.require_tls) && !self.is_own,
        };
        let body = fit(body, self.client.capabilities())?;
        self.client.send_with(mail, &options, &body).await
    }

    pub(crate) async fn quit(self) {
        self.client.quit().await;
    }
}

/// The body as a host can take it. Without 8BITMIME (RFC 6152 3) or, for a header section beyond ASCII, without SMTPUTF8
/// (RFC 6531 3.1) it becomes 7 bits, where that breaks no signature. What is signed and only has names of people or a
/// subject in UTF-8 goes to a host with 8BITMIME as it came.
fn fit<'a>(body: &'a [u8], host: &Capabilities) -> Result<Cow<'a, [u8]>, ClientError> {
    let is_header_trouble = || !host.smtputf8 && !headers::section(body).is_ascii();
    if body.is_ascii() || (host.eight_bit_mime && !is_header_trouble()) {
        return Ok(Cow::Borrowed(body));
    }
    match seven_bit::convert(body) {
        Some(converted) => Ok(Cow::Owned(converted)),
        None if !host.smtputf8 && seven_bit::needs_smtputf8(body) => Err(ClientError::Utf8Refused),
        None if host.eight_bit_mime => Ok(Cow::Borrowed(body)),
        None => Err(ClientError::EightBitRefused),
    }
}

/// A host may close a connection that idles, or after as many mails as it likes: no fault of this mail.
fn is_stale(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset | Phase::Rcpt),
        // Out of step: what it says now answers something else.
        ClientError::Closed { phase, .. } | ClientError::Protocol { phase, .. } => {
            matches!(phase, Phase::Mail | Phase::Reset)
        }
        ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::UnclearEnd { .. }
        | ClientError::Tls(_)
        | ClientError::TlsUnavailable
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::RequireTlsUnavailable
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}

/// The host took nothing and said nothing about the mail: a less preferred one may take it (RFC 5321 5.1).
fn is_host_trouble(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { phase, .. }
        | ClientError::Timeout { phase }
        | ClientError::Protocol { phase, .. }
        | ClientError::Closed { phase, .. } => {
            matches!(phase, Phase::Reset | Phase::Mail | Phase::Rcpt | Phase::DataStart)
        }
        // RFC 8689 4.2.1: each host is asked whether it does REQUIRETLS before the mail is given up.
        ClientError::RequireTlsUnavailable => true,
        ClientError::Connect(_)
        | ClientError::UnclearEnd { .. }
        | ClientError::Tls(_)
        | ClientError::TlsUnavailable
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}

/// Whether a recipient was one too many for this transaction (RFC 5321 4.5.3.1.10), by the status 4.5.3 or in words.
fn is_one_too_many(reply: &Reply) -> bool {
    const STATUS: (u16, u16) = (5, 3);
    let says_so = || reply.lines().iter().any(|line| line.to_ascii_lowercase().contains("too many recipients"));
    matches!(reply.code(), 452 | 552)
        && (reply.enhanced().is_some_and(|code| (code.subject, code.detail) == STATUS) || says_so())
}

/// RFC 5321 4.5.3.1.10: for one recipient too many, 552 is an error of RFC 821 and means 452.
fn recode(reply: &Reply) -> Reply {
    if reply.code() != 552 || !is_one_too_many(reply) {
        return reply.clone();
    }
    Reply::received(452, Some((4, 5, 3)), reply.lines().to_vec())
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
            (_, false) => Fate::Reply(recode(reply)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_recipient_too_many_is_no_refusal() {
        let reply = |code, enhanced, text: &str| Reply::received(code, enhanced, vec![text.to_owned()]);
        for (given, is_too_many) in [
            (reply(452, Some((4, 5, 3)), "Error: too many recipients"), true),
            (reply(452, None, "Too many recipients"), true),
            (reply(552, None, "too many recipients"), true),
            (reply(552, Some((5, 5, 3)), "limit"), true),
            (reply(452, Some((4, 2, 2)), "mailbox full"), false),
            (reply(452, None, "insufficient system storage"), false),
            (reply(552, Some((5, 2, 2)), "mailbox full"), false),
            (reply(550, None, "too many recipients that are not there"), false),
        ] {
            assert_eq!(is_one_too_many(&given), is_too_many, "{given}");
            let class = if is_too_many { ReplyClass::Transient } else { given.class() };
            assert_eq!(recode(&given).class(), class, "{given}");
        }
    }
}
