//! For tests only: fresh stores on both databases, sinks, transcripts, generators.

mod db;
#[cfg(feature = "sink")]
pub mod sink;

pub use db::{TestStore, on_both, sqlite};
