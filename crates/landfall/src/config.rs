//! The process's configuration: one TOML file, `LANDFALL_*` overrides, and one table that says all there is to know of
//! every key. What an organisation changes is not here: that is a row behind the API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use directory::MailboxConnectors;
use gateway::RateLimits;
use model::Domain;
use smtp::data::Newlines;
use smtp::server::Network;
use store::Database;

use crate::connectors::{self, ConnectorConfig};
use crate::error::CliError;

/// One key.
pub struct Key {
    /// Dotted name: table and key in the TOML file. The override is `LANDFALL_` and the name in capitals, dots as `_`.
    pub name: &'static str,
    /// The default, as text.
    pub default: &'static str,
    /// Its unit or form.
    pub unit: &'static str,
    /// What is accepted.
    pub limit: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn key(
    name: &'static str,
    default: &'static str,
    unit: &'static str,
    limit: &'static str,
    help: &'static str,
) -> Key {
    Key { name, default, unit, limit, help }
}

/// Every key. `doctor` prints this table; nothing else is accepted.
pub const KEYS: &[Key] = &[
    key(
        "server.hostname",
        "localhost",
        "host name",
        "1-255 characters",
        "the name in greetings, Received and Message-ID",
    ),
    key("server.node", "1", "number", "0-1023", "this process among those that share the database; makes ids unique"),
    key(
        "organisation.name",
        "My organisation",
        "text",
        "1-200 characters",
        "used once, when the data directory is new",
    ),
    key(
        "organisation.domains",
        "localhost",
        "host names, comma between",
        "at least 1",
        "domains that mail is received for; used once",
    ),
    key(
        "smtp.listen",
        "127.0.0.1:2525",
        "address:port, comma between",
        "at most 16",
        "where mail comes in; a port in use is replaced by a free one and said",
    ),
    key("smtp.size_bytes_max", "26214400", "bytes", "65536-268435456", "the largest message taken (SIZE, RFC 1870)"),
    key("smtp.connections_max", "1000", "connections", "1-100000", "open sessions; past it 421"),
    key("smtp.connections_per_ip_max", "200", "connections", "1-100000", "open sessions of one address; past it 421"),
    key(
        "smtp.tls_certificate",
        "",
        "file (PEM)",
        "readable",
        "certificate chain for TLS everywhere; empty: self-signed, in DIR/tls. A changed file is loaded again",
    ),
    key("smtp.tls_key", "", "file (PEM)", "readable", "its private key"),
    key(
        "smtp.proxy_peers",
        "",
        "addresses or networks, comma between",
        "at most 100",
        "proxies in front of smtp.listen; each must begin with a PROXY header (v1 or v2), nobody else can",
    ),
    key("smtp.bare_newlines", "refuse", "refuse or normalise", "1", "a bare CR or LF in a message: 550, or made CRLF"),
    key(
        "smtp.body_line_bytes_max",
        "0",
        "bytes",
        "0, or 998-1000000",
        "longer lines of a message are refused; 0: kept as they are",
    ),
    key("smtp.header_bytes_max", "1048576", "bytes", "16384-268435456", "the largest header section"),
    key(
        "submission.listen",
        "127.0.0.1:2587",
        "address:port, comma between",
        "at most 16; may be empty",
        "where people's mail programs hand mail in (STARTTLS, login); a port in use is replaced",
    ),
    key(
        "submission.listen_tls",
        "127.0.0.1:2465",
        "address:port, comma between",
        "at most 16; may be empty",
        "the same with TLS from the first byte",
    ),
    key(
        "lmtp.listen",
        "",
        "address:port or /path, comma between",
        "at most 16; may be empty",
        "where a trusted host hands mail over for our mailboxes (LMTP); a path is a socket in the file system",
    ),
    key(
        "limits.ip_connections_per_minute_max",
        "300",
        "connections",
        "0-1000000",
        "of one network; 0: any; past it 421",
    ),
    key("limits.ip_messages_per_minute_max", "600", "messages", "0-1000000", "of one network; 0: any; past it 450"),
    key(
        "limits.ip_recipients_per_hour_max",
        "20000",
        "recipients",
        "0-10000000",
        "of one network; 0: any; past it 452",
    ),
    key("limits.sender_messages_per_minute_max", "300", "messages", "0-1000000", "of one sender; 0: any; past it 450"),
    key("limits.login_messages_per_minute_max", "60", "messages", "0-1000000", "handed in by one login; past it 450"),
    key("limits.login_recipients_per_hour_max", "1000", "recipients", "0-1000000", "named by one login; past it 452"),
    key(
        "limits.exempt",
        "127.0.0.0/8,::1",
        "addresses or networks, comma between",
        "at most 100; may be empty",
        "whom the limits by network and sender do not hold for; our own agent comes from the local host",
    ),
    key(
        "imap.listen",
        "127.0.0.1:2143",
        "address:port, comma between",
        "at most 16; may be empty",
        "where mail programs read mail (IMAP, STARTTLS); a port in use is replaced by a free one and said",
    ),
    key(
        "imap.listen_tls",
        "127.0.0.1:2993",
        "address:port, comma between",
        "at most 16; may be empty",
        "the same with TLS from the first byte; only when there is a certificate",
    ),
    key("imap.connections_max", "2000", "connections", "1-100000", "open sessions of mail programs; past it BYE"),
    key(
        "imap.connections_per_mailbox_max",
        "16",
        "connections",
        "1-1000",
        "open sessions that are logged in to one mailbox",
    ),
    key(
        "imap.memory_bytes_max",
        "268435456",
        "bytes",
        "1048576-1099511627776",
        "of whole messages in memory, all sessions together (one mailbox's: a fourth); past it a command waits, then NO",
    ),
    key("http.listen", "127.0.0.1:8080", "address:port", "1", "console, API, tracking links"),
    key("http.public_url", "", "URL", "http or https", "how browsers reach the console; empty: from http.listen"),
    key(
        "store.database",
        "sqlite",
        "sqlite or postgres://…",
        "PostgreSQL 13 or newer",
        "where rows are; sqlite is DIR/landfall.db",
    ),
    key("store.objects_dir", "", "directory", "writable", "where bodies are; empty: DIR/objects"),
    key(
        "store.free_bytes_min",
        "67108864",
        "bytes",
        "0-1099511627776",
        "with less free where rows and bodies are no mail is taken (452); what is decided is still written down",
    ),
    key("dns.server", "system", "system, none or address:port", "1", "who is asked for names"),
    key(
        "dns.deadline_ms",
        "3000",
        "milliseconds",
        "100-30000",
        "the most that authentication of one message waits for names",
    ),
    key("outbound.relay", "", "host:port", "0 or 1", "smarthost for everything that no static route takes"),
    key(
        "outbound.relay_tls",
        "auto",
        "mode",
        "auto, none, opportunistic, starttls or implicit",
        "TLS with the smarthost; auto: from the first byte on port 465, checked with a password, else where offered",
    ),
    key(
        "outbound.relay_credentials_file",
        "",
        "file",
        "readable",
        "user name (first line) and password (second line) for the smarthost; only sent over checked TLS",
    ),
    key(
        "outbound.tls",
        "opportunistic",
        "level",
        "none, opportunistic or required",
        "TLS with hosts that no policy (DANE, MTA-STS) says more about",
    ),
    key(
        "outbound.tls_ca_file",
        "",
        "file (PEM)",
        "readable",
        "certificate authorities besides the system's, for MTA-STS and the smarthost",
    ),
    key(
        "outbound.tls_reports",
        "true",
        "true or false",
        "1",
        "whether domains that ask for reports about TLS (RFC 8460) get one a day",
    ),
    key(
        "outbound.shaping_file",
        "",
        "file (TOML)",
        "at most 1 MiB",
        "limits by provider, domain and sender, over the built-in ones; empty: DIR/shaping.toml when it is there",
    ),
    key(
        "outbound.source_addresses",
        "",
        "IP addresses, comma between",
        "at most 64",
        "local addresses to send from, in turn; empty: the system chooses",
    ),
    key(
        "outbound.messages_per_minute_max",
        "0",
        "mails",
        "0-1000000",
        "mails in a minute, all together; 0: any number",
    ),
    key(
        "dns.trust_ad",
        "false",
        "true or false",
        "1",
        "whether dns.server validates DNSSEC and is on this machine (or nobody can stand in between): needed for DANE",
    ),
    key("outbound.routes", "", "domain=address:port, comma between", "at most 1000", "static routes"),
    key("outbound.connections_max", "20", "connections", "1-1000", "open connections of the delivery agent"),
    key(
        "outbound.delay_warning_minutes",
        "240",
        "minutes",
        "0-7200; 0 never",
        "after which the sender of mail that still waits is told so",
    ),
    key(
        "mailboxes.connector",
        "embedded",
        "name, or domain=name, comma between",
        "at most 1000",
        "which system keeps the mailboxes: embedded, or NAME of a table [connectors.NAME]",
    ),
    key(
        "log.level",
        "info",
        "error, warn, info, debug or trace",
        "tracing filter",
        "what is logged; addresses appear at debug only",
    ),
    key("log.format", "text", "text or json", "1", "how it is logged"),
];

const FILE_BYTES_MAX: u64 = 1024 * 1024;
const ROUTES_MAX: usize = 1_000;
const TITLE_CHARS_MAX: usize = 200;

/// The configuration, typed.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data_dir: PathBuf,
    /// `server.hostname`
    pub hostname: String,
    /// `server.node`
    pub node: u16,
    /// `organisation.name`
    pub organisation_name: String,
    /// `organisation.domains`
    pub organisation_domains: Vec<Domain>,
    /// `smtp.listen`
    pub smtp_listen: Vec<SocketAddr>,
    /// `smtp.size_bytes_max`
    pub smtp_size_bytes_max: u64,
    /// `smtp.connections_max`
    pub smtp_connections_max: usize,
    /// `smtp.connections_per_ip_max`
    pub smtp_connections_per_ip_max: usize,
    /// `smtp.tls_certificate` and `smtp.tls_key`
    pub smtp_tls: Option<(PathBuf, PathBuf)>,
    /// `imap.listen`
    pub imap_listen: Vec<SocketAddr>,
    /// `imap.listen_tls`
    pub imap_listen_tls: Vec<SocketAddr>,
    /// `imap.connections_max`
    pub imap_connections_max: usize,
    /// `imap.connections_per_mailbox_max`
    pub imap_connections_per_mailbox_max: usize,
    /// `imap.memory_bytes_max`
    pub imap_memory_bytes_max: u64,
    /// `smtp.proxy_peers`
    pub smtp_proxy_peers: Vec<Network>,
    /// `smtp.bare_newlines`
    pub smtp_newlines: Newlines,
    /// `smtp.body_line_bytes_max`
    pub smtp_body_line_bytes_max: usize,
    /// `smtp.header_bytes_max`
    pub smtp_header_bytes_max: usize,
    /// `submission.listen`
    pub submission_listen: Vec<SocketAddr>,
    /// `submission.listen_tls`
    pub submission_listen_tls: Vec<SocketAddr>,
    /// `lmtp.listen`
    pub lmtp_listen: Vec<LmtpAddress>,
    /// `limits.…`
    pub rates: RateLimits,
    /// `http.listen`
    pub http_listen: SocketAddr,
    /// `http.public_url`
    pub public_url: Option<String>,
    /// `store.database`
    pub database: Database,
    /// `store.objects_dir`
    pub objects_dir: PathBuf,
    /// `store.free_bytes_min`
    pub free_bytes_min: u64,
    /// `dns.server`
    pub dns: Dns,
    /// `dns.deadline_ms`
    pub dns_deadline_ms: u64,
    /// `dns.trust_ad`
    pub dns_trust_ad: bool,
    /// `outbound.relay`: host and port
    pub relay: Option<(String, u16)>,
    /// `outbound.relay_tls`
    pub outbound_relay_tls: String,
    /// `outbound.relay_credentials_file`
    pub outbound_relay_credentials_file: Option<PathBuf>,
    /// `outbound.tls`
    pub outbound_tls: outbound::TlsLevel,
    /// `outbound.tls_ca_file`
    pub outbound_tls_ca_file: Option<PathBuf>,
    /// `outbound.tls_reports`
    pub outbound_tls_reports: bool,
    /// `outbound.shaping_file`
    pub outbound_shaping_file: Option<PathBuf>,
    /// `outbound.source_addresses`
    pub outbound_source_addresses: Vec<std::net::IpAddr>,
    /// `outbound.messages_per_minute_max`; 0: any number
    pub outbound_messages_per_minute_max: u32,
    /// `outbound.routes`
    pub routes: Vec<(Domain, SocketAddr)>,
    /// `outbound.connections_max`
    pub outbound_connections_max: usize,
    /// `outbound.delay_warning_minutes`
    pub outbound_delay_warning_minutes: u64,
    /// `[connectors.NAME]`
    pub connectors: Vec<ConnectorConfig>,
    /// `mailboxes.connector`
    pub mailboxes: MailboxConnectors,
    /// Each key's value as text and where it came from, for `doctor`.
    pub values: BTreeMap<&'static str, (String, Origin)>,
}

