//! Freeing held copies, a page in a transaction: deliver what was held on arrival, put back what was pulled back.

use std::collections::{BTreeSet, HashMap};

use mailbox::{PutBack, Snapshot};
use model::{
    CampaignId, CopyId, EventKind, Facts, LastEvent, MailboxId, MessageId, OrganisationId, Permission, Place,
    QuarantineItemId, QuarantineReason, ReleaseStatus, Verdict, VerdictClass, Whereabouts,
};
use serde_json::json;
use store::{NewEvent, Row, StoreError, Tx, values};

use crate::act::SOURCE;
use crate::selection::Ref;
use crate::view::{HeldBy, word};
use crate::{Actor, Outcome, Quarantine, QuarantineError, Step, advance};

/// By what right copies are freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// By the actor's role: malware and high confidence phish need an analyst.
    Role,
    /// The change that pulled them back was undone; whoever undid it was allowed to.
    Undo,
}

/// What a transaction changed, for the answer and for the bus.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub outcome: Outcome,
    pub campaigns: BTreeSet<i64>,
    pub mailboxes: BTreeSet<MailboxId>,
}

/// A held copy, locked until the end of the transaction.
#[derive(Debug)]
pub(crate) struct Held {
    pub id: QuarantineItemId,
    pub copy_id: CopyId,
    pub message_id: MessageId,
    pub campaign_id: Option<CampaignId>,
    pub held_by: HeldBy,
    pub reason: QuarantineReason,
    pub status: ReleaseStatus,
    pub snapshot: Option<Snapshot>,
    pub cause_id: Option<i64>,
    pub mailbox_id: Option<MailboxId>,
    pub whereabouts: Whereabouts,
}

/// Locks the copies of a page, then reads the items as they are then.
pub(crate) async fn lock_held(tx: &mut Tx, of: OrganisationId, page: &[Ref]) -> Result<Vec<Held>, StoreError> {
    if page.is_empty() {
        return Ok(Vec::new());
    }
    let states = lock_copies(tx, page.iter().map(|r| r.copy_id)).await?;
    let ids = json!(page.iter().map(|r| r.id.0).collect::<Vec<_>>());
    let rows = tx.query("quarantine.held_by_ids", &values![of, &ids]).await?;
    rows.iter().map(|row| held(row, &states)).collect()
}

/// Locks copies in the order of ids; gives where each is.
pub(crate) async fn lock_copies(
    tx: &mut Tx,
    copy_ids: impl Iterator<Item = CopyId>,
) -> Result<HashMap<CopyId, Whereabouts>, StoreError> {
    let ids = json!(copy_ids.map(|id| id.0).collect::<BTreeSet<_>>());
    let mut states = HashMap::new();
    for row in tx.query("copy.lock_many", &values![&ids]).await? {
        let place = word(&row, "place", Place::parse)?;
        let last_event = word(&row, "last_event", LastEvent::parse)?;
        states.insert(row.id("id")?, Whereabouts { place, last_event });
    }
    Ok(states)
}

