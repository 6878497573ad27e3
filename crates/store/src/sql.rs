//! The statements: `sql/<noun>.sql`, sliced by `-- name: <statement>` lines. A statement is called `<noun>.<statement>`.
//!
//! One text serves both databases; `-- name: <statement> @postgres` or `@sqlite` stands beside it only where they must
//! differ. Comment lines right below the name say why the statement is as it is; they are not sent.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// One line per noun.
const FILES: &[(&str, &str)] = &[
    ("account", include_str!("../sql/account.sql")),
    ("app_password", include_str!("../sql/app_password.sql")),
    ("audit", include_str!("../sql/audit.sql")),
    ("backtest", include_str!("../sql/backtest.sql")),
    ("campaign", include_str!("../sql/campaign.sql")),
    ("change", include_str!("../sql/change.sql")),
    ("connector", include_str!("../sql/connector.sql")),
    ("copy", include_str!("../sql/copy.sql")),
    ("delivery", include_str!("../sql/delivery.sql")),
    ("event", include_str!("../sql/event.sql")),
    ("gateway", include_str!("../sql/gateway.sql")),
    ("hit", include_str!("../sql/hit.sql")),
    ("imap", include_str!("../sql/imap.sql")),
    ("incident", include_str!("../sql/incident.sql")),
    ("incoming", include_str!("../sql/incoming.sql")),
    ("job", include_str!("../sql/job.sql")),
    ("list", include_str!("../sql/list.sql")),
    ("mailbox", include_str!("../sql/mailbox.sql")),
    ("message", include_str!("../sql/message.sql")),
    ("organisation", include_str!("../sql/organisation.sql")),
    ("pack", include_str!("../sql/pack.sql")),
    ("person", include_str!("../sql/person.sql")),
    ("policy", include_str!("../sql/policy.sql")),
    ("quarantine", include_str!("../sql/quarantine.sql")),
    ("queue", include_str!("../sql/queue.sql")),
    ("report", include_str!("../sql/report.sql")),
    ("rule_set", include_str!("../sql/rule_set.sql")),
    ("setting", include_str!("../sql/setting.sql")),
    ("tls", include_str!("../sql/tls.sql")),
    ("unjudged", include_str!("../sql/unjudged.sql")),
];

/// A statement on both databases.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Statement {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// All statement names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    catalogue().keys().map(String::as_str)
}

/// The statement of that name; a name that does not exist is a defect of ours and panics with it.
pub(crate) fn statement(name: &str) -> Statement {
    *catalogue().get(name).unwrap_or_else(|| panic!("there is no SQL statement named {name:?}"))
}

/// Immutable after the first use: a parsed constant, not state.
fn catalogue() -> &'static BTreeMap<String, Statement> {
    static CATALOGUE: OnceLock<BTreeMap<String, Statement>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let mut all = BTreeMap::new();
        for (noun, text) in FILES {
            slice(noun, text, &mut all);
        }
        all
    })
}

fn slice(noun: &str, text: &'static str, all: &mut BTreeMap<String, Statement>) {
    const MARK: &str = "-- name: ";
    for part in text.split(MARK).skip(1) {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        let sql = without_comment(body).trim().trim_end_matches(';');
        let (name, dialect) = match head.trim().split_once(" @") {
            Some((name, dialect)) => (name.trim(), dialect.trim()),
            None => (head.trim(), ""),
        };
        let entry = all.entry(format!("{noun}.{name}")).or_default();
        match dialect {
            "" => {
                // The common text fills only what no twin has claimed.
                let twin = *entry;
                *entry = Statement {
                    sqlite: if twin.sqlite.is_empty() { sql } else { twin.sqlite },
                    postgres: if twin.postgres.is_empty() { sql } else { twin.postgres },
                };
            }
            "postgres" => entry.postgres = sql,
            "sqlite" => entry.sqlite = sql,
            other => panic!("{noun}.sql: unknown dialect {other:?} of {name}"),
        }
    }
}

fn without_comment(body: &'static str) -> &'static str {
    let mut rest = body;
    while let Some(line) = rest.lines().next() {
        if !line.is_empty() && !line.trim_start().starts_with("--") {
            break;
        }
        rest = rest[line.len()..].strip_prefix('\n').unwrap_or("");
        if rest.is_empty() {
            break;
        }
    }
    rest
}

/// Repeats the tuple behind `VALUES` for `rows` rows. `INSERT … VALUES ($1, $2) ON CONFLICT …` with 2 rows becomes
/// `… VALUES ($1,$2),($3,$4) ON CONFLICT …`. The tuple must be plain placeholders in order.
pub(crate) fn repeat_values(sql: &str, columns: usize, rows: usize) -> String {
    let start = sql.find("VALUES").expect("insert_many needs a VALUES clause") + "VALUES".len();
    let open = start + sql[start..].find('(').expect("VALUES has a tuple");
    let close = open + sql[open..].find(')').expect("the tuple ends");
    debug_assert_eq!(sql[open..close].matches('$').count(), columns, "one placeholder per value: {sql}");
    let mut out = String::with_capacity(sql.len() + rows * columns * 6);
    out.push_str(&sql[..start]);
    let mut n = 0;
    for row in 0..rows {
        out.push_str(if row == 0 { " (" } else { ",(" });
        for column in 0..columns {
            n += 1;
            if column > 0 {
                out.push(',');
            }
            out.push('$');
            out.push_str(&n.to_string());
        }
        out.push(')');
    }
    out.push_str(&sql[close + 1..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_and_comments() {
        let mut all = BTreeMap::new();
        slice("x", "-- name: a\n-- why\nSELECT 1;\n\n-- name: b @postgres\nSELECT 2\n-- name: b\nSELECT 3\n", &mut all);
        assert_eq!((all["x.a"].sqlite, all["x.a"].postgres), ("SELECT 1", "SELECT 1"));
        assert_eq!((all["x.b"].sqlite, all["x.b"].postgres), ("SELECT 3", "SELECT 2"));
    }

    #[test]
    fn rows_are_repeated() {
        let repeated = repeat_values("INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING", 2, 2);
        assert_eq!(repeated, "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT DO NOTHING");
    }
}
