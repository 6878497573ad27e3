//! From findings to a verdict. All the arithmetic of verdicts is here.
//!
//! 1. Every rule looks at the facts. A finding weighs *share × weight of its rule* points, in whole thousandths, so that no
//!    sum depends on its order.
//! 2. Allow entries in force take findings away (they stay in the verdict with weight 0 and say so):
//!    - a **sender** or **domain** entry takes phish, spam, high confidence spam and bulk findings, but neither malware nor
//!      high confidence phish; spoof and impersonation findings stay too, since the From they rest on is just what is in
//!      doubt;
//!    - a **URL** entry takes exactly the findings that links it covers have caused, of any class;
//!    - a **file** entry takes those of that file.
//!
//!    A block entry's finding is never taken away.
//! 3. A rule counts once per class, with its strongest finding: ten links to one listed host are not ten times as bad.
//! 4. The points of a class are compared with its threshold, worst class first, in the order that Exchange Online uses
//!    (malware, high confidence phish, phish, spoof, impersonation, high confidence spam, spam, bulk):
//!
//! | class | reached by |
//! |---|---|
//! | malware | 10 points of malware |
//! | high confidence phish | 10 points of it (feeds and block entries name it; piled-up suspicion never gets there) |
//! | phish | 5 points of phish and high confidence phish together |
//! | spoof | 5 points of spoof |
//! | impersonation | 5 points of impersonation |
//! | high confidence spam | 10 points of it, or 15 points of spam in all |
//! | spam | 5 points of spam in all |
//! | bulk | bulk level 4; the level is the sum of bulk points, rounded down, at most 9 |
//! | clean | otherwise |
//!
//! *Spam in all* is spam and high confidence spam plus the points of every worse class that did not reach its own
//! threshold: suspicion is not lost.
//!
//! 5. Confidence is high for the four classes that say so and from twice the threshold on, low below one point above it.
//!
//! Entries expire by the `now` that is handed in: the arrival for a first verdict, the instant of the change for a later
//! one. A replay hands in what was handed in then.

use std::collections::BTreeMap;

use model::{Confidence, Facts, Signal, Timestamp, Verdict, VerdictClass};

use crate::names::{self, UrlParts};
use crate::rules::{Cause, Finding, Look, RULES, Rule};
use crate::{ListAction, ListEntry, RuleSet};

/// Points of malware that make malware.
pub const MALWARE_POINTS: f32 = 10.0;
/// Points of high confidence phish that make it.
pub const HIGH_CONFIDENCE_PHISH_POINTS: f32 = 10.0;
/// Points of phish and high confidence phish that make phish.
pub const PHISH_POINTS: f32 = 5.0;
/// Points of spoof that make spoof.
pub const SPOOF_POINTS: f32 = 5.0;
/// Points of impersonation that make impersonation.
pub const IMPERSONATION_POINTS: f32 = 5.0;
/// Points of high confidence spam that make it.
pub const HIGH_CONFIDENCE_SPAM_POINTS: f32 = 10.0;
/// Points of spam in all that make high confidence spam.
pub const HIGH_CONFIDENCE_SPAM_SUM_POINTS: f32 = 15.0;
/// Points of spam in all that make spam.
pub const SPAM_POINTS: f32 = 5.0;
/// The bulk level from which a verdict reads bulk; policies compare the level with their own threshold.
pub const BULK_LEVEL_MIN: u8 = 4;

/// The highest bulk level.
const BULK_LEVEL_MAX: u8 = 9;
/// Signals kept of one rule; the strongest.
const SIGNALS_PER_RULE_MAX: usize = 6;
/// Points are counted in thousandths.
const MILLI: f32 = 1000.0;

