//! `landfall queue`: the outbound queue from the command line, on the database of a server that runs or does not.
//!
//! It changes rows; a running server looks at them at least every fifteen seconds. Exit codes: 0 done, 1 it failed,
//! 2 the command was not acceptable, 3 nothing in the queue was meant.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use directory::Directory;
use model::{CampaignId, DeliveryId};
use outbound::{Acted, DeliveryState, LimitNow, QueueAct, QueueActor, QueueEntry, Selection};
use serde_json::{Value as Json, json};
use store::{Database, Store};

use crate::config::Config;
use crate::error::CliError;
use crate::{cli, server};

/// Nothing was meant.
const NOTHING: u8 = 3;
/// Ids of this process must differ from those of a server with the same node that runs beside it.
const OTHER_NODE: u16 = 512;
const NODES: u16 = 1024;
/// Rows shown without `--limit`.
const LIMIT: i64 = 100;

/// `landfall queue …`
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// The data directory.
    #[arg(long, global = true, value_name = "DIR", default_value = "landfall-data")]
    pub data: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what waits: by MX group, or the hand-overs of a selection.
    List {
        #[command(flatten)]
        select: Select,
        /// Show each hand-over, not the groups.
        #[arg(long)]
        each: bool,
        /// Rows shown at most.
        #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// Show one hand-over with its copy's story.
    Show {
        /// Its id.
        id: DeliveryId,
    },
    /// Pause. What is being tried ends its try first.
    Hold(Act),
    /// Try now, also what is paused, and also where hosts are being left alone.
    Retry(Act),
    /// Take out of the queue; the copies are not received, and say so.
    Delete(Act),
    /// Try everything now that waits for its time, also where hosts are being left alone; what is paused stays paused.
    Flush(Act),
    /// Show what limits outgoing mail now and why, as the running servers say.
    Limits,
}

/// Which hand-overs.
#[derive(Debug, Args, Default)]
struct Select {
    /// Recipients of this domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Hosts of this MX group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// This MAIL FROM or From address.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Copies of this campaign.
    #[arg(long, value_name = "ID")]
    campaign: Option<CampaignId>,
    /// due, leased or held.
    #[arg(long, value_name = "STATE", value_parser = waiting_state)]
    state: Option<DeliveryState>,
}

#[derive(Debug, Args)]
struct Act {
    /// The hand-overs by id.
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    select: Select,
    /// The whole queue, when nothing else says which.
    #[arg(long)]
    all: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Say what would be touched, and touch nothing.
    #[arg(long)]
    dry_run: bool,
}

fn waiting_state(word: &str) -> Result<DeliveryState, String> {
    let state = DeliveryState::parse(word).filter(|s| !matches!(s, DeliveryState::Done | DeliveryState::Failed));
    state.ok_or_else(|| "due, leased or held".to_owned())
}

impl Select {
    fn selection(&self) -> Selection {
        Selection {
            id: None,
            domain: self.domain.clone(),
            mx_group: self.group.clone(),
            sender: self.sender.clone(),
            campaign_id: self.campaign,
            state: self.state,
        }
    }
}

/// Does what the command says.
///
/// # Errors
/// What the operator has to mend.
pub async fn run(config: &Config, args: QueueArgs) -> Result<ExitCode, CliError> {
    let (store, directory) = open(config).await?;
    match args.what {
        What::List { select, each, limit } => {
            let selection = select.selection();
            if each || selection != Selection::default() {
                list(&store, &directory, &selection, limit, args.json).await
            } else {
                groups(&store, &directory, args.json).await
            }
        }
        What::Show { id } => show(&store, &directory, id, args.json).await,
        What::Hold(act) => touch(&store, &directory, QueueAct::Hold, act, args.json).await,
        What::Retry(act) => touch(&store, &directory, QueueAct::Retry, act, args.json).await,
        What::Delete(act) => touch(&store, &directory, QueueAct::Delete, act, args.json).await,
        What::Flush(act) => touch(&store, &directory, QueueAct::Flush, act, args.json).await,
        What::Limits => limits(&store, args.json).await,
    }
}

async fn open(config: &Config) -> Result<(Store, Directory), CliError> {
    let nothing = || CliError::Input(format!("{} holds no data: there is no queue", config.data_dir.display()));
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(nothing());
    }
    let other = Config { node: (config.node + OTHER_NODE) % NODES, ..config.clone() };
    let store = server::open_existing(&other).await?;
    let directory = Directory::open(&store).await?.ok_or_else(nothing)?;
    Ok((store, directory))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::failed("write JSON", &e))?;
    println!("{text}");
    Ok(())
}

fn nothing_meant(is_json: bool) -> ExitCode {
    if !is_json {
        eprintln!("landfall: nothing in the queue is meant");
    }
    ExitCode::from(NOTHING)
}

async fn groups(store: &Store, directory: &Directory, is_json: bool) -> Result<ExitCode, CliError> {
    let groups = outbound::queue_groups(store, directory.id()).await?;
    if is_json {
        print_json(&groups)?;
    } else {
        println!(
            "{:<32} {:>7} {:>7} {:>7}  {:<24} {:<24} last reply",
            "MX group", "waiting", "trying", "paused", "oldest", "next try"
        );
        for group in &groups {
            println!(
                "{:<32} {:>7} {:>7} {:>7}  {:<24} {:<24} {}",
                group.mx_group,
                group.due_count,
                group.leased_count,
                group.held_count,
                group.oldest_at,
                group.next_try_at.map(|at| at.to_string()).unwrap_or_default(),
                one_line(&group.last_reply)
            );
        }
    }
    Ok(if groups.is_empty() { nothing_meant(is_json) } else { ExitCode::SUCCESS })
}

