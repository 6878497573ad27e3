//! Hosts, domains, URLs and hashes in the one form in which everything here compares them.

use std::net::IpAddr;

use url::Url;

/// Characters of a value shown as evidence.
const EVIDENCE_CHARS_MAX: usize = 256;
/// Parents of a host that are looked up, counted from the registrable domain; deeper hosts are still found by their
/// own name and by these.
const PARENTS_MAX: usize = 8;
/// Octets of a host name (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Ports that say nothing once the scheme is left out.
const WEB_PORTS: [u16; 2] = [80, 443];
/// Octets of a URL that are looked at.
const URL_BYTES_MAX: usize = 8192;

/// The value, cut to what evidence may hold.
pub(crate) fn bounded(value: &str) -> String {
    match value.char_indices().nth(EVIDENCE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}

/// The address that a host is, with or without the brackets of a URL.
pub(crate) fn as_ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A host in the form in which it is compared: lower case, without trailing dots and without brackets.
pub(crate) fn plain_host(host: &str) -> String {
    let host = host.trim_end_matches('.');
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase()
}

/// The registrable domain by the public suffix list; the host itself when it has none.
pub(crate) fn registrable(host: &str) -> &str {
    if as_ip(host).is_some() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// Whether `host` is `parent` or one of its subdomains.
pub(crate) fn is_under(host: &str, parent: &str) -> bool {
    host == parent || host.strip_suffix(parent).is_some_and(|head| head.ends_with('.') && head.len() > 1)
}

/// The host itself and its parents down to the registrable domain: everything under which it is looked up and indexed.
/// An address and a public suffix have no parents.
pub(crate) fn with_parents(host: &str) -> Vec<&str> {
    let root = registrable(host);
    let mut all = vec![host];
    let mut rest = host;
    while rest.len() > root.len() {
        let Some((_, parent)) = rest.split_once('.') else { break };
        rest = parent;
        all.push(parent);
    }
    if all.len() > PARENTS_MAX + 1 {
        let skipped = all.len() - PARENTS_MAX;
        all.drain(1..skipped);
    }
    all
}

/// A host name of at least two labels, or an address; international names become A-labels.
pub(crate) fn parse_domain(value: &str) -> Result<String, String> {
    let value = value.trim();
    if let Some(ip) = as_ip(value) {
        return Ok(ip.to_string());
    }
    let name = value.strip_suffix('.').unwrap_or(value);
    let ascii = idna::domain_to_ascii(name).map_err(|_| HOST_FORM.to_owned())?;
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if ascii.len() > HOST_BYTES_MAX || !ascii.split('.').all(label) {
        return Err(HOST_FORM.to_owned());
    }
    if !ascii.contains('.') {
        return Err("a single word is too wide: write a name with a dot, such as login.example.org".to_owned());
    }
    Ok(ascii)
}

const HOST_FORM: &str = "not a host name: letters, digits and hyphens in parts divided by dots, without scheme or path";

/// `host` or `host:port`; an IPv6 address with a port needs brackets.
pub(crate) fn parse_host_port(value: &str) -> Result<String, String> {
    let value = value.trim();
    if as_ip(value).is_some() {
        return parse_domain(value);
    }
    let Some((host, port)) = value.rsplit_once(':') else { return parse_domain(value) };
    if value.contains("//") || port.contains('/') {
        return Err("a host is wanted, not a URL: leave out the scheme and the path".to_owned());
    }
    let host = parse_domain(host)?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(host_port(&host, port)),
        _ => Err("the port is a number from 1 to 65535".to_owned()),
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// 64 hexadecimal digits, lower case.
pub(crate) fn parse_sha256(value: &str) -> Result<String, String> {
    let value = value.trim().to_ascii_lowercase();
    if value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(value)
    } else {
        Err("not a SHA-256: 64 hexadecimal digits are wanted (MD5 and SHA-1 are not taken)".to_owned())
    }
}

/// A URL taken apart for matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlParts {
    /// Host in comparable form.
    pub host: String,
    /// Port, the scheme's default when none is given.
    pub port: Option<u16>,
    /// Path and query; empty when the path is `/` and there is no query.
    pub rest: String,
    /// The last name of the authority when backslashes continue the host: `www.abcd.com\xyz.tld` -> `xyz.tld`.
    pub tail_host: Option<String>,
}

impl UrlParts {
    /// From the normalised form, or from the raw one when only that can be read. `None` for what has no host (`mailto:`).
    pub(crate) fn of(fact: &model::UrlFact) -> Option<UrlParts> {
        let tail_host = tail_host(&fact.raw);
        if let Some(parts) = UrlParts::parse(&fact.url) {
            return Some(UrlParts { tail_host, ..parts });
        }
        if fact.host.is_empty() {
            return None;
        }
        Some(UrlParts { host: plain_host(&fact.host), port: fact.port, rest: String::new(), tail_host })
    }

    /// From text with or without a scheme.
    pub(crate) fn parse(text: &str) -> Option<UrlParts> {
        let url = read_url(text)?;
        let host = plain_host(url.host_str().filter(|h| !h.is_empty())?);
        let mut rest = url.path().to_owned();
        if let Some(query) = url.query() {
            rest.push('?');
            rest.push_str(query);
        }
        if rest == "/" {
            rest.clear();
        }
        Some(UrlParts { host, port: url.port_or_known_default(), rest, tail_host: tail_host(text) })
    }

    /// Every key under which a host feed may list it: the host and its parents, without and with the port.
    pub(crate) fn host_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for name in with_parents(&self.host) {
            keys.push(name.to_owned());
            if let Some(port) = self.port {
                keys.push(host_port(name, port));
            }
        }
        keys
    }

    /// Words of path and query that stand alone after `/` or `=` and look like a host; lower case.
    pub(crate) fn host_tokens(&self) -> Vec<String> {
        let tokens =
            self.rest.split(['/', '=', '?', '&', '#']).filter(|t| t.contains('.') && t.len() <= HOST_BYTES_MAX);
        let mut tokens: Vec<String> = tokens.map(str::to_ascii_lowercase).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }
}

