//! The extensions of this build, as `/server_info` lists them.
//!
//! Filters are those of the registry. The rest is listed here, and a test holds the list against the rows of what is
//! supported, so that it cannot fall behind them.

use sampan_filters::registry;

use crate::admin::source::Extension;

/// Category, prefix of the names, and the names with their types below the category's package.
type Category = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What no registry has.
#[rustfmt::skip]
const EXTENSIONS: &[Category] = &[
    ("envoy.access_loggers", "envoy.access_loggers.", &[
        ("file", "access_loggers.file.v3.FileAccessLog"),
        ("http_grpc", "access_loggers.grpc.v3.HttpGrpcAccessLogConfig"),
        ("stderr", "access_loggers.stream.v3.StderrAccessLog"),
        ("stdout", "access_loggers.stream.v3.StdoutAccessLog"),
        ("tcp_grpc", "access_loggers.grpc.v3.TcpGrpcAccessLogConfig"),
    ]),
    ("envoy.access_loggers.extension_filters", "envoy.access_loggers.extension_filters.", &[("cel", "access_loggers.filters.cel.v3.ExpressionFilter")]),
    ("envoy.bootstrap", "envoy.bootstrap.", &[("internal_listener", "bootstrap.internal_listener.v3.InternalListener")]),
    ("envoy.clusters", "envoy.clusters.", &[
        ("aggregate", "clusters.aggregate.v3.ClusterConfig"),
        ("dns", "clusters.dns.v3.DnsCluster"),
    ]),
    ("envoy.clusters", "envoy.cluster.", &[("eds", ""), ("logical_dns", ""), ("original_dst", ""), ("static", ""), ("strict_dns", "")]),
    ("envoy.compression.compressor", "envoy.compression.", &[
        ("brotli.compressor", "compression.brotli.compressor.v3.Brotli"),
        ("gzip.compressor", "compression.gzip.compressor.v3.Gzip"),
        ("zstd.compressor", "compression.zstd.compressor.v3.Zstd"),
    ]),
    ("envoy.compression.decompressor", "envoy.compression.", &[
        ("brotli.decompressor", "compression.brotli.decompressor.v3.Brotli"),
        ("gzip.decompressor", "compression.gzip.decompressor.v3.Gzip"),
        ("zstd.decompressor", "compression.zstd.decompressor.v3.Zstd"),
    ]),
    ("envoy.filters.http", "envoy.filters.http.", &[
        ("on_demand", "filters.http.on_demand.v3.OnDemand"),
        ("router", "filters.http.router.v3.Router"),
    ]),
    ("envoy.filters.listener", "envoy.filters.listener.", &[
        ("http_inspector", "filters.listener.http_inspector.v3.HttpInspector"),
        ("original_dst", "filters.listener.original_dst.v3.OriginalDst"),
        ("original_src", "filters.listener.original_src.v3.OriginalSrc"),
        ("proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol"),
        ("tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector"),
    ]),
    ("envoy.filters.network", "envoy.filters.network.", &[
        ("http_connection_manager", "filters.network.http_connection_manager.v3.HttpConnectionManager"),
        ("tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy"),
    ]),
    ("envoy.formatter", "envoy.formatter.", &[("cel", "formatter.cel.v3.Cel"), ("metadata", "formatter.metadata.v3.Metadata"), ("req_without_query", "formatter.req_without_query.v3.ReqWithoutQuery")]),
    ("envoy.health_check.event_sinks", "envoy.health_check.event_sink.", &[
        ("file", "health_check.event_sinks.file.v3.HealthCheckEventFileSink"),
    ]),
    ("envoy.http.custom_response", "envoy.extensions.http.custom_response.", &[
        ("local_response_policy", "http.custom_response.local_response_policy.v3.LocalResponsePolicy"),
        ("redirect_policy", "http.custom_response.redirect_policy.v3.RedirectPolicy"),
    ]),
    ("envoy.http.original_ip_detection", "envoy.http.original_ip_detection.", &[("xff", "http.original_ip_detection.xff.v3.XffConfig")]),
    ("envoy.http.stateful_header_formatters", "", &[("preserve_case", "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig")]),
    ("envoy.http.stateful_session", "envoy.http.stateful_session.", &[
        ("cookie", "http.stateful_session.cookie.v3.CookieBasedSessionState"),
        ("header", "http.stateful_session.header.v3.HeaderBasedSessionState"),
    ]),
    ("envoy.internal_redirect_predicates", "envoy.internal_redirect_predicates.", &[
        ("allow_listed_routes", "internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig"),
        ("previous_routes", "internal_redirect.previous_routes.v3.PreviousRoutesConfig"),
        ("safe_cross_scheme", "internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig"),
    ]),
    ("envoy.load_balancing_policies", "envoy.load_balancing_policies.", &[
        ("client_side_weighted_round_robin", "load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"),
        ("cluster_provided", "load_balancing_policies.cluster_provided.v3.ClusterProvided"),
        ("least_request", "load_balancing_policies.least_request.v3.LeastRequest"),
        ("maglev", "load_balancing_policies.maglev.v3.Maglev"),
        ("override_host", "load_balancing_policies.override_host.v3.OverrideHost"),
        ("random", "load_balancing_policies.random.v3.Random"),
        ("ring_hash", "load_balancing_policies.ring_hash.v3.RingHash"),
        ("round_robin", "load_balancing_policies.round_robin.v3.RoundRobin"),
        ("subset", "load_balancing_policies.subset.v3.Subset"),
    ]),
    ("envoy.matching.http.input", "envoy.matching.inputs.", &[
        ("cel_data_input", ""),
        ("destination_ip", "matching.common_inputs.network.v3.DestinationIPInput"),
        ("destination_port", "matching.common_inputs.network.v3.DestinationPortInput"),
        ("direct_source_ip", "matching.common_inputs.network.v3.DirectSourceIPInput"),
        ("dns_san", "matching.common_inputs.ssl.v3.DnsSanInput"),
        ("filter_state", "matching.common_inputs.network.v3.FilterStateInput"),
        ("local_reply", ""),
        ("request_headers", ""),
        ("response_headers", ""),
        ("server_name", "matching.common_inputs.network.v3.ServerNameInput"),
        ("source_ip", "matching.common_inputs.network.v3.SourceIPInput"),
        ("source_port", "matching.common_inputs.network.v3.SourcePortInput"),
        ("status_code_class_input", ""),
        ("status_code_input", ""),
        ("subject", "matching.common_inputs.ssl.v3.SubjectInput"),
        ("uri_san", "matching.common_inputs.ssl.v3.UriSanInput"),
    ]),
    ("envoy.matching.http.input", "", &[("query_params", "")]),
    ("envoy.matching.input_matchers", "envoy.matching.matchers.", &[("cel_matcher", ""), ("ip", "matching.input_matchers.ip.v3.Ip")]),
    ("envoy.matching.network.input", "envoy.matching.inputs.", &[
        ("application_protocol", "matching.common_inputs.network.v3.ApplicationProtocolInput"),
        ("destination_ip", "matching.common_inputs.network.v3.DestinationIPInput"),
        ("destination_port", "matching.common_inputs.network.v3.DestinationPortInput"),
        ("direct_source_ip", "matching.common_inputs.network.v3.DirectSourceIPInput"),
        ("server_name", "matching.common_inputs.network.v3.ServerNameInput"),
        ("source_ip", "matching.common_inputs.network.v3.SourceIPInput"),
        ("source_port", "matching.common_inputs.network.v3.SourcePortInput"),
        ("source_type", "matching.common_inputs.network.v3.SourceTypeInput"),
        ("transport_protocol", "matching.common_inputs.network.v3.TransportProtocolInput"),
    ]),
    ("envoy.path.match", "envoy.path.match.uri_template.", &[("uri_template_matcher", "path.match.uri_template.v3.UriTemplateMatchConfig")]),
    ("envoy.path.rewrite", "envoy.path.rewrite.uri_template.", &[("uri_template_rewriter", "path.rewrite.uri_template.v3.UriTemplateRewriteConfig")]),
    ("envoy.request_id", "envoy.request_id.", &[("uuid", "request_id.uuid.v3.UuidRequestIdConfig")]),
    ("envoy.resource_monitors", "envoy.resource_monitors.", &[
        ("global_downstream_max_connections", "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
    ]),
    ("envoy.retry_host_predicates", "envoy.retry_host_predicates.", &[
        ("omit_canary_hosts", "retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"),
        ("omit_host_metadata", "retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"),
        ("previous_hosts", "retry.host.previous_hosts.v3.PreviousHostsPredicate"),
    ]),
    ("envoy.retry_priorities", "envoy.retry_priorities.", &[
        ("previous_priorities", "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
    ]),
    ("envoy.tls.cert_validator", "envoy.tls.cert_validator.", &[("spiffe", "transport_sockets.tls.v3.SPIFFECertValidatorConfig")]),
    ("envoy.tracers", "envoy.tracers.", &[("opentelemetry", ""), ("zipkin", "")]),
    ("envoy.tracers.opentelemetry.resource_detectors", "envoy.tracers.opentelemetry.resource_detectors.", &[
        ("environment", "tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig"),
        ("static_config", "tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig"),
    ]),
    ("envoy.tracers.opentelemetry.samplers", "envoy.tracers.opentelemetry.samplers.", &[
        ("always_on", "tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"),
        ("parent_based", "tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig"),
        ("trace_id_ratio_based", "tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig"),
    ]),
    ("envoy.transport_sockets.downstream", "envoy.transport_sockets.", &[
        ("raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer"),
        ("tls", "transport_sockets.tls.v3.DownstreamTlsContext"),
    ]),
    ("envoy.transport_sockets.upstream", "envoy.transport_sockets.", &[
        ("raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer"),
        ("tls", "transport_sockets.tls.v3.UpstreamTlsContext"),
    ]),
    ("envoy.upstream_options", "envoy.extensions.upstreams.http.v3.", &[("HttpProtocolOptions", "upstreams.http.v3.HttpProtocolOptions")]),
];

/// All of them.
pub(super) fn all() -> Vec<Extension> {
    let listed = EXTENSIONS.iter().flat_map(|(category, prefix, entries)| {
        entries.iter().map(move |(name, message)| {
            let message =
                if message.is_empty() { String::new() } else { format!("envoy.extensions.{message}") };
            extension(category, format!("{prefix}{name}"), message)
        })
    });
    let network = registry::NETWORK
        .iter()
        .map(|entry| extension("envoy.filters.network", entry.name.into(), entry.message.into()));
    let http = registry::HTTP
        .iter()
        .map(|entry| extension("envoy.filters.http", entry.name.into(), entry.message.into()));
    let mut all: Vec<Extension> = listed.chain(network).chain(http).collect();
    all.sort_by(|a, b| (&a.category, &a.name).cmp(&(&b.category, &b.name)));
    all
}

fn extension(category: &str, name: String, message: String) -> Extension {
    let type_urls = if message.is_empty() { Vec::new() } else { vec![message] };
    Extension { name, category: category.to_owned(), type_urls }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::support;

    /// Messages of extensions' packages that are parts of others, or that choose what is always there.
    const PARTS: &[&str] = &[
        "access_loggers.grpc.v3.CommonGrpcAccessLogConfig",
        "filters.common.",
        "filters.network.http_connection_manager.v3.",
        "filters.network.tcp_proxy.v3.",
        "filters.http.on_demand.v3.OnDemandCds",
        "http.original_ip_detection.xff.v3.XffTrustedCidrs",
        "load_balancing_policies.common.",
        "network.dns_resolver.",
        "regex_engines.",
        "transport_sockets.tls.v3.",
    ];

    #[test]
    fn everything_that_is_supported_is_listed() {
        let listed: Vec<String> = all().into_iter().flat_map(|extension| extension.type_urls).collect();
        let of_filters: Vec<&str> = registry::support().map(|(message, _)| *message).collect();
        let missing = support::messages().filter(|message| {
            let Some(short) = message.strip_prefix("envoy.extensions.") else { return false };
            let (_, name) = short.split_once(".v3.").unwrap_or_default();
            let is_part = name.contains('.') || PARTS.iter().any(|part| short.starts_with(part));
            !is_part && !of_filters.contains(message) && !listed.iter().any(|known| known == message)
        });
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "supported and in no list: {missing:#?}");
    }

    #[test]
    fn every_type_is_one_of_the_api() {
        for message in all().iter().flat_map(|extension| &extension.type_urls) {
            assert!(sampan_api::Descriptors::load().message(message).is_some(), "{message}");
        }
    }
}
