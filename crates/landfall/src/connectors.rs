//! `[connectors.NAME]`: the systems that keep mailboxes which are not embedded, and `mailboxes.connector`: whose they keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use directory::{Directory, EMBEDDED, MailboxConnectors, mailbox_mark};
use mailbox::{Connectors, Endpoint, LmtpImap, LmtpImapConfig, Marker, Security, UserName};
use model::{CopyId, Domain};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{Config, Key};
use crate::error::CliError;

/// Connectors of one process.
const CONNECTORS_MAX: usize = 64;
/// A name of a connector, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// What `mailboxes.connector` names.
const MAILBOXES_MAX: usize = 1_000;
/// A secret's file, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// The keys of every table `[connectors.NAME]`.
pub const CONNECTOR_KEYS: &[Key] = &[
    key("lmtp", "", "host:port", "needed", "where mail is handed over (LMTP)"),
    key("lmtp_security", "clear", "clear or starttls", "1", "how that connection is protected"),
    key("imap", "", "host:port", "needed", "where mailboxes are read and changed (IMAP)"),
    key("imap_security", "clear", "clear, starttls or tls", "1", "how that connection is protected"),
    key("ca_file", "", "file (PEM)", "needed for starttls and tls", "the certificates that are trusted"),
    key("master_user", "", "name", "needed", "a user who may enter every mailbox"),
    key("master_password_file", "", "file", "needed", "its password, on the first line"),
    key("master_separator", "*", "text", "1-8 bytes", "between the owner's name and the master user's in the login"),
    key("user", "address", "address or local_part", "1", "how the system calls the owners of mailboxes"),
    key("junk_folder", "Junk", "folder", "1", "for junk, where the system names none by special use"),
    key("holding_folder", "Landfall-Held", "folder", "1", "where copies lie for moments while they are taken out"),
    key("connections_max", "8", "connections", "1-256", "open connections of each protocol"),
    key("deadline_ms", "20000", "milliseconds", "1000-300000", "the most that one command may take"),
];

const fn key(
    name: &'static str,
    default: &'static str,
    unit: &'static str,
    limit: &'static str,
    help: &'static str,
) -> Key {
    Key { name, default, unit, limit, help }
}

/// One table `[connectors.NAME]`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorConfig {
    /// NAME.
    pub name: String,
    /// Every key's value as text.
    pub values: BTreeMap<&'static str, String>,
}

/// Takes `connectors.NAME.KEY` apart and puts the value where it belongs.
///
/// # Errors
/// [`CliError::Input`] for a name or a key that cannot be.
pub fn collect(all: &mut Vec<ConnectorConfig>, dotted: &str, value: String, place: &str) -> Result<(), CliError> {
    let wrong = |problem: &str| CliError::Input(format!("{dotted} {place}: {problem}"));
    let (name, key) = dotted
        .strip_prefix("connectors.")
        .and_then(|rest| rest.rsplit_once('.'))
        .ok_or_else(|| wrong("connectors stand in tables such as [connectors.dovecot]"))?;
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != EMBEDDED
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        return Err(wrong("a connector's name is up to 32 small letters, digits and hyphens, and not \"embedded\""));
    }
    let Some(key) = CONNECTOR_KEYS.iter().find(|known| known.name == key) else {
        let known: Vec<&str> = CONNECTOR_KEYS.iter().map(|known| known.name).collect();
        return Err(wrong(&format!("a connector has the keys {}", known.join(", "))));
    };
    if !all.iter().any(|one| one.name == name) {
        if all.len() >= CONNECTORS_MAX {
            return Err(wrong(&format!("at most {CONNECTORS_MAX} connectors")));
        }
        let values = CONNECTOR_KEYS.iter().map(|key| (key.name, key.default.to_owned())).collect();
        all.push(ConnectorConfig { name: name.to_owned(), values });
    }
    if let Some(one) = all.iter_mut().find(|one| one.name == name) {
        one.values.insert(key.name, value);
    }
    Ok(())
}

/// `LANDFALL_CONNECTORS_DOVECOT_IMAP` as `connectors.dovecot.imap`; a hyphen in a name is written as an underscore.
pub fn dotted_of(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix("LANDFALL_CONNECTORS_")?.to_ascii_lowercase();
    let mut keys: Vec<&str> = CONNECTOR_KEYS.iter().map(|key| key.name).collect();
    // The longest first: IMAP_SECURITY is not SECURITY of a connector named …_imap.
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    keys.iter().find_map(|key| {
        let name = rest.strip_suffix(key)?.strip_suffix('_')?;
        Some(format!("connectors.{}.{key}", name.replace('_', "-")))
    })
}

