//! The inbound gateway: receive, enrich, judge, decide, commit, answer; and the message trace.
//!
//! [`Gateway`] is the handler behind the SMTP server. A mail is parsed and authenticated, its facts are judged by the
//! rule set in force, each recipient's policies decide, and then one group commit stores the body with its trace header
//! section, the message with facts and verdict, the copies, the mailbox or quarantine rows and the events. `250` is said
//! after that commit and never before; whatever goes wrong earlier is `451` and leaves nothing behind.
//!
//! What a verdict does with mail:
//!
//! - *deliver*, *junk*: an item in the recipient's mailbox; *quarantine*: a quarantine row.
//! - *reject*: `550`, when every recipient's policy says so; otherwise those copies are held, since DATA has one reply.
//!   A refused mail leaves its message row (facts, verdict, no body) and copies with the event `rejected`.
//! - *drop*: `250`, the same trace with the event `dropped`, no body.
//! - *redirect*: the copy ends as `dropped` with the new address as evidence, and a copy for that address is delivered
//!   (or put in the outbound queue, when it is not ours).
//!
//! A copy of our own campaign is known by its signed header. Its row exists since it was enqueued and learns here what
//! became of it; a second arrival of the same copy is answered `250` with the first id and stores only a note. Being our
//! own never lowers a verdict.
//!
//! A mailbox that another system keeps gets its copy through a durable row of the queue ([`HandOvers`]); until that system
//! has said where the copy is, its place is `accepted`.
//!
//! Mail to a return path of a copy is a report: it becomes evidence of that copy (`bounces`).
//!
//! Mail that is let in without a verdict is stamped so and judged later ([`LateJudge`]). While judging is switched off, mail
//! goes through the incoming queue: it is accepted with one row, and entered behind ([`IncomingWorker`]).
//!
//! [`trace`] searches copies and tells the story of one.

mod beside;
mod bounces;
mod commit;
mod config;
mod decide;
mod enrich;
mod gateway;
mod hand_over;
mod incoming;
mod limits;
mod services;
mod stats;
mod submission;
mod told;
pub mod trace;
mod unjudged;
mod writing;

pub use config::{GatewayConfig, Judge};
pub use gateway::{Gateway, Listening};
pub use hand_over::{HandOverConfig, HandOvers};
pub use incoming::IncomingWorker;
pub use limits::RateLimits;
pub use services::TlsStart;
pub use stats::GatewayStats;
pub use unjudged::LateJudge;
