//! Documents prove what they claim by naming tests. A test that was renamed or taken away must not go on proving something.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The documents that name tests as `file.rs::test`, and SMTP dialogues as `name.smtp`.
const DOCUMENTS: [&str; 2] = ["docs/standards.md", "ARCHITECTURE.md"];
/// Rows of the table of attacks and faults, `| 1 | …`.
const ATTACKS: usize = 50;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// All Rust files below, with their text.
fn sources(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry).expect("UTF-8");
            into.insert(entry, text);
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn every_test_that_a_document_names_exists() {
    let root = root();
    let mut files = BTreeMap::new();
    for folder in ["crates", "xtask"] {
        sources(&root.join(folder), &mut files);
    }
    let (mut named_count, mut missing) = (0, Vec::new());
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root.join(document)).expect("the document");
        for word in quoted(&text) {
            if let Some((file, test)) =
                word.split_once("::").filter(|(file, test)| file.ends_with(".rs") && is_name(test))
            {
                named_count += 1;
                let is_it =
                    |(path, text): (&PathBuf, &String)| path.ends_with(file) && text.contains(&format!("fn {test}("));
                if !files.iter().any(is_it) {
                    missing.push(format!("{document}: {word}"));
                }
            } else if word.strip_suffix(".smtp").is_some_and(is_name) {
                named_count += 1;
                if !root.join("crates/smtp/testdata").join(word).is_file() {
                    missing.push(format!("{document}: {word}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "there is no such test:\n{}", missing.join("\n"));
    assert!(named_count > 200, "{named_count} tests are named: the form of the documents has changed");
}

#[test]
fn every_attack_has_its_row_and_its_test() {
    let text = std::fs::read_to_string(root().join("docs/standards.md")).expect("the document");
    for number in 1..=ATTACKS {
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| {number} | "))).collect();
        assert_eq!(rows.len(), 1, "row {number}");
        let cells: Vec<&str> = rows[0].trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 4, "row {number}: {}", rows[0]);
        let is_test = |word: &str| word.contains(".rs::") || word.ends_with(".smtp");
        assert!(quoted(cells[3]).any(is_test), "row {number} names no test");
    }
}
