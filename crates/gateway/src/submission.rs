//! Submission (RFC 6409): mail of people who logged in, to anywhere.
//!
//! Nothing is taken before a login. A sender is one of the login's own addresses, in the envelope and in From, unless its
//! role may send as others. A missing Date or Message-ID is added (RFC 6409 8), the mail is signed with the
//! organisation's keys, and then it goes two ways: to recipients of ours through the same judging as any mail, to others
//! into the outbound queue. Both in one commit: what fails, and what is refused here, was sent to nobody.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use directory::{ClientScope, DirectoryError, Sasl, SaslMechanism, SaslStep};
use message::dkim::{KeptKey, Signer};
use message::{ParseContext, headers, seven_bit};
use model::{
    Address, AuthFacts, AuthResult, ClientInfo, Domain, Envelope, Facts, MessageId, Permission, Reply, SqlText,
    SubmissionLogin,
};
use outbound::{NewDelivery, delivery_ops, queued_copy_ops};
use smtp::Handler;
use smtp::server::{LoginExchange, LoginStep};
use store::{BodyRef, Op, Topic, Value, values};

use crate::Gateway;
use crate::enrich::Mail;
use crate::gateway::{Resolved, accepted, in_circles, later, refusal};
use crate::writing::Writing;

/// What is offered, best first.
pub(crate) const MECHANISMS: &[&str] = &["SCRAM-SHA-256", "PLAIN", "LOGIN"];

/// The handler of a submission listener.
pub(crate) struct Submission {
    pub(crate) gateway: Gateway,
}

struct Exchange(Sasl);

impl LoginExchange for Exchange {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pin<Box<dyn Future<Output = LoginStep> + Send + 'a>> {
        Box::pin(async move {
            match self.0.step(response).await {
                Ok(SaslStep::Challenge(challenge)) => LoginStep::Challenge(challenge),
                Ok(SaslStep::Done(login)) => LoginStep::Done(SubmissionLogin {
                    account_id: login.account_id,
                    person_id: login.person_id,
                    address: login.address,
                    may_send_as_others: login.role.may(Permission::MailSendAs),
                }),
                Ok(SaslStep::Wrong) => LoginStep::Refused(Reply::permanent(535, (7, 8), "login or password is wrong")),
                Ok(SaslStep::Malformed) => {
                    LoginStep::Refused(Reply::permanent(501, (5, 2), "not a response of this mechanism"))
                }
                Err(DirectoryError::Throttled { .. }) => {
                    LoginStep::Refused(Reply::transient(454, (7, 0), "too many wrong tries, try again later"))
                }
                Err(error) => {
                    tracing::warn!("a login could not be checked: {error}");
                    LoginStep::Refused(Reply::transient(454, (7, 0), "logging in is not possible now"))
                }
            }
        })
    }
}

impl Handler for Submission {
    fn login(&self, client: &ClientInfo, mechanism: &'static str) -> Option<Box<dyn LoginExchange>> {
        let mechanism = SaslMechanism::parse(mechanism)?;
        let directory = &self.gateway.inner.directory;
        Some(Box::new(Exchange(directory.sasl(mechanism, ClientScope::Submission, Some(client.ip)))))
    }

    async fn connect(&self, client: &ClientInfo) -> Result<(), Reply> {
        self.gateway.connect(client).await
    }

    async fn mail(&self, envelope: &Envelope) -> Result<(), Reply> {
        let login = login_of(envelope)?;
        self.gateway.inner.limits.login_mail(login, self.gateway.inner.store.now())?;
        match envelope.reverse_path.address() {
            Some(sender) if !self.may_send_as(login, sender).await? => Err(not_yours()),
            Some(_) | None => Ok(()),
        }
    }

    async fn rcpt(&self, envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        let login = login_of(envelope)?;
        self.gateway.inner.limits.login_rcpt(login, self.gateway.inner.store.now())?;
        match self.gateway.inner.resolve(recipient).await? {
            // Nobody's program speaks to what listens on this machine, or in its neighbourhood, through us.
            Resolved::Foreign if is_nearby(recipient.domain()) => {
                Err(Reply::permanent(550, (1, 2), "no mail goes to this address"))
            }
            Resolved::Foreign => self.gateway.can_store(),
            Resolved::Here(_) | Resolved::ReturnPath | Resolved::Unknown | Resolved::NoPostmaster => {
                self.gateway.rcpt(envelope, recipient).await
            }
        }
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        self.submit(envelope, body).await.unwrap_or_else(|refusal| refusal)
    }
}

