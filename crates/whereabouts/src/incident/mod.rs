//! Delivery incidents: one per cause, with the copies in its scope, remedies and dated updates.

mod cause;
mod contrast;
mod detector;
mod evaluate;
mod status;

use model::{CampaignId, IncidentId, OrganisationId, Timestamp, UpdateId};
use serde::{Deserialize, Serialize};
use store::{Row, Store, Topic, Tx, values};

pub use cause::Cause;
pub use contrast::{Contrast, ContrastRow, Remedy, contrast, remedies};
pub use detector::{Detector, DetectorConfig, ScanReport, scan};
pub use status::{IllegalTransition, Status, Step, advance};

use crate::Error;
use crate::ledger::{last_event, place};

/// Rows per page at most.
pub const INCIDENTS_PAGE_MAX: i64 = 500;
/// Updates shown at most.
const UPDATES_MAX: i64 = 500;
/// Characters of an update.
const UPDATE_CHARS_MAX: usize = 4_000;
/// The author of automatic updates.
pub(crate) const AUTOMATIC: &str = "Landfall";

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// `change` or `unknown`.
    pub cause_kind: String,
    /// The change's id, or a stable hash of the reason.
    pub cause_id: i64,
    /// One line.
    pub title: String,
    /// Where it is in its life.
    pub status: Status,
    /// The probable cause.
    pub cause: Cause,
    /// Copies in scope that are not in a mailbox now.
    pub impact_count: i64,
    /// The most that were lost at one time.
    pub peak_count: i64,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    #[serde(skip)]
    pub(crate) progress: Progress,
}

/// What the updates have said already, so that none is written twice; kept in `incident.progress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// Copies in scope at the last look.
    pub seen_scope: i64,
    /// Copies in scope that the updates speak of.
    pub told_scope: i64,
    /// Campaigns that the updates speak of.
    pub told_campaigns: Vec<CampaignId>,
    /// Copies in scope had come back, or were decided, and are lost again: to be told.
    pub lost_again: bool,
    /// Copies lost at the last look, while that is to be told.
    pub seen_lost: i64,
    /// Whether the cause has been told.
    pub told_cause: bool,
    /// Freed and put back, at the last look and in the updates.
    pub seen_freed: i64,
    /// See `seen_freed`.
    pub told_freed: i64,
    /// Whether the undo of the change has been told.
    pub told_undo: bool,
    /// Allow changes that have been told, by id.
    pub told_allows: Vec<i64>,
}

/// A dated update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Its id.
    pub id: UpdateId,
    /// When.
    pub at: Timestamp,
    /// Who wrote it: a login, or `Landfall`.
    pub author: String,
    /// The status from then on.
    pub status: Status,
    /// In plain words.
    pub text: String,
}

/// How a campaign is hit by an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeCampaign {
    /// Which.
    pub campaign_id: CampaignId,
    /// Its name.
    pub name: String,
    /// Its From address.
    pub from_address: String,
    /// Its copies in scope.
    pub scope_count: i64,
    /// Those that are not in a mailbox now.
    pub lost_count: i64,
    /// Those that are back in a mailbox (or were deleted by their owner there).
    pub back_count: i64,
    /// Those that a person, or the end of retention, has decided to keep away.
    pub decided_count: i64,
    /// Of those back: freed from where they were held on arrival.
    pub released_count: i64,
    /// Of those back: put back after they had been pulled back.
    pub restored_count: i64,
}

/// An incident with everything its page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncidentDetail {
    /// The incident.
    pub incident: Incident,
    /// The campaigns in scope.
    pub campaigns: Vec<ScopeCampaign>,
    /// What lost copies share and landed ones do not.
    pub contrast: Contrast,
    /// What can be done, with counts.
    pub remedies: Vec<Remedy>,
    /// Updates, newest first.
    pub updates: Vec<Update>,
}

