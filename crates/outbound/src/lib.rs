//! The outbound queue and the agent that empties it.
//!
//! A **delivery** is a row: one copy to be handed over to one host. Whoever has mail to send writes the message, the copy
//! and its delivery in one transaction ([`delivery_ops`], [`queued_copy_ops`]) and announces `Topic::Delivery`. The
//! [`Agent`] claims due rows by lease, groups them by route, keeps a bounded number of connections per route busy, and
//! records what each host said: the row's state and the copy's event in one transaction.
//!
//! A delivery is attempted at least once. To a foreign host a second copy is possible when the end of DATA was unclear;
//! that is noted on the copy (`may_be_double`). Between our own ends the signed copy id keeps it single.
//!
//! States move only through [`DeliveryState::advance`]; the SQL of `delivery.sql` guards each move with the state it
//! starts from.

mod agent;
mod attempt;
mod board;
mod config;
mod connect;
mod desk;
mod error;
mod give_back;
mod lane;
mod limits;
mod notify;
mod outcome;
mod plan;
mod queue;
mod queue_acts;
mod record;
mod routes;
mod schedule;
mod shaping;
mod state;
mod tls;

pub use agent::{Agent, LimitsView};
pub use board::{LimitNow, limits_now};
pub use config::AgentConfig;
pub use error::OutboundError;
pub use limits::{LimitLevel, LimitLine, LimitState};
pub use notify::{Notice, Notification, is_asked_for};
pub use outcome::Outcome;
pub use queue::{
    NewDelivery, Purpose, QUEUE_PAGE_MAX, QueueFilter, QueueItem, QueueLine, campaign_counts, delete, delivery_ops,
    hold, hold_campaign, queue_list, queue_summary, queued_copy_ops, resume_campaign, retry_now,
};
pub use queue_acts::{
    Acted, DELETE_MAX, QueueAct, QueueActor, QueueEntry, QueueGroup, QueueTotal, Selection, SelectionCounts, act,
    count, queue_entries, queue_groups, queue_totals,
};
pub use routes::{Relay, RelayTls, Routes};
pub(crate) use routes::{RouteFailure, RouteKey, Target};
pub use schedule::{FailureClass, RetryRule, RetrySchedule};
pub use shaping::{Pool, Provider, SenderShape, Shape, Shaping, Source};
pub use state::{DeliveryEvent, DeliveryState, IllegalDelivery};
pub use tls::{ReportConfig, ReportSigner, StsConfig, TlsConfig, TlsLevel, roots};
