//! The organisation's settings, accounts, API tokens and the audit log.

use axum::extract::State;
use axum::http::StatusCode;
use model::{AccountId, AuditId, Permission as P, PersonId, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::{Kind, Problem};
use crate::wire::{At, Id, Page, Role, after_id, id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(get_settings), P::SettingsRead))
        .routes(operation(routes!(put_settings), P::SettingsWrite))
        .routes(operation(routes!(list_accounts), P::SettingsRead))
        .routes(operation(routes!(create_account), P::SettingsWrite))
        .routes(operation(routes!(create_sign_in_link), P::SettingsWrite))
        .routes(operation(routes!(list_tokens), P::SettingsRead))
        .routes(operation(routes!(create_token), P::SettingsWrite))
        .routes(operation(routes!(revoke_token), P::SettingsWrite))
        .routes(operation(routes!(list_audit), P::AuditRead))
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SettingsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// What an organisation sets.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The name of exactly these settings, in every answer. Sent back, it says which ones were changed: when others are in
    /// force by then, they stay, and the answer is 409. Left out: whatever is in force is replaced.
    #[serde(default)]
    version: Option<String>,
    tracking: TrackingSettings,
    incident: IncidentSettings,
    limits: LimitSettings,
    failure_mode: FailureMode,
    /// Left out: as it is.
    #[serde(default)]
    authentication: Option<AuthenticationSettings>,
}

/// Whom authentication trusts.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuthenticationSettings {
    /// Domains whose ARC sets override a DMARC failure, such as `lists.example.org`.
    trusted_sealers: Vec<String>,
}

/// Tracking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrackingSettings {
    /// Where links and pixels point: `https://t.example.org`, without a slash at the end.
    base_url: String,
    /// The owner's record that switches individual tracking on; only the owner changes it.
    individual: Option<IndividualTracking>,
    /// Numbers of fewer people than this are not shown; at least 10.
    group_floor_count: i64,
}

/// Why single people's reading is tracked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IndividualTracking {
    purpose: String,
    legal_basis: String,
    /// Who switched it on; set by the server.
    #[serde(default)]
    by: String,
}

/// When an incident opens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IncidentSettings {
    /// So many copies not in a mailbox,
    threshold_count: i64,
    /// for so long.
    delay_ms: i64,
}

/// Bounds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitSettings {
    /// Actions on more copies than this need a second person; only the owner changes it.
    mass_action_max: i64,
}

/// What happens when judging itself fails.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FailureMode {
    /// 451: the sender tries again.
    Defer,
    /// Deliver, stamped *unjudged*.
    DeliverUnjudged,
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
struct Account {
    id: Id,
    person_id: Option<Id>,
    login: String,
    name: String,
    role: Role,
    disabled: bool,
    created_at: At,
}

/// A new login.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    login: String,
    name: String,
    role: Role,
    /// The person whose mailbox is this account's own.
    #[serde(default)]
    person_id: Option<Id>,
    /// Left out: they sign in by a link first.
    #[serde(default)]
    password: Option<String>,
}

/// A one-time link.
#[derive(Debug, Serialize, ToSchema)]
struct SignInLink {
    /// Shown once. The path on this server: `/sign-in#token=…`.
    path: String,
    token: String,
    expires_at: At,
}

/// An API token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    id: Id,
    account_id: Id,
    name: String,
    created_at: At,
    last_used_at: Option<At>,
    revoked_at: Option<At>,
}

/// A new API token for the caller's own account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    name: String,
}

/// A new API token with its secret, shown once.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedToken {
    #[serde(flatten)]
    token: Token,
    /// For `Authorization: Bearer`. Not shown again.
    secret: String,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    id: Id,
    at: At,
    /// The login, or `Landfall`.
    actor: String,
    action: String,
    target: String,
    reason: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

impl From<directory::Settings> for Settings {
    fn from(s: directory::Settings) -> Self {
        Settings {
            version: Some(s.version()),
            tracking: TrackingSettings {
                base_url: s.tracking.base_url,
                individual: s.tracking.individual.map(|i| IndividualTracking {
                    purpose: i.purpose,
                    legal_basis: i.legal_basis,
                    by: i.by,
                }),
                group_floor_count: s.tracking.group_floor_count,
            },
            incident: IncidentSettings { threshold_count: s.incident.threshold_count, delay_ms: s.incident.delay_ms },
            limits: LimitSettings { mass_action_max: s.limits.mass_action_max },
            failure_mode: match s.failure_mode {
                directory::FailureMode::Defer => FailureMode::Defer,
                directory::FailureMode::DeliverUnjudged => FailureMode::DeliverUnjudged,
            },
            authentication: Some(AuthenticationSettings { trusted_sealers: s.authentication.trusted_sealers }),
        }
    }
}

