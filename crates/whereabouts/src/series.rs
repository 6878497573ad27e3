//! A campaign's places over time, folded from its events.

use std::collections::BTreeMap;

use model::{CampaignId, EventKind, OrganisationId, Place, Timestamp, Whereabouts};
use serde::Serialize;
use store::{Row, Store, values};

use crate::Error;

/// Points of a series at most.
pub const BUCKETS_MAX: usize = 120;
/// Copies whose events are read at a time.
const COPIES_PER_READ: i64 = 2_000;

/// How many copies were at each place at one instant. Only places that hold copies have a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The instant.
    pub at: Timestamp,
    /// Copies by place.
    pub places: BTreeMap<Place, i64>,
}

/// Places over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// The distance of two points, in milliseconds.
    pub step_ms: i64,
    /// In the order of time; the last one is the state now.
    pub points: Vec<Point>,
}

/// One copy came to a place or left one.
struct Move {
    at: i64,
    from: Option<Place>,
    to: Place,
}

/// Folds a campaign's events into at most `buckets` (1 to [`BUCKETS_MAX`]) points from its first event to now.
/// Late evidence counts from the instant it happened.
pub async fn series(
    store: &Store,
    organisation_id: OrganisationId,
    campaign_id: CampaignId,
    buckets: usize,
) -> Result<Series, Error> {
    let mut moves = Vec::new();
    let mut after = 0;
    loop {
        let page = values![campaign_id, organisation_id, after, COPIES_PER_READ];
        let rows = store.query("event.of_campaign_page", &page).await?;
        let Some(last) = rows.last() else { break };
        after = last.int("copy_id")?;
        moves_of(&rows, &mut moves)?;
    }
    moves.sort_unstable_by_key(|m| m.at);
    Ok(points_of(&moves, store.now(), buckets.clamp(1, BUCKETS_MAX)))
}

/// The moves of the copies in `rows`, which come copy by copy in the order of the fold.
fn moves_of(rows: &[Row], moves: &mut Vec<Move>) -> Result<(), Error> {
    let mut current: Option<(i64, Whereabouts)> = None;
    for row in rows {
        let word = row.text("kind")?;
        let kind = EventKind::parse(word).ok_or_else(|| Error::Word { column: "kind", word: word.to_owned() })?;
        let place = row.opt_text("place")?.and_then(Place::parse);
        let (copy_id, at) = (row.int("copy_id")?, row.int("effective_at")?);
        let before = current.filter(|(id, _)| *id == copy_id).map(|(_, state)| state);
        let state = before.map_or_else(|| Whereabouts::born(kind, place), |state| state.after(kind, place));
        if before.is_none_or(|before| before.place != state.place) {
            moves.push(Move { at, from: before.map(|state| state.place), to: state.place });
        }
        current = Some((copy_id, state));
    }
    Ok(())
}

fn points_of(moves: &[Move], now: Timestamp, buckets: usize) -> Series {
    let Some(first) = moves.first() else { return Series { step_ms: 0, points: Vec::new() } };
    let end = now.as_micros().max(moves.last().map_or(0, |m| m.at));
    let span = end - first.at;
    let buckets = i64::try_from(buckets).unwrap_or(1);
    let step = ((span + buckets - 1) / buckets + 999).max(1_000) / 1_000 * 1_000; // whole milliseconds, rounded up
    let mut places: BTreeMap<Place, i64> = BTreeMap::new();
    let mut points = Vec::new();
    let mut next = 0;
    for bucket in 1..=buckets {
        let at = (first.at + bucket * step).min(end);
        while let Some(step) = moves.get(next).filter(|m| m.at <= at) {
            if let Some(from) = step.from {
                *places.entry(from).or_default() -= 1;
            }
            *places.entry(step.to).or_default() += 1;
            next += 1;
        }
        places.retain(|_, count| *count != 0);
        points.push(Point { at: Timestamp::from_micros(at), places: places.clone() });
        if at >= end {
            break;
        }
    }
    Series { step_ms: step / 1_000, points }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_end_with_the_state_now_and_are_bounded() {
        let at = |seconds: i64| 1_000_000_000 + seconds * 1_000_000;
        let moves = [
            Move { at: at(0), from: None, to: Place::OnItsWay },
            Move { at: at(0), from: None, to: Place::OnItsWay },
            Move { at: at(10), from: Some(Place::OnItsWay), to: Place::Inbox },
            Move { at: at(95), from: Some(Place::Inbox), to: Place::Quarantine },
        ];
        let series = points_of(&moves, Timestamp::from_micros(at(100)), 10);
        assert_eq!(series.points.len(), 10);
        assert_eq!(series.points[0].places, [(Place::OnItsWay, 1), (Place::Inbox, 1)].into());
        assert_eq!(series.points[9].places, [(Place::OnItsWay, 1), (Place::Quarantine, 1)].into());
        assert_eq!(series.points[9].at.as_micros(), at(100));
        for (moves, buckets) in [(&moves[..1], 1), (&moves[..], 7), (&moves[..], BUCKETS_MAX)] {
            let series = points_of(moves, Timestamp::from_micros(at(101) + 7), buckets);
            assert!(series.points.len() <= buckets);
            assert_eq!(series.points.last().unwrap().at.as_micros(), at(101) + 7);
        }
        assert!(points_of(&[], Timestamp::default(), 5).points.is_empty());
    }
}
