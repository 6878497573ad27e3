//! The DKIM key with which a sender's mail is signed: the organisation's secret of kind `dkim`, named
//! `selector._domainkey.domain`. Without one for the sender's domain no campaign starts.

use directory::Directory;
use message::dkim::{DkimKey, KeyKind, Signer};
use model::Domain;

use crate::CampaignError;

/// A signer for one sender's domain.
pub(crate) struct Signing {
    pub(crate) signer: Signer,
}

impl Signing {
    /// The keys of the domain itself, or of the nearest domain that it is under and that has some (relaxed alignment, RFC
    /// 9989): the newest of each kind, RSA first and Ed25519 beside it (RFC 8463).
    ///
    /// # Errors
    /// [`CampaignError::Invalid`] on `from_address` when there is no RSA key: not everybody checks the other kind.
    pub(crate) async fn load(directory: &Directory, from: &Domain) -> Result<Self, CampaignError> {
        let internal = |e: message::MessageError| CampaignError::Internal(e.to_string());
        let keys = directory.dkim_keys().await?;
        let above = keys.iter().filter(|key| Domain::parse(&key.domain).is_ok_and(|domain| from.is_under(&domain)));
        let nearest = above.map(|key| key.domain.as_str()).max_by_key(|domain| domain.len());
        let mut kinds = Vec::new();
        let mut signer: Option<Signer> = None;
        for secret in keys.iter().filter(|key| Some(key.domain.as_str()) == nearest) {
            let key = DkimKey::from_pem(&secret.pem).map_err(internal)?;
            if kinds.contains(&key.kind()) {
                continue;
            }
            kinds.push(key.kind());
            let (domain, selector) = (secret.domain.as_str(), secret.selector.as_str());
            let with = match signer {
                Some(signer) => signer.and(&key, domain, selector),
                None => Signer::new(&key, domain, selector),
            };
            signer = Some(with.map_err(internal)?);
        }
        match signer {
            Some(signer) if kinds.contains(&KeyKind::Rsa) => Ok(Signing { signer }),
            _ => {
                let message =
                    format!("there is no DKIM key for {}: send from a domain of the organisation", from.as_str());
                Err(CampaignError::invalid("from_address", message))
            }
        }
    }
}
