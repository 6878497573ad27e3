//! The resolver: one question at a time per name, a cap on questions in flight, a deadline on each.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use crate::DnsError;

/// Bounds of a resolver. [`ResolverLimits::default`] is what production uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverLimits {
    /// Questions in flight at once; more wait for their turn within their deadline.
    pub in_flight_max: usize,
    /// The longest a caller waits for one answer, waiting for a turn included, in milliseconds.
    pub deadline_ms: u64,
    /// How long one try at one name server takes, in milliseconds.
    pub try_ms: u64,
    /// Tries per question.
    pub tries_max: usize,
    /// Answers (also negative ones) kept in the cache.
    pub cache_entries_max: u64,
    /// Records of one answer that are looked at.
    pub records_max: usize,
}

impl Default for ResolverLimits {
    fn default() -> Self {
        ResolverLimits {
            in_flight_max: 256,
            deadline_ms: 8_000,
            try_ms: 2_500,
            tries_max: 2,
            cache_entries_max: 20_000,
            records_max: 64,
        }
    }
}

/// The longest text that is taken for a name (RFC 1035 2.3.4 allows 255 octets on the wire).
const NAME_BYTES_MAX: usize = 255;
/// Shortest time a negative answer stays in the cache, so that a missing name is not asked for with every mail.
const NEGATIVE_TTL_MIN: Duration = Duration::from_secs(5);
/// Longest time a negative answer stays in the cache.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(300);

/// How long an answer is given again without asking the cache behind, which parses, hashes and clones a name each time. No
/// longer than the answer's own life.
const RECENT_MAX: Duration = Duration::from_secs(1);
/// Names whose recent answers are kept.
const RECENT_NAMES_MAX: usize = 4_096;

type Records = Result<Arc<[RData]>, DnsError>;
/// Records, and until when they may be given again.
type Answer = Result<(Arc<[RData]>, Instant), DnsError>;
type Flight = Shared<BoxFuture<'static, Answer>>;

/// Answers of the last moment, by the name as it was asked.
#[derive(Default)]
struct Recent {
    names: HashMap<Box<str>, Vec<(RecordType, Instant, Records)>>,
}

impl Recent {
    fn get(&self, text: &str, kind: RecordType) -> Option<Records> {
        let now = Instant::now();
        let of_name = self.names.get(text)?;
        let (_, _, records) = of_name.iter().find(|(of, until, _)| *of == kind && *until > now)?;
        Some(records.clone())
    }

    fn keep(&mut self, text: &str, kind: RecordType, records: Records, valid_until: Instant) {
        if self.names.len() >= RECENT_NAMES_MAX && !self.names.contains_key(text) {
            self.names.clear();
        }
        let until = valid_until.min(Instant::now() + RECENT_MAX);
        let of_name = self.names.entry(text.into()).or_default();
        of_name.retain(|(of, _, _)| *of != kind);
        of_name.push((kind, until, records));
    }
}

impl Inner {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks names up. Cheap to clone: clones share cache, cap and questions in flight.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Inner>,
}

struct Inner {
    resolver: Option<TokioResolver>,
    limits: ResolverLimits,
    turns: Arc<Semaphore>,
    flights: Mutex<HashMap<(Name, RecordType), Flight>>,
    recent: Mutex<Recent>,
    /// The servers that are asked, in order.
    servers: Vec<SocketAddr>,
    /// Whether their AD bit is believed.
    trusts_ad: bool,
}

impl Resolver {
    /// A resolver on the name servers that the machine is configured for.
    ///
    /// # Errors
    /// [`DnsError::Setup`] when that configuration cannot be read.
    pub fn system() -> Result<Self, DnsError> {
        let (config, mut options) = read_system_conf().map_err(setup)?;
        let limits = ResolverLimits::default();
        bound(&mut options, &limits);
        Self::build(config, options, limits)
    }

    /// A resolver on one name server, by UDP and TCP. The machine's hosts file is not consulted.
    ///
    /// # Errors
    /// [`DnsError::Setup`] when the resolver cannot be built.
    pub fn at(server: SocketAddr) -> Result<Self, DnsError> {
        Self::at_with(server, ResolverLimits::default())
    }

