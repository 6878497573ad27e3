//! One copy: where it is, and the timeline of evidence.

use axum::extract::State;
use campaign::Campaigns;
use model::{CopyId, Permission as P};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId};
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::Problem;
use crate::resources::trace::note_opening;
use crate::wire::{At, EventKind, Id, LastEvent, Place, id};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(get_copy), P::CampaignRead))
        .routes(operation(routes!(look_again), P::TraceRead))
}

/// A copy in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Copy {
    pub id: Id,
    campaign_id: Option<Id>,
    recipient: String,
    person_id: Option<Id>,
    person_name: String,
    place: Place,
    /// The folder's name, or empty.
    place_detail: String,
    place_at: At,
    last_event: LastEvent,
    last_event_at: At,
    disposition: Option<String>,
    policy: Option<String>,
}

/// One piece of evidence on a copy's timeline.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Evidence {
    /// The entry in the event log.
    id: Id,
    /// What happened.
    kind: EventKind,
    /// When it happened.
    effective_at: At,
    /// When our source saw it.
    observed_at: At,
    /// Who saw it: `gateway`, `smtp`, `quarantine`, `purge`, `mailbox`.
    source: String,
    /// The change, job or incident that caused it.
    cause_id: Option<Id>,
    /// The login that did it, or empty.
    actor: String,
    /// What it means, in one sentence.
    sentence: String,
    /// The raw evidence: reply, rule, host.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

/// One copy of a campaign with everything seen of it.
#[derive(Debug, Serialize, ToSchema)]
struct CopyDetail {
    id: Id,
    campaign_id: Option<Id>,
    campaign_name: Option<String>,
    subject: String,
    from_address: String,
    message_id_header: String,
    recipient: String,
    place: Place,
    place_detail: String,
    last_event: LastEvent,
    last_event_at: At,
    /// The answer first: where it is, since when, what anybody did about it.
    answer: String,
    disposition: Option<String>,
    policy: Option<String>,
    /// What the policy decided and why.
    #[schema(value_type = Option<Object>)]
    decision: Option<serde_json::Value>,
    /// The held copy, when it is or was in quarantine.
    quarantine_item_id: Option<Id>,
    /// Evidence, oldest first.
    timeline: Vec<Evidence>,
}

impl From<whereabouts::CopyRow> for Copy {
    fn from(c: whereabouts::CopyRow) -> Self {
        Copy {
            id: id(c.id),
            campaign_id: c.campaign_id.map(id),
            recipient: c.recipient,
            person_id: c.person_id.map(id),
            person_name: c.person_name,
            place: c.place.into(),
            place_detail: c.place_detail,
            place_at: c.place_at.into(),
            last_event: c.last_event.into(),
            last_event_at: c.last_event_at.into(),
            disposition: c.disposition,
            policy: c.policy,
        }
    }
}

/// Evidence on the wire.
pub fn evidence(mut e: whereabouts::Evidence) -> Evidence {
    // Read flag, keywords and the like, kept for putting the copy back: whether somebody read it is nobody else's business.
    if let Some(detail) = e.detail.as_object_mut() {
        detail.remove("snapshot");
    }
    Evidence {
        id: id(e.id),
        kind: e.kind.into(),
        effective_at: e.effective_at.into(),
        observed_at: e.observed_at.into(),
        source: e.source,
        cause_id: e.cause_id.map(Id),
        actor: e.actor,
        sentence: e.meaning,
        detail: e.detail,
    }
}

/// One copy as a timeline of evidence. Who may not trace mail sees copies of campaigns only; opening any other is recorded.
#[utoipa::path(get, path = "/copies/{id}", tag = "copies", responses((status = 200, body = CopyDetail)))]
async fn get_copy(State(app): State<AppState>, caller: Caller, PathId(copy): PathId<CopyId>) -> MaskedAnswer {
    let of = caller.organisation_id;
    let story = whereabouts::copy_timeline(&app.store, of, copy).await?;
    if story.campaign_id.is_none() && !caller.may(P::TraceRead) {
        return Err(Problem::not_found("copy"));
    }
    if story.campaign_id.is_none() {
        note_opening(&app, &caller, copy).await?;
    }
    let found = gateway::trace::detail(&app.store, of, copy).await?.ok_or_else(|| Problem::not_found("copy"))?;
    let campaign_name = match story.campaign_id {
        Some(campaign) => Some(Campaigns::new(app.directory.clone()).get(campaign).await?.draft.name),
        None => None,
    };
    Masked::new(
        app.tracker.tokens(),
        &CopyDetail {
            id: id(story.id),
            campaign_id: story.campaign_id.map(id),
            campaign_name,
            subject: found.message.subject,
            from_address: found.message.from_address,
            message_id_header: found.message.message_id_header,
            recipient: story.recipient,
            place: story.place.into(),
            place_detail: story.place_detail,
            last_event: story.last_event.into(),
            last_event_at: story.last_event_at.into(),
            answer: story.answer,
            disposition: found.disposition,
            policy: found.policy,
            decision: story.decision,
            quarantine_item_id: app.quarantine.of_copy(copy).await?.map(id),
            timeline: story.evidence.into_iter().map(evidence).collect(),
        },
    )
}

/// What a look into the mailbox found.
#[derive(Debug, Serialize, ToSchema)]
struct CopyLook {
    /// The ledger had the copy elsewhere, and has learned of it.
    changed: bool,
    /// What was found, in a sentence.
    sentence: String,
}

/// Looks where a copy is now, when another system keeps the mailbox; what its owner did becomes evidence.
#[utoipa::path(post, path = "/copies/{id}/look", tag = "copies", responses((status = 200, body = CopyLook)))]
async fn look_again(State(app): State<AppState>, _caller: Caller, PathId(copy): PathId<CopyId>) -> Answer<CopyLook> {
    // A copy that is not there is no answer of "nothing changed".
    gateway::trace::detail(&app.store, app.directory.id(), copy).await?.ok_or_else(|| Problem::not_found("copy"))?;
    let looked = app.quarantine.look_again(copy).await?;
    let sentence = match (looked.copy_count, looked.changed_count) {
        (_, 1..) => "its owner has moved or deleted it since; the ledger says so now".to_owned(),
        _ if !looked.unreached.is_empty() => format!("its mailbox cannot be entered now: {}", looked.unreached),
        _ if !looked.seen_in.is_empty() => {
            format!(
                "it was last seen in {}, which does not keep this mailbox any more: where it is now is not known",
                looked.seen_in
            )
        }
        (0, _) => "there is no mailbox of another system to look into: it is where the ledger says".to_owned(),
        _ => "it is where the ledger says".to_owned(),
    };
    Ok(Json(CopyLook { changed: looked.changed_count > 0, sentence }))
}
