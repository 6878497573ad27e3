//! The story of two lost campaigns, on both databases: landed, pulled back, held, found, brought back.

#[path = "../../changes/tests/house/mod.rs"]
#[expect(dead_code, reason = "the house is furnished for the stories of changes too")]
mod house;

use changes::{Activation, Allow, BacktestOptions, Proposal};
use directory::ProtectionCache;
use house::{House, Mail, admin};
use model::{CampaignId, ChangeId, CopyId, EventKind, IncidentId, LastEvent, Place, Role, VerdictClass};
use quarantine::{Quarantine, Selection};
use store::{NewEvent, Topic};
use testkit::on_both;
use tokio_util::sync::CancellationToken;
use verdict::{FeedKind, ListAction, ListKind};
use whereabouts::incident::{self, Remedy, ScanReport, Status, add_update, scan};
use whereabouts::{
    CopyFilter, Detector, DetectorConfig, Error, Found, ReasonGroup, copies, copy_timeline, headline, proof, reasons,
    search, series, totals,
};

const HOST: &str = "t.contoso.localhost";
const DAY_MS: i64 = 86_400_000;
const PEOPLE: usize = 12;
/// Copies, and the delay in milliseconds.
const SETTINGS: (i64, i64) = (10, 5_000);

impl House {
    async fn send(&self, name: &str) -> (CampaignId, Vec<CopyId>) {
        let id = self.campaign(name).await;
        let copies = self.arrive(Mail { campaign: Some(id), subject: name, host: HOST, count: PEOPLE }).await;
        (id, copies)
    }

    /// The feed update that flags the tracking host, activated against the warning; its purge is done.
    async fn flag_host(&self) -> ChangeId {
        self.flag_host_as(VerdictClass::Phish).await
    }

    async fn flag_host_as(&self, class: VerdictClass) -> ChangeId {
        let (kind, add) = (FeedKind::UrlHost, format!("{HOST}:8080"));
        let proposal = Proposal::Feed { feed: "phishing-hosts".into(), kind, class, add, remove: vec![] };
        let change = self.changes.propose(proposal, "feed of today", &admin()).await.unwrap();
        self.changes.backtest(change.id, BacktestOptions::default(), &admin()).await.unwrap();
        let done = self.changes.activate(change.id, &admin(), "the vendor is sure").await.unwrap();
        assert!(matches!(done, Activation::Done { .. }));
        assert_eq!(self.work().await, 1);
        change.id
    }

    async fn release(&self, campaign_id: CampaignId) {
        let protection = ProtectionCache::start(&self.directory).await.unwrap();
        let quarantine = Quarantine::new(self.directory.clone(), protection);
        let actor = quarantine::Actor { login: "ada".into(), role: Role::Administrator };
        quarantine.release(&actor, &Selection::Campaign(campaign_id)).await.unwrap();
        self.work().await;
    }

    async fn scan(&self) -> ScanReport {
        scan(&self.directory, Some(SETTINGS)).await.unwrap()
    }

    /// Scans until nothing is pending; bounded.
    async fn settle(&self) -> ScanReport {
        let mut all = ScanReport::default();
        for _ in 0..10 {
            let report = self.scan().await;
            all.update_count += report.update_count;
            all.joined_count += report.joined_count;
            all.opened.extend(report.opened);
            all.resolved.extend(report.resolved);
            if !report.pending {
                assert_eq!(self.scan().await, ScanReport::default(), "a look at the same rows says nothing twice");
                return all;
            }
        }
        panic!("it never settles");
    }

    async fn texts(&self, id: IncidentId) -> Vec<(Status, String)> {
        let updates = incident::updates(self.store(), self.directory.id(), id, None, 100).await.unwrap();
        updates.into_iter().rev().map(|update| (update.status, update.text)).collect()
    }

    async fn headline(&self, id: CampaignId) -> String {
        headline(self.store(), self.directory.id(), id).await.unwrap()
    }

    async fn place(&self, copy_id: CopyId) -> (Place, LastEvent) {
        let timeline = copy_timeline(self.store(), self.directory.id(), copy_id).await.unwrap();
        (timeline.place, timeline.last_event)
    }
}

