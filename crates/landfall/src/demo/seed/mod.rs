//! A data directory with many rows, to look at pages and measure with. Every row comes about as it would in use: people by
//! import, mail over SMTP through the gateway, campaigns through dispatcher, queue and agent, changes with backtest,
//! activation and undo, incidents by the detector. Nothing is written into tables from here.

mod causes;
mod mail;

use std::fmt::Write;
use std::time::{Duration, Instant};

use campaign::{Campaigns, ContentType, Draft, State, Tracking};
use directory::Directory;
use model::{CampaignId, ListId};

use super::people::{DOMAIN, LOGINS, PASSWORD, csv};
use crate::config::Config;
use crate::error::CliError;
use crate::server::{self, Server};

/// The list of everybody inside.
const EVERYBODY: &str = "Everyone";
/// The list of those whose badge the many small incidents are about.
const BADGES: &str = "Badge holders";
/// The list of people at other organisations, whose mailboxes take no mail now.
const PARTNERS: &str = "Partners";
/// So many domains do the partners have, at so many hosts.
const PARTNER_DOMAINS: usize = 40;
const PARTNER_HOSTS: usize = 4;
/// One in so many rows: partners, mails in one mailbox, drafts, entries that block, reports, incidents.
const PARTNER_SHARE: usize = 4;
const MAILBOX_SHARE: usize = 3;
const DRAFT_SHARE: usize = 20;
const ENTRY_SHARE: usize = 20;
const REPORT_SHARE: usize = 20;
const CAUSE_SHARE: usize = 80;
/// The detector looks at so many open incidents at a time.
const CAUSES_MAX: usize = 200;
const POLL_MS: u64 = 100;
/// The most that a step of the server's is waited for.
const STEP_S: u64 = 600;

/// How many of what.
#[derive(Debug, Clone, Copy)]
struct Amounts {
    people: usize,
    partners: usize,
    mails_of_one: usize,
    drafts: usize,
    entries: usize,
    reports: usize,
    causes: usize,
}

/// Makes a data directory with `rows` people and what the module says.
pub async fn seed(mut config: Config, rows: usize) -> Result<(), CliError> {
    let amounts = Amounts {
        people: rows,
        partners: rows / PARTNER_SHARE,
        mails_of_one: rows / MAILBOX_SHARE,
        drafts: rows / DRAFT_SHARE,
        entries: (rows / ENTRY_SHARE).max(1),
        reports: rows / REPORT_SHARE,
        causes: (rows / CAUSE_SHARE).min(CAUSES_MAX),
    };
    if let store::Database::Sqlite { path } = &config.database
        && path.exists()
    {
        let dir = config.data_dir.display();
        return Err(CliError::Input(format!("{dir} holds data already: name a new folder with --data")));
    }
    config.organisation_name = "Seeded".into();
    config.organisation_domains = vec![model::Domain::parse(DOMAIN).map_err(|e| CliError::failed(DOMAIN, &e))?];
    config.smtp_listen = vec![([127, 0, 0, 1], 0).into()];
    config.http_listen = ([127, 0, 0, 1], 0).into();
    config.dns = crate::config::Dns::None;
    import(&config, amounts).await?;
    let mut hosts = Vec::with_capacity(PARTNER_HOSTS);
    for _ in 0..PARTNER_HOSTS {
        hosts.push(mail::FullHost::start().await?);
    }
    for n in 0..PARTNER_DOMAINS {
        let domain = partner_domain(n);
        let to = hosts[n % PARTNER_HOSTS].addr;
        config.routes.push((model::Domain::parse(&domain).map_err(|e| CliError::failed(&domain, &e))?, to));
    }
    let data_dir = config.data_dir.clone();
    let server = Server::start(config).await?;
    let filled = fill(&server, &hosts, amounts).await;
    server.stop().await;
    for host in hosts {
        host.stop().await;
    }
    filled?;
    println!(
        "Seeded {}: {} people, a campaign and a held mail to each; {} mails for {}; {} changes with their incidents; \
         {} copies that other hosts put off, with {} reports; {} drafts; {} entries that block. Logins as in the demo, \
         password {PASSWORD}",
        data_dir.display(),
        amounts.people,
        amounts.mails_of_one,
        LOGINS[3].1,
        amounts.causes,
        amounts.partners,
        amounts.reports,
        amounts.drafts,
        amounts.entries,
    );
    Ok(())
}

/// People, lists and logins.
async fn import(config: &Config, amounts: Amounts) -> Result<(), CliError> {
    let store = server::open_new_or_existing(config).await?;
    let directory: Directory = server::open_directory(&store, config).await?;
    let count = |n: usize| u32::try_from(n).map_err(|_| CliError::Input("--rows: at most 100,000".into()));
    let people = csv(count(amounts.people)?);
    let holders: String = people.split_inclusive('\n').take(amounts.causes + 1).collect();
    directory.import_people(people.as_bytes(), Some(EVERYBODY), false).await?;
    directory.import_people(holders.as_bytes(), Some(BADGES), false).await?;
    let mut partners = String::from("address,name,city\n");
    for n in 0..amounts.partners {
        writeln!(partners, "partner{n}@{},Partner {n},Elsewhere", partner_domain(n % PARTNER_DOMAINS))
            .expect("writing to a String does not fail");
    }
    directory.import_people(partners.as_bytes(), Some(PARTNERS), false).await?;
    for (role, login, name) in LOGINS {
        let person = directory.person_by_address(login).await?;
        let account = directory::NewAccount {
            login: login.into(),
            name: name.into(),
            role: model::Role::parse(role).unwrap_or(model::Role::Recipient),
            person_id: person.map(|p| p.id),
            password: Some(PASSWORD.into()),
        };
        directory.create_account(account).await?;
    }
    Ok(())
}

