//! Sending: each person of the frozen audience exactly once, whatever happens in between.

use std::collections::BTreeSet;
use std::time::Duration;

use campaign::{CampaignError, DispatchConfig, Dispatcher, Draft, State, Tracking};
use directory::{CopyTokens, OwnCopy, ReturnTokens};
use model::{Address, Place};
use store::{Topic, values};
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, between, ground, person, plain, tokens};

const WAIT: Duration = Duration::from_secs(30);

/// Every person has one copy, every copy one message, one delivery, and a state that its events give.
pub async fn assert_once(g: &Ground, id: model::CampaignId, count: usize) {
    let copies = g.copies(id).await;
    assert_eq!(copies.len(), count, "{}", g.name);
    assert_eq!(copies.iter().map(|(_, copy)| *copy).collect::<BTreeSet<_>>().len(), count);
    let mut messages = BTreeSet::new();
    for (address, copy_id) in &copies {
        let row = g.store.query_one("copy.by_id", &values![*copy_id]).await.unwrap().expect("the copy");
        assert_eq!(row.text("recipient").unwrap(), address);
        messages.insert(row.int("message_id").unwrap());
        let mut tx = g.store.begin().await.unwrap();
        let fold = tx.fold_of(*copy_id).await.unwrap();
        assert_eq!(fold, tx.whereabouts(*copy_id).await.unwrap());
        assert_eq!(tx.query("event.of_copy", &values![*copy_id]).await.unwrap().len(), 1, "one queued event");
    }
    assert_eq!(messages.len(), count);
    assert_eq!(g.deliveries(id).await.values().sum::<i64>(), i64::try_from(count).unwrap());
}

#[tokio::test]
async fn a_campaign_goes_once_to_everybody_and_is_sent() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 150).await;
        g.campaigns.suppress(&Address::parse("p00007@contoso.example").unwrap(), "asked").await.unwrap();
        let campaign = g.started().await;
        assert_eq!((campaign.state, campaign.audience_count, campaign.suppressed_count), (State::Sending, 149, 1));
        assert!(matches!(g.campaigns.start(campaign.id).await, Err(CampaignError::State { .. })), "not started twice");
        assert!(matches!(g.campaigns.update(campaign.id, &g.draft()).await, Err(CampaignError::State { .. })));
        // Who joins after the start is not in it; who unsubscribes before their turn is left out.
        g.add(&[person("late@contoso.example", "Late", &[])]).await;
        g.campaigns.suppress(&Address::parse("p00100@contoso.example").unwrap(), "asked").await.unwrap();
        let dispatcher = g.dispatcher(40);
        dispatcher.round().await.unwrap();
        dispatcher.round().await.unwrap();
        assert_once(&g, campaign.id, 148).await;
        let progress = g.campaigns.progress(campaign.id).await.unwrap();
        assert_eq!((progress.total, progress.enqueued, progress.suppressed), (148, 148, 2));
        assert_eq!((progress.waiting, progress.accepted, progress.state), (148, 0, State::Sending));
        g.hand_over().await;
        dispatcher.round().await.unwrap();
        let sent = g.campaigns.get(campaign.id).await.unwrap();
        assert_eq!((sent.state, sent.sent_at.is_some()), (State::Sent, true));
        assert_eq!(g.campaigns.progress(campaign.id).await.unwrap().accepted, 148);
    })
    .await;
}

