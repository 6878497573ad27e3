//! Where a campaign's copies are, how they got there, who did not get it and why.

use axum::extract::State;
use campaign::Campaigns;
use model::{CampaignId, ChangeId, CopyId, Permission as P};
use quarantine::{Selection, Step};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use whereabouts::{BUCKETS_MAX, CopyFilter, HeadlineFacts, Reason, ReasonGroup};

use crate::AppState;
use crate::access::{Caller, holders, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::masked::{Masked, MaskedAnswer};
use crate::problem::Problem;
use crate::resources::copies::Copy;
use crate::resources::incidents::IncidentSummary;
use crate::resources::quarantine::{actor, outcome};
use crate::wire::{
    ActionOutcome, At, EventCount, Id, LastEvent, Page, Permission, Place, PlaceCount, Role, after_id, id, limit_of,
};

/// The longest reason of a request.
const REASON_CHARS_MAX: usize = 500;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(campaign_whereabouts), P::CampaignRead))
        .routes(operation(routes!(campaign_over_time), P::CampaignRead))
        .routes(operation(routes!(campaign_copies), P::CampaignRead))
        .routes(operation(routes!(campaign_not_received), P::CampaignRead))
        .routes(operation(routes!(request_campaign_release), P::ReleaseRequest))
}

/// Where a campaign's copies are now.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignWhereabouts {
    /// The state in plain words: how many are where, since when, why.
    headline: String,
    tone: Tone,
    /// All copies of the campaign; fewer than the audience while sending goes on.
    total_count: i64,
    /// People in the frozen audience, and those of them who were left out.
    audience_count: i64,
    suppressed_count: i64,
    /// Copies that a host has answered 250 for, whatever became of them.
    accepted_count: i64,
    places: Vec<PlaceCount>,
    events: Vec<EventCount>,
    /// When the oldest and the newest evidence among the copies were seen.
    oldest_evidence_at: Option<At>,
    newest_evidence_at: Option<At>,
    /// The incidents that it is in the scope of, open ones first.
    incidents: Vec<IncidentSummary>,
    /// What can be done about it now.
    actions: Vec<CampaignAction>,
}

/// Whether the state is good.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Tone {
    Good,
    /// Not finished, or partly lost.
    Watch,
    /// Many copies are where nobody can read them.
    Bad,
}

/// Something that can be done.
#[derive(Debug, Serialize, ToSchema)]
struct CampaignAction {
    kind: CampaignActionKind,
    /// How many copies it would touch.
    count: i64,
    /// The permission that it needs.
    permission: Permission,
    /// Whether the caller has it.
    allowed: bool,
    /// The roles that have it.
    who_may: Vec<Role>,
    /// What it acts on: a change for `undo_change`, otherwise the campaign.
    target_id: Id,
    /// What would happen, in one sentence.
    sentence: String,
}

/// What kind of action.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CampaignActionKind {
    /// Ask an administrator to release what is held.
    RequestRelease,
    /// Release what was held on arrival.
    Release,
    /// Undo the change that pulled copies back.
    UndoChange,
}

/// The places of a campaign's copies over time.
#[derive(Debug, Serialize, ToSchema)]
struct OverTime {
    /// The width of a step in milliseconds.
    step_ms: i64,
    points: Vec<OverTimePoint>,
}

/// The state at the end of one step.
#[derive(Debug, Serialize, ToSchema)]
struct OverTimePoint {
    at: At,
    places: Vec<PlaceCount>,
}

/// Which copies.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CopiesQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Only copies in this place.
    place: Option<Place>,
    /// Only copies that this last happened to.
    last_event: Option<LastEvent>,
    /// Part of the recipient's address or name.
    query: Option<String>,
}

/// Who did not get it, by why.
#[derive(Debug, Serialize, ToSchema)]
struct NotReceived {
    /// Copies that are not in an inbox, and people who were left out.
    total_count: i64,
    groups: Vec<NotReceivedGroup>,
}

/// Copies that share a reason.
#[derive(Debug, Serialize, ToSchema)]
struct NotReceivedGroup {
    group: NotReceivedKind,
    /// Where they are; `null` for people who were left out before sending.
    place: Option<Place>,
    count: i64,
    /// The reason, for people.
    sentence: String,
    /// The rule that decided, or empty.
    rule: String,
    /// The feed or list entry it comes from, or empty.
    origin: String,
    /// One example of what was seen: a URL, a hash; or empty.
    evidence: String,
    /// The policy that decided, or empty.
    policy: String,
    /// What the other host said, or empty.
    reply: String,
    /// The change that caused it.
    cause_id: Option<Id>,
    /// Since when the first of them.
    since: Option<At>,
}

