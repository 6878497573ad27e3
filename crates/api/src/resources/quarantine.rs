//! The organisation's quarantine: look, request, release, deny.

use axum::extract::State;
use model::{CampaignId, Permission as P, QuarantineItemId, Timestamp};
use quarantine::{Actor, Filter, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::looks::{Look, checked_reason};
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::Problem;
use crate::resources::copies::{Evidence, evidence};
use crate::wire::{
    ActionOutcome, At, Id, Page, QuarantineReason, Refusal, ReleaseStatus, ValueCount, Verdict, after_id, id, limit_of,
};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_quarantine), P::QuarantineRead))
        .routes(operation(routes!(quarantine_facets), P::QuarantineRead))
        .routes(operation(routes!(get_quarantine_item), P::QuarantineRead))
        .routes(operation(routes!(preview_quarantine_item), P::QuarantineRead))
        .routes(operation(routes!(quarantine_item_headers), P::QuarantineRead))
        .routes(operation(routes!(preview_release), P::QuarantineRead))
        .routes(operation(routes!(release_quarantine), P::QuarantineRelease))
        .routes(operation(routes!(request_quarantine_release), P::QuarantineRead))
        .routes(operation(routes!(deny_quarantine_release), P::QuarantineRelease))
}

/// Filters of the quarantine; all given ones must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QuarantineQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// The release status.
    status: Option<ReleaseStatus>,
    /// Why it is held.
    reason: Option<QuarantineReason>,
    /// On arrival or after.
    held_by: Option<HeldBy>,
    /// Copies of this campaign.
    #[param(value_type = Option<String>)]
    campaign_id: Option<Id>,
    /// Copies that this change pulled back.
    #[param(value_type = Option<String>)]
    cause_id: Option<Id>,
    /// The recipient's address.
    recipient: Option<String>,
    /// The sender's address.
    sender: Option<String>,
    /// Words of the subject.
    subject: Option<String>,
    /// Held at or after.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<At>,
    /// Held before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<At>,
}

/// A held copy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuarantineItem {
    pub id: Id,
    pub copy_id: Id,
    pub message_id: Id,
    pub campaign_id: Option<Id>,
    pub recipient: String,
    pub sender: String,
    pub subject: String,
    pub size_bytes: i64,
    pub held_by: HeldBy,
    pub reason: QuarantineReason,
    /// The policy that held it.
    pub policy_name: String,
    /// Why, for people: rule, feed entry, URL.
    pub explanation: String,
    pub status: ReleaseStatus,
    /// The change that pulled it back.
    pub cause_id: Option<Id>,
    pub held_at: At,
    pub expires_at: At,
    pub requested_by: String,
    pub decided_by: String,
    pub decided_at: Option<At>,
    /// Only an analyst may release it.
    pub needs_analyst: bool,
    /// Whether the recipient may release it.
    pub recipient_may_release: bool,
    /// Whether the recipient may ask for its release.
    pub recipient_may_request: bool,
    /// Whether the recipient may look at it.
    pub recipient_may_preview: bool,
}

/// How a copy came into quarantine.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// On arrival.
    Arrival,
    /// Pulled back after arrival.
    Purge,
}

/// How many items there are by each value, under the other filters.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantineFacets {
    total_count: i64,
    status: Vec<ValueCount>,
    reason: Vec<ValueCount>,
    held_by: Vec<ValueCount>,
    campaign: Vec<ValueCount>,
}

/// A held copy with why and what happened.
#[derive(Debug, Serialize, ToSchema)]
struct QuarantineDetail {
    item: QuarantineItem,
    verdict: Option<Verdict>,
    from_name: String,
    reverse_path: String,
    client_ip: String,
    message_id_header: String,
    received_at: At,
    /// The folder it was pulled from and would go back to.
    returns_to: String,
    timeline: Vec<Evidence>,
}

/// The message, made safe to look at: no scripts, no pictures from outside, no clickable links.
#[derive(Debug, Serialize, ToSchema)]
pub struct SafePreview {
    pub subject: String,
    pub from: String,
    pub to: String,
    pub date: Option<String>,
    /// Show it in a sandboxed frame.
    pub html: String,
    pub text: String,
    /// Where its links lead.
    pub links: Vec<String>,
    pub attachments: Vec<PreviewFile>,
}

