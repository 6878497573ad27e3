//! The router as it is served: routes, console, and what wraps every request.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::listener::Bounded;
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
    // Passing each connection through unchanged is what makes axum say where it comes from.
    let listener = Bounded::new(listener).tap_io(|_| ());
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::Method, "This address exists, but not with this method. See /api/v1/openapi.json.")
}

/// Every await on the outside world has a deadline; this is the last one. What changes something runs in a task of its
/// own, so that a browser that goes away (or this deadline) does not cut it off half way.
async fn in_time(request: Request, next: Next) -> Response {
    let deadline = Duration::from_millis(ANSWER_MS_MAX);
    let answer = if request.method().is_safe() {
        tokio::time::timeout(deadline, next.run(request)).await.map_err(drop)
    } else {
        match tokio::time::timeout(deadline, tokio::spawn(next.run(request))).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic), // the layer around this one answers it
                Err(cancelled) => Ok(Problem::from_severity(true, cancelled).into_response()),
            },
            Err(_) => Err(()),
        }
    };
    answer.unwrap_or_else(|()| {
        let detail = "The server took too long. What you asked for may still be done: look before you repeat it.";
        Problem::new(Kind::Timeout, detail).into_response()
    })
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Method, StatusCode};
    use axum::routing::any;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_problem_that_tells_nothing() {
        async fn panics() {
            panic!("the secret cause");
        }
        let router: Router =
            Router::new().route("/", any(panics)).layer(from_fn(in_time)).layer(CatchPanicLayer::custom(panicked));
        for method in [Method::GET, Method::POST] {
            let request = Request::builder().method(method).uri("/").body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("the router always answers");
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
            let document: serde_json::Value = serde_json::from_slice(&body).expect("a problem document");
            assert_eq!(document["type"], "/problems/internal");
            assert!(!document.to_string().contains("secret"), "{document}");
        }
    }
}
