//! The dispatcher: makes the copies of campaigns that are being sent.
//!
//! It claims a campaign by lease, takes the people who are still pending in batches, renders and signs their messages on
//! blocking threads, and stores each batch in one transaction: bodies, messages, copies with their `queued` events,
//! deliveries, and the people's new state. The first statement of that transaction renews the lease and holds the
//! campaign's row, so that it is either before a pause or after it. A crash at any instant leaves people either pending
//! or with their one copy. Memory holds two batches, however large the audience.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use directory::{CopyTokens, Directory, OwnCopy, ReturnTokens};
use message::compose::{Mailbox, Parts, compose};
use model::{
    Address, CampaignId, CopyId, EventKind, MessageId, OrganisationId, PersonId, ReversePath, SqlText, Timestamp,
};
use outbound::NewDelivery;
use store::{BodyRef, NewEvent, Op, Row, Store, Submission, Topic, Value, values};
use tokio_util::sync::CancellationToken;

use crate::campaigns::NO_BASE_URL;
use crate::draft::{Draft, Tracking};
use crate::signing::Signing;
use crate::state::Action;
use crate::template::{Fields, Slots, Template};
use crate::token::{Subject, Tokens, nonce, random};
use crate::tracker::Tracker;
use crate::{CampaignError, Campaigns, Problem};

/// Copies whose end is recorded in one transaction when a campaign was cancelled.
const CANCEL_BATCH: i64 = 256;
/// Rounds are at least this far apart, however much is announced.
const PAUSE_MS: u64 = 100;

/// What a dispatcher without others is called: after a restart the leases are its own.
const SOLE_OWNER: &str = "sole";

/// How the dispatcher works.
#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// People per batch: 1..=512.
    pub batch_max: i64,
    /// How long a campaign stays claimed after the last batch, in milliseconds.
    pub lease_ms: i64,
    /// How often it looks for work that nobody announced, in milliseconds.
    pub look_ms: u64,
    /// Threads that render and sign.
    pub threads: usize,
    /// No other process dispatches on this database: what one that died had claimed is taken up again at once.
    pub sole_owner: bool,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        DispatchConfig { batch_max: 128, lease_ms: 30_000, look_ms: 500, threads: cores.min(8), sole_owner: false }
    }
}

/// Makes the copies. One per process; several processes share the campaigns.
#[derive(Debug)]
pub struct Dispatcher {
    tracker: Tracker,
    campaigns: Campaigns,
    config: DispatchConfig,
    owner: String,
    stop: CancellationToken,
}

/// Everything that the messages of a campaign (or of one test) share.
struct Job {
    /// `None`: a test, which no campaign counts.
    campaign_id: Option<CampaignId>,
    organisation_id: OrganisationId,
    draft: Draft,
    template: Template,
    signing: Signing,
    tokens: Tokens,
    copy_tokens: CopyTokens,
    return_tokens: ReturnTokens,
    from: Address,
    base_url: String,
    store: Store,
}

/// Somebody whose message is to be made.
struct Pending {
    position: i64,
    person_id: PersonId,
    address: String,
    fields: Fields,
}

/// A message ready to be stored.
struct Letter {
    position: i64,
    person_id: PersonId,
    delivery: NewDelivery,
    message_id_header: String,
    subject: String,
    body: Bytes,
}

#[derive(Default)]
struct Batch {
    letters: Vec<Letter>,
    suppressed: Vec<i64>,
    last_position: i64,
}

impl Dispatcher {
    /// A dispatcher under a name of its own, or under the one that a sole one always has.
    ///
    /// # Errors
    /// [`CampaignError::Internal`] when the system has no randomness.
    pub fn new(tracker: Tracker, config: DispatchConfig, stop: CancellationToken) -> Result<Self, CampaignError> {
        let owner = if config.sole_owner { SOLE_OWNER.to_owned() } else { HEXLOWER.encode(&random::<8>()?) };
        let campaigns = Campaigns::new(tracker.directory().clone());
        Ok(Dispatcher { tracker, campaigns, config, owner, stop })
    }