/// An attachment, or a file in an attached archive.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewFile {
    name: String,
    declared_type: String,
    /// What the bytes say it is.
    kind: String,
    sha256: String,
    size_bytes: u64,
    inside: Option<String>,
}

/// The header section as received.
#[derive(Debug, Serialize, ToSchema)]
struct HeaderSection {
    raw: String,
}

/// Why somebody else's mail is looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuarantineLook)]
struct LookReason {
    /// A few words; they stand in the audit log. One's own mail needs none.
    #[serde(default)]
    reason: String,
}

/// Which held copies: name items, or a campaign, or a cause; exactly one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    /// These items, at most 1,000.
    #[serde(default)]
    item_ids: Vec<Id>,
    /// Everything held of this campaign.
    #[serde(default)]
    campaign_id: Option<Id>,
    /// Everything that this change brought here.
    #[serde(default)]
    cause_id: Option<Id>,
}

/// What a release would do.
#[derive(Debug, Serialize, ToSchema)]
struct ReleasePreview {
    /// Copies that would be freed.
    count: i64,
    /// Of them, held on arrival: they arrive now.
    arrival_count: i64,
    /// Of them, pulled back: they return to the folders they came from.
    purge_count: i64,
    /// Decided already; nothing would change for them.
    unchanged_count: i64,
    /// Need an analyst.
    dangerous_count: i64,
    /// Somebody asked for their release.
    requested_count: i64,
    /// What would happen, in one sentence.
    sentence: String,
}

impl QuarantineQuery {
    fn filter(&self) -> Filter {
        Filter {
            status: self.status.map(|word| word.0),
            reason: self.reason.map(|word| word.0),
            held_by: self.held_by.map(|by| match by {
                HeldBy::Arrival => quarantine::HeldBy::Arrival,
                HeldBy::Purge => quarantine::HeldBy::Purge,
            }),
            campaign_id: self.campaign_id.map(|raw| CampaignId(raw.0)),
            cause_id: self.cause_id.map(|raw| raw.0),
            recipient: self.recipient.clone(),
            sender: self.sender.clone(),
            subject: self.subject.clone(),
            from_at: self.from.map(Timestamp::from),
            before_at: self.to.map(Timestamp::from),
        }
    }
}

impl From<quarantine::Item> for QuarantineItem {
    fn from(i: quarantine::Item) -> Self {
        QuarantineItem {
            id: id(i.id),
            copy_id: id(i.copy_id),
            message_id: id(i.message_id),
            campaign_id: i.campaign_id.map(id),
            held_by: match i.held_by {
                quarantine::HeldBy::Arrival => HeldBy::Arrival,
                quarantine::HeldBy::Purge => HeldBy::Purge,
            },
            reason: i.reason.into(),
            status: i.status.into(),
            cause_id: i.cause_id.map(Id),
            held_at: i.held_at.into(),
            expires_at: i.expires_at.into(),
            decided_at: i.decided_at.map(At),
            needs_analyst: i.reason.needs_analyst(),
            recipient_may_release: i.recipient_may_release(),
            recipient_may_request: i.recipient_may_request(),
            recipient_may_preview: i.recipient_may_preview(),
            recipient: i.recipient,
            sender: i.sender,
            subject: i.subject,
            size_bytes: i.size_bytes,
            policy_name: i.policy_name,
            explanation: i.explanation,
            requested_by: i.requested_by,
            decided_by: i.decided_by,
        }
    }
}

impl From<quarantine::SafePreview> for SafePreview {
    fn from(p: quarantine::SafePreview) -> Self {
        let file = |f: quarantine::PreviewFile| PreviewFile {
            name: f.name,
            declared_type: f.declared_type,
            kind: f.kind.as_str().to_owned(),
            sha256: f.sha256,
            size_bytes: f.size_bytes,
            inside: f.inside,
        };
        SafePreview {
            subject: p.subject,
            from: p.from,
            to: p.to,
            date: p.date,
            html: p.html,
            text: p.text,
            links: p.links,
            attachments: p.files.into_iter().map(file).collect(),
        }
    }
}

