//! Feed files: text, one entry a line.
//!
//! ```text
//! # hosts seen in the last day                     a comment
//! t.contoso.localhost:8080
//! login.evil.example class=malware                 another class than the feed's own
//! pay.evil.example class=phish note=seen by Ada    a note runs to the end of the line
//! ```
//!
//! or CSV with a header line that starts with `value`, then `class` and `note` in any order (both optional):
//!
//! ```text
//! value,class,note
//! t.contoso.localhost:8080,phish,"seen by Ada, twice"
//! ```
//!
//! Lines end with LF or CRLF; a byte order mark is skipped. A line that cannot be used is reported with its number and
//! what to do; the others are kept aside in the result. Whether to apply them is the caller's decision: nothing is
//! applied here, and a caller that wants all or nothing looks at [`FeedFile::bad_count`].

use std::collections::HashSet;

use model::VerdictClass;
use serde::Serialize;

use crate::{FeedEntry, FeedKind, check_feed_value, names};

/// Entries read from one file.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of one line.
const LINE_BYTES_MAX: usize = 4096;
/// Bad lines reported with their text; the rest is counted.
const BAD_LINES_MAX: usize = 1000;

/// What a feed file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FeedFile {
    /// The good entries, in the order of the file, values in normal form, without repetitions.
    pub entries: Vec<FeedEntry>,
    /// The bad lines, at most 1,000.
    pub bad_lines: Vec<BadLine>,
    /// How many bad lines there are in all.
    pub bad_count: usize,
    /// Entries that repeated an earlier one to the letter.
    pub repeated_count: usize,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// Its text, bounded.
    pub text: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Reads a feed file. `class` is what entries speak for that name none.
pub fn parse_feed_file(kind: FeedKind, class: VerdictClass, file: &[u8]) -> FeedFile {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut reader = Reader { kind, file: FeedFile::default(), seen: HashSet::new() };
    let mut columns: Option<Vec<Column>> = None;
    let mut is_first = true;
    for (at, line) in file.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match line_text(line) {
            Ok(text) => text,
            Err(problem) => {
                reader.bad(
                    at + 1,
                    &String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]),
                    problem.to_owned(),
                );
                continue;
            }
        };
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if std::mem::take(&mut is_first) && is_csv_header(text) {
            match csv_header(text) {
                Ok(header) => columns = Some(header),
                Err(problem) => {
                    reader.bad(at + 1, text, problem);
                    return reader.file;
                }
            }
            continue;
        }
        let entry = match &columns {
            Some(columns) => csv_entry(text, columns, class),
            None => text_entry(text, class),
        };
        reader.add(at + 1, text, entry);
    }
    reader.file
}

struct Reader {
    kind: FeedKind,
    file: FeedFile,
    seen: HashSet<(String, VerdictClass)>,
}

impl Reader {
    fn add(&mut self, line: usize, text: &str, entry: Result<FeedEntry, String>) {
        let checked = entry.and_then(|entry| {
            let value = check_feed_value(self.kind, &entry.value)?;
            Ok(FeedEntry { value, ..entry })
        });
        match checked {
            Ok(_) if self.file.entries.len() >= ENTRIES_MAX => {
                self.bad(line, text, format!("a feed has at most {ENTRIES_MAX} entries; split the file"));
            }
            Ok(entry) if self.seen.insert((entry.value.clone(), entry.class)) => self.file.entries.push(entry),
            Ok(_) => self.file.repeated_count += 1,
            Err(problem) => self.bad(line, text, problem),
        }
    }

    fn bad(&mut self, line: usize, text: &str, problem: String) {
        self.file.bad_count += 1;
        if self.file.bad_lines.len() < BAD_LINES_MAX {
            self.file.bad_lines.push(BadLine { line, text: names::bounded(text), problem });
        }
    }
}

fn line_text(line: &[u8]) -> Result<&str, &'static str> {
    if line.len() > LINE_BYTES_MAX {
        return Err("the line is longer than 4096 bytes; one entry a line");
    }
    match std::str::from_utf8(line) {
        Ok(text) if text.chars().any(|c| c.is_control() && c != '\t') => {
            Err("the line has control characters; save the file as plain text")
        }
        Ok(text) => Ok(text.trim()),
        Err(_) => Err("the line is not UTF-8; save the file as UTF-8"),
    }
}

/// `value [class=CLASS] [note=to the end] [# comment]`
fn text_entry(text: &str, class: VerdictClass) -> Result<FeedEntry, String> {
    let text = text.split_once(" #").or_else(|| text.split_once("\t#")).map_or(text, |(before, _)| before).trim();
    let (text, note) = match text.find("note=").filter(|&at| at > 0 && text[..at].ends_with([' ', '\t'])) {
        Some(at) => (text[..at].trim(), text[at + "note=".len()..].trim()),
        None => (text, ""),
    };
    let mut words = text.split_whitespace();
    let value = words.next().unwrap_or_default().to_owned();
    let mut entry = FeedEntry { value, class, note: note.to_owned(), change_id: None };
    for word in words {
        match word.strip_prefix("class=") {
            Some(name) => entry.class = parse_class(name)?,
            None => {
                return Err(format!(
                    "{:?} is not understood; after the value come class=… and note=…",
                    names::bounded(word)
                ));
            }
        }
    }
    Ok(entry)
}