#[tokio::test]
async fn two_campaigns_are_lost_found_and_brought_back() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (first, landed) = house.send("Benefits").await;
        house.read(landed[0]).await;
        assert_eq!(house.scan().await, ScanReport::default());
        let said = house.headline(first).await;
        assert_eq!(said, "All 12 recipients' copies were accepted; 12 are in the recipients' mailboxes.");

        house.t.clock.advance_ms(60_000);
        let change = house.flag_host().await;
        let report = house.scan().await;
        assert!(report.opened.is_empty() && report.pending, "the delay is not over");
        house.t.clock.advance_ms(SETTINGS.1);
        let report = house.settle().await;
        let [id] = report.opened[..] else { panic!("{report:?}") };
        let texts = house.texts(id).await;
        assert_eq!(texts.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [Status::Open, Status::Identified]);
        assert!(texts[0].1.starts_with(
            "12 copies of \u{201c}Benefits\u{201d} were accepted and are not in a mailbox: 12 were pulled back"
        ));
        let cause = incident::get(&store, of, id).await.unwrap().cause;
        assert_eq!((cause.rule.as_str(), cause.evidence.contains("/c/1")), ("feed_url_host", false));
        assert!(texts[1].1.contains("activated by ada") && texts[1].1.contains("the vendor is sure"), "{}", texts[1].1);
        let said = house.headline(first).await;
        assert!(
            said.contains("12 are in quarantine since") && said.contains(HOST) && said.ends_with("Nobody can read it."),
            "{said}"
        );
        let why = reasons(&store, of, first).await.unwrap();
        assert_eq!(
            (why.len(), why[0].group, why[0].count, why[0].cause_id),
            (1, ReasonGroup::PulledBack, 12, Some(change.0))
        );

        // A second campaign is accepted and held; the same incident takes it in.
        let (second, held) = house.send("Summer Party").await;
        let report = house.settle().await;
        assert_eq!((report.opened.len(), report.joined_count, report.update_count), (0, 12, 1));
        let texts = house.texts(id).await;
        assert_eq!(
            texts[2].1,
            "The same cause hits \u{201c}Summer Party\u{201d} (12 copies). In scope now: 24 copies of 2 campaigns."
        );
        let why = reasons(&store, of, second).await.unwrap();
        assert_eq!((why[0].group, why[0].rule.as_str(), why[0].count), (ReasonGroup::Held, "feed_url_host", 12));
        assert!(why[0].origin.contains("phishing-hosts") && why[0].evidence.contains(HOST), "{:?}", why[0]);

        let detail = incident::detail(&store, of, id).await.unwrap();
        assert_eq!((detail.incident.impact_count, detail.incident.peak_count), (24, 24));
        assert_eq!(detail.incident.cause.change_id, Some(change));
        assert_eq!(detail.remedies.len(), 3);
        assert!(matches!(&detail.remedies[0], Remedy::Allow { value, .. } if *value == format!("~{HOST}~")));
        assert!(
            matches!(detail.remedies[1], Remedy::Release { campaign_id, copy_count: 12, .. } if campaign_id == second)
        );
        assert!(matches!(detail.remedies[2], Remedy::Undo { change_id, copy_count: 12, .. } if change_id == change));
        let linked = detail.contrast.rows.iter().find(|row| row.attribute == "links to").unwrap();
        assert_eq!(
            (linked.value.as_str(), linked.lost_count, linked.landed_count),
            ("t.contoso.localhost:8080", 24, 0)
        );

        // Brought back: an allow entry, a release, an undo.
        let until = Some(store.now().plus_ms(30 * DAY_MS));
        let (action, kind, value) = (ListAction::Allow, ListKind::Url, format!("~{HOST}~"));
        let entry = Allow { action, kind, value, expires_at: until, note: String::new() };
        house.changes.allow(entry.clone(), &admin(), "ours").await.unwrap();
        house.settle().await;
        house.release(second).await;
        house.settle().await;
        assert_eq!(incident::get(&store, of, id).await.unwrap().impact_count, 12);
        house.changes.undo(change, &admin(), "a false alarm").await.unwrap();
        assert_eq!(house.work().await, 1);
        let report = house.settle().await;
        assert_eq!(report.resolved, [id]);
        let texts = house.texts(id).await;
        let starts = [
            "12 copies",
            "Cause",
            "The same cause",
            "Remedy: Allow/block list",
            "Remedy: so far 12 copies were released by ada",
            "Remedy: the change was undone by ada",
            "Remedy: so far 12 copies were released and 12 copies were put back",
            "Resolved: of 24 copies in scope, 24 are back in mailboxes.",
        ];
        assert_eq!(texts.len(), starts.len(), "{texts:#?}");
        for ((_, text), start) in texts.iter().zip(starts) {
            assert!(text.starts_with(start), "{text}");
        }
        assert_eq!(incident::unresolved(&store, of, 10).await.unwrap(), []);
        assert_eq!(house.place(landed[0]).await, (Place::Inbox, LastEvent::Restored));
        assert_eq!(house.place(held[0]).await, (Place::Inbox, LastEvent::Released));
        assert_eq!(house.at(&landed, Place::Inbox).await.len(), PEOPLE);
        let proof = proof(&store, of).await.unwrap();
        assert_eq!((proof.sent_twice, proof.restored, proof.released, proof.repeated), (0, 12, 12, 0));
        let totals = totals(&store, of).await.unwrap();
        assert_eq!(totals.places, [(Place::Inbox, 24)].into());
        assert_eq!(totals.events, [(LastEvent::Released, 12), (LastEvent::Restored, 12)].into());

        // Repeating every step changes nothing.
        house.release(second).await;
        house.changes.undo(change, &admin(), "again").await.unwrap();
        house.changes.allow(entry, &admin(), "ours").await.unwrap();
        house.work().await;
        assert_eq!(house.scan().await, ScanReport::default());
        assert_eq!(whereabouts::totals(&store, of).await.unwrap(), totals);
        assert_eq!(whereabouts::proof(&store, of).await.unwrap(), proof);
    })
    .await;
}

