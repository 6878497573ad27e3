//! A recipient's own mailbox and own held copies: nothing of anybody else's is reachable here.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mailbox::{FlagChange, ItemPosition, ItemSummary, MailboxInfo};
use model::{FolderId, MailItemId, Permission as P, PersonId, QuarantineItemId, Timestamp};
use quarantine::Step;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathId, Query};
use crate::mail_view;
use crate::problem::Problem;
use crate::resources::quarantine::{QuarantineItem, SafePreview, outcome};
use crate::wire::{ActionOutcome, At, Id, Page, after_id, bad_cursor, id, limit_of};

/// What the page of a message may load: pictures when its owner wants them, and nothing that runs.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
    frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";
const MAIL_POLICY_PICTURES: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data: http: https:; \
    form-action 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(own_mailbox), P::MailboxOwn))
        .routes(operation(routes!(list_folders), P::MailboxOwn))
        .routes(operation(routes!(create_folder), P::MailboxOwn))
        .routes(operation(routes!(list_mail), P::MailboxOwn))
        .routes(operation(routes!(get_mail), P::MailboxOwn))
        .routes(operation(routes!(get_mail_raw), P::MailboxOwn))
        .routes(operation(routes!(get_mail_html), P::MailboxOwn))
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

/// How to show a message.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShowQuery {
    /// Whether pictures from outside are loaded: their senders learn that the mail was opened.
    pictures: Option<bool>,
}

/// Where one's own mailbox is.
#[derive(Debug, Serialize, ToSchema)]
struct OwnMailbox {
    address: String,
    /// The connector to the system that keeps it, where mail programs read it; `null`: it is embedded, and read here.
    kept_by: Option<String>,
    /// Mails that lie here. With `kept_by`: those that came before it was kept there.
    item_count: i64,
    /// Copies that wait to be handed over to that system.
    waiting_count: i64,
    /// When the oldest of them came.
    waiting_since: Option<At>,
    /// Whether that system answered the last time; `null` when nobody has asked since the server was started.
    answers: Option<bool>,
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

impl From<ItemSummary> for MailItem {
    fn from(i: ItemSummary) -> Self {
        MailItem {
            id: id(i.id),
            folder_id: id(i.folder_id),
            uid: i.uid,
            from_name: i.from_name,
            from_address: i.from_address,
            subject: i.subject,
            internal_at: i.internal_at.into(),
            seen: i.seen,
            flagged: i.flagged,
            answered: i.answered,
            keywords: i.keywords,
            safety_tip: i.safety_tip,
            size_bytes: i.size_bytes,
        }
    }
}

impl From<mailbox::Folder> for Folder {
    fn from(f: mailbox::Folder) -> Self {
        Folder {
            id: id(f.id),
            name: f.name,
            role: f.role.as_str().to_owned(),
            total_count: f.total_count,
            unseen_count: f.unseen_count,
        }
    }
}

/// The caller's own mailbox: every other function here starts with it.
async fn own(app: &AppState, caller: &Caller) -> Result<MailboxInfo, Problem> {
    let Some(person) = caller.person_id else {
        return Err(Problem::not_found("mailbox: this login belongs to no person"));
    };
    app.mailbox.mailbox_of(person).await?.ok_or_else(|| Problem::not_found("mailbox"))
}

async fn body_of(app: &AppState, caller: &Caller, item: MailItemId) -> Result<(mailbox::Item, bytes::Bytes), Problem> {
    let mailbox = own(app, caller).await?;
    let item = app.mailbox.item(mailbox.id, item).await?;
    let body = app.store.body(&item.body).await?;
    Ok((item, body))
}

async fn summary(app: &AppState, mailbox: &MailboxInfo, item: MailItemId) -> Answer<MailItem> {
    Ok(Json(app.mailbox.item(mailbox.id, item).await?.summary.into()))
}

/// Where the caller's mailbox is, and what waits for it.
#[utoipa::path(get, path = "/mailbox", tag = "mailbox", responses((status = 200, body = OwnMailbox)))]
async fn own_mailbox(State(app): State<AppState>, caller: Caller) -> Answer<OwnMailbox> {
    let kept = app.directory.mailbox_of_person(person(&caller)?).await?.ok_or_else(|| Problem::not_found("mailbox"))?;
    let (waiting_count, waiting_since) = match &kept.connector {
        Some(name) => mailbox::waiting_for(&app.store, caller.organisation_id, name, &kept.address).await?,
        None => (0, None),
    };
    let system = kept.connector.as_deref().and_then(|name| app.connectors.get(name));
    Ok(Json(OwnMailbox {
        address: kept.address,
        answers: system.and_then(|system| system.health().lmtp.is_answering),
        kept_by: kept.connector,
        item_count: kept.item_count,
        waiting_count,
        waiting_since: waiting_since.map(At),
    }))
}

/// The caller's folders; at most 2,000. A mailbox that another system keeps, and of which nothing lies here, has none here.
#[utoipa::path(get, path = "/mailbox/folders", tag = "mailbox", responses((status = 200, body = Vec<Folder>)))]
async fn list_folders(State(app): State<AppState>, caller: Caller) -> Answer<Vec<Folder>> {
    let mailbox = own(&app, &caller).await?;
    if let Some(kept) = app.directory.mailbox_of_person(person(&caller)?).await?
        && let (Some(name), 0) = (&kept.connector, kept.item_count)
    {
        let text =
            format!("Your mailbox is kept by the mail system {name:?}, not here: read it with your mail program.");
        return Err(Problem::conflict(text));
    }
    Ok(Json(app.mailbox.folders(mailbox.id).await?.into_iter().map(Folder::from).collect()))
}

/// Creates a folder.
#[utoipa::path(post, path = "/mailbox/folders", tag = "mailbox", request_body = NewFolder,
    responses((status = 201, body = Folder)))]
