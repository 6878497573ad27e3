//! One's own password: set after a sign-in by link, changed later.

use axum::extract::State;
use axum::http::StatusCode;
use directory::DirectoryError;
use model::Permission as P;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::Json;
use crate::problem::Problem;
use crate::resources::session::{Client, not_throttled};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(operation(routes!(set_password), P::Own))
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// The password until now; empty for an account that has none yet.
    #[serde(default)]
    current: String,
    /// At least ten characters.
    password: String,
}

/// Sets one's own password. Sessions and tokens stay.
#[utoipa::path(put, path = "/me/password", tag = "session", request_body = NewPassword, responses((status = 204)))]
async fn set_password(
    State(app): State<AppState>,
    caller: Caller,
    Client(client): Client,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    // Whoever found a session open must not find the password out with it.
    not_throttled(&app, &caller.login, client)?;
    let _permit = app.password_checks.acquire().await.map_err(|closed| Problem::from_severity(true, closed))?;
    match app.directory.change_password(caller.account_id, &body.current, &body.password).await {
        Err(DirectoryError::Unauthenticated) => {
            app.throttle.failed(&caller.login, client, app.store.now());
            return Err(Problem::invalid("current", "This is not your password."));
        }
        done => done?,
    }
    app.audit(&caller, "account.password", format!("account {}", caller.account_id), "", serde_json::json!({})).await?;
    Ok(StatusCode::NO_CONTENT)
}
