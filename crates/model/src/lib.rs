//! The nouns of Landfall: what every other crate talks about.
//!
//! No I/O, no runtime, no SQL, no HTTP. A type is here when two crates that do not know each other
//! must mean the same thing by it. Wire types live at their edges and are converted by hand.

mod address;
mod clock;
mod envelope;
mod event;
mod facts;
mod ids;
mod permission;
mod quarantine;
mod reply;
mod text;
mod verdict;

pub use address::{Address, AddressError, Domain, ReversePath};
pub use clock::{Clock, SystemClock, TestClock, Timestamp};
pub use envelope::{
    BodyType, ClientInfo, Envelope, MailOptions, RcptOptions, SubmissionLogin, TlsInfo, decode_xtext, encode_xtext,
};
pub use event::{EventKind, IllegalTransition, LastEvent, Place, Whereabouts};
pub use facts::{
    ArcSetFact, AttachmentFact, AuthFacts, AuthResult, BulkFacts, Composite, CompositeResult, Defect, DkimFact,
    DmarcPolicy, Facts, FileKind, HeaderFacts, LinkFact, MailboxFact, OwnCopyFact, Unjudged, UrlFact, UrlSource,
};
pub use ids::{
    AccountId, AppPasswordId, AuditId, BacktestId, CampaignId, ChangeId, CopyId, DeliveryId, EventId, FeedId, FolderId,
    HitId, IdSource, IncidentId, JobId, LinkId, ListEntryId, ListId, MailItemId, MailboxId, MessageId, OrganisationId,
    ParseIdError, PersonId, PolicyId, QuarantineItemId, RuleSetId, SessionId, TokenId, UpdateId,
};
pub use permission::{Permission, Role};
pub use quarantine::{QuarantineReason, ReleaseStatus};
pub use reply::{EnhancedCode, Reply, ReplyClass};
pub use text::SqlText;
pub use verdict::{Confidence, Disposition, Signal, Verdict, VerdictClass};
