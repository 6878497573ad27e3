//! What people do with the queue: look at a selection, pause it, try it now, take it out. Every act says what it touched,
//! stands in the audit log in the same transaction, and wakes the agent, here or in another process by its rows.

use std::collections::HashSet;

use model::{AccountId, AuditId, CampaignId, CopyId, DeliveryId, EventKind, OrganisationId, Place, SqlText, Timestamp};
use serde::Serialize;
use serde_json::json;
use store::{NewEvent, Row, Store, StoreError, Topic, Tx, Value, values};

use crate::limits::LimitState;
use crate::queue::QUEUE_PAGE_MAX;
use crate::{DeliveryState, board};

/// Hand-overs that one deletion takes out at most; a larger selection is left with its rest, and the answer says so.
pub const DELETE_MAX: i64 = 10_000;
/// Copies whose end is written at a time.
const DELETE_BATCH: i64 = 500;
/// Labels of a host name that tell an organisation's hosts apart from others'.
const GROUP_LABELS: usize = 2;

/// Which hand-overs; what is `None` lets everything through. Only what still waits is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One hand-over.
    pub id: Option<DeliveryId>,
    /// The recipients' domain.
    pub domain: Option<String>,
    /// The organisation of the mail exchangers that the last try went to.
    pub mx_group: Option<String>,
    /// MAIL FROM, or the From address.
    pub sender: Option<String>,
    /// A campaign.
    pub campaign_id: Option<CampaignId>,
    /// A state.
    pub state: Option<DeliveryState>,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueAct {
    /// Pause. What is being tried ends its try first.
    Hold,
    /// Try now, also what is paused (but not the copies of a paused campaign), and also where hosts are being left alone.
    Retry,
    /// Take out: the copies are not received, and say so.
    Delete,
    /// Try now whatever waits for its time, also where hosts are being left alone; what is paused stays paused.
    Flush,
}

/// Who acts, for the audit log.
#[derive(Debug, Clone, Copy)]
pub struct QueueActor<'a> {
    /// The account, if it is one.
    pub account_id: Option<AccountId>,
    /// The login, or who else.
    pub name: &'a str,
    /// Why, in the actor's words; may be empty.
    pub reason: &'a str,
}

/// A selection in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelectionCounts {
    /// All.
    pub count: i64,
    /// Waiting for their time.
    pub due_count: i64,
    /// Being tried right now: they cannot be deleted or tried.
    pub leased_count: i64,
    /// Paused.
    pub held_count: i64,
    /// Domains among them.
    pub domain_count: i64,
    /// Campaigns among them.
    pub campaign_count: i64,
    /// When the oldest was enqueued.
    pub oldest_at: Option<Timestamp>,
}

/// What an act did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Acted {
    /// Hand-overs that it changed.
    pub changed_count: i64,
    /// Hand-overs of the selection that it left as they are: being tried, paused with their campaign, too many at once.
    pub left_count: i64,
    /// MX groups that were being left alone and are tried now all the same.
    pub lifted: Vec<String>,
}

/// The queue at one MX group.
#[derive(Debug, Clone, Serialize)]
pub struct QueueGroup {
    /// Its name: the exchangers' organisation, or the domain before the first try.
    pub mx_group: String,
    /// How many hand-overs.
    pub count: i64,
    /// Waiting for their time.
    pub due_count: i64,
    /// Being tried.
    pub leased_count: i64,
    /// Paused.
    pub held_count: i64,
    /// Domains that lead there.
    pub domain_count: i64,
    /// When the oldest was enqueued.
    pub oldest_at: Timestamp,
    /// The earliest next try of what waits.
    pub next_try_at: Option<Timestamp>,
    /// What a host of it said last; empty before the first try.
    pub last_reply: String,
}

/// One hand-over as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct QueueEntry {
    /// The hand-over.
    #[serde(flatten)]
    pub item: crate::QueueItem,
    /// Its MX group.
    pub mx_group: String,
    /// The From address.
    pub from_address: String,
    /// The subject.
    pub subject: String,
}