/// What `mailboxes.connector` says.
///
/// # Errors
/// What is wrong, in words.
pub fn mailboxes(text: &str, connectors: &[ConnectorConfig]) -> Result<MailboxConnectors, String> {
    let names = connectors.iter().map(|one| one.name.clone()).collect();
    let mut read = MailboxConnectors { names, ..MailboxConnectors::default() };
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > MAILBOXES_MAX {
        return Err(format!("at most {MAILBOXES_MAX} of them"));
    }
    for part in parts {
        let (domain, name) = part.split_once('=').map_or((None, part), |(domain, name)| (Some(domain), name.trim()));
        if name != EMBEDDED && !read.names.contains(name) {
            return Err(format!("there is no [connectors.{name}]"));
        }
        match domain {
            Some(domain) => {
                let domain = Domain::parse(domain.trim()).map_err(|_| format!("{domain:?} is no domain"))?;
                read.by_domain.insert(domain.as_str().to_lowercase(), name.to_owned());
            }
            None => read.everywhere = Some(name.to_owned()),
        }
    }
    Ok(read)
}

/// The connectors that a configuration names, ready to be used.
///
/// # Errors
/// [`CliError::Input`] names the key that is wrong.
pub async fn open(config: &Config, directory: &Directory) -> Result<Connectors, CliError> {
    if config.connectors.is_empty() {
        return Ok(Connectors::default());
    }
    let mac = directory.mac().await?;
    let marker: Marker = Arc::new(move |copy_id: CopyId| mailbox_mark(&mac, copy_id));
    let open = |one: &ConnectorConfig| {
        let typed = one.typed(&config.hostname)?;
        Ok(LmtpImap::new(&one.name, typed, directory.store().clone(), marker.clone()))
    };
    Ok(Connectors::new(config.connectors.iter().map(open).collect::<Result<Vec<_>, CliError>>()?))
}

impl ConnectorConfig {
    fn text(&self, key: &'static str) -> &str {
        self.values.get(key).map_or("", |value| value.trim())
    }

    fn wrong(&self, key: &str, problem: &str) -> CliError {
        CliError::Input(format!("connectors.{}.{key}: {problem}", self.name))
    }

