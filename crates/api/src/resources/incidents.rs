//! Delivery incidents: what was lost, why, what is done about it.

use axum::extract::State;
use model::{IncidentId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use whereabouts::incident::{self, Status};

use crate::AppState;
use crate::access::{Caller, holders, operation};
use crate::extract::{Json, PathId, Query};
use crate::masked::{Masked, MaskedAnswer};
use crate::wire::{At, Id, Page, Permission, Role, after_id, id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_incidents), P::IncidentRead))
        .routes(operation(routes!(get_incident), P::IncidentRead))
        .routes(operation(routes!(add_incident_update), P::IncidentWrite))
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IncidentsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only those in this status.
    status: Option<IncidentStatus>,
}

/// The life of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Copies are being lost; the cause is not confirmed.
    Open,
    /// The cause is known.
    Identified,
    /// Something was done; the numbers are being watched.
    Monitoring,
    Resolved,
}

/// An incident in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IncidentSummary {
    pub id: Id,
    pub title: String,
    pub status: IncidentStatus,
    /// Copies lost now.
    pub impact_count: i64,
    /// The most that were lost at one time.
    pub peak_count: i64,
    /// The probable cause in one sentence.
    pub cause: String,
    pub opened_at: At,
    pub resolved_at: Option<At>,
    pub updated_at: At,
}

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
struct Incident {
    #[serde(flatten)]
    summary: IncidentSummary,
    cause_detail: Cause,
    /// Campaigns with copies in its scope.
    campaigns: Vec<IncidentCampaign>,
    contrast: Contrast,
    remedies: Vec<Remedy>,
    /// Newest first.
    updates: Vec<IncidentUpdate>,
}

/// The probable cause.
#[derive(Debug, Serialize, ToSchema)]
struct Cause {
    /// The change that caused it, if one did.
    change_id: Option<Id>,
    /// `feed`, `list`, `weight`, or empty.
    change_kind: String,
    change_title: String,
    activated_by: String,
    activated_at: Option<At>,
    /// Why it was activated although its backtest warned, or empty.
    override_reason: String,
    /// The feed, or empty.
    feed: String,
    /// Entries that the change added.
    entries: Vec<String>,
    rule: String,
    /// The feed or list entry behind it.
    origin: String,
    /// What was seen.
    evidence: String,
    /// Why, for people.
    sentence: String,
    policy: String,
}

/// A campaign in the scope of an incident.
#[derive(Debug, Serialize, ToSchema)]
struct IncidentCampaign {
    campaign_id: Id,
    name: String,
    /// Its copies in scope.
    scope_count: i64,
    /// Those that are not in a mailbox now.
    lost_count: i64,
    /// Those that are back.
    back_count: i64,
    /// Those that a person, or the end of retention, has decided to keep away.
    decided_count: i64,
    /// Of those back: freed from where they were held on arrival.
    released_count: i64,
    /// Of those back: put back after they had been pulled back.
    restored_count: i64,
}

/// What lost copies share and landed ones do not.
#[derive(Debug, Serialize, ToSchema)]
struct Contrast {
    /// Lost copies that were compared,
    lost_count: i64,
    /// with so many landed ones.
    landed_count: i64,
    rows: Vec<ContrastRow>,
}

/// One trait and how often it occurs among lost and landed copies.
#[derive(Debug, Serialize, ToSchema)]
struct ContrastRow {
    attribute: String,
    value: String,
    lost_count: i64,
    landed_count: i64,
}

/// What can be done.
#[derive(Debug, Serialize, ToSchema)]
struct Remedy {
    kind: RemedyKind,
    /// What would happen, in one sentence.
    sentence: String,
    /// How many copies it would bring back; 0 for an allow entry, which keeps further mail from being held.
    count: i64,
    permission: Permission,
    /// Whether the caller has that permission.
    allowed: bool,
    /// The roles that have it.
    who_may: Vec<Role>,
    /// What it acts on: the change, or the campaign.
    target_id: Option<Id>,
    /// For an allow entry: what its value is (`url`, `domain` …) and the value.
    list_kind: Option<String>,
    value: Option<String>,
}

/// What kind of remedy.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RemedyKind {
    /// Undo the change (POST /changes/{target_id}/undo).
    Undo,
    /// Release a campaign's held copies (POST /quarantine/release).
    Release,
    /// Allow the value (POST /allow).
    Allow,
}

impl Remedy {
    fn of(remedy: incident::Remedy, caller: &Caller) -> Remedy {
        let made = |kind, sentence, count, permission: P, target_id| Remedy {
            kind,
            sentence,
            count,
            permission: permission.into(),
            allowed: caller.may(permission),
            who_may: holders(permission).into_iter().map(Role::from).collect(),
            target_id,
            list_kind: None,
            value: None,
        };
        match remedy {
            incident::Remedy::Release { campaign_id, name, copy_count } => {
                let sentence = format!("Release the copies of \u{201c}{name}\u{201d} that were held on arrival.");
                made(RemedyKind::Release, sentence, copy_count, P::QuarantineRelease, Some(id(campaign_id)))
            }
            incident::Remedy::Undo { change_id, title, copy_count } => {
                let sentence = format!("Undo \u{201c}{title}\u{201d} and put back what it pulled back.");
                made(RemedyKind::Undo, sentence, copy_count, P::ChangeActivate, Some(id(change_id)))
            }
            incident::Remedy::Allow { list_kind, value, effect } => Remedy {
                list_kind: Some(list_kind),
                value: Some(value),
                ..made(RemedyKind::Allow, effect, 0, P::ChangeActivate, None)
            },
        }
    }
}
/// A dated update.
#[derive(Debug, Serialize, ToSchema)]
struct IncidentUpdate {
    id: Id,
    at: At,
    author: String,
    status: IncidentStatus,
    text: String,
}

