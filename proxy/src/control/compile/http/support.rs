//! Which fields of the connection manager are read, and why the others are not.

use sampan_api::{MessageSupport, Support};

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a connection manager that sets it is refused");

/// The rows.
pub const SUPPORT: &[&[MessageSupport]] =
    &[MANAGER, CLIENT_CERTIFICATE, RDS, ON_DEMAND, super::scoped::SUPPORT, PARTS, OPTIONS];

const ON_DEMAND: &[MessageSupport] = &[(
    "envoy.extensions.filters.http.on_demand.v3.OnDemand",
    &[("odcds", Support::Later("a filter that sets it is refused"))],
)];

const RDS: &[MessageSupport] = &[(
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
    &[("config_source", YES), ("route_config_name", YES)],
)];

const CLIENT_CERTIFICATE: &[MessageSupport] = &[(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails",
    &[("subject", YES), ("cert", YES), ("chain", YES), ("dns", YES), ("uri", YES)],
)];

const MANAGER: &[MessageSupport] = &[(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    &[
        ("codec_type", YES),
        ("stat_prefix", YES),
        ("route_config", YES),
        ("http_filters", YES),
        ("add_user_agent", YES),
        ("common_http_protocol_options", YES),
        ("http_protocol_options", YES),
        ("http2_protocol_options", YES),
        ("server_name", YES),
        ("server_header_transformation", YES),
        ("scheme_header_transformation", YES),
        ("max_request_headers_kb", YES),
        ("stream_idle_timeout", YES),
        ("request_timeout", YES),
        ("request_headers_timeout", YES),
        ("drain_timeout", YES),
        ("delayed_close_timeout", YES),
        ("access_log", YES),
        ("use_remote_address", YES),
        ("xff_num_trusted_hops", YES),
        ("original_ip_detection_extensions", YES),
        ("internal_address_config", YES),
        ("skip_xff_append", YES),
        ("via", YES),
        ("generate_request_id", YES),
        ("preserve_external_request_id", YES),
        ("always_set_request_id_in_response", YES),
        ("forward_client_cert_details", YES),
        ("proxy_100_continue", YES),
        ("represent_ipv4_remote_address_as_ipv4_mapped_ipv6", YES),
        ("upgrade_configs", YES),
        ("normalize_path", YES),
        ("merge_slashes", YES),
        ("path_with_escaped_slashes_action", YES),
        ("request_id_extension", YES),
        ("local_reply_config", YES),
        ("strip_matching_host_port", YES),
        ("strip_any_host_port", YES),
        ("stream_error_on_invalid_http_message", YES),
        ("strip_trailing_host_dot", YES),
        ("append_x_forwarded_port", YES),
        ("rds", YES),
        ("scoped_routes", YES),
        ("early_header_mutation_extensions", REFUSED),
        ("typed_header_validation_config", REFUSED),
        ("path_normalization_options", REFUSED),
        ("tracing", YES),
        ("http3_protocol_options", Support::Later("HTTP/3 is not spoken")),
        ("stream_flush_timeout", YES),
        ("drain_timeout_jitter", Support::Later("drain_timeout has no jitter")),
        ("access_log_flush_interval", Support::Later("a line is written when the request is over")),
        ("flush_access_log_on_new_request", Support::Later("a line is written when the request is over")),
        ("access_log_options", Support::Later("a line is written when the request is over")),
        ("set_current_client_cert_details", YES),
        (
            "forward_client_cert_matcher",
            Support::Later("forward_client_cert_details applies to every request"),
        ),
        ("proxy_status_config", Support::Later("no Proxy-Status header is sent")),
        ("append_local_overload", Support::Later("no x-envoy-local-overloaded header is sent")),
        ("add_proxy_protocol_connection_state", Support::Later("the PROXY protocol is not read")),
        ("forward_proto_config", Support::Later("x-forwarded-proto is what the connection was")),
        (
            "http1_safe_max_connection_duration",
            Support::Later("an HTTP/1.1 connection is closed after the response under way"),
        ),
    ],
)];

