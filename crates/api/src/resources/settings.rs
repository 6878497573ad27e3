//! The organisation's settings, accounts, API tokens and the audit log.

use axum::http::StatusCode;
use model::{AccountId, Permission as P, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, Role};

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
    /// Where tracked links lead: `https://t.example.org`.
    tracking_base_url: String,
    /// Numbers of fewer people than this are not shown.
    tracking_floor_count: i64,
    /// Whether campaigns may track individual people.
    individual_tracking: bool,
    /// Why, and on which legal basis; needed when individual tracking is on.
    individual_tracking_purpose: String,
    /// An incident opens when so many copies are lost,
    incident_copies_min: i64,
    /// and stay lost for so long.
    incident_delay_ms: i64,
    /// Actions on more copies than this need a second person.
    mass_action_copies_max: i64,
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
    has_password: bool,
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
    expires_at: Option<At>,
    revoked_at: Option<At>,
}

/// A new API token for the caller's own account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    name: String,
    #[serde(default)]
    expires_at: Option<At>,
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
    account_id: Option<Id>,
    action: String,
    target: String,
    reason: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

/// The settings.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, body = Settings)))]
async fn get_settings(_caller: Caller) -> Answer<Settings> {
    Err(Problem::not_wired())
}

/// Replaces the settings.
#[utoipa::path(put, path = "/settings", tag = "settings", responses((status = 200, body = Settings)))]
async fn put_settings(_caller: Caller, Json(_b): Json<Settings>) -> Answer<Settings> {
    Err(Problem::not_wired())
}

/// Logins.
#[utoipa::path(get, path = "/accounts", tag = "settings", params(SettingsQuery), responses((status = 200, body = Page<Account>)))]
async fn list_accounts(_caller: Caller, Query(_q): Query<SettingsQuery>) -> Answer<Page<Account>> {
    Err(Problem::not_wired())
}

/// Creates a login.
#[utoipa::path(post, path = "/accounts", tag = "settings", responses((status = 201, body = Account)))]
async fn create_account(_caller: Caller, Json(_b): Json<NewAccount>) -> Result<(StatusCode, Json<Account>), Problem> {
    Err(Problem::not_wired())
}

/// Makes a one-time sign-in link for a login.
#[utoipa::path(post, path = "/accounts/{id}/sign-in-link", tag = "settings", responses((status = 201, body = SignInLink)))]
async fn create_sign_in_link(
    _caller: Caller,
    PathId(_id): PathId<AccountId>,
) -> Result<(StatusCode, Json<SignInLink>), Problem> {
    Err(Problem::not_wired())
}

/// API tokens.
#[utoipa::path(get, path = "/tokens", tag = "settings", params(SettingsQuery), responses((status = 200, body = Page<Token>)))]
async fn list_tokens(_caller: Caller, Query(_q): Query<SettingsQuery>) -> Answer<Page<Token>> {
    Err(Problem::not_wired())
}

/// Creates an API token for the caller's own account.
#[utoipa::path(post, path = "/tokens", tag = "settings", responses((status = 201, body = CreatedToken)))]
async fn create_token(_caller: Caller, Json(_b): Json<NewToken>) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    Err(Problem::not_wired())
}

/// Revokes an API token.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "settings", responses((status = 204)))]
async fn revoke_token(_caller: Caller, PathId(_id): PathId<TokenId>) -> Result<StatusCode, Problem> {
    Err(Problem::not_wired())
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "settings", params(SettingsQuery), responses((status = 200, body = Page<AuditEntry>)))]
async fn list_audit(_caller: Caller, Query(_q): Query<SettingsQuery>) -> Answer<Page<AuditEntry>> {
    Err(Problem::not_wired())
}
