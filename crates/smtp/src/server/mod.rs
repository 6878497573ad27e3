//! The server side: a sans-IO [`Session`], the driver of one connection, and the accept loop.

mod bdat;
mod config;
mod connection;
mod listener;
mod login;
mod proxy;
mod session;
mod shape;
mod transaction;

pub use config::{EarlyTalker, ServerConfig, Service};
pub use connection::{ConnectionEnd, Handler, serve_connection};
pub use listener::{Server, ServerStats};
pub use login::{LoginExchange, LoginInput, LoginStep};
pub use proxy::Network;
pub use session::{Output, Session, Waiting};
