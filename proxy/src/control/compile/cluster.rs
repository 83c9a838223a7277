//! `envoy.config.cluster.v3.Cluster` -> the model's cluster and its endpoints.
//!
//! Runs twice for a cluster that is used: on arrival, to validate it, and on first use ([`super::super::store`] keeps the
//! wire bytes in between). [`protocol`] has HTTP, [`balance`] load balancing, [`discovery`] types and DNS,
//! [`original_dst`] clusters whose hosts are where connections were going, [`connection`] breakers and keep-alive, [`bind`] source
//! addresses.

mod balance;
mod bind;
mod checks;
mod connection;
mod discovery;
mod filters;
mod original_dst;
mod outlier;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::core::v3::{HealthStatus, HealthStatusSet};
use sampan_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{
    CheckedHosts, Cluster, Discovery, HostSet, HostSetOptions, Metadata, OverrideStatus, UpstreamProtocol,
};

use super::endpoints::{self, Names, Target};
use super::{Scope, tls, value};
use crate::reference::Source;
use crate::upstream::filters::UpstreamFilters;
use crate::upstream::transport::Transports;

pub use bind::compile as bind_address;
pub use filters::FilterInputs;
use original_dst::metadata as metadata_key;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a cluster that sets it is refused");

/// What is read here; the parts have rows of their own.
pub const SUPPORT: &[&[MessageSupport]] = &[
    CLUSTER,
    balance::SUPPORT[0],
    balance::SUPPORT[1],
    balance::SUPPORT[2],
    balance::SUPPORT[3],
    balance::SUPPORT[4],
    bind::SUPPORT,
    checks::SUPPORT,
    connection::SUPPORT,
    discovery::SUPPORT,
    filters::SUPPORT,
    original_dst::SUPPORT,
    outlier::SUPPORT,
    protocol::SUPPORT,
];

const CLUSTER: &[MessageSupport] = &[
    (
        "envoy.config.cluster.v3.Cluster",
        &[
            ("name", YES),
            ("alt_stat_name", YES),
            ("type", YES),
            ("cluster_type", YES),
            ("connect_timeout", YES),
            ("per_connection_buffer_limit_bytes", YES),
            ("lb_policy", YES),
            ("load_balancing_policy", YES),
            ("least_request_lb_config", YES),
            ("round_robin_lb_config", YES),
            ("ring_hash_lb_config", YES),
            ("maglev_lb_config", YES),
            ("load_assignment", YES),
            ("eds_cluster_config", YES),
            ("max_requests_per_connection", YES),
            ("circuit_breakers", YES),
            ("upstream_http_protocol_options", YES),
            ("common_http_protocol_options", YES),
            ("http_protocol_options", YES),
            ("http2_protocol_options", YES),
            ("typed_extension_protocol_options", YES),
            ("protocol_selection", YES),
            ("dns_refresh_rate", YES),
            ("dns_jitter", YES),
            ("dns_failure_refresh_rate", YES),
            ("respect_dns_ttl", YES),
            ("dns_lookup_family", YES),
            ("dns_resolvers", YES),
            ("use_tcp_for_dns_lookups", YES),
            ("dns_resolution_config", YES),
            ("typed_dns_resolver_config", YES),
            ("wait_for_warm_on_init", YES),
            ("upstream_bind_config", YES),
            ("upstream_connection_options", YES),
            ("common_lb_config", YES),
            ("preconnect_policy", YES),
            ("metadata", YES),
            ("transport_socket", YES),
            ("transport_socket_matches", YES),
            ("transport_socket_matcher", REFUSED),
            ("filters", YES),
            ("upstream_config", REFUSED),
            ("lb_subset_config", YES),
            ("health_checks", YES),
            ("outlier_detection", YES),
            ("cleanup_interval", YES),
            ("original_dst_lb_config", YES),
            (
                "close_connections_on_host_health_failure",
                Support::Later("connections to a host stay when it fails its checks"),
            ),
            ("ignore_health_on_host_removal", YES),
            ("track_cluster_stats", Support::Later("these stats are not kept")),
            ("track_timeout_budgets", Support::Later("these stats are not kept")),
            ("lrs_server", Support::Later("load is not reported")),
            ("lrs_report_endpoint_metrics", Support::Later("load is not reported")),
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        &[
            ("healthy_panic_threshold", YES),
            ("zone_aware_lb_config", YES),
            ("locality_weighted_lb_config", YES),
            ("consistent_hashing_lb_config", YES),
            ("update_merge_window", Support::Ignored("host updates are cheap and never held back")),
            ("ignore_new_hosts_until_first_hc", YES),
            ("close_connections_on_host_set_change", YES),
            ("override_host_status", YES),
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
        &[("fail_traffic_on_panic", YES), ("routing_enabled", YES), ("min_cluster_size", YES)],
    ),
    ("envoy.config.core.v3.HealthStatusSet", &[("statuses", YES)]),
    ("envoy.config.core.v3.TransportSocket", &[("name", YES), ("typed_config", YES)]),
    ("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", &[("*", YES)]),
];

/// A compiled cluster.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The settings.
    pub config: Cluster,
    /// The endpoints; names only where the cluster resolves them.
    pub targets: Vec<Target>,
    /// What its host sets are built with.
    pub options: HostSetOptions,
    /// `wait_for_warm_on_init`, on unless set to false.
    pub wait_for_warm: bool,
    /// Where its endpoints are to be had, if they are discovered.
    pub endpoints: Option<Source>,
    /// How its hosts are spoken to.
    pub transports: Arc<Transports>,
    /// What is exchanged with them first.
    pub filters: UpstreamFilters,
    /// The files and secrets that it was compiled with, for compiling it again.
    pub inputs: tls::Inputs,
}

impl Compiled {
    /// The hosts whose address is known from the configuration.
    pub fn fixed_hosts(&self, previous: Option<&HostSet>) -> HostSet {
        let specs = self.targets.iter().filter_map(|target| match target {
            Target::Fixed(host) => Some(host.clone()),
            Target::Name(_) => None,
        });
        HostSet::new(specs, previous, self.options.clone())
    }

    /// The name of its assignment, if its endpoints are discovered.
    pub fn service_name(&self) -> Option<&Arc<str>> {
        match &self.config.discovery {
            Discovery::Eds { service_name } => Some(service_name),
            _ => None,
        }
    }

    /// Takes the endpoints of a discovered assignment, which has been validated.
    pub fn assign(&mut self, assignment: &ClusterLoadAssignment) {
        let rejects = super::scope::Rejects::default();
        self.targets = endpoints::compile(assignment, Names::Refused, &Scope::root("", &rejects));
        self.options.overprovisioning_factor = endpoints::overprovisioning_factor(assignment);
    }

    /// Whether its hosts are not all in the configuration.
    pub fn is_discovered(&self) -> bool {
        self.endpoints.is_some() || self.resolves_names()
    }

    /// Whether its hosts are checked actively.
    pub fn is_checked(&self) -> bool {
        self.config.health_check.is_some()
    }

    /// Whether names are to be resolved.
    pub fn resolves_names(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, Target::Name(_)))
    }
}

