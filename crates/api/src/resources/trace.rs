//! Message trace: what became of every message, by sender, recipient, Message-ID and time.

use axum::extract::State;
use gateway::trace::{self, TraceFilter, TraceMessage, TraceRow};
use model::{Address, CampaignId, CopyId, Facts, Permission as P, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::looks::Look;
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::Problem;
use crate::resources::copies::{Evidence, evidence};
use crate::wire::{At, AuthResult, Id, LastEvent, Page, Place, Verdict, VerdictClass, bad_cursor, id, limit_of};

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
    /// The host of a link in the mail. A Message-ID says more: not both.
    url_host: Option<String>,
    /// Received at or after.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<At>,
    /// Received before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<At>,
    /// Where the copy is now.
    place: Option<Place>,
    /// What last happened to it.
    last_event: Option<LastEvent>,
    /// Words of the subject, in this order.
    subject: Option<String>,
    /// Copies of this campaign.
    #[param(value_type = Option<String>)]
    campaign_id: Option<Id>,
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
    /// Size of the stored message; 0 when none was kept.
    size_bytes: i64,
    authentication: Option<Authentication>,
    verdict: Option<Verdict>,
    /// Why this disposition: policy, reason, retention.
    #[schema(value_type = Option<Object>)]
    decision: Option<serde_json::Value>,
    urls: Vec<UrlSeen>,
    attachments: Vec<AttachmentSeen>,
    /// What was malformed.
    defects: Vec<String>,
    quarantine_item_id: Option<Id>,
    /// The connector to the system that keeps the recipient's mailbox; `null`: it is embedded, or nobody's.
    kept_by: Option<String>,
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
    /// Composite authentication: `none`, `pass`, `softpass` or `fail`, with its three-digit reason.
    composite: String,
    composite_reason: String,
    /// A name of the client that leads back to it; empty when there is none.
    client_name: String,
    /// Why it was let in without a verdict: `failure`, `bypass`, or null.
    unjudged: Option<String>,
}

/// One signature.
#[derive(Debug, Serialize, ToSchema)]
struct DkimSeen {
    result: AuthResult,
    domain: String,
    selector: String,
    /// Why it did not pass; empty when it did.
    reason: String,
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

impl TryFrom<TraceRow> for TraceItem {
    type Error = Problem;

    fn try_from(r: TraceRow) -> Result<Self, Problem> {
        Ok(TraceItem {
            copy_id: id(r.copy_id),
            message_id: id(r.message_id),
            message_id_header: r.message_id_header,
            received_at: r.created_at.into(),
            from_address: r.sender,
            from_name: r.sender_name,
            reverse_path: r.reverse_path,
            recipient: r.recipient,
            subject: r.subject,
            direction: r.direction,
            campaign_id: r.campaign_id.map(id),
            place: place(&r.place)?,
            place_detail: r.place_detail,
            last_event: last_event(&r.last_event)?,
            last_event_at: r.last_event_at.into(),
            class: r.verdict_class.as_deref().and_then(model::VerdictClass::parse).map(VerdictClass),
            disposition: r.disposition,
            policy: r.policy,
        })
    }
}

fn place(word: &str) -> Result<Place, Problem> {
    model::Place::parse(word).map(Place).ok_or_else(|| unknown_word(word))
}

fn last_event(word: &str) -> Result<LastEvent, Problem> {
    model::LastEvent::parse(word).map(LastEvent).ok_or_else(|| unknown_word(word))
}

fn unknown_word(word: &str) -> Problem {
    Problem::from_severity(false, format!("a stored word that this binary does not know: {word:?}"))
}

impl From<&Facts> for Authentication {
    fn from(facts: &Facts) -> Self {
        let auth = &facts.auth;
        let dkim = |d: &model::DkimFact| DkimSeen {
            result: d.result.into(),
            domain: d.domain.clone(),
            selector: d.selector.clone(),
            reason: d.reason.clone(),
        };
        Authentication {
            spf: auth.spf.into(),
            spf_domain: auth.spf_domain.clone(),
            dkim: auth.dkim.iter().map(dkim).collect(),
            dmarc: auth.dmarc.into(),
            dmarc_domain: auth.dmarc_domain.clone(),
            dmarc_policy: auth.dmarc_policy.as_str().to_owned(),
            arc: auth.arc.into(),
            composite: auth.composite.result.as_str().to_owned(),
            composite_reason: format!("{:03}", auth.composite.reason),
            client_name: auth.client_name.clone(),
            unjudged: facts.unjudged.map(|reason| reason.as_str().to_owned()),
        }
    }
}

/// Searches the trace, newest first.
#[utoipa::path(get, path = "/trace", tag = "trace", params(TraceQuery),
    responses((status = 200, body = Page<TraceItem>)))]
