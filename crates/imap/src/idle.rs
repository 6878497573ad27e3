//! IDLE (RFC 2177).

use model::MailboxId;
use store::Topic;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::session::{After, Answer, Broken, Session, Updates};
use crate::wire::Incoming;

/// The line that ends it, and room for those who say something else.
const LINE_BYTES_MAX: usize = 1_024;

impl Session {
    /// The bus wakes it; it looks by itself from time to time, since the bus may lose everything.
    pub(crate) async fn idle(&mut self) -> Result<Answer, Broken> {
        let mut notices = self.mailbox().store().bus().subscribe();
        let mailbox_id = self.mailbox_id()?;
        self.say("+ idling");
        let until = Instant::now() + self.shared.config.idle_deadline;
        let shutdown = self.shutdown.clone();
        let mut look_at = Instant::now() + self.shared.config.idle_look;
        loop {
            if self.look(Updates { may_expunge: true, ..Updates::default() }).await? == After::Close {
                return Err(Broken::Ended(Incoming::Closed));
            }
            self.wire.flush().await?;
            let patience = until.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                line = self.wire.line(LINE_BYTES_MAX, patience) => {
                    let line = match line {
                        Ok(line) => line,
                        Err(incoming) => {
                            self.take_end(&incoming);
                            return Err(Broken::Ended(incoming));
                        }
                    };
                    let is_done = line.eq_ignore_ascii_case(b"DONE");
                    return Ok(if is_done { Answer::ok("IDLE completed") } else { Answer::bad("DONE ends IDLE") });
                }
                () = shutdown.cancelled() => {
                    self.say_stopping();
                    return Err(Broken::Ended(Incoming::Closed));
                }
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + self.shared.config.idle_look;
                    let shared = self.shared.clone();
                    if let Some(user) = &mut self.user
                        && !user.stands(&shared).await
                    {
                        self.say_revoked();
                        return Err(Broken::Ended(Incoming::Closed));
                    }
                }
                () = wake(&mut notices, mailbox_id) => {}
            }
        }
    }

    fn take_end(&mut self, incoming: &Incoming) {
        if matches!(incoming, Incoming::Silent) {
            self.say("* BYE nothing was said for too long");
        }
    }
}

/// Waits for news of a mailbox.
async fn wake(notices: &mut tokio::sync::broadcast::Receiver<store::Notice>, mailbox_id: MailboxId) {
    loop {
        match notices.recv().await {
            Ok(notice) if notice.topic == Topic::Mailbox && notice.id == mailbox_id.0 => return,
            Ok(_) => {}
            // What was missed may have been ours.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
