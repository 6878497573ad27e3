//! The audit log: who did what to what, and why.

use model::{AccountId, AuditId, Timestamp};
use store::{Tx, values};

use crate::{Directory, DirectoryError};

const PAGE_MAX: i64 = 200;

/// A record to write.
#[derive(Debug, Clone)]
pub struct NewAudit<'a> {
    /// Who; `None` for the server itself.
    pub account_id: Option<AccountId>,
    /// The action's word: `change.activate`.
    pub action: &'a str,
    /// To what: `change 123`.
    pub target: String,
    /// The reason given, or empty.
    pub reason: &'a str,
    /// More, as JSON. No secrets, no bodies.
    pub detail: serde_json::Value,
}

/// A record as kept.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who (login), or `Landfall`.
    pub actor: String,
    /// The action's word.
    pub action: String,
    /// To what.
    pub target: String,
    /// The reason given, or empty.
    pub reason: String,
    /// More.
    pub detail: serde_json::Value,
}

impl Directory {
    /// Writes a record in the transaction of the thing it tells of.
    pub async fn audit_in(&self, tx: &mut Tx, audit: NewAudit<'_>) -> Result<(), DirectoryError> {
        let id: AuditId = self.store.next_id();
        let row = values![
            id,
            self.id(),
            audit.account_id,
            self.store.now(),
            audit.action,
            audit.target,
            audit.reason,
            &audit.detail
        ];
        tx.execute("audit.insert", &row).await?;
        Ok(())
    }

    /// Writes a record by itself.
    pub async fn audit(&self, audit: NewAudit<'_>) -> Result<(), DirectoryError> {
        let mut tx = self.store.begin().await?;
        self.audit_in(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Writes a record by itself, unless the same account did the same to the same for the same reason within this time.
    ///
    /// # Errors
    /// The store's.
    pub async fn audit_once(&self, audit: NewAudit<'_>, within_ms: i64) -> Result<(), DirectoryError> {
        let since = self.store.now().plus_ms(-within_ms);
        let same = values![self.id(), audit.account_id, audit.action, since, audit.target.as_str(), audit.reason];
        if self.store.query_one("audit.same", &same).await?.is_some() {
            return Ok(());
        }
        self.audit(audit).await
    }

    /// Records, newest first, before `before`.
    pub async fn audit_page(&self, before: Option<AuditId>, limit: i64) -> Result<Vec<AuditEntry>, DirectoryError> {
        let before = before.map_or(i64::MAX, |id| id.0);
        let rows = self.store.query("audit.page", &values![self.id(), before, limit.clamp(1, PAGE_MAX)]).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    id: row.id("id")?,
                    at: row.at("at")?,
                    actor: row.opt_text("login")?.unwrap_or("Landfall").to_owned(),
                    action: row.text("action")?.to_owned(),
                    target: row.text("target")?.to_owned(),
                    reason: row.text("reason")?.to_owned(),
                    detail: row.json("detail")?,
                })
            })
            .collect()
    }
}
