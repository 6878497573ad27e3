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
        let failed = auth.dmarc == AuthResult::Fail && !auth.composite.is_arc_override();
        let asked = if section.honor_dmarc && failed { auth.dmarc_policy } else { DmarcPolicy::None };
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
        Disposition::Deliver => "put into the inbox".to_owned(),
        Disposition::Junk => "moved to Junk".to_owned(),
        Disposition::Quarantine => "quarantined".to_owned(),
        Disposition::Reject => "refused".to_owned(),
        Disposition::Redirect { to } => format!("sent to {to} instead"),
        Disposition::Drop => "thrown away".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use model::{Address, Timestamp};

    use super::*;
    use crate::{Conditions, DEFAULT_POLICY_ID, PolicyKind, RuleSet, cases};

    fn recipient(address: &str, groups: &[&str]) -> RecipientContext {
        let groups = groups.iter().map(|&g| g.to_owned()).collect();
        RecipientContext { address: Address::parse(address).unwrap(), groups }
    }

    fn decision(case: &str, policies: &Policies) -> Decision {
        let (facts, source, _) = cases::parse(&case.replace("; ", "\n"));
        let rules = RuleSet::compile(source).unwrap_or_else(|e| panic!("{case}\n{e}"));
        let verdict = judge::judge(&facts, &rules, Timestamp::default());
        decide(&verdict, &facts, policies, &recipient("ada@contoso.example", &[]))
    }

    fn words(decision: &Decision) -> String {
        let reason = decision.reason.map(|r| format!(" {r}")).unwrap_or_default();
        format!(
            "{}{reason} {} {}",
            decision.disposition.as_str(),
            decision.policy_type.as_str(),
            decision.retention_days
        )
    }

    /// case | Default | Standard | Strict: disposition, reason, section, days
    const TABLE: &str = "
