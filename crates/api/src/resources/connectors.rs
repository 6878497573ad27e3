//! The systems that keep mailboxes which are not embedded: which there are, whether they answer, what waits for them.

use std::collections::BTreeMap;

use axum::extract::State;
use mailbox::{ConnectorHealth, Endpoint, LmtpImap, Security, ServiceHealth, UserName, Waiting};
use model::Permission as P;
use outbound::{QueueAct, QueueActor, Selection};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::access::{Caller, operation};
use crate::extract::{Answer, Json, PathText};
use crate::problem::Problem;
use crate::wire::At;

/// The routes.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(operation(routes!(list_connectors), P::SettingsRead))
        .routes(operation(routes!(look_at_connector), P::QueueWrite))
}

/// A connector to a mailbox system. Where it leads stands in the configuration file of the server.
#[derive(Debug, Serialize, ToSchema)]
struct Connector {
    name: String,
    /// `false`: mailboxes or waiting copies name it, and this process does not know it. They wait.
    configured: bool,
    /// Where mail is handed over (LMTP).
    lmtp: Option<ConnectorService>,
    /// Where mailboxes are entered (IMAP).
    imap: Option<ConnectorService>,
    /// How the system calls the owners of mailboxes: `address` or `local_part`; empty when it is not configured.
    user: String,
    /// Domains whose mailboxes it keeps.
    domains: Vec<String>,
    /// It keeps the mailboxes of all other domains.
    everywhere: bool,
    /// Mailboxes that name it themselves.
    chosen_count: i64,
    /// Copies that wait for it.
    waiting_count: i64,
    /// Of them, paused.
    paused_count: i64,
    /// When the oldest of them came.
    oldest_at: Option<At>,
    /// When one of them is tried next.
    next_try_at: Option<At>,
    /// What was said last of one of them, or empty.
    last_reply: String,
}

/// A service of a mailbox system.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectorService {
    /// `host:port`
    address: String,
    /// `clear`, `starttls` or `tls`
    security: String,
    state: ServiceState,
    /// Since when that is so, as far as this process knows.
    since_at: Option<At>,
    /// The last contact.
    contact_at: Option<At>,
    /// Why the last contact failed; empty when it did not.
    error: String,
    /// It answered and did not let us in, which may be a matter of one mailbox: its last words, or empty.
    refusal: String,
    refused_at: Option<At>,
}

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ServiceState {
    /// Nobody has asked since the server was started.
    NotAsked,
    /// It answered the last time.
    Answers,
    /// It did not.
    Silent,
}

/// What a look at a connector found.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectorLook {
    connector: Connector,
    /// In a sentence.
    sentence: String,
    /// Waiting copies that are tried now.
    retried_count: i64,
}

impl ConnectorService {
    fn of(endpoint: &Endpoint, health: ServiceHealth) -> ConnectorService {
        let Endpoint { host, port, security } = endpoint;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let state = match health.is_answering {
            None => ServiceState::NotAsked,
            Some(true) => ServiceState::Answers,
            Some(false) => ServiceState::Silent,
        };
        ConnectorService {
            address: format!("{host}:{port}"),
            security: match security {
                Security::Clear => "clear",
                Security::StartTls => "starttls",
                Security::Tls => "tls",
            }
            .to_owned(),
            state,
            since_at: health.since_at.map(At),
            contact_at: health.contact_at.map(At),
            error: if state == ServiceState::Silent { health.error } else { String::new() },
            refusal: health.refusal,
            refused_at: health.refused_at.map(At),
        }
    }
}

/// What the rows know of connectors, by name.
#[derive(Debug, Default)]
struct InRows {
    waiting: BTreeMap<String, Waiting>,
    chosen: BTreeMap<String, i64>,
}

impl InRows {
    async fn read(app: &AppState, caller: &Caller) -> Result<InRows, Problem> {
        let waiting = mailbox::waiting(&app.store, caller.organisation_id).await?.into_iter().collect();
        let mut chosen: BTreeMap<String, i64> =
            mailbox::chosen_mailboxes(&app.store, caller.organisation_id).await?.into_iter().collect();
        chosen.remove(directory::EMBEDDED);
        Ok(InRows { waiting, chosen })
    }

