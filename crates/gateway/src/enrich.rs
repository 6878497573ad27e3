//! Everything that is found out about a mail before it is judged. All waiting happens here, each with a deadline; what
//! could not be found out is a fact too and holds nothing up.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use directory::{CopyTokens, Directory, DirectoryError, OwnCopy};
use message::arc::{ArcSealer, Sealing};
use message::dkim::{DkimKey, KeyKind};
use message::{Authenticator, MessageError, ParseContext};
use model::{Address, AuthResult, Domain, Envelope, Facts, OwnCopyFact, Timestamp};
use store::values;

use crate::GatewayConfig;

/// Senders remembered as known, so that a busy one is not looked up with every mail.
const KNOWN_SENDERS_MAX: usize = 20_000;

/// Fills in facts.
pub(crate) struct Enricher {
    directory: Directory,
    authenticator: Authenticator,
    tokens: CopyTokens,
    own_domains: Vec<String>,
    known_senders: Mutex<HashSet<String>>,
}

/// Why a mail could not be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] DirectoryError),
    /// The key or the message does not do.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// A mail as received.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) body: Bytes,
    pub(crate) received_at: Timestamp,
}

impl Enricher {
    pub(crate) fn new(directory: Directory, authenticator: Authenticator, tokens: CopyTokens) -> Self {
        let own_domains = directory.organisation().domains.iter().map(|d| d.as_str().to_owned()).collect();
        Enricher { directory, authenticator, tokens, own_domains, known_senders: Mutex::default() }
    }

    /// The facts of a mail. `own_copies` is what its header says, see [`Enricher::own_copies`].
    pub(crate) async fn facts(&self, config: &GatewayConfig, mail: &Mail, own_copies: &[(Address, OwnCopy)]) -> Facts {
        let mut facts = self.parse(config, mail).await;
        let deadline = Duration::from_millis(config.authentication_deadline_ms);
        let own = own_copies.first().map(|(_, own)| own);
        facts.own_copy = own.map(|own| OwnCopyFact { campaign_id: own.campaign_id, copy_id: own.copy_id });
        let authenticate = self.authenticator.authenticate(&mail.body, &mail.envelope, deadline);
        let (auth, sender_known) = futures::join!(authenticate, self.sender_known(config, &facts));
        facts.auth = match mail.envelope.client.login {
            Some(_) => crate::submission::authenticated(&facts, auth),
            None => auth,
        };
        facts.sender_known = sender_known;
        let sealers = self.trusted_sealers(config, &facts).await;
        facts.auth.composite = message::composite(&facts, &sealers);
        facts
    }

    /// Whose ARC sets are believed: read only when that could change anything, and nobody when it cannot be read.
    async fn trusted_sealers(&self, config: &GatewayConfig, facts: &Facts) -> Vec<String> {
        if facts.auth.arc != AuthResult::Pass || facts.auth.dmarc != AuthResult::Fail {
            return Vec::new();
        }
        let deadline = Duration::from_millis(config.history_deadline_ms);
        match tokio::time::timeout(deadline, self.directory.authentication_settings()).await {
            Ok(Ok(settings)) => settings.trusted_sealers,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the trusted sealers cannot be read");
                Vec::new()
            }
            Err(_elapsed) => Vec::new(),
        }
    }

    /// An ARC set by the organisation's RSA key; empty when there is none, or when the chain must not grow.
    pub(crate) async fn seal(&self, authserv_id: &str, mail: &Mail, facts: &Facts) -> Result<String, SealError> {
        for secret in self.directory.dkim_keys().await? {
            let key = DkimKey::from_pem(&secret.pem)?;
            if key.kind() != KeyKind::Rsa {
                continue;
            }
            let sealer = ArcSealer::new(&key, &secret.domain, &secret.selector)?;
            let results = message::headers::results(&facts.auth, &mail.envelope);
            let (chain, at) = (facts.auth.arc, mail.received_at);
            let sealing = Sealing { authserv_id, results: &results, chain, at };
            return Ok(sealer.seal(&mail.body, &sealing)?.unwrap_or_default());
        }
        Ok(String::new())
    }

    async fn parse(&self, config: &GatewayConfig, mail: &Mail) -> Facts {
        let (limits, envelope) = (config.limits, &*mail.envelope);
        let context = ParseContext { received_at: mail.received_at, envelope, own_domains: &self.own_domains, limits };
        let facts = message::parse_header(&mail.body, &context);
        if mail.body.len() < config.blocking_bytes_min {
            return message::parse_body(&mail.body, &limits, facts);
        }
        let body = mail.body.clone();
        match tokio::task::spawn_blocking(move || message::parse_body(&body, &limits, facts)).await {
            Ok(facts) => facts,
            // The runtime is going down, or a panic that the parser did not catch: the session answers 451.
            Err(error) => std::panic::resume_unwind(Box::new(format!("parsing ended badly: {error}"))),
        }
    }

    /// The recipients for whom the signed header says that this is their copy of a campaign.
    pub(crate) fn own_copies(&self, mail: &Mail) -> Vec<(Address, OwnCopy)> {
        let Some(value) = message::headers::field(&mail.body, CopyTokens::HEADER) else { return Vec::new() };
        let paths = mail.envelope.forward_paths.iter();
        paths.filter_map(|path| Some((path.clone(), self.tokens.verify(&value, &path.key())?))).collect()
    }

    /// Whether the sender wrote to this organisation before; `None` for our own domains (anyone may write them into a
    /// From) and when the answer does not come in time.
    async fn sender_known(&self, config: &GatewayConfig, facts: &Facts) -> Option<bool> {
        let from = facts.from();
        let address = model::SqlText::new(&from.address).as_str().to_owned();
        let is_own = Domain::parse(from.domain()).is_ok_and(|domain| self.directory.is_own_domain(&domain));
        if address.is_empty() || is_own || facts.own_copy.is_some() {
            return None;
        }
        if self.known().contains(&address) {
            return Some(true);
        }
        let parameters = values![self.directory.id(), &address, facts.received_at];
        let look = self.directory.store().query_one("gateway.sender_known", &parameters);
        let found = tokio::time::timeout(Duration::from_millis(config.history_deadline_ms), look).await.ok()?;
        let is_known = found.inspect_err(|e| tracing::warn!("history cannot be read: {e}")).ok()?.is_some();
        if is_known {
            let mut known = self.known();
            if known.len() >= KNOWN_SENDERS_MAX {
                known.clear();
            }
            known.insert(address);
        }
        Some(is_known)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.known_senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
