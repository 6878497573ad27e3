//! People and the lists they are on.

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use directory::PeopleFilter;
use model::{ListId, Permission as P, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query, body_bytes};
use crate::problem::{Kind, Problem};
use crate::wire::{At, Id, Page, after_id, id, limit_of};

/// The largest CSV file.
const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// People put on a list by one request.
const MEMBERS_MAX: usize = 10_000;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_people), P::PeopleRead))
        .routes(operation(routes!(get_person), P::PeopleRead))
        .routes(
            operation(routes!(import_people), P::PeopleWrite)
                .map(|methods| methods.layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX))),
        )
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
    /// The beginning of a name or an address.
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
}

/// How an import is done.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// Put everybody in the file on the list of this name; it is created when missing.
    list: Option<String>,
    /// Take the good rows although others are rejected; without it one bad row means that nothing is taken.
    take_good: Option<bool>,
}

/// What an import did. A rejected row is named with its line; nothing is half applied.
#[derive(Debug, Serialize, ToSchema)]
struct ImportReport {
    /// Whether anything was applied.
    applied: bool,
    /// Rows that can be (or were) taken.
    good_count: i64,
    rejected_count: i64,
    /// People made.
    created_count: i64,
    /// People brought up to date.
    updated_count: i64,
    /// The first rejected rows.
    rejected: Vec<RejectedRow>,
}

/// A row that was not taken.
#[derive(Debug, Serialize, ToSchema)]
struct RejectedRow {
    /// The line in the file, counted from 1.
    line: u64,
    /// The column, or empty when it is the whole line.
    field: String,
    /// What is wrong and what to do.
    problem: String,
}

/// A list of people.
#[derive(Debug, Serialize, ToSchema)]
struct PeopleList {
    id: Id,
    name: String,
    member_count: i64,
    /// Of those: left out of campaigns.
    suppressed_count: i64,
    /// Of those left out: because mail to them came back.
    bounced_count: i64,
    /// Of those left out: because they complained.
    complained_count: i64,
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

impl From<directory::Person> for Person {
    fn from(p: directory::Person) -> Self {
        Person {
            id: id(p.id),
            address: p.address,
            name: p.name,
            department: p.department,
            city: p.city,
            language: p.language,
            attributes: p.attributes,
            protected: p.protected,
            created_at: p.created_at.into(),
        }
    }
}

impl From<directory::List> for PeopleList {
    fn from(l: directory::List) -> Self {
        PeopleList {
            id: id(l.id),
            name: l.name,
            member_count: l.member_count,
            suppressed_count: l.suppressed_count,
            bounced_count: l.bounced_count,
            complained_count: l.complained_count,
            created_at: l.created_at.into(),
        }
    }
}

/// People, by the beginning of name or address.
#[utoipa::path(get, path = "/people", tag = "people", params(PeopleQuery),
    responses((status = 200, body = Page<Person>)))]
async fn list_people(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<PeopleQuery>,
) -> Answer<Page<Person>> {
    let limit = limit_of(q.limit)?;
    let filter = PeopleFilter {
        starts_with: q.query.unwrap_or_default(),
        after: after_id(q.after.as_deref())?.map(PersonId),
        limit: limit.into(),
    };
    let people = app.directory.people(&filter).await?;
    Ok(Json(Page::by_id(people.into_iter().map(Person::from).collect(), limit, |p| p.id)))
}

/// One person.
#[utoipa::path(get, path = "/people/{id}", tag = "people", responses((status = 200, body = Person)))]
async fn get_person(State(app): State<AppState>, _caller: Caller, PathId(person): PathId<PersonId>) -> Answer<Person> {
    let person = app.directory.person(person).await?.ok_or_else(|| Problem::not_found("person"))?;
    Ok(Json(person.into()))
}

/// Imports people from CSV (first line: column names; `address` and `name` are required). A bad row is named with its line.
#[utoipa::path(post, path = "/people/import", tag = "people", params(ImportQuery),
    request_body(content((String = "text/csv"), (String = "multipart/form-data"))),
    responses((status = 200, body = ImportReport)))]
