//! What can go wrong when a message is written or signed. Reading never fails.

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Later, the same input may work.
    Transient,
    /// The same input will fail again.
    Permanent,
}

/// A message, key or page that could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A header value with a line break or NUL would become another field.
    #[error("the {field} field must not hold line breaks or NUL")]
    HeaderCharacter {
        /// The field's name.
        field: String,
    },
    /// A field name that is empty or has characters other than printable ASCII without a colon (RFC 5322 2.2).
    #[error("not a header field name: {name:?}")]
    HeaderName {
        /// The name as given.
        name: String,
    },
    /// A value that is longer than [`crate::compose::FIELD_BYTES_MAX`].
    #[error("the {field} field is too long")]
    HeaderTooLong {
        /// The field's name.
        field: String,
    },
    /// A key that is no RSA private key in PEM.
    #[error("the DKIM key could not be used: {cause}")]
    Key {
        /// Why.
        cause: String,
    },
    /// The signature could not be made.
    #[error("the message could not be signed: {cause}")]
    Sign {
        /// Why.
        cause: String,
    },
    /// HTML that could not be rewritten.
    #[error("the HTML could not be read: {cause}")]
    Html {
        /// Why.
        cause: String,
    },
}

impl MessageError {
    /// Whether trying again can help: never, these follow from their input.
    pub fn severity(&self) -> Severity {
        Severity::Permanent
    }
}
