//! Accounts, sessions, API tokens and sign-in links.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use model::{AccountId, PersonId, Role, SessionId, Timestamp, TokenId};
use store::{Row, StoreError, values};

use crate::keys::{new_token, token_hash};
use crate::{Directory, DirectoryError};

const SESSION_MS: i64 = 12 * 60 * 60 * 1000;
const SIGN_IN_LINK_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Sessions of one account; with another one the oldest ends.
pub const SESSIONS_MAX: i64 = 50;
const PASSWORD_CHARS_MIN: usize = 10;
const PASSWORD_BYTES_MAX: usize = 1_024;
/// API tokens note their use at most this often.
const USED_AT_STEP_MS: i64 = 60_000;

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The person it belongs to; `None` for a service.
    pub person_id: Option<PersonId>,
    /// What is typed at sign-in.
    pub login: String,
    /// Shown name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// Switched off.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An account to make.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The login.
    pub login: String,
    /// Shown name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The person, for a mailbox.
    pub person_id: Option<PersonId>,
    /// A password of at least ten characters; `None`: signs in by link only.
    pub password: Option<String>,
}

/// A fresh session. The token goes into a cookie and is kept nowhere else.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The cookie's value.
    pub token: String,
    /// What unsafe requests repeat in `X-CSRF-Token`.
    pub csrf: String,
    /// Who.
    pub account: Account,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Who a request comes from.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The account.
    pub account: Account,
    /// The session's CSRF token; `None` for an API token, which needs none.
    pub csrf: Option<String>,
}

