//! Messages (RFC 5322, MIME): read to facts, authenticated, written, signed, reported on and previewed.
//!
//! [`parse`] turns any bytes into [`model::Facts`] and never fails: what is malformed becomes a defect among the facts.
//! [`Authenticator`] asks SPF, DKIM, DMARC and ARC. [`headers`] writes and cleans the fields that a gateway adds,
//! [`compose`] and [`dsn`] write messages, [`dkim`] signs them, [`preview`] takes one apart for a reader.
//! Nothing here knows SMTP, storage or verdicts, and nothing waits except on names.

mod archive;
mod auth;
pub mod compose;
mod decode;
pub mod dkim;
pub mod dsn;
mod error;
mod field;
mod files;
pub mod headers;
mod html;
mod limits;
pub mod links;
mod mime;
mod parse;
pub mod preview;
mod urls;

pub use auth::{Authenticator, DKIM_SIGNATURES_MAX};
pub use error::{MessageError, Severity};
pub use html::html_to_text;
pub use limits::Limits;
pub use links::rewrite_links;
pub use parse::{ParseContext, parse};
