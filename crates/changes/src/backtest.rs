//! The backtest: a change tried on the organisation's own recent mail, in batches, with progress.
//!
//! The process that runs one holds it by a lease and renews it as long as it lives. Nobody takes a backtest over; one whose process
//! has died is ended by the others when the lease is over, and can be started again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{BacktestId, CampaignId, ChangeId, CopyId, Facts, MessageId, Place, RuleSetId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Row, StoreError, Topic, Value, values};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use verdict::{LandedCopy, ZAP_WINDOW_MS, candidate_terms};

use crate::edit::with_change;
use crate::judging::{Bench, JudgedCopy, MovedCopy, judge_message};
use crate::report::{BacktestReport, Tally};
use crate::state::{ChangeState, Step, advance};
use crate::versions::compile;
use crate::{Actor, Change, Changes, Error};

/// Messages read, judged and recorded at a time.
const BATCH_MESSAGES: i64 = 500;
/// Rows of a page of moved copies.
const COPIES_PAGE_MAX: i64 = 1_000;
/// Backtests of one change listed at most.
const OF_CHANGE_MAX: i64 = 50;
/// Backtests that are found cut off at a time, at most.
const CUT_OFF_MAX: i64 = 1_000;
/// How long the process of a backtest may be silent before others end it.
const LEASE_MS: i64 = 30_000;
/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// How often the others look.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What becomes of a backtest whose process has died.
const ENDED: &str = "the server ended while it ran; run it again";

/// What to try a change on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacktestOptions {
    /// How far back, in milliseconds.
    pub window_ms: i64,
    /// Messages judged at most; when there are more, the newest are taken and the report says so.
    pub messages_max: i64,
}

impl Default for BacktestOptions {
    /// 14 days, a million messages.
    fn default() -> Self {
        BacktestOptions { window_ms: 14 * 24 * 60 * 60 * 1_000, messages_max: 1_000_000 }
    }
}

/// Where a backtest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacktestState {
    /// Under way.
    Running,
    /// Ended with a report.
    Done,
    /// Ended without one; `warning` says why.
    Failed,
}

impl BacktestState {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            BacktestState::Running => "running",
            BacktestState::Done => "done",
            BacktestState::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [BacktestState::Running, BacktestState::Done, BacktestState::Failed].into_iter().find(|s| s.as_str() == text)
    }
}

/// A backtest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backtest {
    /// Its id.
    pub id: BacktestId,
    /// Of which change.
    pub change_id: ChangeId,
    /// Where it is.
    pub state: BacktestState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Messages judged so far.
    pub judged_count: i64,
    /// Messages to judge.
    pub total_count: i64,
    /// Copies that would be treated otherwise, so far.
    pub moved_count: i64,
    /// The warning, or why it failed; empty when there is nothing to warn of.
    pub warning: String,
    /// The result, once done.
    pub report: BacktestReport,
}

/// A copy that the change would treat otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BacktestCopy {
    /// The copy.
    pub copy_id: CopyId,
    /// The message that was judged.
    pub message_id: MessageId,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// The recipient's address.
    pub recipient: String,
    /// Its subject.
    pub subject: String,
    /// Where it was.
    pub from_place: Place,
    /// What the proposed rules do on arrival.
    pub to_disposition: String,
    /// Where activating pulls it (`quarantine`, `junk`), or empty.
    pub purge: String,
    /// The class before.
    pub class_before: String,
    /// The class after.
    pub class_after: String,
    /// Why.
    pub sentence: String,
}

/// A backtest that has its row and now has to be run.
struct Started {
    id: BacktestId,
    change_id: ChangeId,
    bench: Bench,
    since_at: Timestamp,
    total_count: i64,
    messages_max: i64,
}

/// One message with its copies, ready to be judged on another thread.
struct Mail {
    id: MessageId,
    received_at: Timestamp,
    subject: String,
    facts: String,
    copies: Vec<JudgedCopy>,
}

/// What a batch gave.
struct Judged {
    moved: Vec<(MovedCopy, String)>,
    judged_count: i64,
    unreadable_count: i64,
    copy_count: i64,
}

impl Changes {
    /// Runs a backtest to its end.
    ///
    /// # Errors
    /// [`Error::State`] for a change that is in force or given up, also when it is stopped meanwhile.
    pub async fn backtest(&self, id: ChangeId, options: BacktestOptions, actor: &Actor) -> Result<Backtest, Error> {
        let started = self.begin_backtest(id, options, actor).await?;
        let backtest_id = started.id;
        self.run_backtest(started).await?;
        self.backtest_status(backtest_id).await
    }

