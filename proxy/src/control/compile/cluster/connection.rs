//! Connections to a cluster: circuit breakers, keep-alive, preconnecting.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::circuit_breakers::Thresholds as Proto;
use sampan_api::envoy::config::core::v3::{self as core, RoutingPriority};
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{BindAddress, Cluster, RetryBudget, TcpKeepalive, Thresholds};

use super::super::{Scope, value};
use super::bind;

const YES: Support = Support::Supported;

pub(super) const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.cluster.v3.CircuitBreakers", &[("thresholds", YES), ("per_host_thresholds", YES)]),
    (
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        &[
            ("priority", YES),
            ("max_connections", YES),
            ("max_pending_requests", YES),
            ("max_requests", YES),
            ("max_retries", YES),
            ("retry_budget", YES),
            ("track_remaining", YES),
            ("max_connection_pools", YES),
        ],
    ),
    (
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
        &[("budget_percent", YES), ("min_retry_concurrency", YES)],
    ),
    (
        "envoy.config.cluster.v3.UpstreamConnectionOptions",
        &[
            ("tcp_keepalive", YES),
            (
                "set_local_interface_name_on_upstream_connections",
                Support::Later("the interface is not looked up"),
            ),
            ("happy_eyeballs_config", Support::Later("only the first address of an endpoint is used")),
        ],
    ),
    (
        "envoy.config.core.v3.TcpKeepalive",
        &[("keepalive_probes", YES), ("keepalive_time", YES), ("keepalive_interval", YES)],
    ),
    (
        "envoy.config.cluster.v3.Cluster.PreconnectPolicy",
        &[("per_upstream_preconnect_ratio", YES), ("predictive_preconnect_ratio", YES)],
    ),
];

/// `default_bind` is the `upstream_bind_config` of the cluster manager, for a cluster without one.
pub(super) fn compile(
    proto: &pb::Cluster,
    config: &mut Cluster,
    default_bind: Option<&Arc<BindAddress>>,
    at: &Scope<'_>,
) {
    if let Some(breakers) = &proto.circuit_breakers {
        circuit_breakers(breakers, config, &at.field("circuit_breakers"));
    }
    if let Some(options) = &proto.upstream_connection_options {
        config.tcp_keepalive = options.tcp_keepalive.as_ref().map(keepalive);
    }
    config.bind = match &proto.upstream_bind_config {
        Some(bind) => bind::compile(bind, &at.field("upstream_bind_config")).map(Arc::new),
        None => default_bind.cloned(),
    };
    if let Some(policy) = &proto.preconnect_policy {
        if let Some(ratio) = &policy.per_upstream_preconnect_ratio {
            config.preconnect.per_upstream_ratio = ratio.value;
        }
        if let Some(ratio) = &policy.predictive_preconnect_ratio {
            config.preconnect.predictive_ratio = ratio.value;
        }
    }
}

fn circuit_breakers(proto: &pb::CircuitBreakers, config: &mut Cluster, at: &Scope<'_>) {
    // The first of a priority counts, as in Envoy.
    let of = |priority| proto.thresholds.iter().find(|t| t.priority() == priority);
    config.breakers_default = of(RoutingPriority::Default).map(thresholds).unwrap_or_default();
    config.breakers_high = of(RoutingPriority::High).map(thresholds).unwrap_or_default();
    let at = at.field("per_host_thresholds");
    for (index, per_host) in proto.per_host_thresholds.iter().enumerate() {
        if per_host.max_connections.is_none() {
            at.index(index).reject::<()>("only max_connections may be set per host, and it must be");
        }
        if per_host.priority() == RoutingPriority::Default {
            config.per_host_max_connections = value::number(per_host.max_connections.as_ref());
        }
    }
}

fn thresholds(proto: &Proto) -> Thresholds {
    let standard = Thresholds::default();
    let budget = |proto: &pb::circuit_breakers::thresholds::RetryBudget| {
        let standard = RetryBudget::default();
        RetryBudget {
            percent: value::percent(proto.budget_percent.as_ref()).unwrap_or(standard.percent),
            min_concurrency: value::number_or(proto.min_retry_concurrency.as_ref(), standard.min_concurrency),
        }
    };
    Thresholds {
        max_connections: value::number_or(proto.max_connections.as_ref(), standard.max_connections),
        max_pending_requests: value::number_or(
            proto.max_pending_requests.as_ref(),
            standard.max_pending_requests,
        ),
        max_requests: value::number_or(proto.max_requests.as_ref(), standard.max_requests),
        max_retries: value::number_or(proto.max_retries.as_ref(), standard.max_retries),
        max_connection_pools: value::number_or(
            proto.max_connection_pools.as_ref(),
            standard.max_connection_pools,
        ),
        retry_budget: proto.retry_budget.as_ref().map(budget),
        track_remaining: proto.track_remaining,
    }
}

fn keepalive(proto: &core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |wrapper: Option<_>| value::number(wrapper).map(|n| Duration::from_secs(n.into()));
    TcpKeepalive {
        probes: value::number(proto.keepalive_probes.as_ref()),
        time: seconds(proto.keepalive_time.as_ref()),
        interval: seconds(proto.keepalive_interval.as_ref()),
    }
}
