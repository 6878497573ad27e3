//! Real mail of twenty years ago, compared with what Python's `email` reads in it: `make corpus` (scripts/test-corpus.sh).
//!
//! `LANDFALL_CORPUS` is the folder that `scripts/corpus.py prepare` wrote. Both parsers see the same bytes. Where they
//! differ, the differences are counted by class and printed; below the shares stated here the test fails.

use std::collections::BTreeMap;
use std::path::Path;

use message::structure::{Inside, Part, decoded_text, structure};
use message::{Limits, ParseContext, parse, preview};
use model::{ClientInfo, Envelope, Timestamp};
use serde_json::Value;

/// Messages whose leaves have the same types in the same order, in per cent.
const SAME_PARTS_MIN: f64 = 99.0;
/// Text leaves of those messages with the same words, in per cent.
const SAME_TEXT_MIN: f64 = 99.0;
/// Differences named for each class.
const NAMED_MAX: usize = 5;

#[derive(Default)]
struct Classes(BTreeMap<String, Vec<String>>);

impl Classes {
    fn add(&mut self, class: &str, what: String) {
        self.0.entry(class.to_owned()).or_default().push(what);
    }

    fn print(&self) {
        for (class, found) in &self.0 {
            println!("  {class}: {}", found.len());
            for what in found.iter().take(NAMED_MAX) {
                println!("      {what}");
            }
        }
    }
}

fn leaves<'a>(part: &'a Part, found: &mut Vec<&'a Part>) {
    match &part.inside {
        Inside::Nothing => found.push(part),
        Inside::Parts(parts) => parts.iter().for_each(|part| leaves(part, found)),
        Inside::Message(message) => leaves(message, found),
    }
}

/// The words of a text: how lines are broken and indented is no difference.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Everything that reads mail reads it, and what it shows is there.
fn read_all(raw: &[u8], envelope: &Envelope) {
    let limits = Limits::default();
    let context = ParseContext { received_at: Timestamp::default(), envelope, own_domains: &[], limits };
    parse(raw, &context);
    let shown = preview::read(raw, &limits);
    for listed in &shown.attachments {
        let bytes = preview::attachment(raw, &limits, listed.index).expect("what is listed can be had");
        assert_eq!(bytes.len() as u64, listed.size_bytes);
    }
    message::parse_report(raw);
}

#[test]
#[ignore = "needs the corpus: make corpus"]
fn agrees_with_another_parser() {
    let folder = std::env::var("LANDFALL_CORPUS").expect("LANDFALL_CORPUS is the folder of scripts/corpus.py prepare");
    let folder = Path::new(&folder);
    let expected = std::fs::read_to_string(folder.join("expected.jsonl")).expect("expected.jsonl");
    let envelope = Envelope::new(ClientInfo::at([192, 0, 2, 1].into()));
    // A panic is caught in production and costs only facts; here none may be.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let (mut count, mut same_parts, mut text_count, mut same_text) = (0_u32, 0_u32, 0_u32, 0_u32);
    let mut classes = Classes::default();
    for line in expected.lines() {
        let theirs: Value = serde_json::from_str(line).expect("a line of JSON");
        let file = theirs["file"].as_str().expect("a file");
        let raw = std::fs::read(folder.join("mail").join(file)).expect("the message");
        read_all(&raw, &envelope);
        let root = structure(&raw, &Limits::default());
        let mut ours = Vec::new();
        leaves(&root, &mut ours);
        let theirs_parts = theirs["parts"].as_array().expect("parts");
        let theirs_types: Vec<&str> = theirs_parts.iter().filter_map(|p| p["type"].as_str()).collect();
        let ours_types: Vec<String> = ours.iter().map(|p| format!("{}/{}", p.media_type, p.subtype)).collect();
        count += 1;
        if theirs_types != ours_types {
            classes.add(
                "parts",
                format!("{file}: ours {ours_types:?}, theirs {theirs_types:?}, defects {}", theirs["defects"]),
            );
            continue;
        }
        same_parts += 1;
        for (index, (ours, theirs)) in ours.iter().zip(theirs_parts).enumerate() {
            let Some(text) = theirs["text"].as_str() else { continue };
            text_count += 1;
            let read = decoded_text(&raw, ours);
            if words(&read) == words(text) {
                same_text += 1;
            } else {
                let class = match (theirs["defects"].as_array(), text.contains('\u{FFFD}')) {
                    (Some(defects), _) if !defects.is_empty() => "text of a part with a defect",
                    (_, true) => "text with letters of no declared charset",
                    (_, false) => "text",
                };
                classes
                    .add(class, format!("{file} part {index} ({}): {}", ours.subtype, first_difference(&read, text)));
            }
        }
    }
    let percent = |part: u32, whole: u32| 100.0 * f64::from(part) / f64::from(whole.max(1));
    drop(std::panic::take_hook());
    println!("{count} messages: the same parts in {same_parts} ({:.2} %)", percent(same_parts, count));
    println!("{text_count} texts: the same words in {same_text} ({:.2} %)", percent(same_text, text_count));
    classes.print();
    assert!(count > 0, "there is a corpus");
    assert!(percent(same_parts, count) >= SAME_PARTS_MIN, "fewer messages with the same parts than {SAME_PARTS_MIN} %");
    assert!(percent(same_text, text_count) >= SAME_TEXT_MIN, "fewer texts with the same words than {SAME_TEXT_MIN} %");
}

fn first_difference(ours: &str, theirs: &str) -> String {
    let (ours, theirs) = (words(ours), words(theirs));
    let at = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let some = |all: &[&str]| all.iter().skip(at).take(4).copied().collect::<Vec<_>>().join(" ");
    format!("word {at}: ours {:?}, theirs {:?}", some(&ours), some(&theirs))
}
