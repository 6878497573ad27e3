//! The states of a delivery and how they move.

use std::fmt;

/// Where a delivery stands. The words are those of the column `delivery.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waits for its next try.
    Due,
    /// One agent has it.
    Leased,
    /// Paused by a person or with its campaign.
    Held,
    /// A host took it.
    Done,
    /// Given up.
    Failed,
}

/// What moves a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryEvent {
    /// An agent took it.
    Claimed,
    /// The agent gave it back untried.
    Released,
    /// The agent's lease ended before it said anything.
    LeaseExpired,
    /// A host took it.
    Accepted,
    /// A host said later, or could not be reached.
    Deferred,
    /// A host refused it, or the time to try ended.
    GaveUp,
    /// Paused.
    Paused,
    /// Resumed, or to be tried now.
    Resumed,
    /// Taken out of the queue by a person.
    Deleted,
}

/// An event that cannot follow the state a delivery is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {state} cannot become {event:?}")]
pub struct IllegalDelivery {
    /// The state before.
    pub state: DeliveryState,
    /// The event that was refused.
    pub event: DeliveryEvent,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 5] =
        [DeliveryState::Due, DeliveryState::Leased, DeliveryState::Held, DeliveryState::Done, DeliveryState::Failed];

    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Due => "due",
            DeliveryState::Leased => "leased",
            DeliveryState::Held => "held",
            DeliveryState::Done => "done",
            DeliveryState::Failed => "failed",
        }
    }

    /// The state for a word.
    pub fn parse(text: &str) -> Option<Self> {
        DeliveryState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// One step. `in_hand`: an agent still has the row's lease (which a held row keeps while its attempt is under way).
    ///
    /// # Errors
    /// [`IllegalDelivery`] when the event cannot follow this state.
    pub fn advance(self, event: DeliveryEvent, in_hand: bool) -> Result<Self, IllegalDelivery> {
        use DeliveryEvent as Event;
        use DeliveryState as State;
        let refused = IllegalDelivery { state: self, event };
        match (self, event) {
            (State::Due, Event::Claimed) => Ok(State::Leased),
            (State::Due | State::Leased, Event::Paused) => Ok(State::Held),
            (State::Leased, Event::Released | Event::LeaseExpired | Event::Deferred) => Ok(State::Due),
            // Paused while its attempt was under way: the result counts, and it stays paused if it was no end.
            (State::Held, Event::Released | Event::LeaseExpired | Event::Deferred) if in_hand => Ok(State::Held),
            (State::Leased, Event::Accepted) => Ok(State::Done),
            (State::Held, Event::Accepted) if in_hand => Ok(State::Done),
            (State::Leased, Event::GaveUp) => Ok(State::Failed),
            (State::Held, Event::GaveUp) if in_hand => Ok(State::Failed),
            (State::Held, Event::Resumed) => Ok(if in_hand { State::Leased } else { State::Due }),
            (State::Due, Event::Resumed) => Ok(State::Due),
            (State::Due | State::Held, Event::Deleted) if !in_hand => Ok(State::Failed),
            (State::Due | State::Leased | State::Held | State::Done | State::Failed, _) => Err(refused),
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per state and event, columns: not in hand, in hand. `-` is refused.
    const TABLE: &str = "
        due     Claimed       leased  leased
        due     Released      -       -
        due     LeaseExpired  -       -
        due     Accepted      -       -
        due     Deferred      -       -
        due     GaveUp        -       -
        due     Paused        held    held
        due     Resumed       due     due
        due     Deleted       failed  -
        leased  Claimed       -       -
        leased  Released      due     due
        leased  LeaseExpired  due     due
        leased  Accepted      done    done
        leased  Deferred      due     due
        leased  GaveUp        failed  failed
        leased  Paused        held    held
        leased  Resumed       -       -
        leased  Deleted       -       -
        held    Claimed       -       -
        held    Released      -       held
        held    LeaseExpired  -       held
        held    Accepted      -       done
        held    Deferred      -       held
        held    GaveUp        -       failed
        held    Paused        -       -
        held    Resumed       due     leased
        held    Deleted       failed  -
    ";

    const EVENTS: [DeliveryEvent; 9] = [
        DeliveryEvent::Claimed,
        DeliveryEvent::Released,
        DeliveryEvent::LeaseExpired,
        DeliveryEvent::Accepted,
        DeliveryEvent::Deferred,
        DeliveryEvent::GaveUp,
        DeliveryEvent::Paused,
        DeliveryEvent::Resumed,
        DeliveryEvent::Deleted,
    ];

    #[test]
    fn the_whole_table() {
        let word = |moved: Result<DeliveryState, IllegalDelivery>| moved.map_or("-", DeliveryState::as_str);
        let mut lines = TABLE.lines().map(str::trim).filter(|line| !line.is_empty());
        for state in DeliveryState::ALL {
            for event in EVENTS {
                let got = (word(state.advance(event, false)), word(state.advance(event, true)));
                if matches!(state, DeliveryState::Done | DeliveryState::Failed) {
                    assert_eq!(got, ("-", "-"), "{state} is an end");
                    continue;
                }
                let line: Vec<&str> = lines.next().expect("a line").split_whitespace().collect();
                assert_eq!((line[0], line[1]), (state.as_str(), format!("{event:?}").as_str()));
                assert_eq!(got, (line[2], line[3]), "{state} {event:?}");
            }
        }
        assert_eq!(lines.next(), None);
    }
}
