//! Filter chains, and the rules that choose among them.

use std::net::IpAddr;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::CidrRange;
use sampan_api::envoy::config::listener::v3 as pb;
use sampan_api::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::info::ChainFacts;

use super::super::{Context, Scope, network, tls, value};
use super::tree;
use crate::listener::chain_match::{ChainMatch, ChainRules, SourceType};
use crate::listener::config::FilterChain;
use crate::listener::filter_chain::{ChainChoice, ChainMatcher};
use crate::listener::retire::Retirement;
use crate::net::cidr::Cidr;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter chain that sets it is refused");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.listener.v3.FilterChain",
        &[
            ("filter_chain_match", YES),
            ("filters", YES),
            ("name", YES),
            ("transport_socket", YES),
            ("transport_socket_connect_timeout", YES),
            ("metadata", YES),
            ("use_proxy_proto", REFUSED),
        ],
    ),
    (
        "envoy.config.listener.v3.FilterChainMatch",
        &[
            ("destination_port", YES),
            ("prefix_ranges", YES),
            ("source_prefix_ranges", YES),
            ("source_ports", YES),
            ("address_suffix", Support::Ignored("it has no effect in Envoy either")),
            ("suffix_len", Support::Ignored("it has no effect in Envoy either")),
            ("direct_source_prefix_ranges", YES),
            ("source_type", YES),
            ("server_names", YES),
            ("transport_protocol", YES),
            ("application_protocols", YES),
        ],
    ),
    ("envoy.config.core.v3.CidrRange", &[("address_prefix", YES), ("prefix_len", YES)]),
    ("envoy.config.core.v3.TransportSocket", &[("name", YES), ("typed_config", YES)]),
    ("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", &[]),
];

/// The chains of a listener; `scope` is `listener.<address>`.
pub fn compile(proto: &pb::Listener, scope: &str, context: &Context, at: &Scope<'_>) -> ChainMatcher {
    let mut matcher = ChainMatcher::default();
    let mut rules = Vec::new();
    let list = at.field("filter_chains");
    for (index, chain) in proto.filter_chains.iter().enumerate() {
        let at = list.index(index);
        let rule = chain_match(chain.filter_chain_match.as_ref(), &at.field("filter_chain_match"));
        let compiled = filter_chain(chain, scope, context, &at);
        let (Some(rule), Some(compiled)) = (rule, compiled) else { continue };
        rules.push((index, rule));
        matcher.chains.push(Arc::new(compiled));
    }
    matcher.choice = choice(proto, rules, at);
    matcher.default = proto.default_filter_chain.as_ref().and_then(|chain| {
        let at = at.field("default_filter_chain");
        if chain.filter_chain_match.is_some() {
            let at = at.field("filter_chain_match");
            // Not a warning: istiod sends one in every listener.
            tracing::debug!(target: "config", "{}: has no effect: the chain takes what no rule matches", at.path());
        }
        filter_chain(chain, scope, context, &at).map(Arc::new)
    });
    if proto.filter_chains.is_empty() && proto.default_filter_chain.is_none() {
        list.reject::<()>("no filter chains specified");
    }
    matcher
}

/// What chooses among the chains; `rules` are those of the good ones, with their place.
fn choice(proto: &pb::Listener, rules: Vec<(usize, ChainMatch)>, at: &Scope<'_>) -> ChainChoice {
    let list = at.field("filter_chains");
    if let Some(tree) = &proto.filter_chain_matcher {
        let names: Vec<&str> = proto.filter_chains.iter().map(|chain| chain.name.as_str()).collect();
        for (index, name) in names.iter().enumerate() {
            let at = list.index(index);
            if name.is_empty() {
                at.field("name").reject::<()>("is required beside a filter_chain_matcher");
            } else if names[..index].contains(name) {
                at.field("name").reject_value::<()>(name, "another filter chain has this name", "");
            }
        }
        let tree = tree::compile(tree, &tree::Names(&names), &at.field("filter_chain_matcher"), 0);
        return tree.map(ChainChoice::Tree).unwrap_or_default();
    }
    let (places, rules): (Vec<usize>, Vec<ChainMatch>) = rules.into_iter().unzip();
    match ChainRules::new(&rules) {
        Ok(rules) => ChainChoice::Rules(rules),
        Err(overlap) => {
            let [first, second] = [overlap.0, overlap.1].map(|rule| places[rule]);
            let at = list.index(second);
            at.field("filter_chain_match").reject::<()>(format!(
                "filter chain {:?} has matching rules that overlap with those of {:?}",
                proto.filter_chains[second].name, proto.filter_chains[first].name
            ));
            ChainChoice::default()
        }
    }
}

