//! Answers with the word of a trusted resolver that DNSSEC holds for them: the AD bit (RFC 4035 3.2.3, RFC 6840 5.7).
//!
//! The library's cache does not keep that bit (an alias it follows loses it), so these questions are asked directly: one
//! datagram with AD set, TCP when the answer does not fit, within the resolver's deadline. Who trusts the bit must have a
//! validating resolver on the same machine or behind a path that nobody else reaches (as Postfix demands for DANE):
//! without that trust every answer counts as insecure. Answers are not cached here: who asks remembers what it concluded.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::DnsError;
use crate::resolver::{Resolver, host_text, not_found, parse_name};

/// The largest datagram that is asked for (avoids fragments).
const UDP_BYTES_MAX: u16 = 1_232;
/// Aliases followed within one answer.
const ALIASES_MAX: usize = 8;
/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 64;

/// Values and whether DNSSEC holds for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured<T> {
    /// What was answered.
    pub values: T,
    /// Whether the trusted resolver validated all of it.
    pub is_secure: bool,
}

/// The addresses of a host, with what RFC 7672 2.2.2 and 2.2.3 need of its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddresses {
    /// IPv4, then IPv6.
    pub ips: Vec<IpAddr>,
    /// The name that the addresses belong to, after aliases; the host itself when it is no alias.
    pub canonical: String,
}

/// One TLSA record (RFC 6698 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tlsa {
    /// Certificate usage: 2 a trust anchor, 3 the host's own; 0 and 1 are unusable for SMTP (RFC 7672 3.1.3).
    pub usage: u8,
    /// Selector: 0 the certificate, 1 its public key.
    pub selector: u8,
    /// Matching type: 0 the bytes themselves, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// What to match.
    pub data: Vec<u8>,
}

impl Resolver {
    /// Whether this resolver's AD bit is trusted, that is whether any answer can be secure.
    pub fn trusts_ad(&self) -> bool {
        !self.trusted().is_empty()
    }

    /// As [`Resolver::mx`], with the security of the answer. RFC 7505's null MX is `(0, "")`.
    ///
    /// # Errors
    /// [`DnsError`]; `NotFound` when there is no MX, whatever its security.
    pub async fn mx_secured(&self, domain: &str) -> Result<Secured<Vec<(u16, String)>>, DnsError> {
        let answer = self.ask_trusted(domain, RecordType::MX).await?;
        let mut hosts: Vec<(u16, String)> = answer
            .data
            .iter()
            .filter_map(|data| match data {
                RData::MX(mx) => Some((mx.preference, host_text(&mx.exchange))),
                _ => None,
            })
            .collect();
        hosts.sort();
        if hosts.is_empty() {
            Err(not_found(domain))
        } else {
            Ok(Secured { values: hosts, is_secure: answer.is_secure })
        }
    }

