//! What protects: rules, feeds, the allow/block list, policies, and their versions.

use model::{Permission as P, RuleSetId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::PathText;
use crate::extract::{Answer, PathId, Query};
use crate::problem::Problem;
use crate::resources::changes::{FeedEntry, FeedKind, ListAction, ListKind};
use crate::wire::{At, Id, Page, VerdictClass};

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

/// An entry of the allow/block list.
#[derive(Debug, Serialize, ToSchema)]
struct ListEntry {
    id: Id,
    action: ListAction,
    kind: ListKind,
    value: String,
    expires_at: Option<At>,
    /// Whether it counts now.
    in_force: bool,
    note: String,
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
async fn list_rules(_caller: Caller) -> Answer<Vec<Rule>> {
    Err(Problem::not_wired())
}

/// Feeds in force.
#[utoipa::path(get, path = "/feeds", tag = "protection", responses((status = 200, body = Vec<Feed>)))]
async fn list_feeds(_caller: Caller) -> Answer<Vec<Feed>> {
    Err(Problem::not_wired())
}

/// Entries of a feed.
#[utoipa::path(get, path = "/feeds/{name}/entries", tag = "protection", params(ProtectionQuery), responses((status = 200, body = Page<FeedEntry>)))]
async fn feed_entries(
    _caller: Caller,
    PathText(_name): PathText,
    Query(_q): Query<ProtectionQuery>,
) -> Answer<Page<FeedEntry>> {
    Err(Problem::not_wired())
}

/// The allow/block list.
#[utoipa::path(get, path = "/list-entries", tag = "protection", params(ProtectionQuery), responses((status = 200, body = Page<ListEntry>)))]
async fn list_entries(_caller: Caller, Query(_q): Query<ProtectionQuery>) -> Answer<Page<ListEntry>> {
    Err(Problem::not_wired())
}

/// Policies, in the order they are matched.
#[utoipa::path(get, path = "/policies", tag = "protection", responses((status = 200, body = Vec<Policy>)))]
async fn list_policies(_caller: Caller) -> Answer<Vec<Policy>> {
    Err(Problem::not_wired())
}

/// Versions of the rule set, newest first.
#[utoipa::path(get, path = "/rule-sets", tag = "protection", params(ProtectionQuery), responses((status = 200, body = Page<RuleSetVersion>)))]
async fn list_rule_sets(_caller: Caller, Query(_q): Query<ProtectionQuery>) -> Answer<Page<RuleSetVersion>> {
    Err(Problem::not_wired())
}

/// One version.
#[utoipa::path(get, path = "/rule-sets/{id}", tag = "protection", responses((status = 200, body = RuleSetDetail)))]
async fn get_rule_set(_caller: Caller, PathId(_id): PathId<RuleSetId>) -> Answer<RuleSetDetail> {
    Err(Problem::not_wired())
}
