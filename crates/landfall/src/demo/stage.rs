//! The stage: the organisation with its names, people and logins, and the running server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use directory::{Directory, NewAccount};
use dns::ZoneServer;
use model::{Address, Domain, Role};
use serde::{Deserialize, Serialize};
use store::{Store, values};

use super::DemoArgs;
use super::client::{Session, Web};
use super::people::{DOMAIN, LOGINS, PASSWORD, csv};
use super::report::{ProofReport, Reach};
use crate::config::{Config, Dns, environment};
use crate::error::CliError;
use crate::server::{self, Alone, Server};

/// What the demo's organisation is called.
const ORGANISATION: &str = "Contoso";
/// The list that everybody is on.
pub const LIST: &str = "Everyone";
/// Browsers resolve names below localhost to loopback.
const TRACKING_HOST: &str = "t.contoso.localhost";
const INCIDENT_DELAY_MS: i64 = 5_000;

/// How far the story is, kept with the data so that it continues there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Acts that are over.
    pub acts_done: u8,
    /// The simulated people have begun to read: after a crash their truth is not known any more.
    pub reading_begun: bool,
    /// The change of act 2.
    pub change_id: Option<String>,
}

/// See the module.
pub struct Stage {
    /// The running server.
    pub server: Server,
    /// How many people the organisation has.
    pub people: u32,
    /// Whether to play without waiting.
    pub exit: bool,
    /// Whether not to wait at the choice.
    pub skip_choice: bool,
    /// How many acts to play.
    pub acts: u8,
    /// Whether to end once the first campaign is sent.
    pub until_sent: bool,
    /// The web as people see it.
    pub web: Web,
    /// Host and port of the tracking links.
    pub tracking_host: String,
    _names: ZoneServer,
}

impl Stage {
    /// Makes the organisation (or finds it) and starts the server.
    pub async fn set(args: &DemoArgs, file: Option<&Path>) -> Result<Stage, CliError> {
        let mut config = Config::load(&args.data, file, &environment())?;
        config.organisation_name = ORGANISATION.into();
        config.organisation_domains = vec![Domain::parse(DOMAIN).map_err(|e| CliError::failed(DOMAIN, &e))?];
        config.hostname = format!("mx.{DOMAIN}");
        let alone = Alone::on(&config)?;
        let (names, known) = {
            let store = server::open_new_or_existing(&config).await?;
            only_a_demos(&store, &args.data).await?;
            let directory = server::open_directory(&store, &config).await?;
            (start_names(&directory).await?, prepare(&directory, args.people).await?)
        };
        config.dns = Dns::At(names.addr());
        let server = Server::start_alone(config, alone).await?;
        let tracking_host = format!("{TRACKING_HOST}:{}", server.http.port());
        let mut settings = server.directory.settings().await?;
        settings.tracking.base_url = format!("http://{tracking_host}");
        settings.incident.delay_ms = INCIDENT_DELAY_MS;
        // One administrator plays for two people, however large the organisation is.
        settings.limits.mass_action_max = settings.limits.mass_action_max.max(2 * i64::from(known));
        server.directory.save_settings(&settings).await?;
        let web = Web::new(server.http, TRACKING_HOST)?;
        let stage = Stage {
            server,
            people: known,
            exit: args.exit,
            skip_choice: args.skip_choice,
            acts: args.acts,
            until_sent: args.until_sent,
            web,
            tracking_host,
            _names: names,
        };
        stage.print_welcome();
        Ok(stage)
    }

    fn print_welcome(&self) {
        self.server.print_listeners();
        println!("\nContoso has {} people. Sign in with any of these, password {PASSWORD}", self.people);
        for (role, login, _) in LOGINS {
            println!("  {role:<14} {login}");
        }
        println!("Mail programs take the same logins, or an app password: {}/app-passwords", self.server.url());
    }

    /// Signs in as one of the four.
    pub async fn login(&self, role: &str) -> Result<Session, CliError> {
        let login = LOGINS.iter().find(|(r, _, _)| *r == role).map_or(role, |(_, login, _)| *login);
        self.web.sign_in(login, PASSWORD).await
    }

    /// How far the story is.
    pub async fn progress(&self) -> Result<Progress, CliError> {
        let row = self.server.store.query_one("setting.get", &values![self.server.directory.id(), "demo"]).await?;
        Ok(row.map_or_else(|| Ok(Progress::default()), |row| row.json("value"))?)
    }

    /// Keeps how far the story is.
    pub async fn keep(&self, progress: &Progress) -> Result<(), CliError> {
        let store = &self.server.store;
        let value = serde_json::json!(progress);
        store.execute("setting.put", &values![self.server.directory.id(), "demo", &value, store.now()]).await?;
        Ok(())
    }