fn filter_chain(
    proto: &pb::FilterChain,
    scope: &str,
    context: &Context,
    at: &Scope<'_>,
) -> Option<FilterChain> {
    let tls = match &proto.transport_socket {
        None => Some(None),
        Some(socket) => tls::downstream(socket, scope, &context.tls, &at.field("transport_socket")),
    };
    #[allow(deprecated)]
    if proto.use_proxy_proto.as_ref().is_some_and(|wrapper| wrapper.value) {
        at.field("use_proxy_proto").reject_value::<()>(
            "true",
            "a filter chain cannot ask for the PROXY protocol: it comes before the choice of a chain",
            "give the listener the listener filter envoy.filters.listener.proxy_protocol",
        );
    }
    let timeout = at.field("transport_socket_connect_timeout");
    let timeout = value::timeout(proto.transport_socket_connect_timeout.as_ref(), None, &timeout);
    let (filters, terminal) = network::filters(&proto.filters, context, &at.field("filters"))?;
    Some(FilterChain {
        facts: Arc::new(ChainFacts {
            name: proto.name.as_str().into(),
            metadata: proto.metadata.as_ref().map(value::metadata),
        }),
        filters,
        terminal,
        tls: tls?,
        transport_connect_timeout: timeout,
        retirement: Retirement::default(),
    })
}

fn chain_match(proto: Option<&pb::FilterChainMatch>, at: &Scope<'_>) -> Option<ChainMatch> {
    let Some(proto) = proto else { return Some(ChainMatch::default()) };
    let found_before = at.rejects().len();
    let port = |port: u32, field: &str| match u16::try_from(port) {
        Ok(port) if port > 0 => Some(port),
        _ => at.field(field).reject_value(port, "a port is between 1 and 65535", ""),
    };
    let rule = ChainMatch {
        destination_port: value::number(proto.destination_port.as_ref())
            .and_then(|number| port(number, "destination_port")),
        destination_ranges: cidrs(&proto.prefix_ranges, &at.field("prefix_ranges")),
        server_names: server_names(&proto.server_names, &at.field("server_names")),
        transport_protocol: (!proto.transport_protocol.is_empty())
            .then(|| proto.transport_protocol.as_str().into()),
        application_protocols: proto.application_protocols.iter().map(|name| name.as_str().into()).collect(),
        direct_source_ranges: cidrs(
            &proto.direct_source_prefix_ranges,
            &at.field("direct_source_prefix_ranges"),
        ),
        source_type: match proto.source_type() {
            ConnectionSourceType::Any => None,
            ConnectionSourceType::SameIpOrLoopback => Some(SourceType::SameIpOrLoopback),
            ConnectionSourceType::External => Some(SourceType::External),
        },
        source_ranges: cidrs(&proto.source_prefix_ranges, &at.field("source_prefix_ranges")),
        source_ports: proto.source_ports.iter().filter_map(|number| port(*number, "source_ports")).collect(),
    };
    (at.rejects().len() == found_before).then_some(rule)
}

/// Server names in lower case; `*.` at the beginning stands for any first labels.
fn server_names(names: &[String], at: &Scope<'_>) -> Vec<Box<str>> {
    let one = |(index, name): (usize, &String)| {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix('*').filter(|domain| domain.starts_with('.')) {
            Some(domain) if !domain.contains('*') => Some(domain.into()),
            None if !name.contains('*') => Some(name.into()),
            _ => at.index(index).reject_value(
                &name,
                "a wildcard can only be the whole first label",
                "for all names, leave server_names out",
            ),
        }
    };
    // An empty name is the same as none.
    names.iter().enumerate().filter(|(_, name)| !name.is_empty()).filter_map(one).collect()
}

/// Address ranges.
pub(in super::super) fn cidrs(protos: &[CidrRange], at: &Scope<'_>) -> Vec<Cidr> {
    let one = |(index, proto): (usize, &CidrRange)| {
        let at = at.index(index);
        let Ok(network) = proto.address_prefix.parse::<IpAddr>() else {
            return at.field("address_prefix").reject_value(
                &proto.address_prefix,
                "malformed IP address",
                "",
            );
        };
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = value::number_or(proto.prefix_len.as_ref(), 0).min(bits);
        match Cidr::new(network, prefix) {
            Ok(cidr) => Some(cidr),
            Err(error) => at.field("prefix_len").reject_value(prefix, error.to_string(), ""),
        }
    };
    protos.iter().enumerate().filter_map(one).collect()
}
