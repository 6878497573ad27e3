//! News of mailboxes for sessions that wait in IDLE. One follower of the bus serves them all: whoever announces something
//! wakes it alone, and it wakes the sessions of that mailbox, however many others wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::MailboxId;
use store::{Bus, Notice, Topic};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Who waits for news.
#[derive(Debug, Default)]
pub(crate) struct News {
    by_mailbox: Mutex<HashMap<i64, Weak<watch::Sender<()>>>>,
}

/// A session's ear. What it is told before it listens is not lost.
#[derive(Debug)]
pub(crate) struct Ear {
    /// Keeps the mailbox known while somebody listens.
    _mailbox: Arc<watch::Sender<()>>,
    heard: watch::Receiver<()>,
}

impl Ear {
    /// Waits for news since it was made, or since the last.
    pub(crate) async fn news(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl News {
    /// Follows the bus until that ends, or nobody is left who could listen.
    pub(crate) fn follow(bus: &Bus) -> Arc<News> {
        let (news, mut notices) = (Arc::new(News::default()), bus.subscribe());
        let follower = Arc::downgrade(&news);
        tokio::spawn(async move {
            loop {
                let notice = notices.recv().await;
                let Some(news) = follower.upgrade() else { return };
                match notice {
                    Ok(notice) => news.tell(notice),
                    // What was missed may have been of any mailbox.
                    Err(RecvError::Lagged(_)) => news.tell_all(),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        news
    }

    /// An ear for what happens in a mailbox from now on.
    pub(crate) fn listen(&self, mailbox_id: MailboxId) -> Ear {
        let mut by_mailbox = self.by_mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mailbox = by_mailbox.get(&mailbox_id.0).and_then(Weak::upgrade).unwrap_or_else(|| {
            by_mailbox.retain(|_, one| one.strong_count() > 0);
            let new = Arc::new(watch::Sender::new(()));
            by_mailbox.insert(mailbox_id.0, Arc::downgrade(&new));
            new
        });
        Ear { heard: mailbox.subscribe(), _mailbox: mailbox }
    }

    fn tell(&self, notice: Notice) {
        if notice.topic != Topic::Mailbox {
            return;
        }
        let by_mailbox = self.by_mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = by_mailbox.get(&notice.id).and_then(Weak::upgrade) {
            mailbox.send_replace(());
        }
    }

    fn tell_all(&self) {
        let by_mailbox = self.by_mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        by_mailbox.values().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.send_replace(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_hears_of_its_own_mailbox() {
        let news = News::default();
        let (mut first, mut again, mut other) =
            (news.listen(MailboxId(1)), news.listen(MailboxId(1)), news.listen(MailboxId(2)));
        let has_news = |ear: &mut Ear| ear.heard.has_changed().unwrap();
        news.tell(Notice { topic: Topic::Ledger, id: 1 });
        news.tell(Notice { topic: Topic::Mailbox, id: 3 });
        assert!(!has_news(&mut first) && !has_news(&mut other));
        news.tell(Notice { topic: Topic::Mailbox, id: 1 });
        news.tell(Notice { topic: Topic::Mailbox, id: 1 });
        assert!(has_news(&mut again) && !has_news(&mut other));
        first.news().await;
        assert!(!has_news(&mut first), "told once");
        news.tell_all();
        first.news().await;
        other.news().await;
        drop((first, again));
        let _new = news.listen(MailboxId(3));
        assert_eq!(news.by_mailbox.lock().unwrap().len(), 2, "who listens no more is forgotten");
    }
}