async fn limits(store: &Store, is_json: bool) -> Result<ExitCode, CliError> {
    let all = outbound::limits_now(store).await?;
    if is_json {
        print_json(&all)?;
    } else {
        for now in &all {
            println!("{}", limit_line(now));
        }
    }
    if all.is_empty() && !is_json {
        eprintln!("landfall: nothing limits outgoing mail now");
    }
    Ok(if all.is_empty() { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

/// `group fabrikam.example: paused until …, 0 of 1 connections: answered 421 …; last 421 …`
fn limit_line(now: &LimitNow) -> String {
    let line = &now.line;
    let mut text = line.level.as_str().to_owned();
    if !line.name.is_empty() {
        text.push_str(&format!(" {}", line.name));
    }
    text.push_str(&format!(": {}", line.state.as_str()));
    if let Some(at) = line.eases_at {
        text.push_str(&format!(" until {at}"));
    }
    if let Some(most) = line.connections_max {
        text.push_str(&format!(", {} of {most} connections", line.connections_open));
    }
    let rates = [(line.messages_per_second_max, "second"), (line.messages_per_minute_max, "minute")];
    for (rate, period) in rates {
        text.push_str(&rate.map(|rate| format!(", at most {rate} mails a {period}")).unwrap_or_default());
    }
    if !line.reason.is_empty() {
        text.push_str(&format!(": {}", line.reason));
    }
    if !line.last_reply.is_empty() {
        text.push_str(&format!("; last reply {}", line.last_reply));
    }
    one_line(&text)
}

async fn list(
    store: &Store,
    directory: &Directory,
    selection: &Selection,
    limit: i64,
    is_json: bool,
) -> Result<ExitCode, CliError> {
    let entries = outbound::queue_entries(store, directory.id(), selection, None, limit).await?;
    if is_json {
        print_json(&entries)?;
    } else {
        entries.iter().for_each(print_entry);
    }
    Ok(if entries.is_empty() { nothing_meant(is_json) } else { ExitCode::SUCCESS })
}

fn print_entry(entry: &QueueEntry) {
    let item = &entry.item;
    println!(
        "{} {:<6} tries {:<3} next {} to {} from {} ({}) {}",
        item.id,
        item.state,
        item.attempt_count,
        item.next_try_at,
        item.recipient,
        if entry.from_address.is_empty() { "<>" } else { &entry.from_address },
        entry.mx_group,
        one_line(&item.last_reply)
    );
}

/// A host's words cannot move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn show(store: &Store, directory: &Directory, id: DeliveryId, is_json: bool) -> Result<ExitCode, CliError> {
    let selection = Selection { id: Some(id), ..Selection::default() };
    let found = outbound::queue_entries(store, directory.id(), &selection, None, 1).await?;
    let Some(entry) = found.first() else { return Ok(nothing_meant(is_json)) };
    let detail = gateway::trace::detail(store, directory.id(), entry.item.copy_id).await?;
    if is_json {
        let events: Json = json!(detail.as_ref().map(|detail| &detail.events));
        print_json(&json!({ "hand_over": entry, "events": events }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print_entry(entry);
    println!("subject {:?}, enqueued {}, given up {}", entry.subject, entry.item.created_at, entry.item.give_up_at);
    for event in detail.iter().flat_map(|detail| &detail.events) {
        let said = event.detail["reply"].as_str().map(one_line).unwrap_or_default();
        println!("  {} {} {said}", event.effective_at, event.kind);
    }
    Ok(ExitCode::SUCCESS)
}

async fn touch(
    store: &Store,
    directory: &Directory,
    what: QueueAct,
    act: Act,
    is_json: bool,
) -> Result<ExitCode, CliError> {
    let base = act.select.selection();
    let selections: Vec<Selection> = if act.ids.is_empty() {
        let says_which = act.all || base != Selection::default() || what == QueueAct::Flush;
        if !says_which {
            return Err(CliError::Input(
                "say which: ids, --domain, --group, --sender, --campaign, --state or --all".into(),
            ));
        }
        vec![base]
    } else {
        act.ids.iter().map(|id| Selection { id: Some(*id), ..base.clone() }).collect()
    };
    if act.dry_run {
        return preview(store, directory, what, &selections, is_json).await;
    }
    let name = cli::operator();
    let actor = QueueActor { account_id: None, name: &name, reason: &act.reason };
    let mut total = Acted::default();
    for selection in &selections {
        let acted = outbound::act(store, directory.id(), selection, what, &actor).await?;
        total.changed_count += acted.changed_count;
        total.left_count += acted.left_count;
        total.lifted.extend(acted.lifted);
    }
    total.lifted.sort_unstable();
    total.lifted.dedup();
    if is_json {
        print_json(&total)?;
    } else {
        println!("{}: {} changed, {} left as they are", what.as_str(), total.changed_count, total.left_count);
        for group in &total.lifted {
            println!("{group} was being left alone and is tried now");
        }
    }
    Ok(if total.changed_count == 0 { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

async fn preview(
    store: &Store,
    directory: &Directory,
    what: QueueAct,
    selections: &[Selection],
    is_json: bool,
) -> Result<ExitCode, CliError> {
    let mut all = Vec::new();
    for selection in selections {
        all.push(outbound::count(store, directory.id(), selection).await?);
    }
    let count: i64 = all.iter().map(|one| one.count).sum();
    if is_json {
        print_json(&all)?;
    } else {
        let trying: i64 = all.iter().map(|one| one.leased_count).sum();
        println!("{} would mean {count} hand-overs, {trying} of them being tried now", what.as_str());
    }
    Ok(if count == 0 { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}
