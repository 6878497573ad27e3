//! What people do: release, request, deny.

use std::collections::BTreeSet;

use directory::{Directory, ProtectionCache};
use mailbox::Connectors;
use model::{EventKind, OrganisationId, Permission, PersonId, QuarantineItemId, ReleaseStatus, SqlText};
use serde_json::json;
use store::{NewEvent, Store, Topic, Tx, values};

use crate::elsewhere::Back;
use crate::free::{Changed, Right, lock_held};
use crate::selection::Ref;
use crate::{Actor, Outcome, QuarantineError, Selection, Severity, Step, advance, job};

/// Copies of one transaction.
pub(crate) const BATCH_MAX: i64 = 500;
/// Past so many copies, a release becomes a job.
const DIRECT_MAX: i64 = 2_000;
/// Tries of a batch that meets a passing failure (two transactions that waited for each other).
const TRIES_MAX: usize = 4;
/// What the events say who saw it.
pub(crate) const SOURCE: &str = "quarantine";

/// The quarantine of an organisation. Cheap to clone.
#[derive(Clone)]
pub struct Quarantine {
    directory: Directory,
    protection: ProtectionCache,
    pub(crate) connectors: Connectors,
}

impl Quarantine {
    /// The quarantine of this organisation, judging by this protection.
    pub fn new(directory: Directory, protection: ProtectionCache) -> Self {
        Quarantine { directory, protection, connectors: Connectors::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        self.directory.store()
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn organisation_id(&self) -> OrganisationId {
        self.directory.id()
    }

    pub(crate) fn protection(&self) -> &ProtectionCache {
        &self.protection
    }

    /// Frees the undecided copies of a selection: what was held on arrival is delivered now, what was pulled back returns
    /// as it was. Repeating it changes nothing. Many copies become a job.
    ///
    /// # Errors
    /// [`QuarantineError::Forbidden`] without `quarantine.release`; [`QuarantineError::NeedsSecondPerson`] over the limit
    /// for mass actions: what somebody else has asked for is decided by two, the rest by one. Malware and high confidence
    /// phish are refused one by one, see [`Outcome::refused`].
    pub async fn release(&self, actor: &Actor, selection: &Selection) -> Result<Outcome, QuarantineError> {
        actor.needs(Permission::QuarantineRelease)?;
        let (effect, by_others_count) = self.effect_of(selection, &actor.login).await?;
        self.within_limit(effect.count() - by_others_count).await?;
        if effect.count() > DIRECT_MAX {
            let job_id = job::enqueue_release(self, actor, selection, effect.count()).await?;
            return Ok(Outcome { job_id: Some(job_id), unchanged_count: effect.unchanged_count, ..Outcome::default() });
        }
        let mut outcome = self.step_through(selection, Step::Free, actor, "").await?;
        outcome.unchanged_count += effect.unchanged_count;
        Ok(outcome)
    }

    /// Asks for the release of the copies that nobody has decided on, saying why, or nothing. Whoever may not see the
    /// quarantine asks for copies of campaigns only.
    ///
    /// # Errors
    /// [`QuarantineError::Forbidden`] without `release.request` or `quarantine.read`.
    pub async fn request(&self, actor: &Actor, selection: &Selection, why: &str) -> Result<Outcome, QuarantineError> {
        if !actor.role.may(Permission::QuarantineRead) {
            actor.needs(Permission::ReleaseRequest)?;
        }
        self.mark(actor, selection, Step::Request, ReleaseStatus::Requested, why).await
    }

    /// Denies what was asked for.
    ///
    /// # Errors
    /// [`QuarantineError::Forbidden`] without `quarantine.release`.
    pub async fn deny(&self, actor: &Actor, selection: &Selection) -> Result<Outcome, QuarantineError> {
        actor.needs(Permission::QuarantineRelease)?;
        self.mark(actor, selection, Step::Deny, ReleaseStatus::Denied, "").await
    }

    async fn mark(
        &self,
        actor: &Actor,
        selection: &Selection,
        step: Step,
        is_so: ReleaseStatus,
        why: &str,
    ) -> Result<Outcome, QuarantineError> {
        selection.check()?;
        // However many they are: asking and denying move no mail, and asking is the first half of what two persons do.
        let cells = selection.cube(self.store(), self.organisation_id(), &actor.login).await?;
        // Released and expired ones are not in the pages that follow: they are decided, so nothing changes for them.
        let decided = |status| status != is_so && advance(status, Step::Free).is_err();
        let decided_count: i64 = cells.iter().filter(|(c, _)| decided(c.status)).map(|(c, _)| c.count).sum();
        let mut outcome = self.step_through(selection, step, actor, why).await?;
        outcome.unchanged_count += decided_count;
        Ok(outcome)
    }

    /// Releases one's own held copy.
    ///
    /// # Errors
    /// [`QuarantineError::NotFound`] for what one may not know of; [`QuarantineError::NotGranted`] when its quarantine
    /// policy does not let its recipient release it.
    pub async fn own_release(
        &self,
        person_id: PersonId,
        login: &str,
        id: QuarantineItemId,
    ) -> Result<Outcome, QuarantineError> {
        if !self.own_item(person_id, id).await?.recipient_may_release() {
            return Err(QuarantineError::NotGranted("release it; ask for its release instead"));
        }
        self.own_step(login, id, Step::Free).await
    }

    /// Asks for the release of one's own held copy.
    ///
    /// # Errors
    /// As [`Quarantine::own_release`].
    pub async fn own_request(
        &self,
        person_id: PersonId,
        login: &str,
        id: QuarantineItemId,
    ) -> Result<Outcome, QuarantineError> {
        if !self.own_item(person_id, id).await?.recipient_may_request() {
            return Err(QuarantineError::NotGranted("ask for its release"));
        }
        self.own_step(login, id, Step::Request).await
    }

    async fn own_step(&self, login: &str, id: QuarantineItemId, step: Step) -> Result<Outcome, QuarantineError> {
        let selection = Selection::Items(vec![id]);
        // What the policy granted was checked by the caller; an administrator's reach over this one item follows from it.
        let actor = Actor { login: login.to_owned(), role: model::Role::Administrator };
        let mut outcome = self.step_through(&selection, step, &actor, "").await?;
        if outcome.done_count() + outcome.refused_count + outcome.unchanged_count == 0 {
            outcome.unchanged_count = 1;
        }
        Ok(outcome)
    }

    async fn within_limit(&self, count: i64) -> Result<(), QuarantineError> {
        let limit = self.directory.settings().await?.limits.mass_action_max;
        if count > limit { Err(QuarantineError::NeedsSecondPerson { count, limit }) } else { Ok(()) }
    }

    /// All pages of a selection, each in a transaction of its own.
    async fn step_through(
        &self,
        selection: &Selection,
        step: Step,
        actor: &Actor,
        why: &str,
    ) -> Result<Outcome, QuarantineError> {
        let mut outcome = Outcome::default();
        let mut after = QuarantineItemId(0);
        loop {
            let (page, changed) = self.step_page(selection, step, actor, why, after).await?;
            self.announce(&changed);
            outcome.add(changed.outcome);
            match page.last() {
                Some(last) if page.len() >= usize::try_from(BATCH_MAX).unwrap_or(usize::MAX) => after = last.id,
                Some(_) | None => return Ok(outcome),
            }
        }
    }

    async fn step_page(
        &self,
        selection: &Selection,
        step: Step,
        actor: &Actor,
        why: &str,
        after: QuarantineItemId,
    ) -> Result<(Vec<Ref>, Changed), QuarantineError> {
        let mut tries = 1;
        loop {
            match self.try_page(selection, step, actor, why, after).await {
                Err(error) if error.severity() == Severity::Transient && tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_page(
        &self,
        selection: &Selection,
        step: Step,
        actor: &Actor,
        why: &str,
        after: QuarantineItemId,
    ) -> Result<(Vec<Ref>, Changed), QuarantineError> {
        let page = selection.open_page(self.store(), self.organisation_id(), after, BATCH_MAX).await?;
        let back = match step {
            Step::Free => self.put_back_elsewhere(&page, actor, Right::Role).await?,
            Step::Request | Step::Deny | Step::Expire => Back::default(),
        };
        let mut tx = self.store().begin().await?;
        let changed = match step {
            Step::Free => self.free_page(&mut tx, &page, actor, Right::Role, &back).await?,
            Step::Request | Step::Deny | Step::Expire => self.mark_page(&mut tx, &page, step, actor, why).await?,
        };
        tx.commit().await?;
        self.take_back(&changed.strays).await?;
        Ok((page, changed))
    }

    /// Takes the items of a page through a step that moves no mail.
    pub(crate) async fn mark_page(
        &self,
        tx: &mut Tx,
        page: &[Ref],
        step: Step,
        actor: &Actor,
        why: &str,
    ) -> Result<Changed, QuarantineError> {
        let why = SqlText::new(why.trim());
        let mut changed = Changed::default();
        let mut ids = Vec::new();
        let mut events = Vec::new();
        let now = self.store().now();
        let campaigns_only = step == Step::Request && !actor.role.may(Permission::QuarantineRead);
        for held in lock_held(tx, self.organisation_id(), page).await? {
            if held.status == step.target() {
                changed.outcome.unchanged_count += 1;
                continue;
            }
            if campaigns_only && held.campaign_id.is_none() {
                changed.outcome.refuse(held.id, "it belongs to no campaign: an administrator decides");
                continue;
            }
            let kind: EventKind = step.event();
            if advance(held.status, step).is_err() || held.whereabouts.advance(kind, None).is_err() {
                changed.outcome.refuse(held.id, refusal_words(step, held.status));
                continue;
            }
            changed.outcome.marked_count += 1;
            changed.campaigns.insert(held.campaign_id.map_or(0, |id| id.0));
            ids.push(held.id.0);
            let mut detail = json!({ "item_id": held.id, "held_for": held.reason });
            if !why.as_str().is_empty() {
                detail["reason"] = json!(why.as_str());
            }
            events.push(NewEvent {
                cause_id: held.cause_id,
                actor: actor.login.clone(),
                detail,
                ..NewEvent::now(self.organisation_id(), held.copy_id, kind, SOURCE, now)
            });
        }
        if !ids.is_empty() {
            let ids = json!(ids);
            if step == Step::Request {
                tx.execute("quarantine.request", &values![&actor.login, &ids]).await?;
            } else {
                let status = step.target().as_str();
                tx.execute("quarantine.decide", &values![status, &actor.login, now, &ids]).await?;
            }
            tx.append_events(&events).await?;
        }
        Ok(changed)
    }

    pub(crate) fn announce(&self, changed: &Changed) {
        let bus = self.store().bus();
        let campaigns: &BTreeSet<i64> = &changed.campaigns;
        for campaign in campaigns {
            bus.announce(Topic::Ledger, *campaign);
        }
        for mailbox_id in &changed.mailboxes {
            bus.announce(Topic::Mailbox, *mailbox_id);
        }
    }
}

fn refusal_words(step: Step, status: ReleaseStatus) -> &'static str {
    match (step, status) {
        (Step::Request, ReleaseStatus::Denied) => "its release was denied",
        (Step::Deny, _) => "nobody has asked for its release",
        (Step::Request | Step::Free | Step::Expire, _) => "it is not in quarantine any more",
    }
}
