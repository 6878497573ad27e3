//! Messages (RFC 5322, MIME): read to facts, authenticated, written, signed, reported on and previewed.
//!
//! [`parse`] turns any bytes into [`model::Facts`] and never fails: what is malformed becomes a defect among the facts.
//! [`Authenticator`] asks SPF, DKIM, DMARC and ARC, [`composite()`] sums them up, [`arc`] seals. [`headers`] writes and cleans the fields that a gateway adds,
//! [`compose`] and [`dsn`] write messages, [`seven_bit`] makes others fit for every host, [`dkim`] signs them, [`preview`] takes one apart for a reader.
//! [`parse_report`] reads what comes back about mail of ours.
//! [`structure`] gives a message's parts as offsets, for IMAP.
//! Nothing here knows SMTP, storage or verdicts, and nothing waits except on names.

pub mod arc;
mod archive;
mod arf;
mod auth;
pub mod compose;
mod composite;
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
mod report;
mod report_class;
mod report_dsn;
mod report_text;
pub mod seven_bit;
mod spf;
pub mod structure;
mod urls;

pub use auth::{Authenticator, DKIM_SIGNATURES_MAX};
pub use composite::composite;
pub use error::{MessageError, Severity};
pub use html::html_to_text;
pub use limits::Limits;
pub use links::rewrite_links;
pub use parse::{ParseContext, parse, parse_body, parse_header};
pub use report::{
    Dialect, FeedbackKind, RecipientReport, Report, ReportAction, ReportConfidence, ReportKind, Status, parse_report,
};
pub use report_class::{BounceClass, ClassRule, RULES as BOUNCE_RULES};