impl QueueAct {
    /// The word in the audit log and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            QueueAct::Hold => "hold",
            QueueAct::Retry => "retry",
            QueueAct::Delete => "delete",
            QueueAct::Flush => "flush",
        }
    }
}

impl Selection {
    fn values(&self, organisation_id: OrganisationId) -> Vec<Value> {
        let text = |part: &Option<String>| SqlText::new(part.as_deref().unwrap_or("")).to_lower();
        values![
            organisation_id,
            text(&self.domain),
            text(&self.mx_group),
            text(&self.sender),
            self.campaign_id.map_or(0, i64::from),
            self.state.map_or("", DeliveryState::as_str),
            self.id.map_or(0, i64::from),
        ]
        .to_vec()
    }

    /// In words, for the audit log: `domain fabrikam.example, held`.
    pub fn words(&self) -> String {
        let parts = [
            self.id.map(|id| format!("hand-over {id}")),
            self.domain.as_ref().map(|domain| format!("domain {domain}")),
            self.mx_group.as_ref().map(|group| format!("MX group {group}")),
            self.sender.as_ref().map(|sender| format!("sender {sender}")),
            self.campaign_id.map(|id| format!("campaign {id}")),
            self.state.map(|state| state.to_string()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "the whole queue".into() } else { parts.join(", ") }
    }
}

/// The queue by MX group, the largest first, at most [`QUEUE_PAGE_MAX`].
///
/// # Errors
/// The store's.
pub async fn queue_groups(store: &Store, organisation_id: OrganisationId) -> Result<Vec<QueueGroup>, StoreError> {
    let rows = store.query("queue.groups", &values![organisation_id, QUEUE_PAGE_MAX]).await?;
    let group = |row: &Row| {
        Ok(QueueGroup {
            mx_group: row.text("mx_group")?.to_owned(),
            count: row.int("n")?,
            due_count: row.int("due_count")?,
            leased_count: row.int("leased_count")?,
            held_count: row.int("held_count")?,
            domain_count: row.int("domain_count")?,
            oldest_at: row.at("oldest_at")?,
            next_try_at: row.opt_at("next_try_at")?,
            last_reply: row.text("last_reply")?.to_owned(),
        })
    };
    rows.iter().map(group).collect()
}

/// How much of the queue is in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTotal {
    /// The state.
    pub state: DeliveryState,
    /// How many hand-overs.
    pub count: i64,
    /// When the oldest was enqueued.
    pub oldest_at: Timestamp,
}

/// The queue in numbers, one for each state that has any.
///
/// # Errors
/// The store's.
pub async fn queue_totals(store: &Store, organisation_id: OrganisationId) -> Result<Vec<QueueTotal>, StoreError> {
    let total = |row: &Row| {
        let word = row.text("state")?;
        let state = DeliveryState::parse(word)
            .ok_or_else(|| StoreError::Column { column: "state".into(), problem: format!("unknown word {word:?}") })?;
        Ok(QueueTotal { state, count: row.int("n")?, oldest_at: row.at("oldest_at")? })
    };
    store.query("queue.totals", &values![organisation_id]).await?.iter().map(total).collect()
}

