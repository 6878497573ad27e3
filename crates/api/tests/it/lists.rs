//! Lists of people without a file: by name, by filter, and off again.

use axum::http::{Method, StatusCode};
use directory::NewPerson;
use model::Role;
use serde_json::{Value, json};
use testkit::on_both;

use crate::server::Server;

async fn with_people(t: testkit::TestStore) -> Server {
    let server = Server::start(t).await;
    let person = |name: &str, department: &str, city: &str| NewPerson {
        address: format!("{}@contoso.example", name.to_lowercase()).parse().expect("an address"),
        name: name.to_owned(),
        department: department.to_owned(),
        city: city.to_owned(),
        language: "en".into(),
        attributes: Default::default(),
    };
    let people = [person("Bob", "Research", "York"), person("Carl", "Sales", "York"), person("Carla", "Sales", "Bonn")];
    server.directory.put_people(&people).await.expect("people");
    server
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|p| p["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn people_are_filtered_counted_and_put_on_lists() {
    on_both(|t| async move {
        let server = with_people(t).await;
        let admin = Role::Administrator;
        let york = server.get(admin, "/people?city=York").await.expect(StatusCode::OK).json();
        assert_eq!(names(&york), ["Bob", "Carl"]);
        let facets = server.get(admin, "/people/facets?query=car").await.expect(StatusCode::OK).json();
        assert_eq!(
            (&facets["total_count"], &facets["department"], &facets["city"]),
            (
                &json!(2),
                &json!([{ "value": "Sales", "label": "Sales", "count": 2 }]),
                &json!([{ "value": "Bonn", "label": "Bonn", "count": 1 }, { "value": "York", "label": "York", "count": 1 }])
            )
        );

        let new = json!({ "name": "Sales people", "matching": { "department": "Sales" } });
        let made = server.post(admin, "/lists", new.clone()).await.expect(StatusCode::CREATED).json();
        assert_eq!((&made["name"], &made["member_count"]), (&json!("Sales people"), &json!(2)));
        let path = format!("/lists/{}", made["id"].as_str().expect("an id"));
        let ada = server.person.to_string();
        let more = json!({ "name": "Sales people", "person_ids": [ada], "matching": { "query": "carl" } });
        let more = server.post(admin, "/lists", more).await.expect(StatusCode::CREATED).json();
        assert_eq!((&more["id"], &more["member_count"]), (&made["id"], &json!(3)), "those on it stay");
        let members = server.get(admin, &format!("{path}/members")).await.expect(StatusCode::OK).json();
        assert_eq!(names(&members), ["Ada Byron", "Carl", "Carla"]);

        for _ in 0..2 {
            let off = server.call(admin, Method::DELETE, &format!("{path}/members/{ada}"), None).await;
            off.expect(StatusCode::NO_CONTENT);
        }
        assert_eq!(server.get(admin, &path).await.expect(StatusCode::OK).json()["member_count"], 2);
        server.call(admin, Method::DELETE, &format!("/lists/7/members/{ada}"), None).await.expect(StatusCode::NOT_FOUND);
        let nobody = server.post(admin, "/lists", json!({ "name": "Bad", "person_ids": ["7"] })).await;
        assert_eq!((nobody.status, &nobody.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("person_ids")));
        let lists = server.get(admin, "/lists").await.expect(StatusCode::OK).json();
        assert_eq!(lists.as_array().expect("lists").len(), 1, "a list that could not be filled is not made");
        let audit = server.get(admin, "/audit").await.expect(StatusCode::OK).json();
        let actions: Vec<_> = audit["items"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
        assert_eq!(actions[..3], ["list.remove", "list.add", "list.create"], "{audit}");
    })
    .await;
}
