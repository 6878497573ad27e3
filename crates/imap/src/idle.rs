//! IDLE (RFC 2177).

use tokio::time::Instant;

use crate::session::{After, Answer, Broken, Session, Updates};
use crate::wire::Incoming;

/// The line that ends it, and room for those who say something else.
const LINE_BYTES_MAX: usize = 1_024;

impl Session {
    /// News wakes it; it looks by itself from time to time, since news may be lost.
    pub(crate) async fn idle(&mut self) -> Result<Answer, Broken> {
        let mut ear = self.shared.news.listen(self.mailbox_id()?);
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
                () = ear.news() => {}
            }
        }
    }

    fn take_end(&mut self, incoming: &Incoming) {
        if matches!(incoming, Incoming::Silent) {
            self.say("* BYE nothing was said for too long");
        }
    }
}
