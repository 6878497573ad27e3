//! Sees lost copies and opens incidents, one per cause, without anybody asking.
//!
//! Woken by what happens to copies, changes and jobs, and by a timer, since a delay ends without an event. Everything it
//! knows is in rows: after a restart, or beside a second one, it finds the same and writes nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::Directory;
use model::{CampaignId, CopyId, IncidentId, OrganisationId, Place, Timestamp};
use store::{Notice, Row, Store, Topic, Value, values};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::cause::{Cause, CauseKey};
use super::evaluate::evaluate;
use super::status::Status;
use super::{AUTOMATIC, Incident, Progress, write_update};
use crate::Error;
use crate::words::{clock_time, count_of};

/// Lost copies read at a time, and in one scan; what is beyond comes with the next scan.
const LOST_PAGE: i64 = 2_000;
const LOST_PER_SCAN_MAX: usize = 50_000;
/// What other hosts refused longer ago opens no incident any more.
const REFUSED_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;
/// One host that refuses is that host's affair; the same cause at so many domains is ours.
const REFUSING_DOMAINS_MIN: usize = 2;
/// Incidents looked at in one scan.
const UNRESOLVED_MAX: i64 = 200;
/// A scan that took long is followed by a pause of so many times its duration.
const PAUSE_FACTOR: u32 = 5;

/// How the detector looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorConfig {
    /// The shortest pause between two scans, in milliseconds.
    pub scan_pause_ms: u64,
    /// A scan at least so often when nothing wakes it, in milliseconds.
    pub idle_ms: u64,
    /// Threshold and delay instead of the organisation's settings: `(copies, milliseconds)`.
    pub instead_of_settings: Option<(i64, i64)>,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        DetectorConfig { scan_pause_ms: 1_000, idle_ms: 15_000, instead_of_settings: None }
    }
}

/// What one scan did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanReport {
    /// Incidents opened.
    pub opened: Vec<IncidentId>,
    /// Copies taken into the scope of incidents that were there.
    pub joined_count: usize,
    /// Updates written, those of new incidents included.
    pub update_count: usize,
    /// Incidents resolved.
    pub resolved: Vec<IncidentId>,
    /// Whether something is under way (a delay, a growing scope), so that another scan is worth it soon.
    pub pending: bool,
}

/// The running detector.
#[derive(Debug)]
pub struct Detector {
    task: tokio::task::JoinHandle<()>,
}

impl Detector {
    /// Starts it; it runs until `stop` is cancelled.
    pub fn start(directory: &Directory, config: DetectorConfig, stop: CancellationToken) -> Detector {
        let directory = directory.clone();
        let notices = directory.store().bus().subscribe();
        Detector { task: tokio::spawn(run(directory, config, notices, stop)) }
    }

    /// Waits for its end, after `stop` was cancelled.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

async fn run(directory: Directory, config: DetectorConfig, mut notices: Receiver<Notice>, stop: CancellationToken) {
    loop {
        let started = std::time::Instant::now();
        let pending = match scan(&directory, config.instead_of_settings).await {
            Ok(report) => report.pending,
            Err(error) => {
                tracing::warn!(%error, "looking for lost copies failed, it is tried again: {error}");
                true
            }
        };
        let pause = Duration::from_millis(config.scan_pause_ms.max(1)).max(started.elapsed() * PAUSE_FACTOR);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if pending {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(config.idle_ms)) => {}
            () = news(&mut notices) => {}
        }
    }
}

/// Returns when something happened that can matter; a lagging receiver has missed something.
async fn news(notices: &mut Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice { topic: Topic::Ledger | Topic::Change | Topic::Job | Topic::RuleSet, .. })
            | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A copy, and when it was lost.
struct Lost {
    copy_id: CopyId,
    campaign_id: CampaignId,
    at: Timestamp,
}

/// Lost copies of one cause that were taken into no incident since.
#[derive(Default)]
struct Group {
    copies: Vec<Lost>,
    /// Those lost for at least the delay.
    ripe_count: i64,
    pulled_back_count: i64,
    first_at: Option<Timestamp>,
    policy: String,
    sentence: String,
    /// The class of failure when other hosts refused; empty for what our own gateway did.
    refused: String,
    /// Their domains.
    domains: BTreeSet<String>,
    /// One of their replies.
    reply: String,
}

