//! A small authoritative name server on loopback, serving a zone written as text.
//!
//! It exists so that the demonstration and the tests have real SPF, DKIM, DMARC and MX records without asking the
//! world. It never forwards, never listens beyond loopback, and answers garbage with FORMERR or not at all.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NULL, PTR, SOA, TLSA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Records in one zone.
pub const ZONE_ENTRIES_MAX: usize = 100_000;

const TTL_SECONDS: u32 = 300;
const NEGATIVE_TTL_SECONDS: u32 = 60;
/// CNAMEs followed in one answer.
const ALIASES_MAX: usize = 8;
/// RFC 1035 3.3.14: one character-string of a TXT record.
const TXT_STRING_BYTES_MAX: usize = 255;
/// RFC 1035 4.2.1: a datagram to a client that did not say that it takes more.
const UDP_BYTES_MIN: u16 = 512;
/// The largest datagram sent, whatever the client says (avoids fragments).
const UDP_BYTES_MAX: u16 = 1_232;
/// The record type that RFC 7208 3.1 gave up; it is served so that tests can see nobody ask for it.
const TYPE_SPF: u16 = 99;
const TCP_CONNECTIONS_MAX: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Tries to find a port that is free for UDP and TCP alike.
const BIND_TRIES_MAX: usize = 32;

/// A zone text or a server that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A line that is no record.
    #[error("zone line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// More than [`ZONE_ENTRIES_MAX`] records.
    #[error("the zone has more than {ZONE_ENTRIES_MAX} records")]
    TooManyEntries,
    /// The address is not a loopback address.
    #[error("the zone server only listens on loopback, not on {0}")]
    NotLoopback(SocketAddr),
    /// The sockets could not be opened.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Parsed records: one line is `NAME [TTL] [IN] TYPE DATA`, with A, AAAA, MX, TXT, SPF (type 99), CNAME, PTR or TLSA. Names are
/// absolute with or without their last dot. `;` or `#` starts a comment line, `;` also ends a record outside quotes.
/// TXT strings stand in double quotes (`\"`, `\\` and `\DDD` inside); several are one record; a long one is divided.
/// `$SECURE NAME` answers for this name and all below it with the AD bit, as a validating resolver would for a signed
/// zone. `$SERVFAIL NAME`, `$SILENT NAME`, `$TRUNCATED NAME` and
/// `$LIES NAME` say how the server misbehaves when it is asked for a type that it has no record of.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    records: HashMap<Name, Vec<RData>>,
    /// Every name that exists, with the parents that exist only because of a child (RFC 8020).
    names: HashSet<Name>,
    entry_count: usize,
    secure: Vec<Name>,
    faults: HashMap<Name, Fault>,
}

/// How the server misbehaves when it is asked for something of a name that it has no record of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ServFail,
    /// It never answers.
    Silent,
    /// It says that its answer is too long, by TCP as well.
    Truncated,
    /// It answers another question than the one that was asked.
    Lies,
}

