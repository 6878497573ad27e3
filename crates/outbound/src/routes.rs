//! Which host a domain's mail goes to: a static route first, then a relay for everything, then MX (RFC 5321 5.1).

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use dns::{DnsError, Resolver};

/// Targets tried for one connection: preference order, at most this many (RFC 5321 5.1 wants at least two).
const TARGETS_MAX: usize = 6;
/// MX records looked at.
const EXCHANGERS_MAX: usize = 16;
const SMTP_PORT: u16 = 25;

/// What shares connections: deliveries of the same key go over the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteKey {
    /// A host named in the configuration.
    Static(SocketAddr),
    /// The mail exchangers of a domain.
    Domain(String),
}

/// One address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host's name, for evidence and for TLS.
    pub host: String,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Why a domain has no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteFailure {
    /// Names could not be looked up now.
    #[error("the names could not be looked up: {0}")]
    Dns(String),
    /// The domain says that it takes no mail (RFC 7505: null MX).
    #[error("the domain takes no mail (null MX)")]
    NullMx,
    /// The domain has neither MX nor address.
    #[error("the domain has no mail host")]
    NoHost,
    /// The best mail exchanger is ourselves and no static route says where the mail goes (RFC 5321 5.1).
    #[error("the mail would come back to this host")]
    Loop,
}

/// The routes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routes {
    statics: HashMap<String, SocketAddr>,
    own: HashSet<SocketAddr>,
    relay: Option<SocketAddr>,
    resolver: Resolver,
    own_names: HashSet<String>,
    mx_port: u16,
}

impl Routes {
    /// Routes by MX through `resolver`.
    pub fn new(resolver: Resolver) -> Self {
        Routes {
            statics: HashMap::new(),
            own: HashSet::new(),
            relay: None,
            resolver,
            own_names: HashSet::new(),
            mx_port: SMTP_PORT,
        }
    }

    /// Sends a domain's mail to `addr`.
    #[must_use]
    pub fn with_static(mut self, domain: &str, addr: SocketAddr) -> Self {
        self.statics.insert(domain.to_lowercase(), addr);
        self
    }

    /// Sends a domain's mail to our own gateway at `addr`: a repeated hand-over is recognised there by the signed copy
    /// id, so an unclear end makes no second copy.
    #[must_use]
    pub fn with_own(mut self, domain: &str, addr: SocketAddr) -> Self {
        self.own.insert(addr);
        self.with_static(domain, addr)
    }

    /// Sends everything that has no static route to `addr`.
    #[must_use]
    pub fn with_relay(mut self, addr: SocketAddr) -> Self {
        self.relay = Some(addr);
        self
    }

    /// A name of our own: an MX record of this name, and those less preferred, are not used.
    #[must_use]
    pub fn with_own_name(mut self, name: &str) -> Self {
        self.own_names.insert(name.to_lowercase());
        self
    }

    /// The port that mail exchangers listen on: 25 everywhere but in a laboratory.
    #[must_use]
    pub fn with_mx_port(mut self, port: u16) -> Self {
        self.mx_port = port;
        self
    }

    /// Which connections a domain's mail shares.
    pub fn key(&self, domain: &str) -> RouteKey {
        match self.statics.get(domain).or(self.relay.as_ref()) {
            Some(addr) => RouteKey::Static(*addr),
            None => RouteKey::Domain(domain.to_owned()),
        }
    }

    /// Whether the route leads to our own gateway.
    pub fn is_own(&self, key: &RouteKey) -> bool {
        matches!(key, RouteKey::Static(addr) if self.own.contains(addr))
    }

    /// The addresses to try, in order; never empty.
    ///
    /// # Errors
    /// [`RouteFailure`] when there is none.
    pub async fn targets(&self, key: &RouteKey) -> Result<Vec<Target>, RouteFailure> {
        match key {
            RouteKey::Static(addr) => Ok(vec![Target { host: addr.ip().to_string(), addr: *addr }]),
            RouteKey::Domain(domain) => self.exchangers(domain).await,
        }
    }

