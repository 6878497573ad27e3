//! The quarantine: held copies, who may see and free them, and what pulls landed copies back or puts them back.
//!
//! - [`Quarantine`] lists, shows, previews; releases, requests, denies. A copy that was held on arrival is *released*: it
//!   arrives now. A copy that was pulled back is *restored*: it returns to its folder as it was, by its snapshot.
//! - [`Worker`] does the long work of the table `job`: `purge` and `restore` for a change, `release` of many; and ends the
//!   retention of what is held too long. Every batch is one transaction and may be repeated: nothing moves twice.
//!
//! - Mailboxes that another system keeps are worked in through connectors ([`Quarantine::with_connectors`]), and looked into
//!   now and then, so that the ledger hears of what their owners do.
//!
//! A status moves only through [`advance`], under the lock of the copy, in one transaction with the copy's event.
//! Communicators ask, administrators release; malware and high confidence phish need an analyst and a fresh verdict.

mod act;
mod actor;
mod elsewhere;
mod error;
mod free;
mod job;
mod outcome;
mod preview;
mod probe;
mod purge;
mod purge_elsewhere;
mod selection;
mod status;
mod view;
mod worker;

pub use act::Quarantine;
pub use actor::Actor;
pub use error::{QuarantineError, Severity};
pub use job::{Job, JobState};
pub use outcome::{Outcome, REFUSALS_MAX, Refusal};
pub use preview::{PreviewFile, SafePreview};
pub use probe::Looked;
pub use purge::PurgeParams;
pub use selection::{Effect, ITEMS_MAX, Selection};
pub use status::{IllegalStep, Step, advance};
pub use view::{Detail, Facets, Filter, HeldBy, Item, PAGE_MAX};
pub use worker::Worker;
