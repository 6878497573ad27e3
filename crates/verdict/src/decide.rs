//! From a verdict to what happens with one recipient's copy.
//!
//! Order: malware, then the file type filter (no allow entry overrides it), then the organisation's block list, then the
//! classes that the verdict reaches, worst first. A class whose protection the matching policy has switched off does not
//! exist for that recipient; the next one is looked at.

use model::{
    AuthResult, Disposition, DmarcPolicy, Facts, FileKind, PolicyId, QuarantineReason, Signal, Verdict, VerdictClass,
};
use serde::{Deserialize, Serialize};

use crate::rules::{impersonation, list_block};
use crate::{
    ADMIN_ONLY_RETENTION_DAYS, Action, AntiMalware, AntiPhish, AntiSpam, ClassAction, DmarcAction, FileAction,
    Policies, Policy, PolicyType, QuarantineTag, class_words, judge, names, sentence,
};

/// What the policies look at in a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientContext {
    /// The recipient's address.
    pub address: model::Address,
    /// Their groups (departments), by name.
    pub groups: Vec<String>,
}

/// What happens with one recipient's copy, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What is done.
    pub disposition: Disposition,
    /// The class that was acted on: not always the verdict's, see the module.
    pub class: VerdictClass,
    /// The policy that decided.
    pub policy_id: PolicyId,
    /// Its name.
    pub policy_name: String,
    /// The section that decided.
    pub policy_type: PolicyType,
    /// Why the copy is held; `None` unless quarantined.
    pub reason: Option<QuarantineReason>,
    /// What the recipient may do with a quarantined copy.
    pub quarantine_tag: QuarantineTag,
    /// Permission bits for that copy, bound when it is quarantined (see [`QuarantineTag`]).
    pub permissions: u8,
    /// Days it stays in quarantine.
    pub retention_days: u16,
    /// Whether the policy lets zero-hour purge act on this class.
    pub zap_enabled: bool,
    /// One sentence for the trace.
    pub explanation: String,
}

/// Decides for one recipient. With no policy at all the documented Default values apply.
pub fn decide(verdict: &Verdict, facts: &Facts, policies: &Policies, recipient: &RecipientContext) -> Decision {
    let fallback = Policy::default_preset();
    let mut matching = policies.for_recipient(recipient);
    matching.push(&fallback);
    let sections = Sections::first_of_each(&matching);
    let case = Case { verdict, facts, sections };
    let classes = case.classes();
    if classes.contains(&VerdictClass::Malware) {
        return case.malware();
    }
    if let Some(decision) = case.file_type().or_else(|| case.block_list(&classes)) {
        return decision;
    }
    classes.iter().find_map(|&class| case.class(class)).unwrap_or_else(|| case.deliver())
}

/// The first matching policy of each section.
struct Sections<'a> {
    spam: (&'a Policy, &'a AntiSpam),
    malware: (&'a Policy, &'a AntiMalware),
    phish: (&'a Policy, &'a AntiPhish),
}

impl<'a> Sections<'a> {
    /// `matching` ends with a policy that has all sections.
    fn first_of_each(matching: &[&'a Policy]) -> Sections<'a> {
        fn first<'a, S>(matching: &[&'a Policy], section: fn(&Policy) -> Option<&S>) -> (&'a Policy, &'a S) {
            let found = matching.iter().copied().find_map(|policy| section(policy).map(|s| (policy, s)));
            found.expect("the last policy has every section")
        }
        Sections {
            spam: first(matching, |p| p.anti_spam.as_ref()),
            malware: first(matching, |p| p.anti_malware.as_ref()),
            phish: first(matching, |p| p.anti_phish.as_ref()),
        }
    }
}

struct Case<'a> {
    verdict: &'a Verdict,
    facts: &'a Facts,
    sections: Sections<'a>,
}

