//! The server side: a sans-IO [`Session`], the driver of one connection, and the accept loop.

mod config;
mod connection;
mod listener;
mod session;

pub use config::{EarlyTalker, ServerConfig};
pub use connection::{ConnectionEnd, Handler, serve_connection};
pub use listener::{Server, ServerStats};
pub use session::{Output, Session, Waiting};
