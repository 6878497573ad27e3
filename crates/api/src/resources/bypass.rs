//! Judging switched off for a while, and the DNS records that let others check what we sign.

use axum::extract::State;
use directory::Switcher;
use message::dkim::{DkimKey, KeyKind};
use model::Permission as P;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json};
use crate::problem::Problem;
use crate::wire::At;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(get_bypass), P::ProtectionRead))
        .routes(operation(routes!(switch_bypass_on), P::ChangeActivate))
        .routes(operation(routes!(switch_bypass_off), P::ChangeActivate))
        .routes(operation(routes!(list_dkim_keys), P::SettingsRead))
}

/// Whether mail is judged now.
#[derive(Debug, Serialize, ToSchema)]
struct BypassState {
    /// The bypass in force: mail is let in without a verdict until it ends.
    bypass: Option<Bypass>,
    /// Mails that came in without a verdict and wait for one.
    unjudged_count: i64,
    /// Mails that were accepted and are in no mailbox yet: when more comes in than can be entered, what arrives goes first.
    incoming_count: i64,
}

/// A time in which nothing is judged.
#[derive(Debug, Serialize, ToSchema)]
struct Bypass {
    started_at: At,
    /// It ends by itself.
    until_at: At,
    /// The login, or `command line`.
    actor: String,
    reason: String,
}

/// A bypass to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBypass {
    /// For how long, 1 to 240.
    minutes: i64,
    /// Why; it stands in the audit log and on every page while it lasts.
    reason: String,
}

/// The public half of a key, as it is published in DNS.
#[derive(Debug, Serialize, ToSchema)]
struct DkimRecord {
    /// The name of the TXT record.
    name: String,
    kind: DkimKind,
    /// The text of the record.
    text: String,
}

/// How a key signs.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DkimKind {
    /// `rsa-sha256`
    Rsa,
    /// `ed25519-sha256`
    Ed25519,
}

async fn state(app: &AppState) -> Result<BypassState, Problem> {
    let bypass = app.directory.bypass().await?.map(|bypass| Bypass {
        started_at: bypass.started_at.into(),
        until_at: bypass.until_at.into(),
        actor: bypass.actor,
        reason: bypass.reason,
    });
    let (unjudged_count, incoming_count) =
        (app.directory.unjudged_count().await?, app.directory.incoming_count().await?);
    Ok(BypassState { bypass, unjudged_count, incoming_count })
}

/// Whether judging is switched off, and how many mails wait for a verdict.
#[utoipa::path(get, path = "/bypass", tag = "protection", responses((status = 200, body = BypassState)))]
async fn get_bypass(State(app): State<AppState>, _caller: Caller) -> Answer<BypassState> {
    Ok(Json(state(&app).await?))
}

/// Switches judging off for a while: mail is let in, stamped, and judged when that ends. One that is on is replaced.
#[utoipa::path(put, path = "/bypass", tag = "protection", request_body = NewBypass,
    responses((status = 200, body = BypassState)))]
async fn switch_bypass_on(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewBypass>,
) -> Answer<BypassState> {
    let by = Switcher { account_id: Some(caller.account_id), name: &caller.login };
    app.directory.switch_bypass_on(&by, body.minutes.saturating_mul(60_000), &body.reason).await?;
    Ok(Json(state(&app).await?))
}

/// Switches judging on again. What came in meanwhile is judged at once.
#[utoipa::path(delete, path = "/bypass", tag = "protection", responses((status = 200, body = BypassState)))]
async fn switch_bypass_off(State(app): State<AppState>, caller: Caller) -> Answer<BypassState> {
    let by = Switcher { account_id: Some(caller.account_id), name: &caller.login };
    app.directory.switch_bypass_off(&by).await?;
    Ok(Json(state(&app).await?))
}

/// The DKIM keys' DNS records, to be published under each domain.
#[utoipa::path(get, path = "/dkim-keys", tag = "settings", responses((status = 200, body = Vec<DkimRecord>)))]
async fn list_dkim_keys(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<DkimRecord>> {
    let mut records = Vec::new();
    for secret in app.directory.dkim_keys().await? {
        let key = DkimKey::from_pem(&secret.pem)
            .map_err(|e| Problem::from_severity(false, format!("the DKIM key {}: {e}", secret.name)))?;
        let kind = match key.kind() {
            KeyKind::Rsa => DkimKind::Rsa,
            KeyKind::Ed25519 => DkimKind::Ed25519,
        };
        records.push(DkimRecord { name: secret.name, kind, text: key.txt_record() });
    }
    records.reverse(); // the oldest first: RSA, then what was added beside it
    Ok(Json(records))
}
