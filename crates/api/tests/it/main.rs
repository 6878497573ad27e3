//! The API over its real router, on real stores.

mod data;
mod links;
mod permissions;
mod problems;
mod server;
mod sessions;