    /// Starts a backtest and leaves it to itself; its progress is in [`Changes::backtest_status`] and announced as
    /// [`Topic::Change`].
    ///
    /// # Errors
    /// As [`Changes::backtest`], as far as it shows at the start.
    pub async fn start_backtest(
        &self,
        id: ChangeId,
        options: BacktestOptions,
        actor: &Actor,
    ) -> Result<BacktestId, Error> {
        let started = self.begin_backtest(id, options, actor).await?;
        let (backtest_id, changes) = (started.id, self.clone());
        tokio::spawn(async move {
            if let Err(error) = changes.run_backtest(started).await {
                tracing::warn!(change.id = %id, %error, "backtest of change {id} ended without a result");
            }
        });
        Ok(backtest_id)
    }

    /// A backtest with its progress.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub async fn backtest_status(&self, id: BacktestId) -> Result<Backtest, Error> {
        let row = self.store().query_one("backtest.by_id", &values![id, self.directory.id()]).await?;
        backtest(&row.ok_or(Error::NotFound { what: "backtest", id: id.0 })?)
    }

    /// The backtests of a change, newest first.
    pub async fn backtests_of(&self, id: ChangeId) -> Result<Vec<Backtest>, Error> {
        let rows = self.store().query("backtest.of_change", &values![id, self.directory.id(), OF_CHANGE_MAX]).await?;
        rows.iter().map(backtest).collect()
    }

    /// A page of the copies that the change would treat otherwise, in the order of ids; `purges_only` asks for those
    /// that activating it pulls back.
    pub async fn backtest_copies(
        &self,
        id: BacktestId,
        after: Option<CopyId>,
        purges_only: bool,
        limit: i64,
    ) -> Result<Vec<BacktestCopy>, Error> {
        let (after, limit) = (after.map_or(0, |id| id.0), limit.clamp(1, COPIES_PAGE_MAX));
        let page = values![id, self.directory.id(), after, purges_only, limit];
        self.store().query("backtest.copies", &page).await?.iter().map(backtest_copy).collect()
    }

    /// Backtests whose process has been silent for too long are ended, and their changes can be tested again; gives how many.
    pub async fn recover(&self) -> Result<usize, Error> {
        self.end_silent_since(self.store().now()).await
    }

    /// As [`Changes::recover`], at the start of a process that alone works on these data: whatever was under way was a dead one's.
    pub async fn recover_alone(&self) -> Result<usize, Error> {
        self.end_silent_since(Timestamp::from_micros(i64::MAX)).await
    }

    /// Ends backtests of other processes when they have died, until `cancel`.
    pub fn start_recovering(&self, cancel: CancellationToken) -> JoinHandle<()> {
        let changes = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                if let Err(error) = changes.recover().await {
                    tracing::warn!(%error, "backtests of processes that died could not be ended; tried again later");
                }
            }
        })
    }

    async fn end_silent_since(&self, at: Timestamp) -> Result<usize, Error> {
        let cut_off = values![self.directory.id(), ChangeState::Backtesting.as_str(), at, CUT_OFF_MAX];
        let rows = self.store().query("change.cut_off", &cut_off).await?;
        let mut ended_count = 0;
        for row in &rows {
            ended_count += usize::from(self.end_silent(row.id("id")?, at).await?);
        }
        Ok(ended_count)
    }

    /// Ends the backtest of a change unless its process has said meanwhile that it lives, or another one was started.
    async fn end_silent(&self, change_id: ChangeId, at: Timestamp) -> Result<bool, Error> {
        let now = self.store().now();
        let mut tx = self.store().begin().await?;
        let change = self.lock(&mut tx, change_id).await?;
        tx.execute("backtest.fail_silent", &values![now, ENDED, change_id, at]).await?;
        let lives = tx.query_one("backtest.running", &values![change_id]).await?.is_some();
        let Ok(state) = advance(change.state, Step::FailBacktest) else { return Ok(false) };
        if lives {
            return Ok(false);
        }
        tx.execute("change.set_state", &values![state.as_str(), now, change_id]).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Change, change_id);
        Ok(true)
    }

    async fn begin_backtest(&self, id: ChangeId, options: BacktestOptions, actor: &Actor) -> Result<Started, Error> {
        let store = self.store();
        let protection = self.protection().await?;
        let found = self.get(id).await?;
        advance(found.state, Step::StartBacktest)?;
        let now = store.now();
        let bench = bench(protection, &found, now).await?;
        let since_at = now.plus_ms(-options.window_ms);
        let count = store.query_one("backtest.mail_count", &values![self.directory.id(), since_at]).await?;
        let total_count = count.map_or(Ok(0), |row| row.int("message_count"))?;
        let messages_max = options.messages_max.max(1);
        let backtest_id: BacktestId = store.next_id();
        let mut tx = store.begin().await?;
        let locked = self.lock(&mut tx, id).await?;
        let state = advance(locked.state, Step::StartBacktest)?;
        tx.execute("backtest.fail_running", &values![now, "another backtest of this change was started", id]).await?;
        let (running, total) = (BacktestState::Running.as_str(), total_count.min(messages_max));
        let row = values![backtest_id, self.directory.id(), id, running, now, total, now.plus_ms(LEASE_MS)];
        tx.execute("backtest.insert", &row).await?;
        let base = base_of(bench.active.id());
        tx.execute("change.set_backtest", &values![state.as_str(), backtest_id, base, now, id]).await?;
        self.audit(&mut tx, actor, "change.backtest", id, "", serde_json::json!({ "backtest_id": backtest_id }))
            .await?;
        tx.commit().await?;
        store.bus().announce(Topic::Change, id);
        Ok(Started { id: backtest_id, change_id: id, bench, since_at, total_count, messages_max })
    }

    /// Runs it and writes its end, whatever that is.
    async fn run_backtest(&self, started: Started) -> Result<(), Error> {
        let (id, change_id) = (started.id, started.change_id);
        match self.holding(id, BEAT, self.judge_mail(started)).await {
            Ok(tally) => self.finish_backtest(id, change_id, tally).await,
            Err(error) => {
                self.fail_backtest(id, change_id, &error.to_string()).await?;
                Err(error)
            }
        }
    }

    /// Does the work of a backtest and says meanwhile, every `beat`, that this process lives.
    ///
    /// # Errors
    /// Those of the work; [`Error::CutOff`] when the backtest was ended by somebody else.
    async fn holding<T>(
        &self,
        id: BacktestId,
        beat: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // Both go on at the same time: the work may be inside a transaction for which the other has to wait.
        tokio::select! {
            done = work => done,
            lost = self.beating(id, beat) => Err(lost),
        }
    }

    async fn beating(&self, id: BacktestId, beat: Duration) -> Error {
        loop {
            tokio::time::sleep(beat).await;
            let until = self.store().now().plus_ms(LEASE_MS);
            match self.store().execute("backtest.renew", &values![until, id]).await {
                Ok(0) => return Error::CutOff("it was ended by somebody else".into()),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the lease of backtest {id} could not be renewed; tried again"),
            }
        }
    }

    async fn judge_mail(&self, started: Started) -> Result<Tally, Error> {
        let mut tally = Tally::new(started.since_at, started.total_count);
        let mut seek = (Timestamp::from_micros(i64::MAX), MessageId(i64::MAX));
        let mut left = started.messages_max;
        let mut next = self.read_mail(started.since_at, seek, left).await?;
        while let Some(last) = next.1 {
            left -= i64::try_from(next.0.len()).unwrap_or(left);
            seek = last;
            let (bench, mail) = (started.bench.clone(), std::mem::take(&mut next.0));
            let judging = tokio::task::spawn_blocking(move || judge_batch(&bench, mail));
            // The next batch is read while this one is judged.
            let (judged, read) = tokio::join!(judging, self.read_mail(started.since_at, seek, left));
            let judged = judged.map_err(|error| Error::CutOff(error.to_string()))?;
            next = read?;
            tally.counts(judged.judged_count, judged.unreadable_count, judged.copy_count);
            for (moved, subject) in &judged.moved {
                tally.add(moved, subject);
            }
            self.record(&started, &judged.moved, &tally).await?;
        }
        Ok(tally)
    }

    /// The next messages with their copies, and where to go on; `None` at the end.
    async fn read_mail(
        &self,
        since_at: Timestamp,
        (before_at, before_id): (Timestamp, MessageId),
        left: i64,
    ) -> Result<(Vec<Mail>, Option<(Timestamp, MessageId)>), Error> {
        if left <= 0 {
            return Ok((Vec::new(), None));
        }
        let page = values![self.directory.id(), since_at, before_at, before_id, left.min(BATCH_MESSAGES)];
        let rows = self.store().query("backtest.mail_page", &page).await?;
        let Some(last) = rows.last() else { return Ok((Vec::new(), None)) };
        let next = (last.at("received_at")?, last.id("id")?);
        let ids = rows.iter().map(|row| row.int("id")).collect::<Result<Vec<i64>, StoreError>>()?;
        let mut copies: HashMap<i64, Vec<JudgedCopy>> = HashMap::new();
        let ids = serde_json::json!(ids);
        for row in self.store().query("backtest.copies_of_mail", &values![&ids]).await? {
            copies.entry(row.int("judged_id")?).or_default().push(judged_copy(&row)?);
        }
        let mut mail = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: MessageId = row.id("id")?;
            let copies = copies.remove(&id.0).unwrap_or_default();
            let (subject, facts) = (row.text("subject")?.to_owned(), row.text("facts")?.to_owned());
            mail.push(Mail { id, received_at: row.at("received_at")?, subject, facts, copies });
        }
        Ok((mail, Some(next)))
    }

    /// Writes the moved copies of a batch and the progress, in one transaction; ends the backtest when its change has
    /// been stopped or another backtest of it was started.
    async fn record(&self, started: &Started, moved: &[(MovedCopy, String)], tally: &Tally) -> Result<(), Error> {
        let rows: Vec<Vec<Value>> = moved.iter().map(|(moved, _)| copy_values(started.id, moved)).collect();
        let mut tx = self.store().begin().await?;
        let change = self.lock(&mut tx, started.change_id).await?;
        advance(change.state, Step::FinishBacktest)?;
        if change.backtest_id != Some(started.id) {
            return Err(Error::CutOff("another backtest of this change was started".into()));
        }
        if !rows.is_empty() {
            tx.insert_many("backtest.insert_copy", &rows).await?;
        }
        tx.execute("backtest.progress", &values![tally.judged_count(), tally.moved_count(), started.id]).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Change, started.change_id);
        Ok(())
    }

    async fn finish_backtest(&self, id: BacktestId, change_id: ChangeId, tally: Tally) -> Result<(), Error> {
        let (report, warning) = tally.finish();
        let now = self.store().now();
        let json = serde_json::json!(report);
        let mut tx = self.store().begin().await?;
        let change = self.lock(&mut tx, change_id).await?;
        let state = advance(change.state, Step::FinishBacktest)?;
        if change.backtest_id != Some(id) {
            return Err(Error::CutOff("another backtest of this change was started".into()));
        }
        let done = BacktestState::Done.as_str();
        let row = values![done, now, report.judged_count, report.moved_count, &warning, &json, id];
        tx.execute_guarded("backtest.finish", &row).await?;
        tx.execute("change.set_state", &values![state.as_str(), now, change_id]).await?;
        tx.commit().await?;
        self.store().bus().announce(Topic::Change, change_id);
        Ok(())
    }

    /// Marks this backtest as failed; a change that waits for it can be tested again. One that was started since goes on.
    async fn fail_backtest(&self, id: BacktestId, change_id: ChangeId, why: &str) -> Result<(), Error> {
        let now = self.store().now();
        let mut tx = self.store().begin().await?;
        let change = self.lock(&mut tx, change_id).await?;
        tx.execute("backtest.fail", &values![now, why, id]).await?;
        if change.backtest_id == Some(id)
            && let Ok(state) = advance(change.state, Step::FailBacktest)
        {
            tx.execute("change.set_state", &values![state.as_str(), now, change_id]).await?;
        }
        tx.commit().await?;
        self.store().bus().announce(Topic::Change, change_id);
        Ok(())
    }
}