impl Case<'_> {
    /// The verdict's class first, then the others that its signals reach.
    fn classes(&self) -> Vec<VerdictClass> {
        let mut classes = judge::classes_reached(&self.verdict.signals);
        classes.retain(|&class| class > self.verdict.class);
        classes.insert(0, self.verdict.class);
        classes
    }

    /// What the policy wants for a class; `None` when its protection is off.
    fn class(&self, class: VerdictClass) -> Option<Decision> {
        let (_, spam) = self.sections.spam;
        match class {
            VerdictClass::Malware => Some(self.malware()),
            VerdictClass::HighConfidencePhish => Some(self.high_confidence_phish()),
            VerdictClass::Phish => Some(self.by_spam_policy(class, &spam.phish, spam.phish_zap)),
            VerdictClass::Spoof => self.spoof(),
            VerdictClass::Impersonation => self.impersonation(),
            VerdictClass::HighConfidenceSpam => {
                Some(self.by_spam_policy(class, &spam.high_confidence_spam, spam.spam_zap))
            }
            VerdictClass::Spam => Some(self.by_spam_policy(class, &spam.spam, spam.spam_zap)),
            VerdictClass::Bulk | VerdictClass::Clean => self.bulk(),
        }
    }

    fn malware(&self) -> Decision {
        let (policy, section) = self.sections.malware;
        let held = ClassAction { action: Action::Quarantine, tag: section.tag };
        let blocked = self.counted().any(is_block_entry) && self.filters_worst() != VerdictClass::Malware;
        let (kind, reason) = if blocked {
            (PolicyType::AllowBlockList, QuarantineReason::BlockList)
        } else {
            (PolicyType::AntiMalware, QuarantineReason::Malware)
        };
        let mut decision = self.decision(policy, kind, VerdictClass::Malware, &held, section.zap);
        (decision.reason, decision.retention_days) = (Some(reason), ADMIN_ONLY_RETENTION_DAYS);
        decision
    }

    /// The common attachments filter. True type counts beside the name; what is inside an archive does not.
    fn file_type(&self) -> Option<Decision> {
        let (policy, section) = self.sections.malware;
        if !section.file_filter {
            return None;
        }
        let listed = |ending: &str| section.file_types.iter().any(|t| t == ending);
        let direct = self.facts.attachments.iter().filter(|file| file.inside.is_none());
        let blocked = |file: &&model::AttachmentFact| {
            listed(&file.extension) || type_endings(file.kind).iter().any(|e| listed(e))
        };
        let file = direct.into_iter().find(blocked)?;
        let held = ClassAction { action: Action::Quarantine, tag: section.tag };
        let mut decision = self.decision(policy, PolicyType::AntiMalware, self.verdict.class, &held, false);
        decision.retention_days = ADMIN_ONLY_RETENTION_DAYS;
        decision.reason = Some(QuarantineReason::FileTypeBlock);
        if section.file_action == FileAction::Reject {
            (decision.disposition, decision.reason) = (Disposition::Reject, None);
        }
        decision.explanation = format!(
            "{} by the file type filter of policy {}: '{}' ({})",
            done_words(&decision.disposition),
            policy.name,
            names::bounded(&file.name),
            file.kind
        );
        Some(decision)
    }

    /// A block entry holds the copy whatever the policy says of its class. What filters alone would call high confidence
    /// phish keeps that reason, since its release needs an analyst.
    fn block_list(&self, classes: &[VerdictClass]) -> Option<Decision> {
        let entry = self.counted().find(|s| is_block_entry(s))?;
        if self.filters_worst() <= VerdictClass::HighConfidencePhish {
            return None;
        }
        let (policy, section) = self.sections.spam;
        let held = ClassAction { action: Action::Quarantine, tag: QuarantineTag::AdminOnly };
        let class = classes.first().copied().unwrap_or(VerdictClass::HighConfidencePhish);
        let mut decision = self.decision(policy, PolicyType::AllowBlockList, class, &held, section.phish_zap);
        decision.reason = Some(QuarantineReason::BlockList);
        decision.explanation = format!("quarantined by the organisation's block list: {}", entry.sentence);
        Some(decision)
    }

    /// The worst class without the organisation's block entries.
    fn filters_worst(&self) -> VerdictClass {
        let filters: Vec<Signal> = self.verdict.signals.iter().filter(|s| !is_block_entry(s)).cloned().collect();
        judge::classes_reached(&filters).first().copied().unwrap_or(VerdictClass::Clean)
    }

    fn counted(&self) -> impl Iterator<Item = &Signal> {
        self.verdict.signals.iter().filter(|signal| signal.weight > 0.0)
    }

    /// Selectable as Junk, but quarantined all the same.
    fn high_confidence_phish(&self) -> Decision {
        let (_, spam) = self.sections.spam;
        let mut wanted = spam.high_confidence_phish.clone();
        if matches!(wanted.action, Action::MoveToJunk | Action::NoAction) {
            wanted.action = Action::Quarantine;
        }
        self.by_spam_policy(VerdictClass::HighConfidencePhish, &wanted, spam.phish_zap)
    }

    fn by_spam_policy(&self, class: VerdictClass, wanted: &ClassAction, zap: bool) -> Decision {
        self.decision(self.sections.spam.0, PolicyType::AntiSpam, class, wanted, zap)
    }

    fn spoof(&self) -> Option<Decision> {
        let (policy, section) = self.sections.phish;
        let auth = &self.facts.auth;
        let asked =
            if section.honor_dmarc && auth.dmarc == AuthResult::Fail { auth.dmarc_policy } else { DmarcPolicy::None };
        let wish = match asked {
            DmarcPolicy::Reject => Some(section.dmarc_reject_action),
            DmarcPolicy::Quarantine => Some(section.dmarc_quarantine_action),
            DmarcPolicy::None => None,
        };
        let decision =
            |wanted: &ClassAction| self.decision(policy, PolicyType::AntiPhish, VerdictClass::Spoof, wanted, false);
        let with = |action: Action| ClassAction { action, tag: section.spoof.tag };
        match wish {
            Some(DmarcAction::Reject) => {
                let mut rejected = decision(&with(Action::Quarantine));
                (rejected.disposition, rejected.reason) = (Disposition::Reject, None);
                rejected.explanation = self.explain(&rejected.disposition, VerdictClass::Spoof, policy);
                Some(rejected)
            }
            Some(DmarcAction::Quarantine) => Some(decision(&with(Action::Quarantine))),
            Some(DmarcAction::MoveToJunk) => Some(decision(&with(Action::MoveToJunk))),
            None if section.spoof_intelligence => Some(decision(&section.spoof)),
            None => None,
        }
    }

    /// A person's name goes before a domain's look.
    fn impersonation(&self) -> Option<Decision> {
        let (policy, section) = self.sections.phish;
        let found = |is_person: bool| {
            let mut signals = self.counted().filter(|s| s.class == VerdictClass::Impersonation);
            signals.any(|s| (s.rule == impersonation::RULE.id) == is_person)
        };
        let wanted = if section.user_protection && found(true) {
            &section.user_impersonation
        } else if section.domain_protection && found(false) {
            &section.domain_impersonation
        } else {
            return None;
        };
        Some(self.decision(policy, PolicyType::AntiPhish, VerdictClass::Impersonation, wanted, false))
    }

    /// Bulk is a matter of the policy's threshold, whether or not the verdict calls it bulk.
    fn bulk(&self) -> Option<Decision> {
        let (policy, spam) = self.sections.spam;
        let level = self.verdict.bulk_level;
        if !spam.mark_bulk_as_spam || level < spam.bulk_threshold.max(1) {
            return None;
        }
        let mut decision = self.by_spam_policy(VerdictClass::Bulk, &spam.bulk, false);
        decision.explanation = format!(
            "{} by policy {}: bulk level {level} reaches its threshold {}",
            done_words(&decision.disposition),
            policy.name,
            spam.bulk_threshold
        );
        Some(decision)
    }

    fn deliver(&self) -> Decision {
        let nothing = ClassAction { action: Action::NoAction, tag: QuarantineTag::FullAccess };
        self.decision(self.sections.spam.0, PolicyType::AntiSpam, self.verdict.class, &nothing, false)
    }

    fn decision(
        &self,
        policy: &Policy,
        kind: PolicyType,
        class: VerdictClass,
        wanted: &ClassAction,
        zap: bool,
    ) -> Decision {
        let disposition = match &wanted.action {
            Action::MoveToJunk => Disposition::Junk,
            Action::Quarantine => Disposition::Quarantine,
            Action::Redirect { to } => Disposition::Redirect { to: to.clone() },
            Action::Delete => Disposition::Drop,
            Action::NoAction => Disposition::Deliver,
        };
        let reason = QuarantineReason::of(class);
        Decision {
            explanation: self.explain(&disposition, class, policy),
            reason: (disposition == Disposition::Quarantine).then_some(reason),
            disposition,
            class,
            policy_id: policy.id,
            policy_name: policy.name.clone(),
            policy_type: kind,
            quarantine_tag: wanted.tag,
            permissions: wanted.tag.permissions_for(reason),
            // Also for what anti-phish holds: the recipient's first anti-spam policy says how long.
            retention_days: self.sections.spam.1.retention_days,
            zap_enabled: zap,
        }
    }

    fn explain(&self, disposition: &Disposition, class: VerdictClass, policy: &Policy) -> String {
        let done = done_words(disposition);
        match class == self.verdict.class {
            true => format!("{done} by policy {}: {}", policy.name, sentence(self.verdict)),
            false => format!("{done} by policy {}: {}", policy.name, class_words(class)),
        }
    }
}

fn is_block_entry(signal: &Signal) -> bool {
    signal.rule == list_block::RULE.id
}

/// The endings that a true type stands for in a list of file types.
fn type_endings(kind: FileKind) -> &'static [&'static str] {
    match kind {
        FileKind::Executable => &["exe", "elf", "macho"],
        FileKind::Shortcut => &["lnk"],
        FileKind::DiskImage => &["iso", "img"],
        // A script or document with macros is told apart by its ending only: the list has docm but not xlsm.
        FileKind::Script | FileKind::MacroDocument | FileKind::Document | FileKind::Archive => &[],
        FileKind::Html | FileKind::Media | FileKind::Text | FileKind::Other => &[],
    }
}

fn done_words(disposition: &Disposition) -> String {
    match disposition {
        Disposition::Deliver => "delivered".to_owned(),
        Disposition::Junk => "moved to Junk".to_owned(),
        Disposition::Quarantine => "quarantined".to_owned(),
        Disposition::Reject => "refused".to_owned(),
        Disposition::Redirect { to } => format!("sent to {to} instead"),
        Disposition::Drop => "thrown away".to_owned(),
    }
}
