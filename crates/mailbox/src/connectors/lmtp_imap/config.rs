//! What a connector is told about the mailbox system: where it listens, and who may enter its mailboxes.

use std::sync::Arc;
use std::time::Duration;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all: loopback or a trusted network.
    Clear,
    /// It begins in clear text and must change to TLS before anything else.
    StartTls,
    /// TLS from the first byte (IMAP only).
    Tls,
}

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; also what its certificate is checked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
}

/// How the mailbox system calls the owner of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserName {
    /// By the whole address.
    Address,
    /// By what stands before the `@`.
    LocalPart,
}

/// A connector's configuration.
#[derive(Clone)]
pub struct LmtpImapConfig {
    /// The name that we say in LHLO.
    pub helo_name: String,
    /// Where mail is handed over (RFC 2033).
    pub lmtp: Endpoint,
    /// Where mailboxes are read (RFC 3501).
    pub imap: Endpoint,
    /// Whom we trust, where a connection is protected.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The master user, who may enter every mailbox.
    pub master_user: String,
    /// The master user's password.
    pub master_password: String,
    /// What stands between the owner's name and the master user's in the login.
    pub master_separator: String,
    /// How owners are called.
    pub user_name: UserName,
    /// The folder for junk, where the system names none by its special use (RFC 6154).
    pub junk_folder: String,
    /// Where copies lie while they are taken out; empty but for moments.
    pub holding_folder: String,
    /// Open connections of each protocol.
    pub connections_max: usize,
    /// The most that one command may take.
    pub deadline: Duration,
}

impl LmtpImapConfig {
    /// Without TLS, with the defaults of the configuration file.
    pub fn new(lmtp: Endpoint, imap: Endpoint, master_user: &str, master_password: &str) -> Self {
        LmtpImapConfig {
            helo_name: "localhost".into(),
            lmtp,
            imap,
            tls: None,
            master_user: master_user.to_owned(),
            master_password: master_password.to_owned(),
            master_separator: "*".into(),
            user_name: UserName::Address,
            junk_folder: "Junk".into(),
            holding_folder: "Landfall-Held".into(),
            connections_max: 8,
            deadline: Duration::from_secs(20),
        }
    }

    /// How the owner of `address` is called.
    pub(super) fn user<'a>(&self, address: &'a str) -> &'a str {
        match self.user_name {
            UserName::Address => address,
            UserName::LocalPart => address.rsplit_once('@').map_or(address, |(local, _)| local),
        }
    }
}

impl std::fmt::Debug for LmtpImapConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LmtpImapConfig").field("lmtp", &self.lmtp).field("imap", &self.imap).finish_non_exhaustive()
    }
}
