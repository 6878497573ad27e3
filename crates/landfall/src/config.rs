//! The process's configuration: one TOML file, `LANDFALL_*` overrides, and one table that says all there is to know of
//! every key. What an organisation changes is not here: that is a row behind the API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::Domain;
use store::Database;

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
    key("smtp.tls_certificate", "", "file (PEM)", "readable", "certificate chain for STARTTLS; empty: not offered"),
    key("smtp.tls_key", "", "file (PEM)", "readable", "its private key"),
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
    key("dns.server", "system", "system, none or address:port", "1", "who is asked for names"),
    key(
        "dns.deadline_ms",
        "3000",
        "milliseconds",
        "100-30000",
        "the most that authentication of one message waits for names",
    ),
    key("outbound.relay", "", "address:port", "0 or 1", "smarthost for everything that no static route takes"),
    key("outbound.routes", "", "domain=address:port, comma between", "at most 1000", "static routes"),
    key("outbound.connections_max", "20", "connections", "1-1000", "open connections of the delivery agent"),
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
    /// `http.listen`
    pub http_listen: SocketAddr,
    /// `http.public_url`
    pub public_url: Option<String>,
    /// `store.database`
    pub database: Database,
    /// `store.objects_dir`
    pub objects_dir: PathBuf,
    /// `dns.server`
    pub dns: Dns,
    /// `dns.deadline_ms`
    pub dns_deadline_ms: u64,
    /// `outbound.relay`
    pub relay: Option<SocketAddr>,
    /// `outbound.routes`
    pub routes: Vec<(Domain, SocketAddr)>,
    /// `outbound.connections_max`
    pub outbound_connections_max: usize,
    /// Each key's value as text and where it came from, for `doctor`.
    pub values: BTreeMap<&'static str, (String, Origin)>,
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
        let implied = data_dir.join("landfall.toml");
        let file = file.map(Path::to_owned).or_else(|| implied.exists().then_some(implied));
        if let Some(file) = file {
            for (name, value) in read_file(&file)? {
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
                return Err(unknown(variable, "in the environment"));
            };
            values.insert(key.name, (value.clone(), Origin::Environment));
        }
        typed(data_dir, values)
    }
}

fn typed(data_dir: &Path, values: BTreeMap<&'static str, (String, Origin)>) -> Result<Config, CliError> {
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
    let optional = |name: &'static str| read.text(name).is_empty().then_some(());
    Ok(Config {
        data_dir: data_dir.to_owned(),
        hostname: read.text("server.hostname").to_owned(),
        node: read.number("server.node", 0, 1023)? as u16,
        organisation_name: read.text("organisation.name").to_owned(),
        organisation_domains: read.many("organisation.domains", 1_000)?,
        smtp_listen: read.many("smtp.listen", 16)?,
        smtp_size_bytes_max: read.number("smtp.size_bytes_max", 65_536, 268_435_456)?,
        smtp_connections_max: read.number("smtp.connections_max", 1, 100_000)? as usize,
        smtp_connections_per_ip_max: read.number("smtp.connections_per_ip_max", 1, 100_000)? as usize,
        smtp_tls,
        http_listen: read.one("http.listen")?,
        public_url: optional("http.public_url")
            .is_none()
            .then(|| read.text("http.public_url").trim_end_matches('/').to_owned()),
        database,
        objects_dir: match read.text("store.objects_dir") {
            "" => data_dir.join("objects"),
            dir => dir.into(),
        },
        dns,
        dns_deadline_ms: read.number("dns.deadline_ms", 100, 30_000)?,
        relay: if optional("outbound.relay").is_some() { None } else { Some(read.one("outbound.relay")?) },
        routes: read.routes()?,
        outbound_connections_max: read.number("outbound.connections_max", 1, 1_000)? as usize,
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

    fn many<T: std::str::FromStr>(&self, name: &'static str, max: usize) -> Result<Vec<T>, CliError> {
        let unit = KEYS.iter().find(|k| k.name == name).map_or("", |k| k.unit);
        let parts = self.text(name).split(',').map(str::trim).filter(|p| !p.is_empty());
        let all: Vec<T> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| self.wrong(name, unit))?;
        if all.is_empty() || all.len() > max {
            return Err(self.wrong(name, &format!("from 1 to {max} of them")));
        }
        Ok(all)
    }

    fn routes(&self) -> Result<Vec<(Domain, SocketAddr)>, CliError> {
        const NAME: &str = "outbound.routes";
        let form = "domain=address:port, comma between";
        let parts = self.text(NAME).split(',').map(str::trim).filter(|p| !p.is_empty());
        parts
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
        ] {
            let environment: Vec<_> = environment.into_iter().collect();
            let error = load(toml, &environment).err().unwrap_or_else(|| panic!("{toml:?} should be refused"));
            assert!(error.contains(wanted), "{error:?} should say {wanted:?}");
        }
    }
}
