//! `landfall doctor`: checks a configuration and prints every key with its value, default, unit and limit.

use std::net::TcpListener;

use store::SCHEMA_VERSION;

use crate::config::{Config, KEYS, Origin};
use crate::connectors::CONNECTOR_KEYS;
use crate::error::CliError;
use crate::{outgoing, server};

/// Prints the table, then the checks. Fails when one of them does.
pub async fn run(config: &Config) -> Result<(), CliError> {
    print_keys(config);
    let mut failed = 0;
    println!("\nChecks");
    let imap = config.imap_listen.iter().chain(&config.imap_listen_tls);
    let submission = config.submission_listen.iter().chain(&config.submission_listen_tls);
    for addr in config.smtp_listen.iter().chain(submission).chain(imap).chain([&config.http_listen]) {
        // A port in use is no failure: the server takes a free one and says so.
        let free = TcpListener::bind(addr).map(|_| "free".to_owned());
        report(
            &mut failed,
            &format!("listen on {addr}"),
            Ok(free.unwrap_or_else(|e| format!("{e}; a free port is taken at start"))),
        );
    }
    report(&mut failed, "data directory", writable(config));
    report(&mut failed, "TLS", crate::tls::describe(config));
    let shaping = outgoing::shaping(config).map(|shaping| format!("{} providers", shaping.provider.len()));
    report(&mut failed, "shaping", shaping.map_err(|e| e.to_string()));
    let relay = outgoing::relay(config);
    let relay = relay.map(|relay| relay.map_or("none".to_owned(), |r| format!("{}:{} {:?}", r.host, r.port, r.tls)));
    report(&mut failed, "smarthost", relay.map_err(|e| e.to_string()));
    report(&mut failed, "database and objects", database(config).await);
    for connector in &config.connectors {
        let what = format!("connector {}", connector.name);
        let typed = connector.typed(&config.hostname);
        report(&mut failed, &what, typed.map(|typed| format!("{typed:?}")).map_err(|e| e.to_string()));
    }
    if failed > 0 {
        return Err(CliError::Failed(format!("{failed} checks failed")));
    }
    Ok(())
}

fn print_keys(config: &Config) {
    println!("{:<30} {:<26} {:<11} {:<24} {:<28} accepted", "key", "value", "from", "default", "unit");
    for key in KEYS {
        let (value, origin) = &config.values[key.name];
        let from = match origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "environment",
        };
        println!(
            "{:<30} {:<26} {:<11} {:<24} {:<28} {}",
            key.name,
            hide_password(value),
            from,
            key.default,
            key.unit,
            key.limit
        );
        println!("{:<30}   {}", "", key.help);
    }
    println!("\nA mailbox system that is not ours has a table [connectors.NAME] with these keys:");
    for key in CONNECTOR_KEYS {
        println!("{:<30} {:<26} {:<28} {}", key.name, key.default, key.unit, key.limit);
        println!("{:<30}   {}", "", key.help);
    }
}

/// `postgres://user:secret@host/db` without the secret.
fn hide_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let Some((login, host)) = rest.rsplit_once('@') else { return value.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:…@{host}"),
        None => value.to_owned(),
    }
}

fn report(failed: &mut usize, what: &str, outcome: Result<String, String>) {
    match outcome {
        Ok(text) => println!("  ok      {what}: {text}"),
        Err(text) => {
            *failed += 1;
            println!("  FAILED  {what}: {text}");
        }
    }
}

/// Looking makes nothing: where the data directory is not there yet, it is the nearest folder above it that has to be writable.
fn writable(config: &Config) -> Result<String, String> {
    let dir = std::path::absolute(&config.data_dir).map_err(|e| e.to_string())?;
    let there = dir.ancestors().find(|folder| folder.exists()).unwrap_or(&dir);
    let probe = there.join(".doctor");
    std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)).map_err(|e| e.to_string())?;
    let when = if there == dir { "" } else { " is made at the first start" };
    Ok(format!("{}{when}", config.data_dir.display()))
}

async fn database(config: &Config) -> Result<String, String> {
    match store::schema_version_of(&config.database).await.map_err(|e| e.to_string())? {
        None => return Ok(format!("schema version {SCHEMA_VERSION} is made at the first start")),
        // No failure: it is what an upgrade begins with. Its tables may lack what the checks below would ask for.
        Some(found) if found < SCHEMA_VERSION => {
            return Ok(format!("schema version {found}, which is older. {}", server::older_words()));
        }
        Some(_) => {}
    }
    let store = server::open_existing(config).await.map_err(|e| e.to_string())?;
    store.ping().await.map_err(|e| e.to_string())?;
    if let Some(directory) = directory::Directory::open(&store).await.map_err(|e| e.to_string())? {
        for (name, text) in server::dkim_records(&directory).await.map_err(|e| e.to_string())? {
            println!("  note    DKIM key to publish: {name} TXT \"{text}\"");
        }
        if let Some(bypass) = directory.bypass().await.map_err(|e| e.to_string())? {
            println!("  note    mail is let in without being judged until {}", bypass.until_at.to_rfc3339());
        }
        let incoming_count = directory.incoming_count().await.map_err(|e| e.to_string())?;
        if incoming_count > 0 {
            println!("  note    accepted and in no mailbox yet: {incoming_count}; a server enters them");
        }
    }
    Ok(format!("schema version {SCHEMA_VERSION}"))
}

#[cfg(test)]
mod tests {
    use super::hide_password;

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(hide_password("postgres://u:secret@h:1/d"), "postgres://u:…@h:1/d");
        assert_eq!(hide_password("sqlite"), "sqlite");
    }
}
