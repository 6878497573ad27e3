//! Message trace: which copies, and the story of one.
//!
//! A search walks the index of its most selective filter (Message-ID, host of a link, recipient, sender, a word of the
//! subject, place, or time alone), and checks the other filters on the way. Pages are sought, never counted.

use model::{CampaignId, CopyId, LastEvent, MessageId, OrganisationId, Place, Timestamp};
use serde::Serialize;
use store::{Row, Store, StoreError, Value, values};
use verdict::TermKind;

use crate::commit::{SUBJECT_WORD_KIND, subject_words};

/// Rows of one page.
pub const TRACE_PAGE_MAX: i64 = 1_000;
/// Bits of an id below its milliseconds (see `model::ids`).
const ID_SHIFT: u32 = 21;

/// What is searched for; a filter that is `None` lets everything through.
#[derive(Debug, Clone, Default)]
pub struct TraceFilter {
    /// From address or reverse-path.
    pub sender: Option<String>,
    /// The recipient's address.
    pub recipient: Option<String>,
    /// Words of the subject, in this order (other words may stand between them).
    pub subject: Option<String>,
    /// The Message-ID field, with or without its angle brackets. With it `url_host` is not looked at.
    pub message_id_header: Option<String>,
    /// The host of a link in the mail as it was received.
    pub url_host: Option<String>,
    /// Where the copy is now.
    pub place: Option<Place>,
    /// What last happened to it.
    pub last_event: Option<LastEvent>,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// Enqueued or received not before.
    pub from_at: Option<Timestamp>,
    /// Enqueued or received before.
    pub to_at: Option<Timestamp>,
    /// Where the page before ended.
    pub after: Option<TraceCursor>,
    /// Rows wanted, 1 to [`TRACE_PAGE_MAX`].
    pub limit: i64,
}

/// Where a page ends. Its text form is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceCursor {
    at: Timestamp,
    message_id: MessageId,
    copy_id: CopyId,
}

/// One copy.
#[derive(Debug, Clone, Serialize)]
pub struct TraceRow {
    /// The copy.
    pub copy_id: CopyId,
    /// Its message.
    pub message_id: MessageId,
    /// The message as received here, when it was.
    pub received_message_id: Option<MessageId>,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// `inbound` or `outbound` (ours).
    pub direction: String,
    /// From address.
    pub sender: String,
    /// From display name.
    pub sender_name: String,
    /// MAIL FROM, empty when null.
    pub reverse_path: String,
    /// The recipient.
    pub recipient: String,
    /// Subject.
    pub subject: String,
    /// Message-ID field.
    pub message_id_header: String,
    /// Where it is now.
    pub place: String,
    /// The folder's name, for `other_folder`.
    pub place_detail: String,
    /// What last happened.
    pub last_event: String,
    /// When.
    pub last_event_at: Timestamp,
    /// When it was enqueued or received.
    pub created_at: Timestamp,
    /// What our policy did with it.
    pub disposition: Option<String>,
    /// Which policy.
    pub policy: Option<String>,
    /// The verdict's class.
    pub verdict_class: Option<String>,
}

/// A page.
#[derive(Debug, Clone)]
pub struct TracePage {
    /// Newest first.
    pub rows: Vec<TraceRow>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<TraceCursor>,
}

/// One entry of a copy's story.
#[derive(Debug, Clone, Serialize)]
pub struct TraceEvent {
    /// Its id.
    pub id: model::EventId,
    /// What.
    pub kind: String,
    /// The place it proves.
    pub place: Option<String>,
    /// The folder's name, for `other_folder`.
    pub place_detail: String,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// When it happened.
    pub effective_at: Timestamp,
    /// Who says so.
    pub source: String,
    /// The change, incident or job behind it.
    pub cause_id: Option<i64>,
    /// Who did it.
    pub actor: String,
    /// Raw evidence.
    pub detail: serde_json::Value,
}

