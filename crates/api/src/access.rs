//! Who may call an operation: one value per operation, checked by the router and written into the OpenAPI document.
//!
//! [`operation`] takes that value once and does both, so the two cannot disagree.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use model::{AccountId, OrganisationId, Permission, PersonId, Role};
use subtle::ConstantTimeEq;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder};
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};

use crate::AppState;
use crate::problem::{Kind, PROBLEM_JSON, Problem};

/// The header that a page of the console adds to unsafe requests.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Accounts whose role has this permission.
    Needs(Permission),
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Access::Public => "public",
            Access::Needs(permission) => permission.as_str(),
        }
    }
}

impl From<Permission> for Access {
    fn from(permission: Permission) -> Self {
        Access::Needs(permission)
    }
}

/// Who is calling. Put on the request by `authenticate`; handlers of operations that need a permission take it as an argument.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub account_id: AccountId,
    /// Whose data it sees.
    pub organisation_id: OrganisationId,
    /// The person whose mailbox is the account's own.
    pub person_id: Option<PersonId>,
    /// The login, as recorded with actions.
    pub login: String,
    /// The account's name for people.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The session's token against forged requests; `None` when an API token was used.
    pub csrf: Option<String>,
}

impl Caller {
    /// Whether the caller's role has the permission.
    pub fn may(&self, permission: Permission) -> bool {
        self.role.may(permission)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(sign_in_first)
    }
}

/// The answer to nobody.
pub fn sign_in_first() -> Problem {
    Problem::new(Kind::SignIn, "Sign in, or send `Authorization: Bearer` with an API token that is still valid.")
}

/// The roles that have a permission, in words: "an administrator, an analyst or an owner".
pub fn who_may(permission: Permission) -> String {
    let mut words: Vec<String> = holders(permission)
        .into_iter()
        .map(|role| {
            let article = if role.as_str().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            format!("{article} {role}")
        })
        .collect();
    words.sort_unstable();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nobody".to_owned(),
    }
}

/// The roles that have a permission.
pub fn holders(permission: Permission) -> Vec<Role> {
    Role::ALL.iter().copied().filter(|role| role.may(permission)).collect()
}

/// Registers operations of one path under one access: the check goes on the routes, the word into the document.
pub fn operation(routes: UtoipaMethodRouter<AppState>, access: impl Into<Access>) -> UtoipaMethodRouter<AppState> {
    let access = access.into();
    let (schemas, mut paths, methods) =
        routes.map(|methods| methods.route_layer(from_fn(move |request, next| check(access, request, next))));
    for (path, item) in &mut paths.paths {
        let path = path.clone();
        let all = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
        for operation in all.into_iter().flatten() {
            describe(operation, &path, access);
        }
    }
    (schemas, paths, methods)
}

/// What every operation says in the document: its permission, the problem document, its path parameters.
fn describe(operation: &mut Operation, path: &str, access: Access) {
    let word = serde_json::Value::from(access.word());
    operation.extensions.get_or_insert_default().insert("x-permission".into(), word);
    let problem = ResponseBuilder::new()
        .description("What is wrong and what to do (RFC 9457).")
        .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build())
        .build();
    operation.responses.responses.insert("default".into(), RefOr::T(problem));
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "Done.".into(); // OpenAPI wants one on every response
        }
    }
    let declared = operation.parameters.get_or_insert_default();
    for name in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
        if !declared.iter().any(|p| matches!(p, RefOr::T(p) if p.name == name)) {
            declared.push(RefOr::T(path_parameter(name)));
        }
    }
    if declared.is_empty() {
        operation.parameters = None;
    }
}

fn path_parameter(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// The check on every operation.
async fn check(access: Access, request: Request, next: Next) -> Response {
    if let Access::Needs(permission) = access {
        let Some(caller) = request.extensions().get::<Caller>() else { return sign_in_first().into_response() };
        if !caller.may(permission) {
            return Problem::new(
                Kind::Forbidden,
                format!("Your role ({}) may not do this: ask {}.", caller.role, who_may(permission)),
            )
            .into_response();
        }
        if let Err(problem) = check_csrf(caller, request.method(), request.headers()) {
            return problem.into_response();
        }
    }
    next.run(request).await
}

/// A cookie is sent by a browser whoever made the page; the header is only known to our own pages.
fn check_csrf(caller: &Caller, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(csrf) = caller.csrf.as_deref().filter(|_| !method.is_safe()) else { return Ok(()) };
    let given = headers.get(CSRF_HEADER).map_or(&b""[..], |v| v.as_bytes());
    if bool::from(given.ct_eq(csrf.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(Kind::Csrf, "Send the session's `csrf` (see GET /api/v1/me) in the header X-CSRF-Token.")
        .at(CSRF_HEADER))
}
