//! The purge of mailboxes that another system keeps.
//!
//! Before anything is moved, the mailbox is looked into: what its owner did meanwhile (moved, read, deleted) decides, and
//! becomes evidence in the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mailbox::{FolderRole, LmtpImap, Snapshot, TakenOut};
use model::{CopyId, EventKind, MessageId, Place, Timestamp, Whereabouts};
use serde_json::json;
use store::{Row, StoreError, values};

use crate::QuarantineError;
use crate::elsewhere::{Keeper, Sight, first_why, not_configured, renewing};
use crate::free::{Changed, lock_copies};
use crate::job::Claimed;
use crate::purge::{Candidate, Landed, Moving, Purge, Target};
use crate::view::word;

/// Copies that are looked for at a time.
const COPIES_MAX: usize = 256;

/// A copy that the ledger has in a mailbox of another system.
struct There {
    landed: Landed,
    whereabouts: Whereabouts,
    place_detail: String,
    mailbox_id: model::MailboxId,
    received_at: Timestamp,
}

/// What is to be done with some copies of one system.
#[derive(Default)]
struct Seen {
    /// How those lie that are there.
    found: HashMap<CopyId, Snapshot>,
    /// Taken out by somebody who died: their snapshots come with the second try.
    held: BTreeSet<CopyId>,
    /// In mailboxes that cannot be entered now.
    late: BTreeSet<CopyId>,
    /// Why the first of these is.
    why: String,
    /// Which systems those that are not there were last seen in.
    seen_in: HashMap<CopyId, String>,
}

impl Seen {
    fn seen_in(&self, copy_id: CopyId) -> &str {
        self.seen_in.get(&copy_id).map_or("", String::as_str)
    }
}

