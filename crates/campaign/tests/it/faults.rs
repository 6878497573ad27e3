//! A fault at every step of a dispatch: afterwards everybody has one copy.

use model::{CampaignId, ListId};
use store::Failing;
use testkit::{Arm, TestStore, at_every_step};

use crate::dispatch::assert_once;
use crate::ground::{Ground, ground};

const PEOPLE: usize = 3;
/// Longer than the lease of a dispatcher that died.
const LEASE_OVER_MS: i64 = 60_000;

#[tokio::test]
async fn a_dispatch_survives_a_fault_at_every_step() {
    let stage = async |t: &TestStore| {
        let g = ground(t, PEOPLE).await;
        (g.started().await.id, g.list)
    };
    let act = async |t: &TestStore, staged: &(CampaignId, ListId), arm: Arm| {
        let dispatcher = Ground::again(t, staged.1).await.dispatcher(2);
        arm.now();
        dispatcher.round().await.is_ok()
    };
    let runs =
        at_every_step(&[Failing::Once, Failing::AnswerLost, Failing::Dies], stage, act, async |t, staged, _, fault| {
            let g = Ground::again(t, staged.1).await;
            g.clock.advance_ms(LEASE_OVER_MS);
            g.dispatcher(2).round().await.unwrap_or_else(|e| panic!("{fault}: {e}"));
            assert_once(&g, staged.0, PEOPLE).await;
            let campaign = g.campaigns.get(staged.0).await.unwrap();
            for (address, copy_id) in g.copies(staged.0).await {
                assert!(g.body(copy_id).await.contains(&address), "{fault}: {address} has another's mail");
            }
            assert_eq!(campaign.audience_count, i64::try_from(PEOPLE).unwrap(), "{fault}");
        })
        .await;
    assert!(runs > 20, "{runs} faults in all");
}
