//! Campaigns: write, look at, send, stop. Where their copies are is in `campaign_whereabouts`.

use axum::extract::State;
use axum::http::StatusCode;
use campaign::{CampaignError, Campaigns, Lint, LintCode};
use model::{CampaignId, ListId, Permission as P, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page, PlaceCount, after_id, id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_campaigns), P::CampaignRead))
        .routes(operation(routes!(create_campaign), P::CampaignWrite))
        .routes(operation(routes!(get_campaign), P::CampaignRead))
        .routes(operation(routes!(update_campaign), P::CampaignWrite))
        .routes(operation(routes!(preview_campaign), P::CampaignRead))
        .routes(operation(routes!(lint_campaign), P::CampaignRead))
        .routes(operation(routes!(send_campaign), P::CampaignWrite))
        .routes(operation(routes!(pause_campaign), P::CampaignWrite))
        .routes(operation(routes!(resume_campaign), P::CampaignWrite))
        .routes(operation(routes!(cancel_campaign), P::CampaignWrite))
        .routes(operation(routes!(campaign_stats), P::CampaignRead))
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CampaignsQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// The life of a campaign.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Being written.
    Draft,
    /// Being sent.
    Sending,
    /// Stopped for now; goes on exactly where it stopped.
    Paused,
    /// Every copy was handed over or given up.
    Sent,
    /// Ended before all was sent.
    Cancelled,
}

/// How opens and clicks are counted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TrackingMode {
    /// By a random number per copy that leads to nobody (the default).
    Anonymous,
    /// By person; only where the owner switched it on.
    Individual,
    /// Not at all.
    Off,
}

/// What the content is written in.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ContentType {
    Mjml,
    Html,
}

/// A campaign in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignSummary {
    pub id: Id,
    name: String,
    subject: String,
    state: CampaignState,
    list_id: Option<Id>,
    /// People it goes to, once sending started.
    audience_count: i64,
    /// People left out, with a reason.
    suppressed_count: i64,
    created_at: At,
    send_started_at: Option<At>,
    sent_at: Option<At>,
    /// Where its copies are now.
    places: Vec<PlaceCount>,
}

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
struct Campaign {
    id: Id,
    name: String,
    subject: String,
    from_name: String,
    from_address: String,
    content_type: ContentType,
    content: String,
    list_id: Option<Id>,
    tracking: TrackingMode,
    click_tracking: bool,
    state: CampaignState,
    audience_count: i64,
    suppressed_count: i64,
    progress: CampaignProgress,
    created_by: Option<Id>,
    created_at: At,
    updated_at: At,
    send_started_at: Option<At>,
    sent_at: Option<At>,
}

/// How far sending is.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignProgress {
    /// People who get it.
    total_count: i64,
    /// Copies made so far.
    enqueued_count: i64,
    /// Copies that a host took.
    accepted_count: i64,
    /// Copies given up.
    failed_count: i64,
    /// Copies that wait for a try, or for the campaign to go on.
    waiting_count: i64,
}

/// What an author writes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CampaignDraft {
    /// For the list of campaigns, not for recipients.
    name: String,
    /// With merge fields: `News for {{ name | default("you") }}`.
    subject: String,
    from_name: String,
    from_address: String,
    content_type: ContentType,
    /// MJML or HTML with merge fields.
    content: String,
    /// Who gets it; needed before sending.
    #[serde(default)]
    list_id: Option<Id>,
    #[serde(default = "anonymous")]
    tracking: TrackingMode,
    /// Whether links are tracked.
    #[serde(default = "yes")]
    click_tracking: bool,
}

fn anonymous() -> TrackingMode {
    TrackingMode::Anonymous
}
fn yes() -> bool {
    true
}

/// For whom to render.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewRequest {
    /// A person of the organisation; without one, merge fields show their defaults.
    #[serde(default)]
    person_id: Option<Id>,
}

/// The mail as one recipient would see it; links are not tracked here.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignPreview {
    subject: String,
    /// Show it in a sandboxed frame.
    html: String,
    text: String,
    /// What the author should look at.
    findings: Vec<LintFinding>,
}

/// What would keep a campaign from being sent or read well.
#[derive(Debug, Serialize, ToSchema)]
struct LintReport {
    /// No finding is an error.
    sendable: bool,
    findings: Vec<LintFinding>,
}

