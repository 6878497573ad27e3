//! One look at an incident: what is new since the last one, and the updates that say so. One transaction, and a second
//! look at the same rows writes nothing.

use model::{IncidentId, OrganisationId, Timestamp};
use store::{Row, Store, Topic, Tx, values};

use super::cause::allows_of;
use super::status::{Step, advance};
use super::{AUTOMATIC, Incident, ScopeCampaign, incident, resolved_at, save, scope_of, write_update};
use crate::Error;
use crate::words::{clock_time, count_of};

/// Logins named in an update.
const ACTORS_MAX: i64 = 5;
/// Allow changes looked at.
const ALLOWS_MAX: i64 = 200;

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Updates written.
    pub update_count: usize,
    /// Whether numbers still move, so that another look is worth it soon.
    pub unsettled: bool,
    /// Whether it was resolved by this look.
    pub resolved: bool,
}

/// Looks at an incident and writes what is new.
pub(crate) async fn evaluate(store: &Store, organisation_id: OrganisationId, id: IncidentId) -> Result<Look, Error> {
    let mut tx = store.begin().await?;
    let Some(row) = tx.query_one("incident.lock", &values![id]).await? else { return Ok(Look::default()) };
    let before = incident(&row)?;
    let mut visit = Visit {
        now: store.now(),
        campaigns: scope_of(&tx.query("incident.scope", &values![id]).await?)?,
        incident: before.clone(),
        updates: Vec::new(),
        unsettled: false,
    };
    visit.impact();
    visit.cause(&mut tx).await?;
    visit.growth();
    visit.again();
    visit.undo(&mut tx, organisation_id).await?;
    visit.allows(&mut tx, organisation_id).await?;
    visit.freed(&mut tx).await?;
    visit.all_back();
    let Visit { incident: mut after, updates, unsettled, .. } = visit;
    let look = Look { update_count: updates.len(), unsettled, resolved: after.resolved_at > before.resolved_at };
    if after == before && updates.is_empty() {
        tx.rollback().await?;
        return Ok(look);
    }
    let end = after.status;
    for (status, text) in updates {
        after.status = status;
        write_update(&mut tx, &after, AUTOMATIC, &text).await?;
    }
    after.status = end;
    save(&mut tx, &mut after).await?;
    tx.commit().await?;
    store.bus().announce(Topic::Incident, id);
    Ok(look)
}

struct Visit {
    now: Timestamp,
    campaigns: Vec<ScopeCampaign>,
    incident: Incident,
    updates: Vec<(super::Status, String)>,
    unsettled: bool,
}

impl Visit {
    fn sum(&self, of: impl Fn(&ScopeCampaign) -> i64) -> i64 {
        self.campaigns.iter().map(of).sum()
    }

    fn step(&mut self, step: Step, text: String) {
        if let Ok(status) = advance(self.incident.status, step) {
            self.incident.resolved_at = resolved_at(&self.incident, status, self.now);
            self.incident.status = status;
        }
        self.updates.push((self.incident.status, text));
    }

    fn impact(&mut self) {
        self.incident.impact_count = self.sum(|c| c.lost_count);
        self.incident.peak_count = self.incident.peak_count.max(self.incident.impact_count);
    }

    async fn cause(&mut self, tx: &mut Tx) -> Result<(), Error> {
        self.incident.cause.learn(tx, self.incident.id).await?;
        if !self.incident.progress.told_cause && self.incident.cause.change_id.is_some() {
            self.incident.progress.told_cause = true;
            self.step(Step::CauseFound, self.incident.cause.words(self.now));
        }
        Ok(())
    }

    /// Told when the scope has stopped growing for one look, so that a purge under way is one update, not fifty.
    fn growth(&mut self) {
        let scope = self.sum(|c| c.scope_count);
        let progress = &mut self.incident.progress;
        let moved = scope != progress.seen_scope;
        progress.seen_scope = scope;
        if scope <= progress.told_scope {
            return;
        }
        if moved && self.incident.impact_count > 0 {
            self.unsettled = true;
            return;
        }
        progress.lost_again = false; // what is told now says it too
        let told = std::mem::take(&mut progress.told_campaigns);
        let more = scope - progress.told_scope;
        progress.told_scope = scope;
        progress.told_campaigns = self.campaigns.iter().map(|c| c.campaign_id).collect();
        let new: Vec<String> = self.campaigns.iter().filter(|c| !told.contains(&c.campaign_id)).map(named).collect();
        let total = count_of(scope, "copy", "copies");
        let campaigns = count_of(i64::try_from(self.campaigns.len()).unwrap_or(0), "campaign", "campaigns");
        let text = if new.is_empty() {
            let more = count_of(more, "more copy is", "more copies are");
            format!("{more} lost by the same cause. In scope now: {total} of {campaigns}.")
        } else {
            format!("The same cause hits {}. In scope now: {total} of {campaigns}.", new.join(" and "))
        };
        self.step(Step::Grew, text);
    }

