//! What a peer can do and what it said about one transaction.

use model::{Address, Reply, ReversePath};

use super::error::{ClientError, Phase, expect_completion};

/// What the peer said that it can do (RFC 5321 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It knows EHLO.
    pub esmtp: bool,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 8689; only said under TLS.
    pub require_tls: bool,
    /// RFC 3030. We do not send by BDAT (it would save nothing over a pipelined DATA), but who asks may know.
    pub chunking: bool,
    /// The mechanisms of RFC 4954, in capitals.
    pub auth: Vec<String>,
    /// RFC 1870 is known.
    pub size: bool,
    /// The limit that SIZE named.
    pub size_bytes_max: Option<u64>,
}

impl Capabilities {
    pub(super) fn parse(reply: &Reply) -> Self {
        let mut found = Capabilities { esmtp: true, ..Capabilities::default() };
        for line in reply.lines().iter().skip(1) {
            let (keyword, argument) = line.split_once(' ').unwrap_or((line, ""));
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "STARTTLS" => found.starttls = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "DSN" => found.dsn = true,
                "REQUIRETLS" => found.require_tls = true,
                "CHUNKING" => found.chunking = true,
                "AUTH" => found.auth = argument.split_whitespace().map(str::to_ascii_uppercase).collect(),
                "SIZE" => {
                    found.size = true;
                    found.size_bytes_max = argument.trim().parse().ok().filter(|&size| size > 0);
                }
                _ => {}
            }
        }
        found
    }
}

/// One transaction's envelope, as the client needs it.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// MAIL FROM.
    pub reverse_path: &'a ReversePath,
    /// RCPT TO; not empty.
    pub recipients: &'a [Address],
}

/// What the peer said about one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The reply to each recipient, in order. When MAIL was refused, its reply stands for each of them.
    pub recipients: Vec<(Address, Reply)>,
    /// The reply that decided about the accepted recipients: a refusal of DATA, or the reply after the final dot.
    /// `None` when no recipient was accepted.
    pub data: Option<Reply>,
}

/// The replies of one transaction as they come.
#[derive(Default)]
pub(super) struct Said {
    mail: Option<Reply>,
    pub(super) recipients: Vec<Reply>,
    pub(super) data: Option<Reply>,
}

impl Said {
    pub(super) fn hear(&mut self, phase: Phase, reply: Reply) -> Result<(), ClientError> {
        match phase {
            Phase::Mail => self.mail = Some(reply),
            Phase::Rcpt => self.recipients.push(reply),
            Phase::DataStart => self.data = Some(reply),
            phase => return expect_completion(phase, reply),
        }
        Ok(())
    }

    pub(super) fn is_mail_refused(&self) -> bool {
        self.mail.as_ref().is_some_and(|reply| !reply.is_completion())
    }

    pub(super) fn is_anyone_accepted(&self) -> bool {
        !self.is_mail_refused() && self.recipients.iter().any(Reply::is_completion)
    }

    /// Whether the rest of the commands can only be refused.
    pub(super) fn is_hopeless(&self, next: &[(Phase, String)]) -> bool {
        let is_data_next = next.first().is_some_and(|(phase, _)| *phase == Phase::DataStart);
        self.is_mail_refused() || (is_data_next && !self.is_anyone_accepted())
    }

    pub(super) fn outcome(self, mail: &Mail<'_>, data: Option<Reply>) -> Outcome {
        let refusal = self.mail.filter(|reply| !reply.is_completion());
        let recipients = match refusal {
            Some(refusal) => mail.recipients.iter().map(|to| (to.clone(), refusal.clone())).collect(),
            None => mail.recipients.iter().cloned().zip(self.recipients).collect(),
        };
        Outcome { recipients, data }
    }
}
