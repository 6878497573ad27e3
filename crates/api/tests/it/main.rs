//! The API over its real router, on real stores.

mod app_passwords;
mod data;
mod elsewhere;
mod links;
mod lists;
mod looks;
mod masks;
mod permissions;
mod problems;
mod server;
mod sessions;
mod settings;
