//! How much of whole messages may be in memory: of all sessions together, and of the sessions of one mailbox.
//!
//! Only some steps need a message whole: the literal of an APPEND, the structure of a message, a part without its encoding,
//! a search in texts. Whoever begins one takes room first, waits for it a while, and is told when there is none. Nobody takes
//! room twice at a time, so that nobody waits for somebody who waits. What is only passed on is read in pieces and needs none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use model::MailboxId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::ImapConfig;

/// Room is counted in these.
const UNIT_BYTES: u64 = 1024;
/// One mailbox's part of the room: a fourth, so that nobody takes it from everybody else.
const SHARE: u64 = 4;

/// Room was not free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Room for a message; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Room {
    _of_mailbox: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// The room there is.
#[derive(Debug)]
pub(crate) struct Memory {
    all: Arc<Semaphore>,
    share: u32,
    patience: Duration,
    by_mailbox: Mutex<HashMap<MailboxId, Weak<Semaphore>>>,
}

impl Memory {
    /// At least for one message of the largest size, whatever is configured.
    pub(crate) fn new(config: &ImapConfig) -> Memory {
        let largest = config.size_bytes_max as u64;
        let all = config.memory_bytes_max.max(largest);
        let share = (all / SHARE).max(largest);
        let all = usize::try_from(units(all)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Memory {
            all: Arc::new(Semaphore::new(all)),
            share: units(share),
            patience: config.memory_patience,
            by_mailbox: Mutex::default(),
        }
    }

    /// Room for so many bytes of a session of this mailbox, as soon as there is. A message that is larger than a mailbox's
    /// part takes all of that part.
    pub(crate) async fn take(&self, mailbox_id: MailboxId, bytes: u64) -> Result<Room, NoRoom> {
        let wanted = units(bytes).min(self.share);
        let of_mailbox = self.part_of(mailbox_id);
        let taking = async {
            let of_mailbox = of_mailbox.acquire_many_owned(wanted).await.map_err(|_| NoRoom)?;
            let of_all = self.all.clone().acquire_many_owned(wanted).await.map_err(|_| NoRoom)?;
            Ok::<_, NoRoom>(Room { _of_mailbox: of_mailbox, _of_all: of_all })
        };
        timeout(self.patience, taking).await.unwrap_or(Err(NoRoom))
    }

    fn part_of(&self, mailbox_id: MailboxId) -> Arc<Semaphore> {
        let mut by_mailbox = self.by_mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_mailbox.get(&mailbox_id).and_then(Weak::upgrade) {
            return known;
        }
        by_mailbox.retain(|_, part| part.strong_count() > 0);
        let part = Arc::new(Semaphore::new(usize::try_from(self.share).unwrap_or(1)));
        by_mailbox.insert(mailbox_id, Arc::downgrade(&part));
        part
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(size_bytes_max: usize, memory_bytes_max: u64) -> Memory {
        let patience = Duration::from_millis(1);
        let config = ImapConfig::new("mx".into());
        Memory::new(&ImapConfig { size_bytes_max, memory_bytes_max, memory_patience: patience, ..config })
    }

    #[tokio::test]
    async fn room_is_shared_and_comes_back() {
        const KIB: u64 = 1024;
        let (one, two, three) = (MailboxId(1), MailboxId(2), MailboxId(3));
        let memory = memory(40 * 1024, 100 * KIB);
        let first = memory.take(one, 40 * KIB).await.expect("there is room");
        assert_eq!(memory.take(one, 1).await.err(), Some(NoRoom), "a mailbox has its part");
        let _second = memory.take(two, 30 * KIB).await.expect("another mailbox has its own");
        assert_eq!(memory.take(three, 31 * KIB).await.err(), Some(NoRoom), "all parts are more than the whole");
        let _third = memory.take(three, 30 * KIB).await.expect("what is left");
        drop(first);
        let _again = memory.take(one, 1_000 * KIB).await.expect("what is larger takes the whole part");
        assert_eq!(memory.by_mailbox.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn the_largest_message_always_has_room() {
        let memory = memory(64 * 1024, 1);
        let room = memory.take(MailboxId(1), 64 * 1024).await.expect("alone it has room");
        drop(room);
        memory.take(MailboxId(2), 1).await.expect("it came back");
        assert_eq!(memory.by_mailbox.lock().unwrap().len(), 1, "who has none is forgotten");
    }
}
