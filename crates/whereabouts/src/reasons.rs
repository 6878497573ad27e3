//! Who did not get a campaign, and why: copies that are not in a mailbox's inbox, grouped by reason.

use model::{CampaignId, OrganisationId, Place, Timestamp};
use serde::Serialize;
use store::{Row, Store, values};

use crate::Error;
use crate::ledger::{campaign_head, place};
use crate::words::{count_of, finding, shown_evidence};

/// Groups read per kind of reason; what is beyond is in the counts of the whereabouts, just not told apart.
pub const REASONS_MAX: i64 = 50;

/// What kind of reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonGroup {
    /// Held in quarantine on arrival.
    Held,
    /// Pulled back into quarantine after arrival.
    PulledBack,
    /// Put in Junk.
    Junk,
    /// Refused, bounced, dropped, expired.
    NotReceived,
    /// Still on its way.
    Waiting,
    /// No source can say where it is.
    Unknown,
    /// Left out before sending, because the address is suppressed.
    Suppressed,
}

/// One reason, with how many copies have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind.
    pub group: ReasonGroup,
    /// The place of these copies; `None` for people who were left out.
    pub place: Option<Place>,
    /// In plain words.
    pub sentence: String,
    /// The deciding rule's id, or empty.
    pub rule: String,
    /// The feed or list entry behind it, or empty.
    pub origin: String,
    /// One example of what was seen (a URL without its path, a hash), or empty.
    pub evidence: String,
    /// The policy, or empty.
    pub policy: String,
    /// The remote host's reply, or empty.
    pub reply: String,
    /// The change that caused it, if any: `cause_id` of the event.
    pub cause_id: Option<i64>,
    /// How many copies.
    pub count: i64,
    /// Since when the first of them.
    pub since_at: Option<Timestamp>,
}

/// Why copies of a campaign are not in an inbox, most frequent first.
///
/// # Errors
/// [`Error::NotFound`] for a campaign that this organisation does not have.
pub async fn reasons(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
) -> Result<Vec<Reason>, Error> {
    let head = campaign_head(store, organisation_id, campaign_id).await?;
    let of = values![campaign_id, organisation_id, REASONS_MAX];
    let mut reasons = Vec::new();
    for row in store.query("copy.held_reasons_of_campaign", &of).await? {
        reasons.push(held(&row)?);
    }
    for row in store.query("copy.other_reasons_of_campaign", &of).await? {
        reasons.push(other(&row)?);
    }
    if head.suppressed_count > 0 {
        reasons.push(suppressed(head.suppressed_count));
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    Ok(reasons)
}

fn held(row: &Row) -> Result<Reason, Error> {
    let by_purge = row.text("held_by")? == "purge";
    // A copy that was pulled back has another verdict now than the one it arrived with: its rule would mislead.
    let arrival = |column: &str| -> Result<String, Error> {
        Ok(if by_purge { String::new() } else { row.text(column)?.to_owned() })
    };
    Ok(Reason {
        group: if by_purge { ReasonGroup::PulledBack } else { ReasonGroup::Held },
        place: Some(Place::Quarantine),
        sentence: or_else(finding(row.text("explanation")?), row.text("reason")?),
        rule: arrival("rule")?,
        origin: arrival("origin")?,
        evidence: shown_evidence(&arrival("evidence")?),
        policy: row.text("policy_name")?.to_owned(),
        reply: String::new(),
        cause_id: row.opt_int("cause_id")?,
        count: row.int("copy_count")?,
        since_at: row.opt_at("since_at")?,
    })
}

fn other(row: &Row) -> Result<Reason, Error> {
    let place = place(row)?;
    let (kind, reply, sentence) = (row.text("kind")?, row.text("reply")?, finding(row.text("sentence")?));
    let (group, sentence) = match place {
        Place::Junk => (ReasonGroup::Junk, or_else(sentence, "judged spam")),
        Place::NotReceived => {
            let said = if reply.is_empty() { row.text("why")? } else { reply };
            (ReasonGroup::NotReceived, not_received(kind, said, sentence))
        }
        Place::OnItsWay => (ReasonGroup::Waiting, waiting(kind, reply)),
        Place::Accepted | Place::Inbox | Place::OtherFolder | Place::Quarantine | Place::Deleted | Place::Unknown => {
            (ReasonGroup::Unknown, "no source can say where it is".to_owned())
        }
    };
    let judged = matches!(group, ReasonGroup::Junk) || matches!(kind, "dropped");
    let verdict = |column: &str| -> Result<String, Error> {
        Ok(if judged { row.text(column)?.to_owned() } else { String::new() })
    };
    Ok(Reason {
        group,
        place: Some(place),
        sentence,
        rule: verdict("rule")?,
        origin: verdict("origin")?,
        evidence: String::new(),
        policy: row.text("policy")?.to_owned(),
        reply: reply.to_owned(),
        cause_id: row.opt_int("cause_id")?,
        count: row.int("copy_count")?,
        since_at: row.opt_at("since_at")?,
    })
}

/// `said`: the host's reply, or why somebody ended it.
fn not_received(kind: &str, said: &str, finding: &str) -> String {
    let because = |what: &str, why: &str| if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") };
    match kind {
        "rejected" => because("refused by the recipient's host", said),
        "bounced" => because("bounced", said),
        "dropped" => because("dropped by policy", finding),
        "expired" => because("the time to try, or the retention in quarantine, ended", said),
        _ => because("not received", said),
    }
}

fn waiting(kind: &str, reply: &str) -> String {
    match (kind, reply) {
        ("deferred", "") => "the recipient's host asked to try again later".to_owned(),
        ("deferred", reply) => format!("the recipient's host asked to try again later: {reply}"),
        _ => "waiting in the queue for its first try".to_owned(),
    }
}

fn suppressed(count: i64) -> Reason {
    let people = count_of(count, "address was", "addresses were");
    Reason {
        group: ReasonGroup::Suppressed,
        place: None,
        sentence: format!("{people} left out: suppressed before sending"),
        rule: String::new(),
        origin: String::new(),
        evidence: String::new(),
        policy: String::new(),
        reply: String::new(),
        cause_id: None,
        count,
        since_at: None,
    }
}

fn or_else(text: &str, fallback: &str) -> String {
    if text.is_empty() { fallback.replace('_', " ") } else { text.to_owned() }
}
