//! How long very many copies take: `cargo test -p changes --test many -- --ignored --nocapture`, with LANDFALL_MANY for how many.
//! It prints seconds and judges only what became of the copies.

#[expect(dead_code, reason = "the house is furnished for the stories too")]
mod house;

use std::time::Instant;

use changes::{Activation, Actor, BacktestOptions, Proposal};
use house::{House, Mail, admin};
use model::{Place, VerdictClass};
use testkit::on_both;
use verdict::FeedKind;

const HOST: &str = "t.contoso.localhost";
const PEOPLE: usize = 1_000;

#[tokio::test]
#[ignore = "a measurement of minutes"]
async fn a_purge_and_its_undo() {
    let wanted = std::env::var("LANDFALL_MANY").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000_usize);
    on_both(|t| async move {
        let name = t.name;
        let house = House::build(t, PEOPLE).await;
        let mut sent = Vec::new();
        while sent.len() < wanted {
            let count = PEOPLE.min(wanted - sent.len());
            sent.extend(house.arrive(Mail { campaign: None, subject: "Benefits", host: HOST, count }).await);
        }
        let (kind, class, add) = (FeedKind::UrlHost, VerdictClass::Phish, format!("{HOST}:8080"));
        let proposal = Proposal::Feed { feed: "phishing-hosts".into(), kind, class, add, remove: vec![] };
        let change = house.changes.propose(proposal, "feed of today", &admin()).await.unwrap();
        let mut since = Instant::now();
        let mut lap = |what: &str| {
            let seconds = since.elapsed().as_secs_f64();
            println!("{name}: {what} of {} copies: {seconds:.1} s, {:.0} a second", wanted, wanted as f64 / seconds);
            since = Instant::now();
        };
        house.changes.backtest(change.id, BacktestOptions::default(), &admin()).await.unwrap();
        lap("backtest");
        let second = Actor { account_id: None, login: "bea".into() };
        let done = house.changes.activate(change.id, &second, "the vendor is sure").await.unwrap();
        assert!(matches!(done, Activation::Done { .. }));
        house.work().await;
        lap("purge");
        assert_eq!(house.at(&sent[..100], Place::Quarantine).await.len(), 100.min(wanted));
        assert_eq!(house.at(&sent[wanted - 1..], Place::Quarantine).await.len(), 1);
        house.changes.undo(change.id, &second, "a false alarm").await.unwrap();
        lap("looking at some");
        house.work().await;
        lap("undo");
        assert_eq!(house.at(&sent[..100], Place::Inbox).await.len(), 100.min(wanted));
        assert_eq!(house.at(&sent[wanted - 1..], Place::Inbox).await.len(), 1);
    })
    .await;
}