impl Purge<'_> {
    /// The copies of a page of messages that other systems keep, in one or more transactions.
    pub(crate) async fn page_elsewhere(
        &self,
        job: &mut Claimed,
        message_ids: &serde_json::Value,
        candidates: &HashMap<MessageId, Candidate>,
    ) -> Result<Vec<Changed>, QuarantineError> {
        let rows = self.quarantine.store().query("quarantine.landed_elsewhere", &values![message_ids]).await?;
        let mut by_system: BTreeMap<String, (Option<LmtpImap>, Vec<There>)> = BTreeMap::new();
        for row in &rows {
            let (name, connector) = match self.quarantine.keeper(row.text("connector")?, row.text("mailbox_address")?) {
                Keeper::Here => continue,
                Keeper::There(connector) => (connector.name().to_owned(), Some(connector)),
                Keeper::Unknown(name) => (name, None),
            };
            by_system.entry(name).or_insert_with(|| (connector, Vec::new())).1.push(There::from_row(row)?);
        }
        let mut changed = Vec::new();
        for (name, (connector, all)) in by_system {
            let Some(connector) = connector else {
                let wanted_count = all.iter().filter(|there| self.wanted(there, candidates).is_some()).count();
                let cursor = job.progress.cursor;
                job.note_late(cursor, i64::try_from(wanted_count).unwrap_or(0), &not_configured(&name));
                continue;
            };
            for chunk in by_mailboxes(all, connector.config().connections_max) {
                changed.push(self.chunk_elsewhere(job, &connector, &chunk, candidates).await?);
            }
        }
        Ok(changed)
    }

    /// What would be done with a copy that lies unread where the ledger has it; `None`: it stays, whatever is found.
    fn wanted<'b>(&self, there: &'b There, candidates: &'b HashMap<MessageId, Candidate>) -> Option<Moving<'b>> {
        let arrived = Snapshot::arriving(there.mailbox_id, there.received_at);
        self.decided(there, candidates, there.whereabouts.place, &arrived)
    }

    fn decided<'b>(
        &self,
        there: &'b There,
        candidates: &'b HashMap<MessageId, Candidate>,
        place: Place,
        snapshot: &Snapshot,
    ) -> Option<Moving<'b>> {
        let (candidate, context) = (candidates.get(&there.landed.message_id)?, there.landed.context.as_ref()?);
        there.whereabouts.advance(EventKind::Purged, None).ok()?;
        self.decide(&there.landed, candidate, context, place, snapshot)
    }

    async fn chunk_elsewhere(
        &self,
        job: &mut Claimed,
        connector: &LmtpImap,
        chunk: &[There],
        candidates: &HashMap<MessageId, Candidate>,
    ) -> Result<Changed, QuarantineError> {
        let wanted: Vec<&There> = chunk.iter().filter(|there| self.wanted(there, candidates).is_some()).collect();
        let mut seen = self.look(job, connector, &wanted).await?;
        let mut moving = Vec::new();
        for there in &wanted {
            let copy_id = there.landed.copy_id;
            let decided = match seen.found.get(&copy_id) {
                Some(snapshot) => {
                    let (place, _) = snapshot.folder_role.whereabouts(&snapshot.folder);
                    self.decided(there, candidates, place, snapshot)
                }
                None if seen.held.contains(&copy_id) => self.wanted(there, candidates),
                None => None,
            };
            moving.extend(decided);
        }
        let taken = self.take_elsewhere(job, connector, &moving, &mut seen).await?;
        let (changed, kept) = self.write_down_elsewhere(job, chunk, &wanted, &moving, &taken, &seen, connector).await?;
        // The snapshots are kept, or the copies are back: the holding folders let go.
        let ended = renewing(self.quarantine, job, connector.settle_many(&kept)).await??;
        if let Some(why) = first_why(&ended.failed) {
            tracing::warn!("holding folders of {} are emptied later: {why}", connector.name());
        }
        Ok(changed)
    }

    async fn look(&self, job: &mut Claimed, connector: &LmtpImap, wanted: &[&There]) -> Result<Seen, QuarantineError> {
        let copy_ids: Vec<CopyId> = wanted.iter().map(|there| there.landed.copy_id).collect();
        if copy_ids.is_empty() {
            return Ok(Seen::default());
        }
        let held = connector.held(&copy_ids).await?;
        let looked = renewing(self.quarantine, job, connector.look(&copy_ids)).await??;
        let found: HashMap<CopyId, Snapshot> =
            looked.done.into_iter().map(|found| (found.copy_id, found.snapshot)).collect();
        let missing: Vec<CopyId> = copy_ids.iter().copied().filter(|id| !found.contains_key(id)).collect();
        Ok(Seen {
            seen_in: self.quarantine.seen_in(&missing).await?,
            found,
            held,
            why: first_why(&looked.failed).unwrap_or_default(),
            late: looked.failed.into_iter().map(|failed| failed.copy_id).collect(),
        })
    }

    /// Moves the copies out of the mailboxes, or to Junk in them; gives how each lay.
    async fn take_elsewhere(
        &self,
        job: &mut Claimed,
        connector: &LmtpImap,
        moving: &[Moving<'_>],
        seen: &mut Seen,
    ) -> Result<HashMap<CopyId, TakenOut>, QuarantineError> {
        let (to_junk, out): (Vec<&Moving<'_>>, Vec<&Moving<'_>>) =
            moving.iter().partition(|one| matches!(one.to, Target::Junk));
        let out: Vec<CopyId> = out.iter().map(|one| one.landed.copy_id).collect();
        let batch = renewing(self.quarantine, job, connector.take_out_many(&out)).await??;
        let mut failed = batch.failed;
        let mut taken: HashMap<CopyId, TakenOut> = batch.done.into_iter().map(|t| (t.copy_id, t)).collect();
        let junk = |one: &&Moving<'_>| {
            let found = seen.found.get(&one.landed.copy_id)?.clone();
            let role = FolderRole::Junk;
            Some((one.landed.copy_id, Snapshot { folder: role.default_name().into(), folder_role: role, ..found }))
        };
        let to_junk: Vec<(CopyId, Snapshot)> = to_junk.iter().filter_map(junk).collect();
        if !to_junk.is_empty() {
            let batch = renewing(self.quarantine, job, connector.move_many(None, &to_junk)).await??;
            taken.extend(batch.done.into_iter().map(|(taken, _)| (taken.copy_id, taken)));
            failed.extend(batch.failed);
        }
        if let (Some(why), true) = (first_why(&failed), seen.why.is_empty()) {
            seen.why = why;
        }
        seen.late.extend(failed.into_iter().map(|failed| failed.copy_id));
        Ok(taken)
    }

    /// Held items, events and evidence in one transaction with the job's progress; gives what the holding folders may
    /// let go of.
    #[expect(clippy::too_many_arguments, reason = "one batch, seen from all its sides")]
    async fn write_down_elsewhere(
        &self,
        job: &mut Claimed,
        chunk: &[There],
        wanted: &[&There],
        moving: &[Moving<'_>],
        taken: &HashMap<CopyId, TakenOut>,
        seen: &Seen,
        connector: &LmtpImap,
    ) -> Result<(Changed, Vec<CopyId>), QuarantineError> {
        let mut changed = Changed::default();
        let (mut rows, mut events, mut kept, mut unwanted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut tx = self.quarantine.store().begin().await?;
        let states = lock_copies(&mut tx, wanted.iter().map(|there| there.landed.copy_id)).await?;
        for there in wanted {
            let Some(state) = states.get(&there.landed.copy_id) else { continue };
            let copy_id = there.landed.copy_id;
            let snapshot = seen.found.get(&copy_id).or(taken.get(&copy_id).map(|taken| &taken.snapshot));
            if snapshot.is_some() || !(seen.late.contains(&copy_id) || seen.held.contains(&copy_id)) {
                let (place_detail, seen_in) = (&there.place_detail, seen.seen_in(copy_id));
                let sight = Sight { copy_id, state: *state, place_detail, snapshot, seen_in, by: "purge" };
                events.extend(self.quarantine.evidence(&sight, connector.name()));
            }
        }
        let mut moved_count = 0;
        let name = connector.name();
        for one in moving {
            let Some(taken) = taken.get(&one.landed.copy_id) else { continue };
            let may = states.get(&one.landed.copy_id).is_some_and(|s| s.advance(EventKind::Purged, None).is_ok());
            if !may {
                unwanted.push(taken.clone());
                continue;
            }
            changed.campaigns.insert(one.landed.campaign_id.map_or(0, |id| id.0));
            changed.mailboxes.insert(taken.snapshot.mailbox_id);
            let mut event = self.event(one, job, &taken.snapshot);
            event.detail["connector"] = json!(name);
            events.push(event);
            moved_count += 1;
            match one.to {
                Target::Quarantine(reason) => {
                    job.progress.moved_count += 1;
                    kept.push(one.landed.copy_id);
                    rows.push(self.item_row(one, job, reason, &taken.snapshot));
                }
                Target::Junk => job.progress.junk_count += 1,
            }
        }
        tx.insert_many("quarantine.insert", &rows).await?;
        tx.append_events(&events).await?;
        let late_count = i64::try_from(seen.late.len()).unwrap_or(i64::MAX);
        let all = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        let cursor = job.progress.cursor;
        job.note_late(cursor, late_count, &seen.why);
        job.progress.left_count += (all - moved_count - late_count).max(0);
        job.done_count += (all - late_count).max(0);
        job.save(&mut tx).await?;
        tx.commit().await?;
        kept.extend(self.give_back(connector, &unwanted).await?);
        Ok((changed, kept))
    }

    /// Copies that somebody else has decided about meanwhile return to where they were.
    async fn give_back(&self, connector: &LmtpImap, unwanted: &[TakenOut]) -> Result<Vec<CopyId>, QuarantineError> {
        let put_back = |t: &TakenOut| mailbox::PutBack {
            copy_id: t.copy_id,
            message_id: t.message_id,
            snapshot: t.snapshot.clone(),
        };
        let items: Vec<mailbox::PutBack> = unwanted.iter().map(put_back).collect();
        let back = connector.put_back_many(&items).await?;
        // What cannot return now is in the holding folder, and is swept from there.
        Ok(back.done.into_iter().map(|landed| landed.copy_id).collect())
    }
}

/// Chunks of so many mailboxes, whole ones as far as they fit: each is entered once for looking, taking and letting go,
/// since its connection is kept between the three.
fn by_mailboxes(mut all: Vec<There>, mailboxes_max: usize) -> Vec<Vec<There>> {
    all.sort_by_key(|there| (there.mailbox_id, there.landed.copy_id));
    let mut chunks: Vec<Vec<There>> = Vec::new();
    let mut mailboxes = BTreeSet::new();
    for there in all {
        let is_new = !mailboxes.contains(&there.mailbox_id);
        let is_full = chunks.last().is_none_or(|chunk| chunk.len() >= COPIES_MAX);
        if is_full || (is_new && mailboxes.len() >= mailboxes_max.max(1)) {
            chunks.push(Vec::new());
            mailboxes.clear();
        }
        mailboxes.insert(there.mailbox_id);
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(there);
        }
    }
    chunks
}

impl There {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(There {
            landed: Landed::from_row(row)?,
            whereabouts: Whereabouts {
                place: word(row, "place", Place::parse)?,
                last_event: word(row, "last_event", model::LastEvent::parse)?,
            },
            place_detail: row.text("place_detail")?.to_owned(),
            mailbox_id: row.id("mailbox_id")?,
            received_at: row.at("received_at")?,
        })
    }
}
