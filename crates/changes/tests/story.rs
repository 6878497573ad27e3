//! Propose, backtest, activate, undo, on both databases, with the quarantine's worker doing what a change asks for.

#[path = "house/faults.rs"]
mod faults;
mod house;

use std::collections::BTreeSet;

use changes::{
    Activation, Actor, Allow, Allowed, BacktestOptions, BacktestState, Change, ChangeFilter, ChangeState, Error,
    Proposal, Stop, Undo,
};
use house::{House, Mail, admin};
use model::{ChangeId, CopyId, Place, VerdictClass};
use store::values;
use testkit::on_both;
use verdict::{FeedKind, ListAction, ListKind};

const HOST: &str = "t.contoso.localhost";
const RULE: &str = "feed_url_host";
const DAY_MS: i64 = 86_400_000;

fn feed(lines: &str) -> Proposal {
    Proposal::Feed {
        feed: "phishing-hosts".into(),
        kind: FeedKind::UrlHost,
        class: VerdictClass::Phish,
        add: lines.into(),
        remove: vec![],
    }
}

fn weight(weight: f32) -> Proposal {
    Proposal::Weight { rule: RULE.into(), weight }
}

impl House {
    async fn propose(&self, proposal: Proposal) -> Change {
        self.changes.propose(proposal, "because", &admin()).await.unwrap()
    }

    async fn test(&self, id: ChangeId) -> changes::Backtest {
        self.changes.backtest(id, BacktestOptions::default(), &admin()).await.unwrap()
    }

    /// Proposes, tests and activates, with a reason in case the backtest warns.
    async fn put_in_force(&self, proposal: Proposal) -> Change {
        let change = self.propose(proposal).await;
        self.test(change.id).await;
        match self.changes.activate(change.id, &admin(), "we know").await.unwrap() {
            Activation::Done { change, .. } => *change,
            Activation::Already(_) => panic!("it was not in force"),
        }
    }

    async fn predicted(&self, id: model::BacktestId, purges_only: bool) -> BTreeSet<CopyId> {
        let mut found = BTreeSet::new();
        loop {
            let page = self.changes.backtest_copies(id, found.last().copied(), purges_only, 7).await.unwrap();
            if page.is_empty() {
                return found;
            }
            found.extend(page.iter().map(|copy| copy.copy_id));
        }
    }

    async fn active_count(&self) -> usize {
        let versions = self.changes.versions(None, 100).await.unwrap();
        versions.iter().filter(|version| version.active).count()
    }
}

#[tokio::test]
async fn a_weight_is_tested_and_the_purge_moves_exactly_what_was_predicted() {
    on_both(|t| async move {
        let house = House::build(t, 20).await;
        // The rule is switched off, then the host is listed: nobody is hit.
        house.put_in_force(weight(0.0)).await;
        let campaign = house.campaign("Benefits").await;
        let old = house.arrive(Mail { campaign: None, subject: "Old", host: HOST, count: 3 }).await;
        house.t.clock.advance_ms(3 * DAY_MS);
        let mail = Mail { campaign: Some(campaign), subject: "Benefits", host: HOST, count: 20 };
        let hit = house.arrive(mail).await;
        let other =
            house.arrive(Mail { campaign: None, subject: "Other", host: "www.fabrikam.example", count: 5 }).await;
        for copy in &hit[..4] {
            house.read(*copy).await;
        }
        let listed = house.put_in_force(feed(HOST)).await;
        assert_eq!(house.work().await, 1, "a feed entry asks for a purge, though it finds nothing");
        assert_eq!(house.at(&hit, Place::Inbox).await.len(), 20);

        let own = verdict::RULES.iter().find(|rule| rule.id == RULE).unwrap().weight;
        let change = house.propose(weight(own)).await;
        let backtest = house.test(change.id).await;
        assert_eq!(backtest.state, BacktestState::Done);
        let report = &backtest.report;
        assert_eq!((report.judged_count, report.copy_count, report.sampled), (28, 28, false));
        assert_eq!(
            (report.moved_count, report.purge_count, report.read_count),
            (23, 20, 4),
            "old mail stays where it is"
        );
        assert_eq!((report.by_campaign.len(), report.by_campaign[0].purge_count), (1, 20));
        assert_eq!(report.examples.len(), 10);
        assert!(report.examples[0].sentence.contains(HOST));
        assert!(backtest.warning.contains("Benefits") && backtest.warning.contains("4 copies"), "{}", backtest.warning);
        let refused = house.changes.activate(change.id, &admin(), " ").await.unwrap_err();
        assert!(matches!(refused, Error::NeedsReason { .. }), "{refused}");

        let done = house.changes.activate(change.id, &admin(), "they are phish").await.unwrap();
        let Activation::Done { change, purge_job_id: Some(_), .. } = done else { panic!("{done:?}") };
        assert_eq!((change.state, change.override_reason.as_str()), (ChangeState::Active, "they are phish"));
        assert_eq!(house.work().await, 1);
        let all: Vec<CopyId> = old.iter().chain(&hit).chain(&other).copied().collect();
        let moved = house.at(&all, Place::Quarantine).await;
        assert_eq!(house.predicted(backtest.id, true).await, moved, "{}", house.t.name);
        assert_eq!(house.predicted(backtest.id, false).await.len(), 23);

        let again = house.changes.activate(change.id, &admin(), "again").await.unwrap();
        assert!(matches!(again, Activation::Already(_)));
        let undone = house.changes.undo(change.id, &admin(), "a mistake").await.unwrap();
        assert!(matches!(undone, Undo::Done { restore_job_id: Some(_), .. }));
        assert_eq!(house.work().await, 1);
        assert_eq!(house.at(&hit, Place::Inbox).await.len(), 20);
        assert!(matches!(house.changes.undo(change.id, &admin(), "again").await.unwrap(), Undo::Already(_)));
        assert_eq!(house.work().await, 0, "nothing was asked for twice");
        let source = house.changes.active_source().await.unwrap();
        assert_eq!(source.weights.get(RULE), Some(&0.0), "the weight before the change is back");
        assert_eq!(source.feeds[0].entries[0].change_id, Some(listed.id));
        assert_eq!(house.active_count().await, 1);
        assert_eq!(house.changes.versions(None, 100).await.unwrap().len(), 5);
    })
    .await;
}

