//! Authentication of a received message: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989) and ARC (RFC 8617).
//!
//! The checks are the library's; what their outcomes mean as facts is decided here. Trouble with names is always
//! `temperror`, never `fail`, and without a network everything reads `none`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, MX, MessageAuthenticator,
    Parameters, RecordSet, ResolverCache, SpfResult, Txt,
};
use model::{AuthFacts, AuthResult, DkimFact, DmarcPolicy, Envelope};

use crate::decode::short_text;

/// DKIM signatures that are checked of one message; the rest is not looked at.
pub const DKIM_SIGNATURES_MAX: usize = 8;
/// Records of one kind that are kept parsed.
const CACHE_ENTRIES_MAX: usize = 10_000;
/// Characters kept of a domain or selector that a signature names.
const NAME_CHARS_MAX: usize = 255;

/// Checks messages. Cheap to clone; clones share the caches, so that a key is looked up once for a whole campaign.
#[derive(Clone)]
pub struct Authenticator {
    inner: Option<MessageAuthenticator>,
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
        let mut facts = AuthFacts::default();
        let steps = self.check(authenticator, raw, envelope, &mut facts);
        // A panic in the library costs this message its results, not the session.
        let finished = tokio::time::timeout(deadline, AssertUnwindSafe(Box::pin(steps)).catch_unwind()).await;
        if !matches!(finished, Ok(Ok(()))) {
            unfinished(&mut facts, envelope);
        }
        facts
    }

    async fn check(
        &self,
        authenticator: &MessageAuthenticator,
        raw: &[u8],
        envelope: &Envelope,
        facts: &mut AuthFacts,
    ) {
        // Until a step is done its result is "not found out", so that a deadline in its middle needs no second thought.
        unfinished(facts, envelope);
        let helo = envelope.client.helo.trim_matches(['[', ']']);
        let sender = envelope.reverse_path.to_string();
        let params = match envelope.reverse_path.address() {
            Some(_) => SpfParameters::verify_mail_from(envelope.client.ip, helo, &self.host, &sender),
            None => SpfParameters::verify_ehlo(envelope.client.ip, helo, &self.host),
        };
        let spf = authenticator.check_host(self.caches.with(params)).await;
        facts.spf = spf_result(spf.result());

        let Some(mut message) = AuthenticatedMessage::parse(raw) else {
            (facts.dmarc, facts.arc) = (AuthResult::None, AuthResult::None);
            return;
        };
        message.dkim_headers.truncate(DKIM_SIGNATURES_MAX);
        message.errors.truncate(DKIM_SIGNATURES_MAX);
        let dkim = authenticator.verify_dkim(self.caches.with(&message)).await;
        facts.dkim = dkim.iter().map(dkim_fact).collect();

        let params = DmarcParameters::new(&message, &dkim, &facts.spf_domain, &spf);
        let dmarc = authenticator.verify_dmarc(self.caches.with(params)).await;
        facts.dmarc = dmarc_result(&dmarc, facts);
        facts.dmarc_policy = match dmarc.policy() {
            Policy::Quarantine => DmarcPolicy::Quarantine,
            Policy::Reject => DmarcPolicy::Reject,
            Policy::None | Policy::Unspecified => DmarcPolicy::None,
        };
        facts.dmarc_domain = short_text(dmarc.domain(), NAME_CHARS_MAX);

        let arc = authenticator.verify_arc(self.caches.with(&message)).await;
        facts.arc = signature_result(arc.result());
    }
}

/// What stands when a step did not finish. Results that are already in stay.
fn unfinished(facts: &mut AuthFacts, envelope: &Envelope) {
    let domain = envelope.reverse_path.address().map(|address| address.domain().as_str());
    if facts.spf_domain.is_empty() {
        facts.spf_domain = domain.unwrap_or(envelope.client.helo.trim_matches(['[', ']'])).to_lowercase();
        (facts.spf, facts.dmarc, facts.arc) = (AuthResult::TempError, AuthResult::TempError, AuthResult::TempError);
    }
}

fn spf_result(result: SpfResult) -> AuthResult {
    match result {
        SpfResult::Pass => AuthResult::Pass,
        SpfResult::Fail => AuthResult::Fail,
        SpfResult::SoftFail => AuthResult::SoftFail,
        SpfResult::Neutral => AuthResult::Neutral,
        SpfResult::TempError => AuthResult::TempError,
        SpfResult::PermError => AuthResult::PermError,
        SpfResult::None => AuthResult::None,
    }
}

/// The library calls a wrong body hash and an expired signature "neutral"; RFC 6376 6.1 fails both.
fn signature_result(result: &DkimResult) -> AuthResult {
    match result {
        DkimResult::Pass => AuthResult::Pass,
        DkimResult::None => AuthResult::None,
        DkimResult::TempError(_) => AuthResult::TempError,
        DkimResult::PermError(_) => AuthResult::PermError,
        DkimResult::Fail(_)
        | DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired)) => {
            AuthResult::Fail
        }
        DkimResult::Neutral(Error::Arc(_)) => AuthResult::Fail,
        DkimResult::Neutral(_) => AuthResult::PermError,
    }
}

fn dkim_fact(output: &DkimOutput<'_>) -> DkimFact {
    let (domain, selector) = output.signature().map(|s| (s.d.as_str(), s.s.as_str())).unwrap_or_default();
    DkimFact {
        result: signature_result(output.result()),
        domain: short_text(domain, NAME_CHARS_MAX).to_lowercase(),
        selector: short_text(selector, NAME_CHARS_MAX),
    }
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
