//! A recipient's own mailbox and own held copies: nothing of anybody else's is reachable here.

use axum::http::StatusCode;
use axum::response::Response;
use model::{FolderId, MailItemId, Permission as P, QuarantineItemId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::problem::Problem;
use crate::resources::quarantine::{QuarantineItem, SafePreview};
use crate::wire::{ActionOutcome, At, Id, Page};

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_folders), P::MailboxOwn))
        .routes(operation(routes!(create_folder), P::MailboxOwn))
        .routes(operation(routes!(list_mail), P::MailboxOwn))
        .routes(operation(routes!(get_mail), P::MailboxOwn))
        .routes(operation(routes!(get_mail_raw), P::MailboxOwn))
        .routes(operation(routes!(flag_mail), P::MailboxOwn))
        .routes(operation(routes!(move_mail), P::MailboxOwn))
        .routes(operation(routes!(delete_mail), P::MailboxOwn))
        .routes(operation(routes!(list_own_quarantine), P::QuarantineOwn))
        .routes(operation(routes!(preview_own_quarantine), P::QuarantineOwn))
        .routes(operation(routes!(release_own_quarantine), P::QuarantineOwn))
        .routes(operation(routes!(request_own_quarantine), P::QuarantineOwn))
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MailQuery {
    /// The cursor: `next` of the page before.
    after: Option<String>,
    /// Items of this page, 1 to 200.
    limit: Option<u32>,
}

/// A folder.
#[derive(Debug, Serialize, ToSchema)]
struct Folder {
    id: Id,
    name: String,
    /// `inbox`, `junk`, `sent`, `trash`, `drafts`, `archive`, or empty for a folder of one's own.
    role: String,
    total_count: i64,
    unseen_count: i64,
}

/// A new folder.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFolder {
    name: String,
}

/// A message in a folder.
#[derive(Debug, Serialize, ToSchema)]
struct MailItem {
    id: Id,
    folder_id: Id,
    uid: i64,
    from_name: String,
    from_address: String,
    subject: String,
    /// The date it has in the mailbox.
    internal_at: At,
    seen: bool,
    flagged: bool,
    answered: bool,
    keywords: Vec<String>,
    /// A warning to show above it, or empty.
    safety_tip: String,
    size_bytes: i64,
}

/// A message opened by its owner.
#[derive(Debug, Serialize, ToSchema)]
struct Mail {
    #[serde(flatten)]
    item: MailItem,
    to: Vec<String>,
    message_id_header: String,
    /// Without scripts and forms, with its links and pictures as they were received, as any mail client shows them.
    /// Show it in a sandboxed frame.
    html: String,
    text: String,
    attachments: Vec<MailAttachment>,
}

/// An attachment's name and size.
#[derive(Debug, Serialize, ToSchema)]
struct MailAttachment {
    name: String,
    content_type: String,
    size_bytes: i64,
}

/// Flags to set; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MailFlags {
    #[serde(default)]
    seen: Option<bool>,
    #[serde(default)]
    flagged: Option<bool>,
    #[serde(default)]
    answered: Option<bool>,
    /// All keywords it shall have.
    #[serde(default)]
    keywords: Option<Vec<String>>,
}

/// Where to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MoveTo {
    folder_id: Id,
}

/// The caller's folders.
#[utoipa::path(get, path = "/mailbox/folders", tag = "mailbox", responses((status = 200, body = Vec<Folder>)))]
async fn list_folders(_caller: Caller) -> Answer<Vec<Folder>> {
    Err(Problem::not_wired())
}

/// Creates a folder.
#[utoipa::path(post, path = "/mailbox/folders", tag = "mailbox", responses((status = 201, body = Folder)))]
async fn create_folder(_caller: Caller, Json(_b): Json<NewFolder>) -> Result<(StatusCode, Json<Folder>), Problem> {
    Err(Problem::not_wired())
}

/// Messages of a folder, newest first.
#[utoipa::path(get, path = "/mailbox/folders/{id}/items", tag = "mailbox", params(MailQuery), responses((status = 200, body = Page<MailItem>)))]
async fn list_mail(
    _caller: Caller,
    PathId(_id): PathId<FolderId>,
    Query(_q): Query<MailQuery>,
) -> Answer<Page<MailItem>> {
    Err(Problem::not_wired())
}

/// One message, to read. Does not mark it read.
#[utoipa::path(get, path = "/mailbox/items/{id}", tag = "mailbox", responses((status = 200, body = Mail)))]
async fn get_mail(_caller: Caller, PathId(_id): PathId<MailItemId>) -> Answer<Mail> {
    Err(Problem::not_wired())
}

/// The message as received.
#[utoipa::path(get, path = "/mailbox/items/{id}/raw", tag = "mailbox",
    responses((status = 200, body = Vec<u8>, content_type = "message/rfc822")))]
async fn get_mail_raw(_caller: Caller, PathId(_id): PathId<MailItemId>) -> Result<Response, Problem> {
    Err(Problem::not_wired())
}

/// Sets flags.
#[utoipa::path(patch, path = "/mailbox/items/{id}", tag = "mailbox", responses((status = 200, body = MailItem)))]
async fn flag_mail(_caller: Caller, PathId(_id): PathId<MailItemId>, Json(_b): Json<MailFlags>) -> Answer<MailItem> {
    Err(Problem::not_wired())
}

/// Moves it to another folder.
#[utoipa::path(post, path = "/mailbox/items/{id}/move", tag = "mailbox", responses((status = 200, body = MailItem)))]
async fn move_mail(_caller: Caller, PathId(_id): PathId<MailItemId>, Json(_b): Json<MoveTo>) -> Answer<MailItem> {
    Err(Problem::not_wired())
}

/// Deletes it.
#[utoipa::path(delete, path = "/mailbox/items/{id}", tag = "mailbox", responses((status = 204)))]
async fn delete_mail(_caller: Caller, PathId(_id): PathId<MailItemId>) -> Result<StatusCode, Problem> {
    Err(Problem::not_wired())
}

/// The caller's own held copies that the policy lets them see.
#[utoipa::path(get, path = "/my/quarantine", tag = "mailbox", params(MailQuery), responses((status = 200, body = Page<QuarantineItem>)))]
async fn list_own_quarantine(_caller: Caller, Query(_q): Query<MailQuery>) -> Answer<Page<QuarantineItem>> {
    Err(Problem::not_wired())
}

/// One of them, safe to look at.
#[utoipa::path(get, path = "/my/quarantine/{id}/preview", tag = "mailbox", responses((status = 200, body = SafePreview)))]
async fn preview_own_quarantine(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<SafePreview> {
    Err(Problem::not_wired())
}

/// Releases one of them, where the policy lets the recipient.
#[utoipa::path(post, path = "/my/quarantine/{id}/release", tag = "mailbox", responses((status = 200, body = ActionOutcome)))]
async fn release_own_quarantine(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}

/// Asks for the release of one of them.
#[utoipa::path(post, path = "/my/quarantine/{id}/request", tag = "mailbox", responses((status = 200, body = ActionOutcome)))]
async fn request_own_quarantine(_caller: Caller, PathId(_id): PathId<QuarantineItemId>) -> Answer<ActionOutcome> {
    Err(Problem::not_wired())
}
