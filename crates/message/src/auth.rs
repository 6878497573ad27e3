//! Authentication of a received message: SPF (RFC 7208), DKIM (RFC 6376, 8463), DMARC (RFC 9989) and ARC (RFC 8617).
//!
//! SPF is ours (`spf`); the other checks are the library's, and what their outcomes mean as facts is decided here. Trouble
//! with names is always `temperror`, never `fail`, and without a network everything reads `none`. Names are asked for
//! through our resolver first, so that one question serves all messages that wait for it and the library finds the answer.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use futures::FutureExt;
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, DnsError, Error, MX, MessageAuthenticator,
    Parameters, RecordSet, ResolverCache, SpfOutput, SpfResult, Txt,
};
use model::{ArcSetFact, AuthFacts, AuthResult, DkimFact, DmarcPolicy, Envelope};

use crate::Limits;
use crate::arc::{ARC_SETS_MAX, tag};
use crate::decode::short_text;
use crate::field::Section;
use crate::spf;

/// DKIM signatures that are checked of one message; the rest is not looked at.
pub const DKIM_SIGNATURES_MAX: usize = 8;
/// Domains of From fields for which DMARC is asked; whoever writes more has failed.
const FROM_DOMAINS_MAX: usize = 4;
/// Sets of an ARC chain that are kept as facts, the newest.
const ARC_SET_FACTS_MAX: usize = 10;
/// Records of one kind that are kept parsed.
const CACHE_ENTRIES_MAX: usize = 10_000;
/// Characters kept of a domain or selector that a signature names.
const NAME_CHARS_MAX: usize = 255;
/// RFC 8301 3.2: keys below 1,024 bits are not believed. The smallest such key takes 140 octets (PKCS#1).
const RSA_KEY_BYTES_MIN: usize = 136;

/// Checks messages. Cheap to clone; clones share the caches, so that a key is looked up once for a whole campaign.
#[derive(Clone)]
pub struct Authenticator {
    inner: Option<MessageAuthenticator>,
    resolver: dns::Resolver,
    caches: Arc<Caches>,
    host: String,
}

#[derive(Default)]
struct Caches {
    txt: Cache<Box<str>, Txt>,
    mx: Cache<Box<str>, RecordSet<MX>>,
    ipv4: Cache<Box<str>, RecordSet<Ipv4Addr>>,
    ipv6: Cache<Box<str>, RecordSet<Ipv6Addr>>,
    ptr: Cache<IpAddr, RecordSet<Box<str>>>,
}

type Params<'x, P> = Parameters<
    'x,
    P,
    Cache<Box<str>, Txt>,
    Cache<Box<str>, RecordSet<MX>>,
    Cache<Box<str>, RecordSet<Ipv4Addr>>,
    Cache<Box<str>, RecordSet<Ipv6Addr>>,
    Cache<IpAddr, RecordSet<Box<str>>>,
>;

impl Caches {
    fn with<'x, P>(&'x self, params: P) -> Params<'x, P> {
        Parameters {
            params,
            cache_txt: Some(&self.txt),
            cache_mx: Some(&self.mx),
            cache_ptr: Some(&self.ptr),
            cache_ipv4: Some(&self.ipv4),
            cache_ipv6: Some(&self.ipv6),
        }
    }
}

impl Authenticator {
    /// Checks against the names that `resolver` knows, as the host `host` (its name in SPF macros).
    pub fn new(resolver: &dns::Resolver, host: impl Into<String>) -> Self {
        Authenticator {
            inner: resolver.tokio().cloned().map(MessageAuthenticator),
            resolver: resolver.clone(),
            caches: Arc::default(),
            host: host.into(),
        }
    }

