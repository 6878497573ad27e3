//! TLS for SMTP, submission and IMAP: the configured certificate, or one of our own making, so that STARTTLS is there from
//! the first minute. A certificate whose files change is loaded again; what cannot be loaded leaves the old one in force.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;
use crate::error::CliError;

/// The files are looked at for changes at most this often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Where the certificate in use is.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    is_ours: bool,
}

fn files(config: &Config) -> Files {
    match &config.smtp_tls {
        Some((certificate, key)) => Files { certificate: certificate.clone(), key: key.clone(), is_ours: false },
        None => {
            let folder = config.data_dir.join("tls");
            Files { certificate: folder.join("certificate.pem"), key: folder.join("key.pem"), is_ours: true }
        }
    }
}

/// The TLS configuration of every listener. Makes a self-signed certificate when none is configured and none is there.
///
/// # Errors
/// When the files cannot be read or written, or do not fit each other.
pub fn server_config(config: &Config) -> Result<Arc<rustls::ServerConfig>, CliError> {
    let files = files(config);
    if files.is_ours && !files.certificate.exists() {
        make(config, &files)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = Certificates::load(files, provider.clone())?;
    let built = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| CliError::failed("TLS", &e))?;
    Ok(Arc::new(built.with_no_client_auth().with_cert_resolver(Arc::new(certificates))))
}

/// What `doctor` says of it, without making anything.
///
/// # Errors
/// What is wrong with the files.
pub fn describe(config: &Config) -> Result<String, String> {
    let files = files(config);
    let ours =
        "self-signed: mail programs ask whether to trust it; set smtp.tls_certificate and smtp.tls_key for a real one";
    if files.is_ours && !files.certificate.exists() {
        return Ok(format!("a certificate is made at the first start, {ours}"));
    }
    load(&files, &rustls::crypto::ring::default_provider()).map_err(|e| e.to_string())?;
    match files.is_ours {
        true => Ok(format!("{} is {ours}", files.certificate.display())),
        false => Ok(format!("{} is ready", files.certificate.display())),
    }
}

/// The key first, readable by its owner only: a certificate without its key would stop the next start.
fn make(config: &Config, files: &Files) -> Result<(), CliError> {
    let cannot = |e: &dyn std::fmt::Display| CliError::failed("make a TLS certificate", e);
    let mut names = vec![config.hostname.clone(), "localhost".to_owned()];
    names.extend(config.organisation_domains.iter().map(|domain| domain.as_str().to_owned()));
    names.retain(|name| name.is_ascii() && !name.starts_with('['));
    names.sort_unstable();
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(|e| cannot(&e))?;
    params.distinguished_name.push(DnType::CommonName, config.hostname.as_str());
    let key = KeyPair::generate().map_err(|e| cannot(&e))?;
    let certificate = params.self_signed(&key).map_err(|e| cannot(&e))?;
    let folder = files.key.parent().unwrap_or(&config.data_dir);
    fs::create_dir_all(folder).map_err(|e| cannot(&e))?;
    write(&files.key, 0o600, &key.serialize_pem()).map_err(|e| cannot(&e))?;
    write(&files.certificate, 0o644, &certificate.pem()).map_err(|e| cannot(&e))
}

fn write(file: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn load(files: &Files, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, CliError> {
    let cannot = |file: &Path, e: &dyn std::fmt::Display| CliError::Input(format!("{}: {e}", file.display()));
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| cannot(&files.certificate, &e))?;
    if chain.is_empty() {
        return Err(cannot(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| cannot(&files.key, &e))?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|e| cannot(&files.certificate, &e))?;
    Ok(Arc::new(pair))
}

/// Hands out the certificate, and looks now and then whether its files changed.
#[derive(Debug)]
struct Certificates {
    files: Files,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<CertifiedKey>,
    changed_at: Option<SystemTime>,
    looked_at: Instant,
}

impl Certificates {
    fn load(files: Files, provider: Arc<CryptoProvider>) -> Result<Self, CliError> {
        let current = load(&files, &provider)?;
        let changed_at = changed_at(&files);
        let state = Mutex::new(State { current, changed_at, looked_at: Instant::now() });
        Ok(Certificates { files, provider, state })
    }

    fn current(&self, look_again: Duration) -> Arc<CertifiedKey> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() < look_again {
            return state.current.clone();
        }
        state.looked_at = Instant::now();
        let changed_at = changed_at(&self.files);
        if changed_at != state.changed_at {
            match load(&self.files, &self.provider) {
                Ok(fresh) => {
                    tracing::info!("the TLS certificate {} was loaded again", self.files.certificate.display());
                    (state.current, state.changed_at) = (fresh, changed_at);
                }
                Err(error) => tracing::warn!("the TLS certificate changed and cannot be loaded: {error}"),
            }
        }
        state.current.clone()
    }
}

/// When the later of the two files changed.
fn changed_at(files: &Files) -> Option<SystemTime> {
    let changed = |file: &Path| fs::metadata(file).and_then(|about| about.modified()).ok();
    changed(&files.certificate).max(changed(&files.key))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current(LOOK_AGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        Config::load(dir, None, &[]).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_only_its_owner_reads_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert!(describe(&config(dir.path())).unwrap().contains("at the first start"));
        server_config(&config(dir.path())).unwrap();
        let made = fs::read(dir.path().join("tls/certificate.pem")).unwrap();
        let mode = fs::metadata(dir.path().join("tls/key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        server_config(&config(dir.path())).unwrap();
        assert_eq!(fs::read(dir.path().join("tls/certificate.pem")).unwrap(), made);
        assert!(describe(&config(dir.path())).unwrap().contains("is self-signed"));
    }

    #[test]
    fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        server_config(&config(dir.path())).unwrap();
        server_config(&config(other.path())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates = Certificates::load(files(&config(dir.path())), provider).unwrap();
        let first = certificates.current(Duration::ZERO).cert.clone();
        let later = SystemTime::now() + Duration::from_secs(60);
        let put = |name: &str, bytes: &[u8], at: SystemTime| {
            let file = dir.path().join("tls").join(name);
            fs::write(&file, bytes).unwrap();
            OpenOptions::new().write(true).open(&file).unwrap().set_modified(at).unwrap();
        };
        put("certificate.pem", b"-----BEGIN CERTIFICATE-----\nbroken", later);
        assert_eq!(certificates.current(Duration::ZERO).cert, first);
        for name in ["certificate.pem", "key.pem"] {
            put(name, &fs::read(other.path().join("tls").join(name)).unwrap(), later + Duration::from_secs(60));
        }
        assert_ne!(certificates.current(Duration::ZERO).cert, first);
    }
}
