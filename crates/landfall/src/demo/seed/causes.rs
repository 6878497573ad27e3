//! Many changes, jobs and incidents, each the real thing: a feed flags one person's link, the purge pulls that copy back,
//! the detector opens an incident, the change is undone, the copy is put back, the incident is over.

use changes::{Activation, Actor, BacktestOptions, Changes, NewListEntry, Proposal};
use directory::Directory;
use model::{ChangeId, VerdictClass};
use quarantine::{JobState, Quarantine};
use verdict::{FeedKind, ListAction, ListKind};
use whereabouts::incident::{self, INCIDENTS_PAGE_MAX};

use super::{BADGES, sent, start, until};
use crate::error::CliError;
use crate::server::Server;

/// The domain whose mail is held.
pub const BLOCKED: &str = "blocked.example";
/// One of so many changes stays in force, and its incident open.
const LASTING: usize = 10;
/// For each change in force there are so many that were proposed and stopped.
const STOPPED_PER_CAUSE: usize = 3;
const JOBS_PAGE: usize = 200;
const FEED: &str = "badge-links";
const WHY: &str = "for the seed";
/// The first employee number of the people's CSV.
const FIRST_NUMBER: usize = 10_000;
const CONTENT: &str = "<html><body><p>Your new badge is ready: \
    <a href=\"https://badges.example/{{ employee_number }}\">choose a time</a>.</p></body></html>";

fn actor() -> Actor {
    Actor { account_id: None, login: "seed".into() }
}

fn failed(error: changes::Error) -> CliError {
    CliError::failed("a change", &error)
}

/// See the module; `count` times.
pub async fn play(server: &Server, count: usize) -> Result<(), CliError> {
    if count == 0 {
        return Ok(());
    }
    let usual = server.directory.settings().await?;
    let mut eager = usual.clone();
    eager.incident.threshold_count = 1;
    eager.incident.delay_ms = 0;
    server.directory.save_settings(&eager).await?;
    let campaign = start(server, "Badges", BADGES, CONTENT).await?;
    sent(server, campaign).await?;

    let changes = Changes::new(&server.directory);
    let mut active = Vec::with_capacity(count);
    for n in 0..count {
        active.push(flag(&changes, FIRST_NUMBER + n).await?);
        for i in 0..STOPPED_PER_CAUSE {
            propose_and_stop(&changes, n * STOPPED_PER_CAUSE + i).await?;
        }
    }
    jobs_done(server).await?;
    open_incidents(server, count).await?;
    for (_, id) in active.iter().enumerate().filter(|(n, _)| n % LASTING != 0) {
        changes.undo(*id, &actor(), WHY).await.map_err(failed)?;
    }
    jobs_done(server).await?;
    open_incidents(server, count.div_ceil(LASTING)).await?;
    Ok(server.directory.save_settings(&usual).await?)
}

/// A change that flags one link, tested and put in force.
async fn flag(changes: &Changes, number: usize) -> Result<ChangeId, CliError> {
    let proposal = Proposal::Feed {
        feed: FEED.into(),
        kind: FeedKind::Url,
        class: VerdictClass::Phish,
        add: format!("https://badges.example/{number}\n"),
        remove: Vec::new(),
    };
    activate(changes, proposal).await
}

async fn activate(changes: &Changes, proposal: Proposal) -> Result<ChangeId, CliError> {
    let change = changes.propose(proposal, WHY, &actor()).await.map_err(failed)?;
    changes.backtest(change.id, BacktestOptions::default(), &actor()).await.map_err(failed)?;
    match changes.activate(change.id, &actor(), WHY).await.map_err(failed)? {
        Activation::Already(_) => Err(CliError::Failed(format!("change {} was active already", change.id))),
        Activation::Done { .. } => Ok(change.id),
    }
}

async fn propose_and_stop(changes: &Changes, n: usize) -> Result<(), CliError> {
    let proposal = block_of([format!("sender{n}.example")]);
    let change = changes.propose(proposal, WHY, &actor()).await.map_err(failed)?;
    changes.stop(change.id, &actor(), WHY).await.map_err(failed)?;
    Ok(())
}

fn block_of(domains: impl IntoIterator<Item = String>) -> Proposal {
    let entry = |domain| NewListEntry {
        action: ListAction::Block,
        kind: ListKind::Domain,
        value: domain,
        expires_at: None,
        note: WHY.into(),
    };
    Proposal::List { add: domains.into_iter().map(entry).collect(), remove: Vec::new() }
}

/// Blocks the sender that writes to everybody, and as many more as make `count`.
pub async fn block(directory: &Directory, count: usize) -> Result<(), CliError> {
    let others = (1..count).map(|n| format!("nuisance{n}.example"));
    activate(&Changes::new(directory), block_of(std::iter::once(BLOCKED.into()).chain(others))).await.map(|_| ())
}

/// Waits until no job waits or runs any more.
async fn jobs_done(server: &Server) -> Result<(), CliError> {
    let quarantine = Quarantine::new(server.directory.clone(), server.protection.clone());
    until("the jobs", || async {
        // The oldest goes first, so that nothing older waits behind a page of ended ones.
        let jobs = quarantine.jobs(None, JOBS_PAGE).await.map_err(|e| CliError::failed("jobs", &e))?;
        let under_way = jobs.iter().any(|job| matches!(job.state, JobState::Waiting | JobState::Running));
        Ok((!under_way).then_some(()))
    })
    .await
}

/// Waits until so many incidents are not resolved.
async fn open_incidents(server: &Server, wanted: usize) -> Result<(), CliError> {
    until("the incidents", || async {
        let open = incident::unresolved(&server.store, server.directory.id(), INCIDENTS_PAGE_MAX).await;
        let open = open.map_err(|e| CliError::failed("incidents", &e))?;
        Ok((open.len() == wanted).then_some(()))
    })
    .await
}
