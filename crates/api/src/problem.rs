//! The one error type at the HTTP edge: a problem document (RFC 9457).
//!
//! Its text is for whoever called: what is wrong, which field, what to do. The private cause is logged under the
//! `reference` that the document carries, and goes nowhere else.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What kind of problem: the end of `type`, and the status that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be understood: syntax, an id that is no id, a cursor of another list.
    BadRequest,
    /// Nobody is signed in, or the session or token is not valid any more.
    SignIn,
    /// Signed in, but not entitled.
    Forbidden,
    /// The header against forged requests is missing or wrong.
    Csrf,
    /// There is no such thing (or not for this account).
    NotFound,
    /// The thing's state does not allow it now.
    Conflict,
    /// The content is understood and not acceptable: the field says where.
    Invalid,
    /// The body is larger than this operation takes.
    TooLarge,
    /// Too many tries.
    TooMany,
    /// The server does not answer this method here.
    Method,
    /// It took too long.
    Timeout,
    /// A part that is needed does not answer now: try again.
    Unavailable,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// Status, word in `type`, and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood"),
            Kind::SignIn => (StatusCode::UNAUTHORIZED, "sign-in", "Not signed in"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Your role does not allow this"),
            Kind::Csrf => (StatusCode::FORBIDDEN, "csrf", "The request did not come from a page of this console"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict", "This is not possible in the present state"),
            Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Something in the request is not valid"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Kind::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many tries"),
            Kind::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "This address does not take that method"),
            Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout", "This took too long"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available right now"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on the server"),
        }
    }
}

/// A problem on its way out.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    field: Option<String>,
    errors: Vec<FieldError>,
    /// What really happened; logged, never sent.
    cause: Option<String>,
    retry_after_s: Option<u64>,
}

/// The document as sent (RFC 9457 section 3), with two members of our own: `field` and `reference`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `/problems/<word>`: a stable name of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here and what to do.
    pub detail: String,
    /// The field that is wrong, as a path: `diff.add[0].value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Every problem, when there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Quote this to the operator: the log has the cause under it.
    pub reference: String,
}

/// One of several problems.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field, with the line or entry where known: `content`, `line 3`.
    pub field: String,
    /// The line in the field, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong and what to do.
    pub detail: String,
}

impl Problem {
    /// Several problems at once; the first gives the document its field and text.
    pub fn invalid_all(errors: Vec<FieldError>) -> Self {
        let Some(first) = errors.first() else { return Problem::new(Kind::Invalid, "The request is not valid.") };
        let more = match errors.len() {
            1 => String::new(),
            n => format!(" (and {} more: see `errors`)", n - 1),
        };
        let mut problem = Problem::invalid(first.field.clone(), format!("{}{more}", first.detail));
        problem.errors = errors;
        problem
    }

    /// A problem with a text for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem { kind, detail: detail.into(), field: None, errors: Vec::new(), cause: None, retry_after_s: None }
    }

    /// A field is not acceptable.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Problem::new(Kind::Invalid, detail).at(field)
    }

    /// There is no such `what` (or not for this account: the two look alike on purpose).
    pub fn not_found(what: &str) -> Self {
        Problem::new(Kind::NotFound, format!("There is no such {what}, or you may not see it."))
    }

    /// The state does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(Kind::Conflict, detail)
    }

    /// Names the field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Says when to try again (`Retry-After`, RFC 9110 10.2.3).
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A defect or an unavailable part, by whether trying again can help. The caller learns no more than that.
    pub fn from_severity(transient: bool, cause: impl std::fmt::Display) -> Self {
        if transient {
            Problem::new(Kind::Unavailable, "A part of the server does not answer right now. Try again in a moment.")
                .because(cause)
                .retry_after_s(5)
        } else {
            Problem::new(
                Kind::Internal,
                "The server met a defect. Nothing was changed. Quote the reference to the operator.",
            )
            .because(cause)
        }
    }
}

/// The reference: short enough to read out, unique enough to find in a log.
fn reference() -> String {
    let mut raw = [0_u8; 6];
    if getrandom::fill(&mut raw).is_err() {
        return "unreferenced".into(); // no entropy: the document still goes out
    }
    data_encoding::BASE32_NOPAD.encode(&raw).to_lowercase()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, word, title) = self.kind.parts();
        let reference = reference();
        let cause = self.cause.as_deref().unwrap_or("");
        if status.is_server_error() {
            tracing::error!(reference, status = status.as_u16(), cause, "answered {word} ({reference})");
        } else {
            tracing::debug!(reference, status = status.as_u16(), cause, "answered {word} ({reference})");
        }
        let document = ProblemDocument {
            kind: format!("/problems/{word}"),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail,
            field: self.field,
            errors: self.errors,
            reference,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::SignIn {
            // RFC 9110 11.6.1: a 401 names a challenge. `Bearer` is the one a program can answer.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<store::StoreError> for Problem {
    fn from(error: store::StoreError) -> Self {
        Problem::from_severity(error.severity() == store::Severity::Transient, error)
    }
}
