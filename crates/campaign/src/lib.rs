//! Campaigns: written, sent once to each person of a frozen audience, stopped exactly, and counted honestly.
//!
//! - [`Campaigns`] writes drafts and moves them through their life ([`State`]): start, pause, resume, cancel.
//! - [`Dispatcher`] makes the copies of what is being sent: one transaction per batch, so that a crash loses and doubles
//!   nothing.
//! - [`Tracker`] answers tracking links, records hits, tells people from machines ([`classify()`]) and counts.
//!
//! Nothing here judges mail or knows where a copy landed: that is the gateway's and the ledger's.

mod campaigns;
mod classify;
mod dispatch;
mod draft;
mod error;
mod lint;
mod signing;
mod state;
mod stats;
mod template;
mod token;
mod tracker;

pub use campaigns::{
    AUDIENCE_PAGE_MAX, AudienceMember, Campaigns, PAGE_MAX, Preview, Progress, SUPPRESSIONS_PAGE_MAX, Suppression,
};
pub use classify::{
    ALL_AT_ONCE_MS, BURST_GAP_MS, BURST_LINKS, Class, Hit, HitKind, PAIR_GAP_MS, PIXEL_GAP_MIN_MS, REPEATS, SETTLE_MS,
    SWEEP_GAP_MS, Scored, classify,
};
pub use dispatch::{DispatchConfig, Dispatcher};
pub use draft::{
    CONTENT_BYTES_MAX, Campaign, ContentType, Draft, FROM_NAME_CHARS_MAX, NAME_CHARS_MAX, SUBJECT_CHARS_MAX, Tracking,
};
pub use error::{CampaignError, Problem};
pub use lint::{HTML_BYTES_MAX, Lint, LintCode};
pub use state::{Action, State};
pub use stats::{GroupStats, LinkStats, Reach, Stats};
pub use template::{Fields, LINKS_MAX, PERSON_FIELDS, Rendered, Renderer, Slots, Template, UNSUBSCRIBE_FIELD};
pub use token::{Subject, Tokens, Tracked};
pub use tracker::{Fetch, PIXEL_GIF, Target, Tracker};
