//! What can go wrong when a name is looked up.

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Later, the same question may be answered.
    Transient,
    /// The same question will fail again.
    Permanent,
}

/// A lookup without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist, or has no record of this type. A fact, not trouble.
    #[error("no record of this type for {name}")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// No answer now: timeout, SERVFAIL, refused, no name server, over the deadline.
    #[error("could not look up {name} now: {cause}")]
    Transient {
        /// The name asked for.
        name: String,
        /// Why, for logs and traces only.
        cause: String,
    },
    /// The text is no domain name.
    #[error("not a domain name: {name:?}")]
    InvalidName {
        /// The text as given, bounded.
        name: String,
    },
    /// The resolver itself could not be set up.
    #[error("the resolver could not be set up: {cause}")]
    Setup {
        /// Why.
        cause: String,
    },
}

impl DnsError {
    /// Whether trying again can help.
    pub fn severity(&self) -> Severity {
        match self {
            DnsError::Transient { .. } => Severity::Transient,
            DnsError::NotFound { .. } | DnsError::InvalidName { .. } | DnsError::Setup { .. } => Severity::Permanent,
        }
    }

    /// Whether the name (or the record type under it) does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, DnsError::NotFound { .. })
    }
}