/// A message of a copy: as rendered, or as received.
#[derive(Debug, Clone, Serialize)]
pub struct TraceMessage {
    /// Its id.
    pub id: MessageId,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// Size of the stored body in bytes; 0 when none was kept.
    pub body_bytes: i64,
    /// SHA-256 of the stored body.
    pub body_sha256: String,
    /// Message-ID field.
    pub message_id_header: String,
    /// MAIL FROM.
    pub reverse_path: String,
    /// From address.
    pub from_address: String,
    /// From display name.
    pub from_name: String,
    /// Subject.
    pub subject: String,
    /// The client's address.
    pub client_ip: String,
    /// Its HELO name.
    pub helo: String,
    /// When.
    pub received_at: Timestamp,
    /// `model::Facts`; `None` until judged.
    pub facts: Option<serde_json::Value>,
    /// `model::Verdict`; `None` until judged.
    pub verdict: Option<serde_json::Value>,
}

/// The story of one copy.
#[derive(Debug, Clone, Serialize)]
pub struct TraceDetail {
    /// The copy.
    pub copy_id: CopyId,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// The recipient.
    pub recipient: String,
    /// Where it is now.
    pub place: String,
    /// The folder's name, for `other_folder`.
    pub place_detail: String,
    /// What last happened.
    pub last_event: String,
    /// When.
    pub last_event_at: Timestamp,
    /// When it was enqueued or received.
    pub created_at: Timestamp,
    /// What our policy did with it.
    pub disposition: Option<String>,
    /// Which policy.
    pub policy: Option<String>,
    /// `verdict::Decision`.
    pub decision: Option<serde_json::Value>,
    /// The message as sent by us, or as received.
    pub message: TraceMessage,
    /// For a campaign's copy: the message as it arrived here.
    pub received: Option<TraceMessage>,
    /// In the order in which they happened.
    pub events: Vec<TraceEvent>,
}

/// A page of copies, newest first.
///
/// # Errors
/// The store's.
pub async fn search(
    store: &Store,
    organisation_id: OrganisationId,
    filter: &TraceFilter,
) -> Result<TracePage, StoreError> {
    let limit = filter.limit.clamp(1, TRACE_PAGE_MAX);
    let (statement, parameters) = plan(organisation_id, filter, limit);
    let found = store.query(statement, &parameters).await?;
    let rows = found.iter().map(trace_row).collect::<Result<Vec<_>, _>>()?;
    let is_full = i64::try_from(found.len()).is_ok_and(|count| count == limit);
    let next = match found.last().filter(|_| is_full) {
        Some(last) => Some(TraceCursor {
            at: last.at("seek_at")?,
            message_id: last.id("seek_message_id")?,
            copy_id: last.id("id")?,
        }),
        None => None,
    };
    Ok(TracePage { rows, next })
}