/// A URL with or without a scheme; `None` for what has no host, such as `mailto:`.
fn read_url(text: &str) -> Option<Url> {
    let text = text.trim();
    if text.is_empty() || text.len() > URL_BYTES_MAX {
        return None;
    }
    let head = text.split(['/', '?', '#']).next()?;
    if head.ends_with(':') && text[head.len()..].starts_with("//") {
        return Url::parse(text).ok();
    }
    let is_port = |after: &str| after.is_empty() || after.bytes().all(|b| b.is_ascii_digit());
    match head.split_once(':') {
        Some((before, after)) if !before.starts_with('[') && !is_port(after) => None,
        _ => Url::parse(&format!("http://{text}")).ok(),
    }
}

/// Browsers read `\` as `/`, some mail programs as part of the host; both readings are looked at.
fn tail_host(raw: &str) -> Option<String> {
    let after_scheme = raw.split_once("://").map_or(raw, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next()?;
    let (_, tail) = authority.rsplit_once('\\')?;
    Some(plain_host(tail))
}

/// The form in which whole URLs are compared: `host[:port]/path?query`, scheme and the ports 80 and 443 left out.
pub(crate) fn url_key(text: &str) -> Option<String> {
    let url = read_url(text)?;
    let host = plain_host(url.host_str()?);
    if !host.contains(['.', ':']) || host.starts_with('.') || host.contains("..") {
        return None;
    }
    let host = match url.port() {
        Some(port) if !WEB_PORTS.contains(&port) => host_port(&host, port),
        _ if host.contains(':') => format!("[{host}]"),
        _ => host,
    };
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    Some(format!("{host}{}{query}", url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_end_at_the_registrable_domain() {
        assert_eq!(with_parents("a.b.evil.co.uk"), ["a.b.evil.co.uk", "b.evil.co.uk", "evil.co.uk"]);
        assert_eq!(with_parents("t.contoso.localhost"), ["t.contoso.localhost", "contoso.localhost"]);
        assert_eq!(with_parents("co.uk"), ["co.uk"]);
        assert_eq!(with_parents("10.0.0.1"), ["10.0.0.1"]);
        assert_eq!(with_parents(""), [""]);
        let deep = format!("{}evil.example", "x.".repeat(100));
        let all = with_parents(&deep);
        assert_eq!((all.len(), all[0], all[PARENTS_MAX]), (PARENTS_MAX + 1, deep.as_str(), "evil.example"));
    }

    #[test]
    fn hosts_and_ports() {
        let ok = [
            ("T.Contoso.Localhost:8080", "t.contoso.localhost:8080"),
            ("evil.example.", "evil.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("2001:db8::1", "2001:db8::1"),
        ];
        for (value, expected) in ok {
            assert_eq!(parse_host_port(value).as_deref(), Ok(expected), "{value}");
        }
        for value in [
            "",
            "com",
            "http://evil.example/",
            "evil.example/x",
            "evil.example:0",
            "evil.example:99999",
            "a b.example",
            "-a.example",
        ] {
            assert!(parse_host_port(value).is_err(), "{value:?} should be refused");
        }
    }

    #[test]
    fn urls_compare_without_scheme_default_port_and_fragment() {
        let key = url_key("https://Evil.example:443/Login?x=1#top");
        assert_eq!(key.as_deref(), Some("evil.example/Login?x=1"));
        assert_eq!(url_key("http://evil.example/Login?x=1"), key);
        assert_eq!(url_key("evil.example:8080").as_deref(), Some("evil.example:8080/"));
        assert_eq!(url_key("mailto:ada@example.org"), None);
        assert_eq!(url_key("nonsense"), None);
    }
}
