//! What the `landfall` binary is made of: the composition root, its configuration, and the commands.
//!
//! It is a library so that tests start complete servers in their own process; the binary is [`cli`] and nothing else.

mod backup;
mod bypass;
pub mod cli;
pub mod config;
pub mod connectors;
mod demo;
mod dkim;
mod doctor;
pub mod error;
mod imap;
mod judge;
pub mod outgoing;
mod queue;
mod replay;
pub mod server;
pub mod services;
pub mod tls;