/// The hand-overs of a selection, oldest first; `after` is the last one of the page before.
///
/// # Errors
/// The store's.
pub async fn queue_entries(
    store: &Store,
    organisation_id: OrganisationId,
    selection: &Selection,
    after: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<QueueEntry>, StoreError> {
    let mut of = selection.values(organisation_id);
    of.extend(values![after.map_or(0, i64::from), limit.clamp(1, QUEUE_PAGE_MAX)]);
    let entry = |row: &Row| {
        Ok(QueueEntry {
            item: crate::queue::item(row)?,
            mx_group: row.text("mx_group")?.to_owned(),
            from_address: row.text("from_address")?.to_owned(),
            subject: row.text("subject")?.to_owned(),
        })
    };
    store.query("queue.list", &of).await?.iter().map(entry).collect()
}

/// What a selection holds now: the preview of an act.
///
/// # Errors
/// The store's.
pub async fn count(
    store: &Store,
    organisation_id: OrganisationId,
    selection: &Selection,
) -> Result<SelectionCounts, StoreError> {
    let row = store.query_one("queue.count", &selection.values(organisation_id)).await?;
    counts(row.as_ref())
}

fn counts(row: Option<&Row>) -> Result<SelectionCounts, StoreError> {
    let int = |column| row.map_or(Ok(0), |row| row.int(column));
    Ok(SelectionCounts {
        count: int("n")?,
        due_count: int("due_count")?,
        leased_count: int("leased_count")?,
        held_count: int("held_count")?,
        domain_count: int("domain_count")?,
        campaign_count: int("campaign_count")?,
        oldest_at: row.map_or(Ok(None), |row| row.opt_at("oldest_at"))?,
    })
}

/// Does something to a selection: rows, events and the audit record in one transaction.
///
/// # Errors
/// The store's; nothing was done then.
pub async fn act(
    store: &Store,
    organisation_id: OrganisationId,
    selection: &Selection,
    act: QueueAct,
    actor: &QueueActor<'_>,
) -> Result<Acted, StoreError> {
    let (of, now) = (selection.values(organisation_id), store.now());
    let with_now = [of.clone(), values![now].to_vec()].concat();
    let paused = paused(store).await?;
    let mut tx = store.begin().await?;
    let before = counts(tx.query_one("queue.count", &of).await?.as_ref())?;
    let mut campaigns = Vec::new();
    let touched = match act {
        QueueAct::Hold => tx.execute("queue.hold", &of).await?,
        QueueAct::Retry => tx.execute("queue.retry", &with_now).await?,
        QueueAct::Flush => tx.execute("queue.flush", &with_now).await?,
        QueueAct::Delete => delete(&mut tx, organisation_id, &of, actor, &mut campaigns).await?,
    };
    let changed_count = i64::try_from(touched).unwrap_or(i64::MAX);
    let lifted = match act {
        QueueAct::Retry | QueueAct::Flush => lifted(&mut tx, organisation_id, now, &paused).await?,
        QueueAct::Hold | QueueAct::Delete => Vec::new(),
    };
    let acted = Acted { changed_count, left_count: (before.count - changed_count).max(0), lifted };
    let audit: AuditId = store.next_id();
    let row = values![
        audit,
        organisation_id,
        actor.account_id,
        now,
        format!("queue.{}", act.as_str()),
        SqlText::new(&selection.words()),
        SqlText::new(actor.reason),
        &json!({
            "by": actor.name, "changed_count": changed_count, "left_count": acted.left_count, "lifted": acted.lifted,
        }),
    ];
    tx.execute("audit.insert", &row).await?;
    tx.commit().await?;
    store.bus().announce(Topic::Delivery, 0_i64);
    campaigns.sort_unstable();
    campaigns.dedup();
    for campaign in campaigns {
        store.bus().announce(Topic::Ledger, campaign);
    }
    Ok(acted)
}

/// The MX groups that a running process leaves alone now.
async fn paused(store: &Store) -> Result<HashSet<String>, StoreError> {
    let now = board::limits_now(store).await?;
    Ok(now.into_iter().filter(|now| now.line.state == LimitState::Paused).map(|now| now.line.mx_group).collect())
}

/// Those of them that something asked for now goes to.
async fn lifted(
    tx: &mut Tx,
    organisation_id: OrganisationId,
    asked_at: Timestamp,
    paused: &HashSet<String>,
) -> Result<Vec<String>, StoreError> {
    if paused.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx.query("queue.asked_groups", &values![organisation_id, asked_at, QUEUE_PAGE_MAX]).await?;
    let groups: Vec<&str> = rows.iter().map(|row| row.text("mx_group")).collect::<Result<_, _>>()?;
    let mut lifted: Vec<String> = groups.into_iter().filter(|g| paused.contains(*g)).map(str::to_owned).collect();
    lifted.sort_unstable();
    Ok(lifted)
}

/// Takes hand-overs out, and writes down what that means for their copies.
async fn delete(
    tx: &mut Tx,
    organisation_id: OrganisationId,
    of: &[Value],
    actor: &QueueActor<'_>,
    campaigns: &mut Vec<i64>,
) -> Result<u64, StoreError> {
    const WORDS: &str = "taken out of the queue";
    let mut left = DELETE_MAX;
    let mut count = 0;
    while left > 0 {
        let with = [of.to_vec(), values![WORDS, left.min(DELETE_BATCH)].to_vec()].concat();
        let rows = tx.query("queue.delete", &with).await?;
        if rows.is_empty() {
            break;
        }
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            campaigns.push(row.opt_int("campaign_id")?.unwrap_or(0));
            events.extend(ended(tx, organisation_id, row.id("copy_id")?, actor, WORDS).await?);
        }
        tx.append_events(&events).await?;
        count += rows.len() as u64;
        left -= i64::try_from(rows.len()).unwrap_or(left);
    }
    Ok(count)
}