/// Compiles a cluster. `None` after the scope was told why not.
pub fn compile(proto: &pb::Cluster, inputs: &tls::Inputs, at: &Scope<'_>) -> Option<Compiled> {
    let before = at.rejects().len();
    let mut config = Cluster::new(&proto.name);
    if proto.name.is_empty() {
        at.field("name").reject::<()>("a cluster needs a name");
    }
    if !proto.alt_stat_name.is_empty() {
        config.alt_stat_name = Some(proto.alt_stat_name.as_str().into());
    }
    let discovery = discovery::compile(proto, inputs, at);
    match &discovery {
        // What was refused already is not judged twice.
        None => {}
        Some(Discovery::OriginalDst(_)) => balance::provided(proto, "ORIGINAL_DST", at),
        Some(Discovery::Aggregate(_)) => balance::provided(proto, "envoy.clusters.aggregate", at),
        Some(_) => {
            if let Some(balance) = balance::compile(proto, inputs.local.as_ref(), at) {
                config.set_lb_settings(balance.settings);
                config.override_host = balance.override_host;
                config.common_lb.fail_traffic_on_panic = balance.fail_on_panic;
            }
        }
    }
    if let Some(discovery) = discovery {
        config.discovery = discovery;
    }
    if let Some(timeout) = value::duration(proto.connect_timeout.as_ref(), &at.field("connect_timeout")) {
        config.connect_timeout = timeout;
    }
    if let Some(limit) = value::number(proto.per_connection_buffer_limit_bytes.as_ref()) {
        config.per_connection_buffer_limit = limit;
    }
    if let Some(interval) = value::duration(proto.cleanup_interval.as_ref(), &at.field("cleanup_interval")) {
        config.cleanup_interval = interval;
    }
    common_lb(proto, &mut config);
    connection::compile(proto, &mut config, inputs.bind.as_ref(), at);
    config.health_check = checks::compile(&proto.health_checks, &proto.name, &at.field("health_checks"));
    config.ignore_health_on_host_removal = proto.ignore_health_on_host_removal;
    config.outlier =
        proto.outlier_detection.as_ref().map(|o| outlier::compile(o, &at.field("outlier_detection")));
    if let Some(http) = protocol::compile(proto, at) {
        config.http = http;
    }
    let transports = transports(proto, &config, inputs, at);
    config.metadata = proto.metadata.as_ref().map(|m| Metadata(Arc::new(value::metadata(m))));
    refuse_what_would_be_unsafe(proto, at);
    let filters = filters::compile(proto, &inputs.filters, at);
    let (targets, overprovisioning_factor) = hosts(proto, &config.discovery, at);
    let options = HostSetOptions {
        overprovisioning_factor,
        panic_threshold: config.common_lb.healthy_panic_threshold,
        fail_traffic_on_panic: config.common_lb.fail_traffic_on_panic,
        locality_weighted: config.common_lb.locality_weighted,
        policy: config.lb_policy,
        subsets: config.subsets.clone(),
        checks: config.health_check.as_ref().map(|_| CheckedHosts {
            keep_removed: !config.ignore_health_on_host_removal,
            ignore_new: config.common_lb.ignore_new_hosts_until_first_hc,
        }),
    };
    let wait_for_warm = value::switch(proto.wait_for_warm_on_init.as_ref()).unwrap_or(true);
    let endpoints = discovery::endpoints_source(proto, at);
    let transports = Arc::new(transports?);
    let inputs = inputs.clone();
    (at.rejects().len() == before).then_some(Compiled {
        config,
        targets,
        options,
        wait_for_warm,
        endpoints,
        transports,
        filters,
        inputs,
    })
}

