//! The queue as others see it: enqueue, look, hold, try now, delete.

use model::{
    Address, CampaignId, CopyId, DeliveryId, EventKind, MailOptions, MessageId, OrganisationId, PersonId, RcptOptions,
    ReversePath, Timestamp, Whereabouts,
};
use serde::Serialize;
use serde_json::json;
use store::{NewEvent, Op, Row, Store, StoreError, Topic, Tx, values};

use crate::{DeliveryState, OutboundError, RetrySchedule};

/// Rows of one page of [`queue_list`] and [`queue_summary`].
pub const QUEUE_PAGE_MAX: i64 = 1_000;

/// A hand-over to enqueue. Its copy and its message are written by the same transaction (see [`queued_copy_ops`]).
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// From `store.next_id()`.
    pub id: DeliveryId,
    /// Whose.
    pub organisation_id: OrganisationId,
    /// The copy to hand over.
    pub copy_id: CopyId,
    /// Its message, whose body is sent as stored.
    pub message_id: MessageId,
    /// The campaign, if it is one's: its failures are recorded and notify nobody.
    pub campaign_id: Option<CampaignId>,
    /// MAIL FROM; null for notifications.
    pub reverse_path: ReversePath,
    /// RCPT TO.
    pub recipient: Address,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// Not before.
    pub first_try_at: Timestamp,
    /// After this it is given up.
    pub give_up_at: Timestamp,
    /// Enqueued, but paused until its campaign is resumed.
    pub held: bool,
    /// What the sender asked for of the mail; goes along to hosts that know it.
    pub options: MailOptions,
    /// What the sender asked for of this recipient.
    pub rcpt_options: RcptOptions,
    /// What kind of mail it is.
    pub purpose: Purpose,
    /// Whether the sender may be told what became of it. Not when it was not authentic: a notification would hit
    /// somebody else (backscatter).
    pub may_tell: bool,
}

/// What kind of mail a hand-over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Anybody's mail.
    #[default]
    Mail,
    /// A TLS report of ours: it goes out even where TLS fails, and its own results are never reported (RFC 8460 3).
    TlsReport,
}

impl Purpose {
    /// The word in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::Mail => "",
            Purpose::TlsReport => "tls_report",
        }
    }
}

impl NewDelivery {
    /// A hand-over that is due now and given up after the default schedule's time, of no campaign.
    pub fn now(
        store: &Store,
        organisation_id: OrganisationId,
        copy_id: CopyId,
        message_id: MessageId,
        reverse_path: ReversePath,
        recipient: Address,
    ) -> Self {
        let now = store.now();
        NewDelivery {
            id: store.next_id(),
            organisation_id,
            copy_id,
            message_id,
            campaign_id: None,
            reverse_path,
            recipient,
            created_at: now,
            first_try_at: now,
            give_up_at: now.plus_ms(RetrySchedule::default().give_up_ms),
            held: false,
            options: MailOptions::default(),
            rcpt_options: RcptOptions::default(),
            purpose: Purpose::Mail,
            may_tell: true,
        }
    }
}

/// The row of a hand-over. Announce `Topic::Delivery` once it is committed.
pub fn delivery_ops(new: NewDelivery) -> Vec<Op> {
    let state = if new.held { DeliveryState::Held } else { DeliveryState::Due };
    let row = values![
        new.id,
        new.organisation_id,
        new.copy_id,
        new.message_id,
        new.campaign_id,
        new.reverse_path.to_string(),
        new.recipient.to_string(),
        new.recipient.domain().as_str(),
        state.as_str(),
        0_i64,
        new.first_try_at,
        new.give_up_at,
        new.created_at,
        new.rcpt_options.notify,
        new.rcpt_options.orcpt,
        new.options.ret,
        new.options.envid,
        new.options.require_tls,
        new.purpose.as_str(),
        new.may_tell,
    ];
    vec![Op::Insert("delivery.insert", row.to_vec())]
}

