//! Certificate verifiers for a mail client: one that takes any certificate (opportunistic TLS protects against listeners,
//! not against impostors: RFC 7435), one that only remembers what was wrong, and one for TLSA records.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use sha2::{Digest, Sha256, Sha512};

use dns::Tlsa;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes any certificate whose key the host has.
pub(crate) fn any_certificate() -> Arc<ClientConfig> {
    by(Check::Anybody)
}

/// Takes a certificate for the name asked for that leads to a root. Without any root, none is taken.
pub(crate) fn checked(roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
    by(Check::Roots(under(roots)))
}

/// Checks as [`checked`] does, takes the certificate whatever comes of it, and leaves what was wrong in `seen`.
pub(crate) fn noted(roots: &Arc<RootCertStore>, seen: Arc<Mutex<Option<Error>>>) -> Arc<ClientConfig> {
    by(Check::Noted(under(roots), seen))
}

/// Takes a certificate that one of the records names (RFC 7672 3.1).
pub(crate) fn by_tlsa(records: Vec<Tlsa>, names: Vec<ServerName<'static>>) -> Arc<ClientConfig> {
    by(Check::Tlsa(ByTlsa { records, names }))
}

fn by(check: Check) -> Arc<ClientConfig> {
    let verifier = Verifier { check, algorithms: provider().signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the default protocol versions");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Arc::new(builder.with_no_client_auth())
}

/// `None`: there is no root, so nothing leads to one.
type Roots = Option<Arc<WebPkiServerVerifier>>;

fn under(roots: &Arc<RootCertStore>) -> Roots {
    WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build().ok()
}

/// What is asked of a certificate. The signature of the handshake is checked in any case: it proves that the host has the
/// certificate's key.
#[derive(Debug)]
struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Check {
    Anybody,
    Roots(Roots),
    /// As `Roots`, but what is wrong is only left here.
    Noted(Roots, Arc<Mutex<Option<Error>>>),
    Tlsa(ByTlsa),
}

/// A certificate as it came.
struct Shown<'a> {
    end_entity: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    ocsp: &'a [u8],
    now: UnixTime,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Shown { end_entity, intermediates, name: server_name, ocsp: ocsp_response, now };
        match &self.check {
            Check::Anybody => Ok(()),
            Check::Roots(roots) => by_roots(roots, &shown),
            Check::Noted(roots, seen) => {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = by_roots(roots, &shown).err();
                Ok(())
            }
            Check::Tlsa(tlsa) => tlsa.check(&shown, self.algorithms.all),
        }
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn by_roots(roots: &Roots, shown: &Shown<'_>) -> Result<(), Error> {
    let Some(roots) = roots else { return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) };
    let Shown { end_entity, intermediates, name, ocsp, now } = *shown;
    roots.verify_server_cert(end_entity, intermediates, name, ocsp, now).map(|_| ())
}

#[derive(Debug)]
struct ByTlsa {
    records: Vec<Tlsa>,
    /// Names that a certificate under a trust anchor may be for (RFC 7672 3.2.2).
    names: Vec<ServerName<'static>>,
}

/// The usage of a trust anchor.
pub(crate) const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
const SELECT_CERTIFICATE: u8 = 0;
const MATCH_BYTES: u8 = 0;

impl ByTlsa {
    fn check(&self, shown: &Shown<'_>, algorithms: &[&dyn SignatureVerificationAlgorithm]) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(shown.end_entity)?;
        let own_key = parsed.subject_public_key_info();
        // RFC 7672 3.1.1: the host's own certificate or key: names, dates and issuers do not matter.
        let is_own = |r: &Tlsa| r.usage == DANE_EE && matches(r, shown.end_entity, &own_key);
        if self.records.iter().any(is_own) {
            return Ok(());
        }
        let mut problem = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        for record in self.records.iter().filter(|record| record.usage == DANE_TA) {
            for anchor in anchors(record, shown.intermediates) {
                match self.under(&anchor, &parsed, shown, algorithms) {
                    Ok(()) => return Ok(()),
                    Err(error) => problem = error,
                }
            }
        }
        Err(problem)
    }

    /// RFC 7672 3.1.2: the chain leads to the anchor, and the certificate is for one of the names.
    fn under(
        &self,
        anchor: &CertificateDer<'_>,
        end_entity: &ParsedCertificate<'_>,
        shown: &Shown<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone())?;
        verify_server_cert_signed_by_trust_anchor(end_entity, &roots, shown.intermediates, shown.now, algorithms)?;
        let is_for = |name: &ServerName<'_>| verify_server_name(end_entity, name).is_ok();
        match self.names.iter().any(is_for) {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
        }
    }
}

