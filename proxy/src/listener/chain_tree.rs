//! Which filter chain takes a connection, by the listener's `filter_chain_matcher`.
//!
//! A tree of conditions with chains at its ends. Unlike the rules of chains ([`super::chain_match`]) it goes back: a branch that
//! leads nowhere leaves the choice to the next one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use sampan_filters_api::ConnectionInfo;
use sampan_filters_api::info::{Address, ProtocolList};
use sampan_model::route::StringMatch;

use super::chain_match::{SourceType, source_type, transport_protocol};
use crate::net::cidr::{Cidr, CidrMap};

/// `xds.type.matcher.v3.Matcher`
#[derive(Debug, Default)]
pub struct Matcher {
    /// The branches.
    pub branches: Branches,
    /// `on_no_match`
    pub otherwise: Option<OnMatch>,
}

/// The branches of a matcher.
#[derive(Debug, Default)]
pub enum Branches {
    /// None at all.
    #[default]
    None,
    /// `matcher_list`: the first that holds.
    List(Vec<(Condition, OnMatch)>),
    /// `exact_match_map`
    Exact(Input, HashMap<Box<str>, OnMatch>),
    /// `prefix_match_map`, the longest prefix first.
    Prefix(Input, Vec<(Box<str>, OnMatch)>),
    /// `xds.type.matcher.v3.IPMatcher`, the longest range first.
    Ranges(Input, Box<Ranges>),
}

/// Branches by IP range.
#[derive(Debug)]
pub struct Ranges {
    /// The branches, and whether each is exclusive.
    pub branches: Vec<(OnMatch, bool)>,
    /// Their indices by range, in the order of declaration.
    pub by_range: CidrMap<Vec<usize>>,
}

/// Where a branch leads.
#[derive(Debug)]
pub enum OnMatch {
    /// The index of a chain; one that there is none for refuses the connection.
    Chain(usize),
    /// More conditions.
    Matcher(Box<Matcher>),
}

/// A condition of a list.
#[derive(Debug)]
pub enum Condition {
    /// `value_match`
    Text(Input, StringMatch),
    /// `custom_match` by `envoy.matching.matchers.ip`
    Ranges(Input, Vec<Cidr>),
    /// `and_matcher`
    And(Vec<Condition>),
    /// `or_matcher`
    Or(Vec<Condition>),
    /// `not_matcher`
    Not(Box<Condition>),
}

/// What of a connection is looked at (`envoy.extensions.matching.common_inputs.network.v3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`
    SourceIp,
    /// `SourcePortInput`
    SourcePort,
    /// `DirectSourceIPInput`
    DirectSourceIp,
    /// `SourceTypeInput`: `local`, or nothing.
    SourceType,
    /// `ServerNameInput`
    ServerName,
    /// `TransportProtocolInput`
    TransportProtocol,
    /// `ApplicationProtocolInput`: `'h2','http/1.1'`, or nothing.
    ApplicationProtocol,
}

impl Matcher {
    /// The index of the chain for a connection.
    pub fn find(&self, info: &ConnectionInfo) -> Option<usize> {
        let found = match &self.branches {
            Branches::None => None,
            Branches::List(list) => list
                .iter()
                .filter(|(condition, _)| condition.holds(info))
                .find_map(|(_, next)| next.find(info)),
            Branches::Exact(input, map) => {
                input.text(info).and_then(|text| map.get(&*text)).and_then(|next| next.find(info))
            }
            Branches::Prefix(input, list) => input.text(info).and_then(|text| {
                list.iter()
                    .filter(|(prefix, _)| text.starts_with(&**prefix))
                    .find_map(|(_, next)| next.find(info))
            }),
            Branches::Ranges(input, ranges) => input.ip(info).and_then(|ip| ranges.find(ip, info)),
        };
        found.or_else(|| self.otherwise.as_ref()?.find(info))
    }
}

impl Ranges {
    fn find(&self, ip: IpAddr, info: &ConnectionInfo) -> Option<usize> {
        let mut is_first = true;
        for branch in self.by_range.holding(ip).flatten() {
            let (next, exclusive) = self.branches.get(*branch)?;
            if (is_first || !exclusive)
                && let Some(found) = next.find(info)
            {
                return Some(found);
            }
            is_first = false;
        }
        None
    }
}

impl OnMatch {
    fn find(&self, info: &ConnectionInfo) -> Option<usize> {
        match self {
            Self::Chain(index) => Some(*index),
            Self::Matcher(matcher) => matcher.find(info),
        }
    }
}

impl Condition {
    fn holds(&self, info: &ConnectionInfo) -> bool {
        match self {
            Self::Text(input, matching) => {
                input.text(info).is_some_and(|text| matching.is_match(text.as_bytes()))
            }
            Self::Ranges(input, ranges) => {
                input.ip(info).is_some_and(|ip| ranges.iter().any(|range| range.contains(ip)))
            }
            Self::And(all) => all.iter().all(|one| one.holds(info)),
            Self::Or(any) => any.iter().any(|one| one.holds(info)),
            Self::Not(one) => !one.holds(info),
        }
    }
}

impl Input {
    /// As text; nothing where a connection has no such thing.
    fn text(self, info: &ConnectionInfo) -> Option<Cow<'_, str>> {
        let port = |address: &Address| Some(address.socket()?.port().to_string().into());
        Some(match self {
            Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp => self.ip(info)?.to_string().into(),
            Self::DestinationPort => return port(&info.local),
            Self::SourcePort => return port(&info.remote),
            Self::SourceType => {
                (source_type(info) == SourceType::SameIpOrLoopback).then_some("local")?.into()
            }
            Self::ServerName => info.requested_server_name.as_deref()?.into(),
            Self::TransportProtocol => transport_protocol(info).into(),
            Self::ApplicationProtocol => quoted(&info.facts.as_ref()?.application_protocols)?.into(),
        })
    }

    /// The address, if it is of one.
    fn ip(self, info: &ConnectionInfo) -> Option<IpAddr> {
        let address = match self {
            Self::DestinationIp => &info.local,
            Self::SourceIp => &info.remote,
            Self::DirectSourceIp => &info.direct_remote,
            _ => return None,
        };
        Some(address.socket()?.ip().to_canonical())
    }

    /// Whether it is an address, so that ranges can hold it.
    pub fn is_ip(self) -> bool {
        matches!(self, Self::DestinationIp | Self::SourceIp | Self::DirectSourceIp)
    }
}

fn quoted(protocols: &ProtocolList) -> Option<String> {
    let names: Vec<_> = protocols.iter().map(|name| format!("'{}'", String::from_utf8_lossy(name))).collect();
    (!names.is_empty()).then(|| names.join(","))
}