fn held(row: &Row, states: &HashMap<CopyId, Whereabouts>) -> Result<Held, StoreError> {
    let copy_id: CopyId = row.id("copy_id")?;
    let whereabouts = *states.get(&copy_id).ok_or_else(|| StoreError::Conflict(format!("no copy {copy_id}")))?;
    Ok(Held {
        id: row.id("id")?,
        copy_id,
        message_id: row.id("message_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        held_by: word(row, "held_by", HeldBy::parse)?,
        reason: word(row, "reason", QuarantineReason::parse)?,
        status: word(row, "status", ReleaseStatus::parse)?,
        snapshot: row.opt_json("snapshot")?,
        cause_id: row.opt_int("cause_id")?,
        mailbox_id: row.opt_id("mailbox_id")?,
        whereabouts,
    })
}

/// A copy that will be freed.
struct Freeing {
    held: Held,
    kind: EventKind,
    back: PutBack,
}

impl Quarantine {
    /// Frees the undecided copies of a page. Malware and high confidence phish need the right and, always, a fresh verdict
    /// that does not call them so any more.
    pub(crate) async fn free_page(
        &self,
        tx: &mut Tx,
        page: &[Ref],
        actor: &Actor,
        right: Right,
    ) -> Result<Changed, QuarantineError> {
        let mut changed = Changed::default();
        let all = lock_held(tx, self.organisation_id(), page).await?;
        let fresh = self.fresh_verdicts(tx, &all).await?;
        let now = self.store().now();
        let mut freeing = Vec::with_capacity(all.len());
        for held in all {
            if advance(held.status, Step::Free).is_err() {
                changed.outcome.unchanged_count += 1;
                continue;
            }
            if held.reason.needs_analyst() {
                if right == Right::Role && !actor.role.may(Permission::QuarantineReleaseDangerous) {
                    changed.outcome.refuse(held.id, "it is malware or high confidence phish: an analyst releases it");
                    continue;
                }
                if fresh.get(&held.message_id).is_none_or(is_dangerous) {
                    changed.outcome.refuse(held.id, STILL_DANGEROUS);
                    continue;
                }
            }
            match plan(held, now) {
                Ok(one) => freeing.push(one),
                Err((id, why)) => changed.outcome.refuse(id, why),
            }
        }
        self.put_out(tx, freeing, actor, &fresh, &mut changed).await?;
        Ok(changed)
    }

    /// Puts the copies into their mailboxes and writes down that they left.
    async fn put_out(
        &self,
        tx: &mut Tx,
        freeing: Vec<Freeing>,
        actor: &Actor,
        fresh: &HashMap<MessageId, Verdict>,
        changed: &mut Changed,
    ) -> Result<(), QuarantineError> {
        if freeing.is_empty() {
            return Ok(());
        }
        let now = self.store().now();
        let back: Vec<PutBack> = freeing.iter().map(|one| one.back.clone()).collect();
        let landed = mailbox::put_back(tx, &back).await?;
        let mut ids = Vec::with_capacity(freeing.len());
        let mut events = Vec::with_capacity(freeing.len());
        for (one, landed) in freeing.iter().zip(&landed) {
            let Freeing { held, kind, .. } = one;
            match held.held_by {
                HeldBy::Arrival => changed.outcome.released_count += 1,
                HeldBy::Purge => changed.outcome.restored_count += 1,
            }
            changed.campaigns.insert(held.campaign_id.map_or(0, |id| id.0));
            changed.mailboxes.insert(landed.mailbox_id);
            ids.push(held.id.0);
            let (place, place_detail) = landed.role.whereabouts(&landed.folder);
            let mut detail =
                json!({ "item_id": held.id, "held_for": held.reason, "folder": landed.folder, "uid": landed.uid });
            if let Some(verdict) = fresh.get(&held.message_id) {
                detail["fresh_verdict"] = json!(verdict::sentence(verdict));
            }
            events.push(NewEvent {
                place: Some(place),
                place_detail,
                cause_id: held.cause_id,
                actor: actor.login.clone(),
                detail,
                ..NewEvent::now(self.organisation_id(), held.copy_id, *kind, SOURCE, now)
            });
        }
        let decided = values![Step::Free.target().as_str(), &actor.login, now, &json!(ids)];
        tx.execute("quarantine.decide", &decided).await?;
        tx.append_events(&events).await?;
        Ok(())
    }

    /// What the dangerous ones of a page are judged as now.
    async fn fresh_verdicts(&self, tx: &mut Tx, all: &[Held]) -> Result<HashMap<MessageId, Verdict>, QuarantineError> {
        let dangerous: BTreeSet<i64> =
            all.iter().filter(|h| h.reason.needs_analyst()).map(|h| h.message_id.0).collect();
        let mut verdicts = HashMap::new();
        if dangerous.is_empty() {
            return Ok(verdicts);
        }
        let rules = self.protection().current().rule_set;
        for row in tx.query("quarantine.facts", &values![&json!(dangerous)]).await? {
            let Some(facts) = row.opt_json::<Facts>("facts")? else { continue };
            verdicts.insert(row.id("id")?, verdict::judge(&facts, &rules, self.store().now()));
        }
        Ok(verdicts)
    }
}

/// What a refusal says when the fresh verdict is no better.
const STILL_DANGEROUS: &str =
    "a fresh verdict still calls it malware or high confidence phish: correct the rule, feed or list first";

fn is_dangerous(verdict: &Verdict) -> bool {
    matches!(verdict.class, VerdictClass::Malware | VerdictClass::HighConfidencePhish)
}

/// How a held copy leaves. What was held on arrival arrives now; what was pulled back returns as it was.
fn plan(held: Held, now: model::Timestamp) -> Result<Freeing, (QuarantineItemId, &'static str)> {
    let Some(mailbox_id) = held.mailbox_id else {
        return Err((held.id, "its recipient has no mailbox here"));
    };
    let (kind, snapshot) = match (held.held_by, &held.snapshot) {
        (HeldBy::Arrival, _) => (EventKind::Released, Snapshot::arriving(mailbox_id, now)),
        (HeldBy::Purge, Some(snapshot)) => (EventKind::Restored, Snapshot { mailbox_id, ..snapshot.clone() }),
        (HeldBy::Purge, None) => return Err((held.id, "nothing tells where it came from")),
    };
    if held.whereabouts.advance(kind, None).is_err() {
        return Err((held.id, "it is not in quarantine any more"));
    }
    let back = PutBack { copy_id: held.copy_id, message_id: held.message_id, snapshot };
    Ok(Freeing { held, kind, back })
}
