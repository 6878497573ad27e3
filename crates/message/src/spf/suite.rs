//! The published test suite of RFC 7208: every scenario's zone on our own name server, every case by its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dns::{Resolver, ResolverLimits, ZoneServer};
use serde_json::Value;

use super::*;

const SUITE: &str = include_str!("../../testdata/spf/rfc7208.json");
const CASES: usize = 203;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn quoted(text: &str) -> String {
    let sign = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_ascii_control() => format!("\\{:03}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(sign).collect::<String>())
}

/// A scenario's records in the form of our zones.
fn zone(records: &BTreeMap<String, Vec<Vec<String>>>) -> String {
    let mut lines = Vec::new();
    for (name, records) in records {
        let has_txt = records.iter().any(|record| record[0] == "TXT");
        let name = quoted(name);
        for record in records {
            let (kind, data) = record.split_first().unwrap();
            match kind.as_str() {
                "TIMEOUT" => lines.push(format!("$SERVFAIL {}", name.trim_matches('"'))),
                "TXT" | "SPF" if data.is_empty() || data == ["NONE"] => {}
                "TXT" | "SPF" => {
                    let strings: Vec<String> = data.iter().map(|text| quoted(text)).collect();
                    lines.push(format!("{name} {kind} {}", strings.join(" ")));
                    if kind == "SPF" && !has_txt {
                        lines.push(format!("{name} TXT {}", strings.join(" ")));
                    }
                }
                "MX" => {
                    lines.push(format!("{name} MX {} {}", data[0], if data[1].is_empty() { "." } else { &data[1] }))
                }
                _ => lines.push(format!("{name} {kind} {}", data[0])),
            }
        }
    }
    lines.join("\n")
}

#[tokio::test]
async fn every_case_of_the_published_suite() {
    let suite: Vec<Value> = serde_json::from_str(SUITE).unwrap();
    let (mut case_count, mut failures) = (0, Vec::new());
    for scenario in &suite {
        let records = serde_json::from_value(scenario["zone"].clone()).unwrap();
        let server = ZoneServer::start(&zone(&records), SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let limits = ResolverLimits { tries_max: 1, ..ResolverLimits::default() };
        let resolver = Resolver::at_with(server.addr(), limits).unwrap();
        for case in scenario["tests"].as_array().unwrap() {
            case_count += 1;
            let sender = match text(&case["mailfrom"]) {
                "" => text(&case["helo"]),
                sender => sender,
            };
            let question = Question {
                ip: text(&case["host"]).parse().unwrap(),
                helo: text(&case["helo"]),
                sender,
                receiver: "mx.contoso.example",
            };
            let answer = check_host(&resolver, question).await;
            let expected = case["result"].as_array().unwrap();
            if !expected.iter().any(|result| text(result) == answer.result.as_str()) {
                failures.push(format!("{}: {expected:?}, got {:?}", case["name"], answer.result));
            }
            let said = answer.explanation.as_deref().unwrap_or("DEFAULT");
            if case["explanation"].as_str().is_some_and(|words| !words.eq_ignore_ascii_case(said)) {
                failures.push(format!("{}: {}, got {said:?}", case["name"], case["explanation"]));
            }
        }
    }
    assert_eq!(case_count, CASES);
    assert!(failures.is_empty(), "{} of {CASES}:\n{}", failures.len(), failures.join("\n"));
}

proptest::proptest! {
    #[test]
    fn records_and_macros_are_total(text in "(v=spf1 )?([a-z0-9+~?.:/%{}=_ -]|redirect=|exp=|include:|ip6:|%\\{[A-Za-z][0-9]{0,3}r?[.-]?\\}|\\PC){0,40}") {
        let _ = record::is_spf(&text);
        let _ = Record::parse(&text);
        let _ = MacroText::parse(&text, Scope::Explanation);
    }
}
