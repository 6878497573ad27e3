//! What protects: rules, feeds, the allow/block list, policies, and their versions.

use axum::extract::State;
use model::{ListEntryId, Permission as P, RuleSetId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::PathText;
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::resources::changes::{FeedEntry, FeedKind, ListEntry};
use crate::wire::{At, Id, Page, VerdictClass, after_id, bad_cursor, id, limit_of};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_rules), P::ProtectionRead))
        .routes(operation(routes!(list_feeds), P::ProtectionRead))
        .routes(operation(routes!(feed_entries), P::ProtectionRead))
        .routes(operation(routes!(list_entries), P::ProtectionRead))
        .routes(operation(routes!(list_policies), P::ProtectionRead))
        .routes(operation(routes!(list_rule_sets), P::ProtectionRead))
        .routes(operation(routes!(get_rule_set), P::ProtectionRead))
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProtectionQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
struct Rule {
    id: String,
    version: u16,
    /// What it looks for.
    what: String,
    /// The class it speaks for.
    class: VerdictClass,
    /// Its own weight in points.
    own_weight: f32,
    /// Its weight under the rule set in force; 0 is off.
    weight: f32,
}

/// A feed.
#[derive(Debug, Serialize, ToSchema)]
struct Feed {
    name: String,
    kind: FeedKind,
    entry_count: i64,
}

/// An entry of the allow/block list, and whether it counts now.
#[derive(Debug, Serialize, ToSchema)]
struct ListEntryNow {
    #[serde(flatten)]
    entry: ListEntry,
    /// `false` once it has expired.
    in_force: bool,
}

/// A policy: what the organisation wants done with each class, for whom.
#[derive(Debug, Serialize, ToSchema)]
struct Policy {
    id: Id,
    name: String,
    /// First match wins, lowest number first.
    priority: i64,
    /// The whole policy.
    #[schema(value_type = Object)]
    body: serde_json::Value,
}

/// A version of the rule set.
#[derive(Debug, Serialize, ToSchema)]
struct RuleSetVersion {
    id: Id,
    parent_id: Option<Id>,
    hash: String,
    author: String,
    reason: String,
    change_id: Option<Id>,
    backtest_id: Option<Id>,
    active: bool,
    created_at: At,
}

/// A version with its content.
#[derive(Debug, Serialize, ToSchema)]
struct RuleSetDetail {
    version: RuleSetVersion,
    /// Feeds, lists, weights, protected people and domains.
    #[schema(value_type = Object)]
    source: serde_json::Value,
}

/// Every rule with its weight.
#[utoipa::path(get, path = "/rules", tag = "protection", responses((status = 200, body = Vec<Rule>)))]
async fn list_rules(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<Rule>> {
    let rule_set = app.protection.current().rule_set;
    let rule = |rule: &verdict::Rule| Rule {
        id: rule.id.to_owned(),
        version: rule.version,
        what: rule.about.to_owned(),
        class: rule.class.into(),
        own_weight: rule.weight,
        weight: rule_set.weight(rule.id),
    };
    Ok(Json(verdict::RULES.iter().map(rule).collect()))
}

/// Feeds in force.
#[utoipa::path(get, path = "/feeds", tag = "protection", responses((status = 200, body = Vec<Feed>)))]
async fn list_feeds(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<Feed>> {
    let rule_set = app.protection.current().rule_set;
    let feed = |feed: &verdict::Feed| Feed {
        name: feed.name.clone(),
        kind: feed.kind.into(),
        entry_count: i64::try_from(feed.entries.len()).unwrap_or(i64::MAX),
    };
    Ok(Json(rule_set.source().feeds.iter().map(feed).collect()))
}

/// Entries of a feed, in the order it has them.
#[utoipa::path(get, path = "/feeds/{name}/entries", tag = "protection", params(ProtectionQuery),
    responses((status = 200, body = Page<FeedEntry>)))]
