//! Migrations: numbered scripts, each applied once, in one transaction with the note that it was.

use model::Timestamp;

use crate::StoreError;
use crate::db::Db;

/// One line per migration; the version is the position, from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_app_password.sql"),
    include_str!("../migrations/0003_outbound.sql"),
    include_str!("../migrations/0004_reports.sql"),
    include_str!("../migrations/0005_imap.sql"),
    include_str!("../migrations/0006_connectors.sql"),
    include_str!("../migrations/0007_unjudged.sql"),
    include_str!("../migrations/0008_lists.sql"),
];

/// The schema version this binary writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

pub(crate) async fn run(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    let found = db.schema_version().await?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Schema { found, known: SCHEMA_VERSION });
    }
    for version in found + 1..=SCHEMA_VERSION {
        let index = usize::try_from(version - 1).expect("versions start at 1");
        db.migrate(version, MIGRATIONS[index], now.as_micros()).await?;
    }
    Ok(())
}
