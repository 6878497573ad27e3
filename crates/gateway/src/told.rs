//! Telling senders what they asked to be told of mail that ends here or is sent on (RFC 3461), and whom not to tell.

use model::{AuthResult, Facts, OrganisationId, Reply};
use outbound::{Notice, Notification, is_asked_for};
use store::{BodyRef, Op, Store, Submission, Topic};

use message::ReportAction;

use crate::decide::{Action, Plan};
use crate::enrich::Mail;

/// Whether news about a mail would reach whoever wrote it. A reverse-path that fails its own domain's rules is somebody
/// else's: a notification to it is backscatter.
pub(crate) fn may_tell(mail: &Mail, facts: &Facts) -> bool {
    let is_forged =
        matches!(facts.auth.spf, AuthResult::Fail | AuthResult::SoftFail) || facts.auth.dmarc == AuthResult::Fail;
    mail.envelope.client.login.is_some() || !is_forged
}

/// After the mail is stored: `delivered` to senders who asked for it, for each copy that was put into a mailbox here. The
/// mail is accepted whatever becomes of this.
pub(crate) async fn tell_of_success(
    store: &Store,
    hostname: &str,
    organisation_id: OrganisationId,
    mail: &Mail,
    facts: &Facts,
    plans: &[Plan],
) {
    let envelope = &mail.envelope;
    let asked = envelope.rcpt_options.iter().any(|options| is_asked_for(&options.notify, ReportAction::Delivered));
    if !asked || !may_tell(mail, facts) {
        return;
    }
    let reply = Reply::ok(250, (0, 0), "put into the mailbox");
    let notices: Vec<Notice> = plans
        .iter()
        .filter(|plan| matches!(plan.action, Action::Deliver(_)))
        .filter_map(|plan| {
            let at = envelope.forward_paths.iter().position(|path| *path == plan.to.path)?;
            let notification = Notification {
                organisation_id,
                hostname,
                action: ReportAction::Delivered,
                reverse_path: &envelope.reverse_path,
                recipient: &plan.to.path,
                options: &envelope.options,
                rcpt_options: &envelope.options_of(at),
                remote_mta: None,
                reply: &reply,
                arrived_at: mail.received_at,
                retry_until: None,
            };
            notification.write(store, &mail.body)
        })
        .collect();
    if notices.is_empty() {
        return;
    }
    let bodies = notices.iter().map(|notice| notice.body.clone()).collect();
    let ops = move |places: &[BodyRef]| -> Vec<Op> {
        notices.iter().zip(places).flat_map(|(notice, place)| notice.ops(place)).collect()
    };
    match store.commit(Submission::with_bodies(bodies, ops)).await {
        Ok(()) => store.bus().announce(Topic::Delivery, 0_i64),
        Err(error) => tracing::warn!("a sender is not told that its mail arrived: {error}"),
    }
}
