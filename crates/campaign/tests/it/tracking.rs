//! Tracking links: where they lead, what is recorded, and who is counted as a person.

use std::net::{IpAddr, Ipv4Addr};

use campaign::{CampaignError, Draft, Fetch, Reach, Target, Tracker, Tracking};
use directory::IndividualTracking;
use model::{CampaignId, Timestamp};
use store::values;

use crate::ground::{Ground, ground, tokens};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36";

async fn fetch(tracker: &Tracker, target: &Target, at: Timestamp, method: &str) {
    let client_ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    tracker.record(target, &Fetch { at, method, user_agent: BROWSER, client_ip }).await.unwrap();
}

/// A person opens and follows one link; times in milliseconds from now.
async fn read(g: &Ground, body: &str, open_ms: i64, click: Option<(usize, i64)>) {
    let now = g.store.now();
    let open = g.tracker.resolve_open(&tokens(body, "o")[0]).await.unwrap();
    fetch(&g.tracker, &open, now.plus_ms(open_ms), "GET").await;
    if let Some((link, ms)) = click {
        let target = g.tracker.resolve_click(&tokens(body, "t")[link]).await.unwrap();
        fetch(&g.tracker, &target, now.plus_ms(ms), "GET").await;
    }
}

/// A scanner fetches every link, a few milliseconds apart.
async fn scan(g: &Ground, body: &str, start_ms: i64) {
    let now = g.store.now();
    for (token, i) in tokens(body, "t").iter().zip(0..) {
        let target = g.tracker.resolve_click(token).await.unwrap();
        fetch(&g.tracker, &target, now.plus_ms(start_ms + i * 5), "GET").await;
    }
}

async fn sent(g: &Ground, draft: &Draft) -> (CampaignId, Vec<String>) {
    let campaign = g.started_with(draft).await;
    g.dispatcher(50).round().await.unwrap();
    let mut bodies = Vec::new();
    for (_, copy_id) in g.copies(campaign.id).await {
        bodies.push(g.body(copy_id).await);
    }
    (campaign.id, bodies)
}

#[tokio::test]
async fn machines_are_never_people_and_people_stay_people() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 10).await;
        let (id, bodies) = sent(&g, &g.draft()).await;
        read(&g, &bodies[0], 0, None).await; // opens
        read(&g, &bodies[1], 0, Some((0, 5_000))).await; // opens and follows
        scan(&g, &bodies[2], 0).await; // scanned at once
        scan(&g, &bodies[3], 30_000).await; // scanned late
        scan(&g, &bodies[4], 0).await; // scanned, then read by its person
        read(&g, &bodies[4], 40_000, Some((1, 47_000))).await;
        let target = g.tracker.resolve_click(&tokens(&bodies[5], "t")[0]).await.unwrap();
        fetch(&g.tracker, &target, g.store.now(), "HEAD").await; // never counted
        let early = g.tracker.stats(id).await.unwrap();
        assert_eq!(
            (early.people, early.unsettled_count),
            (Reach::default(), 5),
            "nobody is counted before the silence"
        );
        assert!(!early.is_hidden);
        assert_eq!(early.machines, Reach { opened: 0, clicked: 3 }, "a burst is one at once");
        g.clock.advance_ms(60_000);
        let stats = g.tracker.stats(id).await.unwrap();
        assert_eq!(stats.people, Reach { opened: 3, clicked: 2 }, "{}", g.name);
        assert_eq!(stats.machines, Reach { opened: 0, clicked: 3 });
        assert_eq!((stats.unsettled_count, stats.groups.len()), (0, 0));
        let per_link: Vec<_> = stats.links.iter().map(|l| (l.position, l.people, l.machines)).collect();
        assert_eq!(per_link, [(0, 1, 3), (1, 1, 3), (2, 0, 3)]);
        assert_eq!(stats.links[0].url, "https://intranet.contoso.example/news?id=1&x=2");
    })
    .await;
}

#[tokio::test]
async fn a_late_fetch_makes_an_earlier_one_a_machines() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 1).await;
        let (id, bodies) = sent(&g, &g.draft()).await;
        let start = g.store.now();
        let mut notices = g.store.bus().subscribe();
        let mut seen = Vec::new();
        for (token, i) in tokens(&bodies[0], "t").iter().zip(0..) {
            let target = g.tracker.resolve_click(token).await.unwrap();
            fetch(&g.tracker, &target, start.plus_ms(i * 4_000), "GET").await; // slowly through all three
            g.clock.set(start.plus_ms(i * 4_000 + 3_000));
            let stats = g.tracker.stats(id).await.unwrap();
            assert!(stats.is_hidden, "one person is fewer than the floor");
            seen.push((stats.people.clicked, stats.machines.clicked));
        }
        assert_eq!(seen, [(1, 0), (1, 0), (0, 1)]);
        assert!(notices.try_recv().is_err(), "news would tell when the one person read");
    })
    .await;
}

