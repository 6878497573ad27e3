//! Import of people from CSV (RFC 4180, UTF-8, first line names the columns).
//!
//! Columns: `address` (or `email`) and `name` are needed; `department`, `city`, `language` are known; every other column
//! becomes an attribute of its name. A line that cannot be taken is named with its number and what to do; the good ones
//! are kept aside: nothing is applied unless every line is good, or the caller says to take the good ones.

use std::collections::{BTreeMap, HashMap};

use model::Address;
use store::values;

use crate::{Directory, DirectoryError, NewPerson};

const LINES_MAX: usize = 500_000;
const FIELD_BYTES_MAX: usize = 1_024;
const COLUMNS_MAX: usize = 64;
/// Rejected lines that are described; the rest is counted.
const REJECTED_MAX: usize = 1_000;
const PEOPLE_PER_TRANSACTION: usize = 2_000;

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedLine {
    /// Its number in the file, the first being 1.
    pub line: u64,
    /// The column, or empty when it is the whole line.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// What an import did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportReport {
    /// Lines that can be (or were) taken.
    pub good_count: usize,
    /// Lines that cannot, in all.
    pub rejected_count: usize,
    /// The first of them.
    pub rejected: Vec<RejectedLine>,
    /// People made; 0 when nothing was applied.
    pub created_count: usize,
    /// People brought up to date; 0 when nothing was applied.
    pub updated_count: usize,
    /// Whether anything was applied.
    pub applied: bool,
}

impl Directory {
    /// Imports people. With `take_good` the good lines are applied although others are rejected; without it a single bad
    /// line means that nothing is applied. Everybody imported is put on the list `list`, when one is named.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] when the file as a whole cannot be read (no header line, not UTF-8, no address column).
    pub async fn import_people(
        &self,
        csv: &[u8],
        list: Option<&str>,
        take_good: bool,
    ) -> Result<ImportReport, DirectoryError> {
        let (people, mut report) = read(csv)?;
        if people.is_empty() || (report.rejected_count > 0 && !take_good) {
            return Ok(report);
        }
        let list_id = match list {
            Some(name) => Some(self.put_list(name).await?),
            None => None,
        };
        for part in people.chunks(PEOPLE_PER_TRANSACTION) {
            let mut tx = self.store.begin().await?;
            let made = self.put_people_in(&mut tx, part).await?.len();
            if let Some(list_id) = list_id {
                let addresses = serde_json::Value::from(part.iter().map(|p| p.address.key()).collect::<Vec<_>>());
                tx.execute("list.add_by_address", &values![list_id, self.id(), &addresses]).await?;
            }
            tx.commit().await?;
            report.created_count += made;
            report.updated_count += part.len() - made;
        }
        self.forget_recipients();
        report.applied = true;
        Ok(report)
    }
}

struct Columns {
    names: Vec<String>,
    address: usize,
    name: usize,
}

/// Reads the whole file into people and a report; touches nothing.
fn read(csv: &[u8]) -> Result<(Vec<NewPerson>, ImportReport), DirectoryError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(csv);
    let columns = columns(&mut reader)?;
    let mut report = ImportReport::default();
    let mut people = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                report.reject(line, "", format!("the line cannot be read as CSV ({error}): check its quotes"));
                continue;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        if people.len() + report.rejected_count >= LINES_MAX {
            report.reject(line, "", format!("more than {LINES_MAX} lines: split the file"));
            break;
        }
        match take(&columns, &record) {
            Ok(person) => match seen.insert(person.address.key(), line) {
                None => people.push(person),
                Some(first) => {
                    report.reject(line, "address", format!("{} stands in line {first} already", person.address))
                }
            },
            Err((field, problem)) => report.reject(line, field, problem),
        }
    }
    report.good_count = people.len();
    Ok((people, report))
}

