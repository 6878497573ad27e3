//! Why copies are lost: the change behind them, or, when no change is, what the rule said.

use model::{ChangeId, IncidentId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Row, Tx, values};

use crate::Error;
use crate::words::{clock_time, finding, shown_evidence};

/// Values of a feed or list entry kept in a cause.
const ENTRIES_MAX: usize = 50;

/// The key of "one incident per cause".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CauseKey {
    /// A change of the protection side.
    Change(i64),
    /// No change is known; a stable hash of the reason's words.
    Unknown(i64),
}

impl CauseKey {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            CauseKey::Change(_) => "change",
            CauseKey::Unknown(_) => "unknown",
        }
    }

    pub(crate) fn id(self) -> i64 {
        match self {
            CauseKey::Change(id) | CauseKey::Unknown(id) => id,
        }
    }

    /// The key for a loss without a change: the same reason under the same policy is the same cause.
    pub(crate) fn of_words(reason: &str, policy: &str, sentence: &str) -> CauseKey {
        // FNV-1a, 64 bits, without the sign: stable across versions and machines, unlike the standard hasher.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in [reason, "\n", policy, "\n", sentence].iter().flat_map(|part| part.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        CauseKey::Unknown(i64::try_from(hash >> 1).unwrap_or(0))
    }
}

/// The probable cause, as kept with the incident.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The change that caused it, when one did.
    pub change_id: Option<ChangeId>,
    /// `feed`, `list` or `weight`; empty without a change.
    pub change_kind: String,
    /// The change's title.
    pub change_title: String,
    /// Who activated it.
    pub activated_by: String,
    /// When.
    pub activated_at: Option<Timestamp>,
    /// Why it was activated against the backtest's warning; empty when there was none.
    pub override_reason: String,
    /// The feed's name, for a feed.
    pub feed: String,
    /// The feed's kind, for a feed: `url_host`, …
    pub feed_kind: String,
    /// What the change listed, at most 50 values.
    pub entries: Vec<String>,
    /// The deciding rule's id, when a held copy tells.
    pub rule: String,
    /// The feed or list entry that the rule names.
    pub origin: String,
    /// What it saw in one of the lost copies: the URL, the hash.
    pub evidence: String,
    /// What the rule says, in plain words.
    pub sentence: String,
    /// The policy that acted.
    pub policy: String,
    /// The class of failure, when other hosts refused; `evidence` is one of their replies then.
    pub refused: String,
}

/// The part of a change's diff that a cause shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DiffSeen {
    feed: String,
    kind: String,
    rule: String,
    add: Vec<EntrySeen>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EntrySeen {
    value: String,
    kind: String,
    action: String,
}

/// An allow entry of a change, as a remedy is recognised by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowSeen {
    pub kind: String,
    pub value: String,
}

/// The allow entries that a list change brought.
pub(crate) fn allows_of(diff: &str) -> Vec<AllowSeen> {
    let seen: DiffSeen = serde_json::from_str(diff).unwrap_or_default();
    let allow =
        |entry: EntrySeen| (entry.action == "allow").then_some(AllowSeen { kind: entry.kind, value: entry.value });
    seen.add.into_iter().filter_map(allow).collect()
}

impl Cause {
    /// Fills in the change, if the id is one.
    pub(crate) fn of_change(row: &Row) -> Result<Cause, Error> {
        let seen: DiffSeen = serde_json::from_str(row.text("diff")?).unwrap_or_default();
        Ok(Cause {
            change_id: Some(row.id("id")?),
            change_kind: row.text("kind")?.to_owned(),
            change_title: row.text("title")?.to_owned(),
            activated_by: row.text("activated_by")?.to_owned(),
            activated_at: row.opt_at("activated_at")?,
            override_reason: row.text("override_reason")?.to_owned(),
            feed: seen.feed,
            feed_kind: seen.kind,
            entries: seen.add.into_iter().map(|entry| entry.value).take(ENTRIES_MAX).collect(),
            rule: seen.rule,
            ..Cause::default()
        })
    }

    /// Adds what a lost copy tells: the rule, the entry and the URL of one that was held on arrival, or what the event
    /// says that took one away. Gives whether anything is new.
    pub(crate) async fn learn(&mut self, tx: &mut Tx, incident_id: IncidentId) -> Result<bool, Error> {
        let before = self.clone();
        if self.origin.is_empty()
            && let Some(row) = tx.query_one("incident.first_signal", &values![incident_id]).await?
        {
            let signal: serde_json::Value = row.json("signal")?;
            self.take(&signal);
        }
        if (self.sentence.is_empty() || self.origin.is_empty())
            && let Some(row) = tx.query_one("incident.first_loss", &values![incident_id]).await?
        {
            let detail: serde_json::Value = row.json("detail")?;
            self.take(&detail);
            self.take(detail.get("signal").unwrap_or(&serde_json::Value::Null));
        }
        Ok(*self != before)
    }