    /// Works in the background until `stop`; a batch under way is finished.
    ///
    /// # Errors
    /// As [`Dispatcher::new`].
    pub fn start(
        tracker: Tracker,
        config: DispatchConfig,
        stop: CancellationToken,
    ) -> Result<tokio::task::JoinHandle<()>, CampaignError> {
        let dispatcher = Dispatcher::new(tracker, config, stop)?;
        Ok(tokio::spawn(dispatcher.run()))
    }

    async fn run(self) {
        let mut notices = self.tracker.store().bus().subscribe();
        let look = Duration::from_millis(self.config.look_ms);
        while !self.stop.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::warn!("campaigns could not be sent now, trying again: {error}");
            }
            let news = async {
                // Lagging or closed counts as news too: the rows are looked at either way.
                while let Ok(notice) = notices.recv().await {
                    if notice.topic == Topic::Campaign {
                        break;
                    }
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tokio::time::timeout(look, news) => {}
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }

    /// Does everything there is to do now: copies of sending campaigns, ends of cancelled ones, finished ones.
    ///
    /// # Errors
    /// The store's; what was done stays done.
    pub async fn round(&self) -> Result<(), CampaignError> {
        while !self.stop.is_cancelled()
            && let Some(id) = self.claim().await?
        {
            if let Err(error) = self.send(id).await {
                self.give_up(id, error).await?;
            }
        }
        self.end_cancelled().await?;
        self.finish().await
    }

    async fn claim(&self) -> Result<Option<CampaignId>, CampaignError> {
        let store = self.tracker.store();
        if store.query_one("campaign.claimable", &values![self.tracker.directory().id()]).await?.is_none() {
            return Ok(None);
        }
        let now = store.now();
        let until = now.plus_ms(self.config.lease_ms);
        let mut tx = store.begin().await?;
        let values = values![&self.owner, until, now, self.tracker.directory().id()];
        let row = tx.query_one("campaign.claim", &values).await?;
        tx.commit().await?;
        Ok(row.map(|row| row.id("id")).transpose()?)
    }

    /// The store's trouble passes; anything else would come again with each try, so the campaign is paused.
    async fn give_up(&self, id: CampaignId, error: CampaignError) -> Result<(), CampaignError> {
        if let CampaignError::Store(error) = error {
            return Err(CampaignError::Store(error));
        }
        tracing::error!(campaign.id = %id, "campaign {id} is paused, its messages cannot be made: {}", for_the_log(&error));
        match self.campaigns.pause(id).await {
            Ok(_) | Err(CampaignError::State { .. } | CampaignError::Changed) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Batch after batch; while one is stored, the next is rendered.
    async fn send(&self, id: CampaignId) -> Result<(), CampaignError> {
        let draft = self.campaigns.get(id).await?.draft;
        let job = Arc::new(Job::load(self.tracker.directory(), Some(id), draft).await?);
        let mut ready = self.prepare(&job, id, 0).await?;
        while !ready.is_empty() && !self.stop.is_cancelled() {
            let after = ready.last_position;
            let (stored, next) = tokio::join!(self.store_batch(&job, id, ready), self.prepare(&job, id, after));
            if !stored? {
                return Ok(()); // paused, cancelled, or another process has it: the pending people stay pending
            }
            ready = next?;
        }
        Ok(())
    }

    /// The next people behind `after`, rendered.
    async fn prepare(&self, job: &Arc<Job>, id: CampaignId, after: i64) -> Result<Batch, CampaignError> {
        let limit = self.config.batch_max.clamp(1, 512);
        let values = values![id, after, limit, job.organisation_id];
        let rows = job.store.query("campaign.pending", &values).await?;
        let mut batch = Batch::default();
        let mut people = Vec::with_capacity(rows.len());
        for row in &rows {
            batch.last_position = row.int("position")?;
            if row.flag("suppressed")? {
                batch.suppressed.push(batch.last_position);
            } else {
                people.push(pending(row)?);
            }
        }
        let share = people.len().div_ceil(self.config.threads.max(1)).max(1);
        let mut threads = Vec::new();
        while !people.is_empty() {
            let rest = people.split_off(share.min(people.len()));
            let (job, mine) = (Arc::clone(job), std::mem::replace(&mut people, rest));
            threads.push(tokio::task::spawn_blocking(move || job.letters(mine)));
        }
        for thread in threads {
            let letters = thread.await.map_err(|e| CampaignError::Internal(format!("rendering ended: {e}")))?;
            batch.letters.extend(letters?);
        }
        Ok(batch)
    }

    /// Stores a batch whole, or nothing of it; `false` when the campaign is not ours to send any more.
    async fn store_batch(&self, job: &Arc<Job>, id: CampaignId, batch: Batch) -> Result<bool, CampaignError> {
        let until = job.store.now().plus_ms(self.config.lease_ms);
        let guard = Op::Guarded("campaign.hold_lease", values![until, id, &self.owner].to_vec());
        let bodies: Vec<Bytes> = batch.letters.iter().map(|letter| letter.body.clone()).collect();
        let shared = Arc::clone(job);
        let ops = move |places: &[BodyRef]| shared.ops(id, &guard, &batch, places);
        let submission =
            if bodies.is_empty() { Submission::rows(ops(&[])) } else { Submission::with_bodies(bodies, ops) };
        match job.store.commit(submission).await {
            Ok(()) => {}
            Err(error) if error.is_conflict() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        job.store.bus().announce(Topic::Delivery, id);
        job.store.bus().announce(Topic::Campaign, id);
        Ok(true)
    }

    /// Campaigns whose last delivery is done become sent.
    async fn finish(&self) -> Result<(), CampaignError> {
        let store = self.tracker.store();
        let organisation_id = self.tracker.directory().id();
        for row in store.query("campaign.finishable", &values![organisation_id]).await? {
            let id: CampaignId = row.id("id")?;
            if self.campaigns.get(id).await?.state.advance(Action::Finish).is_err() {
                continue;
            }
            if store.execute("campaign.set_sent", &values![organisation_id, id, store.now()]).await? > 0 {
                store.bus().announce(Topic::Campaign, id);
                tracing::info!(campaign.id = %id, "campaign {id} is sent");
            }
        }
        Ok(())
    }

    /// What had not left a cancelled campaign never will: the people stay without a copy, the copies get their last event.
    async fn end_cancelled(&self) -> Result<(), CampaignError> {
        let store = self.tracker.store();
        for row in store.query("campaign.cancelled_with_rest", &values![self.tracker.directory().id()]).await? {
            let id: CampaignId = row.id("id")?;
            store.execute("campaign.cancel_recipients", &values![id]).await?;
            while !self.stop.is_cancelled() && self.end_copies(id).await? > 0 {}
            store.bus().announce(Topic::Campaign, id);
            store.bus().announce(Topic::Ledger, id);
        }
        Ok(())
    }

    async fn end_copies(&self, id: CampaignId) -> Result<usize, CampaignError> {
        const REASON: &str = "the campaign was cancelled";
        let store = self.tracker.store();
        let mut tx = store.begin().await?;
        let rows = tx.query("campaign.cancel_deliveries", &values![id, REASON, CANCEL_BATCH]).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let copy_id: CopyId = row.id("copy_id")?;
            if tx.may(copy_id, EventKind::Expired).await?.is_err() {
                continue; // it got through on an earlier try whose answer was lost
            }
            let organisation_id = self.tracker.directory().id();
            let mut event = NewEvent::now(organisation_id, copy_id, EventKind::Expired, "campaign", store.now());
            event.detail = serde_json::json!({ "reason": REASON });
            events.push(event);
        }
        tx.append_events(&events).await?;
        tx.commit().await?;
        Ok(rows.len())
    }
}

/// What a log may say of an error: the fields and lines of the content, never a recipient's address, which an author is told.
fn for_the_log(error: &CampaignError) -> String {
    let CampaignError::Invalid(problems) = error else { return error.to_string() };
    let place = |p: &Problem| p.line.map_or_else(|| p.field.to_owned(), |line| format!("{} line {line}", p.field));
    let places: Vec<String> = problems.iter().map(place).collect();
    format!("what is wrong with its {} is said when it is checked or sent as a test", places.join(", "))
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.suppressed.is_empty()
    }
}

/// Sends `draft` to one person, as that person would get it but untracked, with `[Test]` before the subject. No campaign
/// counts it.
///
/// # Errors
/// As for a start: [`CampaignError::Invalid`] says what is missing.
pub(crate) async fn send_test(
    directory: &Directory,
    draft: &Draft,
    person_id: PersonId,
    address: String,
    fields: Fields,
) -> Result<CopyId, CampaignError> {
    let subject = format!("[Test] {}", draft.subject);
    let draft = Draft { subject, tracking: Tracking::Off, ..draft.clone() };
    let job = Job::load(directory, None, draft).await?;
    if job.base_url.is_empty() {
        return Err(CampaignError::invalid("tracking", NO_BASE_URL));
    }
    let store = directory.store();
    let person = Pending { position: 0, person_id, address, fields };
    let made = tokio::task::spawn_blocking(move || {
        let letter = job.letters(vec![person])?.pop();
        Ok::<_, CampaignError>((job, letter.ok_or_else(|| CampaignError::Internal("no message was made".into()))?))
    });
    let (job, letter) = made.await.map_err(|e| CampaignError::Internal(format!("rendering ended: {e}")))??;
    let copy_id = letter.delivery.copy_id;
    store.commit(Submission::with_body(letter.body.clone(), move |place| job.letter_ops(&letter, place))).await?;
    store.bus().announce(Topic::Delivery, 0);
    Ok(copy_id)
}

impl Job {
    async fn load(directory: &Directory, campaign_id: Option<CampaignId>, draft: Draft) -> Result<Self, CampaignError> {
        let template = draft.check()?;
        let from = draft.from()?;
        let mac = directory.mac().await?;
        Ok(Job {
            campaign_id,
            organisation_id: directory.id(),
            template,
            signing: Signing::load(directory, from.domain()).await?,
            tokens: Tokens::new(mac.clone()),
            copy_tokens: CopyTokens::new(mac.clone()),
            return_tokens: ReturnTokens::new(mac),
            from,
            base_url: directory.settings().await?.tracking.base_url,
            store: directory.store().clone(),
            draft,
        })
    }

    fn letters(&self, people: Vec<Pending>) -> Result<Vec<Letter>, CampaignError> {
        let renderer = self.template.renderer()?;
        let now = self.store.now();
        people.into_iter().map(|person| self.letter(&renderer, person, now)).collect()
    }

    fn letter(
        &self,
        renderer: &crate::template::Renderer<'_>,
        person: Pending,
        now: Timestamp,
    ) -> Result<Letter, CampaignError> {
        let invalid = |field, problem: String| CampaignError::invalid(field, format!("{}: {problem}", person.address));
        let copy_id: CopyId = self.store.next_id();
        let message_id: MessageId = self.store.next_id();
        let to = Address::parse(&person.address).map_err(|e| invalid("list_id", e.to_string()))?;
        let unsubscribe = format!("{}/u/{}", self.base_url, self.tokens.unsubscribe(copy_id));
        let rendered = renderer
            .render(&person.fields, &self.slots(copy_id, &unsubscribe)?)
            .map_err(|problem| invalid(problem.field, problem.message))?;
        let domain = self.from.domain().as_str();
        let message_id_header = format!("<{}@{domain}>", HEXLOWER.encode(&random::<16>()?));
        let mut extra = vec![
            ("List-Unsubscribe", format!("<{unsubscribe}>")),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
        ];
        if let Some(campaign_id) = self.campaign_id {
            // campaign:customer:mail type:sender; the last is the same in all mail of this sender.
            extra.push(("Feedback-ID", format!("{campaign_id}:{}:campaign:landfall", self.organisation_id)));
            let own = OwnCopy { campaign_id, copy_id };
            extra.push((CopyTokens::HEADER, self.copy_tokens.sign(own, &person.address)));
        }
        let extra: Vec<(&str, &str)> = extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let one_line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let raw = compose(&Parts {
            from: Mailbox { name: &self.draft.from_name, address: &self.from },
            to: Mailbox { name: &one_line(&person.fields.name), address: &to },
            subject: &rendered.subject,
            message_id: &message_id_header,
            date_at: now,
            extra: &extra,
            text: &rendered.text,
            html: &rendered.html,
        })
        .map_err(|e| invalid("content", e.to_string()))?;
        let mut body = self.signing.signer.sign(&raw).map_err(|e| CampaignError::Internal(e.to_string()))?;
        body.extend_from_slice(&raw);
        let reverse_path = ReversePath::Address(
            Address::parse(&format!("{}@{domain}", self.return_tokens.local(copy_id)))
                .map_err(|e| CampaignError::Internal(format!("return path: {e}")))?,
        );
        let mut delivery = NewDelivery::now(&self.store, self.organisation_id, copy_id, message_id, reverse_path, to);
        delivery.campaign_id = self.campaign_id;
        Ok(Letter {
            position: person.position,
            person_id: person.person_id,
            delivery,
            message_id_header,
            subject: rendered.subject,
            body: body.into(),
        })
    }

    /// The addresses of one person's links. Anonymous: under a nonce that is kept nowhere.
    fn slots(&self, copy_id: CopyId, unsubscribe: &str) -> Result<Slots, CampaignError> {
        let untracked = Slots { unsubscribe: unsubscribe.to_owned(), ..Slots::default() };
        let Some(campaign_id) = self.campaign_id else { return Ok(untracked) };
        let subject = match self.draft.tracking {
            Tracking::Anonymous => Subject::Nonce(nonce()?),
            Tracking::Individual => Subject::Copy(copy_id),
            Tracking::Off => return Ok(untracked),
        };
        let count = u16::try_from(self.template.links().len()).unwrap_or(u16::MAX);
        Ok(Slots {
            links: (0..count)
                .map(|position| format!("{}/t/{}", self.base_url, self.tokens.click(campaign_id, position, subject)))
                .collect(),
            pixel: format!("{}/o/{}.gif", self.base_url, self.tokens.open(campaign_id, subject)),
            ..untracked
        })
    }

    /// The rows of a batch, guard first among the statements.
    fn ops(&self, campaign_id: CampaignId, guard: &Op, batch: &Batch, places: &[BodyRef]) -> Vec<Op> {
        let mut ops = vec![guard.clone()];
        for (letter, place) in batch.letters.iter().zip(places) {
            ops.extend(self.letter_ops(letter, place));
            let taken = values![campaign_id, letter.position, letter.delivery.copy_id];
            ops.push(Op::EachGuarded("campaign.enqueue_recipient", taken.to_vec()));
        }
        for position in &batch.suppressed {
            ops.push(Op::EachGuarded("campaign.suppress_recipient", values![campaign_id, *position].to_vec()));
        }
        if !batch.suppressed.is_empty() {
            let count = i64::try_from(batch.suppressed.len()).unwrap_or(0);
            ops.push(Op::Execute("campaign.count_suppressed", values![campaign_id, count].to_vec()));
        }
        ops
    }

    /// The rows of one message: itself, its copy with the `queued` event, its delivery.
    fn letter_ops(&self, letter: &Letter, place: &BodyRef) -> Vec<Op> {
        let mut ops = vec![Op::Insert("message.insert", self.message_row(letter, place))];
        ops.extend(outbound::queued_copy_ops(&letter.delivery, Some(letter.person_id)));
        ops.extend(outbound::delivery_ops(letter.delivery.clone()));
        ops
    }

    fn message_row(&self, letter: &Letter, place: &BodyRef) -> Vec<Value> {
        let subject = SqlText::new(&letter.subject);
        let size = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        values![
            letter.delivery.message_id,
            self.organisation_id,
            "outbound",
            place.pack_id,
            size(place.offset),
            size(place.bytes),
            &place.sha256,
            &letter.message_id_header,
            letter.delivery.reverse_path.to_string(),
            self.from.key(),
            &self.draft.from_name,
            &subject,
            subject.to_lower(),
            "",
            "",
            letter.delivery.created_at,
            self.campaign_id,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
        ]
        .to_vec()
    }
}

fn pending(row: &Row) -> Result<Pending, CampaignError> {
    Ok(Pending {
        position: row.int("position")?,
        person_id: row.id("person_id")?,
        address: row.text("address")?.to_owned(),
        fields: row.json("fields")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_names_no_recipient() {
        let invalid = CampaignError::Invalid(vec![
            Problem::new("content", "ada@contoso.example: no value for city"),
            Problem::at("subject", Some(1), "ada@contoso.example: no value for name"),
        ]);
        let said = for_the_log(&invalid);
        assert!(said.contains("content, subject line 1") && !said.contains('@'), "{said}");
        assert_eq!(for_the_log(&CampaignError::Token), "not a link of ours");
    }
}