    /// Checks one message within `deadline`, which the caller chose. Never fails: what could not be found out in time
    /// reads `temperror`, and what was found out by then is kept.
    pub async fn authenticate(&self, raw: &[u8], envelope: &Envelope, deadline: Duration) -> AuthFacts {
        let Some(authenticator) = &self.inner else {
            return AuthFacts::default();
        };
        let facts = Mutex::new(unfinished(envelope));
        let steps = self.check(authenticator, raw, envelope, &facts);
        // A panic in the library costs this message its results, not the session. Whatever was found out by then stays;
        // what was not reads `temperror` from the start.
        let finished = tokio::time::timeout(deadline, AssertUnwindSafe(Box::pin(steps)).catch_unwind()).await;
        if !matches!(finished, Ok(Ok(()))) {
            tracing::debug!("authentication of a message was cut short");
        }
        facts.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(
        &self,
        authenticator: &MessageAuthenticator,
        raw: &[u8],
        envelope: &Envelope,
        facts: &Mutex<AuthFacts>,
    ) {
        let Some(mut message) = AuthenticatedMessage::parse(raw) else {
            edit(facts, |facts| (facts.dmarc, facts.arc) = (AuthResult::None, AuthResult::None));
            futures::join!(self.spf(envelope, facts), self.client_name(envelope, facts));
            return;
        };
        message.dkim_headers.truncate(DKIM_SIGNATURES_MAX);
        message.errors.truncate(DKIM_SIGNATURES_MAX);
        let from_domains = from_domains(raw, &message);
        edit(facts, |facts| {
            facts.dkim = message.dkim_headers.iter().map(|header| undecided(&header.header)).collect();
            facts.dmarc_domain = from_domains.first().cloned().unwrap_or_default();
            if from_domains.is_empty() {
                facts.dmarc = AuthResult::None;
            }
            if message.as_headers.is_empty() && message.ams_headers.is_empty() && !message.has_arc_errors {
                facts.arc = AuthResult::None;
            }
        });
        let (spf, dkim, (), ()) = futures::join!(
            self.spf(envelope, facts),
            self.dkim(authenticator, &message, facts),
            self.arc(authenticator, &message, &from_domains, facts),
            self.client_name(envelope, facts),
        );
        self.dmarc(authenticator, &from_domains, &spf, &dkim, facts).await;
    }

    /// RFC 7208 2.3, 2.4: the host's own name and the reverse-path, which for the null path are one check. DMARC rests on the
    /// reverse-path alone.
    async fn spf(&self, envelope: &Envelope, facts: &Mutex<AuthFacts>) -> SpfOutput {
        let of_helo = format!("postmaster@{}", helo_name(envelope));
        let by_helo = async {
            let result = self.spf_of(envelope, &of_helo).await;
            edit(facts, |facts| facts.spf_helo = result);
            result
        };
        // Each is kept as soon as it is known: one that takes too long takes nothing from the other.
        let result = match envelope.reverse_path.address() {
            Some(address) => {
                let sender = address.to_string();
                let by_path = async {
                    let result = self.spf_of(envelope, &sender).await;
                    edit(facts, |facts| facts.spf = result);
                    result
                };
                futures::join!(by_helo, by_path).1
            }
            None => {
                let result = by_helo.await;
                edit(facts, |facts| facts.spf = result);
                result
            }
        };
        let domain = edit(facts, |facts| facts.spf_domain.clone());
        SpfOutput::new(domain).with_result(spf_output(result))
    }

    async fn spf_of(&self, envelope: &Envelope, sender: &str) -> AuthResult {
        let (ip, helo) = (envelope.client.ip, helo_name(envelope));
        let question = spf::Question { ip, helo, sender, receiver: &self.host };
        spf::check_host(&self.resolver, question).await.result
    }

    /// Asks for the keys, then lets the library check. Gives the signatures that DMARC may rest on.
    async fn dkim<'x>(
        &'x self,
        authenticator: &MessageAuthenticator,
        message: &'x AuthenticatedMessage<'x>,
        facts: &Mutex<AuthFacts>,
    ) -> Vec<DkimOutput<'x>> {
        let names = message.dkim_headers.iter().map(|h| format!("{}._domainkey.{}", h.header.s, h.header.d));
        let keys = futures::future::join_all(names.map(async |name| {
            let record = self.resolver.txt(&name).await.unwrap_or_default().concat();
            (name, record)
        }))
        .await;
        let mut outputs = authenticator.verify_dkim(self.caches.with(message)).await;
        let found: Vec<DkimFact> = outputs.iter().map(|output| dkim_fact(output, &keys)).collect();
        let mut passed = found.iter().map(|fact| fact.result == AuthResult::Pass);
        outputs.retain(|_| passed.next().unwrap_or(false));
        drop(passed);
        edit(facts, |facts| facts.dkim = found);
        outputs
    }

    async fn arc(
        &self,
        authenticator: &MessageAuthenticator,
        message: &AuthenticatedMessage<'_>,
        from_domains: &[String],
        facts: &Mutex<AuthFacts>,
    ) {
        let sets_max = usize::try_from(ARC_SETS_MAX).unwrap_or(usize::MAX);
        let counts = [message.as_headers.len(), message.ams_headers.len(), message.aar_headers.len()];
        if counts == [0; 3] && !message.has_arc_errors {
            return edit(facts, |facts| facts.arc = AuthResult::None);
        }
        // A chain that is too long fails without being looked at, and so does one with a set that is not whole.
        let is_whole = !message.has_arc_errors && counts.iter().all(|count| *count <= sets_max && *count == counts[0]);
        // RFC 8617 4.1: SHA-256 alone; and RFC 6376 6.1.1 holds for the message signature that must still be true.
        let is_old = message.as_headers.iter().any(|h| h.header.a == Algorithm::RsaSha1)
            || message.ams_headers.iter().any(|h| h.header.a == Algorithm::RsaSha1);
        let signs_from = message.ams_headers.last().is_some_and(|h| names_from(&h.header.h));
        if !is_whole || is_old || !signs_from {
            return edit(facts, |facts| facts.arc = AuthResult::Fail);
        }
        let seals = message.as_headers.iter().map(|h| format!("{}._domainkey.{}", h.header.s, h.header.d));
        let _ = futures::future::join_all(seals.map(async |name| self.resolver.txt(&name).await.is_ok())).await;
        let output = authenticator.verify_arc(self.caches.with(message)).await;
        let result = match output.result() {
            DkimResult::Pass => AuthResult::Pass,
            DkimResult::None => AuthResult::None,
            DkimResult::TempError(_) => AuthResult::TempError,
            // RFC 8617 5.2: a chain passes or it fails.
            DkimResult::Fail(_) | DkimResult::Neutral(_) | DkimResult::PermError(_) => AuthResult::Fail,
        };
        let sets = message.as_headers.iter().zip(&message.aar_headers).rev().take(ARC_SET_FACTS_MAX);
        let sets = sets.map(|(seal, results)| ArcSetFact {
            domain: short_text(&seal.header.d, NAME_CHARS_MAX).to_lowercase(),
            dmarc: sealed_dmarc(results.value, from_domains),
        });
        let sets = if result == AuthResult::Pass { sets.collect() } else { Vec::new() };
        edit(facts, |facts| (facts.arc, facts.arc_sets) = (result, sets));
    }

    /// A name of the client that leads back to it. Trouble is no name.
    async fn client_name(&self, envelope: &Envelope, facts: &Mutex<AuthFacts>) {
        if let Some(name) = spf::client_name(&self.resolver, envelope.client.ip).await {
            edit(facts, |facts| facts.client_name = short_text(&name, NAME_CHARS_MAX));
        }
    }

    /// RFC 7489 6.6.1, RFC 9989 5: a message with several From domains is asked about for each, and the worst counts.
    async fn dmarc(
        &self,
        authenticator: &MessageAuthenticator,
        from_domains: &[String],
        spf: &SpfOutput,
        dkim: &[DkimOutput<'_>],
        facts: &Mutex<AuthFacts>,
    ) {
        let known = edit(facts, |facts| facts.clone());
        let mut worst: Option<(u8, AuthResult, DmarcPolicy, String)> = None;
        for domain in from_domains.iter().take(FROM_DOMAINS_MAX) {
            let message = AuthenticatedMessage { from: vec![format!("x@{domain}")], ..AuthenticatedMessage::default() };
            let params = DmarcParameters::new(&message, dkim, &known.spf_domain, spf);
            let output = authenticator.verify_dmarc(self.caches.with(params)).await;
            let result = dmarc_result(&output, &known);
            let policy = match output.policy() {
                Policy::Quarantine => DmarcPolicy::Quarantine,
                Policy::Reject => DmarcPolicy::Reject,
                Policy::None | Policy::Unspecified => DmarcPolicy::None,
            };
            let found = (badness(result), result, policy, short_text(domain, NAME_CHARS_MAX));
            let strictness = |found: &(u8, AuthResult, DmarcPolicy, String)| (found.0, found.2);
            if worst.as_ref().is_none_or(|known| strictness(known) < strictness(&found)) {
                worst = Some(found);
            }
        }
        let Some((_, mut result, policy, domain)) = worst else { return };
        if from_domains.len() > FROM_DOMAINS_MAX {
            result = AuthResult::Fail;
        }
        edit(facts, |facts| (facts.dmarc, facts.dmarc_policy, facts.dmarc_domain) = (result, policy, domain));
    }
}

