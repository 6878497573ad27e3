//! The OpenAPI document, made from the same routes that answer.

use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::problem::ProblemDocument;
use crate::{AppState, resources};

/// Where the API begins.
pub const API_PREFIX: &str = "/api/v1";

/// The routes with their document, before the state is put in.
pub(crate) fn described() -> OpenApiRouter<AppState> {
    let info = InfoBuilder::new()
        .title("Landfall")
        .version("1")
        .description(Some(
            "Every action of the console, for anyone entitled. `x-permission` names what an operation needs.",
        ))
        .build();
    let mut components = Components::new();
    let mut parts: Vec<(String, RefOr<Schema>)> = vec![("Problem".into(), ProblemDocument::schema())];
    ProblemDocument::schemas(&mut parts);
    components.schemas.extend(parts);
    let base = OpenApiBuilder::new().info(info).components(Some(components)).build();
    OpenApiRouter::with_openapi(base).nest(API_PREFIX, resources::routes()).merge(resources::public_routes())
}

/// The document.
pub fn openapi() -> OpenApi {
    described().into_openapi()
}

/// The document as it is committed: sorted keys, two spaces, a line end at the end.
pub fn openapi_json() -> String {
    let value = serde_json::to_value(openapi()).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&sorted(value)).unwrap_or_default();
    text.push('\n');
    text
}

/// Extensions come out of a hash map: without an order of our own the file would change by itself.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(k, v)| (k, sorted(v))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
