//! What the organisation wants for each class of mail, with Exchange Online's semantics.
//!
//! A policy has up to three sections (anti-spam, anti-malware, anti-phish). For each section the first policy that contains
//! the recipient applies, alone: Strict preset, then Standard preset, then custom ones by priority, then Default. Settings
//! are never merged, even if the matching section has a feature switched off.

use model::{Address, PolicyId, QuarantineReason};
use serde::{Deserialize, Serialize};

use crate::RecipientContext;

/// All policies of an organisation, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policies {
    /// The policies.
    pub policies: Vec<Policy>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Its name, as decisions show it.
    pub name: String,
    /// Preset, custom or default.
    pub kind: PolicyKind,
    /// Among custom policies: 0 goes first.
    pub priority: u32,
    /// Switched off policies contain nobody.
    pub enabled: bool,
    /// Whom it contains. Not looked at for the default policy, which contains everybody.
    #[serde(default)]
    pub conditions: Conditions,
    /// Spam, bulk and phish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_spam: Option<AntiSpam>,
    /// Malware and file types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_malware: Option<AntiMalware>,
    /// Spoof and impersonation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_phish: Option<AntiPhish>,
}

/// What kind of policy this is; declared in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// The Strict preset.
    Strict,
    /// The Standard preset.
    Standard,
    /// Made by the organisation.
    Custom,
    /// Last, for everybody.
    Default,
}

/// Whom a policy contains: values of one condition are alternatives, different conditions must all hold, any exception
/// excludes. No condition at all contains everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Recipient addresses.
    pub users: Vec<String>,
    /// Groups (departments).
    pub groups: Vec<String>,
    /// Recipient domains, with their subdomains.
    pub domains: Vec<String>,
    /// Excluded addresses.
    pub except_users: Vec<String>,
    /// Excluded groups.
    pub except_groups: Vec<String>,
    /// Excluded domains, with their subdomains.
    pub except_domains: Vec<String>,
}

/// What to do with a copy of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Into Junk.
    MoveToJunk,
    /// Into quarantine.
    Quarantine,
    /// To somebody else instead.
    Redirect {
        /// To whom.
        to: Address,
    },
    /// Accepted and thrown away.
    Delete,
    /// Delivered as if nothing had been found.
    NoAction,
}

/// An action and the tag that a quarantined copy gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAction {
    /// What to do.
    pub action: Action,
    /// What its recipient may do with it in quarantine.
    pub tag: QuarantineTag,
}

/// What a recipient may do with a quarantined copy and whether they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QuarantineTag {
    /// Nothing, untold.
    #[serde(rename = "AdminOnlyAccessPolicy")]
    AdminOnly,
    /// See, delete, release; untold.
    #[serde(rename = "DefaultFullAccessPolicy")]
    FullAccess,
    /// See, delete, release; told.
    #[serde(rename = "DefaultFullAccessWithNotificationPolicy")]
    FullAccessWithNotification,
}

impl QuarantineTag {
    /// Permission bit: delete.
    pub const DELETE: u8 = 1;
    /// Permission bit: preview.
    pub const PREVIEW: u8 = 2;
    /// Permission bit: release.
    pub const RELEASE: u8 = 4;
    /// Permission bit: ask for release.
    pub const REQUEST_RELEASE: u8 = 8;
    /// Permission bit: block the sender.
    pub const BLOCK_SENDER: u8 = 16;
    /// Permission bit: allow the sender.
    pub const ALLOW_SENDER: u8 = 32;

    /// The name that administrators know.
    pub const fn as_str(self) -> &'static str {
        match self {
            QuarantineTag::AdminOnly => "AdminOnlyAccessPolicy",
            QuarantineTag::FullAccess => "DefaultFullAccessPolicy",
            QuarantineTag::FullAccessWithNotification => "DefaultFullAccessWithNotificationPolicy",
        }
    }

    /// The tag for a name.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [QuarantineTag::AdminOnly, QuarantineTag::FullAccess, QuarantineTag::FullAccessWithNotification];
        all.into_iter().find(|tag| tag.as_str() == text)
    }

    /// Whether the recipient is told.
    pub const fn notifies(self) -> bool {
        matches!(self, QuarantineTag::FullAccessWithNotification)
    }

    /// The permission bits by the tag alone: 0 or 39.
    pub const fn permissions(self) -> u8 {
        match self {
            QuarantineTag::AdminOnly => 0,
            QuarantineTag::FullAccess | QuarantineTag::FullAccessWithNotification => {
                Self::ALLOW_SENDER | Self::RELEASE | Self::PREVIEW | Self::DELETE
            }
        }
    }

    /// The permission bits for a copy held for `reason`: nobody frees malware or high confidence phish for themselves,
    /// whatever the tag says; releasing becomes asking.
    pub fn permissions_for(self, reason: QuarantineReason) -> u8 {
        let bits = self.permissions();
        if reason.needs_analyst() && bits & Self::RELEASE != 0 {
            (bits & !Self::RELEASE) | Self::REQUEST_RELEASE
        } else {
            bits
        }
    }
}