    /// As [`Resolver::at`], with other limits.
    ///
    /// # Errors
    /// [`DnsError::Setup`] when the resolver cannot be built.
    pub fn at_with(server: SocketAddr, limits: ResolverLimits) -> Result<Self, DnsError> {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        udp.port = server.port();
        tcp.port = server.port();
        let name_server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        bound(&mut options, &limits);
        Self::build(ResolverConfig::from_parts(None, Vec::new(), vec![name_server]), options, limits)
    }

    /// A resolver without a network: every name is [`DnsError::NotFound`], at once.
    pub fn none() -> Self {
        Self::with(None, ResolverLimits::default(), Vec::new())
    }

    /// The same resolver whose AD bit is believed: say so only of a validating resolver on this machine, or one that
    /// nobody else can stand in front of. It shares nothing with the one it was made from.
    #[must_use]
    pub fn trusting_ad(self) -> Self {
        let (resolver, limits, servers) =
            (self.shared.resolver.clone(), self.shared.limits, self.shared.servers.clone());
        let mut trusting = Self::with(resolver, limits, servers);
        if let Some(inner) = Arc::get_mut(&mut trusting.shared) {
            inner.trusts_ad = true;
        }
        trusting
    }

    /// Servers whose AD bit is believed; empty when none is.
    pub(crate) fn trusted(&self) -> &[SocketAddr] {
        if self.shared.trusts_ad { &self.shared.servers } else { &[] }
    }

    pub(crate) fn limits(&self) -> &ResolverLimits {
        &self.shared.limits
    }

    fn build(config: ResolverConfig, options: ResolverOpts, limits: ResolverLimits) -> Result<Self, DnsError> {
        let port_of = |server: &NameServerConfig| server.connections.first().map_or(53, |connection| connection.port);
        let servers = config.name_servers().iter().map(|s| SocketAddr::new(s.ip, port_of(s))).collect();
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .with_tls_config(unused_tls()?)
            .build()
            .map_err(setup)?;
        Ok(Self::with(Some(resolver), limits, servers))
    }

    fn with(resolver: Option<TokioResolver>, limits: ResolverLimits, servers: Vec<SocketAddr>) -> Self {
        let turns = Arc::new(Semaphore::new(limits.in_flight_max.max(1)));
        let (flights, recent) = (Mutex::default(), Mutex::default());
        Resolver { shared: Arc::new(Inner { resolver, limits, turns, flights, recent, servers, trusts_ad: false }) }
    }

    /// The library's resolver, for a library that wants exactly that; `None` when there is no network.
    /// Its questions share the cache, but not the cap and not the deadline: the caller sets its own.
    pub fn tokio(&self) -> Option<&TokioResolver> {
        self.shared.resolver.as_ref()
    }

    /// The mail exchangers of `domain` as (preference, host in lower case without a trailing dot), best first.
    /// A "null MX" (RFC 7505) is the single entry `(0, "")`.
    ///
    /// # Errors
    /// [`DnsError`]; `NotFound` also when the domain exists without MX (RFC 5321 5.1 then asks for its addresses).
    pub async fn mx(&self, domain: &str) -> Result<Vec<(u16, String)>, DnsError> {
        let records = self.lookup(domain, RecordType::MX).await?;
        let mut hosts: Vec<(u16, String)> = self
            .bounded(&records)
            .filter_map(|data| match data {
                RData::MX(mx) => Some((mx.preference, host_text(&mx.exchange))),
                _ => None,
            })
            .collect();
        hosts.sort();
        if hosts.is_empty() { Err(not_found(domain)) } else { Ok(hosts) }
    }

