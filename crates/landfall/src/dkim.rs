//! `landfall dkim`: the keys that outgoing mail is signed with, and their rotation without a signature that nobody can check.
//!
//! New keys are made and wait (`new`). Their records are published. Then they sign (`use`), and those that signed before are
//! retired: their records stay published until the mail that they signed has arrived, and then both may go (`forget`).
//! It works beside a running server, which signs the next mail with the keys that sign by then.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use directory::{Directory, DkimSecret, DkimUse};
use dns::Resolver;
use message::dkim::{DkimKey, KeyKind};
use model::Domain;
use store::Database;

use crate::config::Config;
use crate::error::CliError;
use crate::{cli, server};

/// How long mail is tried, and so how long a retired key's record is needed.
const NEEDED_DAYS: u32 = 7;

/// `landfall dkim …`
#[derive(Debug, Args)]
pub struct DkimArgs {
    /// The data directory.
    #[arg(long, global = true, value_name = "DIR", default_value = "landfall-data")]
    pub data: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every key with its use and its record.
    List,
    /// Make new keys (RSA and Ed25519) that wait to be published; nothing is signed with them yet.
    New {
        /// For this domain. Default: the organisation's first.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<Domain>,
    },
    /// Sign with the keys that wait from now on, once their records are found; those that signed until now are retired.
    Use {
        /// Those of this domain. Default: the organisation's first.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<Domain>,
        /// Do not look for the records.
        #[arg(long)]
        unchecked: bool,
    },
    /// Throw a retired key away.
    Forget {
        /// Its name, as `list` shows it.
        name: String,
    },
}

/// Does what the command says.
///
/// # Errors
/// What the operator has to mend.
pub async fn run(config: &Config, args: DkimArgs) -> Result<(), CliError> {
    let nothing = || CliError::Input(format!("{} holds no data: there are no keys", config.data_dir.display()));
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(nothing());
    }
    let store = server::open_existing(config).await?;
    let directory = Directory::open(&store).await?.ok_or_else(nothing)?;
    let who = cli::operator();
    match args.what {
        What::List => list(&directory).await,
        What::New { domain } => make(&directory, &own(&directory, domain)?, &who).await,
        What::Use { domain, unchecked } => {
            let domain = own(&directory, domain)?;
            if !unchecked {
                look_for_records(&directory, &server::resolver(config)?, &domain).await?;
            }
            switch(&directory, &domain, &who).await
        }
        What::Forget { name } => {
            directory.forget_dkim_key(&name, &who).await?;
            println!("{name} is forgotten: its record can be taken out of the zone.");
            Ok(())
        }
    }
}

/// The domain that is meant, which must be the organisation's.
fn own(directory: &Directory, domain: Option<Domain>) -> Result<Domain, CliError> {
    let domains = &directory.organisation().domains;
    let domain = domain.unwrap_or_else(|| domains[0].clone());
    match domains.contains(&domain) {
        true => Ok(domain),
        false => Err(CliError::Input(format!("{domain} is no domain of the organisation"))),
    }
}

fn load(secret: &DkimSecret) -> Result<DkimKey, CliError> {
    DkimKey::from_pem(&secret.pem).map_err(|e| CliError::failed(&format!("the DKIM key {}", secret.name), &e))
}

async fn list(directory: &Directory) -> Result<(), CliError> {
    for of in DkimUse::ALL {
        for secret in directory.dkim_keys_in(of).await?.iter().rev() {
            println!("{:<8} {} TXT \"{}\"", of.as_str(), secret.name, load(secret)?.txt_record());
        }
    }
    Ok(())
}

/// Selectors go on counting: a name that was ever used says one thing only.
fn next_number<'a>(secrets: impl Iterator<Item = &'a DkimSecret>) -> u32 {
    let numbers = secrets.filter_map(|secret| secret.selector.strip_prefix(server::SELECTOR_STEM)?.parse::<u32>().ok());
    numbers.max().unwrap_or(0).saturating_add(1)
}

