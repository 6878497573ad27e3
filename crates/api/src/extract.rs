//! Extractors that answer bad input with a problem document naming the field.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// A JSON body, in or out.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// What a handler gives: a JSON document or a problem.
pub type Answer<T> = Result<Json<T>, Problem>;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(Kind::BadRequest, "Send JSON, with `Content-Type: application/json`."));
        }
        let body = body_bytes(request, state).await?;
        from_json(&body).map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The whole body, within the limit of the route.
pub async fn body_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status().as_u16() {
        413 => too_large(),
        _ => Problem::new(Kind::BadRequest, "The body could not be read to its end.").because(rejection),
    })
}

/// The body is over the limit of the route.
pub fn too_large() -> Problem {
    Problem::new(Kind::TooLarge, "The body is larger than this operation takes. Split it.")
}

/// Parses JSON; an error names the path of the field.
fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let problem = Problem::new(Kind::Invalid, format!("{inner}"));
            if path == "." { problem } else { problem.at(path) }
        } else {
            Problem::new(Kind::BadRequest, format!("The body is not valid JSON: {inner}"))
        }
    })?;
    reader
        .end()
        .map_err(|e| Problem::new(Kind::BadRequest, format!("There is something after the JSON document: {e}")))?;
    Ok(value)
}

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let reader = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(
            parts.uri.query().unwrap_or("").as_bytes(),
        ));
        serde_path_to_error::deserialize(reader).map(Query).map_err(|error| {
            let path = error.path().to_string();
            let problem = Problem::new(Kind::BadRequest, format!("In the address: {}", error.inner()));
            if path == "." { problem } else { problem.at(path) }
        })
    }
}

/// The id in the path (the last segment in braces).
#[derive(Debug, Clone, Copy)]
pub struct PathId<I>(pub I);

impl<S: Send + Sync, I: FromStr + Send> FromRequestParts<S> for PathId<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        text.parse()
            .map(PathId)
            .map_err(|_| Problem::new(Kind::BadRequest, "The id in the address is not a decimal number.").at("id"))
    }
}

/// The text in the path (the last segment in braces), percent-decoded.
#[derive(Debug, Clone)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = axum::extract::RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|e| Problem::new(Kind::BadRequest, "The address is not valid UTF-8.").because(e))?;
        params
            .iter()
            .last()
            .map(|(_, value)| PathText(value.to_owned()))
            .ok_or_else(|| Problem::from_severity(false, "a route without a parameter asked for one"))
    }
}
