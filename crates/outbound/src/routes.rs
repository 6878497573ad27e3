//! Which way a domain's mail goes: a static route first, then a relay for everything, then by name (RFC 5321 5.1).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use dns::{DnsError, Resolver};
use smtp::client::Credentials;

use crate::tls::Demand;

const SMTP_PORT: u16 = 25;
/// RFC 8314 3.3: submission with TLS from the first byte.
const SUBMISSIONS_PORT: u16 = 465;

/// What shares connections: mail with the same key goes over the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RouteKey {
    /// A host named in the configuration.
    Static(SocketAddr),
    /// The relay.
    Relay,
    /// Mail hosts, with what they must do.
    Site(Arc<str>),
    /// Another key's hosts, kept apart by a word: a pool, a domain with its own limits, REQUIRETLS.
    Apart(Box<RouteKey>, Arc<str>),
}

impl RouteKey {
    pub(crate) fn apart(self, word: &str) -> RouteKey {
        RouteKey::Apart(Box::new(self), word.into())
    }
}

/// Where a domain's mail goes.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// To our own gateway.
    Own(SocketAddr),
    Static(SocketAddr),
    Relay(Relay),
    /// Where its MX records say.
    Names,
}

/// How TLS is used with a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayTls {
    /// Never.
    Off,
    /// Where it is offered, with any certificate.
    Opportunistic,
    /// STARTTLS with a checked certificate.
    Verified,
    /// TLS from the first byte with a checked certificate.
    Implicit,
}

/// A smarthost that takes everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its name, or an address. The name is what its certificate is checked for.
    pub host: String,
    /// 587 for submission, 465 for submission under TLS, 25 for a relay without a password.
    pub port: u16,
    /// How TLS is used.
    pub tls: RelayTls,
    /// Who we are to it; only used with [`RelayTls::Verified`] or [`RelayTls::Implicit`].
    pub credentials: Option<Credentials>,
}

impl Relay {
    /// A relay as its port suggests: TLS from the first byte on 465, otherwise where it is offered.
    pub fn new(host: impl Into<String>, port: u16) -> Relay {
        let tls = if port == SUBMISSIONS_PORT { RelayTls::Implicit } else { RelayTls::Opportunistic };
        Relay { host: host.into(), port, tls, credentials: None }
    }

    /// With a password, and so with a checked certificate.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Relay {
        if matches!(self.tls, RelayTls::Off | RelayTls::Opportunistic) {
            self.tls = RelayTls::Verified;
        }
        self.credentials = Some(credentials);
        self
    }

    pub(crate) fn demand(&self) -> Demand {
        match self.tls {
            RelayTls::Off => Demand::Off,
            RelayTls::Opportunistic => Demand::Opportunistic,
            RelayTls::Verified | RelayTls::Implicit => Demand::Verified,
        }
    }
}

/// One address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The host's name, for evidence and for TLS.
    pub(crate) host: String,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

/// Why a domain has no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteFailure {
    /// Names could not be looked up now.
    #[error("the names could not be looked up: {0}")]
    Dns(String),
    /// The domain's MTA-STS policy names none of its mail hosts (RFC 8461 5: try again later).
    #[error("the domain's MTA-STS policy does not name its mail host {0}")]
    Policy(String),
    /// The domain says that it takes no mail (RFC 7505: null MX).
    #[error("the domain takes no mail (null MX)")]
    NullMx,
    /// The domain has neither MX nor address.
    #[error("the domain has no mail host")]
    NoHost,
    /// The best mail exchanger is ourselves and no static route says where the mail goes (RFC 5321 5.1).
    #[error("the mail would come back to this host: {0} is its mail host")]
    Loop(String),
    /// The sender asked for REQUIRETLS (RFC 8689) and nothing vouches for the domain's mail hosts.
    #[error("REQUIRETLS: nothing vouches for the domain's mail hosts, neither DANE nor MTA-STS")]
    RequireTls,
}

