//! Looking at what is held: lists, numbers beside the filters, details, previews.

use std::collections::BTreeMap;

use model::{
    CampaignId, CopyId, Facts, MessageId, PersonId, QuarantineItemId, QuarantineReason, ReleaseStatus, SqlText,
    Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use store::{BodyRef, Row, StoreError, Value, values};
use verdict::QuarantineTag;

use crate::preview::{SafePreview, safe_preview};
use crate::selection::Cell;
use crate::{Quarantine, QuarantineError};

/// Most items of a page.
pub const PAGE_MAX: usize = 200;
/// Campaigns that the facets name.
const CAMPAIGNS_MAX: i64 = 50;

/// How a copy came into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// Held on arrival.
    Arrival,
    /// Pulled back after arrival.
    Purge,
}

impl HeldBy {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            HeldBy::Arrival => "arrival",
            HeldBy::Purge => "purge",
        }
    }

    /// The value for a word.
    pub fn parse(text: &str) -> Option<Self> {
        [HeldBy::Arrival, HeldBy::Purge].into_iter().find(|by| by.as_str() == text)
    }
}

/// Which items; everything that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The release status.
    pub status: Option<ReleaseStatus>,
    /// Why it is held.
    pub reason: Option<QuarantineReason>,
    /// On arrival or after.
    pub held_by: Option<HeldBy>,
    /// Of this campaign.
    pub campaign_id: Option<CampaignId>,
    /// Brought here by this change.
    pub cause_id: Option<i64>,
    /// The recipient's address.
    pub recipient: Option<String>,
    /// The sender's address (From).
    pub sender: Option<String>,
    /// Words of the subject, in any case.
    pub subject: Option<String>,
    /// Held from this instant on.
    pub from_at: Option<Timestamp>,
    /// Held before this instant.
    pub before_at: Option<Timestamp>,
}

impl Filter {
    /// The values $1 to $11 of the statements that filter.
    fn values(&self, organisation_id: model::OrganisationId) -> Vec<Value> {
        let lower = |text: &Option<String>| text.as_deref().map(str::to_lowercase).unwrap_or_default();
        let subject = self.subject.as_deref().map(like).unwrap_or_default();
        values![
            organisation_id,
            self.status.map_or("", ReleaseStatus::as_str),
            self.reason.map_or("", QuarantineReason::as_str),
            self.held_by.map_or("", HeldBy::as_str),
            self.campaign_id.map_or(0, |id| id.0),
            self.cause_id.unwrap_or(0),
            lower(&self.recipient),
            lower(&self.sender),
            subject,
            self.from_at.map_or(i64::MIN, Timestamp::as_micros),
            self.before_at.map_or(i64::MAX, Timestamp::as_micros)
        ]
        .to_vec()
    }
}

/// A pattern that finds the text anywhere; its own wildcards are taken literally.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in SqlText::new(text).to_lower().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A held copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: QuarantineItemId,
    /// The copy.
    pub copy_id: CopyId,
    /// The message as received.
    pub message_id: MessageId,
    /// The campaign, for one of our own.
    pub campaign_id: Option<CampaignId>,
    /// The recipient.
    pub recipient: String,
    /// The sender (From).
    pub sender: String,
    /// The subject.
    pub subject: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// On arrival or after.
    pub held_by: HeldBy,
    /// Why.
    pub reason: QuarantineReason,
    /// The policy that held it.
    pub policy_name: String,
    /// Why, as a sentence.
    pub explanation: String,
    /// What its recipient may do, bound when it was held: bits of [`verdict::QuarantineTag`].
    pub permissions: u8,
    /// Where its release stands.
    pub status: ReleaseStatus,
    /// Where it lay and goes back to, for what was pulled back.
    pub snapshot: Option<mailbox::Snapshot>,
    /// The change that brought it here.
    pub cause_id: Option<i64>,
    /// Since when.
    pub held_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Who asked, or empty.
    pub requested_by: String,
    /// Who decided, or empty.
    pub decided_by: String,
    /// When.
    pub decided_at: Option<Timestamp>,
}

