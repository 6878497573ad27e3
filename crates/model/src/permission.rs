//! Who may do what: one enum, and roles as sets of it.

use serde::{Deserialize, Serialize};

use crate::event::text_enum;

text_enum! {
    /// One thing that an account may do. Every API operation names one in `x-permission`.
    Permission {
        /// Nothing but being signed in: own account, own sign-out.
        Own = "own",
        /// One's own mailbox.
        MailboxOwn = "mailbox.own",
        /// One's own held copies.
        QuarantineOwn = "quarantine.own",
        /// See campaigns and where their copies are.
        CampaignRead = "campaign.read",
        /// Write, send, pause and resume campaigns.
        CampaignWrite = "campaign.write",
        /// Ask for the release of a campaign's copies.
        ReleaseRequest = "release.request",
        /// Hand mail in under any address of the organisation.
        MailSendAs = "mail.send_as",
        /// See people and lists.
        PeopleRead = "people.read",
        /// Import and change people and lists.
        PeopleWrite = "people.write",
        /// See the quarantine of the organisation.
        QuarantineRead = "quarantine.read",
        /// Release, deny and restore.
        QuarantineRelease = "quarantine.release",
        /// Release malware and high confidence phish after a fresh verdict.
        QuarantineReleaseDangerous = "quarantine.release_dangerous",
        /// Pull landed copies back.
        Purge = "purge",
        /// Message trace.
        TraceRead = "trace.read",
        /// See policies, feeds, lists, rules and changes.
        ProtectionRead = "protection.read",
        /// Propose and backtest changes.
        ChangePropose = "change.propose",
        /// Activate and undo changes.
        ChangeActivate = "change.activate",
        /// See delivery incidents.
        IncidentRead = "incident.read",
        /// Write updates and apply remedies.
        IncidentWrite = "incident.write",
        /// See the outbound queue.
        QueueRead = "queue.read",
        /// Pause, try and delete what is in the outbound queue.
        QueueWrite = "queue.write",
        /// Settings of the organisation, accounts, tokens.
        SettingsWrite = "settings.write",
        /// See settings.
        SettingsRead = "settings.read",
        /// Read the audit log.
        AuditRead = "audit.read",
    }
}

text_enum! {
    /// A role: a named set of permissions.
    Role {
        /// Everything, and the only one who switches individual tracking on.
        Owner = "owner",
        /// Writes and sends; sees whereabouts; asks for releases.
        Communicator = "communicator",
        /// Runs the mail side: quarantine, trace, policies, changes.
        Administrator = "administrator",
        /// Looks into threats; may release what is dangerous.
        Analyst = "analyst",
        /// Has a mailbox.
        Recipient = "recipient",
    }
}

impl Role {
    /// The set of permissions.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Role::Owner => P::ALL,
            Role::Communicator => &[
                P::Own,
                P::MailboxOwn,
                P::QuarantineOwn,
                P::CampaignRead,
                P::CampaignWrite,
                P::ReleaseRequest,
                P::PeopleRead,
                P::IncidentRead,
            ],
            Role::Administrator => &[
                P::Own,
                P::MailboxOwn,
                P::QuarantineOwn,
                P::CampaignRead,
                P::PeopleRead,
                P::PeopleWrite,
                P::QuarantineRead,
                P::QuarantineRelease,
                P::Purge,
                P::TraceRead,
                P::ProtectionRead,
                P::ChangePropose,
                P::ChangeActivate,
                P::IncidentRead,
                P::IncidentWrite,
                P::QueueRead,
                P::QueueWrite,
                P::SettingsRead,
                P::SettingsWrite,
                P::AuditRead,
            ],
            Role::Analyst => &[
                P::Own,
                P::MailboxOwn,
                P::QuarantineOwn,
                P::QuarantineRead,
                P::QuarantineRelease,
                P::QuarantineReleaseDangerous,
                P::Purge,
                P::TraceRead,
                P::ProtectionRead,
                P::ChangePropose,
                P::IncidentRead,
                P::IncidentWrite,
            ],
            Role::Recipient => &[P::Own, P::MailboxOwn, P::QuarantineOwn],
        }
    }

    /// Whether this role may.
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communicators_request_and_administrators_release() {
        assert!(Role::Communicator.may(Permission::ReleaseRequest));
        assert!(!Role::Communicator.may(Permission::QuarantineRelease));
        assert!(Role::Administrator.may(Permission::QuarantineRelease));
        assert!(!Role::Administrator.may(Permission::QuarantineReleaseDangerous));
        assert!(!Role::Administrator.may(Permission::CampaignWrite));
        assert!(!Role::Recipient.may(Permission::TraceRead));
    }
}
