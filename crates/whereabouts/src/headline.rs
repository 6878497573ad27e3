//! A campaign's state in one or two sentences that anyone understands. Never the word for arriving that says too much.

use model::{CampaignId, OrganisationId, Place, Timestamp};
use store::Store;

use crate::ledger::{CampaignWhereabouts, campaign_head, campaign_whereabouts};
use crate::reasons::{ReasonGroup, reasons};
use crate::words::{clock_time, lower_first, number, recipients};
use crate::{Error, Reason};

/// What the headline is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadlineFacts {
    /// The campaign's state: `draft`, `sending`, `paused`, `sent`, `cancelled`.
    pub state: String,
    /// Where its copies are.
    pub whereabouts: CampaignWhereabouts,
    /// Why some are not in an inbox, most frequent first.
    pub reasons: Vec<Reason>,
    /// Now, so that "since" can leave today's date out.
    pub now: Timestamp,
}

/// The headline of a campaign.
///
/// # Errors
/// [`Error::NotFound`] for a campaign that this organisation does not have.
pub async fn headline(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<String, Error> {
    let head = campaign_head(store, organisation_id, campaign_id).await?;
    let facts = HeadlineFacts {
        state: head.state,
        whereabouts: campaign_whereabouts(store, organisation_id, campaign_id).await?,
        reasons: reasons(store, organisation_id, campaign_id).await?,
        now: store.now(),
    };
    Ok(headline_of(&facts))
}

/// The same from facts; pure.
pub fn headline_of(facts: &HeadlineFacts) -> String {
    let seen = &facts.whereabouts;
    let planned = (seen.audience_count - seen.suppressed_count).max(seen.copy_count);
    if seen.copy_count == 0 {
        return match facts.state.as_str() {
            "draft" => "Not sent yet.".to_owned(),
            "cancelled" => "Cancelled before anything was sent.".to_owned(),
            _ => format!("Sending to {} begins.", recipients(planned)),
        };
    }
    let mut sentence = accepted_part(&facts.state, seen.accepted_count, planned);
    let parts = place_parts(facts);
    if !parts.is_empty() {
        sentence.push_str("; ");
        sentence.push_str(&parts.join("; "));
    }
    sentence.push('.');
    let readable = seen.at(Place::Inbox) + seen.at(Place::OtherFolder) + seen.at(Place::Junk);
    let maybe = seen.at(Place::Accepted) + seen.at(Place::OnItsWay) + seen.at(Place::Unknown) + seen.at(Place::Deleted);
    if readable + maybe == 0 && facts.state != "sending" {
        sentence.push_str(" Nobody can read it.");
    }
    sentence
}

fn accepted_part(state: &str, accepted: i64, planned: i64) -> String {
    let doing = match state {
        "sending" => "Sending: ",
        "paused" => "Paused: ",
        "cancelled" => "Cancelled: ",
        _ => "",
    };
    match (accepted, planned) {
        (1, 1) => format!("{doing}The one recipient's copy was accepted"),
        _ if accepted == planned => format!("{doing}All {} recipients' copies were accepted", number(planned)),
        (0, _) => format!("{doing}None of {} recipients' copies was accepted yet", number(planned)),
        _ => format!("{doing}{} of {} recipients' copies were accepted", number(accepted), number(planned)),
    }
}

/// One clause per place, good news first.
fn place_parts(facts: &HeadlineFacts) -> Vec<String> {
    let seen = &facts.whereabouts;
    let is = |n: i64| if n == 1 { "is" } else { "are" };
    let in_mailbox = seen.at(Place::Inbox) + seen.at(Place::OtherFolder);
    let mut parts = Vec::new();
    let mut part = |count: i64, words: String| {
        if count > 0 {
            parts.push(format!("{} {} {words}", number(count), is(count)));
        }
    };
    part(in_mailbox, format!("in the recipients' mailboxes{}", put_back(facts)));
    part(seen.at(Place::Junk), format!("in Junk{}", because(facts, &[ReasonGroup::Junk])));
    let held = [ReasonGroup::Held, ReasonGroup::PulledBack];
    part(
        seen.at(Place::Quarantine),
        format!("in quarantine{}{}", since(facts, Place::Quarantine), because(facts, &held)),
    );
    part(seen.at(Place::NotReceived), format!("not received{}", because(facts, &[ReasonGroup::NotReceived])));
    part(seen.at(Place::Deleted), "deleted by their owners".to_owned());
    part(seen.at(Place::Accepted), "accepted, their place not known yet".to_owned());
    part(seen.at(Place::OnItsWay), format!("on their way{}", because(facts, &[ReasonGroup::Waiting])));
    part(seen.at(Place::Unknown), "nobody knows where".to_owned());
    parts
}

fn since(facts: &HeadlineFacts, place: Place) -> String {
    let since = facts.whereabouts.places.iter().filter(|p| p.place == place).map(|p| p.since_at).min();
    since.map(|at| format!(" since {}", clock_time(at, facts.now))).unwrap_or_default()
}

/// The most frequent reason of these groups; a lone "waiting for its first try" is not worth a clause.
fn because(facts: &HeadlineFacts, groups: &[ReasonGroup]) -> String {
    let mut of_groups = facts.reasons.iter().filter(|reason| groups.contains(&reason.group));
    let Some(first) = of_groups.next() else { return String::new() };
    if first.group == ReasonGroup::Waiting && first.reply.is_empty() {
        return String::new();
    }
    let joint = match first.group {
        ReasonGroup::NotReceived | ReasonGroup::Waiting => ": ",
        _ => " because ",
    };
    let more = of_groups.count();
    let others = if more == 0 { "" } else { " (and other reasons)" };
    format!("{joint}{}{others}", lower_first(&first.sentence))
}

/// Whether copies in mailboxes had been away: said, because people ask.
fn put_back(facts: &HeadlineFacts) -> String {
    use model::LastEvent as L;
    let places = &facts.whereabouts.places;
    let in_mailbox = |p: &&crate::PlaceCount| matches!(p.place, Place::Inbox | Place::OtherFolder);
    let count = |events: &[L]| -> i64 {
        places.iter().filter(in_mailbox).filter(|p| events.contains(&p.last_event)).map(|p| p.count).sum()
    };
    let (restored, released) = (count(&[L::Restored, L::Redelivered]), count(&[L::Released]));
    let mut notes = Vec::new();
    if restored > 0 {
        notes.push(format!("{} put back after they had been pulled back", number(restored)));
    }
    if released > 0 {
        notes.push(format!("{} released from quarantine", number(released)));
    }
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use model::LastEvent;

    use super::*;
    use crate::PlaceCount;

    const NOW: &str = "2026-11-22T11:00:00Z";

    fn facts(state: &str, accepted: i64, places: &[(Place, LastEvent, i64)]) -> HeadlineFacts {
        let at = Timestamp::parse_rfc3339("2026-11-22T10:14:00Z").unwrap();
        let places: Vec<PlaceCount> = places
            .iter()
            .map(|&(place, last_event, count)| PlaceCount {
                place,
                last_event,
                count,
                since_at: at,
                oldest_at: at,
                newest_at: at,
            })
            .collect();
        let copy_count = places.iter().map(|p| p.count).sum();
        let whereabouts = CampaignWhereabouts {
            campaign_id: CampaignId(1),
            copy_count,
            audience_count: 1_000,
            suppressed_count: 0,
            accepted_count: accepted,
            places,
            oldest_evidence_at: Some(at),
            newest_evidence_at: Some(at),
        };
        let now = Timestamp::parse_rfc3339(NOW).unwrap();
        HeadlineFacts { state: state.into(), whereabouts, reasons: Vec::new(), now }
    }

    fn reason(group: ReasonGroup, sentence: &str) -> Reason {
        Reason {
            group,
            place: None,
            sentence: sentence.into(),
            rule: String::new(),
            origin: String::new(),
            evidence: String::new(),
            policy: String::new(),
            reply: String::new(),
            cause_id: None,
            count: 1,
            since_at: None,
        }
    }

    fn check(facts: &HeadlineFacts, want: &str) {
        let got = headline_of(facts);
        assert_eq!(got, want);
        assert!(!got.to_lowercase().contains("delivered"));
    }

    #[test]
    fn the_story_in_headlines() {
        use LastEvent as L;
        check(&facts("draft", 0, &[]), "Not sent yet.");
        check(&facts("sending", 0, &[]), "Sending to 1,000 recipients begins.");
        check(
            &facts("sending", 300, &[(Place::Inbox, L::Accepted, 300), (Place::OnItsWay, L::Queued, 200)]),
            "Sending: 300 of 1,000 recipients' copies were accepted; 300 are in the recipients' mailboxes; 200 are on their way.",
        );
        check(
            &facts("sent", 1_000, &[(Place::Inbox, L::Accepted, 990), (Place::OtherFolder, L::Accepted, 10)]),
            "All 1,000 recipients' copies were accepted; 1,000 are in the recipients' mailboxes.",
        );
        let mut lost = facts("sent", 1_000, &[(Place::Quarantine, L::Held, 1_000)]);
        lost.reasons.push(reason(ReasonGroup::Held, "The link host t.x is listed by feed 'f'"));
        check(
            &lost,
            "All 1,000 recipients' copies were accepted; 1,000 are in quarantine since 10:14 UTC because the link host t.x is listed by feed 'f'. Nobody can read it.",
        );
        check(
            &facts("sent", 1_000, &[(Place::Inbox, L::Restored, 999), (Place::Deleted, L::DeletedByOwner, 1)]),
            "All 1,000 recipients' copies were accepted; 999 are in the recipients' mailboxes (999 put back after they had been pulled back); 1 is deleted by their owners.",
        );
    }
}
