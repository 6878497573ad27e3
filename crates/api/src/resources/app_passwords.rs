//! One's own app passwords: what a mail program logs in with.

use axum::extract::State;
use axum::http::StatusCode;
use directory::ClientScope;
use model::{AppPasswordId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId};
use crate::problem::Problem;
use crate::wire::{At, Id, id};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_app_passwords), P::MailboxOwn))
        .routes(operation(routes!(create_app_password), P::MailboxOwn))
        .routes(operation(routes!(revoke_app_password), P::MailboxOwn))
}

/// What an app password opens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AppPasswordScope {
    /// Read mail by IMAP.
    Imap,
    /// Hand mail in by SMTP.
    Submission,
}

impl From<ClientScope> for AppPasswordScope {
    fn from(scope: ClientScope) -> Self {
        match scope {
            ClientScope::Imap => AppPasswordScope::Imap,
            ClientScope::Submission => AppPasswordScope::Submission,
        }
    }
}

impl From<AppPasswordScope> for ClientScope {
    fn from(scope: AppPasswordScope) -> Self {
        match scope {
            AppPasswordScope::Imap => ClientScope::Imap,
            AppPasswordScope::Submission => ClientScope::Submission,
        }
    }
}

/// An app password, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct AppPassword {
    id: Id,
    name: String,
    scopes: Vec<AppPasswordScope>,
    created_at: At,
    /// To the minute.
    last_used_at: Option<At>,
}

/// A new app password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAppPassword {
    /// What uses it, in 1 to 100 characters.
    name: String,
    /// Left out: everything.
    #[serde(default)]
    scopes: Option<Vec<AppPasswordScope>>,
}

/// A new app password with its secret.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedAppPassword {
    #[serde(flatten)]
    app_password: AppPassword,
    /// What the login is: the address, or the account's login.
    login: String,
    /// Type it into the mail program. Not shown again.
    secret: String,
}

impl From<directory::AppPassword> for AppPassword {
    fn from(p: directory::AppPassword) -> Self {
        AppPassword {
            id: id(p.id),
            name: p.name,
            scopes: p.scopes.into_iter().map(AppPasswordScope::from).collect(),
            created_at: p.created_at.into(),
            last_used_at: p.last_used_at.map(At),
        }
    }
}

/// The caller's app passwords, newest first; at most 20.
#[utoipa::path(get, path = "/me/app-passwords", tag = "session", responses((status = 200, body = Vec<AppPassword>)))]
async fn list_app_passwords(State(app): State<AppState>, caller: Caller) -> Answer<Vec<AppPassword>> {
    Ok(Json(app.directory.app_passwords(caller.account_id).await?.into_iter().map(AppPassword::from).collect()))
}

/// Makes an app password for the caller's own mailbox.
#[utoipa::path(post, path = "/me/app-passwords", tag = "session", request_body = NewAppPassword,
    responses((status = 201, body = CreatedAppPassword)))]
async fn create_app_password(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewAppPassword>,
) -> Result<(StatusCode, Json<CreatedAppPassword>), Problem> {
    let Some(person) = caller.person_id else {
        return Err(Problem::conflict("This account has no mailbox that a mail program could open."));
    };
    let person = app.directory.person(person).await?.ok_or_else(|| Problem::not_found("person"))?;
    let scopes: Vec<ClientScope> = match body.scopes {
        Some(scopes) => scopes.into_iter().map(ClientScope::from).collect(),
        None => ClientScope::ALL.to_vec(),
    };
    let by = Some(caller.account_id);
    let (made, secret) = app.directory.create_app_password(caller.account_id, &body.name, &scopes, by).await?;
    let made = CreatedAppPassword { app_password: made.into(), login: person.address, secret };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes one of the caller's app passwords: it opens nothing from now on.
#[utoipa::path(delete, path = "/me/app-passwords/{id}", tag = "session", responses((status = 204)))]
async fn revoke_app_password(
    State(app): State<AppState>,
    caller: Caller,
    PathId(password): PathId<AppPasswordId>,
) -> Result<StatusCode, Problem> {
    app.directory.revoke_app_password(caller.account_id, password, Some(caller.account_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