impl Zone {
    /// Parses a zone.
    ///
    /// # Errors
    /// [`ZoneError::Line`] names the line; [`ZoneError::TooManyEntries`].
    pub fn parse(text: &str) -> Result<Self, ZoneError> {
        let mut zone = Zone::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if zone.directive(line).map_err(|problem| ZoneError::Line { line: index + 1, problem })? {
                continue;
            }
            let (name, data) = parse_line(line).map_err(|problem| ZoneError::Line { line: index + 1, problem })?;
            zone.insert(name, data)?;
        }
        Ok(zone)
    }

    /// Takes a line that is no record; false when it is one.
    fn directive(&mut self, line: &str) -> Result<bool, String> {
        let Some((word, name)) = line.strip_prefix('$').and_then(|line| line.split_once(char::is_whitespace)) else {
            return Ok(false);
        };
        let name = parse_name(name.trim())?;
        match word {
            "SECURE" => self.secure.push(name),
            "SERVFAIL" => drop(self.faults.insert(name, Fault::ServFail)),
            "SILENT" => drop(self.faults.insert(name, Fault::Silent)),
            "TRUNCATED" => drop(self.faults.insert(name, Fault::Truncated)),
            "LIES" => drop(self.faults.insert(name, Fault::Lies)),
            other => {
                return Err(format!("${other} is not known (SECURE, SERVFAIL, SILENT, TRUNCATED or LIES)"));
            }
        }
        Ok(true)
    }

    fn insert(&mut self, name: Name, data: RData) -> Result<(), ZoneError> {
        self.entry_count += 1;
        if self.entry_count > ZONE_ENTRIES_MAX {
            return Err(ZoneError::TooManyEntries);
        }
        let mut parent = name.clone();
        while !parent.is_root() && self.names.insert(parent.clone()) {
            parent = parent.base_name();
        }
        self.records.entry(name).or_default().push(data);
        Ok(())
    }

    fn is_silent(&self, query: &Query) -> bool {
        let name = absolute(query.name().clone());
        let kind = query.query_type();
        self.faults.get(&name) == Some(&Fault::Silent)
            && !self.records.get(&name).is_some_and(|records| records.iter().any(|data| data.record_type() == kind))
    }

    /// Fills `reply` for one question: the records, after following aliases inside the zone.
    fn answer(&self, query: &Query, reply: &mut Message) {
        let kind = query.query_type();
        let mut name = absolute(query.name().clone());
        let mut exists = false;
        let mut is_secure = true;
        for _ in 0..=ALIASES_MAX {
            is_secure &= self.secure.iter().any(|zone| zone.zone_of(&name));
            exists |= self.names.contains(&name);
            let records = self.records.get(&name).map_or(&[][..], Vec::as_slice);
            let matching = records.iter().filter(|data| kind == RecordType::ANY || data.record_type() == kind);
            reply.add_answers(matching.map(|data| Record::from_rdata(name.clone(), TTL_SECONDS, data.clone())));
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(target) if kind != RecordType::CNAME && kind != RecordType::ANY => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else { break };
            reply.add_answer(Record::from_rdata(name, TTL_SECONDS, RData::CNAME(CNAME(target.clone()))));
            name = absolute(target);
        }
        reply.metadata.authentic_data &= is_secure;
        if reply.answers.is_empty() {
            // The name that is looked for at the end, past its aliases.
            match self.faults.get(&name) {
                Some(Fault::ServFail) => return reply.metadata.response_code = ResponseCode::ServFail,
                Some(Fault::Truncated) => return reply.metadata.truncation = true,
                Some(Fault::Lies) => {
                    let other = Query::query(Name::root(), kind);
                    reply.queries = vec![other];
                    let lie = RData::TXT(TXT::new(vec!["v=spf1 +all".into()]));
                    reply.add_answer(Record::from_rdata(Name::root(), TTL_SECONDS, lie));
                    return;
                }
                Some(Fault::Silent) | None => {}
            }
            reply.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            reply.add_authority(start_of_authority());
        }
    }
}

/// Negative answers are cached by the SOA's minimum (RFC 2308); the root owns ours, being the parent of every name.
fn start_of_authority() -> Record {
    let soa = SOA::new(Name::root(), Name::root(), 1, 3_600, 600, 86_400, NEGATIVE_TTL_SECONDS);
    Record::from_rdata(Name::root(), NEGATIVE_TTL_SECONDS, RData::SOA(soa))
}

