//! People and the lists they are on.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use model::{ListId, Permission as P, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::wire::{At, Id, Page};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_people), P::PeopleRead))
        .routes(operation(routes!(get_person), P::PeopleRead))
        .routes(operation(routes!(import_people), P::PeopleWrite))
        .routes(operation(routes!(list_lists), P::PeopleRead))
        .routes(operation(routes!(create_list), P::PeopleWrite))
        .routes(operation(routes!(get_list), P::PeopleRead))
        .routes(operation(routes!(list_members), P::PeopleRead))
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeopleQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
    /// Part of a name or the beginning of an address.
    query: Option<String>,
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

/// A person with an address.
#[derive(Debug, Serialize, ToSchema)]
struct Person {
    id: Id,
    address: String,
    name: String,
    department: String,
    city: String,
    language: String,
    /// Further columns of the import, usable as merge fields.
    attributes: BTreeMap<String, String>,
    /// Outsiders must not use this name.
    protected: bool,
    created_at: At,
    updated_at: At,
}

/// How an import is done.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// Put everybody in the file on the list of this name; it is created when missing.
    list: Option<String>,
}

/// What an import did. Good rows are in, rejected rows are kept aside with their line.
#[derive(Debug, Serialize, ToSchema)]
struct ImportReport {
    created_count: i64,
    updated_count: i64,
    unchanged_count: i64,
    rejected_count: i64,
    /// The first rejected rows.
    rejected: Vec<RejectedRow>,
    /// The list they were put on.
    list_id: Option<Id>,
}

/// A row that was not taken.
#[derive(Debug, Serialize, ToSchema)]
struct RejectedRow {
    /// The line in the file, counted from 1.
    line: u64,
    /// The column.
    field: String,
    /// The value as it stands there, bounded.
    value: String,
    /// What is wrong and what to do.
    problem: String,
}

/// A list of people.
#[derive(Debug, Serialize, ToSchema)]
struct PeopleList {
    id: Id,
    name: String,
    member_count: i64,
    created_at: At,
}

/// A new list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewList {
    /// Its name, unique in the organisation.
    name: String,
    /// Who is on it.
    #[serde(default)]
    person_ids: Vec<Id>,
}

/// People, by name or address.
#[utoipa::path(get, path = "/people", tag = "people", params(PeopleQuery), responses((status = 200, body = Page<Person>)))]
async fn list_people(_caller: Caller, Query(_q): Query<PeopleQuery>) -> Answer<Page<Person>> {
    Err(Problem::not_wired())
}

/// One person.
#[utoipa::path(get, path = "/people/{id}", tag = "people", responses((status = 200, body = Person)))]
async fn get_person(_caller: Caller, PathId(_id): PathId<PersonId>) -> Answer<Person> {
    Err(Problem::not_wired())
}

/// Imports people from CSV (first line: column names; `address` is required). Good rows are taken, bad ones reported.
#[utoipa::path(post, path = "/people/import", tag = "people", params(ImportQuery),
    request_body(content = String, content_type = "text/csv"), responses((status = 200, body = ImportReport)))]
async fn import_people(_caller: Caller, Query(_q): Query<ImportQuery>, _body: Bytes) -> Answer<ImportReport> {
    Err(Problem::not_wired())
}

/// Lists.
#[utoipa::path(get, path = "/lists", tag = "people", params(PageQuery), responses((status = 200, body = Page<PeopleList>)))]
async fn list_lists(_caller: Caller, Query(_q): Query<PageQuery>) -> Answer<Page<PeopleList>> {
    Err(Problem::not_wired())
}

/// Creates a list.
#[utoipa::path(post, path = "/lists", tag = "people", responses((status = 201, body = PeopleList)))]
async fn create_list(_caller: Caller, Json(_body): Json<NewList>) -> Result<(StatusCode, Json<PeopleList>), Problem> {
    Err(Problem::not_wired())
}

/// One list.
#[utoipa::path(get, path = "/lists/{id}", tag = "people", responses((status = 200, body = PeopleList)))]
async fn get_list(_caller: Caller, PathId(_id): PathId<ListId>) -> Answer<PeopleList> {
    Err(Problem::not_wired())
}

/// Who is on a list.
#[utoipa::path(get, path = "/lists/{id}/members", tag = "people", params(PageQuery), responses((status = 200, body = Page<Person>)))]
async fn list_members(
    _caller: Caller,
    PathId(_id): PathId<ListId>,
    Query(_q): Query<PageQuery>,
) -> Answer<Page<Person>> {
    Err(Problem::not_wired())
}