/// Entries speak for something bad: `clean` is what the allow list is for.
fn parse_class(name: &str) -> Result<VerdictClass, String> {
    let classes = || {
        let bad = VerdictClass::ALL.iter().filter(|c| **c != VerdictClass::Clean);
        bad.map(|c| c.as_str()).collect::<Vec<_>>().join(", ")
    };
    match VerdictClass::parse(name) {
        Some(VerdictClass::Clean) | None => {
            Err(format!("{:?} is no class; use one of {}", names::bounded(name), classes()))
        }
        Some(class) => Ok(class),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Value,
    Class,
    Note,
}

fn is_csv_header(text: &str) -> bool {
    text == "value" || text.starts_with("value,")
}

fn csv_header(text: &str) -> Result<Vec<Column>, String> {
    let column = |name: &str| match name.trim() {
        "value" => Ok(Column::Value),
        "class" => Ok(Column::Class),
        "note" => Ok(Column::Note),
        other => Err(format!("{:?} is no column; the header is value,class,note", names::bounded(other))),
    };
    text.split(',').map(column).collect()
}

fn csv_entry(text: &str, columns: &[Column], class: VerdictClass) -> Result<FeedEntry, String> {
    let cells = csv_cells(text)?;
    if cells.len() > columns.len() {
        return Err(format!(
            "{} columns where the header has {}; quote values with commas",
            cells.len(),
            columns.len()
        ));
    }
    let mut entry = FeedEntry { value: String::new(), class, note: String::new(), change_id: None };
    for (cell, column) in cells.into_iter().zip(columns) {
        match column {
            Column::Value => entry.value = cell,
            Column::Class if cell.is_empty() => {}
            Column::Class => entry.class = parse_class(&cell)?,
            Column::Note => entry.note = cell,
        }
    }
    Ok(entry)
}

/// One line of RFC 4180: cells in double quotes may hold commas and doubled quotes, but no line break.
fn csv_cells(text: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let (cell, after) = rest.split_once(',').map_or((rest, None), |(cell, after)| (cell, Some(after)));
            cells.push(cell.trim().to_owned());
            let Some(after) = after else { return Ok(cells) };
            rest = after;
            continue;
        };
        let mut cell = String::new();
        let mut tail = quoted;
        loop {
            let Some((before, after)) = tail.split_once('"') else {
                return Err("a quote is opened but not closed".to_owned());
            };
            cell.push_str(before);
            let Some(doubled) = after.strip_prefix('"') else {
                tail = after.trim_start();
                break;
            };
            cell.push('"');
            tail = doubled;
        }
        cells.push(cell);
        match tail.strip_prefix(',') {
            Some(after) => rest = after,
            None if tail.is_empty() => return Ok(cells),
            None => return Err("text after a closing quote; put a comma between values".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &[u8], entries: &[(&str, &str, &str)], bad_lines: &[usize]) {
        let read = parse_feed_file(FeedKind::UrlHost, VerdictClass::Phish, file);
        let found: Vec<(&str, &str, &str)> =
            read.entries.iter().map(|e| (e.value.as_str(), e.class.as_str(), e.note.as_str())).collect();
        assert_eq!(found, entries);
        let bad: Vec<usize> = read.bad_lines.iter().map(|b| b.line).collect();
        assert_eq!(bad, bad_lines, "{:?}", read.bad_lines);
        assert_eq!(read.bad_count, bad_lines.len());
        assert!(read.bad_lines.iter().all(|b| !b.problem.is_empty()));
    }

    #[test]
    fn text() {
        check(
            b"\xEF\xBB\xBF# hosts\r\n\r\nT.Contoso.Localhost:8080\r\nevil.example class=malware\nx.example class=spam note=seen by Ada, twice\ny.example # why\nevil.example class=malware\n",
            &[
                ("t.contoso.localhost:8080", "phish", ""),
                ("evil.example", "malware", ""),
                ("x.example", "spam", "seen by Ada, twice"),
                ("y.example", "phish", ""),
            ],
            &[],
        );
    }

    #[test]
    fn bad_lines_are_named_and_the_good_ones_kept_aside() {
        let long = format!("a.example\n{}\nb.example\n", "x".repeat(LINE_BYTES_MAX + 1));
        check(long.as_bytes(), &[("a.example", "phish", ""), ("b.example", "phish", "")], &[2]);
        check(
            b"a.example\nhttp://b.example/x\nc.example class=nice\nd.example class=clean\n\xFF.example\ne.example phish\nf\0.example\ncom\ng.example",
            &[("a.example", "phish", ""), ("g.example", "phish", "")],
            &[2, 3, 4, 5, 6, 7, 8],
        );
    }

    #[test]
    fn csv() {
        check(
            b"value,note,class\na.example,\"seen, \"\"twice\"\"\",spam\nb.example\nc.example,\"open\nd.example,a,spam,b\ne.example,,\n",
            &[("a.example", "spam", "seen, \"twice\""), ("b.example", "phish", ""), ("e.example", "phish", "")],
            &[4, 5],
        );
        check(b"value,colour\na.example,red\n", &[], &[1]);
    }
}