impl Settings {
    fn into_directory(self, by: &str) -> directory::Settings {
        directory::Settings {
            tracking: directory::TrackingSettings {
                base_url: self.tracking.base_url,
                individual: self.tracking.individual.map(|i| directory::IndividualTracking {
                    purpose: i.purpose,
                    legal_basis: i.legal_basis,
                    by: if i.by.is_empty() { by.to_owned() } else { i.by },
                }),
                group_floor_count: self.tracking.group_floor_count,
            },
            incident: directory::IncidentSettings {
                threshold_count: self.incident.threshold_count,
                delay_ms: self.incident.delay_ms,
            },
            limits: directory::LimitSettings { mass_action_max: self.limits.mass_action_max },
            failure_mode: match self.failure_mode {
                FailureMode::Defer => directory::FailureMode::Defer,
                FailureMode::DeliverUnjudged => directory::FailureMode::DeliverUnjudged,
            },
            authentication: directory::AuthenticationSettings {
                trusted_sealers: self.authentication.unwrap_or_default().trusted_sealers,
            },
        }
    }
}

impl From<directory::Account> for Account {
    fn from(a: directory::Account) -> Self {
        Account {
            id: id(a.id),
            person_id: a.person_id.map(id),
            login: a.login,
            name: a.name,
            role: a.role.into(),
            disabled: a.disabled,
            created_at: a.created_at.into(),
        }
    }
}

impl From<directory::ApiToken> for Token {
    fn from(t: directory::ApiToken) -> Self {
        Token {
            id: id(t.id),
            account_id: id(t.account_id),
            name: t.name,
            created_at: t.created_at.into(),
            last_used_at: t.last_used_at.map(At),
            revoked_at: t.revoked_at.map(At),
        }
    }
}

/// The settings.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, body = Settings)))]
async fn get_settings(State(app): State<AppState>, _caller: Caller) -> Answer<Settings> {
    Ok(Json(app.directory.settings().await?.into()))
}

/// Replaces the settings that `version` names. Individual tracking and the limit of mass actions are the owner's alone.
#[utoipa::path(put, path = "/settings", tag = "settings", request_body = Settings,
    responses((status = 200, body = Settings)))]
async fn put_settings(State(app): State<AppState>, caller: Caller, Json(body): Json<Settings>) -> Answer<Settings> {
    let change = |before: &directory::Settings| change_of(body, before, &caller);
    Ok(Json(app.directory.change_settings(caller.account_id, change).await?.into()))
}

/// What the settings in force become, if the caller may do that.
fn change_of(body: Settings, before: &directory::Settings, caller: &Caller) -> Result<directory::Settings, Problem> {
    if body.version.as_ref().is_some_and(|began_from| *began_from != before.version()) {
        let detail = "Somebody else has saved the settings since you read them. Yours were not saved, theirs are in \
                      force: read them, and make your change in them.";
        return Err(Problem::conflict(detail).at("version"));
    }
    let keeps_authentication = body.authentication.is_none();
    let mut settings = body.into_directory(&caller.login);
    if keeps_authentication {
        settings.authentication = before.authentication.clone();
    }
    let is_owner = caller.role == model::Role::Owner;
    if settings.tracking.individual != before.tracking.individual {
        if !is_owner {
            let detail = "Only the owner switches individual tracking on or off, or changes its record.";
            return Err(Problem::new(Kind::Forbidden, detail).at("tracking.individual"));
        }
        if let Some(individual) = &mut settings.tracking.individual {
            individual.by = caller.login.clone();
        }
    }
    if settings.limits != before.limits && !is_owner {
        let detail =
            "Only the owner sets how many copies one person may act on: the limit is there for everybody else.";
        return Err(Problem::new(Kind::Forbidden, detail).at("limits.mass_action_max"));
    }
    Ok(settings)
}

