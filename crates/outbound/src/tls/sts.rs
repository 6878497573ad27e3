//! MTA-STS (RFC 8461): a domain says over HTTPS which hosts take its mail and that they must show a proper certificate.
//!
//! A policy is found by the TXT record `_mta-sts.DOMAIN`, fetched from `mta-sts.DOMAIN`, kept in a table as long as it
//! says, and fetched again when the record's id changes. A policy that is kept outlives a record that vanished and a
//! server that fails: otherwise whoever can drop packets could switch it off.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dns::Resolver;
use model::{SqlText, Timestamp};
use rustls::RootCertStore;
use store::{Store, StoreError, values};

use crate::tls::verify;

/// RFC 8461 3.3 suggests 64 KiB.
const POLICY_BYTES_MAX: usize = 64 * 1024;
/// RFC 8461 3.2: a year.
const MAX_AGE_S_MAX: i64 = 31_557_600;
const MX_PATTERNS_MAX: usize = 64;
const LINES_MAX: usize = 256;
/// RFC 8461 3.1: an id is 1 to 32 letters and digits.
const ID_CHARS_MAX: usize = 32;
/// After a failed fetch, the same domain is not asked again for so long (RFC 8461 3.3: no more than once in five minutes).
const FAILED_WAIT_MS: i64 = 5 * 60_000;
const FAILED_MAX: usize = 10_000;
/// RFC 8461 3.3: a policy is fetched again before its age is over, so that it is there when its server is not: after a day, or half
/// its age if that is less.
const REFRESH_MS: i64 = 24 * 3_600_000;
const HTTPS_PORT: u16 = 443;

/// How policies are fetched.
#[derive(Debug, Clone)]
pub struct StsConfig {
    /// The port of the policy servers: 443 everywhere but in a laboratory.
    pub port: u16,
    /// For one fetch, everything included, in milliseconds.
    pub deadline_ms: u64,
}

impl Default for StsConfig {
    fn default() -> Self {
        StsConfig { port: HTTPS_PORT, deadline_ms: 20_000 }
    }
}

/// What a policy wants of senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StsMode {
    Enforce,
    Testing,
    None,
}

impl StsMode {
    fn as_str(self) -> &'static str {
        match self {
            StsMode::Enforce => "enforce",
            StsMode::Testing => "testing",
            StsMode::None => "none",
        }
    }

    fn parse(word: &str) -> Option<StsMode> {
        [StsMode::Enforce, StsMode::Testing, StsMode::None].into_iter().find(|mode| mode.as_str() == word)
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StsPolicy {
    pub(crate) mode: StsMode,
    /// Host names, or `*.` and a name.
    pub(crate) mx: Vec<String>,
    pub(crate) max_age_s: i64,
}

/// Why a policy could not be had: the result type of RFC 8460 4.3, and the cause.
pub(crate) type Problem = (&'static str, String);

/// What is known of a domain's policy, and what went wrong on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct StsFound {
    pub(crate) policy: Option<Arc<StsPolicy>>,
    /// The domain announces a policy that could not be had, for the report.
    pub(crate) problem: Option<Problem>,
}

impl StsPolicy {
    /// RFC 8461 3.2. Unknown fields are ignored; of `mx` there may be many.
    ///
    /// # Errors
    /// The text says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<StsPolicy, String> {
        let mut fields: HashMap<&str, &str> = HashMap::new();
        let mut mx = Vec::new();
        for line in text.lines().take(LINES_MAX).map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or("a line without a colon")?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "mx" if mx.len() < MX_PATTERNS_MAX => mx.push(pattern(value).ok_or("an mx that is no host name")?),
                "mx" => return Err("too many mx".into()),
                // RFC 8461 3.2: of a field that stands twice, the first counts.
                _ => drop(fields.entry(key).or_insert(value)),
            }
        }
        if fields.get("version") != Some(&"STSv1") {
            return Err("the version is not STSv1".into());
        }
        let mode = fields.get("mode").and_then(|word| StsMode::parse(word)).ok_or("no mode that we know")?;
        let max_age = fields.get("max_age").and_then(|age| age.parse::<i64>().ok());
        let max_age_s = max_age.filter(|age| (0..=MAX_AGE_S_MAX).contains(age)).ok_or("no max_age up to a year")?;
        if mx.is_empty() && mode != StsMode::None {
            return Err("no mx".into());
        }
        Ok(StsPolicy { mode, mx, max_age_s })
    }

    /// RFC 8461 4.1: `*.example.com` stands for exactly one label more.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => *pattern == host,
        })
    }
}

fn pattern(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    model::Domain::parse(name).ok().filter(|_| !name.contains('*')).map(|_| text.trim_end_matches('.').to_lowercase())
}