    /// As [`Resolver::addresses`], with the security of the answers (both families) and the name behind aliases.
    ///
    /// # Errors
    /// [`DnsError`], as [`Resolver::addresses`].
    pub async fn addresses_secured(&self, host: &str) -> Result<Secured<HostAddresses>, DnsError> {
        let (v4, v6) = futures::join!(self.ask_trusted(host, RecordType::A), self.ask_trusted(host, RecordType::AAAA));
        let mut found = HostAddresses { ips: Vec::new(), canonical: host.to_lowercase() };
        let (mut is_secure, mut trouble) = (true, None);
        for answer in [v4, v6] {
            match answer {
                Ok(answer) => {
                    is_secure &= answer.is_secure;
                    let before = found.ips.len();
                    found.ips.extend(answer.data.iter().filter_map(|data| match data {
                        RData::A(a) => Some(IpAddr::V4(a.0)),
                        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                        _ => None,
                    }));
                    if found.ips.len() > before {
                        found.canonical = answer.name;
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        match (found.ips.is_empty(), trouble) {
            (false, _) => Ok(Secured { values: found, is_secure }),
            (true, Some(trouble)) => Err(trouble),
            (true, None) => Err(not_found(host)),
        }
    }

    /// Whether `name` is an alias whose own record is secure, wherever it leads (RFC 7672 2.2.2).
    pub async fn is_alias_secure(&self, name: &str) -> bool {
        let answer = self.ask_trusted(name, RecordType::CNAME).await;
        answer.is_ok_and(|answer| answer.is_secure && answer.name != name.to_lowercase())
    }

    /// The TLSA records for `host` at a TCP port: `_25._tcp.HOST`.
    ///
    /// # Errors
    /// [`DnsError`]; `NotFound` says that there are none. `Transient` must not be read as "none" (RFC 7672 2.1.1).
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Secured<Vec<Tlsa>>, DnsError> {
        let name = format!("_{port}._tcp.{host}");
        let answer = self.ask_trusted(&name, RecordType::TLSA).await?;
        let mut records: Vec<Tlsa> = answer
            .data
            .iter()
            .filter_map(|data| match data {
                RData::TLSA(tlsa) => Some(Tlsa {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    data: tlsa.cert_data.clone(),
                }),
                _ => None,
            })
            .collect();
        records.sort();
        let is_secure = answer.is_secure;
        if records.is_empty() { Err(not_found(&name)) } else { Ok(Secured { values: records, is_secure }) }
    }

    /// Asks the trusted servers in order, each within the time of one try.
    async fn ask_trusted(&self, text: &str, kind: RecordType) -> Result<Answer, DnsError> {
        let name = parse_name(text)?;
        let transient = |cause: String| DnsError::Transient { name: text.to_owned(), cause };
        let mut last = transient("no resolver is trusted".into());
        for server in self.trusted() {
            let wait = Duration::from_millis(self.limits().try_ms);
            match tokio::time::timeout(wait, exchange(*server, &name, kind)).await {
                Ok(Ok(message)) => match message.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(Answer::of(&message, &name, kind)),
                    code => last = transient(format!("{server} answered {code}")),
                },
                Ok(Err(error)) => last = transient(format!("{server}: {error}")),
                Err(_elapsed) => last = transient(format!("{server} did not answer in time")),
            }
        }
        Err(last)
    }
}

/// The records of one type at the end of the aliases of an answer.
struct Answer {
    data: Vec<RData>,
    name: String,
    is_secure: bool,
}

impl Answer {
    fn of(message: &Message, asked: &Name, kind: RecordType) -> Answer {
        let records = || message.answers.iter().take(RECORDS_MAX);
        let same = |a: &Name, b: &Name| a.to_lowercase() == b.to_lowercase();
        let mut name = asked.clone();
        for _ in 0..ALIASES_MAX {
            let alias = records().find_map(|record| match &record.data {
                RData::CNAME(target) if same(&record.name, &name) => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else { break };
            name = target;
        }
        let data =
            records().filter(|r| same(&r.name, &name) && r.record_type() == kind).map(|r| r.data.clone()).collect();
        Answer { data, name: host_text(&name), is_secure: message.metadata.authentic_data }
    }
}

/// One question by UDP, by TCP when the answer is truncated.
async fn exchange(server: SocketAddr, name: &Name, kind: RecordType) -> std::io::Result<Message> {
    let id: u16 = random_id()?;
    let mut request = Message::query();
    request.metadata.id = id;
    request.metadata.recursion_desired = true;
    // RFC 6840 5.7: asks for the AD bit without the signatures.
    request.metadata.authentic_data = true;
    request.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    request.set_edns(edns);
    let bytes = request.to_vec().map_err(std::io::Error::other)?;
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; usize::from(UDP_BYTES_MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A datagram that is not the answer to this question is nobody's answer.
        let Some(message) = answer_to(&buffer[..length], id, name, kind) else { continue };
        if !message.metadata.truncation {
            return Ok(message);
        }
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        let mut whole = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut whole).await?;
        let wrong = || std::io::Error::other("the answer by TCP is not to this question");
        return answer_to(&whole, id, name, kind).ok_or_else(wrong);
    }
}

fn answer_to(bytes: &[u8], id: u16, name: &Name, kind: RecordType) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let is_ours = message.metadata.id == id
        && matches!(&message.queries[..], [q] if q.query_type() == kind && q.name().to_lowercase() == *name);
    is_ours.then_some(message)
}

/// Unpredictable, so that nobody off the path can answer in the resolver's place.
fn random_id() -> std::io::Result<u16> {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now());
    Ok((bits & 0xFFFF) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ZoneServer;

    const ZONE: &str = "\
        $SECURE signed.example\n\
        $SERVFAIL _25._tcp.broken.signed.example\n\
        signed.example.            MX    10 mx.signed.example.\n\
        mx.signed.example.         A     127.0.0.1\n\
        mx.signed.example.         AAAA  ::1\n\
        _25._tcp.mx.signed.example. TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
        _25._tcp.mx.signed.example. TLSA 2 0 2 00ff\n\
        alias.signed.example.      CNAME mx.signed.example.\n\
        leaves.signed.example.     CNAME mx.plain.example.\n\
        broken.signed.example.     A     127.0.0.1\n\
        plain.example.             MX    10 mx.plain.example.\n\
        mx.plain.example.          A     127.0.0.2\n";

    async fn trusting() -> (ZoneServer, Resolver) {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let resolver = Resolver::at(server.addr()).unwrap().trusting_ad();
        (server, resolver)
    }

    #[tokio::test]
    async fn what_is_signed_is_secure_and_what_leaves_the_signed_part_is_not() {
        let (_server, resolver) = trusting().await;
        assert!(resolver.trusts_ad());
        let mx = resolver.mx_secured("Signed.Example").await.unwrap();
        assert_eq!((mx.values, mx.is_secure), (vec![(10, "mx.signed.example".to_owned())], true));
        assert!(!resolver.mx_secured("plain.example").await.unwrap().is_secure);
        let host = resolver.addresses_secured("alias.signed.example").await.unwrap();
        assert_eq!(
            (host.values.canonical.as_str(), host.values.ips.len(), host.is_secure),
            ("mx.signed.example", 2, true)
        );
        let host = resolver.addresses_secured("leaves.signed.example").await.unwrap();
        assert_eq!((host.values.canonical.as_str(), host.is_secure), ("mx.plain.example", false));
        assert!(resolver.is_alias_secure("leaves.signed.example").await);
        assert!(!resolver.is_alias_secure("mx.signed.example").await);
    }

    #[tokio::test]
    async fn tlsa_records_come_and_a_failure_is_no_absence() {
        let (_server, resolver) = trusting().await;
        let tlsa = resolver.tlsa("mx.signed.example", 25).await.unwrap();
        let kinds: Vec<_> = tlsa.values.iter().map(|t| (t.usage, t.selector, t.matching, t.data.len())).collect();
        assert_eq!((kinds, tlsa.is_secure), (vec![(2, 0, 2, 2), (3, 1, 1, 32)], true));
        assert!(resolver.tlsa("mx.plain.example", 25).await.unwrap_err().is_not_found());
        let error = resolver.tlsa("broken.signed.example", 25).await.unwrap_err();
        assert_eq!(error.severity(), crate::Severity::Transient, "{error}");
    }

    #[tokio::test]
    async fn a_long_answer_comes_by_tcp() {
        let many: String = (0..60).map(|n| format!("_25._tcp.m.example TLSA 3 1 1 {:064x}\n", n)).collect();
        let zone = format!("$SECURE example\n{many}");
        let server = ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let resolver = Resolver::at(server.addr()).unwrap().trusting_ad();
        let tlsa = resolver.tlsa("m.example", 25).await.unwrap();
        assert_eq!((tlsa.values.len(), tlsa.is_secure), (60, true));
    }

    #[tokio::test]
    async fn nobody_is_trusted_unasked() {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let resolver = Resolver::at(server.addr()).unwrap();
        assert!(!resolver.trusts_ad() && !Resolver::none().trusting_ad().trusts_ad());
        assert!(resolver.mx_secured("signed.example").await.is_err());
    }
}