impl Selection {
    fn parse(self) -> Result<quarantine::Selection, Problem> {
        match (self.item_ids.as_slice(), self.campaign_id, self.cause_id) {
            ([], Some(campaign), None) => Ok(quarantine::Selection::Campaign(CampaignId(campaign.0))),
            ([], None, Some(cause)) => Ok(quarantine::Selection::Cause(cause.0)),
            (items @ [_, ..], None, None) => {
                Ok(quarantine::Selection::Items(items.iter().map(|raw| QuarantineItemId(raw.0)).collect()))
            }
            _ => {
                Err(Problem::invalid("item_ids", "name items, or one campaign, or one cause: exactly one of the three"))
            }
        }
    }
}

/// The caller as the quarantine knows people.
pub fn actor(caller: &Caller) -> Actor {
    Actor { login: caller.login.clone(), role: caller.role }
}

/// Records who decided about what. Each copy's own event says it too; this is where an auditor looks.
async fn decided(
    app: &AppState,
    caller: &Caller,
    action: &str,
    selection: &quarantine::Selection,
    done: &quarantine::Outcome,
) -> Result<(), Problem> {
    let target = match selection {
        quarantine::Selection::Items(items) if items.len() == 1 => format!("quarantine item {}", items[0]),
        quarantine::Selection::Items(items) => format!("{} quarantine items", items.len()),
        quarantine::Selection::Campaign(campaign) => format!("campaign {campaign}"),
        quarantine::Selection::Cause(cause) => format!("change {cause}"),
    };
    let counts = serde_json::json!({
        "done_count": done.done_count(), "unchanged_count": done.unchanged_count, "refused_count": done.refused_count,
        "job_id": done.job_id.map(|job| job.to_string()), "selection": selection,
    });
    app.audit(caller, action, target, "", counts).await
}

/// What an action of the quarantine did, on the wire.
pub fn outcome(done: quarantine::Outcome, step: Step) -> ActionOutcome {
    ActionOutcome {
        sentence: done.sentence(step),
        done_count: done.done_count(),
        unchanged_count: done.unchanged_count,
        refused_count: done.refused_count,
        refused: done.refused.iter().map(|r| Refusal { id: id(r.id), why: r.why.to_owned() }).collect(),
        job_id: done.job_id.map(id),
    }
}

/// Held copies, newest first.
#[utoipa::path(get, path = "/quarantine", tag = "quarantine", params(QuarantineQuery),
    responses((status = 200, body = Page<QuarantineItem>)))]
async fn list_quarantine(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<QuarantineQuery>,
) -> MaskedAnswer {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(QuarantineItemId);
    let items = app.quarantine.list(&q.filter(), after, limit as usize).await?;
    Masked::new(
        app.tracker.tokens(),
        &Page::by_id(items.into_iter().map(QuarantineItem::from).collect(), limit, |i| i.id),
    )
}

/// Numbers beside the filters.
#[utoipa::path(get, path = "/quarantine/facets", tag = "quarantine", params(QuarantineQuery),
    responses((status = 200, body = QuarantineFacets)))]
async fn quarantine_facets(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<QuarantineQuery>,
) -> Answer<QuarantineFacets> {
    let facets = app.quarantine.facets(&q.filter()).await?;
    let count = |value: &str, count: i64| ValueCount { value: value.into(), label: value.replace('_', " "), count };
    let campaigns = campaign::Campaigns::new(app.directory.clone());
    let mut campaign = Vec::with_capacity(facets.campaign.len());
    for (campaign_id, n) in facets.campaign {
        let label = campaigns.get(campaign_id).await?.draft.name;
        campaign.push(ValueCount { value: campaign_id.to_string(), label, count: n });
    }
    Ok(Json(QuarantineFacets {
        total_count: facets.total_count,
        status: facets.status.iter().map(|(word, n)| count(word.as_str(), *n)).collect(),
        reason: facets.reason.iter().map(|(word, n)| count(word.as_str(), *n)).collect(),
        held_by: facets.held_by.iter().map(|(word, n)| count(word.as_str(), *n)).collect(),
        campaign,
    }))
}

/// One held copy.
#[utoipa::path(get, path = "/quarantine/items/{id}", tag = "quarantine",
    responses((status = 200, body = QuarantineDetail)))]
async fn get_quarantine_item(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
) -> MaskedAnswer {
    let detail = app.quarantine.detail(item).await?;
    let story = whereabouts::copy_timeline(&app.store, caller.organisation_id, detail.item.copy_id).await?;
    Masked::new(
        app.tracker.tokens(),
        &QuarantineDetail {
            returns_to: detail.returns_to().to_owned(),
            verdict: detail.verdict.as_ref().map(Verdict::from),
            from_name: detail.from_name,
            reverse_path: detail.reverse_path,
            client_ip: detail.client_ip,
            message_id_header: detail.message_id_header,
            received_at: detail.received_at.into(),
            item: detail.item.into(),
            timeline: story.evidence.into_iter().map(evidence).collect(),
        },
    )
}

