//! Freeing held copies, a page in a transaction: deliver what was held on arrival, put back what was pulled back.

use std::collections::{BTreeSet, HashMap};

use mailbox::{MailboxError, PutBack, Snapshot};
use model::{
    CampaignId, CopyId, EventKind, Facts, LastEvent, MailboxId, MessageId, OrganisationId, Permission, Place,
    QuarantineItemId, QuarantineReason, ReleaseStatus, Verdict, VerdictClass, Whereabouts,
};
use serde_json::json;
use store::{NewEvent, Row, StoreError, Tx, values};

use crate::act::SOURCE;
use crate::elsewhere::Back;
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
    /// Copies that were put back elsewhere, and that the rows did not let leave.
    pub strays: Vec<CopyId>,
    /// Copies whose mailbox cannot be reached now: they may leave later.
    pub late_count: i64,
    /// Why the first of these waits.
    pub late_why: String,
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

/// The items of a page as they are now, without keeping them so.
pub(crate) async fn held_as_it_is(quarantine: &Quarantine, page: &[Ref]) -> Result<Vec<Held>, StoreError> {
    let mut tx = quarantine.store().begin().await?;
    lock_held(&mut tx, quarantine.organisation_id(), page).await
}

/// A copy that will be freed.
struct Freeing {
    held: Held,
    kind: EventKind,
    back: PutBack,
}

/// Why a held copy does not leave.
pub(crate) enum Stays {
    /// It was decided already.
    Decided,
    /// For this reason.
    Because(&'static str),
}

/// Whether this item may be freed: malware and high confidence phish need the right and, always, a fresh verdict that does
/// not call them so any more.
pub(crate) fn may_leave(
    held: &Held,
    actor: &Actor,
    right: Right,
    fresh: &HashMap<MessageId, Verdict>,
) -> Result<(), Stays> {
    if advance(held.status, Step::Free).is_err() {
        return Err(Stays::Decided);
    }
    if held.reason.needs_analyst() {
        if right == Right::Role && !actor.role.may(Permission::QuarantineReleaseDangerous) {
            return Err(Stays::Because("it is malware or high confidence phish: an analyst releases it"));
        }
        if fresh.get(&held.message_id).is_none_or(is_dangerous) {
            return Err(Stays::Because(STILL_DANGEROUS));
        }
    }
    Ok(())
}

impl Quarantine {
    /// Frees the undecided copies of a page. `back`: what was put back into mailboxes of other systems already; copies of
    /// such mailboxes that are not in it stay.
    pub(crate) async fn free_page(
        &self,
        tx: &mut Tx,
        page: &[Ref],
        actor: &Actor,
        right: Right,
        back: &Back,
    ) -> Result<Changed, QuarantineError> {
        let mut changed = Changed::default();
        let all = lock_held(tx, self.organisation_id(), page).await?;
        let fresh = self.fresh_verdicts(&all).await?;
        let now = self.store().now();
        let mut freeing = Vec::with_capacity(all.len());
        for held in all {
            let planned = match may_leave(&held, actor, right, &fresh) {
                Ok(()) => plan(&held, now).map_err(Stays::Because),
                Err(stays) => Err(stays),
            };
            let is_back = back.landed.contains_key(&held.copy_id);
            match planned {
                Ok((kind, put_back)) => {
                    if back.there.contains(&held.copy_id) && !is_back {
                        let why = back.failed.get(&held.copy_id).cloned().unwrap_or_default();
                        changed.late(held.id, &why);
                        continue;
                    }
                    freeing.push(Freeing { held, kind, back: put_back });
                    continue;
                }
                Err(Stays::Decided) => changed.outcome.unchanged_count += 1,
                Err(Stays::Because(why)) => changed.outcome.refuse(held.id, why),
            }
            if is_back {
                changed.strays.push(held.copy_id);
            }
        }
        self.put_out(tx, freeing, actor, &fresh, back, &mut changed).await?;
        Ok(changed)
    }

    /// Puts the copies into their mailboxes and writes down that they left.
    async fn put_out(
        &self,
        tx: &mut Tx,
        freeing: Vec<Freeing>,
        actor: &Actor,
        fresh: &HashMap<MessageId, Verdict>,
        elsewhere: &Back,
        changed: &mut Changed,
    ) -> Result<(), QuarantineError> {
        if freeing.is_empty() {
            return Ok(());
        }
        let now = self.store().now();
        let is_here = |one: &&Freeing| !elsewhere.landed.contains_key(&one.held.copy_id);
        let here: Vec<PutBack> = freeing.iter().filter(is_here).map(|one| one.back.clone()).collect();
        let mut landed = elsewhere.landed.clone();
        landed.extend(mailbox::put_back(tx, &here).await?.into_iter().map(|landed| (landed.copy_id, landed)));
        let mut ids = Vec::with_capacity(freeing.len());
        let mut events = Vec::with_capacity(freeing.len());
        for one in &freeing {
            let Freeing { held, kind, .. } = one;
            let landed = landed.get(&held.copy_id).ok_or(MailboxError::NotFound("copy"))?;
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
            if let Some(connector) = elsewhere.connectors.get(&held.copy_id) {
                detail["connector"] = json!(connector);
            }
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
    pub(crate) async fn fresh_verdicts(&self, all: &[Held]) -> Result<HashMap<MessageId, Verdict>, QuarantineError> {
        let dangerous: BTreeSet<i64> =
            all.iter().filter(|h| h.reason.needs_analyst()).map(|h| h.message_id.0).collect();
        let mut verdicts = HashMap::new();
        if dangerous.is_empty() {
            return Ok(verdicts);
        }
        let rules = self.protection().current().rule_set;
        // What was observed of a message never changes.
        for row in self.store().query("quarantine.facts", &values![&json!(dangerous)]).await? {
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
pub(crate) fn plan(held: &Held, now: model::Timestamp) -> Result<(EventKind, PutBack), &'static str> {
    let mailbox_id = held.mailbox_id.ok_or("its recipient has no mailbox here")?;
    let (kind, snapshot) = match (held.held_by, &held.snapshot) {
        (HeldBy::Arrival, _) => (EventKind::Released, Snapshot::arriving(mailbox_id, now)),
        (HeldBy::Purge, Some(snapshot)) => (EventKind::Restored, Snapshot { mailbox_id, ..snapshot.clone() }),
        (HeldBy::Purge, None) => return Err("nothing tells where it came from"),
    };
    if held.whereabouts.advance(kind, None).is_err() {
        return Err("it is not in quarantine any more");
    }
    Ok((kind, PutBack { copy_id: held.copy_id, message_id: held.message_id, snapshot }))
}

impl Changed {
    /// A copy whose mailbox cannot be reached now.
    fn late(&mut self, id: QuarantineItemId, why: &str) {
        tracing::debug!(item.id = %id, "a mailbox cannot be reached: {why}");
        self.outcome.refuse(id, UNREACHABLE);
        self.late_count += 1;
        if self.late_why.is_empty() {
            why.clone_into(&mut self.late_why);
        }
    }
}

const UNREACHABLE: &str = "the system that keeps its mailbox does not answer now: try again";