/// Where LMTP listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LmtpAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::str::FromStr for LmtpAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') { Ok(LmtpAddress::Unix(text.into())) } else { text.parse().map(LmtpAddress::Tcp) }
    }
}

impl std::fmt::Display for LmtpAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LmtpAddress::Tcp(addr) => addr.fmt(f),
            LmtpAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Who is asked for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dns {
    /// The system's resolvers.
    System,
    /// Nobody.
    None,
    /// A name server.
    At(SocketAddr),
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The table above.
    Default,
    /// The file.
    File,
    /// `LANDFALL_…`
    Environment,
}

impl Config {
    /// Reads `file` (or `DIR/landfall.toml` when it is there) and the environment.
    ///
    /// # Errors
    /// [`CliError::Input`] names the key, where it came from, and what is accepted.
    pub fn load(data_dir: &Path, file: Option<&Path>, environment: &[(String, String)]) -> Result<Config, CliError> {
        let mut values: BTreeMap<&'static str, (String, Origin)> =
            KEYS.iter().map(|k| (k.name, (k.default.to_owned(), Origin::Default))).collect();
        let mut connectors = Vec::new();
        let implied = data_dir.join("landfall.toml");
        let file = file.map(Path::to_owned).or_else(|| implied.exists().then_some(implied));
        if let Some(file) = file {
            for (name, value) in read_file(&file)? {
                if name.starts_with("connectors.") {
                    connectors::collect(&mut connectors, &name, value, &format!("in {}", file.display()))?;
                    continue;
                }
                let key = known(&name).ok_or_else(|| unknown(&name, &format!("in {}", file.display())))?;
                values.insert(key.name, (value, Origin::File));
            }
        }
        for (variable, value) in environment {
            let Some(key) = KEYS.iter().find(|k| variable_of(k.name) == *variable) else {
                // What the project's own test scripts hand to each other is no configuration.
                if variable.starts_with("LANDFALL_TEST_") {
                    continue;
                }
                if let Some(name) = connectors::dotted_of(variable) {
                    connectors::collect(&mut connectors, &name, value.clone(), "in the environment")?;
                    continue;
                }
                return Err(unknown(variable, "in the environment"));
            };
            values.insert(key.name, (value.clone(), Origin::Environment));
        }
        typed(data_dir, values, connectors)
    }
}

