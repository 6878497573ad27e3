//! App passwords: random secrets for mail programs, several per account, each with a name, each revocable by itself.
//!
//! A secret is shown once, when it is made. What is kept is a SCRAM-SHA-256 verifier. All passwords of one account share
//! a salt, since SCRAM names the salt before it learns which of them is meant.

use model::{AccountId, AppPasswordId, Timestamp};
use serde_json::json;
use store::{Row, values};

use crate::scram::{ITERATIONS, ScramKeys};
use crate::{Directory, DirectoryError, NewAudit, scram};

/// One account has at most this many.
pub const APP_PASSWORDS_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 100;
/// 32 signs, five bits each; l and o are missing, since they are read as 1 and 0.
const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 100 bits.
const SIGN_COUNT: usize = 20;
const GROUP_SIGNS: usize = 4;
/// Uses are noted at most this often.
const USED_AT_STEP_MS: i64 = 60_000;

/// What a mail program wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientScope {
    /// Read a mailbox.
    Imap,
    /// Hand mail in.
    Submission,
}

impl ClientScope {
    /// All of them.
    pub const ALL: &'static [ClientScope] = &[ClientScope::Imap, ClientScope::Submission];

    /// The word it is kept and shown as.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientScope::Imap => "imap",
            ClientScope::Submission => "submission",
        }
    }

    /// From its word.
    pub fn parse(word: &str) -> Option<ClientScope> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == word)
    }
}

/// An app password as listed; the secret itself is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPassword {
    /// Its id.
    pub id: AppPasswordId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<ClientScope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// One that is in force, with what is kept of it.
pub(crate) struct Kept {
    pub(crate) password: AppPassword,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    pub(crate) keys: ScramKeys,
    /// What [`Directory::typed_mac`] gives for it; empty for one that was made before there were any.
    pub(crate) typed_mac: String,
}

