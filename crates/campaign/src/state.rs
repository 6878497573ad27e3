//! The life of a campaign: draft → sending ↔ paused → sent, or cancelled. It moves only through [`State::advance`].

use serde::{Deserialize, Serialize};

use crate::CampaignError;

/// Where a campaign is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being written.
    Draft,
    /// Its audience is frozen; copies are made and handed over.
    Sending,
    /// Stopped exactly: no copy is made, no waiting copy is handed over.
    Paused,
    /// Every copy was handed over or has failed for good.
    Sent,
    /// Stopped for good; copies that had not left will not leave.
    Cancelled,
}

/// What can be done to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Change what it says.
    Edit,
    /// Freeze the audience and send.
    Start,
    /// Stop for now.
    Pause,
    /// Go on.
    Resume,
    /// Stop for good.
    Cancel,
    /// The last hand-over is done.
    Finish,
}

impl State {
    /// Every state.
    pub const ALL: &'static [State] = &[State::Draft, State::Sending, State::Paused, State::Sent, State::Cancelled];

    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Sending => "sending",
            State::Paused => "paused",
            State::Sent => "sent",
            State::Cancelled => "cancelled",
        }
    }

    /// The state for a word.
    pub fn parse(word: &str) -> Option<State> {
        State::ALL.iter().copied().find(|state| state.as_str() == word)
    }

    /// The state after `action`.
    ///
    /// # Errors
    /// [`CampaignError::State`] when this state does not allow it.
    pub fn advance(self, action: Action) -> Result<State, CampaignError> {
        match (self, action) {
            (State::Draft, Action::Edit) => Ok(State::Draft),
            (State::Draft, Action::Start) | (State::Paused, Action::Resume) => Ok(State::Sending),
            (State::Sending, Action::Pause) => Ok(State::Paused),
            (State::Sending | State::Paused, Action::Cancel) => Ok(State::Cancelled),
            (State::Sending, Action::Finish) => Ok(State::Sent),
            (state, action) => Err(CampaignError::State { state, action }),
        }
    }
}

impl Action {
    /// Every action.
    pub const ALL: &'static [Action] =
        &[Action::Edit, Action::Start, Action::Pause, Action::Resume, Action::Cancel, Action::Finish];

    /// The participle, for sentences: "it cannot be paused now".
    pub const fn done(self) -> &'static str {
        match self {
            Action::Edit => "changed",
            Action::Start => "sent",
            Action::Pause => "paused",
            Action::Resume => "resumed",
            Action::Cancel => "cancelled",
            Action::Finish => "finished",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        use Action::{Cancel, Edit, Finish, Pause, Resume, Start};
        use State::{Cancelled, Draft, Paused, Sending, Sent};
        let legal = [
            (Draft, Edit, Draft),
            (Draft, Start, Sending),
            (Sending, Pause, Paused),
            (Paused, Resume, Sending),
            (Sending, Cancel, Cancelled),
            (Paused, Cancel, Cancelled),
            (Sending, Finish, Sent),
        ];
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(*state));
            for action in Action::ALL {
                let expect = legal.iter().find(|(s, a, _)| s == state && a == action).map(|(_, _, to)| *to);
                assert_eq!(state.advance(*action).ok(), expect, "{state:?} {action:?}");
            }
        }
        let refused = Sent.advance(Pause).unwrap_err().to_string();
        assert_eq!(refused, "the campaign is sent: it cannot be paused now");
    }
}
