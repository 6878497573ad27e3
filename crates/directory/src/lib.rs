//! The organisation: its people, lists, mailbox owners, accounts, tokens, settings, keys, and the rule set in force.
//!
//! [`Directory`] answers for one organisation. Every row carries the organisation's id, so that more than one can live
//! in a database; today a server serves the one that its first run made.

mod accounts;
mod audit;
mod error;
mod import;
mod keys;
mod lists;
mod organisation;
mod people;
mod protection;
mod settings;

pub use accounts::{Account, ApiToken, NewAccount, Principal, SignInLink, SignedIn};
pub use audit::{AuditEntry, NewAudit};
pub use error::DirectoryError;
pub use import::{ImportReport, RejectedLine};
pub use keys::{CopyTokens, Mac, OwnCopy, new_token, token_hash};
pub use lists::List;
pub use organisation::{Directory, NewOrganisation, Organisation};
pub use people::{NewPerson, PeopleFilter, Person, Recipient};
pub use protection::{Protection, ProtectionCache};
pub use settings::{FailureMode, IncidentSettings, IndividualTracking, LimitSettings, Settings, TrackingSettings};