impl Directory {
    /// Makes an app password for an account and audits it as done by `actor`. Gives it and its secret:
    /// `xxxx-xxxx-xxxx-xxxx-xxxx`, 100 random bits, kept nowhere.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] for no name, no scope, or too many passwords; [`DirectoryError::NotFound`] for no account.
    pub async fn create_app_password(
        &self,
        account: AccountId,
        name: &str,
        scopes: &[ClientScope],
        actor: Option<AccountId>,
    ) -> Result<(AppPassword, String), DirectoryError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(DirectoryError::invalid("name", "say what uses it, in 1 to 100 characters"));
        }
        let scopes: Vec<ClientScope> = ClientScope::ALL.iter().copied().filter(|s| scopes.contains(s)).collect();
        if scopes.is_empty() {
            return Err(DirectoryError::invalid("scopes", "name at least one of imap and submission"));
        }
        let owner = self.account(account).await?.ok_or(DirectoryError::NotFound("account"))?;
        let kept = self.kept_app_passwords(account).await?;
        if kept.len() >= APP_PASSWORDS_MAX {
            return Err(DirectoryError::invalid(
                "name",
                format!("there are {APP_PASSWORDS_MAX} app passwords already: revoke one that is not used"),
            ));
        }
        let salt = match kept.first() {
            Some(other) => other.salt.clone(),
            None => self.scram_salt(&owner.login).await?,
        };
        let secret = new_secret();
        let keys = self.derive(secret.clone(), salt.clone(), ITERATIONS).await?;
        let password = AppPassword {
            id: self.store.next_id(),
            name: name.into(),
            scopes,
            created_at: self.store.now(),
            last_used_at: None,
        };
        let b64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        let row = values![
            password.id,
            self.id(),
            account,
            name,
            words(&password.scopes),
            b64(&salt),
            i64::from(ITERATIONS),
            b64(&keys.stored_key),
            b64(&keys.server_key),
            password.created_at,
            self.typed_mac(account, &secret).await?
        ];
        let mut tx = self.store.begin().await?;
        tx.execute("app_password.insert", &row).await?;
        let detail = json!({ "name": name, "scopes": words(&password.scopes) });
        let target = format!("account {account}");
        self.audit_in(
            &mut tx,
            NewAudit { account_id: actor, action: "app_password.create", target, reason: "", detail },
        )
        .await?;
        tx.commit().await?;
        Ok((password, secret))
    }

    /// The app passwords in force of an account, newest first.
    ///
    /// # Errors
    /// [`DirectoryError`] when the store fails.
    pub async fn app_passwords(&self, account: AccountId) -> Result<Vec<AppPassword>, DirectoryError> {
        Ok(self.kept_app_passwords(account).await?.into_iter().map(|kept| kept.password).collect())
    }

    /// Revokes one and audits it: it opens nothing from now on.
    ///
    /// # Errors
    /// [`DirectoryError::NotFound`] when the account has no such password in force.
    pub async fn revoke_app_password(
        &self,
        account: AccountId,
        id: AppPasswordId,
        actor: Option<AccountId>,
    ) -> Result<(), DirectoryError> {
        let mut tx = self.store.begin().await?;
        if tx.execute("app_password.revoke", &values![self.id(), account, id, self.store.now()]).await? == 0 {
            return Err(DirectoryError::NotFound("app password"));
        }
        let (target, detail) = (format!("account {account}"), json!({ "app_password": id }));
        self.audit_in(
            &mut tx,
            NewAudit { account_id: actor, action: "app_password.revoke", target, reason: "", detail },
        )
        .await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn kept_app_passwords(&self, account: AccountId) -> Result<Vec<Kept>, DirectoryError> {
        let rows = self.store.query("app_password.of_account", &values![self.id(), account]).await?;
        rows.iter().map(kept).collect()
    }

    /// Notes that a password was used, to the minute.
    pub(crate) async fn touch_app_password(&self, password: &AppPassword) -> Result<(), DirectoryError> {
        let now = self.store.now();
        if password.last_used_at.is_none_or(|at| now.ms_since(at) > USED_AT_STEP_MS) {
            self.store.execute("app_password.touch", &values![password.id, now]).await?;
        }
        Ok(())
    }

    /// The salt of a login's first app password. Logins that do not exist have one too, always the same: who asks learns
    /// nothing.
    pub(crate) async fn scram_salt(&self, login: &str) -> Result<Vec<u8>, DirectoryError> {
        Ok(self.mac().await?.sign("scram salt", login.to_lowercase().as_bytes()).to_vec())
    }

    /// What an app password is found by when it is typed: it is random, so that nothing has to make guessing slow.
    pub(crate) async fn typed_mac(&self, account: AccountId, secret: &str) -> Result<String, DirectoryError> {
        let text = format!("{account} {secret}");
        Ok(data_encoding::HEXLOWER.encode(&self.mac().await?.sign("app password", text.as_bytes())))
    }

    /// Off the async threads, since it takes some ten milliseconds.
    pub(crate) async fn derive(
        &self,
        password: String,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<ScramKeys, DirectoryError> {
        crate::accounts::blocking(move || Ok(ScramKeys::derive(password.as_bytes(), &salt, iterations))).await
    }
}

fn kept(row: &Row) -> Result<Kept, DirectoryError> {
    Ok(Kept {
        password: AppPassword {
            id: row.id("id")?,
            name: row.text("name")?.to_owned(),
            scopes: row.text("scopes")?.split(',').filter_map(ClientScope::parse).collect(),
            created_at: row.at("created_at")?,
            last_used_at: row.opt_at("last_used_at")?,
        },
        salt: scram::bytes_of(row, "salt")?,
        iterations: u32::try_from(row.int("iterations")?).unwrap_or(ITERATIONS),
        keys: ScramKeys {
            stored_key: scram::key_of(row, "stored_key")?,
            server_key: scram::key_of(row, "server_key")?,
        },
        typed_mac: row.text("typed_mac")?.to_owned(),
    })
}

fn words(scopes: &[ClientScope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn new_secret() -> String {
    let mut raw = [0u8; SIGN_COUNT];
    getrandom::fill(&mut raw).expect("the operating system gives randomness");
    let signs: Vec<u8> = raw.iter().map(|byte| SIGNS[usize::from(byte % 32)]).collect();
    grouped(&signs)
}

fn grouped(signs: &[u8]) -> String {
    let groups = signs.chunks(GROUP_SIGNS).map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join("-")
}

/// A typed app password in the form it was shown in, however it was grouped; `None` for what cannot be one.
pub(crate) fn as_shown(typed: &str) -> Option<String> {
    let signs = typed.bytes().filter(|b| !b" -".contains(b)).map(|b| b.to_ascii_lowercase());
    let signs: Vec<u8> = signs.take(SIGN_COUNT + 1).collect();
    (signs.len() == SIGN_COUNT && signs.iter().all(|b| SIGNS.contains(b))).then(|| grouped(&signs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_however_it_is_typed() {
        let secret = new_secret();
        assert_eq!(secret.len(), 24);
        for typed in
            [secret.clone(), secret.replace('-', " "), secret.replace('-', "").to_uppercase(), format!(" {secret} ")]
        {
            assert_eq!(as_shown(&typed).as_ref(), Some(&secret), "{typed}");
        }
        for other in ["", "correct horse battery", &secret[1..], &format!("{secret}a"), &secret.replace('-', "l")] {
            assert_eq!(as_shown(other), None, "{other}");
        }
    }
}