/// Logins, without recipients.
#[utoipa::path(get, path = "/accounts", tag = "settings", responses((status = 200, body = Vec<Account>)))]
async fn list_accounts(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<Account>> {
    Ok(Json(app.directory.staff_accounts().await?.into_iter().map(Account::from).collect()))
}

/// Creates a login. Only an owner makes another owner.
#[utoipa::path(post, path = "/accounts", tag = "settings", request_body = NewAccount,
    responses((status = 201, body = Account)))]
async fn create_account(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewAccount>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    holds_all_of(&caller, body.role.0)?;
    let person_id = body.person_id.map(|raw| PersonId(raw.0));
    if let Some(person) = person_id
        && app.directory.person(person).await?.is_none()
    {
        return Err(Problem::invalid("person_id", "there is no such person"));
    }
    let new = directory::NewAccount {
        login: body.login,
        name: body.name,
        role: body.role.0,
        person_id,
        password: body.password,
    };
    let made = app.directory.create_account(new).await?;
    // A login opens its person's mailbox.
    let detail = serde_json::json!({ "role": made.role, "person_id": made.person_id.map(|id| id.to_string()) });
    app.audit(&caller, "account.create", made.login.clone(), "", detail).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Nobody gets more permissions through a login or a link of their own making: a role is given only by somebody whose
/// own role holds all of its permissions. (The owner's holds all; so only an owner makes owners.)
fn holds_all_of(caller: &Caller, role: model::Role) -> Result<(), Problem> {
    if role.permissions().iter().all(|permission| caller.may(*permission)) {
        return Ok(());
    }
    let text = format!("Your role does not hold all permissions of {role}: ask an owner to make this login or link.");
    Err(Problem::new(Kind::Forbidden, text).at("role"))
}

/// Makes a one-time sign-in link for a login.
#[utoipa::path(post, path = "/accounts/{id}/sign-in-link", tag = "settings",
    responses((status = 201, body = SignInLink)))]
async fn create_sign_in_link(
    State(app): State<AppState>,
    caller: Caller,
    PathId(account): PathId<AccountId>,
) -> Result<(StatusCode, Json<SignInLink>), Problem> {
    let known = app.directory.account(account).await?.ok_or_else(|| Problem::not_found("account"))?;
    holds_all_of(&caller, known.role)?;
    let link = app.directory.sign_in_link(account).await?;
    app.audit(&caller, "account.sign_in_link", known.login, "", serde_json::json!({})).await?;
    let made = SignInLink {
        path: format!("/sign-in#token={}", link.token),
        token: link.token,
        expires_at: link.expires_at.into(),
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// The caller's own API tokens.
#[utoipa::path(get, path = "/tokens", tag = "settings", responses((status = 200, body = Vec<Token>)))]
async fn list_tokens(State(app): State<AppState>, caller: Caller) -> Answer<Vec<Token>> {
    Ok(Json(app.directory.api_tokens(caller.account_id).await?.into_iter().map(Token::from).collect()))
}

/// Creates an API token for the caller's own account; it may what the account may.
#[utoipa::path(post, path = "/tokens", tag = "settings", request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
async fn create_token(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let (token, secret) = app.directory.create_api_token(caller.account_id, &body.name).await?;
    app.audit(&caller, "token.create", token.name.clone(), "", serde_json::json!({})).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: token.into(), secret })))
}

/// Revokes one of the caller's API tokens.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "settings", responses((status = 204)))]
async fn revoke_token(
    State(app): State<AppState>,
    caller: Caller,
    PathId(token): PathId<TokenId>,
) -> Result<StatusCode, Problem> {
    app.directory.revoke_api_token(caller.account_id, token).await?;
    app.audit(&caller, "token.revoke", token.to_string(), "", serde_json::json!({})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "settings", params(SettingsQuery),
    responses((status = 200, body = Page<AuditEntry>)))]
async fn list_audit(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<SettingsQuery>,
) -> Answer<Page<AuditEntry>> {
    let limit = limit_of(q.limit)?;
    let before = after_id(q.after.as_deref())?.map(AuditId);
    let entries = app.directory.audit_page(before, limit.into()).await?;
    let entry = |e: directory::AuditEntry| AuditEntry {
        id: id(e.id),
        at: e.at.into(),
        actor: e.actor,
        action: e.action,
        target: e.target,
        reason: e.reason,
        detail: e.detail,
    };
    Ok(Json(Page::by_id(entries.into_iter().map(entry).collect(), limit, |e| e.id)))
}