async fn create_folder(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewFolder>,
) -> Result<(StatusCode, Json<Folder>), Problem> {
    let mailbox = own(&app, &caller).await?;
    let made = app.mailbox.create_folder(mailbox.id, &body.name).await?;
    let folder = Folder { id: id(made), name: body.name, role: String::new(), total_count: 0, unseen_count: 0 };
    Ok((StatusCode::CREATED, Json(folder)))
}

/// Messages of a folder, newest first.
#[utoipa::path(get, path = "/mailbox/folders/{id}/items", tag = "mailbox", params(MailQuery),
    responses((status = 200, body = Page<MailItem>)))]
async fn list_mail(
    State(app): State<AppState>,
    caller: Caller,
    PathId(folder): PathId<FolderId>,
    Query(q): Query<MailQuery>,
) -> Answer<Page<MailItem>> {
    let limit = limit_of(q.limit)?;
    let after = q.after.as_deref().map(position).transpose()?;
    let mailbox = own(&app, &caller).await?;
    let items = app.mailbox.items(mailbox.id, folder, after, limit as usize).await?;
    let full = items.len() >= limit as usize;
    let next = items.last().filter(|_| full).map(|item| {
        let at = item.position();
        format!("{}-{}", at.internal_at.as_micros(), at.id)
    });
    Ok(Json(Page { items: items.into_iter().map(MailItem::from).collect(), next }))
}

/// The cursor of a folder: when the last item came, and its id.
fn position(after: &str) -> Result<ItemPosition, Problem> {
    let (at, item) = after.split_once('-').ok_or_else(bad_cursor)?;
    let at = at.parse().map_err(|_| bad_cursor())?;
    let item = item.parse().map_err(|_| bad_cursor())?;
    Ok(ItemPosition { internal_at: Timestamp::from_micros(at), id: item })
}

/// One message, to read. Does not mark it read.
#[utoipa::path(get, path = "/mailbox/items/{id}", tag = "mailbox", responses((status = 200, body = Mail)))]
async fn get_mail(State(app): State<AppState>, caller: Caller, PathId(item): PathId<MailItemId>) -> Answer<Mail> {
    let (item, body) = body_of(&app, &caller, item).await?;
    let view = mail_view::for_owner(&body);
    let attachment = |(name, content_type, size): (String, String, u64)| MailAttachment {
        name,
        content_type,
        size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
    };
    Ok(Json(Mail {
        message_id_header: item.message_id_header,
        item: item.summary.into(),
        to: view.to,
        html: view.html,
        text: view.text,
        attachments: view.attachments.into_iter().map(attachment).collect(),
    }))
}

/// The message as received.
#[utoipa::path(get, path = "/mailbox/items/{id}/raw", tag = "mailbox",
    responses((status = 200, body = String, content_type = "message/rfc822")))]
async fn get_mail_raw(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<MailItemId>,
) -> Result<Response, Problem> {
    let (_, body) = body_of(&app, &caller, item).await?;
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"message.eml\""),
    ];
    Ok((headers, body).into_response())
}

