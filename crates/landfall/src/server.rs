//! The composition root: everything a running Landfall is made of, started in order and stopped in reverse. No statics:
//! two complete servers run in one process.

use std::net::SocketAddr;
use std::sync::Arc;

use campaign::{DispatchConfig, Dispatcher, Tracker};
use changes::Changes;
use directory::{Directory, NewAccount, NewOrganisation, NewPerson, ProtectionCache};
use gateway::{Gateway, GatewayConfig, HandOverConfig, HandOvers, IncomingWorker, LateJudge, Listening};
use mailbox::Connectors;
use message::Authenticator;
use message::dkim::{DkimKey, KeyKind};
use model::{Address, Clock, Domain, Role, SystemClock};
use outbound::{Agent, Routes};
use quarantine::{Quarantine, Worker};
use store::{Database, SCHEMA_VERSION, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use whereabouts::{Detector, DetectorConfig};

use crate::cli::print_listener;
use crate::config::{Config, Dns};
use crate::error::CliError;
use crate::imap::Imap;
use crate::outgoing;
use crate::services::Services;

/// What the selectors of our DKIM keys begin with; a number follows.
pub(crate) const SELECTOR_STEM: &str = "landfall";
/// The selector of the first DKIM key, by RSA.
pub const SELECTOR: &str = "landfall1";
/// The selector of the Ed25519 key that signs beside it (RFC 8463).
pub const ED25519_SELECTOR: &str = "landfall2";
/// When another process may take over what a dead one had begun to deliver; renewed each third of it.
const SHARED_LEASE_MS: i64 = 2 * 60_000;
/// The login of the first account.
pub const OWNER: &str = "owner";

/// A running server.
pub struct Server {
    /// What it was started with.
    pub config: Config,
    /// The store.
    pub store: Store,
    /// The organisation.
    pub directory: Directory,
    /// Where SMTP listens.
    pub smtp: Vec<SocketAddr>,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Whether this start made the organisation.
    pub is_new: bool,
    /// The rule set in force.
    pub protection: ProtectionCache,
    /// Held as long as the server runs.
    _alone: Option<Alone>,
    stop: Stop,
    gateways: Vec<Listening>,
    /// Submission and LMTP.
    pub services: Services,
    imap: Imap,
    agent: Agent,
    hand_overs: HandOvers,
    detector: Detector,
    tasks: Vec<JoinHandle<()>>,
    api: JoinHandle<std::io::Result<()>>,
}

/// The file whose lock says that a server runs on a data directory.
const LOCK: &str = "server.lock";

/// That no other server runs on the data directory: two on one SQLite file would each take the other's deliveries for those
/// of a dead process, and send them again. The system lets go of the lock when the process ends, however it does.
#[derive(Debug)]
pub struct Alone {
    _file: std::fs::File,
}

impl Alone {
    /// Takes the lock; makes the data directory when it is new. Processes that share a PostgreSQL have leases instead.
    ///
    /// # Errors
    /// [`CliError::Input`] when another server has it.
    pub fn on(config: &Config) -> Result<Option<Alone>, CliError> {
        if !matches!(config.database, Database::Sqlite { .. }) {
            return Ok(None);
        }
        make_data_dir(&config.data_dir)?;
        let path = config.data_dir.join(LOCK);
        let cannot = |e: &dyn std::fmt::Display| CliError::failed(&format!("lock {}", path.display()), e);
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| cannot(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Alone { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Err(CliError::Input(format!(
                "another server runs on {}: stop it first, or name another folder with --data",
                config.data_dir.display()
            ))),
            Err(std::fs::TryLockError::Error(e)) => Err(cannot(&e)),
        }
    }
}

/// A new data directory is its owner's alone: keys, hashes of passwords and everybody's mail will be in it.
pub(crate) fn make_data_dir(dir: &std::path::Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| CliError::failed(&format!("make the folder {}", parent.display()), &e))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if !dir.is_dir() => {
            Err(CliError::failed(&format!("make the data directory {}", dir.display()), &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Ends come in order, see [`Server::stop`].
struct Stop {
    intake: CancellationToken,
    work: CancellationToken,
}

/// Opens the store of data that are there, for a command beside the server or without one. Only a server makes new data, and only a
/// server brings older ones to this binary's schema: whoever looks finds them as they are.
///
/// # Errors
/// [`CliError::Input`] when there are no data, or they are of an older schema.
pub async fn open_existing(config: &Config) -> Result<Store, CliError> {
    let place = match &config.database {
        Database::Sqlite { .. } => config.data_dir.display().to_string(),
        Database::Postgres { .. } => "the database".into(),
    };
    let Some(found) = store::schema_version_of(&config.database).await? else {
        return Err(CliError::Input(format!("{place} holds no data")));
    };
    if found < SCHEMA_VERSION {
        let text = format!("{place} has schema version {found}. {}. Nothing was changed", older_words());
        return Err(CliError::Input(text));
    }
    store_of(config).await
}

/// As [`open_existing`], or a new one where there are no data: for what may be done on new data, and on its own of before.
///
/// # Errors
/// As [`open_existing`].
pub(crate) async fn open_new_or_existing(config: &Config) -> Result<Store, CliError> {
    match store::schema_version_of(&config.database).await? {
        None => open_store(config).await,
        Some(_) => open_existing(config).await,
    }
}

/// What to do with data of an older schema.
pub(crate) fn older_words() -> String {
    format!(
        "This landfall works with {SCHEMA_VERSION}: back it up with the landfall that wrote it, then start `landfall serve`, which \
         migrates it"
    )
}

/// Opens the store that a configuration names; makes it where it is new, and migrates it where it is older.
pub async fn open_store(config: &Config) -> Result<Store, CliError> {
    make_data_dir(&config.data_dir)?;
    store_of(config).await
}

async fn store_of(config: &Config) -> Result<Store, CliError> {
    let store =
        StoreConfig { database: config.database.clone(), objects_dir: config.objects_dir.clone(), node: config.node };
    let store = Store::open(store, Arc::new(SystemClock)).await?;
    store.health().set_free_bytes_min(config.free_bytes_min);
    Ok(store)
}

/// The organisation of this data directory; made, with keys, rules, policies and an owner, when the directory is new.
/// A first run that was cut off is completed by the next one.
pub async fn open_directory(store: &Store, config: &Config) -> Result<Directory, CliError> {
    let directory = match Directory::open(store).await? {
        Some(directory) => directory,
        None => {
            let (name, domains) = (config.organisation_name.clone(), config.organisation_domains.clone());
            Directory::create(store, NewOrganisation { name, domains }).await?
        }
    };
    complete(&directory).await?;
    Ok(directory)
}

/// Everything that an organisation has from its first minute on; each step does nothing when it is done already.
async fn complete(directory: &Directory) -> Result<(), CliError> {
    let organisation = directory.organisation();
    for domain in &organisation.domains {
        for (selector, kind, make) in [
            (SELECTOR, KeyKind::Rsa, DkimKey::generate as MakeKey),
            (ED25519_SELECTOR, KeyKind::Ed25519, DkimKey::generate_ed25519),
        ] {
            let name = format!("{selector}._domainkey.{domain}");
            if !has_dkim_key(directory, domain, kind).await? {
                add_dkim_key(directory, &name, make).await?;
            }
        }
    }
    let mut tx = directory.store().begin().await?;
    changes::first_version(&mut tx, directory.id(), &organisation.domains, "first run")
        .await
        .map_err(|e| CliError::failed("make the first rule set", &e))?;
    tx.commit().await?;
    if directory.account_by_login(OWNER).await?.is_some() {
        return Ok(());
    }
    let address = format!("postmaster@{}", organisation.domains[0]);
    if directory.person_by_address(&address).await?.is_none() {
        directory.put_people(&[postmaster(&address)?]).await?;
    }
    let person_id = directory.person_by_address(&address).await?.map(|p| p.id);
    let owner = NewAccount { login: OWNER.into(), name: "Owner".into(), role: Role::Owner, person_id, password: None };
    directory.create_account(owner).await?;
    Ok(())
}

/// RFC 5321 4.5.1: mail for the postmaster is accepted.
fn postmaster(address: &str) -> Result<NewPerson, CliError> {
    Ok(NewPerson {
        address: Address::parse(address).map_err(|e| CliError::failed("the postmaster", &e))?,
        name: "Postmaster".into(),
        department: String::new(),
        city: String::new(),
        language: "en".into(),
        attributes: Default::default(),
    })
}

type MakeKey = fn() -> Result<DkimKey, message::MessageError>;

/// Whether a key of this kind signs for the domain, whatever its selector is by now.
async fn has_dkim_key(directory: &Directory, domain: &Domain, kind: KeyKind) -> Result<bool, CliError> {
    let keys = directory.dkim_keys().await?;
    let is_it = |pem: &str| DkimKey::from_pem(pem).is_ok_and(|key| key.kind() == kind);
    Ok(keys.iter().any(|key| key.domain == domain.as_str() && is_it(&key.pem)))
}

async fn add_dkim_key(directory: &Directory, name: &str, make: MakeKey) -> Result<(), CliError> {
    let made = tokio::task::spawn_blocking(make).await;
    let key = made
        .map_err(|e| CliError::failed("make a DKIM key", &e))?
        .map_err(|e| CliError::failed("make a DKIM key", &e))?;
    Ok(directory.put_secret("dkim", name, &key.to_pem()).await?)
}

/// The TXT records of the organisation's DKIM keys: (name, text), RSA before what stands beside it.
pub async fn dkim_records(directory: &Directory) -> Result<Vec<(String, String)>, CliError> {
    let mut records = Vec::new();
    for secret in directory.dkim_keys().await?.into_iter().rev() {
        let key = DkimKey::from_pem(&secret.pem).map_err(|e| CliError::failed("the DKIM key", &e))?;
        records.push((secret.name, key.txt_record()));
    }
    Ok(records)
}

/// Names as the configuration says.
pub(crate) fn resolver(config: &Config) -> Result<dns::Resolver, CliError> {
    let resolver = match config.dns {
        Dns::System => dns::Resolver::system(),
        Dns::None => Ok(dns::Resolver::none()),
        Dns::At(addr) => dns::Resolver::at(addr),
    };
    resolver.map_err(|e| CliError::failed("dns.server", &e))
}

/// Binds `wanted`, or a free port of the same address when it is in use.
pub(crate) async fn bind(wanted: SocketAddr) -> Result<TcpListener, CliError> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let free = SocketAddr::new(wanted.ip(), 0);
            TcpListener::bind(free).await.map_err(|e| CliError::failed(&format!("listen on {}", wanted.ip()), &e))
        }
        Err(error) => Err(CliError::failed(&format!("listen on {wanted}"), &error)),
    }
}

impl Server {
    /// Starts everything. Listeners are bound before anything is served, so that the addresses are known.
    ///
    /// # Errors
    /// What the operator has to mend.
    pub async fn start(config: Config) -> Result<Server, CliError> {
        let alone = Alone::on(&config)?;
        Server::start_alone(config, alone).await
    }

    /// As [`Server::start`], where the data directory is held already.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_alone(config: Config, alone: Option<Alone>) -> Result<Server, CliError> {
        let store = open_store(&config).await?;
        store.start_sweeping();
        let server = Server::start_on(config, store).await?;
        Ok(Server { _alone: alone, ..server })
    }

    /// As [`Server::start`], on a store that is open already.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_on(config: Config, store: Store) -> Result<Server, CliError> {
        let is_new = Directory::open(&store).await?.is_none();
        let directory = open_directory(&store, &config).await?.with_mailbox_connectors(config.mailboxes.clone());
        let connectors = crate::connectors::open(&config, &directory).await?;
        let resolver = resolver(&config)?;
        let resolver = if config.dns_trust_ad { resolver.trusting_ad() } else { resolver };
        let protection = ProtectionCache::start(&directory).await?;
        let stop = Stop { intake: CancellationToken::new(), work: CancellationToken::new() };

        let http = bind(config.http_listen).await?;
        let http_addr = http.local_addr().map_err(|e| CliError::failed("http.listen", &e))?;
        let tls = crate::tls::server_config(&config)?;
        let (gateway, gateways) = start_gateway(&config, &directory, &protection, &resolver, &tls, &stop).await?;
        let smtp: Vec<SocketAddr> = gateways.iter().map(|g| g.addr).take(config.smtp_listen.len()).collect();
        // The last is the agent's own where there are proxies; the first otherwise.
        let own = gateways.get(smtp.len()).map_or(smtp[0], |own| own.addr);
        let agent = start_agent(&config, &store, &directory, resolver, (own, &smtp), &stop).await?;
        let services = Services::start(&config, &gateway, tls.clone(), &stop.intake).await?;
        let stats = gateway.stats().clone();

        let imap = Imap::start(&config, &directory, Some(tls), &stop.intake).await?;

        let tracker = Tracker::new(directory.clone()).await.map_err(|e| CliError::failed("tracking", &e))?;
        let quarantine = Quarantine::new(directory.clone(), protection.clone()).with_connectors(connectors.clone());
        let hand_overs = start_hand_overs(&config, &directory, &connectors, &stop);
        let changes = Changes::new(&directory);
        let alone = is_sole_owner(&config);
        let left_behind = if alone { changes.recover_alone().await } else { changes.recover().await };
        left_behind.map_err(|e| CliError::failed("backtests left behind", &e))?;
        let dispatching = DispatchConfig { sole_owner: alone, ..DispatchConfig::default() };
        let dispatcher = Dispatcher::start(tracker.clone(), dispatching, stop.work.clone());
        let incoming = IncomingWorker::new(&gateway);
        let incoming = if alone { incoming.alone() } else { incoming };
        let mut tasks = vec![
            dispatcher.map_err(|e| CliError::failed("the dispatcher", &e))?,
            tracker.start(stop.work.clone()),
            Worker::start(quarantine.clone(), stop.work.clone()),
            incoming.start(stop.work.clone()),
            LateJudge::new(&directory, protection.clone(), verdict::judge, message::Limits::default())
                .start(stop.work.clone()),
        ];
        if !alone {
            tasks.push(changes.start_recovering(stop.work.clone()));
        }
        let detector = Detector::start(&directory, DetectorConfig::default(), stop.work.clone());
        let (organisation, intake) = (directory.clone(), stop.intake.clone());
        let state = api::AppState::new(organisation, protection.clone(), tracker, Some(stats), intake, about(&config))
            .with_imap(imap.stats())
            .with_quarantine(quarantine)
            .with_connectors(connectors);
        let api = tokio::spawn(api::serve(http, api::router(state), stop.intake.clone()));
        Ok(Server {
            config,
            store,
            directory,
            smtp,
            http: http_addr,
            is_new,
            protection,
            _alone: None,
            stop,
            gateways,
            services,
            imap,
            agent,
            hand_overs,
            detector,
            tasks,
            api,
        })
    }

    /// One line per listener.
    pub fn print_listeners(&self) {
        for (wanted, got) in self.config.smtp_listen.iter().zip(&self.smtp) {
            print_listener("SMTP", *wanted, *got, &got.to_string());
        }
        self.services.print();
        self.imap.print();
        print_listener("Console", self.config.http_listen, self.http, &self.url());
    }

    /// How browsers reach the console.
    pub fn url(&self) -> String {
        self.config.public_url.clone().unwrap_or_else(|| format!("http://{}", self.http))
    }

    /// A sign-in link for the owner, as long as nobody has signed in as the owner.
    pub async fn first_run_link(&self) -> Result<Option<String>, CliError> {
        let Some(owner) = self.directory.account_by_login(OWNER).await? else { return Ok(None) };
        if self.directory.has_signed_in(owner.id).await? {
            return Ok(None);
        }
        let link = self.directory.sign_in_link(owner.id).await?;
        Ok(Some(format!("{}/sign-in/link/{}", self.url(), link.token)))
    }

    /// Stops: workers and the delivery agent finish what they have begun, then nothing more comes in. The agent goes
    /// first, since it delivers to our own gateway, whose 421 would put mail off for minutes.
    pub async fn stop(self) {
        self.stop.work.cancel();
        self.agent.stopped().await;
        self.hand_overs.stopped().await;
        for task in self.tasks {
            ended("a worker", task.await);
        }
        self.stop.intake.cancel();
        for gateway in self.gateways {
            gateway.stopped().await;
        }
        self.services.stopped().await;
        self.imap.stopped().await;
        self.detector.stopped().await;
        match self.api.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the API ended badly: {error}"),
            Err(error) => tracing::error!("the API ended badly: {error}"),
        }
    }
}

