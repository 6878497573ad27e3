//! People and the lists they are on.

use std::collections::BTreeMap;

use axum::extract::multipart::MultipartError;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::http::{StatusCode, header};
use directory::PeopleFilter;
use model::{ListId, Permission as P, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query, body_bytes, too_large};
use crate::problem::{Kind, Problem};
use crate::wire::{At, Id, Page, ValueCount, after_id, id, limit_of};

/// The largest CSV file.
const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// People put on a list by one request.
const MEMBERS_MAX: usize = 10_000;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_people), P::PeopleRead))
        .routes(operation(routes!(people_facets), P::PeopleRead))
        .routes(operation(routes!(get_person), P::PeopleRead))
        .routes(operation(routes!(choose_mailbox), P::PeopleWrite))
        .routes(
            operation(routes!(import_people), P::PeopleWrite)
                .map(|methods| methods.layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX))),
        )
        .routes(operation(routes!(list_lists), P::PeopleRead))
        .routes(operation(routes!(create_list), P::PeopleWrite))
        .routes(operation(routes!(get_list), P::PeopleRead))
        .routes(operation(routes!(list_members), P::PeopleRead))
        .routes(operation(routes!(remove_member), P::PeopleWrite))
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
    /// Of this department.
    department: Option<String>,
    /// In this city.
    city: Option<String>,
    /// Of this language.
    language: Option<String>,
}

/// Whom to count.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FacetsQuery {
    /// The beginning of a name or an address.
    query: Option<String>,
    /// Of this department.
    department: Option<String>,
    /// In this city.
    city: Option<String>,
    /// Of this language.
    language: Option<String>,
}

/// How many people there are by department, city and language; the 200 largest of each.
#[derive(Debug, Serialize, ToSchema)]
struct PeopleFacets {
    /// All whom the filter lets through.
    total_count: i64,
    department: Vec<ValueCount>,
    city: Vec<ValueCount>,
    language: Vec<ValueCount>,
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

/// A person, and where their mailbox is.
#[derive(Debug, Serialize, ToSchema)]
struct PersonDetail {
    #[serde(flatten)]
    person: Person,
    mailbox: Option<PersonMailbox>,
    /// The connectors that can keep it; none where all mailboxes are embedded.
    connectors: Vec<String>,
}

/// Where a mailbox is.
#[derive(Debug, Serialize, ToSchema)]
struct PersonMailbox {
    /// The connector to the system that keeps it; `null`: it is embedded.
    kept_by: Option<String>,
    /// What the mailbox itself says: empty (as configured for its domain), `embedded`, or a connector's name.
    chosen: String,
    /// Mails of it that lie here.
    item_count: i64,
}

/// Which system keeps a mailbox from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChosenMailbox {
    /// A connector's name, `embedded`, or empty: as configured for the address's domain.
    connector: String,
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
    /// Everybody who matches now, too. Left out: nobody else.
    #[serde(default)]
    matching: Option<PeopleMatch>,
}

/// People by what is known of them; what is left out lets everybody through.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PeopleMatch {
    /// The beginning of a name or an address.
    #[serde(default)]
    query: String,
    #[serde(default)]
    department: String,
    #[serde(default)]
    city: String,
    #[serde(default)]
    language: String,
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
        department: q.department.unwrap_or_default(),
        city: q.city.unwrap_or_default(),
        language: q.language.unwrap_or_default(),
        after: after_id(q.after.as_deref())?.map(PersonId),
        limit: limit.into(),
    };
    let people = app.directory.people(&filter).await?;
    Ok(Json(Page::by_id(people.into_iter().map(Person::from).collect(), limit, |p| p.id)))
}

/// How many people a filter lets through, and what further filters there are.
#[utoipa::path(get, path = "/people/facets", tag = "people", params(FacetsQuery),
    responses((status = 200, body = PeopleFacets)))]
