//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a listed peer says for whom it speaks.
//!
//! A listed peer must begin with the header, and nobody else's header is believed: from others it is an early talker's
//! line, or a command that does not exist.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Version 1: 107 bytes with the CRLF.
const LINE_BYTES_MAX: usize = 107;
/// Version 2: addresses take 216 bytes at most; the rest are extensions, which are skipped.
const BLOCK_BYTES_MAX: usize = 4_096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Addresses that share their first bits: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether `ip` is in it. IPv4 in IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
                first.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
                first.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The text was no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address, or a network such as 192.0.2.0/24")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let first: IpAddr = first.parse().map_err(|_| NetworkError)?;
        let bits_max: u8 = if first.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| NetworkError)?;
        if prefix_bits > bits_max { Err(NetworkError) } else { Ok(Network { first, prefix_bits }) }
    }
}

/// Reads the header and not a byte more. Gives the client's address; `None` when the proxy speaks for itself.
///
/// # Errors
/// `InvalidData` when it is no header; otherwise what reading gave.
pub(super) async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<IpAddr>> {
    let mut head = [0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    match head == *SIGNATURE {
        true => read_block(stream).await,
        false => read_line(stream, &head).await,
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 25` and CRLF.
async fn read_line<S: AsyncRead + Unpin>(stream: &mut S, head: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut line = head.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(invalid());
    }
    // Byte by byte: what follows the line is the client's.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(invalid());
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line[..line.len() - 2])
}

fn parse_line(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let text = std::str::from_utf8(line).map_err(|_| invalid())?;
    let words: Vec<&str> = text.split(' ').collect();
    let (source, is_right): (IpAddr, fn(&IpAddr) -> bool) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", family, source, destination, source_port, port] => {
            let is_right: fn(&IpAddr) -> bool = match family {
                "TCP4" => IpAddr::is_ipv4,
                "TCP6" => IpAddr::is_ipv6,
                _ => return Err(invalid()),
            };
            let destination: IpAddr = destination.parse().map_err(|_| invalid())?;
            let ports = (source_port.parse::<u16>(), port.parse::<u16>());
            if !is_right(&destination) || ports.0.is_err() || ports.1.is_err() {
                return Err(invalid());
            }
            (source.parse().map_err(|_| invalid())?, is_right)
        }
        _ => return Err(invalid()),
    };
    if is_right(&source) { Ok(Some(source)) } else { Err(invalid()) }
}

/// Version 2: version and command, family and protocol, length, addresses, extensions.
async fn read_block<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<IpAddr>> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let block_bytes = usize::from(stream.read_u16().await?);
    if block_bytes > BLOCK_BYTES_MAX {
        return Err(invalid());
    }
    let mut block = vec![0; block_bytes];
    stream.read_exact(&mut block).await?;
    parse_block(command, family, &block)
}

fn parse_block(command: u8, family: u8, block: &[u8]) -> io::Result<Option<IpAddr>> {
    match command {
        // LOCAL: the proxy itself, as for a health check. Its addresses count for nothing.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(invalid()),
    }
    match family {
        0x11 => {
            let source: [u8; 4] =
                block.get(..4).filter(|_| block.len() >= 12).ok_or_else(invalid)?.try_into().map_err(|_| invalid())?;
            Ok(Some(Ipv4Addr::from(source).into()))
        }
        0x21 => {
            let source: [u8; 16] =
                block.get(..16).filter(|_| block.len() >= 36).ok_or_else(invalid)?.try_into().map_err(|_| invalid())?;
            Ok(Some(Ipv6Addr::from(source).into()))
        }
        // Unspecified, or a socket in a file system.
        0x00 | 0x31 => Ok(None),
        _ => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(mut bytes: &[u8], expect: Option<Option<&str>>) {
        let before = bytes;
        let got = read_header(&mut bytes).await;
        let expect = expect.map(|ip| ip.map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(got.as_ref().ok(), expect.as_ref(), "{before:?}: {got:?}");
        if expect.is_some() {
            assert_eq!(bytes, b"EHLO x\r\n", "{before:?}: what follows is the client's");
        }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block, b"EHLO x\r\n"].concat()
    }

    #[tokio::test]
    async fn headers() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO x\r\n", Some(Some("192.0.2.1"))).await;
        check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\nEHLO x\r\n", Some(Some("2001:db8::1"))).await;
        check(b"PROXY UNKNOWN\r\nEHLO x\r\n", Some(None)).await;
        check(b"PROXY UNKNOWN ffff::1 ::1 65535 65535\r\nEHLO x\r\n", Some(None)).await;
        for wrong in [
            &b"EHLO x.example\r\nMAIL FROM:<>\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 99999\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(),
            b"PROXY",
        ] {
            check(wrong, None).await;
        }
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 25];
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 20]].concat();
        check(&v2(0x21, 0x11, &four), Some(Some("192.0.2.1"))).await;
        check(&v2(0x21, 0x11, &[&four[..], b"\x04\x00\x01x"].concat()), Some(Some("192.0.2.1"))).await;
        check(&v2(0x21, 0x21, &six), Some(Some("2001:db8::7"))).await;
        check(&v2(0x20, 0x11, &four), Some(None)).await;
        check(&v2(0x20, 0x00, &[]), Some(None)).await;
        check(&v2(0x21, 0x00, &[]), Some(None)).await;
        for wrong in [
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &four),
            v2(0x21, 0x12, &four),
            v2(0x21, 0x11, &[0; 5_000]),
        ] {
            check(&wrong, None).await;
        }
    }

    #[test]
    fn networks() {
        let is_in = |network: &str, ip: &str| network.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(is_in("192.0.2.0/24", "192.0.2.255") && !is_in("192.0.2.0/24", "192.0.3.0"));
        assert!(is_in("192.0.2.1", "::ffff:192.0.2.1") && !is_in("192.0.2.1", "192.0.2.2"));
        assert!(is_in("0.0.0.0/0", "203.0.113.9") && !is_in("0.0.0.0/0", "::1"));
        assert!(is_in("2001:db8::/32", "2001:db8:1::1") && !is_in("2001:db8::/32", "2001:db9::1"));
        assert!(is_in("::/0", "2001:db9::1"));
        for wrong in ["", "x", "192.0.2.0/33", "::/129", "192.0.2.0/-1", "192.0.2.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
