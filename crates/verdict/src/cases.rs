//! Rule cases as text: facts and rule set line by line, then what is expected. Cases are divided by empty lines.
//!
//! ```text
//! # why this case is here
//! feed: url_host evil.example phish
//! url: https://evil.example/
//! expect: phish 10 the link host evil.example is listed by feed 'test' (entry evil.example)
//! ```

use model::{
    Address, AttachmentFact, AuthResult, Composite, CompositeResult, Defect, DmarcPolicy, Facts, FileKind, LinkFact,
    ListEntryId, MailboxFact, ReversePath, Timestamp, UrlFact, UrlSource, VerdictClass,
};

use crate::{
    Feed, FeedEntry, FeedKind, ListAction, ListEntry, ListKind, Look, ProtectedPerson, Rule, RuleSet, RuleSetSource,
    names,
};

/// Runs a rule on every case and compares class, points and sentence of each finding, in any order.
pub(crate) fn check(rule: &Rule, cases: &str) {
    let cases: Vec<String> =
        cases.lines().map(str::trim).collect::<Vec<_>>().join("\n").split("\n\n").map(str::to_owned).collect();
    let mut count = 0;
    for case in cases.iter().filter(|case| !case.trim().is_empty()) {
        let (facts, source, expected) = parse(case);
        let rules = RuleSet::compile(source).unwrap_or_else(|e| panic!("{case}\n{e}"));
        let look = Look { facts: &facts, rules: &rules, now: Timestamp::default() };
        let points = |share: f32| (share * rule.weight * 1000.0).round() / 1000.0;
        let found = (rule.check)(&look);
        let mut found: Vec<String> =
            found.into_iter().map(|f| format!("{} {} {}", f.class, points(f.share), f.sentence)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "rule {}, case:\n{case}", rule.id);
        count += 1;
    }
    assert!(count > 0, "no cases for {}", rule.id);
}

/// Facts, rule set and the sorted expectations of one case.
pub(crate) fn parse(case: &str) -> (Facts, RuleSetSource, Vec<String>) {
    let (mut facts, mut source, mut expected) = (Facts::default(), RuleSetSource::default(), Vec::new());
    for line in case.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("not `key: value`: {line}"));
        match key {
            "expect" if value == "none" => {}
            "expect" => expected.push(value.to_owned()),
            "feed" | "block" | "allow" | "person" | "own" | "protect" | "weight" => set_rules(&mut source, key, value),
            _ => set_fact(&mut facts, key, value),
        }
    }
    expected.sort_unstable();
    (facts, source, expected)
}

fn set_rules(source: &mut RuleSetSource, key: &str, value: &str) {
    let words: Vec<&str> = value.split_whitespace().collect();
    match key {
        "feed" => {
            let entry = FeedEntry::new(words[1], VerdictClass::parse(words[2]).expect("a class"));
            let kind = FeedKind::parse(words[0]).expect("a feed kind");
            let name =
                if source.feeds.is_empty() { "test".to_owned() } else { format!("test{}", source.feeds.len() + 1) };
            source.feeds.push(Feed { name, kind, entries: vec![entry] });
        }
        "block" | "allow" => source.lists.push(ListEntry {
            id: ListEntryId(source.lists.len() as i64 + 1),
            action: ListAction::parse(key).expect("an action"),
            kind: ListKind::parse(words[0]).expect("a list kind"),
            value: words[1].to_owned(),
            expires_at: words.get(2).map(|at| Timestamp::from_micros(at.parse().expect("microseconds"))),
            note: String::new(),
            change_id: None,
        }),
        "person" => {
            let MailboxFact { name, address } = mailbox(value);
            source.protected_people.push(ProtectedPerson { name, address });
        }
        "weight" => drop(source.weights.insert(words[0].to_owned(), words[1].parse().expect("a weight"))),
        "own" => source.own_domains.push(value.to_owned()),
        _ => source.protected_domains.push(value.to_owned()),
    }
}

fn set_fact(facts: &mut Facts, key: &str, value: &str) {
    let words: Vec<&str> = value.split_whitespace().collect();
    match key {
        "from" => facts.header.from.push(mailbox(value)),
        "reply-to" => facts.header.reply_to.push(mailbox(value)),
        "mail-from" => facts.reverse_path = ReversePath::Address(Address::parse(value).expect("an address")),
        "url" => facts.urls.push(url(value, UrlSource::Href)),
        "form" => facts.urls.push(url(value, UrlSource::Form)),
        "file" => facts.attachments.push(file(&words)),
        "known" => facts.sender_known = Some(value == "yes"),
        "defect" => facts.defects.push(Defect::parse(value).expect("a defect")),
        "subject" => facts.header.subject = value.to_owned(),
        "text" => {
            facts.text_head = value.to_owned();
            facts.text_chars = value.chars().count() as u32;
        }
        "link" => {
            let (text, href) = value.split_once(" -> ").expect("shown -> target");
            facts.links.push(LinkFact { text: text.into(), text_host: text.into(), href_host: href.into() });
        }
        "dmarc" => {
            facts.auth.dmarc = AuthResult::parse(words[0]).expect("a result");
            facts.auth.dmarc_policy = DmarcPolicy::parse(words[1]).expect("a policy");
            facts.auth.dmarc_domain = facts.from().domain().to_owned();
        }
        "compauth" => {
            let result = CompositeResult::parse(words[0]).expect("a result");
            facts.auth.composite = Composite { result, reason: words[1].parse().expect("a code") };
        }
        "bulk" => {
            let bulk = &mut facts.bulk;
            for word in words {
                match word {
                    "list_unsubscribe" => bulk.list_unsubscribe = true,
                    "one_click" => bulk.one_click = true,
                    "list_id" => bulk.list_id = "news.example".into(),
                    "precedence" => bulk.precedence_bulk = true,
                    "auto_submitted" => bulk.auto_submitted = true,
                    _ => panic!("no such bulk mark: {word}"),
                }
            }
        }
        _ => panic!("no such key: {key}"),
    }
}

fn mailbox(value: &str) -> MailboxFact {
    let (name, address) = value.trim_end_matches('>').rsplit_once('<').expect("Name <address>");
    MailboxFact { name: name.trim().to_owned(), address: address.to_lowercase() }
}

/// As the parser of messages reports it.
pub(crate) fn url(raw: &str, source: UrlSource) -> UrlFact {
    let parsed = url::Url::parse(raw).expect("a URL");
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let domain = names::registrable(&host).to_owned();
    UrlFact { raw: raw.to_owned(), url: parsed.to_string(), host, port: parsed.port(), domain, source }
}

fn file(words: &[&str]) -> AttachmentFact {
    let after = |key: &str| words.iter().find_map(|w| w.strip_prefix(key)).map(str::to_owned);
    AttachmentFact {
        name: words[0].to_owned(),
        extension: words[0].rsplit_once('.').map(|(_, e)| e.to_lowercase()).unwrap_or_default(),
        declared_type: "application/octet-stream".to_owned(),
        kind: FileKind::parse(words[1]).expect("a file kind"),
        sha256: after("sha=").unwrap_or_else(|| "0".repeat(64)),
        size_bytes: 1,
        inside: after("in="),
        unscannable: words.contains(&"unscannable"),
    }
}