    /// The addresses of `host`: IPv4, then IPv6. An address literal answers itself without a question.
    ///
    /// # Errors
    /// [`DnsError`]; `NotFound` only when neither family has an address, `Transient` when none is known and at least
    /// one of the two questions could not be answered.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![ip]);
        }
        let (v4, v6) = futures::join!(self.lookup(host, RecordType::A), self.lookup(host, RecordType::AAAA));
        let mut found = Vec::new();
        let mut trouble = None;
        for answer in [v4, v6] {
            match answer {
                Ok(records) => found.extend(self.bounded(&records).filter_map(|data| match data {
                    RData::A(a) => Some(IpAddr::V4(a.0)),
                    RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                    _ => None,
                })),
                Err(error) if error.is_not_found() => {}
                Err(error) => trouble = Some(error),
            }
        }
        if found.is_empty() { Err(trouble.unwrap_or_else(|| not_found(host))) } else { Ok(found) }
    }

    /// The TXT records of `name`, each with its strings joined (RFC 7208 3.3).
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let records = self.lookup(name, RecordType::TXT).await?;
        let texts: Vec<String> = self
            .bounded(&records)
            .filter_map(|data| match data {
                RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
                _ => None,
            })
            .collect();
        some(name, texts)
    }

    /// The IPv4 addresses of `name`. Unlike [`Resolver::addresses`] an address literal is no name here.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, DnsError> {
        let records = self.lookup(name, RecordType::A).await?;
        let found = self.bounded(&records).filter_map(|data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        });
        some(name, found.collect())
    }

    /// The IPv6 addresses of `name`.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, DnsError> {
        let records = self.lookup(name, RecordType::AAAA).await?;
        let found = self.bounded(&records).filter_map(|data| match data {
            RData::AAAA(aaaa) => Some(aaaa.0),
            _ => None,
        });
        some(name, found.collect())
    }

    /// The names that the owner of `ip` gave it (PTR), in lower case without a trailing dot. They are claims: whoever
    /// wants to believe one asks for its addresses.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        let name = reverse_name(ip);
        let records = self.lookup(&name, RecordType::PTR).await?;
        let found = self.bounded(&records).filter_map(|data| match data {
            RData::PTR(ptr) => Some(host_text(&ptr.0)),
            _ => None,
        });
        some(&name, found.collect())
    }

    fn bounded<'r>(&self, records: &'r [RData]) -> impl Iterator<Item = &'r RData> {
        records.iter().take(self.shared.limits.records_max)
    }

    /// What was answered a moment ago, or an answer of now.
    async fn lookup(&self, text: &str, kind: RecordType) -> Records {
        if let Some(known) = self.shared.recent().get(text, kind) {
            return known;
        }
        let answer = self.ask_or_join(text, kind).await;
        let valid_until = match &answer {
            Ok((_, valid_until)) => *valid_until,
            Err(error) if error.is_not_found() => Instant::now() + RECENT_MAX,
            // Trouble passes: the next one asks again.
            Err(_) => return answer.map(|(records, _)| records),
        };
        let records = answer.map(|(records, _)| records);
        self.shared.recent().keep(text, kind, records.clone(), valid_until);
        records
    }

    /// Asks, or joins the same question already in flight. The deadline is the caller's own: one that joined late
    /// still waits as long as one that asked first.
    async fn ask_or_join(&self, text: &str, kind: RecordType) -> Answer {
        let name = parse_name(text)?;
        let Some(resolver) = self.shared.resolver.clone() else {
            return Err(not_found(text));
        };
        let key = (name.clone(), kind);
        let flight = {
            let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(flight) = flights.get(&key) {
                flight.clone()
            } else {
                let turns = Arc::clone(&self.shared.turns);
                let deadline = Duration::from_millis(self.shared.limits.deadline_ms);
                let flight = ask(resolver, turns, name, kind, deadline).boxed().shared();
                flights.insert(key.clone(), flight.clone());
                flight
            }
        };
        // Whoever leaves (also by being dropped) takes the question off the table once it is answered or abandoned.
        let guard = Leave { inner: &self.shared, key: &key, flight: flight.clone() };
        let answer = flight.await;
        drop(guard);
        answer
    }
}

struct Leave<'a> {
    inner: &'a Inner,
    key: &'a (Name, RecordType),
    flight: Flight,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = flights.get(self.key).is_some_and(|f| f.ptr_eq(&self.flight));
        // Two clones are left when nobody else waits: the table's and this guard's (the awaited one is gone).
        let last = self.flight.strong_count().is_none_or(|count| count <= 2);
        if ours && (self.flight.peek().is_some() || last) {
            flights.remove(self.key);
        }
    }
}

