//! The router as it is served: routes, console, and what wraps every request.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::problem::{Kind, Problem};
use crate::{AppState, console, openapi, session_auth};

/// The largest body of a request that has no limit of its own.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The longest that an answer may take to begin.
const ANSWER_MS_MAX: u64 = 30_000;
/// What documents of the API may load: nothing. Pages set their own.
const NOTHING_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Everything that the server answers.
pub fn router(state: AppState) -> Router {
    let (routes, _) = openapi::described().split_for_parts();
    routes
        .layer(from_fn_with_state(state.clone(), session_auth::authenticate))
        .fallback(console::fallback)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(in_time))
        .layer(CompressionLayer::new())
        .layer(from_fn(secure_headers))
        .layer(from_fn_with_state(state.clone(), count))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state)
}

/// Serves until `shutdown`; open requests are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::Method, "This address exists, but not with this method. See /api/v1/openapi.json.")
}

/// Every await on the outside world has a deadline; this is the last one.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(Kind::Timeout, "The server took too long. It may still finish: look before you repeat it.")
                .into_response()
        }
    }
}

/// Headers that keep browsers from guessing, framing and telling on; a handler's own value wins.
async fn secure_headers(request: Request, next: Next) -> Response {
    const DEFAULTS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, NOTHING_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn count(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.count_request(response.status());
    response
}

/// A panic ends one request, is counted by its 500, and is never silent.
fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let words = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    Problem::from_severity(false, words).into_response()
}
