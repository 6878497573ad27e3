//! `landfall judge`: what Landfall thinks of a message, as JSON, without a server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use message::{Authenticator, Limits, ParseContext};
use model::{Address, BodyType, ClientInfo, Clock, Envelope, Facts, ReversePath, SystemClock};
use serde_json::{Value, json};
use verdict::{Policies, Policy, RecipientContext, RuleSet, RuleSetSource};

use crate::error::CliError;

const AUTHENTICATION_DEADLINE_MS: u64 = 10_000;
const FILE_BYTES_MAX: u64 = 268_435_456;

/// `landfall judge`
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// A rule set: a file of its JSON source, or the id of a version in the data directory (--data). Default: the rules
    /// with their own weights, no feeds, no lists.
    #[arg(long, value_name = "V")]
    rules: Option<String>,
    /// The policy that decides: default, standard or strict.
    #[arg(long, value_name = "NAME", default_value = "standard")]
    policy: String,
    /// The envelope's sender; empty for the null sender. Default: the From address.
    #[arg(long, value_name = "ADDRESS")]
    mail_from: Option<String>,
    /// The envelope's recipient. Default: the first To address.
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Option<String>,
    /// The client's IP address.
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client_ip: IpAddr,
    /// What the client said in HELO.
    #[arg(long, value_name = "NAME", default_value = "unknown.invalid")]
    helo: String,
    /// Where names come from: a zone file, `system`, or `none` (authentication reads none, never fail).
    #[arg(long, value_name = "ZONEFILE|system|none", default_value = "none")]
    dns: String,
    /// Domains that count as the organisation's own, comma between. Default: the recipient's.
    #[arg(long, value_name = "DOMAINS")]
    own_domains: Option<String>,
    /// The data directory that --rules ID is looked up in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The messages.
    #[arg(value_name = "FILE.eml", required = true)]
    files: Vec<PathBuf>,
}

/// Prints one JSON object for one file, an array for several.
pub async fn run(args: JudgeArgs, config: Option<&Path>) -> Result<(), CliError> {
    let rules = rule_set(&args, config).await?;
    let policies = Policies { policies: vec![policy(&args.policy)?] };
    let (_zone, resolver) = resolver(&args.dns).await?;
    let authenticator = Authenticator::new(&resolver, "judge.invalid");
    let mut results = Vec::with_capacity(args.files.len());
    for file in &args.files {
        results.push(judge_file(file, &args, &rules, &policies, &authenticator).await?);
    }
    let output = if results.len() == 1 { results.remove(0) } else { Value::Array(results) };
    println!("{}", serde_json::to_string_pretty(&output).map_err(|e| CliError::failed("print", &e))?);
    Ok(())
}

async fn judge_file(
    file: &Path,
    args: &JudgeArgs,
    rules: &RuleSet,
    policies: &Policies,
    authenticator: &Authenticator,
) -> Result<Value, CliError> {
    let raw = read(file)?;
    let now = SystemClock.now();
    let mut envelope = envelope(args)?;
    let own_given = args.own_domains.as_deref().map(split_domains);
    let first = parse(&raw, &envelope, own_given.as_deref().unwrap_or(&[]));
    fill_envelope(&mut envelope, args, &first);
    let recipient = envelope.forward_paths.first().cloned().ok_or_else(|| {
        CliError::Input(format!("{}: no usable To address; name the recipient with --rcpt", file.display()))
    })?;
    let own = own_given.unwrap_or_else(|| vec![recipient.domain().to_string()]);
    let mut facts = parse(&raw, &envelope, &own);
    facts.auth = authenticator.authenticate(&raw, &envelope, Duration::from_millis(AUTHENTICATION_DEADLINE_MS)).await;
    facts.auth.composite = message::composite(&facts, &[]);
    let verdict = verdict::judge(&facts, rules, now);
    let context = RecipientContext { address: recipient.clone(), groups: Vec::new() };
    let decision = verdict::decide(&verdict, &facts, policies, &context);
    Ok(json!({
        "file": file.display().to_string(),
        "class": verdict.class,
        "confidence": verdict.confidence,
        "sentence": verdict::sentence(&verdict),
        "bulk_level": verdict.bulk_level,
        "signals": verdict.signals,
        "allowed_by": verdict.allowed_by,
        "disposition": decision.disposition,
        "policy": decision.policy_name,
        "explanation": decision.explanation,
        "recipient": recipient,
        "authentication": facts.auth,
        "rule_set": { "id": rules.id(), "hash": rules.hash() },
        "defects": facts.defects,
    }))
}

fn parse(raw: &[u8], envelope: &Envelope, own_domains: &[String]) -> Facts {
    let context = ParseContext { received_at: SystemClock.now(), envelope, own_domains, limits: Limits::default() };
    message::parse(raw, &context)
}