async fn import_people(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<ImportQuery>,
    request: Request,
) -> Answer<ImportReport> {
    let csv = csv_of(request, &app).await?;
    let report = app.directory.import_people(&csv, q.list.as_deref(), q.take_good.unwrap_or(false)).await?;
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    if report.applied {
        let detail = serde_json::json!({ "created": report.created_count, "updated": report.updated_count });
        app.audit(&caller, "people.import", q.list.unwrap_or_default(), "", detail).await?;
    }
    Ok(Json(ImportReport {
        applied: report.applied,
        good_count: count(report.good_count),
        rejected_count: count(report.rejected_count),
        created_count: count(report.created_count),
        updated_count: count(report.updated_count),
        rejected: report
            .rejected
            .into_iter()
            .map(|line| RejectedRow { line: line.line, field: line.field, problem: line.problem })
            .collect(),
    }))
}

/// The file: the body itself, or the first file of a form (`multipart/form-data`, RFC 7578).
async fn csv_of(request: Request, app: &AppState) -> Result<bytes::Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        return body_bytes(request, app).await;
    }
    let broken = |cause: String| {
        Problem::new(Kind::BadRequest, "The form could not be read: send one file as multipart/form-data.")
            .because(cause)
    };
    let mut form = Multipart::from_request(request, app).await.map_err(|e| broken(e.to_string()))?;
    while let Some(field) = form.next_field().await.map_err(|e| broken(e.to_string()))? {
        if field.file_name().is_some() {
            return field.bytes().await.map_err(|e| broken(e.to_string()));
        }
    }
    Err(Problem::invalid("file", "the form has no file: choose the CSV file to import"))
}

/// Lists, by name.
#[utoipa::path(get, path = "/lists", tag = "people", responses((status = 200, body = Vec<PeopleList>)))]
async fn list_lists(State(app): State<AppState>, _caller: Caller) -> Answer<Vec<PeopleList>> {
    Ok(Json(app.directory.lists().await?.into_iter().map(PeopleList::from).collect()))
}

/// Creates a list, or adds people to the one of that name.
#[utoipa::path(post, path = "/lists", tag = "people", request_body = NewList,
    responses((status = 201, body = PeopleList)))]
async fn create_list(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewList>,
) -> Result<(StatusCode, Json<PeopleList>), Problem> {
    if body.person_ids.len() > MEMBERS_MAX {
        return Err(Problem::invalid(
            "person_ids",
            format!("at most {MEMBERS_MAX} at a time; import a CSV file instead"),
        ));
    }
    let people: Vec<PersonId> = body.person_ids.iter().map(|raw| PersonId(raw.0)).collect();
    for (n, person) in people.iter().enumerate() {
        if app.directory.person(*person).await?.is_none() {
            return Err(Problem::invalid(format!("person_ids[{n}]"), "there is no such person"));
        }
    }
    let list = app.directory.put_list(&body.name).await?;
    app.directory.add_to_list(list, &people).await?;
    app.audit(&caller, "list.create", body.name.clone(), "", serde_json::json!({ "added": people.len() })).await?;
    Ok((StatusCode::CREATED, Json(one_list(&app, list).await?)))
}

async fn one_list(app: &AppState, list: ListId) -> Result<PeopleList, Problem> {
    let found = app.directory.lists().await?.into_iter().find(|l| l.id == list);
    found.map(PeopleList::from).ok_or_else(|| Problem::not_found("list"))
}

/// One list.
#[utoipa::path(get, path = "/lists/{id}", tag = "people", responses((status = 200, body = PeopleList)))]
async fn get_list(State(app): State<AppState>, _caller: Caller, PathId(list): PathId<ListId>) -> Answer<PeopleList> {
    Ok(Json(one_list(&app, list).await?))
}

/// Who is on a list.
#[utoipa::path(get, path = "/lists/{id}/members", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<Person>)))]
async fn list_members(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(list): PathId<ListId>,
    Query(q): Query<PageQuery>,
) -> Answer<Page<Person>> {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(PersonId);
    one_list(&app, list).await?;
    let people = app.directory.list_members(list, after, limit.into()).await?;
    Ok(Json(Page::by_id(people.into_iter().map(Person::from).collect(), limit, |p| p.id)))
}
