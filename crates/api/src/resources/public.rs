//! What anybody may ask: tracking links, the pixel, unsubscribing, health, metrics.
//!
//! A token that is not ours is answered by a bare page and leads nowhere. A person who follows a link is sent on even
//! when their hit cannot be recorded: a lost count is better than a lost page.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use campaign::{CampaignError, Fetch, Target};
use outbound::DeliveryState;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Access, operation};
use crate::extract::{PathText, body_bytes};
use crate::metrics::Text;
use crate::problem::Problem;

/// A transparent picture of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\
    \x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// Longer tokens are not ours.
const TOKEN_CHARS_MAX: usize = 400;
/// Pages for people who are not signed in load nothing and post only to here.
const PAGE_POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Jobs looked at for the metrics.
const JOBS_COUNTED: usize = 200;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(follow_link), Access::Public))
        .routes(operation(routes!(pixel), Access::Public))
        .routes(operation(routes!(ask_unsubscribe), Access::Public))
        .routes(operation(routes!(unsubscribe), Access::Public))
        .routes(operation(routes!(healthz), Access::Public))
        .routes(operation(routes!(readyz), Access::Public))
        .routes(operation(routes!(metrics), Access::Public))
}

/// What the server sees of a visitor.
struct Visit {
    method: Method,
    user_agent: String,
    client_ip: IpAddr,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let agent = parts.headers.get(header::USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let client = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Visit {
            method: parts.method.clone(),
            user_agent: agent.unwrap_or_default(),
            client_ip: client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        })
    }
}

/// Records a visit, unless it only looked (HEAD).
async fn record(app: &AppState, target: &Target, visit: &Visit) {
    if visit.method == Method::HEAD {
        return;
    }
    let fetch = Fetch {
        at: app.store.now(),
        method: visit.method.as_str(),
        user_agent: &visit.user_agent,
        client_ip: visit.client_ip,
    };
    if let Err(error) = app.tracker.record(target, &fetch).await {
        tracing::warn!(campaign.id = %target.campaign_id, "a hit was answered but not recorded: {error}");
    }
}

/// Not ours, whatever the reason: nothing about it is told.
/// The target as a header can hold it: an author may have written it with letters outside ASCII.
fn location(url: &str) -> Option<HeaderValue> {
    let url = url::Url::parse(url).ok()?;
    HeaderValue::from_str(url.as_str()).ok()
}

fn no_such_page() -> Response {
    page(StatusCode::NOT_FOUND, "Not found", "<p>This link does not lead anywhere. It may be incomplete.</p>")
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><main><h1>{title}</h1>{body}</main></html>\n"
    );
    let mut response = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    private(&mut response);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// A token in an address is kept by nobody: no cache, no index, no referrer.
fn private(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
}

/// Follows a tracked link: 302 to where its author pointed it.
#[utoipa::path(get, path = "/t/{token}", tag = "public", responses((status = 302, description = "To the link's target.")))]
async fn follow_link(
    State(app): State<AppState>,
    PathText(token): PathText,
    visit: Visit,
) -> Result<Response, Problem> {
    if token.len() > TOKEN_CHARS_MAX {
        return Ok(no_such_page());
    }
    let target = match app.tracker.resolve_click(&token).await {
        Ok(target) => target,
        Err(CampaignError::Token) => return Ok(no_such_page()),
        Err(other) => return Err(other.into()),
    };
    let Some(location) = target.url.as_deref().and_then(location) else { return Ok(no_such_page()) };
    record(&app, &target, &visit).await;
    let mut response = (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
    private(&mut response);
    Ok(response)
}

/// The tracking pixel.
#[utoipa::path(get, path = "/o/{token}", tag = "public",
    responses((status = 200, body = String, content_type = "image/gif")))]
async fn pixel(State(app): State<AppState>, PathText(file): PathText, visit: Visit) -> Result<Response, Problem> {
    let token = file.strip_suffix(".gif").filter(|token| token.len() <= TOKEN_CHARS_MAX);
    let Some(token) = token else { return Ok(no_such_page()) };
    let target = match app.tracker.resolve_open(token).await {
        Ok(target) => target,
        Err(CampaignError::Token) => return Ok(no_such_page()),
        Err(other) => return Err(other.into()),
    };
    record(&app, &target, &visit).await;
    let mut response = ([(header::CONTENT_TYPE, "image/gif")], PIXEL).into_response();
    private(&mut response);
    Ok(response)
}

/// Asks before unsubscribing: a GET never does it, since scanners fetch links.
#[utoipa::path(get, path = "/u/{token}", tag = "public",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn ask_unsubscribe(State(app): State<AppState>, PathText(token): PathText) -> Result<Response, Problem> {
    if token.len() > TOKEN_CHARS_MAX {
        return Ok(no_such_page());
    }
    match app.tracker.unsubscribe_target(&token).await {
        Ok(address) => {
            let body = format!(
                "<p>{} will get no more campaigns of this organisation.</p>\
                 <form method=\"post\"><button name=\"List-Unsubscribe\" value=\"One-Click\">Unsubscribe</button></form>",
                escaped(&address.to_string())
            );
            Ok(page(StatusCode::OK, "Unsubscribe", &body))
        }
        Err(CampaignError::Token) => Ok(no_such_page()),
        Err(other) => Err(other.into()),
    }
}