/// Reads a message and gives it the line ends it has on the wire. An mbox `From ` line at the top is left out.
fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let cannot = |e: &dyn std::fmt::Display| CliError::Input(format!("{} cannot be read: {e}", file.display()));
    if std::fs::metadata(file).map_err(|e| cannot(&e))?.len() > FILE_BYTES_MAX {
        return Err(cannot(&"larger than 256 MiB"));
    }
    let raw = std::fs::read(file).map_err(|e| cannot(&e))?;
    let start = if raw.starts_with(b"From ") { raw.iter().position(|b| *b == b'\n').map_or(0, |p| p + 1) } else { 0 };
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut last = 0u8;
    for &byte in &raw[start..] {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    Ok(out)
}

fn envelope(args: &JudgeArgs) -> Result<Envelope, CliError> {
    let reverse_path = match &args.mail_from {
        Some(text) => text.parse::<ReversePath>().map_err(|e| CliError::Input(format!("--mail-from {text:?}: {e}")))?,
        None => ReversePath::Null,
    };
    let forward_paths = match &args.rcpt {
        Some(text) => vec![Address::parse(text).map_err(|e| CliError::Input(format!("--rcpt {text:?}: {e}")))?],
        None => Vec::new(),
    };
    let client =
        ClientInfo { ip: args.client_ip, helo: args.helo.clone(), esmtp: true, tls: None, lmtp: false, login: None };
    Ok(Envelope {
        reverse_path,
        forward_paths,
        body_type: BodyType::EightBitMime,
        declared_size_bytes: None,
        options: Default::default(),
        rcpt_options: Vec::new(),
        client,
    })
}

/// What the command line left open is taken from the header section.
fn fill_envelope(envelope: &mut Envelope, args: &JudgeArgs, facts: &Facts) {
    if args.mail_from.is_none()
        && let Ok(from) = Address::parse(&facts.from().address)
    {
        envelope.reverse_path = ReversePath::Address(from);
    }
    if envelope.forward_paths.is_empty() {
        envelope.forward_paths.extend(facts.header.to.iter().find_map(|to| Address::parse(&to.address).ok()));
    }
}

fn split_domains(text: &str) -> Vec<String> {
    text.split(',').map(|d| d.trim().to_lowercase()).filter(|d| !d.is_empty()).collect()
}

fn policy(name: &str) -> Result<Policy, CliError> {
    match name.to_lowercase().as_str() {
        "default" => Ok(Policy::default_preset()),
        "standard" => Ok(everyone(Policy::standard())),
        "strict" => Ok(everyone(Policy::strict())),
        _ => Err(CliError::Input(format!("--policy {name:?}: default, standard or strict"))),
    }
}

/// The preset switched on and without conditions, so that it takes any recipient.
fn everyone(mut policy: Policy) -> Policy {
    policy.enabled = true;
    policy.conditions = verdict::Conditions::default();
    policy
}

async fn rule_set(args: &JudgeArgs, config: Option<&Path>) -> Result<RuleSet, CliError> {
    if let Some(text) = args.rules.as_deref().filter(|text| text.parse::<i64>().is_ok()) {
        return stored_version(args, config, text).await;
    }
    if let Some(file) = config {
        return Err(CliError::Input(format!(
            "--config {}: judge reads a configuration only to find a version of the rules in a database: name one with --rules ID \
             and --data, or leave --config out",
            file.display()
        )));
    }
    let source = match &args.rules {
        None => RuleSetSource::default(),
        Some(path) => {
            let raw = std::fs::read(path).map_err(|e| CliError::Input(format!("--rules {path}: {e}")))?;
            serde_json::from_slice(&raw).map_err(|e| CliError::Input(format!("--rules {path}: {e}")))?
        }
    };
    RuleSet::compile(source).map_err(|e| CliError::Input(format!("--rules: {e}")))
}

async fn stored_version(args: &JudgeArgs, config: Option<&Path>, id: &str) -> Result<RuleSet, CliError> {
    let Some(data) = &args.data else {
        return Err(CliError::Input(format!("--rules {id}: name the data directory of that version with --data")));
    };
    let config = crate::config::Config::load(data, config, &crate::config::environment())?;
    let version = id.parse().map_err(|_| CliError::Input(format!("--rules {id}: not an id")))?;
    let store = crate::server::open_existing(&config).await?;
    let found = crate::replay::version(&store, version).await;
    found.map_err(|e| CliError::Input(format!("--rules {id}, in {}: {e}", data.display())))
}

async fn resolver(dns: &str) -> Result<(Option<dns::ZoneServer>, dns::Resolver), CliError> {
    match dns {
        "none" => Ok((None, dns::Resolver::none())),
        "system" => Ok((None, dns::Resolver::system().map_err(|e| CliError::failed("--dns system", &e))?)),
        file => {
            let zone = std::fs::read_to_string(file).map_err(|e| CliError::Input(format!("--dns {file}: {e}")))?;
            let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            let server = dns::ZoneServer::start(&zone, loopback)
                .await
                .map_err(|e| CliError::Input(format!("--dns {file}: {e}")))?;
            let resolver = dns::Resolver::at(server.addr()).map_err(|e| CliError::failed("--dns", &e))?;
            Ok((Some(server), resolver))
        }
    }
}
