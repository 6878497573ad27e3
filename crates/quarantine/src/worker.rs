//! The worker: takes jobs one after the other, batch by batch, and ends the retention of what is held too long.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mailbox::{FolderRole, LmtpImap, PutBack, Snapshot, TakenOut};
use model::{CampaignId, CopyId, EventKind, LastEvent, Place, QuarantineItemId, Role};
use serde_json::json;
use store::{NewEvent, Row, Topic, values};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::act::{BATCH_MAX, SOURCE};
use crate::elsewhere::{Keeper, first_why, not_configured, renewing};
use crate::free::{Changed, Right, lock_copies};
use crate::job::{Claimed, JobState, Kind, ReleaseParams, Rest, params_error};
use crate::outcome::counted;
use crate::purge::Purge;
use crate::selection::{Ref, refs};
use crate::{Actor, Quarantine, QuarantineError, Severity, Step};

/// How often rows are looked at without being called: jobs of other processes, leases that ran out, retention.
const LOOK_EVERY_MS: u64 = 1_000;
/// How long a job goes on trying to reach mailboxes: as long as a purge looks back.
const LATE_MS_MAX: i64 = verdict::ZAP_WINDOW_MS;
/// How often mailboxes of other systems are looked after.
const LOOK_AFTER_EVERY_MS: u64 = 30_000;

/// Does the jobs of kinds `purge`, `restore` and `release`. Several may run, in one process or in many.
#[derive(Clone)]
pub struct Worker {
    quarantine: Quarantine,
    cancel: CancellationToken,
}

impl Worker {
    /// Starts a worker that runs until `cancel`. It ends between two batches and gives its job back.
    pub fn start(quarantine: Quarantine, cancel: CancellationToken) -> JoinHandle<()> {
        let worker = Worker { quarantine, cancel };
        let other = worker.clone();
        tokio::spawn(async move {
            let looking = tokio::spawn(async move { other.look_after().await });
            worker.work().await;
            if let Err(error) = looking.await {
                tracing::error!("looking after mailboxes of other systems ended badly: {error}");
            }
        })
    }