impl Submission {
    async fn submit(&self, envelope: Envelope, body: Vec<u8>) -> Result<Reply, Reply> {
        let inner = &self.gateway.inner;
        let received_at = inner.store.now();
        let limits = inner.config.limits;
        let context = ParseContext { received_at, envelope: &envelope, own_domains: &[], limits };
        let facts = message::parse_header(&body, &context);
        if facts.header.received_count >= inner.config.received_count_max {
            return Err(in_circles());
        }
        let from = self.originator(login_of(&envelope)?, &facts).await?;
        let id: MessageId = inner.store.next_id();
        let body = complete(body, &facts, id, &from, received_at);
        let (ours, others) = self.split(&envelope).await?;
        let outgoing = match others {
            Some(envelope) => Some(self.outgoing(&envelope, body.clone(), &facts, &from, id).await?),
            None => None,
        };
        let reply = match (ours, &outgoing) {
            (Some(envelope), outgoing) => {
                let mail = Mail { envelope: Arc::new(envelope), body, received_at };
                inner.receive(&mail, outgoing.as_ref()).await?
            }
            (None, Some(outgoing)) => {
                inner.store.commit(outgoing.writing().submission()).await.map_err(|error| refusal(&error))?;
                accepted(id)
            }
            (None, None) => return Err(later()),
        };
        if outgoing.is_some() && reply.is_completion() {
            inner.store.bus().announce(Topic::Delivery, id.0);
        }
        Ok(reply)
    }

    /// The address in From, when the login may write it there. Several, or none that is an address, are refused.
    async fn originator(&self, login: &SubmissionLogin, facts: &Facts) -> Result<Address, Reply> {
        let [from] = &facts.header.from[..] else {
            return Err(Reply::permanent(550, (6, 0), "one From address is needed"));
        };
        let no_address = |_| Reply::permanent(550, (6, 0), "the From address is not valid");
        let from = Address::parse(&from.address).map_err(no_address)?;
        match self.may_send_as(login, &from).await? {
            true => Ok(from),
            false => Err(not_yours()),
        }
    }

    /// Its own addresses reach its own mailbox.
    async fn may_send_as(&self, login: &SubmissionLogin, address: &Address) -> Result<bool, Reply> {
        let inner = &self.gateway.inner;
        if login.may_send_as_others && inner.directory.is_own_domain(address.domain()) {
            return Ok(true);
        }
        Ok(inner.look_up(address).await?.is_some_and(|recipient| recipient.person_id == login.person_id))
    }

    /// The envelope for recipients of ours, and the one for others.
    async fn split(&self, envelope: &Envelope) -> Result<(Option<Envelope>, Option<Envelope>), Reply> {
        let blank = || Envelope { forward_paths: Vec::new(), rcpt_options: Vec::new(), ..envelope.clone() };
        let (mut ours, mut others) = (blank(), blank());
        for (index, path) in envelope.forward_paths.iter().enumerate() {
            let is_foreign = matches!(self.gateway.inner.resolve(path).await?, Resolved::Foreign);
            let side = if is_foreign { &mut others } else { &mut ours };
            side.forward_paths.push(path.clone());
            side.rcpt_options.push(envelope.options_of(index));
        }
        let named = |side: Envelope| (!side.forward_paths.is_empty()).then_some(side);
        Ok((named(ours), named(others)))
    }

    /// For the outbound queue: one message, a copy and a hand-over for each recipient.
    async fn outgoing(
        &self,
        envelope: &Envelope,
        body: Bytes,
        facts: &Facts,
        from: &Address,
        id: MessageId,
    ) -> Result<Outgoing, Reply> {
        let inner = &self.gateway.inner;
        let body = self.signed(envelope, body, from, id).await?;
        let organisation_id = inner.directory.id();
        let mut rows = Vec::new();
        for (index, path) in envelope.forward_paths.iter().enumerate() {
            let (copy_id, reverse_path) = (inner.store.next_id(), envelope.reverse_path.clone());
            let mut new = NewDelivery::now(&inner.store, organisation_id, copy_id, id, reverse_path, path.clone());
            new.options = envelope.options.clone();
            new.rcpt_options = envelope.options_of(index);
            rows.extend(queued_copy_ops(&new, None));
            rows.extend(delivery_ops(new));
        }
        let subject = SqlText::new(&facts.header.subject);
        let name = facts.header.from.first().map_or("", |from| from.name.as_str());
        let message_id_header = headers::field(&body, "Message-ID").unwrap_or_default();
        let before = values![id, organisation_id, "outbound"];
        let after = values![
            SqlText::indexed(&message_id_header),
            SqlText::new(&envelope.reverse_path.to_string()),
            SqlText::indexed(&from.key()),
            SqlText::new(name),
            &subject,
            subject.to_lower(),
            envelope.client.ip.to_string(),
            SqlText::new(&envelope.client.helo),
            inner.store.now(),
            None::<i64>,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
        ];
        Ok(Outgoing { body, before: before.to_vec(), after: after.to_vec(), rows })
    }

