//! Counts over the ledger: a campaign's whereabouts, the organisation's totals, and the proof that nothing went twice.

use std::collections::BTreeMap;

use model::{CampaignId, LastEvent, OrganisationId, Place, Timestamp};
use serde::Serialize;
use store::{Row, Store, values};

use crate::Error;

/// How many copies are at one place after one last event, and how old that knowledge is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceCount {
    /// Where they are.
    pub place: Place,
    /// What last happened to them.
    pub last_event: LastEvent,
    /// How many.
    pub count: i64,
    /// Since when the first of them has been there.
    pub since_at: Timestamp,
    /// The oldest and
    pub oldest_at: Timestamp,
    /// the newest evidence among them.
    pub newest_at: Timestamp,
}

/// Where a campaign's copies are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignWhereabouts {
    /// Whose copies.
    pub campaign_id: CampaignId,
    /// All copies that exist; fewer than the audience while sending goes on.
    pub copy_count: i64,
    /// People in the frozen audience, and how many of them were left out as suppressed.
    pub audience_count: i64,
    /// See `audience_count`.
    pub suppressed_count: i64,
    /// Copies that a host has answered 250 for, whatever became of them.
    pub accepted_count: i64,
    /// By place and last event.
    pub places: Vec<PlaceCount>,
    /// The oldest evidence among the copies; `None` without copies.
    pub oldest_evidence_at: Option<Timestamp>,
    /// The newest.
    pub newest_evidence_at: Option<Timestamp>,
}

impl CampaignWhereabouts {
    /// How many copies are at a place, whatever last happened.
    pub fn at(&self, place: Place) -> i64 {
        self.places.iter().filter(|p| p.place == place).map(|p| p.count).sum()
    }
}

/// The head of a campaign, as far as the ledger speaks of it.
pub(crate) struct Head {
    pub audience_count: i64,
    pub suppressed_count: i64,
    pub state: String,
}

pub(crate) async fn campaign_head(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<Head, Error> {
    let row = store
        .query_one("incident.campaign_head", &values![campaign_id, organisation_id])
        .await?
        .ok_or(Error::NotFound { what: "campaign", id: campaign_id.0 })?;
    Ok(Head {
        audience_count: row.int("audience_count")?,
        suppressed_count: row.int("suppressed_count")?,
        state: row.text("state")?.to_owned(),
    })
}

/// Where the copies of a campaign are now.
///
/// # Errors
/// [`Error::NotFound`] for a campaign that this organisation does not have.
pub async fn campaign_whereabouts(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<CampaignWhereabouts, Error> {
    let head = campaign_head(store, organisation_id, campaign_id).await?;
    let places = campaign_places(store, organisation_id, campaign_id).await?;
    let handed_over = store.query_one("copy.count_handed_over", &values![campaign_id, organisation_id]).await?;
    Ok(CampaignWhereabouts {
        campaign_id,
        copy_count: places.iter().map(|p| p.count).sum(),
        audience_count: head.audience_count,
        suppressed_count: head.suppressed_count,
        accepted_count: handed_over.map_or(Ok(0), |row| row.int("copy_count"))?,
        oldest_evidence_at: places.iter().map(|p| p.oldest_at).min(),
        newest_evidence_at: places.iter().map(|p| p.newest_at).max(),
        places,
    })
}

/// How many copies of a campaign are at which place now: what a list of campaigns shows.
///
/// # Errors
/// The store's.
pub async fn campaign_places(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<Vec<PlaceCount>, Error> {
    let rows = store.query("copy.count_of_campaign", &values![campaign_id, organisation_id]).await?;
    rows.iter().map(place_count).collect()
}

fn place_count(row: &Row) -> Result<PlaceCount, Error> {
    Ok(PlaceCount {
        place: place(row)?,
        last_event: last_event(row)?,
        count: row.int("copy_count")?,
        since_at: row.at("since_at")?,
        oldest_at: row.at("oldest_at")?,
        newest_at: row.at("newest_at")?,
    })
}

pub(crate) fn place(row: &Row) -> Result<Place, Error> {
    let word = row.text("place")?;
    Place::parse(word).ok_or_else(|| Error::Word { column: "place", word: word.to_owned() })
}

pub(crate) fn last_event(row: &Row) -> Result<LastEvent, Error> {
    let word = row.text("last_event")?;
    LastEvent::parse(word).ok_or_else(|| Error::Word { column: "last_event", word: word.to_owned() })
}

/// Places and last events over all campaigns' copies of an organisation. Only what occurs has a key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// By place.
    pub places: BTreeMap<Place, i64>,
    /// By last event.
    pub events: BTreeMap<LastEvent, i64>,
}

/// Counts all campaigns' copies by place and by last event.
pub async fn totals(store: &Store, organisation_id: OrganisationId) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    for row in store.query("copy.count_of_organisation", &values![organisation_id]).await? {
        let count = row.int("copy_count")?;
        *totals.places.entry(place(&row)?).or_default() += count;
        *totals.events.entry(last_event(&row)?).or_default() += count;
    }
    Ok(totals)
}

/// What the ledger proves about copies of campaigns, counted from events and mailboxes, not from jobs' own claims.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Proof {
    /// Copies that landed twice with nothing that took them out in between, or that are in mailboxes twice.
    pub sent_twice: i64,
    /// Copies that were pulled back and put back.
    pub restored: i64,
    /// Copies that were held on arrival and freed.
    pub released: i64,
    /// Copies that were put back because their verdict changed.
    pub redelivered: i64,
    /// Copies that were held on arrival.
    pub held: i64,
    /// Copies that were pulled back after arrival.
    pub purged: i64,
    /// Releases and restores beyond one per copy: 0 unless a copy went round more than once.
    pub repeated: i64,
    /// Second offers of a copy that the gateway answered without storing anything.
    pub resends_suppressed: i64,
    /// Copies whose hand-over to a foreign host ended unclearly, so that a second one may exist there.
    pub may_be_double: i64,
}

/// Computes the proof for an organisation.
pub async fn proof(store: &Store, organisation_id: OrganisationId) -> Result<Proof, Error> {
    let twice = store.query_one("copy.sent_twice", &values![organisation_id]).await?;
    let mut proof = Proof { sent_twice: twice.map_or(Ok(0), |row| row.int("copy_count"))?, ..Proof::default() };
    for row in store.query("event.proof", &values![organisation_id]).await? {
        let (copies, events) = (row.int("copy_count")?, row.int("event_count")?);
        match row.text("kind")? {
            "restored" => (proof.restored, proof.repeated) = (copies, proof.repeated + events - copies),
            "released" => (proof.released, proof.repeated) = (copies, proof.repeated + events - copies),
            "redelivered" => proof.redelivered = copies,
            "held" => proof.held = copies,
            "purged" => proof.purged = copies,
            "resend_suppressed" => proof.resends_suppressed = events,
            "may_be_double" => proof.may_be_double = copies,
            word => return Err(Error::Word { column: "kind", word: word.to_owned() }),
        }
    }
    Ok(proof)
}
