//! Where a copy is and what last happened to it: the ledger's vocabulary, and the fold that derives one from the other.

use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word in SQL, JSON and reports.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $text),+ } }
            /// The value for a word.
            pub fn parse(text: &str) -> Option<Self> { match text { $($text => Some($name::$variant),)+ _ => None } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// Where a copy is now.
    Place {
        /// In our queue, not handed over.
        OnItsWay = "on_its_way",
        /// A host answered 250; where it put the copy is not known.
        Accepted = "accepted",
        /// In the inbox.
        Inbox = "inbox",
        /// In another folder of the mailbox.
        OtherFolder = "other_folder",
        /// In Junk.
        Junk = "junk",
        /// In quarantine.
        Quarantine = "quarantine",
        /// Deleted by its owner.
        Deleted = "deleted",
        /// The recipient did not and will not get it.
        NotReceived = "not_received",
        /// No source can say.
        Unknown = "unknown",
    }
}

text_enum! {
    /// What last happened to a copy: the sentence beside its place.
    LastEvent {
        /// Put in our queue.
        Queued = "queued",
        /// A try failed for now; there will be another.
        Deferred = "deferred",
        /// Refused in the SMTP dialogue.
        Rejected = "rejected",
        /// Answered 250 (and, on our own gateway, landed).
        Accepted = "accepted",
        /// Put in quarantine on arrival.
        Held = "held",
        /// Pulled back into quarantine after arrival.
        Purged = "purged",
        /// Somebody asked for its release.
        ReleaseRequested = "release_requested",
        /// The request was denied.
        Denied = "denied",
        /// Held on arrival, then freed.
        Released = "released",
        /// Pulled back, then put back by a person or an undo.
        Restored = "restored",
        /// Put back because the verdict changed.
        Redelivered = "redelivered",
        /// Retention in quarantine, or the time to try, ended.
        Expired = "expired",
        /// Dropped by policy.
        Dropped = "dropped",
        /// A delivery status notification said it failed.
        Bounced = "bounced",
        /// The recipient complained.
        Complained = "complained",
        /// Deleted by its owner.
        DeletedByOwner = "deleted_by_owner",
    }
}

text_enum! {
    /// The kind of an entry in the event log: every [`LastEvent`], and notes that are evidence but do not become the last event.
    EventKind {
        /// See [`LastEvent::Queued`].
        Queued = "queued",
        /// See [`LastEvent::Deferred`].
        Deferred = "deferred",
        /// See [`LastEvent::Rejected`].
        Rejected = "rejected",
        /// See [`LastEvent::Accepted`].
        Accepted = "accepted",
        /// See [`LastEvent::Held`].
        Held = "held",
        /// See [`LastEvent::Purged`].
        Purged = "purged",
        /// See [`LastEvent::ReleaseRequested`].
        ReleaseRequested = "release_requested",
        /// See [`LastEvent::Denied`].
        Denied = "denied",
        /// See [`LastEvent::Released`].
        Released = "released",
        /// See [`LastEvent::Restored`].
        Restored = "restored",
        /// See [`LastEvent::Redelivered`].
        Redelivered = "redelivered",
        /// See [`LastEvent::Expired`].
        Expired = "expired",
        /// See [`LastEvent::Dropped`].
        Dropped = "dropped",
        /// See [`LastEvent::Bounced`].
        Bounced = "bounced",
        /// See [`LastEvent::Complained`].
        Complained = "complained",
        /// See [`LastEvent::DeletedByOwner`].
        DeletedByOwner = "deleted_by_owner",
        /// Note: the owner moved it to another folder; the place changes, the last event does not.
        MovedByOwner = "moved_by_owner",
        /// Note: the same (copy, recipient) was offered again and answered 250 without storing anything.
        ResendSuppressed = "resend_suppressed",
        /// Note: it was accepted without a verdict, and has been judged since.
        Judged = "judged",
        /// Note: the end of DATA to a foreign host was unclear, so the next try may make a second copy.
        MayBeDouble = "may_be_double",
    }
}

impl EventKind {
    /// The last event this entry becomes; `None` for a note.
    pub fn last_event(self) -> Option<LastEvent> {
        LastEvent::parse(self.as_str())
    }

    /// The place this kind implies when the entry names none. `None`: the place stays.
    fn implied_place(self) -> Option<Place> {
        match self {
            EventKind::Queued | EventKind::Deferred => Some(Place::OnItsWay),
            EventKind::Rejected | EventKind::Bounced | EventKind::Dropped | EventKind::Expired => {
                Some(Place::NotReceived)
            }
            EventKind::Accepted => Some(Place::Accepted),
            EventKind::Held | EventKind::Purged => Some(Place::Quarantine),
            EventKind::Released | EventKind::Restored | EventKind::Redelivered => Some(Place::Inbox),
            EventKind::DeletedByOwner => Some(Place::Deleted),
            EventKind::ReleaseRequested | EventKind::Denied | EventKind::Complained => None,
            EventKind::MovedByOwner | EventKind::ResendSuppressed | EventKind::Judged | EventKind::MayBeDouble => None,
        }
    }
}

/// The present state of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Where it is.
    pub place: Place,
    /// What last happened.
    pub last_event: LastEvent,
}

/// An event that cannot follow the state a copy is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a copy in {place} after {last_event} cannot become {kind}")]
pub struct IllegalTransition {
    /// The place before.
    pub place: Place,
    /// The last event before.
    pub last_event: LastEvent,
    /// The event that was refused.
    pub kind: EventKind,
}