#[tokio::test]
async fn the_readers_page_filter_search_and_tell() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (id, sent) = house.send("Benefits").await;
        house.t.clock.advance_ms(10_000);
        house.flag_host().await;
        house.t.clock.advance_ms(10_000);

        let mut filter = CopyFilter { limit: 5, place: Some(Place::Quarantine), ..CopyFilter::default() };
        let mut seen = Vec::new();
        loop {
            let page = copies(&store, of, id, &filter).await.unwrap();
            let Some(last) = page.last() else { break };
            filter.after = Some(last.id);
            seen.extend(page.into_iter().map(|row| row.id));
        }
        assert_eq!(seen, sent);
        let one = CopyFilter { limit: 50, text: "P0003@".into(), ..CopyFilter::default() };
        assert_eq!(copies(&store, of, id, &one).await.unwrap().len(), 1);
        let named = CopyFilter { limit: 50, text: "person 1".into(), last_event: Some(LastEvent::Purged), ..one };
        assert_eq!(copies(&store, of, id, &named).await.unwrap().len(), 3, "Person 1, 10 and 11");
        let none = CopyFilter { place: Some(Place::Inbox), ..named };
        assert!(copies(&store, of, id, &none).await.unwrap().is_empty());

        let series = series(&store, of, id, 10).await.unwrap();
        assert_eq!(series.points.first().unwrap().places, [(Place::Inbox, 12)].into());
        assert_eq!(series.points.last().unwrap().places, [(Place::Quarantine, 12)].into());

        let told = copy_timeline(&store, of, sent[0]).await.unwrap();
        assert_eq!(told.evidence.iter().map(|e| e.kind).collect::<Vec<_>>(), [EventKind::Accepted, EventKind::Purged]);
        assert!(told.answer.starts_with("In quarantine: pulled back after arrival"), "{}", told.answer);
        let missing = copy_timeline(&store, of, CopyId(1)).await.unwrap_err();
        assert!(matches!(missing, Error::NotFound { what: "copy", id: 1 }));
        assert!(matches!(headline(&store, of, CampaignId(1)).await.unwrap_err(), Error::NotFound { .. }));

        let kinds = |found: &[Found]| -> Vec<&'static str> {
            let kind = |found: &Found| match found {
                Found::Campaign { .. } => "campaign",
                Found::Person { .. } => "person",
                Found::Copy { .. } => "copy",
                Found::Incident { .. } => "incident",
                Found::UrlHost { .. } => "url_host",
            };
            found.iter().map(kind).collect()
        };
        for (text, want) in [
            ("BENEF", vec!["campaign"]),
            ("p0003@contoso.example", vec!["person"]),
            ("person 11", vec!["person"]),
            (HOST, vec!["url_host"]),
            ("x", vec![]),
            ("%", vec![]),
        ] {
            assert_eq!(kinds(&search(&store, of, text).await.unwrap()), want, "{text}");
        }
        let row = store.query_one("copy.by_id", &store::values![sent[0]]).await.unwrap().unwrap();
        let header = format!("{}@contoso.example", row.int("message_id").unwrap());
        assert_eq!(kinds(&search(&store, of, &header).await.unwrap()), ["copy"]);
    })
    .await;
}