/// Whether the body says `List-Unsubscribe=One-Click`, as a form in either of the two encodings (RFC 8058 section 3.1).
fn is_one_click(body: &[u8]) -> bool {
    let form =
        url::form_urlencoded::parse(body).any(|(name, value)| name == "List-Unsubscribe" && value == "One-Click");
    let text = String::from_utf8_lossy(body);
    form || text.contains("name=\"List-Unsubscribe\"") && text.lines().any(|line| line.trim() == "One-Click")
}

/// Unsubscribes in one click (RFC 8058). Repeating it changes nothing.
#[utoipa::path(post, path = "/u/{token}", tag = "public",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = String, content_type = "text/html")))]
async fn unsubscribe(
    State(app): State<AppState>,
    PathText(token): PathText,
    request: Request,
) -> Result<Response, Problem> {
    let body = body_bytes(request, &app).await?;
    if token.len() > TOKEN_CHARS_MAX || !is_one_click(&body) {
        return Ok(no_such_page());
    }
    match app.tracker.unsubscribe(&token).await {
        Ok(address) => {
            let body = format!("<p>{} gets no more campaigns of this organisation.</p>", escaped(&address.to_string()));
            Ok(page(StatusCode::OK, "Unsubscribed", &body))
        }
        Err(CampaignError::Token) => Ok(no_such_page()),
        Err(other) => Err(other.into()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "public", responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the database answers.
#[utoipa::path(get, path = "/readyz", tag = "public", responses((status = 200, body = String, content_type = "text/plain")))]
async fn readyz(State(app): State<AppState>) -> Response {
    match app.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!("not ready: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
        }
    }
}

/// Metrics in the Prometheus text format: counts without any address or name.
#[utoipa::path(get, path = "/metrics", tag = "public", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<AppState>) -> Result<Response, Problem> {
    let of = app.directory.id();
    let mut text = Text::default();
    app.metrics.write(&mut text);
    if let Some(stats) = &app.gateway_stats {
        crate::metrics::write_gateway(&mut text, stats);
    }
    if let Some(stats) = &app.imap_stats {
        crate::metrics::write_imap(&mut text, stats);
    }
    let bypass = app.directory.bypass().await?;
    text.gauge("landfall_bypass_on", "Whether judging is switched off (1) or on (0).", i64::from(bypass.is_some()));
    let waiting = app.directory.unjudged_count().await?;
    text.gauge("landfall_unjudged_mails", "Mails that came in without a verdict and wait for one.", waiting);
    let waiting = app.directory.incoming_count().await?;
    text.gauge("landfall_incoming_mails", "Mails that were accepted and are in no mailbox yet.", waiting);
    let totals = whereabouts::totals(&app.store, of).await?;
    let help = "Copies of campaigns by place.";
    text.family(
        "landfall_campaign_copies",
        "gauge",
        help,
        "place",
        totals.places.iter().map(|(p, n)| (p.as_str(), *n)),
    );
    let help = "Copies of campaigns by last event.";
    let events = totals.events.iter().map(|(e, n)| (e.as_str(), *n));
    text.family("landfall_campaign_copies_by_last_event", "gauge", help, "last_event", events);
    let totals = outbound::queue_totals(&app.store, of).await?;
    let queue = [DeliveryState::Due, DeliveryState::Leased, DeliveryState::Held].map(|state| {
        (state.as_str(), totals.iter().filter(|total| total.state == state).map(|total| total.count).sum::<i64>())
    });
    text.family("landfall_queue_deliveries", "gauge", "Deliveries in the outbound queue by state.", "state", queue);
    let oldest_ms = totals.iter().map(|total| app.store.now().ms_since(total.oldest_at)).max().unwrap_or(0);
    text.gauge("landfall_queue_oldest_milliseconds", "Age of the oldest delivery in the queue.", oldest_ms);
    let jobs = app.quarantine.jobs(None, JOBS_COUNTED).await?;
    let states = ["waiting", "running", "done", "failed"].map(|state| {
        (state, i64::try_from(jobs.iter().filter(|job| job.state.as_str() == state).count()).unwrap_or(i64::MAX))
    });
    text.family("landfall_jobs", "gauge", "The newest 200 jobs by state.", "state", states);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.finish()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_fits_into_the_header() {
        let check = |url: &str, expect: Option<&str>| {
            assert_eq!(location(url).as_ref().map(|v| v.to_str().expect("ASCII")), expect, "{url}");
        };
        check("https://x.example/news?id=1&x=2#top", Some("https://x.example/news?id=1&x=2#top"));
        check("https://x.example/gr\u{fc}\u{df}e?q=\u{fc}", Some("https://x.example/gr%C3%BC%C3%9Fe?q=%C3%BC"));
        check("https://b\u{fc}cher.example/", Some("https://xn--bcher-kva.example/"));
        check(" https://x.example/a\r\nSet-Cookie: a=b", Some("https://x.example/aSet-Cookie:%20a=b"));
        check("/relative", None);
    }
}
