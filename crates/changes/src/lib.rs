//! No rule, feed, list or weight changes untested.
//!
//! ```text
//! propose -> backtest on the organisation's own mail -> activate (or stop) -> undo
//! ```
//!
//! - A [`Proposal`] is checked as a whole and becomes a [`Change`] with a normalised [`Diff`]; nothing is half applied.
//! - [`Changes::backtest`] runs `verdict::judge` and `verdict::decide`, the functions that judge arriving mail, over stored
//!   facts, under the active rule set and under the proposed one, and records every copy that would be treated otherwise.
//! - [`Changes::activate`] makes the tested version the active one and hands the zero-hour purge its job, in one
//!   transaction. It refuses a change without a backtest, one whose backtest is out of date, and one that the backtest
//!   warned of unless a reason for overriding it is given.
//! - [`Changes::undo`] takes exactly this change's entries out again and hands over the job that puts copies back.
//!
//! Rule set versions are immutable rows; exactly one per organisation is active. This crate moves no mail: it writes jobs.

mod activate;
mod allow;
mod backtest;
mod change;
mod diff;
mod edit;
mod error;
mod judging;
mod report;
mod state;
mod versions;

pub use activate::{Activation, Stop, Undo};
pub use allow::{Allow, Allowed};
pub use backtest::{Backtest, BacktestCopy, BacktestOptions, BacktestState};
pub use change::{Actor, Change, ChangeFilter, Changes};
pub use diff::{Diff, NewListEntry, Proposal};
pub use error::{Error, Problem};
pub use judging::{Bench, JudgedCopy, MovedCopy, judge_message};
pub use report::{BacktestReport, CampaignHit, ClassMove, Example, PlaceMove};
pub use state::{ChangeState, IllegalTransition, Step, advance};
pub use versions::{RuleSetVersion, first_version};
