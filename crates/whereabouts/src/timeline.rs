//! One copy as a timeline of evidence: first the answer, then who saw what when, and what it means.

use model::{CampaignId, CopyId, EventId, EventKind, LastEvent, OrganisationId, Place, Timestamp};
use serde::Serialize;
use store::{Row, Store, values};

use crate::Error;
use crate::ledger::{last_event, place};
use crate::words::clock_time;

/// Entries shown at most, the newest ones; a copy with more has been through a great deal.
const EVIDENCE_MAX: usize = 1_000;

/// One observation of a copy by one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The entry in the event log.
    pub id: EventId,
    /// What.
    pub kind: EventKind,
    /// When it happened.
    pub effective_at: Timestamp,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// Who saw it: `gateway`, `smtp`, `purge`, …
    pub source: String,
    /// What it means, as a sentence.
    pub meaning: String,
    /// Who did it, or empty.
    pub actor: String,
    /// The change, job or incident behind it.
    pub cause_id: Option<i64>,
    /// The raw evidence.
    pub detail: serde_json::Value,
}

/// A copy's life.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CopyTimeline {
    /// The copy.
    pub id: CopyId,
    /// Of which campaign, if of any.
    pub campaign_id: Option<CampaignId>,
    /// The address it was sent to.
    pub recipient: String,
    /// Where it is.
    pub place: Place,
    /// The folder's name for `other_folder`.
    pub place_detail: String,
    /// What last happened.
    pub last_event: LastEvent,
    /// When.
    pub last_event_at: Timestamp,
    /// The answer in one sentence.
    pub answer: String,
    /// What the policy decided, as stored.
    pub decision: Option<serde_json::Value>,
    /// Everything seen, in the order it happened.
    pub evidence: Vec<Evidence>,
}

/// The timeline of one copy.
///
/// # Errors
/// [`Error::NotFound`] for a copy that this organisation does not have.
pub async fn copy_timeline(
    store: &Store,
    organisation_id: OrganisationId,
    copy_id: CopyId,
) -> Result<CopyTimeline, Error> {
    let missing = Error::NotFound { what: "copy", id: copy_id.0 };
    let Some(copy) = store.query_one("copy.by_id", &values![copy_id]).await? else { return Err(missing) };
    if copy.id::<OrganisationId>("organisation_id")? != organisation_id {
        return Err(missing);
    }
    let events = store.query("event.of_copy", &values![copy_id]).await?;
    let evidence = events.iter().map(evidence).collect::<Result<Vec<_>, Error>>()?;
    let skip = evidence.len().saturating_sub(EVIDENCE_MAX);
    let evidence: Vec<Evidence> = evidence.into_iter().skip(skip).collect();
    let (place, last_event) = (place(&copy)?, last_event(&copy)?);
    let place_detail = copy.text("place_detail")?.to_owned();
    let last_event_at = copy.at("last_event_at")?;
    let actor = evidence.iter().rev().find(|e| e.kind.last_event() == Some(last_event)).map_or("", |e| &e.actor);
    let when = clock_time(last_event_at, store.now());
    Ok(CopyTimeline {
        id: copy_id,
        campaign_id: copy.opt_id("campaign_id")?,
        recipient: copy.text("recipient")?.to_owned(),
        answer: answer(place, &place_detail, last_event, actor, &when),
        decision: copy.opt_json("decision")?,
        place,
        place_detail,
        last_event,
        last_event_at,
        evidence,
    })
}

fn evidence(row: &Row) -> Result<Evidence, Error> {
    let word = row.text("kind")?;
    let kind = EventKind::parse(word).ok_or_else(|| Error::Word { column: "kind", word: word.to_owned() })?;
    let place = row.opt_text("place")?.and_then(Place::parse);
    let detail: serde_json::Value = row.json("detail")?;
    let actor = row.text("actor")?.to_owned();
    Ok(Evidence {
        id: row.id("id")?,
        kind,
        effective_at: row.at("effective_at")?,
        observed_at: row.at("observed_at")?,
        source: row.text("source")?.to_owned(),
        meaning: meaning(kind, place, row.text("place_detail")?, &actor, &detail),
        actor,
        cause_id: row.opt_int("cause_id")?,
        detail,
    })
}

