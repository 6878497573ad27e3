//! Every operation of the document, tried by nobody and by every role.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use model::{Permission, Role};
use serde_json::Value;

use crate::server::{Answer, Server};

/// An operation as the document has it.
struct Operation {
    method: Method,
    path: String,
    /// `None`: public.
    needs: Option<Permission>,
}

/// Reads the document; an operation without a permission that exists fails here.
fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&api::openapi_json()).expect("the document is JSON");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let word = operation["x-permission"].as_str().unwrap_or_else(|| panic!("{method} {path}: no x-permission"));
            let needs = (word != "public")
                .then(|| Permission::parse(word).unwrap_or_else(|| panic!("{method} {path}: {word} is no permission")));
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            operations.push(Operation { method, path: path.clone(), needs });
        }
    }
    operations
}

impl Operation {
    /// The least request that reaches it: every parameter is `1`, every body an empty document.
    async fn try_by(&self, server: &Server, role: Option<Role>) -> Answer {
        let mut path = String::new();
        for part in self.path.split('/').skip(1) {
            path.push('/');
            path.push_str(if part.starts_with('{') { "1" } else { part });
        }
        let mut request = Request::builder().method(&self.method).uri(path);
        if let Some(role) = role {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", server.token(role)));
        }
        let body = if self.method == Method::GET { Body::empty() } else { Body::from("{}") };
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body).expect("a request");
        if self.path.ends_with("/events") {
            return server.head_of(request).await; // its body does not end
        }
        server.send(request).await
    }

    fn name(&self, role: Option<Role>) -> String {
        format!("{} {} by {}", self.method, self.path, role.map_or("nobody", Role::as_str))
    }
}

#[tokio::test]
async fn every_role_may_exactly_what_the_document_says() {
    let server = Server::start(testkit::sqlite().await).await;
    let operations = operations();
    assert!(operations.len() > 90, "only {} operations", operations.len());
    for operation in &operations {
        let answer = operation.try_by(&server, None).await;
        match operation.needs {
            Some(_) => {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", operation.name(None));
                assert_eq!(answer.header(header::CONTENT_TYPE), "application/problem+json", "{}", operation.name(None));
            }
            None => assert_ne!(answer.status, StatusCode::FORBIDDEN, "{}", operation.name(None)),
        }
        for role in Role::ALL {
            let answer = operation.try_by(&server, Some(*role)).await;
            let refused = operation.needs.is_some_and(|permission| !role.may(permission));
            assert_eq!(answer.status == StatusCode::FORBIDDEN, refused, "{}: {answer:?}", operation.name(Some(*role)));
            assert_ne!(answer.status, StatusCode::NOT_IMPLEMENTED, "{}", operation.name(Some(*role)));
            if operation.needs.is_some() {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{}", operation.name(Some(*role)));
            }
            assert!(!answer.status.is_server_error(), "{}: {answer:?}", operation.name(Some(*role)));
        }
    }
}

#[test]
fn the_document_describes_every_path_parameter_and_the_problem() {
    let document: Value = serde_json::from_str(&api::openapi_json()).expect("the document is JSON");
    for (path, item) in document["paths"].as_object().expect("paths") {
        let named = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        for name in named {
            for (method, operation) in item.as_object().expect("operations") {
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let found = parameters.iter().any(|p| p["name"] == name && p["in"] == "path" && p["required"] == true);
                assert!(found, "{method} {path}: {name} is not described");
            }
        }
        for (method, operation) in item.as_object().expect("operations") {
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
        }
    }
}