fn ended(what: &str, outcome: Result<(), tokio::task::JoinError>) {
    if let Err(error) = outcome {
        tracing::error!("{what} ended badly: {error}");
    }
}

/// What the API says of this process.
fn about(config: &Config) -> api::ApiConfig {
    let https = config.public_url.as_deref().is_some_and(|url| url.starts_with("https:"));
    api::ApiConfig { https, version: env!("CARGO_PKG_VERSION").into() }
}

async fn start_gateway(
    config: &Config,
    directory: &Directory,
    protection: &ProtectionCache,
    resolver: &dns::Resolver,
    tls: &Arc<rustls::ServerConfig>,
    stop: &Stop,
) -> Result<(Gateway, Vec<Listening>), CliError> {
    let mut gateway = GatewayConfig::new(config.hostname.clone());
    gateway.server.size_bytes_max = usize::try_from(config.smtp_size_bytes_max).unwrap_or(usize::MAX);
    gateway.server.connections_max = config.smtp_connections_max;
    gateway.server.connections_per_ip_max = config.smtp_connections_per_ip_max;
    gateway.server.newlines = config.smtp_newlines;
    gateway.server.body_line_bytes_max = config.smtp_body_line_bytes_max;
    gateway.server.header_bytes_max = config.smtp_header_bytes_max;
    gateway.server.proxy_peers = config.smtp_proxy_peers.clone();
    gateway.rates = config.rates.clone();
    gateway.authentication_deadline_ms = config.dns_deadline_ms;
    let authenticator = Authenticator::new(resolver, config.hostname.clone());
    let gateway = Gateway::new(directory.clone(), protection.clone(), authenticator, gateway).await?;
    let mut listening = Vec::with_capacity(config.smtp_listen.len());
    for wanted in &config.smtp_listen {
        let served = gateway.serve(bind(*wanted).await?, Some(tls.clone()), stop.intake.clone());
        listening.push(served.map_err(|e| CliError::failed("smtp.listen", &e))?);
    }
    if !config.smtp_proxy_peers.is_empty() {
        // The local host may be a proxy. Our own agent, which sends no PROXY header, then needs a door of its own.
        let loopback = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0);
        let served = gateway.serve_own(bind(loopback).await?, tls.clone(), stop.intake.clone());
        listening.push(served.map_err(|e| CliError::failed("smtp.proxy_peers", &e))?);
    }
    Ok((gateway, listening))
}

