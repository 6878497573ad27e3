//! The Default policy and the Standard and Strict presets, with the values that Exchange Online documents.

use model::PolicyId;

use crate::{
    Action, AntiMalware, AntiPhish, AntiSpam, ClassAction, Conditions, DmarcAction, FileAction, Policies, Policy,
    PolicyKind, QuarantineTag,
};

/// Id of [`Policy::default_preset`]; ids made from time never come this low.
pub const DEFAULT_POLICY_ID: PolicyId = PolicyId(1);
/// Id of [`Policy::standard`].
pub const STANDARD_POLICY_ID: PolicyId = PolicyId(2);
/// Id of [`Policy::strict`].
pub const STRICT_POLICY_ID: PolicyId = PolicyId(3);

/// Days in quarantine for malware and file types; not configurable.
pub const ADMIN_ONLY_RETENTION_DAYS: u16 = 30;

/// The file types that the common attachments filter does not let in by default.
pub const COMMON_FILE_TYPES: &[&str] = &[
    "ace", "ani", "apk", "app", "appx", "arj", "bat", "cab", "cmd", "com", "deb", "dex", "dll", "docm", "elf", "exe",
    "hta", "img", "iso", "jar", "jnlp", "kext", "lha", "lib", "library", "lnk", "lzh", "macho", "msc", "msi", "msix",
    "msp", "mst", "pif", "ppa", "ppam", "reg", "rev", "scf", "scr", "sct", "sys", "uif", "vb", "vbe", "vbs", "vxd",
    "wsc", "wsf", "wsh", "xll", "xz", "z",
];

const JUNK: ClassAction = ClassAction { action: Action::MoveToJunk, tag: QuarantineTag::FullAccess };
const HOLD: ClassAction = ClassAction { action: Action::Quarantine, tag: QuarantineTag::FullAccessWithNotification };
const HOLD_FOR_ANALYST: ClassAction = ClassAction { action: Action::Quarantine, tag: QuarantineTag::AdminOnly };
const NOTHING: ClassAction = ClassAction { action: Action::NoAction, tag: QuarantineTag::FullAccess };

impl Policy {
    /// The Default policy: last, for everybody.
    pub fn default_preset() -> Policy {
        Policy {
            id: DEFAULT_POLICY_ID,
            name: "Default".to_owned(),
            kind: PolicyKind::Default,
            priority: 0,
            enabled: true,
            conditions: Conditions::default(),
            anti_spam: Some(AntiSpam {
                bulk_threshold: 7,
                mark_bulk_as_spam: true,
                spam: JUNK,
                high_confidence_spam: JUNK,
                phish: JUNK,
                high_confidence_phish: HOLD_FOR_ANALYST,
                bulk: JUNK,
                retention_days: 15,
                spam_zap: true,
                phish_zap: true,
            }),
            anti_malware: Some(AntiMalware {
                file_filter: true,
                file_types: COMMON_FILE_TYPES.iter().map(|&t| t.to_owned()).collect(),
                file_action: FileAction::Reject,
                tag: QuarantineTag::AdminOnly,
                zap: true,
            }),
            anti_phish: Some(AntiPhish {
                spoof_intelligence: true,
                honor_dmarc: true,
                dmarc_quarantine_action: DmarcAction::Quarantine,
                dmarc_reject_action: DmarcAction::Reject,
                spoof: JUNK,
                user_protection: false,
                user_impersonation: NOTHING,
                domain_protection: false,
                domain_impersonation: NOTHING,
            }),
        }
    }

    /// The Standard preset; contains nobody until enabled.
    pub fn standard() -> Policy {
        let mut policy = Policy::default_preset();
        (policy.id, policy.name) = (STANDARD_POLICY_ID, "Standard".to_owned());
        (policy.kind, policy.enabled) = (PolicyKind::Standard, false);
        if let Some(spam) = &mut policy.anti_spam {
            spam.bulk_threshold = 6;
            spam.high_confidence_spam = HOLD;
            spam.phish = HOLD;
            spam.retention_days = 30;
        }
        if let Some(phish) = &mut policy.anti_phish {
            (phish.user_protection, phish.domain_protection) = (true, true);
            (phish.user_impersonation, phish.domain_impersonation) = (HOLD, HOLD);
        }
        policy
    }

    /// The Strict preset; contains nobody until enabled.
    pub fn strict() -> Policy {
        let mut policy = Policy::standard();
        (policy.id, policy.name) = (STRICT_POLICY_ID, "Strict".to_owned());
        policy.kind = PolicyKind::Strict;
        if let Some(spam) = &mut policy.anti_spam {
            spam.bulk_threshold = 5;
            spam.spam = HOLD;
            spam.bulk = HOLD;
        }
        if let Some(phish) = &mut policy.anti_phish {
            phish.spoof = HOLD;
        }
        policy
    }
}

impl Policies {
    /// A new organisation's: Default for everybody, Standard and Strict present and switched off.
    pub fn initial() -> Policies {
        Policies { policies: vec![Policy::strict(), Policy::standard(), Policy::default_preset()] }
    }