impl Whereabouts {
    /// The state of a copy that was just born by `kind` (usually queued, accepted, held, rejected or dropped).
    pub fn born(kind: EventKind, place: Option<Place>) -> Self {
        Whereabouts {
            place: place.or(kind.implied_place()).unwrap_or(Place::Unknown),
            last_event: kind.last_event().unwrap_or(LastEvent::Accepted),
        }
    }

    /// One step of the fold over a copy's events in the order of (effective_at, id). Total: evidence is never refused,
    /// weaker evidence just does not move what stronger evidence has established.
    #[must_use]
    pub fn after(self, kind: EventKind, place: Option<Place>) -> Self {
        if self.outweighs(kind, place) {
            return self;
        }
        Whereabouts {
            place: place.or(kind.implied_place()).unwrap_or(self.place),
            last_event: kind.last_event().unwrap_or(self.last_event),
        }
    }

    /// A bare "a host answered 250", or a repeated try, says less than a source that has seen the copy.
    fn outweighs(self, kind: EventKind, place: Option<Place>) -> bool {
        let seen = !matches!(self.place, Place::OnItsWay | Place::Accepted | Place::Unknown);
        let weak = matches!(kind, EventKind::Accepted) && matches!(place, None | Some(Place::Accepted))
            || matches!(kind, EventKind::Queued | EventKind::Deferred);
        seen && weak
    }

    /// Whether somebody may *do* `kind` to a copy in this state. Evidence goes through [`Whereabouts::after`];
    /// actions (release, restore, purge …) go through here first.
    pub fn advance(self, kind: EventKind, place: Option<Place>) -> Result<Self, IllegalTransition> {
        let allowed = match kind {
            EventKind::Released => self.place == Place::Quarantine && self.last_event != LastEvent::Purged,
            EventKind::Restored => self.place == Place::Quarantine,
            EventKind::Redelivered => matches!(self.place, Place::Quarantine | Place::Junk),
            EventKind::Purged => matches!(self.place, Place::Inbox | Place::OtherFolder | Place::Junk),
            EventKind::ReleaseRequested => {
                self.place == Place::Quarantine && self.last_event != LastEvent::ReleaseRequested
            }
            EventKind::Denied => self.place == Place::Quarantine && self.last_event == LastEvent::ReleaseRequested,
            EventKind::MovedByOwner | EventKind::DeletedByOwner => {
                matches!(self.place, Place::Inbox | Place::OtherFolder | Place::Junk)
            }
            EventKind::Deferred | EventKind::Rejected => matches!(self.place, Place::OnItsWay | Place::Accepted),
            EventKind::Expired => matches!(self.place, Place::OnItsWay | Place::Quarantine),
            EventKind::Held => matches!(self.place, Place::OnItsWay | Place::Accepted | Place::Unknown),
            EventKind::Queued
            | EventKind::Accepted
            | EventKind::Dropped
            | EventKind::Bounced
            | EventKind::Complained
            | EventKind::ResendSuppressed
            | EventKind::Judged
            | EventKind::MayBeDouble => true,
        };
        if allowed {
            Ok(self.after(kind, place))
        } else {
            Err(IllegalTransition { place: self.place, last_event: self.last_event, kind })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(place: Place, last_event: LastEvent) -> Whereabouts {
        Whereabouts { place, last_event }
    }

    #[test]
    fn every_last_event_is_an_event_kind() {
        for last in LastEvent::ALL {
            assert_eq!(EventKind::parse(last.as_str()).and_then(EventKind::last_event), Some(*last));
        }
    }

    #[test]
    fn the_story_of_a_campaign_copy() {
        let landed = Whereabouts::born(EventKind::Queued, None)
            .after(EventKind::Accepted, Some(Place::Inbox)) // our gateway put it there
            .after(EventKind::Accepted, Some(Place::Accepted)); // and then our sender read the 250
        assert_eq!(landed, state(Place::Inbox, LastEvent::Accepted));
        let moved = landed.advance(EventKind::MovedByOwner, Some(Place::OtherFolder)).unwrap();
        assert_eq!(moved, state(Place::OtherFolder, LastEvent::Accepted));
        let purged = moved.advance(EventKind::Purged, None).unwrap();
        assert_eq!(purged, state(Place::Quarantine, LastEvent::Purged));
        assert!(purged.advance(EventKind::Purged, None).is_err(), "nothing is pulled back twice");
        assert!(purged.advance(EventKind::Released, None).is_err(), "what was pulled back is restored, not released");
        let back = purged.advance(EventKind::Restored, Some(Place::OtherFolder)).unwrap();
        assert_eq!(back, state(Place::OtherFolder, LastEvent::Restored));
        assert!(back.advance(EventKind::Restored, None).is_err(), "nor restored twice");
    }

    #[test]
    fn every_pair_either_advances_like_the_fold_or_is_refused() {
        for place in Place::ALL {
            for last in LastEvent::ALL {
                for kind in EventKind::ALL {
                    let from = state(*place, *last);
                    match from.advance(*kind, None) {
                        Ok(to) => assert_eq!(to, from.after(*kind, None)),
                        Err(refused) => assert_eq!((refused.place, refused.kind), (*place, *kind)),
                    }
                }
            }
        }
    }
}
