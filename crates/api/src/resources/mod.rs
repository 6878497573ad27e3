//! The resources: one file each with its parameters, answers and handlers, one merge line each.

mod app_passwords;
mod bypass;
mod campaign_whereabouts;
mod campaigns;
mod changes;
mod connectors;
mod copies;
mod home;
mod incidents;
mod jobs;
mod mailbox;
mod password;
mod people;
mod protection;
mod public;
mod quarantine;
mod queue;
mod reports;
mod session;
mod settings;
mod trace;

use utoipa_axum::router::OpenApiRouter;

use crate::AppState;

/// Everything under `/api/v1`.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(session::routes())
        .merge(password::routes())
        .merge(app_passwords::routes())
        .merge(home::routes())
        .merge(people::routes())
        .merge(campaigns::routes())
        .merge(campaign_whereabouts::routes())
        .merge(copies::routes())
        .merge(trace::routes())
        .merge(quarantine::routes())
        .merge(mailbox::routes())
        .merge(changes::routes())
        .merge(protection::routes())
        .merge(bypass::routes())
        .merge(incidents::routes())
        .merge(jobs::routes())
        .merge(connectors::routes())
        .merge(queue::routes())
        .merge(reports::routes())
        .merge(settings::routes())
}

/// What has an address of its own outside of the API: links in mails, health.
pub fn public_routes() -> OpenApiRouter<AppState> {
    public::routes()
}