#[tokio::test]
async fn the_message_keeps_the_conventions() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 2).await;
        let campaign = g.started().await;
        g.dispatcher(10).round().await.unwrap();
        let copies = g.copies(campaign.id).await;
        let (address, copy_id) = &copies[0];
        let body = g.body(*copy_id).await;
        let (head, _) = body.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n\t", " ").replace("\r\n ", " ");
        assert!(head.starts_with("DKIM-Signature: "), "{head}");
        let signed = between(&head, "h=", ";");
        for field in ["From", "Subject", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID"] {
            assert!(signed.split(':').any(|name| name.trim().eq_ignore_ascii_case(field)), "{field} in {signed}");
        }
        let field = |name: &str| between(&format!("{head}\r\n"), &format!("\r\n{name}: "), "\r\n").to_owned();
        assert_eq!(field("From"), "Contoso News <news@contoso.example>");
        assert_eq!(field("To"), format!("Pia0 Berg <{address}>"));
        assert_eq!(field("Subject"), "News for Pia0");
        assert_eq!(field("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
        assert_eq!(field("Feedback-ID").split(':').count(), 4);
        let directory_tokens = CopyTokens::new(g.directory.mac().await.unwrap());
        let own = OwnCopy { campaign_id: campaign.id, copy_id: *copy_id };
        assert_eq!(directory_tokens.verify(&field(CopyTokens::HEADER), address), Some(own));
        // Its own message, return path and unsubscribe address.
        let other = g.body(copies[1].1).await;
        assert_ne!(between(&body, "Message-ID: ", "\r\n"), between(&other, "Message-ID: ", "\r\n"));
        let row = g.store.query_one("copy.by_id", &values![*copy_id]).await.unwrap().unwrap();
        let row = g.store.query_one("message.by_id", &values![row.int("message_id").unwrap()]).await.unwrap().unwrap();
        assert_eq!(row.text("message_id_header").unwrap(), field("Message-ID"));
        let (local, domain) = row.text("reverse_path").unwrap().split_once('@').unwrap();
        let returns = ReturnTokens::new(g.directory.mac().await.unwrap());
        assert_eq!((returns.copy_id(local, g.store.now()), domain), (Some(*copy_id), "contoso.example"));
        let unsubscribe = between(&field("List-Unsubscribe"), "/u/", ">").to_owned();
        assert_eq!(g.tracker.unsubscribe_target(&unsubscribe).await.unwrap().to_string(), *address);
        // Text first, then HTML, with the pixel near the top; no destination in clear.
        let (text_at, html_at) = (body.find("text/plain").unwrap(), body.find("text/html").unwrap());
        assert!(text_at < html_at);
        let html = plain(&body[html_at..]);
        assert!(html.find("/o/").unwrap() < html.find("Hello").unwrap());
        let text = plain(&body[text_at..html_at]);
        assert!(text.contains("Hello Pia0, news for Sales.") && text.contains("/t/") && text.contains("/u/"), "{body}");
        assert!(!body.contains("intranet.contoso.example"), "links lead over the tracking host");
        assert_eq!((tokens(&body, "t").len(), tokens(&body, "o").len()), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn without_tracking_links_stay_as_written() {
    let t = testkit::sqlite().await;
    let g = ground(&t, 1).await;
    let campaign = g.started_with(&Draft { tracking: Tracking::Off, ..g.draft() }).await;
    g.dispatcher(10).round().await.unwrap();
    let body = g.body(g.copies(campaign.id).await[0].1).await;
    assert_eq!((tokens(&body, "t").len(), tokens(&body, "o").len()), (0, 0));
    assert!(plain(&body).contains("https://intranet.contoso.example/canteen"));
    assert_eq!(tokens(&body, "u").len(), 1);
}

#[tokio::test]
async fn a_test_goes_to_its_author_alone_and_is_counted_nowhere() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 3).await;
        let author = g.directory.person_by_address("p00002@contoso.example").await.unwrap().unwrap();
        let copy_id = g.campaigns.send_test(&g.draft(), author.id).await.unwrap();
        let body = g.body(copy_id).await;
        assert!(body.contains("Subject: [Test] News for Pia2\r\n"), "{body}");
        assert!(!body.contains(CopyTokens::HEADER) && tokens(&body, "t").is_empty());
        let row = g.store.query_one("copy.by_id", &values![copy_id]).await.unwrap().unwrap();
        assert_eq!(
            (row.text("recipient").unwrap(), row.opt_int("campaign_id").unwrap()),
            ("p00002@contoso.example", None)
        );
        assert!(g.campaigns.list(None, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_pause_is_exact_and_resume_goes_on() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 120).await;
        let campaign = g.started().await;
        let dispatcher = g.dispatcher(10);
        // Pause as soon as a first batch is announced, while others are under way.
        let mut notices = g.store.bus().subscribe();
        let pause = async {
            while notices.recv().await.unwrap().topic != Topic::Delivery {}
            g.campaigns.pause(campaign.id).await.unwrap()
        };
        let (paused, worked) = tokio::join!(pause, dispatcher.round());
        worked.unwrap();
        assert_eq!(paused.state, State::Paused);
        let made = g.copies(campaign.id).await.len();
        assert!((10..120).contains(&made), "{}: {made} copies when it was paused", g.name);
        let held = std::collections::BTreeMap::from([("held".to_owned(), i64::try_from(made).unwrap())]);
        assert_eq!(g.deliveries(campaign.id).await, held, "nothing is due while it is paused");
        dispatcher.round().await.unwrap();
        assert_eq!(g.copies(campaign.id).await.len(), made, "nothing is made while it is paused");
        assert!(matches!(g.campaigns.pause(campaign.id).await, Err(CampaignError::State { .. })));
        g.campaigns.resume(campaign.id).await.unwrap();
        dispatcher.round().await.unwrap();
        assert_once(&g, campaign.id, 120).await;
        assert_eq!(g.deliveries(campaign.id).await.get("due"), Some(&120));
    })
    .await;
}

