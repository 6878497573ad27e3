//! What the last contacts with a mailbox system said of it, for the people who answer for it. Each service is told apart:
//! hand-overs may go on while mailboxes cannot be entered, and the other way round.

use std::sync::{Mutex, PoisonError};

use model::Timestamp;
use tokio::sync::Notify;

/// The longest cause that is kept, in characters.
const WORDS_MAX: usize = 500;

/// One service of a mailbox system, as the contacts of this process have found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceHealth {
    /// Whether it answered the last time; `None`: nobody has asked since the start.
    pub is_answering: Option<bool>,
    /// Since when that is so.
    pub since_at: Option<Timestamp>,
    /// The last contact.
    pub contact_at: Option<Timestamp>,
    /// Why the last failed contact failed, or empty.
    pub error: String,
    /// It answered and did not let us in: its last words, or empty. One mailbox that is not there says so too.
    pub refusal: String,
    /// When.
    pub refused_at: Option<Timestamp>,
}

/// Both services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectorHealth {
    /// Where mail is handed over.
    pub lmtp: ServiceHealth,
    /// Where mailboxes are entered.
    pub imap: ServiceHealth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Lmtp,
    Imap,
}

/// How a contact ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    Answered,
    Refused(String),
    Failed(String),
}

/// Where contacts are noted.
#[derive(Debug, Default)]
pub(super) struct HealthBook {
    book: Mutex<ConnectorHealth>,
    /// Told when a service answers that did not before.
    again: Notify,
}

impl HealthBook {
    pub(super) fn now(&self) -> ConnectorHealth {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note(&self, service: Service, contact: Contact, at: Timestamp) {
        let is_back = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let health = match service {
                Service::Lmtp => &mut book.lmtp,
                Service::Imap => &mut book.imap,
            };
            health.note(contact, at)
        };
        if is_back {
            self.again.notify_one();
        }
    }

    pub(super) async fn answers_again(&self) {
        self.again.notified().await;
    }
}

impl ServiceHealth {
    /// Gives whether it answers after it had not.
    fn note(&mut self, contact: Contact, at: Timestamp) -> bool {
        let is_answering = !matches!(contact, Contact::Failed(_));
        let was = self.is_answering.replace(is_answering);
        if was != Some(is_answering) {
            self.since_at = Some(at);
        }
        self.contact_at = Some(at);
        match contact {
            Contact::Answered => {}
            Contact::Refused(words) => {
                self.refusal = bounded(&words);
                self.refused_at = Some(at);
            }
            Contact::Failed(words) => self.error = bounded(&words),
        }
        is_answering && was == Some(false)
    }
}

fn bounded(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_and_why() {
        let at = Timestamp::from_micros;
        let mut health = ServiceHealth::default();
        assert!(!health.note(Contact::Answered, at(1)), "the first contact brings nothing back");
        assert!(!health.note(Contact::Answered, at(2)));
        assert_eq!((health.is_answering, health.since_at, health.contact_at), (Some(true), Some(at(1)), Some(at(2))));
        assert!(!health.note(Contact::Failed("refused".into()), at(3)));
        assert!(!health.note(Contact::Failed("timed out".into()), at(4)));
        assert_eq!((health.since_at, health.error.as_str()), (Some(at(3)), "timed out"));
        assert!(health.note(Contact::Refused("no such user".into()), at(5)), "who refuses answers");
        assert_eq!((health.since_at, health.refused_at), (Some(at(5)), Some(at(5))));
        assert_eq!((health.error.as_str(), health.refusal.as_str()), ("timed out", "no such user"));
        health.note(Contact::Failed("x".repeat(WORDS_MAX + 1)), at(6));
        assert_eq!(health.error.len(), WORDS_MAX);
    }
}
