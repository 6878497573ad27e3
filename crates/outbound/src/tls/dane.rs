//! DANE for SMTP (RFC 7672): which TLSA records of a mail host count, and where they are looked for.

use std::sync::Arc;

use dns::{DnsError, Resolver, Secured, Tlsa};
use rustls_pki_types::ServerName;

use crate::tls::verify;

/// Records of one host that are looked at.
const RECORDS_MAX: usize = 32;

/// What a mail host's TLSA records ask for.
#[derive(Debug)]
pub(crate) struct DaneBasis {
    /// The name in SNI: where the records are (RFC 7672 8.1).
    pub(crate) server_name: ServerName<'static>,
    pub(crate) config: Arc<rustls::ClientConfig>,
    /// `3 1 1 0a1b…`, for reports.
    pub(crate) records: Vec<String>,
    /// Some of them name a trust anchor, which vouches for names.
    pub(crate) has_anchor: bool,
}

/// What was found for one host.
#[derive(Debug)]
pub(crate) enum DaneFound {
    /// No secure records: DANE says nothing.
    None,
    /// Usable records.
    Usable(Arc<DaneBasis>),
    /// Secure records, none usable: TLS is a must, the certificate is not checked (RFC 7672 2.2).
    Unusable,
    /// It could not be found out: the host must not be used now (RFC 7672 2.1.1).
    Failed(DnsError),
}

/// Looks for the records of `host`, whose addresses were found with `is_secure` under the name `canonical`.
pub(crate) async fn find(
    resolver: &Resolver,
    domain: &str,
    host: &str,
    canonical: &str,
    is_secure: bool,
    port: u16,
) -> DaneFound {
    let mut names = Vec::new();
    if is_secure {
        names.push(canonical);
    }
    // RFC 7672 2.2.2: with an alias, the name before it is asked as well, if at least the alias itself is secure.
    if canonical != host && (is_secure || resolver.is_alias_secure(host).await) {
        names.push(host);
    }
    for base in names {
        match resolver.tlsa(base, port).await {
            Ok(Secured { values, is_secure: true }) => return judge(domain, host, base, &values),
            Ok(Secured { is_secure: false, .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return DaneFound::Failed(error),
        }
    }
    DaneFound::None
}

fn judge(domain: &str, host: &str, base: &str, found: &[Tlsa]) -> DaneFound {
    let usable: Vec<Tlsa> = found.iter().take(RECORDS_MAX).filter(|record| is_usable(record)).cloned().collect();
    let Ok(server_name) = ServerName::try_from(base.to_owned()) else { return DaneFound::Unusable };
    if usable.is_empty() {
        return DaneFound::Unusable;
    }
    // RFC 7672 3.2.2: the names that a certificate under a trust anchor may be for.
    let names = [base, host, domain].into_iter().filter_map(|name| ServerName::try_from(name.to_owned()).ok());
    let records = usable.iter().map(text).collect();
    let has_anchor = usable.iter().any(|record| record.usage == verify::DANE_TA);
    let config = verify::by_tlsa(usable, names.collect());
    DaneFound::Usable(Arc::new(DaneBasis { server_name, config, records, has_anchor }))
}

/// RFC 7672 3.1: usages 2 and 3 alone, and values that can match at all.
fn is_usable(record: &Tlsa) -> bool {
    const SHA256_BYTES: usize = 32;
    const SHA512_BYTES: usize = 64;
    let can_match = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == SHA256_BYTES,
        2 => record.data.len() == SHA512_BYTES,
        _ => false,
    };
    matches!(record.usage, 2 | 3) && matches!(record.selector, 0 | 1) && can_match
}

/// As in a zone, with the data shortened.
fn text(record: &Tlsa) -> String {
    const DATA_BYTES_SHOWN: usize = 64;
    let data = &record.data[..record.data.len().min(DATA_BYTES_SHOWN)];
    format!("{} {} {} {}", record.usage, record.selector, record.matching, data_encoding::HEXLOWER.encode(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_match_is_usable() {
        let record = |usage, selector, matching, bytes: usize| Tlsa { usage, selector, matching, data: vec![7; bytes] };
        for (record, expect) in [
            (record(3, 1, 1, 32), true),
            (record(2, 0, 2, 64), true),
            (record(3, 0, 0, 900), true),
            (record(0, 0, 1, 32), false),
            (record(1, 1, 1, 32), false),
            (record(3, 2, 1, 32), false),
            (record(3, 1, 1, 31), false),
            (record(3, 1, 3, 32), false),
            (record(3, 1, 0, 0), false),
        ] {
            assert_eq!(is_usable(&record), expect, "{record:?}");
        }
    }
}
