//! What can go wrong with a campaign, sorted by what a caller does about it.

use model::{CampaignId, PersonId};
use store::{Severity, StoreError};

use crate::state::{Action, State};

/// One thing wrong with what an author wrote: which field, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field of [`crate::Draft`]: `name`, `subject`, `from_name`, `from_address`, `content`, `list_id`, `tracking`.
    pub field: &'static str,
    /// The line inside the field, from 1, where one is known.
    pub line: Option<usize>,
    /// What is wrong and what to do, for the author.
    pub message: String,
}

impl Problem {
    /// A problem of a whole field.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Problem { field, line: None, message: message.into() }
    }

    /// A problem on a line of a field.
    pub fn at(field: &'static str, line: Option<usize>, message: impl Into<String>) -> Self {
        Problem { field, line, message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} line {line}: {}", self.field, self.message),
            None => write!(f, "{}: {}", self.field, self.message),
        }
    }
}

/// A campaign error. Its text is for the author, except of [`CampaignError::Store`] and [`CampaignError::Internal`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum CampaignError {
    /// What the author wrote cannot be used; nothing was changed.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// There is no such campaign (in this organisation).
    #[error("there is no campaign {0}")]
    NotFound(CampaignId),
    /// There is no such person (in this organisation).
    #[error("there is no person {0}")]
    NoPerson(PersonId),
    /// The campaign's state does not allow it.
    #[error("the campaign is {}: it cannot be {} now", .state.as_str(), .action.done())]
    State {
        /// The state it is in.
        state: State,
        /// What was asked for.
        action: Action,
    },
    /// Somebody else changed the campaign meanwhile; read it again.
    #[error("the campaign was changed by somebody else meanwhile: reload it and try again")]
    Changed,
    /// A tracking, unsubscribe or return token that is truncated, forged, or of a key or campaign that does not exist.
    /// The answer is a bare 404; it redirects nowhere.
    #[error("not a link of ours")]
    Token,
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A defect of ours, or key material that cannot be used; for the operator.
    #[error("internal: {0}")]
    Internal(String),
}

impl CampaignError {
    /// One problem of one field.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        CampaignError::Invalid(vec![Problem::new(field, message)])
    }

    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            CampaignError::Store(error) => error.severity(),
            CampaignError::Changed => Severity::Transient,
            CampaignError::Invalid(_)
            | CampaignError::NotFound(_)
            | CampaignError::NoPerson(_)
            | CampaignError::State { .. }
            | CampaignError::Token
            | CampaignError::Internal(_) => Severity::Permanent,
        }
    }
}

impl From<directory::DirectoryError> for CampaignError {
    fn from(error: directory::DirectoryError) -> Self {
        match error {
            directory::DirectoryError::Store(error) => CampaignError::Store(error),
            other => CampaignError::Internal(other.to_string()),
        }
    }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
