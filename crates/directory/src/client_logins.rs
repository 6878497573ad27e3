//! Logins of mail programs (IMAP, submission): by app password, or by the account's own password.
//!
//! A login is an account's login or an address of its person. Unknown logins cost the same work as known ones, wrong tries
//! are slowed down per login and client network, and the work is bounded for the whole process.

use std::net::IpAddr;

use model::{AccountId, Address, AppPasswordId, MailboxId, PersonId, Role};
use serde_json::json;
use store::values;
use subtle::ConstantTimeEq;

use crate::accounts::verify_password;
use crate::app_passwords::{ClientScope, Kept, as_shown};
use crate::scram::{ITERATIONS, ScramKeys};
use crate::throttle::FREE_FAILURES_COUNT;
use crate::{Account, AppPassword, Directory, DirectoryError, NewAudit};

/// Longer ones are nobody's.
const LOGIN_BYTES_MAX: usize = 320;

/// Who a mail program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLogin {
    /// The account.
    pub account_id: AccountId,
    /// The person it belongs to.
    pub person_id: PersonId,
    /// The person's mailbox.
    pub mailbox_id: MailboxId,
    /// The person's primary address.
    pub address: String,
    /// The account's role.
    pub role: Role,
    /// The app password used; `None`: the account's own password.
    pub app_password_id: Option<AppPasswordId>,
}

/// What SCRAM-SHA-256 needs before it sees a proof (RFC 5802 5.1). A login that does not exist has one too, with which no
/// proof agrees.
#[derive(Debug, Clone)]
pub struct ScramVerifier {
    /// Sent to the client.
    pub salt: Vec<u8>,
    /// Sent to the client.
    pub iterations: u32,
    /// What a proof is tried against; `None` is the account's own password.
    pub(crate) passwords: Vec<(Option<AppPassword>, ScramKeys)>,
    pub(crate) login: Option<ClientLogin>,
}

/// An account that a mail program can be.
struct Found {
    account: Account,
    login: ClientLogin,
}

impl Directory {
    /// Who has this login and this password, if it opens `scope`; `None` for any mismatch. `client` is where the try comes
    /// from. The try is counted.
    ///
    /// # Errors
    /// [`DirectoryError::Throttled`] after too many wrong tries; [`DirectoryError::Store`].
    pub async fn client_login(
        &self,
        login: &str,
        password: &str,
        scope: ClientScope,
        client: Option<IpAddr>,
    ) -> Result<Option<ClientLogin>, DirectoryError> {
        self.client_may_try(login, client)?;
        let _permit = self.password_checks.acquire().await.expect("it is never closed");
        // Again: many tries may have waited in line together.
        self.client_may_try(login, client)?;
        let found = self.client_account(login).await?;
        // Whether this is done depends on what was typed, never on who exists.
        let typed = match as_shown(password) {
            Some(secret) => self.typed_app_password(login, found.as_ref(), &secret, scope).await?,
            None => None,
        };
        let login_of = match (typed, found) {
            (Some(password), Some(found)) => {
                self.touch_app_password(&password).await?;
                Some(ClientLogin { app_password_id: Some(password.id), ..found.login })
            }
            (_, found) => self.own_password(found, password).await?,
        };
        self.note_client_try(login, client, login_of.is_some()).await?;
        Ok(login_of)
    }

    /// The app password that was typed. By its MAC, at once; what was made before there were MACs, or under another key, by
    /// the same work as SCRAM's, which is also done where there is nobody.
    async fn typed_app_password(
        &self,
        login: &str,
        found: Option<&Found>,
        secret: &str,
        scope: ClientScope,
    ) -> Result<Option<AppPassword>, DirectoryError> {
        let id = found.map_or(AccountId(0), |found| found.account.id);
        let mut kept = self.kept_app_passwords(id).await?;
        kept.retain(|one| one.password.scopes.contains(&scope));
        let mac = self.typed_mac(id, secret).await?;
        if let Some(one) = kept.iter().find(|one| one.typed_mac.as_bytes().ct_eq(mac.as_bytes()).into()) {
            return Ok(Some(one.password.clone()));
        }
        let mut ways: Vec<(Vec<u8>, u32)> = kept.iter().map(|one| (one.salt.clone(), one.iterations)).collect();
        ways.dedup();
        if ways.is_empty() {
            ways.push((self.scram_salt(login).await?, ITERATIONS));
        }
        for (salt, iterations) in ways {
            let keys = self.derive(secret.to_owned(), salt.clone(), iterations).await?;
            let same = |one: &&Kept| one.salt == salt && one.iterations == iterations && one.keys.is(&keys);
            if let Some(one) = kept.iter().find(same) {
                return Ok(Some(one.password.clone()));
            }
        }
        Ok(None)
    }

    /// The login, if `password` is its account's own.
    async fn own_password(&self, found: Option<Found>, password: &str) -> Result<Option<ClientLogin>, DirectoryError> {
        let id = found.as_ref().map_or(AccountId(0), |found| found.account.id);
        let row = self.store.query_one("account.password", &values![id]).await?;
        let hash = row.map(|row| row.opt_text("password_hash").map(|h| h.map(str::to_owned))).transpose()?.flatten();
        let is_right = verify_password(password.to_owned(), hash.clone()).await?;
        let Some(found) = found.filter(|_| is_right) else { return Ok(None) };
        self.keep_own_scram(&found.account, password, hash.as_deref().unwrap_or_default()).await;
        Ok(Some(found.login))
    }

