//! Where upstream connections come from: `BindConfig`, of a cluster or of the cluster manager for all of them.

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{BindAddress, SourceAddress};

use super::super::{Scope, value};

const YES: Support = Support::Supported;

pub(super) const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.BindConfig",
        &[
            ("source_address", YES),
            ("freebind", YES),
            ("socket_options", YES),
            ("extra_source_addresses", YES),
            ("additional_source_addresses", YES),
            ("local_address_selector", Support::Later("a cluster that sets it is refused")),
        ],
    ),
    ("envoy.config.core.v3.ExtraSourceAddress", &[("address", YES), ("socket_options", YES)]),
    ("envoy.config.core.v3.SocketOptionsOverride", &[("socket_options", YES)]),
];

/// Compiles it. `None` after the scope was told why not.
pub fn compile(proto: &core::BindConfig, at: &Scope<'_>) -> Option<BindAddress> {
    let before = at.rejects().len();
    if proto.local_address_selector.is_some() {
        at.field("local_address_selector").reject::<()>("there is no such address selector");
    }
    let mut sources = Vec::new();
    if let Some(address) = &proto.source_address {
        sources.extend(source(address, None, &at.field("source_address")));
    }
    sources.extend(extra(proto, at));
    if proto.source_address.is_none() && !sources.is_empty() {
        at.field("source_address")
            .reject::<()>("extra source addresses cannot be given without a source_address");
    }
    if let [first, second] = &sources[..]
        && first.address.is_ipv4() == second.address.is_ipv4()
    {
        at.field("extra_source_addresses").reject_value::<()>(
            second.address,
            "two source addresses of the same IP version",
            "one of IPv4 and one of IPv6 can be given",
        );
    }
    let bind = BindAddress {
        sources,
        freebind: value::switch(proto.freebind.as_ref()).unwrap_or(false),
        socket_options: value::socket_options(&proto.socket_options, &at.field("socket_options")),
    };
    (at.rejects().len() == before).then_some(bind)
}

/// `extra_source_addresses`, or the older field of the same sense; one address at most.
#[allow(deprecated)] // `additional_source_addresses`
fn extra(proto: &core::BindConfig, at: &Scope<'_>) -> Option<SourceAddress> {
    let (extra, older) = (&proto.extra_source_addresses[..], &proto.additional_source_addresses[..]);
    match (extra, older) {
        ([], []) => None,
        ([one], []) => {
            let at = at.field("extra_source_addresses");
            let at = at.index(0);
            let Some(address) = &one.address else {
                return at.field("address").reject("the address is missing");
            };
            let options = one.socket_options.as_ref().map(|options| &options.socket_options[..]);
            source(address, options, &at)
        }
        ([], [one]) => {
            let at = at.field("additional_source_addresses");
            source(one, None, &at.index(0))
        }
        (_, []) => at.field("extra_source_addresses").reject("only one extra source address can be given"),
        ([], _) => {
            at.field("additional_source_addresses").reject("only one extra source address can be given")
        }
        _ => at
            .field("additional_source_addresses")
            .reject("it cannot be given together with extra_source_addresses"),
    }
}

fn source(
    address: &core::SocketAddress,
    options: Option<&[core::SocketOption]>,
    at: &Scope<'_>,
) -> Option<SourceAddress> {
    let options = options.map(|options| value::socket_options(options, &at.field("socket_options")));
    Some(SourceAddress { address: value::socket_address(address, at)?, socket_options: options })
}