/// Judges a message: the same facts, rule set and instant give the same verdict. Never fails, never panics.
pub fn judge(facts: &Facts, rules: &RuleSet, now: Timestamp) -> Verdict {
    let look = Look { facts, rules, now };
    let mut weighed: Vec<Weighed> = Vec::new();
    for rule in RULES {
        weighed.extend((rule.check)(&look).into_iter().map(|finding| Weighed::new(rule, rules, finding)));
    }
    let before = Tally::of(weighed.iter().map(Weighed::counted));
    let mut allowed: Vec<&ListEntry> = Vec::new();
    let senders = rules.lists.sender_hits(ListAction::Allow, facts, now);
    for item in weighed.iter_mut().filter(|item| item.milli > 0) {
        if let Some(entry) = allow_entry(&look, &senders, &item.finding) {
            item.taken_by(entry);
            allowed.push(entry);
        }
    }
    let after = Tally::of(weighed.iter().map(Weighed::counted));
    let (class, points) = after.worst();
    let is_lower = class > before.worst().0 || after.bulk_level() < before.bulk_level();
    Verdict {
        class,
        confidence: confidence(class, points, &after),
        signals: in_order(weighed, class, rules),
        bulk_level: after.bulk_level(),
        allowed_by: if is_lower { entry_words(allowed) } else { Vec::new() },
        rule_set_id: rules.id(),
    }
}

/// The classes that these signals reach, worst first, ending with clean. A policy that does not want a class
/// (protection switched off) goes on to the next.
pub(crate) fn classes_reached(signals: &[Signal]) -> Vec<VerdictClass> {
    let counted = signals.iter().map(|s| (s.rule.as_str(), s.class, milli(s.weight)));
    Tally::of(counted).reached().into_iter().map(|(class, _)| class).collect()
}

/// A finding with its points.
struct Weighed {
    rule: &'static Rule,
    milli: i64,
    finding: Finding,
}

impl Weighed {
    fn new(rule: &'static Rule, rules: &RuleSet, finding: Finding) -> Weighed {
        Weighed { rule, milli: milli(rules.weight(rule.id) * finding.share), finding }
    }

    fn counted(&self) -> (&str, VerdictClass, i64) {
        (self.rule.id, self.finding.class, self.milli)
    }

    fn taken_by(&mut self, entry: &ListEntry) {
        self.milli = 0;
        self.finding.sentence.push_str(&format!(" (not counted: {})", entry.words()));
    }

    /// The change that an entry names, else the one that gave the rule its weight.
    fn into_signal(self, rules: &RuleSet) -> Signal {
        let Finding { class, sentence, evidence, origin, change_id, .. } = self.finding;
        let change_id = change_id.or_else(|| rules.source().weight_changes.get(self.rule.id).copied());
        let rule = self.rule.id.to_owned();
        let weight = self.milli as f32 / MILLI;
        Signal { rule, rule_version: self.rule.version, weight, class, sentence, evidence, origin, change_id }
    }
}

fn milli(points: f32) -> i64 {
    (points * MILLI).round() as i64
}

/// The allow entry that takes this finding away, if any (the one with the lowest id).
fn allow_entry<'a>(look: &Look<'a>, senders: &[&'a ListEntry], finding: &Finding) -> Option<&'a ListEntry> {
    let Look { facts, rules, now } = *look;
    let by_cause = match &finding.cause {
        Cause::BlockEntry => return None,
        Cause::Message => None,
        Cause::Url(url) => {
            let fact = facts.urls.iter().find(|fact| fact.url == *url)?;
            UrlParts::of(fact).and_then(|parts| first(rules.lists.url_hits(ListAction::Allow, &parts, now)))
        }
        Cause::Host(host) => host_allowed(look, host),
        Cause::File(sha256) => first(rules.lists.file_hits(ListAction::Allow, sha256, now)),
    };
    by_cause.or_else(|| if sender_entry_covers(finding.class) { senders.first().copied() } else { None })
}

fn first(hits: Vec<&ListEntry>) -> Option<&ListEntry> {
    hits.first().copied()
}

/// A finding about a host goes when every link to that host is allowed.
fn host_allowed<'a>(look: &Look<'a>, host: &str) -> Option<&'a ListEntry> {
    let mut found = None;
    for fact in look.facts.urls.iter().filter(|fact| names::plain_host(&fact.host) == names::plain_host(host)) {
        let parts = UrlParts::of(fact)?;
        found = Some(first(look.rules.lists.url_hits(ListAction::Allow, &parts, look.now))?);
    }
    found
}

/// What an allowed sender or domain may take away.
fn sender_entry_covers(class: VerdictClass) -> bool {
    match class {
        VerdictClass::Malware | VerdictClass::HighConfidencePhish => false,
        VerdictClass::Spoof | VerdictClass::Impersonation => false,
        VerdictClass::Phish | VerdictClass::HighConfidenceSpam | VerdictClass::Spam => true,
        VerdictClass::Bulk | VerdictClass::Clean => true,
    }
}

