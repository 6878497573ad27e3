//! Zero-hour purge: a change became active, and landed copies that it condemns are pulled back.
//!
//! Messages are found by the terms that the change touches (or all of the window), judged again by their stored facts
//! and the rules of now, decided for each recipient, and moved by the same pure function that the backtest used.
//! The snapshot of where a copy lay, the held item and the event are one transaction. What has moved already is not
//! found in a mailbox, so a repeated batch moves nothing twice.

use std::collections::{BTreeSet, HashMap};

use directory::Protection;
use mailbox::{PutBack, Snapshot, TakenOut};
use model::{
    Address, CampaignId, CopyId, EventKind, Facts, MessageId, Place, QuarantineReason, ReleaseStatus, SqlText, Verdict,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{NewEvent, Row, StoreError, Tx, Value, values};
use verdict::{Decision, LandedCopy, RecipientContext, Term, ZAP_WINDOW_MS, ZapDecision, ZapKind};

use crate::free::{Changed, lock_copies};
use crate::job::Claimed;
use crate::view::HeldBy;
use crate::{Quarantine, QuarantineError};

/// Messages judged at a time.
const MESSAGES_MAX: i64 = 256;
/// Copies of one transaction.
const COPIES_MAX: usize = 512;
/// What the events say who saw it.
const SOURCE: &str = "purge";
const DAY_MS: i64 = 86_400_000;

/// Parameters of a purge job: what `job.params` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeParams {
    /// The terms by which candidates are found; `None`: every message of the window is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<BTreeSet<Term>>,
    /// How long ago mail may have been received, in milliseconds; `None`: 48 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<i64>,
    /// The mail came in without a verdict: it goes where it would have gone on arrival, not only what a change of mind may move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A message as it is judged now.
pub(crate) struct Candidate {
    id: MessageId,
    facts: Facts,
    verdict: Verdict,
    from_address: String,
    subject: String,
    subject_lower: String,
    body_bytes: i64,
}

/// A copy in a mailbox.
pub(crate) struct Landed {
    pub(crate) copy_id: CopyId,
    pub(crate) message_id: MessageId,
    pub(crate) campaign_id: Option<CampaignId>,
    recipient: String,
    pub(crate) context: Option<RecipientContext>,
}

/// A copy that moves.
pub(crate) struct Moving<'a> {
    pub(crate) landed: &'a Landed,
    candidate: &'a Candidate,
    decision: Decision,
    kind: ZapKind,
    pub(crate) to: Target,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Quarantine(QuarantineReason),
    Junk,
}

/// One purge at work.
pub(crate) struct Purge<'a> {
    pub(crate) quarantine: &'a Quarantine,
    protection: Protection,
    terms: Option<serde_json::Value>,
    window_ms: i64,
    is_late: bool,
    since: model::Timestamp,
}

