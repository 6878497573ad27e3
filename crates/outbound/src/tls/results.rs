//! TLS results, counted by day and policy domain until they are reported (RFC 8460).
//!
//! Counts are kept in memory and added to the table every few seconds: a crash loses a few seconds of statistics and no
//! mail. Both are bounded; past the bound new kinds of results are not counted, and that is logged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::{SqlText, Timestamp};
use rustls::{CertificateError, Error};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smtp::ClientError;
use store::{Store, StoreError, values};

use crate::connect::Seen;
use crate::tls::Demand;
use crate::tls::sts::{StsFound, StsMode};

/// Kinds of results in memory.
const PENDING_MAX: usize = 10_000;
const REASON_CHARS_MAX: usize = 200;
const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// The policy that a domain's results belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyNote {
    pub(crate) domain: String,
    /// The `policy` object of the report.
    pub(crate) policy: Value,
    /// The policy itself could not be had: counted with each session.
    pub(crate) problem: Option<Failure>,
}

/// Why TLS was not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// RFC 8460 4.3.
    pub(crate) result_type: &'static str,
    pub(crate) reason: String,
}

impl PolicyNote {
    /// DANE goes before MTA-STS, and both before none (RFC 8460 4.1).
    pub(crate) fn of(domain: &str, dane: &[(&str, &[String])], sts: &StsFound) -> PolicyNote {
        let problem = sts.problem.clone().map(|(result_type, reason)| Failure { result_type, reason });
        if !dane.is_empty() {
            let hosts: Vec<&str> = dane.iter().map(|(host, _)| *host).collect();
            let records: Vec<&String> = dane.iter().flat_map(|(_, records)| records.iter()).collect();
            let policy = json!({
                "policy-type": "tlsa", "policy-string": records, "policy-domain": domain, "mx-host": hosts
            });
            return PolicyNote { domain: domain.to_owned(), policy, problem: None };
        }
        let policy = match &sts.policy {
            Some(policy) => {
                let mode = match policy.mode {
                    StsMode::Enforce => "enforce",
                    StsMode::Testing => "testing",
                    StsMode::None => "none",
                };
                let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
                lines.extend(policy.mx.iter().map(|mx| format!("mx: {mx}")));
                lines.push(format!("max_age: {}", policy.max_age_s));
                json!({ "policy-type": "sts", "policy-string": lines, "policy-domain": domain, "mx-host": policy.mx })
            }
            None if problem.is_some() => json!({ "policy-type": "sts", "policy-domain": domain }),
            None => json!({ "policy-type": "no-policy-found", "policy-domain": domain }),
        };
        PolicyNote { domain: domain.to_owned(), policy, problem }
    }
}

impl Failure {
    pub(crate) fn starttls_not_supported() -> Failure {
        Failure { result_type: "starttls-not-supported", reason: String::new() }
    }

    pub(crate) fn not_in_policy() -> Failure {
        Failure { result_type: "validation-failure", reason: "the MX host is not in the policy".into() }
    }

    pub(crate) fn of_client(error: &ClientError, demand: &Demand) -> Failure {
        match error {
            ClientError::TlsUnavailable => Failure::starttls_not_supported(),
            ClientError::Tls(io) => match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(tls) => Failure::of_tls(tls, demand),
                None => Failure { result_type: "validation-failure", reason: bounded(&io.to_string()) },
            },
            other => Failure { result_type: "validation-failure", reason: bounded(&other.to_string()) },
        }
    }

    pub(crate) fn of_tls(error: &Error, demand: &Demand) -> Failure {
        use CertificateError as Bad;
        let result_type = match error {
            Error::InvalidCertificate(Bad::ApplicationVerificationFailure) if matches!(demand, Demand::Dane(_)) => {
                "tlsa-invalid"
            }
            Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                "certificate-host-mismatch"
            }
            Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "certificate-expired",
            Error::InvalidCertificate(_) => "certificate-not-trusted",
            _ => "validation-failure",
        };
        Failure { result_type, reason: bounded(&error.to_string()) }
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    day: i64,
    domain: String,
    policy: String,
    /// The failure's details, or empty.
    failure: String,
}

/// The counts that are not in the table yet.
pub(crate) struct Results {
    store: Store,
    pending: Mutex<HashMap<Kind, i64>>,
}

/// The UTC day of an instant, counted from 1970.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(DAY_MICROS)
}

/// When a day begins.
pub(crate) fn day_begin(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(DAY_MICROS))
}

impl Results {
    pub(crate) fn new(store: Store) -> Results {
        Results { store, pending: Mutex::default() }
    }

    /// Counts one session.
    pub(crate) fn note(&self, policy: &PolicyNote, seen: &Seen, now: Timestamp) {
        let failure = seen.failure.as_ref().or(policy.problem.as_ref());
        let failure = failure.map_or(String::new(), |failure| {
            let mut detail = json!({
                "result-type": failure.result_type,
                "receiving-mx-hostname": seen.hop.target.host,
                "receiving-ip": seen.hop.target.addr.ip().to_string(),
            });
            if let Some(ip) = seen.local_ip {
                detail["sending-mta-ip"] = Value::from(ip.to_string());
            }
            if !failure.reason.is_empty() {
                detail["failure-reason-code"] = Value::from(failure.reason.as_str());
            }
            detail.to_string()
        });
        let kind = Kind { day: day_of(now), domain: policy.domain.clone(), policy: policy.policy.to_string(), failure };
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pending.get_mut(&kind) {
            *count += 1;
        } else if pending.len() < PENDING_MAX {
            pending.insert(kind, 1);
        } else {
            tracing::warn!("too many kinds of TLS results: some are not counted");
        }
    }

    /// Adds what was counted to the table. What the store does not take stays for the next time.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let counted = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if counted.is_empty() {
            return Ok(());
        }
        let written = self.write(&counted).await;
        if written.is_err() {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for (kind, count) in counted {
                *pending.entry(kind).or_default() += count;
            }
        }
        written
    }

    async fn write(&self, counted: &HashMap<Kind, i64>) -> Result<(), StoreError> {
        let hash = |text: &str| data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..16]);
        let mut tx = self.store.begin().await?;
        for (kind, count) in counted {
            let result_key = hash(&format!("{}\n{}", kind.policy, kind.failure));
            let failure = match kind.failure.as_str() {
                "" => Value::Null,
                failure => serde_json::from_str(failure).unwrap_or(Value::Null),
            };
            let policy: Value = serde_json::from_str(&kind.policy).unwrap_or(Value::Null);
            let detail = SqlText::new(&json!({ "policy": policy, "failure": failure }).to_string());
            let row = values![
                kind.day,
                &kind.domain,
                result_key,
                hash(&kind.policy),
                !kind.failure.is_empty(),
                detail,
                *count
            ];
            tx.execute("tls.add_result", &row).await?;
        }
        tx.commit().await
    }
}
