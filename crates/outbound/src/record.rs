//! The result of a try, written down: the row's state and the copy's event in one transaction.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::join_all;
use message::{BounceClass, ReportAction, Status};
use model::{EventKind, MessageId, Reply, ReplyClass, ReversePath, Timestamp};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Topic, values};

use crate::attempt::{Fate, Tried};
use crate::desk::{Claimed, Job};
use crate::lane::Shared;
use crate::notify::Notice;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::{DeliveryState, FailureClass, notify, queue_acts};

const SOURCE: &str = "smtp";

/// What the results of a job have in common.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) message_id: MessageId,
    pub(crate) reverse_path: ReversePath,
    pub(crate) body: BodyRef,
    pub(crate) is_own: bool,
    /// What the queue shows its host as, where that is not the host's organisation: a route, the relay, a provider.
    pub(crate) queue_group: Option<String>,
}

impl Context {
    pub(crate) fn of(job: &Job, plan: &Plan) -> Self {
        Context { is_own: plan.is_own, queue_group: plan.queue_group.clone(), ..Context::without_plan(job) }
    }

    /// Of a job that has no way to go.
    pub(crate) fn without_plan(job: &Job) -> Self {
        let (reverse_path, body) = (job.reverse_path.clone(), job.body.clone());
        Context { message_id: job.message_id, reverse_path, body, is_own: false, queue_group: None }
    }
}

/// Who records, and with which jitter.
pub(crate) struct Recorder {
    pub(crate) owner: String,
    rng: Mutex<fastrand::Rng>,
}

/// What a result means for the delivery.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    Done { reply: Reply },
    Later { words: String, at: Timestamp, may_be_double: bool },
    GaveUp { reply: Reply, kind: EventKind },
}

impl Recorder {
    pub(crate) fn new(owner: String, seed: u64) -> Self {
        Recorder { owner, rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    fn next_try(&self, shared: &Shared, class: FailureClass, attempt_count: i64, now: Timestamp) -> Timestamp {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        shared.config.schedule.next_try(class, attempt_count, now, &mut rng)
    }
}

/// Writes down what became of a job's deliveries, and takes them off the desk.
pub(crate) async fn record(shared: &Shared, context: &Context, tried: Vec<Tried>) {
    join_all(tried.iter().map(|one| record_one(shared, context, one))).await;
    let campaigns = tried.iter().map(|one| one.delivery.campaign_id.map_or(0, i64::from));
    let campaigns: std::collections::BTreeSet<i64> = campaigns.collect();
    for campaign in campaigns {
        shared.store.bus().announce(Topic::Ledger, campaign);
    }
    let deliveries: Vec<Claimed> = tried.into_iter().map(|one| one.delivery).collect();
    shared.desk.leave(&deliveries);
}

async fn record_one(shared: &Shared, context: &Context, tried: &Tried) {
    let now = shared.store.now();
    let next = next(shared, context, tried, now);
    let id = tried.delivery.id;
    log(&tried.delivery, &next);
    let notice = AssertUnwindSafe(told(shared, context, tried, &next, now)).catch_unwind().await;
    let notice = notice.unwrap_or_else(|_panic| {
        tracing::error!(delivery.id = %id, "writing a notification about {id} panicked; nobody is told");
        None
    });
    let result = TryResult { context, tried, next: &next, is_told: notice.is_some(), now };
    let outcome = Outcome {
        delivery_id: id,
        row: result.row(&shared.recorder.owner),
        events: result.events(),
        consequences: result.consequences(),
        notice,
    };
    outcome.write(&shared.store, &shared.stop).await;
}

/// A result and what its rows are made from.
struct TryResult<'a> {
    context: &'a Context,
    tried: &'a Tried,
    next: &'a Next,
    /// Whether the sender is told with it.
    is_told: bool,
    now: Timestamp,
}

impl TryResult<'_> {
    /// The guarded move of the row.
    fn row(&self, owner: &str) -> Op {
        let (id, attempt_count) = (self.tried.delivery.id, self.tried.delivery.attempt_count);
        let finish = |state: DeliveryState, reply: &Reply| {
            let row = values![state.as_str(), clean(&reply.to_string()), id, owner, attempt_count];
            Op::EachGuarded("delivery.finish", row.to_vec())
        };
        match self.next {
            Next::Done { reply } => finish(DeliveryState::Done, reply),
            Next::GaveUp { reply, .. } => finish(DeliveryState::Failed, reply),
            Next::Later { words, at, .. } => {
                let row = values![*at, clean(words), id, owner, attempt_count];
                Op::EachGuarded("delivery.defer", row.to_vec())
            }
        }
    }

    fn events(&self) -> Vec<Op> {
        let delivery = &self.tried.delivery;
        let event = |kind, detail| {
            let mut event = NewEvent::now(delivery.organisation_id, delivery.copy_id, kind, SOURCE, self.now);
            event.detail = detail;
            Op::Event(event)
        };
        let (host, attempt_count, tls) = (&self.tried.host, delivery.attempt_count, self.tried.is_encrypted);
        match self.next {
            Next::Done { reply } => {
                let words = clean(&reply.to_string());
                let detail = json!({ "reply": words, "host": host, "attempt_count": attempt_count, "tls": tls });
                vec![event(EventKind::Accepted, detail)]
            }
            Next::Later { words, at, may_be_double } => {
                let words = clean(words);
                let detail = json!({
                    "reply": words, "host": host, "attempt_count": attempt_count, "next_try_at": at.to_rfc3339(),
                });
                let double =
                    may_be_double.then(|| event(EventKind::MayBeDouble, json!({ "reply": words, "host": host })));
                double.into_iter().chain([event(EventKind::Deferred, detail)]).collect()
            }
            Next::GaveUp { reply, kind } => {
                let class = failure_class(reply);
                let detail = json!({
                    "reply": clean(&reply.to_string()), "host": host, "attempt_count": attempt_count,
                    "class": class.as_str(), "sentence": class.sentence(), "is_shared": class.is_shared(),
                });
                vec![event(*kind, detail)]
            }
        }
    }