/// A one-time link's token; it is shown once.
#[derive(Debug, Clone)]
pub struct SignInLink {
    /// The token.
    pub token: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// An API token as listed (the token itself is shown once, when made).
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// Whose.
    pub account_id: AccountId,
    /// What for.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Directory {
    /// Makes an account.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] for a bad login or a short password, [`DirectoryError::Exists`] for a taken login.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account, DirectoryError> {
        let login = new.login.trim().to_lowercase();
        if login.is_empty() || login.len() > 254 || login.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(DirectoryError::invalid(
                "login",
                "a login without spaces, at most 254 characters; an address is best",
            ));
        }
        let hash = match &new.password {
            Some(password) => Some(hash_password(password.clone()).await?),
            None => None,
        };
        let account = Account {
            id: self.store.next_id(),
            person_id: new.person_id,
            login,
            name: new.name,
            role: new.role,
            disabled: false,
            created_at: self.store.now(),
        };
        let row = values![
            account.id,
            self.id(),
            account.person_id,
            &account.login,
            &account.name,
            account.role.as_str(),
            hash.clone(),
            account.created_at
        ];
        match self.store.execute("account.insert", &row).await {
            Err(e) if e.is_conflict() => return Err(DirectoryError::Exists(format!("the login {}", account.login))),
            Err(e) => return Err(e.into()),
            Ok(_) => {}
        }
        if let (Some(password), Some(hash)) = (&new.password, &hash) {
            self.keep_own_scram(&account, password, hash).await;
        }
        Ok(account)
    }

    /// Makes recipient accounts (role `recipient`, sign-in by link) for everybody who has none. Gives how many.
    pub async fn create_recipient_accounts(&self) -> Result<usize, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let people = tx.query("account.people_without", &values![self.id()]).await?;
        let mut rows = Vec::with_capacity(people.len());
        for person in &people {
            let id: AccountId = self.store.next_id();
            let (person_id, address): (PersonId, _) = (person.id("id")?, person.text("address")?);
            rows.push(
                values![
                    id,
                    self.id(),
                    person_id,
                    address,
                    person.text("name")?,
                    Role::Recipient.as_str(),
                    None::<String>,
                    self.store.now()
                ]
                .to_vec(),
            );
        }
        tx.insert_many("account.insert", &rows).await?;
        tx.commit().await?;
        Ok(rows.len())
    }

    /// All accounts but recipients', and how many recipients there are.
    pub async fn staff_accounts(&self) -> Result<Vec<Account>, DirectoryError> {
        let rows = self.store.query("account.staff", &values![self.id()]).await?;
        rows.iter().map(account).collect()
    }

    /// The account of that login.
    pub async fn account_by_login(&self, login: &str) -> Result<Option<Account>, DirectoryError> {
        let row = self.store.query_one("account.by_login", &values![login.trim().to_lowercase()]).await?;
        row.as_ref().map(account).transpose()
    }

    /// One account.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, DirectoryError> {
        let row = self.store.query_one("account.by_id", &values![id]).await?;
        row.as_ref().map(account).transpose()
    }

    /// The account of a person.
    pub async fn account_of_person(&self, person: PersonId) -> Result<Option<Account>, DirectoryError> {
        let row = self.store.query_one("account.by_person", &values![person]).await?;
        row.as_ref().map(account).transpose()
    }

    /// Signs in by login and password. Takes the same time whether the login exists or not.
    ///
    /// # Errors
    /// [`DirectoryError::Unauthenticated`] for any mismatch.
    pub async fn sign_in(&self, login: &str, password: &str) -> Result<SignedIn, DirectoryError> {
        let row = self.store.query_one("account.by_login", &values![login.trim().to_lowercase()]).await?;
        let hash = match &row {
            Some(row) => row.opt_text("password_hash")?.map(str::to_owned),
            None => None,
        };
        let right = verify_password(password.to_owned(), hash.clone()).await?;
        match row {
            Some(row) if right => {
                let account = account(&row)?;
                self.keep_own_scram(&account, password, hash.as_deref().unwrap_or_default()).await;
                self.start_session(account).await
            }
            _ => Err(DirectoryError::Unauthenticated),
        }
    }

    /// Signs in by a one-time link.
    ///
    /// # Errors
    /// [`DirectoryError::Unauthenticated`] when the link is unknown, used or too old.
    pub async fn sign_in_by_link(&self, token: &str) -> Result<SignedIn, DirectoryError> {
        let now = self.store.now();
        let mut tx = self.store.begin().await?;
        let row = tx.query_one("account.use_sign_in_link", &values![token_hash(token), now]).await?;
        let account_id: AccountId = row.ok_or(DirectoryError::Unauthenticated)?.id("account_id")?;
        let row = tx.query_one("account.by_id", &values![account_id]).await?;
        tx.commit().await?;
        self.start_session(account(&row.ok_or(DirectoryError::Unauthenticated)?)?).await
    }

    async fn start_session(&self, account: Account) -> Result<SignedIn, DirectoryError> {
        if account.disabled {
            return Err(DirectoryError::Unauthenticated);
        }
        let (token, csrf, now) = (new_token(), new_token(), self.store.now());
        let (id, expires_at): (SessionId, _) = (self.store.next_id(), now.plus_ms(SESSION_MS));
        let row = values![token_hash(&token), id, account.id, now, expires_at, &csrf];
        let mut tx = self.store.begin().await?;
        tx.execute("account.forget_sessions", &values![now]).await?;
        tx.execute("account.insert_session", &row).await?;
        tx.execute("account.bound_sessions", &values![account.id, SESSIONS_MAX]).await?;
        tx.commit().await?;
        Ok(SignedIn { token, csrf, account, expires_at })
    }

    /// Gives an account a new password. One that has a password names it; one that came in by a link has none to name.
    ///
    /// # Errors
    /// [`DirectoryError::Unauthenticated`] when `current` is not the password; [`DirectoryError::Invalid`] for a short one.
    pub async fn change_password(&self, account: AccountId, current: &str, new: &str) -> Result<(), DirectoryError> {
        let row = self.store.query_one("account.password", &values![account]).await?;
        let row = row.ok_or(DirectoryError::NotFound("account"))?;
        if let Some(hash) = row.opt_text("password_hash")?.map(str::to_owned)
            && !verify_password(current.to_owned(), Some(hash)).await?
        {
            return Err(DirectoryError::Unauthenticated);
        }
        let hash = hash_password(new.to_owned()).await?;
        self.store.execute("account.set_password", &values![account, &hash]).await?;
        if let Some(account) = self.account(account).await? {
            self.keep_own_scram(&account, new, &hash).await;
        }
        Ok(())
    }

    /// Whether an account has ever been signed in by link, or has a password.
    pub async fn has_signed_in(&self, account: AccountId) -> Result<bool, DirectoryError> {
        let row = self.store.query_one("account.has_signed_in", &values![account]).await?;
        Ok(row.map_or(Ok(false), |row| row.flag("yes"))?)
    }

    /// Makes a one-time sign-in link for an account.
    pub async fn sign_in_link(&self, account: AccountId) -> Result<SignInLink, DirectoryError> {
        let (token, now) = (new_token(), self.store.now());
        let expires_at = now.plus_ms(SIGN_IN_LINK_MS);
        let mut tx = self.store.begin().await?;
        tx.execute("account.forget_links", &values![account, now]).await?;
        tx.execute("account.insert_sign_in_link", &values![token_hash(&token), account, now, expires_at]).await?;
        tx.commit().await?;
        Ok(SignInLink { token, expires_at })
    }

    /// Makes sign-in links for all recipient accounts: (login, token). For a first invitation.
    pub async fn invite_recipients(&self) -> Result<Vec<(String, SignInLink)>, DirectoryError> {
        let now = self.store.now();
        let expires_at = now.plus_ms(SIGN_IN_LINK_MS);
        let mut tx = self.store.begin().await?;
        let (mut rows, mut links) = (Vec::new(), Vec::new());
        for account in tx.query("account.recipients", &values![self.id()]).await? {
            let token = new_token();
            rows.push(values![token_hash(&token), account.id::<AccountId>("id")?, now, expires_at].to_vec());
            links.push((account.text("login")?.to_owned(), SignInLink { token, expires_at }));
        }
        tx.insert_many("account.insert_sign_in_link", &rows).await?;
        tx.commit().await?;
        Ok(links)
    }

    /// Who a session cookie stands for.
    pub async fn session(&self, token: &str) -> Result<Option<Principal>, DirectoryError> {
        let row = self.store.query_one("account.by_session", &values![token_hash(token), self.store.now()]).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Principal { account: account(&row)?, csrf: Some(row.text("csrf")?.to_owned()) })
            .filter(|p| !p.account.disabled))
    }

    /// Ends a session; ending it twice is fine.
    pub async fn sign_out(&self, token: &str) -> Result<(), DirectoryError> {
        self.store.execute("account.delete_session", &values![token_hash(token)]).await?;
        Ok(())
    }

    /// Makes an API token of an account; gives the token, which is shown this once.
    pub async fn create_api_token(&self, account: AccountId, name: &str) -> Result<(ApiToken, String), DirectoryError> {
        if name.trim().is_empty() || name.len() > 200 {
            return Err(DirectoryError::invalid("name", "say what the token is for, in at most 200 characters"));
        }
        let (token, now) = (format!("lf_{}", new_token()), self.store.now());
        let id: TokenId = self.store.next_id();
        self.store
            .execute("account.insert_token", &values![id, self.id(), account, name.trim(), token_hash(&token), now])
            .await?;
        let made = ApiToken {
            id,
            account_id: account,
            name: name.trim().into(),
            created_at: now,
            last_used_at: None,
            revoked_at: None,
        };
        Ok((made, token))
    }

    /// The API tokens of an account, newest first.
    pub async fn api_tokens(&self, account: AccountId) -> Result<Vec<ApiToken>, DirectoryError> {
        let rows = self.store.query("account.tokens", &values![self.id(), account]).await?;
        rows.iter()
            .map(|row| {
                Ok(ApiToken {
                    id: row.id("id")?,
                    account_id: row.id("account_id")?,
                    name: row.text("name")?.to_owned(),
                    created_at: row.at("created_at")?,
                    last_used_at: row.opt_at("last_used_at")?,
                    revoked_at: row.opt_at("revoked_at")?,
                })
            })
            .collect()
    }

    /// Revokes an API token of an account; revoking twice is fine.
    pub async fn revoke_api_token(&self, account: AccountId, token: TokenId) -> Result<(), DirectoryError> {
        match self.store.execute("account.revoke_token", &values![self.id(), account, token, self.store.now()]).await? {
            0 => Err(DirectoryError::NotFound("token")),
            _ => Ok(()),
        }
    }

    /// Who an API token stands for.
    pub async fn bearer(&self, token: &str) -> Result<Option<Principal>, DirectoryError> {
        let now = self.store.now();
        let row = self.store.query_one("account.by_token", &values![token_hash(token), now]).await?;
        let Some(row) = row else { return Ok(None) };
        let used = row.opt_at("last_used_at")?;
        if used.is_none_or(|at| now.ms_since(at) > USED_AT_STEP_MS) {
            self.store.execute("account.touch_token", &values![row.int("token_id")?, now]).await?;
        }
        Ok(Some(Principal { account: account(&row)?, csrf: None }).filter(|p| !p.account.disabled))
    }
}

