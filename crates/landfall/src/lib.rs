//! What the `landfall` binary is made of: the composition root, its configuration, and the commands.
//!
//! It is a library so that tests start complete servers in their own process; the binary is [`cli`] and nothing else.

mod backup;
pub mod cli;
pub mod config;
mod demo;
mod doctor;
pub mod error;
mod judge;
mod replay;
pub mod server;
