//! The plan for a domain's mail: which hosts, in which order, with which TLS, under which limits. Made once, used by all
//! mail to the domain for a short while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dns::Secured;
use model::Timestamp;
use store::Store;

use crate::limits::{Bounds, Level, queue_group};
use crate::routes::{Route, failure};
use crate::shaping::{Pool, Shaped, Shaping, Source};
use crate::tls::dane::{self, DaneFound};
use crate::tls::results::PolicyNote;
use crate::tls::sts::{Sts, StsFound, StsMode};
use crate::tls::{Demand, TlsConfig, TlsLevel};
use crate::{AgentConfig, RouteFailure, RouteKey, Routes, Target};

/// How long a plan is used.
const PLAN_MS: i64 = 2 * 60_000;
const PLANS_MAX: usize = 10_000;
/// MX records looked at.
const EXCHANGERS_MAX: usize = 16;
/// Mail hosts named by a group that is no provider.
const GROUP_HOSTS_MAX: usize = 3;
const OWN_GROUP: &str = "this server";
const DEFAULT_POOL: &str = "default";

/// What one plan is made from before its levels are known.
struct Draft {
    key: RouteKey,
    group: String,
    hops: Vec<Hop>,
    shaped: Shaped,
    note: Option<Arc<PolicyNote>>,
    is_relay: bool,
    queue_group: Option<String>,
}

/// What decides about a plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    /// The recipients' domain.
    pub(crate) domain: String,
    /// The pool that the sender's domain asks for.
    pub(crate) pool: Option<String>,
    /// RFC 8689.
    pub(crate) require_tls: bool,
    /// A TLS report: it goes whatever TLS does (RFC 8460 3).
    pub(crate) is_report: bool,
}

/// One host's address to try, with what it must do.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) preference: u16,
    pub(crate) target: Target,
    pub(crate) demand: Demand,
    /// In testing mode: the policy does not name this host.
    pub(crate) is_unnamed: bool,
}

/// A plan.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What shares connections.
    pub(crate) key: RouteKey,
    /// The MX group, whose limits count.
    pub(crate) group: Level,
    /// What the queue shows the hosts as, where that is not the organisation of whichever was tried.
    pub(crate) queue_group: Option<String>,
    /// Best preference first; those of one preference in any order.
    pub(crate) hops: Vec<Hop>,
    pub(crate) is_own: bool,
    pub(crate) is_relay: bool,
    /// Names led to the hosts, and may have led back to us: RFC 5321 5.1.
    pub(crate) is_by_names: bool,
    pub(crate) shaped: Shaped,
    /// Who we are on the way, each with the levels that a connection passes.
    pub(crate) sources: Vec<(Source, Vec<(Level, Bounds)>)>,
    /// The levels that a mail passes, without the source's and the sender's.
    pub(crate) path: Vec<(Level, Bounds)>,
    /// For the report about TLS; `None` where nothing is reported.
    pub(crate) note: Option<Arc<PolicyNote>>,
}

/// Makes plans.
pub(crate) struct Planner {
    pub(crate) routes: Routes,
    tls: TlsConfig,
    shaping: Shaping,
    sts: Option<Sts>,
    connections_max: usize,
    route_connections_max: usize,
    messages_per_minute: Option<u32>,
    store: Store,
    plans: Mutex<HashMap<Wish, (Arc<Plan>, Timestamp)>>,
    turn: AtomicUsize,
}

/// A mail host as the names say.
struct Exchanger {
    preference: u16,
    host: String,
    ips: Vec<IpAddr>,
    dane: DaneFound,
}

