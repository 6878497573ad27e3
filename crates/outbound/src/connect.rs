//! Connecting: the hosts of a plan in their order, with the TLS that each must have, and what is noted about it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use model::{ReplyClass, Timestamp};
use rustls_pki_types::ServerName;
use smtp::client::{Client, ClientConfig, ClientError, Phase, TlsMode};

use crate::attempt::{self, Connection, Fate, NoConnection};
use crate::plan::{Hop, Plan};
use crate::routes::RelayTls;
use crate::shaping::Source;
use crate::tls::results::Failure;
use crate::tls::{Demand, verify};
use crate::{AgentConfig, FailureClass, RouteFailure, Routes};

/// Addresses tried for one connection (RFC 5321 5.1 wants at least two).
const TARGETS_MAX: usize = 6;
/// Addresses of one host as long as others have had none: one host with many must not stand for all.
const HOST_TARGETS_MIN: usize = 2;
/// A host whose TLS failed gets clear text for so long, where clear text is allowed, without trying again.
const TLS_BROKEN_MS: i64 = 60 * 60_000;
const TLS_BROKEN_MAX: usize = 10_000;
/// After a host was only reached by IPv4 while IPv6 failed, IPv4 goes first for so long.
const IPV6_DOWN_MS: i64 = 10 * 60_000;

/// What connecting needs besides the plan.
pub(crate) struct Connector {
    any: Arc<rustls::ClientConfig>,
    checked: Arc<rustls::ClientConfig>,
    roots: Arc<rustls::RootCertStore>,
    state: Mutex<State>,
}

struct State {
    broken_tls: HashMap<SocketAddr, Timestamp>,
    ipv6_down_until: Timestamp,
    rng: fastrand::Rng,
}

/// Who connects, and where not to.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) config: &'a AgentConfig,
    pub(crate) routes: &'a Routes,
    pub(crate) source: &'a Source,
    /// Hosts that took nothing of this mail a moment ago.
    pub(crate) avoided: &'a [SocketAddr],
}

/// What one attempt came to, for the report.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) hop: Hop,
    pub(crate) local_ip: Option<IpAddr>,
    /// `None`: TLS as it should be.
    pub(crate) failure: Option<Failure>,
}