    /// What follows: how the queue shows it, what is noted of what its sender is told, whom nobody writes to any more.
    fn consequences(&self) -> Vec<Op> {
        let delivery = &self.tried.delivery;
        match self.next {
            Next::Done { .. } => Vec::new(),
            Next::Later { .. } => {
                let group = self.context.queue_group.clone().unwrap_or_else(|| queue_acts::group_of(&self.tried.host));
                let shown = || Op::Execute("queue.set_group", values![&group, delivery.id].to_vec());
                let told = || Op::Execute("delivery.delay_told", values![self.now, delivery.id].to_vec());
                let shown = (!group.is_empty()).then(shown);
                shown.into_iter().chain(self.is_told.then(told)).collect()
            }
            Next::GaveUp { reply, .. } => {
                suppressed(delivery, failure_class(reply), &clean(&reply.to_string()), self.now).into_iter().collect()
            }
        }
    }
}

/// What the sender is told with this result, if anything.
async fn told(shared: &Shared, context: &Context, tried: &Tried, next: &Next, now: Timestamp) -> Option<Notice> {
    match next {
        Next::GaveUp { reply, .. } => notify::notice(shared, context, tried, ReportAction::Failed, reply).await,
        Next::Later { words, .. } if notify::is_delay_due(shared.config.delay_warning_ms, tried, now) => {
            let reply = match &tried.fate {
                Fate::Reply(reply) => reply.clone(),
                Fate::Failed { .. } => Reply::transient(451, (4, 0), words.clone()),
            };
            notify::notice(shared, context, tried, ReportAction::Delayed, &reply).await
        }
        // Whoever speaks DSN tells the sender itself (RFC 3461 5.2.2); our own gateway does.
        Next::Done { reply } if !tried.peer_has_dsn && !context.is_own => {
            notify::notice(shared, context, tried, ReportAction::Relayed, reply).await
        }
        Next::Done { .. } | Next::Later { .. } => None,
    }
}

fn next(shared: &Shared, context: &Context, tried: &Tried, now: Timestamp) -> Next {
    let delivery = &tried.delivery;
    let (class, words) = match &tried.fate {
        Fate::Reply(reply) => match reply.class() {
            ReplyClass::Completion => return Next::Done { reply: reply.clone() },
            ReplyClass::Permanent => return Next::GaveUp { reply: reply.clone(), kind: EventKind::Rejected },
            ReplyClass::Transient | ReplyClass::Intermediate => (FailureClass::Transient, reply.to_string()),
        },
        Fate::Failed { class, cause } => (*class, cause.clone()),
    };
    let at = shared.recorder.next_try(shared, class, delivery.attempt_count, now);
    if at > delivery.give_up_at {
        // RFC 3463 3.5: X.4.7, delivery time expired.
        let reply = Reply::permanent(554, (4, 7), format!("not delivered in time, last answer: {words}"));
        return Next::GaveUp { reply, kind: EventKind::Expired };
    }
    Next::Later { words, at, may_be_double: class == FailureClass::Unclear && !context.is_own }
}

/// Why it failed, by the table of [`BounceClass`].
fn failure_class(reply: &Reply) -> BounceClass {
    let words = reply.to_string();
    BounceClass::of(Status::find(&words), &words)
}

/// A campaign's address that is not there gets no more campaigns, whether its host said so at once or by a report.
fn suppressed(delivery: &Claimed, class: BounceClass, words: &str, now: Timestamp) -> Option<Op> {
    let recipient = delivery.recipient.as_ref().filter(|_| delivery.campaign_id.is_some() && class.suppresses())?;
    let reason = format!("bounced: {words}");
    let row = values![delivery.organisation_id, recipient.key(), reason, now, "bounced", delivery.copy_id];
    Some(Op::Execute("report.suppress", row.to_vec()))
}

/// A peer's words enter SQL without NUL and bounded.
fn clean(words: &str) -> String {
    model::SqlText::new(words).as_str().to_owned()
}

fn log(delivery: &Claimed, next: &Next) {
    let (id, attempt_count) = (delivery.id, delivery.attempt_count);
    match next {
        Next::Done { reply } => tracing::debug!(delivery.id = %id, attempt_count, "accepted {id}: {reply}"),
        Next::Later { words, at, .. } => {
            tracing::info!(delivery.id = %id, attempt_count, "deferred {id} until {at}");
            tracing::debug!(delivery.id = %id, "{id} was put off: {words}");
        }
        Next::GaveUp { reply, .. } => {
            // A reply may quote the recipient: its text is for debug and for the trace.
            tracing::info!(delivery.id = %id, attempt_count, code = reply.code(), "gave up {id}");
            tracing::debug!(delivery.id = %id, "{id} was answered: {reply}");
        }
    }
}
