//! Reports about TLS (RFC 8460): once a day, to every domain that asks for them and that mail was sent to.
//!
//! Of many agents on one database exactly one sends a report: it claims the row. A report is mailed through the ordinary
//! queue, or posted. Results of the reports' own sessions are never counted, so that no report is about reports.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::BoxFuture;
use model::{Address, OrganisationId, Timestamp};
use serde_json::{Map, Value, json};
use store::{Row, StoreError, values};

use crate::lane::Shared;
use crate::tls::report_mail;
use crate::tls::results::{day_begin, day_of};

/// How often counts go to the table.
const FLUSH_S: u64 = 5;
/// How often the table is looked at for days that are over.
const LOOK_S: u64 = 600;
/// Reports of one look.
const REPORTS_MAX: i64 = 200;
/// Results of one report.
const RESULTS_MAX: i64 = 1_000;
/// Places that one domain can have a report sent to.
const PLACES_MAX: usize = 5;
/// A claimed report that was not sent is another agent's after this.
const CLAIM_MS: i64 = 30 * 60_000;
/// How long a post may take.
const POST_DEADLINE: Duration = Duration::from_secs(60);
/// Days that results, and what was done with them, are kept.
const RESULT_DAYS: i64 = 3;
const REPORT_DAYS: i64 = 30;

/// Signs a message by the keys of now: gives the fields to put in front, `None` when there is no key. Keys that cannot be read now
/// are waited for.
pub type ReportSigner = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>> + Send + Sync>;

/// Who reports.
#[derive(Clone)]
pub struct ReportConfig {
    /// Whose queue the mails go to.
    pub organisation_id: OrganisationId,
    /// Its name.
    pub organisation_name: String,
    /// Who writes, and who can be asked.
    pub from: Address,
    /// RFC 8460 3: reports by mail are signed.
    pub signer: Option<ReportSigner>,
}

impl std::fmt::Debug for ReportConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportConfig").field("from", &self.from).finish_non_exhaustive()
    }
}

/// A place that a domain wants its reports at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Mail(Address),
    Https(String),
}

