//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): what a proxy in front says of the client.
//!
//! Pure: bytes in, header out, for [`super::proxy_protocol`]. The bytes at hand may be any part of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'b> {
    /// A header.
    Whole(Header<'b>),
    /// The beginning of one; more bytes have to come.
    Part,
    /// One with a fault.
    Bad(Version),
    /// A line that looks like version 1 and does not end.
    Endless,
    /// Something else.
    Absent,
}

/// A whole header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'b> {
    /// Its version.
    pub(super) version: Version,
    /// Its length.
    pub(super) length: usize,
    /// Source and destination; none if the proxy speaks for itself (LOCAL), or does not know (UNKNOWN).
    pub(super) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The type-length-value fields of version 2, checked.
    pub(super) fields: Fields<'b>,
}

/// The type-length-value fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fields<'b>(&'b [u8]);

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 108;
/// What stands before the addresses of version 2.
const V2_HEAD: usize = 16;
/// The longest header there is.
pub(super) const LONGEST: usize = V2_HEAD + u16::MAX as usize;

/// Reads a header.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let begins = |signature: &[u8]| {
        let n = bytes.len().min(signature.len());
        bytes[..n] == signature[..n]
    };
    if begins(V1) {
        if bytes.len() < V1.len() { Parsed::Part } else { line(bytes) }
    } else if begins(V2) {
        if bytes.len() < V2_HEAD { Parsed::Part } else { binary(bytes) }
    } else {
        Parsed::Absent
    }
}

fn line(bytes: &[u8]) -> Parsed<'_> {
    let room = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = room.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE { Parsed::Part } else { Parsed::Endless };
    };
    let words: Vec<&[u8]> = bytes[V1.len()..end].split(|byte| *byte == b' ').collect();
    let addresses = match words[..] {
        [b"UNKNOWN", ..] => None,
        [family, source, destination, source_port, destination_port] => {
            let source = address(family, source, source_port);
            let destination = address(family, destination, destination_port);
            match source.zip(destination) {
                Some(found) => Some(found),
                None => return Parsed::Bad(Version::V1),
            }
        }
        _ => return Parsed::Bad(Version::V1),
    };
    Parsed::Whole(Header { version: Version::V1, length: end + 2, addresses, fields: Fields::default() })
}

fn address(family: &[u8], ip: &[u8], port: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(ip).ok()?;
    let ip: IpAddr = match family {
        b"TCP4" => text.parse::<Ipv4Addr>().ok()?.into(),
        b"TCP6" => text.parse::<Ipv6Addr>().ok()?.into(),
        _ => return None,
    };
    let digits = std::str::from_utf8(port).ok().filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?;
    is_one_machine(ip).then_some(SocketAddr::new(ip, digits.parse().ok()?))
}

fn binary(bytes: &[u8]) -> Parsed<'_> {
    let (command, family) = (bytes[12], bytes[13]);
    let length = V2_HEAD + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let addresses_end = match (command, family) {
        // Whatever addresses there are say nothing.
        (0x20, _) => V2_HEAD,
        (0x21, 0x11 | 0x12) => V2_HEAD + 12,
        (0x21, 0x21 | 0x22) => V2_HEAD + 36,
        _ => return Parsed::Bad(Version::V2),
    };
    if length < addresses_end {
        return Parsed::Bad(Version::V2);
    }
    let Some(header) = bytes.get(..length) else { return Parsed::Part };
    let (addresses, fields) = header[V2_HEAD..].split_at(addresses_end - V2_HEAD);
    let addresses = match addresses {
        [] => None,
        addresses => match pair(addresses) {
            Some(pair) => Some(pair),
            None => return Parsed::Bad(Version::V2),
        },
    };
    // Of a LOCAL header nothing is read but its length.
    let fields = Fields(if addresses.is_some() { fields } else { &[] });
    if !fields.are_whole() {
        return Parsed::Bad(Version::V2);
    }
    Parsed::Whole(Header { version: Version::V2, length, addresses, fields })
}

/// Source and destination: two addresses, then two ports.
fn pair(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, ports) = bytes.split_at(bytes.len() - 4);
    let (source, destination) = ips.split_at(ips.len() / 2);
    let ip = |bytes: &[u8]| -> Option<IpAddr> {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
        is_one_machine(ip).then_some(ip)
    };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((SocketAddr::new(ip(source)?, port(0)), SocketAddr::new(ip(destination)?, port(2))))
}

/// Whether an address is that of one machine, as both ends of a connection are.
fn is_one_machine(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

impl<'b> Fields<'b> {
    /// Every type with its value.
    pub(super) fn iter(self) -> impl Iterator<Item = (u8, &'b [u8])> {
        let mut rest = self;
        std::iter::from_fn(move || rest.next())
    }

    fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (head, behind) = self.0.split_at_checked(3)?;
        let (value, behind) = behind.split_at_checked(u16::from_be_bytes([head[1], head[2]]).into())?;
        self.0 = behind;
        Some((head[0], value))
    }

    fn are_whole(mut self) -> bool {
        while self.next().is_some() {}
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