    /// Looks into mailboxes of other systems, slowly: apart from the jobs, which would have to wait for them.
    async fn look_after(&self) {
        let mut after = CopyId(0);
        while !self.cancel.is_cancelled() && !self.quarantine.connectors.is_empty() {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(LOOK_AFTER_EVERY_MS)) => {}
            }
            let round = async {
                self.quarantine.sweep_holding().await;
                self.quarantine.look_round(after).await
            };
            // Whatever is cut off here is found as it is by the next one.
            tokio::select! {
                () = self.cancel.cancelled() => return,
                looked = round => match looked {
                    Ok(last) => after = last,
                    Err(error) => tracing::warn!(%error, "mailboxes of other systems could not be looked into"),
                },
            }
        }
    }

    async fn work(&self) {
        let mut notices = self.quarantine.store().bus().subscribe();
        loop {
            // What was announced until now is looked at now, once.
            while matches!(notices.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
            if let Err(error) = self.work_off().await {
                tracing::warn!(%error, "the quarantine's worker could not go on; it tries again");
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)) => {}
                () = called(&mut notices) => {}
            }
        }
    }

    /// A worker that is driven by [`Worker::work_off`].
    pub fn new(quarantine: Quarantine, cancel: CancellationToken) -> Self {
        Worker { quarantine, cancel }
    }

    /// Does every job that waits now and ends every retention that is over; gives the number of jobs done.
    ///
    /// # Errors
    /// The store's, when not even a job could be read. Failures of a job are written into its row.
    pub async fn work_off(&self) -> Result<usize, QuarantineError> {
        let mut done_count = 0;
        while !self.cancel.is_cancelled() {
            let Some(claimed) = self.quarantine.claim_job().await? else { break };
            self.quarantine.store().bus().announce(Topic::Job, claimed.id);
            self.run(claimed).await?;
            done_count += 1;
        }
        self.expire().await?;
        Ok(done_count)
    }

    async fn run(&self, mut job: Claimed) -> Result<(), QuarantineError> {
        let worked = match job.kind {
            Kind::Purge => Box::pin(self.purge(&mut job)).await,
            Kind::Restore => Box::pin(self.restore(&mut job)).await,
            Kind::Release => Box::pin(self.release(&mut job)).await,
        };
        match worked {
            Ok(End::Done(result)) => self.quarantine.finish_job(&job, JobState::Done, &result).await,
            Ok(End::Stopped) => self.quarantine.put_job_off(&job, Rest::None).await,
            Ok(End::Later) => self.quarantine.put_job_off(&job, Rest::Long).await,
            Err(QuarantineError::Overtaken) => Ok(()),
            Err(error) if error.severity() == Severity::Transient => {
                tracing::warn!(job.id = %job.id, %error, "job {} rests after a passing failure", job.id);
                self.quarantine.put_job_off(&job, Rest::Short).await
            }
            Err(error) => {
                tracing::error!(job.id = %job.id, %error, "job {} failed", job.id);
                self.quarantine.finish_job(&job, JobState::Failed, &error.to_string()).await
            }
        }
    }

    /// Whether another pass has to come, for mailboxes that could not be reached; the job is saved for it then. Not when it
    /// has tried for as long as a purge looks back, nor when the undo of the same cause waits for its end.
    async fn comes_again(&self, job: &mut Claimed) -> Result<bool, QuarantineError> {
        let Some(late) = job.progress.late.clone() else { return Ok(false) };
        let now = self.quarantine.store().now();
        let began_at = *job.progress.began_at.get_or_insert(now);
        let is_over = now.ms_since(began_at) > LATE_MS_MAX;
        let undo = match (job.kind, job.cause_id) {
            (Kind::Purge, Some(cause_id)) => {
                self.quarantine.store().query_one("quarantine.restore_waits", &values![cause_id]).await?
            }
            (Kind::Purge | Kind::Restore | Kind::Release, _) => None,
        };
        if is_over || undo.is_some() {
            job.failed_count += late.copy_count;
            return Ok(false);
        }
        let Some(words) = job.begin_again() else { return Ok(false) };
        self.quarantine.note_job(job, &words).await?;
        Ok(true)
    }

    async fn purge(&self, job: &mut Claimed) -> Result<End, QuarantineError> {
        let purge = Purge::begin(&self.quarantine, job).await?;
        while !self.cancel.is_cancelled() {
            let Some(changes) = purge.page(job).await? else {
                if self.comes_again(job).await? {
                    return Ok(End::Later);
                }
                let progress = &job.progress;
                let mut result = format!("{} pulled back into quarantine", counted(progress.moved_count));
                if progress.junk_count > 0 {
                    result.push_str(&format!(", {} moved to Junk", counted(progress.junk_count)));
                }
                if progress.left_count > 0 {
                    result.push_str(&format!(", {} left where they were", counted(progress.left_count)));
                }
                result.push_str(&unreached(job));
                return Ok(End::Done(result));
            };
            changes.iter().for_each(|changed| self.announce(job, changed));
        }
        Ok(End::Stopped)
    }

    async fn restore(&self, job: &mut Claimed) -> Result<End, QuarantineError> {
        let cause_id = job.cause_id.ok_or_else(|| QuarantineError::Params("a restore names its change".into()))?;
        let store = self.quarantine.store();
        // What is dangerous is judged again by the rules of now, from which the change is gone.
        self.quarantine.protection().refresh().await?;
        if job.progress.since_at.is_none() {
            job.progress.since_at = Some(store.now());
            let of = self.quarantine.organisation_id();
            let row = store.query_one("quarantine.count_purged", &values![of, cause_id]).await?;
            job.total_count = row.map_or(Ok(0), |row| row.int("item_count"))?;
        }
        let actor = Actor { login: job.actor.clone(), role: Role::Administrator };
        while !self.cancel.is_cancelled() {
            let page = values![self.quarantine.organisation_id(), cause_id, job.progress.cursor, BATCH_MAX];
            let page = refs(&store.query("quarantine.open_purged", &page).await?)?;
            let Some(last) = page.last() else {
                self.unjunk(job, cause_id).await?;
                self.unjunk_elsewhere(job, cause_id).await?;
                if self.comes_again(job).await? {
                    return Ok(End::Later);
                }
                let mut result = format!("{} put back where they came from", counted(job.progress.moved_count));
                if job.progress.junk_count > 0 {
                    result.push_str(&format!(", {} put back from Junk", counted(job.progress.junk_count)));
                }
                if job.failed_count > 0 {
                    result.push_str(&format!(", {} stay in quarantine", counted(job.failed_count)));
                }
                result.push_str(&unreached(job));
                return Ok(End::Done(result));
            };
            self.free(job, &page, last.id, &actor, Right::Undo).await?;
        }
        Ok(End::Stopped)
    }

    /// Frees a page of held copies, those in mailboxes of other systems first.
    async fn free(
        &self,
        job: &mut Claimed,
        page: &[Ref],
        last: QuarantineItemId,
        actor: &Actor,
        right: Right,
    ) -> Result<(), QuarantineError> {
        let quarantine = &self.quarantine;
        let back = renewing(quarantine, job, quarantine.put_back_elsewhere(page, actor, right)).await??;
        let mut tx = quarantine.store().begin().await?;
        let changed = quarantine.free_page(&mut tx, page, actor, right, &back).await?;
        let cursor = job.progress.cursor;
        job.note_late(cursor, changed.late_count, &changed.late_why);
        job.progress.cursor = last.0;
        job.progress.moved_count += changed.outcome.done_count();
        job.done_count += changed.outcome.done_count() + changed.outcome.unchanged_count;
        job.failed_count += changed.outcome.refused_count - changed.late_count;
        job.save(&mut tx).await?;
        tx.commit().await?;
        quarantine.take_back(&changed.strays).await?;
        self.announce(job, &changed);
        Ok(())
    }

    /// Puts back what the change had moved to Junk and is there still: where it was, with its flags as they are now.
    async fn unjunk(&self, job: &mut Claimed, cause_id: i64) -> Result<(), QuarantineError> {
        let of = self.quarantine.organisation_id();
        let mut after = CopyId(0);
        loop {
            let mut tx = self.quarantine.store().begin().await?;
            let rows = tx.query("quarantine.junked", &values![cause_id, of, after, BATCH_MAX]).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id("copy_id")?;
            let (mut changed, mut was) = (Changed::default(), HashMap::new());
            for row in &rows {
                let (campaign_id, snapshot) = junked(row)?;
                was.insert(row.id::<CopyId>("copy_id")?, (campaign_id, snapshot));
            }
            let states = lock_copies(&mut tx, was.keys().copied()).await?;
            let still = |id: &CopyId| {
                states.get(id).is_some_and(|s| s.place == Place::Junk && s.last_event == LastEvent::Purged)
            };
            let copy_ids: Vec<CopyId> = was.keys().copied().filter(|id| still(id)).collect();
            let taken = mailbox::take_out(&mut tx, &copy_ids).await?;
            let back: Vec<PutBack> = taken
                .into_iter()
                .filter_map(|taken| was.get(&taken.copy_id).map(|(_, s)| returning(taken, s)))
                .collect();
            let mut events = Vec::with_capacity(back.len());
            for landed in mailbox::put_back(&mut tx, &back).await? {
                let (place, place_detail) = landed.role.whereabouts(&landed.folder);
                let campaign_id = was.get(&landed.copy_id).and_then(|(campaign_id, _)| *campaign_id);
                changed.campaigns.insert(campaign_id.map_or(0, |id| id.0));
                changed.mailboxes.insert(landed.mailbox_id);
                let now = self.quarantine.store().now();
                events.push(NewEvent {
                    place: Some(place),
                    place_detail,
                    cause_id: Some(cause_id),
                    actor: job.actor.clone(),
                    detail: json!({ "from_folder": "Junk", "folder": landed.folder, "uid": landed.uid }),
                    ..NewEvent::now(of, landed.copy_id, EventKind::Redelivered, SOURCE, now)
                });
            }
            tx.append_events(&events).await?;
            job.progress.junk_count += i64::try_from(events.len()).unwrap_or(0);
            job.save(&mut tx).await?;
            tx.commit().await?;
            self.announce(job, &changed);
        }
    }

    async fn release(&self, job: &mut Claimed) -> Result<End, QuarantineError> {
        let params: ReleaseParams = serde_json::from_value(job.params.clone()).map_err(params_error)?;
        let store = self.quarantine.store();
        self.quarantine.protection().refresh().await?;
        if job.progress.since_at.is_none() {
            job.progress.since_at = Some(store.now());
            job.total_count = self.quarantine.effect(&params.selection).await?.count();
        }
        let actor = Actor { login: job.actor.clone(), role: params.role };
        while !self.cancel.is_cancelled() {
            let after = QuarantineItemId(job.progress.cursor);
            let of = self.quarantine.organisation_id();
            let page = params.selection.open_page(store, of, after, BATCH_MAX).await?;
            let Some(last) = page.last() else {
                if self.comes_again(job).await? {
                    return Ok(End::Later);
                }
                let mut result = format!("{} released", counted(job.progress.moved_count));
                if job.failed_count > 0 {
                    result.push_str(&format!(", {} refused", counted(job.failed_count)));
                }
                result.push_str(&unreached(job));
                return Ok(End::Done(result));
            };
            self.free(job, &page, last.id, &actor, Right::Role).await?;
        }
        Ok(End::Stopped)
    }

    /// As [`Worker::unjunk`], in mailboxes of other systems: what its owner has moved out of Junk stays where it is.
    async fn unjunk_elsewhere(&self, job: &mut Claimed, cause_id: i64) -> Result<(), QuarantineError> {
        let (quarantine, of) = (&self.quarantine, self.quarantine.organisation_id());
        let mut after = CopyId(0);
        loop {
            let page = values![cause_id, of, after, BATCH_MAX];
            let rows = quarantine.store().query("quarantine.junked_elsewhere", &page).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id("copy_id")?;
            let mut systems: BTreeMap<String, (LmtpImap, Vec<(CopyId, Snapshot)>)> = BTreeMap::new();
            let mut campaigns = HashMap::new();
            for row in &rows {
                let copy_id: CopyId = row.id("copy_id")?;
                let (campaign_id, snapshot) = junked(row)?;
                campaigns.insert(copy_id, campaign_id);
                match quarantine.keeper(row.text("connector")?, row.text("mailbox_address")?) {
                    Keeper::Here => {}
                    Keeper::There(connector) => {
                        let name = connector.name().to_owned();
                        let system = systems.entry(name).or_insert_with(|| (connector, Vec::new()));
                        system.1.push((copy_id, snapshot));
                    }
                    Keeper::Unknown(name) => job.note_late(job.progress.cursor, 1, &not_configured(&name)),
                }
            }
            for (connector, back) in systems.into_values() {
                let moving = connector.move_many(Some(FolderRole::Junk), &back);
                let batch = renewing(quarantine, job, moving).await??;
                let late_count = i64::try_from(batch.failed.len()).unwrap_or(i64::MAX);
                job.note_late(job.progress.cursor, late_count, &first_why(&batch.failed).unwrap_or_default());
                self.unjunked(job, cause_id, connector.name(), &batch.done, &campaigns).await?;
            }
        }
    }

    async fn unjunked(
        &self,
        job: &mut Claimed,
        cause_id: i64,
        connector: &str,
        moved: &[(TakenOut, Snapshot)],
        campaigns: &HashMap<CopyId, Option<CampaignId>>,
    ) -> Result<(), QuarantineError> {
        let (quarantine, of) = (&self.quarantine, self.quarantine.organisation_id());
        let (mut changed, mut events) = (Changed::default(), Vec::with_capacity(moved.len()));
        let mut tx = quarantine.store().begin().await?;
        let states = lock_copies(&mut tx, moved.iter().map(|(taken, _)| taken.copy_id)).await?;
        for (taken, after) in moved {
            let (place, place_detail) = after.folder_role.whereabouts(&after.folder);
            let state = states.get(&taken.copy_id);
            if state.is_none_or(|state| state.advance(EventKind::Redelivered, Some(place)).is_err()) {
                continue;
            }
            changed.campaigns.insert(campaigns.get(&taken.copy_id).copied().flatten().map_or(0, |id| id.0));
            changed.mailboxes.insert(after.mailbox_id);
            events.push(NewEvent {
                place: Some(place),
                place_detail,
                cause_id: Some(cause_id),
                actor: job.actor.clone(),
                detail: json!({ "from_folder": "Junk", "folder": after.folder, "connector": connector }),
                ..NewEvent::now(of, taken.copy_id, EventKind::Redelivered, SOURCE, quarantine.store().now())
            });
        }
        tx.append_events(&events).await?;
        job.progress.junk_count += i64::try_from(events.len()).unwrap_or(0);
        job.save(&mut tx).await?;
        tx.commit().await?;
        self.announce(job, &changed);
        Ok(())
    }

    fn announce(&self, job: &Claimed, changed: &Changed) {
        self.quarantine.announce(changed);
        self.quarantine.store().bus().announce(Topic::Job, job.id);
    }

    /// Ends what was held for longer than its policy says.
    async fn expire(&self) -> Result<(), QuarantineError> {
        let of = self.quarantine.organisation_id();
        let nobody = Actor { login: String::new(), role: Role::Administrator };
        let mut after = QuarantineItemId(0);
        while !self.cancel.is_cancelled() {
            let store = self.quarantine.store();
            let due = values![of, store.now(), after, BATCH_MAX];
            // Looked up outside a write transaction: mostly there is nothing to do.
            let page = refs(&store.query("quarantine.expired", &due).await?)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let mut tx = store.begin().await?;
            let changed = self.quarantine.mark_page(&mut tx, &page, Step::Expire, &nobody, "").await?;
            tx.commit().await?;
            self.quarantine.announce(&changed);
        }
        Ok(())
    }
}