#[tokio::test]
async fn a_second_landing_is_counted_and_a_loss_without_a_change_has_an_incident_too() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (id, sent) = house.send("Benefits").await;
        assert_eq!(proof(&store, of).await.unwrap().sent_twice, 0);
        // The same copy lands again, with nothing that took it out in between.
        let mut tx = store.begin().await.unwrap();
        let again = NewEvent::now(of, sent[0], EventKind::Accepted, "gateway", store.now());
        tx.append_events(&[NewEvent { place: Some(Place::Inbox), ..again }]).await.unwrap();
        // Others are pulled back, and nobody says by what change.
        let pulled: Vec<NewEvent> =
            sent[1..].iter().map(|c| NewEvent::now(of, *c, EventKind::Purged, "purge", store.now())).collect();
        tx.append_events(&pulled).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(proof(&store, of).await.unwrap().sent_twice, 1);

        house.t.clock.advance_ms(SETTINGS.1);
        let report = house.settle().await;
        let [incident_id] = report.opened[..] else { panic!("{report:?}") };
        let found = incident::get(&store, of, incident_id).await.unwrap();
        assert_eq!((found.cause_kind.as_str(), found.status, found.impact_count), ("unknown", Status::Open, 11));
        assert_eq!(incident::of_campaign(&store, of, id).await.unwrap(), [found]);

        let said =
            add_update(&store, of, incident_id, "We look into it.", Some(Status::Identified), "ada").await.unwrap();
        assert_eq!(said.status, Status::Identified);
        let refused = add_update(&store, of, incident_id, "No.", Some(Status::Open), "ada").await.unwrap_err();
        assert!(matches!(refused, Error::Status(_)), "{refused}");
        assert!(matches!(
            add_update(&store, of, incident_id, " ", None, "ada").await.unwrap_err(),
            Error::UpdateText { .. }
        ));
        let closed = add_update(&store, of, incident_id, "It is fine.", Some(Status::Resolved), "ada").await.unwrap();
        assert_eq!((closed.status, closed.resolved_at), (Status::Resolved, Some(store.now())));
        assert_eq!(house.scan().await, ScanReport::default(), "what a person has closed stays closed");
        assert_eq!(house.texts(incident_id).await.len(), 3, "one of the detector, two of a person");
    })
    .await;
}

impl House {
    /// Says of some copies that this happened to them now.
    async fn happened(&self, copies: &[CopyId], kind: EventKind, cause_id: Option<i64>) {
        self.t.clock.advance_ms(1_000);
        let (of, now) = (self.directory.id(), self.store().now());
        let event = |copy: &CopyId| NewEvent { cause_id, ..NewEvent::now(of, *copy, kind, "purge", now) };
        let mut tx = self.store().begin().await.unwrap();
        tx.append_events(&copies.iter().map(event).collect::<Vec<_>>()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_reason_is_what_happened_last_not_how_it_arrived() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (campaign, sent) = house.send("Benefits").await;
        house.t.clock.advance_ms(1_000);
        let change = house.flag_host_as(VerdictClass::Spam).await;
        let [why] = &reasons(&store, of, campaign).await.unwrap()[..] else { panic!("one reason") };
        assert_eq!((why.group, why.count, why.cause_id), (ReasonGroup::Junk, 12, Some(change.0)));
        assert!(why.sentence.contains(HOST) && why.rule == "feed_url_host", "it arrived clean: {why:?}");
        assert!(why.origin.contains("phishing-hosts"), "{why:?}");
        let told = copy_timeline(&store, of, sent[0]).await.unwrap();
        assert!(told.answer.starts_with("In Junk: moved there after arrival"), "{}", told.answer);
        assert!(house.headline(campaign).await.contains("12 are in Junk because"));
    })
    .await;
}

