//! Looking at other people's mail: it leaves a record, and the content of held mail asks for a reason first.
//!
//! A look at the same thing by the same account within an hour is one record, so that a page that loads itself again does
//! not fill the log.

use directory::NewAudit;
use model::CopyId;
use store::values;

use crate::AppState;
use crate::access::Caller;
use crate::problem::Problem;

/// The longest reason.
const REASON_CHARS_MAX: usize = 300;
/// Within this time the same look is the same record.
const ONE_LOOK_MS: i64 = 60 * 60 * 1000;

/// Something of somebody else's that is looked at.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// The action's word.
    pub(crate) action: &'a str,
    /// At what.
    pub(crate) target: String,
    /// Why, or empty where no reason is asked for.
    pub(crate) reason: &'a str,
    /// The copy that it is about.
    pub(crate) copy_id: CopyId,
}

/// Why somebody looks at another person's held mail.
///
/// # Errors
/// Without one, or with a long story.
pub(crate) fn checked_reason(reason: &str) -> Result<&str, Problem> {
    let reason = reason.trim();
    match reason.chars().count() {
        0 => Err(Problem::invalid(
            "reason",
            "Say in a few words why you look at somebody else's mail: it stands in the audit log.",
        )),
        1..=REASON_CHARS_MAX => Ok(reason),
        _ => Err(Problem::invalid("reason", format!("Say it in at most {REASON_CHARS_MAX} characters."))),
    }
}

impl AppState {
    /// Whether a copy is for the caller.
    pub(crate) async fn is_own(&self, caller: &Caller, copy_id: CopyId) -> Result<bool, Problem> {
        let Some(person) = caller.person_id else { return Ok(false) };
        Ok(self.store.query_one("copy.of_person", &values![copy_id, person]).await?.is_some())
    }

    /// Records a look.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub(crate) async fn note_look(&self, caller: &Caller, look: Look<'_>) -> Result<(), Problem> {
        let detail = serde_json::json!({ "copy_id": look.copy_id.to_string() });
        let Look { action, target, reason, .. } = look;
        let audit = NewAudit { account_id: Some(caller.account_id), action, target, reason, detail };
        Ok(self.directory.audit_once(audit, ONE_LOOK_MS).await?)
    }

    /// As [`AppState::note_look`], where looking goes on although nothing can be written now: then the log has it.
    pub(crate) async fn note_look_if_possible(&self, caller: &Caller, look: Look<'_>) {
        let (action, target) = (look.action.to_owned(), look.target.clone());
        if let Err(problem) = self.note_look(caller, look).await {
            let account = caller.account_id;
            tracing::warn!("{action} of {target} by the account {account} could not be recorded: {problem:?}");
        }
    }
}
