//! Delivery incidents: what was lost, why, what is done about it.

use model::{IncidentId, Permission as P};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, Permission, PlaceCount};

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
    /// Only those that are not resolved.
    open: Option<bool>,
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
    /// The change that caused it, if one did.
    change_id: Option<Id>,
    change_title: Option<String>,
    /// Campaigns with copies in its scope.
    campaigns: Vec<IncidentCampaign>,
    /// Where the copies in its scope are now.
    places: Vec<PlaceCount>,
    /// What lost copies share and landed ones do not.
    contrast: Vec<ContrastRow>,
    remedies: Vec<Remedy>,
    /// Newest first.
    updates: Vec<IncidentUpdate>,
}

/// A campaign in the scope of an incident.
#[derive(Debug, Serialize, ToSchema)]
struct IncidentCampaign {
    campaign_id: Option<Id>,
    name: String,
    /// Its copies in the scope.
    copies_count: i64,
    /// Of them, lost now.
    lost_count: i64,
}

/// One trait and how often it occurs among lost and landed copies.
#[derive(Debug, Serialize, ToSchema)]
struct ContrastRow {
    /// What is compared: `rule`, `feed entry`, `link host`.
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
    /// How many copies it would bring back.
    count: i64,
    permission: Permission,
    /// Whether the caller has that permission.
    allowed: bool,
    /// What it acts on: the change, or the campaign.
    target_id: Option<Id>,
    /// The value for an allow entry.
    value: Option<String>,
}

/// What kind of remedy.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RemedyKind {
    /// Undo the change (POST /changes/{target_id}/undo).
    UndoChange,
    /// Release a campaign's held copies (POST /quarantine/release).
    ReleaseCampaign,
    /// Allow the value (POST /allow).
    AllowEntry,
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

/// Incidents, newest first.
#[utoipa::path(get, path = "/incidents", tag = "incidents", params(IncidentsQuery), responses((status = 200, body = Page<IncidentSummary>)))]
async fn list_incidents(_caller: Caller, Query(_q): Query<IncidentsQuery>) -> Answer<Page<IncidentSummary>> {
    Err(Problem::not_wired())
}

/// One incident.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents", responses((status = 200, body = Incident)))]
async fn get_incident(_caller: Caller, PathId(_id): PathId<IncidentId>) -> Answer<Incident> {
    Err(Problem::not_wired())
}

/// Adds a dated update.
#[utoipa::path(post, path = "/incidents/{id}/updates", tag = "incidents", responses((status = 200, body = Incident)))]
async fn add_incident_update(
    _caller: Caller,
    PathId(_id): PathId<IncidentId>,
    Json(_b): Json<NewIncidentUpdate>,
) -> Answer<Incident> {
    Err(Problem::not_wired())
}