/// What kind of reason.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NotReceivedKind {
    /// Held in quarantine on arrival.
    Held,
    /// Pulled back into quarantine after arrival.
    PulledBack,
    Junk,
    /// Refused, bounced, dropped, expired.
    NotReceived,
    /// Still on its way.
    Waiting,
    /// No source can say where it is.
    Unknown,
    /// Left out before sending: suppressed.
    Suppressed,
}

/// Why the release is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseRequest {
    /// For the administrator who decides, in at most 500 characters; each copy's timeline shows it.
    #[serde(default)]
    reason: String,
}

impl From<ReasonGroup> for NotReceivedKind {
    fn from(group: ReasonGroup) -> Self {
        match group {
            ReasonGroup::Held => NotReceivedKind::Held,
            ReasonGroup::PulledBack => NotReceivedKind::PulledBack,
            ReasonGroup::Junk => NotReceivedKind::Junk,
            ReasonGroup::NotReceived => NotReceivedKind::NotReceived,
            ReasonGroup::Waiting => NotReceivedKind::Waiting,
            ReasonGroup::Unknown => NotReceivedKind::Unknown,
            ReasonGroup::Suppressed => NotReceivedKind::Suppressed,
        }
    }
}

impl From<Reason> for NotReceivedGroup {
    fn from(r: Reason) -> Self {
        NotReceivedGroup {
            group: r.group.into(),
            place: r.place.map(Place),
            count: r.count,
            sentence: r.sentence,
            rule: r.rule,
            origin: r.origin,
            evidence: r.evidence,
            policy: r.policy,
            reply: r.reply,
            cause_id: r.cause_id.map(Id),
            since: r.since_at.map(At),
        }
    }
}

/// Half of the copies away is bad; any copy away, or none yet, is to be watched.
fn tone(seen: &whereabouts::CampaignWhereabouts) -> Tone {
    use model::Place as At;
    let lost = seen.at(At::Quarantine) + seen.at(At::NotReceived) + seen.at(At::Junk) + seen.at(At::Unknown);
    let open = seen.at(At::OnItsWay) + seen.at(At::Accepted);
    match (seen.copy_count, lost, open) {
        (n, lost, _) if n > 0 && lost * 2 >= n => Tone::Bad,
        (0, ..) => Tone::Watch,
        (_, 0, 0) => Tone::Good,
        _ => Tone::Watch,
    }
}

/// What can be done about a campaign's copies now, with how many each would touch.
async fn actions(
    app: &AppState,
    caller: &Caller,
    campaign: CampaignId,
    reasons: &[Reason],
) -> Result<Vec<CampaignAction>, Problem> {
    let effect = app.quarantine.effect(&Selection::Campaign(campaign)).await?;
    let mut actions = Vec::new();
    let mut add = |kind, count, permission: P, target_id, sentence: String| {
        let allowed = caller.may(permission);
        let who_may = holders(permission).into_iter().map(Role::from).collect();
        actions.push(CampaignAction {
            kind,
            count,
            permission: permission.into(),
            allowed,
            who_may,
            target_id,
            sentence,
        });
    };
    if effect.count() > effect.requested_count {
        let sentence = "Ask an administrator to release what is held.".to_owned();
        let count = effect.count() - effect.requested_count;
        add(CampaignActionKind::RequestRelease, count, P::ReleaseRequest, id(campaign), sentence);
    }
    if effect.count() > 0 {
        add(CampaignActionKind::Release, effect.count(), P::QuarantineRelease, id(campaign), effect.sentence());
    }
    for reason in reasons {
        let Some(cause) = reason.cause_id.filter(|_| reason.group == ReasonGroup::PulledBack) else { continue };
        let Ok(change) = app.changes.get(ChangeId(cause)).await else { continue };
        if change.state == changes::ChangeState::Active {
            let sentence = format!("Undo \u{201c}{}\u{201d} and put back what it pulled back.", change.title);
            add(CampaignActionKind::UndoChange, reason.count, P::ChangeActivate, Id(cause), sentence);
        }
    }
    Ok(actions)
}

/// Where a campaign's copies are now, in a sentence and in numbers.
#[utoipa::path(get, path = "/campaigns/{id}/whereabouts", tag = "campaigns",
    responses((status = 200, body = CampaignWhereabouts)))]