/// The id of the record among a name's texts: exactly one may begin with the version (RFC 8461 3.1).
fn record_id(texts: &[String]) -> Option<String> {
    let mut records = texts.iter().filter(|text| {
        let (first, _) = text.split_once(';').unwrap_or((text, ""));
        first.trim() == "v=STSv1"
    });
    let (Some(record), None) = (records.next(), records.next()) else { return None };
    // RFC 8461 3.1: blanks may stand around the "=".
    let id = record.split(';').filter_map(|part| part.split_once('=')).find(|(key, _)| key.trim() == "id")?.1.trim();
    let is_id = !id.is_empty() && id.len() <= ID_CHARS_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

/// Finds policies.
pub(crate) struct Sts {
    store: Store,
    resolver: Resolver,
    config: StsConfig,
    tls: Arc<rustls::ClientConfig>,
    /// When a fetch may be tried again.
    failed: Mutex<HashMap<String, (Timestamp, Problem)>>,
}

/// A policy as it was kept.
struct Kept {
    id: String,
    policy: StsPolicy,
    fetched_at: Timestamp,
    expires_at: Timestamp,
}

impl Kept {
    /// Whether it is as the domain says and needs no look.
    fn is_current(&self, id: &str, now: Timestamp) -> bool {
        let age_ms = self.policy.max_age_s.saturating_mul(1_000);
        self.id == id && now.ms_since(self.fetched_at) < REFRESH_MS.min(age_ms / 2)
    }
}

impl Sts {
    pub(crate) fn new(store: Store, resolver: Resolver, config: StsConfig, roots: &Arc<RootCertStore>) -> Sts {
        Sts { store, resolver, config, tls: verify::checked(roots), failed: Mutex::default() }
    }

    /// The policy for a domain, from the table or from its server.
    pub(crate) async fn find(&self, domain: &str) -> StsFound {
        let kept = self.kept(domain).await.unwrap_or_else(|error| {
            tracing::warn!("a kept MTA-STS policy cannot be read: {error}");
            None
        });
        let now = self.store.now();
        let kept = kept.filter(|kept| kept.expires_at > now);
        let answer = self.resolver.txt(&format!("_mta-sts.{domain}")).await;
        let id = answer.ok().as_deref().and_then(record_id);
        let from = |kept: Option<Kept>| kept.map(|kept| Arc::new(kept.policy));
        match (id, kept) {
            // No record now: what is kept counts until its age is over.
            (None, kept) => StsFound { policy: from(kept), problem: None },
            (Some(id), Some(kept)) if kept.is_current(&id, now) => StsFound { policy: from(Some(kept)), problem: None },
            (Some(id), kept) => match self.fetch_once(domain, &id, now).await {
                Ok(policy) => StsFound { policy: Some(Arc::new(policy)), problem: None },
                // The policy that the record names is kept: that it could not be had once more is no failure yet.
                Err(_) if kept.as_ref().is_some_and(|kept| kept.id == id) => {
                    StsFound { policy: from(kept), problem: None }
                }
                Err(problem) => StsFound { policy: from(kept), problem: Some(problem) },
            },
        }
    }

    /// Fetches and keeps, unless it failed a moment ago.
    async fn fetch_once(&self, domain: &str, id: &str, now: Timestamp) -> Result<StsPolicy, Problem> {
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, problem)) = failed().get(domain).filter(|(until, _)| *until > now) {
            tracing::debug!("the MTA-STS policy of {domain} is not asked for before {until}");
            return Err(problem.clone());
        }
        let fetched = self.fetch(domain).await;
        if let Err(problem) = &fetched {
            tracing::info!("the MTA-STS policy of {domain} could not be had: {}", problem.1);
            let mut failures = failed();
            failures.retain(|_, (until, _)| *until > now);
            if failures.len() < FAILED_MAX {
                failures.insert(domain.to_owned(), (now.plus_ms(FAILED_WAIT_MS), problem.clone()));
            }
        }
        let policy = fetched?;
        if let Err(error) = self.keep(domain, id, &policy, now).await {
            tracing::warn!("an MTA-STS policy cannot be kept: {error}");
        }
        Ok(policy)
    }

    async fn fetch(&self, domain: &str) -> Result<StsPolicy, Problem> {
        let wait = Duration::from_millis(self.config.deadline_ms);
        let text = match tokio::time::timeout(wait, self.get(domain)).await {
            Ok(Ok(text)) => text,
            Ok(Err((kind, cause))) => return Err((kind, cause)),
            Err(_elapsed) => return Err(("sts-policy-fetch-error", "the server did not answer in time".into())),
        };
        StsPolicy::parse(&text).map_err(|problem| ("sts-policy-invalid", problem))
    }

    /// RFC 8461 3.3: HTTPS with a checked certificate, no redirect, text/plain, bounded.
    async fn get(&self, domain: &str) -> Result<String, Problem> {
        let failed = |cause: String| ("sts-policy-fetch-error", cause);
        let host = format!("mta-sts.{domain}");
        let ips = self.resolver.addresses(&host).await.map_err(|e| failed(e.to_string()))?;
        let addrs: Vec<SocketAddr> = ips.into_iter().map(|ip| SocketAddr::new(ip, self.config.port)).collect();
        let client = reqwest::Client::builder()
            .use_preconfigured_tls((*self.tls).clone())
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .no_proxy()
            .resolve_to_addrs(&host, &addrs)
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let port = match self.config.port {
            HTTPS_PORT => String::new(),
            port => format!(":{port}"),
        };
        let url = format!("https://{host}{port}/.well-known/mta-sts.txt");
        let mut answer = client.get(url).send().await.map_err(|error| {
            let kind = if is_certificate(&error) { "sts-webpki-invalid" } else { "sts-policy-fetch-error" };
            (kind, chain(&error))
        })?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(failed(format!("the server answered {}", answer.status())));
        }
        let kind = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "text/plain" {
            return Err(failed(format!("the policy is {kind:?}, not text/plain")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| failed(chain(&e)))? {
            if body.len() + chunk.len() > POLICY_BYTES_MAX {
                return Err(failed("the policy is larger than 64 KiB".into()));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| ("sts-policy-invalid", "the policy is no text".into()))
    }

    async fn kept(&self, domain: &str) -> Result<Option<Kept>, StoreError> {
        let Some(row) = self.store.query_one("tls.sts_policy", &values![domain]).await? else { return Ok(None) };
        let Some(mode) = StsMode::parse(row.text("mode")?) else { return Ok(None) };
        let policy = StsPolicy { mode, mx: row.json("mx")?, max_age_s: row.int("max_age_s")? };
        let (fetched_at, expires_at) = (row.at("fetched_at")?, row.at("expires_at")?);
        Ok(Some(Kept { id: row.text("policy_id")?.to_owned(), policy, fetched_at, expires_at }))
    }

    async fn keep(&self, domain: &str, id: &str, policy: &StsPolicy, now: Timestamp) -> Result<(), StoreError> {
        let mx = serde_json::Value::from(
            policy.mx.iter().map(|mx| SqlText::new(mx).as_str().to_owned()).collect::<Vec<_>>(),
        );
        let expires_at = now.plus_ms(policy.max_age_s.saturating_mul(1_000));
        let row = values![domain, id, policy.mode.as_str(), mx, policy.max_age_s, now, expires_at];
        self.store.execute("tls.put_sts_policy", &row).await.map(|_| ())
    }
}

/// What lies under an error of the HTTP client: its own text names only the outermost part.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(rustls::Error::InvalidCertificate(_)) = inner.and_then(|e| e.downcast_ref::<rustls::Error>()) {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_the_rfc_says() {
        let policy = StsPolicy::parse(
            "version: STSv1\r\nmode: enforce\r\nmx: Mail.example.com\r\nmx: *.example.net\r\nextra: 1\r\nmax_age: 604800\r\n",
        )
        .unwrap();
        assert_eq!((policy.mode, policy.max_age_s), (StsMode::Enforce, 604_800));
        for (host, expect) in [
            ("mail.example.com", true),
            ("MAIL.EXAMPLE.COM.", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("mail.example.com.evil.example", false),
        ] {
            assert_eq!(policy.covers(host), expect, "{host}");
        }
        assert!(StsPolicy::parse("version: STSv1\nmode: none\nmax_age: 1\n").is_ok(), "LF alone, and none needs no mx");
        for text in [
            "",
            "version: STSv2\nmode: none\nmax_age: 1",
            "mode: none\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmax_age: 1",
            "version: STSv1\nmode: maybe\nmx: a.example\nmax_age: 1",
            "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 99999999",
            "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1",
            "version: STSv1\nmode: enforce\nmx: *.*.example\nmax_age: 1",
            "version: STSv1\nmode: enforce\nno colon\nmx: a.example\nmax_age: 1",
        ] {
            assert!(StsPolicy::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_record_with_an_id_counts() {
        let id = |texts: &[&str]| record_id(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20260101T1;", "v=spf1 -all"]).as_deref(), Some("20260101T1"));
        assert_eq!(id(&["v=STSv1 ;id = 7 ; x=y"]).as_deref(), Some("7"));
        assert_eq!(id(&["v=STSv1; id=a", "v=STSv1; id=b"]), None);
        assert_eq!(id(&["v=STSv1;"]), None);
        assert_eq!(id(&["v=STSv1; id=a-b"]), None);
        assert_eq!(id(&["v=STSv10; id=a"]), None);
    }
}
