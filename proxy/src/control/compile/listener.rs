//! `envoy.config.listener.v3.Listener` -> [`Listener`].
//!
//! Called for each static listener of a bootstrap and for each one that the control plane sends. [`address`] has addresses
//! and sockets, [`filters`] what looks at a connection first, [`chain`]
//! filter chains and what chooses among them; the filters of a chain are in [`super::network`].

mod address;
mod chain;
mod filters;
#[cfg(test)]
mod tests;
mod tree;

pub(super) use chain::cidrs;

use std::sync::Arc;

use sampan_api::envoy::config::core::v3::TrafficDirection;
use sampan_api::envoy::config::listener::v3 as pb;
use sampan_api::envoy::config::listener::v3::listener::connection_balance_config::BalanceType;
use sampan_api::envoy::config::listener::v3::listener::{DrainType, ListenerSpecifier};
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::Direction;
use sampan_filters_api::info::ListenerFacts;

use super::{Context, Scope, access_log, value};
use crate::listener::config::Listener;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a listener that sets it is refused");

/// What is read here; the parts have rows of their own.
pub const SUPPORT: &[&[MessageSupport]] =
    &[LISTENER, address::SUPPORT, chain::SUPPORT, filters::SUPPORT, tree::SUPPORT];

/// `per_connection_buffer_limit_bytes` where nothing is configured.
const BUFFER_LIMIT: u32 = 1 << 20;
/// Connections to accept before other sockets get their turn, where nothing is configured.
const ACCEPTS_PER_WAKE: u32 = 64;

const LISTENER: &[MessageSupport] = &[
    (
        "envoy.config.listener.v3.Listener",
        &[
            ("name", YES),
            ("address", YES),
            ("additional_addresses", YES),
            ("stat_prefix", YES),
            ("filter_chains", YES),
            ("default_filter_chain", YES),
            ("per_connection_buffer_limit_bytes", YES),
            ("metadata", YES),
            ("drain_type", YES),
            ("transparent", YES),
            ("freebind", YES),
            ("socket_options", YES),
            ("traffic_direction", YES),
            ("connection_balance_config", YES),
            ("enable_reuse_port", YES),
            (
                "reuse_port",
                Support::Ignored("it has no effect in Envoy either; enable_reuse_port is on by default"),
            ),
            ("access_log", YES),
            ("tcp_backlog_size", YES),
            ("max_connections_to_accept_per_socket_event", YES),
            ("bind_to_port", YES),
            ("ignore_global_conn_limit", YES),
            ("tcp_keepalive", YES),
            ("listener_filters", YES),
            ("listener_filters_timeout", YES),
            ("continue_on_listener_filters_timeout", YES),
            ("use_original_dst", YES),
            ("filter_chain_matcher", YES),
            ("fcds_config", REFUSED),
            ("internal_listener", REFUSED),
            ("api_listener", REFUSED),
            ("udp_listener_config", REFUSED),
            ("enable_mptcp", REFUSED),
            ("tcp_fast_open_queue_length", Support::Later("TCP fast open is not offered to clients")),
            // There are no overload actions, so every listener is exempt from them.
            ("bypass_overload_manager", YES),
            ("stats_matcher", Support::Later("all stats of the listener are kept")),
            ("per_connection_buffer_high_watermark_timeout", Support::Later("slow readers are not timed")),
        ],
    ),
    (
        "envoy.config.listener.v3.Listener.ConnectionBalanceConfig",
        &[("exact_balance", YES), ("extend_balance", REFUSED), ("cpu_locality_balance", REFUSED)],
    ),
    ("envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance", &[]),
];

/// Compiles a listener; `None` if anything in it is refused.
pub fn compile(proto: &pb::Listener, context: &Context, at: &Scope<'_>) -> Option<Listener> {
    let found_before = at.rejects().len();
    let direction = match proto.traffic_direction() {
        TrafficDirection::Unspecified => Direction::Unspecified,
        TrafficDirection::Inbound => Direction::Inbound,
        TrafficDirection::Outbound => Direction::Outbound,
    };
    let context = &Context { direction, ..context.clone() };
    refuse_unsupported(proto, at);
    let addresses = address::addresses(proto, at);
    let name: Arc<str> = match proto.name.as_str() {
        "" => uuid::Uuid::new_v4().to_string().into(),
        name => name.into(),
    };
    let stat_prefix = match (proto.stat_prefix.as_str(), addresses.first()) {
        ("", Some(first)) => first.address.to_string().replace(':', "_"),
        (prefix, _) => prefix.to_owned(),
    };
    let listener = Listener {
        connection_limit: context.runtime.number(&limit_key(&name)),
        facts: Arc::new(ListenerFacts {
            name: name.clone(),
            metadata: proto.metadata.as_ref().map(value::metadata),
            direction,
            node: context.node.clone(),
        }),
        name,
        filters: filters::compile(proto, at),
        chains: chain::compile(proto, &format!("listener.{stat_prefix}"), context, at),
        stat_prefix: stat_prefix.into(),
        addresses,
        buffer_limit: value::number_or(proto.per_connection_buffer_limit_bytes.as_ref(), BUFFER_LIMIT)
            as usize,
        accepts_per_wake: value::number_or(
            proto.max_connections_to_accept_per_socket_event.as_ref(),
            ACCEPTS_PER_WAKE,
        ),
        exact_balance: exact_balance(proto, at),
        ignore_global_limit: proto.ignore_global_conn_limit,
        bind_to_port: value::switch(proto.bind_to_port.as_ref()).unwrap_or(true),
        drain_on_modify_only: proto.drain_type() == DrainType::ModifyOnly,
        access_logs: access_log::access_logs(&proto.access_log, context, &at.field("access_log")),
    };
    (at.rejects().len() == found_before).then_some(listener)
}

/// The runtime key of a listener's connection limit.
fn limit_key(name: &str) -> String {
    format!("envoy.resource_limits.listener.{name}.connection_limit")
}

fn exact_balance(proto: &pb::Listener, at: &Scope<'_>) -> bool {
    let at = at.field("connection_balance_config");
    match proto.connection_balance_config.as_ref().map(|config| &config.balance_type) {
        None => false,
        Some(Some(BalanceType::ExactBalance(_))) => true,
        Some(Some(BalanceType::ExtendBalance(extension))) => {
            let at = at.field("extend_balance");
            at.reject_value::<()>(
                &extension.name,
                "there is no such connection balancer",
                "use exact_balance",
            );
            false
        }
        Some(Some(BalanceType::CpuLocalityBalance(_))) => {
            let at = at.field("cpu_locality_balance");
            at.reject::<()>("balancing by CPU locality is not supported");
            false
        }
        Some(None) => {
            at.reject::<()>("no way of balancing is given");
            false
        }
    }
}

/// What would change the meaning of the listener if it were left out.
fn refuse_unsupported(proto: &pb::Listener, at: &Scope<'_>) {
    let refuse = |set: bool, field: &str, reason: &str| {
        if set {
            at.field(field).reject::<()>(reason);
        }
    };
    refuse(proto.fcds_config.is_some(), "fcds_config", "filter chain discovery is not supported");
    refuse(proto.udp_listener_config.is_some(), "udp_listener_config", "UDP is not supported yet");
    refuse(proto.api_listener.is_some(), "api_listener", "API listeners are for Envoy Mobile only");
    refuse(proto.enable_mptcp, "enable_mptcp", "multipath TCP is not supported");
    let internal = matches!(proto.listener_specifier, Some(ListenerSpecifier::InternalListener(_)));
    refuse(internal, "internal_listener", "internal listeners are not supported yet");
}
