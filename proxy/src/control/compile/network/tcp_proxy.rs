//! `envoy.filters.network.tcp_proxy`.

use std::time::Duration;

use sampan_api::envoy::extensions::filters::network::tcp_proxy::v3 as pb;
use sampan_api::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use sampan_api::envoy::r#type::v3::hash_policy::PolicySpecifier;
use sampan_api::{MessageSupport, Support};
use sampan_model::route::{ClusterRef, WeightedCluster, WeightedClusters, WeightedTarget};

use super::super::{Context, Scope, access_log, labels, value};
use crate::tcp::config::{TcpCluster, TcpConfig};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a filter that sets it is refused");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        &[
            ("stat_prefix", YES),
            ("cluster", YES),
            ("weighted_clusters", YES),
            ("idle_timeout", YES),
            ("max_downstream_connection_duration", YES),
            ("max_connect_attempts", YES),
            ("access_log", YES),
            ("tunneling_config", REFUSED),
            ("on_demand", REFUSED),
            ("upstream_connect_mode", REFUSED),
            (
                "downstream_idle_timeout",
                Support::Ignored("it has no effect in Envoy either; idle_timeout has"),
            ),
            ("upstream_idle_timeout", Support::Ignored("it has no effect in Envoy either; idle_timeout has")),
            ("metadata_match", YES),
            ("hash_policy", YES),
            ("backoff_options", Support::Later("the next attempt to connect starts at once")),
            (
                "max_downstream_connection_duration_jitter_percentage",
                Support::Later("the duration has no jitter"),
            ),
            ("access_log_options", Support::Later("a line is written when the connection ends")),
            ("access_log_flush_interval", Support::Later("a line is written when the connection ends")),
            ("flush_access_log_on_connected", Support::Later("a line is written when the connection ends")),
            ("proxy_protocol_tlvs", Support::Later("the PROXY protocol is not spoken")),
            ("proxy_protocol_tlv_merge_policy", Support::Later("the PROXY protocol is not spoken")),
            ("max_early_data_bytes", Support::Ignored("it is for upstream_connect_mode")),
            ("check_drain_close", Support::Later("connections are not closed early when the process drains")),
        ],
    ),
    ("envoy.type.v3.HashPolicy", &[("source_ip", YES), ("filter_state", REFUSED)]),
    ("envoy.type.v3.HashPolicy.SourceIp", &[]),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", &[("clusters", YES)]),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        &[("name", YES), ("weight", YES), ("metadata_match", YES)],
    ),
];

/// `idle_timeout` where nothing is configured.
const IDLE: Duration = Duration::from_hours(1);

/// Compiles the filter.
pub fn compile(proto: &pb::TcpProxy, context: &Context, at: &Scope<'_>) -> Option<TcpConfig> {
    let found_before = at.rejects().len();
    refuse_unsupported(proto, at);
    let cluster = cluster(proto, context, at);
    let max_duration = at.field("max_downstream_connection_duration");
    let config = TcpConfig {
        stat_prefix: proto.stat_prefix.as_str().into(),
        cluster: cluster?,
        clusters_by_name: context.slots.clone(),
        idle_timeout: value::timeout(proto.idle_timeout.as_ref(), Some(IDLE), &at.field("idle_timeout")),
        max_duration: value::timeout(proto.max_downstream_connection_duration.as_ref(), None, &max_duration),
        max_connect_attempts: value::number_or(proto.max_connect_attempts.as_ref(), 1).max(1),
        hash_source_ip: hashes_source_ip(proto, at),
        criteria: labels::criteria(proto.metadata_match.as_ref(), None),
        access_logs: access_log::access_logs(&proto.access_log, context, &at.field("access_log")),
    };
    (at.rejects().len() == found_before).then_some(config)
}

fn cluster(proto: &pb::TcpProxy, context: &Context, at: &Scope<'_>) -> Option<TcpCluster> {
    let named = |name: &str| ClusterRef { name: name.into(), slot: context.slots.intern(name) };
    match &proto.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
            at.field("cluster").reject("the cluster has no name")
        }
        Some(ClusterSpecifier::Cluster(name)) => Some(TcpCluster::Single(named(name))),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let entries = weighted
                .clusters
                .iter()
                .map(|entry| WeightedCluster {
                    target: WeightedTarget::Cluster(named(&entry.name)),
                    weight: entry.weight,
                    payload: labels::criteria(proto.metadata_match.as_ref(), entry.metadata_match.as_ref()),
                })
                .collect();
            match WeightedClusters::new(entries) {
                Ok(clusters) => Some(TcpCluster::Weighted(clusters)),
                Err(error) => at.field("weighted_clusters").reject(error.to_string()),
            }
        }
        None => at.reject("neither cluster nor weighted_clusters is given"),
    }
}

fn hashes_source_ip(proto: &pb::TcpProxy, at: &Scope<'_>) -> bool {
    let at = at.field("hash_policy");
    let mut by_source = false;
    for (index, policy) in proto.hash_policy.iter().enumerate() {
        match &policy.policy_specifier {
            Some(PolicySpecifier::FilterState(state)) => {
                let at = at.index(index);
                let reason = "hashing filter state is not supported";
                at.field("filter_state").reject_value::<()>(&state.key, reason, "source_ip is");
            }
            Some(PolicySpecifier::SourceIp(_)) => by_source = true,
            None => {}
        }
    }
    by_source
}

/// What would change the meaning of the filter if it were left out.
fn refuse_unsupported(proto: &pb::TcpProxy, at: &Scope<'_>) {
    let refuse = |set: bool, field: &str, reason: &str| {
        if set {
            at.field(field).reject::<()>(reason);
        }
    };
    refuse(proto.tunneling_config.is_some(), "tunneling_config", "tunnels over HTTP are not supported yet");
    refuse(proto.on_demand.is_some(), "on_demand", "discovering clusters on demand is not supported yet");
    refuse(
        proto.upstream_connect_mode != 0,
        "upstream_connect_mode",
        "only IMMEDIATE is supported: the upstream connection is opened when the client connects",
    );
}
