//! What is stored of a mail: one body with its trace header section, one message, and for each copy what its plan says.

use bytes::{Bytes, BytesMut};
use mailbox::{Delivery, FolderRole};
use message::headers;
use model::{
    Address, AuthResult, CopyId, Disposition, EventKind, Facts, MailItemId, MessageId, OrganisationId, PersonId, Place,
    QuarantineItemId, ReleaseStatus, Signal, SqlText, Unjudged, Verdict, Whereabouts,
};
use outbound::NewDelivery;
use serde_json::{Value as Json, json};
use store::{BodyRef, NewEvent, Op, Store, Value, values};
use verdict::Decision;

use crate::decide::{Action, Addressee, Plan, cause};
use crate::enrich::Mail;
use crate::hand_over::NewHandOver;
use crate::told::may_tell;
use crate::writing::Writing;

const SOURCE: &str = "gateway";
/// Words of a subject that are indexed.
const SUBJECT_WORDS_MAX: usize = 32;
/// Characters of such a word.
const SUBJECT_WORD_CHARS_MAX: usize = 48;
/// The kind of a subject's words in `message_term`.
pub(crate) const SUBJECT_WORD_KIND: &str = "subject_word";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A judged mail with its plans, about to be stored.
pub(crate) struct Landing<'a> {
    pub(crate) store: &'a Store,
    pub(crate) hostname: &'a str,
    pub(crate) organisation_id: OrganisationId,
    pub(crate) message_id: MessageId,
    pub(crate) mail: &'a Mail,
    pub(crate) facts: &'a Facts,
    pub(crate) verdict: Option<&'a Verdict>,
    pub(crate) plans: &'a [Plan],
    /// Whose addresses were taken away after the mail was accepted.
    pub(crate) gone: &'a [Address],
    /// The ARC set for what is sent on; empty when nothing is.
    pub(crate) seal: &'a str,
}