/// The event of a copy that is not tried any more. What is known to have arrived stays where it is; where a try ended
/// unclearly, nobody can say that it did not arrive.
async fn ended(
    tx: &mut Tx,
    organisation_id: OrganisationId,
    copy_id: CopyId,
    actor: &QueueActor<'_>,
    words: &str,
) -> Result<Option<NewEvent>, StoreError> {
    let Some(now) = tx.whereabouts(copy_id).await? else { return Ok(None) };
    if !matches!(now.place, Place::OnItsWay | Place::Accepted | Place::Unknown) {
        return Ok(None);
    }
    let is_unclear = tx.query_one("queue.may_be_double", &values![copy_id]).await?.is_some();
    let at = tx.store().now();
    let mut event = NewEvent::now(organisation_id, copy_id, EventKind::Dropped, "outbound", at);
    event.place = is_unclear.then_some(Place::Unknown);
    event.actor = actor.name.to_owned();
    let sentence =
        if is_unclear { "taken out of the queue; a host may have it from a try that ended unclearly" } else { words };
    event.detail = json!({ "cause": words, "sentence": sentence, "reason": actor.reason });
    Ok(Some(event))
}

/// The group of the host of a try (`mx1.mail.example.org [192.0.2.1]:25`): the organisation that its name is under, or
/// the address when it has no name. Empty when no host was reached.
pub(crate) fn group_of(host: &str) -> String {
    let name = host.split(' ').next().unwrap_or("").trim_end_matches('.').to_ascii_lowercase();
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let name = literal.map_or(name.as_str(), |inner| inner.strip_prefix("ipv6:").unwrap_or(inner)).to_owned();
    if name.parse::<std::net::IpAddr>().is_ok() {
        return name;
    }
    let labels: Vec<&str> = name.split('.').collect();
    // `mail.example.co.uk`: a country's second level is no organisation.
    let is_short = |at: usize| labels.len().checked_sub(at).and_then(|i| labels.get(i)).is_some_and(|l| l.len() <= 3);
    let keep =
        if labels.len() > GROUP_LABELS && is_short(1) && is_short(2) && labels.last().is_some_and(|l| l.len() == 2) {
            GROUP_LABELS + 1
        } else {
            GROUP_LABELS
        };
    labels[labels.len().saturating_sub(keep)..].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_their_group() {
        let check = |host: &str, want: &str| assert_eq!(group_of(host), want, "{host}");
        check("gmail-smtp-in.l.google.example [192.0.2.1]:25", "google.example");
        check("mx1.mail.example.co.uk [192.0.2.1]:25", "example.co.uk");
        check("127.0.0.1 [127.0.0.1]:2525", "127.0.0.1");
        check("MX.Fabrikam.Example. [192.0.2.1]:25", "fabrikam.example");
        check("localhost [::1]:25", "localhost");
        check("[192.0.2.7] [192.0.2.7]:25", "192.0.2.7");
        check("[ipv6:2001:db8::7] [2001:db8::7]:25", "2001:db8::7");
        check("", "");
    }

    #[test]
    fn selections_in_words() {
        assert_eq!(Selection::default().words(), "the whole queue");
        let some =
            Selection { domain: Some("x.example".into()), state: Some(DeliveryState::Held), ..Selection::default() };
        assert_eq!(some.words(), "domain x.example, held");
    }
}
