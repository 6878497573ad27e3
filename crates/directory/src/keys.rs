//! Keys, tokens and signatures.

use hmac::{Hmac, Mac as _};
use model::{CampaignId, CopyId, OrganisationId};
use sha2::{Digest, Sha256};
use store::{Tx, values};
use subtle::ConstantTimeEq;

use crate::audit::NewAudit;
use crate::{Directory, DirectoryError};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// Bytes kept of a MAC in a short token: 128 bits.
const SHORT_MAC_BYTES: usize = 16;

/// A fresh bearer token: 256 random bits, URL-safe.
pub fn new_token() -> String {
    let mut raw = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut raw).expect("the operating system gives randomness");
    data_encoding::BASE64URL_NOPAD.encode(&raw)
}

/// How a token is stored: SHA-256, lower-case hex. Enough for 256 random bits; passwords go through argon2.
pub fn token_hash(token: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(token.as_bytes()))
}

/// An HMAC-SHA-256 key of the organisation, with its key id. Signs copies, tracking links, unsubscribe links.
#[derive(Clone)]
pub struct Mac {
    /// The key id, one character in every token.
    pub key_id: char,
    key: Vec<u8>,
}

impl Mac {
    /// A key from its bytes, for tests and for other keepers.
    pub fn from_key(key_id: char, key: Vec<u8>) -> Self {
        Mac { key_id, key }
    }

    /// 128 bits of the MAC over `purpose` and `text`. The purpose keeps a token of one kind from passing as another.
    pub fn sign(&self, purpose: &str, text: &[u8]) -> [u8; SHORT_MAC_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text);
        let full = mac.finalize().into_bytes();
        full[..SHORT_MAC_BYTES].try_into().expect("SHA-256 is longer")
    }

    /// Whether `tag` is the MAC, in constant time.
    pub fn verify(&self, purpose: &str, text: &[u8], tag: &[u8]) -> bool {
        self.sign(purpose, text).ct_eq(tag).into()
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mac").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What the header `X-Landfall-Copy` says, once its signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCopy {
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The copy.
    pub copy_id: CopyId,
}

/// Signs and checks the header by which the gateway knows its own campaign's copies. Bound to the recipient, so that a
/// copied header does not make another mail one of ours.
#[derive(Debug, Clone)]
pub struct CopyTokens {
    mac: Mac,
}

impl CopyTokens {
    /// The header field's name.
    pub const HEADER: &'static str = "X-Landfall-Copy";
    const PURPOSE: &'static str = "copy";

    /// With the organisation's key.
    pub fn new(mac: Mac) -> Self {
        CopyTokens { mac }
    }

    /// The header's value: `<key id>.<campaign>.<copy>.<mac>`.
    pub fn sign(&self, own: OwnCopy, recipient: &str) -> String {
        let tag = self.mac.sign(Self::PURPOSE, Self::text(own, recipient).as_bytes());
        format!(
            "{}.{}.{}.{}",
            self.mac.key_id,
            own.campaign_id,
            own.copy_id,
            data_encoding::BASE64URL_NOPAD.encode(&tag)
        )
    }

    /// What a header's value says for `recipient`; `None` when it is not ours, not whole, or for somebody else.
    pub fn verify(&self, value: &str, recipient: &str) -> Option<OwnCopy> {
        let mut parts = value.trim().splitn(4, '.');
        let (key_id, campaign, copy, tag) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if !key_id.starts_with(self.mac.key_id) {
            return None;
        }
        let own = OwnCopy { campaign_id: campaign.parse().ok()?, copy_id: copy.parse().ok()? };
        let tag = data_encoding::BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
        self.mac.verify(Self::PURPOSE, Self::text(own, recipient).as_bytes(), &tag).then_some(own)
    }

    fn text(own: OwnCopy, recipient: &str) -> String {
        format!("{}.{}.{}", own.campaign_id, own.copy_id, recipient.to_lowercase())
    }
}

/// A DKIM private key with where its public half is published.
#[derive(Clone)]
pub struct DkimSecret {
    /// `selector._domainkey.domain`: the name of the TXT record.
    pub name: String,
    /// The selector.
    pub selector: String,
    /// The domain.
    pub domain: String,
    /// The private key in PEM.
    pub pem: String,
}

impl std::fmt::Debug for DkimSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DkimSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a DKIM key is used for. A key that signs was published before, and one that was replaced stays published until
/// the mail that it signed has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DkimUse {
    /// To be published; it signs nothing yet.
    Waiting,
    /// It signs.
    Signing,
    /// It signs no more; its record is still needed to check what it signed.
    Retired,
}

impl DkimUse {
    /// Every use.
    pub const ALL: [DkimUse; 3] = [DkimUse::Waiting, DkimUse::Signing, DkimUse::Retired];

    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            DkimUse::Waiting => "waiting",
            DkimUse::Signing => "signing",
            DkimUse::Retired => "retired",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            DkimUse::Waiting => "dkim_waiting",
            DkimUse::Signing => "dkim",
            DkimUse::Retired => "dkim_retired",
        }
    }
}

const MAC_KIND: &str = "mac";

pub(crate) async fn insert_mac_key(tx: &mut Tx, organisation: OrganisationId) -> Result<(), DirectoryError> {
    let id: i64 = tx.store().next_id();
    let now = tx.store().now();
    tx.execute("setting.put_secret", &values![id, organisation, MAC_KIND, "1", new_token(), now]).await?;
    Ok(())
}