fn entry_words(mut entries: Vec<&ListEntry>) -> Vec<String> {
    entries.sort_by_key(|entry| entry.id);
    entries.dedup_by_key(|entry| entry.id);
    entries.into_iter().map(ListEntry::words).collect()
}

/// Points by class, in thousandths.
struct Tally {
    points: BTreeMap<VerdictClass, i64>,
}

impl Tally {
    fn of<'a>(counted: impl Iterator<Item = (&'a str, VerdictClass, i64)>) -> Tally {
        let mut strongest: BTreeMap<(VerdictClass, &str), i64> = BTreeMap::new();
        for (rule, class, milli) in counted {
            let slot = strongest.entry((class, rule)).or_default();
            *slot = milli.max(*slot);
        }
        let mut points: BTreeMap<VerdictClass, i64> = BTreeMap::new();
        for ((class, _), milli) in strongest {
            *points.entry(class).or_default() += milli;
        }
        Tally { points }
    }

    fn points(&self, class: VerdictClass) -> i64 {
        self.points.get(&class).copied().unwrap_or(0)
    }

    fn bulk_level(&self) -> u8 {
        let level = self.points(VerdictClass::Bulk) / milli(1.0);
        level.clamp(0, i64::from(BULK_LEVEL_MAX)) as u8
    }

    /// Every class reached, worst first, with its points over the threshold as (points, threshold).
    fn reached(&self) -> Vec<(VerdictClass, (i64, i64))> {
        use VerdictClass as C;
        let mut reached = Vec::new();
        let mut left = 0;
        let mut take = |class, points: i64, threshold: f32| {
            let is_reached = points >= milli(threshold);
            if is_reached {
                reached.push((class, (points, milli(threshold))));
            }
            is_reached
        };
        let (malware, sure_phish) = (self.points(C::Malware), self.points(C::HighConfidencePhish));
        if !take(C::Malware, malware, MALWARE_POINTS) {
            left += malware;
        }
        take(C::HighConfidencePhish, sure_phish, HIGH_CONFIDENCE_PHISH_POINTS);
        let others = [
            (C::Phish, sure_phish + self.points(C::Phish), PHISH_POINTS),
            (C::Spoof, self.points(C::Spoof), SPOOF_POINTS),
            (C::Impersonation, self.points(C::Impersonation), IMPERSONATION_POINTS),
        ];
        for (class, points, threshold) in others {
            if !take(class, points, threshold) {
                left += points;
            }
        }
        let sure_spam = self.points(C::HighConfidenceSpam);
        let spam = self.points(C::Spam) + sure_spam + left;
        if !take(C::HighConfidenceSpam, sure_spam, HIGH_CONFIDENCE_SPAM_POINTS) {
            take(C::HighConfidenceSpam, spam, HIGH_CONFIDENCE_SPAM_SUM_POINTS);
        }
        take(C::Spam, spam, SPAM_POINTS);
        take(C::Bulk, self.points(C::Bulk), f32::from(BULK_LEVEL_MIN));
        reached.push((C::Clean, (spam, milli(SPAM_POINTS))));
        reached
    }

    fn worst(&self) -> (VerdictClass, (i64, i64)) {
        self.reached().into_iter().next().expect("clean is always reached")
    }
}

fn confidence(class: VerdictClass, (points, threshold): (i64, i64), tally: &Tally) -> Confidence {
    let by_points = || {
        if points >= 2 * threshold {
            Confidence::High
        } else if points < threshold + milli(1.0) {
            Confidence::Low
        } else {
            Confidence::Normal
        }
    };
    match class {
        VerdictClass::Malware | VerdictClass::HighConfidencePhish | VerdictClass::HighConfidenceSpam => {
            Confidence::High
        }
        VerdictClass::Phish | VerdictClass::Spoof | VerdictClass::Impersonation | VerdictClass::Spam => by_points(),
        VerdictClass::Bulk if tally.bulk_level() >= 8 => Confidence::High,
        VerdictClass::Bulk => Confidence::Normal,
        VerdictClass::Clean if 2 * points >= threshold => Confidence::Low,
        VerdictClass::Clean => Confidence::Normal,
    }
}

