//! Signing in and out, and who is signed in.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use directory::{DirectoryError, SignedIn};
use model::Permission as P;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Access, Caller, operation};
use crate::extract::{Answer, Json};
use crate::problem::{Kind, Problem};
use crate::session_auth::{cookie, session_token};
use crate::wire::{Id, Permission, Role, id};

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

/// The client's address, where the server knows it.
pub struct Client(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Client(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())))
    }
}

/// Refuses while this login, or this client, has guessed wrong too often.
pub fn not_throttled(app: &AppState, login: &str, client: Option<IpAddr>) -> Result<(), Problem> {
    let wait_ms = app.throttle.wait_ms(login, client, app.store.now());
    if wait_ms <= 0 {
        return Ok(());
    }
    let seconds = u64::try_from((wait_ms + 999) / 1000).unwrap_or(1);
    let detail = format!("Too many wrong passwords for this login. Try again in {seconds} s.");
    Err(Problem::new(Kind::TooMany, detail).retry_after_s(seconds))
}

/// Signs in with login and password and sets the session's cookie.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignIn, responses((status = 200, body = Me)))]
async fn sign_in(
    State(app): State<AppState>,
    Client(client): Client,
    Json(body): Json<SignIn>,
) -> Result<Response, Problem> {
    not_throttled(&app, &body.login, client)?;
    let _permit = app.password_checks.acquire().await.map_err(|closed| Problem::from_severity(true, closed))?;
    // Again: many tries may have waited in line together.
    not_throttled(&app, &body.login, client)?;
    match app.directory.sign_in(&body.login, &body.password).await {
        Ok(signed_in) => {
            app.throttle.succeeded(&body.login, client);
            Ok(signed_in_answer(&app, signed_in))
        }
        Err(DirectoryError::Unauthenticated) => {
            app.throttle.failed(&body.login, client, app.store.now());
            Err(DirectoryError::Unauthenticated.into())
        }
        Err(other) => Err(other.into()),
    }
}

/// Signs in with a one-time link (first run, invitation) and sets the session's cookie.
#[utoipa::path(post, path = "/session/link", tag = "session", request_body = SignInByLink,
    responses((status = 200, body = Me)))]
async fn sign_in_by_link(State(app): State<AppState>, Json(body): Json<SignInByLink>) -> Result<Response, Problem> {
    let signed_in = app.directory.sign_in_by_link(&body.token).await?;
    Ok(signed_in_answer(&app, signed_in))
}

/// Ends the session.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
async fn sign_out(State(app): State<AppState>, _caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = session_token(&headers) {
        app.directory.sign_out(token).await?;
    }
    let gone = cookie("", 0, app.config.https);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Who is signed in.
#[utoipa::path(get, path = "/me", tag = "session", responses((status = 200, body = Me)))]
async fn me(State(app): State<AppState>, caller: Caller) -> Answer<Me> {
    Ok(Json(who(&app, &caller)))
}

fn signed_in_answer(app: &AppState, signed_in: SignedIn) -> Response {
    let max_age_s = signed_in.expires_at.ms_since(app.store.now()) / 1000;
    let caller = Caller {
        account_id: signed_in.account.id,
        organisation_id: app.directory.id(),
        person_id: signed_in.account.person_id,
        login: signed_in.account.login,
        name: signed_in.account.name,
        role: signed_in.account.role,
        csrf: Some(signed_in.csrf),
    };
    let set = cookie(&signed_in.token, max_age_s, app.config.https);
    ([(header::SET_COOKIE, set)], Json(who(app, &caller))).into_response()
}

fn who(app: &AppState, caller: &Caller) -> Me {
    let organisation = app.directory.organisation();
    Me {
        account_id: id(caller.account_id),
        person_id: caller.person_id.map(id),
        login: caller.login.clone(),
        name: caller.name.clone(),
        role: caller.role.into(),
        permissions: caller.role.permissions().iter().map(|p| (*p).into()).collect(),
        organisation: Organisation {
            id: id(organisation.id),
            name: organisation.name.clone(),
            domains: organisation.domains.iter().map(ToString::to_string).collect(),
        },
        csrf: caller.csrf.clone(),
        version: app.config.version.clone(),
    }
}