    /// As [`Policies::initial`], with the Standard preset switched on for everybody.
    pub fn standard_for_all() -> Policies {
        let mut policies = Policies::initial();
        for policy in policies.policies.iter_mut().filter(|p| p.kind == PolicyKind::Standard) {
            policy.enabled = true;
        }
        policies
    }

    /// As [`Policies::initial`], with the Strict preset switched on for everybody.
    pub fn strict_for_all() -> Policies {
        let mut policies = Policies::initial();
        for policy in policies.policies.iter_mut().filter(|p| p.kind == PolicyKind::Strict) {
            policy.enabled = true;
        }
        policies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// setting | Default | Standard | Strict
    const TABLE: &str = "
bulk_threshold | 7 | 6 | 5
mark_bulk_as_spam | true | true | true
spam | junk DefaultFullAccessPolicy | junk DefaultFullAccessPolicy | quarantine DefaultFullAccessWithNotificationPolicy
high_confidence_spam | junk DefaultFullAccessPolicy | quarantine DefaultFullAccessWithNotificationPolicy | quarantine DefaultFullAccessWithNotificationPolicy
phish | junk DefaultFullAccessPolicy | quarantine DefaultFullAccessWithNotificationPolicy | quarantine DefaultFullAccessWithNotificationPolicy
high_confidence_phish | quarantine AdminOnlyAccessPolicy | quarantine AdminOnlyAccessPolicy | quarantine AdminOnlyAccessPolicy
bulk | junk DefaultFullAccessPolicy | junk DefaultFullAccessPolicy | quarantine DefaultFullAccessWithNotificationPolicy
retention_days | 15 | 30 | 30
zap | true true true | true true true | true true true
file_filter | true reject AdminOnlyAccessPolicy | true reject AdminOnlyAccessPolicy | true reject AdminOnlyAccessPolicy
spoof_and_dmarc | true true | true true | true true
dmarc_actions | quarantine reject | quarantine reject | quarantine reject
spoof | junk DefaultFullAccessPolicy | junk DefaultFullAccessPolicy | quarantine DefaultFullAccessWithNotificationPolicy
user_protection | false none | true quarantine | true quarantine
domain_protection | false none | true quarantine | true quarantine
";

    fn word(action: &Action) -> &'static str {
        match action {
            Action::MoveToJunk => "junk",
            Action::Quarantine => "quarantine",
            Action::Redirect { .. } => "redirect",
            Action::Delete => "delete",
            Action::NoAction => "none",
        }
    }

    fn value(policy: &Policy, setting: &str) -> String {
        let (spam, malware) = (policy.anti_spam.as_ref().unwrap(), policy.anti_malware.as_ref().unwrap());
        let phish = policy.anti_phish.as_ref().unwrap();
        let class = |c: &ClassAction| format!("{} {}", word(&c.action), c.tag.as_str());
        let dmarc = |a: DmarcAction| format!("{a:?}").to_lowercase();
        match setting {
            "bulk_threshold" => spam.bulk_threshold.to_string(),
            "mark_bulk_as_spam" => spam.mark_bulk_as_spam.to_string(),
            "spam" => class(&spam.spam),
            "high_confidence_spam" => class(&spam.high_confidence_spam),
            "phish" => class(&spam.phish),
            "high_confidence_phish" => class(&spam.high_confidence_phish),
            "bulk" => class(&spam.bulk),
            "retention_days" => spam.retention_days.to_string(),
            "zap" => format!("{} {} {}", spam.spam_zap, spam.phish_zap, malware.zap),
            "file_filter" => {
                format!(
                    "{} {} {}",
                    malware.file_filter,
                    format!("{:?}", malware.file_action).to_lowercase(),
                    malware.tag.as_str()
                )
            }
            "spoof_and_dmarc" => format!("{} {}", phish.spoof_intelligence, phish.honor_dmarc),
            "dmarc_actions" => format!("{} {}", dmarc(phish.dmarc_quarantine_action), dmarc(phish.dmarc_reject_action)),
            "spoof" => class(&phish.spoof),
            "user_protection" => format!("{} {}", phish.user_protection, word(&phish.user_impersonation.action)),
            "domain_protection" => format!("{} {}", phish.domain_protection, word(&phish.domain_impersonation.action)),
            _ => panic!("no such setting: {setting}"),
        }
    }

    #[test]
    fn documented_values() {
        let presets = [Policy::default_preset(), Policy::standard(), Policy::strict()];
        for line in TABLE.lines().filter(|l| !l.is_empty()) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            for (policy, expected) in presets.iter().zip(&cells[1..]) {
                assert_eq!(value(policy, cells[0]), *expected, "{} of {}", cells[0], policy.name);
            }
        }
        assert_eq!(COMMON_FILE_TYPES.len(), 53);
    }

    #[test]
    fn stored_policies_read_back() {
        let policies = Policies::initial();
        let json = serde_json::to_string(&policies).unwrap();
        assert_eq!(serde_json::from_str::<Policies>(&json).unwrap(), policies);
    }
}
