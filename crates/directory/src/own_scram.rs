//! SCRAM-SHA-256 for accounts' own passwords, so that a mail program which prefers SCRAM gets in with whichever password its
//! owner typed.
//!
//! Argon2 stays what the password is checked by wherever it is seen. The keys here are made beside it when a password is set,
//! or was right and had none, and only for accounts that a mail program can be. They are good for nothing once the password
//! has changed.

use model::AccountId;
use store::values;

use crate::scram::{ITERATIONS, ScramKeys};
use crate::{Account, Directory, DirectoryError, scram};

/// What is kept of an own password.
pub(crate) struct OwnScram {
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) keys: ScramKeys,
}

impl Directory {
    /// The keys of the password that the account has now.
    pub(crate) async fn own_scram(&self, account: AccountId) -> Result<Option<OwnScram>, DirectoryError> {
        let Some(row) = self.store.query_one("app_password.own", &values![account]).await? else { return Ok(None) };
        let keys = ScramKeys {
            stored_key: scram::key_of(&row, "stored_key")?,
            server_key: scram::key_of(&row, "server_key")?,
        };
        let iterations = u32::try_from(row.int("iterations")?).unwrap_or(ITERATIONS);
        Ok(Some(OwnScram { salt: scram::bytes_of(&row, "salt")?, iterations, keys }))
    }

    /// Makes the keys of a password that is right, unless there are some. Without them PLAIN and LOGIN still work, so that
    /// trouble is only noted.
    pub(crate) async fn keep_own_scram(&self, account: &Account, password: &str, hash: &str) {
        if account.person_id.is_none() {
            return; // no mailbox: no mail program
        }
        if let Err(error) = self.make_own_scram(account, password, hash).await {
            tracing::warn!(account.id = %account.id, "the SCRAM keys of a password are not kept: {error}");
        }
    }

    async fn make_own_scram(&self, account: &Account, password: &str, hash: &str) -> Result<(), DirectoryError> {
        if self.own_scram(account.id).await?.is_some() {
            return Ok(());
        }
        // RFC 5802 2.2: both sides prepare the password. One that cannot be prepared cannot be proved.
        let Ok(prepared) = stringprep::saslprep(password).map(|text| text.into_owned()) else { return Ok(()) };
        let salt = self.scram_salt(&account.login).await?;
        let keys = self.derive(prepared, salt.clone(), ITERATIONS).await?;
        let b64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        let iterations = i64::from(ITERATIONS);
        let row = values![account.id, hash, b64(&salt), iterations, b64(&keys.stored_key), b64(&keys.server_key)];
        self.store.execute("app_password.keep_own", &row).await?;
        Ok(())
    }
}