async fn people_facets(
    State(app): State<AppState>,
    _caller: Caller,
    Query(q): Query<FacetsQuery>,
) -> Answer<PeopleFacets> {
    let filter = PeopleFilter {
        starts_with: q.query.unwrap_or_default(),
        department: q.department.unwrap_or_default(),
        city: q.city.unwrap_or_default(),
        language: q.language.unwrap_or_default(),
        ..PeopleFilter::default()
    };
    let facets = app.directory.people_facets(&filter).await?;
    let counted = |values: Vec<(String, i64)>| {
        values.into_iter().map(|(value, count)| ValueCount { label: value.clone(), value, count }).collect()
    };
    Ok(Json(PeopleFacets {
        total_count: facets.people_count,
        department: counted(facets.departments),
        city: counted(facets.cities),
        language: counted(facets.languages),
    }))
}

/// One person, and where their mailbox is.
#[utoipa::path(get, path = "/people/{id}", tag = "people", responses((status = 200, body = PersonDetail)))]
async fn get_person(
    State(app): State<AppState>,
    _caller: Caller,
    PathId(person): PathId<PersonId>,
) -> Answer<PersonDetail> {
    person_detail(&app, person).await
}

async fn person_detail(app: &AppState, person_id: PersonId) -> Answer<PersonDetail> {
    let person = app.directory.person(person_id).await?.ok_or_else(|| Problem::not_found("person"))?;
    let mailbox = app.directory.mailbox_of_person(person_id).await?.map(|mailbox| PersonMailbox {
        kept_by: mailbox.connector,
        chosen: mailbox.chosen,
        item_count: mailbox.item_count,
    });
    let connectors = app.directory.mailbox_connectors().names.iter().cloned().collect();
    Ok(Json(PersonDetail { person: person.into(), mailbox, connectors }))
}

/// Says which system keeps a person's mailbox from now on. Mail that is there already stays where it is.
#[utoipa::path(put, path = "/people/{id}/mailbox", tag = "people", request_body = ChosenMailbox,
    responses((status = 200, body = PersonDetail)))]
async fn choose_mailbox(
    State(app): State<AppState>,
    caller: Caller,
    PathId(person): PathId<PersonId>,
    Json(body): Json<ChosenMailbox>,
) -> Answer<PersonDetail> {
    app.directory.choose_connector(person, body.connector.trim(), Some(caller.account_id)).await?;
    person_detail(&app, person).await
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
    let broken = |status: StatusCode, cause: String| match status {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(Kind::BadRequest, "The form could not be read: send one file as multipart/form-data.")
            .because(cause),
    };
    let unread = |e: MultipartError| broken(e.status(), e.body_text());
    let form = Multipart::from_request(request, app).await;
    let mut form = form.map_err(|e| broken(e.status(), e.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(unread)? {
        if field.file_name().is_some() {
            return field.bytes().await.map_err(unread);
        }
    }
    Err(Problem::invalid("file", "the form has no file: choose the CSV file to import"))
}

/// Lists, by name; there are at most 1,000.
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
    let matching = body.matching.map(|matching| PeopleFilter {
        starts_with: matching.query,
        department: matching.department,
        city: matching.city,
        language: matching.language,
        ..PeopleFilter::default()
    });
    let filled = app.directory.fill_list(&body.name, &people, matching.as_ref()).await?;
    let action = if filled.is_new { "list.create" } else { "list.add" };
    let detail = serde_json::json!({ "added": filled.added_count });
    app.audit(&caller, action, body.name.trim().to_owned(), "", detail).await?;
    Ok((StatusCode::CREATED, Json(one_list(&app, filled.list_id).await?)))
}

/// Takes a person off a list. Doing it again changes nothing.
#[utoipa::path(delete, path = "/lists/{id}/members/{person_id}", tag = "people", responses((status = 204)))]
async fn remove_member(
    State(app): State<AppState>,
    caller: Caller,
    path: Result<Path<(i64, i64)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((list, person)) = path.map_err(|_| Problem::not_found("list"))?;
    let (list, person) = (ListId(list), PersonId(person));
    let name = one_list(&app, list).await?.name;
    if app.directory.remove_from_list(list, person).await? {
        let detail = serde_json::json!({ "person_id": person.to_string() });
        app.audit(&caller, "list.remove", name, "", detail).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn one_list(app: &AppState, list: ListId) -> Result<PeopleList, Problem> {
    let found = app.directory.list(list).await?;
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
