//! The result of a try, written down: the row's state and the copy's event in one transaction.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use message::{BounceClass, ReportAction, Status};
use model::{EventKind, MessageId, Reply, ReplyClass, ReversePath, Timestamp};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Severity, Submission, Topic, values};

use crate::attempt::{Fate, Tried};
use crate::desk::{Claimed, Job};
use crate::lane::Shared;
use crate::plan::Plan;
use crate::{DeliveryState, FailureClass, notify, queue_acts};

/// A result that cannot be written now is tried again, with doubling delays, until the store is back: losing it would send
/// twice, and until a restart nobody else would take the delivery. Once the agent stops, only this often.
const RECORD_TRIES_MAX: u32 = 8;
const RECORD_DELAY_MS: u64 = 100;
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
    let notice = told(shared, context, tried, &next, now).await;
    let has_notice = notice.is_some();
    let delivery = &tried.delivery;
    log(delivery, &next);
    for attempt in 1_u32.. {
        let mut ops = ops(shared, context, tried, &next, now);
        if has_notice && matches!(next, Next::Later { .. }) {
            ops.push(Op::Execute("delivery.delay_told", values![now, delivery.id].to_vec()));
        }
        let submission = match notice.clone() {
            Some(notice) => Submission::with_body(notice.body.clone(), move |body| {
                ops.iter().cloned().chain(notice.ops(body)).collect()
            }),
            None => Submission::rows(ops),
        };
        match shared.store.commit(submission).await {
            Ok(()) => {
                if has_notice {
                    shared.store.bus().announce(Topic::Delivery, delivery.id);
                }
                return;
            }
            Err(error) if error.severity() == Severity::Permanent => {
                tracing::error!(delivery.id = %delivery.id, "the result of {} is not recorded: {error}", delivery.id);
                return;
            }
            Err(_) if shared.stop.is_cancelled() && attempt >= RECORD_TRIES_MAX => break,
            Err(error) => {
                tracing::warn!(delivery.id = %delivery.id, "the result of {} waits for the store: {error}", delivery.id);
                let delay_ms = RECORD_DELAY_MS << (attempt - 1).min(RECORD_TRIES_MAX); // 25.6 s at most
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            }
        }
    }
    tracing::error!(delivery.id = %delivery.id, "the result of {} was not recorded; it will be tried again", delivery.id);
}

/// What the sender is told with this result, if anything.
async fn told(
    shared: &Shared,
    context: &Context,
    tried: &Tried,
    next: &Next,
    now: Timestamp,
) -> Option<notify::Notice> {
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

/// The guarded move of the row, and the events of the copy.
fn ops(shared: &Shared, context: &Context, tried: &Tried, next: &Next, now: Timestamp) -> Vec<Op> {
    let delivery = &tried.delivery;
    let owner = shared.recorder.owner.as_str();
    let finish = |state: DeliveryState, words: &str| {
        Op::EachGuarded("delivery.finish", values![state.as_str(), words, delivery.id, owner].to_vec())
    };
    let event = |kind, detail| {
        let mut event = NewEvent::now(delivery.organisation_id, delivery.copy_id, kind, SOURCE, now);
        event.detail = detail;
        Op::Event(event)
    };
    let (host, attempt_count, tls) = (&tried.host, delivery.attempt_count, tried.is_encrypted);
    match next {
        Next::Done { reply } => {
            let words = clean(&reply.to_string());
            let detail = json!({ "reply": words, "host": host, "attempt_count": attempt_count, "tls": tls });
            vec![finish(DeliveryState::Done, &words), event(EventKind::Accepted, detail)]
        }
        Next::Later { words, at, may_be_double } => {
            let words = clean(words);
            let detail =
                json!({ "reply": words, "host": host, "attempt_count": attempt_count, "next_try_at": at.to_rfc3339() });
            let defer = Op::EachGuarded("delivery.defer", values![*at, &words, delivery.id, owner].to_vec());
            let mut ops = vec![defer];
            if *may_be_double {
                ops.push(event(EventKind::MayBeDouble, json!({ "reply": words, "host": host })));
            }
            ops.push(event(EventKind::Deferred, detail));
            let group = context.queue_group.clone().unwrap_or_else(|| queue_acts::group_of(host));
            if !group.is_empty() {
                ops.push(Op::Execute("queue.set_group", values![group, delivery.id].to_vec()));
            }
            ops
        }
        Next::GaveUp { reply, kind } => {
            let words = clean(&reply.to_string());
            let class = failure_class(reply);
            let detail = json!({
                "reply": words, "host": host, "attempt_count": attempt_count,
                "class": class.as_str(), "sentence": class.sentence(), "is_shared": class.is_shared(),
            });
            let mut ops = vec![finish(DeliveryState::Failed, &words), event(*kind, detail)];
            ops.extend(suppressed(delivery, class, &words, now));
            ops
        }
    }
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