async fn feed_entries(
    State(app): State<AppState>,
    _caller: Caller,
    PathText(name): PathText,
    Query(q): Query<ProtectionQuery>,
) -> Answer<Page<FeedEntry>> {
    let limit = limit_of(q.limit)? as usize;
    let start = q.after.as_deref().map_or(Ok(0), |after| after.parse::<usize>().map_err(|_| bad_cursor()))?;
    let rule_set = app.protection.current().rule_set;
    let feed = rule_set.source().feeds.iter().find(|feed| feed.name == name);
    let entries = &feed.ok_or_else(|| Problem::not_found("feed"))?.entries;
    let items: Vec<FeedEntry> = entries.iter().skip(start).take(limit).map(FeedEntry::from).collect();
    let end = start.saturating_add(items.len());
    Ok(Json(Page { items, next: (end < entries.len()).then(|| end.to_string()) }))
}

/// The allow/block list, by id.
#[utoipa::path(get, path = "/list-entries", tag = "protection", params(ProtectionQuery),
    responses((status = 200, body = Page<ListEntryNow>)))]
async fn list_entries(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<ProtectionQuery>,
) -> Answer<Page<ListEntryNow>> {
    let limit = limit_of(q.limit)?;
    let after = ListEntryId(after_id(q.after.as_deref())?.unwrap_or(i64::MIN));
    let (rule_set, now) = (app.protection.current().rule_set, app.store.now());
    let mut entries: Vec<&verdict::ListEntry> = rule_set.source().lists.iter().filter(|e| e.id > after).collect();
    entries.sort_by_key(|entry| entry.id);
    let entry = |e: &&verdict::ListEntry| ListEntryNow { entry: ListEntry::from(*e), in_force: e.in_force(now) };
    Ok(Json(Page::by_id(entries.iter().take(limit as usize).map(entry).collect(), limit, |e| e.entry.id)))
}

/// Policies, in the order they are matched.
#[utoipa::path(get, path = "/policies", tag = "protection", responses((status = 200, body = Vec<Policy>)))]
async fn list_policies(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<Policy>> {
    let policies = app.protection.current().policies;
    let policy = |policy: &verdict::Policy| Policy {
        id: id(policy.id),
        name: policy.name.clone(),
        priority: policy.priority.into(),
        body: serde_json::to_value(policy).unwrap_or_default(),
    };
    Ok(Json(policies.policies.iter().map(policy).collect()))
}

impl From<changes::RuleSetVersion> for RuleSetVersion {
    fn from(v: changes::RuleSetVersion) -> Self {
        RuleSetVersion {
            id: id(v.id),
            parent_id: v.parent_id.map(id),
            hash: v.hash,
            author: v.author,
            reason: v.reason,
            change_id: v.change_id.map(id),
            backtest_id: v.backtest_id.map(id),
            active: v.active,
            created_at: v.created_at.into(),
        }
    }
}

/// Versions of the rule set, newest first.
#[utoipa::path(get, path = "/rule-sets", tag = "protection", params(ProtectionQuery),
    responses((status = 200, body = Page<RuleSetVersion>)))]
async fn list_rule_sets(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<ProtectionQuery>,
) -> Answer<Page<RuleSetVersion>> {
    let limit = limit_of(q.limit)?;
    let before = after_id(q.after.as_deref())?.map(RuleSetId);
    let versions = app.changes.versions(before, limit.into()).await?;
    Ok(Json(Page::by_id(versions.into_iter().map(RuleSetVersion::from).collect(), limit, |v| v.id)))
}

/// One version.
#[utoipa::path(get, path = "/rule-sets/{id}", tag = "protection", responses((status = 200, body = RuleSetDetail)))]
async fn get_rule_set(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(version): PathId<RuleSetId>,
) -> Answer<RuleSetDetail> {
    let (version, source) = app.changes.version(version).await?;
    Ok(Json(RuleSetDetail { version: version.into(), source: serde_json::to_value(source).unwrap_or_default() }))
}