/// Spam, bulk and phish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AntiSpam {
    /// Bulk level from which mail counts as bulk, 1 to 9.
    pub bulk_threshold: u8,
    /// Whether bulk mail is acted on at all; off: the level is only recorded.
    pub mark_bulk_as_spam: bool,
    /// For spam.
    pub spam: ClassAction,
    /// For high confidence spam.
    pub high_confidence_spam: ClassAction,
    /// For phish.
    pub phish: ClassAction,
    /// For high confidence phish: Junk and no action are quarantined all the same.
    pub high_confidence_phish: ClassAction,
    /// For bulk.
    pub bulk: ClassAction,
    /// Days in quarantine for everything but malware and file types, 1 to 30.
    pub retention_days: u16,
    /// Whether zero-hour purge takes spam back.
    pub spam_zap: bool,
    /// Whether zero-hour purge takes phish back.
    pub phish_zap: bool,
}

/// Malware and file types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AntiMalware {
    /// Whether the file type filter is on.
    pub file_filter: bool,
    /// File name endings it does not let in, lower case without dot.
    pub file_types: Vec<String>,
    /// What it does.
    pub file_action: FileAction,
    /// The tag of quarantined copies.
    pub tag: QuarantineTag,
    /// Whether zero-hour purge takes malware back.
    pub zap: bool,
}

/// What the file type filter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAction {
    /// Refuse, so that the sender learns of it.
    Reject,
    /// Quarantine.
    Quarantine,
}

/// What is done with a DMARC failure whose domain asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DmarcAction {
    /// Refuse.
    Reject,
    /// Quarantine.
    Quarantine,
    /// Into Junk.
    MoveToJunk,
}

/// Spoof and impersonation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AntiPhish {
    /// Whether spoofing is acted on when the domain asks for nothing.
    pub spoof_intelligence: bool,
    /// Whether the wish of the From domain counts.
    pub honor_dmarc: bool,
    /// For `p=quarantine`.
    pub dmarc_quarantine_action: DmarcAction,
    /// For `p=reject`.
    pub dmarc_reject_action: DmarcAction,
    /// For other spoofing.
    pub spoof: ClassAction,
    /// Whether names of protected people are watched.
    pub user_protection: bool,
    /// For impersonation of a person.
    pub user_impersonation: ClassAction,
    /// Whether lookalike domains are watched.
    pub domain_protection: bool,
    /// For impersonation of a domain.
    pub domain_impersonation: ClassAction,
}

/// Which section of a policy decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyType {
    /// Spam, bulk, phish; also when nothing was found.
    AntiSpam,
    /// Malware, file types.
    AntiMalware,
    /// Spoof, impersonation.
    AntiPhish,
    /// The organisation's block list.
    AllowBlockList,
}

impl PolicyType {
    /// The word in SQL, JSON and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyType::AntiSpam => "anti_spam",
            PolicyType::AntiMalware => "anti_malware",
            PolicyType::AntiPhish => "anti_phish",
            PolicyType::AllowBlockList => "allow_block_list",
        }
    }
}

impl Conditions {
    /// Whether the recipient is contained.
    pub fn contain(&self, recipient: &RecipientContext) -> bool {
        let holds =
            |values: &[String], is_one: &dyn Fn(&str) -> bool| values.is_empty() || values.iter().any(|v| is_one(v));
        let is_user = |value: &str| value.eq_ignore_ascii_case(&recipient.address.key());
        let is_member = |value: &str| recipient.groups.iter().any(|group| group == value);
        let is_in =
            |value: &str| crate::names::is_under(recipient.address.domain().as_str(), &value.to_ascii_lowercase());
        let excluded = self.except_users.iter().any(|v| is_user(v))
            || self.except_groups.iter().any(|v| is_member(v))
            || self.except_domains.iter().any(|v| is_in(v));
        !excluded && holds(&self.users, &is_user) && holds(&self.groups, &is_member) && holds(&self.domains, &is_in)
    }
}

impl Policies {
    /// The policies that contain the recipient, first in precedence first.
    pub fn for_recipient(&self, recipient: &RecipientContext) -> Vec<&Policy> {
        let contains = |p: &&Policy| p.kind == PolicyKind::Default || (p.enabled && p.conditions.contain(recipient));
        let mut matching: Vec<&Policy> = self.policies.iter().filter(contains).collect();
        matching.sort_by_key(|p| (p.kind, p.priority, p.id));
        matching
    }
}
