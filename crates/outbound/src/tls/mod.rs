//! What TLS a hand-over needs and how a certificate is checked: opportunistic (RFC 7435), MTA-STS (RFC 8461), DANE
//! (RFC 7672), and the reports about both (RFC 8460).

pub(crate) mod dane;
pub(crate) mod report;
pub(crate) mod report_mail;
pub(crate) mod results;
pub(crate) mod sts;
pub(crate) mod verify;

use std::sync::Arc;

use rustls::RootCertStore;

pub use report::{ReportConfig, ReportSigner};
pub use sts::StsConfig;

/// How much TLS is asked of hosts that no policy says more about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsLevel {
    /// Never, whatever a host offers. Policies of recipients are not looked at.
    Off,
    /// Where a host offers it and the handshake works, with any certificate (RFC 7435).
    #[default]
    Opportunistic,
    /// Always, with any certificate; a host without it gets no mail.
    Required,
}

impl TlsLevel {
    /// The level for a word of the configuration.
    pub fn parse(word: &str) -> Option<TlsLevel> {
        match word {
            "none" => Some(TlsLevel::Off),
            "opportunistic" => Some(TlsLevel::Opportunistic),
            "required" => Some(TlsLevel::Required),
            _ => None,
        }
    }
}

/// TLS of the agent.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// For hosts that no policy says more about.
    pub level: TlsLevel,
    /// Whom certificates must lead to where they are checked: MTA-STS, its HTTPS, the relay.
    pub roots: Arc<RootCertStore>,
    /// How policies are fetched; `None`: MTA-STS is not used.
    pub sts: Option<StsConfig>,
    /// Where mail hosts' TLSA records are: 25 everywhere but in a laboratory.
    pub tlsa_port: u16,
}

impl TlsConfig {
    /// Opportunistic TLS, MTA-STS with these roots, and DANE where the resolver's AD bit is trusted.
    pub fn new(roots: Arc<RootCertStore>) -> Self {
        TlsConfig { level: TlsLevel::Opportunistic, roots, sts: Some(StsConfig::default()), tlsa_port: 25 }
    }

    /// Never TLS.
    pub fn off() -> Self {
        let roots = Arc::new(RootCertStore::empty());
        TlsConfig { level: TlsLevel::Off, roots, sts: None, tlsa_port: 25 }
    }
}

/// The certificate authorities of this machine, and those of a PEM file. The second value counts what could not be read.
///
/// # Errors
/// The text says what is wrong with `file`.
pub fn roots(file: Option<&std::path::Path>) -> Result<(RootCertStore, usize), String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (_, mut ignored_count) = roots.add_parsable_certificates(system.certs);
    ignored_count += system.errors.len();
    if let Some(file) = file {
        let cannot = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        for certificate in read.map_err(|e| cannot(&e))? {
            roots.add(certificate).map_err(|e| cannot(&e))?;
        }
    }
    Ok((roots, ignored_count))
}

/// What one host must do before it gets mail.
#[derive(Debug, Clone)]
pub(crate) enum Demand {
    /// No TLS.
    Off,
    /// TLS if it works.
    Opportunistic,
    /// TLS, with any certificate (a level of the configuration, or TLSA records of which none is usable).
    Encrypted,
    /// TLS with a certificate for the host that leads to a root (MTA-STS enforce, relay with a password).
    Verified,
    /// As `Verified`, but what is wrong is only reported (MTA-STS testing).
    Tested,
    /// TLS with a certificate that the TLSA records name.
    Dane(Arc<dane::DaneBasis>),
}

impl Demand {
    /// Whether clear text is out of the question.
    pub(crate) fn is_strict(&self) -> bool {
        match self {
            Demand::Off | Demand::Opportunistic | Demand::Tested => false,
            Demand::Encrypted | Demand::Verified | Demand::Dane(_) => true,
        }
    }

    /// Whether the certificate says who the host is.
    pub(crate) fn is_authenticated(&self) -> bool {
        matches!(self, Demand::Verified | Demand::Dane(_))
    }

    /// Connections are only shared where the same was asked for.
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Demand::Off => "off",
            Demand::Opportunistic => "may",
            Demand::Encrypted => "encrypt",
            Demand::Verified => "verify",
            Demand::Tested => "test",
            Demand::Dane(_) => "dane",
        }
    }
}