fn columns(reader: &mut csv::Reader<&[u8]>) -> Result<Columns, DirectoryError> {
    let header =
        reader.headers().map_err(|e| DirectoryError::invalid("csv", format!("the first line cannot be read: {e}")))?;
    let names: Vec<String> = header.iter().map(|n| n.trim_start_matches('\u{FEFF}').to_lowercase()).collect();
    if names.len() > COLUMNS_MAX {
        return Err(DirectoryError::invalid("csv", format!("more than {COLUMNS_MAX} columns")));
    }
    let find = |wanted: &[&str]| names.iter().position(|n| wanted.contains(&n.as_str()));
    let missing = |column: &str| {
        DirectoryError::invalid(
            "csv",
            format!("the first line names no column {column:?}; it has: {}", names.join(", ")),
        )
    };
    let address = find(&["address", "email", "e-mail"]).ok_or_else(|| missing("address"))?;
    let name = find(&["name", "full name", "display name"]).ok_or_else(|| missing("name"))?;
    Ok(Columns { names, address, name })
}

fn take(columns: &Columns, record: &csv::ByteRecord) -> Result<NewPerson, (&'static str, String)> {
    if record.len() != columns.names.len() {
        let problem = format!(
            "{} fields where the first line names {}: check commas and quotes",
            record.len(),
            columns.names.len()
        );
        return Err(("", problem));
    }
    let mut fields = Vec::with_capacity(record.len());
    for (name, raw) in columns.names.iter().zip(record.iter()) {
        let text = std::str::from_utf8(raw)
            .map_err(|_| ("", format!("column {name:?} is not UTF-8: save the file as UTF-8")))?;
        if text.len() > FIELD_BYTES_MAX {
            return Err(("", format!("column {name:?} is longer than {FIELD_BYTES_MAX} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(("", format!("column {name:?} has a control character")));
        }
        fields.push(text);
    }
    let address = Address::parse(fields[columns.address])
        .map_err(|e| ("address", format!("{:?}: {e}", fields[columns.address])))?;
    if fields[columns.name].is_empty() {
        return Err(("name", "the name is empty".into()));
    }
    let mut person = NewPerson {
        address,
        name: fields[columns.name].to_owned(),
        department: String::new(),
        city: String::new(),
        language: String::new(),
        attributes: BTreeMap::new(),
    };
    for (i, (name, text)) in columns.names.iter().zip(fields).enumerate() {
        match name.as_str() {
            _ if i == columns.address || i == columns.name => {}
            "department" => person.department = text.to_owned(),
            "city" => person.city = text.to_owned(),
            "language" => person.language = text.to_owned(),
            _ if text.is_empty() => {}
            other => {
                person.attributes.insert(other.to_owned(), text.to_owned());
            }
        }
    }
    Ok(person)
}

impl ImportReport {
    fn reject(&mut self, line: u64, field: &str, problem: String) {
        self.rejected_count += 1;
        if self.rejected.len() < REJECTED_MAX {
            self.rejected.push(RejectedLine { line, field: field.to_owned(), problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad_lines() {
        let file = "address,name,department,Badge\nada@x.example,Ada,Sales,7\nnobody,Bob,Sales,\nc@x.example,\"Cy, Jr\",,9\n\
                    d@x.example,Dan\nada@X.example,Ada again,,\ne@x.example,,Sales,1\n";
        let (people, report) = read(file.as_bytes()).unwrap();
        assert_eq!(people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Ada", "Cy, Jr"]);
        assert_eq!(people[0].attributes["badge"], "7");
        let rejected: Vec<_> = report.rejected.iter().map(|r| (r.line, r.field.as_str())).collect();
        assert_eq!(rejected, [(3, "address"), (5, ""), (6, "address"), (7, "name")]);
        assert!(report.rejected[1].problem.contains("2 fields where the first line names 4"));
        assert!(!report.applied);
    }

    #[test]
    fn a_file_without_an_address_column_says_what_it_has() {
        let error = read(b"mail,who\na@b.c,x\n").unwrap_err().to_string();
        assert!(error.contains("\"address\"") && error.contains("mail, who"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_name_their_line() {
        let (_, report) = read(b"address,name\na@b.example,\xFF\xFE\n").unwrap();
        assert_eq!((report.rejected[0].line, report.good_count), (2, 0));
    }
}
