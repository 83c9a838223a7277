//! Which filter chain takes a connection.
//!
//! Envoy's order of criteria is fixed: destination port, destination IP, SNI, transport protocol, ALPN, direct source IP, source type,
//! source IP, source port; at each step the most specific rule that matches narrows the choice, and there is no
//! going back. The order is the order of the fields in [`ChainMatch`]; a criterion is one field and one step in
//! [`ChainMatcher::find`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sampan_filters_api::Address;

use super::config::FilterChain;
use crate::net::cidr::Cidr;

/// `envoy.config.listener.v3.FilterChainMatch`; an empty criterion matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// `destination_port`
    pub destination_port: Option<u16>,
    /// `prefix_ranges`
    pub destination_ranges: Vec<Cidr>,
    /// `source_prefix_ranges`
    pub source_ranges: Vec<Cidr>,
    /// `source_ports`
    pub source_ports: Vec<u16>,
}

/// The chains of a listener.
#[derive(Default)]
pub struct ChainMatcher {
    /// The configured chains with their rules.
    pub chains: Vec<(ChainMatch, Arc<FilterChain>)>,
    /// `default_filter_chain`
    pub default: Option<Arc<FilterChain>>,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Debug)]
pub struct ChainInput<'a> {
    /// The address the client connected to.
    pub local: &'a Address,
    /// The client.
    pub remote: &'a Address,
}

impl ChainMatcher {
    /// The chain for a connection.
    pub fn find(&self, input: &ChainInput<'_>) -> Option<&Arc<FilterChain>> {
        if let ([(rule, only)], true) = (&self.chains[..], self.default.is_none())
            && *rule == ChainMatch::default()
        {
            return Some(only);
        }
        let (local, remote) = (input.local.socket(), input.remote.socket());
        let mut left: Vec<&(ChainMatch, Arc<FilterChain>)> = self.chains.iter().collect();
        narrow(&mut left, |m| one(m.destination_port, local.map(|a| a.port())));
        narrow(&mut left, |m| ranges(&m.destination_ranges, local));
        narrow(&mut left, |m| ranges(&m.source_ranges, remote));
        narrow(&mut left, |m| match remote {
            _ if m.source_ports.is_empty() => Some(0),
            Some(addr) if m.source_ports.contains(&addr.port()) => Some(1),
            _ => None,
        });
        left.first().map(|(_, chain)| chain).or(self.default.as_ref())
    }

    /// Every chain, the default one last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().map(|(_, chain)| chain).chain(&self.default)
    }
}

/// Keeps the entries that match most specifically; a rank of `None` is no match, 0 an empty criterion.
fn narrow(left: &mut Vec<&(ChainMatch, Arc<FilterChain>)>, rank: impl Fn(&ChainMatch) -> Option<u16>) {
    let Some(best) = left.iter().filter_map(|(m, _)| rank(m)).max() else {
        return left.clear();
    };
    left.retain(|(m, _)| rank(m) == Some(best));
}

fn one<T: PartialEq>(wanted: Option<T>, actual: Option<T>) -> Option<u16> {
    match wanted {
        None => Some(0),
        some if some == actual => Some(1),
        Some(_) => None,
    }
}

/// The length of the longest range that holds the address, plus one.
fn ranges(ranges: &[Cidr], address: Option<SocketAddr>) -> Option<u16> {
    if ranges.is_empty() {
        return Some(0);
    }
    let ip: IpAddr = address?.ip();
    ranges.iter().filter(|r| r.contains(ip)).map(|r| u16::from(r.prefix()) + 1).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::config::Terminal;

    fn chain(name: &str) -> Arc<FilterChain> {
        Arc::new(FilterChain {
            name: name.into(),
            filters: Vec::new(),
            terminal: Terminal::None,
            transport_connect_timeout: None,
        })
    }

    fn find<'m>(matcher: &'m ChainMatcher, local: &str, remote: &str) -> Option<&'m str> {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let input = ChainInput { local: &Address::Socket(local), remote: &Address::Socket(remote) };
        matcher.find(&input).map(|c| &*c.name)
    }

    #[test]
    fn the_most_specific_rule_wins_and_there_is_no_going_back() {
        let range = |text: &str| vec![text.parse().unwrap()];
        let matcher = ChainMatcher {
            chains: vec![
                (
                    ChainMatch { destination_ranges: range("10.0.0.0/8"), ..ChainMatch::default() },
                    chain("wide"),
                ),
                (
                    ChainMatch { destination_ranges: range("10.1.0.0/16"), ..ChainMatch::default() },
                    chain("narrow"),
                ),
                (
                    ChainMatch {
                        destination_port: Some(81),
                        source_ranges: range("1.1.1.1/32"),
                        ..ChainMatch::default()
                    },
                    chain("port"),
                ),
            ],
            default: Some(chain("default")),
        };
        assert_eq!(find(&matcher, "10.1.2.3:80", "9.9.9.9:1"), Some("narrow"));
        assert_eq!(find(&matcher, "10.2.2.3:80", "9.9.9.9:1"), Some("wide"));
        assert_eq!(find(&matcher, "10.2.2.3:81", "1.1.1.1:1"), Some("port"));
        // Port 81 has been chosen by then, although `wide` would match as well.
        assert_eq!(find(&matcher, "10.2.2.3:81", "9.9.9.9:1"), Some("default"));
        assert_eq!(find(&ChainMatcher::default(), "10.2.2.3:81", "9.9.9.9:1"), None);
    }
}
