//! One try: a job over a connection, and what became of each of its deliveries.

use std::time::Duration;

use bytes::Bytes;
use model::{Address, Reply, ReplyClass};
use rustls::pki_types::ServerName;
use smtp::client::{Client, ClientConfig, ClientError, Mail, Outcome, Phase, TlsMode};

use crate::desk::{Claimed, Job};
use crate::{AgentConfig, FailureClass, RouteFailure, Target};

/// For the whole of one transaction, whatever its phases allow one by one.
const TRANSACTION_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A connection and whom it leads to.
pub(crate) struct Connection {
    client: Client,
    pub(crate) target: Target,
    pub(crate) mail_count: u32,
}

/// What became of one delivery.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// A reply decided: accepted, refused for now, or for good.
    Reply(Reply),
    /// No reply; it will be tried again.
    Failed { class: FailureClass, cause: String },
}

/// A delivery with its fate and the evidence.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) delivery: Claimed,
    pub(crate) fate: Fate,
    /// Host name and address, empty when none was reached.
    pub(crate) host: String,
    pub(crate) is_encrypted: bool,
    /// The host speaks DSN (RFC 3461), so it tells the sender what becomes of it.
    pub(crate) peer_has_dsn: bool,
}

/// Why no connection came about.
pub(crate) struct NoConnection {
    pub(crate) fate: Fate,
    pub(crate) host: String,
}

/// Connects to the first target that talks to us.
///
/// A greeting of 5yz counts as "not now": it speaks about the host, not about the mail, and the next host or hour may
/// differ.
pub(crate) async fn connect(config: &AgentConfig, targets: &[Target]) -> Result<Connection, NoConnection> {
    let mut last = NoConnection {
        fate: Fate::Failed { class: FailureClass::Connect, cause: "no address to connect to".into() },
        host: String::new(),
    };
    for target in targets {
        match connect_one(config, target).await {
            Ok(client) => return Ok(Connection { client, target: target.clone(), mail_count: 0 }),
            Err(error) => {
                let cause = format!("{} [{}]: {error}", target.host, target.addr);
                last = NoConnection {
                    fate: Fate::Failed { class: FailureClass::Connect, cause },
                    host: target.to_string(),
                };
            }
        }
    }
    Err(last)
}

async fn connect_one(config: &AgentConfig, target: &Target) -> Result<Client, ClientError> {
    let mut client = ClientConfig::new(config.hostname.clone());
    client.timeouts = config.timeouts;
    let name =
        ServerName::try_from(target.host.clone()).unwrap_or_else(|_| ServerName::IpAddress(target.addr.ip().into()));
    let Some(tls) = &config.tls else { return Client::connect(target.addr, client).await };
    let with_tls =
        ClientConfig { tls: TlsMode::Opportunistic { config: tls.clone(), server_name: name }, ..client.clone() };
    match Client::connect(target.addr, with_tls).await {
        // RFC 7435: encryption where it works, clear text rather than no mail where it does not.
        Err(ClientError::Tls(_) | ClientError::Timeout { phase: Phase::StartTls }) => {
            Client::connect(target.addr, client).await
        }
        done => done,
    }
}

/// What a route without targets means for its deliveries.
pub(crate) fn no_route(failure: &RouteFailure) -> NoConnection {
    let fate = if failure.is_transient() {
        Fate::Failed { class: FailureClass::Dns, cause: failure.to_string() }
    } else {
        Fate::Reply(Reply::permanent(550, failure.enhanced(), failure.to_string()))
    };
    NoConnection { fate, host: String::new() }
}

/// The same fate for every delivery of a job.
pub(crate) fn all(deliveries: Vec<Claimed>, fate: &Fate, host: &str) -> Vec<Tried> {
    let tried = |delivery| Tried {
        delivery,
        fate: fate.clone(),
        host: host.to_owned(),
        is_encrypted: false,
        peer_has_dsn: false,
    };
    deliveries.into_iter().map(tried).collect()
}

