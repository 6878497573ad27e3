//! A fault at every step of an activation, a purge, an undo with its restore, and a release: after a restart and another
//! try everything is where it belongs, once.

use changes::{Activation, BacktestOptions, Proposal};
use model::{CampaignId, ChangeId, CopyId, Place, Role};
use quarantine::{JobState, Selection};
use store::{Failing, values};
use testkit::{Arm, Fault, TestStore, at_every_step};
use verdict::FeedKind;

use crate::house::{House, Mail, admin};

const HOST: &str = "t.contoso.localhost";
const PEOPLE: usize = 3;
/// Longer than any lease and any rest of a job.
const LEASE_OVER_MS: i64 = 10 * 60_000;
/// More rounds than any job needs.
const ROUNDS_MAX: usize = 10;
const WAYS: [Failing; 3] = [Failing::Once, Failing::AnswerLost, Failing::Dies];

/// What a run starts from.
struct Staged {
    change: ChangeId,
    campaign: CampaignId,
    copies: Vec<CopyId>,
}

/// How far a change has come before the fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Tested,
    Active,
    Purged,
    Undone,
}

/// Mail for everybody has landed, and a change that would take it away has come this far.
async fn stage(t: &TestStore, until: Until) -> Staged {
    let house = House::build(t.clone(), PEOPLE).await;
    let campaign = house.campaign("Benefits").await;
    let mail = Mail { campaign: Some(campaign), subject: "Benefits", host: HOST, count: PEOPLE };
    let copies = house.arrive(mail).await;
    house.read(copies[0]).await;
    let proposal = Proposal::Feed {
        feed: "phishing-hosts".into(),
        kind: FeedKind::UrlHost,
        class: model::VerdictClass::Phish,
        add: HOST.into(),
        remove: vec![],
    };
    let change = house.changes.propose(proposal, "because", &admin()).await.unwrap().id;
    house.changes.backtest(change, BacktestOptions::default(), &admin()).await.unwrap();
    if until >= Until::Active {
        house.changes.activate(change, &admin(), "we know").await.unwrap();
    }
    if until >= Until::Purged {
        assert_eq!(house.work().await, 1);
    }
    if until >= Until::Undone {
        house.changes.undo(change, &admin(), "a mistake").await.unwrap();
    }
    Staged { change, campaign, copies }
}

/// The house after the restart, with every lease over.
async fn restarted(t: &TestStore) -> House {
    let house = House::open(t.clone(), PEOPLE).await;
    house.t.clock.advance_ms(LEASE_OVER_MS);
    house
}

/// Works until no job is left; each must end well.
async fn work_off(house: &House, fault: Fault) {
    for _ in 0..ROUNDS_MAX {
        house.worker.work_off().await.unwrap_or_else(|e| panic!("{fault}: {e}"));
        let jobs = house.quarantine.jobs(None, 100).await.unwrap();
        if jobs.iter().all(|job| job.state == JobState::Done) {
            return;
        }
        assert!(jobs.iter().all(|job| job.state != JobState::Failed), "{fault}: {jobs:?}");
        house.t.clock.advance_ms(LEASE_OVER_MS);
    }
    panic!("{fault}: {:?}", house.quarantine.jobs(None, 100).await.unwrap());
}

/// Every copy is at `place` and nowhere else, as its events say.
async fn all_at(house: &House, staged: &Staged, place: Place, fault: Fault) {
    let found = house.at(&staged.copies, place).await;
    assert_eq!(found.len(), PEOPLE, "{fault}: not all are at {place:?}");
    for copy_id in &staged.copies {
        let mut tx = house.store().begin().await.unwrap();
        let (now, fold) = (tx.whereabouts(*copy_id).await.unwrap(), tx.fold_of(*copy_id).await.unwrap());
        tx.rollback().await.unwrap();
        assert_eq!(now, fold, "{fault}: copy {copy_id}");
        let is_in_mailbox = house.is_in_mailbox(*copy_id).await;
        assert_eq!(is_in_mailbox, place == Place::Inbox, "{fault}: copy {copy_id}");
    }
    let twice = house.store().query_one("copy.sent_twice", &values![house.directory.id()]).await.unwrap().unwrap();
    assert_eq!(twice.int("copy_count").unwrap(), 0, "{fault}");
    let open = values![house.directory.id(), "", "", "", 0i64, 0i64, "", "", "", 0i64, i64::MAX, i64::MAX, 100i64];
    let items = house.store().query("quarantine.list", &open).await.unwrap();
    let waiting = items.iter().filter(|item| item.text("status").unwrap() == "needs_review").count();
    assert_eq!(waiting, if place == Place::Quarantine { PEOPLE } else { 0 }, "{fault}: open quarantine items");
}