#[tokio::test]
async fn what_was_ended_says_why() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        house.flag_host().await;
        let (campaign, held) = house.send("Benefits").await;
        house.t.clock.advance_ms(1_000);
        let mut event = NewEvent::now(of, held[0], EventKind::Expired, "campaign", store.now());
        event.detail = serde_json::json!({ "reason": "the campaign was cancelled" });
        let mut tx = store.begin().await.unwrap();
        tx.append_events(&[event]).await.unwrap();
        tx.commit().await.unwrap();
        let why = reasons(&store, of, campaign).await.unwrap();
        let ended = why.iter().find(|reason| reason.group == ReasonGroup::NotReceived).expect("one did not arrive");
        assert_eq!(ended.count, 1);
        assert!(ended.sentence.ends_with(": the campaign was cancelled"), "{}", ended.sentence);
    })
    .await;
}

#[tokio::test]
async fn what_is_lost_again_opens_its_incident_again() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (campaign, sent) = house.send("Benefits").await;
        house.t.clock.advance_ms(1_000);
        let change = house.flag_host().await;
        house.t.clock.advance_ms(SETTINGS.1);
        let [id] = house.settle().await.opened[..] else { panic!("no incident") };
        house.changes.undo(change, &admin(), "a false alarm").await.unwrap();
        house.work().await;
        assert_eq!(house.settle().await.resolved, [id]);
        let told = house.texts(id).await.len();

        house.happened(&sent[..3], EventKind::Purged, Some(change.0)).await;
        let report = house.settle().await;
        assert_eq!((report.opened.len(), report.joined_count, report.update_count), (0, 3, 1));
        let again = incident::get(&store, of, id).await.unwrap();
        assert_eq!((again.status, again.impact_count, again.resolved_at), (Status::Identified, 3, None));
        let texts = house.texts(id).await;
        assert_eq!(texts[told].1, "Lost again by the same cause: 3 copies in scope are not in a mailbox.");
        assert_eq!(incident::of_campaign(&store, of, campaign).await.unwrap().len(), 1, "one incident per cause");

        house.happened(&sent[..3], EventKind::Restored, Some(change.0)).await;
        assert_eq!(house.settle().await.resolved, [id]);
        let texts: Vec<String> = house.texts(id).await.into_iter().skip(told + 1).map(|(_, text)| text).collect();
        assert!(texts[0].starts_with("Remedy: so far 12 copies were put back"), "{texts:?}");
        assert!(texts[1].starts_with("Resolved: of 12 copies in scope, 12 are back"), "{texts:?}");
        assert_eq!(texts.len(), 2, "{texts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_was_lost_before_is_lost_by_another_cause_too() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let (store, of) = (house.store().clone(), house.directory.id());
        let (campaign, sent) = house.send("Benefits").await;
        house.happened(&sent, EventKind::Purged, None).await;
        house.t.clock.advance_ms(SETTINGS.1);
        let [unknown] = house.settle().await.opened[..] else { panic!("no incident") };
        house.happened(&sent, EventKind::Restored, None).await;
        assert_eq!(house.settle().await.resolved, [unknown]);

        house.t.clock.advance_ms(1_000);
        let change = house.flag_host().await;
        house.t.clock.advance_ms(SETTINGS.1);
        let [by_change] = house.settle().await.opened[..] else { panic!("the change has no incident of its own") };
        let found = incident::get(&store, of, by_change).await.unwrap();
        assert_eq!((found.cause.change_id, found.impact_count), (Some(change), 12));
        assert_eq!(incident::get(&store, of, unknown).await.unwrap().status, Status::Resolved, "it is over");
        assert_eq!(incident::of_campaign(&store, of, campaign).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_detector_is_woken_by_the_ledger_and_ends_when_told() {
    on_both(|t| async move {
        let house = House::build(t, PEOPLE).await;
        let stop = CancellationToken::new();
        let mut notices = house.store().bus().subscribe();
        let config = DetectorConfig { scan_pause_ms: 1, idle_ms: 3_600_000, instead_of_settings: Some((10, 0)) };
        let detector = Detector::start(&house.directory, config, stop.clone());
        house.send("Benefits").await;
        house.flag_host().await;
        let opened = async {
            loop {
                match notices.recv().await {
                    Ok(notice) if notice.topic == Topic::Incident => return,
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), opened).await.expect("an incident opens by itself");
        stop.cancel();
        detector.stopped().await;
        assert_eq!(incident::unresolved(house.store(), house.directory.id(), 10).await.unwrap().len(), 1);
    })
    .await;
}
