//! Which fields of routes are read, and why the others are not.

use sampan_api::{MessageSupport, Support};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a route configuration that sets it is refused");
const METADATA: Support = Support::Later("nothing reads the metadata of routes");
const RETRY: Support = Support::Later("requests are not retried");
const HEDGE: Support = Support::Later("requests are not hedged");
const MIRROR: Support = Support::Later("requests are not mirrored");
const LIMITS: Support = Support::Later("there is no rate limit filter");
const CORS: Support = Support::Later("there is no CORS filter");
const BUFFER: Support = Support::Later("the limits of connections apply");
const TRACING: Support = Support::Later("requests are not traced");
const INTERNAL: Support = Support::Later("redirects of upstreams are passed on to the client");

/// The rows.
pub const SUPPORT: &[&[MessageSupport]] = &[TABLE, MATCH, ACTION, ANSWERS];

const TABLE: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RouteConfiguration",
        &[
            ("name", YES),
            ("virtual_hosts", YES),
            ("internal_only_headers", YES),
            ("request_headers_to_add", YES),
            ("request_headers_to_remove", YES),
            ("response_headers_to_add", YES),
            ("response_headers_to_remove", YES),
            ("most_specific_header_mutations_wins", YES),
            ("validate_clusters", YES),
            ("max_direct_response_body_size_bytes", YES),
            ("ignore_port_in_host_matching", YES),
            ("ignore_path_parameters_in_path_matching", YES),
            ("vhds", REFUSED),
            ("vhost_header", REFUSED),
            ("cluster_specifier_plugins", REFUSED),
            ("typed_per_filter_config", YES),
            ("route_specifiers", REFUSED),
            ("request_mirror_policies", MIRROR),
            ("metadata", METADATA),
        ],
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        &[
            ("name", YES),
            ("domains", YES),
            ("routes", YES),
            ("require_tls", YES),
            ("request_headers_to_add", YES),
            ("request_headers_to_remove", YES),
            ("response_headers_to_add", YES),
            ("response_headers_to_remove", YES),
            ("typed_per_filter_config", YES),
            ("include_request_attempt_count", YES),
            ("include_attempt_count_in_response", YES),
            ("matcher", REFUSED),
            ("route_specifiers", REFUSED),
            ("virtual_clusters", Support::Later("these stats are not kept")),
            ("rate_limits", LIMITS),
            ("cors", CORS),
            ("retry_policy", RETRY),
            ("retry_policy_typed_config", RETRY),
            ("include_is_timeout_retry_header", RETRY),
            ("hedge_policy", HEDGE),
            ("request_mirror_policies", MIRROR),
            ("per_request_buffer_limit_bytes", BUFFER),
            ("request_body_buffer_limit", BUFFER),
            ("metadata", METADATA),
        ],
    ),
    (
        "envoy.config.route.v3.Route",
        &[
            ("name", YES),
            ("match", YES),
            ("route", YES),
            ("redirect", YES),
            ("direct_response", YES),
            ("non_forwarding_action", YES),
            ("typed_per_filter_config", YES),
            ("request_headers_to_add", YES),
            ("request_headers_to_remove", YES),
            ("response_headers_to_add", YES),
            ("response_headers_to_remove", YES),
            ("stat_prefix", YES),
            ("filter_action", REFUSED),
            ("route_specifiers", REFUSED),
            ("metadata", METADATA),
            ("decorator", TRACING),
            ("tracing", TRACING),
            ("per_request_buffer_limit_bytes", BUFFER),
            ("request_body_buffer_limit", BUFFER),
        ],
    ),
];

const MATCH: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RouteMatch",
        &[
            ("prefix", YES),
            ("path", YES),
            ("safe_regex", YES),
            ("connect_matcher", YES),
            ("path_separated_prefix", YES),
            ("path_match_policy", YES),
            ("case_sensitive", YES),
            ("runtime_fraction", YES),
            ("headers", YES),
            ("query_parameters", YES),
            ("cookies", YES),
            ("grpc", YES),
            ("tls_context", YES),
            ("dynamic_metadata", REFUSED),
            ("filter_state", REFUSED),
        ],
    ),
    ("envoy.config.route.v3.RouteMatch.ConnectMatcher", &[]),
    ("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions", &[]),
    ("envoy.config.route.v3.RouteMatch.TlsContextMatchOptions", &[("presented", YES), ("validated", YES)]),
    (
        "envoy.config.route.v3.QueryParameterMatcher",
        &[("name", YES), ("string_match", YES), ("present_match", YES)],
    ),
    ("envoy.config.route.v3.CookieMatcher", &[("name", YES), ("string_match", YES), ("invert_match", YES)]),
    ("envoy.config.core.v3.RuntimeFractionalPercent", &[("default_value", YES), ("runtime_key", YES)]),
    ("envoy.type.v3.FractionalPercent", &[("numerator", YES), ("denominator", YES)]),
    ("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", &[("path_template", YES)]),
    (
        "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
        &[("path_template_rewrite", YES)],
    ),
];