async fn campaign_whereabouts(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> MaskedAnswer {
    let of = caller.organisation_id;
    let facts = HeadlineFacts {
        state: Campaigns::new(app.directory.clone()).get(campaign).await?.state.as_str().to_owned(),
        whereabouts: whereabouts::campaign_whereabouts(&app.store, of, campaign).await?,
        reasons: whereabouts::reasons(&app.store, of, campaign).await?,
        now: app.store.now(),
    };
    let incidents = match caller.may(P::IncidentRead) {
        true => whereabouts::incident::of_campaign(&app.store, of, campaign).await?,
        false => Vec::new(),
    };
    let seen = &facts.whereabouts;
    let event = |event| seen.places.iter().filter(|p| p.last_event == event).map(|p| p.count).sum();
    let answer = CampaignWhereabouts {
        headline: whereabouts::headline_of(&facts),
        tone: tone(seen),
        total_count: seen.copy_count,
        audience_count: seen.audience_count,
        suppressed_count: seen.suppressed_count,
        accepted_count: seen.accepted_count,
        places: PlaceCount::all(|place| seen.at(place)),
        events: EventCount::all(event),
        oldest_evidence_at: seen.oldest_evidence_at.map(At),
        newest_evidence_at: seen.newest_evidence_at.map(At),
        incidents: incidents.into_iter().map(IncidentSummary::from).collect(),
        actions: actions(&app, &caller, campaign, &facts.reasons).await?,
    };
    Masked::new(app.tracker.tokens(), &answer)
}

/// Where they were over time.
#[utoipa::path(get, path = "/campaigns/{id}/whereabouts/over-time", tag = "campaigns",
    responses((status = 200, body = OverTime)))]
async fn campaign_over_time(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> Answer<OverTime> {
    Campaigns::new(app.directory.clone()).get(campaign).await?;
    let series = whereabouts::series(&app.store, caller.organisation_id, campaign, BUCKETS_MAX).await?;
    let point = |p: whereabouts::Point| OverTimePoint {
        at: p.at.into(),
        places: PlaceCount::all(|place| p.places.get(&place).copied().unwrap_or(0)),
    };
    Ok(Json(OverTime { step_ms: series.step_ms, points: series.points.into_iter().map(point).collect() }))
}

/// Its copies, by place or last event.
#[utoipa::path(get, path = "/campaigns/{id}/copies", tag = "campaigns", params(CopiesQuery),
    responses((status = 200, body = Page<Copy>)))]
async fn campaign_copies(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
    Query(q): Query<CopiesQuery>,
) -> Answer<Page<Copy>> {
    let limit = limit_of(q.limit)?;
    let filter = CopyFilter {
        place: q.place.map(|word| word.0),
        last_event: q.last_event.map(|word| word.0),
        text: q.query.unwrap_or_default(),
        after: after_id(q.after.as_deref())?.map(CopyId),
        limit: limit.into(),
    };
    Campaigns::new(app.directory.clone()).get(campaign).await?;
    let found = whereabouts::copies(&app.store, caller.organisation_id, campaign, &filter).await?;
    Ok(Json(Page::by_id(found.into_iter().map(Copy::from).collect(), limit, |c| c.id)))
}

/// Who did not get it, grouped by why.
#[utoipa::path(get, path = "/campaigns/{id}/not-received", tag = "campaigns",
    responses((status = 200, body = NotReceived)))]
async fn campaign_not_received(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
) -> MaskedAnswer {
    let reasons = whereabouts::reasons(&app.store, caller.organisation_id, campaign).await?;
    let groups: Vec<NotReceivedGroup> = reasons.into_iter().map(NotReceivedGroup::from).collect();
    Masked::new(app.tracker.tokens(), &NotReceived { total_count: groups.iter().map(|g| g.count).sum(), groups })
}

/// Asks administrators to release the campaign's held copies.
#[utoipa::path(post, path = "/campaigns/{id}/release-request", tag = "campaigns", request_body = ReleaseRequest,
    responses((status = 200, body = ActionOutcome)))]
async fn request_campaign_release(
    State(app): State<AppState>,
    caller: Caller,
    PathId(campaign): PathId<CampaignId>,
    Json(body): Json<ReleaseRequest>,
) -> Answer<ActionOutcome> {
    Campaigns::new(app.directory.clone()).get(campaign).await?;
    let reason = body.reason.trim();
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::invalid("reason", format!("Say it in at most {REASON_CHARS_MAX} characters.")));
    }
    let done = app.quarantine.request(&actor(&caller), &Selection::Campaign(campaign), reason).await?;
    let detail = serde_json::json!({ "count": done.done_count() });
    app.audit(&caller, "release.request", format!("campaign {campaign}"), reason, detail).await?;
    Ok(Json(outcome(done, Step::Request)))
}
