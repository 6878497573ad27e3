//! Provider shaping as data: how fast and how widely mail goes to whom. The file format is TOML, read by the binary; the
//! types here are what it holds. Unknown keys are errors, so that a typing error never means "no limit".
//!
//! What counts for a hand-over is the sum of three layers, the later one winning field by field: `[default]`, the
//! provider whose `mx` suffix or `domains` match, `[domain."name"]`. A file of the operator is laid over the built-in one
//! in the same way.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use crate::limits::Bounds;
use crate::tls::TlsLevel;

/// Connections to one MX group that no rule says more about.
const CONNECTIONS: usize = 20;
const MESSAGES_PER_CONNECTION: u32 = 500;
/// RFC 5321 4.5.3.1.8: a host takes at least 100.
const RECIPIENTS_PER_MESSAGE: usize = 100;
const CONNECT_FAILURES: u32 = 5;
const PAUSE_FIRST_S: u32 = 30;
const PAUSE_LONGEST_S: u32 = 1_800;

/// A shaping file.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Shaping {
    /// For everybody.
    #[serde(default)]
    pub default: Shape,
    /// Providers: hosts that count as one.
    #[serde(default)]
    pub provider: Vec<Provider>,
    /// Single recipient domains.
    #[serde(default)]
    pub domain: BTreeMap<String, Shape>,
    /// Sender domains (of the reverse-path).
    #[serde(default)]
    pub sender: BTreeMap<String, SenderShape>,
    /// Local addresses to send from.
    #[serde(default)]
    pub pool: Vec<Pool>,
}

/// A provider.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name: that of the MX group.
    pub name: String,
    /// Ends of mail hosts' names, such as `.google.com`; a name without a leading dot must match as a whole.
    #[serde(default)]
    pub mx: Vec<String>,
    /// Recipient domains that belong to it whatever their MX.
    #[serde(default)]
    pub domains: Vec<String>,
    /// What applies.
    #[serde(default)]
    pub limits: Shape,
}

/// Limits and ways of one MX group or domain. What is absent is said by the layer below.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Connections at a time.
    pub connections: Option<usize>,
    /// Mails over one connection before it is closed.
    pub messages_per_connection: Option<u32>,
    /// Mails in a second.
    pub messages_per_second: Option<u32>,
    /// Mails in a minute.
    pub messages_per_minute: Option<u32>,
    /// Recipients of one transaction.
    pub recipients_per_message: Option<usize>,
    /// Failed connections in a row before the group is left alone for a while.
    pub connect_failures: Option<u32>,
    /// The first pause, in seconds; each further one is twice as long.
    pub pause_first_s: Option<u32>,
    /// The longest pause, in seconds.
    pub pause_longest_s: Option<u32>,
    /// `none`, `opportunistic` or `required`.
    #[serde(default, deserialize_with = "tls_level")]
    pub tls: Option<TlsLevel>,
    /// The pool to send from.
    pub pool: Option<String>,
}

/// Limits of a sender domain.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SenderShape {
    /// Mails in a second.
    pub messages_per_second: Option<u32>,
    /// Mails in a minute.
    pub messages_per_minute: Option<u32>,
    /// The pool to send from, whoever the recipient.
    pub pool: Option<String>,
}

/// Local addresses that belong together.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its members, taken in turn.
    pub source: Vec<Source>,
}

/// One local identity. A family without an address is not used from it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// For hosts with IPv4.
    pub ipv4: Option<Ipv4Addr>,
    /// For hosts with IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// Its name in EHLO; the server's own when absent.
    pub hostname: Option<String>,
    /// Connections at a time from it.
    pub connections: Option<usize>,
    /// Mails in a minute from it.
    pub messages_per_minute: Option<u32>,
}

fn tls_level<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<TlsLevel>, D::Error> {
    let word = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom("tls is none, opportunistic or required");
    TlsLevel::parse(&word).map(Some).ok_or_else(wrong)
}

/// What counts for one hand-over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shaped {
    /// The provider's name, if one matches.
    pub(crate) provider: Option<String>,
    /// Whether the domain has limits of its own, so that it is counted by itself.
    pub(crate) is_domain_named: bool,
    /// What counts for the whole group, whatever the domain's own limits.
    pub(crate) group: Bounds,
    pub(crate) connections: usize,
    pub(crate) messages_per_connection: u32,
    pub(crate) messages_per_second: Option<u32>,
    pub(crate) messages_per_minute: Option<u32>,
    pub(crate) recipients_per_message: usize,
    pub(crate) connect_failures: u32,
    pub(crate) pause_first_s: u32,
    pub(crate) pause_longest_s: u32,
    pub(crate) tls: Option<TlsLevel>,
    pub(crate) pool: Option<String>,
}