impl Directory {
    /// The organisation's MAC key.
    pub async fn mac(&self) -> Result<Mac, DirectoryError> {
        let (name, material) = self.secret(MAC_KIND).await?.ok_or(DirectoryError::NotFound("MAC key"))?;
        let key = data_encoding::BASE64URL_NOPAD
            .decode(material.as_bytes())
            .map_err(|_| DirectoryError::invalid("mac", "the stored key is not whole"))?;
        Ok(Mac { key_id: name.chars().next().unwrap_or('1'), key })
    }

    /// The newest secret of a kind: its name and material.
    pub async fn secret(&self, kind: &str) -> Result<Option<(String, String)>, DirectoryError> {
        let row = self.store.query_one("setting.secret", &values![self.id(), kind]).await?;
        row.map(|r| Ok((r.text("name")?.to_owned(), r.text("material")?.to_owned()))).transpose()
    }

    /// The DKIM keys of all domains that sign, newest first. What is kept under another form of name is passed over.
    pub async fn dkim_keys(&self) -> Result<Vec<DkimSecret>, DirectoryError> {
        self.dkim_keys_in(DkimUse::Signing).await
    }

    /// The DKIM keys of all domains in one use, newest first.
    pub async fn dkim_keys_in(&self, of: DkimUse) -> Result<Vec<DkimSecret>, DirectoryError> {
        let rows = self.store.query("setting.secret", &values![self.id(), of.kind()]).await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            let name = row.text("name")?;
            let Some((selector, domain)) = name.split_once("._domainkey.") else { continue };
            let pem = row.text("material")?.to_owned();
            keys.push(DkimSecret { name: name.to_owned(), selector: selector.into(), domain: domain.into(), pem });
        }
        Ok(keys)
    }

    /// Keeps new keys (name and PEM) that wait to be published and used.
    pub async fn put_waiting_dkim_keys(&self, keys: &[(String, String)], who: &str) -> Result<(), DirectoryError> {
        let mut tx = self.store.begin().await?;
        for (name, pem) in keys {
            let id: i64 = self.store.next_id();
            let row = values![id, self.id(), DkimUse::Waiting.kind(), name, pem, self.store.now()];
            tx.execute("setting.put_secret", &row).await?;
            self.audit_dkim(&mut tx, "dkim.new", name, who).await?;
        }
        tx.commit().await.map_err(DirectoryError::from)
    }

    /// The domain's waiting keys sign from now on, and those that signed until now are retired: all of it or nothing. Gives the names of
    /// both.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when no key waits, also when somebody else was faster.
    pub async fn switch_dkim_keys(
        &self,
        domain: &str,
        who: &str,
    ) -> Result<(Vec<String>, Vec<String>), DirectoryError> {
        let of_domain = |keys: Vec<DkimSecret>| -> Vec<String> {
            keys.into_iter().filter(|key| key.domain == domain).map(|key| key.name).collect()
        };
        let waiting = of_domain(self.dkim_keys_in(DkimUse::Waiting).await?);
        let signing = of_domain(self.dkim_keys().await?);
        if waiting.is_empty() {
            return Err(DirectoryError::NotFound("waiting DKIM key"));
        }
        let mut tx = self.store.begin().await?;
        for (names, from, to, action) in [
            (&signing, DkimUse::Signing, DkimUse::Retired, "dkim.retire"),
            (&waiting, DkimUse::Waiting, DkimUse::Signing, "dkim.use"),
        ] {
            for name in names {
                let row = values![self.id(), from.kind(), name, to.kind()];
                if tx.execute("setting.set_secret_kind", &row).await? == 0 {
                    return Err(DirectoryError::NotFound("waiting DKIM key"));
                }
                self.audit_dkim(&mut tx, action, name, who).await?;
            }
        }
        tx.commit().await?;
        Ok((waiting, signing))
    }

    /// Throws a retired key away.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when there is no retired key of that name.
    pub async fn forget_dkim_key(&self, name: &str, who: &str) -> Result<(), DirectoryError> {
        let mut tx = self.store.begin().await?;
        let row = values![self.id(), DkimUse::Retired.kind(), name];
        if tx.execute("setting.delete_secret", &row).await? == 0 {
            return Err(DirectoryError::NotFound("retired DKIM key"));
        }
        self.audit_dkim(&mut tx, "dkim.forget", name, who).await?;
        tx.commit().await.map_err(DirectoryError::from)
    }

    async fn audit_dkim(&self, tx: &mut Tx, action: &str, name: &str, who: &str) -> Result<(), DirectoryError> {
        let detail = serde_json::json!({ "by": who });
        self.audit_in(tx, NewAudit { account_id: None, action, target: name.to_owned(), reason: "", detail }).await
    }

    /// Keeps a secret (a DKIM private key: kind `dkim`, name `selector._domainkey.domain`, material PEM).
    pub async fn put_secret(&self, kind: &str, name: &str, material: &str) -> Result<(), DirectoryError> {
        let id: i64 = self.store.next_id();
        self.store
            .execute("setting.put_secret", &values![id, self.id(), kind, name, material, self.store.now()])
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_token_is_bound_to_campaign_copy_recipient_and_key() {
        let tokens = CopyTokens::new(Mac::from_key('1', vec![7; 32]));
        let own = OwnCopy { campaign_id: CampaignId(3), copy_id: CopyId(4) };
        let value = tokens.sign(own, "Ada@x.example");
        assert_eq!(tokens.verify(&value, "ada@X.example"), Some(own));
        assert_eq!(tokens.verify(&value, "eve@x.example"), None);
        assert_eq!(tokens.verify(&value.replacen(".4.", ".5.", 1), "ada@x.example"), None);
        assert_eq!(CopyTokens::new(Mac::from_key('1', vec![8; 32])).verify(&value, "ada@x.example"), None);
        for cut in 0..value.len() {
            assert_eq!(tokens.verify(&value[..cut], "ada@x.example"), None, "cut at {cut}");
        }
    }
}