async fn search_trace(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<TraceQuery>,
) -> Answer<Page<TraceItem>> {
    if q.message_id.is_some() && q.url_host.is_some() {
        return Err(Problem::invalid("url_host", "Give a Message-ID or the host of a link, not both."));
    }
    let filter = TraceFilter {
        url_host: q.url_host,
        sender: q.sender,
        recipient: q.recipient,
        subject: q.subject,
        message_id_header: q.message_id,
        place: q.place.map(|word| word.0),
        last_event: q.last_event.map(|word| word.0),
        campaign_id: q.campaign_id.map(|raw| CampaignId(raw.0)),
        from_at: q.from.map(Timestamp::from),
        to_at: q.to.map(Timestamp::from),
        after: q.after.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?,
        limit: limit_of(q.limit)?.into(),
    };
    let page = trace::search(&app.store, caller.organisation_id, &filter).await?;
    let items = page.rows.into_iter().map(TraceItem::try_from).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next: page.next.map(|cursor| cursor.to_string()) }))
}

/// One copy in full. Opening somebody else's is recorded.
#[utoipa::path(get, path = "/trace/{copy_id}", tag = "trace", responses((status = 200, body = TraceDetail)))]
async fn get_trace(State(app): State<AppState>, caller: Caller, PathId(copy): PathId<CopyId>) -> MaskedAnswer {
    let found = trace::detail(&app.store, caller.organisation_id, copy).await?;
    let found = found.ok_or_else(|| Problem::not_found("copy"))?;
    note_opening(&app, &caller, copy).await?;
    let story = whereabouts::copy_timeline(&app.store, caller.organisation_id, copy).await?;
    // What arrived says more than what was sent.
    let message = found.received.as_ref().unwrap_or(&found.message);
    let facts: Option<Facts> = stored(message.facts.as_ref())?;
    let verdict: Option<model::Verdict> = stored(message.verdict.as_ref())?;
    let facts = facts.as_ref();
    Masked::new(
        app.tracker.tokens(),
        &TraceDetail {
            item: item_of(&found, message, verdict.as_ref())?,
            answer: story.answer,
            client_ip: message.client_ip.clone(),
            helo: message.helo.clone(),
            size_bytes: message.body_bytes,
            authentication: facts.map(Authentication::from),
            verdict: verdict.as_ref().map(Verdict::from),
            decision: found.decision.clone(),
            urls: facts.map(urls).unwrap_or_default(),
            attachments: facts.map(attachments).unwrap_or_default(),
            defects: facts.map(|f| f.defects.iter().map(|d| d.as_str().to_owned()).collect()).unwrap_or_default(),
            quarantine_item_id: app.quarantine.of_copy(copy).await?.map(id),
            kept_by: kept_by(&app, &found.recipient).await?,
            timeline: story.evidence.into_iter().map(evidence).collect(),
        },
    )
}

/// Records that somebody opens another person's copy. The trace is read on when nothing can be written.
pub async fn note_opening(app: &AppState, caller: &Caller, copy_id: CopyId) -> Result<(), Problem> {
    if !app.is_own(caller, copy_id).await? {
        let look = Look { action: "trace.open", target: format!("copy {copy_id}"), reason: "", copy_id };
        app.note_look_if_possible(caller, look).await;
    }
    Ok(())
}

/// The connector that keeps the mailbox of an address.
async fn kept_by(app: &AppState, recipient: &str) -> Result<Option<String>, Problem> {
    let Ok(address) = Address::parse(recipient) else { return Ok(None) };
    Ok(app.directory.recipient(&address).await?.and_then(|recipient| recipient.connector))
}

fn stored<T: serde::de::DeserializeOwned>(value: Option<&serde_json::Value>) -> Result<Option<T>, Problem> {
    value
        .map(|value| serde_json::from_value(value.clone()))
        .transpose()
        .map_err(|error| Problem::from_severity(false, error))
}

fn item_of(
    found: &trace::TraceDetail,
    message: &TraceMessage,
    verdict: Option<&model::Verdict>,
) -> Result<TraceItem, Problem> {
    Ok(TraceItem {
        copy_id: id(found.copy_id),
        message_id: id(message.id),
        message_id_header: message.message_id_header.clone(),
        received_at: message.received_at.into(),
        from_address: message.from_address.clone(),
        from_name: message.from_name.clone(),
        reverse_path: message.reverse_path.clone(),
        recipient: found.recipient.clone(),
        subject: message.subject.clone(),
        direction: message.direction.clone(),
        campaign_id: found.campaign_id.map(id),
        place: place(&found.place)?,
        place_detail: found.place_detail.clone(),
        last_event: last_event(&found.last_event)?,
        last_event_at: found.last_event_at.into(),
        class: verdict.map(|v| v.class.into()),
        disposition: found.disposition.clone(),
        policy: found.policy.clone(),
    })
}

fn urls(facts: &Facts) -> Vec<UrlSeen> {
    let url =
        |u: &model::UrlFact| UrlSeen { url: u.url.clone(), host: u.host.clone(), source: u.source.as_str().to_owned() };
    facts.urls.iter().map(url).collect()
}

fn attachments(facts: &Facts) -> Vec<AttachmentSeen> {
    let attachment = |a: &model::AttachmentFact| AttachmentSeen {
        name: a.name.clone(),
        declared_type: a.declared_type.clone(),
        kind: a.kind.as_str().to_owned(),
        sha256: a.sha256.clone(),
        size_bytes: a.size_bytes,
        inside: a.inside.clone(),
    };
    facts.attachments.iter().map(attachment).collect()
}