/// One finding.
#[derive(Debug, Serialize, ToSchema)]
struct LintFinding {
    severity: LintSeverity,
    /// A stable word: `no_alt`, `link_text_host`; empty for errors.
    code: String,
    /// The field of the draft: `content`, `subject`, `list_id`.
    field: String,
    /// The line in the content, where known.
    line: Option<u32>,
    /// What is wrong and what to do.
    message: String,
}

/// How bad.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LintSeverity {
    /// It cannot be sent like this.
    Error,
    /// It can be sent.
    Warning,
}

/// How it was read. People and machines are counted apart; a number below the floor is `null`.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignStats {
    tracking: TrackingMode,
    audience_count: i64,
    people: HitCounts,
    machines: HitCounts,
    /// Fetches not yet known to be people or machines: they are for some seconds after each fetch.
    unsettled_count: i64,
    links: Vec<LinkCounts>,
    /// Departments; in individual mode only, none smaller than the floor.
    groups: Vec<GroupCounts>,
    /// Numbers of fewer people than this are not shown.
    floor: i64,
    /// Why a number is missing, or empty.
    note: String,
}

/// Distinct copies opened and clicked.
#[derive(Debug, Serialize, ToSchema)]
struct HitCounts {
    opened_count: Option<i64>,
    clicked_count: Option<i64>,
}

/// One tracked link.
#[derive(Debug, Serialize, ToSchema)]
struct LinkCounts {
    id: Id,
    position: i64,
    url: String,
    people_count: Option<i64>,
    machine_count: Option<i64>,
}

/// A department.
#[derive(Debug, Serialize, ToSchema)]
struct GroupCounts {
    department: String,
    copies_count: i64,
    people: HitCounts,
}

/// Words of the campaign crate on the wire and back.
macro_rules! same_words {
    ($($ours:ident = $theirs:path { $($variant:ident),+ }),+ $(,)?) => {$(
        impl From<$theirs> for $ours {
            fn from(word: $theirs) -> Self { match word { $(<$theirs>::$variant => $ours::$variant),+ } }
        }
    )+};
}
same_words! {
    CampaignState = campaign::State { Draft, Sending, Paused, Sent, Cancelled },
    TrackingMode = campaign::Tracking { Anonymous, Individual, Off },
    ContentType = campaign::ContentType { Mjml, Html },
}

impl CampaignDraft {
    fn into_draft(self) -> campaign::Draft {
        campaign::Draft {
            name: self.name,
            subject: self.subject,
            from_name: self.from_name,
            from_address: self.from_address,
            content_type: match self.content_type {
                ContentType::Mjml => campaign::ContentType::Mjml,
                ContentType::Html => campaign::ContentType::Html,
            },
            content: self.content,
            list_id: self.list_id.map(|raw| ListId(raw.0)),
            tracking: match self.tracking {
                TrackingMode::Anonymous => campaign::Tracking::Anonymous,
                TrackingMode::Individual => campaign::Tracking::Individual,
                TrackingMode::Off => campaign::Tracking::Off,
            },
            click_tracking: self.click_tracking,
        }
    }
}

impl From<Lint> for LintFinding {
    fn from(lint: Lint) -> Self {
        let code = match lint.code {
            LintCode::NoText => "no_text",
            LintCode::NoUnsubscribe => "no_unsubscribe",
            LintCode::TooLarge => "too_large",
            LintCode::NoAlt => "no_alt",
            LintCode::LinkTextHost => "link_text_host",
            LintCode::NoDefault => "no_default",
            LintCode::PersonalLink => "personal_link",
            LintCode::DataImage => "data_image",
        };
        LintFinding {
            severity: LintSeverity::Warning,
            code: code.to_owned(),
            field: "content".to_owned(),
            line: None,
            message: lint.message,
        }
    }
}

impl From<campaign::Problem> for LintFinding {
    fn from(problem: campaign::Problem) -> Self {
        LintFinding {
            severity: LintSeverity::Error,
            code: String::new(),
            field: problem.field.to_owned(),
            line: problem.line.and_then(|line| u32::try_from(line).ok()),
            message: problem.message,
        }
    }
}

fn campaigns(app: &AppState) -> Campaigns {
    Campaigns::new(app.directory.clone())
}

