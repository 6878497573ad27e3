//! The box on top of the console: a campaign, a person, a Message-ID, an incident or a URL host, whatever the text fits.

use model::{CampaignId, CopyId, IncidentId, OrganisationId, PersonId, Place, SqlText};
use serde::Serialize;
use store::{Store, values};

use crate::Error;
use crate::incident::Incident;
use crate::ledger::place;

/// Hits of each kind at most.
pub const SEARCH_MAX: usize = 10;
/// The last campaigns and incidents whose names are compared.
const NAMES_MAX: i64 = 500;
/// Copies of one host counted at most.
const HOST_COPIES_MAX: i64 = 10_000;
/// A text shorter than this finds too much to be of use.
const TEXT_CHARS_MIN: usize = 2;

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Found {
    /// A campaign by its name.
    Campaign {
        /// Which.
        id: CampaignId,
        /// Its name.
        name: String,
        /// `draft`, `sending`, …
        state: String,
    },
    /// A person by address or name.
    Person {
        /// Which.
        id: PersonId,
        /// Their address.
        address: String,
        /// Their name.
        name: String,
    },
    /// A copy by its Message-ID.
    Copy {
        /// Which.
        id: CopyId,
        /// The address it was sent to.
        recipient: String,
        /// Its subject.
        subject: String,
        /// Where it is.
        place: Place,
    },
    /// An incident by its title.
    Incident {
        /// Which.
        id: IncidentId,
        /// Its title.
        title: String,
        /// Its status.
        status: String,
    },
    /// A host that received mail links to.
    UrlHost {
        /// The host.
        host: String,
        /// Copies that link to it.
        copy_count: i64,
        /// Whether there are more than were counted.
        more: bool,
    },
}

/// Everything that `text` fits, at most [`SEARCH_MAX`] of each kind; nothing for a text of one character.
pub async fn search(store: &Store, organisation_id: OrganisationId, text: &str) -> Result<Vec<Found>, Error> {
    let text = SqlText::new(text.trim());
    let lower = text.to_lower();
    if lower.chars().count() < TEXT_CHARS_MIN {
        return Ok(Vec::new());
    }
    let mut found = campaigns(store, organisation_id, &lower).await?;
    let limit = i64::try_from(SEARCH_MAX).unwrap_or(i64::MAX);
    for row in store.query("incident.people_like", &values![organisation_id, &lower, limit]).await? {
        let (address, name) = (row.text("address")?.to_owned(), row.text("name")?.to_owned());
        found.push(Found::Person { id: row.id("id")?, address, name });
    }
    found.extend(messages(store, organisation_id, text.as_str(), limit).await?);
    let incidents = crate::incident::page(store, organisation_id, None, None, NAMES_MAX).await?;
    let fits = |i: &Incident| i.title.to_lowercase().contains(&lower) || i.id.to_string() == lower;
    found.extend(incidents.into_iter().filter(fits).take(SEARCH_MAX).map(|incident| {
        let status = incident.status.as_str().to_owned();
        Found::Incident { id: incident.id, title: incident.title, status }
    }));
    found.extend(host(store, organisation_id, &lower).await?);
    Ok(found)
}

async fn campaigns(store: &Store, organisation_id: OrganisationId, lower: &str) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for row in store.query("incident.campaign_names", &values![organisation_id, NAMES_MAX]).await? {
        let name = row.text("name")?;
        if name.to_lowercase().contains(lower) && found.len() < SEARCH_MAX {
            let state = row.text("state")?.to_owned();
            found.push(Found::Campaign { id: row.id("id")?, name: name.to_owned(), state });
        }
    }
    Ok(found)
}

/// A Message-ID is compared as written, with and without its angle brackets.
async fn messages(store: &Store, organisation_id: OrganisationId, text: &str, limit: i64) -> Result<Vec<Found>, Error> {
    let bare = text.trim_start_matches('<').trim_end_matches('>');
    let mut found = Vec::new();
    if !bare.contains('@') {
        return Ok(found);
    }
    for header in [format!("<{bare}>"), bare.to_owned()] {
        for row in store.query("copy.of_message_id_header", &values![header, organisation_id, limit]).await? {
            found.push(Found::Copy {
                id: row.id("id")?,
                recipient: row.text("recipient")?.to_owned(),
                subject: row.text("subject")?.to_owned(),
                place: place(&row)?,
            });
        }
    }
    found.truncate(SEARCH_MAX);
    Ok(found)
}

async fn host(store: &Store, organisation_id: OrganisationId, lower: &str) -> Result<Option<Found>, Error> {
    let host = lower.split_once("://").map_or(lower, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    if !host.contains('.') || host.contains(['@', ' ']) {
        return Ok(None);
    }
    let row =
        store.query_one("incident.messages_with_host", &values![host, organisation_id, HOST_COPIES_MAX + 1]).await?;
    let count = row.map_or(Ok(0), |row| row.int("copy_count"))?;
    Ok((count > 0).then(|| Found::UrlHost {
        host: host.to_owned(),
        copy_count: count.min(HOST_COPIES_MAX),
        more: count > HOST_COPIES_MAX,
    }))
}
