//! For tests only: fresh stores on both databases, rows to begin with, sinks.

mod countdown;
mod db;
#[cfg(feature = "dovecot")]
pub mod dovecot;
#[cfg(feature = "postfix")]
pub mod postfix;
pub mod rows;
#[cfg(feature = "scram")]
pub mod scram;
#[cfg(feature = "sink")]
pub mod sink;
mod until;

pub use countdown::{Arm, Fault, at_every_step};
pub use db::{TestStore, on_both, sqlite};
pub use until::until;