pub(crate) fn base_of(id: RuleSetId) -> Option<RuleSetId> {
    Some(id).filter(|id| id.0 != 0)
}

async fn bench(protection: directory::Protection, change: &Change, now: Timestamp) -> Result<Bench, Error> {
    let active = protection.rule_set;
    let (base, diff, change_id) = (active.clone(), change.diff.clone(), change.id);
    let compiled = tokio::task::spawn_blocking(move || {
        let source = with_change(base.source(), &diff, change_id, base.id());
        let candidates = candidate_terms(base.source(), &source);
        compile(source).map(|rules| (Arc::new(rules), Arc::new(candidates)))
    });
    let (proposed, candidates) = compiled.await.map_err(|error| Error::CutOff(error.to_string()))??;
    Ok(Bench { active, proposed, policies: protection.policies, candidates, now, zap_window_ms: ZAP_WINDOW_MS })
}

fn judge_batch(bench: &Bench, mail: Vec<Mail>) -> Judged {
    let mut judged = Judged { moved: Vec::new(), judged_count: 0, unreadable_count: 0, copy_count: 0 };
    for mail in mail {
        // Facts of another layout cannot be replayed; the purge leaves such mail alone, too.
        let facts = match serde_json::from_str::<Facts>(&mail.facts) {
            Ok(facts) if facts.version == Facts::VERSION => facts,
            Ok(_) | Err(_) => {
                judged.unreadable_count += 1;
                continue;
            }
        };
        judged.judged_count += 1;
        judged.copy_count += i64::try_from(mail.copies.len()).unwrap_or(i64::MAX);
        let moved = judge_message(bench, (mail.id, mail.received_at), &facts, &mail.copies);
        judged.moved.extend(moved.into_iter().map(|moved| (moved, mail.subject.clone())));
    }
    judged
}

