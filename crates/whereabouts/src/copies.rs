//! The copies of a campaign, page by page.

use model::{CampaignId, CopyId, LastEvent, OrganisationId, PersonId, Place, Timestamp};
use serde::Serialize;
use store::{Row, Store, values};

use crate::Error;
use crate::ledger::{last_event, place};

/// Rows per page at most.
pub const COPIES_PAGE_MAX: i64 = 500;

/// Which copies of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyFilter {
    /// Only at this place.
    pub place: Option<Place>,
    /// Only after this last event.
    pub last_event: Option<LastEvent>,
    /// Only recipients whose address or name contains this, in any case.
    pub text: String,
    /// The last copy of the page before; copies come in the order of ids.
    pub after: Option<CopyId>,
    /// Rows wanted, 1 to [`COPIES_PAGE_MAX`].
    pub limit: i64,
}

/// One copy in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyRow {
    /// Its id.
    pub id: CopyId,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// The address it was sent to.
    pub recipient: String,
    /// Whose that is, when known.
    pub person_id: Option<PersonId>,
    /// Their name, or empty.
    pub person_name: String,
    /// Where it is.
    pub place: Place,
    /// The folder's name for `other_folder`.
    pub place_detail: String,
    /// What last happened.
    pub last_event: LastEvent,
    /// When.
    pub last_event_at: Timestamp,
    /// Since when it has been there.
    pub place_at: Timestamp,
    /// What the policy did with it, when judged.
    pub disposition: Option<String>,
    /// Which policy.
    pub policy: Option<String>,
}

/// A page of a campaign's copies. The next page starts after the last row's id.
pub async fn copies(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
    filter: &CopyFilter,
) -> Result<Vec<CopyRow>, Error> {
    let rows = store
        .query(
            "copy.page_of_campaign",
            &values![
                campaign_id,
                organisation_id,
                filter.after.map_or(0, |id| id.0),
                filter.place.map_or("", Place::as_str),
                filter.last_event.map_or("", LastEvent::as_str),
                model::SqlText::new(&filter.text).to_lower(),
                filter.limit.clamp(1, COPIES_PAGE_MAX),
            ],
        )
        .await?;
    rows.iter().map(copy_row).collect()
}

fn copy_row(row: &Row) -> Result<CopyRow, Error> {
    Ok(CopyRow {
        id: row.id("id")?,
        campaign_id: row.opt_id("campaign_id")?,
        recipient: row.text("recipient")?.to_owned(),
        person_id: row.opt_id("person_id")?,
        person_name: row.text("person_name")?.to_owned(),
        place: place(row)?,
        place_detail: row.text("place_detail")?.to_owned(),
        last_event: last_event(row)?,
        last_event_at: row.at("last_event_at")?,
        place_at: row.at("place_at")?,
        disposition: row.opt_text("disposition")?.map(str::to_owned),
        policy: row.opt_text("policy")?.map(str::to_owned),
    })
}
