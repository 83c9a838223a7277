//! The small values that rules are made of, parsed once and never re-checked ("parse, don't validate").
//! [`crate::config`] reads them from options, [`crate::plan`] prints them, [`crate::explain`] compares packets with them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Longest interface name the kernel takes (`IFNAMSIZ` less the closing zero byte).
const MAX_INTERFACE_NAME: usize = 15;

/// A reason and a hint: why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub hint: String,
}

/// One port, or a range of ports written `first:last` as iptables takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// An IP range in CIDR form; host bits are kept as written, for the kernel ignores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// A network interface's name; a closing `+` stands for any ending, as in iptables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

/// A user or group: the text goes into the rule, the number is what the kernel compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    text: String,
    id: u32,
}

impl Rejection {
    /// A rejection from its two halves.
    pub fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

impl Ports {
    /// The range that holds one port only.
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Parses `80` or `8000:9000`.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let Some((first, last)) = text.split_once(':') else {
            return parse_port(text).map(Self::single);
        };
        let (first, last) = (parse_port(first)?, parse_port(last)?);
        if first > last {
            return Err(Rejection::new(
                format!("the range {text} ends before it begins"),
                "write first:last",
            ));
        }
        Ok(Self { first, last })
    }

    /// First and last port.
    pub fn bounds(self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whether `port` is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Cidr {
    /// The range of one address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: address_bits(address) }
    }

    /// Parses `10.0.0.0/8` or `fd00::/8`; the length is required, as `istio-iptables` requires it.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let hint = "write an IP range in CIDR form, e.g. 10.0.0.0/8, 10.1.2.3/32 or fd00::/8";
        let (address, length) = text
            .split_once('/')
            .ok_or_else(|| Rejection::new(format!("{text:?} has no prefix length"), hint))?;
        let address: IpAddr =
            address.parse().map_err(|_| Rejection::new(format!("{address:?} is not an IP address"), hint))?;
        let length = parse_decimal(length)
            .and_then(|length| u8::try_from(length).ok())
            .filter(|length| *length <= address_bits(address))
            .ok_or_else(|| {
                let bits = address_bits(address);
                Rejection::new(format!("{length:?} is not a prefix length from 0 to {bits}"), hint)
            })?;
        Ok(Self { address, length })
    }

    /// The address part, as written.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The number of leading bits that count.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The same range with its host bits cleared, as the kernel keeps it.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Self { address, length: self.length }
    }

    /// Whether `address` is of the same family and in the range.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.length);
                (u64::from(own.to_bits()) >> shift) == (u64::from(other.to_bits()) >> shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

impl Interface {
    /// Parses an interface's name.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let hint = "write the name as `ip link` shows it, e.g. eth0; eth+ means all that begin with eth";
        let fault = if text.is_empty() {
            "an interface name cannot be empty"
        } else if text.len() > MAX_INTERFACE_NAME {
            "an interface name has at most 15 bytes"
        } else if text == "." || text == ".." {
            "this name is reserved"
        } else if text.starts_with(['-', '!']) {
            "iptables would take this for an option"
        } else if text.chars().any(|c| c == '/' || c == ':' || !c.is_ascii_graphic() || "\"'\\".contains(c)) {
            "an interface name has only printable ASCII without slash, colon, quote or blank"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Rejection::new(format!("{text:?}: {fault}"), hint))
    }

    /// The name without the closing `+`, and whether there was one.
    pub fn parts(&self) -> (&str, bool) {
        self.0.strip_suffix('+').map_or((&*self.0, false), |prefix| (prefix, true))
    }

    /// Whether a packet on the interface called `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('+') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
}

impl Owner {
    /// The owner with this number.
    pub fn number(id: u32) -> Self {
        Self { text: id.to_string(), id }
    }

    /// Parses a number, or a name that `lookup` (the pod's passwd or group file) turns into one.
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<u32>) -> Result<Self, Rejection> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            // The highest number means "nobody changes" to the kernel and is refused by iptables too.
            return match parse_decimal(text).and_then(|id| u32::try_from(id).ok()) {
                Some(id) if id != u32::MAX => Ok(Self { text: id.to_string(), id }),
                _ => Err(Rejection::new(
                    format!("{text:?} is not a user or group number"),
                    "write a decimal number from 0 to 4294967294",
                )),
            };
        }
        lookup(text).map(|id| Self { text: text.to_owned(), id }).ok_or_else(|| {
            Rejection::new(
                format!("{text:?} is not known in this container"),
                "write the number, e.g. 1337, or add the name to /etc/passwd or /etc/group of the image",
            )
        })
    }

    /// The same owner, written as a number.
    pub fn numeric(&self) -> Self {
        Self::number(self.id)
    }

    /// The number that the kernel compares with a socket's owner.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// Parses a port from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, Rejection> {
    parse_decimal(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).ok_or_else(|| {
        Rejection::new(format!("{text:?} is not a port"), "write a decimal number from 1 to 65535")
    })
}

