//! `envoy.config.cluster.v3.Cluster` -> the model's cluster and its endpoints.
//!
//! Runs twice for a cluster that is used: on arrival, to validate it, and on first use ([`super::super::store`] keeps the
//! wire bytes in between). [`protocol`] has HTTP, [`balance`] load balancing, [`discovery`] types and DNS,
//! [`connection`] breakers, keep-alive and binding.

mod balance;
mod connection;
mod discovery;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sampan_api::envoy::config::cluster::v3 as pb;
use sampan_api::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use sampan_api::{MessageSupport, Support};
use sampan_model::cluster::{Cluster, Discovery, HostSet, HostSetOptions, Metadata};

use super::endpoints::{self, Names, Target};
use super::{Scope, value};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a cluster that sets it is refused");

/// What is read here; the parts have rows of their own.
pub const SUPPORT: &[&[MessageSupport]] =
    &[CLUSTER, balance::SUPPORT, connection::SUPPORT, discovery::SUPPORT, protocol::SUPPORT];

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
            ("round_robin_lb_config", Support::Later("new hosts get their full share at once")),
            ("load_assignment", YES),
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
            ("transport_socket_matches", REFUSED),
            ("transport_socket_matcher", REFUSED),
            ("filters", REFUSED),
            ("upstream_config", REFUSED),
            ("lb_subset_config", REFUSED),
            ("health_checks", Support::Later("hosts are not checked actively")),
            ("outlier_detection", Support::Later("no host is ejected")),
            ("cleanup_interval", Support::Later("it is for clusters of type ORIGINAL_DST")),
            ("close_connections_on_host_health_failure", Support::Later("hosts are not checked actively")),
            ("ignore_health_on_host_removal", Support::Later("hosts are not checked actively")),
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
            ("locality_weighted_lb_config", Support::Later("hosts are picked without regard to locality")),
            ("update_merge_window", Support::Ignored("host updates are cheap and never held back")),
            ("ignore_new_hosts_until_first_hc", Support::Later("hosts are not checked actively")),
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
        &[
            ("fail_traffic_on_panic", YES),
            ("routing_enabled", Support::Later("hosts are picked without regard to zone")),
            ("min_cluster_size", Support::Later("hosts are picked without regard to zone")),
        ],
    ),
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
}

impl Compiled {
    /// The hosts whose address is known from the configuration.
    pub fn fixed_hosts(&self, previous: Option<&HostSet>) -> HostSet {
        let specs = self.targets.iter().filter_map(|target| match target {
            Target::Fixed(host) => Some(host.clone()),
            Target::Name(_) => None,
        });
        HostSet::new(specs, previous, self.options)
    }

    /// Whether names are to be resolved.
    pub fn resolves_names(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, Target::Name(_)))
    }
}

/// Compiles a cluster. `None` after the scope was told why not.
pub fn compile(proto: &pb::Cluster, at: &Scope<'_>) -> Option<Compiled> {
    let before = at.rejects().len();
    let mut config = Cluster::new(&proto.name);
    if proto.name.is_empty() {
        at.field("name").reject::<()>("a cluster needs a name");
    }
    if !proto.alt_stat_name.is_empty() {
        config.alt_stat_name = Some(proto.alt_stat_name.as_str().into());
    }
    if let Some(discovery) = discovery::compile(proto, at) {
        config.discovery = discovery;
    }
    if let Some(timeout) = value::duration(proto.connect_timeout.as_ref(), &at.field("connect_timeout")) {
        config.connect_timeout = timeout;
    }
    if let Some(limit) = value::number(proto.per_connection_buffer_limit_bytes.as_ref()) {
        config.per_connection_buffer_limit = limit;
    }
    if let Some(policy) = balance::compile(proto, at) {
        config.lb_policy = policy;
    }
    common_lb(proto, &mut config);
    connection::compile(proto, &mut config, at);
    if let Some(http) = protocol::compile(proto, at) {
        config.http = http;
    }
    config.metadata = proto.metadata.as_ref().map(|m| Metadata(Arc::new(value::metadata(m))));
    refuse_what_would_be_unsafe(proto, at);
    let (targets, overprovisioning_factor) = hosts(proto, &config.discovery, at);
    let options = HostSetOptions {
        overprovisioning_factor,
        panic_threshold: config.common_lb.healthy_panic_threshold,
        fail_traffic_on_panic: config.common_lb.fail_traffic_on_panic,
    };
    let wait_for_warm = value::switch(proto.wait_for_warm_on_init.as_ref()).unwrap_or(true);
    (at.rejects().len() == before).then_some(Compiled { config, targets, options, wait_for_warm })
}

fn hosts(proto: &pb::Cluster, discovery: &Discovery, at: &Scope<'_>) -> (Vec<Target>, u32) {
    let Some(assignment) = &proto.load_assignment else { return (Vec::new(), 140) };
    let names = match discovery {
        Discovery::StrictDns(_) | Discovery::LogicalDns(_) => Names::Resolved,
        _ => Names::Refused,
    };
    let at = at.field("load_assignment");
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
    match &common.locality_config_specifier {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            config.common_lb.fail_traffic_on_panic = zone.fail_traffic_on_panic;
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            config.common_lb.locality_weighted = true;
        }
        None => {}
    }
    config.common_lb.close_connections_on_host_set_change = common.close_connections_on_host_set_change;
}

/// Settings that must not be dropped with a warning: without them traffic would go out unprotected, or to the wrong
/// hosts.
fn refuse_what_would_be_unsafe(proto: &pb::Cluster, at: &Scope<'_>) {
    if let Some(socket) = &proto.transport_socket {
        let at = at.field("transport_socket");
        let any = super::extension::transport_socket(socket);
        let raw = any.is_none_or(|any| {
            super::extension::is(any, "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
        });
        let named_raw = any.is_some() || socket.name == "envoy.transport_sockets.raw_buffer";
        if !raw || !named_raw {
            let shown = any.map_or(socket.name.as_str(), |any| any.type_url.as_str());
            at.field("typed_config").reject_value::<()>(
                shown,
                "this transport socket is not supported yet",
                "only envoy.transport_sockets.raw_buffer is",
            );
        }
    }
    if !proto.transport_socket_matches.is_empty() {
        at.field("transport_socket_matches").reject::<()>("transport sockets by match are not supported yet");
    }
    if proto.transport_socket_matcher.is_some() {
        at.field("transport_socket_matcher").reject::<()>("transport sockets by match are not supported yet");
    }
    if !proto.filters.is_empty() {
        at.field("filters").reject::<()>("upstream network filters are not supported");
    }
    if proto.upstream_config.is_some() {
        at.field("upstream_config").reject::<()>("there is no such upstream extension");
    }
    if proto.lb_subset_config.as_ref().is_some_and(|subset| !subset.subset_selectors.is_empty()) {
        at.field("lb_subset_config").reject::<()>("load balancing by subsets is not supported yet");
    }
}
