//! A data directory with many rows, to look at pages and measure with: real people, real mail, real quarantine.

use changes::{Actor, BacktestOptions, Changes, NewListEntry, Proposal};
use directory::{Directory, PeopleFilter};
use model::Address;
use smtp::{Client, ClientConfig, Mail};
use verdict::{ListAction, ListKind};

use super::people::{DOMAIN, LOGINS, PASSWORD, csv};
use crate::config::Config;
use crate::error::CliError;
use crate::server::{self, Server};

/// Recipients of one mail, as one transaction takes them (RFC 5321 4.5.3.1.8).
const RECIPIENTS: usize = 100;
const SENDER: &str = "offers@blocked.example";

/// Makes `rows` people and one held copy for each.
pub async fn seed(mut config: Config, rows: usize) -> Result<(), CliError> {
    config.organisation_name = "Seeded".into();
    config.organisation_domains = vec![model::Domain::parse(DOMAIN).map_err(|e| CliError::failed(DOMAIN, &e))?];
    let store = server::open_store(&config).await?;
    let directory: Directory = server::open_directory(&store, &config).await?;
    let count = u32::try_from(rows).map_err(|_| CliError::Input("--rows: at most 100,000".into()))?;
    directory.import_people(csv(count).as_bytes(), Some("Everyone"), false).await?;
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
    drop((store, directory));
    hold_mail(config.clone(), rows).await?;
    println!(
        "Seeded {} with {rows} people and {rows} held copies; logins as in the demo, password {PASSWORD}",
        config.data_dir.display()
    );
    Ok(())
}

/// A sender is blocked, through a change like any other, and then writes to everybody: real mail over SMTP, held.
async fn hold_mail(mut config: Config, rows: usize) -> Result<(), CliError> {
    config.smtp_listen = vec![([127, 0, 0, 1], 0).into()];
    config.http_listen = ([127, 0, 0, 1], 0).into();
    config.dns = crate::config::Dns::None;
    let server = Server::start(config).await?;
    block(&server.directory).await?;
    server.protection.refresh().await?;
    let mut client = Client::connect(server.smtp[0], ClientConfig::new("mail.blocked.example"))
        .await
        .map_err(|e| CliError::failed("connect", &e))?;
    let reverse_path = SENDER.parse().map_err(|e: model::AddressError| CliError::failed(SENDER, &e))?;
    let mut after = None;
    let mut sent = 0;
    while sent < rows {
        let filter = PeopleFilter { starts_with: String::new(), after, limit: RECIPIENTS as i64 };
        let people = server.directory.people(&filter).await?;
        let Some(last) = people.last() else { break };
        after = Some(last.id);
        let recipients: Vec<Address> = people.iter().filter_map(|p| Address::parse(&p.address).ok()).collect();
        sent += recipients.len();
        let mail = Mail { reverse_path: &reverse_path, recipients: &recipients };
        let body = format!(
            "From: Offers <{SENDER}>\r\nTo: everybody@{DOMAIN}\r\nSubject: Offer number {sent}\r\n\
             Date: {}\r\nMessage-ID: <{sent}@blocked.example>\r\n\r\nSee https://blocked.example/{sent}\r\n",
            server::now().to_rfc5322()
        );
        let outcome = client.send(&mail, body.as_bytes()).await.map_err(|e| CliError::failed("send", &e))?;
        if !outcome.data.as_ref().is_some_and(model::Reply::is_completion) {
            return Err(CliError::Failed(format!("the gateway did not take the mail: {outcome:?}")));
        }
    }
    server.stop().await;
    Ok(())
}

async fn block(directory: &Directory) -> Result<(), CliError> {
    let changes = Changes::new(directory);
    let actor = Actor { account_id: None, login: "seed".into() };
    let entry = NewListEntry {
        action: ListAction::Block,
        kind: ListKind::Domain,
        value: "blocked.example".into(),
        expires_at: None,
        note: "for the seed".into(),
    };
    let failed = |e: changes::Error| CliError::failed("block the sender", &e);
    let proposal = Proposal::List { add: vec![entry], remove: Vec::new() };
    let change = changes.propose(proposal, "for the seed", &actor).await.map_err(failed)?;
    changes.backtest(change.id, BacktestOptions::default(), &actor).await.map_err(failed)?;
    changes.activate(change.id, &actor, "for the seed").await.map_err(failed)?;
    Ok(())
}
