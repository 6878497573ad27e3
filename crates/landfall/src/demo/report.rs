//! What the story came to: a table after each act, and the report.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use whereabouts::{Proof, Totals};

use crate::error::CliError;

/// Opens and clicks of one kind of reader, over all campaigns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Distinct readers who opened.
    pub opened: i64,
    /// Distinct readers who followed a link.
    pub clicked: i64,
}

/// The state after one act.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// Its name.
    pub name: &'static str,
    /// Copies by place.
    pub places: BTreeMap<String, i64>,
    /// Copies by last event.
    pub events: BTreeMap<String, i64>,
    /// People's opens and clicks.
    pub people: Reach,
    /// Machines'.
    pub machines: Reach,
}

/// The proof of no double send, as reported.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ProofReport {
    /// Copies that landed more than once without having been pulled back between.
    pub sent_twice: i64,
    /// Copies put back.
    pub restored: i64,
    /// Copies freed.
    pub released: i64,
}

/// The report.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Each act played.
    pub acts: Vec<Act>,
    /// The proof.
    pub proof: ProofReport,
    /// What did not come true.
    #[serde(skip)]
    pub problems: Vec<String>,
}

impl From<Proof> for ProofReport {
    fn from(proof: Proof) -> Self {
        ProofReport { sent_twice: proof.sent_twice, restored: proof.restored, released: proof.released }
    }
}

impl Act {
    /// From the ledger's totals.
    pub fn new(name: &'static str, totals: &Totals, people: Reach, machines: Reach) -> Act {
        let mut act = Act { name, places: BTreeMap::new(), events: BTreeMap::new(), people, machines };
        act.places.extend(totals.places.iter().map(|(place, count)| (place.to_string(), *count)));
        act.events.extend(totals.events.iter().map(|(event, count)| (event.to_string(), *count)));
        act
    }

    /// Copies in a mailbox's inbox or another folder of its owner.
    pub fn in_mailboxes(&self) -> i64 {
        ["inbox", "other_folder"].iter().filter_map(|p| self.places.get(*p)).sum()
    }

    /// Copies at a place.
    pub fn at(&self, place: &str) -> i64 {
        self.places.get(place).copied().unwrap_or(0)
    }

    /// Copies with a last event.
    pub fn after(&self, event: &str) -> i64 {
        self.events.get(event).copied().unwrap_or(0)
    }

    fn print(&self) {
        let line = |counts: &BTreeMap<String, i64>| {
            counts.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(" · ")
        };
        println!("    places       {}", line(&self.places));
        println!("    last events  {}", line(&self.events));
        let (p, m) = (self.people, self.machines);
        println!(
            "    people       opened {} · clicked {}     machines  opened {} · clicked {}",
            p.opened, p.clicked, m.opened, m.clicked
        );
    }
}

impl Report {
    /// Keeps an act and prints its table.
    pub fn push(&mut self, act: Act) -> &Act {
        act.print();
        self.acts.push(act);
        self.acts.last().expect("an act was just pushed")
    }

    /// Notes what did not come true.
    pub fn expect(&mut self, what: &str, got: i64, want: i64) {
        if got != want {
            self.problems.push(format!("{what}: {got}, expected {want}"));
        }
    }

    /// What the proof has to say in the end.
    pub fn check_proof(&mut self, people: i64) {
        let proof = self.proof;
        self.expect("sent twice", proof.sent_twice, 0);
        self.expect("restored", proof.restored, people);
        self.expect("released", proof.released, people);
        println!(
            "    proof        sent twice {} · restored {} · released {}",
            proof.sent_twice, proof.restored, proof.released
        );
    }

    /// Writes it as JSON.
    pub fn write(&self, file: &Path) -> Result<(), CliError> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| CliError::failed("the report", &e))?;
        std::fs::write(file, text).map_err(|e| CliError::failed(&format!("write {}", file.display()), &e))
    }
}