/// One question, within its deadline.
async fn ask(
    resolver: TokioResolver,
    turns: Arc<Semaphore>,
    name: Name,
    kind: RecordType,
    deadline: Duration,
) -> Answer {
    let text = host_text(&name);
    let question = async {
        let _turn = turns.acquire().await.expect("the semaphore is never closed");
        resolver.lookup(name, kind).await
    };
    match tokio::time::timeout(deadline, question).await {
        Ok(Ok(lookup)) => {
            let records = lookup.answers().iter().map(|record| record.data.clone()).collect();
            Ok((records, lookup.valid_until()))
        }
        Ok(Err(error)) => Err(translate(text, &error)),
        Err(_elapsed) => Err(DnsError::Transient { name: text, cause: "over the deadline".into() }),
    }
}

fn translate(name: String, error: &NetError) -> DnsError {
    if error.is_no_records_found() {
        DnsError::NotFound { name }
    } else {
        DnsError::Transient { name, cause: error.to_string() }
    }
}

fn bound(options: &mut ResolverOpts, limits: &ResolverLimits) {
    options.timeout = Duration::from_millis(limits.try_ms);
    options.attempts = limits.tries_max;
    options.cache_size = limits.cache_entries_max;
    options.max_active_requests = limits.in_flight_max.max(1);
    options.negative_min_ttl = Some(NEGATIVE_TTL_MIN);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// Every name that mail asks for is absolute: search domains never apply.
pub(crate) fn parse_name(text: &str) -> Result<Name, DnsError> {
    let invalid = || DnsError::InvalidName { name: text.chars().take(NAME_BYTES_MAX).collect() };
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(invalid());
    }
    let plain = text.strip_suffix('.').unwrap_or(text);
    // Octets are octets (RFC 2181 11): no sign in a name escapes another one.
    let name = match plain.is_ascii() {
        true if plain.split('.').any(str::is_empty) => return Err(invalid()),
        true => Name::from_labels(plain.split('.').map(str::as_bytes)),
        false => Name::from_str_relaxed(plain),
    };
    let mut name = name.map_err(|_| invalid())?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

/// The name under which an address is looked up backwards (RFC 1035 3.5, RFC 3596 2.5).
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

fn some<T>(name: &str, found: Vec<T>) -> Result<Vec<T>, DnsError> {
    if found.is_empty() { Err(not_found(name)) } else { Ok(found) }
}

/// Octets that print stand for themselves, so that what was answered can be asked again; others are escaped.
pub(crate) fn host_text(name: &Name) -> String {
    let prints = |label: &[u8]| label.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'.' | b'\\'));
    if name.iter().all(prints) {
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        return labels.join(".");
    }
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

pub(crate) fn not_found(name: &str) -> DnsError {
    DnsError::NotFound { name: name.to_owned() }
}