/// The copy of a hand-over, born by its `queued` event, on its way.
pub fn queued_copy_ops(new: &NewDelivery, person_id: Option<PersonId>) -> Vec<Op> {
    let born = Whereabouts::born(EventKind::Queued, None);
    let at = new.created_at;
    let copy = values![
        new.copy_id,
        new.organisation_id,
        new.message_id,
        None::<MessageId>,
        new.campaign_id,
        person_id,
        new.recipient.key(),
        born.place.as_str(),
        "",
        born.last_event.as_str(),
        at,
        at,
        at,
        None::<&str>,
        None::<&str>,
        None::<&str>,
        at,
    ];
    let event = NewEvent::now(new.organisation_id, new.copy_id, EventKind::Queued, "outbound", at);
    vec![Op::Birth { copy: copy.to_vec(), event }]
}

/// One line of the queue's summary: a domain in one state.
#[derive(Debug, Clone, Serialize)]
pub struct QueueLine {
    /// The recipients' domain.
    pub domain: String,
    /// `due`, `leased` or `held`.
    pub state: String,
    /// How many hand-overs.
    pub count: i64,
    /// When the oldest was enqueued.
    pub oldest_at: Timestamp,
    /// The earliest next try.
    pub next_try_at: Timestamp,
    /// What the host said last to the newest of them; empty before the first try.
    pub last_reply: String,
}

/// One hand-over in the queue.
#[derive(Debug, Clone, Serialize)]
pub struct QueueItem {
    /// Its id.
    pub id: DeliveryId,
    /// The copy.
    pub copy_id: CopyId,
    /// Its message.
    pub message_id: MessageId,
    /// Its campaign, if any.
    pub campaign_id: Option<CampaignId>,
    /// MAIL FROM, empty when null.
    pub reverse_path: String,
    /// RCPT TO.
    pub recipient: String,
    /// Its domain.
    pub domain: String,
    /// `due`, `leased` or `held`.
    pub state: String,
    /// Tries so far.
    pub attempt_count: i64,
    /// When it is tried next.
    pub next_try_at: Timestamp,
    /// When it is given up.
    pub give_up_at: Timestamp,
    /// What the host said last.
    pub last_reply: String,
    /// When it was enqueued.
    pub created_at: Timestamp,
}

/// Which part of the queue.
#[derive(Debug, Clone, Default)]
pub struct QueueFilter {
    /// One domain.
    pub domain: Option<String>,
    /// One state.
    pub state: Option<DeliveryState>,
    /// After this id (the last one of the page before).
    pub after: Option<DeliveryId>,
    /// Rows wanted, at most [`QUEUE_PAGE_MAX`].
    pub limit: i64,
}

/// The queue of an organisation by domain and state; what is done or failed has left it.
///
/// # Errors
/// The store's.
pub async fn queue_summary(store: &Store, organisation_id: OrganisationId) -> Result<Vec<QueueLine>, StoreError> {
    let rows = store.query("delivery.summary", &values![organisation_id, QUEUE_PAGE_MAX]).await?;
    let line = |row: &Row| {
        Ok(QueueLine {
            domain: row.text("recipient_domain")?.to_owned(),
            state: row.text("state")?.to_owned(),
            count: row.int("n")?,
            oldest_at: row.at("oldest_at")?,
            next_try_at: row.at("next_try_at")?,
            last_reply: row.text("last_reply")?.to_owned(),
        })
    };
    rows.iter().map(line).collect()
}

/// The hand-overs in the queue, oldest first, page by page.
///
/// # Errors
/// The store's.
pub async fn queue_list(
    store: &Store,
    organisation_id: OrganisationId,
    filter: &QueueFilter,
) -> Result<Vec<QueueItem>, StoreError> {
    let domain = filter.domain.as_deref().unwrap_or("").to_lowercase();
    let state = filter.state.map_or("", DeliveryState::as_str);
    let after = filter.after.map_or(0, i64::from);
    let limit = filter.limit.clamp(1, QUEUE_PAGE_MAX);
    let rows = store.query("delivery.list", &values![organisation_id, domain, state, after, limit]).await?;
    rows.iter().map(item).collect()
}