/// Counts and reports until the agent stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut look_at = tokio::time::Instant::now();
    loop {
        if let Err(error) = shared.results.flush().await {
            tracing::warn!("TLS results cannot be kept now: {error}");
        }
        if shared.stop.is_cancelled() {
            return;
        }
        if tokio::time::Instant::now() >= look_at {
            look_at = tokio::time::Instant::now() + Duration::from_secs(LOOK_S);
            if let Err(error) = look(&shared).await {
                tracing::warn!("TLS results cannot be reported now: {error}");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(FLUSH_S)) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Reports the days that are over, and forgets what is old.
pub(crate) async fn look(shared: &Shared) -> Result<usize, StoreError> {
    let (store, now) = (&shared.store, shared.store.now());
    let today = day_of(now);
    let mut sent_count = 0;
    if let Some(config) = &shared.config.reports {
        for row in store.query("tls.unreported", &values![today, now, REPORTS_MAX]).await? {
            let (day, domain) = (row.int("day")?, row.text("policy_domain")?);
            let claim = values![day, domain, now.plus_ms(CLAIM_MS), now];
            if shared.stop.is_cancelled() || store.execute("tls.claim_report", &claim).await? == 0 {
                continue;
            }
            let is_sent = send(shared, config, day, domain).await?;
            sent_count += usize::from(is_sent == Some(true));
            if let Some(is_sent) = is_sent {
                let state = if is_sent { "sent" } else { "none" };
                store.execute("tls.end_report", &values![day, domain, state, now]).await?;
            }
        }
    }
    store.execute("tls.forget_results", &values![today - RESULT_DAYS]).await?;
    store.execute("tls.forget_reports", &values![today - REPORT_DAYS]).await?;
    store.execute("tls.forget_sts_policies", &values![now]).await?;
    Ok(sent_count)
}

/// Sends one report: whether somebody wants it; `None` when it has to be tried again.
async fn send(shared: &Shared, config: &ReportConfig, day: i64, domain: &str) -> Result<Option<bool>, StoreError> {
    let places = match shared.planner.routes.resolver.txt(&format!("_smtp._tls.{domain}")).await {
        Ok(texts) => places(&texts),
        Err(error) if error.is_not_found() => Vec::new(),
        Err(_) => return Ok(None),
    };
    if places.is_empty() {
        return Ok(Some(false));
    }
    let rows = shared.store.query("tls.results_of", &values![day, domain, RESULTS_MAX]).await?;
    let id = format!("{}.{day}@{}", shared.store.next_id::<i64>(), shared.config.hostname);
    let report = report(config, day, &id, &rows)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = gzip.write_all(report.to_string().as_bytes()).and_then(|()| gzip.finish());
    let gz = written.unwrap_or_default(); // writing to memory does not fail
    let name = format!(
        "{}!{domain}!{}!{}!{}.json.gz",
        config.from.domain(),
        seconds(day_begin(day)),
        seconds(day_begin(day + 1)) - 1,
        shared.store.next_id::<i64>()
    );
    let mut is_anywhere = false;
    for place in places {
        let is_there = match place {
            Place::Mail(to) => {
                let report = report_mail::Report { domain, id: &id, file_name: &name, gz: &gz, day };
                match report_mail::enqueue(shared, config, &report, to).await {
                    Ok(()) => true,
                    // Another place has it: the whole report is not sent again for this one.
                    Err(error) if is_anywhere => {
                        tracing::warn!("a TLS report goes to fewer places than were named: {error}");
                        false
                    }
                    Err(error) => return Err(error),
                }
            }
            Place::Https(url) => post(shared, &url, gz.clone()).await,
        };
        is_anywhere |= is_there;
    }
    Ok(is_anywhere.then_some(true))
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

/// RFC 8460 5.4.
async fn post(shared: &Shared, url: &str, gz: Vec<u8>) -> bool {
    let tls = crate::tls::verify::checked(&shared.config.tls.roots);
    let Ok(parsed) = reqwest::Url::parse(url) else { return false };
    let Some(host) = parsed.host_str().map(str::to_owned) else { return false };
    let port = parsed.port_or_known_default().unwrap_or(443);
    let Ok(ips) = shared.planner.routes.resolver.addresses(&host).await else { return false };
    let addrs: Vec<_> = ips.into_iter().map(|ip| std::net::SocketAddr::new(ip, port)).collect();
    let client = reqwest::Client::builder()
        .use_preconfigured_tls((*tls).clone())
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true)
        .no_proxy()
        .resolve_to_addrs(&host, &addrs)
        .timeout(POST_DEADLINE)
        .build();
    let Ok(client) = client else { return false };
    let posted = client.post(parsed).header("Content-Type", "application/tlsrpt+gzip").body(gz).send().await;
    match posted {
        Ok(answer) if answer.status().is_success() => true,
        Ok(answer) => {
            tracing::info!("a TLS report was not taken: {}", answer.status());
            false
        }
        Err(error) => {
            tracing::info!("a TLS report could not be posted: {error}");
            false
        }
    }
}

/// RFC 8460 3: `v=TLSRPTv1; rua=mailto:…,https:…`; exactly one record counts.
fn places(texts: &[String]) -> Vec<Place> {
    let mut records = texts.iter().filter(|text| text.split(';').next().map(str::trim) == Some("v=TLSRPTv1"));
    let (Some(record), None) = (records.next(), records.next()) else { return Vec::new() };
    let rua = record.split(';').find_map(|part| part.trim().strip_prefix("rua=")).unwrap_or_default();
    let place = |text: &str| {
        let text = text.trim();
        match text.strip_prefix("mailto:") {
            Some(address) => Address::parse(address.split('?').next()?).ok().map(Place::Mail),
            None => text.starts_with("https://").then(|| Place::Https(text.to_owned())),
        }
    };
    rua.split(',').filter_map(place).take(PLACES_MAX).collect()
}

/// RFC 8460 4.4.
fn report(config: &ReportConfig, day: i64, id: &str, rows: &[Row]) -> Result<Value, StoreError> {
    let mut policies: Map<String, Value> = Map::new();
    for row in rows {
        let detail: Value = row.json("detail")?;
        let count = row.int("session_count")?;
        let policy = policies.entry(row.text("policy_key")?.to_owned()).or_insert_with(|| {
            json!({
                "policy": detail["policy"],
                "summary": { "total-successful-session-count": 0, "total-failure-session-count": 0 },
                "failure-details": [],
            })
        });
        let is_failure = row.flag("is_failure")?;
        let total = if is_failure { "total-failure-session-count" } else { "total-successful-session-count" };
        policy["summary"][total] = Value::from(policy["summary"][total].as_i64().unwrap_or(0) + count);
        if let (true, Value::Object(mut failure)) = (is_failure, detail["failure"].clone()) {
            failure.insert("failed-session-count".into(), Value::from(count));
            if let Some(all) = policy["failure-details"].as_array_mut() {
                all.push(Value::Object(failure));
            }
        }
    }
    let end = Timestamp::from_micros(day_begin(day + 1).as_micros() - 1_000_000);
    Ok(json!({
        "organization-name": config.organisation_name,
        "date-range": { "start-datetime": whole(day_begin(day)), "end-datetime": whole(end) },
        "contact-info": format!("mailto:{}", config.from),
        "report-id": id,
        "policies": policies.into_iter().map(|(_, policy)| policy).collect::<Vec<_>>(),
    }))
}

/// Without parts of a second, as all receivers take it.
fn whole(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_one_record() {
        let of = |texts: &[&str]| places(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let mail = Place::Mail("tls@example.org".parse().unwrap());
        let https = Place::Https("https://r.example/v1".into());
        assert_eq!(of(&["v=TLSRPTv1; rua=mailto:tls@example.org,https://r.example/v1"]), [mail.clone(), https]);
        assert_eq!(of(&["v=spf1 -all", "v=TLSRPTv1;rua=mailto:tls@example.org?x=y;"]), [mail]);
        assert!(of(&["v=TLSRPTv1; rua=http://r.example/", "v=TLSRPTv1; rua=mailto:a@b.c"]).is_empty());
        assert!(of(&["v=TLSRPTv1; rua=ftp://x,mailto:nobody"]).is_empty());
    }
}
