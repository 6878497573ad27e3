//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use directory::{ClientScope, Directory};
use store::Database;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, environment};
use crate::error::CliError;
use crate::{backup, bypass, demo, dkim, doctor, judge, queue, server};

/// Delivered is not landed: send, protect, and know where every copy of every message is.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, propagate_version = true)]
pub struct Cli {
    /// The configuration file. Default: landfall.toml in the data directory, when it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server on a data directory (made when it is new).
    Serve {
        /// The data directory.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
    },
    /// Play the story: a campaign sent, lost, found and brought back, on a real server with simulated people.
    Demo(demo::DemoArgs),
    /// Judge messages and print class, confidence, signals with evidence, and disposition as JSON.
    Judge(judge::JudgeArgs),
    /// Check a configuration and print every key, default and limit.
    Doctor {
        /// The data directory.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
    },
    /// Write a backup of a data directory: rows, bodies and keys as they were at one instant.
    Backup {
        /// The data directory.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
        /// The backup's folder; must not exist.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Put a backup into a new data directory.
    Restore {
        /// The data directory; must be new.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
        /// The backup's folder.
        #[arg(long, value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Check every body against its hash and every copy against its events, in a backup or a data directory.
    Verify {
        /// The data directory or the backup's folder.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
    },
    /// Let mail in without judging it for a while, end that, or say whether it is so.
    Bypass {
        #[command(subcommand)]
        command: bypass::BypassCommand,
    },
    /// Look at the outbound queue and act on it: list, show, hold, retry, delete, flush, limits.
    Queue(queue::QueueArgs),
    /// Look at the keys that mail is signed with, and replace them: list, new, use, forget.
    Dkim(dkim::DkimArgs),
    /// Print a one-time sign-in link for an account, for whoever is locked out.
    SignInLink {
        /// The data directory.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
        /// The account.
        #[arg(value_name = "LOGIN", default_value = server::OWNER)]
        login: String,
    },
    /// Make an app password for a mail program (IMAP, submission) and print it, once.
    AppPassword {
        /// The data directory.
        #[arg(long, value_name = "DIR", default_value = "landfall-data")]
        data: PathBuf,
        /// Whose: an address, or an account's login.
        #[arg(value_name = "ADDRESS")]
        address: String,
        /// What it is for.
        #[arg(long, value_name = "NAME", default_value = "made on the command line")]
        name: String,
        /// What it opens.
        #[arg(long = "for", value_name = "SCOPES", value_delimiter = ',', default_value = "imap,submission")]
        scopes: Vec<String>,
    },
    /// Write a data directory with many rows, to look at pages and measure with.
    ///
    /// N people; a campaign to all of them and a mail from a blocked sender to all of them; N/3 mails in one mailbox; N/4
    /// copies that wait for hosts which refuse for now; N/80 changes (200 at most), each with backtest, purge and incident,
    /// nine in ten undone again, and three times as many changes that were stopped. All of it is real: SMTP through the
    /// gateway, the queue and its agent, the quarantine's jobs, the detector. Only the people and the other hosts are made up.
    #[command(hide = true, verbatim_doc_comment)]
    Seed {
        /// The data directory; must be new.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        rows: usize,
    },
}

/// Structured logs on standard error, as `log.level` and `log.format` say. Addresses appear at debug only.
fn start_log(level: &str, format: &str) -> Result<(), CliError> {
    let wrong =
        |e: &dyn std::fmt::Display| CliError::Input(format!("log.level = {level:?}: {e}; for example info or debug"));
    let filter = EnvFilter::try_new(level).map_err(|e| wrong(&e))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        "json" => builder.json().try_init(),
        "text" => builder.with_ansi(false).try_init(),
        _ => return Err(CliError::Input(format!("log.format = {format:?}: text or json"))),
    };
    started.map_err(|e| CliError::failed("start the log", &e.to_string()))
}

/// Does what the command line says.
pub async fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let file = cli.config;
    let load = |data: &Path| {
        let config = Config::load(data, file.as_deref(), &environment())?;
        start_log(&config.values["log.level"].0, &config.values["log.format"].0)?;
        Ok::<Config, CliError>(config)
    };
    match cli.command {
        Command::Serve { data } => serve(load(&data)?).await?,
        Command::Demo(args) => {
            // The story is told on standard output; the log says only what went wrong.
            start_log("warn", "text")?;
            return demo::run(args, file.as_deref()).await;
        }
        Command::Judge(args) => judge::run(args, file.as_deref()).await?,
        Command::Doctor { data } => doctor::run(&load(&data)?).await?,
        Command::Backup { data, to } => backup::backup(&load(&data)?, &to).await?,
        Command::Restore { data, from } => backup::restore(&load(&data)?, &from).await?,
        Command::Verify { data } => backup::verify(&load(&data)?).await?,
        Command::Bypass { command } => bypass::run(&load(command.data())?, &command).await?,
        Command::Queue(args) => return queue::run(&load(&args.data.clone())?, args).await,
        Command::Dkim(args) => dkim::run(&load(&args.data.clone())?, args).await?,
        Command::SignInLink { data, login } => sign_in_link(&load(&data)?, &login).await?,
        Command::AppPassword { data, address, name, scopes } => {
            app_password(&load(&data)?, &address, &name, &scopes).await?;
        }
        Command::Seed { data, rows } => demo::seed(load(&data)?, rows).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), CliError> {
    let stop = stop_signal()?;
    let server = server::Server::start(config).await?;
    server.print_listeners();
    if server.is_new {
        for (name, text) in server::dkim_records(&server.directory).await? {
            println!("Publish this key, so that others can check your signatures: {name} TXT \"{text}\"");
        }
    }
    if let Some(link) = server.first_run_link().await? {
        println!("First run: sign in as the owner with this link, once: {link}");
    }
    stop.await;
    println!("Stopping: finishing what is in flight");
    server.stop().await;
    Ok(())
}

/// Who acts here, for the audit log.
pub(crate) fn operator() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody".into());
    format!("{user} at the command line")
}

