//! Where mail lands: the contract that any mailbox system behind Landfall fulfils, and the embedded one.
//!
//! - [`Mailbox`] is the seam: deliver a copy, find it, take it out with a [`Snapshot`], put it back as it was.
//!   [`contract::mailbox_contract`] is the suite that every connector passes.
//! - [`LmtpImap`] is the connector to a mailbox system such as Dovecot; [`Connectors`] are those that are configured.
//! - [`Embedded`] keeps mail in rows of the store. [`deliver_ops`] gives the rows of a delivery for a group commit;
//!   [`take_out`], [`put_back`] and [`deliver_many`] work on hundreds of copies inside the caller's transaction, so that
//!   the copies, what is remembered of them and their events move together or not at all.
//! - [`owner`](Embedded::folders) functions are what a mailbox's owner does: folders, items, flags, moving, deleting;
//!   [`client`](Embedded::view) functions are the same for mail programs, as IMAP wants it.
//!
//! Nothing here knows verdicts, policies or quarantine.

mod bulk;
mod client;
mod connector;
mod connectors;
pub mod contract;
mod error;
mod folder;
mod owner;

pub use bulk::{deliver_many, deliver_ops, look, put_back, take_out};
pub use client::{
    COPY_MAX, Content, FOLDERS_MAX, FlagMode, FlagStore, Flags, FlagsChanged, FolderCounts, FolderState, OwnHeader,
    OwnMail, Transfer, ViewItem, is_folder_name,
};
pub use connector::{Delivery, Found, Landed, Locator, Mailbox, PutBack, Snapshot, TakenOut};
pub use connectors::{
    Batch, ConnectorHealth, Connectors, Embedded, Endpoint, Failed, HandOver, HandedOver, LmtpImap, LmtpImapConfig,
    MARK_HEADER, Marker, Security, ServiceHealth, UserName, Waiting, chosen_mailboxes, mailbox_to_ask, waiting,
    waiting_for,
};
pub use error::{MailboxError, Severity};
pub use folder::FolderRole;
pub use owner::{
    Deleted, FlagChange, Folder, ITEMS_PAGE_MAX, Item, ItemPosition, ItemSummary, KEYWORDS_MAX, MailboxInfo, Moved,
};