impl Shape {
    /// This one where it says something, `below` where it does not.
    fn over(&self, below: &Shape) -> Shape {
        Shape {
            connections: self.connections.or(below.connections),
            messages_per_connection: self.messages_per_connection.or(below.messages_per_connection),
            messages_per_second: self.messages_per_second.or(below.messages_per_second),
            messages_per_minute: self.messages_per_minute.or(below.messages_per_minute),
            recipients_per_message: self.recipients_per_message.or(below.recipients_per_message),
            connect_failures: self.connect_failures.or(below.connect_failures),
            pause_first_s: self.pause_first_s.or(below.pause_first_s),
            pause_longest_s: self.pause_longest_s.or(below.pause_longest_s),
            tls: self.tls.or(below.tls),
            pool: self.pool.clone().or_else(|| below.pool.clone()),
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            connections: Some(self.connections.unwrap_or(CONNECTIONS)),
            per_second: self.messages_per_second,
            per_minute: self.messages_per_minute,
        }
    }

    fn has_zero(&self) -> bool {
        let words = [self.messages_per_connection, self.messages_per_second, self.messages_per_minute];
        let others = [self.connect_failures, self.pause_first_s, self.pause_longest_s];
        let sizes = [self.connections, self.recipients_per_message];
        words.iter().chain(&others).any(|n| *n == Some(0)) || sizes.contains(&Some(0))
    }
}

impl Shaping {
    /// This file laid over `below`: what it names wins, the rest stays.
    #[must_use]
    pub fn over(mut self, below: Shaping) -> Shaping {
        self.default = self.default.over(&below.default);
        for provider in below.provider {
            match self.provider.iter_mut().find(|own| own.name == provider.name) {
                Some(own) => {
                    own.limits = own.limits.over(&provider.limits);
                    // A rule that only changes limits keeps what it matches.
                    if own.mx.is_empty() && own.domains.is_empty() {
                        (own.mx, own.domains) = (provider.mx, provider.domains);
                    }
                }
                None => self.provider.push(provider),
            }
        }
        for (domain, shape) in below.domain {
            let merged = self.domain.get(&domain).map(|own| own.over(&shape)).unwrap_or(shape);
            self.domain.insert(domain, merged);
        }
        for (domain, shape) in below.sender {
            self.sender.entry(domain).or_insert(shape);
        }
        for pool in below.pool {
            if !self.pool.iter().any(|own| own.name == pool.name) {
                self.pool.push(pool);
            }
        }
        self
    }

    /// The same with names of domains as they are compared: in lower case, as A-labels.
    #[must_use]
    pub(crate) fn with_plain_names(mut self) -> Shaping {
        let plain = |name: String| idna::domain_to_ascii(&name).unwrap_or_else(|_| name.to_lowercase());
        self.domain = self.domain.into_iter().map(|(name, shape)| (plain(name), shape)).collect();
        self.sender = self.sender.into_iter().map(|(name, shape)| (plain(name), shape)).collect();
        for provider in &mut self.provider {
            provider.mx.iter_mut().for_each(|suffix| suffix.make_ascii_lowercase());
        }
        self
    }

    /// What is wrong beyond the form: limits of zero, pools that do not exist, names that are given twice.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let providers = self.provider.iter().map(|p| (format!("provider {}", p.name), &p.limits));
        let domains = self.domain.iter().map(|(name, shape)| (format!("domain {name}"), shape));
        for (whose, shape) in std::iter::once(("default".to_owned(), &self.default)).chain(providers).chain(domains) {
            if shape.has_zero() {
                problems.push(format!("{whose}: a limit of 0 would stop all mail; hold the queue instead"));
            }
            problems.extend(self.pool_problem(&whose, shape.pool.as_deref()));
        }
        for (name, sender) in &self.sender {
            if [sender.messages_per_second, sender.messages_per_minute].contains(&Some(0)) {
                problems.push(format!("sender {name}: a limit of 0 would stop all mail; hold the queue instead"));
            }
            problems.extend(self.pool_problem(&format!("sender {name}"), sender.pool.as_deref()));
        }
        for provider in self.provider.iter().filter(|p| p.mx.is_empty() && p.domains.is_empty()) {
            problems.push(format!("provider {}: needs mx or domains", provider.name));
        }
        for pool in &self.pool {
            if pool.source.is_empty() || pool.source.iter().any(|s| s.ipv4.is_none() && s.ipv6.is_none()) {
                problems.push(format!("pool {}: every source needs ipv4 or ipv6", pool.name));
            }
        }
        problems
    }

    fn pool_problem(&self, whose: &str, pool: Option<&str>) -> Option<String> {
        let pool = pool.filter(|name| self.pool(name).is_none())?;
        Some(format!("{whose}: there is no pool {pool:?}"))
    }

    pub(crate) fn pool(&self, name: &str) -> Option<&Pool> {
        self.pool.iter().find(|pool| pool.name == name)
    }

    /// What counts for `domain`, whose mail hosts are `hosts` (best first).
    pub(crate) fn of(&self, domain: &str, hosts: &[&str]) -> Shaped {
        let by_domain = self.provider.iter().find(|p| p.domains.iter().any(|d| d.eq_ignore_ascii_case(domain)));
        let provider = by_domain.or_else(|| self.provider.iter().find(|p| p.takes(hosts)));
        let own = self.domain.get(domain);
        let mut shape = self.default.clone();
        if let Some(provider) = provider {
            shape = provider.limits.over(&shape);
        }
        let group = shape.bounds();
        if let Some(own) = own {
            shape = own.over(&shape);
        }
        Shaped {
            provider: provider.map(|p| p.name.clone()),
            is_domain_named: own.is_some(),
            group,
            connections: shape.connections.unwrap_or(CONNECTIONS),
            messages_per_connection: shape.messages_per_connection.unwrap_or(MESSAGES_PER_CONNECTION),
            messages_per_second: shape.messages_per_second,
            messages_per_minute: shape.messages_per_minute,
            recipients_per_message: shape.recipients_per_message.unwrap_or(RECIPIENTS_PER_MESSAGE),
            connect_failures: shape.connect_failures.unwrap_or(CONNECT_FAILURES),
            pause_first_s: shape.pause_first_s.unwrap_or(PAUSE_FIRST_S),
            pause_longest_s: shape.pause_longest_s.unwrap_or(PAUSE_LONGEST_S),
            tls: shape.tls,
            pool: shape.pool,
        }
    }
}

