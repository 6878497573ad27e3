//! Events and the copy's present state: written together, one the fold of the other.

use std::collections::BTreeMap;

use model::{CopyId, EventKind, IllegalTransition, LastEvent, OrganisationId, Place, Timestamp, Whereabouts};

use crate::{Row, Store, StoreError, Tx, Value, values};

/// An entry for the event log.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Whose.
    pub organisation_id: OrganisationId,
    /// Which copy.
    pub copy_id: CopyId,
    /// What.
    pub kind: EventKind,
    /// The place it proves; `None` when the kind implies it (or it says nothing of a place).
    pub place: Option<Place>,
    /// The folder's name for `other_folder`, otherwise empty.
    pub place_detail: String,
    /// When our source saw it.
    pub observed_at: Timestamp,
    /// When it happened; late evidence has an earlier one.
    pub effective_at: Timestamp,
    /// Who says so: `gateway`, `smtp`, `quarantine`, `purge`, `mailbox`.
    pub source: &'static str,
    /// The change, incident or job that caused it.
    pub cause_id: Option<i64>,
    /// Who did it (a login), or empty.
    pub actor: String,
    /// Raw evidence: reply, rule sentence, host.
    pub detail: serde_json::Value,
}

impl NewEvent {
    /// An event that happens and is seen at `at`, without cause, actor or detail.
    pub fn now(
        organisation_id: OrganisationId,
        copy_id: CopyId,
        kind: EventKind,
        source: &'static str,
        at: Timestamp,
    ) -> Self {
        NewEvent {
            organisation_id,
            copy_id,
            kind,
            place: None,
            place_detail: String::new(),
            observed_at: at,
            effective_at: at,
            source,
            cause_id: None,
            actor: String::new(),
            detail: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// A copy's state inside a transaction.
struct State {
    whereabouts: Whereabouts,
    place_detail: String,
    last_event_at: i64,
    place_at: i64,
    /// The newest effective_at folded in; an event before it is late and makes all fold again.
    evidence_at: i64,
    untouched: bool,
}

impl Store {
    /// The rows of `event.insert`.
    pub(crate) fn event_rows(&self, events: &[NewEvent]) -> Vec<Vec<Value>> {
        let row = |event: &NewEvent| {
            values![
                self.next_id::<i64>(),
                event.organisation_id,
                event.copy_id,
                event.kind.as_str(),
                event.place.map(Place::as_str),
                event.place_detail.as_str(),
                event.observed_at,
                event.effective_at,
                event.source,
                event.cause_id,
                event.actor.as_str(),
                &event.detail,
            ]
            .to_vec()
        };
        events.iter().map(row).collect()
    }
}

impl Tx {
    /// The present state of a copy, locked until the end of the transaction; `None` when there is no such copy.
    pub async fn whereabouts(&mut self, copy_id: CopyId) -> Result<Option<Whereabouts>, StoreError> {
        let row = self.query_one("copy.lock", &values![copy_id]).await?;
        row.map(|row| whereabouts_of(&row)).transpose()
    }

    /// Checks that `kind` may be done to the copy now, see [`Whereabouts::advance`].
    ///
    /// # Errors
    /// The outer error is the store's; the inner one says that the state does not allow it.
    pub async fn may(&mut self, copy_id: CopyId, kind: EventKind) -> Result<Result<(), IllegalTransition>, StoreError> {
        let state =
            self.whereabouts(copy_id).await?.ok_or_else(|| StoreError::Conflict(format!("no copy {copy_id}")))?;
        Ok(state.advance(kind, None).map(|_| ()))
    }

    /// Appends events and moves their copies' `place`, `last_event` and times in the same transaction.
    /// For a copy born in this transaction the `copy` row must be inserted first, with the state its first event gives.
    pub async fn append_events(&mut self, events: &[NewEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.insert_many("event.insert", &self.store().event_rows(events)).await?;
        let mut states = self.lock_states(events).await?;
        for event in events {
            let state = states
                .get_mut(&event.copy_id)
                .ok_or_else(|| StoreError::Conflict(format!("no copy {}", event.copy_id)))?;
            if event.effective_at.as_micros() < state.evidence_at {
                *state = self.refold(event.copy_id).await?; // late evidence: the order of (effective_at, id) decides
            } else {
                state.step(event.kind, event.place, &event.place_detail, event.effective_at.as_micros());
            }
        }
        // One statement for all: a purge of many copies must not cost a round trip each.
        let moved: Vec<serde_json::Value> =
            states.iter().filter(|(_, s)| !s.untouched).map(|(copy_id, state)| state.as_row(*copy_id)).collect();
        if !moved.is_empty() {
            self.execute("copy.set_whereabouts_of", &values![serde_json::Value::from(moved)]).await?;
        }
        Ok(())
    }

    async fn lock_states(&mut self, events: &[NewEvent]) -> Result<BTreeMap<CopyId, State>, StoreError> {
        let mut ids: Vec<i64> = events.iter().map(|e| e.copy_id.0).collect();
        ids.sort_unstable(); // one order for everybody: no deadlock between two transactions
        ids.dedup();
        let list = serde_json::Value::from(ids);
        let mut states = BTreeMap::new();
        for row in self.query("copy.lock_many", &values![&list]).await? {
            let state = State {
                whereabouts: whereabouts_of(&row)?,
                place_detail: row.text("place_detail")?.to_owned(),
                last_event_at: row.int("last_event_at")?,
                place_at: row.int("place_at")?,
                evidence_at: row.int("evidence_at")?,
                untouched: true,
            };
            states.insert(row.id("id")?, state);
        }
        Ok(states)
    }

    /// Folds all events of a copy again.
    async fn refold(&mut self, copy_id: CopyId) -> Result<State, StoreError> {
        let rows = self.query("event.of_copy", &values![copy_id]).await?;
        fold(&rows)?.ok_or_else(|| StoreError::Conflict(format!("no events of copy {copy_id}")))
    }

    /// The fold of a copy's events, for proving that the columns of `copy` equal it.
    pub async fn fold_of(&mut self, copy_id: CopyId) -> Result<Option<Whereabouts>, StoreError> {
        let rows = self.query("event.of_copy", &values![copy_id]).await?;
        Ok(fold(&rows)?.map(|state| state.whereabouts))
    }
}

impl State {
    /// `[id, place, place_detail, last_event, last_event_at, place_at, evidence_at]`
    fn as_row(&self, copy_id: CopyId) -> serde_json::Value {
        let Whereabouts { place, last_event } = self.whereabouts;
        serde_json::json!([
            copy_id.0,
            place.as_str(),
            self.place_detail,
            last_event.as_str(),
            self.last_event_at,
            self.place_at,
            self.evidence_at
        ])
    }

    fn step(&mut self, kind: EventKind, place: Option<Place>, detail: &str, at: i64) {
        let before = self.whereabouts;
        let after = before.after(kind, place);
        if after.place != before.place || (after.place == Place::OtherFolder && place.is_some()) {
            self.place_detail = detail.to_owned();
            self.place_at = at;
        }
        if after != before || kind.last_event() == Some(after.last_event) {
            self.last_event_at = self.last_event_at.max(at);
        }
        self.evidence_at = self.evidence_at.max(at);
        self.whereabouts = after;
        self.untouched = false;
    }
}

fn fold(rows: &[Row]) -> Result<Option<State>, StoreError> {
    let mut state: Option<State> = None;
    for row in rows {
        let kind = word(row, "kind", EventKind::parse)?;
        let place = row.opt_text("place")?.map(|_| word(row, "place", Place::parse)).transpose()?;
        let detail = row.text("place_detail")?;
        let at = row.int("effective_at")?;
        match &mut state {
            Some(state) => state.step(kind, place, detail, at),
            None => {
                state = Some(State {
                    whereabouts: Whereabouts::born(kind, place),
                    place_detail: detail.to_owned(),
                    last_event_at: at,
                    place_at: at,
                    evidence_at: at,
                    untouched: false,
                });
            }
        }
    }
    Ok(state)
}

fn whereabouts_of(row: &Row) -> Result<Whereabouts, StoreError> {
    Ok(Whereabouts { place: word(row, "place", Place::parse)?, last_event: word(row, "last_event", LastEvent::parse)? })
}

fn word<T>(row: &Row, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let text = row.text(column)?;
    parse(text).ok_or_else(|| StoreError::Column { column: column.into(), problem: format!("unknown word {text:?}") })
}