async fn on_the_wire(app: &AppState, c: campaign::Campaign) -> Result<Campaign, Problem> {
    let progress = campaigns(app).progress(c.id).await?;
    Ok(Campaign {
        id: id(c.id),
        name: c.draft.name,
        subject: c.draft.subject,
        from_name: c.draft.from_name,
        from_address: c.draft.from_address,
        content_type: c.draft.content_type.into(),
        content: c.draft.content,
        list_id: c.draft.list_id.map(id),
        tracking: c.draft.tracking.into(),
        click_tracking: c.draft.click_tracking,
        state: c.state.into(),
        audience_count: c.audience_count,
        suppressed_count: c.suppressed_count,
        progress: CampaignProgress {
            total_count: progress.total,
            enqueued_count: progress.enqueued,
            accepted_count: progress.accepted,
            failed_count: progress.failed,
            waiting_count: progress.waiting,
        },
        created_by: c.created_by.map(id),
        created_at: c.created_at.into(),
        updated_at: c.updated_at.into(),
        send_started_at: c.send_started_at.map(At),
        sent_at: c.sent_at.map(At),
    })
}

/// The newest campaigns before one, each with where its copies are.
pub async fn summaries(
    app: &AppState,
    caller: &Caller,
    before: Option<CampaignId>,
    limit: u32,
) -> Result<Vec<CampaignSummary>, Problem> {
    let mut found = Vec::new();
    for c in campaigns(app).list(before, limit.into()).await? {
        let seen = whereabouts::campaign_places(&app.store, caller.organisation_id, c.id).await?;
        let at = |place| seen.iter().filter(|p| p.place == place).map(|p| p.count).sum();
        found.push(CampaignSummary {
            id: id(c.id),
            name: c.draft.name,
            subject: c.draft.subject,
            state: c.state.into(),
            list_id: c.draft.list_id.map(id),
            audience_count: c.audience_count,
            suppressed_count: c.suppressed_count,
            created_at: c.created_at.into(),
            send_started_at: c.send_started_at.map(At),
            sent_at: c.sent_at.map(At),
            places: PlaceCount::all(at),
        });
    }
    Ok(found)
}

/// Records who did it, once it is done.
async fn done(app: &AppState, caller: &Caller, action: &str, c: campaign::Campaign) -> Answer<Campaign> {
    app.audit(caller, action, format!("campaign {}", c.id), "", serde_json::json!({ "name": c.draft.name })).await?;
    Ok(Json(on_the_wire(app, c).await?))
}

/// Campaigns, newest first.
#[utoipa::path(get, path = "/campaigns", tag = "campaigns", params(CampaignsQuery),
    responses((status = 200, body = Page<CampaignSummary>)))]
async fn list_campaigns(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<CampaignsQuery>,
) -> Answer<Page<CampaignSummary>> {
    let limit = limit_of(q.limit)?;
    let before = after_id(q.after.as_deref())?.map(CampaignId);
    Ok(Json(Page::by_id(summaries(&app, &caller, before, limit).await?, limit, |c| c.id)))
}

/// Creates a draft.
#[utoipa::path(post, path = "/campaigns", tag = "campaigns", request_body = CampaignDraft,
    responses((status = 201, body = Campaign)))]
async fn create_campaign(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<CampaignDraft>,
) -> Result<(StatusCode, Json<Campaign>), Problem> {
    let made = campaigns(&app).create(&body.into_draft(), Some(caller.account_id)).await?;
    Ok((StatusCode::CREATED, done(&app, &caller, "campaign.create", made).await?))
}

/// One campaign.
#[utoipa::path(get, path = "/campaigns/{id}", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn get_campaign(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<Campaign> {
    let found = campaigns(&app).get(campaign).await?;
    Ok(Json(on_the_wire(&app, found).await?))
}

/// Changes a draft.
#[utoipa::path(put, path = "/campaigns/{id}", tag = "campaigns", request_body = CampaignDraft,
    responses((status = 200, body = Campaign)))]
async fn update_campaign(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
    Json(body): Json<CampaignDraft>,
) -> Answer<Campaign> {
    let changed = campaigns(&app).update(campaign, &body.into_draft()).await?;
    done(&app, &caller, "campaign.update", changed).await
}

/// Renders it for one person.
#[utoipa::path(post, path = "/campaigns/{id}/preview", tag = "campaigns", request_body = PreviewRequest,
    responses((status = 200, body = CampaignPreview)))]
