//! SPF (RFC 7208): may this host send in the name of this domain?
//!
//! [`check_host`] is the function of section 4, on our own resolver: its cache, its cap and its deadlines. The limits of
//! section 4.6.4 hold for one message as a whole: terms that ask names, lookups that find nothing, names of one answer.

mod record;

use std::net::{IpAddr, Ipv4Addr};

use dns::{DnsError, Resolver};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::AuthResult;

use record::{Expand, MacroText, Mechanism, Prefix, Qualifier, Record, Scope, is_spf};

/// Terms that ask names, of one check (RFC 7208 4.6.4).
const TERMS_MAX: usize = 10;
/// Lookups that find nothing, of one check (RFC 7208 4.6.4).
const VOID_LOOKUPS_MAX: usize = 2;
/// Mail exchangers of one `mx`, and names of one address for `ptr` (RFC 7208 4.6.4).
const NAMES_MAX: usize = 10;
/// Names of a client that are tried for its own name.
const CLIENT_NAMES_MAX: usize = 3;
/// Characters of a domain name in text form; a longer one loses labels on its left (RFC 7208 7.3).
const DOMAIN_CHARS_MAX: usize = 253;
/// RFC 1035 2.3.4.
const LABEL_CHARS_MAX: usize = 63;
/// Characters kept of an explanation, which a stranger wrote.
const EXPLANATION_CHARS_MAX: usize = 500;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The host that sends.
    pub(crate) ip: IpAddr,
    /// The name it gave itself.
    pub(crate) helo: &'a str,
    /// The identity: a mailbox, or a domain when there is none.
    pub(crate) sender: &'a str,
    /// Our name.
    pub(crate) receiver: &'a str,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The result.
    pub(crate) result: AuthResult,
    /// What the domain's owner says about a `fail`. A stranger's words: escape them.
    pub(crate) explanation: Option<String>,
}

impl Answer {
    fn of(result: AuthResult) -> Answer {
        Answer { result, explanation: None }
    }
}

/// Checks an identity. Trouble with names is `temperror`.
pub(crate) async fn check_host(resolver: &Resolver, question: Question<'_>) -> Answer {
    let (local, domain) = question.sender.rsplit_once('@').unwrap_or(("", question.sender));
    let mut check = Check {
        resolver,
        ip: canonical(question.ip),
        helo: question.helo.to_owned(),
        // RFC 7208 4.3: without a local part it is the postmaster's.
        local: if local.is_empty() { "postmaster".into() } else { local.to_owned() },
        sender_domain: domain.to_owned(),
        receiver: question.receiver.to_owned(),
        terms_left: TERMS_MAX,
        void_left: VOID_LOOKUPS_MAX,
        client_name: None,
    };
    if !is_domain(domain) {
        return Answer::of(AuthResult::None);
    }
    let found = check.domain(domain.to_owned()).await;
    let Found { result, explanation } = match found {
        Ok(found) => found,
        Err(trouble) => return Answer::of(trouble.result()),
    };
    let explanation = match (result, explanation) {
        (AuthResult::Fail, Some((text, domain))) => check.explain(&text, &domain).await,
        _ => None,
    };
    Answer { result, explanation }
}

/// A name of an address that leads back to it. Trouble on the way is no name.
pub(crate) async fn client_name(resolver: &Resolver, ip: IpAddr) -> Option<String> {
    let ip = canonical(ip);
    for name in resolver.ptr(ip).await.ok()?.into_iter().take(CLIENT_NAMES_MAX) {
        if addresses(resolver, &name, ip).await.is_ok_and(|found| found.contains(&ip)) {
            return Some(name);
        }
    }
    None
}

/// An IPv4 client may appear as an IPv6 one (RFC 4291 2.5.5.2).
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// RFC 7208 4.3: several labels of 1 to 63 characters; a literal or a bare host name is none.
fn is_domain(domain: &str) -> bool {
    let plain = domain.strip_suffix('.').unwrap_or(domain);
    plain.contains('.')
        && plain.len() <= DOMAIN_CHARS_MAX
        && !plain.contains(['[', ']', ':'])
        && plain.split('.').all(|label| (1..=LABEL_CHARS_MAX).contains(&label.len()))
        && plain.parse::<Ipv4Addr>().is_err()
}

/// What ends a check early.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// Names could not be looked up now.
    Temporary,
    /// The record is broken, or costs too much.
    Permanent,
}

impl Trouble {
    fn result(self) -> AuthResult {
        match self {
            Trouble::Temporary => AuthResult::TempError,
            Trouble::Permanent => AuthResult::PermError,
        }
    }
}

struct Found {
    result: AuthResult,
    /// The `exp` that applies, with the domain that it stands in.
    explanation: Option<(MacroText, String)>,
}

struct Check<'a> {
    resolver: &'a Resolver,
    ip: IpAddr,
    helo: String,
    local: String,
    sender_domain: String,
    receiver: String,
    terms_left: usize,
    void_left: usize,
    /// The client's validated names, once they were asked for.
    client_name: Option<Vec<String>>,
}