fn absolute(name: Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

fn parse_name(text: &str) -> Result<Name, String> {
    let plain = text.strip_suffix('.').unwrap_or(text);
    let name = match plain {
        "" => Ok(Name::root()),
        _ if plain.is_ascii() && plain.split('.').all(|label| !label.is_empty()) => {
            Name::from_labels(plain.split('.').map(str::as_bytes))
        }
        _ => Name::from_str_relaxed(plain),
    };
    name.map(absolute).map_err(|e| format!("{text:?} is no domain name: {e}"))
}

fn parse_line(line: &str) -> Result<(Name, RData), String> {
    let mut fields = split_fields(line)?.into_iter().peekable();
    let name = parse_name(&fields.next().ok_or("a record begins with a name")?)?;
    fields.next_if(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit())); // the TTL is ours
    fields.next_if(|f| f.eq_ignore_ascii_case("IN"));
    let kind =
        fields.next().ok_or("the record type is missing (A, AAAA, MX, TXT, CNAME, PTR or TLSA)")?.to_ascii_uppercase();
    let data: Vec<String> = fields.collect();
    let one = || match data.as_slice() {
        [value] => Ok(value.as_str()),
        _ => Err(format!("{kind} takes one value")),
    };
    let data = match kind.as_str() {
        "A" => RData::A(A(one()?.parse::<Ipv4Addr>().map_err(|_| "A takes an IPv4 address")?)),
        "AAAA" => RData::AAAA(AAAA(one()?.parse::<Ipv6Addr>().map_err(|_| "AAAA takes an IPv6 address")?)),
        "CNAME" => RData::CNAME(CNAME(parse_name(one()?)?)),
        "PTR" => RData::PTR(PTR(parse_name(one()?)?)),
        "MX" => match data.as_slice() {
            [preference, host] => {
                let preference = preference.parse().map_err(|_| "MX begins with a preference (0 to 65535)")?;
                RData::MX(MX::new(preference, parse_name(host)?))
            }
            _ => return Err("MX takes a preference and a host".into()),
        },
        "TLSA" => match data.as_slice() {
            [usage, selector, matching, hex] => {
                let number = |text: &str| text.parse::<u8>().map_err(|_| "TLSA begins with three numbers (0 to 255)");
                let bytes = from_hex(hex).ok_or("TLSA ends with hexadecimal digits")?;
                let (usage, selector, matching) = (number(usage)?, number(selector)?, number(matching)?);
                RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), bytes))
            }
            _ => return Err("TLSA takes a usage, a selector, a matching type and data".into()),
        },
        "TXT" | "SPF" if data.is_empty() => return Err(format!("{kind} takes a text in double quotes")),
        "TXT" => RData::TXT(TXT::from_bytes(strings(&data))),
        "SPF" => {
            let framed = strings(&data).into_iter().flat_map(|text| {
                let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
                std::iter::once(length).chain(text.iter().copied()).collect::<Vec<u8>>()
            });
            RData::Unknown { code: RecordType::from(TYPE_SPF), rdata: NULL::with(framed.collect()) }
        }
        other => return Err(format!("record type {other} is not served (A, AAAA, MX, TXT, CNAME, PTR or TLSA)")),
    };
    Ok((name, data))
}

/// Character-strings of texts: a long one is divided.
fn strings(texts: &[String]) -> Vec<&[u8]> {
    let divided = texts.iter().flat_map(|text| {
        let empty = text.is_empty().then_some(&[][..]);
        text.as_bytes().chunks(TXT_STRING_BYTES_MAX).chain(empty)
    });
    divided.collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.is_ascii().then_some(text.as_bytes())?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(byte).collect()).flatten()
}

/// Words divided by blanks; a word in double quotes may hold blanks and `;`.
fn split_fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some(';') => return Ok(fields),
            Some('"') => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next() {
                        None => return Err("a text in double quotes does not end".into()),
                        Some('"') => break,
                        Some('\\') => word.extend(escaped(&mut chars)),
                        Some(c) => word.push(c),
                    }
                }
                fields.push(word);
            }
            Some(_) => {
                let mut word = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != ';' && *c != '"') {
                    word.push(c);
                }
                fields.push(word);
            }
        }
    }
}

