//! The HTTP edge: the REST API under `/api/v1`, tracking links, health, metrics and the embedded console.
//!
//! One file per resource in `resources/`; each operation is registered with who may call it ([`access`]), and the OpenAPI
//! document says the same because it is made from the same value. What goes wrong leaves as one kind of document
//! ([`problem`]). No SQL here: every read and every action is a function of the crate that owns the rows.

mod access;
mod extract;
mod openapi;
mod problem;
mod resources;
mod wire;

pub use openapi::{API_PREFIX, openapi, openapi_json};

/// What handlers work with.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The store.
    pub store: store::Store,
}
