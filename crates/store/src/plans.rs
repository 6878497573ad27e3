//! How SQLite goes about the statements that are asked often, or page by page over very many rows. (PostgreSQL plans by what it
//! counted in the tables; without rows there is nothing to see.)

use sqlx::{AssertSqlSafe, Row};

use crate::db::Db;
use crate::{Database, migrate, sql};

/// A statement, the index that finds its rows, and whether they come in order without being sorted.
const PLANS: &[(&str, &str, bool)] = &[
    ("quarantine.expired", "quarantine_by_expiry (status=? AND expires_at<?)", false),
    ("quarantine.candidates_by_terms", "x USING PRIMARY KEY (kind=? AND value=? AND message_id>?)", true),
    ("quarantine.candidates_of_window", "m USING INTEGER PRIMARY KEY (rowid>?)", true),
    ("quarantine.list", "quarantine_by_org (organisation_id=? AND id<?)", true),
    ("copy.of_message_id_header", "message_by_header (message_id_header=?)", false),
    ("copy.count_of_campaign", "copy_whereabouts (campaign_id=?", false),
    ("incident.lost_page", "copy_by_place (organisation_id=? AND place=? AND id>?)", true),
    ("incident.of_campaign", "incident_copy_by_campaign (campaign_id=?)", false),
    ("hit.unsettled_of", "hit_by_class (class=?", false),
    ("hit.by_link", "link_by_campaign (campaign_id=?)", true),
];
/// Found by the organisation alone: all of it is read.
const ALL_OF_IT: &str = "(organisation_id=?)";

#[tokio::test]
async fn what_is_asked_often_goes_by_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&Database::Sqlite { path: dir.path().join("db") }).await.unwrap();
    migrate::run(&db, model::Timestamp::from_micros(0)).await.unwrap();
    let Db::Sqlite { readers, .. } = &db else { panic!("asked for SQLite") };
    for (name, index, in_order) in PLANS {
        let text = format!("EXPLAIN QUERY PLAN {}", sql::statement(name).sqlite);
        let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(readers).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let plan = steps.join("\n");
        assert!(plan.contains(index), "{name}:\n{plan}");
        let big = |step: &&String| ["copy", "message", " c ", " m ", " q ", " hit "].iter().any(|t| step.contains(t));
        assert!(!steps.iter().filter(big).any(|step| step.contains(ALL_OF_IT)), "{name}:\n{plan}");
        assert!(!*in_order || !plan.contains("FOR ORDER BY"), "{name}:\n{plan}");
        let correlated = plan.matches("CORRELATED").count();
        assert!(*name != "hit.by_link" || correlated == 0, "once for all links:\n{plan}");
    }
}