impl<'a> Purge<'a> {
    /// Reads the rules of now: a job may be claimed before the cache has heard of the change that it belongs to.
    pub(crate) async fn begin(quarantine: &'a Quarantine, job: &mut Claimed) -> Result<Purge<'a>, QuarantineError> {
        let params: PurgeParams = serde_json::from_value(job.params.clone()).map_err(crate::job::params_error)?;
        quarantine.protection().refresh().await?;
        let window_ms = params.window_ms.unwrap_or(ZAP_WINDOW_MS);
        let first = job.progress.since_at.is_none();
        let since = job.progress.since_at.unwrap_or(quarantine.store().now().plus_ms(-window_ms));
        let (terms, is_late) = (params.terms.map(|terms| json!(terms)), params.late);
        let protection = quarantine.protection().current();
        let purge = Purge { quarantine, protection, terms, window_ms, is_late, since };
        if first {
            job.progress.since_at = Some(since);
            job.total_count = purge.count().await?;
        }
        Ok(purge)
    }

    async fn count(&self) -> Result<i64, QuarantineError> {
        let store = self.quarantine.store();
        let of = Value::from(self.quarantine.organisation_id());
        let row = match &self.terms {
            Some(terms) => store.query_one("quarantine.count_by_terms", &[of, self.since.into(), terms.into()]).await?,
            None => store.query_one("quarantine.count_of_window", &[of, self.since.into()]).await?,
        };
        Ok(row.map_or(Ok(0), |row| row.int("copy_count"))?)
    }

    /// One page of messages, in one or more transactions; gives what each changed, or `None` when there are no more.
    pub(crate) async fn page(&self, job: &mut Claimed) -> Result<Option<Vec<Changed>>, QuarantineError> {
        let store = self.quarantine.store();
        let mut values =
            values![self.quarantine.organisation_id(), job.progress.cursor, self.since, MESSAGES_MAX].to_vec();
        let rows = match &self.terms {
            Some(terms) => {
                values.push(terms.into());
                store.query("quarantine.candidates_by_terms", &values).await?
            }
            None => store.query("quarantine.candidates_of_window", &values).await?,
        };
        let Some(last) = rows.last() else { return Ok(None) };
        let last: i64 = last.int("id")?;
        let ids = json!(rows.iter().map(|row| row.int("id")).collect::<Result<Vec<_>, _>>()?);
        let candidates = self.judge(rows).await?;
        let landed: Vec<Landed> = store
            .query("quarantine.landed", &values![&ids])
            .await?
            .iter()
            .map(Landed::from_row)
            .collect::<Result<_, _>>()?;
        // Mailboxes of other systems first: the cursor passes this page when all of it is done.
        let mut changed = self.page_elsewhere(job, &ids, &candidates).await?;
        let mut chunks = landed.chunks(COPIES_MAX).peekable();
        while let Some(chunk) = chunks.next() {
            let cursor = if chunks.peek().is_none() { last } else { job.progress.cursor };
            changed.push(self.chunk(job, chunk, &candidates, cursor).await?);
        }
        if landed.is_empty() {
            changed.push(self.chunk(job, &[], &candidates, last).await?);
        }
        Ok(Some(changed))
    }

    /// Judging is work of the processor alone: off the threads that serve connections.
    async fn judge(&self, rows: Vec<Row>) -> Result<HashMap<MessageId, Candidate>, QuarantineError> {
        let rules = self.protection.rule_set.clone();
        let now = self.quarantine.store().now();
        let judged = tokio::task::spawn_blocking(move || {
            let mut candidates = HashMap::with_capacity(rows.len());
            for row in &rows {
                let id: MessageId = row.id("id")?;
                // Mail that was never judged has no facts; facts of another layout cannot be replayed.
                let Ok(Some(facts)) = row.opt_json::<Facts>("facts") else { continue };
                if facts.version != Facts::VERSION {
                    continue;
                }
                let candidate = Candidate {
                    id,
                    verdict: verdict::judge(&facts, &rules, now),
                    facts,
                    from_address: row.text("from_address")?.to_owned(),
                    subject: row.text("subject")?.to_owned(),
                    subject_lower: row.text("subject_lower")?.to_owned(),
                    body_bytes: row.int("body_bytes")?,
                };
                candidates.insert(id, candidate);
            }
            Ok::<_, StoreError>(candidates)
        });
        Ok(judged.await.map_err(|error| QuarantineError::Judging(error.to_string()))??)
    }

    /// Moves what is to be moved of some copies, in one transaction with the job's progress.
    async fn chunk(
        &self,
        job: &mut Claimed,
        landed: &[Landed],
        candidates: &HashMap<MessageId, Candidate>,
        cursor: i64,
    ) -> Result<Changed, QuarantineError> {
        let mut changed = Changed::default();
        let mut tx = self.quarantine.store().begin().await?;
        let copy_ids: Vec<CopyId> = landed.iter().map(|l| l.copy_id).collect();
        let states = lock_copies(&mut tx, copy_ids.iter().copied()).await?;
        let mut there: HashMap<CopyId, TakenOut> =
            mailbox::look(&mut tx, &copy_ids).await?.into_iter().map(|t| (t.copy_id, t)).collect();
        let mut moving = Vec::new();
        let mut unjudged_count = 0;
        for copy in landed {
            let (Some(state), Some(item)) = (states.get(&copy.copy_id), there.get(&copy.copy_id)) else { continue };
            let (Some(candidate), Some(context)) = (candidates.get(&copy.message_id), &copy.context) else {
                unjudged_count += 1;
                continue;
            };
            if state.advance(EventKind::Purged, None).is_err() {
                continue;
            }
            if let Some(one) = self.decide(copy, candidate, context, state.place, &item.snapshot) {
                moving.push(one);
            }
        }
        self.take(&mut tx, job, &moving, &mut there, &mut changed).await?;
        let moved = i64::try_from(moving.len()).unwrap_or(i64::MAX);
        let all = i64::try_from(landed.len()).unwrap_or(i64::MAX);
        job.progress.cursor = cursor;
        job.progress.left_count += all - moved - unjudged_count;
        job.done_count += all - unjudged_count;
        job.failed_count += unjudged_count;
        job.save(&mut tx).await?;
        tx.commit().await?;
        Ok(changed)
    }

    pub(crate) fn decide<'b>(
        &self,
        landed: &'b Landed,
        candidate: &'b Candidate,
        context: &RecipientContext,
        place: Place,
        snapshot: &Snapshot,
    ) -> Option<Moving<'b>> {
        let decision = verdict::decide(&candidate.verdict, &candidate.facts, &self.protection.policies, context);
        let copy = LandedCopy { place, read: snapshot.seen, landed_at: snapshot.internal_at };
        let now = self.quarantine.store().now();
        let wanted = match self.is_late {
            true => verdict::late_decision(&decision, copy),
            false => verdict::zap_decision(&decision, copy, now, self.window_ms),
        };
        let (kind, to) = match wanted {
            ZapDecision::Leave(_) => return None,
            ZapDecision::Quarantine { kind, reason } => (kind, Target::Quarantine(reason)),
            ZapDecision::Junk { kind } => (kind, Target::Junk),
        };
        Some(Moving { landed, candidate, decision, kind, to })
    }

    async fn take(
        &self,
        tx: &mut Tx,
        job: &mut Claimed,
        moving: &[Moving<'_>],
        there: &mut HashMap<CopyId, TakenOut>,
        changed: &mut Changed,
    ) -> Result<(), QuarantineError> {
        let copy_ids: Vec<CopyId> = moving.iter().map(|m| m.landed.copy_id).collect();
        mailbox::take_out(tx, &copy_ids).await?;
        let mut rows = Vec::new();
        let mut to_junk = Vec::new();
        let mut events = Vec::with_capacity(moving.len());
        for one in moving {
            let Some(taken) = there.remove(&one.landed.copy_id) else { continue };
            changed.campaigns.insert(one.landed.campaign_id.map_or(0, |id| id.0));
            changed.mailboxes.insert(taken.snapshot.mailbox_id);
            events.push(self.event(one, job, &taken.snapshot));
            match one.to {
                Target::Quarantine(reason) => {
                    job.progress.moved_count += 1;
                    rows.push(self.item_row(one, job, reason, &taken.snapshot));
                }
                Target::Junk => {
                    job.progress.junk_count += 1;
                    to_junk.push(in_junk(taken));
                }
            }
        }
        tx.insert_many("quarantine.insert", &rows).await?;
        mailbox::put_back(tx, &to_junk).await?;
        tx.append_events(&events).await?;
        Ok(())
    }

    pub(crate) fn item_row(
        &self,
        one: &Moving<'_>,
        job: &Claimed,
        reason: QuarantineReason,
        snapshot: &Snapshot,
    ) -> Vec<Value> {
        let store = self.quarantine.store();
        let (id, now): (i64, _) = (store.next_id(), store.now());
        let Moving { landed, candidate, decision, .. } = one;
        values![
            id,
            self.quarantine.organisation_id(),
            landed.copy_id,
            landed.message_id,
            landed.campaign_id,
            &landed.recipient,
            &candidate.from_address,
            &candidate.subject,
            &candidate.subject_lower,
            candidate.body_bytes,
            HeldBy::Purge.as_str(),
            reason.as_str(),
            &decision.policy_name,
            &SqlText::new(&decision.explanation),
            i64::from(decision.permissions),
            ReleaseStatus::NeedsReview.as_str(),
            &json!(snapshot),
            one.cause_id(job),
            now,
            now.plus_ms(i64::from(decision.retention_days) * DAY_MS)
        ]
        .to_vec()
    }

    pub(crate) fn event(&self, one: &Moving<'_>, job: &Claimed, snapshot: &Snapshot) -> NewEvent {
        let Moving { landed, candidate, decision, kind, to } = one;
        let mut detail = json!({
            "sentence": verdict::sentence(&candidate.verdict),
            "explanation": decision.explanation,
            "policy": decision.policy_name,
            "class": decision.class,
            "zap": kind.as_str(),
            "rule_set_id": candidate.verdict.rule_set_id,
            "from_folder": snapshot.folder,
            "message_id": candidate.id,
        });
        let mut counted = candidate.verdict.signals.iter().filter(|signal| signal.weight > 0.0);
        if let Some(signal) = counted.find(|signal| signal.class == decision.class) {
            detail["rule"] = json!(signal.rule);
            detail["evidence"] = json!(signal.evidence);
            detail["origin"] = json!(signal.origin);
            detail["change_id"] = json!(signal.change_id);
        }
        if self.is_late {
            detail["unjudged"] = json!(candidate.facts.unjudged);
        }
        let place = match to {
            Target::Quarantine(_) => Place::Quarantine,
            Target::Junk => {
                detail["snapshot"] = json!(snapshot);
                Place::Junk
            }
        };
        let now = self.quarantine.store().now();
        NewEvent {
            place: Some(place),
            cause_id: one.cause_id(job),
            actor: job.actor.clone(),
            detail,
            ..NewEvent::now(self.quarantine.organisation_id(), landed.copy_id, EventKind::Purged, SOURCE, now)
        }
    }
}

