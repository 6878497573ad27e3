//! Errors of the domain crates become problems here, each once.

use directory::DirectoryError;
use store::Severity;

use crate::access::who_may;
use crate::problem::{FieldError, Kind, Problem};

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Store(e) => e.into(),
            DirectoryError::Invalid { field, problem } => Problem::invalid(field, problem),
            DirectoryError::NotFound(what) => Problem::not_found(what),
            DirectoryError::Exists(what) => Problem::conflict(format!("{what} exists already.")),
            DirectoryError::Unauthenticated => Problem::new(
                Kind::SignIn,
                "The login or the password is not right, or the link was used or is too old.",
            ),
            DirectoryError::Throttled { wait_ms } => {
                let seconds = u64::try_from((wait_ms + 999) / 1000).unwrap_or(1);
                Problem::new(
                    Kind::TooMany,
                    format!("Too many wrong passwords for this login. Try again in {seconds} s."),
                )
                .retry_after_s(seconds)
            }
            DirectoryError::Protection(_) => Problem::from_severity(false, error),
        }
    }
}

impl From<mailbox::MailboxError> for Problem {
    fn from(error: mailbox::MailboxError) -> Self {
        use mailbox::MailboxError as E;
        match error {
            E::NotFound(what) => Problem::not_found(what),
            E::FolderName(_) => Problem::invalid("name", error.to_string()),
            E::FolderExists | E::FolderInUse(_) | E::TooMany => Problem::conflict(error.to_string()),
            E::Keyword => Problem::invalid("keywords", error.to_string()),
            E::Store(e) => e.into(),
            E::Unreachable(_) => Problem::from_severity(error.severity() == mailbox::Severity::Transient, error),
        }
    }
}

impl From<quarantine::QuarantineError> for Problem {
    fn from(error: quarantine::QuarantineError) -> Self {
        use quarantine::QuarantineError as E;
        match error {
            E::Forbidden(permission) => {
                Problem::new(Kind::Forbidden, format!("Your role may not do this: ask {}.", who_may(permission)))
            }
            E::NotGranted(_) => Problem::new(Kind::Forbidden, error.to_string()),
            E::NotFound => Problem::not_found("message in quarantine"),
            E::NeedsSecondPerson { .. } => Problem::conflict(error.to_string()),
            E::TooManyItems(_) => Problem::invalid("item_ids", error.to_string()),
            E::Mailbox(e) => e.into(),
            E::Directory(e) => e.into(),
            E::Store(e) => e.into(),
            E::Params(_) | E::Overtaken | E::Judging(_) => {
                Problem::from_severity(error.severity() == quarantine::Severity::Transient, error)
            }
        }
    }
}

impl From<changes::Error> for Problem {
    fn from(error: changes::Error) -> Self {
        use changes::Error as E;
        match error {
            E::Store(e) => e.into(),
            E::Directory(e) => e.into(),
            E::Invalid { problems, .. } => Problem::invalid_all(
                problems.into_iter().map(|p| FieldError { field: p.place, line: None, detail: p.problem }).collect(),
            ),
            E::NotFound { what, .. } => Problem::not_found(what),
            E::State(_) | E::NoBacktest | E::StaleBacktest | E::NeedsSecondPerson { .. } => {
                Problem::conflict(error.to_string())
            }
            E::NeedsReason { .. } => Problem::invalid("override_reason", error.to_string()),
            E::RuleSet(_) | E::Row { .. } | E::CutOff(_) => {
                Problem::from_severity(error.severity() == Severity::Transient, error)
            }
        }
    }
}

impl From<campaign::CampaignError> for Problem {
    fn from(error: campaign::CampaignError) -> Self {
        use campaign::CampaignError as E;
        match error {
            E::Invalid(problems) => {
                let one = |p: campaign::Problem| FieldError {
                    field: p.field.to_owned(),
                    line: p.line.and_then(|line| u64::try_from(line).ok()),
                    detail: p.to_string(),
                };
                Problem::invalid_all(problems.into_iter().map(one).collect())
            }
            E::NotFound(_) => Problem::not_found("campaign"),
            E::NoPerson(_) => Problem::invalid("person_id", "there is no such person"),
            E::State { .. } | E::Changed => Problem::conflict(error.to_string()),
            E::Token => Problem::not_found("link"),
            E::Store(e) => e.into(),
            E::Internal(_) => Problem::from_severity(false, error),
        }
    }
}

impl From<whereabouts::Error> for Problem {
    fn from(error: whereabouts::Error) -> Self {
        use whereabouts::Error as E;
        match error {
            E::Store(e) => e.into(),
            E::Directory(e) => e.into(),
            E::NotFound { what, .. } => Problem::not_found(what),
            E::Status(_) => Problem::conflict(error.to_string()).at("status"),
            E::UpdateText { .. } => Problem::invalid("text", error.to_string()),
            E::Word { .. } => Problem::from_severity(false, error),
        }
    }
}