const PARTS: &[MessageSupport] = &[
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        &[
            ("name", YES),
            ("typed_config", YES),
            ("is_optional", YES),
            ("disabled", YES),
            ("config_discovery", YES),
        ],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        &[("upgrade_type", YES), ("enabled", YES), ("filters", REFUSED)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
        &[("unix_sockets", YES), ("cidr_ranges", YES)],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension",
        &[("typed_config", YES)],
    ),
    (
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
        &[("pack_trace_reason", YES), ("use_request_id_for_trace_sampling", YES)],
    ),
    (
        "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
        &[("xff_num_trusted_hops", YES), ("skip_xff_append", YES), ("xff_trusted_cidrs", REFUSED)],
    ),
    (
        "envoy.extensions.filters.http.router.v3.Router",
        &[
            ("suppress_envoy_headers", YES),
            ("upstream_http_filters", REFUSED),
            ("dynamic_stats", Support::Ignored("stats are created when they are first written")),
            ("start_child_span", YES),
            ("upstream_log", Support::Later("no upstream access log is written")),
            ("upstream_log_options", Support::Later("no upstream access log is written")),
            ("strict_check_headers", Support::Later("malformed x-envoy headers are ignored")),
            ("respect_expected_rq_timeout", Support::Later("x-envoy-expected-rq-timeout-ms is replaced")),
            (
                "suppress_grpc_request_failure_code_stats",
                Support::Later("the request counts by its HTTP status"),
            ),
            ("reject_connect_request_early_data", Support::Later("early data of CONNECT is buffered")),
        ],
    ),
    ("envoy.config.route.v3.FilterConfig", &[("config", YES), ("is_optional", YES), ("disabled", YES)]),
];

const OPTIONS: &[MessageSupport] = &[
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            ("idle_timeout", YES),
            ("max_connection_duration", YES),
            ("max_headers_count", YES),
            ("max_stream_duration", YES),
            ("headers_with_underscores_action", YES),
            ("max_requests_per_connection", YES),
            ("max_connection_duration_jitter", Support::Later("the duration has no jitter")),
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            ("allow_absolute_url", YES),
            ("accept_http_10", YES),
            ("default_host_for_http_10", YES),
            ("header_key_format", YES),
            ("enable_trailers", YES),
            ("use_balsa_parser", Support::Ignored("there is one parser")),
            (
                "override_stream_error_on_invalid_http_message",
                Support::Later("stream_error_on_invalid_http_message decides"),
            ),
            ("ignore_http_11_upgrade", Support::Later("upgrades are allowed by upgrade_configs alone")),
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat",
        &[("proper_case_words", YES), ("stateful_formatter", YES)],
    ),
    ("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords", &[]),
    (
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        &[
            ("forward_reason_phrase", Support::Later("the reason phrase is the standard one")),
            (
                "formatter_type_on_envoy_headers",
                Support::Later("headers of the proxy's own are in lower case"),
            ),
        ],
    ),
    (
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            ("hpack_table_size", YES),
            ("max_concurrent_streams", YES),
            ("initial_stream_window_size", YES),
            ("initial_connection_window_size", YES),
            ("allow_connect", YES),
            (
                "max_outbound_frames",
                Support::Ignored(
                    "frames are not queued: a stream is read no further while its client does not read",
                ),
            ),
            ("max_outbound_control_frames", YES),
            ("max_consecutive_inbound_frames_with_empty_payload", YES),
            ("max_inbound_priority_frames_per_stream", YES),
            ("max_inbound_window_update_frames_per_data_frame_sent", YES),
            ("stream_error_on_invalid_http_messaging", YES),
            ("override_stream_error_on_invalid_http_message", YES),
            ("connection_keepalive", YES),
            ("use_oghttp2_codec", Support::Ignored("there is one codec")),
        ],
    ),
    (
        "envoy.config.core.v3.KeepaliveSettings",
        &[
            ("interval", YES),
            ("timeout", YES),
            ("interval_jitter", YES),
            ("connection_idle_interval", Support::Ignored("it is for upstream connections")),
        ],
    ),
    (
        "envoy.config.core.v3.SchemeHeaderTransformation",
        &[("scheme_to_overwrite", YES), ("match_upstream", Support::Later("the scheme is the downstream's"))],
    ),
];