feed: url_host e.example malware; url: http://e.example/ | quarantine malware anti_malware 30 | quarantine malware anti_malware 30 | quarantine malware anti_malware 30
feed: url_host e.example high_confidence_phish; url: http://e.example/ | quarantine high_confidence_phish anti_spam 15 | quarantine high_confidence_phish anti_spam 30 | quarantine high_confidence_phish anti_spam 30
feed: url_host e.example phish; url: http://e.example/ | junk anti_spam 15 | quarantine phish anti_spam 30 | quarantine phish anti_spam 30
feed: url_host e.example high_confidence_spam; url: http://e.example/ | junk anti_spam 15 | quarantine spam anti_spam 30 | quarantine spam anti_spam 30
feed: url_host e.example spam; url: http://e.example/ | junk anti_spam 15 | junk anti_spam 30 | quarantine spam anti_spam 30
from: B <b@bank.example>; dmarc: fail reject | reject anti_phish 15 | reject anti_phish 30 | reject anti_phish 30
from: B <b@bank.example>; dmarc: fail quarantine | quarantine phish anti_phish 15 | quarantine phish anti_phish 30 | quarantine phish anti_phish 30
own: bank.example; from: B <b@bank.example>; dmarc: fail none | junk anti_phish 15 | junk anti_phish 30 | quarantine phish anti_phish 30
own: contoso.example; from: A <a@cont0so.example> | deliver anti_spam 15 | quarantine phish anti_phish 30 | quarantine phish anti_phish 30
person: Ada Byron <ada@contoso.example>; from: Ada Byron <x@home.example> | deliver anti_spam 15 | quarantine phish anti_phish 30 | quarantine phish anti_phish 30
own: contoso.example; from: A <a@cont0so.example>; feed: url_host e.example spam; url: http://e.example/ | junk anti_spam 15 | quarantine phish anti_phish 30 | quarantine phish anti_phish 30
bulk: precedence | deliver anti_spam 15 | deliver anti_spam 30 | quarantine bulk anti_spam 30
bulk: precedence; known: no | deliver anti_spam 15 | junk anti_spam 30 | quarantine bulk anti_spam 30
bulk: list_unsubscribe one_click; dmarc: pass none | deliver anti_spam 15 | deliver anti_spam 30 | deliver anti_spam 30
from: A <a@home.example> | deliver anti_spam 15 | deliver anti_spam 30 | deliver anti_spam 30
file: setup.exe executable | reject anti_malware 30 | reject anti_malware 30 | reject anti_malware 30
file: setup.txt executable | quarantine malware anti_malware 30 | quarantine malware anti_malware 30 | quarantine malware anti_malware 30
file: book.docm macro_document; allow: sender a@home.example; from: A <a@home.example> | reject anti_malware 30 | reject anti_malware 30 | reject anti_malware 30
file: setup.exe executable in=a.zip | junk anti_spam 15 | junk anti_spam 30 | quarantine spam anti_spam 30
block: sender a@home.example; from: A <a@home.example> | quarantine block_list allow_block_list 15 | quarantine block_list allow_block_list 30 | quarantine block_list allow_block_list 30
block: domain home.example; from: A <a@home.example>; feed: url_host e.example malware; url: http://e.example/ | quarantine malware anti_malware 30 | quarantine malware anti_malware 30 | quarantine malware anti_malware 30
block: domain home.example; from: A <a@home.example>; feed: url_host e.example high_confidence_phish; url: http://e.example/ | quarantine high_confidence_phish anti_spam 15 | quarantine high_confidence_phish anti_spam 30 | quarantine high_confidence_phish anti_spam 30
block: domain home.example; from: A <a@home.example>; feed: url_host e.example spam; url: http://e.example/ | quarantine block_list allow_block_list 15 | quarantine block_list allow_block_list 30 | quarantine block_list allow_block_list 30
block: url e.example; url: http://e.example/a; allow: domain home.example; from: A <a@home.example> | quarantine block_list allow_block_list 15 | quarantine block_list allow_block_list 30 | quarantine block_list allow_block_list 30
block: file 0000000000000000000000000000000000000000000000000000000000000000; file: a.txt text | quarantine block_list allow_block_list 30 | quarantine block_list allow_block_list 30 | quarantine block_list allow_block_list 30
allow: domain home.example; from: A <a@home.example>; feed: url_host e.example phish; url: http://e.example/; bulk: precedence; known: no | deliver anti_spam 15 | deliver anti_spam 30 | deliver anti_spam 30
";

    #[test]
    fn dispositions() {
        let policies = [Policies::initial(), Policies::standard_for_all(), Policies::strict_for_all()];
        for line in TABLE.lines().filter(|l| !l.is_empty()) {
            let cells: Vec<&str> = line.split(" | ").collect();
            for (policies, expected) in policies.iter().zip(&cells[1..]) {
                let decision = decision(cells[0], policies);
                assert_eq!(words(&decision), *expected, "{}\n{}", cells[0], decision.explanation);
                assert!(!decision.explanation.is_empty());
            }
        }
    }

    #[test]
    fn the_trace_gets_a_sentence() {
        let case = "feed: url_host e.example phish; url: http://e.example/";
        let held = decision(case, &Policies::standard_for_all());
        assert_eq!(
            held.explanation,
            "quarantined by policy Standard: Phish: the link host e.example is listed by feed 'test' (entry e.example)"
        );
        assert_eq!(held.permissions, 39);
        let sure = decision(&case.replace("phish", "high_confidence_phish"), &Policies::standard_for_all());
        assert_eq!((sure.quarantine_tag, sure.permissions), (QuarantineTag::AdminOnly, 0));
        assert_eq!(QuarantineTag::FullAccess.permissions_for(QuarantineReason::Malware), 43);
        let bulk = decision("bulk: precedence; known: no", &Policies::standard_for_all());
        assert_eq!(bulk.explanation, "moved to Junk by policy Standard: bulk level 6 reaches its threshold 6");
    }

    #[test]
    fn the_first_matching_policy_applies_alone() {
        let custom = |name: &str, priority: u32, conditions: Conditions| {
            let base = Policy::default_preset();
            let (id, name, kind) = (PolicyId(i64::from(priority) + 10), name.to_owned(), PolicyKind::Custom);
            Policy { id, name, kind, priority, conditions, anti_malware: None, ..base }
        };
        let list = |values: &[&str]| values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
        let sales =
            Conditions { groups: list(&["Sales"]), domains: list(&["contoso.example"]), ..Conditions::default() };
        let boss = Conditions {
            users: list(&["Boss@contoso.example"]),
            except_groups: list(&["Sales"]),
            ..Conditions::default()
        };
        let mut strict = Policy::strict();
        strict.enabled = true;
        strict.conditions = Conditions { except_domains: list(&["contoso.example"]), ..Conditions::default() };
        let policies = Policies {
            policies: vec![
                Policy::default_preset(),
                custom("later", 5, boss),
                custom("sales", 1, sales),
                Policy::standard(),
                strict,
            ],
        };
        let first =
            |address: &str, groups: &[&str]| policies.for_recipient(&recipient(address, groups))[0].name.clone();
        assert_eq!(first("ada@contoso.example", &[]), "Default");
        assert_eq!(first("ada@contoso.example", &["Sales"]), "sales");
        assert_eq!(first("ada@other.example", &["Sales"]), "Strict");
        assert_eq!(first("boss@contoso.example", &["Board"]), "later");
        assert_eq!(first("boss@contoso.example", &["Board", "Sales"]), "sales");
        assert_eq!(first("boss@mail.contoso.example", &["Sales"]), "sales");

        // A section that the first policy lacks comes from the next that has it.
        let (facts, source, _) = cases::parse("file: setup.exe executable");
        let verdict = judge::judge(&facts, &RuleSet::compile(source).unwrap(), Timestamp::default());
        let decided = decide(&verdict, &facts, &policies, &recipient("ada@contoso.example", &["Sales"]));
        assert_eq!((decided.policy_id, decided.policy_type), (DEFAULT_POLICY_ID, PolicyType::AntiMalware));
    }

    #[test]
    fn a_switched_off_feature_lets_the_next_class_decide() {
        let mut policies = Policies::initial();
        for phish in policies.policies.iter_mut().filter_map(|p| p.anti_phish.as_mut()) {
            (phish.honor_dmarc, phish.spoof_intelligence) = (false, false);
        }
        let spoof = "from: B <b@bank.example>; dmarc: fail reject";
        assert_eq!(decision(spoof, &policies).disposition, Disposition::Deliver);
        let spam = format!("{spoof}; feed: url_host e.example spam; url: http://e.example/");
        let decided = decision(&spam, &policies);
        assert_eq!((decided.disposition, decided.class), (Disposition::Junk, VerdictClass::Spam));
        for spam in policies.policies.iter_mut().filter_map(|p| p.anti_spam.as_mut()) {
            spam.high_confidence_phish.action = Action::MoveToJunk;
        }
        let sure = decision("feed: url_host e.example high_confidence_phish; url: http://e.example/", &policies);
        assert_eq!(sure.disposition, Disposition::Quarantine);
    }
}
