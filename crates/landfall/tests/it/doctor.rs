//! `landfall doctor`: the table of keys, and the checks.

use landfall::config::{KEYS, variable_of};
use store::{Database, SCHEMA_VERSION, make_older_database, schema_version_of};

use crate::postgres::Fresh;
use crate::site::Site;

#[tokio::test]
async fn every_key_is_printed_with_default_and_limit() {
    let site = Site::new();
    let ran = site.run_here("doctor", &[]).await.done();
    for key in KEYS {
        let line = ran.stdout.lines().find(|line| line.split(' ').next() == Some(key.name));
        let line = line.unwrap_or_else(|| panic!("{} is missing", key.name));
        for part in [key.default, key.unit, key.limit] {
            assert!(line.contains(part), "{line:?} does not say {part:?}");
        }
        assert!(ran.stdout.contains(key.help), "{} is not explained", key.name);
    }
    let hostname = ran.stdout.lines().find(|line| line.starts_with("server.hostname")).expect("a line");
    assert!(hostname.contains("mx.example") && hostname.contains("environment"), "{hostname}");
    assert!(ran.stdout.contains("ok      database and objects: schema version"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("FAILED"), "{}", ran.stdout);
    assert!(!site.data().exists(), "looking makes nothing: a backup could not be restored into it");
}

#[tokio::test]
async fn a_failed_check_is_an_exit_code_and_passwords_stay_hidden() {
    let site = Site::new()
        .with(&variable_of("store.database"), "postgres://landfall:very-secret@127.0.0.1:1/landfall")
        .with(&variable_of("smtp.tls_certificate"), "missing.pem")
        .with(&variable_of("smtp.tls_key"), "missing.pem");
    let ran = site.run_here("doctor", &[]).await;
    ran.refused(1, &["2 checks failed"]);
    assert!(ran.stdout.contains("FAILED  TLS: missing.pem"), "{}", ran.stdout);
    assert!(ran.stdout.contains("FAILED  database and objects"), "{}", ran.stdout);
    assert!(ran.stdout.contains("postgres://landfall:…@127.0.0.1:1/landfall"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("very-secret") && !ran.stderr.contains("very-secret"), "{ran:?}");
}

#[tokio::test]
async fn doctor_refuses_what_serve_refuses() {
    Site::new().with("LANDFALL_SMPT_LISTEN", "x").run_here("doctor", &[]).await.refused(2, &["LANDFALL_SMPT_LISTEN"]);
}

/// Data as an older binary left them: commands that look leave them alone, a server brings them up to date.
async fn looking_migrates_nothing(site: &Site, database: &Database) {
    let older = SCHEMA_VERSION - 1;
    make_older_database(database, older).await.expect("tables of an older version");
    let versions = [format!("schema version {older}"), format!("works with {SCHEMA_VERSION}")];
    let words = [versions[0].as_str(), &versions[1], "the landfall that wrote it", "landfall serve"];

    let looked = site.run_here("doctor", &[]).await.done();
    let line = looked.stdout.lines().find(|line| line.contains("database and objects")).expect("a line");
    for words in words {
        assert!(line.contains(words), "{line:?} does not say {words:?}");
    }
    for (command, arguments) in [
        ("verify", vec![]),
        ("sign-in-link", vec![]),
        ("app-password", vec!["ada@example.org"]),
        ("judge", vec!["--rules", "12", "mail.eml"]),
        ("demo", vec![]),
    ] {
        let ran = site.run_here(command, &arguments).await;
        ran.refused(2, &words);
        ran.refused(2, &["Nothing was changed"]);
    }
    assert_eq!(schema_version_of(database).await.expect("a version"), Some(older));
    assert!(!site.data().join("objects").exists(), "looking makes nothing");

    site.serve().await.stop().await;
    assert_eq!(schema_version_of(database).await.expect("a version"), Some(SCHEMA_VERSION));
    site.run_here("verify", &[]).await.done();
    let looked = site.run_here("doctor", &[]).await.done().stdout;
    assert!(looked.contains(&format!("ok      database and objects: schema version {SCHEMA_VERSION}\n")), "{looked}");
}

#[tokio::test]
async fn looking_migrates_nothing_on_sqlite() {
    let site = Site::new();
    let database = Database::Sqlite { path: site.data().join("landfall.db") };
    assert_eq!(schema_version_of(&database).await.expect("a look"), None);
    looking_migrates_nothing(&site, &database).await;
    let older = site.with_data("older");
    make_older_database(&Database::Sqlite { path: older.data().join("landfall.db") }, 1).await.expect("tables");
    older.run_here("backup", &["--to", "copy"]).await.refused(2, &["schema version 1.", "landfall serve"]);
    assert!(!site.path("copy").exists() && !site.path("copy.partial").exists(), "nothing is begun");
}

#[tokio::test]
async fn looking_migrates_nothing_on_postgres() {
    let fresh = Fresh::database("older").await;
    let database = Database::Postgres { url: fresh.url.clone() };
    let site = Site::new().with(&variable_of("store.database"), fresh.url.clone());
    let looked = site.run_here("doctor", &[]).await.done().stdout;
    assert!(looked.contains("is made at the first start"), "{looked}");
    site.run_here("verify", &[]).await.refused(2, &["the database holds no data"]);
    assert_eq!(schema_version_of(&database).await.expect("a look"), None, "looking makes no tables");
    looking_migrates_nothing(&site, &database).await;
    fresh.end().await;
}