impl Group {
    /// Whether the cause is shared: what our own gateway does is, what others do when enough of them do it.
    fn is_wide(&self) -> bool {
        self.refused.is_empty() || self.domains.len() >= REFUSING_DOMAINS_MIN
    }
}

/// Looks once: opens, grows, updates and resolves incidents. Idempotent: a second scan of the same rows does nothing.
///
/// # Errors
/// The store's; what was done before is committed, incident by incident.
pub async fn scan(directory: &Directory, instead_of_settings: Option<(i64, i64)>) -> Result<ScanReport, Error> {
    let (store, organisation_id) = (directory.store(), directory.id());
    let (threshold_count, delay_ms) = match instead_of_settings {
        Some(given) => given,
        None => {
            let incident = directory.settings().await?.incident;
            (incident.threshold_count, incident.delay_ms)
        }
    };
    let mut report = ScanReport::default();
    let (mut groups, is_cut) = lost_groups(store, organisation_id, delay_ms).await?;
    let is_more = refused_groups(store, organisation_id, delay_ms, &mut groups).await?;
    report.pending |= is_cut || is_more;
    for (key, group) in groups {
        let known = store.query_one("incident.by_cause", &values![organisation_id, key.kind(), key.id()]).await?;
        match known {
            Some(row) => {
                report.joined_count += join(store, row.id("id")?, &group).await?;
                report.pending = true; // the next look tells of it, once the scope stands still
            }
            None if group.ripe_count >= threshold_count && group.is_wide() => {
                if let Some(id) = open(store, organisation_id, key, &group).await? {
                    report.opened.push(id);
                    report.update_count += 1;
                    tracing::info!(incident.id = %id, copy_count = group.copies.len(), "incident {id} opened");
                }
            }
            None => {
                let count = i64::try_from(group.copies.len()).unwrap_or(i64::MAX);
                report.pending |= count >= threshold_count && group.is_wide();
            }
        }
    }
    for row in store.query("incident.unresolved", &values![organisation_id, UNRESOLVED_MAX]).await? {
        let id: IncidentId = row.id("id")?;
        let look = evaluate(store, organisation_id, id).await?;
        report.update_count += look.update_count;
        report.pending |= look.unsettled;
        if look.resolved {
            report.resolved.push(id);
        }
    }
    Ok(report)
}

/// Every lost copy that was taken into no incident since it was lost, by cause; and whether there are more than one scan takes.
async fn lost_groups(
    store: &Store,
    organisation_id: OrganisationId,
    delay_ms: i64,
) -> Result<(BTreeMap<CauseKey, Group>, bool), Error> {
    let ripe_until = store.now().plus_ms(-delay_ms);
    let mut groups: BTreeMap<CauseKey, Group> = BTreeMap::new();
    let mut changes: BTreeMap<i64, bool> = BTreeMap::new();
    let mut count = 0;
    for place in [Place::Quarantine, Place::NotReceived] {
        let mut after = 0;
        loop {
            let page = values![organisation_id, place.as_str(), after, LOST_PAGE];
            let rows = store.query("incident.lost_page", &page).await?;
            let Some(last) = rows.last() else { break };
            after = last.int("copy_id")?;
            count += rows.len();
            for row in &rows {
                let key = key_of(store, organisation_id, row, &mut changes).await?;
                add_lost(groups.entry(key).or_default(), row, ripe_until)?;
            }
            if count >= LOST_PER_SCAN_MAX {
                return Ok((groups, true));
            }
        }
    }
    Ok((groups, false))
}

/// Copies that other hosts refused, or sent back, for a reason that is ours: by class. Gives whether there are more.
async fn refused_groups(
    store: &Store,
    organisation_id: OrganisationId,
    delay_ms: i64,
    groups: &mut BTreeMap<CauseKey, Group>,
) -> Result<bool, Error> {
    let (ripe_until, since) = (store.now().plus_ms(-delay_ms), store.now().plus_ms(-REFUSED_MS_MAX));
    let (mut after, mut count) = (0, 0);
    while count < LOST_PER_SCAN_MAX {
        let rows = store.query("incident.refused_page", &values![organisation_id, after, since, LOST_PAGE]).await?;
        let Some(last) = rows.last() else { return Ok(false) };
        after = last.int("copy_id")?;
        count += rows.len();
        for row in &rows {
            let detail: serde_json::Value = row.json("detail")?;
            let word = |key: &str| detail[key].as_str().unwrap_or("").to_owned();
            let (class, sentence) = (word("class"), word("sentence"));
            if class.is_empty() || detail["is_shared"] != true {
                continue;
            }
            let group = groups.entry(CauseKey::of_words("refused", &class, &sentence)).or_default();
            let at = row.at("place_at")?;
            group.copies.push(Lost { copy_id: row.id("copy_id")?, campaign_id: row.id("campaign_id")?, at });
            group.ripe_count += i64::from(at <= ripe_until);
            group.first_at = Some(group.first_at.map_or(at, |first| first.min(at)));
            let domain = row.text("recipient")?.rsplit_once('@').map_or("", |(_, domain)| domain);
            group.domains.insert(domain.to_owned());
            if group.refused.is_empty() {
                (group.refused, group.sentence, group.reply) = (class, sentence, word("reply"));
            }
        }
    }
    Ok(true)
}

