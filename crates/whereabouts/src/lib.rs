//! Where every copy is now, how that is known, and what is done when copies get lost.
//!
//! - The **ledger's readers**: [`campaign_whereabouts`], [`series`], [`copies`], [`reasons`], [`headline`],
//!   [`copy_timeline`], [`totals`] and [`proof`]. They only read; what they say is folded from events, never guessed.
//! - **Incidents**: the [`Detector`] opens one per cause when copies that a host accepted are not in a mailbox, takes
//!   further campaigns of the same cause into scope, and writes dated updates until every copy is back or decided.
//! - **Search** for the box on top of the console: [`search()`].
//!
//! The word for arriving is "in inbox" or "landed"; a copy that was answered 250 was *accepted*, nothing more.

mod copies;
mod error;
mod headline;
pub mod incident;
mod ledger;
mod reasons;
mod search;
mod series;
mod timeline;
mod words;

pub use copies::{COPIES_PAGE_MAX, CopyFilter, CopyRow, copies};
pub use error::Error;
pub use headline::{HeadlineFacts, headline, headline_of};
pub use incident::{Detector, DetectorConfig};
pub use ledger::{
    CampaignWhereabouts, PlaceCount, Proof, Totals, campaign_places, campaign_whereabouts, proof, totals,
};
pub use reasons::{REASONS_MAX, Reason, ReasonGroup, reasons};
pub use search::{Found, SEARCH_MAX, search};
pub use series::{BUCKETS_MAX, Point, Series, series};
pub use timeline::{CopyTimeline, Evidence, copy_timeline};
pub use words::{count_of, recipients};