impl Item {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let bits = row.int("permissions")?;
        Ok(Item {
            id: row.id("id")?,
            copy_id: row.id("copy_id")?,
            message_id: row.id("message_id")?,
            campaign_id: row.opt_id("campaign_id")?,
            recipient: row.text("recipient")?.to_owned(),
            sender: row.text("sender")?.to_owned(),
            subject: row.text("subject")?.to_owned(),
            size_bytes: row.int("size_bytes")?,
            held_by: word(row, "held_by", HeldBy::parse)?,
            reason: word(row, "reason", QuarantineReason::parse)?,
            policy_name: row.text("policy_name")?.to_owned(),
            explanation: row.text("explanation")?.to_owned(),
            permissions: u8::try_from(bits).unwrap_or(0),
            status: word(row, "status", ReleaseStatus::parse)?,
            snapshot: row.opt_json("snapshot")?,
            cause_id: row.opt_int("cause_id")?,
            held_at: row.at("held_at")?,
            expires_at: row.at("expires_at")?,
            requested_by: row.text("requested_by")?.to_owned(),
            decided_by: row.text("decided_by")?.to_owned(),
            decided_at: row.opt_at("decided_at")?,
        })
    }

    /// Whether its recipient may release it.
    pub fn recipient_may_release(&self) -> bool {
        self.grants(QuarantineTag::RELEASE)
    }

    /// Whether its recipient may ask for its release.
    pub fn recipient_may_request(&self) -> bool {
        self.grants(QuarantineTag::REQUEST_RELEASE)
    }

    /// Whether its recipient may look at it.
    pub fn recipient_may_preview(&self) -> bool {
        self.grants(QuarantineTag::PREVIEW)
    }

    /// Nobody frees malware or high confidence phish for themselves, whatever the bits say.
    fn grants(&self, bit: u8) -> bool {
        self.permissions & bit != 0 && !(bit == QuarantineTag::RELEASE && self.reason.needs_analyst())
    }
}

pub(crate) fn word<T>(row: &Row, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let text = row.text(column)?;
    parse(text).ok_or_else(|| StoreError::Column { column: column.into(), problem: format!("unknown word {text:?}") })
}

/// A held copy with why and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// The item.
    pub item: Item,
    /// What it was judged as on arrival.
    pub verdict: Option<Verdict>,
    /// What was observed.
    pub facts: Option<Facts>,
    /// Name of the From field.
    pub from_name: String,
    /// MAIL FROM; empty for the null path.
    pub reverse_path: String,
    /// The client that brought it.
    pub client_ip: String,
    /// The Message-ID header field.
    pub message_id_header: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// Where the body is.
    pub body: BodyRef,
}

impl Detail {
    /// The folder it goes back to, or the inbox, by name.
    pub fn returns_to(&self) -> &str {
        self.item.snapshot.as_ref().map_or("Inbox", |snapshot| &snapshot.folder)
    }
}

/// Numbers beside the filters: how many items each value would give under the other filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// Under all filters.
    pub total_count: i64,
    /// By status.
    pub status: BTreeMap<ReleaseStatus, i64>,
    /// By reason.
    pub reason: BTreeMap<QuarantineReason, i64>,
    /// By way of holding.
    pub held_by: BTreeMap<HeldBy, i64>,
    /// By campaign, the largest first.
    pub campaign: Vec<(CampaignId, i64)>,
}

impl Facets {
    fn of(cells: &[Cell], filter: &Filter) -> Facets {
        let mut facets = Facets::default();
        for cell in cells {
            let status = filter.status.is_none_or(|wanted| wanted == cell.status);
            let reason = filter.reason.is_none_or(|wanted| wanted == cell.reason);
            let held_by = filter.held_by.is_none_or(|wanted| wanted == cell.held_by);
            if status && reason && held_by {
                facets.total_count += cell.count;
            }
            if reason && held_by {
                *facets.status.entry(cell.status).or_default() += cell.count;
            }
            if status && held_by {
                *facets.reason.entry(cell.reason).or_default() += cell.count;
            }
            if status && reason {
                *facets.held_by.entry(cell.held_by).or_default() += cell.count;
            }
        }
        facets
    }
}

