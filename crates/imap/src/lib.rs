//! The IMAP4rev1 server (RFC 3501) on the embedded mailbox.
//!
//! - [`Server`] accepts and seats connections; each is a task of its own with its own bounds.
//! - `wire` cuts bytes into commands (lines with their literals) and bounds what is buffered; `command` reads them, by
//!   `imap-codec` where it can. `session` is the state of one connection and which command may run in it; `login`,
//!   `folders`, `selected`, `change`, `append` and `idle` say what each command does.
//! - `view` is a session's picture of its folder: message numbers hold still until the client has been told.
//! - `fetch`, `shape` and `search` read messages, by ranges of their stored bytes; `memory` bounds what is read whole.
//!
//! The rows are the truth: the bus only wakes sessions that wait in IDLE (`news`), and they look at the rows anyway.
//! What an owner does here is done by [`mailbox::Embedded`], with the same events as by the API.

mod append;
mod change;
mod command;
mod config;
mod criteria;
mod fetch;
mod folders;
mod idle;
mod list;
mod login;
mod memory;
mod news;
mod search;
mod selected;
mod server;
mod session;
mod shape;
mod syntax;
mod utf7;
mod view;
mod wire;

pub use config::ImapConfig;
pub use server::{Server, ServerStats};
