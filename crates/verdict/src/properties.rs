//! Properties over arbitrary mail and rule sets, made from a seed: judging is total and a function, hashes and indexes keep
//! their promises.

use model::{
    AttachmentFact, AuthResult, Defect, DmarcPolicy, Facts, FileKind, LinkFact, ListEntryId, MailboxFact, Place,
    RuleSetId, Timestamp, UrlFact, UrlSource, VerdictClass,
};
use proptest::prelude::*;

use crate::judge::classes_reached;

use crate::{
    Candidates, Feed, FeedEntry, FeedKind, LandedCopy, ListAction, ListEntry, ListKind, Policies, ProtectedPerson,
    RecipientContext, RuleSet, RuleSetSource, ZAP_WINDOW_MS, candidate_terms, decide, index_terms, judge, names,
    zap_decision,
};

/// A small generator: one seed, one case, on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    fn some<T>(&mut self, max: usize, make: impl Fn(&mut Dice) -> T) -> Vec<T> {
        (0..self.roll(max + 1)).map(|_| make(self)).collect()
    }
}

const HOSTS: &[&str] = &[
    "evil.example",
    "login.evil.example",
    "a.b.c.evil.co.uk",
    "t.contoso.localhost",
    "contoso.example",
    "cont0so.example",
    "192.0.2.1",
    "[2001:db8::1]",
    "xn--cntoso-wqf.example",
    "github.io",
    "x.github.io",
    "com",
    "",
    "..",
    "ü.example",
    "evil.example.",
];
const TEXTS: &[&str] = &[
    "",
    "Ada Byron",
    "verify your account within 24 hours or it will be suspended",
    "\0\u{202E}",
    "ada@contoso.example",
    "🦀🦀🦀",
    "Byron, Adа",
    "a.pdf.exe",
    "%s%n",
    "<script>",
    "=?utf-8?q?x?=",
];
const PATHS: &[&str] =
    &["", "/", "/a/b", "/c/1?u=evil.example", "/evil.example", "/%ff", "\\xyz.example", "/a/?q=joe@t.com#f"];

fn url(dice: &mut Dice) -> UrlFact {
    let host = dice.pick(HOSTS);
    let port = dice.pick(&["", "", ":8080", ":443", ":99999"]);
    let raw = format!(
        "{}{host}{port}{}",
        dice.pick(&["http://", "https://", "HTTP://u:p@", "mailto:", ""]),
        dice.pick(PATHS)
    );
    let parsed = url::Url::parse(&raw).ok();
    let host = parsed.as_ref().and_then(|u| u.host_str()).unwrap_or(host).to_owned();
    UrlFact {
        url: parsed.as_ref().map_or(raw.clone(), ToString::to_string),
        port: parsed.as_ref().and_then(url::Url::port),
        domain: names::registrable(&host).to_owned(),
        source: dice.pick(UrlSource::ALL),
        host,
        raw,
    }
}

fn mailbox(dice: &mut Dice) -> MailboxFact {
    let address = format!("{}@{}", dice.pick(&["ada", "eve", "", "a@b", "ü"]), dice.pick(HOSTS));
    MailboxFact { name: dice.pick(TEXTS).to_owned(), address }
}

fn hash(dice: &mut Dice) -> String {
    dice.pick(&["0", "a", "b", "f"]).repeat(64)
}