fn account(row: &Row) -> Result<Account, DirectoryError> {
    let role = row.text("role")?;
    let unknown = || StoreError::Column { column: "role".into(), problem: format!("unknown role {role:?}") };
    Ok(Account {
        id: row.id("id")?,
        person_id: row.opt_id("person_id")?,
        login: row.text("login")?.to_owned(),
        name: row.text("name")?.to_owned(),
        role: Role::parse(role).ok_or_else(unknown)?,
        disabled: row.flag("disabled")?,
        created_at: row.at("created_at")?,
    })
}

/// Argon2id with the crate's recommended cost, off the async threads.
async fn hash_password(password: String) -> Result<String, DirectoryError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(DirectoryError::invalid(
            "password",
            format!("a password has at least {PASSWORD_CHARS_MIN} characters"),
        ));
    }
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).expect("the operating system gives randomness");
    blocking(move || {
        let salt = SaltString::encode_b64(&salt).map_err(|_| DirectoryError::Unauthenticated)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        hash.map(|h| h.to_string()).map_err(|e| DirectoryError::invalid("password", e.to_string()))
    })
    .await
}

/// Without a hash the same work is done against one that nothing matches, so that time tells nothing.
pub(crate) async fn verify_password(password: String, hash: Option<String>) -> Result<bool, DirectoryError> {
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$Ynp3cRkLB9QsO9hr3ZbOOAqYJhQ0yZqH3kpfVvEoSbM";
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    blocking(move || {
        let known = hash.is_some();
        let text = hash.unwrap_or_else(|| NOBODY.to_owned());
        let right = PasswordHash::new(&text)
            .is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
        Ok(right && known)
    })
    .await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, DirectoryError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("the password check did not finish".into()).into()))
}