impl Connector {
    pub(crate) fn new(config: &AgentConfig) -> Connector {
        let state = State {
            broken_tls: HashMap::new(),
            ipv6_down_until: Timestamp::from_micros(0),
            rng: fastrand::Rng::with_seed(config.seed),
        };
        Connector {
            any: verify::any_certificate(),
            checked: verify::checked(&config.tls.roots),
            roots: config.tls.roots.clone(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to the first host of the plan that talks to us and is not avoided. What was seen of TLS on the way goes to `note`.
    ///
    /// A greeting of 5yz counts as "not now": it speaks about the host, not about the mail, and the next host or hour may
    /// differ.
    pub(crate) async fn connect(
        &self,
        who: &Who<'_>,
        plan: &Plan,
        now: Timestamp,
        mut note: impl FnMut(Seen),
    ) -> Result<Connection, NoConnection> {
        let Who { config, routes, source, avoided } = *who;
        let none = "no address to connect to from here".to_owned();
        let fate = Fate::Failed { class: FailureClass::Connect, cause: none };
        let mut last = NoConnection { fate, host: String::new(), slower: None, is_login_refused: false };
        let mut has_ipv6_failed = false;
        let hops = self.order(plan, source, now).into_iter();
        for hop in hops.filter(|hop| !avoided.contains(&hop.target.addr)) {
            let mut base = ClientConfig::new(source.hostname.clone().unwrap_or_else(|| config.hostname.clone()));
            base.timeouts = config.timeouts;
            base.source_ip = source_ip(source, hop.target.addr.ip());
            base.credentials = routes.relay.as_ref().filter(|_| plan.is_relay).and_then(|r| r.credentials.clone());
            let is_implicit =
                plan.is_relay && routes.relay.as_ref().is_some_and(|relay| relay.tls == RelayTls::Implicit);
            match self.connect_hop(&hop, base, is_implicit, now, &mut note).await {
                // A host that greets us with our own name is this one, however its address came to be (RFC 5321 5.1). Where
                // a better one did not answer, that one is waited for.
                Ok(client) if plan.is_by_names && is_ourselves(&client, routes) => {
                    client.quit().await;
                    return Err(if last.host.is_empty() { comes_back(&hop) } else { last });
                }
                Ok(client) => {
                    if has_ipv6_failed && hop.target.addr.is_ipv4() {
                        self.state().ipv6_down_until = now.plus_ms(IPV6_DOWN_MS);
                    }
                    let is_tls_given_up =
                        client.tls().is_none() && client.capabilities().starttls && !matches!(hop.demand, Demand::Off);
                    let (target, is_own) = (hop.target, plan.is_own);
                    return Ok(Connection { client, target, mail_count: 0, is_own, is_tls_given_up });
                }
                Err(error) => {
                    has_ipv6_failed |= hop.target.addr.is_ipv6() && is_unreachable(&error);
                    last = no_connection(&hop, &error);
                }
            }
        }
        Err(last)
    }

    async fn connect_hop(
        &self,
        hop: &Hop,
        base: ClientConfig,
        is_implicit: bool,
        now: Timestamp,
        note: &mut impl FnMut(Seen),
    ) -> Result<Client, ClientError> {
        let problem = Arc::new(Mutex::new(None));
        let tls = self.mode(hop, is_implicit, &problem, now);
        let is_clear = matches!(tls, TlsMode::Off);
        let local_ip = base.source_ip;
        let connected = Client::connect(hop.target.addr, ClientConfig { tls, ..base.clone() }).await;
        let mut see = |failure| note(Seen { hop: hop.clone(), local_ip, failure });
        match connected {
            Ok(client) => {
                let noted = problem.lock().unwrap_or_else(PoisonError::into_inner).take();
                match (client.tls(), noted) {
                    _ if matches!(hop.demand, Demand::Off) || is_clear => {}
                    (None, _) => see(Some(Failure::starttls_not_supported())),
                    (Some(_), Some(error)) => see(Some(Failure::of_tls(&error, &hop.demand))),
                    (Some(_), None) if hop.is_unnamed => see(Some(Failure::not_in_policy())),
                    (Some(_), None) => see(None),
                }
                Ok(client)
            }
            Err(error) if is_tls_trouble(&error) => {
                see(Some(Failure::of_client(&error, &hop.demand)));
                if hop.demand.is_strict() {
                    return Err(error);
                }
                // RFC 7435: encryption where it works, clear text rather than no mail where it does not.
                self.remember_broken(hop.target.addr, now);
                tracing::info!(host = %hop.target.host, "TLS with {} failed, going on without: {error}", hop.target.host);
                Client::connect(hop.target.addr, base).await
            }
            Err(error) => Err(error),
        }
    }

    fn mode(
        &self,
        hop: &Hop,
        is_implicit: bool,
        problem: &Arc<Mutex<Option<rustls::Error>>>,
        now: Timestamp,
    ) -> TlsMode {
        let ip = || ServerName::IpAddress(hop.target.addr.ip().into());
        let server_name = ServerName::try_from(hop.target.host.clone()).unwrap_or_else(|_| ip());
        let is_broken = || self.state().broken_tls.get(&hop.target.addr).is_some_and(|until| *until > now);
        match &hop.demand {
            Demand::Off => TlsMode::Off,
            Demand::Opportunistic if is_broken() => TlsMode::Off,
            Demand::Opportunistic => TlsMode::Opportunistic { config: self.any.clone(), server_name },
            Demand::Tested => {
                let config = verify::noted(&self.roots, problem.clone());
                TlsMode::Opportunistic { config, server_name }
            }
            Demand::Encrypted => TlsMode::Required { config: self.any.clone(), server_name },
            Demand::Verified if is_implicit => TlsMode::Implicit { config: self.checked.clone(), server_name },
            Demand::Verified => TlsMode::Required { config: self.checked.clone(), server_name },
            Demand::Dane(basis) => {
                TlsMode::Required { config: basis.config.clone(), server_name: basis.server_name.clone() }
            }
        }
    }

    fn remember_broken(&self, addr: SocketAddr, now: Timestamp) {
        let mut state = self.state();
        if state.broken_tls.len() >= TLS_BROKEN_MAX {
            state.broken_tls.retain(|_, until| *until > now);
        }
        if state.broken_tls.len() < TLS_BROKEN_MAX {
            state.broken_tls.insert(addr, now.plus_ms(TLS_BROKEN_MS));
        }
    }

    /// The order to try: by preference; hosts of one preference in any order (RFC 5321 5.1); of one host the two families
    /// in turn, IPv6 first unless it failed lately; at most [`TARGETS_MAX`], of which every host has its share.
    fn order(&self, plan: &Plan, source: &Source, now: Timestamp) -> Vec<Hop> {
        let mut state = self.state();
        let is_ipv6_down = state.ipv6_down_until > now;
        let mut hosts: Vec<(u16, u32, Vec<Hop>)> = Vec::new();
        for hop in plan.hops.iter().filter(|hop| can_reach(source, hop.target.addr.ip())) {
            let is_same = |(preference, _, hops): &&mut (u16, u32, Vec<Hop>)| {
                *preference == hop.preference && hops[0].target.host == hop.target.host
            };
            match hosts.iter_mut().find(is_same) {
                Some((_, _, hops)) => hops.push(hop.clone()),
                None => hosts.push((hop.preference, state.rng.u32(..), vec![hop.clone()])),
            }
        }
        hosts.sort_by_key(|(preference, lot, _)| (*preference, *lot));
        let in_turn = |hops: Vec<Hop>| {
            let (v6, v4): (Vec<Hop>, Vec<Hop>) = hops.into_iter().partition(|hop| hop.target.addr.is_ipv6());
            let (first, second) = if is_ipv6_down { (v4, v6) } else { (v6, v4) };
            let (mut first, mut second) = (first.into_iter(), second.into_iter());
            let mut mixed = Vec::new();
            loop {
                let pair = [first.next(), second.next()];
                if pair.iter().all(Option::is_none) {
                    return mixed;
                }
                mixed.extend(pair.into_iter().flatten());
            }
        };
        shares(hosts.into_iter().map(|(_, _, hops)| in_turn(hops)).collect())
    }
}

/// [`TARGETS_MAX`] of all, in their order: [`HOST_TARGETS_MIN`] of each host as far as they go, the rest to the first hosts.
fn shares<T>(hosts: Vec<Vec<T>>) -> Vec<T> {
    let mut left = TARGETS_MAX;
    let mut counts: Vec<usize> = Vec::with_capacity(hosts.len());
    for host in &hosts {
        let count = host.len().min(HOST_TARGETS_MIN).min(left);
        left -= count;
        counts.push(count);
    }
    for (host, count) in hosts.iter().zip(&mut counts) {
        let more = (host.len() - *count).min(left);
        left -= more;
        *count += more;
    }
    hosts.into_iter().zip(counts).flat_map(|(host, count)| host.into_iter().take(count)).collect()
}

/// By the first word of the banner. What a system calls itself before somebody gives it a name says nothing.
fn is_ourselves(client: &Client, routes: &Routes) -> bool {
    let greeting = client.greeting().lines().first().map(String::as_str).unwrap_or_default();
    let name = greeting.split_whitespace().next().unwrap_or_default();
    name.contains('.') && !name.starts_with("localhost") && routes.is_own_name(name)
}

fn comes_back(hop: &Hop) -> NoConnection {
    let host = hop.target.to_string();
    NoConnection { host: host.clone(), ..attempt::no_route(&RouteFailure::Loop(host)) }
}

/// A named identity only goes where it has an address of the family.
fn can_reach(source: &Source, ip: IpAddr) -> bool {
    let is_named = source.ipv4.is_some() || source.ipv6.is_some();
    !is_named || source_ip(source, ip).is_some()
}

fn source_ip(source: &Source, to: IpAddr) -> Option<IpAddr> {
    match to {
        IpAddr::V4(_) => source.ipv4.map(IpAddr::V4),
        IpAddr::V6(_) => source.ipv6.map(IpAddr::V6),
    }
}

fn is_unreachable(error: &ClientError) -> bool {
    matches!(error, ClientError::Connect(_) | ClientError::Timeout { phase: Phase::Connect })
}

fn is_tls_trouble(error: &ClientError) -> bool {
    match error {
        ClientError::Tls(_) | ClientError::TlsUnavailable => true,
        // With TLS 1.3 a host says what it does not like after our side is done, in place of its next reply.
        ClientError::Lost { source, .. } if is_alert(source) => true,
        ClientError::Timeout { phase } | ClientError::Lost { phase, .. } => *phase == Phase::StartTls,
        ClientError::Connect(_)
        | ClientError::UnclearEnd { .. }
        | ClientError::Closed { .. }
        | ClientError::Protocol { .. }
        | ClientError::AuthUnavailable(_)
        | ClientError::AuthRefused(_)
        | ClientError::RequireTlsUnavailable
        | ClientError::EightBitRefused
        | ClientError::Utf8Refused => false,
    }
}

fn is_alert(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn no_connection(hop: &Hop, error: &ClientError) -> NoConnection {
    let class = if is_tls_trouble(error) { FailureClass::Tls } else { FailureClass::Connect };
    let cause = format!("{} [{}]: {error}", hop.target.host, hop.target.addr);
    let slower = match error {
        ClientError::Closed { reply, .. } if reply.class() == ReplyClass::Transient => Some(reply.to_string()),
        _ => None,
    };
    let is_login_refused = matches!(error, ClientError::AuthRefused(_) | ClientError::AuthUnavailable(_));
    NoConnection { fate: Fate::Failed { class, cause }, host: hop.target.to_string(), slower, is_login_refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_share_of_the_tries() {
        let check = |counts: &[usize], want: &[usize]| {
            let hosts: Vec<Vec<usize>> = counts.iter().enumerate().map(|(host, n)| vec![host; *n]).collect();
            let got = shares(hosts);
            let of = |host: usize| got.iter().filter(|one| **one == host).count();
            assert_eq!((0..counts.len()).map(of).collect::<Vec<_>>(), want, "{counts:?}");
            assert!(got.is_sorted(), "in the order of the hosts: {got:?}");
        };
        check(&[20], &[6]);
        check(&[20, 1], &[5, 1]);
        check(&[20, 20], &[4, 2]);
        check(&[1, 20, 20], &[1, 3, 2]);
        check(&[2, 2, 2, 2], &[2, 2, 2, 0]);
        check(&[1, 1], &[1, 1]);
        check(&[], &[]);
    }
}
