//! What other hosts report: bounces and complaints that came back, with what was made of each; and how TLS went on the way
//! out, which we count and report to others.

use axum::extract::State;
use model::{Permission as P, SqlText, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Row, StoreError, values};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, after_id, bad_cursor, limit_of};

/// Days that are counted when nobody asks for a number, and at most.
const DAYS: i64 = 30;
const DAYS_MAX: i64 = 365;
/// Kinds, classes and outcomes there can be, with room.
const COUNTS_MAX: i64 = 500;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_reports), P::TraceRead))
        .routes(operation(routes!(count_reports), P::TraceRead))
        .routes(operation(routes!(list_tls_days), P::TraceRead))
}

/// Which reports.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only with this outcome.
    outcome: Option<ReportOutcome>,
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// What was made of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ReportOutcome {
    /// It is an event of its copy.
    Counted,
    /// The same was known already.
    Repeated,
    /// More was known of the copy than another host can say.
    Outweighed,
    /// Kept; nothing follows from it.
    Noted,
    /// It carries nothing that makes it believable: it changed nothing.
    Unmatched,
}

/// A report.
#[derive(Debug, Serialize, ToSchema)]
struct ReturnedReport {
    id: Id,
    /// The report as received.
    message_id: Id,
    copy_id: Option<Id>,
    campaign_id: Option<Id>,
    /// `return_path`, `copy_header`, `message_id`, or empty.
    matched_by: String,
    outcome: ReportOutcome,
    /// Why it did not count, or empty.
    problem: String,
    /// `failed`, `delayed`, `delivered`, `relayed`, `expanded`, `abuse`, `not_spam` and the like.
    kind: String,
    /// The class of failure, or empty.
    class: String,
    /// `high`, `medium`, `low`, or empty.
    confidence: String,
    recipient: String,
    status: String,
    /// The host's words.
    diagnostic: String,
    /// The host that reports.
    reporter: String,
    received_at: At,
}

/// What came back in the last days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CountQuery {
    /// So many days back, 1 to 365.
    days: Option<i64>,
}

/// Reports of one kind and class.
#[derive(Debug, Serialize, ToSchema)]
struct ReportCount {
    /// `failed`, `delayed`, `abuse` and the like.
    kind: String,
    /// The class of failure, or empty.
    class: String,
    outcome: ReportOutcome,
    count: i64,
    /// The last of them.
    last_at: At,
}

/// TLS on the way out to one policy domain on one day (UTC), as RFC 8460 counts it.
#[derive(Debug, Serialize, ToSchema)]
struct TlsDay {
    /// When the day began.
    day: At,
    domain: String,
    /// `sts`, `tlsa` or `no-policy-found`
    policy: String,
    /// Sessions as they should be.
    success_count: i64,
    /// Sessions that were not.
    failure_count: i64,
    /// One of the failures: its type (RFC 8460 4.3), or empty.
    failure: String,
    /// What was seen then, or empty.
    failure_reason: String,
    /// Where, or empty.
    failure_host: String,
    report: TlsReportState,
    /// When our report went out.
    sent_at: Option<At>,
}

/// Our report about a day.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TlsReportState {
    /// The day is not over, or its report is being made.
    NotYet,
    Sent,
    /// That domain asks for none.
    NotAsked,
}

impl ReportOutcome {
    fn as_str(self) -> &'static str {
        match self {
            ReportOutcome::Counted => "counted",
            ReportOutcome::Repeated => "repeated",
            ReportOutcome::Outweighed => "outweighed",
            ReportOutcome::Noted => "noted",
            ReportOutcome::Unmatched => "unmatched",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "counted" => ReportOutcome::Counted,
            "repeated" => ReportOutcome::Repeated,
            "outweighed" => ReportOutcome::Outweighed,
            "noted" => ReportOutcome::Noted,
            _ => ReportOutcome::Unmatched,
        }
    }
}

fn report(row: &Row) -> Result<ReturnedReport, StoreError> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok(ReturnedReport {
        id: Id(row.int("id")?),
        message_id: Id(row.int("message_id")?),
        copy_id: row.opt_int("copy_id")?.map(Id),
        campaign_id: row.opt_int("campaign_id")?.map(Id),
        matched_by: text("matched_by")?,
        outcome: ReportOutcome::of(row.text("outcome")?),
        problem: text("problem")?,
        kind: text("kind")?,
        class: text("class")?,
        confidence: text("confidence")?,
        recipient: text("recipient")?,
        status: text("status")?,
        diagnostic: text("diagnostic")?,
        reporter: text("reporter")?,
        received_at: row.at("received_at")?.into(),
    })
}