/// The deciding signals first, then by class and points; what was taken away comes last. At most a few of one rule.
fn in_order(weighed: Vec<Weighed>, class: VerdictClass, rules: &RuleSet) -> Vec<Signal> {
    let mut signals: Vec<Signal> = weighed.into_iter().map(|item| item.into_signal(rules)).collect();
    let key = |s: &Signal| {
        let is_taken = s.weight <= 0.0;
        (is_taken, !decides(s.class, class), s.class, -milli(s.weight))
    };
    signals.sort_by(|a, b| {
        let texts = |s: &Signal| (s.rule.clone(), s.sentence.clone(), s.evidence.clone());
        key(a).cmp(&key(b)).then_with(|| texts(a).cmp(&texts(b)))
    });
    signals.dedup();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    signals.retain(|signal| {
        let seen = count.entry(format!("{} {}", signal.rule, signal.class)).or_default();
        *seen += 1;
        *seen <= SIGNALS_PER_RULE_MAX
    });
    signals
}

/// Whether a finding of `signal` counts towards `class`.
pub(crate) fn decides(signal: VerdictClass, class: VerdictClass) -> bool {
    use VerdictClass as C;
    match class {
        C::Phish => matches!(signal, C::Phish | C::HighConfidencePhish),
        C::HighConfidenceSpam | C::Spam => signal != C::Bulk,
        C::Malware | C::HighConfidencePhish | C::Spoof | C::Impersonation | C::Bulk | C::Clean => signal == class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RuleSetSource, cases};

    /// Judges a case (lines divided by `; `) at an instant in microseconds.
    fn check(case: &str, now_us: i64, class: VerdictClass, allowed_by: &[&str]) -> Verdict {
        let (facts, source, _) = cases::parse(&case.replace("; ", "\n"));
        let rules = RuleSet::compile(source).unwrap_or_else(|e| panic!("{case}\n{e}"));
        let verdict = judge(&facts, &rules, Timestamp::from_micros(now_us));
        assert_eq!(verdict.class, class, "{case}\n{:#?}", verdict.signals);
        assert_eq!(verdict.allowed_by, allowed_by, "{case}");
        verdict
    }

    const PHISH: &str = "known: yes; feed: url_host evil.example phish; url: http://t.evil.example/c/1";

    #[test]
    fn classes_in_the_documented_order() {
        use VerdictClass as C;
        let signs = [
            (C::Malware, "feed: url_host m.example malware; url: http://m.example/"),
            (C::HighConfidencePhish, "feed: url_host h.example high_confidence_phish; url: http://h.example/"),
            (C::Phish, "feed: url_host p.example phish; url: http://p.example/"),
            (C::Spoof, "from: B <b@bank.example>; dmarc: fail reject"),
            (C::Impersonation, "own: contoso.example; from: A <a@cont0so.example>"),
            (C::HighConfidenceSpam, "feed: url_host hs.example high_confidence_spam; url: http://hs.example/"),
            (C::Spam, "feed: url_host s.example spam; url: http://s.example/"),
            (C::Bulk, "bulk: precedence"),
        ];
        // Whatever stands behind a sign as well, the worst decides.
        for at in 0..signs.len() {
            let all: Vec<&str> = signs[at..].iter().map(|(_, sign)| *sign).collect();
            let verdict = check(&all.join("; "), 0, signs[at].0, &[]);
            assert_eq!(verdict.signals[0].class, signs[at].0);
            assert_eq!(classes_reached(&verdict.signals)[0], verdict.class);
        }
        check("from: A <a@home.example>", 0, C::Clean, &[]);
    }

    #[test]
    fn weights_change_the_result() {
        check(PHISH, 0, VerdictClass::Phish, &[]);
        check(&format!("{PHISH}; weight: feed_url_host 5"), 0, VerdictClass::Phish, &[]);
        check(&format!("{PHISH}; weight: feed_url_host 4.9"), 0, VerdictClass::Clean, &[]);
        check(&format!("{PHISH}; weight: feed_url_host 0"), 0, VerdictClass::Clean, &[]);
        // Suspicion below its own threshold is not lost: 3 for no From, 2.4 for words.
        let suspicion = "known: yes; defect: multiple_from; url: http://x.example/; text: Please verify your account, dear customer of our bank, and do have a nice day";
        check(suspicion, 0, VerdictClass::Spam, &[]);
        check(&format!("{suspicion}; weight: header_anomalies 2"), 0, VerdictClass::Clean, &[]);
        // A rule counts once: two listed links are not more than one.
        let two = "feed: url_host evil.example spam; url: http://a.evil.example/; url: http://b.evil.example/";
        check(two, 0, VerdictClass::Spam, &[]);
    }

    #[test]
    fn a_sender_entry_covers_what_is_documented() {
        let allow = "allow: sender a@shop.example; from: A <a@shop.example>; url: http://evil.example/";
        let by = ["allow entry 1: sender a@shop.example"];
        let table = [
            ("malware", VerdictClass::Malware, &[][..]),
            ("high_confidence_phish", VerdictClass::HighConfidencePhish, &[]),
            ("phish", VerdictClass::Clean, &by),
            ("high_confidence_spam", VerdictClass::Clean, &by),
            ("spam", VerdictClass::Clean, &by),
        ];
        for (class, expected, allowed_by) in table {
            check(&format!("{allow}; feed: url_host evil.example {class}"), 0, expected, allowed_by);
        }
        let bulk = check(
            "allow: domain shop.example; from: A <a@shop.example>; bulk: precedence",
            0,
            VerdictClass::Clean,
            &["allow entry 1: domain shop.example"],
        );
        assert_eq!(bulk.bulk_level, 0);
        check("allow: domain shop.example; from: A <a@shop.example>; dmarc: fail reject", 0, VerdictClass::Spoof, &[]);
        check(
            "allow: domain shop.example; from: A <a@sub.shop.example>; url: http://evil.example/; feed: url_host evil.example spam",
            0,
            VerdictClass::Spam,
            &[],
        );
    }

    #[test]
    fn a_url_entry_takes_exactly_what_its_link_caused() {
        let by = ["allow entry 1: url t.evil.example/*"];
        let verdict = check(&format!("{PHISH}; allow: url t.evil.example/*"), 0, VerdictClass::Clean, &by);
        let signal = &verdict.signals[0];
        assert_eq!((signal.rule.as_str(), signal.weight), ("feed_url_host", 0.0));
        assert!(signal.sentence.ends_with("(not counted: allow entry 1: url t.evil.example/*)"), "{}", signal.sentence);
        // Another listed link still counts, and then nothing was lowered.
        check(
            &format!("{PHISH}; url: http://x.evil.example/; allow: url t.evil.example/*"),
            0,
            VerdictClass::Phish,
            &[],
        );
        // A bare host allows no path.
        check(&format!("{PHISH}; allow: url t.evil.example"), 0, VerdictClass::Phish, &[]);
        // The port does not matter.
        let port = "feed: url_host t.evil.example:8080 phish; url: http://t.evil.example:8080/c/1; allow: url t.evil.example/*";
        check(port, 0, VerdictClass::Clean, &by);
        // What the sender caused stays.
        check(
            &format!("{PHISH}; allow: url t.evil.example/*; from: B <b@bank.example>; dmarc: fail reject"),
            0,
            VerdictClass::Spoof,
            &by,
        );
    }

    #[test]
    fn block_wins_and_entries_expire() {
        let both = "block: url t.evil.example/*; allow: url t.evil.example/*; url: http://t.evil.example/c/1";
        check(both, 0, VerdictClass::HighConfidencePhish, &[]);
        let allow = format!("{PHISH}; allow: url t.evil.example/* 1000");
        check(&allow, 999, VerdictClass::Clean, &["allow entry 1: url t.evil.example/*"]);
        check(&allow, 1000, VerdictClass::Phish, &[]);
        let block = "block: url evil.example 1000; url: http://evil.example/";
        check(block, 999, VerdictClass::HighConfidencePhish, &[]);
        check(block, 1000, VerdictClass::Clean, &[]);
    }

    #[test]
    fn signals_name_their_change() {
        let (facts, mut source, _) = cases::parse(&PHISH.replace("; ", "\n"));
        source.weight_changes = [("feed_url_host".to_owned(), model::ChangeId(7))].into();
        let change = |source: &RuleSetSource| {
            let rules = RuleSet::compile(source.clone()).unwrap();
            judge(&facts, &rules, Timestamp::default()).signals[0].change_id
        };
        assert_eq!(change(&source), Some(model::ChangeId(7)));
        source.feeds[0].entries[0].change_id = Some(model::ChangeId(8));
        assert_eq!(change(&source), Some(model::ChangeId(8)));
    }
}
