//! Waiting for what has no event.

use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until it holds, for as long as `wait`: for what another process does, or what no announcement tells.
///
/// # Panics
/// When it does not hold in time.
pub async fn until(what: &str, wait: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    assert!(tokio::time::timeout(wait, looking).await.is_ok(), "waited in vain: {what}");
}