/// Records that somebody reads held mail; another person's asks for a reason.
async fn note_reading(
    app: &AppState,
    caller: &Caller,
    action: &str,
    item: QuarantineItemId,
    reason: &str,
) -> Result<(), Problem> {
    let copy_id = app.quarantine.detail(item).await?.item.copy_id;
    let reason = if app.is_own(caller, copy_id).await? { reason.trim() } else { checked_reason(reason)? };
    app.note_look(caller, Look { action, target: format!("quarantine item {item}"), reason, copy_id }).await
}

/// The message, safe to look at. Reading it is recorded, with the reason.
#[utoipa::path(post, path = "/quarantine/items/{id}/preview", tag = "quarantine", request_body = LookReason,
    responses((status = 200, body = SafePreview)))]
async fn preview_quarantine_item(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
    Json(body): Json<LookReason>,
) -> MaskedAnswer {
    note_reading(&app, &caller, "quarantine.preview", item, &body.reason).await?;
    let preview = app.quarantine.preview(item).await?;
    Masked::new(app.tracker.tokens(), &SafePreview::from(preview))
}

/// Its header section. Reading it is recorded, with the reason.
#[utoipa::path(post, path = "/quarantine/items/{id}/headers", tag = "quarantine", request_body = LookReason,
    responses((status = 200, body = HeaderSection)))]
async fn quarantine_item_headers(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
    Json(body): Json<LookReason>,
) -> MaskedAnswer {
    note_reading(&app, &caller, "quarantine.headers", item, &body.reason).await?;
    let raw = app.quarantine.headers(item).await?;
    Masked::new(app.tracker.tokens(), &HeaderSection { raw })
}

/// What a release would do, before doing it.
#[utoipa::path(post, path = "/quarantine/release/preview", tag = "quarantine", request_body = Selection,
    responses((status = 200, body = ReleasePreview)))]
async fn preview_release(
    State(app): State<AppState>,
    _caller: Caller,
    Json(body): Json<Selection>,
) -> Answer<ReleasePreview> {
    let effect = app.quarantine.effect(&body.parse()?).await?;
    Ok(Json(ReleasePreview {
        count: effect.count(),
        arrival_count: effect.arrival_count,
        purge_count: effect.purge_count,
        unchanged_count: effect.unchanged_count,
        dangerous_count: effect.dangerous_count,
        requested_count: effect.requested_count,
        sentence: effect.sentence(),
    }))
}

/// Releases held copies. Repeating it changes nothing and says so.
#[utoipa::path(post, path = "/quarantine/release", tag = "quarantine", request_body = Selection,
    responses((status = 200, body = ActionOutcome)))]
async fn release_quarantine(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Selection>,
) -> Answer<ActionOutcome> {
    let selection = body.parse()?;
    let done = app.quarantine.release(&actor(&caller), &selection).await?;
    decided(&app, &caller, "quarantine.release", &selection, &done).await?;
    Ok(Json(outcome(done, Step::Free)))
}

/// Asks for the release of held copies.
#[utoipa::path(post, path = "/quarantine/request", tag = "quarantine", request_body = Selection,
    responses((status = 200, body = ActionOutcome)))]
async fn request_quarantine_release(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Selection>,
) -> Answer<ActionOutcome> {
    let selection = body.parse()?;
    let done = app.quarantine.request(&actor(&caller), &selection, "").await?;
    decided(&app, &caller, "quarantine.request", &selection, &done).await?;
    Ok(Json(outcome(done, Step::Request)))
}

/// Denies requested releases.
#[utoipa::path(post, path = "/quarantine/deny", tag = "quarantine", request_body = Selection,
    responses((status = 200, body = ActionOutcome)))]
async fn deny_quarantine_release(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Selection>,
) -> Answer<ActionOutcome> {
    let selection = body.parse()?;
    let done = app.quarantine.deny(&actor(&caller), &selection).await?;
    decided(&app, &caller, "quarantine.deny", &selection, &done).await?;
    Ok(Json(outcome(done, Step::Deny)))
}