impl Quarantine {
    /// A page of items, newest first. `after`: the last item of the page before.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<QuarantineItemId>,
        limit: usize,
    ) -> Result<Vec<Item>, QuarantineError> {
        let mut values = filter.values(self.organisation_id());
        values.push(Value::from(after.map_or(i64::MAX, |id| id.0)));
        values.push(page_size(limit));
        let rows = self.store().query("quarantine.list", &values).await?;
        Ok(rows.iter().map(Item::from_row).collect::<Result<_, _>>()?)
    }

    /// The numbers beside the filters.
    pub async fn facets(&self, filter: &Filter) -> Result<Facets, QuarantineError> {
        let open = Filter { status: None, reason: None, held_by: None, ..filter.clone() };
        let rows = self.store().query("quarantine.facets", &open.values(self.organisation_id())).await?;
        let cells: Vec<Cell> = rows.iter().map(Cell::from_row).collect::<Result<_, _>>()?;
        let mut facets = Facets::of(&cells, filter);
        let mut values = Filter { campaign_id: None, ..filter.clone() }.values(self.organisation_id());
        values.push(Value::from(CAMPAIGNS_MAX));
        for row in self.store().query("quarantine.campaigns", &values).await? {
            facets.campaign.push((row.id("campaign_id")?, row.int("item_count")?));
        }
        Ok(facets)
    }

    /// The newest item of a copy, if it was ever held.
    pub async fn of_copy(&self, copy_id: CopyId) -> Result<Option<QuarantineItemId>, QuarantineError> {
        let row = self.store().query_one("quarantine.of_copy", &values![self.organisation_id(), copy_id]).await?;
        Ok(row.map(|row| row.id("id")).transpose()?)
    }

    /// One item in full.
    ///
    /// # Errors
    /// [`QuarantineError::NotFound`].
    pub async fn detail(&self, id: QuarantineItemId) -> Result<Detail, QuarantineError> {
        let row = self.store().query_one("quarantine.detail", &values![self.organisation_id(), id]).await?;
        let row = row.ok_or(QuarantineError::NotFound)?;
        Ok(Detail {
            item: Item::from_row(&row)?,
            verdict: row.opt_json("verdict")?,
            facts: row.opt_json("facts")?,
            from_name: row.text("from_name")?.to_owned(),
            reverse_path: row.text("reverse_path")?.to_owned(),
            client_ip: row.text("client_ip")?.to_owned(),
            message_id_header: row.text("message_id_header")?.to_owned(),
            received_at: row.at("received_at")?,
            body: BodyRef::from_row(&row)?,
        })
    }

    /// The message made safe to look at.
    ///
    /// # Errors
    /// [`QuarantineError::NotFound`]; the store's when the body cannot be read.
    pub async fn preview(&self, id: QuarantineItemId) -> Result<SafePreview, QuarantineError> {
        let detail = self.detail(id).await?;
        let raw = self.store().body(&detail.body).await?;
        let facts = detail.facts.unwrap_or_default();
        tokio::task::spawn_blocking(move || safe_preview(&raw, &facts))
            .await
            .map_err(|error| QuarantineError::Judging(error.to_string()))
    }

    /// The header section as received.
    ///
    /// # Errors
    /// As [`Quarantine::preview`].
    pub async fn headers(&self, id: QuarantineItemId) -> Result<String, QuarantineError> {
        let detail = self.detail(id).await?;
        let raw = self.store().body(&detail.body).await?;
        Ok(message::preview::read(&raw, &message::Limits::default()).header)
    }

    /// A person's own held copies that their quarantine policies show, newest first.
    pub async fn own(
        &self,
        person_id: PersonId,
        after: Option<QuarantineItemId>,
        limit: usize,
    ) -> Result<Vec<Item>, QuarantineError> {
        let after = after.map_or(i64::MAX, |id| id.0);
        let values = [self.organisation_id().into(), person_id.into(), Value::from(after), page_size(limit)];
        let rows = self.store().query("quarantine.own", &values).await?;
        Ok(rows.iter().map(Item::from_row).collect::<Result<_, _>>()?)
    }

    /// The preview of one's own held copy.
    ///
    /// # Errors
    /// [`QuarantineError::NotFound`] for what one may not know of; [`QuarantineError::NotGranted`].
    pub async fn own_preview(&self, person_id: PersonId, id: QuarantineItemId) -> Result<SafePreview, QuarantineError> {
        if !self.own_item(person_id, id).await?.recipient_may_preview() {
            return Err(QuarantineError::NotGranted("look at it"));
        }
        self.preview(id).await
    }

    pub(crate) async fn own_item(&self, person_id: PersonId, id: QuarantineItemId) -> Result<Item, QuarantineError> {
        let key = values![self.organisation_id(), person_id, id];
        self.store().query_one("quarantine.own_one", &key).await?.ok_or(QuarantineError::NotFound)?;
        Ok(self.detail(id).await?.item)
    }
}

fn page_size(limit: usize) -> Value {
    Value::from(i64::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facets_leave_their_own_filter_out() {
        let cell = |status, reason, count| Cell { status, held_by: HeldBy::Arrival, reason, count };
        let cells = [
            cell(ReleaseStatus::NeedsReview, QuarantineReason::Phish, 3),
            cell(ReleaseStatus::Released, QuarantineReason::Phish, 4),
            cell(ReleaseStatus::NeedsReview, QuarantineReason::Spam, 5),
        ];
        let filter = Filter { status: Some(ReleaseStatus::NeedsReview), ..Filter::default() };
        let facets = Facets::of(&cells, &filter);
        assert_eq!(facets.total_count, 8);
        assert_eq!(facets.status[&ReleaseStatus::Released], 4, "the status facet ignores the status filter");
        assert_eq!(facets.reason[&QuarantineReason::Phish], 3, "the reason facet does not");
    }

    #[test]
    fn wildcards_are_literal() {
        assert_eq!(like("50% Off_!"), "%50!% off!_!!%");
    }
}
