//! Who a request comes from: an API token, or a session's cookie.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use directory::Principal;

use crate::AppState;
use crate::access::Caller;
use crate::problem::Problem;

/// The session's cookie.
pub const COOKIE: &str = "landfall_session";
/// Longer values are no tokens of ours; they are not even looked up.
const TOKEN_BYTES_MAX: usize = 200;

/// Puts the [`Caller`] on requests that bring a valid token. Whether one is needed is decided per operation.
pub async fn authenticate(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    match caller(&app, request.headers()).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn caller(app: &AppState, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    let principal = if let Some(token) = bearer_token(headers) {
        app.directory.bearer(token).await?
    } else if let Some(token) = session_token(headers) {
        app.directory.session(token).await?
    } else {
        None
    };
    Ok(principal.map(|Principal { account, csrf }| Caller {
        account_id: account.id,
        organisation_id: app.directory.id(),
        person_id: account.person_id,
        login: account.login,
        name: account.name,
        role: account.role,
        csrf,
    }))
}

/// RFC 6750 section 2.1.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX).then(|| token.trim())
}

/// The value of our cookie, if it came.
pub fn session_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty() && value.len() <= TOKEN_BYTES_MAX)
        .map(|(_, value)| value)
}

/// `Set-Cookie` for a session (RFC 6265 4.1): not for scripts, not for other sites' forms.
pub fn cookie(token: &str, max_age_s: i64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}")
}
