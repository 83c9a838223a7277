//! The addresses that this process itself listens on: a connection must not be sent there that was intercepted on its way
//! somewhere else, for it would come back, and so on until no descriptor is left.
//!
//! Published with the listeners ([`crate::snapshot`]), asked by [`crate::upstream::original_dst`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::OnceLock;

/// Where this process listens.
#[derive(Debug, Default)]
pub struct OwnAddresses(Vec<Own>);

#[derive(Debug)]
struct Own {
    address: SocketAddr,
    /// An IPv6 socket that takes IPv4 too.
    both: bool,
}

/// The machine's own address: the one it would send from. Asking for a route sends nothing.
pub fn address() -> IpAddr {
    static LOCAL: OnceLock<IpAddr> = OnceLock::new();
    *LOCAL.get_or_init(|| {
        let route = || -> std::io::Result<IpAddr> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
            Ok(socket.local_addr()?.ip())
        };
        route().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    })
}

impl OwnAddresses {
    /// Bound addresses, each with whether an IPv6 socket takes IPv4 too.
    pub fn new(bound: impl IntoIterator<Item = (SocketAddr, bool)>) -> Self {
        Self(bound.into_iter().map(|(address, both)| Own { address: canonical(address), both }).collect())
    }

    /// Whether a connection to `destination` would come to this process.
    pub fn contains(&self, destination: SocketAddr) -> bool {
        let destination = canonical(destination);
        self.0.iter().any(|own| own.address.port() == destination.port() && own.takes(destination.ip()))
    }
}

impl Own {
    fn takes(&self, ip: IpAddr) -> bool {
        // To connect to the unspecified address is to connect to the loopback address.
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let own = self.address.ip();
        if !own.is_unspecified() {
            return own == ip;
        }
        let family = own.is_ipv4() == ip.is_ipv4() || (own.is_ipv6() && self.both);
        family && is_local(ip)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an address is this machine's (or pod's) own: what is sent there comes from there. No packet leaves.
fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        // The port is of no consequence: only the route is looked up.
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(bound: &[(&str, bool)]) -> OwnAddresses {
        OwnAddresses::new(bound.iter().map(|(address, both)| (address.parse().unwrap(), *both)))
    }

    #[test]
    fn every_way_to_ones_own_port_is_known() {
        let wildcard = own(&[("0.0.0.0:15001", false)]);
        for destination in ["127.0.0.1:15001", "127.9.9.9:15001", "0.0.0.0:15001", "[::ffff:127.0.0.1]:15001"]
        {
            assert!(wildcard.contains(destination.parse().unwrap()), "{destination}");
        }
        for destination in ["127.0.0.1:15002", "[::1]:15001", "192.0.2.1:15001"] {
            assert!(!wildcard.contains(destination.parse().unwrap()), "{destination}");
        }
        let fixed = own(&[("127.0.0.1:80", false)]);
        assert!(
            fixed.contains("0.0.0.0:80".parse().unwrap()) && fixed.contains("127.0.0.1:80".parse().unwrap())
        );
        assert!(!fixed.contains("127.0.0.2:80".parse().unwrap()));
        for (both, expected) in [(false, false), (true, true)] {
            let six = own(&[("[::]:80", both)]);
            assert!(six.contains("[::1]:80".parse().unwrap()) && six.contains("[::]:80".parse().unwrap()));
            assert_eq!(six.contains("127.0.0.1:80".parse().unwrap()), expected);
        }
    }

    #[test]
    fn an_address_of_an_interface_is_local() {
        assert!(is_local("127.0.0.6".parse().unwrap()) && is_local("::1".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
        // The address that packets to elsewhere would come from is an interface's.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_local(socket.local_addr().unwrap().ip()));
        }
    }
}
