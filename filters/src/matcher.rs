//! Conditions that filters and access logs share, as they are after the compile step.

mod metadata;

use std::net::IpAddr;

use sampan_filters_api::info::TlsInfo;
use sampan_filters_api::{Address, RequestHead};
use sampan_model::route::{HeaderName, RequestView};

pub use metadata::{MetadataMatch, ValueMatch};

/// A request as the model's conditions read it.
#[derive(Clone, Copy)]
pub struct View<'v> {
    /// The head.
    pub request: &'v RequestHead,
    /// The TLS session of its connection.
    pub tls: Option<&'v TlsInfo>,
}

impl RequestView for View<'_> {
    fn path(&self) -> &[u8] {
        self.request.path()
    }

    fn method(&self) -> &[u8] {
        self.request.method()
    }

    fn authority(&self) -> &[u8] {
        self.request.authority()
    }

    fn scheme(&self) -> &[u8] {
        self.request.scheme()
    }

    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.request.headers.values(name.as_bytes())
    }

    fn peer_certificate_presented(&self) -> Option<bool> {
        self.tls.map(|tls| !tls.peer.is_empty())
    }

    fn peer_certificate_validated(&self) -> Option<bool> {
        self.tls.map(|tls| tls.validated)
    }

    /// An extended CONNECT is an upgrade, not a CONNECT.
    fn is_connect(&self) -> bool {
        self.request.is_connect() && self.request.upgrade().is_none()
    }
}

/// A range of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    length: u32,
}

impl Cidr {
    /// `address`/`length`; a length beyond the address is the whole address. `None` if it is no IP address.
    pub fn new(address: &str, length: u32) -> Option<Self> {
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        Some(Self { first, length: length.min(most) })
    }

    /// Whether an address lies within. A unix socket does not.
    pub fn contains(&self, address: &Address) -> bool {
        match (self.first, address.socket().map(|socket| socket.ip().to_canonical())) {
            (IpAddr::V4(first), Some(IpAddr::V4(ip))) => {
                let rest = 32 - self.length;
                u64::from(first.to_bits()) >> rest == u64::from(ip.to_bits()) >> rest
            }
            (IpAddr::V6(first), Some(IpAddr::V6(ip))) => {
                let shift = |bits: u128| bits.checked_shr(128 - self.length).unwrap_or(0);
                shift(first.to_bits()) == shift(ip.to_bits())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses() {
        let holds = |range: &str, length, ip: &str| {
            Cidr::new(range, length)
                .unwrap()
                .contains(&Address::Socket((ip.parse::<IpAddr>().unwrap(), 1).into()))
        };
        assert!(holds("10.0.0.0", 8, "10.255.0.1") && !holds("10.0.0.0", 8, "11.0.0.1"));
        assert!(holds("0.0.0.0", 0, "1.2.3.4") && holds("1.2.3.4", 40, "1.2.3.4"));
        assert!(!holds("0.0.0.0", 0, "::1") && holds("10.0.0.1", 32, "::ffff:10.0.0.1"));
        assert!(
            holds("::", 0, "fe80::1") && holds("fe80::", 10, "fe80::1") && !holds("fe80::1", 128, "fe80::2")
        );
        assert!(Cidr::new("10.0.0", 8).is_none());
        assert!(!Cidr::new("0.0.0.0", 0).unwrap().contains(&Address::Pipe("/x".into())));
    }
}