/// The change that the event names, if it is one of ours; otherwise the words of the reason.
async fn key_of(
    store: &Store,
    organisation_id: OrganisationId,
    row: &Row,
    changes: &mut BTreeMap<i64, bool>,
) -> Result<CauseKey, Error> {
    if let Some(id) = row.opt_int("cause_id")? {
        let is_change = match changes.get(&id) {
            Some(known) => *known,
            None => store.query_one("change.by_id", &values![id, organisation_id]).await?.is_some(),
        };
        changes.insert(id, is_change);
        if is_change {
            return Ok(CauseKey::Change(id));
        }
    }
    Ok(CauseKey::of_words(row.text("reason")?, row.text("policy_name")?, row.text("explanation")?))
}

fn add_lost(group: &mut Group, row: &Row, ripe_until: Timestamp) -> Result<(), Error> {
    let at = row.at("place_at")?;
    group.copies.push(Lost { copy_id: row.id("copy_id")?, campaign_id: row.id("campaign_id")?, at });
    group.ripe_count += i64::from(at <= ripe_until);
    group.pulled_back_count += i64::from(row.text("kind")? == "purged");
    group.first_at = Some(group.first_at.map_or(at, |first| first.min(at)));
    if group.sentence.is_empty() {
        group.sentence = row.text("explanation")?.to_owned();
        group.policy = row.text("policy_name")?.to_owned();
    }
    Ok(())
}

/// Takes copies into the scope of an incident that is there. A resolved one is opened again, also when what is lost had been in
/// its scope before.
async fn join(store: &Store, id: IncidentId, group: &Group) -> Result<usize, Error> {
    let mut tx = store.begin().await?;
    let Some(row) = tx.query_one("incident.lock", &values![id]).await? else { return Ok(0) };
    let mut incident = super::incident(&row)?;
    // Another detector may have taken them in meanwhile.
    let copy_ids = serde_json::json!(group.copies.iter().map(|lost| lost.copy_id.0).collect::<Vec<_>>());
    let mut taken_in: BTreeMap<CopyId, Timestamp> = BTreeMap::new();
    for row in tx.query("incident.taken_in", &values![id, &copy_ids]).await? {
        taken_in.insert(row.id("copy_id")?, row.at("added_at")?);
    }
    let since = |lost: &Lost| taken_in.get(&lost.copy_id).copied();
    let fresh: Vec<&Lost> = group.copies.iter().filter(|lost| since(lost).is_none_or(|at| at < lost.at)).collect();
    if fresh.is_empty() {
        tx.rollback().await?;
        return Ok(0);
    }
    tx.insert_many("incident.insert_copy", &copy_rows(id, fresh.iter().copied(), store.now())).await?;
    let is_again = fresh.iter().any(|lost| since(lost).is_some());
    if is_again || incident.status == Status::Resolved {
        incident.progress.lost_again |= is_again;
        incident.status = super::advance(incident.status, super::Step::Grew)?;
        incident.resolved_at = None;
        super::save(&mut tx, &mut incident).await?;
    }
    tx.commit().await?;
    store.bus().announce(Topic::Incident, id);
    Ok(fresh.len())
}