/// The routes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routes {
    statics: HashMap<String, SocketAddr>,
    own: HashSet<SocketAddr>,
    pub(crate) relay: Option<Relay>,
    pub(crate) resolver: Resolver,
    own_names: HashSet<String>,
    own_listeners: HashSet<SocketAddr>,
    pub(crate) mx_port: u16,
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
            own_listeners: HashSet::new(),
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

    /// Sends everything that has no static route to `relay`.
    #[must_use]
    pub fn with_relay(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// A name of our own: an MX record of this name, and those less preferred, are not used.
    #[must_use]
    pub fn with_own_name(mut self, name: &str) -> Self {
        self.own_names.insert(name.to_lowercase());
        self
    }

    /// Where we take mail ourselves: an MX record that leads there, and those less preferred, are not used.
    #[must_use]
    pub fn with_own_listener(mut self, addr: SocketAddr) -> Self {
        self.own_listeners.insert(addr);
        self
    }

    /// The port that mail exchangers listen on: 25 everywhere but in a laboratory.
    #[must_use]
    pub fn with_mx_port(mut self, port: u16) -> Self {
        self.mx_port = port;
        self
    }

    /// Which way a domain's mail goes.
    pub(crate) fn route(&self, domain: &str) -> Route {
        match (self.statics.get(domain), &self.relay) {
            (Some(addr), _) if self.own.contains(addr) => Route::Own(*addr),
            (Some(addr), _) => Route::Static(*addr),
            (None, Some(relay)) => Route::Relay(relay.clone()),
            (None, None) => Route::Names,
        }
    }

    pub(crate) fn is_own_name(&self, host: &str) -> bool {
        self.own_names.contains(&host.trim_end_matches('.').to_ascii_lowercase())
    }

    /// Whether a mail host that names lead to is this one: an address that only this machine can mean, or one where we
    /// listen. In a laboratory, where mail exchangers have another port, loopback is a host like any other.
    pub(crate) fn is_own_address(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if self.mx_port == SMTP_PORT && (ip.is_loopback() || ip.is_unspecified()) {
            return true;
        }
        let at_port = self.own_listeners.iter().filter(|own| own.port() == self.mx_port);
        let mut at_port = at_port.map(|own| own.ip().to_canonical());
        at_port.any(|own| own == ip || (own.is_unspecified() && is_of_this_machine(ip)))
    }

    /// What a static route is called: by the domains that it is for.
    pub(crate) fn static_name(&self, addr: SocketAddr) -> String {
        let mut domains: Vec<&str> =
            self.statics.iter().filter(|(_, to)| **to == addr).map(|(domain, _)| domain.as_str()).collect();
        domains.sort_unstable();
        match &domains[..] {
            [] => format!("route {addr}"),
            [only] => format!("route {only}"),
            [first, more @ ..] => format!("route {first}, +{}", more.len()),
        }
    }

    /// `user@[192.0.2.1]` (RFC 5321 4.1.3).
    pub(crate) fn literal(&self, domain: &str) -> Result<Target, RouteFailure> {
        let inner = domain.trim_start_matches('[').trim_end_matches(']');
        let ip = inner.strip_prefix("ipv6:").unwrap_or(inner).parse().map_err(|_| RouteFailure::NoHost)?;
        if self.is_own_address(ip) {
            return Err(RouteFailure::Loop(domain.to_owned()));
        }
        Ok(Target { host: domain.to_owned(), addr: SocketAddr::new(ip, self.mx_port) })
    }
}

impl RouteFailure {
    /// The enhanced status code for the copy's evidence (RFC 3463, RFC 7505).
    pub(crate) fn enhanced(&self) -> (u16, u16) {
        match self {
            RouteFailure::Dns(_) => (4, 3),
            RouteFailure::NullMx => (1, 10),
            RouteFailure::NoHost => (1, 2),
            RouteFailure::Loop(_) => (4, 6),
            // RFC 8461 5, RFC 8689 5.
            RouteFailure::Policy(_) => (7, 0),
            RouteFailure::RequireTls => (7, 30),
        }
    }
}

/// Whether the machine has this address: then, and only then, something can be bound to it. Where the system lets anything be
/// bound, nobody can say.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let can_bind = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    // RFC 5737 and 3849: nobody has these.
    let nobodys = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    can_bind(ip) && !can_bind(nobodys)
}

pub(crate) fn failure(error: &DnsError) -> RouteFailure {
    match error {
        DnsError::InvalidName { .. } => RouteFailure::NoHost,
        DnsError::NotFound { .. } | DnsError::Transient { .. } | DnsError::Setup { .. } => {
            RouteFailure::Dns(error.to_string())
        }
    }
}