#[tokio::test]
async fn cancelled_copies_never_leave_and_say_so() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 30).await;
        let campaign = g.started().await;
        let dispatcher = g.dispatcher(10);
        dispatcher.round().await.unwrap();
        g.campaigns.cancel(campaign.id).await.unwrap();
        dispatcher.round().await.unwrap();
        assert_eq!(g.deliveries(campaign.id).await.get("failed"), Some(&30));
        for (_, copy_id) in g.copies(campaign.id).await {
            let mut tx = g.store.begin().await.unwrap();
            assert_eq!(tx.whereabouts(copy_id).await.unwrap().unwrap().place, Place::NotReceived);
        }
        assert!(matches!(g.campaigns.resume(campaign.id).await, Err(CampaignError::State { .. })));
    })
    .await;
}

/// The dispatcher dies at any await: another one, after the lease, finishes without loss or double.
#[tokio::test]
async fn a_dispatcher_that_dies_loses_and_doubles_nothing() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 60).await;
        let campaign = g.started().await;
        for batches in 0..4 {
            let mut notices = g.store.bus().subscribe();
            let config = DispatchConfig { batch_max: 7, ..DispatchConfig::default() };
            let worker = Dispatcher::start(g.tracker.clone(), config, CancellationToken::new()).unwrap();
            let mut seen = 0;
            while seen < batches {
                seen += i32::from(notices.recv().await.unwrap().topic == Topic::Delivery);
            }
            worker.abort(); // wherever it is now
            let _ = worker.await;
            g.clock.advance_ms(60_000);
        }
        g.dispatcher(7).round().await.unwrap();
        assert_once(&g, campaign.id, 60).await;
    })
    .await;
}

/// The only process is killed and started again: its campaign goes on at once, while for one process of several the lease counts.
#[tokio::test]
async fn the_only_dispatcher_takes_up_at_once_what_it_had_claimed() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 60).await;
        let campaign = g.started().await;
        let mut notices = g.store.bus().subscribe();
        let config = DispatchConfig { batch_max: 7, threads: 2, sole_owner: true, ..DispatchConfig::default() };
        let worker = Dispatcher::start(g.tracker.clone(), config.clone(), CancellationToken::new()).unwrap();
        while notices.recv().await.unwrap().topic != Topic::Delivery {}
        worker.abort();
        let _ = worker.await;
        // The clock stands still: the lease is in force.
        g.dispatcher(7).round().await.unwrap();
        let made = g.copies(campaign.id).await.len();
        assert!((7..60).contains(&made), "{}: {made} copies, the others wait for the lease", g.name);
        let again = Dispatcher::new(g.tracker.clone(), config, CancellationToken::new()).unwrap();
        // A batch that was begun may hold the campaign's row for a moment longer: then it is looked at again, as it is by timer.
        testkit::until("the others are made", WAIT, async || {
            again.round().await.unwrap();
            g.copies(campaign.id).await.len() == 60
        })
        .await;
        assert_once(&g, campaign.id, 60).await;
    })
    .await;
}

#[tokio::test]
async fn two_dispatchers_share_without_doubling() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 80).await;
        let (first, second) = (g.started().await, g.started().await);
        let (a, b) = (g.dispatcher(9), g.dispatcher(9));
        let (x, y) = tokio::join!(a.round(), b.round());
        x.unwrap();
        y.unwrap();
        assert_once(&g, first.id, 80).await;
        assert_once(&g, second.id, 80).await;
    })
    .await;
}