const ACTION: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RouteAction",
        &[
            ("cluster", YES),
            ("cluster_header", YES),
            ("weighted_clusters", YES),
            ("cluster_not_found_response_code", YES),
            ("prefix_rewrite", YES),
            ("regex_rewrite", YES),
            ("path_rewrite_policy", YES),
            ("path_rewrite", YES),
            ("host_rewrite", YES),
            ("host_rewrite_literal", YES),
            ("auto_host_rewrite", YES),
            ("host_rewrite_header", YES),
            ("host_rewrite_path_regex", YES),
            ("append_x_forwarded_host", YES),
            ("timeout", YES),
            ("idle_timeout", YES),
            ("flush_timeout", YES),
            ("priority", YES),
            ("upgrade_configs", YES),
            ("max_stream_duration", YES),
            ("cluster_specifier_plugin", REFUSED),
            ("inline_cluster_specifier_plugin", REFUSED),
            ("metadata_match", Support::Later("hosts are not chosen by metadata")),
            ("early_data_policy", Support::Later("TLS early data is not accepted")),
            ("retry_policy", RETRY),
            ("retry_policy_typed_config", RETRY),
            ("request_mirror_policies", MIRROR),
            ("rate_limits", LIMITS),
            ("include_vh_rate_limits", LIMITS),
            ("hash_policy", Support::Later("hosts are not chosen by hash")),
            ("cors", CORS),
            (
                "max_grpc_timeout",
                Support::Later("max_stream_duration.grpc_timeout_header_max takes its place"),
            ),
            (
                "grpc_timeout_offset",
                Support::Later("max_stream_duration.grpc_timeout_header_offset takes its place"),
            ),
            ("internal_redirect_policy", INTERNAL),
            ("internal_redirect_action", INTERNAL),
            ("max_internal_redirects", INTERNAL),
            ("hedge_policy", HEDGE),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        &[
            ("max_stream_duration", YES),
            ("grpc_timeout_header_max", YES),
            ("grpc_timeout_header_offset", YES),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.UpgradeConfig",
        &[("upgrade_type", YES), ("enabled", YES), ("connect_config", YES)],
    ),
    (
        "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig",
        &[("proxy_protocol_config", REFUSED), ("allow_post", REFUSED)],
    ),
    (
        "envoy.config.route.v3.WeightedCluster",
        &[
            ("clusters", YES),
            ("total_weight", Support::Ignored("the sum of the weights counts, as in Envoy")),
            ("runtime_key_prefix", Support::Later("weights are those of the configuration")),
            ("header_name", Support::Later("the random value is the stream's own")),
            ("use_hash_policy", Support::Later("the random value is the stream's own")),
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        &[
            ("name", YES),
            ("cluster_header", YES),
            ("weight", YES),
            ("request_headers_to_add", YES),
            ("request_headers_to_remove", YES),
            ("response_headers_to_add", YES),
            ("response_headers_to_remove", YES),
            ("typed_per_filter_config", YES),
            ("host_rewrite_literal", YES),
            ("metadata_match", Support::Later("hosts are not chosen by metadata")),
        ],
    ),
];

const ANSWERS: &[MessageSupport] = &[
    (
        "envoy.config.route.v3.RedirectAction",
        &[
            ("https_redirect", YES),
            ("scheme_redirect", YES),
            ("host_redirect", YES),
            ("port_redirect", YES),
            ("path_redirect", YES),
            ("prefix_rewrite", YES),
            ("regex_rewrite", YES),
            ("path_rewrite", YES),
            ("response_code", YES),
            ("strip_query", YES),
        ],
    ),
    (
        "envoy.config.route.v3.DirectResponseAction",
        &[("status", YES), ("body", YES), ("body_format", REFUSED)],
    ),
    ("envoy.config.route.v3.NonForwardingAction", &[]),
];