/// The message as a page for a sandboxed frame: nothing runs, links open in a new window, pictures load when asked.
#[utoipa::path(get, path = "/mailbox/items/{id}/html", tag = "mailbox", params(ShowQuery),
    responses((status = 200, body = String, content_type = "text/html")))]
async fn get_mail_html(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<MailItemId>,
    Query(q): Query<ShowQuery>,
) -> Result<Response, Problem> {
    let (_, body) = body_of(&app, &caller, item).await?;
    let view = mail_view::for_owner(&body);
    let policy = if q.pictures.unwrap_or(false) { MAIL_POLICY_PICTURES } else { MAIL_POLICY };
    let page = format!("<!doctype html><meta charset=\"utf-8\"><base target=\"_blank\">{}", view.html);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, page).into_response())
}

/// Sets flags.
#[utoipa::path(patch, path = "/mailbox/items/{id}", tag = "mailbox", request_body = MailFlags,
    responses((status = 200, body = MailItem)))]
async fn flag_mail(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<MailItemId>,
    Json(body): Json<MailFlags>,
) -> Answer<MailItem> {
    let mailbox = own(&app, &caller).await?;
    let change =
        FlagChange { seen: body.seen, flagged: body.flagged, answered: body.answered, keywords: body.keywords };
    app.mailbox.set_flags(mailbox.id, item, &change).await?;
    summary(&app, &mailbox, item).await
}

/// Moves it to another folder.
#[utoipa::path(post, path = "/mailbox/items/{id}/move", tag = "mailbox", request_body = MoveTo,
    responses((status = 200, body = MailItem)))]
async fn move_mail(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<MailItemId>,
    Json(body): Json<MoveTo>,
) -> Answer<MailItem> {
    let mailbox = own(&app, &caller).await?;
    app.mailbox.move_item(mailbox.id, item, FolderId(body.folder_id.0), &caller.login).await?;
    summary(&app, &mailbox, item).await
}

/// Deletes it: first into Trash, from there for good.
#[utoipa::path(delete, path = "/mailbox/items/{id}", tag = "mailbox", responses((status = 204)))]
async fn delete_mail(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<MailItemId>,
) -> Result<StatusCode, Problem> {
    let mailbox = own(&app, &caller).await?;
    app.mailbox.delete_item(mailbox.id, item, &caller.login).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn person(caller: &Caller) -> Result<PersonId, Problem> {
    caller.person_id.ok_or_else(|| Problem::not_found("mailbox: this login belongs to no person"))
}

/// The caller's own held copies that the policy lets them see.
#[utoipa::path(get, path = "/my/quarantine", tag = "mailbox", params(MailQuery),
    responses((status = 200, body = Page<QuarantineItem>)))]
async fn list_own_quarantine(
    State(app): State<AppState>,
    caller: Caller,
    Query(q): Query<MailQuery>,
) -> Answer<Page<QuarantineItem>> {
    let limit = limit_of(q.limit)?;
    let after = after_id(q.after.as_deref())?.map(QuarantineItemId);
    let items = app.quarantine.own(person(&caller)?, after, limit as usize).await?;
    Ok(Json(Page::by_id(items.into_iter().map(QuarantineItem::from).collect(), limit, |i| i.id)))
}

/// One of them, safe to look at.
#[utoipa::path(get, path = "/my/quarantine/{id}/preview", tag = "mailbox",
    responses((status = 200, body = SafePreview)))]
async fn preview_own_quarantine(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
) -> Answer<SafePreview> {
    Ok(Json(app.quarantine.own_preview(person(&caller)?, item).await?.into()))
}

/// Releases one of them, where the policy lets the recipient.
#[utoipa::path(post, path = "/my/quarantine/{id}/release", tag = "mailbox",
    responses((status = 200, body = ActionOutcome)))]
async fn release_own_quarantine(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
) -> Answer<ActionOutcome> {
    let done = app.quarantine.own_release(person(&caller)?, &caller.login, item).await?;
    Ok(Json(outcome(done, Step::Free)))
}

/// Asks for the release of one of them.
#[utoipa::path(post, path = "/my/quarantine/{id}/request", tag = "mailbox",
    responses((status = 200, body = ActionOutcome)))]
async fn request_own_quarantine(
    State(app): State<AppState>,
    caller: Caller,
    PathId(item): PathId<QuarantineItemId>,
) -> Answer<ActionOutcome> {
    let done = app.quarantine.own_request(person(&caller)?, &caller.login, item).await?;
    Ok(Json(outcome(done, Step::Request)))
}
