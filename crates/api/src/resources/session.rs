//! Signing in and out, and who is signed in.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use model::Permission as P;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Access, Caller, operation};
use crate::extract::{Answer, Json};
use crate::problem::Problem;
use crate::wire::{At, Id, Permission, Role};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(sign_in), Access::Public))
        .routes(operation(routes!(sign_out), P::Own))
        .routes(operation(routes!(sign_in_by_link), Access::Public))
        .routes(operation(routes!(me), P::Own))
}

/// Login and password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The login, usually the address.
    login: String,
    /// The password.
    password: String,
}

/// A one-time link's token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignInByLink {
    /// The token from the link.
    token: String,
}

/// Who is signed in and what they may do.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    account_id: Id,
    /// The person whose mailbox is this account's own.
    person_id: Option<Id>,
    login: String,
    name: String,
    role: Role,
    /// What the role may do; the console shows nothing else.
    permissions: Vec<Permission>,
    organisation: Organisation,
    /// Send this in `X-CSRF-Token` with every unsafe request; `null` with an API token.
    csrf: Option<String>,
    /// When the session ends; `null` with an API token.
    expires_at: Option<At>,
    /// The version of the server.
    version: String,
}

/// The organisation.
#[derive(Debug, Serialize, ToSchema)]
struct Organisation {
    id: Id,
    name: String,
    /// Its own mail domains.
    domains: Vec<String>,
}

/// Signs in with login and password and sets the session's cookie.
#[utoipa::path(post, path = "/session", tag = "session", responses((status = 200, body = Me)))]
async fn sign_in(_headers: HeaderMap, Json(_body): Json<SignIn>) -> Result<Response, Problem> {
    Err(Problem::not_wired())
}

/// Signs in with a one-time link (first run, invitation) and sets the session's cookie.
#[utoipa::path(post, path = "/session/link", tag = "session", responses((status = 200, body = Me)))]
async fn sign_in_by_link(_headers: HeaderMap, Json(_body): Json<SignInByLink>) -> Result<Response, Problem> {
    Err(Problem::not_wired())
}

/// Ends the session.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
async fn sign_out(_caller: Caller) -> Result<Response, Problem> {
    Ok(Problem::not_wired().into_response())
}

/// Who is signed in.
#[utoipa::path(get, path = "/me", tag = "session", responses((status = 200, body = Me)))]
async fn me(_caller: Caller) -> Answer<Me> {
    Err(Problem::not_wired())
}
