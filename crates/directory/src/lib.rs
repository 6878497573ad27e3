//! The organisation: its people, lists, mailbox owners, accounts, tokens, settings, keys, and the rule set in force.
//!
//! [`Directory`] answers for one organisation. Every row carries the organisation's id, so that more than one can live
//! in a database; today a server serves the one that its first run made.

mod accounts;
mod app_passwords;
mod audit;
mod bypass;
mod client_logins;
mod client_stamp;
mod connectors;
mod error;
mod import;
mod keys;
mod lists;
mod organisation;
mod own_scram;
mod people;
mod protection;
mod return_path;
mod sasl;
mod scram;
mod settings;
mod throttle;

pub use accounts::{Account, ApiToken, NewAccount, Principal, SESSIONS_MAX, SignInLink, SignedIn};
pub use app_passwords::{APP_PASSWORDS_MAX, AppPassword, ClientScope};
pub use audit::{AuditEntry, NewAudit};
pub use bypass::{BYPASS_MS_MAX, BYPASS_MS_MIN, Bypass, Switcher};
pub use client_logins::{ClientLogin, ScramVerifier};
pub use client_stamp::ClientStamp;
pub use connectors::{CONNECTOR_ATTRIBUTE, EMBEDDED, MailboxConnectors, PersonMailbox, mailbox_mark};
pub use error::DirectoryError;
pub use import::{ImportReport, RejectedLine};
pub use keys::{CopyTokens, DkimSecret, DkimUse, Mac, OwnCopy, new_token, token_hash};
pub use lists::{Filled, LISTS_MAX, List};
pub use organisation::{Directory, NewOrganisation, Organisation};
pub use people::{NewPerson, PeopleFacets, PeopleFilter, Person, Recipient};
pub use protection::{Protection, ProtectionCache};
pub use return_path::ReturnTokens;
pub use sasl::{Sasl, SaslMechanism, SaslStep};
pub use settings::{
    AuthenticationSettings, FailureMode, IncidentSettings, IndividualTracking, LimitSettings, Settings,
    TrackingSettings,
};
pub use throttle::Throttle;