/// Prints a one-time link. Whoever may read the data directory may sign in as anybody.
async fn sign_in_link(config: &Config, login: &str) -> Result<(), CliError> {
    let nothing = || CliError::Input(format!("{} holds no data: there is no account", config.data_dir.display()));
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(nothing());
    }
    let store = server::open_existing(config).await?;
    let directory = Directory::open(&store).await?.ok_or_else(nothing)?;
    let account = directory.account_by_login(login).await?;
    let account = account.ok_or_else(|| CliError::Input(format!("there is no account {login:?}")))?;
    let link = directory.sign_in_link(account.id).await?;
    let url = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.http_listen));
    println!("Sign in as {login} with this link, once: {url}/sign-in/link/{}", link.token);
    Ok(())
}

/// Prints an app password. Whoever may read the data directory may make one for anybody.
async fn app_password(config: &Config, address: &str, name: &str, scopes: &[String]) -> Result<(), CliError> {
    let nothing = || CliError::Input(format!("{} holds no data: there is nobody", config.data_dir.display()));
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(nothing());
    }
    let known = |word: &String| {
        ClientScope::parse(word).ok_or_else(|| CliError::Input(format!("--for {word:?}: imap, submission or both")))
    };
    let scopes = scopes.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let store = server::open_existing(config).await?;
    let directory = Directory::open(&store).await?.ok_or_else(nothing)?;
    directory.create_recipient_accounts().await?;
    let account = directory.client_account_id(address).await?;
    let account = account.ok_or_else(|| CliError::Input(format!("{address:?} has no account with a mailbox")))?;
    let (_, secret) = directory.create_app_password(account, name, &scopes, None).await?;
    println!("{secret}");
    Ok(())
}

/// SIGINT or SIGTERM, from now on: asked for before anybody is told that the server runs, so that one that comes at once
/// does not cut the process off.
pub fn stop_signal() -> Result<impl Future<Output = ()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| CliError::failed("listen for signals", &e));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

/// `Name address` as one line per listener.
pub fn print_listener(name: &str, wanted: SocketAddr, got: SocketAddr, shown: &str) {
    if wanted.port() != 0 && wanted.port() != got.port() {
        println!("{name} {shown} (port {} is in use)", wanted.port());
    } else {
        println!("{name} {shown}");
    }
}
