//! The DKIM key with which a sender's mail is signed: the organisation's secret of kind `dkim`, named
//! `selector._domainkey.domain`. Without one for the sender's domain no campaign starts.

use directory::Directory;
use message::dkim::{KeptKey, KeyKind, Signer};
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
        let keys = directory.dkim_keys().await?;
        let kept = keys.iter().map(|key| KeptKey { selector: &key.selector, domain: &key.domain, pem: &key.pem });
        let signer = Signer::nearest(kept, from).map_err(|e| CampaignError::Internal(e.to_string()))?;
        match signer {
            Some(signer) if signer.has(KeyKind::Rsa) => Ok(Signing { signer }),
            _ => {
                let message =
                    format!("there is no DKIM key for {}: send from a domain of the organisation", from.as_str());
                Err(CampaignError::invalid("from_address", message))
            }
        }
    }
}
