//! Judging switched off for a while: mail is accepted without a verdict and judged when the time is over.
//!
//! It is a row, so that it survives a restart and a command line can write it beside a running server; it ends by its own
//! clock, and each beginning and each end is in the audit log.

use model::{AccountId, Timestamp};
use serde_json::json;
use store::{Row, StoreError, Tx, values};

use crate::audit::NewAudit;
use crate::{Directory, DirectoryError};

/// The longest bypass, in milliseconds: four hours. Whoever needs more says so again.
pub const BYPASS_MS_MAX: i64 = 4 * 60 * 60 * 1000;
/// The shortest, in milliseconds.
pub const BYPASS_MS_MIN: i64 = 60 * 1000;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;

/// A time in which nothing is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// Its id.
    pub id: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends by itself.
    pub until_at: Timestamp,
    /// Who switched it on: a login, or `command line`.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Who switches.
#[derive(Debug, Clone)]
pub struct Switcher<'a> {
    /// The account; `None` for whoever may read the data directory.
    pub account_id: Option<AccountId>,
    /// The name that is shown.
    pub name: &'a str,
}

impl Bypass {
    fn from_row(row: &Row) -> Result<Bypass, StoreError> {
        Ok(Bypass {
            id: row.int("id")?,
            started_at: row.at("started_at")?,
            until_at: row.at("until_at")?,
            actor: row.text("actor")?.to_owned(),
            reason: row.text("reason")?.to_owned(),
        })
    }
}

impl Directory {
    /// The bypass in force, if judging is off now.
    pub async fn bypass(&self) -> Result<Option<Bypass>, DirectoryError> {
        let row = self.store.query_one("unjudged.current_bypass", &values![self.id(), self.store.now()]).await?;
        Ok(row.as_ref().map(Bypass::from_row).transpose()?)
    }

    /// Switches judging off for `for_ms`. One that is on already ends, so that there is one end.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the field that is out of bounds.
    pub async fn switch_bypass_on(
        &self,
        by: &Switcher<'_>,
        for_ms: i64,
        reason: &str,
    ) -> Result<Bypass, DirectoryError> {
        if !(BYPASS_MS_MIN..=BYPASS_MS_MAX).contains(&for_ms) {
            return Err(DirectoryError::invalid("minutes", "from 1 minute to 240 minutes (4 hours)"));
        }
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control) {
            return Err(DirectoryError::invalid("reason", "say why, in at most 500 characters on one line"));
        }
        let now = self.store.now();
        let bypass = Bypass {
            id: self.store.next_id(),
            started_at: now,
            until_at: now.plus_ms(for_ms),
            actor: by.name.to_owned(),
            reason: reason.to_owned(),
        };
        let mut tx = self.store.begin().await?;
        tx.query("unjudged.end_bypass", &values![self.id(), now, by.name]).await?;
        let row = values![bypass.id, self.id(), now, bypass.until_at, by.name, reason];
        tx.execute("unjudged.insert_bypass", &row).await?;
        let detail = json!({ "until": bypass.until_at.to_rfc3339(), "by": by.name });
        self.audit_bypass(&mut tx, by.account_id, "bypass.on", &bypass, detail).await?;
        tx.commit().await?;
        Ok(bypass)
    }

    /// Ends the bypass in force; gives it, or `None` when there is none.
    pub async fn switch_bypass_off(&self, by: &Switcher<'_>) -> Result<Option<Bypass>, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let ended = tx.query("unjudged.end_bypass", &values![self.id(), self.store.now(), by.name]).await?;
        let Some(row) = ended.last() else { return Ok(None) };
        let bypass = Bypass::from_row(row)?;
        let detail = json!({ "by": by.name });
        self.audit_bypass(&mut tx, by.account_id, "bypass.off", &bypass, detail).await?;
        tx.commit().await?;
        Ok(Some(bypass))
    }

    /// Writes down what has ended by itself since somebody looked; gives how many.
    pub async fn note_ended_bypasses(&self) -> Result<usize, DirectoryError> {
        let mut tx = self.store.begin().await?;
        let ended = tx.query("unjudged.run_out_bypass", &values![self.id(), self.store.now()]).await?;
        for row in &ended {
            let bypass = Bypass::from_row(row)?;
            let detail = json!({ "until": bypass.until_at.to_rfc3339() });
            self.audit_bypass(&mut tx, None, "bypass.ended", &bypass, detail).await?;
        }
        if !ended.is_empty() {
            tx.commit().await?;
        }
        Ok(ended.len())
    }

    /// Mails that wait for a verdict.
    pub async fn unjudged_count(&self) -> Result<i64, DirectoryError> {
        let row = self.store.query_one("unjudged.count", &values![self.id()]).await?;
        Ok(row.map_or(Ok(0), |row| row.int("message_count"))?)
    }

    /// Mails that were accepted and are in no mailbox yet.
    pub async fn incoming_count(&self) -> Result<i64, DirectoryError> {
        let row = self.store.query_one("incoming.waiting", &values![self.id()]).await?;
        Ok(row.map_or(Ok(0), |row| row.int("mail_count"))?)
    }

    async fn audit_bypass(
        &self,
        tx: &mut Tx,
        account_id: Option<AccountId>,
        action: &str,
        bypass: &Bypass,
        detail: serde_json::Value,
    ) -> Result<(), DirectoryError> {
        let target = format!("bypass {}", bypass.id);
        self.audit_in(tx, NewAudit { account_id, action, target, reason: &bypass.reason, detail }).await
    }
}
