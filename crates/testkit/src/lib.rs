//! For tests only: fresh stores on both databases, sinks, transcripts, generators.

mod countdown;
mod db;
#[cfg(feature = "dovecot")]
pub mod dovecot;
#[cfg(feature = "sink")]
pub mod sink;

pub use countdown::{Arm, Fault, at_every_step};
pub use db::{TestStore, on_both, sqlite};
