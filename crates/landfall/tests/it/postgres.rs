//! The same on PostgreSQL: a server, mail that no database likes, and the whole story.

use std::time::Duration;

use tokio::process::Command;

use crate::bad_input::mail_with_nul_and_invalid_utf8_is_kept;
use crate::site::Site;

/// The story waits half a minute for its second link scanner.
const STORY_S_MAX: u64 = 180;

/// A fresh database, dropped at the end of a test that went well; the cluster is dropped with the rest.
pub struct Fresh {
    server: String,
    name: String,
    pub url: String,
}

impl Fresh {
    pub async fn database(name: &str) -> Fresh {
        let server = std::env::var("LANDFALL_TEST_POSTGRES")
            .expect("LANDFALL_TEST_POSTGRES is not set: eval \"$(scripts/postgres.sh start)\", or use make test");
        let name = format!("landfall_it_{name}_{}", std::process::id());
        let url = store::create_postgres_database(&server, &name).await.expect("a database");
        Fresh { server, name, url }
    }

    fn site(&self) -> Site {
        Site::new().with("LANDFALL_STORE_DATABASE", self.url.clone())
    }

    pub async fn end(self) {
        store::drop_postgres_database(&self.server, &self.name).await.expect("the database goes");
    }
}

#[tokio::test]
async fn a_server_on_postgres_keeps_mail_over_a_restart() {
    let fresh = Fresh::database("serve").await;
    let site = fresh.site();
    let (server, owner) = site.serve_first().await;
    owner.add_people(&["ada@example.org"]).await;
    server.deliver("ada@example.org", b"Subject: Kept\r\n\r\nHello Ada\r\n").await;
    server.stop().await;
    let again = site.serve().await;
    let copies = owner.on(again.http).copies_of("ada@example.org").await;
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert_eq!((copies[0]["subject"].as_str(), copies[0]["place"].as_str()), (Some("Kept"), Some("inbox")));
    assert!(!site.data().join("landfall.db").exists(), "nothing is in SQLite");
    again.stop().await;
    site.run_here("verify", &[]).await.done();
    fresh.end().await;
}

#[tokio::test]
async fn nul_and_invalid_utf8_in_a_subject_on_postgres() {
    let fresh = Fresh::database("nul").await;
    mail_with_nul_and_invalid_utf8_is_kept(&fresh.site()).await;
    fresh.end().await;
}

#[tokio::test]
async fn the_story_comes_true_on_postgres() {
    let fresh = Fresh::database("story").await;
    let site = fresh.site();
    let data = site.data().display().to_string();
    let story = ["demo", "--exit", "--people", "30", "--report", "report.json", "--data", &data];
    let ran = site.run_within(Duration::from_secs(STORY_S_MAX), &story).await.done();
    assert!(ran.stdout.contains("nothing was sent twice") && !ran.stdout.contains("NOT AS TOLD"), "{}", ran.stdout);
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-report.py");
    let checked = Command::new("python3").arg(checker).arg(site.path("report.json")).arg("30").output();
    let checked = checked.await.expect("python3 is there");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    site.run_here("verify", &[]).await.done();
    fresh.end().await;
}