fn rates(read: &Reader<'_>) -> Result<RateLimits, CliError> {
    let number = |name: &'static str, max: u64| read.number(name, 0, max).map(|n| n as u32);
    Ok(RateLimits {
        ip_connections_per_minute_max: number("limits.ip_connections_per_minute_max", 1_000_000)?,
        ip_messages_per_minute_max: number("limits.ip_messages_per_minute_max", 1_000_000)?,
        ip_recipients_per_hour_max: number("limits.ip_recipients_per_hour_max", 10_000_000)?,
        sender_messages_per_minute_max: number("limits.sender_messages_per_minute_max", 1_000_000)?,
        login_messages_per_minute_max: number("limits.login_messages_per_minute_max", 1_000_000)?,
        login_recipients_per_hour_max: number("limits.login_recipients_per_hour_max", 1_000_000)?,
        exempt: read.any("limits.exempt", 100)?,
    })
}

fn typed(
    data_dir: &Path,
    values: BTreeMap<&'static str, (String, Origin)>,
    connectors: Vec<ConnectorConfig>,
) -> Result<Config, CliError> {
    let read = Reader { values: &values };
    let pair = (read.text("smtp.tls_certificate"), read.text("smtp.tls_key"));
    let smtp_tls = match pair {
        ("", "") => None,
        (certificate, key) if !certificate.is_empty() && !key.is_empty() => Some((certificate.into(), key.into())),
        _ => return Err(read.wrong("smtp.tls_key", "name both the certificate and the key, or neither")),
    };
    let database = match read.text("store.database") {
        "sqlite" => Database::Sqlite { path: data_dir.join("landfall.db") },
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Database::Postgres { url: url.into() }
        }
        _ => return Err(read.wrong("store.database", "sqlite, or a URL that starts with postgres://")),
    };
    let dns = match read.text("dns.server") {
        "system" => Dns::System,
        "none" => Dns::None,
        _ => Dns::At(read.one("dns.server")?),
    };
    Ok(Config {
        data_dir: data_dir.to_owned(),
        hostname: read.one::<Domain>("server.hostname")?.as_str().to_owned(),
        node: read.number("server.node", 0, 1023)? as u16,
        organisation_name: read.title("organisation.name")?,
        organisation_domains: read.many("organisation.domains", 1_000)?,
        smtp_listen: read.many("smtp.listen", 16)?,
        smtp_size_bytes_max: read.number("smtp.size_bytes_max", 65_536, 268_435_456)?,
        smtp_connections_max: read.number("smtp.connections_max", 1, 100_000)? as usize,
        smtp_connections_per_ip_max: read.number("smtp.connections_per_ip_max", 1, 100_000)? as usize,
        smtp_tls,
        imap_listen: read.any("imap.listen", 16)?,
        imap_listen_tls: read.any("imap.listen_tls", 16)?,
        imap_connections_max: read.number("imap.connections_max", 1, 100_000)? as usize,
        imap_connections_per_mailbox_max: read.number("imap.connections_per_mailbox_max", 1, 1_000)? as usize,
        imap_memory_bytes_max: read.number("imap.memory_bytes_max", 1_048_576, 1_099_511_627_776)?,
        smtp_proxy_peers: read.any("smtp.proxy_peers", 100)?,
        smtp_newlines: match read.text("smtp.bare_newlines") {
            "refuse" => Newlines::Refuse,
            "normalise" => Newlines::Normalise,
            _ => return Err(read.wrong("smtp.bare_newlines", "refuse or normalise")),
        },
        smtp_body_line_bytes_max: match read.number("smtp.body_line_bytes_max", 0, 1_000_000)? as usize {
            1..998 => return Err(read.wrong("smtp.body_line_bytes_max", "0, or a number from 998 to 1000000")),
            bytes => bytes,
        },
        smtp_header_bytes_max: read.number("smtp.header_bytes_max", 16_384, 268_435_456)? as usize,
        submission_listen: read.any("submission.listen", 16)?,
        submission_listen_tls: read.any("submission.listen_tls", 16)?,
        lmtp_listen: read.any("lmtp.listen", 16)?,
        rates: rates(&read)?,
        http_listen: read.one("http.listen")?,
        public_url: read.base_url("http.public_url")?,
        database,
        objects_dir: match read.text("store.objects_dir") {
            "" => data_dir.join("objects"),
            dir => dir.into(),
        },
        dns,
        free_bytes_min: read.number("store.free_bytes_min", 0, 1 << 40)?,
        dns_deadline_ms: read.number("dns.deadline_ms", 100, 30_000)?,
        dns_trust_ad: read.yes_or_no("dns.trust_ad")?,
        relay: read.host_and_port("outbound.relay")?,
        outbound_relay_tls: read
            .word("outbound.relay_tls", &["auto", "none", "opportunistic", "starttls", "implicit"])?,
        outbound_relay_credentials_file: read.file("outbound.relay_credentials_file"),
        outbound_tls: outbound::TlsLevel::parse(read.text("outbound.tls"))
            .ok_or_else(|| read.wrong("outbound.tls", "none, opportunistic or required"))?,
        outbound_tls_ca_file: read.file("outbound.tls_ca_file"),
        outbound_tls_reports: read.yes_or_no("outbound.tls_reports")?,
        outbound_shaping_file: read.file("outbound.shaping_file"),
        outbound_source_addresses: match read.text("outbound.source_addresses") {
            "" => Vec::new(),
            _ => read.many("outbound.source_addresses", 64)?,
        },
        outbound_messages_per_minute_max: read.number("outbound.messages_per_minute_max", 0, 1_000_000)? as u32,
        routes: read.routes()?,
        outbound_connections_max: read.number("outbound.connections_max", 1, 1_000)? as usize,
        outbound_delay_warning_minutes: read.number("outbound.delay_warning_minutes", 0, 7_200)?,
        mailboxes: connectors::mailboxes(read.text("mailboxes.connector"), &connectors)
            .map_err(|problem| read.wrong("mailboxes.connector", &problem))?,
        connectors,
        values,
    })
}

