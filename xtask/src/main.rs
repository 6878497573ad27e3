//! What needs more than a line of make: `cargo xtask layers` proves that arrows between crates point down only.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Each crate with what it may depend on among ours. The table is design: to widen it, edit it here and in
/// ARCHITECTURE.md, and say why.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("dns", &["model"]),
    ("smtp", &["model"]),
    ("store", &["model"]),
    ("verdict", &["model"]),
    ("message", &["model", "dns"]),
    ("directory", &["model", "store", "verdict"]),
    ("mailbox", &["model", "smtp", "store"]),
    ("outbound", &["model", "smtp", "store", "message", "dns"]),
    ("gateway", L0_TO_L2),
    ("quarantine", L0_TO_L2),
    ("campaign", L0_TO_L2),
    ("changes", L0_TO_L2),
    ("imap", &["model", "store", "message", "directory", "mailbox"]),
    ("whereabouts", L0_TO_L3),
    ("api", L0_TO_L4),
    ("landfall", &ALL),
    ("testkit", &["model", "dns", "smtp", "store"]),
    ("xtask", &[]),
];
const L0_TO_L2: &[&str] = &["model", "dns", "message", "smtp", "store", "verdict", "directory", "mailbox", "outbound"];
const L0_TO_L3: &[&str] = &[
    "model",
    "dns",
    "message",
    "smtp",
    "store",
    "verdict",
    "directory",
    "mailbox",
    "outbound",
    "gateway",
    "quarantine",
    "campaign",
    "changes",
];
const L0_TO_L4: &[&str] = &[
    "model",
    "message",
    "store",
    "verdict",
    "directory",
    "mailbox",
    "outbound",
    "gateway",
    "quarantine",
    "campaign",
    "changes",
    "imap",
    "whereabouts",
];
const ALL: [&str; 17] = [
    "model",
    "dns",
    "message",
    "smtp",
    "store",
    "verdict",
    "directory",
    "mailbox",
    "outbound",
    "gateway",
    "quarantine",
    "campaign",
    "changes",
    "imap",
    "whereabouts",
    "api",
    "testkit",
];

/// What only one crate may name (house invariants): dependency -> its owner.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("object_store", &["store"]),
    ("axum", &["api"]),
    ("hickory-resolver", &["dns"]),
    ("hickory-proto", &["dns"]),
    ("mail-auth", &["message"]),
    ("mail-parser", &["message"]),
    ("toml", &["landfall"]),
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("layers") => layers(),
        _ => {
            eprintln!("usage: cargo xtask layers");
            ExitCode::from(2)
        }
    }
}

fn layers() -> ExitCode {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            return ExitCode::from(1);
        }
    };
    let problems = check(&packages);
    for problem in &problems {
        eprintln!("layers: {problem}");
    }
    if problems.is_empty() {
        println!("layers: {} crates, every arrow points down", packages.len());
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// Crate -> its dependencies outside tests.
type Packages = BTreeMap<String, BTreeSet<String>>;

fn packages() -> Result<Packages, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]).output();
    let output = output.map_err(|e| format!("cargo metadata does not start: {e}"))?;
    let json: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Ok(list(&json, "packages")
        .iter()
        .map(|package| {
            let normal = list(package, "dependencies").into_iter().filter(|d| d["kind"].as_str() != Some("dev"));
            (text(package, "name"), normal.map(|d| text(&d, "name")).collect())
        })
        .collect())
}

fn check(packages: &Packages) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, dependencies) in packages {
        let Some((_, allowed)) = LAYERS.iter().find(|(n, _)| n == name) else {
            problems.push(format!("{name} is not in the table of xtask/src/main.rs: give it a layer"));
            continue;
        };
        for dependency in dependencies {
            if packages.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{name} must not depend on {dependency}"));
            }
            if let Some((_, owners)) = OWNERS.iter().find(|(d, _)| d == dependency)
                && !owners.contains(&name.as_str())
            {
                problems.push(format!("{name} names {dependency}, which only {} may", owners.join(" and ")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, dependencies: &[&str]) -> Vec<String> {
        let mut packages: Packages = LAYERS.iter().map(|(n, _)| ((*n).to_owned(), BTreeSet::new())).collect();
        packages.insert(name.into(), dependencies.iter().map(|d| (*d).to_owned()).collect());
        check(&packages)
    }

    #[test]
    fn arrows_point_down() {
        assert_eq!(one("gateway", &["store", "verdict"]), Vec::<String>::new());
        assert_eq!(one("gateway", &["quarantine"]), ["gateway must not depend on quarantine"]);
        assert_eq!(one("model", &["store"]), ["model must not depend on store"]);
        assert_eq!(one("changes", &["sqlx"]), ["changes names sqlx, which only store may"]);
        assert_eq!(one("newcomer", &[]).len(), 1);
    }
}
