//! Telling the sender that a copy did not arrive (RFC 3464), as a mail of our own in the same queue.

use bytes::Bytes;
use message::dsn;
use model::{Address, MessageId, Reply, ReversePath, Timestamp};
use store::{BodyRef, Op, values};

use crate::attempt::Tried;
use crate::lane::Shared;
use crate::record::Context;
use crate::{NewDelivery, delivery_ops, queued_copy_ops};

/// A notification, ready to be stored with the result it tells of.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) body: Bytes,
    delivery: NewDelivery,
    message_id: MessageId,
    message_id_header: String,
    from: String,
}

/// The notification for a delivery that is given up. `None` where none may be sent: to the null reverse-path (RFC 5321
/// 4.5.5), and for campaigns, whose failures are evidence of their copies.
pub(crate) async fn notice(
    shared: &Shared,
    context: &Context,
    tried: &Tried,
    reply: &Reply,
    now: Timestamp,
) -> Option<Notice> {
    let delivery = &tried.delivery;
    let (ReversePath::Address(sender), None, Some(recipient)) =
        (&context.reverse_path, delivery.campaign_id, &delivery.recipient)
    else {
        return None;
    };
    let hostname = &shared.config.hostname;
    // Without its header section the notification still says which mail and why.
    let original = shared.store.body(&context.body).await.unwrap_or_default();
    let message_id: MessageId = shared.store.next_id();
    let message_id_header = format!("<{message_id}.dsn@{hostname}>");
    let remote_mta = tried.host.split(' ').next().filter(|host| !host.is_empty());
    let failure = dsn::Failure {
        reporting_mta: hostname,
        sender,
        recipient,
        remote_mta,
        reply,
        arrived_at: delivery.created_at,
        now,
        message_id: &message_id_header,
        original: &original,
    };
    let body = match dsn::build(&failure) {
        Ok(body) => Bytes::from(body),
        Err(error) => {
            tracing::error!(delivery.id = %delivery.id, "no notification about {}: {error}", delivery.id);
            return None;
        }
    };
    let new = new_delivery(shared, delivery.organisation_id, message_id, sender);
    Some(Notice { body, delivery: new, message_id, message_id_header, from: format!("postmaster@{hostname}") })
}

fn new_delivery(
    shared: &Shared,
    organisation_id: model::OrganisationId,
    message_id: MessageId,
    sender: &Address,
) -> NewDelivery {
    let store = &shared.store;
    let copy_id = store.next_id();
    let mut new = NewDelivery::now(store, organisation_id, copy_id, message_id, ReversePath::Null, sender.clone());
    new.give_up_at = new.created_at.plus_ms(shared.config.schedule.give_up_ms);
    new
}

impl Notice {
    /// The rows of the notification: message, copy, hand-over.
    pub(crate) fn ops(&self, body: &BodyRef) -> Vec<Op> {
        const SUBJECT: &str = "Not delivered";
        let signed = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
        let row = values![
            self.message_id,
            self.delivery.organisation_id,
            "outbound",
            body.pack_id,
            signed(body.offset),
            signed(body.bytes),
            &body.sha256,
            &self.message_id_header,
            "",
            &self.from,
            "Mail Delivery System",
            SUBJECT,
            SUBJECT.to_lowercase(),
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