/// Opens an incident with everything that is lost by its cause, in one transaction; `None` when another detector was first.
async fn open(
    store: &Store,
    organisation_id: OrganisationId,
    key: CauseKey,
    group: &Group,
) -> Result<Option<IncidentId>, Error> {
    let (id, now): (IncidentId, Timestamp) = (store.next_id(), store.now());
    let mut cause = match key {
        CauseKey::Change(change_id) => {
            match store.query_one("change.by_id", &values![change_id, organisation_id]).await? {
                Some(row) => Cause::of_change(&row)?,
                None => Cause::default(),
            }
        }
        CauseKey::Unknown(_) => Cause::default(),
    };
    (cause.sentence, cause.policy) = (group.sentence.clone(), group.policy.clone());
    (cause.refused, cause.evidence) = (group.refused.clone(), group.reply.clone());
    let campaigns: BTreeSet<CampaignId> = group.copies.iter().map(|lost| lost.campaign_id).collect();
    let scope = i64::try_from(group.copies.len()).unwrap_or(i64::MAX);
    let progress = Progress {
        seen_scope: scope,
        told_scope: scope,
        told_campaigns: campaigns.iter().copied().collect(),
        ..Progress::default()
    };
    let incident = Incident {
        id,
        cause_kind: key.kind().to_owned(),
        cause_id: key.id(),
        title: cause.incident_title(),
        status: Status::Open,
        cause,
        impact_count: scope,
        peak_count: scope,
        opened_at: now,
        resolved_at: None,
        updated_at: now,
        progress,
    };
    let text = opening(store, organisation_id, group, &campaigns).await?;
    let mut tx = store.begin().await?;
    if tx.execute("incident.insert", &incident_row(&incident, organisation_id)).await? == 0 {
        tx.rollback().await?;
        return Ok(None);
    }
    tx.insert_many("incident.insert_copy", &copy_rows(id, &group.copies, now)).await?;
    write_update(&mut tx, &incident, AUTOMATIC, &text).await?;
    tx.commit().await?;
    store.bus().announce(Topic::Incident, id);
    Ok(Some(id))
}

/// `1,000 copies of “Benefits” were accepted and are not in a mailbox: …`
async fn opening(
    store: &Store,
    organisation_id: OrganisationId,
    group: &Group,
    campaigns: &BTreeSet<CampaignId>,
) -> Result<String, Error> {
    const NAMED_MAX: usize = 3;
    let mut names = Vec::new();
    for id in campaigns.iter().take(NAMED_MAX) {
        if let Some(row) = store.query_one("incident.campaign_head", &values![*id, organisation_id]).await? {
            names.push(format!("\u{201c}{}\u{201d}", row.text("name")?));
        }
    }
    let more = campaigns.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more campaigns") } else { String::new() };
    let scope = i64::try_from(group.copies.len()).unwrap_or(i64::MAX);
    let held = scope - group.pulled_back_count;
    let since = group.first_at.map(|at| format!(", since {}", clock_time(at, store.now()))).unwrap_or_default();
    if !group.refused.is_empty() {
        let copies = count_of(scope, "copy", "copies");
        let domains = i64::try_from(group.domains.len()).unwrap_or(i64::MAX);
        let hosts = count_of(domains, "domain", "domains");
        return Ok(format!(
            "{copies} of {}{more} did not arrive: the hosts of {hosts} refused{since}.",
            names.join(", ")
        ));
    }
    let mut how = Vec::new();
    if group.pulled_back_count > 0 {
        how.push(count_of(group.pulled_back_count, "was pulled back after arrival", "were pulled back after arrival"));
    }
    if held > 0 {
        how.push(count_of(held, "was held on arrival", "were held on arrival"));
    }
    let copies = count_of(scope, "copy", "copies");
    let verb = if scope == 1 { "was accepted and is" } else { "were accepted and are" };
    Ok(format!("{copies} of {}{more} {verb} not in a mailbox: {}{since}.", names.join(", "), how.join(", ")))
}

fn copy_rows<'a>(id: IncidentId, lost: impl IntoIterator<Item = &'a Lost>, now: Timestamp) -> Vec<Vec<Value>> {
    lost.into_iter().map(|lost| values![id, lost.copy_id, lost.campaign_id, now].to_vec()).collect()
}

fn incident_row(incident: &Incident, organisation_id: OrganisationId) -> [Value; 13] {
    let (cause, progress) = (serde_json::json!(incident.cause), serde_json::json!(incident.progress));
    values![
        incident.id,
        organisation_id,
        &incident.cause_kind,
        incident.cause_id,
        &incident.title,
        incident.status.as_str(),
        &cause,
        &progress,
        incident.impact_count,
        incident.peak_count,
        incident.opened_at,
        incident.resolved_at,
        incident.updated_at
    ]
}