    /// The ledger's totals over all campaigns' copies.
    pub async fn totals(&self) -> Result<whereabouts::Totals, CliError> {
        whereabouts::totals(&self.server.store, self.server.directory.id())
            .await
            .map_err(|e| CliError::failed("count copies", &e))
    }

    /// The ledger's proof.
    pub async fn proof(&self) -> Result<ProofReport, CliError> {
        let proof = whereabouts::proof(&self.server.store, self.server.directory.id()).await;
        Ok(proof.map_err(|e| CliError::failed("the proof", &e))?.into())
    }

    /// What the server counted: people and machines over all campaigns.
    pub async fn reach(&self) -> Result<(Reach, Reach), CliError> {
        let staff = self.login("communicator").await?;
        let totals = staff.get("/totals").await?;
        let reach = |kind: &str| Reach {
            opened: totals[kind]["opened_count"].as_i64().unwrap_or(0),
            clicked: totals[kind]["clicked_count"].as_i64().unwrap_or(0),
        };
        Ok((reach("people"), reach("machines")))
    }

    /// Stops the server.
    pub async fn end(self) {
        self.server.stop().await;
    }
}

/// The demo's logins have a password that everybody knows: on the data of another organisation they would be open doors.
async fn only_a_demos(store: &Store, dir: &Path) -> Result<(), CliError> {
    let Some(directory) = Directory::open(store).await? else { return Ok(()) };
    let organisation = directory.organisation();
    let domains: Vec<&str> = organisation.domains.iter().map(Domain::as_str).collect();
    if organisation.name == ORGANISATION && domains == [DOMAIN] {
        return Ok(());
    }
    Err(CliError::Input(format!(
        "{} holds the data of {}, not of a demo: name a new folder with --data",
        dir.display(),
        organisation.name
    )))
}

/// The organisation's names on loopback: SPF, DKIM, DMARC, MX.
async fn start_names(directory: &Directory) -> Result<ZoneServer, CliError> {
    let keys = server::dkim_records(directory).await?;
    let keys: String = keys.into_iter().map(|(name, key)| format!("{name} TXT \"{key}\"\n")).collect();
    let zone = format!(
        "{DOMAIN} MX 10 mx.{DOMAIN}\n\
         mx.{DOMAIN} A 127.0.0.1\n\
         {DOMAIN} TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
         _dmarc.{DOMAIN} TXT \"v=DMARC1; p=reject\"\n\
         {keys}"
    );
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    ZoneServer::start(&zone, loopback).await.map_err(|e| CliError::failed("the demo's names", &e))
}

/// People, logins, aliases. Done again after a crash it completes what is missing. Gives how many people there are.
async fn prepare(directory: &Directory, people: u32) -> Result<u32, CliError> {
    let known = directory.people_count().await?;
    if known <= 1 {
        let report = directory.import_people(csv(people).as_bytes(), Some(LIST), false).await?;
        if report.rejected_count > 0 {
            return Err(CliError::Failed(format!("the demo's own CSV was rejected: {:?}", report.rejected)));
        }
    }
    for (role, login, name) in LOGINS {
        if directory.account_by_login(login).await?.is_some() {
            continue;
        }
        let person = directory.person_by_address(login).await?;
        let role = Role::parse(role).unwrap_or(Role::Recipient);
        let account = NewAccount {
            login: login.into(),
            name: name.into(),
            role,
            person_id: person.as_ref().map(|p| p.id),
            password: Some(PASSWORD.into()),
        };
        directory.create_account(account).await?;
        if let Some(person) = person.filter(|_| role == Role::Administrator) {
            let postmaster =
                Address::parse(&format!("postmaster@{DOMAIN}")).map_err(|e| CliError::failed("postmaster", &e))?;
            directory.put_alias(&postmaster, person.id).await?;
        }
    }
    directory.create_recipient_accounts().await?;
    let lists = directory.lists().await?;
    let on_list = lists.iter().find(|l| l.name == LIST).map_or(0, |l| l.member_count);
    Ok(u32::try_from(on_list).unwrap_or(u32::MAX))
}

/// Sign-in links for everybody but the four logins, as a first invitation would carry them: address -> token.
pub async fn invitations(directory: &Directory) -> Result<BTreeMap<String, String>, CliError> {
    let links = directory.invite_recipients().await?;
    let staff: Vec<&str> = LOGINS.iter().map(|(_, login, _)| *login).collect();
    let mut tokens: BTreeMap<String, String> = links
        .into_iter()
        .filter(|(login, _)| !staff.contains(&login.as_str()))
        .map(|(l, link)| (l, link.token))
        .collect();
    tokens.retain(|login, _| !login.starts_with("postmaster@"));
    Ok(tokens)
}