/// A page of incidents, newest first. `status`: only those; `None`: all.
pub async fn page(
    store: &Store,
    organisation_id: OrganisationId,
    status: Option<Status>,
    before: Option<IncidentId>,
    limit: i64,
) -> Result<Vec<Incident>, Error> {
    let page = values![
        organisation_id,
        before.map_or(i64::MAX, |id| id.0),
        status.map_or("", Status::as_str),
        limit.clamp(1, INCIDENTS_PAGE_MAX)
    ];
    store.query("incident.page", &page).await?.iter().map(incident).collect()
}

/// Incidents that are not resolved, newest first: for the banner.
pub async fn unresolved(store: &Store, organisation_id: OrganisationId, limit: i64) -> Result<Vec<Incident>, Error> {
    let page = values![organisation_id, i64::MAX, "unresolved", limit.clamp(1, INCIDENTS_PAGE_MAX)];
    store.query("incident.page", &page).await?.iter().map(incident).collect()
}

/// Incidents that have copies of a campaign in scope, newest first.
pub async fn of_campaign(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<Vec<Incident>, Error> {
    let of = values![organisation_id, campaign_id, INCIDENTS_PAGE_MAX];
    store.query("incident.of_campaign", &of).await?.iter().map(incident).collect()
}

/// An incident.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn get(store: &Store, organisation_id: OrganisationId, id: IncidentId) -> Result<Incident, Error> {
    let row = store.query_one("incident.by_id", &values![id, organisation_id]).await?;
    incident(&row.ok_or(Error::NotFound { what: "incident", id: id.0 })?)
}

/// An incident with scope, contrast, remedies and updates.
///
/// # Errors
/// [`Error::NotFound`]
pub async fn detail(store: &Store, organisation_id: OrganisationId, id: IncidentId) -> Result<IncidentDetail, Error> {
    let incident = get(store, organisation_id, id).await?;
    let campaigns = scope_of(&store.query("incident.scope", &values![id]).await?)?;
    Ok(IncidentDetail {
        contrast: contrast(store, organisation_id, &incident).await?,
        remedies: remedies(store, organisation_id, &incident, &campaigns).await?,
        updates: updates(store, organisation_id, id, None, UPDATES_MAX).await?,
        campaigns,
        incident,
    })
}

/// A page of an incident's updates, newest first.
///
/// # Errors
/// [`Error::NotFound`] for an incident that this organisation does not have.
pub async fn updates(
    store: &Store,
    organisation_id: OrganisationId,
    id: IncidentId,
    before: Option<UpdateId>,
    limit: i64,
) -> Result<Vec<Update>, Error> {
    get(store, organisation_id, id).await?;
    let page = values![id, before.map_or(i64::MAX, |id| id.0), limit.clamp(1, UPDATES_MAX)];
    let rows = store.query("incident.updates", &page).await?;
    let update = |row: &Row| -> Result<Update, Error> {
        Ok(Update {
            id: row.id("id")?,
            at: row.at("at")?,
            author: row.text("author")?.to_owned(),
            status: status(row)?,
            text: row.text("text")?.to_owned(),
        })
    };
    rows.iter().map(update).collect()
}

/// Writes a person's update and, if they say so, moves the status.
///
/// # Errors
/// [`Error::UpdateText`], [`Error::Status`], [`Error::NotFound`].
pub async fn add_update(
    store: &Store,
    organisation_id: OrganisationId,
    id: IncidentId,
    text: &str,
    to: Option<Status>,
    author: &str,
) -> Result<Incident, Error> {
    let text = model::SqlText::new(text.trim());
    let found = text.as_str().chars().count();
    if found == 0 || found > UPDATE_CHARS_MAX {
        return Err(Error::UpdateText { max: UPDATE_CHARS_MAX, found });
    }
    get(store, organisation_id, id).await?;
    let mut tx = store.begin().await?;
    let row = tx.query_one("incident.lock", &values![id]).await?;
    let mut locked = incident(&row.ok_or(Error::NotFound { what: "incident", id: id.0 })?)?;
    if let Some(to) = to {
        let status = advance(locked.status, Step::Set(to))?;
        locked.resolved_at = resolved_at(&locked, status, store.now());
        locked.status = status;
    }
    save(&mut tx, &mut locked).await?;
    write_update(&mut tx, &locked, author, text.as_str()).await?;
    tx.commit().await?;
    store.bus().announce(Topic::Incident, id);
    Ok(locked)
}

