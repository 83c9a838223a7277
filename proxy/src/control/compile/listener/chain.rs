//! Filter chains, and the rules that choose among them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sampan_api::envoy::config::core::v3::CidrRange;
use sampan_api::envoy::config::listener::v3 as pb;
use sampan_api::{MessageSupport, Support, type_url};

use super::super::{Context, Scope, extension, network, value};
use crate::listener::config::FilterChain;
use crate::listener::filter_chain::{ChainMatch, ChainMatcher};
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
            ("metadata", Support::Ignored("nothing reads the metadata of filter chains")),
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
            ("direct_source_prefix_ranges", REFUSED),
            ("source_type", REFUSED),
            ("server_names", REFUSED),
            ("transport_protocol", REFUSED),
            ("application_protocols", REFUSED),
        ],
    ),
    ("envoy.config.core.v3.CidrRange", &[("address_prefix", YES), ("prefix_len", YES)]),
    ("envoy.config.core.v3.TransportSocket", &[("name", YES), ("typed_config", YES)]),
    ("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", &[]),
];

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// The chains of a listener.
pub fn compile(proto: &pb::Listener, context: &Context, at: &Scope<'_>) -> ChainMatcher {
    let mut matcher = ChainMatcher::default();
    let list = at.field("filter_chains");
    for (index, chain) in proto.filter_chains.iter().enumerate() {
        let at = list.index(index);
        let rule = chain_match(chain.filter_chain_match.as_ref(), &at.field("filter_chain_match"));
        let compiled = filter_chain(chain, context, &at);
        let (Some(rule), Some(compiled)) = (rule, compiled) else { continue };
        if let Some((_, other)) = matcher.chains.iter().find(|(known, _)| overlaps(known, &rule)) {
            at.field("filter_chain_match").reject::<()>(format!(
                "filter chain {:?} has the same matching rules as {:?}",
                chain.name, other.name
            ));
            continue;
        }
        matcher.chains.push((rule, Arc::new(compiled)));
    }
    matcher.default = proto.default_filter_chain.as_ref().and_then(|chain| {
        let at = at.field("default_filter_chain");
        if chain.filter_chain_match.is_some() {
            let at = at.field("filter_chain_match");
            tracing::warn!(target: "config", "{}: has no effect: the chain takes what no rule matches", at.path());
        }
        filter_chain(chain, context, &at).map(Arc::new)
    });
    if proto.filter_chains.is_empty() && proto.default_filter_chain.is_none() {
        list.reject::<()>("no filter chains specified");
    }
    matcher
}

fn filter_chain(proto: &pb::FilterChain, context: &Context, at: &Scope<'_>) -> Option<FilterChain> {
    if let Some(socket) = &proto.transport_socket {
        let at = at.field("transport_socket");
        match extension::transport_socket(socket) {
            Some(any) if type_url::full_name(&any.type_url) == RAW_BUFFER => {}
            Some(any) => {
                at.field("typed_config").reject_value::<()>(
                    &any.type_url,
                    "this transport socket is not supported yet",
                    "leave transport_socket out, or use raw_buffer",
                );
            }
            None => {
                at.reject_value::<()>(&socket.name, "the transport socket has no typed_config", "");
            }
        }
    }
    #[allow(deprecated)]
    if proto.use_proxy_proto.as_ref().is_some_and(|wrapper| wrapper.value) {
        at.field("use_proxy_proto").reject::<()>("the PROXY protocol is not supported yet");
    }
    let timeout = at.field("transport_socket_connect_timeout");
    let timeout = value::timeout(proto.transport_socket_connect_timeout.as_ref(), None, &timeout);
    let (filters, terminal) = network::filters(&proto.filters, context, &at.field("filters"))?;
    Some(FilterChain {
        name: proto.name.as_str().into(),
        filters,
        terminal,
        transport_connect_timeout: timeout,
    })
}

fn chain_match(proto: Option<&pb::FilterChainMatch>, at: &Scope<'_>) -> Option<ChainMatch> {
    let Some(proto) = proto else { return Some(ChainMatch::default()) };
    let found_before = at.rejects().len();
    let refuse = |set: bool, field: &str, hint: &str| {
        if set {
            at.field(field).reject_value::<()>("", "this criterion is not supported yet", hint);
        }
    };
    let ports_and_ranges = "prefix_ranges, destination_port, source_prefix_ranges and source_ports are";
    refuse(!proto.direct_source_prefix_ranges.is_empty(), "direct_source_prefix_ranges", ports_and_ranges);
    refuse(proto.source_type != 0, "source_type", ports_and_ranges);
    refuse(!proto.server_names.is_empty(), "server_names", ports_and_ranges);
    refuse(!matches!(&*proto.transport_protocol, "" | "raw_buffer"), "transport_protocol", ports_and_ranges);
    refuse(!proto.application_protocols.is_empty(), "application_protocols", ports_and_ranges);
    let port = |port: u32, field: &str| match u16::try_from(port) {
        Ok(port) if port > 0 => Some(port),
        _ => at.field(field).reject_value(port, "a port is between 1 and 65535", ""),
    };
    let rule = ChainMatch {
        destination_port: value::number(proto.destination_port.as_ref())
            .and_then(|number| port(number, "destination_port")),
        destination_ranges: cidrs(&proto.prefix_ranges, &at.field("prefix_ranges")),
        source_ranges: cidrs(&proto.source_prefix_ranges, &at.field("source_prefix_ranges")),
        source_ports: proto.source_ports.iter().filter_map(|number| port(*number, "source_ports")).collect(),
    };
    (at.rejects().len() == found_before).then_some(rule)
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
        // Masked, so that two spellings of a range compare equal.
        let masked = match network {
            IpAddr::V4(ip) => {
                Ipv4Addr::from(ip.to_bits() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).into()
            }
            IpAddr::V6(ip) => {
                Ipv6Addr::from(ip.to_bits() & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).into()
            }
        };
        match Cidr::new(masked, prefix) {
            Ok(cidr) => Some(cidr),
            Err(error) => at.field("prefix_len").reject_value(prefix, error.to_string(), ""),
        }
    };
    protos.iter().enumerate().filter_map(one).collect()
}

/// Whether some connection would match both rules equally well: in every criterion they share a value, or both have none.
fn overlaps(a: &ChainMatch, b: &ChainMatch) -> bool {
    fn shares<T: PartialEq>(a: &[T], b: &[T]) -> bool {
        (a.is_empty() && b.is_empty()) || a.iter().any(|value| b.contains(value))
    }
    a.destination_port == b.destination_port
        && shares(&a.destination_ranges, &b.destination_ranges)
        && shares(&a.source_ranges, &b.source_ranges)
        && shares(&a.source_ports, &b.source_ports)
}