/// The statement of the most selective filter, and its parameters.
fn plan(organisation_id: OrganisationId, filter: &TraceFilter, limit: i64) -> (&'static str, Vec<Value>) {
    let lower = |text: &Option<String>| text.as_deref().unwrap_or("").trim().to_lowercase();
    let (recipient, sender) = (lower(&filter.recipient), lower(&filter.sender));
    let words = subject_words(filter.subject.as_deref().unwrap_or(""));
    let from_at = filter.from_at.unwrap_or(Timestamp::from_micros(0));
    let to_at = filter.to_at.unwrap_or(Timestamp::from_micros(i64::MAX));
    let mut parameters = values![
        organisation_id,
        limit,
        &recipient,
        &sender,
        filter.place.map_or("", Place::as_str),
        filter.last_event.map_or("", LastEvent::as_str),
        pattern(filter.subject.as_deref().unwrap_or("")),
        filter.campaign_id.map_or(0, i64::from),
        from_at,
        to_at,
    ]
    .to_vec();
    let before_copy = filter.after.map_or(i64::MAX, |cursor| cursor.copy_id.0).min(first_id_at(to_at));
    let after = filter.after;
    if let Some(header) = &filter.message_id_header {
        let header = header.trim().trim_start_matches('<').trim_end_matches('>');
        parameters.extend(values![format!("<{header}>"), before_copy]);
        return ("gateway.trace_by_header", parameters);
    }
    let by_term = |kind: &str, value: String| {
        let seek = after.map_or((first_id_at(to_at), i64::MAX), |c| (c.message_id.0, c.copy_id.0));
        ("gateway.trace_by_term", [parameters.clone(), values![value, seek.0, seek.1, kind].to_vec()].concat())
    };
    let host = lower(&filter.url_host);
    if !host.is_empty() {
        return by_term(TermKind::UrlHost.as_str(), host);
    }
    let range = values![before_copy, first_id_at(from_at)];
    if !recipient.is_empty() {
        parameters.extend(range);
        return ("gateway.trace_by_recipient", parameters);
    }
    if !sender.is_empty() {
        let seek = after.map_or((to_at, i64::MAX, i64::MAX), |c| (c.at, c.message_id.0, c.copy_id.0));
        parameters.extend(values![seek.0, seek.1, seek.2]);
        return ("gateway.trace_by_sender", parameters);
    }
    // The longest word is the rarest, mostly.
    if let Some(word) = words.into_iter().max_by_key(String::len) {
        return by_term(SUBJECT_WORD_KIND, word);
    }
    parameters.extend(range);
    match filter.place {
        Some(_) => ("gateway.trace_by_place", parameters),
        None => ("gateway.trace_recent", parameters),
    }
}

/// The smallest id that can be made at `at` (ids are made from time), or the largest there is.
fn first_id_at(at: Timestamp) -> i64 {
    let ms = at.ms_since(CopyId(0).made_at()).max(0);
    if ms >= i64::MAX >> ID_SHIFT { i64::MAX } else { ms << ID_SHIFT }
}

/// The words in the order given, as a pattern on the lower-cased subject.
fn pattern(subject: &str) -> String {
    let mut pattern = String::from("%");
    for word in subject.to_lowercase().split_whitespace() {
        for c in word.chars() {
            if matches!(c, '%' | '_' | '!') {
                pattern.push('!');
            }
            pattern.push(c);
        }
        pattern.push('%');
    }
    pattern
}

