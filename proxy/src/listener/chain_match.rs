//! Which filter chain takes a connection, by `filter_chain_match`.
//!
//! Envoy's order of criteria is fixed: destination port, destination IP, SNI, transport protocol, ALPN, direct source IP, source
//! type, source IP, source port. At each step the most specific value that any chain has and that holds for the connection
//! narrows the choice; chains without the criterion are left for connections that no value holds for; there is no going back.
//!
//! The rules become a tree: one node for each criterion that a set of chains differs in, with a map from value to
//! what is left. So a look-up costs a few hashes, however many chains there are, and two chains that would want the same
//! connection are found while it is built.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use sampan_filters_api::ConnectionInfo;
use sampan_filters_api::info::Address;

use crate::net::cidr::{Cidr, CidrMap};

/// `envoy.config.listener.v3.FilterChainMatch`; an empty criterion holds for every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// `destination_port`
    pub destination_port: Option<u16>,
    /// `prefix_ranges`
    pub destination_ranges: Vec<Cidr>,
    /// `server_names`, in lower case; `.example.com` for `*.example.com`.
    pub server_names: Vec<Box<str>>,
    /// `transport_protocol`
    pub transport_protocol: Option<Box<str>>,
    /// `application_protocols`
    pub application_protocols: Vec<Box<str>>,
    /// `direct_source_prefix_ranges`
    pub direct_source_ranges: Vec<Cidr>,
    /// `source_type`
    pub source_type: Option<SourceType>,
    /// `source_prefix_ranges`
    pub source_ranges: Vec<Cidr>,
    /// `source_ports`
    pub source_ports: Vec<u16>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// Its address is the one that it connected to, or a loopback address, or a unix socket's.
    SameIpOrLoopback,
    /// Elsewhere.
    External,
}

/// Two rules, by index, that hold for some connection equally well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub usize, pub usize);

/// The rules of all chains, to look one up.
#[derive(Debug, Default)]
pub struct ChainRules(Option<Node>);

/// What is left of the rules after some steps.
#[derive(Clone, Debug)]
enum Node {
    /// The index of the chain.
    Chain(usize),
    /// One more criterion tells.
    Choice(Arc<Choice>),
}

#[derive(Debug)]
struct Choice {
    criterion: Criterion,
    values: Values,
    /// For connections that none of the values holds for.
    any: Option<Node>,
}

#[derive(Debug)]
enum Values {
    Numbers(HashMap<u16, Node>),
    Texts(HashMap<Box<[u8]>, Node>),
    Ranges(CidrMap<Node>),
    Types(HashMap<SourceType, Node>),
}

/// The criteria.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Criterion {
    DestinationPort,
    DestinationRange,
    ServerName,
    TransportProtocol,
    ApplicationProtocol,
    DirectSourceRange,
    SourceType,
    SourceRange,
    SourcePort,
}

/// In the order in which they are asked.
const ORDER: [Criterion; 9] = [
    Criterion::DestinationPort,
    Criterion::DestinationRange,
    Criterion::ServerName,
    Criterion::TransportProtocol,
    Criterion::ApplicationProtocol,
    Criterion::DirectSourceRange,
    Criterion::SourceType,
    Criterion::SourceRange,
    Criterion::SourcePort,
];

impl ChainRules {
    /// Puts rules together; they go by their index from then on.
    ///
    /// # Errors
    /// Some connection would match two of them equally well.
    pub fn new(rules: &[ChainMatch]) -> Result<Self, Overlap> {
        if rules.is_empty() {
            return Ok(Self(None));
        }
        Builder { rules, known: HashMap::new() }
            .node(&ORDER, (0..rules.len()).collect())
            .map(|node| Self(Some(node)))
    }

    /// The index of the rule for a connection.
    pub fn find(&self, info: &ConnectionInfo) -> Option<usize> {
        let mut node = self.0.as_ref()?;
        loop {
            match node {
                Node::Chain(index) => return Some(*index),
                Node::Choice(choice) => node = choice.value(info).or(choice.any.as_ref())?,
            }
        }
    }
}

impl Choice {
    /// What is left by the most specific value that holds.
    fn value(&self, info: &ConnectionInfo) -> Option<&Node> {
        let port = |address: &Address| Some(address.socket()?.port());
        let ip = |address: &Address| Some(address.socket()?.ip());
        match (self.criterion, &self.values) {
            (Criterion::DestinationPort, Values::Numbers(map)) => map.get(&port(&info.local)?),
            (Criterion::SourcePort, Values::Numbers(map)) => map.get(&port(&info.remote)?),
            (Criterion::DestinationRange, Values::Ranges(map)) => map.find(ip(&info.local)?),
            (Criterion::DirectSourceRange, Values::Ranges(map)) => map.find(ip(&info.direct_remote)?),
            (Criterion::SourceRange, Values::Ranges(map)) => map.find(ip(&info.remote)?),
            (Criterion::ServerName, Values::Texts(map)) => {
                server_name(map, info.requested_server_name.as_deref()?)
            }
            (Criterion::TransportProtocol, Values::Texts(map)) => {
                map.get(transport_protocol(info).as_bytes())
            }
            (Criterion::ApplicationProtocol, Values::Texts(map)) => {
                info.facts.as_ref()?.application_protocols.iter().find_map(|name| map.get(name))
            }
            (Criterion::SourceType, Values::Types(map)) => map.get(&source_type(info)),
            _ => None,
        }
    }
}

/// The name itself, then each domain that it is in, the nearest first.
fn server_name<'m>(map: &'m HashMap<Box<[u8]>, Node>, name: &str) -> Option<&'m Node> {
    let name = name.as_bytes();
    let domains =
        memchr::memchr_iter(b'.', name).filter(|at| (1..name.len() - 1).contains(at)).map(|at| &name[at..]);
    map.get(name).or_else(|| domains.into_iter().find_map(|domain| map.get(domain)))
}