impl Landing<'_> {
    /// The whole of it.
    pub(crate) fn writing(&self) -> Writing {
        let mut rows = self.terms();
        if self.verdict.is_none() {
            rows.push(self.owed_verdict());
        }
        for plan in self.plans {
            rows.extend(self.copy(plan));
        }
        rows.extend(self.gone.iter().map(|path| self.refused_copy(path)));
        let message = self.message();
        if !self.plans.iter().any(|plan| plan.action.needs_body()) {
            // What nobody gets is remembered without its body.
            let nowhere = BodyRef { pack_id: 0, offset: 0, bytes: 0, sha256: String::new() };
            rows.insert(0, message(&nowhere));
            return Writing::rows(rows);
        }
        Writing::with_body(self.stored_body(), move |body| {
            std::iter::once(message(body)).chain(rows.iter().cloned()).collect()
        })
    }

    /// That a verdict is owed.
    fn owed_verdict(&self) -> Op {
        let (reason, at) = (self.unjudged().as_str(), self.mail.received_at);
        let row = values![self.message_id, self.organisation_id, reason, at, 0_i64, at, None::<&str>];
        Op::Insert("unjudged.insert", row.to_vec())
    }

    /// The body as received under our trace header section. Fields that only we may write, and that a sender wrote, are
    /// taken out (RFC 8601 5, RFC 5321 4.4).
    fn stored_body(&self) -> Bytes {
        let Mail { envelope, body, received_at } = self.mail;
        let recipient = if let [only] = &envelope.forward_paths[..] { Some(only) } else { None };
        let id = self.message_id.to_string();
        let mut head = format!("Return-Path: <{}>\r\n", envelope.reverse_path);
        head += &headers::received(&headers::Received {
            envelope,
            by: self.hostname,
            id: &id,
            at: *received_at,
            recipient,
        });
        head += self.seal;
        head += &headers::authentication_results(self.hostname, &self.facts.auth, envelope);
        match self.verdict {
            Some(verdict) => {
                head += &headers::antispam_report(self.facts, verdict, &self.strictest());
                head += &headers::bulk_report(verdict);
            }
            None => head += &headers::unjudged_mark(self.unjudged()),
        }
        let ours =
            ["Return-Path", headers::ANTISPAM_REPORT, headers::BULK_REPORT, headers::UNJUDGED, mailbox::MARK_HEADER];
        let rest = headers::remove_ours(body, self.hostname, &ours);
        let rest = headers::below_our_fields(&rest);
        let mut whole = BytesMut::with_capacity(head.len() + rest.len());
        whole.extend_from_slice(head.as_bytes());
        whole.extend_from_slice(&rest);
        whole.freeze()
    }

    /// Why there is no verdict.
    fn unjudged(&self) -> Unjudged {
        self.facts.unjudged.unwrap_or(Unjudged::Failure)
    }

    /// One body serves all recipients: its report names the strictest of what was done.
    fn strictest(&self) -> Disposition {
        let rank = |disposition: &Disposition| match disposition {
            Disposition::Deliver => 0,
            Disposition::Junk => 1,
            Disposition::Redirect { .. } => 2,
            Disposition::Quarantine => 3,
            Disposition::Drop => 4,
            Disposition::Reject => 5,
        };
        let decided = self.plans.iter().filter_map(|plan| plan.decision.as_ref()).map(|d| &d.disposition);
        decided.max_by_key(|disposition| rank(disposition)).cloned().unwrap_or(Disposition::Deliver)
    }

    /// The message row, once its body's place is known.
    fn message(&self) -> impl Fn(&BodyRef) -> Op + Send + Sync + 'static {
        let facts = self.facts;
        let from = facts.from();
        let subject = SqlText::new(&facts.header.subject);
        let campaign_id = self.plans.iter().find_map(|plan| plan.own).map(|own| own.campaign_id);
        let before = values![self.message_id, self.organisation_id, "inbound"];
        let after = values![
            SqlText::indexed(&facts.header.message_id),
            SqlText::new(&self.mail.envelope.reverse_path.to_string()),
            SqlText::indexed(&from.address),
            SqlText::new(&from.name),
            &subject,
            subject.to_lower(),
            facts.client_ip.to_string(),
            SqlText::new(&facts.helo),
            facts.received_at,
            campaign_id,
            as_json(facts),
            self.verdict.map(as_json),
            self.verdict.map(|verdict| verdict.class.as_str()),
            self.verdict.map(|verdict| verdict.rule_set_id),
        ];
        move |body: &BodyRef| {
            let signed = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
            let place = values![body.pack_id, signed(body.offset), signed(body.bytes), &body.sha256];
            Op::Insert("message.insert", before.iter().chain(&place).chain(&after).cloned().collect())
        }
    }

    /// The words under which changes and searches find the message.
    fn terms(&self) -> Vec<Op> {
        term_rows(self.facts, self.message_id).into_iter().map(|row| Op::Each("message.insert_terms", row)).collect()
    }

    fn copy(&self, plan: &Plan) -> Vec<Op> {
        let (kind, mut place) = outcome(&plan.action);
        if matches!(plan.action, Action::Deliver(_)) && plan.to.recipient.connector.is_some() {
            // Ours until the mailbox system has it: then it says where it is.
            place = Some(Place::Accepted);
        }
        let event = self.event(plan, kind, place);
        let mut ops = match plan.own {
            Some(_) => self.campaign_copy(plan, event),
            None => vec![self.new_copy(&plan.to, Some(plan), event)],
        };
        match &plan.action {
            Action::Deliver(role) => ops.extend(self.item(plan.copy_id, &plan.to, *role)),
            Action::Hold => ops.extend(self.held(plan)),
            Action::Reject | Action::Drop => {}
            Action::RedirectHere(to) => ops.extend(self.redirected_here(plan, to)),
            Action::RedirectAway(to) => ops.extend(self.redirected_away(plan, to)),
        }
        ops
    }

    /// The row exists since the copy was enqueued. A copy that was refused has not arrived: it may come again.
    fn campaign_copy(&self, plan: &Plan, event: NewEvent) -> Vec<Op> {
        let Some(own) = plan.own else { return Vec::new() };
        let (disposition, policy, decision) = decided(plan);
        let row = values![self.message_id, disposition, policy, decision, own.copy_id, own.campaign_id];
        let mut ops = vec![Op::EachGuarded("gateway.take_copy", row.to_vec()), Op::Event(event)];
        if !matches!(plan.action, Action::Reject) {
            let arrival = values![own.copy_id, self.message_id, self.mail.received_at];
            ops.push(Op::Insert("gateway.insert_received_copy", arrival.to_vec()));
        }
        ops
    }

    /// Somebody who was there when the mail was accepted, and is not any more.
    fn refused_copy(&self, path: &Address) -> Op {
        let copy_id: CopyId = self.store.next_id();
        let at = self.store.now();
        let mut event = NewEvent::now(self.organisation_id, copy_id, EventKind::Rejected, SOURCE, at);
        event.place = Some(Place::NotReceived);
        event.detail = json!({
            "received_message_id": self.message_id,
            "client_ip": self.facts.client_ip.to_string(),
            "explanation": "the address was taken away between the mail's acceptance and its entry in the mailbox",
        });
        self.born(None, path, (Some("reject"), None, None), event)
    }

    /// A copy that is born here, by `event`.
    fn new_copy(&self, to: &Addressee, plan: Option<&Plan>, event: NewEvent) -> Op {
        let decided = plan.map_or((Some("deliver"), None, None), decided);
        self.born(Some(to.recipient.person_id), &to.path, decided, event)
    }

    fn born(&self, person_id: Option<PersonId>, path: &Address, decided: Decided<'_>, event: NewEvent) -> Op {
        let born = Whereabouts::born(event.kind, event.place);
        let at = self.mail.received_at;
        let (disposition, policy, decision) = decided;
        let copy = values![
            event.copy_id,
            self.organisation_id,
            self.message_id,
            self.message_id,
            None::<i64>,
            person_id,
            path.key(),
            born.place.as_str(),
            "",
            born.last_event.as_str(),
            at,
            at,
            at,
            disposition,
            policy,
            decision,
            at,
        ];
        Op::Birth { copy: copy.to_vec(), event }
    }

    fn event(&self, plan: &Plan, kind: EventKind, place: Option<Place>) -> NewEvent {
        let mut event = NewEvent::now(self.organisation_id, plan.copy_id, kind, SOURCE, self.mail.received_at);
        event.place = place;
        event.detail = self.evidence(plan);
        event.cause_id = match (self.verdict, &plan.decision) {
            (Some(verdict), Some(decision)) if kind != EventKind::Accepted => cause(verdict, decision).map(i64::from),
            _ => None,
        };
        event
    }

    /// Why, in the words of the trace.
    fn evidence(&self, plan: &Plan) -> Json {
        let mut detail = json!({
            "received_message_id": self.message_id,
            "client_ip": self.facts.client_ip.to_string(),
            "disposition": plan.decision.as_ref().map_or("deliver", |d| d.disposition.as_str()),
        });
        match &plan.decision {
            Some(decision) => {
                detail["class"] = json!(decision.class);
                detail["policy"] = json!(decision.policy_name);
                detail["explanation"] = json!(decision.explanation);
                detail["reason"] = json!(decision.reason);
                if let Some(signal) = self.deciding_signal(decision) {
                    detail["rule"] = json!(signal.rule);
                    detail["sentence"] = json!(signal.sentence);
                    detail["evidence"] = json!(signal.evidence);
                    detail["origin"] = json!(signal.origin);
                }
            }
            None => {
                detail["unjudged"] = json!(self.unjudged());
                detail["explanation"] = json!(match self.unjudged() {
                    Unjudged::Failure =>
                        "put into the inbox unjudged: judging failed; it is judged when that works again",
                    Unjudged::Bypass =>
                        "put into the inbox unjudged: judging was switched off; it is judged when that ends",
                });
            }
        }
        match &plan.action {
            Action::RedirectHere(to) => detail["redirected_to"] = json!(to.path.to_string()),
            Action::RedirectAway(to) => detail["redirected_to"] = json!(to.to_string()),
            Action::Deliver(_) | Action::Hold | Action::Reject | Action::Drop => {}
        }
        detail
    }

    fn deciding_signal(&self, decision: &Decision) -> Option<&Signal> {
        let counted = || self.verdict.into_iter().flat_map(|v| &v.signals).filter(|signal| signal.weight > 0.0);
        counted().find(|signal| signal.class == decision.class)
    }

    /// Into the embedded mailbox now, or durably on its way to the system that keeps it.
    fn item(&self, copy_id: CopyId, to: &Addressee, role: FolderRole) -> Vec<Op> {
        if let Some(connector) = &to.recipient.connector {
            let envelope = &self.mail.envelope;
            let index = envelope.forward_paths.iter().position(|path| *path == to.path);
            let new = NewHandOver {
                connector,
                copy_id,
                message_id: self.message_id,
                role,
                reverse_path: &envelope.reverse_path,
                to: &to.recipient.address,
                at: self.mail.received_at,
                options: &envelope.options,
                rcpt_options: index.map(|index| envelope.options_of(index)).unwrap_or_default(),
                may_tell: [self.facts.auth.spf, self.facts.auth.dmarc].contains(&AuthResult::Pass),
            };
            return vec![new.op(self.store, self.organisation_id)];
        }
        mailbox::deliver_ops(&Delivery {
            item_id: self.store.next_id::<MailItemId>(),
            mailbox_id: to.recipient.mailbox_id,
            role,
            copy_id,
            message_id: self.message_id,
            internal_at: self.mail.received_at,
            safety_tip: String::new(),
        })
    }

    fn held(&self, plan: &Plan) -> Option<Op> {
        let decision = plan.decision.as_ref()?;
        let subject = SqlText::new(&self.facts.header.subject);
        let sender = self.mail.envelope.reverse_path.to_string();
        let from = self.facts.from().address;
        let at = self.mail.received_at;
        let row = values![
            self.store.next_id::<QuarantineItemId>(),
            self.organisation_id,
            plan.copy_id,
            self.message_id,
            plan.own.map(|own| own.campaign_id),
            plan.to.path.key(),
            SqlText::new(if from.is_empty() { &sender } else { &from }),
            &subject,
            subject.to_lower(),
            i64::try_from(self.facts.size_bytes).unwrap_or(i64::MAX),
            "arrival",
            decision.reason.unwrap_or(model::QuarantineReason::of(decision.class)).as_str(),
            &decision.policy_name,
            SqlText::new(&decision.explanation),
            i64::from(decision.permissions),
            ReleaseStatus::NeedsReview.as_str(),
            None::<&str>,
            self.verdict.and_then(|verdict| cause(verdict, decision)),
            at,
            at.plus_ms(i64::from(decision.retention_days) * DAY_MS),
        ];
        Some(Op::Insert("quarantine.insert", row.to_vec()))
    }

    fn redirected_here(&self, plan: &Plan, to: &Addressee) -> Vec<Op> {
        let copy_id: CopyId = self.store.next_id();
        let (kind, mut place) = outcome(&Action::Deliver(FolderRole::Inbox));
        if to.recipient.connector.is_some() {
            place = Some(Place::Accepted);
        }
        let mut event = NewEvent::now(self.organisation_id, copy_id, kind, SOURCE, self.mail.received_at);
        event.place = place;
        event.detail = json!({ "received_message_id": self.message_id, "redirected_from": plan.to.path.to_string() });
        let mut ops = vec![self.new_copy(to, None, event)];
        ops.extend(self.item(copy_id, to, FolderRole::Inbox));
        ops
    }

    fn redirected_away(&self, plan: &Plan, to: &Address) -> Vec<Op> {
        let envelope = &self.mail.envelope;
        let (copy_id, reverse_path) = (self.store.next_id(), envelope.reverse_path.clone());
        let id = self.message_id;
        let mut new = NewDelivery::now(self.store, self.organisation_id, copy_id, id, reverse_path, to.clone());
        // RFC 3461 5.2.7.1: what the sender asked for goes along with the mail that is sent on.
        let at = envelope.forward_paths.iter().position(|path| *path == plan.to.path);
        new.rcpt_options = at.map(|at| envelope.options_of(at)).unwrap_or_default();
        new.options = envelope.options.clone();
        new.may_tell = may_tell(self.mail, self.facts);
        let mut ops = outbound::queued_copy_ops(&new, None);
        ops.extend(outbound::delivery_ops(new));
        ops
    }
}