struct Reader<'a> {
    values: &'a BTreeMap<&'static str, (String, Origin)>,
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> &str {
        self.values[name].0.trim()
    }

    fn wrong(&self, name: &'static str, problem: &str) -> CliError {
        let (value, origin) = &self.values[name];
        let from = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File => "configuration file".to_owned(),
            Origin::Environment => format!("environment, {}", variable_of(name)),
        };
        CliError::Input(format!("{name} = {value:?} ({from}): {problem}"))
    }

    fn number(&self, name: &'static str, min: u64, max: u64) -> Result<u64, CliError> {
        match self.text(name).parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n),
            _ => Err(self.wrong(name, &format!("a number from {min} to {max}"))),
        }
    }

    fn one<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, CliError> {
        self.text(name)
            .parse()
            .map_err(|_| self.wrong(name, KEYS.iter().find(|k| k.name == name).map_or("", |k| k.unit)))
    }

    /// As [`Reader::many`], and none at all for an empty text.
    fn any<T: std::str::FromStr>(&self, name: &'static str, max: usize) -> Result<Vec<T>, CliError> {
        if self.text(name).is_empty() { Ok(Vec::new()) } else { self.many(name, max) }
    }

    fn many<T: std::str::FromStr>(&self, name: &'static str, max: usize) -> Result<Vec<T>, CliError> {
        let unit = KEYS.iter().find(|k| k.name == name).map_or("", |k| k.unit);
        let parts = self.text(name).split(',').map(str::trim).filter(|p| !p.is_empty());
        let all: Vec<T> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| self.wrong(name, unit))?;
        if all.is_empty() || all.len() > max {
            return Err(self.wrong(name, &format!("from 1 to {max} of them")));
        }
        Ok(all)
    }

    fn yes_or_no(&self, name: &'static str) -> Result<bool, CliError> {
        self.text(name).parse().map_err(|_| self.wrong(name, "true or false"))
    }

    fn file(&self, name: &'static str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|file| !file.is_empty()).map(PathBuf::from)
    }

    fn word(&self, name: &'static str, words: &[&str]) -> Result<String, CliError> {
        let word = self.text(name);
        if words.contains(&word) { Ok(word.to_owned()) } else { Err(self.wrong(name, &words.join(", "))) }
    }

    /// What something is called.
    fn title(&self, name: &'static str) -> Result<String, CliError> {
        let text = self.text(name);
        match (1..=TITLE_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control) {
            true => Ok(text.to_owned()),
            false => Err(self.wrong(name, &format!("one line of 1 to {TITLE_CHARS_MAX} characters"))),
        }
    }

    /// An address that paths are put behind.
    fn base_url(&self, name: &'static str) -> Result<Option<String>, CliError> {
        let text = self.text(name).trim_end_matches('/');
        if text.is_empty() {
            return Ok(None);
        }
        let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let bare = url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
        match bare {
            Some(_) => Ok(Some(text.to_owned())),
            None => Err(self.wrong(name, "a URL such as https://landfall.example.org")),
        }
    }

    /// `mail.example.org:587`, `192.0.2.1:25` or `[2001:db8::1]:25`.
    fn host_and_port(&self, name: &'static str) -> Result<Option<(String, u16)>, CliError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Some((addr.ip().to_string(), addr.port())));
        }
        let wrong = || self.wrong(name, "a host and a port, such as smtp.example.org:587");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = Domain::parse(host).map_err(|_| wrong())?;
        Ok(Some((host.as_str().to_owned(), port.parse().map_err(|_| wrong())?)))
    }

    fn routes(&self) -> Result<Vec<(Domain, SocketAddr)>, CliError> {
        const NAME: &str = "outbound.routes";
        let form = "domain=address:port, comma between";
        let parts: Vec<&str> = self.text(NAME).split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
        if parts.len() > ROUTES_MAX {
            return Err(self.wrong(NAME, &format!("at most {ROUTES_MAX} of them")));
        }
        parts
            .into_iter()
            .map(|part| {
                let (domain, addr) = part.split_once('=').ok_or_else(|| self.wrong(NAME, form))?;
                let domain = Domain::parse(domain.trim()).map_err(|_| self.wrong(NAME, form))?;
                Ok((domain, addr.trim().parse().map_err(|_| self.wrong(NAME, form))?))
            })
            .collect()
    }
}