    /// One connector: `known` is how it is configured here.
    fn connector(&mut self, app: &AppState, name: &str, known: Option<&LmtpImap>) -> Connector {
        let configured = app.directory.mailbox_connectors();
        let by_domain = configured.by_domain.iter().filter(|(_, at)| *at == name);
        let waiting = self.waiting.remove(name).unwrap_or_default();
        let health = known.map(LmtpImap::health);
        let service = |of: fn(&LmtpImap) -> &Endpoint, health_of: fn(ConnectorHealth) -> ServiceHealth| {
            Some(ConnectorService::of(of(known?), health_of(health.clone()?)))
        };
        Connector {
            name: name.to_owned(),
            configured: known.is_some(),
            lmtp: service(|known| &known.config().lmtp, |health| health.lmtp),
            imap: service(|known| &known.config().imap, |health| health.imap),
            user: known
                .map_or("", |known| match known.config().user_name {
                    UserName::Address => "address",
                    UserName::LocalPart => "local_part",
                })
                .to_owned(),
            domains: by_domain.map(|(domain, _)| domain.clone()).collect(),
            everywhere: configured.everywhere.as_deref() == Some(name),
            chosen_count: self.chosen.remove(name).unwrap_or(0),
            waiting_count: waiting.count,
            paused_count: waiting.held_count,
            oldest_at: waiting.oldest_at.map(At),
            next_try_at: waiting.next_try_at.map(At),
            last_reply: waiting.last_reply,
        }
    }
}

/// Connectors by name: those that are configured, then those that only rows name.
#[utoipa::path(get, path = "/connectors", tag = "settings", responses((status = 200, body = Vec<Connector>)))]
async fn list_connectors(State(app): State<AppState>, caller: Caller) -> Answer<Vec<Connector>> {
    let mut rows = InRows::read(&app, &caller).await?;
    let mut all: Vec<Connector> =
        app.connectors.iter().map(|known| rows.connector(&app, known.name(), Some(known))).collect();
    let left: Vec<String> = rows.waiting.keys().chain(rows.chosen.keys()).cloned().collect();
    for name in left {
        if all.iter().all(|known| known.name != name) {
            all.push(rows.connector(&app, &name, None));
        }
    }
    Ok(Json(all))
}

/// Contacts a mailbox system now; when it takes mail, everything that waits for it is tried at once.
#[utoipa::path(post, path = "/connectors/{name}/look", tag = "settings",
    responses((status = 200, body = ConnectorLook)))]
async fn look_at_connector(
    State(app): State<AppState>,
    caller: Caller,
    PathText(name): PathText,
) -> Answer<ConnectorLook> {
    let known = app.connectors.get(&name).ok_or_else(|| Problem::not_found("connector"))?;
    let is_kept = |chosen: &str, address: &str| app.directory.connector_of(chosen, address) == Some(name.as_str());
    let ask = mailbox::mailbox_to_ask(&app.store, caller.organisation_id, &name, is_kept).await?;
    let health = known.contact(ask.as_deref()).await;
    let mut retried_count = 0;
    if health.lmtp.is_answering == Some(true) {
        let selection = Selection { domain: Some(format!("connector:{name}")), ..Selection::default() };
        let actor =
            QueueActor { account_id: Some(caller.account_id), name: &caller.login, reason: "looked at the connector" };
        let waits = outbound::count(&app.store, caller.organisation_id, &selection).await?;
        if waits.due_count > 0 {
            let acted = outbound::act(&app.store, caller.organisation_id, &selection, QueueAct::Flush, &actor).await?;
            retried_count = acted.changed_count;
        }
    }
    let connector = InRows::read(&app, &caller).await?.connector(&app, &name, Some(known));
    let sentence = sentence(&connector, retried_count);
    Ok(Json(ConnectorLook { connector, sentence, retried_count }))
}

fn sentence(connector: &Connector, retried_count: i64) -> String {
    let silent = |service: &Option<ConnectorService>| {
        service.as_ref().filter(|service| service.state == ServiceState::Silent).map(|service| service.error.clone())
    };
    let copies = |n: i64| if n == 1 { "1 copy".to_owned() } else { format!("{n} copies") };
    let waits = match connector.waiting_count {
        0 => "Nothing waits for it.".to_owned(),
        n => format!("{} wait{} for it.", copies(n), if n == 1 { "s" } else { "" }),
    };
    match (silent(&connector.lmtp), silent(&connector.imap)) {
        (Some(why), Some(_)) => format!("It does not answer: {why}. {waits}"),
        (Some(why), None) => format!("It takes no mail now: {why}. {waits}"),
        (None, Some(why)) if retried_count > 0 => {
            format!("It takes mail: {} tried now. Mailboxes cannot be entered: {why}.", copies(retried_count))
        }
        (None, Some(why)) => format!("It takes mail, but mailboxes cannot be entered: {why}. {waits}"),
        (None, None) if retried_count > 0 => format!("It answers: {} tried now.", copies(retried_count)),
        (None, None) => format!("It answers. {waits}"),
    }
}
