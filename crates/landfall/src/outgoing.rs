//! What the configuration says about mail that goes out: TLS, relay, shaping, TLS reports.

use std::path::Path;
use std::sync::Arc;

use directory::{Directory, DirectoryError};
use message::dkim::{KeptKey, Signer};
use model::{Address, Domain};
use outbound::{AgentConfig, Relay, RelayTls, ReportConfig, ReportSigner, Shaping, Source, TlsConfig, TlsLevel};
use smtp::client::Credentials;
use store::StoreError;

use crate::config::Config;
use crate::error::CliError;

/// The shaping that comes with the binary.
const BUILT_IN: &str = include_str!("shaping.toml");
/// The operator's, in the data directory, when `outbound.shaping_file` names no other.
const SHAPING_FILE: &str = "shaping.toml";
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The pool of `outbound.source_addresses`.
const DEFAULT_POOL: &str = "configured";

/// Everything of the agent's configuration that is about hosts out there.
pub async fn agent(config: &Config, directory: &Directory) -> Result<AgentConfig, CliError> {
    let mut agent = AgentConfig::new(config.hostname.clone());
    agent.connections_max = config.outbound_connections_max;
    agent.route_connections_max = config.outbound_connections_max;
    agent.messages_per_minute_max = Some(config.outbound_messages_per_minute_max).filter(|most| *most > 0);
    agent.tls = tls(config)?;
    agent.shaping = shaping(config)?;
    if config.outbound_tls_reports && agent.tls.level != TlsLevel::Off {
        agent.reports = Some(reports(directory)?);
    }
    Ok(agent)
}

fn tls(config: &Config) -> Result<TlsConfig, CliError> {
    let (roots, ignored_count) = outbound::roots(config.outbound_tls_ca_file.as_deref())
        .map_err(|problem| wrong("outbound.tls_ca_file", &problem))?;
    if roots.is_empty() {
        tracing::warn!("no certificate authority is known: MTA-STS and a relay with a password cannot work");
    }
    if ignored_count > 0 {
        tracing::debug!(count = ignored_count, "certificate authorities that could not be read were left out");
    }
    let mut tls = TlsConfig::new(Arc::new(roots));
    tls.level = config.outbound_tls;
    Ok(tls)
}

/// The built-in shaping with the operator's file over it.
pub fn shaping(config: &Config) -> Result<Shaping, CliError> {
    let built_in: Shaping = toml::from_str(BUILT_IN).map_err(|e| CliError::failed("read the built-in shaping", &e))?;
    let implied = config.data_dir.join(SHAPING_FILE);
    let file = config.outbound_shaping_file.clone().or_else(|| implied.exists().then_some(implied));
    let mut shaping = match file {
        Some(file) => read(&file)?.over(built_in),
        None => built_in,
    };
    if !config.outbound_source_addresses.is_empty() {
        shaping.pool.push(pool(config));
        shaping.default.pool.get_or_insert_with(|| DEFAULT_POOL.to_owned());
    }
    match &shaping.problems()[..] {
        [] => Ok(shaping),
        problems => Err(wrong("shaping", &problems.join("; "))),
    }
}