/// The name a host gave itself; an address literal without its brackets is no domain and gives `none`.
fn helo_name(envelope: &Envelope) -> &str {
    envelope.client.helo.trim_matches(['[', ']'])
}

fn edit<R>(facts: &Mutex<AuthFacts>, change: impl FnOnce(&mut AuthFacts) -> R) -> R {
    change(&mut facts.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What stands before a step has finished.
fn unfinished(envelope: &Envelope) -> AuthFacts {
    let domain = envelope.reverse_path.address().map(|address| address.domain().as_str());
    AuthFacts {
        spf_domain: domain.unwrap_or(helo_name(envelope)).to_lowercase(),
        spf: AuthResult::TempError,
        spf_helo: AuthResult::TempError,
        dmarc: AuthResult::TempError,
        arc: AuthResult::TempError,
        ..AuthFacts::default()
    }
}

/// The domains of all mailboxes of all From fields, also of those behind a broken line: whatever a reader may be shown.
fn from_domains(raw: &[u8], message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let limits = Limits::default();
    let section = Section::read_on(raw, &limits);
    let ours = section.all("From").flat_map(|field| field.mailboxes(&limits, limits.originators_max));
    let ours: Vec<String> = ours.map(|mailbox| mailbox.domain().to_owned()).collect();
    let theirs = message.from.iter().filter_map(|from| Some(from.rsplit_once('@')?.1.to_lowercase()));
    let mut domains: Vec<String> = Vec::new();
    for domain in ours.into_iter().chain(theirs) {
        let domain = domain.trim_end_matches('.').to_owned();
        if !domain.is_empty() && !domains.contains(&domain) && domains.len() <= FROM_DOMAINS_MAX {
            domains.push(domain);
        }
    }
    domains
}

fn badness(result: AuthResult) -> u8 {
    match result {
        AuthResult::Pass => 0,
        AuthResult::None => 1,
        AuthResult::Neutral | AuthResult::SoftFail => 2,
        AuthResult::PermError => 3,
        AuthResult::TempError => 4,
        AuthResult::Fail => 5,
    }
}

fn spf_output(result: AuthResult) -> SpfResult {
    match result {
        AuthResult::Pass => SpfResult::Pass,
        AuthResult::Fail => SpfResult::Fail,
        AuthResult::SoftFail => SpfResult::SoftFail,
        AuthResult::Neutral => SpfResult::Neutral,
        AuthResult::TempError => SpfResult::TempError,
        AuthResult::PermError => SpfResult::PermError,
        AuthResult::None => SpfResult::None,
    }
}

/// A signature that was not looked at yet.
fn undecided(signature: &mail_auth::dkim::Signature) -> DkimFact {
    DkimFact {
        result: AuthResult::TempError,
        domain: short_text(&signature.d, NAME_CHARS_MAX).to_lowercase(),
        selector: short_text(&signature.s, NAME_CHARS_MAX),
        reason: "not checked in time".into(),
    }
}

fn dkim_fact(output: &DkimOutput<'_>, keys: &[(String, String)]) -> DkimFact {
    let signature = output.signature();
    let (domain, selector) = signature.map(|s| (s.d.as_str(), s.s.as_str())).unwrap_or_default();
    let key = keys.iter().find(|(name, _)| *name == format!("{selector}._domainkey.{domain}")).map(|(_, key)| key);
    let (result, reason) = match output.result() {
        // RFC 8301 3.1: what SHA-1 signed is not signed.
        DkimResult::Pass if signature.is_some_and(|s| s.a == Algorithm::RsaSha1) => {
            (AuthResult::PermError, "signed by SHA-1")
        }
        // RFC 6376 6.1.1: a signature that leaves From to anybody is ignored, and so is one of another version.
        DkimResult::Pass if !signature.is_some_and(|s| names_from(&s.h)) => {
            (AuthResult::PermError, "From is not signed")
        }
        DkimResult::Pass if signature.is_some_and(|s| s.v != 1) => (AuthResult::PermError, "signature is malformed"),
        DkimResult::Pass if !key.is_some_and(|key| is_key_for_mail(key)) => {
            (AuthResult::PermError, "key is not for mail, or not for this algorithm")
        }
        DkimResult::Fail(_) if key.is_some_and(|key| is_short_rsa_key(key)) => (AuthResult::PermError, "key too short"),
        result => dkim_result(result),
    };
    DkimFact {
        result,
        domain: short_text(domain, NAME_CHARS_MAX).to_lowercase(),
        selector: short_text(selector, NAME_CHARS_MAX),
        reason: reason.into(),
    }
}

/// The library calls a wrong body hash and an expired signature "neutral"; RFC 6376 6.1 fails both. A signature that covers a
/// part of the body only (`l=`) says nothing about what a reader sees (8.2): `neutral`, whether or not it would hold.
fn dkim_result(result: &DkimResult) -> (AuthResult, &'static str) {
    let error = match result {
        DkimResult::Pass => return (AuthResult::Pass, ""),
        DkimResult::None => return (AuthResult::None, "not signed"),
        DkimResult::TempError(_) => return (AuthResult::TempError, "key could not be looked up"),
        DkimResult::Fail(error) | DkimResult::Neutral(error) | DkimResult::PermError(error) => error,
    };
    match (error, result) {
        (Error::Dkim(DkimError::FailedBodyHashMatch), _) => (AuthResult::Fail, "body hash did not verify"),
        (Error::Dkim(DkimError::SignatureExpired), _) => (AuthResult::Fail, "signature expired"),
        (Error::Dkim(DkimError::FailedAuidMatch), _) => (AuthResult::PermError, "identity outside of the domain"),
        (Error::Dkim(DkimError::RevokedPublicKey), _) => (AuthResult::PermError, "key revoked"),
        (Error::Dkim(DkimError::SignatureLength), _) => (AuthResult::Neutral, "a part of the body is not signed"),
        (Error::Dns(DnsError::Resolver(_)), _) => (AuthResult::TempError, "key could not be looked up"),
        (Error::Dns(_), _) => (AuthResult::PermError, "no key for signature"),
        (_, DkimResult::Fail(_)) => (AuthResult::Fail, "signature did not verify"),
        _ => (AuthResult::PermError, "signature is malformed"),
    }
}

fn names_from(signed: &[String]) -> bool {
    signed.iter().any(|name| name.trim().eq_ignore_ascii_case("from"))
}

/// RFC 6376 3.6.1: `s=` names the services that a key is for (RFC 8460 3 has keys for reports alone), `h=` the hashes that
/// it may be used with. Whatever signs here by SHA-256.
fn is_key_for_mail(record: &str) -> bool {
    let lists = |name: &str, wanted: &[&str]| {
        let is_wanted = |word: &str| wanted.iter().any(|wanted| word.trim().eq_ignore_ascii_case(wanted));
        tag(record, name).is_none_or(|value| value.split(':').any(is_wanted))
    };
    lists("s", &["*", "email"]) && lists("h", &["sha256"])
}

fn is_short_rsa_key(record: &str) -> bool {
    let is_rsa = tag(record, "k").is_none_or(|kind| kind.eq_ignore_ascii_case("rsa"));
    let key: String = tag(record, "p").unwrap_or_default().split_whitespace().collect();
    is_rsa && BASE64.decode(key.as_bytes()).is_ok_and(|key| !key.is_empty() && key.len() < RSA_KEY_BYTES_MIN)
}

/// What a set says of DMARC for the From domain that stands there now, past comments. A seal covers the From field that was
/// there when it was made: one that was added in front of it is not vouched for, nor is another domain than was checked.
fn sealed_dmarc(value: &[u8], from_domains: &[String]) -> AuthResult {
    let text = without_comments(&String::from_utf8_lossy(value));
    let found = text.split(';').find_map(|part| {
        let (name, rest) = part.trim_start().split_once('=')?;
        let word = rest.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next()?;
        let result = AuthResult::parse(&word.to_ascii_lowercase())?;
        name.trim().eq_ignore_ascii_case("dmarc").then_some((result, part))
    });
    let Some((result, part)) = found else { return AuthResult::None };
    let checked = part.split_ascii_whitespace().find_map(|word| {
        let (name, value) = word.split_once('=')?;
        name.eq_ignore_ascii_case("header.from").then(|| value.trim_matches('"').trim_end_matches('.').to_lowercase())
    });
    match from_domains {
        [only] if checked.as_ref().is_none_or(|checked| checked == only) => result,
        _ => AuthResult::None,
    }
}

fn without_comments(text: &str) -> String {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    let keep = |c: &char| {
        if std::mem::take(&mut is_escaped) {
            return depth == 0;
        }
        match c {
            '\\' => is_escaped = true,
            '(' => depth += 1,
            ')' if depth > 0 => {
                depth -= 1;
                return false;
            }
            _ => {}
        }
        depth == 0
    };
    text.chars().filter(keep).collect()
}

/// Pass when either identity passed and is aligned. Without a pass, trouble with names on the way leaves it open:
/// the identity that could not be checked might have been the aligned one.
fn dmarc_result(output: &DmarcOutput, facts: &AuthFacts) -> AuthResult {
    let results = [output.spf_result(), output.dkim_result()];
    if results.iter().any(|r| **r == DmarcResult::Pass) {
        return AuthResult::Pass;
    }
    if results.iter().any(|r| matches!(r, DmarcResult::TempError(_))) {
        return AuthResult::TempError;
    }
    if output.dmarc_record().is_none() {
        let broken = results.iter().any(|r| matches!(r, DmarcResult::PermError(_)));
        return if broken { AuthResult::PermError } else { AuthResult::None };
    }
    let open = facts.spf == AuthResult::TempError || facts.dkim.iter().any(|d| d.result == AuthResult::TempError);
    if open { AuthResult::TempError } else { AuthResult::Fail }
}

/// Parsed records until their time runs out, at most [`CACHE_ENTRIES_MAX`].
struct Cache<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> ResolverCache<K, V> for Cache<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = entries.get(name)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name).map(|(value, _)| value)
    }

    fn insert(&self, key: K, value: V, valid_until: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHE_ENTRIES_MAX {
            let now = Instant::now();
            entries.retain(|_, (_, until)| *until > now);
            if entries.len() >= CACHE_ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (value, valid_until));
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("host", &self.host)
            .field("network", &self.inner.is_some())
            .finish_non_exhaustive()
    }
}