fn partner_domain(n: usize) -> String {
    format!("partner{n}.example")
}

async fn fill(server: &Server, hosts: &[mail::FullHost], amounts: Amounts) -> Result<(), CliError> {
    let mut settings = server.directory.settings().await?;
    settings.tracking.base_url = format!("http://{}", server.http);
    server.directory.save_settings(&settings).await?;
    let started = Instant::now();
    // The oldest of the campaigns, so that pages which begin with the newest show those that were sent.
    for n in 0..amounts.drafts {
        write(server, &format!("Idea {n}"), EVERYBODY, TO_EVERYBODY).await?;
    }
    // First, while there is little mail that a backtest would have to look at.
    causes::play(server, amounts.causes).await?;
    step("changes and incidents", started);
    causes::block(&server.directory, amounts.entries).await?;
    server.protection.refresh().await?;
    let everybody = start(server, "Town hall", EVERYBODY, TO_EVERYBODY).await?;
    let partners = start(server, "Partner day", PARTNERS, TO_EVERYBODY).await?;
    let (held, landed) =
        tokio::join!(mail::to_everybody(server, amounts.people), mail::to_one(server, amounts.mails_of_one));
    held?;
    landed?;
    step("mail", started);
    sent(server, everybody).await?;
    put_off(server, partners).await?;
    mail::reports(server, hosts, amounts.reports).await?;
    step("campaigns", started);
    Ok(())
}

fn step(what: &str, started: Instant) {
    println!("{what}: done after {:.1} s", started.elapsed().as_secs_f32());
}

const TO_EVERYBODY: &str = "<html><body><h1>Town hall</h1><p>Hello {{ first_name | default(\"all\") }}, we meet on Thursday.</p>\
    <p><a href=\"https://www.contoso.example/town-hall\">Agenda</a> <a href=\"https://www.contoso.example/questions\">Ask</a></p>\
    </body></html>";

fn campaigns(server: &Server) -> Campaigns {
    Campaigns::new(server.directory.clone())
}

/// Writes a campaign and starts it.
async fn start(server: &Server, name: &str, list: &str, content: &str) -> Result<CampaignId, CliError> {
    let id = write(server, name, list, content).await?;
    campaigns(server).start(id).await.map_err(|e| CliError::failed(name, &e))?;
    Ok(id)
}

async fn write(server: &Server, name: &str, list: &str, content: &str) -> Result<CampaignId, CliError> {
    let draft = Draft {
        name: name.into(),
        subject: format!("{name}: what you need to know"),
        from_name: "Contoso News".into(),
        from_address: format!("news@{DOMAIN}"),
        content_type: ContentType::Html,
        content: content.into(),
        list_id: Some(list_id(&server.directory, list).await?),
        tracking: Tracking::Anonymous,
        // The badges' links are what their changes name: they stay as they are.
        click_tracking: list != BADGES,
    };
    let made = campaigns(server).create(&draft, None).await.map_err(|e| CliError::failed(name, &e))?;
    Ok(made.id)
}

async fn list_id(directory: &Directory, name: &str) -> Result<ListId, CliError> {
    let lists = directory.lists().await?;
    let found = lists.into_iter().find(|list| list.name == name);
    found.map(|list| list.id).ok_or_else(|| CliError::Failed(format!("there is no list {name}")))
}

/// Waits until the last copy of a campaign has an outcome.
async fn sent(server: &Server, id: CampaignId) -> Result<(), CliError> {
    until("a campaign", || async {
        let campaign = campaigns(server).get(id).await.map_err(|e| CliError::failed("campaign", &e))?;
        Ok((campaign.state == State::Sent).then_some(()))
    })
    .await
}

/// Waits until each copy of a campaign was tried once: it has a reply and a next try.
async fn put_off(server: &Server, id: CampaignId) -> Result<(), CliError> {
    until("the partners' copies", || async {
        let progress = campaigns(server).progress(id).await.map_err(|e| CliError::failed("progress", &e))?;
        let groups = outbound::queue_groups(&server.store, server.directory.id()).await?;
        // Before its first try a copy counts to its domain, where nobody said anything yet.
        let answered: i64 = groups.iter().filter(|group| !group.last_reply.is_empty()).map(|group| group.count).sum();
        Ok((progress.enqueued == progress.total && answered >= progress.total).then_some(()))
    })
    .await
}

/// Asks again until there is an answer, within a bound.
async fn until<T, F>(what: &str, ask: impl Fn() -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<Option<T>, CliError>>,
{
    let deadline = Instant::now() + Duration::from_secs(STEP_S);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(CliError::Failed(format!("{what} did not come to an end within {STEP_S} s")));
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
}