    async fn exchangers(&self, domain: &str) -> Result<Vec<Target>, RouteFailure> {
        if domain.starts_with('[') {
            return self.literal(domain);
        }
        let hosts = match self.resolver.mx(domain).await {
            Ok(hosts) => hosts,
            // RFC 5321 5.1: without MX the domain itself is the host.
            Err(error) if error.is_not_found() => vec![(0, domain.to_owned())],
            Err(error) => return Err(failure(&error)),
        };
        if matches!(&hosts[..], [(_, host)] if host.is_empty()) {
            return Err(RouteFailure::NullMx);
        }
        let own_preference =
            hosts.iter().find(|(_, host)| self.own_names.contains(host)).map(|(preference, _)| *preference);
        let mut targets = Vec::new();
        let mut trouble = None;
        for (preference, host) in hosts.iter().take(EXCHANGERS_MAX) {
            if own_preference.is_some_and(|own| *preference >= own) {
                break;
            }
            match self.resolver.addresses(host).await {
                Ok(ips) => {
                    let found = ips.into_iter().map(|ip| SocketAddr::new(ip, self.mx_port));
                    targets.extend(found.map(|addr| Target { host: host.clone(), addr }));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => trouble = Some(failure(&error)),
            }
            if targets.len() >= TARGETS_MAX {
                break;
            }
        }
        targets.truncate(TARGETS_MAX);
        match (targets.is_empty(), trouble, own_preference) {
            (false, ..) => Ok(targets),
            (true, Some(trouble), _) => Err(trouble),
            (true, None, Some(_)) => Err(RouteFailure::Loop),
            (true, None, None) => Err(RouteFailure::NoHost),
        }
    }

    /// `user@[192.0.2.1]` (RFC 5321 4.1.3).
    fn literal(&self, domain: &str) -> Result<Vec<Target>, RouteFailure> {
        let inner = domain.trim_start_matches('[').trim_end_matches(']');
        let ip = inner.strip_prefix("ipv6:").unwrap_or(inner).parse().map_err(|_| RouteFailure::NoHost)?;
        Ok(vec![Target { host: domain.to_owned(), addr: SocketAddr::new(ip, self.mx_port) }])
    }
}

impl RouteFailure {
    /// Whether trying later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, RouteFailure::Dns(_))
    }

    /// The enhanced status code for the copy's evidence (RFC 3463, RFC 7505).
    pub fn enhanced(&self) -> (u16, u16) {
        match self {
            RouteFailure::Dns(_) => (4, 3),
            RouteFailure::NullMx => (1, 10),
            RouteFailure::NoHost => (1, 2),
            RouteFailure::Loop => (4, 6),
        }
    }
}

fn failure(error: &DnsError) -> RouteFailure {
    match error {
        DnsError::InvalidName { .. } => RouteFailure::NoHost,
        DnsError::NotFound { .. } | DnsError::Transient { .. } | DnsError::Setup { .. } => {
            RouteFailure::Dns(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dns::ZoneServer;

    const ZONE: &str = "\
        two.example.   MX 20 b.two.example.\n\
        two.example.   MX 10 a.two.example.\n\
        a.two.example. A 127.0.0.2\n\
        b.two.example. A 127.0.0.3\n\
        bare.example.  A 127.0.0.4\n\
        none.example.  MX 0 .\n\
        ours.example.  MX 10 mx.us.example.\n\
        ours.example.  MX 20 b.two.example.\n\
        mixed.example. MX 5 a.two.example.\n\
        mixed.example. MX 10 mx.us.example.\n\
        ghost.example. MX 10 nowhere.example.\n\
        mx.us.example. A 127.0.0.9\n";

    #[tokio::test]
    async fn domains_find_their_hosts() {
        let server = ZoneServer::start(ZONE, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let fixed = SocketAddr::from(([127, 0, 0, 1], 2525));
        let routes = Routes::new(Resolver::at(server.addr()).unwrap())
            .with_own("Fixed.Example", fixed)
            .with_own_name("mx.us.example");
        let check = async |domain: &str, expect: &str| {
            let text = match routes.targets(&routes.key(domain)).await {
                Ok(targets) => targets.iter().map(|t| t.addr.to_string()).collect::<Vec<_>>().join(" "),
                Err(failure) => format!("{failure:?}"),
            };
            assert_eq!(text, expect, "{domain}");
        };
        check("fixed.example", "127.0.0.1:2525").await;
        check("two.example", "127.0.0.2:25 127.0.0.3:25").await;
        check("bare.example", "127.0.0.4:25").await;
        check("none.example", "NullMx").await;
        check("ours.example", "Loop").await;
        check("mixed.example", "127.0.0.2:25").await;
        check("ghost.example", "NoHost").await;
        check("missing.example", "NoHost").await;
        check("[127.0.0.7]", "127.0.0.7:25").await;
        assert!(routes.is_own(&routes.key("fixed.example")) && !routes.is_own(&routes.key("two.example")));
        assert_eq!(routes.clone().with_relay(fixed).key("two.example"), RouteKey::Static(fixed));
    }
}