async fn make(directory: &Directory, domain: &Domain, who: &str) -> Result<(), CliError> {
    let mut all = Vec::new();
    for of in DkimUse::ALL {
        all.extend(directory.dkim_keys_in(of).await?);
    }
    let of_domain = || all.iter().filter(|secret| secret.domain == domain.as_str());
    let waiting = directory.dkim_keys_in(DkimUse::Waiting).await?;
    if let Some(secret) = waiting.iter().find(|secret| secret.domain == domain.as_str()) {
        return Err(CliError::Input(format!(
            "{} waits already: publish its record, then landfall dkim use",
            secret.name
        )));
    }
    let first = next_number(of_domain());
    let made = tokio::task::spawn_blocking(|| Ok([DkimKey::generate()?, DkimKey::generate_ed25519()?])).await;
    let made: Result<[DkimKey; 2], message::MessageError> = made.map_err(|e| CliError::failed("make DKIM keys", &e))?;
    let mut keys = Vec::new();
    for (number, key) in (first..).zip(made.map_err(|e| CliError::failed("make DKIM keys", &e))?) {
        let name = format!("{}{number}._domainkey.{domain}", server::SELECTOR_STEM);
        println!("Publish: {name} TXT \"{}\"", key.txt_record());
        keys.push((name, key.to_pem()));
    }
    directory.put_waiting_dkim_keys(&keys, who).await?;
    println!("Nothing is signed with them yet. When the records can be seen: landfall dkim use --domain {domain}");
    Ok(())
}

/// Signing with a key whose record is not there yet would make every signature a wrong one.
async fn look_for_records(directory: &Directory, resolver: &Resolver, domain: &Domain) -> Result<(), CliError> {
    let waiting = directory.dkim_keys_in(DkimUse::Waiting).await?;
    for secret in waiting.iter().filter(|secret| secret.domain == domain.as_str()) {
        let key = load(secret)?;
        let found = match resolver.txt(&secret.name).await {
            Ok(texts) => texts,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(CliError::failed(&format!("look for {}", secret.name), &error)),
        };
        let wanted = key.txt_record();
        if !found.iter().any(|text| public_key(text) == public_key(&wanted)) {
            let kind = match key.kind() {
                KeyKind::Rsa => "RSA",
                KeyKind::Ed25519 => "Ed25519",
            };
            let problem = if found.is_empty() { "is not published" } else { "holds another key" };
            return Err(CliError::Input(format!(
                "{} {problem} (the {kind} key): publish TXT \"{wanted}\", wait until everybody can see it, and try again",
                secret.name
            )));
        }
    }
    Ok(())
}

/// `p=` of a record, without the blanks that zones put into it.
fn public_key(record: &str) -> Option<String> {
    let value = record.split(';').find_map(|tag| tag.trim().strip_prefix("p="))?;
    Some(value.split_whitespace().collect())
}

async fn switch(directory: &Directory, domain: &Domain, who: &str) -> Result<(), CliError> {
    let (used, retired) = directory.switch_dkim_keys(domain.as_str(), who).await?;
    for name in used {
        println!("{name} signs from now on.");
    }
    for name in retired {
        println!("{name} is retired: leave its record for {NEEDED_DAYS} days, then landfall dkim forget {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_go_on_counting_and_records_are_compared_by_their_key() {
        let secret = |selector: &str| DkimSecret {
            name: String::new(),
            selector: selector.into(),
            domain: String::new(),
            pem: String::new(),
        };
        let of = |selectors: &[&str]| {
            let secrets: Vec<DkimSecret> = selectors.iter().map(|selector| secret(selector)).collect();
            next_number(secrets.iter())
        };
        assert_eq!((of(&[]), of(&["landfall1", "landfall2"]), of(&["landfall9", "mine", "landfall3"])), (1, 3, 10));
        assert_eq!(public_key("v=DKIM1; k=rsa; p=AB CD"), public_key("k=rsa;v=DKIM1;p=ABCD;t=s"));
        assert_eq!(public_key("v=DKIM1; k=rsa"), None);
    }
}