impl Moving<'_> {
    /// The change that the job works for; late verdicts have the change that put the deciding finding in force, as on arrival.
    fn cause_id(&self, job: &Claimed) -> Option<i64> {
        let mut counted = self.candidate.verdict.signals.iter().filter(|signal| signal.weight > 0.0);
        let signal = counted.find(|signal| signal.class == self.decision.class);
        job.cause_id.or_else(|| signal.and_then(|signal| signal.change_id).map(|change| change.0))
    }
}

impl Landed {
    pub(crate) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let department = row.text("department")?;
        let groups = if department.is_empty() { Vec::new() } else { vec![department.to_owned()] };
        let address = Address::parse(row.text("address")?).ok();
        Ok(Landed {
            copy_id: row.id("id")?,
            message_id: row.id("message_id")?,
            campaign_id: row.opt_id("campaign_id")?,
            recipient: row.text("recipient")?.to_owned(),
            context: address.map(|address| RecipientContext { address, groups }),
        })
    }
}

/// The same item in Junk: its flags and date stay.
fn in_junk(taken: TakenOut) -> PutBack {
    let role = mailbox::FolderRole::Junk;
    let snapshot = Snapshot { folder: role.default_name().to_owned(), folder_role: role, ..taken.snapshot };
    PutBack { copy_id: taken.copy_id, message_id: taken.message_id, snapshot }
}