impl Planner {
    pub(crate) fn new(store: &Store, config: &AgentConfig, routes: Routes) -> Planner {
        let tls = config.tls.clone();
        let sts = tls.sts.clone().filter(|_| tls.level != TlsLevel::Off);
        let sts = sts.map(|sts| Sts::new(store.clone(), routes.resolver.clone(), sts, &tls.roots));
        Planner {
            routes,
            tls,
            shaping: config.shaping.clone().with_plain_names(),
            sts,
            connections_max: config.connections_max.max(1),
            route_connections_max: config.route_connections_max.max(1),
            messages_per_minute: config.messages_per_minute_max,
            store: store.clone(),
            plans: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<Wish, (Arc<Plan>, Timestamp)>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next of a plan's identities, in turn.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The levels of a sender's domain; none when nobody limits it.
    pub(crate) fn sender(&self, domain: &str) -> Option<(Level, Bounds)> {
        let shape = self.shaping.sender.get(domain)?;
        let bounds =
            Bounds { connections: None, per_second: shape.messages_per_second, per_minute: shape.messages_per_minute };
        Some((Level::Sender(domain.to_owned()), bounds))
    }

    /// The pool that a sender's domain asks for.
    pub(crate) fn pool_of(&self, sender_domain: &str) -> Option<String> {
        self.shaping.sender.get(sender_domain)?.pool.clone()
    }

    /// A plan that is at hand.
    pub(crate) fn cached(&self, wish: &Wish) -> Option<Arc<Plan>> {
        let now = self.store.now();
        self.plans().get(wish).filter(|(_, until)| *until > now).map(|(plan, _)| plan.clone())
    }

    /// The plan, made when it is not at hand.
    ///
    /// # Errors
    /// Why there is no host to go to.
    pub(crate) async fn plan(&self, wish: &Wish) -> Result<Arc<Plan>, RouteFailure> {
        if let Some(plan) = self.cached(wish) {
            return Ok(plan);
        }
        let plan = Arc::new(self.make(wish).await?);
        let now = self.store.now();
        let mut plans = self.plans();
        if plans.len() >= PLANS_MAX {
            plans.retain(|_, (_, until)| *until > now);
        }
        if plans.len() < PLANS_MAX {
            plans.insert(wish.clone(), (plan.clone(), now.plus_ms(PLAN_MS)));
        }
        Ok(plan)
    }

    async fn make(&self, wish: &Wish) -> Result<Plan, RouteFailure> {
        match self.routes.route(&wish.domain) {
            Route::Own(addr) => Ok(self.own(addr)),
            Route::Static(addr) => {
                let target = Target { host: addr.ip().to_string(), addr };
                self.fixed(wish, self.routes.static_name(addr), vec![target], RouteKey::Static(addr), None)
            }
            Route::Relay(relay) => {
                let ips = self.routes.resolver.addresses(&relay.host).await.map_err(|error| failure(&error))?;
                let target = |ip| Target { host: relay.host.clone(), addr: SocketAddr::new(ip, relay.port) };
                let targets = ips.into_iter().map(target).collect();
                let group = format!("relay {}", relay.host);
                self.fixed(wish, group, targets, RouteKey::Relay, Some(relay.demand()))
            }
            Route::Names => self.by_names(wish).await,
        }
    }

    /// Our own gateway: not limited but by the whole, and never left alone for what it says.
    fn own(&self, addr: SocketAddr) -> Plan {
        let shaped = self.shaping.of("", &[]);
        let connections = Some(self.route_connections_max);
        let path = vec![
            (Level::Global, Bounds { connections: Some(self.connections_max), ..Bounds::default() }),
            (Level::Group(OWN_GROUP.into()), Bounds { connections, ..Bounds::default() }),
        ];
        let target = Target { host: addr.ip().to_string(), addr };
        let demand = Demand::Off;
        Plan {
            key: RouteKey::Static(addr),
            group: Level::Group(OWN_GROUP.into()),
            queue_group: Some(OWN_GROUP.into()),
            hops: vec![Hop { preference: 0, target, demand, is_unnamed: false }],
            is_own: true,
            is_relay: false,
            is_by_names: false,
            shaped,
            sources: vec![(nobody(), path.clone())],
            path,
            note: None,
        }
    }

    /// To hosts that nobody's names say.
    fn fixed(
        &self,
        wish: &Wish,
        group: String,
        targets: Vec<Target>,
        key: RouteKey,
        demand: Option<Demand>,
    ) -> Result<Plan, RouteFailure> {
        let hosts: Vec<&str> = targets.iter().map(|target| target.host.as_str()).collect();
        let shaped = self.shaping.of(&wish.domain, &hosts);
        let demand = demand.unwrap_or_else(|| self.base_demand(&shaped, wish));
        // RFC 8689 4.2.1: the certificate has to say that it is the host that was meant.
        if wish.require_tls && !demand.is_authenticated() {
            return Err(RouteFailure::RequireTls);
        }
        let hop = |target| Hop { preference: 0, target, demand: demand.clone(), is_unnamed: false };
        let hops = targets.into_iter().map(hop).collect();
        let is_relay = key == RouteKey::Relay;
        let queue_group = Some(queue_group(&group));
        Ok(self.finish(wish, Draft { key, group, hops, shaped, note: None, is_relay, queue_group }))
    }

    /// What hosts must do that no policy of theirs says more about.
    fn base_demand(&self, shaped: &Shaped, wish: &Wish) -> Demand {
        match shaped.tls.unwrap_or(self.tls.level) {
            TlsLevel::Off => Demand::Off,
            TlsLevel::Opportunistic => Demand::Opportunistic,
            TlsLevel::Required if wish.is_report => Demand::Opportunistic,
            TlsLevel::Required => Demand::Encrypted,
        }
    }

    /// RFC 5321 5.1, with what DANE and MTA-STS add.
    async fn by_names(&self, wish: &Wish) -> Result<Plan, RouteFailure> {
        let domain = wish.domain.as_str();
        if domain.starts_with('[') {
            let target = self.routes.literal(domain)?;
            let key = RouteKey::Site(domain.into());
            return self.fixed(wish, domain.to_owned(), vec![target], key, None);
        }
        let domain = idna::domain_to_ascii(domain).map_err(|_| RouteFailure::NoHost)?;
        let exchangers = self.exchangers(&domain).await?;
        let hosts: Vec<&str> = exchangers.iter().map(|e| e.host.as_str()).collect();
        let shaped = self.shaping.of(&domain, &hosts);
        let uses_policies = shaped.tls.unwrap_or(self.tls.level) != TlsLevel::Off;
        let sts = match &self.sts {
            Some(sts) if uses_policies => sts.find(&domain).await,
            _ => StsFound::default(),
        };
        let note = PolicyNote::of(&domain, &exchangers_dane(&exchangers), &sts);
        let hops = self.hops(wish, &exchangers, &shaped, &sts)?;
        let mut names: Vec<&str> = hosts.clone();
        names.sort_unstable();
        names.dedup();
        let group = shaped.provider.clone().unwrap_or_else(|| group_name(&names));
        let tags: Vec<&str> = hops.iter().map(|hop| hop.demand.tag()).collect();
        // A trust anchor vouches for the domain's own name too (RFC 7672 3.2.2): what it accepts is good for this domain alone.
        let is_by_anchor = hops.iter().any(|hop| matches!(&hop.demand, Demand::Dane(basis) if basis.has_anchor));
        let whose = if is_by_anchor { domain.as_str() } else { "" };
        // Domains with the same hosts in another order go there by connections of their own: the order is theirs to say.
        let key = format!("{} {} {whose}", in_order(&exchangers), tags.join(","));
        let note = (uses_policies && !wish.is_report).then(|| Arc::new(note));
        let key = RouteKey::Site(key.into());
        let queue_group = shaped.provider.as_deref().map(queue_group);
        Ok(self.finish(wish, Draft { key, group, hops, shaped, note, is_relay: false, queue_group }))
    }

    /// The hosts with what each must do; those that a policy rules out are left out.
    fn hops(
        &self,
        wish: &Wish,
        exchangers: &[Exchanger],
        shaped: &Shaped,
        sts: &StsFound,
    ) -> Result<Vec<Hop>, RouteFailure> {
        let mut hops = Vec::new();
        let mut left_out = None;
        for exchanger in exchangers {
            let (demand, is_unnamed) = match self.demand(wish, exchanger, shaped, sts) {
                Ok(demand) => demand,
                Err(reason) => {
                    left_out = Some(reason);
                    continue;
                }
            };
            if wish.require_tls && !demand.is_authenticated() {
                left_out = Some(RouteFailure::RequireTls);
                continue;
            }
            hops.extend(exchanger.ips.iter().map(|ip| Hop {
                preference: exchanger.preference,
                target: Target { host: exchanger.host.clone(), addr: SocketAddr::new(*ip, self.routes.mx_port) },
                demand: demand.clone(),
                is_unnamed,
            }));
        }
        if hops.is_empty() { Err(left_out.unwrap_or(RouteFailure::NoHost)) } else { Ok(hops) }
    }

    /// What one host must do, and whether a policy under test does not name it.
    fn demand(
        &self,
        wish: &Wish,
        exchanger: &Exchanger,
        shaped: &Shaped,
        sts: &StsFound,
    ) -> Result<(Demand, bool), RouteFailure> {
        let base = self.base_demand(shaped, wish);
        if matches!(base, Demand::Off) || wish.is_report {
            return Ok((base, false));
        }
        match &exchanger.dane {
            // DANE decides where it says anything (RFC 8461 2).
            DaneFound::Usable(basis) => return Ok((Demand::Dane(basis.clone()), false)),
            DaneFound::Unusable => return Ok((Demand::Encrypted, false)),
            DaneFound::Failed(error) => return Err(RouteFailure::Dns(format!("TLSA of {}: {error}", exchanger.host))),
            DaneFound::None => {}
        }
        let Some(policy) = &sts.policy else { return Ok((base, false)) };
        let is_named = policy.covers(&exchanger.host);
        match policy.mode {
            StsMode::Enforce if is_named => Ok((Demand::Verified, false)),
            StsMode::Enforce => Err(RouteFailure::Policy(exchanger.host.clone())),
            // What is asked for anyway is not given up for a test.
            StsMode::Testing if base.is_strict() => Ok((base, !is_named)),
            StsMode::Testing => Ok((Demand::Tested, !is_named)),
            StsMode::None => Ok((base, false)),
        }
    }

    async fn exchangers(&self, domain: &str) -> Result<Vec<Exchanger>, RouteFailure> {
        let resolver = &self.routes.resolver;
        let trusts = resolver.trusts_ad() && self.tls.level != TlsLevel::Off;
        let found = match trusts {
            true => resolver.mx_secured(domain).await,
            false => resolver.mx(domain).await.map(|values| Secured { values, is_secure: false }),
        };
        let found = match found {
            Ok(found) => found,
            // RFC 5321 5.1: without MX the domain itself is the host. RFC 7672 2.2.1: then its own addresses decide.
            Err(error) if error.is_not_found() => Secured { values: vec![(0, domain.to_owned())], is_secure: trusts },
            Err(error) => return Err(failure(&error)),
        };
        if matches!(&found.values[..], [(_, host)] if host.is_empty()) {
            return Err(RouteFailure::NullMx);
        }
        let mut exchangers: Vec<Exchanger> = Vec::new();
        let (mut trouble, mut own) = (None, None);
        for (preference, host) in found.values.into_iter().take(EXCHANGERS_MAX) {
            if self.routes.is_own_name(&host) {
                own = Some((preference, host));
                break;
            }
            match self.exchanger(domain, preference, host, found.is_secure).await {
                Ok(exchanger) => {
                    if let Some(ip) = exchanger.ips.iter().find(|ip| self.routes.is_own_address(**ip)) {
                        own = Some((preference, format!("{} [{ip}]", exchanger.host)));
                        break;
                    }
                    exchangers.push(exchanger);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => trouble = Some(failure(&error)),
            }
        }
        // RFC 5321 5.1: of a list that names this host, only the hosts that are preferred to it are used.
        if let Some((preference, _)) = &own {
            exchangers.retain(|exchanger| exchanger.preference < *preference);
        }
        match (exchangers.is_empty(), trouble, own) {
            (false, ..) => Ok(exchangers),
            (true, Some(trouble), _) => Err(trouble),
            (true, None, Some((_, host))) => Err(RouteFailure::Loop(host)),
            (true, None, None) => Err(RouteFailure::NoHost),
        }
    }

    async fn exchanger(
        &self,
        domain: &str,
        preference: u16,
        host: String,
        is_secure: bool,
    ) -> Result<Exchanger, dns::DnsError> {
        let resolver = &self.routes.resolver;
        if !is_secure {
            let ips = resolver.addresses(&host).await?;
            return Ok(Exchanger { preference, host, ips, dane: DaneFound::None });
        }
        let found = resolver.addresses_secured(&host).await?;
        let (canonical, port) = (&found.values.canonical, self.tls.tlsa_port);
        let dane = dane::find(resolver, domain, &host, canonical, found.is_secure, port).await;
        Ok(Exchanger { preference, host, ips: found.values.ips, dane })
    }

    fn finish(&self, wish: &Wish, draft: Draft) -> Plan {
        let Draft { key, group, hops, shaped, note, is_relay, queue_group } = draft;
        let is_by_names = matches!(key, RouteKey::Site(_));
        let group = Level::Group(group);
        let global =
            Bounds { connections: Some(self.connections_max), per_second: None, per_minute: self.messages_per_minute };
        let most = |bounds: Bounds| Bounds {
            connections: bounds.connections.map(|most| most.min(self.route_connections_max)),
            ..bounds
        };
        let mut path = vec![(Level::Global, global), (group.clone(), most(shaped.group))];
        let mut key = key;
        if shaped.is_domain_named {
            let bounds = Bounds {
                connections: Some(shaped.connections),
                per_second: shaped.messages_per_second,
                per_minute: shaped.messages_per_minute,
            };
            path.push((Level::Domain(wish.domain.clone()), most(bounds)));
            key = key.apart(&wish.domain);
        }
        let pool = wish.pool.as_deref().or(shaped.pool.as_deref()).unwrap_or(DEFAULT_POOL);
        if pool != DEFAULT_POOL {
            key = key.apart(pool);
        }
        if wish.require_tls {
            key = key.apart("requiretls");
        }
        let nobody = Pool { name: DEFAULT_POOL.into(), source: vec![nobody()] };
        let pool = self.shaping.pool(pool).unwrap_or(&nobody);
        let sources = pool.source.iter().map(|source| (source.clone(), with_source(&path, source))).collect();
        Plan { key, group, queue_group, hops, is_own: false, is_relay, is_by_names, shaped, sources, path, note }
    }
}

/// Whatever address the system chooses.
fn nobody() -> Source {
    Source {
        name: DEFAULT_POOL.into(),
        ipv4: None,
        ipv6: None,
        hostname: None,
        connections: None,
        messages_per_minute: None,
    }
}

fn with_source(path: &[(Level, Bounds)], source: &Source) -> Vec<(Level, Bounds)> {
    let mut path = path.to_vec();
    let is_named = source.ipv4.is_some() || source.ipv6.is_some();
    if is_named {
        let bounds =
            Bounds { connections: source.connections, per_second: None, per_minute: source.messages_per_minute };
        path.insert(1, (Level::Source(source.name.clone()), bounds));
    }
    path
}

fn group_name(hosts: &[&str]) -> String {
    match hosts.len() {
        0..=GROUP_HOSTS_MAX => hosts.join(","),
        more => format!("{},+{}", hosts[..GROUP_HOSTS_MAX].join(","), more - GROUP_HOSTS_MAX),
    }
}

/// The hosts from the most to the least preferred: `a,b<c` when `a` and `b` are equals.
fn in_order(exchangers: &[Exchanger]) -> String {
    let mut text = String::new();
    let mut last = None;
    for exchanger in exchangers {
        match last {
            None => {}
            Some(preference) if preference == exchanger.preference => text.push(','),
            Some(_) => text.push('<'),
        }
        text.push_str(&exchanger.host);
        last = Some(exchanger.preference);
    }
    text
}

/// What TLSA records say, host by host, for the report.
fn exchangers_dane(exchangers: &[Exchanger]) -> Vec<(&str, &[String])> {
    exchangers
        .iter()
        .filter_map(|e| match &e.dane {
            DaneFound::Usable(basis) => Some((e.host.as_str(), basis.records.as_slice())),
            DaneFound::None | DaneFound::Unusable | DaneFound::Failed(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dns::{Resolver, ZoneServer};

    const ZONE: &str = "\
        $SECURE dane.example\n\
        two.example.   MX 20 b.two.example.\n\
        two.example.   MX 10 a.two.example.\n\
        a.two.example. A 192.0.2.2\n\
        b.two.example. A 192.0.2.3\n\
        bare.example.  A 192.0.2.4\n\
        none.example.  MX 0 .\n\
        ours.example.  MX 10 mx.us.example.\n\
        ours.example.  MX 20 b.two.example.\n\
        local.example. MX 10 here.local.example.\n\
        local.example. MX 20 b.two.example.\n\
        here.local.example. A 127.0.0.1\n\
        any4.example.  A 0.0.0.0\n\
        any6.example.  AAAA ::\n\
        six.example.   AAAA ::1\n\
        mapped.example. AAAA ::ffff:127.0.0.1\n\
        door.example.  MX 10 mx.door.example.\n\
        mx.door.example. A 192.0.2.77\n\
        backup.example. MX 5 b.two.example.\n\
        backup.example. MX 10 a.two.example.\n\
        backup.example. MX 10 here.local.example.\n\
        mixed.example. MX 5 a.two.example.\n\
        mixed.example. MX 10 mx.us.example.\n\
        ghost.example. MX 10 nowhere.example.\n\
        twin.example.  MX 2 b.two.example.\n\
        twin.example.  MX 1 a.two.example.\n\
        same.example.  MX 5 b.two.example.\n\
        same.example.  MX 5 a.two.example.\n\
        xn--bcher-kva.example. MX 5 a.two.example.\n\
        dane.example.  MX 5 good.dane.example.\n\
        dane.example.  MX 6 odd.dane.example.\n\
        dane.example.  MX 7 plain.dane.example.\n\
        dane.example.  MX 8 fails.dane.example.\n\
        dane.example.  MX 9 alias.dane.example.\n\
        dane.example.  MX 10 a.two.example.\n\
        good.dane.example.  A 192.0.2.11\n\
        _25._tcp.good.dane.example. TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
        odd.dane.example.   A 192.0.2.12\n\
        _25._tcp.odd.dane.example. TLSA 1 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
        plain.dane.example. A 192.0.2.13\n\
        $SERVFAIL _25._tcp.fails.dane.example\n\
        fails.dane.example. A 192.0.2.14\n\
        alias.dane.example. CNAME far.two.example.\n\
        far.two.example.    A 192.0.2.15\n\
        _25._tcp.alias.dane.example. TLSA 2 0 2 00\n\
        _25._tcp.a.two.example. TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
        mx.us.example. A 192.0.2.9\n";

    fn wish(domain: &str) -> Wish {
        Wish { domain: domain.into(), pool: None, require_tls: false, is_report: false }
    }

    #[tokio::test]
    async fn domains_find_their_hosts() {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let t = testkit::sqlite().await;
        let fixed = SocketAddr::from(([127, 0, 0, 1], 2525));
        let routes = Routes::new(Resolver::at(server.addr()).unwrap())
            .with_own("Fixed.Example", fixed)
            .with_own_name("mx.us.example")
            .with_own_listener("192.0.2.77:25".parse().unwrap());
        let planner = Planner::new(&t.store, &AgentConfig::new("us.example"), routes.clone());
        let check = async |domain: &str, expect: &str| {
            let text = match planner.plan(&wish(domain)).await {
                Ok(plan) => plan.hops.iter().map(|hop| hop.target.addr.to_string()).collect::<Vec<_>>().join(" "),
                Err(RouteFailure::Loop(host)) => format!("loop at {host}"),
                Err(failure) => format!("{failure:?}"),
            };
            assert_eq!(text, expect, "{domain}");
        };
        check("fixed.example", "127.0.0.1:2525").await;
        check("two.example", "192.0.2.2:25 192.0.2.3:25").await;
        check("bare.example", "192.0.2.4:25").await;
        check("none.example", "NullMx").await;
        check("ours.example", "loop at mx.us.example").await;
        check("local.example", "loop at here.local.example [127.0.0.1]").await;
        check("any4.example", "loop at any4.example [0.0.0.0]").await;
        check("any6.example", "loop at any6.example [::]").await;
        check("six.example", "loop at six.example [::1]").await;
        check("mapped.example", "loop at mapped.example [::ffff:127.0.0.1]").await;
        check("door.example", "loop at mx.door.example [192.0.2.77]").await;
        check("backup.example", "192.0.2.3:25").await;
        check("mixed.example", "192.0.2.2:25").await;
        check("ghost.example", "NoHost").await;
        check("missing.example", "NoHost").await;
        check("b\u{fc}cher.example", "192.0.2.2:25").await;
        check("[192.0.2.7]", "192.0.2.7:25").await;
        check("[127.0.0.7]", "loop at [127.0.0.7]").await;
        check("[ipv6:::1]", "loop at [ipv6:::1]").await;
        let plan = async |domain: &str| planner.plan(&wish(domain)).await.unwrap();
        assert!(plan("fixed.example").await.is_own && !plan("two.example").await.is_own);
        let (two, same, twin) = (plan("two.example").await, plan("same.example").await, plan("twin.example").await);
        assert_eq!((two.group.name(), &two.group), ("a.two.example,b.two.example", &same.group), "one group of hosts");
        assert_eq!((two.key == twin.key, two.key == same.key), (true, false), "in the order that a domain wants");
        let relayed = Planner::new(
            &t.store,
            &AgentConfig::new("us.example"),
            routes.with_relay(crate::Relay::new("127.0.0.1", 587)),
        );
        assert_eq!(relayed.plan(&wish("two.example")).await.unwrap().key, RouteKey::Relay);
        let strict = |domain: &str| Wish { require_tls: true, ..wish(domain) };
        assert_eq!(planner.plan(&strict("two.example")).await.err(), Some(RouteFailure::RequireTls));
        assert!(planner.plan(&strict("fixed.example")).await.is_ok(), "no network is between us and ourselves");
    }

    /// In a laboratory mail exchangers are on loopback; there, too, nobody mails to itself.
    #[tokio::test]
    async fn our_own_listeners_are_no_mail_hosts() {
        let server = ZoneServer::start("a.example A 127.0.0.1\n", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let t = testkit::sqlite().await;
        let is_loop = async |listener: &str, port: u16| {
            let routes = Routes::new(Resolver::at(server.addr()).unwrap()).with_mx_port(port);
            let routes = routes.with_own_listener(listener.parse().unwrap());
            let planner = Planner::new(&t.store, &AgentConfig::new("us.example"), routes);
            matches!(planner.plan(&wish("a.example")).await, Err(RouteFailure::Loop(_)))
        };
        assert!(is_loop("127.0.0.1:2525", 2525).await && is_loop("0.0.0.0:2525", 2525).await);
        assert!(is_loop("[::]:2525", 2525).await);
        assert!(!is_loop("127.0.0.1:2525", 2526).await && !is_loop("127.0.0.2:2525", 2525).await);
    }

    /// RFC 8689 4.2.1: TLS with anybody's certificate is not enough, also where the configuration names the host.
    #[tokio::test]
    async fn require_tls_wants_a_certificate_on_every_way() {
        let t = testkit::sqlite().await;
        let addr = SocketAddr::from(([127, 0, 0, 1], 2525));
        let routes = Routes::new(Resolver::none()).with_static("a.example", addr).with_static("b.example", addr);
        let mut config = AgentConfig::new("us.example");
        config.tls = TlsConfig { level: TlsLevel::Required, ..TlsConfig::off() };
        let strict = |domain: &str| Wish { require_tls: true, ..wish(domain) };
        let planner = Planner::new(&t.store, &config, routes.clone());
        assert_eq!(planner.plan(&strict("a.example")).await.err(), Some(RouteFailure::RequireTls));
        assert_eq!(planner.plan(&strict("[192.0.2.7]")).await.err(), Some(RouteFailure::RequireTls));
        let plan = planner.plan(&wish("b.example")).await.unwrap();
        assert_eq!(plan.queue_group.as_deref(), Some("route a.example, +1"), "by its name, not by its address");
        for (tls, is_good) in [(crate::RelayTls::Opportunistic, false), (crate::RelayTls::Verified, true)] {
            let mut relay = crate::Relay::new("127.0.0.1", 587);
            relay.tls = tls;
            let planner = Planner::new(&t.store, &config, routes.clone().with_relay(relay));
            assert_eq!(planner.plan(&strict("other.example")).await.is_ok(), is_good);
        }
    }

    /// RFC 7672 2: usable records bind, unusable ones ask for TLS, none ask for nothing, a failure rules the host out, and
    /// what is not signed says nothing.
    #[tokio::test]
    async fn tlsa_records_say_what_each_host_must_do() {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let t = testkit::sqlite().await;
        let mut config = AgentConfig::new("us.example");
        config.tls = TlsConfig { level: TlsLevel::Opportunistic, ..TlsConfig::off() };
        let demands = async |resolver: Resolver| {
            let planner = Planner::new(&t.store, &config, Routes::new(resolver));
            let plan = planner.plan(&wish("dane.example")).await.unwrap();
            let hop = |hop: &Hop| format!("{} {}", hop.target.host, hop.demand.tag());
            plan.hops.iter().map(hop).collect::<Vec<_>>()
        };
        let resolver = Resolver::at(server.addr()).unwrap();
        let expect = [
            "good.dane.example dane",
            "odd.dane.example encrypt",
            "plain.dane.example may",
            "alias.dane.example encrypt",
            "a.two.example may",
        ];
        assert_eq!(demands(resolver.clone().trusting_ad()).await, expect);
        assert!(demands(resolver).await.iter().all(|hop| hop.ends_with(" may")), "nobody is trusted unasked");
    }
}
