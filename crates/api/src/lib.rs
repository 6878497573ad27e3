//! The HTTP edge: the REST API under `/api/v1`, tracking links, health, metrics and the embedded console.
//!
//! One file per resource in `resources/`; each operation is registered with who may call it (`access`), and the OpenAPI
//! document says the same because it is made from the same value. What goes wrong leaves as one kind of document
//! (`problem`). No SQL here: every read and every action is a function of the crate that owns the rows.
//!
//! [`router`] needs an [`AppState`]; [`serve`] runs it on a listener until it is told to stop.

mod access;
mod console;
mod convert;
mod extract;
mod listener;
mod looks;
mod mail_view;
mod masked;
mod metrics;
mod openapi;
mod problem;
mod resources;
mod server;
mod session_auth;
mod state;
mod wire;

pub use openapi::{API_PREFIX, openapi, openapi_json};
pub use server::{router, serve};
pub use session_auth::COOKIE;
pub use state::{ApiConfig, AppState};