/// Where it is and whether somebody did something about it.
fn answer(place: Place, place_detail: &str, last_event: LastEvent, actor: &str, when: &str) -> String {
    let by = if actor.is_empty() { String::new() } else { format!(" by {actor}") };
    let now = match place {
        Place::OnItsWay => "On its way, not handed over yet".to_owned(),
        Place::Accepted => "Accepted by the recipient's host, place not known yet".to_owned(),
        Place::Inbox => "In the inbox".to_owned(),
        Place::OtherFolder if place_detail.is_empty() => "In another folder of the mailbox".to_owned(),
        Place::OtherFolder => format!("In folder {place_detail}"),
        Place::Junk => "In Junk".to_owned(),
        Place::Quarantine => "In quarantine".to_owned(),
        Place::Deleted => "Deleted by its owner".to_owned(),
        Place::NotReceived => "Not received".to_owned(),
        Place::Unknown => "Unknown: no source can say where it is".to_owned(),
    };
    let why = match last_event {
        LastEvent::Queued => format!("put in the queue {when}"),
        LastEvent::Deferred => format!("the last try failed for now {when}, there will be another"),
        LastEvent::Rejected => format!("refused by the host {when}"),
        LastEvent::Accepted => format!("it arrived {when}"),
        LastEvent::Held => format!("held on arrival {when}, nobody released it"),
        LastEvent::Purged if place == Place::Junk => {
            format!("moved there after arrival {when}{by}, nobody put it back")
        }
        LastEvent::Purged => format!("pulled back after arrival {when}{by}, nobody put it back"),
        LastEvent::ReleaseRequested => format!("release requested {when}{by}, nobody decided yet"),
        LastEvent::Denied => format!("release denied {when}{by}"),
        LastEvent::Released => format!("released {when}{by}"),
        LastEvent::Restored => format!("put back {when}{by} after it had been pulled back"),
        LastEvent::Redelivered => format!("put back {when} because its verdict changed"),
        LastEvent::Expired => format!("its time ended {when}"),
        LastEvent::Dropped => format!("dropped by policy {when}"),
        LastEvent::Bounced => format!("it bounced {when}"),
        LastEvent::Complained => format!("the recipient complained {when}"),
        LastEvent::DeletedByOwner => format!("since {when}"),
    };
    format!("{now}: {why}.")
}

fn meaning(kind: EventKind, place: Option<Place>, folder: &str, actor: &str, detail: &serde_json::Value) -> String {
    let word = |key: &str| detail.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let with =
        |base: &str, extra: Option<&str>| extra.map_or_else(|| base.to_owned(), |text| format!("{base}: {text}"));
    let by = if actor.is_empty() { String::new() } else { format!(" by {actor}") };
    let reply = word("reply");
    let sentence = word("sentence").or_else(|| word("explanation")).or_else(|| word("reason"));
    let landed = |place: Option<Place>| match place {
        Some(Place::Inbox) | None => "the inbox".to_owned(),
        Some(Place::Junk) => "Junk".to_owned(),
        Some(Place::OtherFolder) if !folder.is_empty() => format!("folder {folder}"),
        Some(other) => other.as_str().replace('_', " "),
    };
    match kind {
        EventKind::Queued => "Put in our queue".to_owned(),
        EventKind::Deferred => with("The host asked to try again later", reply),
        EventKind::Rejected => with("The host refused it", reply),
        EventKind::Accepted => match place {
            None | Some(Place::Accepted) => with("The host answered 250; that says nothing about where it is", reply),
            place => format!("Arrived in {}", landed(place)),
        },
        EventKind::Held => with("Put in quarantine on arrival", sentence),
        EventKind::Purged if place == Some(Place::Junk) => with(&format!("Moved to Junk after arrival{by}"), sentence),
        EventKind::Purged => with(&format!("Pulled back into quarantine after arrival{by}"), sentence),
        EventKind::ReleaseRequested => with(&format!("Release requested{by}"), word("reason")),
        EventKind::Denied => with(&format!("Release denied{by}"), word("reason")),
        EventKind::Released => with(&format!("Released{by} into {}", landed(place)), word("reason")),
        EventKind::Restored => with(&format!("Put back{by} into {}", landed(place)), word("reason")),
        EventKind::Redelivered => format!("Put back into {} because its verdict changed", landed(place)),
        EventKind::Expired => with("Its time ended", reply.or(sentence)),
        EventKind::Dropped => with("Accepted and dropped by policy", sentence),
        EventKind::Bounced => with("A status notification said that it failed", reply),
        EventKind::Complained => "The recipient complained about it".to_owned(),
        EventKind::DeletedByOwner => "Deleted by its owner".to_owned(),
        EventKind::MovedByOwner => format!("Moved by its owner to {}", landed(place)),
        EventKind::ResendSuppressed => "Offered again and answered 250 without storing a second one".to_owned(),
        EventKind::Judged => with("Judged late, after it had come in without a verdict", sentence),
        EventKind::MayBeDouble => "The hand-over ended unclearly: the next try may make a second one there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_an_answer_and_every_kind_a_meaning() {
        for place in Place::ALL {
            for last in LastEvent::ALL {
                let text = answer(*place, "Newsletters", *last, "ada", "10:14 UTC");
                assert!(text.ends_with('.') && !text.to_lowercase().contains("delivered"), "{text}");
            }
        }
        for kind in EventKind::ALL {
            let text = meaning(*kind, None, "", "", &serde_json::json!({"reply": "550 no"}));
            assert!(!text.is_empty() && !text.to_lowercase().contains("delivered"), "{text}");
        }
        assert_eq!(
            answer(Place::Quarantine, "", LastEvent::Held, "", "10:14 UTC"),
            "In quarantine: held on arrival 10:14 UTC, nobody released it."
        );
        // A purge of what is spam ends in Junk.
        let text = answer(Place::Junk, "", LastEvent::Purged, "ada", "10:14 UTC");
        assert_eq!(text, "In Junk: moved there after arrival 10:14 UTC by ada, nobody put it back.");
        let text =
            meaning(EventKind::Purged, Some(Place::Junk), "", "ada", &serde_json::json!({"sentence": "Spam: x"}));
        assert_eq!(text, "Moved to Junk after arrival by ada: Spam: x");
    }
}