    fn take(&mut self, from: &serde_json::Value) {
        let word = |key: &str| from.get(key).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
        let set = |field: &mut String, value: String| {
            if field.is_empty() {
                *field = value;
            }
        };
        set(&mut self.rule, word("rule"));
        set(&mut self.origin, word("origin"));
        set(&mut self.evidence, shown_evidence(&word("evidence")));
        let sentence = [word("sentence"), word("explanation")].into_iter().find(|text| !text.is_empty());
        set(&mut self.sentence, sentence.unwrap_or_default());
    }

    /// Title of the incident.
    pub(crate) fn incident_title(&self) -> String {
        if !self.refused.is_empty() {
            return format!("Other hosts refuse campaign mail: {}", finding(&self.sentence));
        }
        match (&self.change_id, self.change_title.as_str(), finding(&self.sentence)) {
            (Some(_), title, _) => format!("Campaign mail is held after a change: {title}"),
            (None, _, "") => "Campaign mail is held".to_owned(),
            (None, _, sentence) => format!("Campaign mail is held: {sentence}"),
        }
    }

    /// The cause as an update tells it.
    pub(crate) fn words(&self, now: Timestamp) -> String {
        let why = finding(&self.sentence);
        if !self.refused.is_empty() {
            return format!("Cause: {why}. One of the replies: {}", self.evidence);
        }
        let why = if why.is_empty() { String::new() } else { format!(" What the rule says: {why}.") };
        if self.change_id.is_none() {
            return format!("No change of the rules is known to be behind it.{why}");
        }
        let when = self.activated_at.map(|at| format!(" at {}", clock_time(at, now))).unwrap_or_default();
        let by = if self.activated_by.is_empty() { "somebody" } else { &self.activated_by };
        let against = if self.override_reason.is_empty() {
            String::new()
        } else {
            format!(", against the warning of its backtest (\u{201c}{}\u{201d})", self.override_reason)
        };
        format!("Cause: the change \u{201c}{}\u{201d}, activated by {by}{when}{against}.{why}", self.change_title)
    }

    /// The hosts that the cause is about, without ports.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let seen = if self.evidence.is_empty() { None } else { Some(self.evidence.as_str()) };
        self.entries.iter().map(String::as_str).chain(seen).map(host_of).filter(|host| host.contains('.')).collect()
    }

    /// Whether an allow entry covers what the cause is about, or a sender of the campaigns in scope.
    pub(crate) fn is_allowed_by(&self, allow: &AllowSeen, senders: &[String]) -> bool {
        let value = allow.value.to_lowercase();
        match allow.kind.as_str() {
            "url" => {
                let pattern = host_of(value.trim_start_matches('~').trim_start_matches("*."));
                let below = |host: &str| host.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'));
                self.hosts().iter().any(|host| *host == pattern || below(host))
            }
            "sender" => senders.contains(&value),
            "domain" => {
                let domain = value.trim_start_matches("*.");
                senders.iter().any(|sender| sender.rsplit_once('@').is_some_and(|(_, d)| d == domain))
            }
            _ => self.entries.contains(&value),
        }
    }
}

/// The host of a URL, of `host:port` or of a URL pattern.
fn host_of(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#', '~', '*']).next().unwrap_or(rest);
    rest.split_once(':').map_or(rest, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_entry_is_recognised_as_a_remedy() {
        let cause = Cause { entries: vec!["t.contoso.localhost:8080".into()], ..Cause::default() };
        let senders = ["news@contoso.example".to_owned()];
        let check = |kind: &str, value: &str, want: bool| {
            let allow = AllowSeen { kind: kind.into(), value: value.into() };
            assert_eq!(cause.is_allowed_by(&allow, &senders), want, "{kind} {value}");
        };
        check("url", "t.contoso.localhost/*", true);
        check("url", "~t.contoso.localhost~", true);
        check("url", "*.contoso.localhost/*", true);
        check("url", "contoso.example/*", false);
        check("url", "so.localhost", false);
        check("sender", "news@contoso.example", true);
        check("domain", "contoso.example", true);
        check("domain", "fabrikam.example", false);
    }

    #[test]
    fn the_key_of_words_is_stable_and_positive() {
        let key = CauseKey::of_words("phish", "Standard", "the link");
        assert_eq!(key, CauseKey::of_words("phish", "Standard", "the link"));
        assert_ne!(key, CauseKey::of_words("spam", "Standard", "the link"));
        assert!(key.id() >= 0);
    }
}
