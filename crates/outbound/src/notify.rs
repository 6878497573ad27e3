//! Telling the sender what became of a copy (RFC 3464, RFC 3461), as a mail of our own in the same queue.
//!
//! Nobody is told of a notification (RFC 5321 4.5.5: the null reverse-path), of a campaign's copy (its failures are
//! evidence), or when the sender was not authentic, since the news would hit somebody else.

use bytes::Bytes;
use message::ReportAction;
use message::dsn;
use model::{
    Address, CopyId, MailOptions, MessageId, OrganisationId, RcptOptions, Reply, ReversePath, SqlText, Timestamp,
};
use store::{BodyRef, Op, Store, values};

use crate::attempt::Tried;
use crate::lane::Shared;
use crate::record::Context;
use crate::{NewDelivery, delivery_ops, queued_copy_ops};

/// What somebody may be told: a copy, its end or delay, and what its sender asked for.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// Whose mail it is.
    pub organisation_id: OrganisationId,
    /// Our host name.
    pub hostname: &'a str,
    /// What became of the copy.
    pub action: ReportAction,
    /// MAIL FROM of the original.
    pub reverse_path: &'a ReversePath,
    /// Whose copy it is.
    pub recipient: &'a Address,
    /// What the sender asked for of the mail.
    pub options: &'a MailOptions,
    /// What the sender asked for of this recipient.
    pub rcpt_options: &'a RcptOptions,
    /// The host that answered, if one was reached.
    pub remote_mta: Option<&'a str>,
    /// Its reply, or ours.
    pub reply: &'a Reply,
    /// When the original was accepted.
    pub arrived_at: Timestamp,
    /// Until when it is tried, for a delay.
    pub retry_until: Option<Timestamp>,
}

/// A notification, ready to be stored with the result it tells of.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The mail.
    pub body: Bytes,
    delivery: NewDelivery,
    message_id: MessageId,
    message_id_header: String,
    from: String,
    subject: &'static str,
}

/// Whether the sender wants to be told of this (RFC 3461 4.1). Without NOTIFY: of failures and delays.
pub fn is_asked_for(notify: &str, action: ReportAction) -> bool {
    let asked = |word: &str| notify.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
    match action {
        ReportAction::Failed => notify.is_empty() || asked("FAILURE"),
        ReportAction::Delayed => notify.is_empty() || asked("DELAY"),
        ReportAction::Delivered | ReportAction::Relayed | ReportAction::Expanded => asked("SUCCESS"),
    }
}

impl Notification<'_> {
    /// Writes it; `None` where nobody may be told or nobody asked.
    pub fn write(&self, store: &Store, original: &[u8]) -> Option<Notice> {
        let ReversePath::Address(sender) = self.reverse_path else { return None };
        if !is_asked_for(&self.rcpt_options.notify, self.action) {
            return None;
        }
        let message_id: MessageId = store.next_id();
        let message_id_header = format!("<{message_id}.dsn@{}>", self.hostname);
        let built = dsn::build(&dsn::Notification {
            action: self.action,
            reporting_mta: self.hostname,
            sender,
            recipient: self.recipient,
            orcpt: &self.rcpt_options.orcpt,
            envid: &self.options.envid,
            wants_whole: self.options.ret.eq_ignore_ascii_case("FULL"),
            remote_mta: self.remote_mta,
            reply: self.reply,
            arrived_at: self.arrived_at,
            retry_until: self.retry_until,
            now: store.now(),
            message_id: &message_id_header,
            original,
            // RFC 8689 5: what REQUIRETLS protected comes back by ways that may not, so with nothing of it.
            is_redacted: self.options.require_tls,
        });
        let body = built.inspect_err(|error| tracing::error!("a notification could not be written: {error}")).ok()?;
        let copy_id: CopyId = store.next_id();
        let organisation_id = self.organisation_id;
        let delivery = NewDelivery::now(store, organisation_id, copy_id, message_id, ReversePath::Null, sender.clone());
        let from = format!("postmaster@{}", self.hostname);
        let subject = dsn::subject(self.action);
        Some(Notice { body: Bytes::from(body), delivery, message_id, message_id_header, from, subject })
    }
}

/// The notification about the result of a try. Without its original it still says which mail and why.
pub(crate) async fn notice(
    shared: &Shared,
    context: &Context,
    tried: &Tried,
    action: ReportAction,
    reply: &Reply,
) -> Option<Notice> {
    let delivery = &tried.delivery;
    let recipient = delivery.recipient.as_ref().filter(|_| delivery.campaign_id.is_none() && delivery.may_tell)?;
    let notification = Notification {
        organisation_id: delivery.organisation_id,
        hostname: &shared.config.hostname,
        action,
        reverse_path: &context.reverse_path,
        recipient,
        options: &delivery.options,
        rcpt_options: &delivery.rcpt_options,
        remote_mta: tried.host.split(' ').next().filter(|host| !host.is_empty()),
        reply,
        arrived_at: delivery.created_at,
        retry_until: Some(delivery.give_up_at),
    };
    if context.reverse_path.address().is_none() || !is_asked_for(&delivery.rcpt_options.notify, action) {
        return None; // before the body is read for nothing
    }
    let original = shared.store.body(&context.body).await.unwrap_or_default();
    let mut notice = notification.write(&shared.store, &original)?;
    notice.delivery.give_up_at = notice.delivery.created_at.plus_ms(shared.config.schedule.give_up_ms);
    Some(notice)
}

/// Whether it is time to tell the sender that it takes long.
pub(crate) fn is_delay_due(delay_warning_ms: i64, tried: &Tried, now: Timestamp) -> bool {
    let delivery = &tried.delivery;
    delay_warning_ms > 0 && !delivery.is_delay_told && now.ms_since(delivery.created_at) >= delay_warning_ms
}

impl Notice {
    /// The rows of the notification: message, copy, hand-over.
    pub fn ops(&self, body: &BodyRef) -> Vec<Op> {
        let signed = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
        let row = values![
            self.message_id,
            self.delivery.organisation_id,
            "outbound",
            body.pack_id,
            signed(body.offset),
            signed(body.bytes),
            &body.sha256,
            SqlText::indexed(&self.message_id_header),
            "",
            &self.from,
            "Mail Delivery System",
            self.subject,
            self.subject.to_lowercase(),
            "",
            "",
            self.delivery.created_at,
            None::<i64>,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
        ];
        let mut ops = vec![Op::Insert("message.insert", row.to_vec())];
        ops.extend(queued_copy_ops(&self.delivery, None));
        ops.extend(delivery_ops(self.delivery.clone()));
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_told_what_they_asked_for() {
        use ReportAction as A;
        let check = |notify: &str, wanted: &[ReportAction]| {
            for action in [A::Failed, A::Delayed, A::Delivered, A::Relayed, A::Expanded] {
                assert_eq!(is_asked_for(notify, action), wanted.contains(&action), "{notify:?} {action:?}");
            }
        };
        check("", &[A::Failed, A::Delayed]);
        check("NEVER", &[]);
        check("FAILURE", &[A::Failed]);
        check("DELAY,FAILURE", &[A::Failed, A::Delayed]);
        check("SUCCESS", &[A::Delivered, A::Relayed, A::Expanded]);
    }
}