/// Whether no other process works on this data, as one alone owns a SQLite file: what one that died had claimed is free.
fn is_sole_owner(config: &Config) -> bool {
    matches!(config.database, Database::Sqlite { .. })
}

fn start_hand_overs(config: &Config, directory: &Directory, connectors: &Connectors, stop: &Stop) -> HandOvers {
    let how = HandOverConfig {
        hostname: config.hostname.clone(),
        schedule: outbound::RetrySchedule::default(),
        sole_owner: is_sole_owner(config),
    };
    HandOvers::start(directory, connectors, &how, stop.work.clone())
}

async fn start_agent(
    config: &Config,
    store: &Store,
    directory: &Directory,
    resolver: dns::Resolver,
    (own, smtp): (SocketAddr, &[SocketAddr]),
    stop: &Stop,
) -> Result<Agent, CliError> {
    let mut routes = Routes::new(resolver).with_own_name(&config.hostname);
    for listener in smtp {
        routes = routes.with_own_listener(*listener);
    }
    // Our own domains are behind our own gateway: judged like any mail, never handed over by a back door.
    for domain in &directory.organisation().domains {
        routes = routes.with_own(domain.as_str(), own);
    }
    for (domain, addr) in &config.routes {
        routes = routes.with_static(domain.as_str(), *addr);
    }
    if let Some(relay) = outgoing::relay(config)? {
        routes = routes.with_relay(relay);
    }
    let mut agent = outgoing::agent(config, directory).await?;
    agent.delay_warning_ms = i64::try_from(config.outbound_delay_warning_minutes).unwrap_or(0) * 60_000;
    // One process owns a SQLite file, so that leases of a dead one can be taken back at once.
    agent.sole_owner = is_sole_owner(config);
    if !agent.sole_owner {
        agent.lease_ms = SHARED_LEASE_MS;
    }
    Ok(Agent::start(store.clone(), agent, routes, stop.work.clone()).await?)
}

/// The clock of a running server.
pub fn now() -> model::Timestamp {
    SystemClock.now()
}