    fn needed(&self, key: &'static str) -> Result<&str, CliError> {
        Some(self.text(key)).filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(key, "it is needed"))
    }

    fn endpoint(&self, key: &'static str, security_key: &'static str) -> Result<Endpoint, CliError> {
        let security = match (self.text(security_key), key) {
            ("clear", _) => Security::Clear,
            ("starttls", _) => Security::StartTls,
            ("tls", "imap") => Security::Tls,
            _ => return Err(self.wrong(security_key, "see `landfall doctor` for what it can be")),
        };
        let text = self.needed(key)?;
        let form = || self.wrong(key, "a host and a port, such as mail.example.org:24 or [::1]:24");
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| form())?;
        if host.is_empty() {
            return Err(form());
        }
        Ok(Endpoint { host: host.to_owned(), port, security })
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Result<u64, CliError> {
        match self.text(key).parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(self.wrong(key, &format!("a number from {min} to {max}"))),
        }
    }

    /// # Errors
    /// [`CliError::Input`] names the key that is wrong.
    pub fn typed(&self, hostname: &str) -> Result<LmtpImapConfig, CliError> {
        let lmtp = self.endpoint("lmtp", "lmtp_security")?;
        let imap = self.endpoint("imap", "imap_security")?;
        let is_clear = [&lmtp, &imap].iter().all(|endpoint| endpoint.security == Security::Clear);
        let separator = self.text("master_separator");
        if separator.is_empty() || separator.len() > 8 {
            return Err(self.wrong("master_separator", "1 to 8 bytes"));
        }
        let password = self.secret()?;
        Ok(LmtpImapConfig {
            helo_name: hostname.to_owned(),
            tls: if is_clear { None } else { Some(self.trusted()?) },
            master_separator: separator.to_owned(),
            user_name: match self.text("user") {
                "address" => UserName::Address,
                "local_part" => UserName::LocalPart,
                _ => return Err(self.wrong("user", "address or local_part")),
            },
            junk_folder: self.needed("junk_folder")?.to_owned(),
            holding_folder: self.needed("holding_folder")?.to_owned(),
            connections_max: usize::try_from(self.number("connections_max", 1, 256)?).unwrap_or(1),
            deadline: Duration::from_millis(self.number("deadline_ms", 1_000, 300_000)?),
            ..LmtpImapConfig::new(lmtp, imap, self.needed("master_user")?, &password)
        })
    }

    fn secret(&self) -> Result<String, CliError> {
        const KEY: &str = "master_password_file";
        let file = PathBuf::from(self.needed(KEY)?);
        let cannot = |e: &dyn std::fmt::Display| self.wrong(KEY, &format!("{}: {e}", file.display()));
        let size = std::fs::metadata(&file).map_err(|e| cannot(&e))?.len();
        if size > SECRET_BYTES_MAX {
            return Err(cannot(&"too long for a password"));
        }
        let text = std::fs::read_to_string(&file).map_err(|e| cannot(&e))?;
        let line = text.lines().next().filter(|line| !line.is_empty());
        line.map(str::to_owned).ok_or_else(|| cannot(&"its first line is empty"))
    }

    fn trusted(&self) -> Result<Arc<rustls::ClientConfig>, CliError> {
        let file = Path::new(self.needed("ca_file")?);
        let cannot = |e: &dyn std::fmt::Display| self.wrong("ca_file", &format!("{}: {e}", file.display()));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|e| cannot(&e))? {
            roots.add(certificate.map_err(|e| cannot(&e))?).map_err(|e| cannot(&e))?;
        }
        if roots.is_empty() {
            return Err(cannot(&"it holds no certificate"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| cannot(&e))?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Vec<ConnectorConfig>, String> {
        let mut all = Vec::new();
        for (dotted, value) in pairs {
            collect(&mut all, dotted, (*value).to_owned(), "in a test").map_err(|e| e.to_string())?;
        }
        Ok(all)
    }

    #[test]
    fn names_and_variables() {
        assert_eq!(dotted_of("LANDFALL_CONNECTORS_DOVECOT_IMAP").as_deref(), Some("connectors.dovecot.imap"));
        let long = dotted_of("LANDFALL_CONNECTORS_MY_HOST_IMAP_SECURITY");
        assert_eq!(long.as_deref(), Some("connectors.my-host.imap_security"));
        assert_eq!(dotted_of("LANDFALL_CONNECTORS_DOVECOT_COLOUR"), None);
        assert!(read(&[("connectors.embedded.lmtp", "x:1")]).unwrap_err().contains("not \"embedded\""));
        assert!(read(&[("connectors.dovecot.colour", "red")]).unwrap_err().contains("has the keys lmtp"));
    }

    #[test]
    fn whose_mailboxes() {
        let all = read(&[("connectors.dovecot.lmtp", "127.0.0.1:24")]).unwrap();
        let said = mailboxes("a.example=dovecot, embedded", &all).unwrap();
        assert_eq!(said.by_domain["a.example"], "dovecot");
        assert_eq!(said.everywhere.as_deref(), Some("embedded"));
        assert!(mailboxes("courier", &all).unwrap_err().contains("[connectors.courier]"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "first\nsecond\n").unwrap();
        let file = file.display().to_string();
        let mut pairs = vec![
            ("connectors.dovecot.lmtp", "127.0.0.1:24"),
            ("connectors.dovecot.imap", "[::1]:143"),
            ("connectors.dovecot.master_user", "landfall"),
        ];
        let typed = |pairs: &[(&str, &str)]| read(pairs).unwrap()[0].typed("mx.example").map_err(|e| e.to_string());
        assert!(typed(&pairs).unwrap_err().contains("connectors.dovecot.master_password_file"));
        pairs.push(("connectors.dovecot.master_password_file", &file));
        let good = typed(&pairs).unwrap();
        assert_eq!((good.imap.host.as_str(), good.imap.port, good.master_password.as_str()), ("::1", 143, "first"));
        pairs.push(("connectors.dovecot.imap_security", "tls"));
        assert!(typed(&pairs).unwrap_err().contains("ca_file"));
    }
}