/// What the client speaks: as a listener filter found, or plain bytes.
pub fn transport_protocol(info: &ConnectionInfo) -> &'static str {
    info.facts.as_ref().and_then(|facts| facts.transport_protocol).unwrap_or("raw_buffer")
}

/// Where the client is.
pub fn source_type(info: &ConnectionInfo) -> SourceType {
    let is_local = match (info.remote.socket(), info.local.socket()) {
        (None, _) => true,
        (Some(remote), local) => {
            let ip: IpAddr = remote.ip().to_canonical();
            ip.is_loopback() || local.is_some_and(|local| local.ip().to_canonical() == ip)
        }
    };
    if is_local { SourceType::SameIpOrLoopback } else { SourceType::External }
}

/// Builds the tree from the top; a set of rules that is left after different values is built once.
struct Builder<'r> {
    rules: &'r [ChainMatch],
    known: HashMap<(usize, Vec<usize>), Node>,
}

impl Builder<'_> {
    /// The node for the rules that are left, with the criteria that were not asked yet.
    fn node(&mut self, criteria: &[Criterion], left: Vec<usize>) -> Result<Node, Overlap> {
        let asked = criteria.iter().position(|c| left.iter().any(|rule| c.count(&self.rules[*rule]) > 0));
        let Some(asked) = asked else {
            return match left[..] {
                [first, second, ..] => Err(Overlap(first, second)),
                _ => Ok(Node::Chain(left[0])),
            };
        };
        let (criterion, later) = (criteria[asked], &criteria[asked + 1..]);
        let key = (later.len(), left);
        if let Some(node) = self.known.get(&key) {
            return Ok(node.clone());
        }
        let node = Node::Choice(Arc::new(self.choice(criterion, later, &key.1)?));
        self.known.insert(key, node.clone());
        Ok(node)
    }

    fn choice(
        &mut self,
        criterion: Criterion,
        later: &[Criterion],
        left: &[usize],
    ) -> Result<Choice, Overlap> {
        let any: Vec<usize> =
            left.iter().copied().filter(|rule| criterion.count(&self.rules[*rule]) == 0).collect();
        let any = if any.is_empty() { None } else { Some(self.node(later, any)?) };
        let rules = self.rules;
        let numbers = |numbers: fn(&ChainMatch) -> &[u16]| group(left, |rule| numbers(&rules[rule]).to_vec());
        let ranges = |ranges: fn(&ChainMatch) -> &Vec<Cidr>| group(left, |rule| ranges(&rules[rule]).clone());
        let texts = |texts: fn(&ChainMatch) -> &[Box<str>]| {
            group(left, |rule| texts(&rules[rule]).iter().map(|text| Box::from(text.as_bytes())).collect())
        };
        let values = match criterion {
            Criterion::DestinationPort => {
                Values::Numbers(self.nodes(later, numbers(|m| m.destination_port.as_slice()))?)
            }
            Criterion::SourcePort => Values::Numbers(self.nodes(later, numbers(|m| &m.source_ports))?),
            Criterion::DestinationRange => {
                Values::Ranges(self.nodes(later, ranges(|m| &m.destination_ranges))?)
            }
            Criterion::DirectSourceRange => {
                Values::Ranges(self.nodes(later, ranges(|m| &m.direct_source_ranges))?)
            }
            Criterion::SourceRange => Values::Ranges(self.nodes(later, ranges(|m| &m.source_ranges))?),
            Criterion::ServerName => Values::Texts(self.nodes(later, texts(|m| &m.server_names))?),
            Criterion::TransportProtocol => {
                Values::Texts(self.nodes(later, texts(|m| m.transport_protocol.as_slice()))?)
            }
            Criterion::ApplicationProtocol => {
                Values::Texts(self.nodes(later, texts(|m| &m.application_protocols))?)
            }
            Criterion::SourceType => {
                let types = group(left, |rule| rules[rule].source_type.into_iter().collect());
                Values::Types(self.nodes(later, types)?)
            }
        };
        Ok(Choice { criterion, values, any })
    }

    /// The node of each value.
    fn nodes<K, M: FromIterator<(K, Node)>>(
        &mut self,
        later: &[Criterion],
        groups: HashMap<K, Vec<usize>>,
    ) -> Result<M, Overlap> {
        groups.into_iter().map(|(value, left)| Ok((value, self.node(later, left)?))).collect()
    }
}

/// The rules that have each value.
fn group<K: std::hash::Hash + Eq>(
    left: &[usize],
    values: impl Fn(usize) -> Vec<K>,
) -> HashMap<K, Vec<usize>> {
    let mut groups: HashMap<K, Vec<usize>> = HashMap::new();
    for &rule in left {
        for value in values(rule) {
            let group = groups.entry(value).or_default();
            // A value that a rule has twice counts once.
            if group.last() != Some(&rule) {
                group.push(rule);
            }
        }
    }
    groups
}

impl Criterion {
    /// How many values a rule has for it.
    fn count(self, rule: &ChainMatch) -> usize {
        match self {
            Self::DestinationPort => rule.destination_port.iter().count(),
            Self::DestinationRange => rule.destination_ranges.len(),
            Self::ServerName => rule.server_names.len(),
            Self::TransportProtocol => rule.transport_protocol.iter().count(),
            Self::ApplicationProtocol => rule.application_protocols.len(),
            Self::DirectSourceRange => rule.direct_source_ranges.len(),
            Self::SourceType => rule.source_type.iter().count(),
            Self::SourceRange => rule.source_ranges.len(),
            Self::SourcePort => rule.source_ports.len(),
        }
    }
}

#[cfg(test)]
mod tests;