impl Provider {
    /// The best host decides: others may be backups elsewhere.
    fn takes(&self, hosts: &[&str]) -> bool {
        let Some(host) = hosts.first() else { return false };
        self.mx.iter().any(|suffix| match suffix.strip_prefix('.') {
            Some(_) => host.ends_with(suffix.as_str()),
            None => host.eq_ignore_ascii_case(suffix),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaping(json: serde_json::Value) -> Shaping {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn layers_win_field_by_field() {
        let built_in = shaping(serde_json::json!({
            "default": { "connections": 7 },
            "provider": [{ "name": "big", "mx": [".big.example"],
                           "limits": { "connections": 3, "messages_per_connection": 20 } }],
        }));
        let file = shaping(serde_json::json!({
            "provider": [{ "name": "big", "limits": { "connections": 5 } }],
            "domain": { "vip.example": { "messages_per_minute": 10, "tls": "required" } },
        }));
        let both = file.over(built_in);
        let big = both.of("a.example", &["mx1.big.example", "mx.other.example"]);
        assert_eq!((big.provider.as_deref(), big.connections, big.messages_per_connection), (Some("big"), 5, 20));
        let vip = both.of("vip.example", &["mx1.big.example"]);
        assert_eq!((vip.connections, vip.messages_per_minute, vip.tls), (5, Some(10), Some(TlsLevel::Required)));
        assert!(vip.is_domain_named && !big.is_domain_named);
        let other = both.of("o.example", &["mx.notbig.example", "mx1.big.example"]);
        assert_eq!((other.provider, other.connections, other.messages_per_connection), (None, 7, 500));
        assert!(both.of("b.example", &["notbig.example"]).provider.is_none(), "a suffix begins at its dot");
    }

    #[test]
    fn names_mean_the_same_however_they_are_written() {
        let shaping = shaping(serde_json::json!({
            "provider": [{ "name": "big", "mx": [".Big.Example"], "limits": { "connections": 3 } }],
            "domain": { "Vip.Example": { "connections": 1 }, "bücher.example": { "connections": 2 } },
            "sender": { "US.example": { "messages_per_minute": 1 } },
        }));
        let shaping = shaping.with_plain_names();
        let connections = |domain: &str| shaping.of(domain, &["mx.big.example"]).connections;
        assert_eq!(["vip.example", "xn--bcher-kva.example", "o.example"].map(connections), [1, 2, 3]);
        assert!(shaping.sender.contains_key("us.example"));
    }

    #[test]
    fn what_would_stop_mail_or_means_nothing_is_named() {
        let wrong = shaping(serde_json::json!({
            "default": { "connections": 0 },
            "provider": [{ "name": "nobody" }],
            "domain": { "a.example": { "pool": "none" } },
            "sender": { "b.example": { "messages_per_minute": 0 } },
            "pool": [{ "name": "empty", "source": [{ "name": "x" }] }],
        }));
        assert_eq!(wrong.problems().len(), 5, "{:?}", wrong.problems());
        for text in [r#"{"defualt":{}}"#, r#"{"default":{"conections":3}}"#, r#"{"default":{"tls":"maybe"}}"#] {
            assert!(serde_json::from_str::<Shaping>(text).is_err(), "{text}");
        }
    }
}
