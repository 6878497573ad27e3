//! For tests only: fresh stores on both databases, sinks, transcripts, generators.

mod db;

pub use db::{TestStore, on_both, sqlite};
