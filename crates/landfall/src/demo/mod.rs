//! `landfall demo`: the incident that Landfall exists for, played on a real server with real mail.
//!
//! An organisation of simulated people is imported from CSV; campaigns go out over SMTP, are judged, land, are pulled
//! back by a rule change, are found and brought back. Simulated people know only what a recipient knows. What the
//! simulator did is compared with what the server counted. The story continues on a data directory that it began on.

mod acts;
mod client;
mod people;
mod report;
mod seed;
mod simulate;
mod stage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

pub use seed::seed;

use crate::cli::stop_signal;
use crate::error::CliError;
use acts::Ending;
use stage::Stage;

/// `landfall demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The data directory: new, or one that a demo made (then the story continues there).
    #[arg(long, value_name = "DIR", default_value = "landfall-demo")]
    data: PathBuf,
    /// How many people the organisation has.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    people: u32,
    /// Play all acts without waiting and end; exit code 0 only if the story came true.
    #[arg(long)]
    exit: bool,
    /// Do not wait at the choice of act 2: let it happen.
    #[arg(long)]
    skip_choice: bool,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Play only the first acts.
    #[arg(long, value_name = "N", default_value_t = 5, hide = true, value_parser = clap::value_parser!(u8).range(0..=5))]
    acts: u8,
    /// End as soon as the first campaign is sent, before anybody reads: what the crash test needs.
    #[arg(long, hide = true)]
    until_sent: bool,
}

/// Plays the story; interactive, it then runs until SIGINT or SIGTERM.
///
/// What the configuration says holds, but for whom the story is about: the organisation, its host name and its DNS.
pub async fn run(args: DemoArgs, file: Option<&Path>) -> Result<ExitCode, CliError> {
    let mut stop = std::pin::pin!(stop_signal()?);
    let stage = Stage::set(&args, file).await?;
    let outcome = tokio::select! {
        outcome = play(&stage, &args) => outcome,
        () = &mut stop => {
            println!("Stopping: the story continues here next time");
            stage.end().await;
            // Whoever asked for the whole story has not got it.
            return Ok(if args.exit { ExitCode::from(1) } else { ExitCode::SUCCESS });
        }
    };
    let came_true = match outcome {
        Ok(came_true) => came_true,
        Err(error) => {
            stage.end().await;
            return Err(error);
        }
    };
    if !args.exit {
        println!("\nThe server goes on. Stop it with Ctrl-C.");
        stop.await;
        stage.end().await;
        return Ok(ExitCode::SUCCESS);
    }
    stage.end().await;
    Ok(if came_true { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn play(stage: &Stage, args: &DemoArgs) -> Result<bool, CliError> {
    let mut report = report::Report::default();
    let ending = acts::play(stage, &mut report).await?;
    report.proof = stage.proof().await?;
    if ending == Ending::BroughtBack {
        report.check_proof(i64::from(stage.people));
    }
    if ending == Ending::Stopped && args.exit {
        let words = "the change was stopped on this data: to play the whole story, name a new folder with --data";
        report.problems.push(words.into());
    }
    if let Some(file) = &args.report {
        report.write(file)?;
    }
    for problem in &report.problems {
        println!("NOT AS TOLD: {problem}");
    }
    match ending {
        Ending::BroughtBack => println!("\nThe end: nothing was lost, and nothing was sent twice."),
        Ending::Stopped => println!("\nThe good ending: the change was stopped, all mail stays where it landed."),
        Ending::Cut => println!("\nAs far as asked for: {} of 5 acts.", args.acts),
    }
    Ok(report.problems.is_empty())
}
