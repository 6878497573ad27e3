//! `landfall doctor`: the table of keys, and the checks.

use landfall::config::{KEYS, variable_of};

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
