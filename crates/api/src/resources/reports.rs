//! Reports that came back, with what was made of each.

use axum::extract::State;
use model::Permission as P;
use serde::{Deserialize, Serialize};
use store::{Row, StoreError, values};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, Query};
use crate::wire::{At, Id, Page, after_id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(operation(routes!(list_reports), P::TraceRead))
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