fn read(file: &Path) -> Result<Shaping, CliError> {
    let cannot = |e: &dyn std::fmt::Display| wrong(&file.display().to_string(), &e.to_string());
    let size = std::fs::metadata(file).map_err(|e| cannot(&e))?.len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(&"it is larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(file).map_err(|e| cannot(&e))?;
    toml::from_str(&text).map_err(|e| cannot(&e.to_string().trim_end()))
}

/// The first IPv4 address goes with the first IPv6 address, and so on.
fn pool(config: &Config) -> outbound::Pool {
    let all = &config.outbound_source_addresses;
    let v4 = all.iter().filter_map(|ip| if let std::net::IpAddr::V4(ip) = ip { Some(*ip) } else { None });
    let v6 = all.iter().filter_map(|ip| if let std::net::IpAddr::V6(ip) = ip { Some(*ip) } else { None });
    let (mut v4, mut v6) = (v4, v6);
    let mut source = Vec::new();
    loop {
        let (ipv4, ipv6) = (v4.next(), v6.next());
        if ipv4.is_none() && ipv6.is_none() {
            return outbound::Pool { name: DEFAULT_POOL.into(), source };
        }
        let name = ipv4.map(|ip| ip.to_string()).or(ipv6.map(|ip| ip.to_string())).unwrap_or_default();
        source.push(Source { name, ipv4, ipv6, hostname: None, connections: None, messages_per_minute: None });
    }
}

/// The relay, with its password read from its file.
pub fn relay(config: &Config) -> Result<Option<Relay>, CliError> {
    let Some((host, port)) = &config.relay else { return Ok(None) };
    let mut relay = Relay::new(host.clone(), *port);
    match config.outbound_relay_tls.as_str() {
        "auto" => {}
        "none" => relay.tls = RelayTls::Off,
        "opportunistic" => relay.tls = RelayTls::Opportunistic,
        "starttls" => relay.tls = RelayTls::Verified,
        _ => relay.tls = RelayTls::Implicit,
    }
    let Some(file) = &config.outbound_relay_credentials_file else { return Ok(Some(relay)) };
    if config.outbound_relay_tls == "none" || config.outbound_relay_tls == "opportunistic" {
        return Err(wrong("outbound.relay_tls", "a password is only sent over checked TLS: starttls or implicit"));
    }
    let credentials = credentials(file)?;
    Ok(Some(relay.with_credentials(credentials)))
}

/// The name on the first line, the password on the second. Neither is ever printed.
fn credentials(file: &Path) -> Result<Credentials, CliError> {
    let key = "outbound.relay_credentials_file";
    let text = std::fs::read_to_string(file).map_err(|e| wrong(key, &format!("{}: {e}", file.display())))?;
    let mut lines = text.lines().map(str::trim_end);
    match (lines.next(), lines.next()) {
        (Some(username), Some(password)) if !username.is_empty() && !password.is_empty() => {
            Ok(Credentials { username: username.to_owned(), password: password.to_owned() })
        }
        _ => Err(wrong(key, "needs a user name on its first line and a password on its second")),
    }
}

fn reports(directory: &Directory) -> Result<ReportConfig, CliError> {
    let organisation = directory.organisation();
    let domain = &organisation.domains[0];
    let from = Address::parse(&format!("postmaster@{domain}")).map_err(|e| CliError::failed("TLS reports", &e))?;
    Ok(ReportConfig {
        organisation_id: directory.id(),
        organisation_name: organisation.name.clone(),
        from,
        signer: Some(signer(directory, domain)),
    })
}

/// Signs by the keys that there are when a report is written.
fn signer(directory: &Directory, domain: &Domain) -> ReportSigner {
    let (directory, domain) = (directory.clone(), domain.clone());
    Arc::new(move |mail| {
        let (directory, domain) = (directory.clone(), domain.clone());
        Box::pin(async move { sign(&directory, domain, mail).await })
    })
}

async fn sign(directory: &Directory, domain: Domain, mail: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
    let keys = directory.dkim_keys().await.map_err(|error| match error {
        DirectoryError::Store(error) => error,
        other => StoreError::Unavailable(other.to_string()),
    })?;
    let signing = tokio::task::spawn_blocking(move || {
        let kept = keys.iter().map(|key| KeptKey { selector: &key.selector, domain: &key.domain, pem: &key.pem });
        let signer = Signer::nearest(kept, &domain)?;
        signer.map(|signer| signer.sign(&mail)).transpose()
    });
    let signed = signing.await.map_err(|e| StoreError::Unavailable(format!("signing ended: {e}")))?;
    // A key that does not load was refused when it was made: somebody has to look.
    Ok(signed.inspect_err(|error| tracing::error!("a TLS report is not signed: {error}")).ok().flatten())
}

fn wrong(what: &str, problem: &str) -> CliError {
    CliError::Input(format!("{what}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::dkim::DkimKey;

    fn config(dir: &Path, toml: &str) -> Config {
        std::fs::write(dir.join("landfall.toml"), toml).unwrap();
        Config::load(dir, None, &[]).unwrap()
    }

    #[test]
    fn the_built_in_shaping_is_sound_and_a_file_goes_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let built_in = shaping(&config(dir.path(), "")).unwrap();
        assert!(built_in.provider.len() >= 5);
        std::fs::write(dir.path().join("shaping.toml"), "[[provider]]\nname = \"google\"\nlimits.connections = 3\n")
            .unwrap();
        let over = shaping(&config(dir.path(), "[outbound]\nsource_addresses = [\"127.0.0.2\", \"::1\"]\n")).unwrap();
        let google = over.provider.iter().find(|p| p.name == "google").unwrap();
        assert_eq!((google.limits.connections, google.mx.is_empty()), (Some(3), false));
        assert_eq!(over.default.pool.as_deref(), Some("configured"));
        for (file, part) in [
            ("[default]\nconections = 3\n", "conections"),
            ("[default]\nconnections = 0\n", "limit of 0"),
            ("[default]\npool = \"x\"\n", "no pool"),
            ("[default\n", "shaping.toml"),
        ] {
            std::fs::write(dir.path().join("shaping.toml"), file).unwrap();
            let error = shaping(&config(dir.path(), "")).unwrap_err().to_string();
            assert!(error.contains(part), "{file:?}: {error}");
        }
    }

    /// RFC 8460 3: reports are signed, also where the domain that writes them is not the newest; by the key that all check. What
    /// was made or exchanged since the start counts with the next report.
    #[tokio::test]
    async fn reports_are_signed_by_every_kind_of_key_of_now() {
        testkit::on_both(|t| async move {
            let domains: Vec<Domain> = ["a.example", "b.example"].map(|domain| domain.parse().unwrap()).to_vec();
            let new = directory::NewOrganisation { name: "Us".into(), domains: domains.clone() };
            let directory = Directory::create(&t.store, new).await.unwrap();
            let signer = reports(&directory).unwrap().signer.expect("a signer");
            let sign = async || {
                let signature = signer(b"From: postmaster@a.example\r\n\r\nx\r\n".to_vec()).await;
                String::from_utf8(signature.unwrap().unwrap_or_default()).unwrap()
            };
            assert_eq!(sign().await, "", "there is no key yet");
            for domain in &domains {
                let (rsa, ed) = (DkimKey::generate().unwrap(), DkimKey::generate_ed25519().unwrap());
                for (selector, key) in [("landfall1", rsa), ("landfall2", ed)] {
                    let name = format!("{selector}._domainkey.{domain}");
                    directory.put_secret("dkim", &name, &key.to_pem()).await.unwrap();
                }
            }
            let signed = sign().await;
            assert_eq!(
                (signed.matches("d=a.example;").count(), signed.matches("DKIM-Signature:").count()),
                (2, 2),
                "{signed}"
            );
            assert!(signed.contains("a=rsa-sha256;") && signed.contains("s=landfall1;"), "{signed}");
            let name = "landfall3._domainkey.a.example".to_owned();
            let key = (name, DkimKey::generate_ed25519().unwrap().to_pem());
            directory.put_waiting_dkim_keys(&[key], "ada").await.unwrap();
            assert!(!sign().await.contains("s=landfall3;"), "its record may not be there yet");
            directory.switch_dkim_keys("a.example", "ada").await.unwrap();
            let signed = sign().await;
            assert!(signed.contains("s=landfall3;") && !signed.contains("s=landfall1;"), "{signed}");
        })
        .await;
    }

    #[test]
    fn a_relay_with_a_password_is_always_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("relay.credentials");
        std::fs::write(&file, "ada\nsecret\n").unwrap();
        let with = |port: u16, tls: &str| {
            let toml = format!(
                "[outbound]\nrelay = \"smtp.example.org:{port}\"\nrelay_tls = \"{tls}\"\nrelay_credentials_file = {:?}\n",
                file.display().to_string()
            );
            relay(&config(dir.path(), &toml)).map(|relay| relay.unwrap().tls)
        };
        assert_eq!(with(587, "auto").unwrap(), RelayTls::Verified);
        assert_eq!(with(465, "auto").unwrap(), RelayTls::Implicit);
        assert!(with(25, "opportunistic").is_err() && with(25, "none").is_err());
        std::fs::write(&file, "ada\n").unwrap();
        let error = with(587, "auto").unwrap_err().to_string();
        assert!(error.contains("second") && !error.contains("ada"), "{error}");
    }
}