fn trace_row(row: &Row) -> Result<TraceRow, StoreError> {
    let text = |column: &str| row.text(column).map(str::to_owned);
    let opt_text = |column: &str| row.opt_text(column).map(|text| text.map(str::to_owned));
    Ok(TraceRow {
        copy_id: row.id("id")?,
        message_id: row.id("message_id")?,
        received_message_id: row.opt_id("received_message_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        direction: text("direction")?,
        sender: text("from_address")?,
        sender_name: text("from_name")?,
        reverse_path: text("reverse_path")?,
        recipient: text("recipient")?,
        subject: text("subject")?,
        message_id_header: text("message_id_header")?,
        place: text("place")?,
        place_detail: text("place_detail")?,
        last_event: text("last_event")?,
        last_event_at: row.at("last_event_at")?,
        created_at: row.at("created_at")?,
        disposition: opt_text("disposition")?,
        policy: opt_text("policy")?,
        verdict_class: opt_text("verdict_class")?,
    })
}

/// The story of a copy; `None` when there is no such copy in this organisation.
///
/// # Errors
/// The store's.
pub async fn detail(
    store: &Store,
    organisation_id: OrganisationId,
    copy_id: CopyId,
) -> Result<Option<TraceDetail>, StoreError> {
    let Some(copy) = store.query_one("copy.by_id", &values![copy_id]).await? else { return Ok(None) };
    if copy.id::<OrganisationId>("organisation_id")? != organisation_id {
        return Ok(None);
    }
    let message_id: MessageId = copy.id("message_id")?;
    let Some(sent) = message(store, message_id).await? else { return Ok(None) };
    let received_id: Option<MessageId> = copy.opt_id("received_message_id")?;
    let received = match received_id.filter(|id| *id != message_id) {
        Some(id) => message(store, id).await?,
        None => None,
    };
    let events = store.query("event.of_copy", &values![copy_id]).await?;
    let text = |column: &str| copy.text(column).map(str::to_owned);
    let opt_text = |column: &str| copy.opt_text(column).map(|text| text.map(str::to_owned));
    Ok(Some(TraceDetail {
        copy_id,
        campaign_id: copy.opt_id("campaign_id")?,
        recipient: text("recipient")?,
        place: text("place")?,
        place_detail: text("place_detail")?,
        last_event: text("last_event")?,
        last_event_at: copy.at("last_event_at")?,
        created_at: copy.at("created_at")?,
        disposition: opt_text("disposition")?,
        policy: opt_text("policy")?,
        decision: copy.opt_json("decision")?,
        message: sent,
        received,
        events: events.iter().map(trace_event).collect::<Result<_, _>>()?,
    }))
}

async fn message(store: &Store, id: MessageId) -> Result<Option<TraceMessage>, StoreError> {
    let Some(row) = store.query_one("message.by_id", &values![id]).await? else { return Ok(None) };
    let text = |column: &str| row.text(column).map(str::to_owned);
    Ok(Some(TraceMessage {
        id,
        direction: text("direction")?,
        body_bytes: row.int("body_bytes")?,
        body_sha256: text("body_sha256")?,
        message_id_header: text("message_id_header")?,
        reverse_path: text("reverse_path")?,
        from_address: text("from_address")?,
        from_name: text("from_name")?,
        subject: text("subject")?,
        client_ip: text("client_ip")?,
        helo: text("helo")?,
        received_at: row.at("received_at")?,
        facts: row.opt_json("facts")?,
        verdict: row.opt_json("verdict")?,
    }))
}

fn trace_event(row: &Row) -> Result<TraceEvent, StoreError> {
    let text = |column: &str| row.text(column).map(str::to_owned);
    Ok(TraceEvent {
        id: row.id("id")?,
        kind: text("kind")?,
        place: row.opt_text("place")?.map(str::to_owned),
        place_detail: text("place_detail")?,
        observed_at: row.at("observed_at")?,
        effective_at: row.at("effective_at")?,
        source: text("source")?,
        cause_id: row.opt_int("cause_id")?,
        actor: text("actor")?,
        detail: row.json("detail")?,
    })
}

/// `<at>.<message>.<copy>` in decimal.
impl std::fmt::Display for TraceCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.at.as_micros(), self.message_id, self.copy_id)
    }
}

impl std::str::FromStr for TraceCursor {
    type Err = model::ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse::<i64>().map_err(|_| model::ParseIdError));
        let mut next = || parts.next().unwrap_or(Err(model::ParseIdError));
        let (at, message_id, copy_id) = (Timestamp::from_micros(next()?), MessageId(next()?), CopyId(next()?));
        Ok(TraceCursor { at, message_id, copy_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_an_instant_is_made_at_it() {
        let at = Timestamp::from_micros(1_767_603_600_000_000);
        let first = first_id_at(at);
        assert_eq!(CopyId(first).made_at(), at);
        assert_eq!(CopyId(first - 1).made_at(), at.plus_ms(-1));
        assert_eq!(first_id_at(Timestamp::from_micros(i64::MAX)), i64::MAX);
    }

    #[test]
    fn a_pattern_takes_its_own_signs_as_text() {
        assert_eq!(pattern("50% off_now!"), "%50!%%off!_now!!%");
        assert_eq!(pattern("  "), "%");
    }

    #[test]
    fn cursors_survive_their_text() {
        let cursor = TraceCursor { at: Timestamp::from_micros(5), message_id: MessageId(6), copy_id: CopyId(7) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!("5.6".parse::<TraceCursor>().is_err());
    }
}