fn facts(dice: &mut Dice) -> Facts {
    let mut facts = Facts { received_at: Timestamp::from_micros(dice.roll(1000) as i64), ..Facts::default() };
    facts.urls = dice.some(5, url);
    facts.header.from = dice.some(2, mailbox);
    facts.header.reply_to = dice.some(2, mailbox);
    facts.header.sender = dice.some(1, mailbox).pop();
    facts.header.subject = dice.pick(TEXTS).to_owned();
    facts.text_head = dice.pick(TEXTS).to_owned();
    facts.text_chars = facts.text_head.chars().count() as u32;
    facts.links = dice.some(3, |d| LinkFact {
        text: d.pick(TEXTS).into(),
        text_host: d.pick(HOSTS).into(),
        href_host: d.pick(HOSTS).into(),
    });
    facts.attachments = dice.some(3, |d| {
        let name = d.pick(TEXTS).to_owned();
        AttachmentFact {
            extension: name.rsplit_once('.').map(|(_, e)| e.to_owned()).unwrap_or_default(),
            declared_type: String::new(),
            kind: d.pick(FileKind::ALL),
            sha256: hash(d),
            size_bytes: 1,
            inside: d.pick(&[None, Some("x.zip".to_owned())]),
            unscannable: d.roll(2) == 0,
            name,
        }
    });
    facts.defects = dice.some(3, |d| d.pick(Defect::ALL));
    facts.auth.dmarc = dice.pick(AuthResult::ALL);
    facts.auth.dmarc_policy = dice.pick(DmarcPolicy::ALL);
    facts.auth.dmarc_domain = facts.from().domain().to_owned();
    facts.bulk.list_unsubscribe = dice.roll(2) == 0;
    facts.bulk.precedence_bulk = dice.roll(3) == 0;
    facts.sender_known = dice.pick(&[None, Some(true), Some(false)]);
    facts.own_domains = vec!["contoso.example".to_owned()];
    facts
}

fn feed_entry(dice: &mut Dice, kind: FeedKind) -> FeedEntry {
    let value = match kind {
        FeedKind::UrlHost => format!("{}{}", dice.pick(HOSTS), dice.pick(&["", ":8080", ":443"])),
        FeedKind::Url => format!("http://{}{}", dice.pick(HOSTS), dice.pick(PATHS)),
        FeedKind::Domain => dice.pick(HOSTS).to_owned(),
        FeedKind::FileHash => hash(dice),
    };
    FeedEntry::new(value, dice.pick(VerdictClass::ALL))
}

fn list_entry(dice: &mut Dice, id: i64) -> ListEntry {
    let kind = dice.pick(ListKind::ALL);
    let host = dice.pick(HOSTS);
    let value = match kind {
        ListKind::Sender => format!("{}@{host}", dice.pick(&["ada", "eve"])),
        ListKind::Domain => format!("{}{host}", dice.pick(&["", "*."])),
        ListKind::Url => {
            format!("{}{host}{}", dice.pick(&["", "*.", "~"]), dice.pick(&["", "/*", "~", "/a/*", "/a/b"]))
        }
        ListKind::File => hash(dice),
    };
    let expires_at = dice.pick(&[None, Some(Timestamp::from_micros(500))]);
    let action = dice.pick(&[ListAction::Allow, ListAction::Block]);
    ListEntry { id: ListEntryId(id), action, kind, value, expires_at, note: String::new(), change_id: None }
}

/// A rule set source of entries that are well formed; the others were refused, which must not panic either.
fn source(dice: &mut Dice) -> RuleSetSource {
    let mut source = RuleSetSource { id: RuleSetId(dice.roll(9) as i64), ..RuleSetSource::default() };
    for &kind in FeedKind::ALL {
        let entries = dice.some(3, |d| feed_entry(d, kind));
        source.feeds.push(Feed { name: kind.as_str().to_owned(), kind, entries });
    }
    source.lists = (0..dice.roll(4)).map(|id| list_entry(dice, id as i64)).collect();
    source.protected_people = vec![ProtectedPerson { name: "Ada Byron".into(), address: "ada@contoso.example".into() }];
    if let Err(error) = RuleSet::compile(source.clone()) {
        assert!(error.count >= 1 && !error.problems.is_empty());
    }
    for feed in &mut source.feeds {
        feed.entries.retain(|e| e.class != VerdictClass::Clean && crate::check_feed_value(feed.kind, &e.value).is_ok());
    }
    let refused = source.check_lists();
    source.lists.retain(|entry| refused.iter().all(|(id, _)| *id != entry.id));
    source
}