impl Connection {
    /// Sends one job. The second value tells whether the connection can be used again.
    ///
    /// # Errors
    /// The job comes back when the connection turned out to be closed before the host took anything of it.
    pub(crate) async fn send(&mut self, job: Job, body: &Bytes) -> Result<(Vec<Tried>, bool), (Job, ClientError)> {
        let is_reused = self.mail_count > 0;
        self.mail_count += 1;
        let (mut good, bad): (Vec<Claimed>, Vec<Claimed>) =
            job.deliveries.into_iter().partition(|d| d.recipient.is_some());
        let no_address = Fate::Reply(Reply::permanent(501, (1, 3), "the recipient is no valid address"));
        let mut tried = all(bad, &no_address, "");
        let recipients: Vec<Address> = good.iter().filter_map(|d| d.recipient.clone()).collect();
        if recipients.is_empty() {
            return Ok((tried, true));
        }
        let mail = Mail { reverse_path: &job.reverse_path, recipients: &recipients };
        let sending = tokio::time::timeout(TRANSACTION_DEADLINE, self.client.send(&mail, body)).await;
        let host = self.target.to_string();
        let is_encrypted = self.client.tls().is_some();
        let peer_has_dsn = self.client.capabilities().dsn;
        let sent = sending.unwrap_or_else(|_| {
            Err(ClientError::UnclearEnd { cause: "the transaction took longer than half an hour".into() })
        });
        match sent {
            Ok(outcome) => {
                let fates = fates(&outcome, good.len());
                let with = |(delivery, fate)| Tried { delivery, fate, host: host.clone(), is_encrypted, peer_has_dsn };
                tried.extend(good.into_iter().zip(fates).map(with));
                Ok((tried, self.client.is_usable()))
            }
            Err(error) if is_reused && is_stale(&error) => {
                good.extend(tried.into_iter().map(|t| t.delivery));
                Err((Job { deliveries: good, ..job }, error))
            }
            Err(error) => {
                let is_usable = error.is_before_sending() && self.client.is_usable();
                tried.extend(good.into_iter().map(|delivery| Tried {
                    delivery,
                    fate: fate_of_error(&error),
                    host: host.clone(),
                    is_encrypted,
                    peer_has_dsn,
                }));
                Ok((tried, is_usable))
            }
        }
    }

    pub(crate) async fn quit(self) {
        self.client.quit().await;
    }
}

/// A host may close a connection that idles, or after as many mails as it likes: no fault of this mail.
fn is_stale(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset | Phase::Rcpt),
        ClientError::Closed { phase, .. } => matches!(phase, Phase::Mail | Phase::Reset),
        ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::UnclearEnd { .. }
        | ClientError::Protocol { .. }
        | ClientError::Tls(_)
        | ClientError::TlsUnavailable
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::RequireTlsUnavailable
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}

/// A recipient's own refusal decides about it; what DATA was answered decides about the accepted ones.
fn fates(outcome: &Outcome, count: usize) -> Vec<Fate> {
    let silent = || Fate::Failed { class: FailureClass::Transient, cause: "no reply for this recipient".into() };
    let mut fates: Vec<Fate> = outcome
        .recipients
        .iter()
        .map(|(_, reply)| match (&outcome.data, reply.is_completion()) {
            (Some(data), true) => Fate::Reply(data.clone()),
            (None, true) => silent(),
            (_, false) => Fate::Reply(reply.clone()),
        })
        .collect();
    fates.resize_with(count, silent);
    fates
}

fn fate_of_error(error: &ClientError) -> Fate {
    let cause = error.to_string();
    match error {
        ClientError::UnclearEnd { .. } => Fate::Failed { class: FailureClass::Unclear, cause },
        ClientError::EightBitRefused => Fate::Reply(Reply::permanent(554, (6, 3), cause)),
        ClientError::Utf8Refused => Fate::Reply(Reply::permanent(553, (6, 7), cause)),
        // RFC 8689 5: X.7.30, REQUIRETLS support required.
        ClientError::RequireTlsUnavailable => Fate::Reply(Reply::permanent(550, (7, 30), cause)),
        ClientError::Closed { reply, .. } if reply.class() == ReplyClass::Transient => Fate::Reply(reply.clone()),
        ClientError::Closed { .. }
        | ClientError::Connect(_)
        | ClientError::Timeout { .. }
        | ClientError::Lost { .. }
        | ClientError::Protocol { .. }
        | ClientError::Tls(_)
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::TlsUnavailable => Fate::Failed { class: FailureClass::Connect, cause },
    }
}

/// `mx.example.org [192.0.2.1]:25`, as evidence.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]:{}", self.host, self.addr.ip(), self.addr.port())
    }
}