    /// Told when copies in scope were lost again, and no more of them are being lost for one look.
    fn again(&mut self) {
        let lost = self.incident.impact_count;
        let progress = &mut self.incident.progress;
        if !progress.lost_again {
            return;
        }
        if lost != progress.seen_lost {
            progress.seen_lost = lost;
            self.unsettled = true;
            return;
        }
        (progress.lost_again, progress.seen_lost) = (false, 0);
        if lost > 0 {
            let copies = count_of(lost, "copy in scope is", "copies in scope are");
            self.step(Step::Grew, format!("Lost again by the same cause: {copies} not in a mailbox."));
        }
    }

    async fn undo(&mut self, tx: &mut Tx, organisation_id: OrganisationId) -> Result<(), Error> {
        let Some(change_id) = self.incident.cause.change_id.filter(|_| !self.incident.progress.told_undo) else {
            return Ok(());
        };
        let Some(row) = tx.query_one("change.by_id", &values![change_id, organisation_id]).await? else {
            return Ok(());
        };
        if row.text("state")? == "undone" {
            self.incident.progress.told_undo = true;
            let (by, why) = (row.text("undone_by")?, row.text("undo_reason")?);
            let why = if why.is_empty() { String::new() } else { format!(" (\u{201c}{why}\u{201d})") };
            let when = row.opt_at("undone_at")?.map(|at| clock_time(at, self.now)).unwrap_or_default();
            let text =
                format!("Remedy: the change was undone by {by} at {when}{why}. What it had pulled back is put back.");
            self.step(Step::RemedyApplied, text);
        }
        Ok(())
    }

    async fn allows(&mut self, tx: &mut Tx, organisation_id: OrganisationId) -> Result<(), Error> {
        let since = values![organisation_id, self.incident.opened_at, ALLOWS_MAX];
        let senders: Vec<String> = self.campaigns.iter().map(|c| c.from_address.clone()).collect();
        for row in tx.query("incident.allows_since", &since).await? {
            let id = row.int("id")?;
            let covers = |row: &Row| -> Result<bool, Error> {
                let allows = allows_of(row.text("diff")?);
                Ok(allows.iter().any(|allow| self.incident.cause.is_allowed_by(allow, &senders)))
            };
            if self.incident.progress.told_allows.contains(&id) || !covers(&row)? {
                continue;
            }
            self.incident.progress.told_allows.push(id);
            let (title, by) = (row.text("title")?, row.text("activated_by")?);
            let text = format!("Remedy: {title}, by {by}. New mail that it covers is not held for this any more.");
            self.step(Step::RemedyApplied, text);
        }
        Ok(())
    }

    /// Told when copies have stopped coming back for one look, or when all are back.
    async fn freed(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let (released, restored) = (self.sum(|c| c.released_count), self.sum(|c| c.restored_count));
        let freed = released + restored;
        let progress = &mut self.incident.progress;
        let moved = freed != progress.seen_freed;
        progress.seen_freed = freed;
        progress.told_freed = progress.told_freed.min(freed); // what is lost again can be freed again
        if freed <= progress.told_freed {
            return Ok(());
        }
        if moved && self.incident.impact_count > 0 {
            self.unsettled = true;
            return Ok(());
        }
        progress.told_freed = freed;
        let mut parts = Vec::new();
        if released > 0 {
            parts.push(count_of(released, "copy was released", "copies were released"));
        }
        if restored > 0 {
            parts.push(count_of(restored, "copy was put back", "copies were put back"));
        }
        let mut actors = Vec::new();
        for row in tx.query("incident.actors", &values![self.incident.id, ACTORS_MAX]).await? {
            let actor = row.text("actor")?.to_owned();
            if !actors.contains(&actor) {
                actors.push(actor);
            }
        }
        let by = if actors.is_empty() { String::new() } else { format!(" by {}", actors.join(" and ")) };
        let left = count_of(self.incident.impact_count, "copy is", "copies are");
        let text = format!("Remedy: so far {}{by}; {left} still not in a mailbox.", parts.join(" and "));
        self.step(Step::RemedyApplied, text);
        Ok(())
    }

    fn all_back(&mut self) {
        let scope = self.sum(|c| c.scope_count);
        if scope == 0 || self.incident.impact_count > 0 || advance(self.incident.status, Step::AllBack).is_err() {
            return;
        }
        let (back, decided) = (self.sum(|c| c.back_count), self.sum(|c| c.decided_count));
        let decided = if decided == 0 {
            String::new()
        } else {
            format!(", {} away by decision", count_of(decided, "stays", "stay"))
        };
        let all = count_of(scope, "copy", "copies");
        let back = count_of(back, "is", "are");
        let text = format!("Resolved: of {all} in scope, {back} back in mailboxes{decided}.");
        self.step(Step::AllBack, text);
    }
}

fn named(campaign: &ScopeCampaign) -> String {
    let copies = count_of(campaign.scope_count, "copy", "copies");
    format!("\u{201c}{}\u{201d} ({copies})", campaign.name)
}