    /// What SCRAM needs for a login, in the same form for logins that do not exist. App passwords that were made with fewer
    /// iterations go before the account's own password, which PLAIN and LOGIN still take. Checking a proof against it does not
    /// count tries: [`crate::Sasl`] does.
    ///
    /// # Errors
    /// [`DirectoryError::Store`].
    pub async fn scram_verifier(&self, login: &str, scope: ClientScope) -> Result<ScramVerifier, DirectoryError> {
        let found = self.client_account(login).await?;
        let name = found.as_ref().map_or_else(|| nobodys_name(login), |found| found.account.login.clone());
        let salt = self.scram_salt(&name).await?;
        // An account without app passwords asks for the same rows as one that does not exist.
        let id = found.as_ref().map_or(AccountId(0), |found| found.account.id);
        let kept = self.kept_app_passwords(id).await?;
        let (salt, iterations) = kept.first().map_or((salt, ITERATIONS), |one| (one.salt.clone(), one.iterations));
        let own = self.own_scram(id).await?.filter(|own| own.salt == salt && own.iterations == iterations);
        let of_same_salt = kept.into_iter().filter(|one| one.salt == salt && one.iterations == iterations);
        let passwords = of_same_salt.filter(|one| one.password.scopes.contains(&scope));
        let passwords = passwords.map(|one| (Some(one.password), one.keys));
        Ok(ScramVerifier {
            iterations,
            passwords: passwords.chain(own.map(|own| (None, own.keys))).collect(),
            salt,
            login: found.map(|found| found.login),
        })
    }

    /// The account that mail programs reach by this login or address.
    ///
    /// # Errors
    /// [`DirectoryError::Store`].
    pub async fn client_account_id(&self, login: &str) -> Result<Option<AccountId>, DirectoryError> {
        Ok(self.client_account(login).await?.map(|found| found.account.id))
    }

    /// The account that a login or an address means, if it has a person with a mailbox and is not switched off.
    async fn client_account(&self, login: &str) -> Result<Option<Found>, DirectoryError> {
        let login = login.trim();
        if login.is_empty() || login.len() > LOGIN_BYTES_MAX || login.contains('\0') {
            return Ok(None);
        }
        let account = match self.account_by_login(login).await? {
            Some(account) => Some(account),
            None => match Address::parse(login) {
                Ok(address) => match self.recipient(&address).await? {
                    Some(recipient) => self.account_of_person(recipient.person_id).await?,
                    None => None,
                },
                Err(_) => None,
            },
        };
        let Some(account) = account.filter(|account| !account.disabled) else { return Ok(None) };
        let Some(person_id) = account.person_id else { return Ok(None) };
        let Some(person) = self.person(person_id).await? else { return Ok(None) };
        let Ok(address) = Address::parse(&person.address) else { return Ok(None) };
        let Some(recipient) = self.recipient(&address).await? else { return Ok(None) };
        let login = ClientLogin {
            account_id: account.id,
            person_id,
            mailbox_id: recipient.mailbox_id,
            address: person.address,
            role: account.role,
            app_password_id: None,
        };
        Ok(Some(Found { account, login }))
    }

    /// Refuses tries that come too soon after wrong ones.
    pub(crate) fn client_may_try(&self, login: &str, client: Option<IpAddr>) -> Result<(), DirectoryError> {
        match self.throttle.wait_ms(login, client, self.store.now()) {
            0 => Ok(()),
            wait_ms => Err(DirectoryError::Throttled { wait_ms }),
        }
    }

    /// Counts a try. The one that begins the waiting is audited: a person mistypes once, a guesser goes on.
    pub(crate) async fn note_client_try(
        &self,
        login: &str,
        client: Option<IpAddr>,
        is_right: bool,
    ) -> Result<(), DirectoryError> {
        if is_right {
            self.throttle.succeeded(login, client);
            return Ok(());
        }
        if self.throttle.failed(login, client, self.store.now()) != FREE_FAILURES_COUNT {
            return Ok(());
        }
        let shown = model::SqlText::new(login).as_str().chars().take(LOGIN_BYTES_MAX).collect::<String>();
        let client = client.map_or_else(String::new, |ip| ip.to_string());
        let detail = json!({ "client": client, "tries": FREE_FAILURES_COUNT });
        let target = format!("login {shown}");
        self.audit(NewAudit { account_id: None, action: "client_login.wrong", target, reason: "", detail }).await
    }
}

/// The name that a login which does not exist has its salt by. What would mean the same account, if there were one, has the
/// same: two spellings do not tell who exists.
fn nobodys_name(login: &str) -> String {
    let login = login.trim();
    let Ok(address) = Address::parse(login) else { return login.to_owned() };
    let key = address.key();
    match key.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", local.split_once('+').map_or(local, |(base, _)| base)),
        None => key,
    }
}