impl Check<'_> {
    /// One record, with what it redirects to. Boxed, since records lead to records; their number is bounded.
    fn domain(&mut self, domain: String) -> BoxFuture<'_, Result<Found, Trouble>> {
        async move {
            let Some(record) = self.record(&domain).await? else {
                return Ok(Found { result: AuthResult::None, explanation: None });
            };
            for (qualifier, mechanism) in &record.directives {
                if self.matches(mechanism, &domain).await? {
                    let result = match qualifier {
                        Qualifier::Pass => AuthResult::Pass,
                        Qualifier::Fail => AuthResult::Fail,
                        Qualifier::SoftFail => AuthResult::SoftFail,
                        Qualifier::Neutral => AuthResult::Neutral,
                    };
                    return Ok(Found { result, explanation: record.explanation.map(|text| (text, domain)) });
                }
            }
            let Some(target) = &record.redirect else {
                // RFC 7208 4.7: nothing matched.
                return Ok(Found { result: AuthResult::Neutral, explanation: None });
            };
            self.count_term()?;
            let target = self.expand(target, &domain).await;
            let found = self.domain(target).await?;
            // RFC 7208 6.1: a redirection to nothing is broken.
            if found.result == AuthResult::None { Err(Trouble::Permanent) } else { Ok(found) }
        }
        .boxed()
    }

    /// The one SPF record of a domain (RFC 7208 4.4, 4.5).
    async fn record(&self, domain: &str) -> Result<Option<Record>, Trouble> {
        let texts = match self.resolver.txt(domain).await {
            Ok(texts) => texts,
            Err(error) if is_void(&error) => return Ok(None),
            Err(_) => return Err(Trouble::Temporary),
        };
        let mut records = texts.iter().filter(|text| is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(record), None) => Record::parse(record).map(Some).map_err(|_| Trouble::Permanent),
            (Some(_), Some(_)) => Err(Trouble::Permanent),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Trouble> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => Ok(in_network(self.ip, IpAddr::V4(*network), *bits)),
            Mechanism::Ip6(network, bits) => Ok(in_network(self.ip, IpAddr::V6(*network), *bits)),
            Mechanism::Include(target) => self.include(target, domain).await,
            Mechanism::A(target, prefix) => {
                self.count_term()?;
                let target = self.target(target.as_ref(), domain).await;
                self.has_address(&target, *prefix).await
            }
            Mechanism::Mx(target, prefix) => self.mx(target.as_ref(), *prefix, domain).await,
            Mechanism::Ptr(target) => {
                self.count_term()?;
                let target = self.target(target.as_ref(), domain).await;
                let names = self.client_names().await?;
                Ok(names.iter().any(|name| is_at_or_under(name, &target)))
            }
            Mechanism::Exists(target) => {
                self.count_term()?;
                let target = self.expand(target, domain).await;
                // RFC 7208 5.7: always by A, whatever the client speaks.
                let found = self.resolver.ipv4(&target).await;
                Ok(self.found(found)?.is_some())
            }
        }
    }

    async fn include(&mut self, target: &MacroText, domain: &str) -> Result<bool, Trouble> {
        self.count_term()?;
        let target = self.expand(target, domain).await;
        // RFC 7208 5.2, the table.
        match self.domain(target).await?.result {
            AuthResult::Pass => Ok(true),
            AuthResult::Fail | AuthResult::SoftFail | AuthResult::Neutral => Ok(false),
            AuthResult::TempError => Err(Trouble::Temporary),
            AuthResult::None | AuthResult::PermError => Err(Trouble::Permanent),
        }
    }

    async fn mx(&mut self, target: Option<&MacroText>, prefix: Prefix, domain: &str) -> Result<bool, Trouble> {
        self.count_term()?;
        let target = self.target(target, domain).await;
        let found = self.resolver.mx(&target).await;
        let Some(hosts) = self.found(found)? else { return Ok(false) };
        if hosts.len() > NAMES_MAX {
            return Err(Trouble::Permanent);
        }
        for (_, host) in hosts.iter().filter(|(_, host)| !host.is_empty()) {
            if self.has_address(host, prefix).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_address(&mut self, host: &str, prefix: Prefix) -> Result<bool, Trouble> {
        let found = addresses(self.resolver, host, self.ip).await;
        let bits = if self.ip.is_ipv4() { prefix.v4 } else { prefix.v6 };
        let ip = self.ip;
        Ok(self.found(found)?.is_some_and(|found| found.iter().any(|address| in_network(ip, *address, bits))))
    }

    /// The client's names that lead back to it (RFC 7208 5.5). Trouble on the way is no name.
    async fn client_names(&mut self) -> Result<Vec<String>, Trouble> {
        if let Some(names) = &self.client_name {
            return Ok(names.clone());
        }
        let claimed = self.resolver.ptr(self.ip).await;
        let claimed = match claimed {
            Err(error) if is_void(&error) => {
                self.count_void()?;
                Vec::new()
            }
            claimed => claimed.unwrap_or_default(),
        };
        let mut names = Vec::new();
        for name in claimed.into_iter().take(NAMES_MAX) {
            if addresses(self.resolver, &name, self.ip).await.is_ok_and(|found| found.contains(&self.ip)) {
                names.push(name);
            }
        }
        self.client_name = Some(names.clone());
        Ok(names)
    }

    async fn target(&mut self, target: Option<&MacroText>, domain: &str) -> String {
        match target {
            Some(target) => self.expand(target, domain).await,
            None => domain.to_owned(),
        }
    }

    /// The domain that a text stands for.
    async fn expand(&mut self, text: &MacroText, domain: &str) -> String {
        let expanded = self.expand_text(text, domain).await;
        let mut rest = expanded.strip_suffix('.').unwrap_or(&expanded);
        while rest.len() > DOMAIN_CHARS_MAX {
            let Some((_, shorter)) = rest.split_once('.') else { break };
            rest = shorter;
        }
        rest.to_owned()
    }

    async fn expand_text(&mut self, text: &MacroText, domain: &str) -> String {
        let client_names = match text.names_client() {
            true => self.client_names().await.unwrap_or_default(),
            false => Vec::new(),
        };
        text.expand(&Values { check: self, domain, client_names: &client_names })
    }

    /// RFC 7208 6.2: whatever goes wrong here leaves the result without words.
    async fn explain(&mut self, text: &MacroText, domain: &str) -> Option<String> {
        let name = self.expand(text, domain).await;
        let texts = self.resolver.txt(&name).await.ok()?;
        let [only] = texts.as_slice() else { return None };
        let text = MacroText::parse(only, Scope::Explanation).ok()?;
        let words = self.expand_text(&text, domain).await;
        Some(words.chars().filter(|c| !c.is_control()).take(EXPLANATION_CHARS_MAX).collect())
    }

    fn count_term(&mut self) -> Result<(), Trouble> {
        self.terms_left = self.terms_left.checked_sub(1).ok_or(Trouble::Permanent)?;
        Ok(())
    }

    fn count_void(&mut self) -> Result<(), Trouble> {
        self.void_left = self.void_left.checked_sub(1).ok_or(Trouble::Permanent)?;
        Ok(())
    }

    /// What a term's lookup found; nothing at all is counted.
    fn found<T>(&mut self, answer: Result<T, DnsError>) -> Result<Option<T>, Trouble> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_void(&error) => self.count_void().map(|()| None),
            Err(_) => Err(Trouble::Temporary),
        }
    }
}

