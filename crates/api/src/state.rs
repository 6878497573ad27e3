//! What handlers work with.

use std::sync::Arc;

use bytes::Bytes;
use campaign::Tracker;
use changes::Changes;
use directory::{Directory, NewAudit, ProtectionCache, Throttle};
use gateway::GatewayStats;
use mailbox::{Connectors, Embedded};
use quarantine::Quarantine;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::metrics::Metrics;
use crate::problem::Problem;

/// Open lines of server-sent events.
const EVENT_LINES_MAX: usize = 512;

/// What the process says about itself to the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Whether browsers reach this server by https: cookies are then marked `Secure`.
    pub https: bool,
    /// The version shown by `GET /api/v1/me` and the metrics.
    pub version: String,
}

/// The state of one server. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The store.
    pub store: Store,
    /// The organisation's directory.
    pub directory: Directory,
    /// The rule set and the policies in force.
    pub protection: ProtectionCache,
    /// The embedded mailboxes.
    pub mailbox: Embedded,
    /// The systems that keep mailboxes which are not embedded.
    pub connectors: Connectors,
    /// The quarantine.
    pub quarantine: Quarantine,
    /// Changes of the protection side.
    pub changes: Changes,
    /// Tracking links.
    pub tracker: Tracker,
    /// The counters of a gateway in this process, for the metrics.
    pub(crate) gateway_stats: Option<Arc<GatewayStats>>,
    /// Those of an IMAP server.
    pub(crate) imap_stats: Option<Arc<imap::ServerStats>>,
    /// The OpenAPI document, as it is served.
    pub(crate) document: Bytes,
    /// Ends event lines when the server stops.
    pub shutdown: CancellationToken,
    /// The configuration.
    pub config: Arc<ApiConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) password_checks: Arc<Semaphore>,
    pub(crate) event_lines: Arc<Semaphore>,
}

impl AppState {
    /// The state of a server over these parts.
    pub fn new(
        directory: Directory,
        protection: ProtectionCache,
        tracker: Tracker,
        gateway_stats: Option<Arc<GatewayStats>>,
        shutdown: CancellationToken,
        config: ApiConfig,
    ) -> AppState {
        AppState {
            mailbox: Embedded::new(directory.store().clone()),
            connectors: Connectors::default(),
            quarantine: Quarantine::new(directory.clone(), protection.clone()),
            changes: Changes::new(&directory),
            tracker,
            gateway_stats,
            imap_stats: None,
            document: Bytes::from(crate::openapi_json()),
            store: directory.store().clone(),
            throttle: directory.throttle().clone(),
            password_checks: directory.password_checks().clone(),
            directory,
            protection,
            shutdown,
            config: Arc::new(config),
            metrics: Arc::default(),
            event_lines: Arc::new(Semaphore::new(EVENT_LINES_MAX)),
        }
    }
}

impl AppState {
    /// The same, with the counters of an IMAP server in this process.
    #[must_use]
    pub fn with_imap(mut self, stats: Arc<imap::ServerStats>) -> AppState {
        self.imap_stats = Some(stats);
        self
    }

    /// The same, with a quarantine that reaches mailboxes of other systems.
    #[must_use]
    pub fn with_quarantine(mut self, quarantine: Quarantine) -> AppState {
        self.quarantine = quarantine;
        self
    }

    /// The same, telling of these connectors.
    #[must_use]
    pub fn with_connectors(mut self, connectors: Connectors) -> AppState {
        self.connectors = connectors;
        self
    }

    /// Records what somebody did through the API, where the crate that did it does not.
    pub(crate) async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        target: String,
        reason: &str,
        detail: serde_json::Value,
    ) -> Result<(), Problem> {
        let audit = NewAudit { account_id: Some(caller.account_id), action, target, reason, detail };
        Ok(self.directory.audit(audit).await?)
    }
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppState")
            .field("directory", &self.directory)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