    /// With its trace field, and signed for the From domain. A domain without a key goes unsigned.
    async fn signed(&self, envelope: &Envelope, body: Bytes, from: &Address, id: MessageId) -> Result<Bytes, Reply> {
        let inner = &self.gateway.inner;
        let keys = inner.directory.dkim_keys().await.map_err(|error| {
            tracing::warn!("the DKIM keys cannot be read: {error}");
            later()
        })?;
        let trace = headers::received(&headers::Received {
            envelope,
            by: &inner.config.hostname,
            id: &id.to_string(),
            at: inner.store.now(),
            recipient: if let [only] = &envelope.forward_paths[..] { Some(only) } else { None },
        });
        let domain = from.domain().clone();
        let written = tokio::task::spawn_blocking(move || {
            // RFC 6376 5.3: before it is signed, so that the signature holds at a host that takes 7 bits only.
            let body = seven_bit::before_signing(&body).map_or(body, Bytes::from);
            let kept = keys.iter().map(|key| KeptKey { selector: &key.selector, domain: &key.domain, pem: &key.pem });
            let signer = Signer::nearest(kept, &domain);
            let signature = signer.and_then(|signer| signer.map(|signer| signer.sign(&body)).transpose());
            let signature = signature.inspect_err(|error| tracing::error!("a mail was not signed: {error}"));
            Bytes::from([signature.ok().flatten().unwrap_or_default().as_slice(), trace.as_bytes(), &body].concat())
        });
        written.await.map_err(|_| later())
    }
}

/// What goes to others of a mail: its body, signed, and its rows.
#[derive(Clone)]
pub(crate) struct Outgoing {
    body: Bytes,
    /// The values of `message.insert` on both sides of the body's place.
    before: Vec<Value>,
    after: Vec<Value>,
    /// Copies and hand-overs.
    rows: Vec<Op>,
}

impl Outgoing {
    pub(crate) fn writing(&self) -> Writing {
        let Outgoing { body, before, after, rows } = self.clone();
        Writing::with_body(body, move |place: &BodyRef| {
            let whole = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
            let place = values![place.pack_id, whole(place.offset), whole(place.bytes), &place.sha256];
            let message = before.iter().chain(&place).chain(&after).cloned().collect();
            let mut ops = vec![Op::Insert("message.insert", message)];
            ops.extend(rows.iter().cloned());
            ops
        })
    }
}

/// RFC 6409 8: Message-ID and Date are added when they are missing. Return-Path is not a submitter's to write.
fn complete(body: Vec<u8>, facts: &Facts, id: MessageId, from: &Address, now: model::Timestamp) -> Bytes {
    let mut missing = String::new();
    if facts.header.date_at.is_none() && headers::field(&body, "Date").is_none() {
        missing += &format!("Date: {}\r\n", now.to_rfc5322());
    }
    if facts.header.message_id.is_empty() {
        missing += &format!("Message-ID: <{id}@{}>\r\n", from.domain());
    }
    let clean = headers::remove_fields(&body, &["Return-Path", "Bcc"]);
    let clean = headers::below_our_fields(&clean);
    match missing.is_empty() && clean.len() == body.len() {
        true => Bytes::from(body),
        false => Bytes::from([missing.as_bytes(), &clean].concat()),
    }
}

/// What a login proves of a mail whose From was checked against it: as much as DMARC can.
pub(crate) fn authenticated(facts: &Facts, mut auth: AuthFacts) -> AuthFacts {
    auth.dmarc = AuthResult::Pass;
    auth.dmarc_domain = facts.from().domain().to_owned();
    auth.composite = model::Composite { result: model::CompositeResult::Pass, reason: 100 };
    auth
}

/// An address literal (RFC 5321 4.1.3) of this machine, of its link, or of everybody.
fn is_nearby(domain: &Domain) -> bool {
    let Some(literal) = domain.as_str().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    let literal = literal.strip_prefix("ipv6:").unwrap_or(literal);
    match literal.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast()
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast()
        }
        Err(_) => true, // no address at all
    }
}

fn login_of(envelope: &Envelope) -> Result<&SubmissionLogin, Reply> {
    envelope.client.login.as_ref().ok_or_else(|| Reply::permanent(530, (7, 0), "log in first"))
}

/// RFC 6409 6.1.
fn not_yours() -> Reply {
    Reply::permanent(550, (7, 1), "this sender address is not yours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_the_neighbourhood() {
        let check =
            |domain: &str, expected: bool| assert_eq!(is_nearby(&Domain::parse(domain).unwrap()), expected, "{domain}");
        for near in ["[127.0.0.1]", "[127.9.9.9]", "[0.0.0.0]", "[169.254.1.1]", "[224.0.0.1]", "[255.255.255.255]"] {
            check(near, true);
        }
        for near in
            ["[IPv6:::1]", "[ipv6:::]", "[IPv6:fe80::1]", "[IPv6:ff02::1]", "[IPv6:::ffff:127.0.0.1]", "[::1]", "[x]"]
        {
            check(near, true);
        }
        for far in ["[203.0.113.9]", "[IPv6:2001:db8::9]", "localhost.example", "fabrikam.example"] {
            check(far, false);
        }
    }
}