async fn preview_campaign(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(campaign): PathId<CampaignId>,
    Json(body): Json<PreviewRequest>,
) -> Answer<CampaignPreview> {
    let draft = campaigns(&app).get(campaign).await?.draft;
    let preview = campaigns(&app).preview(&draft, body.person_id.map(|raw| PersonId(raw.0))).await?;
    Ok(Json(CampaignPreview {
        subject: preview.rendered.subject,
        html: preview.rendered.html,
        text: preview.rendered.text,
        findings: preview.lints.into_iter().map(LintFinding::from).collect(),
    }))
}

/// Checks it before sending.
#[utoipa::path(get, path = "/campaigns/{id}/lint", tag = "campaigns", responses((status = 200, body = LintReport)))]
async fn lint_campaign(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<LintReport> {
    let draft = campaigns(&app).get(campaign).await?.draft;
    let mut findings: Vec<LintFinding> = match campaigns(&app).preview(&draft, None).await {
        Ok(preview) => preview.lints.into_iter().map(LintFinding::from).collect(),
        Err(CampaignError::Invalid(problems)) => problems.into_iter().map(LintFinding::from).collect(),
        Err(other) => return Err(other.into()),
    };
    if draft.list_id.is_none() {
        findings.push(campaign::Problem::new("list_id", "choose the list that it goes to").into());
    }
    let sendable = findings.iter().all(|finding| matches!(finding.severity, LintSeverity::Warning));
    Ok(Json(LintReport { sendable, findings }))
}

/// Freezes the audience and starts sending.
#[utoipa::path(post, path = "/campaigns/{id}/send", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn send_campaign(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<Campaign> {
    let started = campaigns(&app).start(campaign).await?;
    done(&app, &caller, "campaign.send", started).await
}

/// Stops sending for now.
#[utoipa::path(post, path = "/campaigns/{id}/pause", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn pause_campaign(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<Campaign> {
    let paused = campaigns(&app).pause(campaign).await?;
    done(&app, &caller, "campaign.pause", paused).await
}

/// Goes on where it stopped.
#[utoipa::path(post, path = "/campaigns/{id}/resume", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn resume_campaign(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<Campaign> {
    let resumed = campaigns(&app).resume(campaign).await?;
    done(&app, &caller, "campaign.resume", resumed).await
}

/// Ends it; what is not handed over yet is never sent.
#[utoipa::path(post, path = "/campaigns/{id}/cancel", tag = "campaigns", responses((status = 200, body = Campaign)))]
async fn cancel_campaign(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<Campaign> {
    let cancelled = campaigns(&app).cancel(campaign).await?;
    done(&app, &caller, "campaign.cancel", cancelled).await
}

/// How it was read.
#[utoipa::path(get, path = "/campaigns/{id}/stats", tag = "campaigns", responses((status = 200, body = CampaignStats)))]
async fn campaign_stats(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<CampaignStats> {
    let campaign = campaigns(&app).get(campaign).await?;
    let stats = app.tracker.stats(campaign.id).await?;
    let floor = app.directory.settings().await?.tracking.group_floor_count;
    // Anonymous means that nobody can be told from the numbers: a small audience is told nothing.
    let hidden = stats.is_hidden;
    let shown = |n: i64| (!hidden).then_some(n);
    let reach = |r: campaign::Reach| HitCounts { opened_count: shown(r.opened), clicked_count: shown(r.clicked) };
    let link = |l: campaign::LinkStats| LinkCounts {
        id: id(l.id),
        position: l.position,
        url: l.url,
        people_count: shown(l.people),
        machine_count: Some(l.machines),
    };
    let group = |g: campaign::GroupStats| GroupCounts {
        department: g.department,
        copies_count: g.copies,
        people: reach(g.people),
    };
    let note = if hidden { format!("Fewer than {floor} people: numbers are not shown.") } else { String::new() };
    Ok(Json(CampaignStats {
        tracking: campaign.draft.tracking.into(),
        audience_count: campaign.audience_count,
        people: reach(stats.people),
        machines: HitCounts { opened_count: Some(stats.machines.opened), clicked_count: Some(stats.machines.clicked) },
        unsettled_count: if hidden { 0 } else { stats.unsettled_count },
        links: stats.links.into_iter().map(link).collect(),
        groups: stats.groups.into_iter().map(group).collect(),
        floor,
        note,
    }))
}