fn shuffled(source: &RuleSetSource) -> RuleSetSource {
    let mut other = source.clone();
    other.lists.reverse();
    other.feeds.reverse();
    other.feeds.iter_mut().for_each(|feed| feed.entries.reverse());
    other
}

/// The same without one entry: small changes are what an index can miss.
fn one_less(dice: &mut Dice, source: &RuleSetSource) -> RuleSetSource {
    let mut other = source.clone();
    let feed = dice.roll(other.feeds.len());
    if dice.roll(2) == 0 && !other.lists.is_empty() {
        other.lists.remove(dice.roll(source.lists.len()));
    } else if !other.feeds[feed].entries.is_empty() {
        other.feeds[feed].entries.remove(dice.roll(source.feeds[feed].entries.len()));
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn judging_is_a_total_function(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let (facts, source) = (facts(&mut dice), source(&mut dice));
        let now = Timestamp::from_micros(dice.roll(1000) as i64);
        let rules = RuleSet::compile(source.clone()).expect("the source was cleaned");
        let verdict = judge(&facts, &rules, now);
        prop_assert_eq!(&verdict, &judge(&facts, &rules, now));

        let other = RuleSet::compile(shuffled(&source)).expect("the same entries");
        prop_assert_eq!(other.hash(), rules.hash());
        prop_assert_eq!(&judge(&facts, &other, now), &verdict, "the order of storage changed a verdict");

        let stored: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
        prop_assert_eq!(&judge(&stored, &rules, now), &verdict, "storing the facts changed a verdict");
        prop_assert_eq!(classes_reached(&verdict.signals)[0], verdict.class, "the signals do not explain the class");

        let address = model::Address::parse("ada@contoso.example").unwrap();
        let recipient = RecipientContext { address, groups: vec![] };
        for policies in [Policies::default(), Policies::initial(), Policies::standard_for_all(), Policies::strict_for_all()] {
            let decision = decide(&verdict, &facts, &policies, &recipient);
            let held = decision.disposition == model::Disposition::Quarantine;
            prop_assert_eq!(decision.reason.is_some(), held);
            let copy = LandedCopy { place: dice.pick(Place::ALL), read: false, landed_at: now };
            zap_decision(&decision, copy, now, ZAP_WINDOW_MS);
        }
    }

    #[test]
    fn a_change_finds_every_message_it_touches(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let (facts, before) = (facts(&mut dice), source(&mut dice));
        let after = one_less(&mut dice, &before);
        let judge_by = |source: &RuleSetSource| {
            let mut source = source.clone();
            source.id = RuleSetId(0);
            let mut verdict = judge(&facts, &RuleSet::compile(source).expect("cleaned"), Timestamp::default());
            verdict.signals.iter_mut().for_each(|s| s.origin = None);
            verdict
        };
        if let Candidates::Terms(terms) = candidate_terms(&before, &after) {
            let is_candidate = index_terms(&facts).iter().any(|term| terms.contains(term));
            if !is_candidate {
                // Ids of list entries are shown in words and may differ; what was concluded may not.
                let (old, new) = (judge_by(&before), judge_by(&after));
                prop_assert_eq!(old.class, new.class);
                prop_assert_eq!(old.bulk_level, new.bulk_level);
                prop_assert_eq!(old.signals.len(), new.signals.len());
            }
        }
    }

    #[test]
    fn parsers_are_total(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for &kind in FeedKind::ALL {
            if let Ok(value) = crate::check_feed_value(kind, &text) {
                prop_assert_eq!(crate::check_feed_value(kind, &value), Ok(value.clone()), "not a normal form");
            }
            crate::parse_feed_file(kind, VerdictClass::Phish, &bytes);
            crate::parse_feed_file(kind, VerdictClass::Phish, text.as_bytes());
        }
        for &kind in ListKind::ALL {
            for action in [ListAction::Allow, ListAction::Block] {
                let _ = crate::check_list_value(action, kind, &text);
            }
        }
    }
}