#[tokio::test]
async fn an_activation_survives_a_fault_at_every_step() {
    let act = async |t: &TestStore, staged: &Staged, arm: Arm| {
        let house = House::open(t.clone(), PEOPLE).await;
        arm.now();
        house.changes.activate(staged.change, &admin(), "we know").await.is_ok()
    };
    let stage = async |t: &TestStore| stage(t, Until::Tested).await;
    let runs = at_every_step(&WAYS, stage, act, async |t, staged, was_done, fault| {
        let house = restarted(t).await;
        let active = async || {
            let versions = house.changes.versions(None, 100).await.unwrap();
            versions.iter().filter(|version| version.active).count()
        };
        assert_eq!(active().await, 1, "{fault}: half an activation");
        let again = house.changes.activate(staged.change, &admin(), "we know").await;
        match again.unwrap_or_else(|e| panic!("{fault}: {e}")) {
            Activation::Done { .. } => assert!(!was_done, "{fault}: what was done is gone"),
            Activation::Already(_) => assert!(was_done || fault.failing == Failing::AnswerLost, "{fault}"),
        }
        assert_eq!(active().await, 1, "{fault}");
        assert_eq!(house.quarantine.jobs(None, 100).await.unwrap().len(), 1, "{fault}: one purge");
        work_off(&house, fault).await;
        all_at(&house, staged, Place::Quarantine, fault).await;
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}

#[tokio::test]
async fn a_purge_survives_a_fault_at_every_step() {
    let act = async |t: &TestStore, _: &Staged, arm: Arm| {
        let house = House::open(t.clone(), PEOPLE).await;
        arm.now();
        let _ = house.worker.work_off().await;
    };
    let stage = async |t: &TestStore| stage(t, Until::Active).await;
    let runs = at_every_step(&WAYS, stage, act, async |t, staged, (), fault| {
        let house = restarted(t).await;
        work_off(&house, fault).await;
        all_at(&house, staged, Place::Quarantine, fault).await;
        let job = &house.quarantine.jobs(None, 1).await.unwrap()[0];
        assert_eq!((job.done_count, job.failed_count), (PEOPLE as i64, 0), "{fault}");
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}

#[tokio::test]
async fn an_undo_survives_a_fault_at_every_step() {
    let act = async |t: &TestStore, staged: &Staged, arm: Arm| {
        let house = House::open(t.clone(), PEOPLE).await;
        arm.now();
        house.changes.undo(staged.change, &admin(), "a mistake").await.is_ok()
    };
    let stage = async |t: &TestStore| stage(t, Until::Purged).await;
    let runs = at_every_step(&WAYS, stage, act, async |t, staged, _, fault| {
        let house = restarted(t).await;
        house.changes.undo(staged.change, &admin(), "a mistake").await.unwrap_or_else(|e| panic!("{fault}: {e}"));
        assert_eq!(house.quarantine.jobs(None, 100).await.unwrap().len(), 2, "{fault}: one purge, one restore");
        work_off(&house, fault).await;
        all_at(&house, staged, Place::Inbox, fault).await;
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}

#[tokio::test]
async fn a_restore_survives_a_fault_at_every_step() {
    let act = async |t: &TestStore, _: &Staged, arm: Arm| {
        let house = House::open(t.clone(), PEOPLE).await;
        arm.now();
        let _ = house.worker.work_off().await;
    };
    let stage = async |t: &TestStore| stage(t, Until::Undone).await;
    let runs = at_every_step(&WAYS, stage, act, async |t, staged, (), fault| {
        let house = restarted(t).await;
        work_off(&house, fault).await;
        all_at(&house, staged, Place::Inbox, fault).await;
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}

#[tokio::test]
async fn a_release_survives_a_fault_at_every_step() {
    let ada = || quarantine::Actor { login: "ada".into(), role: Role::Owner };
    let act = async |t: &TestStore, staged: &Staged, arm: Arm| {
        let house = House::open(t.clone(), PEOPLE).await;
        arm.now();
        house.quarantine.release(&ada(), &Selection::Campaign(staged.campaign)).await.is_ok()
    };
    let stage = async |t: &TestStore| stage(t, Until::Purged).await;
    let runs = at_every_step(&WAYS, stage, act, async |t, staged, was_done, fault| {
        let house = restarted(t).await;
        if was_done {
            all_at(&house, staged, Place::Inbox, fault).await;
        }
        let again = house.quarantine.release(&ada(), &Selection::Campaign(staged.campaign)).await;
        again.unwrap_or_else(|e| panic!("{fault}: {e}"));
        all_at(&house, staged, Place::Inbox, fault).await;
    })
    .await;
    assert!(runs > 20, "{runs} faults in all");
}