/// Whether the names answered, and there is nothing. A name that cannot exist is such an answer.
fn is_void(error: &DnsError) -> bool {
    matches!(error, DnsError::NotFound { .. } | DnsError::InvalidName { .. })
}

async fn addresses(resolver: &Resolver, host: &str, like: IpAddr) -> Result<Vec<IpAddr>, DnsError> {
    Ok(match like {
        IpAddr::V4(_) => resolver.ipv4(host).await?.into_iter().map(IpAddr::V4).collect(),
        IpAddr::V6(_) => resolver.ipv6(host).await?.into_iter().map(IpAddr::V6).collect(),
    })
}

fn in_network(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

fn is_at_or_under(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.trim_end_matches('.').to_ascii_lowercase());
    name == domain || name.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

struct Values<'a> {
    check: &'a Check<'a>,
    domain: &'a str,
    client_names: &'a [String],
}

impl Expand for Values<'_> {
    fn letter(&self, letter: char) -> String {
        let check = self.check;
        match letter {
            's' => format!("{}@{}", check.local, check.sender_domain),
            'l' => check.local.clone(),
            'o' => check.sender_domain.clone(),
            'd' => self.domain.to_owned(),
            'i' => match check.ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => {
                    let nibbles = ip.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
                    nibbles.map(|nibble| format!("{nibble:X}")).collect::<Vec<_>>().join(".")
                }
            },
            'p' => self.client_name(),
            'h' => check.helo.clone(),
            'v' if check.ip.is_ipv4() => "in-addr".into(),
            'v' => "ip6".into(),
            'c' => check.ip.to_string(),
            'r' => check.receiver.clone(),
            // No clock comes here: the time of an explanation is told by the field that it stands in.
            't' => "0".into(),
            _ => String::new(),
        }
    }
}

impl Values<'_> {
    /// RFC 7208 7.3: the domain itself, else a name under it, else any, else `unknown`.
    fn client_name(&self) -> String {
        let exact = self.client_names.iter().find(|name| name.eq_ignore_ascii_case(self.domain));
        let under = || self.client_names.iter().find(|name| is_at_or_under(name, self.domain));
        let any = exact.or_else(under).or_else(|| self.client_names.first());
        any.cloned().unwrap_or_else(|| "unknown".into())
    }
}

#[cfg(test)]
mod suite;
