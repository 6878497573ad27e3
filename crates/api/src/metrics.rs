//! Prometheus metrics: counters of this process, and gauges read from the rows when asked.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use gateway::GatewayStats;

/// Counters of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered 1yz to 5yz.
    requests: [AtomicU64; 5],
}

impl Metrics {
    /// Counts an answered request.
    pub fn count_request(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters as text.
    pub fn write(&self, text: &mut Text) {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let values = classes.iter().zip(&self.requests).map(|(class, n)| (*class, n.load(Ordering::Relaxed) as i64));
        text.family(
            "landfall_http_requests_total",
            "counter",
            "HTTP requests answered, by class of status.",
            "class",
            values,
        );
    }
}

/// The Prometheus text format (version 0.0.4), written family by family.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// One family with one label.
    pub fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, i64)>,
    ) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (value, number) in values {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {number}");
        }
    }

    /// One number.
    pub fn gauge(&mut self, name: &str, help: &str, number: i64) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {number}");
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

fn read(counter: &AtomicU64) -> i64 {
    i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

/// The IMAP server's counters.
pub fn write_imap(text: &mut Text, stats: &imap::ServerStats) {
    let open = i64::try_from(stats.open_count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    text.gauge("landfall_imap_sessions", "IMAP connections open now.", open);
    let connections = [("accepted", read(&stats.accepted_count)), ("refused", read(&stats.refused_count))];
    text.family(
        "landfall_imap_connections_total",
        "counter",
        "IMAP connections, by whether there was room for them.",
        "outcome",
        connections,
    );
    let logins = [("ok", read(&stats.logins_ok_count)), ("failed", read(&stats.logins_failed_count))];
    text.family("landfall_imap_logins_total", "counter", "Logins of mail programs by IMAP.", "outcome", logins);
    let commands = [
        ("ok", read(&stats.commands_ok_count)),
        ("no", read(&stats.commands_no_count)),
        ("bad", read(&stats.commands_bad_count)),
    ];
    text.family("landfall_imap_commands_total", "counter", "IMAP commands, by what was answered.", "answer", commands);
}

/// The gateway's counters.
pub fn write_gateway(text: &mut Text, stats: &GatewayStats) {
    let mails = [
        ("accepted", read(&stats.accepted_count)),
        ("rejected", read(&stats.rejected_count)),
        ("deferred", read(&stats.deferred_count)),
        ("resend_suppressed", read(&stats.resend_suppressed_count)),
        ("unjudged", read(&stats.unjudged_count)),
        ("bypassed", read(&stats.bypassed_count)),
    ];
    text.family("landfall_gateway_mails_total", "counter", "Mails received, by what was answered.", "outcome", mails);
    let copies = [
        ("inbox", read(&stats.inbox_count)),
        ("junk", read(&stats.junk_count)),
        ("quarantine", read(&stats.held_count)),
    ];
    text.family("landfall_gateway_copies_total", "counter", "Copies put somewhere by the gateway.", "place", copies);
    let refused = [
        ("unknown_recipient", read(&stats.unknown_recipient_count)),
        ("relay_denied", read(&stats.relay_denied_count)),
    ];
    text.family(
        "landfall_gateway_recipients_refused_total",
        "counter",
        "Recipients refused at RCPT.",
        "reason",
        refused,
    );
}
