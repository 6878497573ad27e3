//! Identifiers: one newtype each, 64 bits, made from time so that they sort by age.
//!
//! Layout: 1 sign bit (0), 42 bits of milliseconds since 2024-01-01 UTC, 10 bits of node, 11 bits of sequence.
//! In JSON an id is a decimal string (JavaScript numbers end at 2^53). An id never appears in a public link.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Clock, Timestamp};

const EPOCH_MS: i64 = 1_704_067_200_000; // 2024-01-01T00:00:00Z
const NODE_BITS: i64 = 10;
const SEQUENCE_BITS: i64 = 11;

/// Makes ids for one process (`node` 0..=1023). Never repeats and never runs backwards, even when the clock does:
/// past 2,048 ids in a millisecond it borrows from the next one.
#[derive(Debug)]
pub struct IdSource {
    node: i64,
    last: AtomicI64,
}

impl IdSource {
    /// A source for `node`; only the low ten bits count.
    pub fn new(node: u16) -> Self {
        IdSource { node: i64::from(node) & ((1 << NODE_BITS) - 1), last: AtomicI64::new(0) }
    }

    /// The next id. `last` holds `ms << SEQUENCE_BITS | sequence`, so adding one carries into the millisecond.
    pub fn next<I: From<i64>>(&self, clock: &dyn Clock) -> I {
        let ms = (clock.now().as_micros() / 1000 - EPOCH_MS).max(0);
        let floor = ms << SEQUENCE_BITS;
        let previous = self
            .last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some((last + 1).max(floor)))
            .expect("the closure always returns Some");
        let tick = (previous + 1).max(floor);
        let sequence = tick & ((1 << SEQUENCE_BITS) - 1);
        I::from(((tick >> SEQUENCE_BITS) << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS) | sequence)
    }
}

/// The text was not a decimal number that fits an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a decimal number")]
pub struct ParseIdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl $name {
            /// When this id was made, to the millisecond.
            pub fn made_at(self) -> Timestamp {
                Timestamp::from_micros(((self.0 >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS) * 1000)
            }
        }
        impl From<i64> for $name { fn from(raw: i64) -> Self { $name(raw) } }
        impl From<$name> for i64 { fn from(id: $name) -> i64 { id.0 } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map($name).map_err(|_| ParseIdError)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(&self.0) }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// An organisation: the owner of every other row.
    OrganisationId,
    /// A person with an address.
    PersonId,
    /// A login.
    AccountId,
    /// A signed-in session.
    SessionId,
    /// A password for mail programs.
    AppPasswordId,
    /// An API token.
    TokenId,
    /// A list of people.
    ListId,
    /// A stored message (one body).
    MessageId,
    /// One message for one recipient: the unit of everything.
    CopyId,
    /// One entry of the append-only event log.
    EventId,
    /// One queued hand-over of a copy.
    DeliveryId,
    /// A mailbox.
    MailboxId,
    /// A folder of a mailbox.
    FolderId,
    /// A message in a folder.
    MailItemId,
    /// A copy held in quarantine.
    QuarantineItemId,
    /// A campaign.
    CampaignId,
    /// A tracked link of a campaign.
    LinkId,
    /// One fetch of a pixel or link.
    HitId,
    /// A feed.
    FeedId,
    /// An entry of the allow/block list.
    ListEntryId,
    /// A proposed, active or undone change.
    ChangeId,
    /// An immutable rule set version.
    RuleSetId,
    /// A backtest.
    BacktestId,
    /// A protection policy.
    PolicyId,
    /// A delivery incident.
    IncidentId,
    /// A dated update of an incident.
    UpdateId,
    /// A long-running job.
    JobId,
    /// An audit record.
    AuditId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestClock;

    #[test]
    fn ids_are_unique_ordered_and_carry_their_time() {
        let clock = TestClock::at(Timestamp::from_micros((EPOCH_MS + 1_000) * 1000));
        let source = IdSource::new(7);
        let ids: Vec<CopyId> = (0..5_000).map(|_| source.next(&clock)).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(ids[0].made_at().as_micros(), (EPOCH_MS + 1_000) * 1000);
        clock.set(Timestamp::from_micros(EPOCH_MS * 1000)); // the clock steps back
        assert!(source.next::<CopyId>(&clock) > ids[4_999]);
    }

    #[test]
    fn json_is_a_decimal_string() {
        assert_eq!(serde_json::to_string(&CopyId(9_007_199_254_740_993)).unwrap(), "\"9007199254740993\"");
        assert_eq!(serde_json::from_str::<CopyId>("\"12\"").unwrap(), CopyId(12));
        assert!(serde_json::from_str::<CopyId>("\"twelve\"").is_err());
    }
}