#[tokio::test]
async fn nothing_becomes_active_untested_stale_or_half() {
    on_both(|t| async move {
        let house = House::build(t, 3).await;
        let changes = &house.changes;
        let bad = changes.propose(feed("good.example\nno host!\n\n:70000"), "x", &admin()).await.unwrap_err();
        let Error::Invalid { problems, count: 2 } = bad else { panic!("{bad}") };
        assert_eq!(problems.iter().map(|p| p.place.as_str()).collect::<Vec<_>>(), ["line 2", "line 4"]);
        let all = ChangeFilter { limit: 100, ..ChangeFilter::default() };
        assert!(changes.list(all).await.unwrap().is_empty(), "nothing was half applied");

        let change = house.propose(feed(HOST)).await;
        assert!(matches!(changes.activate(change.id, &admin(), "x").await.unwrap_err(), Error::NoBacktest));
        assert!(matches!(changes.undo(change.id, &admin(), "x").await.unwrap_err(), Error::State(_)));
        house.test(change.id).await;
        house.put_in_force(weight(1.0)).await;
        assert!(matches!(changes.activate(change.id, &admin(), "x").await.unwrap_err(), Error::StaleBacktest));
        house.test(change.id).await;
        changes.activate(change.id, &admin(), "").await.unwrap();
        assert!(matches!(changes.stop(change.id, &admin(), "").await.unwrap_err(), Error::State(_)));
        let known = changes.propose(feed(HOST), "x", &admin()).await.unwrap_err();
        assert!(known.to_string().contains("already"), "{known}");

        let given_up = house.propose(feed("other.example")).await;
        assert!(matches!(changes.stop(given_up.id, &admin(), "no").await.unwrap(), Stop::Done(_)));
        let Stop::Already(stopped) = changes.stop(given_up.id, &admin(), "no").await.unwrap() else { panic!() };
        assert_eq!((stopped.state, stopped.undone_by.as_str()), (ChangeState::Stopped, "ada"));
        let refused = changes.backtest(given_up.id, BacktestOptions::default(), &admin()).await.unwrap_err();
        assert!(matches!(refused, Error::State(_)), "{refused}");

        let active = ChangeFilter { state: Some(ChangeState::Active), limit: 1, before: None };
        let first = changes.list(active).await.unwrap();
        let second = changes.list(ChangeFilter { before: Some(first[0].id), ..active }).await.unwrap();
        assert_ne!(first[0].id, second[0].id);
        assert_eq!(house.active_count().await, 1);
        let audit = house.directory.audit_page(None, 100).await.unwrap();
        assert_eq!(audit.iter().filter(|entry| entry.action == "change.activate").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn pulling_back_very_much_takes_two_people() {
    on_both(|t| async move {
        let house = House::build(t, 3).await;
        let landed = house.arrive(Mail { campaign: None, subject: "Landed", host: HOST, count: 3 }).await;
        let mut settings = house.directory.settings().await.unwrap();
        settings.limits.mass_action_max = 2;
        house.directory.save_settings(&settings).await.unwrap();
        let change = house.propose(feed(HOST)).await;
        house.test(change.id).await;
        let refused = house.changes.activate(change.id, &admin(), "").await.unwrap_err();
        assert!(matches!(refused, Error::NeedsSecondPerson { count: 3, limit: 2, .. }), "{refused}");
        assert!(refused.to_string().contains("somebody else than ada"), "{refused}");
        assert_eq!(house.changes.get(change.id).await.unwrap().state, ChangeState::Backtested);
        assert_eq!(house.work().await, 0);

        let other = Actor { account_id: None, login: "eve".into() };
        assert!(matches!(house.changes.activate(change.id, &other, "").await.unwrap(), Activation::Done { .. }));
        assert_eq!(house.work().await, 1);
        assert_eq!(house.at(&landed, Place::Quarantine).await.len(), 3);
        // Bringing it all back is urgent: one is enough.
        house.changes.undo(change.id, &admin(), "a mistake").await.unwrap();
        assert_eq!(house.work().await, 1);
        assert_eq!(house.at(&landed, Place::Inbox).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_allow_entry_is_in_force_at_once_and_only_once() {
    on_both(|t| async move {
        let house = House::build(t, 4).await;
        house.put_in_force(feed(HOST)).await;
        house.work().await;
        let held = house.arrive(Mail { campaign: None, subject: "Held", host: HOST, count: 4 }).await;
        assert_eq!(house.at(&held, Place::Quarantine).await.len(), 4);
        let entry = Allow {
            action: ListAction::Allow,
            kind: ListKind::Url,
            value: format!("~{HOST}~"),
            expires_at: Some(house.store().now().plus_ms(30 * DAY_MS)),
            note: String::new(),
        };
        let allowed = house.changes.allow(entry.clone(), &admin(), "ours").await.unwrap();
        let Allowed::Done { change, redelivery_count, .. } = allowed else { panic!("{allowed:?}") };
        assert_eq!((change.state, redelivery_count), (ChangeState::Active, 4));
        assert!(change.backtest_id.is_some(), "a record all the same");
        assert_eq!(house.work().await, 0, "nothing is pulled back for it");
        house.t.clock.advance_ms(60_000);
        let later = Allow { expires_at: Some(house.store().now().plus_ms(30 * DAY_MS)), ..entry.clone() };
        assert!(matches!(house.changes.allow(later, &admin(), "ours").await.unwrap(), Allowed::Already { .. }));
        let landed = house.arrive(Mail { campaign: None, subject: "Landed", host: HOST, count: 4 }).await;
        assert_eq!(house.at(&landed, Place::Inbox).await.len(), 4);
        let past =
            Allow { expires_at: Some(house.store().now().plus_ms(-1)), value: "x.example/*".into(), ..entry.clone() };
        assert!(matches!(house.changes.allow(past, &admin(), "x").await.unwrap_err(), Error::Invalid { .. }));
        let block = Allow { action: ListAction::Block, ..entry };
        assert!(matches!(house.changes.allow(block, &admin(), "x").await.unwrap_err(), Error::Invalid { .. }));
        // It expires: nothing has to be done for the rules to hold the mail again.
        house.t.clock.advance_ms(31 * DAY_MS);
        let later = house.arrive(Mail { campaign: None, subject: "Later", host: HOST, count: 4 }).await;
        assert_eq!(house.at(&later, Place::Quarantine).await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_bounded_backtest_says_that_it_is_a_sample_and_a_cut_off_one_can_be_repeated() {
    on_both(|t| async move {
        let house = House::build(t, 6).await;
        house.arrive(Mail { campaign: None, subject: "First", host: HOST, count: 6 }).await;
        house.t.clock.advance_ms(1_000);
        let newest = house.arrive(Mail { campaign: None, subject: "Newest", host: HOST, count: 2 }).await;
        let change = house.propose(feed(HOST)).await;
        let options = BacktestOptions { messages_max: 2, ..BacktestOptions::default() };
        let backtest = house.changes.backtest(change.id, options, &admin()).await.unwrap();
        assert!(backtest.report.sampled);
        assert_eq!((backtest.report.judged_count, backtest.report.total_count), (2, 8));
        let newest: BTreeSet<CopyId> = newest.into_iter().collect();
        assert_eq!(house.predicted(backtest.id, false).await, newest);
        assert!(backtest.warning.is_empty(), "nobody has read it and it is no campaign of ours");

        // The process ends while a backtest runs.
        house
            .store()
            .execute("change.set_state", &values!["backtesting", house.store().now(), change.id])
            .await
            .unwrap();
        assert_eq!(house.changes.recover().await.unwrap(), 1);
        assert_eq!(house.changes.recover().await.unwrap(), 0);
        assert_eq!(house.changes.get(change.id).await.unwrap().state, ChangeState::Proposed);
        assert_eq!(house.test(change.id).await.report.judged_count, 8);
        assert_eq!(house.changes.backtests_of(change.id).await.unwrap().len(), 2);
    })
    .await;
}