/// A new update.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewIncidentUpdate {
    text: String,
    /// The status from now on; left out: as it is.
    #[serde(default)]
    status: Option<IncidentStatus>,
}

impl From<Status> for IncidentStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Open => IncidentStatus::Open,
            Status::Identified => IncidentStatus::Identified,
            Status::Monitoring => IncidentStatus::Monitoring,
            Status::Resolved => IncidentStatus::Resolved,
        }
    }
}

impl From<IncidentStatus> for Status {
    fn from(status: IncidentStatus) -> Self {
        match status {
            IncidentStatus::Open => Status::Open,
            IncidentStatus::Identified => Status::Identified,
            IncidentStatus::Monitoring => Status::Monitoring,
            IncidentStatus::Resolved => Status::Resolved,
        }
    }
}

impl From<incident::Incident> for IncidentSummary {
    fn from(i: incident::Incident) -> Self {
        IncidentSummary {
            id: id(i.id),
            title: i.title,
            status: i.status.into(),
            impact_count: i.impact_count,
            peak_count: i.peak_count,
            cause: i.cause.sentence,
            opened_at: i.opened_at.into(),
            resolved_at: i.resolved_at.map(At),
            updated_at: i.updated_at.into(),
        }
    }
}

impl From<&incident::Cause> for Cause {
    fn from(c: &incident::Cause) -> Self {
        Cause {
            change_id: c.change_id.map(id),
            change_kind: c.change_kind.clone(),
            change_title: c.change_title.clone(),
            activated_by: c.activated_by.clone(),
            activated_at: c.activated_at.map(At),
            override_reason: c.override_reason.clone(),
            feed: c.feed.clone(),
            entries: c.entries.clone(),
            rule: c.rule.clone(),
            origin: c.origin.clone(),
            evidence: c.evidence.clone(),
            sentence: c.sentence.clone(),
            policy: c.policy.clone(),
        }
    }
}

impl From<incident::ScopeCampaign> for IncidentCampaign {
    fn from(c: incident::ScopeCampaign) -> Self {
        IncidentCampaign {
            campaign_id: id(c.campaign_id),
            name: c.name,
            scope_count: c.scope_count,
            lost_count: c.lost_count,
            back_count: c.back_count,
            decided_count: c.decided_count,
            released_count: c.released_count,
            restored_count: c.restored_count,
        }
    }
}

impl From<incident::Contrast> for Contrast {
    fn from(c: incident::Contrast) -> Self {
        let row = |r: incident::ContrastRow| ContrastRow {
            attribute: r.attribute.to_owned(),
            value: r.value,
            lost_count: r.lost_count,
            landed_count: r.landed_count,
        };
        Contrast { lost_count: c.lost_count, landed_count: c.landed_count, rows: c.rows.into_iter().map(row).collect() }
    }
}

impl From<incident::Update> for IncidentUpdate {
    fn from(u: incident::Update) -> Self {
        IncidentUpdate { id: id(u.id), at: u.at.into(), author: u.author, status: u.status.into(), text: u.text }
    }
}

async fn one(app: &AppState, caller: &Caller, incident: IncidentId) -> MaskedAnswer {
    let detail = incident::detail(&app.store, caller.organisation_id, incident).await?;
    let answer = Incident {
        cause_detail: Cause::from(&detail.incident.cause),
        summary: detail.incident.into(),
        campaigns: detail.campaigns.into_iter().map(IncidentCampaign::from).collect(),
        contrast: detail.contrast.into(),
        remedies: detail.remedies.into_iter().map(|remedy| Remedy::of(remedy, caller)).collect(),
        updates: detail.updates.into_iter().map(IncidentUpdate::from).collect(),
    };
    Masked::new(app.tracker.tokens(), &answer)
}

/// Incidents, newest first.
#[utoipa::path(get, path = "/incidents", tag = "incidents", params(IncidentsQuery),
    responses((status = 200, body = Page<IncidentSummary>)))]
async fn list_incidents(State(app): State<AppState>, caller: Caller, Query(q): Query<IncidentsQuery>) -> MaskedAnswer {
    let limit = limit_of(q.limit)?;
    let before = after_id(q.after.as_deref())?.map(IncidentId);
    let status = q.status.map(Status::from);
    let found = incident::page(&app.store, caller.organisation_id, status, before, limit.into()).await?;
    let page = Page::by_id(found.into_iter().map(IncidentSummary::from).collect(), limit, |i| i.id);
    Masked::new(app.tracker.tokens(), &page)
}

/// One incident.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents", responses((status = 200, body = Incident)))]
async fn get_incident(
    State(app): State<AppState>,
    caller: Caller,
    PathId(incident): PathId<IncidentId>,
) -> MaskedAnswer {
    one(&app, &caller, incident).await
}

/// Adds a dated update.
#[utoipa::path(post, path = "/incidents/{id}/updates", tag = "incidents", request_body = NewIncidentUpdate,
    responses((status = 200, body = Incident)))]
async fn add_incident_update(
    State(app): State<AppState>,
    caller: Caller,
    PathId(incident): PathId<IncidentId>,
    Json(body): Json<NewIncidentUpdate>,
) -> MaskedAnswer {
    let to = body.status.map(Status::from);
    incident::add_update(&app.store, caller.organisation_id, incident, &body.text, to, &caller.login).await?;
    one(&app, &caller, incident).await
}