fn copy_values(id: BacktestId, moved: &MovedCopy) -> Vec<Value> {
    values![
        id,
        moved.copy.copy_id,
        moved.message_id,
        moved.copy.campaign_id,
        moved.copy.landed.place.as_str(),
        moved.after.as_str(),
        moved.purge.map_or("", Place::as_str),
        moved.class_before.as_str(),
        moved.class_after.as_str(),
        &moved.sentence
    ]
    .to_vec()
}

fn judged_copy(row: &Row) -> Result<JudgedCopy, Error> {
    // It landed when the mailbox says: the date that moves and restores keep. Without an item it is in no mailbox.
    let internal_at = row.opt_at("internal_at")?;
    let landed_at = internal_at.unwrap_or(row.at("place_at")?);
    Ok(JudgedCopy {
        copy_id: row.id("copy_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        campaign_name: row.text("campaign_name")?.to_owned(),
        address: row.text("address")?.to_owned(),
        department: row.text("department")?.to_owned(),
        landed: LandedCopy { place: place(row, "place")?, read: row.opt_int("seen")? == Some(1), landed_at },
        in_mailbox: internal_at.is_some(),
    })
}

fn place(row: &Row, column: &str) -> Result<Place, Error> {
    let word = row.text(column)?;
    Place::parse(word).ok_or_else(|| Error::Row { what: "copy", problem: format!("unknown place {word:?}") })
}

fn backtest(row: &Row) -> Result<Backtest, Error> {
    let word = row.text("state")?;
    let state = BacktestState::parse(word)
        .ok_or_else(|| Error::Row { what: "backtest", problem: format!("unknown state {word:?}") })?;
    Ok(Backtest {
        id: row.id("id")?,
        change_id: row.id("change_id")?,
        state,
        started_at: row.at("started_at")?,
        finished_at: row.opt_at("finished_at")?,
        judged_count: row.int("judged_count")?,
        total_count: row.int("total_count")?,
        moved_count: row.int("moved_count")?,
        warning: row.text("warning")?.to_owned(),
        report: row.json("report")?,
    })
}

fn backtest_copy(row: &Row) -> Result<BacktestCopy, Error> {
    Ok(BacktestCopy {
        copy_id: row.id("copy_id")?,
        message_id: row.id("message_id")?,
        campaign_id: row.opt_id("campaign_id")?,
        recipient: row.text("recipient")?.to_owned(),
        subject: row.text("subject")?.to_owned(),
        from_place: place(row, "from_place")?,
        to_disposition: row.text("to_disposition")?.to_owned(),
        purge: row.text("purge")?.to_owned(),
        class_before: row.text("class_before")?.to_owned(),
        class_after: row.text("class_after")?.to_owned(),
        sentence: row.text("sentence")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use directory::{Directory, NewOrganisation};
    use model::Domain;
    use testkit::{TestStore, on_both};

    use super::*;
    use crate::{Proposal, first_version};

    /// So often in tests.
    const OFTEN: Duration = Duration::from_millis(10);

    fn admin() -> Actor {
        Actor { account_id: None, login: "admin".into() }
    }

    /// Two processes on the same data; without mail every backtest is short.
    async fn two(t: &TestStore) -> (Changes, Changes, ChangeId) {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let new = NewOrganisation { name: "Contoso".into(), domains: domains.clone() };
        let directory = Directory::create(&t.store, new).await.unwrap();
        let mut tx = t.store.begin().await.unwrap();
        first_version(&mut tx, directory.id(), &domains, "test").await.unwrap();
        tx.commit().await.unwrap();
        let other =
            store::Store::open(store::StoreConfig { node: 2, ..t.config.clone() }, t.clock.clone()).await.unwrap();
        let other = Directory::open(&other).await.unwrap().unwrap();
        let changes = Changes::new(&directory);
        let proposal = Proposal::Weight { rule: verdict::RULES[0].id.to_owned(), weight: 0.75 };
        let change = changes.propose(proposal, "", &admin()).await.unwrap();
        (changes, Changes::new(&other), change.id)
    }

    async fn begin(changes: &Changes, id: ChangeId) -> Started {
        changes.begin_backtest(id, BacktestOptions::default(), &admin()).await.unwrap()
    }

    async fn states(changes: &Changes, id: ChangeId, backtest_id: BacktestId) -> (ChangeState, BacktestState) {
        let change = changes.get(id).await.unwrap();
        (change.state, changes.backtest_status(backtest_id).await.unwrap().state)
    }

    #[tokio::test]
    async fn a_backtest_of_a_living_process_is_left_alone_and_one_of_a_dead_one_is_ended() {
        on_both(|t| async move {
            let (living, other, id) = two(&t).await;
            let started = begin(&living, id).await;
            let backtest_id = started.id;
            let running = (ChangeState::Backtesting, BacktestState::Running);
            for _ in 0..3 {
                t.clock.advance_ms(LEASE_MS - 1);
                assert_eq!(other.recover().await.unwrap(), 0, "it may live");
                assert_eq!(states(&other, id, backtest_id).await, running);
                // The next beat, while the work takes its time.
                let until = t.store.now().plus_ms(LEASE_MS);
                let work = async {
                    let seen = async || {
                        let row = t.store.query_one("backtest.lease", &values![backtest_id]).await.unwrap().unwrap();
                        row.at("lease_until").unwrap() == until
                    };
                    testkit::until("the lease is renewed", Duration::from_secs(60), seen).await;
                    Ok(())
                };
                living.holding(backtest_id, OFTEN, work).await.unwrap();
            }

            t.clock.advance_ms(LEASE_MS);
            assert_eq!(other.recover().await.unwrap(), 1, "it has been silent for too long");
            assert_eq!(other.recover().await.unwrap(), 0);
            assert_eq!(states(&other, id, backtest_id).await, (ChangeState::Proposed, BacktestState::Failed));
            assert_eq!(other.backtest_status(backtest_id).await.unwrap().warning, ENDED);
            // It was alive after all: it notices, and changes nothing.
            let held = living.holding(backtest_id, OFTEN, std::future::pending::<Result<(), Error>>()).await;
            assert!(matches!(held, Err(Error::CutOff(_))), "{held:?}");
            assert!(living.run_backtest(started).await.is_err());
            assert_eq!(states(&other, id, backtest_id).await, (ChangeState::Proposed, BacktestState::Failed));
            let again = other.backtest(id, BacktestOptions::default(), &admin()).await.unwrap();
            assert_eq!(states(&living, id, again.id).await, (ChangeState::Backtested, BacktestState::Done));
        })
        .await;
    }

    #[tokio::test]
    async fn whoever_is_alone_ends_at_once_what_was_under_way() {
        on_both(|t| async move {
            let (dead, alone, id) = two(&t).await;
            let started = begin(&dead, id).await;
            assert_eq!(alone.recover_alone().await.unwrap(), 1);
            assert_eq!(states(&alone, id, started.id).await, (ChangeState::Proposed, BacktestState::Failed));
            assert_eq!(alone.recover_alone().await.unwrap(), 0);
        })
        .await;
    }

    #[tokio::test]
    async fn one_that_was_started_again_is_not_ended_by_the_end_of_the_first() {
        on_both(|t| async move {
            let (first, second, id) = two(&t).await;
            let old = begin(&first, id).await;
            let new = begin(&second, id).await;
            let (old_id, new_id) = (old.id, new.id);
            first.fail_backtest(old_id, id, "something failed").await.unwrap();
            assert!(first.run_backtest(old).await.is_err(), "it was overtaken");
            assert_eq!(states(&first, id, old_id).await, (ChangeState::Backtesting, BacktestState::Failed));
            assert_eq!(states(&first, id, new_id).await, (ChangeState::Backtesting, BacktestState::Running));
            // A change is not freed by an old backtest's silence while a newer one is heard of.
            t.clock.advance_ms(LEASE_MS - 1);
            assert_eq!(first.recover().await.unwrap(), 0);
            second.run_backtest(new).await.unwrap();
            assert_eq!(states(&first, id, new_id).await, (ChangeState::Backtested, BacktestState::Done));
        })
        .await;
    }
}