fn transports(
    proto: &pb::Cluster,
    config: &Cluster,
    inputs: &tls::Inputs,
    at: &Scope<'_>,
) -> Option<Transports> {
    let options = tls::UpstreamOptions {
        auto_sni: config.http.auto_sni,
        auto_san_validation: config.http.auto_san_validation,
    };
    let transports = tls::transports(proto, options, inputs, at)?;
    if config.http.protocol == UpstreamProtocol::Auto && !transports.any_tls() {
        return at.field("typed_extension_protocol_options").reject_value(
            "auto_config",
            format!("ALPN configured for cluster {} which has a non-ALPN transport socket", proto.name),
            "the protocol can be settled by ALPN only over TLS; use explicit_http_config",
        );
    }
    Some(transports)
}

fn hosts(proto: &pb::Cluster, discovery: &Discovery, at: &Scope<'_>) -> (Vec<Target>, u32) {
    let Some(assignment) = &proto.load_assignment else { return (Vec::new(), 140) };
    let names = match discovery {
        Discovery::StrictDns(_) | Discovery::LogicalDns(_) => Names::Resolved,
        _ => Names::Refused,
    };
    let at = at.field("load_assignment");
    if matches!(discovery, Discovery::OriginalDst(_)) {
        at.reject::<()>("ORIGINAL_DST clusters must have no load assignment configured");
    }
    if matches!(discovery, Discovery::Aggregate(_)) {
        at.reject::<()>("an aggregate cluster has the hosts of its clusters and none of its own");
    }
    let targets = endpoints::compile(assignment, names, &at);
    if matches!(discovery, Discovery::LogicalDns(_)) && !discovery::is_single(assignment) {
        at.field("endpoints").reject::<()>(
            "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
        );
    }
    (targets, endpoints::overprovisioning_factor(assignment))
}

fn common_lb(proto: &pb::Cluster, config: &mut Cluster) {
    let Some(common) = &proto.common_lb_config else { return };
    if let Some(threshold) = value::percent(common.healthy_panic_threshold.as_ref()) {
        config.common_lb.healthy_panic_threshold = threshold;
    }
    config.common_lb.ignore_new_hosts_until_first_hc = common.ignore_new_hosts_until_first_hc;
    config.common_lb.close_connections_on_host_set_change = common.close_connections_on_host_set_change;
    if let Some(set) = &common.override_host_status {
        config.common_lb.override_status = override_status(set);
    }
}

/// The statuses are those of discovery, which the health of a host is compared with as a whole.
fn override_status(proto: &HealthStatusSet) -> OverrideStatus {
    let has = |wanted: &[HealthStatus]| proto.statuses().any(|status| wanted.contains(&status));
    OverrideStatus {
        healthy: has(&[HealthStatus::Unknown, HealthStatus::Healthy]),
        degraded: has(&[HealthStatus::Degraded]),
        unhealthy: has(&[HealthStatus::Unhealthy, HealthStatus::Draining, HealthStatus::Timeout]),
    }
}

/// Settings that must not be dropped with a warning: without them traffic would go out unprotected, or to the wrong
/// hosts.
fn refuse_what_would_be_unsafe(proto: &pb::Cluster, at: &Scope<'_>) {
    if proto.upstream_config.is_some() {
        at.field("upstream_config").reject::<()>("there is no such upstream extension");
    }
}
