//! SMTP (RFC 5321): a server session and a client, the TLS of both, and transcripts that test them.
//!
//! The [`server::Session`] and the [`reply::ReplyParser`] do no I/O: bytes in, decisions out. [`server::Server`] and
//! [`client::Client`] put them on sockets. This crate knows no store and no MIME: a body is bytes.
//!
//! Two rules are kept everywhere. Only CRLF ends a line and only `CRLF.CRLF` ends a body, whoever the peer is; and
//! everything a peer can make grow (a line, a reply, a body, a list of recipients, a wait) has a bound.

pub mod client;
mod command;
pub mod data;
mod input;
pub mod reply;
mod scripted_login;
pub mod server;
mod stream;
pub mod transcript;

pub use client::{Client, ClientConfig, ClientError, LmtpClient, LmtpFate, Mail, Outcome, Phase, TlsMode};
pub use server::{Handler, Server, ServerConfig, Session};
/// Ends a [`Server`]; re-exported so that callers name the same type.
pub use tokio_util::sync::CancellationToken;