/// Names are asked for by UDP and TCP alone. Without this the library loads the machine's certificates for TLS that is
/// never spoken, and refuses to start on a machine that has none.
fn unused_tls() -> Result<ClientConfig, DnsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| DnsError::Setup { cause: error.to_string() })?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn setup(error: NetError) -> DnsError {
    DnsError::Setup { cause: error.to_string() }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("network", &self.shared.resolver.is_some())
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ZoneServer;

    const ZONE: &str = "\
        ; a comment\n\
        contoso.example.        MX   20 backup.contoso.example.\n\
        contoso.example.        MX   10 MX.contoso.example.\n\
        mx.contoso.example.     A    127.0.0.1\n\
        mx.contoso.example.     AAAA ::1\n\
        alias.contoso.example.  CNAME mx.contoso.example.\n\
        contoso.example.        TXT  \"v=spf1 ip4:127.0.0.1\" \" -all\"\n\
        nomail.example.         MX   0 .\n";

    async fn loopback() -> (ZoneServer, Resolver) {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let resolver = Resolver::at(server.addr()).unwrap();
        (server, resolver)
    }

    #[tokio::test]
    async fn answers_come_sorted_lowered_and_joined() {
        let (_server, resolver) = loopback().await;
        assert_eq!(
            resolver.mx("Contoso.Example").await.unwrap(),
            [(10, "mx.contoso.example".to_owned()), (20, "backup.contoso.example".to_owned())]
        );
        assert_eq!(resolver.mx("nomail.example").await.unwrap(), [(0, String::new())]);
        assert_eq!(resolver.txt("contoso.example").await.unwrap(), ["v=spf1 ip4:127.0.0.1 -all"]);
        let both: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(resolver.addresses("mx.contoso.example").await.unwrap(), both);
        assert_eq!(resolver.addresses("alias.contoso.example.").await.unwrap(), both);
        assert_eq!(resolver.addresses("[192.0.2.7]").await.unwrap(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn addresses_have_names_backwards() {
        let check = |ip: &str, name: &str| assert_eq!(reverse_name(ip.parse().unwrap()), name);
        check("192.0.2.7", "7.2.0.192.in-addr.arpa");
        let zeros = "0.".repeat(20);
        check("2001:db8::1:f2", &format!("2.f.0.0.1.0.0.0.{}8.b.d.0.1.0.0.2.ip6.arpa", &zeros[..32]));
    }

    #[tokio::test]
    async fn what_does_not_exist_is_a_fact_and_an_absent_server_is_not() {
        let (server, resolver) = loopback().await;
        for name in ["missing.example", "mx.contoso.example"] {
            assert!(resolver.mx(name).await.unwrap_err().is_not_found(), "{name}");
        }
        assert!(matches!(resolver.txt("a..b").await, Err(DnsError::InvalidName { .. })));
        assert!(matches!(resolver.txt("").await, Err(DnsError::InvalidName { .. })));
        let addr = server.addr();
        drop(server);
        let limits = ResolverLimits { try_ms: 50, tries_max: 1, deadline_ms: 400, ..ResolverLimits::default() };
        let error = Resolver::at_with(addr, limits).unwrap().txt("contoso.example").await.unwrap_err();
        assert_eq!(error.severity(), crate::Severity::Transient, "{error}");
    }

    #[tokio::test]
    async fn without_a_network_nothing_exists() {
        let resolver = Resolver::none();
        assert!(resolver.tokio().is_none());
        assert!(resolver.mx("contoso.example").await.unwrap_err().is_not_found());
        assert!(resolver.addresses("contoso.example").await.unwrap_err().is_not_found());
    }

    #[test]
    fn a_recent_answer_is_given_again_while_it_lives() {
        let mut recent = Recent::default();
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(300));
        let nothing: Records = Ok(Arc::new([]));
        recent.keep("contoso.example", RecordType::TXT, nothing.clone(), later);
        assert!(recent.get("contoso.example", RecordType::TXT).is_some());
        assert!(recent.get("contoso.example", RecordType::MX).is_none(), "another question");
        assert!(recent.get("Contoso.example", RecordType::TXT).is_none(), "that one goes the long way");
        let (_, until, _) = &recent.names["contoso.example"][0];
        assert!(*until <= Instant::now() + RECENT_MAX, "however long its own life is");
        recent.keep("contoso.example", RecordType::TXT, nothing.clone(), now);
        assert!(recent.get("contoso.example", RecordType::TXT).is_none(), "it has died");
        for n in 0..=RECENT_NAMES_MAX {
            recent.keep(&format!("{n}.example"), RecordType::A, nothing.clone(), later);
        }
        assert!(recent.names.len() <= RECENT_NAMES_MAX, "bounded");
    }

    #[tokio::test]
    async fn a_thousand_askers_are_one_question() {
        let (server, resolver) = loopback().await;
        let asks = (0..1_000).map(|_| resolver.txt("contoso.example"));
        let answers = futures::future::join_all(asks).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(server.query_count(), 1);
        resolver.txt("contoso.example").await.unwrap();
        assert_eq!(server.query_count(), 1, "the cache answers the next one");
        for _ in 0..3 {
            resolver.txt("missing.example").await.unwrap_err();
        }
        assert_eq!(server.query_count(), 2, "a missing name is remembered as well");
        assert!(resolver.shared.flights.lock().unwrap().is_empty(), "nothing stays on the table");
    }
}