/// The certificates that a record names as trust anchors: those of the chain that match, or the record's own bytes.
fn anchors<'a>(record: &'a Tlsa, chain: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let matching = chain.iter().filter(|certificate| {
        let Ok(parsed) = ParsedCertificate::try_from(*certificate) else { return false };
        matches(record, certificate, &parsed.subject_public_key_info())
    });
    let mut found: Vec<CertificateDer<'a>> = matching.map(|c| CertificateDer::from(c.as_ref())).collect();
    if record.selector == SELECT_CERTIFICATE && record.matching == MATCH_BYTES && found.is_empty() {
        found.push(CertificateDer::from(record.data.as_slice()));
    }
    found
}

/// RFC 6698 2.1.2 and 2.1.3.
fn matches(record: &Tlsa, certificate: &[u8], key: &[u8]) -> bool {
    let selected = if record.selector == SELECT_CERTIFICATE { certificate } else { key };
    match record.matching {
        MATCH_BYTES => record.data == selected,
        1 => record.data == Sha256::digest(selected).as_slice(),
        2 => record.data == Sha512::digest(selected).as_slice(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made {
        authority: CertificateDer<'static>,
        own: CertificateDer<'static>,
        own_key: Vec<u8>,
        authority_key: Vec<u8>,
    }

    /// A host's certificate for `mx.example` under an authority.
    fn made() -> Made {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        let leaf = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
        let own = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
        let key_of =
            |der: &CertificateDer<'_>| ParsedCertificate::try_from(der).unwrap().subject_public_key_info().to_vec();
        let (own_key, authority_key) = (key_of(&own), key_of(&authority));
        Made { authority, own, own_key, authority_key }
    }

    fn record(usage: u8, selector: u8, matching: u8, selected: &[u8]) -> Tlsa {
        let data = match matching {
            0 => selected.to_vec(),
            1 => Sha256::digest(selected).to_vec(),
            _ => Sha512::digest(selected).to_vec(),
        };
        Tlsa { usage, selector, matching, data }
    }

    fn is_taken(records: Vec<Tlsa>, names: &[&'static str], chain: &[&CertificateDer<'static>], now: UnixTime) -> bool {
        let names = names.iter().map(|name| ServerName::try_from(*name).unwrap()).collect();
        let algorithms = provider().signature_verification_algorithms;
        let verifier = Verifier { check: Check::Tlsa(ByTlsa { records, names }), algorithms };
        let rest: Vec<CertificateDer<'static>> = chain[1..].iter().map(|c| (*c).clone()).collect();
        let asked = ServerName::try_from("mx.example").unwrap();
        verifier.verify_server_cert(chain[0], &rest, &asked, &[], now).is_ok()
    }

    /// RFC 7672 3.1: every combination of usage 2 and 3 with both selectors and the three matching types.
    #[test]
    fn records_take_what_they_name_and_nothing_else() {
        let (made, other, now) = (made(), made(), UnixTime::now());
        for matching in 0..3 {
            for (selector, own, authority) in
                [(0, &made.own[..], &made.authority[..]), (1, &made.own_key, &made.authority_key)]
            {
                let ee = record(3, selector, matching, own);
                let chain = [&made.own, &made.authority];
                assert!(is_taken(vec![ee.clone()], &[], &chain, now), "3 {selector} {matching}");
                assert!(is_taken(vec![ee.clone()], &["else.example"], &chain, now), "names do not matter to usage 3");
                assert!(!is_taken(vec![ee], &["mx.example"], &[&other.own, &other.authority], now));
                let ta = record(2, selector, matching, authority);
                assert!(is_taken(vec![ta.clone()], &["mx.example"], &chain, now), "2 {selector} {matching}");
                assert!(!is_taken(vec![ta.clone()], &["else.example"], &chain, now), "names matter to usage 2");
                assert!(!is_taken(vec![ta.clone()], &["mx.example"], &[&other.own, &other.authority], now));
                // The authority is named and sent along, but did not sign this certificate.
                assert!(!is_taken(vec![ta], &["mx.example"], &[&other.own, &made.authority], now));
            }
        }
        let whole = record(2, 0, 0, &made.authority);
        assert!(is_taken(vec![whole], &["mx.example"], &[&made.own], now), "the record holds the authority itself");
        let hash = record(2, 0, 1, &made.authority);
        assert!(!is_taken(vec![hash], &["mx.example"], &[&made.own], now), "a hash needs the authority in the chain");
        let second = vec![record(3, 1, 1, &other.own_key), record(3, 1, 1, &made.own_key)];
        assert!(is_taken(second, &[], &[&made.own], now), "one of several is enough");
        // RFC 7672 3.1.1: dates do not matter to usage 3, and do to usage 2.
        let long_ago = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        assert!(is_taken(vec![record(3, 0, 1, &made.own)], &[], &[&made.own], long_ago));
        assert!(!is_taken(
            vec![record(2, 0, 1, &made.authority)],
            &["mx.example"],
            &[&made.own, &made.authority],
            long_ago
        ));
    }
}
