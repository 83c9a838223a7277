//! Address ranges (`core.v3.CidrRange`), alone and as the keys of a map.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of IP addresses by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why text or numbers are no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IP range such as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidCidr;

impl Cidr {
    /// The range of `prefix` leading bits of `network`; bits behind them are ignored.
    pub fn new(network: IpAddr, prefix: u32) -> Result<Self, InvalidCidr> {
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = u8::try_from(prefix).ok().filter(|p| *p <= bits).ok_or(InvalidCidr)?;
        Ok(Self::masked(network, prefix))
    }

    /// Without the bits behind the prefix, so that two spellings of a range are equal.
    fn masked(ip: IpAddr, prefix: u8) -> Self {
        let network = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Ipv4Addr::from(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Ipv6Addr::from(ip.to_bits() & mask).into()
            }
        };
        Self { network, prefix }
    }

    /// Whether it holds an address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same_prefix(u128::from(a.to_bits()) << 96, u128::from(b.to_bits()) << 96, self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.to_bits(), b.to_bits(), self.prefix),
            _ => false,
        }
    }

    /// The number of leading bits that count.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

/// Values by range, to be found by an address in one of them.
#[derive(Clone, Debug)]
pub struct CidrMap<T> {
    values: HashMap<Cidr, T>,
    /// The prefix lengths that there are of IPv4 and of IPv6, the longest first.
    lengths: [Vec<u8>; 2],
}

impl<T> CidrMap<T> {
    /// The value of the longest range that holds an address.
    pub fn find(&self, ip: IpAddr) -> Option<&T> {
        self.holding(ip).next()
    }

    /// The values of all ranges that hold an address, the longest first.
    pub fn holding(&self, ip: IpAddr) -> impl Iterator<Item = &T> {
        let ip = ip.to_canonical();
        let lengths = &self.lengths[usize::from(ip.is_ipv6())];
        lengths.iter().filter_map(move |length| self.values.get(&Cidr::masked(ip, *length)))
    }
}

impl<T> FromIterator<(Cidr, T)> for CidrMap<T> {
    fn from_iter<I: IntoIterator<Item = (Cidr, T)>>(entries: I) -> Self {
        let values: HashMap<Cidr, T> = entries.into_iter().collect();
        let lengths = [false, true].map(|ipv6| {
            let of_family = values.keys().filter(|range| range.network.is_ipv6() == ipv6);
            let mut lengths: Vec<u8> = of_family.map(|range| range.prefix).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
            lengths
        });
        Self { values, lengths }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (ip, prefix) = text.split_once('/').ok_or(InvalidCidr)?;
        Cidr::new(ip.parse().map_err(|_| InvalidCidr)?, prefix.parse().map_err(|_| InvalidCidr)?)
    }
}

fn same_prefix(a: u128, b: u128, prefix: u8) -> bool {
    prefix == 0 || (a ^ b) >> (128 - u32::from(prefix)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("1.2.3.4/32", "::ffff:1.2.3.4", "1.2.3.5"),
            ("fd00::/8", "fdff::1", "fe00::"),
        ] {
            let range: Cidr = range.parse().unwrap();
            assert!(range.contains(inside.parse().unwrap()), "{range:?} {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{range:?} {outside}");
        }
        assert_eq!("10.1.2.3/8".parse::<Cidr>(), "10.0.0.0/8".parse());
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_map_finds_the_longest_first() {
        let ranges = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::1/128"];
        let map: CidrMap<&str> = ranges.map(|range| (range.parse().unwrap(), range)).into_iter().collect();
        for (ip, found) in [
            ("10.1.2.3", &["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"][..]),
            ("::ffff:10.9.9.9", &["10.0.0.0/8", "0.0.0.0/0"]),
            ("fd00::1", &["fd00::1/128", "::/0"]),
            ("fd00::2", &["::/0"]),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(map.holding(ip).copied().collect::<Vec<_>>(), found, "{ip}");
            assert_eq!(map.find(ip), found.first());
        }
    }
}
