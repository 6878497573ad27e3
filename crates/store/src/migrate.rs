//! Migrations: numbered scripts, each applied once, in one transaction with the note that it was. One text for both databases;
//! lines behind `--sqlite: ` are for SQLite alone.

use model::Timestamp;

use crate::StoreError;
use crate::bodies::sha256_hex;
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
    include_str!("../migrations/0009_terms.sql"),
    include_str!("../migrations/0010_bounds.sql"),
    include_str!("../migrations/0011_account_scram.sql"),
    include_str!("../migrations/0012_limits.sql"),
    include_str!("../migrations/0013_drafts.sql"),
    include_str!("../migrations/0014_asked.sql"),
    include_str!("../migrations/0015_incident_scope.sql"),
    include_str!("../migrations/0016_backtest_lease.sql"),
    include_str!("../migrations/0017_unread.sql"),
    include_str!("../migrations/0018_incoming.sql"),
];

/// The schema version this binary writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Another one for each change of any migration.
pub(crate) fn fingerprint() -> String {
    let mut hash = sha256_hex(MIGRATIONS.concat().as_bytes());
    hash.truncate(16);
    hash
}

pub(crate) async fn run(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    up_to(db, SCHEMA_VERSION, now).await
}

/// As [`run`], as far as this version.
pub(crate) async fn up_to(db: &Db, last: i64, now: Timestamp) -> Result<(), StoreError> {
    let found = db.schema_version().await?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Schema { found, known: SCHEMA_VERSION });
    }
    for version in found + 1..=last {
        let index = usize::try_from(version - 1).expect("versions start at 1");
        db.migrate(version, MIGRATIONS[index], now.as_micros()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::MailboxId;

    use super::*;
    use crate::{Database, values};

    const TERMS: &str = include_str!("../migrations/0009_terms.sql");
    const DRAFTS: &str = include_str!("../migrations/0013_drafts.sql");
    /// One mailbox without drafts, one whose owner has made such a folder, one that had one by its use.
    const BEFORE: &str = "
        INSERT INTO mailbox (id, organisation_id, person_id, address, created_at, uid_validity)
        VALUES (10, 1, 1, 'a@x', 0, 0), (20, 1, 2, 'b@x', 0, 500), (30, 1, 3, 'c@x', 0, 500), (40, 1, 4, 'd@x', 0, 500);
        INSERT INTO folder (id, mailbox_id, name, role, uid_next, uid_validity, modseq) VALUES
        (11, 10, 'Inbox', 'inbox', 3, 100, 4), (21, 20, 'Inbox', 'inbox', 1, 100, 0), (22, 20, 'Drafts', '', 5, 101, 0),
        (31, 30, 'Inbox', 'inbox', 1, 100, 0), (32, 30, 'Unsent', 'drafts', 3, 102, 0), (41, 40, 'Inbox', 'inbox', 1, 100, 0);
        INSERT INTO mail_item (id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, modseq)
        VALUES (1, 10, 11, 1, 1, 1, 0, 4), (2, 10, 11, 2, 2, 1, 0, 9);";

    async fn mailboxes_get_drafts(db: &Db) {
        let mut version = db.schema_version().await.unwrap();
        for script in MIGRATIONS.iter().take_while(|script| **script != DRAFTS).chain([&BEFORE, &DRAFTS]) {
            version += 1;
            db.migrate(version, script, 0).await.unwrap();
        }
        let mut found = Vec::new();
        for mailbox in [10, 20, 30, 40].map(MailboxId) {
            for row in db.query("imap.folders", &values![mailbox, 10_i64]).await.unwrap() {
                if row.text("role").unwrap() == "drafts" {
                    let number = |column| row.int(column).unwrap();
                    found.push((number("id"), row.text("name").unwrap().to_owned(), number("uid_validity")));
                }
            }
        }
        let expect = [(10, "Drafts", 101), (22, "Drafts", 101), (32, "Unsent", 102), (40, "Drafts", 501)];
        assert_eq!(found, expect.map(|(id, name, validity)| (id, name.to_owned(), validity)));
        let items = db.query("imap.view", &values![11_i64, 1_i64, 9_i64, 9_i64]).await.unwrap();
        let modseqs: Vec<i64> = items.iter().map(|row| row.int("modseq").unwrap()).collect();
        assert_eq!(modseqs, [4, 0], "none is greater than its folder's");
    }

    #[tokio::test]
    async fn mailboxes_of_before_get_drafts() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::Sqlite { path: dir.path().join("db") };
        mailboxes_get_drafts(&Db::open(&database).await.unwrap()).await;

        let server = std::env::var("LANDFALL_TEST_POSTGRES").expect("make test sets it");
        let name = format!("landfall_migrate_{}", std::process::id());
        let url = crate::create_postgres_database(&server, &name).await.unwrap();
        mailboxes_get_drafts(&Db::open(&Database::Postgres { url }).await.unwrap()).await;
        crate::drop_postgres_database(&server, &name).await.unwrap();
    }

    #[tokio::test]
    async fn terms_of_before_are_kept_in_their_index() {
        let before = "INSERT INTO message_term (kind, value, message_id) VALUES ('url', 'u', 2), ('url', 'u', 1);";
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&Database::Sqlite { path: dir.path().join("db") }).await.unwrap();
        let mut version = db.schema_version().await.unwrap();
        for script in MIGRATIONS.iter().take_while(|script| **script != TERMS).chain([&before, &TERMS]) {
            version += 1;
            db.migrate(version, script, 0).await.unwrap();
        }
        let Db::Sqlite { readers, .. } = &db else { panic!("asked for SQLite") };
        let kept: Vec<i64> =
            sqlx::query_scalar("SELECT message_id FROM message_term ORDER BY 1").fetch_all(readers).await.unwrap();
        assert_eq!(kept, [1, 2]);
        let by_number = sqlx::query_scalar::<_, i64>("SELECT rowid FROM message_term").fetch_all(readers).await;
        assert!(by_number.is_err(), "it is one tree, without numbers");
    }
}
