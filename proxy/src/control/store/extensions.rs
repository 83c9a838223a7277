//! The extensions of this build, as `/server_info` lists them.

use crate::admin::source::Extension;

/// Category, name and type of each.
const EXTENSIONS: &[(&str, &str, &str)] = &[
    (
        "envoy.access_loggers",
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    ),
    (
        "envoy.access_loggers",
        "envoy.access_loggers.stderr",
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    ),
    (
        "envoy.access_loggers",
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    ),
    ("envoy.clusters", "envoy.clusters.dns", "envoy.extensions.clusters.dns.v3.DnsCluster"),
    ("envoy.clusters", "envoy.cluster.logical_dns", ""),
    ("envoy.clusters", "envoy.cluster.static", ""),
    ("envoy.clusters", "envoy.cluster.strict_dns", ""),
    ("envoy.filters.http", "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    (
        "envoy.filters.network",
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ),
    (
        "envoy.filters.network",
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    ),
    (
        "envoy.http.stateful_header_formatters",
        "preserve_case",
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.least_request",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.random",
        "envoy.extensions.load_balancing_policies.random.v3.Random",
    ),
    (
        "envoy.load_balancing_policies",
        "envoy.load_balancing_policies.round_robin",
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    ),
    (
        "envoy.resource_monitors",
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
    ),
    (
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    ),
    (
        "envoy.upstream_options",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    ),
];

/// All of them.
pub(super) fn all() -> Vec<Extension> {
    EXTENSIONS
        .iter()
        .map(|(category, name, config)| Extension {
            name: (*name).to_owned(),
            category: (*category).to_owned(),
            type_urls: if config.is_empty() { Vec::new() } else { vec![(*config).to_owned()] },
        })
        .collect()
}