pub(crate) fn item(row: &Row) -> Result<QueueItem, StoreError> {
    Ok(QueueItem {
        id: row.id("id")?,
        copy_id: row.id("copy_id")?,
        message_id: row.id("message_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        reverse_path: row.text("reverse_path")?.to_owned(),
        recipient: row.text("recipient")?.to_owned(),
        domain: row.text("recipient_domain")?.to_owned(),
        state: row.text("state")?.to_owned(),
        attempt_count: row.int("attempt_count")?,
        next_try_at: row.at("next_try_at")?,
        give_up_at: row.at("give_up_at")?,
        last_reply: row.text("last_reply")?.to_owned(),
        created_at: row.at("created_at")?,
    })
}

/// Pauses one hand-over. One that is being tried right now ends its try first.
///
/// # Errors
/// [`OutboundError::NotInQueue`] when it is done, failed or held already.
pub async fn hold(store: &Store, organisation_id: OrganisationId, id: DeliveryId) -> Result<(), OutboundError> {
    let touched = store.execute("delivery.hold", &values![organisation_id, id]).await?;
    store.bus().announce(Topic::Delivery, id);
    found(touched, id)
}

/// Makes one hand-over due now, also one that is held.
///
/// # Errors
/// [`OutboundError::NotInQueue`] when it is done, failed or being tried.
pub async fn retry_now(store: &Store, organisation_id: OrganisationId, id: DeliveryId) -> Result<(), OutboundError> {
    let touched = store.execute("delivery.retry_now", &values![organisation_id, id, store.now()]).await?;
    store.bus().announce(Topic::Delivery, id);
    found(touched, id)
}

/// Takes one hand-over out of the queue: its copy is not received, with `actor` and `reason` as evidence.
///
/// # Errors
/// [`OutboundError::NotInQueue`] when it is done, failed or being tried.
pub async fn delete(
    store: &Store,
    organisation_id: OrganisationId,
    id: DeliveryId,
    actor: &str,
    reason: &str,
) -> Result<(), OutboundError> {
    let mut tx = store.begin().await?;
    let row = tx.query_one("delivery.by_id", &values![organisation_id, id]).await?;
    let delivery = row.as_ref().map(item).transpose()?.ok_or(OutboundError::NotInQueue(id))?;
    let touched = tx.execute("delivery.delete", &values![organisation_id, id, "deleted from the queue"]).await?;
    found(touched, id)?;
    let mut event = NewEvent::now(organisation_id, delivery.copy_id, EventKind::Dropped, "outbound", store.now());
    event.actor = actor.to_owned();
    event.detail = json!({ "cause": "deleted from the queue", "reason": reason });
    tx.append_events(&[event]).await?;
    tx.commit().await?;
    store.bus().announce(Topic::Ledger, delivery.campaign_id.map_or(0, i64::from));
    Ok(())
}

fn found(touched: u64, id: DeliveryId) -> Result<(), OutboundError> {
    if touched == 0 { Err(OutboundError::NotInQueue(id)) } else { Ok(()) }
}

/// Pauses all hand-overs of a campaign that are not ended; gives how many. Those being tried end their try first.
/// Announce `Topic::Delivery` after the commit, so that the agent puts back what it has not begun.
///
/// # Errors
/// The store's.
pub async fn hold_campaign(tx: &mut Tx, campaign_id: CampaignId) -> Result<u64, StoreError> {
    tx.execute("delivery.hold_campaign", &values![campaign_id]).await
}

/// Resumes what [`hold_campaign`] paused; gives how many. Announce `Topic::Delivery` after the commit.
///
/// # Errors
/// The store's.
pub async fn resume_campaign(tx: &mut Tx, campaign_id: CampaignId) -> Result<u64, StoreError> {
    tx.execute("delivery.resume_campaign", &values![campaign_id]).await
}

/// How many hand-overs of a campaign are in each state; a state without any is left out.
///
/// # Errors
/// The store's.
pub async fn campaign_counts(store: &Store, campaign_id: CampaignId) -> Result<Vec<(DeliveryState, i64)>, StoreError> {
    let rows = store.query("delivery.campaign_counts", &values![campaign_id]).await?;
    let count = |row: &Row| {
        let word = row.text("state")?;
        let state = DeliveryState::parse(word)
            .ok_or_else(|| StoreError::Column { column: "state".into(), problem: format!("unknown word {word:?}") })?;
        Ok((state, row.int("n")?))
    };
    rows.iter().map(count).collect()
}