fn read_file(file: &Path) -> Result<Vec<(String, String)>, CliError> {
    let cannot = |e: &dyn std::fmt::Display| {
        CliError::Input(format!("the configuration {} cannot be read: {e}", file.display()))
    };
    let size = std::fs::metadata(file).map_err(|e| cannot(&e))?.len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(&"it is larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(file).map_err(|e| cannot(&e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        cannot(&format!("line {}: {}", before.matches('\n').count() + 1, e.message()))
    })?;
    let mut flat = Vec::new();
    for (section, content) in table {
        let toml::Value::Table(content) = content else {
            return Err(unknown(
                &section,
                &format!("at the top of {}: keys stand in tables such as [smtp]", file.display()),
            ));
        };
        for (name, value) in content {
            // [connectors.NAME]: the one kind of table with tables in it.
            if let (toml::Value::Table(keys), "connectors") = (&value, section.as_str()) {
                for (key, value) in keys {
                    let value =
                        as_text(value).ok_or_else(|| cannot(&format!("{section}.{name}.{key}: a text or a number")))?;
                    flat.push((format!("{section}.{name}.{key}"), value));
                }
                continue;
            }
            let value = as_text(&value)
                .ok_or_else(|| cannot(&format!("{section}.{name}: a text, a number or a list of texts")))?;
            flat.push((format!("{section}.{name}"), value));
        }
    }
    Ok(flat)
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(all) => all.iter().map(as_text).collect::<Option<Vec<_>>>().map(|all| all.join(",")),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn known(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

fn unknown(name: &str, place: &str) -> CliError {
    CliError::Input(format!("{name} {place} is not a key of Landfall; `landfall doctor` lists all of them"))
}

/// The environment variable that overrides a key.
pub fn variable_of(name: &str) -> String {
    format!("LANDFALL_{}", name.replace('.', "_").to_uppercase())
}

/// This process's `LANDFALL_*` variables.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("LANDFALL_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("landfall.toml"), toml).unwrap();
        let environment: Vec<_> = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Config::load(dir.path(), None, &environment).map_err(|e| e.to_string())
    }

    #[test]
    fn every_default_is_acceptable() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.smtp_listen[0].port(), 2525);
        assert_eq!(config.values.len(), KEYS.len());
    }

    #[test]
    fn file_then_environment() {
        let toml = "[smtp]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\nsize_bytes_max = 70000\n";
        let config = load(toml, &[("LANDFALL_SMTP_SIZE_BYTES_MAX", "80000")]).unwrap();
        assert_eq!((config.smtp_listen.len(), config.smtp_size_bytes_max), (2, 80_000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, environment, wanted) in [
            ("[smtp]\nlisten_on = \"x\"\n", None, "smtp.listen_on"),
            ("[smtp]\nsize_bytes_max = 5\n", None, "a number from 65536 to 268435456"),
            ("listen = \"x\"\n", None, "keys stand in tables"),
            ("[smtp\n", None, "cannot be read"),
            ("", Some(("LANDFALL_SMPT_LISTEN", "x")), "LANDFALL_SMPT_LISTEN"),
            ("[store]\ndatabase = \"mysql://x\"\n", None, "postgres://"),
            ("[outbound]\nroutes = \"a.example\"\n", None, "domain=address:port"),
            ("[smtp]\ntls_key = \"k.pem\"\n", None, "both the certificate and the key"),
            ("[server]\nhostname = \"\"\n", None, "server.hostname"),
            ("[server]\nhostname = \"mx example\"\n", None, "host name"),
            ("[organisation]\nname = \" \"\n", None, "1 to 200 characters"),
            ("", Some(("LANDFALL_ORGANISATION_NAME", "a\r\nb")), "one line"),
            ("[http]\npublic_url = \"landfall.example.org\"\n", None, "a URL such as"),
            ("[http]\npublic_url = \"javascript:x\"\n", None, "a URL such as"),
            ("[http]\npublic_url = \"https://u@landfall.example.org\"\n", None, "a URL such as"),
        ] {
            let environment: Vec<_> = environment.into_iter().collect();
            let error = load(toml, &environment).err().unwrap_or_else(|| panic!("{toml:?} should be refused"));
            assert!(error.contains(wanted), "{error:?} should say {wanted:?}");
        }
        let many: Vec<String> = (0..=ROUTES_MAX).map(|n| format!("d{n}.example=127.0.0.1:25")).collect();
        let error = load("", &[("LANDFALL_OUTBOUND_ROUTES", &many.join(","))]).expect_err("too many");
        assert!(error.contains("at most 1000"), "{error}");
        let good = load("[http]\npublic_url = \"https://landfall.example.org/x/\"\n", &[]).expect("a URL");
        assert_eq!(good.public_url.as_deref(), Some("https://landfall.example.org/x"));
    }
}