/// Parses a mark or table number, decimal or with `0x`, as `ip` and iptables take it.
pub fn parse_number(text: &str) -> Result<u32, Rejection> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => parse_decimal(text).and_then(|number| u32::try_from(number).ok()),
    };
    parsed.filter(|number| *number != 0).ok_or_else(|| {
        Rejection::new(format!("{text:?} is not a number from 1 to 4294967295"), "write e.g. 1337 or 0x539")
    })
}

/// Parses a switch's value with the spellings that Go's flag parser knows.
pub fn parse_switch(text: &str) -> Result<bool, Rejection> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Rejection::new(format!("{text:?} is neither true nor false"), "write true or false")),
    }
}

/// Parses a duration as Go writes it (`5s`, `500ms`, `1m30s`, `1.5s`); it must be above zero.
pub fn parse_duration(text: &str) -> Result<Duration, Rejection> {
    go_duration_nanoseconds(text)
        .filter(|nanoseconds| (1.0..=1e18).contains(nanoseconds))
        .map(|nanoseconds| Duration::from_nanos(nanoseconds as u64))
        .ok_or_else(|| {
            Rejection::new(format!("{text:?} is not a duration above zero"), "write e.g. 5s, 500ms or 1m30s")
        })
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Digits only: `str::parse` would also take a leading plus sign.
fn parse_decimal(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn go_duration_nanoseconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| {
            rest.strip_prefix(unit)
                .is_some_and(|after| after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_single_or_ranges() {
        assert_eq!(Ports::parse("80").unwrap().to_string(), "80");
        let range = Ports::parse("8000:9000").unwrap();
        assert_eq!(range.to_string(), "8000:9000");
        assert!(range.contains(8000) && range.contains(9000) && !range.contains(9001));
        for bad in ["", "0", "65536", "+80", "http", "9:8", "8:", "80 "] {
            assert!(Ports::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_contain_by_prefix() {
        let ten = Cidr::parse("10.1.2.3/8").unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()) && !ten.contains("11.0.0.1".parse().unwrap()));
        assert_eq!((ten.to_string(), ten.network().to_string()), ("10.1.2.3/8".into(), "10.0.0.0/8".into()));
        assert_eq!(Cidr::parse("fd01:2::9/16").unwrap().network().to_string(), "fd01::/16");
        assert_eq!(Cidr::parse("9.9.9.9/0").unwrap().network().to_string(), "0.0.0.0/0");
        assert_eq!(Cidr::parse("9.9.9.9/32").unwrap().network().to_string(), "9.9.9.9/32");
        let all = Cidr::parse("0.0.0.0/0").unwrap();
        assert!(all.contains("255.1.1.1".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let host = Cidr::parse("::1/128").unwrap();
        assert!(host.contains("::1".parse().unwrap()) && !host.contains("::2".parse().unwrap()));
        assert!(Cidr::parse("::/0").unwrap().contains("fd00::1".parse().unwrap()));
        for bad in ["10.0.0.1", "10.0.0.0/33", "::/129", "10.0.0/8", "x/8", "10.0.0.0/", "10.0.0.0/+8"] {
            assert!(Cidr::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interfaces_end_in_a_wildcard() {
        assert!(Interface::parse("eth+").unwrap().matches("eth12"));
        assert!(!Interface::parse("eth1").unwrap().matches("eth12"));
        for bad in ["", "..", "a/b", "a b", "-j", "!", "sixteencharacter", "a\nb", "é"] {
            assert!(Interface::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn owners_are_numbers_or_known_names() {
        let lookup = |name: &str| (name == "java").then_some(7);
        assert_eq!(Owner::parse("java", lookup).unwrap().id(), 7);
        assert_eq!(Owner::parse("1337", lookup).unwrap(), Owner::number(1337));
        for bad in ["4294967295", "12a", "nobody", "-1", "*"] {
            assert!(Owner::parse(bad, lookup).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(parse_duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("1.5s500ms").unwrap(), Duration::from_secs(2));
        for bad in ["", "5", "s", "0s", "-1s", "5x", "1..s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_and_switches() {
        assert_eq!(parse_number("0x539").unwrap(), 1337);
        assert!(parse_number("0").is_err() && parse_number("0x+1").is_err() && parse_number("-1").is_err());
        assert!(parse_switch("T").unwrap() && !parse_switch("0").unwrap() && parse_switch("yes").is_err());
    }
}