/// How a job's turn ended.
enum End {
    /// Done, with this result.
    Done(String),
    /// The worker was told to stop before its end.
    Stopped,
    /// Another pass comes later.
    Later,
}

/// What a result says of copies that could not be reached to the end.
fn unreached(job: &Claimed) -> String {
    match &job.progress.late {
        Some(late) => format!("; {} in mailboxes that did not answer ({})", counted(late.copy_count), late.why),
        None => String::new(),
    }
}

/// Waits until somebody announces a job.
async fn called(notices: &mut tokio::sync::broadcast::Receiver<store::Notice>) {
    loop {
        match notices.recv().await {
            Ok(notice) if notice.topic == Topic::Job => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The store is closing; the look every second finds that out.
            Err(RecvError::Closed) => std::future::pending::<()>().await,
        }
    }
}

fn junked(row: &Row) -> Result<(Option<CampaignId>, Snapshot), QuarantineError> {
    let detail: serde_json::Value = row.json("detail")?;
    let snapshot = detail.get("snapshot").cloned().unwrap_or_default();
    Ok((row.opt_id("campaign_id")?, serde_json::from_value(snapshot).map_err(params_error)?))
}

fn returning(taken: TakenOut, was: &Snapshot) -> PutBack {
    let snapshot = Snapshot { folder: was.folder.clone(), folder_role: was.folder_role, ..taken.snapshot };
    PutBack { copy_id: taken.copy_id, message_id: taken.message_id, snapshot }
}
