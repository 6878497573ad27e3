//! Settings that several people change: nobody's change is lost unseen.

use axum::http::{Method, StatusCode};
use futures::future::join_all;
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::{Answer, Server};

/// So many save at once.
const WRITERS: i64 = 8;

async fn read(server: &Server) -> Value {
    server.get(Role::Administrator, "/settings").await.expect(StatusCode::OK).json()
}

async fn put(server: &Server, settings: Value) -> Answer {
    server.call(Role::Administrator, Method::PUT, "/settings", Some(settings)).await
}

/// The settings with another threshold.
fn with_threshold(settings: &Value, threshold_count: i64) -> Value {
    let mut settings = settings.clone();
    settings["incident"]["threshold_count"] = json!(threshold_count);
    settings
}

async fn saves(server: &Server) -> usize {
    let audit = server.get(Role::Administrator, "/audit?limit=200").await.expect(StatusCode::OK).json();
    let entries = audit["items"].as_array().expect("items");
    entries.iter().filter(|entry| entry["action"] == "settings.save").count()
}

#[tokio::test]
async fn what_began_from_older_settings_is_refused_and_changes_nothing() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let first = read(&server).await;
        let second = put(&server, with_threshold(&first, 20)).await.expect(StatusCode::OK).json();
        assert_ne!(first["version"], second["version"]);
        assert_eq!(read(&server).await, second);

        let mut mine = first.clone();
        mine["incident"]["delay_ms"] = json!(1_000);
        let refused = put(&server, mine.clone()).await.expect(StatusCode::CONFLICT);
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let problem = refused.json();
        assert_eq!((&problem["type"], &problem["field"]), (&json!("/problems/conflict"), &json!("version")));
        let said = problem["detail"].as_str().expect("a sentence");
        assert!(said.contains("Somebody else has saved") && said.contains("were not saved"), "{said}");
        assert_eq!(read(&server).await, second, "nothing is changed");
        assert_eq!(saves(&server).await, 1, "and nothing recorded");

        // A version that never was is as old as any.
        mine["version"] = json!("made up");
        put(&server, mine.clone()).await.expect(StatusCode::CONFLICT);
        // A script that names none replaces what is there.
        mine.as_object_mut().expect("an object").remove("version");
        let third = put(&server, mine).await.expect(StatusCode::OK).json();
        assert_eq!(
            (&third["incident"]["delay_ms"], &third["incident"]["threshold_count"]),
            (&json!(1_000), &json!(10))
        );
        // The same settings have the same version, whoever saved them: nothing of anybody's is lost.
        let back = put(&server, with_threshold(&third, 11)).await.expect(StatusCode::OK).json();
        let again = put(&server, with_threshold(&back, 10)).await.expect(StatusCode::OK).json();
        assert_eq!(again, third);
        put(&server, with_threshold(&third, 12)).await.expect(StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn of_several_who_save_at_once_one_is_first_and_the_others_are_told() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let start = read(&server).await;
        let answers = join_all((0..WRITERS).map(|n| put(&server, with_threshold(&start, 100 + n)))).await;
        let mut saved = Vec::new();
        for answer in answers {
            match answer.status {
                StatusCode::OK => saved.push(answer.json()),
                _ => drop(answer.expect(StatusCode::CONFLICT)),
            }
        }
        assert_eq!(saved.len(), 1, "{saved:?}");
        assert_eq!(read(&server).await, saved[0]);
        assert_eq!(saves(&server).await, 1);

        // Whoever reads again after a refusal gets through, and each one's change is in the end.
        let before = saved[0]["incident"]["threshold_count"].as_i64().expect("a number");
        let add_one = || async {
            loop {
                let seen = read(&server).await;
                let next = seen["incident"]["threshold_count"].as_i64().expect("a number") + 1;
                if put(&server, with_threshold(&seen, next)).await.status == StatusCode::OK {
                    return;
                }
            }
        };
        join_all((0..WRITERS).map(|_| add_one())).await;
        assert_eq!(read(&server).await["incident"]["threshold_count"], json!(before + WRITERS));
    })
    .await;
}

#[tokio::test]
async fn an_owners_limit_is_not_taken_back_by_somebody_who_saves_at_the_same_time() {
    on_both(|t| async move {
        let server = Server::start(t).await;
        let mut theirs = read(&server).await;
        let mine = theirs.clone();
        theirs["limits"]["mass_action_max"] = json!(7);
        let owner = server.call(Role::Owner, Method::PUT, "/settings", Some(theirs));
        // Without a version, as a script: the check of who may do what looks at what is really replaced.
        let mut unversioned = mine;
        unversioned.as_object_mut().expect("an object").remove("version");
        let (owner, other) = tokio::join!(owner, put(&server, unversioned));
        assert!(matches!(other.status, StatusCode::OK | StatusCode::FORBIDDEN), "{other:?}");
        owner.expect(StatusCode::OK);
        assert_eq!(read(&server).await["limits"]["mass_action_max"], 7);
    })
    .await;
}