/// Reports that came back, newest first.
#[utoipa::path(get, path = "/reports", tag = "trace", params(ReportsQuery),
    responses((status = 200, body = Page<ReturnedReport>)))]
async fn list_reports(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<ReportsQuery>,
) -> Answer<Page<ReturnedReport>> {
    let limit = limit_of(q.limit)?;
    let before = after_id(q.after.as_deref())?.unwrap_or(i64::MAX);
    let outcome = q.outcome.map_or("", ReportOutcome::as_str);
    let page = values![caller.organisation_id, before, outcome, i64::from(limit)];
    let rows = app.store.query("report.page", &page).await?;
    let items = rows.iter().map(report).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(Page::by_id(items, limit, |r| r.id)))
}

/// What came back in the last days, by kind, class and outcome, the most first.
#[utoipa::path(get, path = "/reports/counts", tag = "trace", params(CountQuery),
    responses((status = 200, body = Vec<ReportCount>)))]
async fn count_reports(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<CountQuery>,
) -> Answer<Vec<ReportCount>> {
    let days = q.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::invalid("days", format!("days is {days}; it can be 1 to {DAYS_MAX}.")));
    }
    let since = app.store.now().plus_ms(-days * DAY_MS);
    let rows = app.store.query("report.classes", &values![caller.organisation_id, since, COUNTS_MAX]).await?;
    let count = |row: &Row| {
        Ok(ReportCount {
            kind: row.text("kind")?.to_owned(),
            class: row.text("class")?.to_owned(),
            outcome: ReportOutcome::of(row.text("outcome")?),
            count: row.int("n")?,
            last_at: row.at("last_at")?.into(),
        })
    };
    Ok(Json(rows.iter().map(count).collect::<Result<Vec<_>, StoreError>>()?))
}

/// How TLS went on the way out, by day and policy domain, newest first; what is kept are three days.
#[utoipa::path(get, path = "/tls-days", tag = "trace", params(PageQuery),
    responses((status = 200, body = Page<TlsDay>)))]
async fn list_tls_days(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<PageQuery>,
) -> Answer<Page<TlsDay>> {
    let limit = limit_of(q.limit)?;
    let (day, domain) = match q.after.as_deref() {
        Some(after) => after.split_once(' ').ok_or_else(bad_cursor)?,
        None => ("", ""),
    };
    let day = if day.is_empty() { i64::MAX } else { day.parse().map_err(|_| bad_cursor())? };
    let rows = app.store.query("tls.days", &values![day, SqlText::new(domain), i64::from(limit)]).await?;
    let items = rows.iter().map(tls_day).collect::<Result<Vec<_>, _>>()?;
    let last = rows.last().filter(|_| rows.len() >= limit as usize);
    let next = last.map(|row| Ok::<_, StoreError>(format!("{} {}", row.int("day")?, row.text("policy_domain")?)));
    Ok(Json(Page { items, next: next.transpose()? }))
}

fn tls_day(row: &Row) -> Result<TlsDay, StoreError> {
    let of = |column: &str, path: &str| {
        let detail: serde_json::Value = serde_json::from_str(row.text(column)?).unwrap_or_default();
        Ok::<_, StoreError>(detail.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
    };
    Ok(TlsDay {
        day: Timestamp::from_micros(row.int("day")?.saturating_mul(DAY_MS * 1000)).into(),
        domain: row.text("policy_domain")?.to_owned(),
        policy: of("detail", "/policy/policy-type")?,
        success_count: row.int("success_count")?,
        failure_count: row.int("failure_count")?,
        failure: of("failure", "/failure/result-type")?,
        failure_reason: of("failure", "/failure/failure-reason-code")?,
        failure_host: of("failure", "/failure/receiving-mx-hostname")?,
        report: match row.text("report_state")? {
            "sent" => TlsReportState::Sent,
            "none" => TlsReportState::NotAsked,
            _ => TlsReportState::NotYet,
        },
        sent_at: row.opt_at("sent_at")?.map(At),
    })
}