#[tokio::test]
async fn a_copy_fetched_without_end_is_a_machines_and_settles() {
    let t = testkit::sqlite().await;
    let g = ground(&t, 1).await;
    let (id, bodies) = sent(&g, &g.draft()).await;
    let target = g.tracker.resolve_click(&tokens(&bodies[0], "t")[0]).await.unwrap();
    let now = g.store.now();
    for i in 0..2_100 {
        fetch(&g.tracker, &target, now.plus_ms(i * 3_000), "GET").await; // by itself each would be a person's
    }
    g.clock.advance_ms(2_100 * 3_000 + 60_000);
    let stats = g.tracker.stats(id).await.unwrap();
    assert_eq!((stats.unsettled_count, stats.people.clicked, stats.machines.clicked), (0, 1, 1));
}

#[tokio::test]
async fn forged_links_lead_nowhere_and_leave_no_trace() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 1).await;
        let (id, bodies) = sent(&g, &g.draft()).await;
        let (click, open, unsubscribe) =
            (&tokens(&bodies[0], "t")[0], &tokens(&bodies[0], "o")[0], &tokens(&bodies[0], "u")[0]);
        let forged = format!("{}{}", &click[..20], click[20..].chars().rev().collect::<String>());
        for bad in ["", "x", "https://evil.example", &click[..click.len() - 1], &forged, open, unsubscribe] {
            assert!(matches!(g.tracker.resolve_click(bad).await, Err(CampaignError::Token)), "{bad}");
        }
        assert!(matches!(g.tracker.resolve_open(click).await, Err(CampaignError::Token)));
        assert!(matches!(g.tracker.unsubscribe(open).await, Err(CampaignError::Token)));
        // Our own signature on a link that the campaign does not have.
        let beyond = g.tracker.tokens().click(id, 99, campaign::Subject::Nonce(1));
        assert!(matches!(g.tracker.resolve_click(&beyond).await, Err(CampaignError::Token)));
        g.clock.advance_ms(60_000);
        let stats = g.tracker.stats(id).await.unwrap();
        assert_eq!((stats.people, stats.machines), (Reach::default(), Reach::default()));
        assert!(g.campaigns.suppressions("", 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn anonymous_hits_name_nobody_and_individual_ones_need_the_owner() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 12).await;
        let (id, bodies) = sent(&g, &g.draft()).await;
        let first = g.tracker.resolve_open(&tokens(&bodies[0], "o")[0]).await.unwrap();
        let second = g.tracker.resolve_open(&tokens(&bodies[1], "o")[0]).await.unwrap();
        assert_ne!(first.subject, second.subject);
        assert_eq!(first.subject.copy_id(), None);
        read(&g, &bodies[0], 0, None).await;
        g.clock.advance_ms(60_000);
        assert_eq!(g.tracker.stats(id).await.unwrap().groups, [], "departments are not known");

        let mut settings = g.directory.settings().await.unwrap();
        settings.tracking.individual = Some(IndividualTracking {
            purpose: "Safety briefings".into(),
            legal_basis: "Works agreement 7".into(),
            by: "owner".into(),
        });
        g.directory.save_settings(&settings).await.unwrap();
        let draft = Draft { tracking: Tracking::Individual, ..g.draft() };
        let (id, bodies) = sent(&g, &draft).await;
        let copies = g.copies(id).await;
        let target = g.tracker.resolve_click(&tokens(&bodies[3], "t")[0]).await.unwrap();
        assert_eq!(target.subject.copy_id(), Some(copies[3].1));
        read(&g, &bodies[3], 0, Some((0, 4_000))).await;
        g.clock.advance_ms(60_000);
        let groups = g.tracker.stats(id).await.unwrap().groups;
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].department.as_str(), groups[0].copies), ("Sales", 12));
        assert_eq!(groups[0].people, Reach { opened: 1, clicked: 1 });
        settings.tracking.group_floor_count = 13;
        g.directory.save_settings(&settings).await.unwrap();
        assert_eq!(g.tracker.stats(id).await.unwrap().groups, [], "a group below the floor is not shown");
    })
    .await;
}

#[tokio::test]
async fn one_click_unsubscribes_and_looking_does_not() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 3).await;
        let (_, bodies) = sent(&g, &g.draft()).await;
        let token = &tokens(&bodies[1], "u")[0];
        let address = g.tracker.unsubscribe_target(token).await.unwrap();
        assert!(g.campaigns.suppressions("", 10).await.unwrap().is_empty(), "the page alone changes nothing");
        for _ in 0..2 {
            assert_eq!(g.tracker.unsubscribe(token).await.unwrap(), address);
        }
        let listed = g.campaigns.suppressions("", 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].address.as_str(), listed[0].reason.as_str()), ("p00001@contoso.example", "unsubscribed"));
        let next = g.started().await;
        assert_eq!((next.audience_count, next.suppressed_count), (2, 1));
        assert!(g.campaigns.unsuppress(&address).await.unwrap());
        assert!(!g.campaigns.unsuppress(&address).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn every_statement_is_prepared_on_both() {
    testkit::on_both(|t| async move {
        let bad = t.store.check_statements().await;
        let ours: Vec<_> =
            bad.iter().filter(|(name, _)| name.starts_with("campaign.") || name.starts_with("hit.")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        assert!(t.store.query("campaign.links", &values![1_i64]).await.unwrap().is_empty());
    })
    .await;
}
