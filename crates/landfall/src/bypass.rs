//! `landfall bypass on|off|status`: judging switched off for a while, from the command line, beside a running server.

use std::path::PathBuf;

use clap::Subcommand;
use directory::{BYPASS_MS_MAX, Directory, Switcher};
use store::Database;

use crate::config::Config;
use crate::error::CliError;
use crate::server;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum BypassCommand {
    /// Let mail in without judging it, for a while. It is stamped, and judged when the time is over.
    On {
        /// For how long: 30m, 2h, 90 (minutes). At most 4h.
        #[arg(long = "for", value_name = "TIME")]
        duration: String,
        /// Why. It stands in the audit log and in the console.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        data: Data,
    },
    /// Judge mail again, now.
    Off {
        #[command(flatten)]
        data: Data,
    },
    /// Say whether mail is judged.
    Status {
        #[command(flatten)]
        data: Data,
    },
}

/// Where.
#[derive(Debug, clap::Args)]
pub struct Data {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "landfall-data")]
    data: PathBuf,
}

impl BypassCommand {
    /// The data directory it is about.
    pub fn data(&self) -> &PathBuf {
        match self {
            BypassCommand::On { data, .. } | BypassCommand::Off { data } | BypassCommand::Status { data } => &data.data,
        }
    }
}

/// Does it. Whoever may read the data directory may do it; the audit log says that it was the command line.
pub async fn run(config: &Config, command: &BypassCommand) -> Result<(), CliError> {
    let nothing = || CliError::Input(format!("{} holds no data", config.data_dir.display()));
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(nothing());
    }
    let store = server::open_existing(config).await?;
    let directory = Directory::open(&store).await?.ok_or_else(nothing)?;
    let by = Switcher { account_id: None, name: "command line" };
    match command {
        BypassCommand::On { duration, reason, .. } => {
            let bypass = directory.switch_bypass_on(&by, milliseconds(duration)?, reason).await?;
            println!("Mail is let in without being judged until {}: {}", bypass.until_at.to_rfc3339(), bypass.reason);
            println!("It is stamped, and judged when that ends. To end it now: landfall bypass off");
        }
        BypassCommand::Off { .. } => match directory.switch_bypass_off(&by).await? {
            Some(bypass) => println!("Mail is judged again. It was not since {}", bypass.started_at.to_rfc3339()),
            None => println!("Nothing to end: mail is judged"),
        },
        BypassCommand::Status { .. } => {
            match directory.bypass().await? {
                Some(bypass) => println!(
                    "Mail is not judged until {}, by {}: {}",
                    bypass.until_at.to_rfc3339(),
                    bypass.actor,
                    bypass.reason
                ),
                None => println!("Mail is judged"),
            }
            println!("{} accepted and on their way into mailboxes", directory.incoming_count().await?);
            println!("{} waiting for a verdict", directory.unjudged_count().await?);
        }
    }
    Ok(())
}

/// `30m`, `2h` or a number of minutes.
fn milliseconds(text: &str) -> Result<i64, CliError> {
    let wrong = || CliError::Input(format!("--for {text:?}: 30m or 2h, at most {}h", BYPASS_MS_MAX / 3_600_000));
    let (number, minutes) = match text.strip_suffix('h') {
        Some(hours) => (hours, 60),
        None => (text.strip_suffix('m').unwrap_or(text), 1),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = number.checked_mul(minutes * 60_000).ok_or_else(wrong)?;
    if (1..=BYPASS_MS_MAX).contains(&milliseconds) { Ok(milliseconds) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, minutes) in [("30m", 30), ("90", 90), ("2h", 120), ("4h", 240)] {
            assert_eq!(milliseconds(text).unwrap(), minutes * 60_000, "{text}");
        }
        for text in ["", "m", "-5m", "0", "5h", "241m", "1d", "99999999999999999999m", "9223372036854775807h"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
