//! Names: a resolver with cache, single-flight, a cap and a deadline, and a small authoritative server for loopback.
//!
//! The only crate that names a DNS library. It knows nothing of mail: what an SPF record means is told elsewhere.
//! [`Resolver`] answers with values or with [`DnsError`], which separates "there is no such name" (a fact that may be
//! acted on) from "could not be asked now" (a reason to try again). [`ZoneServer`] serves a zone written as text; the
//! demonstration and the tests point a resolver at it, so that no name lookup ever leaves the machine.

mod error;
mod resolver;
mod secure;
mod zone;

pub use error::{DnsError, Severity};
pub use hickory_resolver::TokioResolver;
pub use resolver::{Resolver, ResolverLimits};
pub use secure::{HostAddresses, Secured, Tlsa};
pub use zone::{ZONE_ENTRIES_MAX, Zone, ZoneError, ZoneServer};