/// What a plan means for the ledger.
fn outcome(action: &Action) -> (EventKind, Option<Place>) {
    match action {
        Action::Deliver(FolderRole::Junk) => (EventKind::Accepted, Some(Place::Junk)),
        Action::Deliver(_) => (EventKind::Accepted, Some(Place::Inbox)),
        Action::Hold => (EventKind::Held, Some(Place::Quarantine)),
        Action::Reject => (EventKind::Rejected, Some(Place::NotReceived)),
        // Not received by this recipient; a redirected mail has a copy of its own for the other address.
        Action::Drop | Action::RedirectHere(_) | Action::RedirectAway(_) => {
            (EventKind::Dropped, Some(Place::NotReceived))
        }
    }
}

/// The columns disposition, policy and decision.
type Decided<'a> = (Option<&'a str>, Option<&'a str>, Option<String>);

fn decided(plan: &Plan) -> Decided<'_> {
    match &plan.decision {
        Some(decision) => {
            (Some(decision.disposition.as_str()), Some(decision.policy_name.as_str()), Some(as_json(decision)))
        }
        None => (Some("deliver"), None, None),
    }
}

fn as_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("facts, verdicts and decisions have string keys and finite numbers")
}

/// The rows of `message.insert_terms` for a message.
pub(crate) fn term_rows(facts: &Facts, message_id: MessageId) -> Vec<Vec<Value>> {
    let verdict_terms = verdict::index_terms(facts).into_iter().map(|(kind, value)| (kind.as_str(), value));
    let words = subject_words(&facts.header.subject).into_iter().map(|word| (SUBJECT_WORD_KIND, word));
    let row = |(kind, value): (&str, String)| values![kind, SqlText::new(&value), message_id].to_vec();
    verdict_terms.chain(words).map(row).collect()
}

/// The words of a subject as they are indexed and searched: lower case, letters and digits, two characters or more.
pub(crate) fn subject_words(subject: &str) -> Vec<String> {
    let lower = subject.to_lowercase();
    let mut words: Vec<String> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().nth(1).is_some())
        .take(SUBJECT_WORDS_MAX)
        .map(|word| word.chars().take(SUBJECT_WORD_CHARS_MAX).collect())
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}