/// What stands behind a backslash (RFC 1035 5.1): three digits are a character's number, anything else is itself.
fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    const DIGITS: usize = 3;
    let digits: String = chars.clone().take(DIGITS).collect();
    match digits.parse::<u8>() {
        Ok(number) if digits.len() == DIGITS => {
            chars.nth(DIGITS - 1);
            Some(char::from(number))
        }
        _ => chars.next(),
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct ZoneServer {
    addr: SocketAddr,
    query_count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl ZoneServer {
    /// Serves `zone_text` by UDP and TCP on `bind`, a loopback address; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub async fn start(zone_text: &str, bind: SocketAddr) -> Result<Self, ZoneError> {
        if !bind.ip().is_loopback() {
            return Err(ZoneError::NotLoopback(bind));
        }
        let zone = Arc::new(Zone::parse(zone_text)?);
        let (udp, tcp) = listen(bind).await.map_err(|source| ZoneError::Bind { addr: bind, source })?;
        let addr = udp.local_addr().map_err(|source| ZoneError::Bind { addr: bind, source })?;
        let query_count = Arc::new(AtomicU64::new(0));
        let tasks = vec![
            tokio::spawn(serve_udp(udp, Arc::clone(&zone), Arc::clone(&query_count))),
            tokio::spawn(serve_tcp(tcp, zone, Arc::clone(&query_count))),
        ];
        Ok(ZoneServer { addr, query_count, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Questions answered so far.
    pub fn query_count(&self) -> u64 {
        self.query_count.load(Ordering::SeqCst)
    }
}

impl Drop for ZoneServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen(bind: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let udp = UdpSocket::bind(bind).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if bind.port() == 0 && tries < BIND_TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>, query_count: Arc<AtomicU64>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is about an earlier datagram (ICMP unreachable), not about the socket.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(reply) = respond(&zone, &buffer[..length], true) else { continue };
        query_count.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = socket.send_to(&reply, peer).await {
            tracing::debug!(%error, "a DNS answer could not be sent: {error}");
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>, query_count: Arc<AtomicU64>) {
    let turns = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    // Connections belong to this set, so that they end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let turn = Arc::clone(&turns).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (zone, query_count) = (Arc::clone(&zone), Arc::clone(&query_count));
        connections.spawn(async move {
            let _turn = turn;
            serve_connection(stream, &zone, &query_count).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// RFC 1035 4.2.2: each message behind its length in two octets.
async fn serve_connection(mut stream: TcpStream, zone: &Zone, query_count: &AtomicU64) {
    let exchange = async |stream: &mut TcpStream| -> Option<()> {
        let length = stream.read_u16().await.ok()?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.ok()?;
        let reply = respond(zone, &message, false)?;
        query_count.fetch_add(1, Ordering::SeqCst);
        let mut framed = u16::try_from(reply.len()).ok()?.to_be_bytes().to_vec();
        framed.extend_from_slice(&reply);
        stream.write_all(&framed).await.ok()
    };
    while let Ok(Some(())) = tokio::time::timeout(TCP_IDLE, exchange(&mut stream)).await {}
}

/// The answer to one message, or `None` for one that deserves none (no header, or itself an answer).
fn respond(zone: &Zone, request: &[u8], datagram: bool) -> Option<Vec<u8>> {
    const HEADER_BYTES: usize = 12;
    const ANSWER_BIT: u8 = 0x80;
    if request.len() < HEADER_BYTES || request[2] & ANSWER_BIT != 0 {
        return None;
    }
    let Ok(request) = Message::from_vec(request) else {
        let id = u16::from_be_bytes([request[0], request[1]]);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    // Resolvers on loopback ask us as they would ask a recursive server.
    reply.metadata.recursion_available = true;
    // RFC 6840 5.7 and 5.8: the AD bit is for those who ask for it.
    reply.metadata.authentic_data = request.metadata.authentic_data;
    reply.add_queries(request.queries.iter().cloned());
    match request.queries.as_slice() {
        _ if request.metadata.op_code != OpCode::Query => reply.metadata.response_code = ResponseCode::NotImp,
        [query] if zone.is_silent(query) => return None,
        [query] if query.query_class() == DNSClass::IN => zone.answer(query, &mut reply),
        _ => reply.metadata.response_code = ResponseCode::Refused,
    }
    let mut bytes_max = UDP_BYTES_MIN;
    if let Some(edns) = &request.edns {
        bytes_max = edns.max_payload().clamp(UDP_BYTES_MIN, UDP_BYTES_MAX);
        let mut ours = Edns::new();
        ours.set_max_payload(UDP_BYTES_MAX);
        reply.set_edns(ours);
    }
    let bytes = reply.to_vec().ok()?;
    if datagram && bytes.len() > usize::from(bytes_max) {
        return reply.truncate().to_vec().ok();
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> Message {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let bytes = respond(zone, &request.to_vec().unwrap(), true).unwrap();
        Message::from_vec(&bytes).unwrap()
    }

    #[test]
    fn codes_tell_absent_names_from_absent_records() {
        let zone = Zone::parse("a.b.example 60 IN A 127.0.0.1 ; with everything\nc.example CNAME a.b.example").unwrap();
        let check = |name, kind, code, answers: usize| {
            let reply = ask(&zone, name, kind);
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, answers), "{name} {kind}");
        };
        check("A.B.example.", RecordType::A, ResponseCode::NoError, 1);
        check("a.b.example.", RecordType::MX, ResponseCode::NoError, 0);
        check("b.example.", RecordType::A, ResponseCode::NoError, 0); // exists through its child
        check("x.example.", RecordType::A, ResponseCode::NXDomain, 0);
        check("c.example.", RecordType::A, ResponseCode::NoError, 2);
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let zone = Zone::parse("a.example CNAME b.example\nb.example CNAME a.example").unwrap();
        assert!(ask(&zone, "a.example.", RecordType::A).answers.len() <= ALIASES_MAX + 1);
    }

    #[test]
    fn a_long_answer_is_truncated_in_a_datagram_only() {
        let zone = Zone::parse(&format!("k.example TXT \"{}\"", "x".repeat(2_000))).unwrap();
        let reply = ask(&zone, "k.example.", RecordType::TXT);
        assert!(reply.metadata.truncation && reply.answers.is_empty());
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii("k.example.").unwrap(), RecordType::TXT));
        let whole = Message::from_vec(&respond(&zone, &request.to_vec().unwrap(), false).unwrap()).unwrap();
        let RData::TXT(txt) = &whole.answers[0].data else { panic!("a TXT record") };
        assert_eq!(txt.txt_data.concat().len(), 2_000);
        assert_eq!(txt.txt_data.len(), 8);
    }

    #[test]
    fn broken_lines_are_named() {
        let check = |text: &str, part: &str| {
            let error = Zone::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        };
        check("a.example A 127.0.0.1\nb.example A localhost", "zone line 2: A takes an IPv4 address");
        check("a.example", "record type is missing");
        check("a.example SRV 1 2 3 x", "SRV is not served");
        check("a.example TXT \"open", "does not end");
        check("a.example MX mx.example", "MX takes a preference and a host");
        check("a..example A 127.0.0.1", "no domain name");
    }

    #[test]
    fn texts_hold_any_byte() {
        let zone = Zone::parse("a.example TXT \"x\\013\\000y\\\\\" \"\"\na.example SPF \"v=spf1\"").unwrap();
        let reply = ask(&zone, "a.example.", RecordType::TXT);
        let RData::TXT(txt) = &reply.answers[0].data else { panic!("a TXT record") };
        assert_eq!(txt.txt_data.concat(), b"x\r\0y\\");
        let reply = ask(&zone, "a.example.", RecordType::from(TYPE_SPF));
        let RData::Unknown { rdata, .. } = &reply.answers[0].data else { panic!("a record of type 99") };
        assert_eq!(rdata.anything, b"\x06v=spf1");
    }

    #[tokio::test]
    async fn a_server_that_misbehaves_is_trouble_and_never_an_answer() {
        let zone = "$SERVFAIL fails.example\nfails.example A 127.0.0.1\n$SILENT silent.example\n\
                    $TRUNCATED cut.example\n$LIES lies.example\nalias.example CNAME fails.example";
        let server = ZoneServer::start(zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let limits = crate::ResolverLimits { try_ms: 300, tries_max: 1, deadline_ms: 1_000, ..Default::default() };
        let resolver = crate::Resolver::at_with(server.addr(), limits).unwrap();
        for name in ["fails.example", "silent.example", "cut.example", "alias.example"] {
            let answer = resolver.txt(name).await;
            assert!(matches!(answer, Err(crate::DnsError::Transient { .. })), "{name}: {answer:?}");
        }
        assert!(resolver.txt("lies.example").await.is_err(), "what nobody asked for is no answer");
        assert_eq!(resolver.ipv4("fails.example").await.unwrap(), ["127.0.0.1".parse::<Ipv4Addr>().unwrap()]);
    }

    #[tokio::test]
    async fn garbage_is_survived_on_both_transports() {
        let server = ZoneServer::start("a.example A 127.0.0.1", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for garbage in [&b""[..], b"x", &[0xFF; 40], &[0; 12], &[7; 600]] {
            udp.send_to(garbage, server.addr()).await.unwrap();
        }
        let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
        tcp.write_all(&[0, 5, 1, 2, 3, 4, 5]).await.unwrap();
        let mut rest = Vec::new();
        tcp.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "a message without a header ends the connection");
        let resolver = crate::Resolver::at(server.addr()).unwrap();
        assert_eq!(resolver.addresses("a.example").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn only_loopback_and_stops_when_dropped() {
        let refused = ZoneServer::start("", SocketAddr::from(([0, 0, 0, 0], 0))).await;
        assert!(matches!(refused, Err(ZoneError::NotLoopback(_))));
        let server = ZoneServer::start("", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
        drop(server);
        let mut rest = Vec::new();
        // It ends by FIN or RST, and well before an idle connection would.
        let end = tokio::time::timeout(TCP_IDLE / 2, tcp.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection ends with the server");
        assert!(rest.is_empty());
    }
}
