//! What lost copies share and landed ones do not, and what can be done about it.

use std::collections::BTreeMap;

use model::{CampaignId, ChangeId, OrganisationId};
use serde::Serialize;
use store::{Row, Store, values};

use super::{Incident, ScopeCampaign};
use crate::Error;
use crate::words::count_of;

/// Copies made this long before the incident opened are compared.
const CONTRAST_WINDOW_MS: i64 = 14 * 24 * 60 * 60 * 1_000;
/// Rows of the table per attribute.
const ROWS_PER_ATTRIBUTE_MAX: usize = 20;
/// Entries of the cause that are looked up in the index.
const ENTRIES_MAX: usize = 5;

/// How many lost and landed copies have one value of one attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContrastRow {
    /// `campaign`, `class`, `policy`, `rule`, `feed entry`, or `links to`.
    pub attribute: &'static str,
    /// The value.
    pub value: String,
    /// Copies in the incident's scope that have it.
    pub lost_count: i64,
    /// Copies in mailboxes, outside the scope, that have it.
    pub landed_count: i64,
}

/// The table, most telling rows first: what all lost copies have and no landed one has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contrast {
    /// Copies in scope.
    pub lost_count: i64,
    /// Landed copies of campaigns that they are compared with.
    pub landed_count: i64,
    /// The rows.
    pub rows: Vec<ContrastRow>,
}

/// Something that can be done, with what it would do. Doing it is a call of `quarantine` or `changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Release the copies of a campaign that were held on arrival.
    Release {
        /// Whose.
        campaign_id: CampaignId,
        /// Its name.
        name: String,
        /// How many copies that would free.
        copy_count: i64,
    },
    /// Add an allow entry with expiry.
    Allow {
        /// `url`, `domain`, …: the kind of the list entry.
        list_kind: String,
        /// The value that would cover what the cause is about.
        value: String,
        /// What it does, in words.
        effect: String,
    },
    /// Undo the change that caused it.
    Undo {
        /// Which.
        change_id: ChangeId,
        /// Its title.
        title: String,
        /// How many pulled back copies that would put back.
        copy_count: i64,
    },
}

/// Compares the copies in scope with landed ones of the same time.
pub async fn contrast(store: &Store, organisation_id: OrganisationId, incident: &Incident) -> Result<Contrast, Error> {
    let since = incident.opened_at.plus_ms(-CONTRAST_WINDOW_MS);
    let of = values![incident.id, organisation_id, since];
    let mut cells: BTreeMap<(&'static str, String), (i64, i64)> = BTreeMap::new();
    let (mut lost, mut landed) = (0, 0);
    for row in store.query("incident.contrast", &of).await? {
        let (is_lost, count) = (row.flag("lost")?, row.int("copy_count")?);
        if is_lost {
            lost += count
        } else {
            landed += count
        }
        add(&mut cells, &row, "campaign", "campaign", (is_lost, count))?;
        add(&mut cells, &row, "class", "class", (is_lost, count))?;
        add(&mut cells, &row, "policy", "policy", (is_lost, count))?;
    }
    for row in store.query("incident.contrast_rule", &of).await? {
        let (is_lost, count) = (row.flag("lost")?, row.int("copy_count")?);
        add(&mut cells, &row, "rule", "rule", (is_lost, count))?;
        add(&mut cells, &row, "origin", "feed entry", (is_lost, count))?;
    }
    if incident.cause.feed_kind == "url_host" {
        for value in incident.cause.entries.iter().take(ENTRIES_MAX) {
            let of = values![incident.id, organisation_id, since, "url_host", value];
            for row in store.query("incident.contrast_term", &of).await? {
                let cell = cells.entry(("links to", value.clone())).or_default();
                let count = row.int("copy_count")?;
                if row.flag("lost")? { cell.0 += count } else { cell.1 += count }
            }
        }
    }
    let rows = cells.into_iter().filter(|(_, (lost_count, _))| *lost_count > 0);
    let rows = rows.map(|((attribute, value), (lost_count, landed_count))| ContrastRow {
        attribute,
        value,
        lost_count,
        landed_count,
    });
    Ok(Contrast { lost_count: lost, landed_count: landed, rows: most_telling(rows.collect(), lost, landed) })
}

fn add(
    cells: &mut BTreeMap<(&'static str, String), (i64, i64)>,
    row: &Row,
    column: &str,
    attribute: &'static str,
    (is_lost, count): (bool, i64),
) -> Result<(), Error> {
    let value = row.text(column)?;
    if !value.is_empty() {
        let cell = cells.entry((attribute, value.to_owned())).or_default();
        if is_lost { cell.0 += count } else { cell.1 += count }
    }
    Ok(())
}

/// By the difference of the shares among lost and landed copies, in thousandths.
fn most_telling(mut rows: Vec<ContrastRow>, lost: i64, landed: i64) -> Vec<ContrastRow> {
    let share = |part: i64, whole: i64| if whole == 0 { 0 } else { part.saturating_mul(1_000) / whole };
    rows.sort_by_key(|row| std::cmp::Reverse(share(row.lost_count, lost) - share(row.landed_count, landed)));
    let mut shown: BTreeMap<&'static str, usize> = BTreeMap::new();
    rows.retain(|row| {
        let shown = shown.entry(row.attribute).or_default();
        *shown += 1;
        *shown <= ROWS_PER_ATTRIBUTE_MAX
    });
    rows
}

/// What can be done now. Empty once everything is back.
pub async fn remedies(
    store: &Store,
    organisation_id: OrganisationId,
    incident: &Incident,
    campaigns: &[ScopeCampaign],
) -> Result<Vec<Remedy>, Error> {
    let mut remedies = Vec::new();
    let change = match incident.cause.change_id {
        Some(id) => store.query_one("change.by_id", &values![id, organisation_id]).await?,
        None => None,
    };
    let is_active = change.map_or(Ok(false), |row| row.text("state").map(|state| state == "active"))?;
    if is_active || incident.cause.change_id.is_none() {
        remedies.extend(allow(incident));
    }
    for row in store.query("incident.held_on_arrival", &values![incident.id]).await? {
        let campaign_id: CampaignId = row.opt_id("campaign_id")?.unwrap_or(CampaignId(0));
        let name = campaigns.iter().find(|c| c.campaign_id == campaign_id).map_or("", |c| &c.name).to_owned();
        remedies.push(Remedy::Release { campaign_id, name, copy_count: row.int("copy_count")? });
    }
    if let (true, Some(change_id)) = (is_active, incident.cause.change_id) {
        let row = store.query_one("incident.pulled_back", &values![change_id]).await?;
        let copy_count = row.map_or(Ok(0), |row| row.int("copy_count"))?;
        remedies.push(Remedy::Undo { change_id, title: incident.cause.change_title.clone(), copy_count });
    }
    Ok(remedies)
}

/// An allow entry for the host that the cause is about: the host and its subdomains with any path.
fn allow(incident: &Incident) -> Option<Remedy> {
    let host = incident.cause.hosts().first().map(|host| (*host).to_owned())?;
    let lost = count_of(incident.impact_count, "copy", "copies");
    let effect = format!(
        "mail that links to {host} is not held for that link any more; the {lost} held now stay until they are released"
    );
    Some(Remedy::Allow { list_kind: "url".to_owned(), value: format!("~{host}~"), effect })
}
