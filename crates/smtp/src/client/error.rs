//! Why a connection is of no more use, and where in the dialogue.

use std::io;

use model::{Reply, ReplyClass};

use crate::reply::ReplyError;

/// Where in the dialogue something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// TCP.
    Connect,
    /// The banner.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA up to its 354.
    DataStart,
    /// The body.
    DataBlock,
    /// After the final dot.
    DataEnd,
    /// QUIT.
    Quit,
}

/// Why a connection is of no more use, or a message cannot go over it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No TCP connection.
    #[error("could not connect: {0}")]
    Connect(#[source] io::Error),
    /// The peer took longer than the phase allows. Nothing was accepted.
    #[error("timeout in {phase:?}")]
    Timeout {
        /// In which phase.
        phase: Phase,
    },
    /// The connection was lost. Nothing was accepted.
    #[error("connection lost in {phase:?}: {source}")]
    Lost {
        /// In which phase.
        phase: Phase,
        /// How.
        source: io::Error,
    },
    /// The final dot was written and no reply came (RFC 5321 4.5.3.2.6): the message may have been accepted or not.
    #[error("the end is unclear: {cause}")]
    UnclearEnd {
        /// What came instead of the reply.
        cause: String,
    },
    /// The peer refused to talk, or said 421 and closed. Nothing was accepted.
    #[error("closed in {phase:?}: {reply}")]
    Closed {
        /// In which phase.
        phase: Phase,
        /// What it said.
        reply: Reply,
    },
    /// What came is not SMTP.
    #[error("not SMTP in {phase:?}: {text}")]
    Protocol {
        /// In which phase.
        phase: Phase,
        /// What was wrong.
        text: String,
    },
    /// The handshake failed or the certificate was not accepted.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// TLS is required and the peer does not offer it.
    #[error("the host does not offer TLS")]
    TlsUnavailable,
    /// Credentials are configured and cannot be used: no required TLS, no mechanism in common, or an exchange that does
    /// not hold. Nothing of them was sent in clear.
    #[error("AUTH is not possible: {0}")]
    AuthUnavailable(&'static str),
    /// The host refused the credentials.
    #[error("AUTH was refused: {0}")]
    AuthRefused(Reply),
    /// REQUIRETLS (RFC 8689) was asked for, and this connection has no required TLS or the host does not offer it. Nothing
    /// was written.
    #[error("the host does not offer REQUIRETLS")]
    RequireTlsUnavailable,
    /// The body has bytes above 127 and the peer does not offer 8BITMIME (RFC 6152 3). Nothing was written.
    #[error("the host does not take 8-bit messages")]
    EightBitRefused,
    /// An address goes beyond ASCII and the peer does not offer SMTPUTF8 (RFC 6531 3.1). Nothing was written.
    #[error("the host does not take addresses beyond ASCII")]
    Utf8Refused,
}

impl ClientError {
    /// Whether trying later may help. `Closed` follows its reply; an unclear end is transient, with the risk of a
    /// second copy.
    pub fn severity(&self) -> ReplyClass {
        match self {
            ClientError::Closed { reply, .. } if reply.class() == ReplyClass::Permanent => ReplyClass::Permanent,
            ClientError::EightBitRefused | ClientError::Utf8Refused | ClientError::RequireTlsUnavailable => {
                ReplyClass::Permanent
            }
            ClientError::AuthUnavailable(_)
            | ClientError::AuthRefused(_)
            | ClientError::Connect(_)
            | ClientError::Timeout { .. }
            | ClientError::Lost { .. }
            | ClientError::UnclearEnd { .. }
            | ClientError::Closed { .. }
            | ClientError::Protocol { .. }
            | ClientError::Tls(_)
            | ClientError::TlsUnavailable => ReplyClass::Transient,
        }
    }

    /// Whether it was found before anything was written: the connection can still be used.
    pub fn is_before_sending(&self) -> bool {
        matches!(self, ClientError::EightBitRefused | ClientError::Utf8Refused | ClientError::RequireTlsUnavailable)
    }
}

pub(super) fn expect_completion(phase: Phase, reply: Reply) -> Result<(), ClientError> {
    match reply.is_completion() {
        true => Ok(()),
        false => Err(ClientError::Protocol { phase, text: format!("answered {reply}") }),
    }
}

pub(super) fn not_smtp(phase: Phase, error: ReplyError) -> ClientError {
    ClientError::Protocol { phase, text: error.to_string() }
}
