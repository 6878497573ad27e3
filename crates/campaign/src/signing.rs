//! The DKIM key with which a sender's mail is signed: the organisation's secret of kind `dkim`, named
//! `selector._domainkey.domain`. Without one for the sender's domain no campaign starts.

use directory::Directory;
use message::dkim::{DkimKey, Signer};
use model::Domain;
use store::values;

use crate::CampaignError;

const SECRET_KIND: &str = "dkim";

/// A signer for one sender's domain.
pub(crate) struct Signing {
    pub(crate) signer: Signer,
}

impl Signing {
    /// The newest key of the domain itself, or of a domain that it is under (relaxed alignment, RFC 9989).
    ///
    /// # Errors
    /// [`CampaignError::Invalid`] on `from_address` when there is none.
    pub(crate) async fn load(directory: &Directory, from: &Domain) -> Result<Self, CampaignError> {
        let rows = directory.store().query("setting.secret", &values![directory.id(), SECRET_KIND]).await?;
        let mut best: Option<(Domain, String, String)> = None;
        for row in &rows {
            let Some((selector, domain)) = row.text("name")?.split_once("._domainkey.") else { continue };
            let Ok(domain) = Domain::parse(domain) else { continue };
            let longer = best.as_ref().is_none_or(|(known, ..)| domain.as_str().len() > known.as_str().len());
            if from.is_under(&domain) && longer {
                best = Some((domain, selector.to_owned(), row.text("material")?.to_owned()));
            }
        }
        let Some((domain, selector, pem)) = best else {
            let message = format!("there is no DKIM key for {}: send from a domain of the organisation", from.as_str());
            return Err(CampaignError::invalid("from_address", message));
        };
        let key = DkimKey::from_pem(&pem).map_err(|e| CampaignError::Internal(e.to_string()))?;
        let signer =
            Signer::new(&key, domain.as_str(), &selector).map_err(|e| CampaignError::Internal(e.to_string()))?;
        Ok(Signing { signer })
    }
}
