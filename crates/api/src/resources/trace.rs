//! Message trace: what became of every message, by sender, recipient, Message-ID and time.

use model::{CopyId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, AuthResult, Evidence, Id, LastEvent, Page, Place, Verdict, VerdictClass};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(search_trace), P::TraceRead))
        .routes(operation(routes!(get_trace), P::TraceRead))
}

/// What to look for; all given filters must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TraceQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// The From address.
    sender: Option<String>,
    /// The recipient's address.
    recipient: Option<String>,
    /// The Message-ID, with or without angle brackets.
    message_id: Option<String>,
    /// Received at or after.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<At>,
    /// Received before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<At>,
    /// Where the copy is now.
    place: Option<Place>,
    /// The verdict's class.
    class: Option<VerdictClass>,
}

/// One copy in a trace.
#[derive(Debug, Serialize, ToSchema)]
struct TraceItem {
    copy_id: Id,
    message_id: Id,
    /// The Message-ID field.
    message_id_header: String,
    received_at: At,
    from_address: String,
    from_name: String,
    reverse_path: String,
    recipient: String,
    subject: String,
    /// `inbound` or `outbound`.
    direction: String,
    size_bytes: i64,
    campaign_id: Option<Id>,
    place: Place,
    place_detail: String,
    last_event: LastEvent,
    last_event_at: At,
    class: Option<VerdictClass>,
    disposition: Option<String>,
    policy: Option<String>,
}

/// Everything known about one copy's message and what was decided.
#[derive(Debug, Serialize, ToSchema)]
struct TraceDetail {
    item: TraceItem,
    /// Where it is and why, in one sentence.
    answer: String,
    client_ip: String,
    helo: String,
    authentication: Option<Authentication>,
    verdict: Option<Verdict>,
    /// Why this disposition, in one sentence.
    decision: String,
    urls: Vec<UrlSeen>,
    attachments: Vec<AttachmentSeen>,
    /// What was malformed.
    defects: Vec<String>,
    quarantine_item_id: Option<Id>,
    timeline: Vec<Evidence>,
}

/// SPF, DKIM, DMARC, ARC as they were at receipt (RFC 8601).
#[derive(Debug, Serialize, ToSchema)]
struct Authentication {
    spf: AuthResult,
    spf_domain: String,
    dkim: Vec<DkimSeen>,
    dmarc: AuthResult,
    dmarc_domain: String,
    /// `none`, `quarantine` or `reject`.
    dmarc_policy: String,
    arc: AuthResult,
}

/// One signature.
#[derive(Debug, Serialize, ToSchema)]
struct DkimSeen {
    result: AuthResult,
    domain: String,
    selector: String,
}

/// One URL of the message.
#[derive(Debug, Serialize, ToSchema)]
struct UrlSeen {
    url: String,
    host: String,
    /// `text`, `href`, `resource` or `form`.
    source: String,
}

/// One attachment, or a file in an attached archive.
#[derive(Debug, Serialize, ToSchema)]
struct AttachmentSeen {
    name: String,
    declared_type: String,
    /// What the bytes say it is.
    kind: String,
    sha256: String,
    size_bytes: u64,
    inside: Option<String>,
}

/// Searches the trace, newest first.
#[utoipa::path(get, path = "/trace", tag = "trace", params(TraceQuery), responses((status = 200, body = Page<TraceItem>)))]
async fn search_trace(_caller: Caller, Query(_q): Query<TraceQuery>) -> Answer<Page<TraceItem>> {
    Err(Problem::not_wired())
}

/// One copy in full.
#[utoipa::path(get, path = "/trace/{copy_id}", tag = "trace", responses((status = 200, body = TraceDetail)))]
async fn get_trace(_caller: Caller, PathId(_id): PathId<CopyId>) -> Answer<TraceDetail> {
    Err(Problem::not_wired())
}
