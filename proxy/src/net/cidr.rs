//! Address ranges (`core.v3.CidrRange`).

use std::net::IpAddr;
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
        Ok(Self { network, prefix })
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
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