/// When it was resolved, given the status that it takes now.
pub(crate) fn resolved_at(incident: &Incident, status: Status, now: Timestamp) -> Option<Timestamp> {
    match (incident.status, status) {
        (Status::Resolved, Status::Resolved) => incident.resolved_at,
        (_, Status::Resolved) => Some(now),
        _ => None,
    }
}

/// Writes the state of a locked incident.
pub(crate) async fn save(tx: &mut Tx, incident: &mut Incident) -> Result<(), Error> {
    incident.updated_at = tx.store().now();
    let (cause, progress) = (serde_json::json!(incident.cause), serde_json::json!(incident.progress));
    let row = values![
        incident.status.as_str(),
        &cause,
        &progress,
        incident.impact_count,
        incident.peak_count,
        incident.resolved_at,
        incident.updated_at,
        incident.id
    ];
    tx.execute("incident.set_state", &row).await?;
    Ok(())
}

pub(crate) async fn write_update(tx: &mut Tx, incident: &Incident, author: &str, text: &str) -> Result<(), Error> {
    let (id, at): (UpdateId, Timestamp) = (tx.store().next_id(), tx.store().now());
    let row = values![id, incident.id, at, author, incident.status.as_str(), text];
    tx.execute("incident.insert_update", &row).await?;
    Ok(())
}

pub(crate) fn incident(row: &Row) -> Result<Incident, Error> {
    Ok(Incident {
        id: row.id("id")?,
        cause_kind: row.text("cause_kind")?.to_owned(),
        cause_id: row.int("cause_id")?,
        title: row.text("title")?.to_owned(),
        status: status(row)?,
        cause: row.json("cause")?,
        impact_count: row.int("impact_count")?,
        peak_count: row.int("peak_count")?,
        opened_at: row.at("opened_at")?,
        resolved_at: row.opt_at("resolved_at")?,
        updated_at: row.at("updated_at")?,
        progress: row.json("progress")?,
    })
}

fn status(row: &Row) -> Result<Status, Error> {
    let word = row.text("status")?;
    Status::parse(word).ok_or_else(|| Error::Word { column: "status", word: word.to_owned() })
}

/// The campaigns in scope, from rows of `incident.scope`, which come campaign by campaign.
pub(crate) fn scope_of(rows: &[Row]) -> Result<Vec<ScopeCampaign>, Error> {
    use model::{LastEvent as L, Place as P};
    let mut campaigns: Vec<ScopeCampaign> = Vec::new();
    for row in rows {
        let campaign_id: CampaignId = row.opt_id("campaign_id")?.unwrap_or(CampaignId(0));
        if campaigns.last().is_none_or(|last| last.campaign_id != campaign_id) {
            let (name, from_address) =
                (row.text("campaign_name")?.to_owned(), row.text("from_address")?.to_lowercase());
            campaigns.push(ScopeCampaign {
                campaign_id,
                name,
                from_address,
                scope_count: 0,
                lost_count: 0,
                back_count: 0,
                decided_count: 0,
                released_count: 0,
                restored_count: 0,
            });
        }
        let campaign = campaigns.last_mut().expect("one was just pushed when there was none");
        let (place, last, count) = (place(row)?, last_event(row)?, row.int("copy_count")?);
        campaign.scope_count += count;
        match (place, last) {
            (P::Quarantine, L::Denied) | (P::NotReceived, L::Expired) => campaign.decided_count += count,
            (P::Quarantine | P::NotReceived | P::OnItsWay | P::Accepted | P::Unknown, _) => {
                campaign.lost_count += count
            }
            (P::Inbox | P::OtherFolder | P::Junk | P::Deleted, _) => campaign.back_count += count,
        }
        if matches!(place, P::Inbox | P::OtherFolder | P::Junk) {
            campaign.released_count += if last == L::Released { count } else { 0 };
            campaign.restored_count += if matches!(last, L::Restored | L::Redelivered) { count } else { 0 };
        }
    }
    Ok(campaigns)
}
